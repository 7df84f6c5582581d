//! Hooks and aggregators: what scripts ask for, checked, and who is concerned by an event. Pure: what they do is done by
//! the threads.
//!
//! | file | question |
//! |---|---|
//! | `spec` | What did `AddHook` or `AddAggregator` ask for, and is it right? (`members`, `error`) |
//! | `request` | What is a Discord or HTTP hook to send, and where? |
//! | `template`, `url` | How does a text come out of an event, escaped for its place? |
//! | `filter` | Does the event meet a `where`? |
//! | `hook`, `aggregator` | What do the threads know of a registration? |
//! | `lease` | Is it this server that acts for the fleet? |
//! | `routes`, `trie` | Which of them want the events of this channel? |

pub mod aggregator;
pub mod error;
pub mod filter;
pub mod hook;
pub mod lease;
pub mod members;
pub mod request;
pub mod routes;
pub mod spec;
pub mod template;
pub mod trie;
pub mod url;
