//! Posts that wait on the disk: those that found no room in memory and whose hooks want them repeated for long
//! (`retry_for`). Each destination has a queue of files, and its posts come back in their order.
//! Owned by `rt-webhooks`. Nothing is made before the first such post. Each process has files of its own, which its lock
//! file (`overflow.1.lock`) keeps for it while it lives; the next process adopts those of a dead one.
//!
//! ```text
//! overflow.1.7.jsonl     process 1, file 7: posts of one destination, about half a mebibyte
//!   {"boot":"7","number":"1","type":"http","url":...}     appended, one line for each post (saved.rs)
//!   {"boot":"7","number":"2","type":"http","url":...}
//!   {"done":["7-1"]}                                      appended when a post that came back is settled
//! ```
//! - A post that came back into memory stays in its file until it is settled, that is delivered or given up. So a killed
//!   process loses none, and posts again what was in flight. The file is removed when all its posts are settled.
//! - Lines are appended and not synced: only a crash of the whole machine can lose some.
//! - An append that fails, as the disk is full, may leave a part of a line. Then the file is closed, and the next post
//!   begins another one. So it does if another program removed or changed the file. A part of a line at the end of a
//!   file is no post.
//! - A file that is not of this kind is left untouched. One that another program holds (Windows) is tried again.
//!
//! A step reads at most [`READ_BYTES`] or one post, and a write is one line. So they run on `rt-webhooks` itself, which
//! writes dead letters and marks in the same way: they go to the memory of the system and wait for no disk as a rule. A
//! thread of their own would need a queue with bounds of its own, and that is what the disk is for.
//!
//! Only the owner may read the files (mode 0600), as they hold the secrets of requests.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::io::{own_file, plain_file, sharing};
use crate::webhook::post::{Post, PostAddress, PostId};
use crate::webhook::saved::{Now, line, marks, post};

pub(crate) use adopt::Adopted;
use adopt::Adoption;

mod adopt;
#[cfg(test)]
mod tests;

/// Bytes that one step reads, unless a single post is longer.
const READ_BYTES: usize = 256 * 1024;
/// Longest line. A post in memory is smaller than a third of it, and JSON may take six bytes for one.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest number that a file keeps at its adoption. Only another program gives a larger one: it gets the next number, so
/// that the numbers never end.
const NUMBER_KEPT_MAX: u64 = 1 << 48;
/// Names in a row that are tried for a new file, as another program may have taken some.
const NAMES_TRIED: usize = 16;
/// Most processes that may share one folder.
const PROCESSES_MAX: u64 = 16;

/// The bounds of everything that waits on the disk.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) posts: u64,
    pub(crate) bytes: u64,
    /// Bytes at which another file begins.
    pub(crate) file_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { posts: 100_000, bytes: 64 * 1024 * 1024, file_bytes: 512 * 1024 }
    }
}

/// The posts of this process that wait on the disk.
pub(crate) struct Overflow {
    directory: PathBuf,
    bounds: Bounds,
    /// The number of this process among those in the folder, and its lock. `None` before the first post.
    own: Option<(u64, File)>,
    /// One for each destination with files.
    queues: Vec<DiskQueue>,
    /// The number of the next file.
    next: u64,
    /// The files of the posts that came back and are not settled.
    back: HashMap<PostId, u64>,
    /// The file of the last append.
    tail: Option<(u64, File)>,
    /// Files that could not be removed yet.
    removals: Vec<u64>,
    /// A mark could not be written yet.
    is_mark_due: bool,
    /// Files of dead processes that another program held: the numbers of the process and of the file.
    held: Vec<(u64, u64)>,
}

/// The files of one destination, oldest first.
struct DiskQueue {
    address: PostAddress,
    files: VecDeque<PostFile>,
}

/// One file of posts.
#[derive(Default)]
struct PostFile {
    number: u64,
    /// Its length.
    bytes: u64,
    /// The position of the first line that was not read back.
    read: u64,
    /// Posts behind that position.
    unread: u64,
    /// Posts that came back and are not settled.
    open: u64,
    /// Posts of an adopted file that are settled, or that are in the spool.
    done: HashSet<PostId>,
    /// Marks that are not written yet.
    unmarked: Vec<PostId>,
    /// It takes no further posts.
    is_closed: bool,
}

impl PostFile {
    fn unread_bytes(&self) -> u64 {
        if self.unread == 0 { 0 } else { self.bytes.saturating_sub(self.read) }
    }

