//! The posts that dead processes left on the disk: their files become those of this process.
//! Runs on `rt-webhooks`, before anything is posted, or later if another program held a file. A file keeps its content. It
//! gets a number of this process, while the lock of the dead one is held.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{DiskQueue, LINE_BYTES_MAX, NUMBER_KEPT_MAX, Overflow, PostFile, list, lock_path, path};
use crate::io::shown::shown;
use crate::io::{own_file, plain_file, sharing};
use crate::webhook::post::{Post, PostId};
use crate::webhook::saved::{Now, is_mark, marked_in, post};

/// What dead processes left.
#[derive(Default)]
pub(crate) struct Adopted {
    /// For each file with posts: its first post, and their number.
    pub(crate) files: Vec<(Post, u64)>,
    /// Lines that could not be parsed.
    pub(crate) unreadable: usize,
    /// Files that are left untouched, each with the reason.
    pub(crate) left: Vec<String>,
}

/// One adoption: what is known before, and what is found.
pub(super) struct Adoption<'a> {
    /// The posts of the spool.
    pub(super) known: &'a HashSet<PostId>,
    pub(super) now: Now,
    pub(super) adopted: Adopted,
}

impl Overflow {
    /// Takes over the files of dead processes. Posts in `known` are in the spool: they are not taken again. The adopted
    /// posts count after an error too: [`Overflow::retry`] goes on with the marks.
    pub(crate) fn adopt(&mut self, known: &HashSet<PostId>, now: Now) -> (Adopted, io::Result<()>) {
        let mut adoption = Adoption { known, now, adopted: Adopted::default() };
        match list(&self.directory) {
            Ok(files) => self.adopt_all(&files, &mut adoption),
            Err(err) => return (adoption.adopted, plain_file::missing(err)),
        }
        // Marks the posts of the spool: it holds them, and the files need not.
        let marked = self.write_marks();
        (adoption.adopted, marked)
    }

    /// Adopts these files, named by the numbers of their process and their own, one process after the other.
    pub(super) fn adopt_all(&mut self, files: &[(u64, u64)], adoption: &mut Adoption<'_>) {
        for of_one in files.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((process, _)) = of_one.first() else { continue };
            let numbers: Vec<u64> = of_one.iter().map(|(_, number)| *number).collect();
            self.adopt_files(*process, &numbers, adoption);
        }
    }

    /// Adopts these files of one process, in their order, unless it lives.
    fn adopt_files(&mut self, process: u64, numbers: &[u64], adoption: &mut Adoption<'_>) {
        let mut is_own = self.own.as_ref().is_some_and(|(own, _)| *own == process);
        // Kept until all of the files have other names.
        let mut lock = None;
        if !is_own {
            let path = lock_path(&self.directory, process);
            match own_file::take_lock(&path) {
                Ok(Some(taken)) => lock = Some(taken),
                Ok(None) => return,
                Err(err) => {
                    return numbers.iter().for_each(|number| self.leave((process, *number), &path, &err, adoption));
                }
            }
        }
        // The first dead process gives its number to this one, so that its files keep their names.
        if self.own.is_none() {
            self.own = lock.take().map(|lock| (process, lock));
            is_own = true;
        }
        for number in numbers {
            if !is_own || *number > NUMBER_KEPT_MAX {
                self.adopt_file((process, *number), self.next, adoption);
            } else if !self.queues.iter().flat_map(|queue| &queue.files).any(|file| file.number == *number) {
                self.next = self.next.max(number.saturating_add(1));
                self.adopt_file((process, *number), *number, adoption);
            }
        }
    }

    /// Adopts one file, which gets the number `new` of this process.
    fn adopt_file(&mut self, file: (u64, u64), new: u64, adoption: &mut Adoption<'_>) {
        let Some((own, _)) = &self.own else { return };
        let (old_path, new_path) = (path(&self.directory, file.0, file.1), path(&self.directory, *own, new));
        let text = match plain_file::read_own_at_most(&old_path, LINE_BYTES_MAX * 2) {
            Ok(text) => text,
            Err(err) => return self.leave(file, &old_path, &err, adoption),
        };
        let Contents { first, posts, done, unreadable } = Contents::of(&text, adoption.now);
        let Some(first) = first else {
            // A process may have died right after it made the file.
            let is_begun = is_begun(&text) && unreadable == 0;
            let removed =
                if is_begun { plain_file::remove(&old_path) } else { Err(io::Error::other("it holds no posts")) };
            if let Err(err) = removed {
                self.leave(file, &old_path, &err, adoption);
            }
            return;
        };
        if old_path != new_path
            && let Err(err) = sharing::patiently(|| plain_file::rename(&old_path, &new_path))
        {
            return self.leave(file, &old_path, &err, adoption);
        }
        self.next = self.next.max(new.saturating_add(1));
        let mut file = PostFile { number: new, bytes: text.len() as u64, is_closed: true, ..PostFile::default() };
        for id in posts.into_iter().filter(|id| !done.contains(id)) {
            if adoption.known.contains(&id) {
                file.unmarked.push(id);
                file.done.insert(id);
            } else {
                file.unread += 1;
            }
        }
        file.done.extend(done);
        adoption.adopted.unreadable += unreadable;
        let unread = file.unread;
        match self.queues.iter_mut().find(|queue| queue.address == first.address) {
            Some(queue) => {
                let place = queue.files.partition_point(|known| known.number < new);
                queue.files.insert(place, file);
            }
            None => self.queues.push(DiskQueue { address: first.address.clone(), files: VecDeque::from([file]) }),
        }
        if unread > 0 {
            adoption.adopted.files.push((first, unread));
        }
    }

    /// Notes that a file cannot be adopted, for now or for good.
    fn leave(&mut self, file: (u64, u64), path: &Path, err: &io::Error, adoption: &mut Adoption<'_>) {
        if sharing::is_held(err) {
            return self.held.push(file);
        }
        adoption.adopted.left.push(format!("`{}`: {err}", shown(path)));
    }
}

/// The content of a file of a dead process.
#[derive(Default)]
struct Contents {
    /// Its first post: the file is of the destination of this one.
    first: Option<Post>,
    posts: Vec<PostId>,
    /// The marked posts.
    done: HashSet<PostId>,
    /// Lines that could not be parsed, or are of another destination.
    unreadable: usize,
}

impl Contents {
    fn of(text: &[u8], now: Now) -> Contents {
        let (mut contents, mut known) = (Contents::default(), HashSet::new());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if let Some(ids) = marked_in(line) {
                contents.done.extend(ids.filter(|id| known.contains(id)));
                continue;
            }
            let json = serde_json::from_slice(line).unwrap_or(Value::Null);
            let address = contents.first.as_ref().map(|first| &first.address);
            match post(&json, now).filter(|post| address.is_none_or(|address| post.address == *address)) {
                Some(post) => {
                    contents.posts.push(post.id);
                    known.insert(post.id);
                    contents.first.get_or_insert(post);
                }
                // A killed process did not finish its last line, or a failed write its own.
                None if !line.ends_with(b"\n") || is_mark(line) || line == b"\n" => {}
                None => contents.unreadable += 1,
            }
        }
        contents
    }
}

/// Whether the text of a file without posts is the beginning of one of this kind.
fn is_begun(text: &[u8]) -> bool {
    const START: &[u8] = br#"{"boot":""#;
    START.starts_with(text) || text.starts_with(START) || is_mark(text)
}
