//! Composes the post of a job: fills the hook's templates from the event. Runs on `rt-webhooks`, so that neither the game
//! thread nor the subscriber pays for it. It queues nothing and does no I/O.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::event::{EventText, identity};
use crate::hooks::delivery::Retries;
use crate::hooks::request::{HttpBody, Webhook};
use crate::hooks::template::Fields;
use crate::hooks::url::Url;
use crate::json::tape::{self, Undecoded};
use crate::json::text;
use crate::threads::webhooks::queue::{Job, Webhooks, address_of};
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Gathering, Post, PostAddress, PostId};

/// The post of a job, with a new id. `left_out` gets a sentence for each part of it that the event does not give, as for
/// [`Message::of`]. The error is the reason why the templates cannot be filled from this event.
/// `scratch` is memory for the tape, kept from job to job.
pub(super) fn post_of(
    job: &Job,
    webhooks: &Webhooks,
    scratch: &mut Vec<u8>,
    left_out: &mut Vec<String>,
) -> Result<Post, String> {
    let event = &*job.event;
    scratch.clear();
    let mut json = Cow::Borrowed(event.payload());
    // Without the identity: it is of no use to a destination.
    let parsed = tape::parse_without(event.payload(), Some(identity::MEMBER), scratch, &mut Vec::new());
    if parsed.is_err() {
        // Lua gets a payload that cannot be decoded as a string, and so do templates.
        tape::push_text(scratch, event.payload());
    }
    // A body without a template is the payload. It must be JSON, so any other text is sent as one JSON string.
    if let Err(Undecoded::NotJson { .. }) = parsed {
        let mut string = Vec::new();
        text::push_string(&mut string, event.payload());
        json = Cow::Owned(string);
    }
    let Job { offset_s, .. } = *job;
    let fields = Fields { tape: scratch, json: &json, channel: event.channel(), unix_ms: event.unix_ms, offset_s };
    // An answer may quote the body. If a template of the hook made it, the event is kept to tell the event's words,
    // which may be shown, from the hook's own, which may be secret.
    let shows_own_text = matches!(&*job.webhook, Webhook::Http(http) if matches!(http.body, HttpBody::Template(_)));
    let content = match &*job.webhook {
        Webhook::Discord(discord) => {
            let message = Message::of(discord, &fields, left_out).map_err(|err| err.to_string())?;
            Content::Message { url: answered_url(&discord.url), message }
        }
        Webhook::Http(http) => Content::Request(Request::of(http, &fields).map_err(|err| err.to_string())?),
    };
    let (retries, batch) = match &*job.webhook {
        Webhook::Discord(discord) => (discord.retries, None),
        Webhook::Http(http) => (http.retries, http.batch),
    };
    let address = address_of(&job.webhook);
    let address = if batch.is_some() { address.for_batches_of(&job.hook) } else { address };
    let event = shows_own_text.then(|| Arc::clone(&job.event));
    let now = Instant::now();
    Ok(Post {
        expires: now + retries.retry_for,
        retries,
        gathering: batch.map(|batch| Gathering { batch, until: now + batch.wait }),
        ..post(webhooks, address, Arc::clone(&job.hook), content, event)
    })
}

/// A post with a new id, which is repeated for the usual time. `hook` is the id of its hook; `event` as in [`Post`].
pub(super) fn post(
    webhooks: &Webhooks,
    address: PostAddress,
    hook: Arc<[u8]>,
    content: Content,
    event: Option<Arc<EventText>>,
) -> Post {
    let id = PostId { boot: webhooks.boot, number: webhooks.numbers.fetch_add(1, Ordering::Relaxed) };
    let retries = Retries::default();
    let (expires, gathering, merged) = (Instant::now() + retries.retry_for, None, Vec::new());
    Post { id, address, hook, content, event, expires, retries, gathering, attempts: 0, refusals: 0, merged }
}

/// The URL with `wait=true`, unless it has a `wait`. Discord confirms a message only with this parameter; without it, a
/// refused message would look delivered (Discord's documentation of "Execute Webhook").
fn answered_url(url: &Url) -> Url {
    if url.asks_for("wait") { url.clone() } else { url.with_query("wait=true") }
}
