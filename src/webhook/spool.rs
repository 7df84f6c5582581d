//! The spool files keep the posts that were not delivered when the server may have ended, for the next process.
//! Owned by `rt-webhooks`. Each process has a spool of its own: `spool.jsonl`, or `spool.2.jsonl` and so on if several
//! processes share a folder. It holds the spool's lock file (`spool.lock`, `spool.2.lock`) while it lives. The process
//! that gets the lock of a dead process adopts its posts; a living process keeps the lock, so nobody adopts its posts.
//!
//! ```text
//! {"boot":"7","number":"1","type":"discord","url":...}      one line for each post, written in one piece:
//! {"boot":"7","number":"2","type":"http","url":...}         a temporary file, a rename, then a sync
//! {"done":["7-1"]}                                          appended when a post is delivered or given up
//! ```
//! - A mark is written at once but not synced. Only a crash of the whole machine can lose it; then a post is sent twice.
//! - The file is removed when all its posts are settled, that is delivered or given up.
//! - A line that cannot be parsed loses that post alone, and is counted.
//! - A file that is not a spool is left untouched, and this process uses the next number.
//!
//! Only the owner may read a spool (mode 0600; on Windows it has the rights of the folder). It holds URLs and headers with
//! their secrets. The next process sends the posts before any script adds the hook again, and even if none does, so it
//! has no other source for the secrets.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::Secret;
use crate::config::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX, WEBHOOK_AGE_MAX};
use crate::event::EventText;
use crate::hooks::url::Url;
use crate::io::{bounded_file, plain_file};
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Post, PostAddress, PostId};

/// Most bytes of posts in one spool. The marks appended later take less than the posts.
const SPOOL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most processes that may share one folder, each with a spool of its own.
const SPOOLS_MAX: usize = 16;

/// Both clocks at one moment. Deadlines are counted by the monotonic clock in the process, and by the clock of the world
/// between two processes.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) unix_ms: u64,
}

/// The spool of this process.
pub(crate) struct Spool {
    directory: PathBuf,
    own: Slot,
    /// Spools of dead processes whose posts this process has adopted. Their files stay until its own file holds the posts.
    adopted: Vec<Slot>,
    /// The posts in the own file that are not settled.
    written: HashSet<PostId>,
    /// The own file, open for appending marks. `None` before the first mark.
    marks: Option<File>,
}

/// The number of a spool with its lock. No other process uses that spool while this value lives.
struct Slot {
    number: usize,
    _lock: File,
}

/// The result of opening a spool.
pub(crate) struct Opened {
    pub(crate) spool: Spool,
    /// The posts of dead processes.
    pub(crate) posts: Vec<Post>,
    /// Number of lines that could not be parsed.
    pub(crate) unreadable: usize,
    /// Files that cannot be used and are left untouched, each with the reason.
    pub(crate) left: Vec<String>,
}

/// The text of a spool, made before it is written: the schedule's lock must not be held during I/O.
#[derive(Default)]
pub(crate) struct Lines {
    text: Vec<u8>,
    posts: HashSet<PostId>,
    /// Posts beyond the size limit.
    pub(crate) left_out: usize,
}

/// `spool.jsonl`, `spool.2.jsonl`, ...
fn file_name(number: usize, end: &str) -> String {
    if number == 1 { format!("spool.{end}") } else { format!("spool.{number}.{end}") }
}

