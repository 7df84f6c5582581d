//! The settings of one log: its path, its format, how often it is synced, and how large it grows. Pure values, which
//! a hook's file action contains and `rt-files` gives to the writer.

use crate::eventlog::path::LogPath;

/// Size of a segment before it is rotated, unless the settings say otherwise.
const EVENTLOG_SEGMENT_BYTES: u64 = 100_000_000;
/// The smallest segment size that a log may ask for: two blocks. A smaller one would make a file of every few events.
pub(crate) const EVENTLOG_SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// The format of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Blocks of compact records: `mod.rs`.
    Binary,
    /// JSON lines, which other tools can read: `line.rs`.
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

/// When a log is synced, so that its records survive a crash of the machine. Every written record survives the end of
/// the process in any case, because the operating system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// After each batch of records.
    Always,
    #[default]
    EverySecond,
    /// Never by the writer: the operating system writes its cache when it likes.
    Never,
}

/// A log and the way it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    pub path: LogPath,
    pub format: Format,
    pub fsync: Fsync,
    /// Largest size of a segment in bytes. Only a segment of a single longer record exceeds it.
    pub max_bytes: u64,
    /// Number of segments that are kept, the youngest included; 0 keeps all of them.
    pub max_files: u32,
}

impl LogSpec {
    /// The log at this path with the default settings.
    pub fn new(path: LogPath) -> LogSpec {
        let (format, fsync) = (Format::default(), Fsync::default());
        LogSpec { path, format, fsync, max_bytes: EVENTLOG_SEGMENT_BYTES, max_files: 0 }
    }

    /// Checks the numbers. The error is a sentence for the owner of the log.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_bytes < EVENTLOG_SEGMENT_BYTES_MIN {
            return Err(format!("max_bytes must be at least {EVENTLOG_SEGMENT_BYTES_MIN}, found {}", self.max_bytes));
        }
        Ok(())
    }
}
