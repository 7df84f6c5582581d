//! The errors of a log that is opened or written, as sentences for its owner. Each names the log's path and the
//! cause.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::eventlog::folder::{self, LockError};
use crate::eventlog::segment::SegmentError;
use crate::io::sharing;
use crate::io::shown::shown;

/// A log that cannot be opened for writing.
#[derive(Debug)]
pub struct OpenError {
    pub(super) path: PathBuf,
    pub(super) reason: Refusal,
}

/// The reason why a log cannot be opened for writing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another writer has the lock; its process id, if the lock file has it.
    InUse { pid: Option<u32> },
    /// The operating system refused a call, or the file is no event log of this version. A writer leaves it alone.
    File(SegmentError),
    /// The settings, or the numbers in the file, allow no writing.
    Spec(String),
}

impl From<LockError> for Refusal {
    fn from(err: LockError) -> Refusal {
        match err {
            LockError::Held { pid } => Refusal::InUse { pid },
            LockError::Io(err) => err.into(),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(err: io::Error) -> Refusal {
        Refusal::File(SegmentError::Io(err))
    }
}

impl From<SegmentError> for Refusal {
    fn from(err: SegmentError) -> Refusal {
        Refusal::File(err)
    }
}

impl OpenError {
    /// True if the disk is full: the owner may make room, so another attempt makes sense.
    pub(crate) fn is_full(&self) -> bool {
        matches!(&self.reason, Refusal::File(SegmentError::Io(err)) if folder::is_full(err))
    }

    /// True if another program holds a file of the log: another attempt makes sense.
    pub(crate) fn is_held(&self) -> bool {
        matches!(&self.reason, Refusal::File(SegmentError::Io(err)) if sharing::is_held(err))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open event log `{}`: ", shown(&self.path))?;
        match &self.reason {
            Refusal::InUse { pid: Some(pid) } if *pid == std::process::id() => {
                f.write_str("this process writes it already, by another path: give all its hooks the same one")
            }
            Refusal::InUse { pid: Some(pid) } => write!(f, "in use by process {pid}"),
            Refusal::InUse { pid: None } => f.write_str("in use by another process"),
            Refusal::File(err) => write!(f, "{err}"),
            Refusal::Spec(reason) => f.write_str(reason),
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

    /// True if another program holds a file of the log.
    pub(crate) fn is_held(&self) -> bool {
        // A call on the open file has other causes for a denied access.
        if self.names_file() { sharing::is_held(&self.err) } else { sharing::is_in_use(&self.err) }
    }

    /// True if the action names a file, and is no call on the open one.
    fn names_file(&self) -> bool {
        matches!(self.action, "create" | "lock" | "rotate or remove")
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = sharing::words(&self.err);
        write!(f, "cannot {} event log `{}`: {words}{}", self.action, shown(&self.path), self.err)
    }
}

impl std::error::Error for WriteError {}
