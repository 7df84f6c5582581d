//! One request to be: the jobs in it, where it goes, and what it has been through.
//! Made on `rt-webhooks` from a job or a line of the spool; a pure value. A Discord message that nobody tried yet takes
//! in those behind it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{REQUEST_TIMEOUT, Secret};
use crate::url::Url;
use crate::webhook::answer::Asked;
use crate::webhook::discord::Message;
use crate::webhook::http::Request;

/// The name of a post on the wire, the same at every attempt: the process and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostId {
    pub boot: u64,
    pub number: u64,
}

/// In the shape of a UUID (version 8: of one's own making).
impl fmt::Display for PostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PostId { boot, number } = *self;
        // All bits of the process, around the digits that say what kind of UUID this is, then 48 of the number.
        let (a, b, c) = (boot >> 32, boot >> 16 & 0xffff, boot & 0xfff);
        let variant = 0x8000 | boot >> 12 & 0xf;
        write!(f, "{a:08x}-{b:04x}-8{c:03x}-{variant:04x}-{:012x}", number & 0xffff_ffff_ffff)
    }
}

/// A destination: what is limited, paused and closed as one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    kind: Kind,
    /// Origin and target; a template's as it was written.
    url: Arc<str>,
    /// How much of it shares a rate limit.
    limit_bytes: usize,
    name: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Discord,
    Http { varies: bool },
}

impl Address {
    /// Of a Discord webhook: the query (a thread) makes another destination with the same limit.
    pub fn discord(url: &Url) -> Address {
        let text = url.reveal();
        let limit_bytes = text.find('?').unwrap_or(text.len());
        Address { kind: Kind::Discord, url: text.into(), limit_bytes, name: url.to_string().into() }
    }

    /// `text` is the URL as the hook has it, and `name` how it may be shown.
    pub fn http(text: String, name: String, varies: bool) -> Address {
        let limit_bytes = text.len();
        Address { kind: Kind::Http { varies }, url: text.into(), limit_bytes, name: name.into() }
    }

    pub fn kind(&self) -> &'static str {
        if self.is_discord() { "discord" } else { "http" }
    }

    pub fn is_discord(&self) -> bool {
        self.kind == Kind::Discord
    }

    pub fn asked(&self) -> Asked {
        match self.kind {
            Kind::Discord => Asked::Discord,
            Kind::Http { varies } => Asked::Http { varies },
        }
    }

    pub fn varies(&self) -> bool {
        self.kind == Kind::Http { varies: true }
    }

    /// Without its secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL, for the spool only.
    pub fn reveal(&self) -> &str {
        &self.url
    }

    /// Equal for destinations that share a rate limit. Not to be shown.
    pub fn limit(&self) -> Secret {
        Secret::new(self.url.get(..self.limit_bytes).unwrap_or_default().to_owned())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is posted.
#[derive(Debug)]
pub enum Content {
    Message { url: Url, message: Message },
    Request(Request),
}

#[derive(Debug)]
pub struct Post {
    pub id: PostId,
    pub address: Address,
    /// The hook of each job in it, oldest first.
    pub hooks: Vec<Arc<[u8]>>,
    pub content: Content,
    /// When it is too old.
    pub expires: Instant,
    /// Requests whose fate is not known, or that failed for now.
    pub attempts: u32,
    /// Those of them that were answered.
    pub refusals: u32,
}

impl Post {
    pub fn jobs(&self) -> u64 {
        self.hooks.len() as u64
    }

    /// Takes in a later post. Not once an attempt may have arrived: its name stands for what was in it then.
    pub fn merge(&mut self, next: &Post) -> bool {
        if self.attempts > 0 || next.attempts > 0 {
            return false;
        }
        let (Content::Message { message, .. }, Content::Message { message: later, .. }) =
            (&mut self.content, &next.content)
        else {
            return false;
        };
        let merged = message.merge(later);
        if merged {
            self.hooks.extend(next.hooks.iter().cloned());
        }
        merged
    }

    /// The bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Message { url, message } => message.weight() + url.target().len(),
            Content::Request(request) => request.weight(),
        };
        content + self.hooks.len() * size_of::<Arc<[u8]>>()
    }

    /// The texts in it that nobody may see.
    pub fn secrets(&self) -> Vec<&str> {
        match &self.content {
            Content::Message { url, .. } => url.secrets().collect(),
            Content::Request(request) => request.secrets().collect(),
        }
    }

    /// The request it is.
    pub fn request(&self) -> Request {
        match &self.content {
            Content::Message { url, message } => Request::post_json(url.clone(), message.body(), REQUEST_TIMEOUT),
            Content::Request(request) => request.clone(),
        }
    }
}
