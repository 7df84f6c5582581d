//! Hooks and aggregators: the checked form of a script's request, and the choice of those that an event concerns.
//! Pure: every file here computes values. The worker threads carry the actions out (`threads/actions/`).
//!
//! | file | question |
//! |---|---|
//! | `spec` | Is the table that a script gave to `AddHook` or `AddAggregator` valid? (`members`, `error`) |
//! | `request` | Which text does a Discord or HTTP action send, and to which address? |
//! | `sender_name`, `color` | Under which name and with which color does Discord show a message? |
//! | `signature` | How does a receiver know that a request comes from this server? |
//! | `status` | Which members has a status message, and which lines does it show? |
//! | `delivery` | How long is such a request repeated, and how many events does it carry? |
//! | `template`, `url` | How is a text rendered from an event, with its values escaped? |
//! | `amount` | Which number does a counter or leaderboard add for an event? |
//! | `log_file` | Which event log does a `file` action write for an event? |
//! | `filter` | Does the event meet the conditions of `where`? |
//! | `hook`, `aggregator` | Which part of a registration do the threads share? |
//! | `lease` | Does this server act for the fleet? |
//! | `routes`, `trie` | Which listeners, hooks and aggregators want the events of a channel? |

pub(crate) mod aggregator;
pub(crate) mod amount;
pub(crate) mod color;
pub(crate) mod delivery;
pub(crate) mod error;
pub(crate) mod filter;
pub(crate) mod hook;
pub(crate) mod lease;
pub(crate) mod log_file;
pub(crate) mod members;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod sender_name;
pub(crate) mod signature;
pub(crate) mod spec;
pub(crate) mod status;
pub(crate) mod template;
pub(crate) mod trie;
pub(crate) mod url;