    fn is_settled(&self) -> bool {
        self.unread == 0 && self.open == 0
    }
}

/// Posts that came back.
#[derive(Default)]
pub(crate) struct Back {
    /// In their order.
    pub(crate) posts: Vec<Post>,
    /// Posts that could not be found again: another program changed or removed their file.
    pub(crate) lost: u64,
}

impl Overflow {
    /// Makes no file and looks at none.
    pub(crate) fn new(directory: &Path, bounds: Bounds) -> Overflow {
        Overflow {
            directory: directory.to_owned(),
            bounds,
            own: None,
            queues: Vec::new(),
            next: 1,
            back: HashMap::new(),
            tail: None,
            removals: Vec::new(),
            is_mark_due: false,
            held: Vec::new(),
        }
    }

    // ---- numbers --------------------------------------------------------------------------------------------------

    /// The posts that wait on the disk, for each destination that has some.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&PostAddress, u64)> {
        self.queues.iter().map(|queue| (&queue.address, queue.files.iter().map(|file| file.unread).sum()))
    }

    /// The destination of the oldest post, if more wait than the bounds allow.
    pub(crate) fn over(&self) -> Option<PostAddress> {
        let files = || self.queues.iter().flat_map(|queue| &queue.files);
        let (posts, bytes) =
            files().fold((0, 0), |(posts, bytes), file| (posts + file.unread, bytes + file.unread_bytes()));
        if posts <= self.bounds.posts && bytes <= self.bounds.bytes {
            return None;
        }
        // A lower number is an older file.
        let fronts = self.queues.iter().filter_map(|queue| Some((queue.front()?, &queue.address)));
        fronts.min_by_key(|(number, _)| *number).map(|(_, address)| address.clone())
    }

    /// Leaves the files of this destination to the next process.
    pub(crate) fn leave_alone(&mut self, address: &PostAddress) {
        self.queues.retain(|queue| queue.address != *address);
    }

    // ---- posts go to the disk -------------------------------------------------------------------------------------

    /// Appends a post to the queue of its destination. After an error the post is not on the disk.
    pub(crate) fn append(&mut self, post: &Post, now: Now) -> io::Result<()> {
        let own = self.own_number()?;
        let at = match self.queues.iter().position(|queue| queue.address == post.address) {
            Some(at) => at,
            None => {
                self.queues.push(DiskQueue { address: post.address.clone(), files: VecDeque::new() });
                self.queues.len() - 1
            }
        };
        let Some(queue) = self.queues.get_mut(at) else { return Ok(()) };
        if let Some(file) = queue.files.back_mut().filter(|file| !file.is_closed)
            && !is_untouched(&self.directory, own, &mut self.tail, file)
        {
            file.is_closed = true;
        }
        let is_open = |file: &PostFile| !file.is_closed && file.bytes < self.bounds.file_bytes;
        if !queue.files.back().is_some_and(is_open) {
            // Another program may have removed the folder.
            plain_file::make_folder(&self.directory)?;
            let (number, file) = new_file(&self.directory, own, &mut self.next)?;
            self.tail = Some((number, file));
            queue.files.push_back(PostFile { number, ..PostFile::default() });
        }
        let Some(file) = queue.files.back_mut() else { return Ok(()) };
        let line = line(post, now);
        let written = write(&self.directory, own, &mut self.tail, file.number, line.as_bytes());
        match written {
            Ok(()) => {
                file.bytes += line.len() as u64;
                file.unread += 1;
            }
            Err(_) => {
                file.is_closed = true;
                self.forget_settled(at);
            }
        }
        written
    }

    /// The number of this process. Takes the first free one if it has none yet.
    fn own_number(&mut self) -> io::Result<u64> {
        if let Some((number, _)) = &self.own {
            return Ok(*number);
        }
        plain_file::make_folder(&self.directory)?;
        let taken: HashSet<u64> = list(&self.directory)?.into_iter().map(|(process, _)| process).collect();
        for number in (1..=PROCESSES_MAX).filter(|number| !taken.contains(number)) {
            if let Some(lock) = own_file::take_lock(&lock_path(&self.directory, number))? {
                self.own = Some((number, lock));
                return Ok(number);
            }
        }
        Err(io::Error::other(format!("{PROCESSES_MAX} other servers keep posts in this folder")))
    }

    // ---- posts come back ------------------------------------------------------------------------------------------

    /// Reads the next posts of this destination, at most so many. An error if their file cannot be read now.
    pub(crate) fn take(&mut self, address: &PostAddress, posts_max: usize, now: Now) -> io::Result<Back> {
        let mut back = Back::default();
        let Some(at) = self.queues.iter().position(|queue| queue.address == *address) else { return Ok(back) };
        let (Some(queue), Some((own, _))) = (self.queues.get_mut(at), &self.own) else { return Ok(back) };
        let Some(file) = queue.files.iter_mut().find(|file| file.unread > 0) else { return Ok(back) };
        let text = match read_from(&path(&self.directory, *own, file.number), file.read) {
            Ok(text) => text,
            // Another program removed it, or put something else in its place.
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Vec::new(),
            Err(err) => return Err(err),
        };
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if back.posts.len() >= posts_max || file.unread == 0 {
                break;
            }
            file.read += line.len() as u64;
            let json = serde_json::from_slice(line).unwrap_or(Value::Null);
            let post = post(&json, now).filter(|post| post.address == queue.address && !file.done.contains(&post.id));
            let Some(post) = post else { continue };
            file.unread -= 1;
            file.open += 1;
            self.back.insert(post.id, file.number);
            back.posts.push(post);
        }
        if text.is_empty() {
            // The end of the file: posts that are counted and were not found are lost.
            back.lost = std::mem::take(&mut file.unread);
        }
        self.forget_settled(at);
        Ok(back)
    }

    /// Marks these posts as settled, if they came from the disk. A file whose posts are all settled is removed. After an
    /// error [`Overflow::retry`] goes on.
    pub(crate) fn settled(&mut self, ids: &[PostId]) -> io::Result<()> {
        let mut found = false;
        for id in ids {
            let Some(number) = self.back.remove(id) else { continue };
            found = true;
            let file = self.queues.iter_mut().flat_map(|queue| &mut queue.files).find(|file| file.number == number);
            if let Some(file) = file {
                file.open = file.open.saturating_sub(1);
                file.unmarked.push(*id);
            }
        }
        if found { self.write_marks() } else { Ok(()) }
    }

    /// Removes the settled files, and marks the settled posts of the others.
    fn write_marks(&mut self) -> io::Result<()> {
        self.is_mark_due = true;
        (0..self.queues.len()).rev().for_each(|at| self.forget_settled(at));
        let Some((own, _)) = &self.own else { return Ok(()) };
        for file in self.queues.iter_mut().flat_map(|queue| &mut queue.files).filter(|file| !file.unmarked.is_empty()) {
            let path = path(&self.directory, *own, file.number);
            self.tail.take_if(|(number, tail)| *number == file.number && !plain_file::is_at(tail, &path));
            match mark(&self.directory, *own, &mut self.tail, file) {
                // Another program removed it, so no post can be sent again.
                Err(err) if err.kind() == ErrorKind::NotFound => {}
                marked => file.bytes += marked?,
            }
            file.unmarked.clear();
        }
        self.is_mark_due = false;
        self.remove_files()
    }

    /// Forgets the settled files of this queue, which are to be removed, and the queue if it has no others.
    fn forget_settled(&mut self, at: usize) {
        let Some(queue) = self.queues.get_mut(at) else { return };
        let (removals, tail) = (&mut self.removals, &mut self.tail);
        queue.files.retain(|file| {
            if file.is_settled() {
                tail.take_if(|(number, _)| *number == file.number);
                removals.push(file.number);
            }
            !file.is_settled()
        });
        if queue.files.is_empty() {
            self.queues.remove(at);
        }
    }

    fn remove_files(&mut self) -> io::Result<()> {
        let Some((own, _)) = &self.own else { return Ok(()) };
        while let Some(number) = self.removals.last() {
            let path = path(&self.directory, *own, *number);
            plain_file::remove(&path).or_else(plain_file::missing)?;
            self.removals.pop();
        }
        Ok(())
    }

    /// True if [`Overflow::retry`] has something to do.
    pub(crate) fn wants_retry(&self) -> bool {
        self.is_mark_due || !self.removals.is_empty() || !self.held.is_empty()
    }

    /// Tries again to mark and to remove, and to adopt the files that another program held.
    pub(crate) fn retry(&mut self, known: &HashSet<PostId>, now: Now) -> (Adopted, io::Result<()>) {
        let mut adoption = Adoption { known, now, adopted: Adopted::default() };
        let held = std::mem::take(&mut self.held);
        self.adopt_all(&held, &mut adoption);
        (adoption.adopted, self.write_marks())
    }
}

