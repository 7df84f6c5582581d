//! The fixed OS threads, a folder for each with its queue and its loop, and what they share with the game thread.
//! The game thread's side never blocks; each queue is bounded, by count and by bytes.

pub(crate) mod actions;
pub(crate) mod files;
mod join;
pub(crate) mod links;
pub(crate) mod publisher;
mod queue;
pub(crate) mod selftest;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod subscriber;
pub(crate) mod webhooks;
pub(crate) mod workers;
