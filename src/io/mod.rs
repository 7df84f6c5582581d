//! Services of the operating system that several modules share: sockets with deadlines, TLS trust, small files, queues,
//! locks and the text log. Redis, webhooks and event logs build on it. Any thread; each file names its owner.

pub(crate) mod bounded_file;
pub(crate) mod channel;
pub(crate) mod fail_point;
pub(crate) mod lock;
pub(crate) mod net;
pub(crate) mod own_file;
pub(crate) mod plain_file;
pub(crate) mod sharing;
pub(crate) mod shown;
pub(crate) mod text_log;
pub(crate) mod thread;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
pub(crate) mod tls;
pub(crate) mod wait;
