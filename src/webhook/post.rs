//! A post: one request to make, the jobs in it, its destination, and its attempts so far.
//! Made on `rt-webhooks` from a job or from a line of the spool; a pure value.
//! Posts that wait for one destination are merged, so that they go out in one request: Discord messages, which saves rate
//! limit, and the events of a hook with `batch`. A merged post can be split again, so that a refused part does not take
//! the others with it: messages one by one, a batch into halves.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Secret;
use crate::config::limits::{ITEM_OVERHEAD_BYTES, REQUEST_TIMEOUT};
use crate::event::EventText;
use crate::event::fingerprint::{self, Fingerprint};
use crate::hooks::delivery::{Batch, Retries};
use crate::hooks::url::{Url, secrets_of};
use crate::webhook::discord::Message;
use crate::webhook::http::Request;

/// Most bytes of the bodies in one batch. A single body may be as large as a batch.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The id of a post: the process (`boot`) and a number. It is sent as the header `webhook-id`, the same at every attempt,
/// so that a receiver can deduplicate. A batch has an id of its own ([`Post::sent_id`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PostId {
    pub(crate) boot: u64,
    pub(crate) number: u64,
}

/// Prints a UUID of version 8 (RFC 9562: its bits are the program's own):
///
/// ```text
/// bbbbbbbb-bbbb-8bbb-Vbbb-nnnnnnnnnnnn   b: the 64 bits of `boot`, V: the variant, n: 48 bits of `number`
/// ```
impl fmt::Display for PostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uuid(0))
    }
}

impl PostId {
    /// The UUID. `kind` is 0 for a post and 1 for a batch; it stands in bits that no process number uses.
    fn uuid(self, kind: u64) -> String {
        let PostId { boot, number } = self;
        let (a, b, c) = (boot >> 32, boot >> 16 & 0xffff, boot & 0xfff);
        let variant = 0x8000 | kind << 4 | boot >> 12 & 0xf;
        format!("{a:08x}-{b:04x}-8{c:03x}-{variant:04x}-{:012x}", number & 0xffff_ffff_ffff)
    }
}

/// The address of a destination. Posts with equal addresses share one queue, one pause and one state.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PostAddress {
    kind: DestinationKind,
    /// Origin and target. For a template it is the text with its placeholders.
    url: Arc<str>,
    /// Length of the origin, the first part of `url`.
    origin_bytes: usize,
    /// Length of the part of `url` that shares a rate limit.
    limit_bytes: usize,
    name: Arc<str>,
    /// The status message that these posts create or edit. It makes another destination with the same rate limit.
    status: Option<Fingerprint>,
    /// The hook, if it posts in batches: such hooks have queues of their own, so that the posts of others for the same URL
    /// do not stand between those of one batch.
    batches_of: Option<Arc<[u8]>>,
}

/// The kind of a destination. It decides the meaning of a status and how long a pause reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DestinationKind {
    /// A Discord webhook.
    Discord,
    /// Any other web server.
    Http {
        /// Whether the URL has placeholders, so that each event may have another URL.
        varies: bool,
    },
}

/// Length of the origin: the position of the `/` that begins the path.
fn origin_bytes(url: &str) -> usize {
    let scheme = url.find("://").map_or(0, |at| at + 3);
    url.get(scheme..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| scheme + at)
}

impl PostAddress {
    /// The address of a Discord webhook. Discord limits the webhook, whatever thread a message goes to. So the query,
    /// which names the thread, makes another destination with the same rate limit.
    pub(crate) fn discord(url: &Url) -> PostAddress {
        let text = url.reveal();
        let limit_bytes = text.find('?').unwrap_or(text.len());
        PostAddress::new(DestinationKind::Discord, &text, &url.to_string(), limit_bytes)
    }

    /// The address of a status message of this webhook. Its posts have a queue of their own, so that they neither wait for
    /// other messages nor delay them.
    pub(crate) fn status(url: &Url, key: Fingerprint) -> PostAddress {
        PostAddress { status: Some(key), ..PostAddress::discord(url) }
    }

