//! The two actions that send requests, `discord` and `http`: each has a file for its members. Parsed on the game thread,
//! rendered on `rt-webhooks` (`webhook/discord.rs`, `webhook/http.rs`); pure.
//! Holds secrets: `Debug` masks URLs and header values.

use discord::Discord;
use http::Http;

pub(crate) mod discord;
pub(crate) mod http;

/// A request that is sent for an event.
#[derive(Debug)]
pub enum Webhook {
    Discord(Box<Discord>),
    Http(Http),
}

impl Webhook {
    /// The value of `type` in the spec.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Webhook::Discord(_) => "discord",
            Webhook::Http(_) => "http",
        }
    }

    /// Advice for the author of the hook. The hook works without it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Webhook::Discord(_) => None,
            Webhook::Http(http) => http.advice(),
        }
    }
}
