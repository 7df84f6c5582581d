//! The files of one log: their names, which of them are the log's own, whether they are where they seem to be, and who
//! writes them.
//! The rules for a path itself are in `path.rs`; here links are followed, and one that leads out of the data folder is
//! refused, whoever made it. A folder may hold any number of other files: nothing here goes over all of them at once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
#[cfg(not(windows))]
use std::fs::TryLockError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::eventlog::claims::{Claims, LINE_BYTES_MAX, LockText, NUMBER_MAX};
use crate::eventlog::disk::Disk;
use crate::eventlog::path::{self, LogPath};
use crate::io::plain_file;

/// Files that follow the last one of the lock file, looked for one by one: a rotation leaves one at most.
const FOLLOWING_MAX: u64 = 1000;
/// Names of a folder that are looked at in one step: tens of microseconds.
const NAMES_PER_STEP: usize = 128;
/// Six digits say that a writer may have made the name; more are a date, unless there are neighbours.
const ALONE_BELOW: u64 = 1_000_000;

/// Where the files of a log are.
#[derive(Debug, Clone)]
pub struct LogFiles {
    /// The youngest segment.
    active: PathBuf,
    folder: PathBuf,
    name: String,
    /// No file of the log may be outside of this; `None`: anywhere.
    root: Option<PathBuf>,
}

impl LogFiles {
    /// The log at this path below `root`.
    pub(crate) fn below(root: &Path, path: &LogPath) -> LogFiles {
        LogFiles { root: Some(root.to_owned()), ..LogFiles::anywhere(&path.below(root)) }
    }

    /// The log whose youngest segment has this path. For tools: their user may read anything.
    pub fn anywhere(active: &Path) -> LogFiles {
        let folder = active.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = active.file_name().unwrap_or_default().to_string_lossy().into_owned();
        LogFiles { active: folder.join(&name), folder: folder.to_owned(), name, root: None }
    }

    pub(crate) fn active(&self) -> &Path {
        &self.active
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn rotated(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}.{number:06}", self.name))
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join(format!("{}.lock", self.name))
    }

    /// What the log's lock file says of its rotated files. `None`: nothing, or it cannot be read.
    pub(super) fn claims(&self) -> Option<Claims> {
        let path = self.lock_path();
        // Not through a link: one that leads out of the data folder would be read.
        fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::new();
        plain_file::read(&path).ok()?.take(LINE_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
        LockText::parse(&bytes)?.claims
    }

    /// Numbers of the files that follow the last one claimed: the lock file may lag behind by what a full disk refused.
    pub(super) fn following(&self, claims: &Claims) -> Vec<u64> {
        let first = claims.last().unwrap_or(0).saturating_add(1);
        let is_there = |number: &u64| fs::symlink_metadata(self.rotated(*number)).is_ok();
        (first..first.saturating_add(FOLLOWING_MAX)).take_while(is_there).collect()
    }

    /// Begins to list the files whose names could be those of rotated segments.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let entries = match fs::read_dir(&self.folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        Ok(Listing { entries, numbers: BTreeSet::new() })
    }

    /// The number in the name of a rotated segment. `None`: a writer would not write it so.
    fn number_of(&self, name: &OsStr) -> Option<u64> {
        let digits = name.to_str()?.strip_prefix(&self.name)?.strip_prefix('.')?;
        let number = digits.parse::<u64>().ok().filter(|number| (1..NUMBER_MAX).contains(number))?;
        (format!("{number:06}") == digits).then_some(number)
    }

    /// Refuses a file that a link takes out of the root. One that does not exist is judged by its folder.
    pub(super) fn check(&self, path: &Path) -> io::Result<()> {
        const OWN: &str = "a link leads to the module's own files";
        let Some(root) = &self.root else { return Ok(()) };
        let root = root.canonicalize()?;
        let mut deepest = path;
        let real = loop {
            match deepest.canonicalize() {
                Ok(real) => break real,
                // A link to nowhere would be made where it leads to.
                Err(err) if err.kind() == io::ErrorKind::NotFound && !deepest.is_symlink() => {}
                Err(err) => return Err(err),
            }
            match deepest.parent() {
                Some(parent) => deepest = parent,
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        };
        let own = root.join("realtime");
        let reason = match real.strip_prefix(&root) {
            Err(_) => "a link leads out of the data folder",
            Ok(inside) if path::is_own(inside) => OWN,
            // Where its folder is a link itself.
            Ok(_) if own.is_symlink() && own.canonicalize().is_ok_and(|own| real.starts_with(own)) => OWN,
            Ok(_) => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
    }

    /// Makes the folder of the log, and every one above it below the root.
    pub(super) fn make_folder(&self, disk: &dyn Disk) -> io::Result<()> {
        self.check(&self.folder)?;
        let mut missing: Vec<&Path> = Vec::new();
        let mut folder = self.folder.as_path();
        while !folder.exists() {
            missing.push(folder);
            match folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => folder = parent,
                None => break,
            }
        }
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                disk.sync_folder(parent)?;
            }
        }
        Ok(())
    }

    /// False if the lock file was removed, or moved, since it was taken.
    pub(super) fn has(&self, lock: &Lock) -> bool {
        plain_file::is_at(&lock.file, &self.lock_path())
    }

    /// Takes the log for this process, until the lock is dropped.
    pub(super) fn lock(&self) -> Result<Lock, LockError> {
        let path = self.lock_path();
        self.check(&path)?;
        let (file, is_held) = hold(&path)?;
        let mut bytes = Vec::new();
        let read = (&file).take(LINE_BYTES_MAX as u64).read_to_end(&mut bytes);
        if is_held {
            let text = read.ok().and_then(|_| LockText::parse(&bytes));
            return Err(LockError::Held { pid: text.and_then(|text| text.pid) });
        }
        read?;
        // A crash of the machine may leave zeros.
        bytes.retain(|byte| *byte != 0);
        let Some(text) = LockText::parse(&bytes) else {
            let found = format!("`{}` is in the way: it is no lock file of an event log", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, found).into());
        };
        let lock = Lock { file, was_held: text.pid.is_some(), claims: text.claims };
        match lock.write() {
            // The lock holds all the same; a full disk is for the records to tell of.
            Err(err) if is_full(&err) => {}
            other => other?,
        }
        Ok(lock)
    }
}

