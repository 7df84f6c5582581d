//! The spool file, `spool.jsonl`: what was not posted when the server may have ended, for the next process.
//! Written by `rt-webhooks` in one piece (a temporary file, then a rename), for its owner's eyes only: it holds URLs and
//! headers. The next process takes it once; the one that wrote it removes it when nothing waits any more.
//! One line of JSON for each post. A line that cannot be read costs that post, and is counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX, SPOOL_BYTES_MAX, Secret, WEBHOOK_AGE_MAX};
use crate::url::Url;
use crate::webhook::http::Request;
use crate::webhook::post::{Address, Content, Post, PostId};

/// Both clocks at one moment.
#[derive(Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub unix_ms: u64,
}

/// The text of a spool.
#[derive(Debug, Default, PartialEq)]
pub struct Lines {
    text: Vec<u8>,
    pub posts: usize,
    /// Posts that found no room.
    pub left_out: usize,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("spool.jsonl")
}

/// The lines of these posts.
pub fn lines<'a>(posts: impl Iterator<Item = &'a Post>, now: Now) -> Lines {
    let mut lines = Lines::default();
    for post in posts {
        let line = line(post, now);
        if lines.text.len() + line.len() > SPOOL_BYTES_MAX {
            lines.left_out += 1;
            continue;
        }
        lines.text.extend_from_slice(line.as_bytes());
        lines.posts += 1;
    }
    lines
}

/// Writes the lines in place of what the file had.
pub fn write(directory: &Path, lines: &Lines) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let temporary = directory.join("spool.jsonl.new");
    // One that a killed process left; its rights may be others.
    remove_file(&temporary)?;
    let mut file = create_private(&temporary)?;
    file.write_all(&lines.text)?;
    file.sync_data()?;
    fs::rename(&temporary, path(directory))
}

/// Removes the file, if it is there.
pub fn remove(directory: &Path) -> io::Result<()> {
    remove_file(&path(directory))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What the process before left: its posts, and how many lines could not be read. The file is gone afterwards.
pub fn take(directory: &Path, now: Now) -> io::Result<(Vec<Post>, usize)> {
    let path = path(directory);
    let mut text = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(SPOOL_BYTES_MAX as u64).read_to_end(&mut text)?,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(err) => return Err(err),
    };
    remove_file(&path)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let (mut posts, mut unreadable) = (Vec::new(), 0);
    for line in lines {
        match serde_json::from_slice(line).ok().and_then(|line: Value| post(&line, now)) {
            Some(post) => posts.push(post),
            None => unreadable += 1,
        }
    }
    Ok((posts, unreadable))
}

/// The line of one post, its end included.
fn line(post: &Post, now: Now) -> String {
    let request = post.request();
    let left = post.expires.saturating_duration_since(now.instant);
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| json!([name, value.reveal()])).collect();
    let hooks: Vec<_> = post.hooks.iter().map(|hook| String::from_utf8_lossy(hook)).collect();
    let line = json!({
        "boot": post.id.boot.to_string(),
        "number": post.id.number.to_string(),
        "type": post.address.kind(),
        "address": post.address.reveal(),
        "name": post.address.name(),
        "varies": post.address.varies(),
        "hooks": hooks,
        "attempts": post.attempts,
        "refusals": post.refusals,
        "saved_ms": now.unix_ms,
        "left_ms": millis(left),
        "url": request.url.reveal(),
        "method": request.method,
        "headers": headers,
        "timeout_ms": millis(request.timeout),
        "body": String::from_utf8_lossy(&request.body),
    });
    format!("{line}\n")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The post of a line; its clock went on while no process ran.
fn post(line: &Value, now: Now) -> Option<Post> {
    let text = |name: &str| line.get(name)?.as_str();
    let number = |name: &str| line.get(name)?.as_u64();
    let small = |name: &str| u32::try_from(number(name)?).ok();
    let url = Url::parse(text("url")?).ok()?;
    let address = match text("type")? {
        "discord" => Address::discord(&Url::parse(text("address")?).ok()?),
        "http" => Address::http(text("address")?.to_owned(), text("name")?.to_owned(), line.get("varies")?.as_bool()?),
        _ => return None,
    };
    let header = |pair: &Value| {
        let (name, value) = (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
        // What could end a header was never let into one; the file may be anybody's.
        let is_clean =
            !name.is_empty() && [name, value].iter().all(|text| text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')));
        is_clean.then(|| (name.into(), Secret::new(value.to_owned())))
    };
    let headers = line.get("headers")?.as_array()?.iter().map(header).collect::<Option<Vec<_>>>()?;
    let hooks = line.get("hooks")?.as_array()?.iter();
    let hooks: Vec<Arc<[u8]>> =
        hooks.map(|hook| hook.as_str().map(|hook| hook.as_bytes().into())).collect::<Option<_>>()?;
    let method = text("method")?;
    if hooks.is_empty() || method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let away = Duration::from_millis(now.unix_ms.saturating_sub(number("saved_ms")?));
    let left = Duration::from_millis(number("left_ms")?).min(WEBHOOK_AGE_MAX).saturating_sub(away);
    let timeout = Duration::from_millis(number("timeout_ms")?).min(REQUEST_TIMEOUT_MAX);
    let request = Request {
        url,
        method: method.into(),
        headers,
        body: text("body")?.as_bytes().to_vec(),
        timeout: if timeout.is_zero() { REQUEST_TIMEOUT } else { timeout },
    };
    Some(Post {
        id: PostId { boot: text("boot")?.parse().ok()?, number: text("number")?.parse().ok()? },
        address,
        hooks,
        content: Content::Request(request),
        expires: now.instant + left,
        attempts: small("attempts")?,
        refusals: small("refusals")?,
    })
}

#[cfg(test)]
mod tests;