impl DiskQueue {
    /// The number of the file that holds the next post.
    fn front(&self) -> Option<u64> {
        self.files.iter().find(|file| file.unread > 0).map(|file| file.number)
    }
}

/// The path of file `number` of this process.
fn path(directory: &Path, process: u64, number: u64) -> PathBuf {
    directory.join(format!("overflow.{process}.{number}.jsonl"))
}

fn lock_path(directory: &Path, process: u64) -> PathBuf {
    directory.join(format!("overflow.{process}.lock"))
}

/// The numbers of all files in the folder, those of a process and its file, in their order.
fn list(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let numbers = name.to_str().and_then(|name| {
            let (process, number) = name.strip_prefix("overflow.")?.strip_suffix(".jsonl")?.split_once('.')?;
            let process = process.parse().ok().filter(|process| (1..=PROCESSES_MAX).contains(process))?;
            Some((process, number.parse().ok()?))
        });
        // `+7` and `007` are read as numbers too, but are no names of ours.
        files.extend(numbers.filter(|(process, number)| path(directory, *process, *number) == directory.join(&name)));
    }
    files.sort_unstable();
    Ok(files)
}

/// Makes the next file of this process, and returns its number. A name that another program has taken is passed over.
fn new_file(directory: &Path, own: u64, next: &mut u64) -> io::Result<(u64, File)> {
    let mut made = Err(ErrorKind::AlreadyExists.into());
    for _ in 0..NAMES_TRIED {
        let (number, path) = (*next, path(directory, own, *next));
        let mut options = OpenOptions::new();
        let options = own_file::private(options.read(true).append(true));
        made = sharing::patiently(|| plain_file::create_new(options, &path)).map(|file| (number, file));
        match &made {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => *next = next.saturating_add(1),
            Err(_) => break,
            Ok(_) => {
                *next = next.saturating_add(1);
                break;
            }
        }
    }
    made
}

