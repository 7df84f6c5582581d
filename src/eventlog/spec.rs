//! What a log is: where it stands, how it is written, when it is made safe, how large it grows. Pure values.

use crate::eventlog::path::LogPath;

/// Size beyond which a segment is rotated, unless the log's spec says otherwise.
const EVENTLOG_SEGMENT_BYTES: u64 = 100_000_000;
/// The smallest segment size that a spec may ask for: two blocks. Less would make a file of every few events.
pub(crate) const EVENTLOG_SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// How the records of a log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    Binary,
    #[default]
    Json,
}

#[cfg(test)]
impl Format {
    /// The name by which a script asks for the format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Binary => "binary",
            Format::Json => "json",
        }
    }
}

/// When a log is made safe against a crash of the machine. What the process wrote survives its own end in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// After each batch.
    Always,
    #[default]
    EverySecond,
    /// When the system likes.
    Never,
}

/// A log and how to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    pub path: LogPath,
    pub format: Format,
    pub fsync: Fsync,
    /// No segment grows beyond this, unless one record alone is longer.
    pub max_bytes: u64,
    /// Segments kept, the youngest included; 0: all.
    pub max_files: u32,
}

impl LogSpec {
    /// The log at this path with everything else as it is by default.
    pub fn new(path: LogPath) -> LogSpec {
        let (format, fsync) = (Format::default(), Fsync::default());
        LogSpec { path, format, fsync, max_bytes: EVENTLOG_SEGMENT_BYTES, max_files: 0 }
    }

    /// What is wrong with the numbers, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_bytes < EVENTLOG_SEGMENT_BYTES_MIN {
            return Err(format!("max_bytes must be at least {EVENTLOG_SEGMENT_BYTES_MIN}, found {}", self.max_bytes));
        }
        Ok(())
    }
}
