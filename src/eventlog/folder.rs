//! The files of one log: their names, whether they are where they seem to be, and who writes them.
//! The rules for a path itself are in `path.rs`; here links are followed, and one that leads out of the data folder is
//! refused, whoever made it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::eventlog::disk::Disk;
use crate::eventlog::path::LogPath;

/// Where the files of a log are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The youngest segment.
    active: PathBuf,
    folder: PathBuf,
    name: String,
    /// No file of the log may be outside of this; `None`: anywhere.
    root: Option<PathBuf>,
}

impl Place {
    /// The log at this path below `root`.
    pub fn below(root: &Path, path: &LogPath) -> Place {
        Place { root: Some(root.to_owned()), ..Place::anywhere(&path.below(root)) }
    }

    /// The log whose youngest segment has this path. For tools: their user may read anything.
    pub fn anywhere(active: &Path) -> Place {
        let folder = active.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = active.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Place { active: folder.join(&name), folder: folder.to_owned(), name, root: None }
    }

    pub fn active(&self) -> &Path {
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

    /// The rotated segments with their numbers, oldest first. None if there is no such folder.
    pub(super) fn rotated_segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&self.name)?.strip_prefix('.'));
            let number = number.filter(|number| number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit()));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                found.push((number, entry.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Refuses a file that a link takes out of the root. One that does not exist is judged by its folder.
    pub(super) fn check(&self, path: &Path) -> io::Result<()> {
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
        match real.starts_with(&root) {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "a link leads out of the data folder")),
        }
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

    /// Takes the log for this process, until the lock is dropped.
    pub(super) fn lock(&self) -> Result<Lock, LockError> {
        let path = self.lock_path();
        self.check(&path)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(err)) => return Err(err.into()),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Where locks are mandatory it cannot be read, and the process stays unnamed.
                let read = (&file).take(20).read_to_string(&mut holder);
                return Err(LockError::Held { pid: read.ok().and_then(|_| holder.trim().parse().ok()) });
            }
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        match file.write_all(std::process::id().to_string().as_bytes()) {
            // The lock holds all the same; a full disk is for the records to tell of.
            Err(err) if is_full(&err) => {}
            other => other?,
        }
        Ok(Lock { _file: file })
    }
}

/// The name of a segment's index.
pub(super) fn index_of(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(".idx");
    path.into()
}

/// True if the disk, or what its owner may have of it, is full.
pub(super) fn is_full(err: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(err.kind(), StorageFull | QuotaExceeded)
}

/// This process writes the log.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

#[derive(Debug)]
pub(super) enum LockError {
    Held { pid: Option<u32> },
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(err: io::Error) -> LockError {
        LockError::Io(err)
    }
}
