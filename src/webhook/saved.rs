//! The line of JSON in which a file keeps one post: its request with all secrets, its hook and its deadline. And the name
//! of a post in a mark, which says that it is settled.
//! Written and read by `spool` and `overflow`; pure: the caller passes the clocks.
//!
//! ```text
//! {"boot":"7","number":"1","type":"discord","address":...,"url":...,"body":...,"saved_ms":...,"left_ms":...}
//! ```
//! A line of an older version or of a changed file is checked again: whatever it holds, the request is one that a hook
//! could have made.
//! JSON holds text only. An id of a hook that is not UTF-8 stands in `hook_base64`; `hook` shows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::base64;
use crate::config::Secret;
use crate::config::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX, WEBHOOK_PATIENCE_MAX};
use crate::event::EventText;
use crate::hooks::delivery::{BATCH_EVENTS_MAX, Batch, BatchForm, Retries};
use crate::hooks::signature::{self, SECRETS_MAX, Signing};
use crate::hooks::url::Url;
use crate::json::writer::Writer;
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Gathering, Post, PostAddress, PostId};

/// Both clocks at one moment. Deadlines are counted by the monotonic clock in the process, and by the clock of the world
/// between two processes.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) unix_ms: u64,
}

/// The line that marks these posts as settled, with its line end. A mark is `boot-number`.
pub(crate) fn marks(ids: &[PostId]) -> String {
    let mut line = Writer::default();
    line.open(b'{');
    let marks: Vec<String> = ids.iter().map(|PostId { boot, number }| format!("{boot}-{number}")).collect();
    line.name("done").texts(&marks);
    line.close(b'}');
    line.end() + "\n"
}

