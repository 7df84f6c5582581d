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

pub(crate) mod aggregator;
pub(crate) mod error;
pub(crate) mod filter;
pub(crate) mod hook;
pub(crate) mod lease;
pub(crate) mod members;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod spec;
pub(crate) mod template;
pub(crate) mod trie;
pub(crate) mod url;
