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
//! - A file that another program holds (Windows) costs no post. A spool to be adopted is looked at again; marks and
//!   removals are repeated; and if the own file cannot be replaced, this process takes the next free number.
//!
//! The locks are files of their own, because Windows lets no other program read the bytes of a locked file
//! (<https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-lockfileex>).
//!
//! Only the owner may read a spool (mode 0600; on Windows it has the rights of the folder). It holds URLs and headers with
//! their secrets, and the secrets that sign requests. The next process sends the posts before any script adds the hook
//! again, and even if none does, so it has no other source for the secrets.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::io::shown::shown;
use crate::io::{own_file, plain_file, sharing};
use crate::webhook::post::{Post, PostId};
use crate::webhook::saved::{Now, is_mark, line, marked_in, marks, post};

/// Most bytes of posts in one spool. The marks appended later take less than the posts.
const SPOOL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most processes that may share one folder, each with a spool of its own.
const SPOOLS_MAX: usize = 16;

/// The spool of this process.
pub(crate) struct Spool {
    directory: PathBuf,
    own: Slot,
    /// Spools of dead processes whose posts this process has adopted. Their files stay until its own file holds the posts.
    adopted: Vec<Slot>,
    /// Spools whose posts the own file holds: their files are to be removed.
    settled: Vec<Slot>,
    /// Numbers of spools that another program held, so that nobody knows yet whether there is something to adopt.
    held: Vec<usize>,
    /// The posts of all adopted files, in case one of these is in a held file too.
    known: HashSet<PostId>,
    /// The posts in the own file that are not settled.
    written: HashSet<PostId>,
    /// The own file, open for appending marks. `None` before the first mark.
    marks: Option<File>,
    /// Marks that are not in the file yet, as it could not be opened or written. Empty as a rule.
    unmarked: Vec<PostId>,
    /// A file could not be removed.
    is_removal_due: bool,
    /// The last [`Spool::write`] failed: posts of adopted files, or new ones, are not in the own file.
    is_write_due: bool,
}

/// The number of a spool with its lock. No other process uses that spool while this value lives.
struct Slot {
    number: usize,
    _lock: File,
}

/// The result of opening a spool.
pub(crate) struct Opened {
    pub(crate) spool: Spool,
    pub(crate) found: Found,
}

