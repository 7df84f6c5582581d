//! One log of the desk: its state and its records in memory. Runs on `rt-files`.
//! A log counts its records itself, as the writer knows how many it has written but not how heavy they were.

use std::time::{Duration, Instant};

use crate::eventlog::path::LogPath;
use crate::eventlog::writer::{OpenError, Opening, Writer};
use crate::stats::{Counter, FileDrops};
use crate::threads::files::queue::{Append, Files};

/// One log that was used lately.
pub(super) struct Log {
    pub(super) path: LogPath,
    pub(super) state: LogState,
    /// The desk's count of uses at its last use.
    pub(super) last_use: u64,
    /// Records that were not written yet, in the writer or before it is there, and their weight.
    pub(super) records: usize,
    pub(super) weight: usize,
    /// A record was appended since the last write to the file.
    pub(super) dirty: bool,
    /// When the log was last closed to change its format.
    pub(super) reformatted: Option<Instant>,
}

/// The state of a log, see the picture in `files/desk.rs`.
pub(super) enum LogState {
    Open(Box<Writer>),
    /// The log is large and opens in slices. Its records wait here.
    Opening(Opening, Vec<Append>),
    /// The log could not be opened now, and its records wait: another program holds a file of it, or the disk is full.
    Held(Held),
    /// The log could not be opened and is not tried again before this.
    Shut(Instant),
}

/// The records of a log that is opened again later.
pub(super) struct Held {
    /// Time of the next attempt.
    pub(super) retry: Instant,
    /// Why they wait: it chooses the counter of records beyond their bound.
    pub(super) reason: Shut,
    pub(super) waiting: Vec<Append>,
}

/// Why a log takes no record. It chooses the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// The log could not be opened, or two hooks disagree about its format.
    Refused,
    /// The disk has no room, or no log can be closed for this one.
    Full,
    /// Another program holds a file of the log.
    Held,
    /// The log is still being opened.
    Opening,
}

impl Shut {
    /// The counter of the records that this costs.
    pub(super) fn counter(self, dropped: &FileDrops) -> &Counter {
        match self {
            Shut::Refused => &dropped.refused,
            Shut::Full => &dropped.disk_full,
            Shut::Held => &dropped.held,
            Shut::Opening => &dropped.opening,
        }
    }

    /// The reason for the log and for scripts.
    pub(super) fn words(self) -> &'static str {
        match self {
            Shut::Refused => "the log cannot be written",
            Shut::Full => "the disk takes no records, and the memory for waiting ones is full",
            Shut::Held => "another program holds its file, and the memory for waiting records is full",
            Shut::Opening => "it is still being opened, and the memory for waiting records is full",
        }
    }
}

impl Log {
    /// The writer of an open log.
    pub(super) fn writer(&self) -> Option<&Writer> {
        match &self.state {
            LogState::Open(writer) => Some(writer),
            LogState::Opening(..) | LogState::Held(_) | LogState::Shut(_) => None,
        }
    }

    /// Closing it now would lose records.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.is_opening() || self.is_stuck(now) || self.held().is_some_and(|held| !held.waiting.is_empty())
    }

    /// The records that wait for another attempt to open it.
    pub(super) fn held(&self) -> Option<&Held> {
        if let LogState::Held(held) = &self.state { Some(held) } else { None }
    }

    /// Every record that it was given is in its file.
    pub(super) fn is_written(&self) -> bool {
        self.records == 0
    }

    /// Why its records wait in memory. `None`: they are written in this round.
    pub(super) fn blocked(&self) -> Option<Shut> {
        match &self.state {
            LogState::Open(writer) if writer.is_held() => Some(Shut::Held),
            LogState::Open(writer) => writer.has_failed().then_some(Shut::Full),
            LogState::Opening(..) => Some(Shut::Opening),
            LogState::Held(held) => Some(held.reason),
            LogState::Shut(_) => None,
        }
    }

    /// When it has work without a new record.
    pub(super) fn due(&self) -> Option<Instant> {
        let retry = self.held().filter(|held| !held.waiting.is_empty()).map(|held| held.retry);
        self.writer().map_or(retry, Writer::due)
    }

    /// Its records wait until it is open.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, LogState::Opening(..))
    }

    /// The writer pauses after a failure: the disk does not take its records.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.writer().is_some_and(|writer| writer.is_pausing(now))
    }

    /// It is open, but another program holds a file of it.
    pub(super) fn is_held(&self) -> bool {
        self.writer().is_some_and(Writer::is_held)
    }

    /// Adds the writer's counts since the last call to the statistics, and settles the records that it has written.
    pub(super) fn settle(&mut self, files: &Files) {
        let LogState::Open(writer) = &mut self.state else { return };
        let counts = writer.take_counts();
        let written = usize::try_from(counts.written).unwrap_or(usize::MAX).min(self.records);
        // The writer keeps no record's weight, so each counts with the average. The last one takes the rest, and the sum
        // is exact.
        let weight = if written == self.records { self.weight } else { self.weight / self.records.max(1) * written };
        self.records -= written;
        self.weight -= weight;
        // `delivered` before `waiting`: a reader that finds nothing waiting must find all of it counted.
        files.stats.files.delivered.add(written as u64);
        files.settle(written, weight);
        let total = &files.stats.file_counts;
        total.bytes.add(counts.bytes);
        total.rotations.add(counts.rotations);
        total.fsync_errors.add(counts.fsync_errors);
        total.write_errors.add(counts.write_errors);
        total.rewritten.add(counts.rewritten);
        total.index_errors.add(counts.index_errors);
        total.changed.add(counts.changed);
        total.held.add(counts.held);
    }
}

/// Goes on opening a log for a slice of time. The returned state is `Open`, or `Opening` without any waiting records.
pub(super) fn go_on(mut opening: Opening, slice: Duration) -> Result<LogState, OpenError> {
    let until = Instant::now() + slice;
    loop {
        if opening.step()? {
            return Ok(LogState::Open(opening.finish()));
        }
        if Instant::now() >= until {
            return Ok(LogState::Opening(opening, Vec::new()));
        }
    }
}