    /// The address of any other server. `text` is the URL as the hook has it, with placeholders if `varies`; `name` is
    /// its form without secrets.
    pub(crate) fn http(text: &str, name: &str, varies: bool) -> PostAddress {
        PostAddress::new(DestinationKind::Http { varies }, text, name, text.len())
    }

    fn new(kind: DestinationKind, url: &str, name: &str, limit_bytes: usize) -> PostAddress {
        let (origin_bytes, url, name) = (origin_bytes(url), url.into(), name.into());
        PostAddress { kind, url, origin_bytes, limit_bytes, name, batches_of: None, status: None }
    }

    /// The same address for the batches of this hook.
    pub(crate) fn for_batches_of(self, hook: &Arc<[u8]>) -> PostAddress {
        PostAddress { batches_of: Some(Arc::clone(hook)), ..self }
    }

    /// Whether both lead to the same URL, in batches or not.
    pub(crate) fn leads_to(&self, other: &PostAddress) -> bool {
        self.kind == other.kind && self.url == other.url
    }

    pub(crate) fn kind(&self) -> DestinationKind {
        self.kind
    }

    /// The `type` of the hook's action, as it stands in logs and files.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            DestinationKind::Discord if self.status.is_some() => "discord_status",
            DestinationKind::Discord => "discord",
            DestinationKind::Http { .. } => "http",
        }
    }

    /// The status message of these posts. Only the newest of them counts: it replaces one that waits.
    pub(crate) fn status_key(&self) -> Option<Fingerprint> {
        self.status
    }

    pub(crate) fn is_discord(&self) -> bool {
        self.kind == DestinationKind::Discord
    }

    /// Whether the URL has placeholders.
    pub(crate) fn varies(&self) -> bool {
        self.kind == DestinationKind::Http { varies: true }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        self.url.get(..self.origin_bytes).unwrap_or_default()
    }

    /// The URL with its secrets masked, for logs.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL with its secrets, only for the spool.
    pub(crate) fn reveal(&self) -> &str {
        &self.url
    }

    /// A key that is equal for destinations with a common rate limit. It holds the token of a webhook.
    pub(crate) fn limit(&self) -> Secret {
        Secret::new(self.url.get(..self.limit_bytes).unwrap_or_default().to_owned())
    }
}

/// Prints the name, which has no secrets.
impl fmt::Debug for PostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The content of a post.
#[derive(Debug)]
pub(crate) enum Content {
    /// A Discord message. It stays a message until it is sent, so that others can be merged into it.
    Message {
        url: Url,
        message: Message,
    },
    /// A status message, to be created at this URL or edited there. It is never merged with others.
    Status {
        url: Url,
        message: Message,
        is_new: bool,
    },
    Request(Request),
}

/// The share of a post in batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Gathering {
    pub(crate) batch: Batch,
    /// Until then it waits for others.
    pub(crate) until: Instant,
}

/// The content of several posts in one request, while posts are merged into it.
pub(crate) enum Joint {
    Message(Message),
    /// The number of posts, and the bytes of their bodies.
    Batch {
        posts: u64,
        bytes: usize,
    },
}

/// One request to make; with merged posts, several jobs in one request.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) id: PostId,
    pub(crate) address: PostAddress,
    /// The id of the hook.
    pub(crate) hook: Arc<[u8]>,
    pub(crate) content: Content,
    /// The event behind the post. Set only if the body holds text of the hook's own, which may be secret: then logs and
    /// dead letters show the event instead of the body.
    pub(crate) event: Option<Arc<EventText>>,
    /// From this moment on the post is too old to be delivered.
    pub(crate) expires: Instant,
    pub(crate) retries: Retries,
    /// `None`: it has a request of its own.
    pub(crate) gathering: Option<Gathering>,
    /// Attempts so far that failed or whose result is unknown. A rate limit is not an attempt.
    pub(crate) attempts: u32,
    /// The part of `attempts` that the destination answered.
    pub(crate) refusals: u32,
    /// Later posts that are merged into this post, oldest first. Their own `merged` is empty.
    pub(crate) merged: Vec<Post>,
}

/// Texts that an answer may repeat and a report must not show.
#[derive(Default)]
pub(crate) struct OwnWords {
    pub(crate) secrets: Vec<Secret>,
    /// Bodies with text of the hook's own, each with its event, whose words may be shown.
    pub(crate) bodies: Vec<(Vec<u8>, Arc<EventText>)>,
}

