//! What the operating system is asked for beside Redis, webhooks and event logs: connections, small files, the text log.

pub(crate) mod bounded_file;
pub(crate) mod fail_point;
pub(crate) mod lock;
pub(crate) mod net;
pub(crate) mod plain_file;
pub(crate) mod text_log;
