//! The fixed OS threads: a folder for each worker, with its handle (queue, outbox, inbox), which all threads hold, and
//! its loop, which runs on the worker's thread. A handle never blocks the game thread, and every queue has a bound.
//!
//! ```text
//!  handles   files/queue  actions/queue  webhooks/queue  publisher/outbox  subscriber/inbox  links  settings ...
//!     ▲
//!  shared.rs `Shared`: all handles in one value, held by the game thread and every worker
//!     ▲
//!  loops     files/mod    actions/mod    webhooks/mod    publisher/mod     subscriber/mod    selftest/mod
//!     ▲
//!  workers.rs starts and joins them
//! ```
//!
//! `chunks.rs` and `queue.rs` are the queues under the handles. A file imports only from its own row and the rows above it in
//! this picture: a handle knows no loop, and no handle imports `Shared`.

pub(crate) mod actions;
mod chunks;
pub(crate) mod embedded;
pub(crate) mod files;
mod join;
pub(crate) mod links;
pub(crate) mod metrics;
pub(crate) mod numbers;
pub(crate) mod publisher;
mod queue;
pub(crate) mod selftest;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod subscriber;
pub(crate) mod webhooks;
pub(crate) mod workers;