/// The content of the spools of dead processes.
#[derive(Default)]
pub(crate) struct Found {
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
        let mut search = Search::default();
        for number in 1..=SPOOLS_MAX {
            search.look_at(directory, number, now);
        }
        let Search { mut slots, held, contents, left, in_own, .. } = search;
        if slots.is_empty() {
            let unusable: String = left.iter().map(|found| format!(", {found}")).collect();
            return Err(io::Error::other(format!("no spool of {SPOOLS_MAX} is free{unusable}")));
        }
        let SpoolContents { posts, known, unreadable } = contents;
        let spool = Spool {
            directory: directory.to_owned(),
            own: slots.remove(0),
            adopted: slots,
            settled: Vec::new(),
            held,
            known,
            // The file of a dead process that is the own one now. Until it is replaced, marks go into it.
            written: in_own,
            marks: None,
            unmarked: Vec::new(),
            is_removal_due: false,
            is_write_due: false,
        };
        Ok(Opened { spool, found: Found { posts, unreadable, left } })
    }

    /// The posts that were found in the spools of dead processes.
    pub(crate) fn known(&self) -> &HashSet<PostId> {
        &self.known
    }

    /// True if [`Spool::retry`] has something to do, as another program held a file, or if [`Spool::write`] failed.
    pub(crate) fn wants_retry(&self) -> bool {
        !self.held.is_empty() || !self.unmarked.is_empty() || self.is_removal_due || self.is_write_due
    }

    /// True if the last [`Spool::write`] failed: it is to be called again.
    pub(crate) fn wants_write(&self) -> bool {
        self.is_write_due
    }

    /// Tries again to adopt, mark and remove. Found posts are to be written with [`Spool::write`].
    pub(crate) fn retry(&mut self, now: Now) -> (Found, io::Result<()>) {
        let contents = SpoolContents { known: std::mem::take(&mut self.known), ..SpoolContents::default() };
        // The own spool is the first one, so that only numbers with a file count.
        let mut search = Search { has_own: true, contents, ..Search::default() };
        for number in std::mem::take(&mut self.held) {
            search.look_at(&self.directory, number, now);
        }
        let Search { slots, held, contents: SpoolContents { posts, known, unreadable }, left, .. } = search;
        self.adopted.extend(slots);
        (self.held, self.known) = (held, known);
        let marked = if self.unmarked.is_empty() { Ok(()) } else { self.write_marks() };
        let removed = if self.is_removal_due { self.remove_settled_files() } else { Ok(()) };
        (Found { posts, unreadable, left }, marked.and(removed))
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
    /// removes the own file too. A kill at any moment leaves either the old or the new content. If another program holds
    /// the own file, the lines go into a spool of another number, and the file is removed later.
    pub(crate) fn write(&mut self, lines: Lines) -> io::Result<()> {
        (self.marks, self.is_write_due) = (None, true);
        if !lines.posts.is_empty() {
            // Another program may have removed the folder.
            plain_file::make_folder(&self.directory)?;
            if let Err(err) = self.write_file(self.own.number, &lines.text) {
                let other = if sharing::is_held(&err) { self.free_slot() } else { None };
                let Some(other) = other else { return Err(err) };
                self.write_file(other.number, &lines.text)?;
                self.settled.push(std::mem::replace(&mut self.own, other));
            }
        }
        self.written = lines.posts;
        self.unmarked.clear();
        self.is_write_due = false;
        self.settled.append(&mut self.adopted);
        match self.remove_settled_files() {
            // The posts are safe, and the files are removed later.
            Err(err) if sharing::is_held(&err) => Ok(()),
            removed => removed,
        }
    }

    /// Writes the file of this number.
    fn write_file(&self, number: usize, text: &[u8]) -> io::Result<()> {
        let [temporary, path] = ["jsonl.new", "jsonl"].map(|end| self.directory.join(file_name(number, end)));
        let file = own_file::replace(&path, &temporary, text, true, |_| Ok(()))?;
        // Synced after the rename: a sync on a busy disk may take seconds, and the process may end at any moment.
        file.sync_data()
    }

    /// Takes a spool without a file, in place of the own one.
    fn free_slot(&self) -> Option<Slot> {
        let is_free = |number: &usize| !self.directory.join(file_name(*number, "jsonl")).exists();
        (1..=SPOOLS_MAX).filter(is_free).find_map(|number| Slot::take(&self.directory, number).ok().flatten())
    }

    /// Marks these posts as settled, so that the next process does not send them again. Posts that the file does not hold
    /// need no mark. After the last one the file is removed. After an error [`Spool::retry`] goes on.
    pub(crate) fn settled(&mut self, ids: &[PostId]) -> io::Result<()> {
        for id in ids {
            if self.written.remove(id) {
                self.unmarked.push(*id);
            }
        }
        if self.unmarked.is_empty() {
            return Ok(());
        }
        if self.written.is_empty() {
            self.unmarked.clear();
            return self.remove_settled_files();
        }
        self.write_marks()
    }

    /// Appends the marks that are not in the own file yet.
    fn write_marks(&mut self) -> io::Result<()> {
        let path = self.path("jsonl");
        let file = match self.marks.take().filter(|file| plain_file::is_at(file, &path)) {
            Some(file) => file,
            None => match plain_file::open(OpenOptions::new().read(true).append(true), &path) {
                // Another program removed it, so no post can be sent again.
                Err(err) if err.kind() == ErrorKind::NotFound => {
                    self.unmarked.clear();
                    return Ok(());
                }
                opened => opened?,
            },
        };
        // A kill, a failed mark or an editor may have left a line without its end.
        let start = if plain_file::is_mid_line(&file)? { "\n" } else { "" };
        (&file).write_all(format!("{start}{}", marks(&self.unmarked)).as_bytes())?;
        self.unmarked.clear();
        self.marks = Some(file);
        Ok(())
    }

    /// Removes the files of dead processes, whose posts are in the own file, and the own file if all its posts are settled.
    fn remove_settled_files(&mut self) -> io::Result<()> {
        self.marks = None;
        self.is_removal_due = true;
        if self.written.is_empty() {
            remove_file(&self.path("jsonl"))?;
        }
        while let Some(slot) = self.settled.last() {
            remove_file(&self.directory.join(file_name(slot.number, "jsonl")))?;
            self.settled.pop();
        }
        self.is_removal_due = false;
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
        let lock = own_file::take_lock(&directory.join(file_name(number, "lock")))?;
        Ok(lock.map(|lock| Slot { number, _lock: lock }))
    }
}

