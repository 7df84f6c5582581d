//! Composes the post of a job: fills the hook's templates from the event. Runs on `rt-webhooks`, so that neither the game
//! thread nor the subscriber pays for it. It queues nothing and does no I/O.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::event::identity;
use crate::hooks::request::{HttpBody, Webhook};
use crate::hooks::template::Fields;
use crate::hooks::url::Url;
use crate::json::tape::{self, Undecoded};
use crate::json::text;
use crate::threads::webhooks::queue::{Job, Webhooks, address_of};
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Gathering, Post, PostId};

/// The post of a job, with a new id. The error is the reason why the templates cannot be filled from this event.
/// `scratch` is memory for the tape, kept from job to job.
pub(super) fn post_of(job: &Job, webhooks: &Webhooks, scratch: &mut Vec<u8>) -> Result<Post, String> {
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
    let fields = Fields { tape: scratch, channel: event.channel(), unix_ms: event.unix_ms };
    // An answer may quote the body. If a template of the hook made it, the event is kept to tell the event's words,
    // which may be shown, from the hook's own, which may be secret.
    let shows_own_text = matches!(&*job.webhook, Webhook::Http(http) if matches!(http.body, HttpBody::Template(_)));
    let content = match &*job.webhook {
        Webhook::Discord(discord) => {
            let message = Message::of(discord, &fields).map_err(|err| err.to_string())?;
            Content::Message { url: answered_url(&discord.url), message }
        }
        Webhook::Http(http) => Content::Request(Request::of(http, &fields, &json).map_err(|err| err.to_string())?),
    };
    let (retries, batch) = match &*job.webhook {
        Webhook::Discord(discord) => (discord.retries, None),
        Webhook::Http(http) => (http.retries, http.batch),
    };
    let (number, now) = (webhooks.numbers.fetch_add(1, Ordering::Relaxed), Instant::now());
    let address = address_of(&job.webhook);
    Ok(Post {
        id: PostId { boot: webhooks.boot, number },
        address: if batch.is_some() { address.for_batches_of(&job.hook) } else { address },
        hook: Arc::clone(&job.hook),
        content,
        event: shows_own_text.then(|| Arc::clone(&job.event)),
        expires: now + retries.retry_for,
        retries,
        gathering: batch.map(|batch| Gathering { batch, until: now + batch.wait }),
        attempts: 0,
        refusals: 0,
        merged: Vec::new(),
    })
}

/// The URL with `wait=true`, unless it has a `wait`. Discord confirms a message only with this parameter; without it, a
/// refused message would look delivered (Discord's documentation of "Execute Webhook").
fn answered_url(url: &Url) -> Url {
    let query = url.target().split_once('?').map_or("", |(_, query)| query);
    let is_said = query.split('&').any(|member| member.starts_with("wait="));
    if is_said { url.clone() } else { url.with_query("wait=true") }
}
