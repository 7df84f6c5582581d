//! The files of one log: their names, the numbers that the lock file lists, the check of links, and the lock itself.
//! Runs on `rt-files` for a writer and on the thread of a reader. A writer owns the [`Lock`] of its log until it
//! drops it. `path.rs` has the rules for the path that a script chooses. This file follows links as well, and refuses
//! any link that leads out of the data folder, no matter which program made it. A folder may hold any number of other
//! files, so a listing goes over a bounded number of names in each step.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::eventlog::claims::{Claims, LINE_BYTES_MAX, LockText, NUMBER_MAX};
use crate::eventlog::disk::Disk;
use crate::eventlog::path::{self, LogPath};
use crate::io::shown::shown;
use crate::io::{plain_file, sharing};

/// Files behind the last listed number that are looked up one by one. A rotation leaves at most one such file, when
/// the lock file could not be written.
const FOLLOWING_MAX: u64 = 1000;
/// Names of a folder that one step looks at, which takes tens of microseconds.
const NAMES_PER_STEP: usize = 128;
/// A writer may have made a name with six digits. A number with more digits is probably a date (`20231224`), unless
/// the folder has its neighbour too.
const ALONE_BELOW: u64 = 1_000_000;

/// The paths of a log's files.
#[derive(Debug, Clone)]
pub struct LogFiles {
    /// Path of the youngest segment, which has the log's own name.
    active: PathBuf,
    folder: PathBuf,
    /// Name of the youngest segment; the names of all other files begin with it.
    name: String,
    /// Folder that all files of the log must be in, links included; `None`: they may be anywhere.
    root: Option<PathBuf>,
}

impl LogFiles {
    /// The log at a script's path below the data folder `root`.
    pub(crate) fn below(root: &Path, path: &LogPath) -> LogFiles {
        LogFiles { root: Some(root.to_owned()), ..LogFiles::anywhere(&path.below(root)) }
    }

    /// The log whose youngest segment has this path. For tools, whose user may read any file.
    pub fn anywhere(active: &Path) -> LogFiles {
        let folder = active.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = active.file_name().unwrap_or_default().to_string_lossy().into_owned();
        LogFiles { active: folder.join(&name), folder: folder.to_owned(), name, root: None }
    }

    /// Path of the youngest segment.
    pub(crate) fn active(&self) -> &Path {
        &self.active
    }

    /// The folder that holds all files of the log.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of the rotated segment with this number.
    pub(super) fn rotated(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}.{number:06}", self.name))
    }

    /// Path of the lock file.
    fn lock_path(&self) -> PathBuf {
        self.folder.join(format!("{}.lock", self.name))
    }

    /// The rotated numbers that the lock file lists. `None`: it lists nothing, is no lock file, or cannot be read. An error
    /// if another program holds it: it may list something.
    pub(super) fn claims(&self) -> io::Result<Option<Claims>> {
        let path = self.lock_path();
        // Links are not followed: a link could lead out of the data folder.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = plain_file::read(&path);
        match read.and_then(|file| file.take(LINE_BYTES_MAX as u64).read_to_end(&mut bytes)) {
            Err(err) if sharing::is_in_use(&err) => Err(err),
            Err(_) => Ok(None),
            Ok(_) => Ok(LockText::parse(&bytes).and_then(|text| text.claims)),
        }
    }

    /// Numbers of existing files behind the last listed number, without a gap. The lock file can lack the latest
    /// ones, since a full disk may refuse to extend it.
    pub(super) fn following(&self, claims: &Claims) -> Vec<u64> {
        let first = claims.last().unwrap_or(0).saturating_add(1);
        let is_there = |number: &u64| fs::symlink_metadata(self.rotated(*number)).is_ok();
        (first..first.saturating_add(FOLLOWING_MAX)).take_while(is_there).collect()
    }

    /// Begins to list the files whose names could be those of rotated segments. A missing folder counts as an empty
    /// one.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let entries = match fs::read_dir(&self.folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        Ok(Listing { entries, numbers: Vec::new() })
    }

    /// The number in the name of a rotated segment. `None`: a writer would not write the name like this.
    fn number_of(&self, name: &OsStr) -> Option<u64> {
        let (_, digits) = name.to_str()?.rsplit_once('.').filter(|(log, _)| path::is_same_name(log, &self.name))?;
        let number = digits.parse::<u64>().ok().filter(|number| (1..NUMBER_MAX).contains(number))?;
        (format!("{number:06}") == digits).then_some(number)
    }

    /// Refuses a path that a link takes out of the root or into the module's own folder. A file that does not exist
    /// yet is judged by its deepest existing folder.
    pub(crate) fn check(&self, path: &Path) -> io::Result<()> {
        /// Reason of a refusal that protects the text log, dead letters and spool in `realtime/`.
        const OWN: &str = "a link leads to the module's own files";
        let Some(root) = &self.root else { return Ok(()) };
        let root = root.canonicalize()?;
        let mut deepest = path;
        let real = loop {
            match deepest.canonicalize() {
                Ok(real) => break real,
                // Opening a dangling link would create the file at its target, so the link itself is an error.
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
            // The folder `realtime` may be a link itself; then its target is protected.
            Ok(_) if own.is_symlink() && own.canonicalize().is_ok_and(|own| real.starts_with(own)) => OWN,
            Ok(_) => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
    }

    /// Creates the folder of the log and all missing folders above it, and syncs each parent, so that a crash of the
    /// machine leaves no synced segment in a lost folder.
    pub(crate) fn make_folder(&self, disk: &dyn Disk) -> io::Result<()> {
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

    /// True if the lock file is still at its path. An owner may have removed or moved it since it was locked.
    pub(super) fn still_has(&self, lock: &Lock) -> bool {
        plain_file::is_at(&lock.file, &self.lock_path())
    }

    /// Locks the log for this process until the [`Lock`] is dropped, and reads the listed numbers from the lock file.
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
        // A crash of the machine may leave zeros in the file.
        bytes.retain(|byte| *byte != 0);
        let Some(text) = LockText::parse(&bytes) else {
            let found = format!("`{}` is in the way: it is no lock file of an event log", shown(&path));
            return Err(io::Error::new(io::ErrorKind::InvalidData, found).into());
        };
        let lock = Lock { file, was_held: text.pid.is_some(), claims: text.claims };
        match lock.write() {
            // The lock holds even if its text could not be written, and the writer reports a full disk with the first
            // record. If another program has locked the bytes, the next rotation writes the text.
            Err(err) if is_full(&err) || sharing::is_in_use(&err) => {}
            other => other?,
        }
        Ok(lock)
    }
}

/// Opens the lock file and locks it. True: another process holds it, and the file can only be read.
#[cfg(not(windows))]
fn hold(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    let file = plain_file::open(options.read(true).write(true).create(true).truncate(false), path)?;
    let is_held = !plain_file::try_lock(&file, path)?;
    Ok((file, is_held))
}

/// `hold` for Windows. There no other process could read a locked file
/// (<https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-lockfileex>), and readers read its list. So the file
/// is opened with a share mode that allows others to read only
/// (<https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew>).
#[cfg(windows)]
fn hold(path: &Path) -> io::Result<(File, bool)> {
    use std::os::windows::fs::OpenOptionsExt;
    // Share modes of `CreateFileW`: others may read; others may rename and remove.
    const FILE_SHARE_READ: u32 = 1;
    const FILE_SHARE_DELETE: u32 = 4;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).share_mode(FILE_SHARE_READ);
    let refused = match plain_file::open(&mut options, path) {
        Err(err) if sharing::is_in_use(&err) => err,
        opened => return Ok((opened?, false)),
    };
    // A writer has it open for writing, so this fails. A virus scanner or a backup that reads it is no writer: the error
    // says that it holds the file, which passes.
    if plain_file::open(OpenOptions::new().read(true).share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE), path).is_ok() {
        return Err(refused);
    }
    // Fails if a program lets nobody read it. A writer does not do that.
    Ok((plain_file::read(path)?, true))
}