/// Removes a file, if it exists.
fn remove_file(path: &Path) -> io::Result<()> {
    plain_file::remove(path).or_else(plain_file::missing)
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

/// The search for a free spool and for spools to adopt.
#[derive(Default)]
struct Search {
    /// The process has a spool, or `slots` begins with it.
    has_own: bool,
    slots: Vec<Slot>,
    /// The posts in the file of the first slot.
    in_own: HashSet<PostId>,
    /// Bytes of the files.
    bytes: usize,
    contents: SpoolContents,
    /// Numbers whose files another program holds.
    held: Vec<usize>,
    left: Vec<String>,
}

impl Search {
    /// Takes the spool of this number, if it is free and worth it, and reads its posts.
    fn look_at(&mut self, directory: &Path, number: usize, now: Now) {
        // The first free number is taken even without a file. Further ones are adopted while the adopted files together are
        // not larger than one spool may be.
        let [path, lock] = ["jsonl", "lock"].map(|end| directory.join(file_name(number, end)));
        if self.has_own && (self.bytes > SPOOL_BYTES_MAX || !path.exists()) {
            return;
        }
        let slot = match Slot::take(directory, number) {
            Ok(Some(slot)) => slot,
            Ok(None) => return,
            Err(err) => return self.leave(number, &lock, &err),
        };
        match read(&path) {
            Ok(text) => {
                self.bytes += text.len();
                if self.contents.add(&text, now) {
                    if !std::mem::replace(&mut self.has_own, true) {
                        self.in_own = self.contents.known.clone();
                    }
                    self.slots.push(slot);
                } else {
                    self.left.push(format!("`{}` is not a spool", shown(&path)));
                }
            }
            Err(err) => self.leave(number, &path, &err),
        }
    }

    /// Notes that a spool cannot be used, for now or for good.
    fn leave(&mut self, number: usize, path: &Path, err: &io::Error) {
        if sharing::is_held(err) {
            return self.held.push(number);
        }
        self.left.push(format!("`{}`: {err}", shown(path)));
    }
}

/// The content of the files of dead processes.
#[derive(Default)]
struct SpoolContents {
    posts: Vec<Post>,
    /// A process that died while it adopted a spool left its posts in both files.
    known: HashSet<PostId>,
    /// Number of lines that could not be parsed.
    unreadable: usize,
}

impl SpoolContents {
    /// Parses a spool file and adds its posts without a mark. False, and nothing is added, if the file has lines and none
    /// of them is a spool's: then it belongs to somebody else.
    fn add(&mut self, text: &[u8], now: Now) -> bool {
        let (mut posts, mut unreadable, mut done, mut has_marks) = (Vec::<Post>::new(), 0, HashSet::new(), false);
        let mut ids = HashSet::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(marked) = marked_in(line) {
                has_marks = true;
                done.extend(marked.filter(|id| ids.contains(id)));
                continue;
            }
            match post(&serde_json::from_slice(line).unwrap_or(Value::Null), now) {
                Some(post) => {
                    ids.insert(post.id);
                    posts.push(post);
                }
                // A killed process did not finish this mark. Its post is sent again.
                None if is_mark(line) => {}
                None => unreadable += 1,
            }
        }
        if unreadable > 0 && posts.is_empty() && !has_marks {
            return false;
        }
        self.unreadable += unreadable;
        posts.retain(|post| !done.contains(&post.id) && self.known.insert(post.id));
        self.posts.append(&mut posts);
        true
    }
}

#[cfg(test)]
pub(in crate::webhook) mod tests;