impl Spool {
    /// Takes the first free spool for this process, and adopts the posts of all other spools without a living process.
    /// The files of dead processes stay until [`Spool::write`]: if this process dies before, the next one adopts them.
    pub(crate) fn open(directory: &Path, now: Now) -> io::Result<Opened> {
        plain_file::make_folder(directory)?;
        let (mut slots, mut posts, mut left, mut unreadable) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut known, mut bytes) = (HashSet::new(), 0);
        for number in 1..=SPOOLS_MAX {
            // The first free number is taken even without a file. Further ones are adopted while the adopted
            // files together are not larger than one spool may be.
            let path = directory.join(file_name(number, "jsonl"));
            if !slots.is_empty() && (bytes > SPOOL_BYTES_MAX || !path.exists()) {
                continue;
            }
            let slot = match Slot::take(directory, number) {
                Ok(Some(slot)) => slot,
                Ok(None) => continue,
                Err(err) => {
                    left.push(format!("`{}`: {err}", directory.join(file_name(number, "lock")).display()));
                    continue;
                }
            };
            match read(&path) {
                Ok(text) => {
                    bytes += text.len();
                    match parse(&text, now) {
                        Some(found) => {
                            unreadable += found.unreadable;
                            // A process that died while it adopted a spool leaves its posts in both files.
                            posts.extend(found.posts.into_iter().filter(|post: &Post| known.insert(post.id)));
                            slots.push(slot);
                        }
                        None => left.push(format!("`{}` is not a spool", path.display())),
                    }
                }
                Err(err) => left.push(format!("`{}`: {err}", path.display())),
            }
        }
        let mut slots = slots.into_iter();
        let none = || {
            let unusable: String = left.iter().map(|found| format!(", {found}")).collect();
            io::Error::other(format!("no spool of {SPOOLS_MAX} is free{unusable}"))
        };
        let own = slots.next().ok_or_else(none)?;
        let directory = directory.to_owned();
        let spool = Spool { directory, own, adopted: slots.collect(), written: HashSet::new(), marks: None };
        Ok(Opened { spool, posts, unreadable, left })
    }

    /// Formats the lines of these posts. Posts beyond [`SPOOL_BYTES_MAX`] are left out and counted.
    pub(crate) fn lines<'a>(posts: impl Iterator<Item = &'a Post>, now: Now) -> Lines {
        let mut lines = Lines::default();
        for post in posts {
            let line = line(post, now);
            if lines.text.len() + line.len() > SPOOL_BYTES_MAX {
                lines.left_out += 1;
                continue;
            }
            lines.text.extend_from_slice(line.as_bytes());
            lines.posts.insert(post.id);
        }
        lines
    }

    /// Replaces the content of the own file by these lines, then removes the files of dead processes. Without lines it
    /// removes the own file too. A kill at any moment leaves either the old or the new content.
    pub(crate) fn write(&mut self, lines: Lines) -> io::Result<()> {
        self.marks = None;
        if !lines.posts.is_empty() {
            // Another program may have removed the folder.
            plain_file::make_folder(&self.directory)?;
            let temporary = self.path("jsonl.new");
            // A killed process may have left a temporary file, with other rights.
            remove_file(&temporary)?;
            let mut file = bounded_file::private(OpenOptions::new().write(true).create_new(true)).open(&temporary)?;
            file.write_all(&lines.text)?;
            fs::rename(&temporary, self.path("jsonl"))?;
            // Synced after the rename: a sync on a busy disk may take seconds, and the process may end at any moment.
            file.sync_data()?;
        }
        self.written = lines.posts;
        self.remove_settled_files()
    }

    /// Marks these posts as settled, so that the next process does not send them again. Posts that the file does not hold
    /// need no mark. After the last one the file is removed.
    pub(crate) fn settled(&mut self, ids: impl Iterator<Item = PostId>) -> io::Result<()> {
        if self.written.is_empty() {
            return Ok(());
        }
        let done: Vec<String> = ids.filter(|id| self.written.remove(id)).map(mark).collect();
        if done.is_empty() {
            return Ok(());
        }
        if self.written.is_empty() {
            return self.remove_settled_files();
        }
        let file = match self.marks.take() {
            Some(file) => file,
            None => match plain_file::open(OpenOptions::new().append(true), &self.path("jsonl")) {
                // Another program removed it, so no post can be sent again.
                Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            },
        };
        (&file).write_all(format!("{}\n", json!({ "done": done })).as_bytes())?;
        self.marks = Some(file);
        Ok(())
    }

    /// Removes the files of dead processes, whose posts are in the own file, and the own file if all its posts are settled.
    fn remove_settled_files(&mut self) -> io::Result<()> {
        self.marks = None;
        if self.written.is_empty() {
            remove_file(&self.path("jsonl"))?;
        }
        while let Some(slot) = self.adopted.last() {
            remove_file(&self.directory.join(file_name(slot.number, "jsonl")))?;
            self.adopted.pop();
        }
        Ok(())
    }

    /// The path of a file of the own spool.
    fn path(&self, end: &str) -> PathBuf {
        self.directory.join(file_name(self.own.number, end))
    }
}

impl Slot {
    /// Takes the lock of this number. `None`: another process holds it.
    fn take(directory: &Path, number: usize) -> io::Result<Option<Slot>> {
        let path = directory.join(file_name(number, "lock"));
        let mut options = OpenOptions::new();
        let options = bounded_file::private(options.read(true).write(true).create(true).truncate(false));
        let file = plain_file::open(options, &path)?;
        match plain_file::try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system without locks is still good enough for a single process.
            Err(TryLockError::Error(err)) if err.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(err)) => return Err(err),
        }
        Ok(Some(Slot { number, _lock: file }))
    }
}

/// Removes a file, if it exists.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// The text of a spool file; empty if there is no file. An error if the file cannot be a spool: this program writes
/// plain files of bounded size, and no links.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // The posts, and the marks, which take less.
    const BYTES_MAX: usize = SPOOL_BYTES_MAX * 2;
    match plain_file::read_own_at_most(path, BYTES_MAX) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// The posts of one spool file.
struct SpoolContents {
    posts: Vec<Post>,
    /// Number of lines that could not be parsed.
    unreadable: usize,
}

