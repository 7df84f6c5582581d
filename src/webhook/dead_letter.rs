//! The dead-letter file, `dead_letter.jsonl`: one line of JSON for each post that was given up.
//! Owned by `rt-webhooks`. Bounded, and opened with the first line that there is. Holds no secret: the destination is
//! masked, the reason redacted, headers are left out. Nothing in it can steer a terminal.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bounded_file::BoundedFile;
use crate::config::{DEAD_LETTER_FILE_BYTES_MAX, DEAD_LETTER_PAYLOAD_BYTES_MAX};
use crate::webhook::date;
use crate::webhook::schedule::Dead;

/// The file, once there was something to write.
pub struct DeadLetters {
    path: PathBuf,
    file: Option<BoundedFile>,
}

impl DeadLetters {
    pub fn new(directory: &Path) -> DeadLetters {
        DeadLetters { path: directory.join("dead_letter.jsonl"), file: None }
    }

    /// Writes the line of one post. After an error the file is opened again for the next.
    pub fn write(&mut self, dead: &Dead, unix_ms: u64) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => BoundedFile::open(self.path.clone(), DEAD_LETTER_FILE_BYTES_MAX)?,
        };
        file.write_all(line(dead, unix_ms).as_bytes())?;
        self.file = Some(file);
        Ok(())
    }
}

/// The line, its end included.
fn line(dead: &Dead, unix_ms: u64) -> String {
    let post = &dead.post;
    let mut hooks: Vec<_> = post.hooks.iter().map(|hook| String::from_utf8_lossy(hook).into_owned()).collect();
    hooks.dedup();
    let body = post.request().body;
    let line = json!({
        "time": date::iso8601(unix_ms),
        "hooks": hooks,
        "jobs": post.jobs(),
        "type": post.address.kind(),
        "id": post.id.to_string(),
        "destination": post.address.name(),
        "cause": dead.cause.name(),
        "reason": dead.reason,
        "attempts": post.attempts,
        "payload": payload(&body),
    });
    one_line(&line.to_string())
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