/// Appends to a file of this process, which becomes the tail.
fn write(directory: &Path, own: u64, tail: &mut Option<(u64, File)>, number: u64, text: &[u8]) -> io::Result<()> {
    open_tail(directory, own, tail, number)?.write_all(text)
}

/// Appends the marks of this file, which becomes the tail. Returns their bytes.
fn mark(directory: &Path, own: u64, tail: &mut Option<(u64, File)>, file: &PostFile) -> io::Result<u64> {
    let tail = open_tail(directory, own, tail, file.number)?;
    // A kill, a failed write or an editor may have left a line without its end.
    let start = if plain_file::is_mid_line(tail)? { "\n" } else { "" };
    let line = format!("{start}{}", marks(&file.unmarked));
    tail.write_all(line.as_bytes())?;
    Ok(line.len() as u64)
}

/// Opens a file of this process for reading its end and appending, unless it is the tail.
fn open_tail<'a>(
    directory: &Path,
    own: u64,
    tail: &'a mut Option<(u64, File)>,
    number: u64,
) -> io::Result<&'a mut File> {
    let file = match tail.take().filter(|(open, _)| *open == number) {
        Some((_, file)) => file,
        None => plain_file::open(OpenOptions::new().read(true).append(true), &path(directory, own, number))?,
    };
    Ok(&mut tail.insert((number, file)).1)
}

/// Whether the file is as this process left it. Another program may have removed, emptied or lengthened it, and a failed
/// mark may have left a part of a line: a post behind that could not be found again.
fn is_untouched(directory: &Path, own: u64, tail: &mut Option<(u64, File)>, known: &PostFile) -> bool {
    let is_it = |file: &mut File| {
        plain_file::is_at(file, &path(directory, own, known.number))
            && file.metadata().is_ok_and(|found| found.len() == known.bytes)
    };
    open_tail(directory, own, tail, known.number).is_ok_and(is_it)
}

/// Reads whole lines from this position on: about [`READ_BYTES`], or one line if it is longer. The last line of the file
/// may have no end. Empty at the end of the file.
fn read_from(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = plain_file::read(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    while text.len() < LINE_BYTES_MAX {
        let before = text.len();
        (&file).take(READ_BYTES as u64).read_to_end(&mut text)?;
        if text.len() == before {
            return Ok(text);
        }
        if let Some(end) = memchr::memrchr(b'\n', &text) {
            text.truncate(end + 1);
            return Ok(text);
        }
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it has a line that is too long"))
}
