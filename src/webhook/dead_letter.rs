//! The dead-letter file, `dead_letter.jsonl`: one line of JSON for each post that was given up.
//! Owned by `rt-webhooks`. Bounded, readable for its owner alone, and opened with the first line that there is. Holds no
//! secret: the destination and the URLs of a Discord message are masked, the reason is redacted, headers are left out,
//! and where the hook's own text makes up the body the event stands in its place. Nothing in it can steer a terminal.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::event::identity::MEMBER;
use crate::hooks::url::Url;
use crate::io::bounded_file::BoundedFile;
use crate::json::find;
use crate::webhook::date;
use crate::webhook::post::{Content, Post};
use crate::webhook::schedule::DeadLetter;

/// Size at which the dead-letter file begins anew. The file before it is kept.
const DEAD_LETTER_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes of a payload that one line of the dead-letter file shows.
const DEAD_LETTER_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(DEAD_LETTER_PAYLOAD_BYTES_MAX as u64 * 8 < DEAD_LETTER_FILE_BYTES_MAX);

/// The file, once there was something to write.
pub(crate) struct DeadLetters {
    path: PathBuf,
    file: Option<BoundedFile>,
}

impl DeadLetters {
    pub(crate) fn new(directory: &Path) -> DeadLetters {
        DeadLetters { path: directory.join("dead_letter.jsonl"), file: None }
    }

    /// Writes the line of one post. After an error the file is opened again for the next.
    pub(crate) fn write(&mut self, dead: &DeadLetter, unix_ms: u64) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let (file, failed) = BoundedFile::open_private(self.path.clone(), DEAD_LETTER_FILE_BYTES_MAX)?;
                if let Some(err) = failed {
                    log::warn!("others may read `{}`, its rights cannot be changed: {err}", self.path.display());
                }
                file
            }
        };
        file.write_all(line(dead, unix_ms).as_bytes())?;
        self.file = Some(file);
        Ok(())
    }
}

/// The line, its end included.
fn line(dead: &DeadLetter, unix_ms: u64) -> String {
    let post = &dead.post;
    let line = json!({
        "time": date::iso8601(unix_ms),
        "hook": String::from_utf8_lossy(&post.hook),
        "type": post.address.kind_name(),
        "id": post.id.to_string(),
        "destination": post.address.name(),
        "cause": dead.cause.name(),
        "reason": dead.reason,
        "attempts": post.attempts,
        "payload": shown(post),
    });
    one_line(&line.to_string())
}

/// What the post said, without what only the hook knows.
fn shown(post: &Post) -> Value {
    match (&post.event, &post.content) {
        (Some(event), _) => {
            let mut clean = Vec::new();
            find::push_without(&mut clean, event.payload(), MEMBER);
            payload(&clean)
        }
        (None, Content::Message { .. }) => {
            let mut message = payload(&post.own_request().body);
            mask_urls(&mut message);
            message
        }
        (None, Content::Request(request)) => payload(&request.body),
    }
}

/// Masks the URLs that a message shows: as deep as an embed is, which is bounded.
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

/// JSON as it is; anything else, and what is too long or too deep, as a text.
fn payload(body: &[u8]) -> Value {
    if let Some(cut) = body.get(..DEAD_LETTER_PAYLOAD_BYTES_MAX) {
        return json!(String::from_utf8_lossy(cut));
    }
    // As deep as it will stand in the line, so that whatever reads lines can read this one.
    let nested = serde_json::from_slice::<Vec<Value>>(&[b"[", body, b"]"].concat());
    match nested.ok().as_deref_mut() {
        Some([json]) => json.take(),
        _ => json!(String::from_utf8_lossy(body)),
    }
}

/// JSON text escapes control characters up to 0x1f; so are the others here.
fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match character.is_control() {
            // Writing to a String cannot fail.
            true => _ = write!(line, "\\u{:04x}", u32::from(character)),
            false => line.push(character),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
