//! The dead-letter file, `dead_letter.jsonl`: one line of JSON for each post that was given up.
//! Owned by `rt-webhooks`. The file is bounded, only its owner may read it, and it is made when the first post is given
//! up.
//!
//! ```text
//! {"attempts":3,"cause":"refused","destination":"https://...","hook":"deaths","id":"...","payload":{...},
//!  "reason":"HTTP 400","time":"2023-11-14T22:13:20.000Z","type":"discord"}
//! ```
//! A line holds no secret and no control character:
//! - The destination and the URLs of a Discord message are masked, the reason is redacted, headers are left out.
//! - If the body holds text of the hook's own, the line shows the event instead.
//! - Control characters are escaped, so that showing the file cannot change the state of a terminal.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::calendar::format;
use crate::event::identity::MEMBER;
use crate::hooks::url::Url;
use crate::io::bounded_file::{BoundedFile, Bounds, Written};
use crate::json::find;
use crate::json::writer::Writer;
use crate::webhook::post::{Content, Post};
use crate::webhook::schedule::DeadLetter;

/// Size in bytes at which a new dead-letter file begins. One old file is kept.
const DEAD_LETTER_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of lines that wait while the file cannot be written: some thousand lines of usual posts.
const DEAD_LETTER_WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of a payload that one line shows, so that the file holds many lines whatever their payloads are.
const DEAD_LETTER_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(DEAD_LETTER_PAYLOAD_BYTES_MAX as u64 * 8 < DEAD_LETTER_FILE_BYTES_MAX);

/// The dead-letter file of this process.
pub(crate) struct DeadLetters(BoundedFile);

impl DeadLetters {
    /// Names the file in this directory. Does not open it yet.
    pub(crate) fn new(directory: &Path) -> DeadLetters {
        let (bytes_max, waiting_bytes_max) = (DEAD_LETTER_FILE_BYTES_MAX, DEAD_LETTER_WAITING_BYTES_MAX);
        let bounds = Bounds { bytes_max, waiting_bytes_max, is_private: true };
        DeadLetters(BoundedFile::new(directory.join("dead_letter.jsonl"), bounds))
    }

    /// Writes the line of one post that was given up at `unix_ms`. While the file cannot be written, it waits in memory.
    pub(crate) fn write(&mut self, dead: &DeadLetter, unix_ms: u64, now: Instant) -> Written {
        self.0.append(line(dead, unix_ms).as_bytes(), now)
    }

    /// When lines that wait are to be tried again. `None`: no line waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.due()
    }

    /// Tries to write the lines that wait.
    pub(crate) fn retry(&mut self, now: Instant) -> Written {
        self.0.retry(now)
    }

    /// Gives the lines up that wait, and returns their number.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.0.give_up()
    }
}

/// The line of one post, with its line end.
fn line(dead: &DeadLetter, unix_ms: u64) -> String {
    let post = &dead.post;
    let mut line = Writer::default();
    line.open(b'{');
    line.name("attempts").shown(&post.attempts);
    line.name("cause").text(dead.cause.name().as_bytes());
    line.name("destination").text(post.address.name().as_bytes());
    line.name("hook").text(&post.hook);
    line.name("id").text(post.id.to_string().as_bytes());
    line.name("payload").shown(&shown(post));
    line.name("reason").text(dead.reason.as_bytes());
    line.name("time").text(format::iso8601(unix_ms).as_bytes());
    line.name("type").text(post.address.kind_name().as_bytes());
    line.close(b'}');
    one_line(&line.end())
}

/// The payload to show: the event if the body holds the hook's own text, else the body.
fn shown(post: &Post) -> Value {
    match (&post.event, &post.content) {
        (Some(event), _) => {
            let mut clean = Vec::new();
            find::push_without(&mut clean, event.payload(), MEMBER);
            payload(&clean)
        }
        (None, Content::Message { .. } | Content::Status { .. }) => {
            let mut message = payload(&post.own_request().body);
            mask_urls(&mut message);
            message
        }
        (None, Content::Request(request)) => payload(&request.body),
    }
}

/// Masks the URLs that a message shows. The recursion is as deep as an embed, which is bounded.
fn mask_urls(message: &mut Value) {
    match message {
        Value::Array(items) => items.iter_mut().for_each(mask_urls),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(url) if name == "url" || name.ends_with("_url") => {
                        *url = Url::parse(url).map_or_else(|_| "***".to_owned(), |url| url.to_string());
                    }
                    other => mask_urls(other),
                }
            }
        }
        _ => {}
    }
}

/// The body as JSON. A body that is not JSON, too long or too deep becomes a string.
fn payload(body: &[u8]) -> Value {
    let text = |bytes| Value::String(String::from_utf8_lossy(bytes).into_owned());
    if let Some(cut) = body.get(..DEAD_LETTER_PAYLOAD_BYTES_MAX) {
        return text(cut);
    }
    // Parsed inside an array, one level deeper than it is, because in the line it stands one level deeper too. So a
    // parser with serde_json's limit of depth can read the line.
    match serde_json::from_slice(&[b"[", body, b"]"].concat()) {
        Ok(Value::Array(mut entries)) if entries.len() == 1 => entries.remove(0),
        _ => text(body),
    }
}

/// Ends the line, and escapes the control characters that JSON leaves as they are: U+007F to U+009F.
fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if character.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(character));
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
