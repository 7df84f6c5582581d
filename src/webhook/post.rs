//! One request to be: the jobs in it, where it goes, and what it has been through.
//! Made on `rt-webhooks` from a job or a line of the spool; a pure value. A Discord message that nobody tried yet goes
//! out in one request with those behind it, and can be parted from them again.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Secret;
use crate::config::limits::{ITEM_OVERHEAD_BYTES, REQUEST_TIMEOUT};
use crate::event::EventText;
use crate::hooks::url::{Url, secrets_of};
use crate::webhook::answer::Asked;
use crate::webhook::discord::Message;
use crate::webhook::http::Request;

/// The name of a post on the wire, the same at every attempt: the process and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PostId {
    pub(crate) boot: u64,
    pub(crate) number: u64,
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
pub(crate) struct Address {
    kind: Kind,
    /// Origin and target; a template's as it was written.
    url: Arc<str>,
    /// How much of it is the origin.
    origin_bytes: usize,
    /// How much of it shares a rate limit.
    limit_bytes: usize,
    name: Arc<str>,
}

/// Where the path of a URL begins.
fn origin_bytes(url: &str) -> usize {
    let scheme = url.find("://").map_or(0, |at| at + 3);
    url.get(scheme..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| scheme + at)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Discord,
    Http { varies: bool },
}

impl Address {
    /// Of a Discord webhook: the query (a thread) makes another destination with the same limit.
    pub(crate) fn discord(url: &Url) -> Address {
        let text = url.reveal();
        let (origin_bytes, limit_bytes) = (origin_bytes(&text), text.find('?').unwrap_or(text.len()));
        Address { kind: Kind::Discord, url: text.into(), origin_bytes, limit_bytes, name: url.to_string().into() }
    }

    /// `text` is the URL as the hook has it, and `name` how it may be shown.
    pub(crate) fn http(text: String, name: String, varies: bool) -> Address {
        let (origin_bytes, limit_bytes) = (origin_bytes(&text), text.len());
        Address { kind: Kind::Http { varies }, url: text.into(), origin_bytes, limit_bytes, name: name.into() }
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.is_discord() { "discord" } else { "http" }
    }

    pub(crate) fn is_discord(&self) -> bool {
        self.kind == Kind::Discord
    }

    pub(crate) fn asked(&self) -> Asked {
        match self.kind {
            Kind::Discord => Asked::Discord,
            Kind::Http { varies } => Asked::Http { varies },
        }
    }

    pub(crate) fn varies(&self) -> bool {
        self.kind == Kind::Http { varies: true }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        self.url.get(..self.origin_bytes).unwrap_or_default()
    }

    /// Without its secrets.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL, for the spool only.
    pub(crate) fn reveal(&self) -> &str {
        &self.url
    }

    /// Equal for destinations that share a rate limit. Not to be shown.
    pub(crate) fn limit(&self) -> Secret {
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
pub(crate) enum Content {
    Message { url: Url, message: Message },
    Request(Request),
}

#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) id: PostId,
    pub(crate) address: Address,
    pub(crate) hook: Arc<[u8]>,
    pub(crate) content: Content,
    /// The event it was made from, where the content shows text of the hook's own that may be secret.
    pub(crate) event: Option<Arc<EventText>>,
    /// When it is too old.
    pub(crate) expires: Instant,
    /// Requests whose fate is not known, or that failed for now.
    pub(crate) attempts: u32,
    /// Those of them that were answered.
    pub(crate) refusals: u32,
    /// Later messages that go out in the same request, oldest first. None of them has others behind it.
    pub(crate) behind: Vec<Post>,
}

impl Post {
    pub(crate) fn jobs(&self) -> u64 {
        1 + self.behind.len() as u64
    }

    /// Itself and what goes out with it, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Post> {
        std::iter::once(self).chain(&self.behind)
    }

    /// The same, each a post of its own that has been through what they were through together.
    pub(crate) fn split(mut self) -> Vec<Post> {
        let behind = std::mem::take(&mut self.behind);
        let (attempts, refusals) = (self.attempts, self.refusals);
        let behind = behind.into_iter().map(|post| Post { attempts, refusals, ..post });
        std::iter::once(self).chain(behind).collect()
    }

    /// The message that it sends, for others to join. `None` once an attempt may have arrived: its name stands for what
    /// was in it then.
    pub(crate) fn joint(&self) -> Option<Message> {
        let Content::Message { message, .. } = &self.content else { return None };
        (self.attempts == 0).then(|| self.whole(message))
    }

    /// Adds its own message to the joint one, if both can go out together.
    pub(crate) fn joins(&self, joint: &mut Message) -> bool {
        match &self.content {
            Content::Message { message, .. } => self.attempts == 0 && self.behind.is_empty() && joint.merge(message),
            Content::Request(_) => false,
        }
    }

    /// The message of all its parts, whose first is `message`.
    fn whole(&self, message: &Message) -> Message {
        let mut whole = message.clone();
        for behind in &self.behind {
            if let Content::Message { message, .. } = &behind.content {
                // They were merged in this order before.
                whole.merge(message);
            }
        }
        whole
    }

    /// The bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Message { url, message } => message.weight() + url.target().len(),
            Content::Request(request) => request.weight(),
        };
        let event = self.event.as_ref().map_or(0, |event| event.weight());
        let behind: usize = self.behind.iter().map(Post::weight).sum();
        content + event + ITEM_OVERHEAD_BYTES + behind
    }

    /// The texts in it that nobody may see.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        match &self.content {
            Content::Message { url, .. } => {
                let messages = self.parts().filter_map(|post| match &post.content {
                    Content::Message { message, .. } => Some(message),
                    Content::Request(_) => None,
                });
                url.secrets().chain(messages.flat_map(Message::urls).flat_map(secrets_of)).collect()
            }
            Content::Request(request) => request.secrets().collect(),
        }
    }

    /// The request that it and those behind it are.
    pub(crate) fn request(&self) -> Request {
        match &self.content {
            Content::Message { url, message } => {
                Request::post_json(url.clone(), self.whole(message).body(), REQUEST_TIMEOUT)
            }
            Content::Request(request) => request.clone(),
        }
    }

    /// The request that it is alone.
    pub(crate) fn own_request(&self) -> Request {
        match &self.content {
            Content::Message { url, message } => Request::post_json(url.clone(), message.body(), REQUEST_TIMEOUT),
            Content::Request(request) => request.clone(),
        }
    }
}