/// Parses a spool file. Returns the posts without a mark, or `None` if the file has lines and none of them is a spool's:
/// then it belongs to somebody else.
fn parse(text: &[u8], now: Now) -> Option<SpoolContents> {
    let (mut posts, mut unreadable, mut done) = (Vec::new(), 0, HashSet::new());
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line_json: Option<Value> = serde_json::from_slice(line).ok();
        let marks = line_json.as_ref().and_then(|line| line.get("done")).and_then(Value::as_array);
        if let Some(marks) = marks {
            done.extend(marks.iter().filter_map(Value::as_str).map(str::to_owned));
            continue;
        }
        match line_json.and_then(|line| post(&line, now)) {
            Some(post) => posts.push(post),
            // A killed process did not finish this mark. Its post is sent again.
            None if line.starts_with(br#"{"done":"#) => {}
            None => unreadable += 1,
        }
    }
    if unreadable > 0 && posts.is_empty() && done.is_empty() {
        return None;
    }
    posts.retain(|post| !done.contains(&mark(post.id)));
    Some(SpoolContents { posts, unreadable })
}

/// The name of a post in a mark: `boot-number`.
fn mark(id: PostId) -> String {
    format!("{}-{}", id.boot, id.number)
}

/// The line of one post, with its line end. `saved_ms` and `left_ms` together carry the deadline over to a process with
/// another monotonic clock.
fn line(post: &Post, now: Now) -> String {
    let request = post.own_request();
    let left = post.expires.saturating_duration_since(now.instant);
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| json!([name, value.reveal()])).collect();
    let mut line = json!({
        "boot": post.id.boot.to_string(),
        "number": post.id.number.to_string(),
        "type": post.address.kind_name(),
        "address": post.address.reveal(),
        "name": post.address.name(),
        "varies": post.address.varies(),
        "hook": String::from_utf8_lossy(&post.hook),
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
    if let (Some(event), Some(line)) = (&post.event, line.as_object_mut()) {
        let [channel, payload] = [event.channel(), event.payload()].map(String::from_utf8_lossy);
        let event = json!({ "channel": channel, "payload": payload, "unix_ms": event.unix_ms });
        line.insert("event".to_owned(), event);
    }
    format!("{line}\n")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Parses the post of one line. Its time went on while no process ran. Older versions wrote a list `hooks` in the place of
/// `hook`, and a `name` that may show a secret: then the name is made anew from the URL.
fn post(line: &Value, now: Now) -> Option<Post> {
    let text = |name: &str| line.get(name)?.as_str();
    let number = |name: &str| line.get(name)?.as_u64();
    let small = |name: &str| u32::try_from(number(name)?).ok();
    let away = Duration::from_millis(now.unix_ms.saturating_sub(number("saved_ms")?));
    let left = Duration::from_millis(number("left_ms")?).min(WEBHOOK_AGE_MAX).saturating_sub(away);
    let address = match text("type")? {
        "discord" => PostAddress::discord(&Url::parse(text("address")?).ok()?),
        "http" => {
            let name = match line.get("hooks") {
                Some(_) => Url::parse(text("url")?).ok()?.to_string(),
                None => text("name")?.to_owned(),
            };
            PostAddress::http(text("address")?.to_owned(), name, line.get("varies")?.as_bool()?)
        }
        _ => return None,
    };
    let content = if address.is_discord() {
        let message = Message::from_body(&serde_json::from_str(text("body")?).ok()?)?;
        Content::Message { url: Url::parse(text("url")?).ok()?, message }
    } else {
        Content::Request(request(line)?)
    };
    let event = line.get("event").map(event);
    Some(Post {
        id: PostId { boot: text("boot")?.parse().ok()?, number: text("number")?.parse().ok()? },
        address,
        hook: text("hook").or_else(|| line.get("hooks")?.get(0)?.as_str())?.as_bytes().into(),
        content,
        event: if let Some(event) = event { Some(event?) } else { None },
        expires: now.instant + left,
        attempts: small("attempts")?,
        refusals: small("refusals")?,
        merged: Vec::new(),
    })
}

/// Parses the request of one line.
fn request(line: &Value) -> Option<Request> {
    let text = |name: &str| line.get(name)?.as_str();
    let header = |pair: &Value| {
        let (name, value) = (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?);
        // No spooled header has a character that could end it, but another program may have changed the file.
        let is_clean =
            !name.is_empty() && [name, value].iter().all(|text| text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')));
        is_clean.then(|| (name.into(), Secret::new(value.to_owned())))
    };
    let headers = line.get("headers")?.as_array()?.iter().map(header).collect::<Option<Vec<_>>>()?;
    let method =
        text("method").filter(|method| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase()))?;
    let timeout = Duration::from_millis(line.get("timeout_ms")?.as_u64()?).min(REQUEST_TIMEOUT_MAX);
    Some(Request {
        url: Url::parse(text("url")?).ok()?,
        method: method.into(),
        headers,
        body: text("body")?.as_bytes().to_vec(),
        timeout: if timeout.is_zero() { REQUEST_TIMEOUT } else { timeout },
    })
}

/// Parses the event of one line.
fn event(event: &Value) -> Option<Arc<EventText>> {
    let bytes = |name: &str| Some(event.get(name)?.as_str()?.as_bytes());
    let unix_ms = event.get("unix_ms")?.as_u64()?;
    Some(Arc::new(EventText::new(bytes("channel")?, &[bytes("payload")?], unix_ms)))
}

#[cfg(test)]
mod tests;