/// A listing of a folder between two steps.
pub(super) struct Listing {
    entries: Option<fs::ReadDir>,
    /// In the order of the folder.
    numbers: Vec<u64>,
}

impl Listing {
    /// Looks at some names. After the last one it returns the numbers of the files that may be rotated segments,
    /// ascending.
    pub(super) fn step(&mut self, files: &LogFiles) -> io::Result<Option<Vec<u64>>> {
        let Some(entries) = &mut self.entries else { return Ok(Some(Vec::new())) };
        for _ in 0..NAMES_PER_STEP {
            let Some(entry) = entries.next() else {
                self.numbers.sort_unstable();
                self.numbers.dedup();
                let is_there = |number: u64| self.numbers.binary_search(&number).is_ok();
                let mut likely = self.numbers.clone();
                likely.retain(|number| *number < ALONE_BELOW || is_there(*number - 1) || is_there(*number + 1));
                return Ok(Some(likely));
            };
            let entry = entry?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_symlink());
            self.numbers.extend(files.number_of(&entry.file_name()).filter(|_| is_file));
        }
        Ok(None)
    }
}

/// Path of the index of this segment.
pub(super) fn index_of(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(".idx");
    path.into()
}

/// True if the disk or the owner's quota is full.
pub(super) fn is_full(err: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(err.kind(), StorageFull | QuotaExceeded)
}

/// The lock of a log that this process holds. The operating system releases it when the file is closed, also after a
/// kill.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// True if the lock file named a process before, so a writer has opened the log at least once.
    pub(super) was_held: bool,
    /// Numbers of the log's rotated segments. `None`: no writer has opened the log yet, or the lock file is damaged.
    pub(super) claims: Option<Claims>,
}

impl Lock {
    /// Writes this process id and the rotated numbers to the lock file.
    pub(super) fn write(&self) -> io::Result<()> {
        let text = LockText { pid: Some(std::process::id()), claims: self.claims.clone() }.to_string();
        (&self.file).seek(SeekFrom::Start(0))?;
        // Overwrites in place: after a crash between the two calls the first line is still either the old or the new
        // one.
        (&self.file).write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }

    /// Syncs the lock file.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Changes the rotated numbers in memory and in the lock file. On an error only the memory has the change.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Claims)) -> io::Result<()> {
        change(self.claims.get_or_insert_default());
        self.write()
    }
}

/// The reason why a log could not be locked.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process holds the lock; its id, if the lock file has it.
    Held {
        pid: Option<u32>,
    },
    Io(io::Error),
}

impl From<LockError> for io::Error {
    fn from(err: LockError) -> io::Error {
        match err {
            // A writer sees this only when it renews a lock whose file was removed.
            LockError::Held { .. } => io::Error::other("another process writes it now"),
            LockError::Io(err) => err,
        }
    }
}

impl From<io::Error> for LockError {
    fn from(err: io::Error) -> LockError {
        LockError::Io(err)
    }
}
