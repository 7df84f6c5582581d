//! The errors of a log that is opened or written, as sentences for its owner. Each names the log's path and the
//! cause.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::eventlog::folder;
use crate::eventlog::segment::{SegmentError, hex};

/// The reason why a log cannot be opened for writing.
#[derive(Debug)]
pub enum OpenError {
    /// Another writer has the lock; its process id, if the lock file has it.
    InUse { path: PathBuf, pid: Option<u32> },
    /// The operating system refused a call.
    Io { path: PathBuf, err: io::Error },
    /// The file is no event log; `found` are its first bytes. A writer leaves it alone.
    Foreign { path: PathBuf, found: Vec<u8> },
    /// The file has a format version that this writer does not know.
    Newer { path: PathBuf, version: u8 },
    /// The settings, or the numbers in the file, allow no writing.
    Spec { path: PathBuf, reason: String },
}

impl OpenError {
    /// The error for a segment that could not be opened.
    pub(super) fn of(path: &Path, err: SegmentError) -> OpenError {
        let path = path.to_owned();
        match err {
            SegmentError::Io(err) => OpenError::Io { path, err },
            SegmentError::Foreign(found) => OpenError::Foreign { path, found },
            SegmentError::Newer(version) => OpenError::Newer { path, version },
        }
    }

    /// True if the disk is full: the owner may make room, so another attempt makes sense.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, OpenError::Io { err, .. } if folder::is_full(err))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (OpenError::InUse { path, .. }
        | OpenError::Io { path, .. }
        | OpenError::Foreign { path, .. }
        | OpenError::Newer { path, .. }
        | OpenError::Spec { path, .. }) = self;
        write!(f, "cannot open event log `{}`: ", path.display())?;
        match self {
            OpenError::InUse { pid: Some(pid), .. } if *pid == std::process::id() => {
                f.write_str("this process writes it already, by another path: give all its hooks the same one")
            }
            OpenError::InUse { pid: Some(pid), .. } => write!(f, "in use by process {pid}"),
            OpenError::InUse { pid: None, .. } => f.write_str("in use by another process"),
            OpenError::Io { err, .. } => write!(f, "{err}"),
            OpenError::Foreign { found, .. } => write!(f, "starts with {}, not an event log", hex(found)),
            OpenError::Newer { version, .. } => write!(f, "written in format {version}, this module knows format 1"),
            OpenError::Spec { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {}

/// A failed action on the files of a log. No record is lost by it: `writer.rs` keeps all records that are not synced.
#[derive(Debug)]
pub struct WriteError {
    /// The action as a verb: the text reads "cannot `action` event log ...".
    pub(super) action: &'static str,
    pub(super) path: PathBuf,
    pub(super) err: io::Error,
}

impl WriteError {
    /// True if the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        folder::is_full(&self.err)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} event log `{}`: {}", self.action, self.path.display(), self.err)
    }
}

impl std::error::Error for WriteError {}
