//! What can go wrong with a log that is to be written, in words for its owner.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::eventlog::folder;
use crate::eventlog::segment::{SegmentError, hex};

/// Why a log cannot be written.
#[derive(Debug)]
pub enum OpenError {
    InUse { path: PathBuf, pid: Option<u32> },
    Io { path: PathBuf, err: io::Error },
    Foreign { path: PathBuf, found: Vec<u8> },
    Newer { path: PathBuf, version: u8 },
    Spec { path: PathBuf, reason: String },
}

impl OpenError {
    pub(super) fn of(path: &Path, err: SegmentError) -> OpenError {
        let path = path.to_owned();
        match err {
            SegmentError::Io(err) => OpenError::Io { path, err },
            SegmentError::Foreign(found) => OpenError::Foreign { path, found },
            SegmentError::Newer(version) => OpenError::Newer { path, version },
        }
    }

    /// The disk is full, and may not be for long.
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
            OpenError::Newer { version, .. } => write!(f, "written in format {version}, known are 1 to 1"),
            OpenError::Spec { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {}

/// What could not be done with the files of a log. Nothing is lost by it: see the card of this file.
#[derive(Debug)]
pub struct WriteError {
    pub(super) action: &'static str,
    pub(super) path: PathBuf,
    pub(super) err: io::Error,
}

impl WriteError {
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