/// Opens the lock file and takes it for this process. True: another one has it, and the file can only be read.
#[cfg(not(windows))]
fn hold(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    let file = plain_file::open(options.read(true).write(true).create(true).truncate(false), path)?;
    match plain_file::try_lock(&file) {
        Ok(()) => Ok((file, false)),
        Err(TryLockError::WouldBlock) => Ok((file, true)),
        Err(TryLockError::Error(err)) => Err(err),
    }
}

/// The same on Windows, where nobody else could read a locked file: it is opened so that others can only read it.
#[cfg(windows)]
fn hold(path: &Path) -> io::Result<(File, bool)> {
    use std::os::windows::fs::OpenOptionsExt;
    /// Of `CreateFileW`.
    const FILE_SHARE_READ: u32 = 1;
    /// What its error is then (System Error Codes).
    const ERROR_SHARING_VIOLATION: i32 = 32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).share_mode(FILE_SHARE_READ);
    match plain_file::open(&mut options, path) {
        Ok(file) => Ok((file, false)),
        Err(err) if err.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => Ok((plain_file::read(path)?, true)),
        Err(err) => Err(err),
    }
}

/// A folder that is being listed.
pub(super) struct Listing {
    entries: Option<fs::ReadDir>,
    numbers: BTreeSet<u64>,
}

impl Listing {
    /// Looks at some names. The numbers of what could be rotated segments, ascending, once all names were seen.
    pub(super) fn step(&mut self, files: &LogFiles) -> io::Result<Option<Vec<u64>>> {
        let Some(entries) = &mut self.entries else { return Ok(Some(Vec::new())) };
        for _ in 0..NAMES_PER_STEP {
            let Some(entry) = entries.next() else {
                let is_there = |number: Option<u64>| number.is_some_and(|number| self.numbers.contains(&number));
                let likely = |number: &u64| {
                    *number < ALONE_BELOW || is_there(number.checked_sub(1)) || is_there(number.checked_add(1))
                };
                return Ok(Some(self.numbers.iter().copied().filter(likely).collect()));
            };
            let entry = entry?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_symlink());
            self.numbers.extend(files.number_of(&entry.file_name()).filter(|_| is_file));
        }
        Ok(None)
    }
}

/// The name of a segment's index.
pub(super) fn index_of(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(".idx");
    path.into()
}

/// Removes a file, or a link to one. What is neither is somebody else's, and nothing is there to remove.
pub(super) fn remove_plain(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    fs::remove_file(path)
}

/// True if the disk, or what its owner may have of it, is full.
pub(super) fn is_full(err: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(err.kind(), StorageFull | QuotaExceeded)
}

/// This process writes the log.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// Some process held it before.
    pub(super) was_held: bool,
    /// The rotated files that are the log's. `None`: nobody has opened the log yet, or it is not known.
    pub(super) claims: Option<Claims>,
}

impl Lock {
    /// Says in the file who holds it, and which rotated files are the log's.
    pub(super) fn write(&self) -> io::Result<()> {
        let text = LockText { pid: Some(std::process::id()), claims: self.claims.clone() }.to_string();
        (&self.file).seek(SeekFrom::Start(0))?;
        // Written over what is there, which a crash between the two leaves as one line or the other.
        (&self.file).write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }

    /// Makes safe what the file says.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Claims)) -> io::Result<()> {
        change(self.claims.get_or_insert_default());
        self.write()
    }
}

#[derive(Debug)]
pub(super) enum LockError {
    Held { pid: Option<u32> },
    Io(io::Error),
}

impl From<LockError> for io::Error {
    fn from(err: LockError) -> io::Error {
        match err {
            LockError::Held { .. } => io::Error::other("another process writes it by now"),
            LockError::Io(err) => err,
        }
    }
}

impl From<io::Error> for LockError {
    fn from(err: io::Error) -> LockError {
        LockError::Io(err)
    }
}