impl Post {
    /// The number of jobs in this post.
    pub(crate) fn jobs(&self) -> u64 {
        1 + self.merged.len() as u64
    }

    /// The post and those merged into it, oldest first.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Post> {
        std::iter::once(self).chain(&self.merged)
    }

    /// Splits the parts into posts of their own. Each keeps the attempts that they made together.
    pub(crate) fn split(mut self) -> Vec<Post> {
        let mut parts = std::mem::take(&mut self.merged);
        for part in &mut parts {
            (part.attempts, part.refusals) = (self.attempts, self.refusals);
        }
        parts.insert(0, self);
        parts
    }

    /// Makes posts of parts that were split: a batch again, messages one by one.
    pub(crate) fn regroup(mut parts: Vec<Post>) -> Vec<Post> {
        if parts.len() > 1 && parts.iter().all(|part| part.gathering.is_some()) {
            let mut first = parts.remove(0);
            first.merged = parts;
            return vec![first];
        }
        parts
    }

    /// Changes the messages of all parts. False if `change` changed none of them.
    pub(crate) fn change_messages(&mut self, change: fn(&mut Message) -> bool) -> bool {
        let mut any = false;
        for part in std::iter::once(&mut self.content).chain(self.merged.iter_mut().map(|part| &mut part.content)) {
            if let Content::Message { message, .. } | Content::Status { message, .. } = part {
                any |= change(message);
            }
        }
        any
    }

    /// Splits a merged post so that its refused part can be found: a batch into halves, messages one by one.
    pub(crate) fn divide(self) -> Vec<Post> {
        let mut parts = self.split();
        let later = parts.split_off(parts.len().div_ceil(2));
        let mut divided = Post::regroup(parts);
        divided.extend(Post::regroup(later));
        divided
    }

    /// What this post sends, as a base for merging more into it. `None` for a post that is not merged, and after its first
    /// attempt: that attempt may have arrived, so the post's id must keep its content.
    pub(crate) fn joint(&self) -> Option<Joint> {
        let joint = match (&self.content, &self.gathering) {
            (Content::Message { message, .. }, _) => Joint::Message(self.whole(message)),
            (Content::Request(_), Some(_)) => {
                Joint::Batch { posts: self.jobs(), bytes: self.parts().map(Post::body_bytes).sum() }
            }
            (Content::Request(_), None) | (Content::Status { .. }, _) => return None,
        };
        (self.attempts == 0).then_some(joint)
    }

    /// Merges this post into `joint`, which begins with the post `first`. False if both cannot go out in one request; then
    /// `joint` is unchanged.
    pub(crate) fn joins(&self, first: &Post, joint: &mut Joint) -> bool {
        if self.attempts > 0 || !self.merged.is_empty() {
            return false;
        }
        match (&self.content, joint) {
            (Content::Message { message, .. }, Joint::Message(joint)) => joint.merge(message),
            (Content::Request(_), Joint::Batch { posts, bytes }) => {
                let total = *bytes + self.body_bytes();
                let fits = first.gathers_more(*posts, *bytes) && total <= BATCH_BYTES_MAX;
                if !fits || !first.batches_with(self) {
                    return false;
                }
                (*posts, *bytes) = (*posts + 1, total);
                true
            }
            _ => false,
        }
    }

    /// Whether a batch that begins with this post takes more than these posts, which have so many bytes.
    pub(crate) fn gathers_more(&self, posts: u64, bytes: usize) -> bool {
        self.gathering.is_some_and(|own| posts < u64::from(own.batch.max)) && bytes < BATCH_BYTES_MAX
    }

    /// Whether both posts can go out in one batch: their hook, its settings and all of the request but the body are equal.
    pub(crate) fn batches_with(&self, other: &Post) -> bool {
        let (Content::Request(own), Content::Request(others)) = (&self.content, &other.content) else { return false };
        let (Some(mine), Some(theirs)) = (&self.gathering, &other.gathering) else { return false };
        let is_same = self.hook == other.hook && mine.batch == theirs.batch && self.retries == other.retries;
        is_same && own.differs_in_body_only(others)
    }

    /// Bytes of the body of this part of a batch.
    pub(crate) fn body_bytes(&self) -> usize {
        match &self.content {
            Content::Request(request) => request.body.len(),
            Content::Message { .. } | Content::Status { .. } => 0,
        }
    }

    /// The message of all parts; `message` is that of the first.
    fn whole(&self, message: &Message) -> Message {
        let mut whole = message.clone();
        for part in &self.merged {
            if let Content::Message { message, .. } = &part.content {
                // Always succeeds: `joins` merged the same messages in this order.
                whole.merge(message);
            }
        }
        whole
    }

    /// About the bytes that the post takes in memory, its parts included.
    pub(crate) fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Message { url, message } | Content::Status { url, message, .. } => {
                message.weight() + url.target().len()
            }
            Content::Request(request) => request.weight(),
        };
        let event = self.event.as_ref().map_or(0, |event| event.weight());
        let merged: usize = self.merged.iter().map(Post::weight).sum();
        content + event + ITEM_OVERHEAD_BYTES + merged
    }

    /// The secret texts in the post: parts of its URLs and headers. A server's error text may repeat them, so they are
    /// redacted there.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        match &self.content {
            Content::Message { url, .. } | Content::Status { url, .. } => {
                let mut secrets = url.secrets();
                for part in self.parts() {
                    if let Content::Message { message, .. } | Content::Status { message, .. } = &part.content {
                        message.urls().into_iter().for_each(|url| secrets.extend(secrets_of(url)));
                    }
                }
                secrets
            }
            Content::Request(request) => request.secrets(),
        }
    }

    /// The texts of this post that no report may show.
    pub(crate) fn own_words(&self) -> OwnWords {
        let bodies = self.parts().filter_map(|part| match (&part.event, &part.content) {
            (Some(event), Content::Request(request)) => Some((request.body.clone(), Arc::clone(event))),
            _ => None,
        });
        let secrets = self.secrets().into_iter().map(|secret| Secret::new(secret.to_owned()));
        OwnWords { secrets: secrets.collect(), bodies: bodies.collect() }
    }

    /// The request to send, with all parts in it. Also a batch of one event has the form of a batch.
    pub(crate) fn request(&self) -> Request {
        match (&self.content, &self.gathering) {
            (Content::Message { url, message }, _) => {
                Request::post_json(url.clone(), self.whole(message).body(), REQUEST_TIMEOUT)
            }
            (Content::Request(request), Some(own)) => {
                let requests = self.parts().filter_map(|part| match &part.content {
                    Content::Request(request) => Some(request),
                    Content::Message { .. } | Content::Status { .. } => None,
                });
                request.joined(requests, own.batch.form)
            }
            (Content::Status { .. }, _) | (Content::Request(_), None) => self.own_request(),
        }
    }

    /// The id to send. That of a batch follows from the ids of its parts: it is equal at every attempt with the same parts,
    /// in the next process too, and another one when parts were added or split off.
    pub(crate) fn sent_id(&self) -> String {
        if self.gathering.is_none() || self.merged.is_empty() {
            return self.id.to_string();
        }
        let mut ids = Vec::with_capacity(16 * (1 + self.merged.len()));
        for PostId { boot, number } in self.parts().map(|part| part.id) {
            ids.extend_from_slice(&boot.to_le_bytes());
            ids.extend_from_slice(&number.to_le_bytes());
        }
        PostId { boot: self.id.boot, number: fingerprint::hash(self.jobs(), ids.iter()) }.uuid(1)
    }

    /// The request of this part alone, for the spool and the dead-letter file: both keep one line for each job.
    pub(crate) fn own_request(&self) -> Request {
        match &self.content {
            Content::Message { url, message } | Content::Status { url, message, is_new: true } => {
                Request::post_json(url.clone(), message.body(), REQUEST_TIMEOUT)
            }
            Content::Status { url, message, is_new: false } => {
                let post = Request::post_json(url.clone(), message.edit_body(), REQUEST_TIMEOUT);
                Request { method: "PATCH".into(), ..post }
            }
            Content::Request(request) => request.clone(),
        }
    }
}