/// Whether a line, or a part of one, is a mark.
pub(crate) fn is_mark(line: &[u8]) -> bool {
    line.starts_with(br#"{"done":"#)
}

/// The posts that this line marks, as [`marks`] wrote it. `None`: it is no mark. Takes no memory, however long the line is.
pub(crate) fn marked_in(line: &[u8]) -> Option<impl Iterator<Item = PostId>> {
    let marked = |mark: &[u8]| {
        let mark = std::str::from_utf8(mark.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()?;
        let (boot, number) = mark.split_once('-')?;
        Some(PostId { boot: boot.parse().ok()?, number: number.parse().ok()? })
    };
    let list = line.trim_ascii().strip_prefix(br#"{"done":["#)?.strip_suffix(b"]}")?;
    Some(list.split(|byte| *byte == b',').filter_map(marked))
}

/// The line of one post, with its line end. `saved_ms` and `left_ms` together carry the deadline over to a process with
/// another monotonic clock.
pub(crate) fn line(post: &Post, now: Now) -> String {
    let request = post.own_request();
    let left = post.expires.saturating_duration_since(now.instant);
    let mut line = Writer::default();
    line.open(b'{');
    for (name, text) in [
        ("boot", post.id.boot.to_string().as_bytes()),
        ("number", post.id.number.to_string().as_bytes()),
        ("type", post.address.kind_name().as_bytes()),
        ("address", post.address.reveal().as_bytes()),
        ("name", post.address.name().as_bytes()),
        ("hook", &post.hook),
        ("url", request.url.reveal().as_bytes()),
        ("method", request.method.as_bytes()),
        ("body", &request.body),
    ] {
        line.name(name).text(text);
    }
    for (name, number) in [
        ("attempts", u64::from(post.attempts)),
        ("refusals", u64::from(post.refusals)),
        ("saved_ms", now.unix_ms),
        ("left_ms", millis(left)),
        ("timeout_ms", millis(request.timeout)),
    ] {
        line.name(name).shown(&number);
    }
    line.name("varies").shown(&post.address.varies());
    // Members that few hooks need.
    if std::str::from_utf8(&post.hook).is_err() {
        line.name("hook_base64").text(base64::encode(&post.hook).as_bytes());
    }
    if post.retries != Retries::default() {
        line.name("retry_ms").shown(&millis(post.retries.retry_for));
        line.name("attempts_max").shown(&post.retries.attempts);
    }
    if let Some(Gathering { batch, .. }) = &post.gathering {
        line.name("batch_max").shown(&batch.max);
        line.name("batch_ms").shown(&millis(batch.wait));
        line.name("batch_lines").shown(&(batch.form == BatchForm::Lines));
    }
    line.name("headers").open(b'[');
    for (name, value) in &request.headers {
        line.texts(&[name, value.reveal()]);
    }
    line.close(b']');
    if !request.signing.is_empty() {
        line.name("secrets").texts(&request.signing.reveal());
    }
    if let Some(event) = &post.event {
        line.name("event").open(b'{');
        line.name("channel").text(event.channel());
        line.name("payload").text(event.payload());
        line.name("unix_ms").shown(&event.unix_ms);
        line.close(b'}');
    }
    line.close(b'}');
    line.end() + "\n"
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A line of the spool, or the event in it.
#[derive(Clone, Copy)]
struct Line<'a>(&'a Value);

impl<'a> Line<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    fn number(self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    fn small(self, name: &str) -> Option<u32> {
        u32::try_from(self.number(name)?).ok()
    }

    fn url(self, name: &str) -> Option<Url> {
        Url::reread(self.text(name)?).ok()
    }
}

/// Parses the post of one line. Its time went on while no process ran. Older versions wrote a list `hooks` in the place of
/// `hook`, and a `name` that may show a secret: then the name is made anew from the URL.
pub(crate) fn post(line: &Value, now: Now) -> Option<Post> {
    let line = Line(line);
    let id = PostId { boot: line.text("boot")?.parse().ok()?, number: line.text("number")?.parse().ok()? };
    let (attempts, refusals) = (line.small("attempts")?, line.small("refusals")?);
    let away = Duration::from_millis(now.unix_ms.saturating_sub(line.number("saved_ms")?));
    let left = Duration::from_millis(line.number("left_ms")?).min(WEBHOOK_PATIENCE_MAX).saturating_sub(away);
    let hooks = line.0.get("hooks");
    let hook = match line.text("hook_base64") {
        Some(bytes) => base64::decode(bytes)?,
        None => line.text("hook").or_else(|| hooks?.get(0)?.as_str())?.into(),
    };
    let event = match line.0.get("event") {
        Some(event) => Some(self::event(Line(event))?),
        None => None,
    };
    let (address, content) = match line.text("type")? {
        "discord" => {
            let message = Message::from_body(&serde_json::from_str(line.text("body")?).ok()?)?;
            (PostAddress::discord(&line.url("address")?), Content::Message { url: line.url("url")?, message })
        }
        "http" => {
            let request = request(line)?;
            let name = if hooks.is_some() { request.url.to_string() } else { line.text("name")?.to_owned() };
            let varies = line.0.get("varies")?.as_bool()?;
            (PostAddress::http(line.text("address")?, &name, varies), Content::Request(request))
        }
        _ => return None,
    };
    let (hook, expires, merged): (Arc<[u8]>, _, _) = (hook.into(), now.instant + left, Vec::new());
    let retries = match line.number("retry_ms") {
        Some(retry_ms) => Retries {
            retry_for: Duration::from_millis(retry_ms).min(WEBHOOK_PATIENCE_MAX),
            attempts: line.small("attempts_max")?,
        },
        None => Retries::default(),
    };
    // It has waited already: it goes out with those that wait now.
    let gathering = batch(line).map(|batch| Gathering { batch, until: now.instant });
    let address = if gathering.is_some() { address.for_batches_of(&hook) } else { address };
    Some(Post { id, address, hook, content, event, expires, retries, gathering, attempts, refusals, merged })
}

/// The batches in which the post goes out. `None` for a post with a request of its own.
fn batch(line: Line<'_>) -> Option<Batch> {
    let max = line.small("batch_max").filter(|max| (1..=BATCH_EVENTS_MAX).contains(&u64::from(*max)))?;
    let form = if line.0.get("batch_lines")?.as_bool()? { BatchForm::Lines } else { BatchForm::Array };
    Some(Batch { max, wait: Duration::from_millis(line.number("batch_ms")?), form })
}

/// Parses the request of one line.
fn request(line: Line<'_>) -> Option<Request> {
    // No spooled header has a character that could end it, but another program may have changed the file.
    let is_clean = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let mut headers = Vec::new();
    for pair in line.0.get("headers")?.as_array()? {
        let (name, value) = (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
        if name.is_empty() || !is_clean(name) || !is_clean(value) {
            return None;
        }
        headers.push((name.into(), Secret::new(value.to_owned())));
    }
    let method = line.text("method")?;
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let timeout = Duration::from_millis(line.number("timeout_ms")?).min(REQUEST_TIMEOUT_MAX);
    let timeout = if timeout.is_zero() { REQUEST_TIMEOUT } else { timeout };
    let body = line.text("body")?.as_bytes().to_vec();
    let signing = signing(line)?;
    Some(Request { url: line.url("url")?, method: method.into(), headers, body, signing, timeout })
}

/// Parses the secrets of one line; a request without them is not signed. `None`: one of them cannot sign, and unsigned
/// its receiver would refuse the request.
fn signing(line: Line<'_>) -> Option<Signing> {
    let Some(secrets) = line.0.get("secrets") else { return Some(Signing::default()) };
    let secrets = secrets.as_array()?.iter().take(SECRETS_MAX).map(|secret| {
        let secret = secret.as_str().filter(|secret| signature::check(secret).is_ok())?;
        Some(Secret::new(secret.to_owned()))
    });
    secrets.collect::<Option<Vec<_>>>().map(Signing::new)
}

/// Parses the event of one line.
fn event(line: Line<'_>) -> Option<Arc<EventText>> {
    let [channel, payload] = ["channel", "payload"].map(|name| line.text(name).map(str::as_bytes));
    Some(Arc::new(EventText::new(channel?, &[payload?], line.number("unix_ms")?)))
}
