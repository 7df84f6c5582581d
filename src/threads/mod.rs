//! The fixed OS threads, a folder for each with its queue and its loop, and what they share with the game thread.
//! The game thread's side never blocks; each queue is bounded, by count and by bytes.

pub mod actions;
pub mod files;
pub mod links;
pub mod publisher;
mod queue;
pub mod selftest;
pub mod settings;
pub mod shared;
pub mod subscriber;
pub mod webhooks;
pub mod workers;
