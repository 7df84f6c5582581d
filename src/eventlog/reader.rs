//! Reads a log: across its segments, both formats alike, while it is written. Runs on the caller's thread, or on
//! `rt-files` in slices; opens files for reading and changes nothing.
//! One [`Scan::step`] reads one part (32 KiB as a rule), so whoever drives it can stop at any deadline.
//! Refuses a file that is no log. Of damage only what it hit is lost, and told ([`Damage`]).

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fmt, io};

use crate::config::{EVENTLOG_READ_BYTES_MAX, EVENTLOG_READ_RECORDS_MAX};
use crate::eventlog::block::UNIT_BYTES;
use crate::eventlog::folder::Place;
use crate::eventlog::path::LogPath;
use crate::eventlog::segment::{Finding, FindingKind, Part, Segment, SegmentError};
use crate::eventlog::{Filter, Query, Records};

/// Findings that are kept one by one; more are only counted.
const FINDINGS_MAX: usize = 100;

/// All matching records of the log at this path below `root`, unless that takes longer than the deadline.
pub fn read(root: &Path, path: &LogPath, query: &Query, deadline: Instant) -> Result<ReadOutcome, ReadError> {
    let mut scan = Scan::of_script(root, path, query.clone())?;
    while scan.step()? == Progress::More {
        if Instant::now() >= deadline {
            return Err(ReadError::Timeout);
        }
    }
    Ok(scan.finish())
}

/// The answer to a [`Query`].
#[derive(Debug, Default)]
pub struct ReadOutcome {
    pub records: Records,
    pub damage: Damage,
}

/// What could not be read where a reader came along.
#[derive(Debug, Default)]
pub struct Damage {
    /// Places that are damaged, and their bytes.
    pub damaged: u64,
    pub damaged_bytes: u64,
    /// Bytes that a stopped writer left behind.
    pub torn_bytes: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Damage {
    fn add(&mut self, finding: Finding) {
        match finding.kind {
            FindingKind::Torn => self.torn_bytes += finding.bytes,
            FindingKind::Damaged | FindingKind::Refused => {
                self.damaged += 1;
                self.damaged_bytes += finding.bytes;
            }
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// A reading of a log that can be interrupted after every part.
pub struct Scan {
    place: Place,
    query: Query,
    /// Segments still to be opened, in the order in which they are read; the youngest was opened first.
    waiting: VecDeque<Source>,
    youngest_id: Option<u64>,
    current: Option<Reading>,
    /// Oldest first: opened already, because its first number ends the segment before it. Newest first: not used.
    next: Option<Segment>,
    /// Newest first: the first number of the segment that was read last.
    seq_below: u64,
    use_index: bool,
    records: Records,
    damage: Damage,
    tally: Tally,
    buffer: Vec<u8>,
}

/// What a scan went over, whether it was asked for or not.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub segments: u64,
    pub bytes: u64,
    pub records: u64,
    pub earliest_ms: Option<u64>,
    pub latest_ms: Option<u64>,
}

enum Source {
    File(PathBuf),
    Open(Segment),
}

struct Reading {
    segment: Segment,
    /// Parts still to be read, in order of reading.
    parts: VecDeque<Part>,
    seq_below: u64,
}

impl Scan {
    /// For a script: below its folder, and no more than one answer may have.
    pub fn of_script(root: &Path, path: &LogPath, query: Query) -> Result<Scan, ReadError> {
        let limit = query.limit.min(EVENTLOG_READ_RECORDS_MAX);
        Scan::open(Place::below(root, path), Query { limit, ..query })
    }

    /// Opens the youngest segment and lists the others.
    pub fn open(place: Place, query: Query) -> Result<Scan, ReadError> {
        Scan::open_by(place, query, true)
    }

    /// The same, but every part of every segment is read, whatever an index says.
    pub fn verify(place: Place) -> Result<Scan, ReadError> {
        Scan::open_by(place, Query::default(), false)
    }

    fn open_by(place: Place, query: Query, use_index: bool) -> Result<Scan, ReadError> {
        let fail = |path: &Path, err| ReadError::Io { path: path.to_owned(), err };
        let active = place.active().to_owned();
        place.check(&active).map_err(|err| fail(&active, err))?;
        // To open a pipe could take for ever.
        if active.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(fail(&active, io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
        }
        // The youngest first: if it is rotated meanwhile it is found once more below, and known by its id.
        let youngest = match File::open(&active) {
            Ok(file) => Some(Segment::of_file(&active, file, use_index).map_err(|err| ReadError::of(&active, err))?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(fail(&active, err)),
        };
        let rotated = place.rotated_segments().map_err(|err| fail(place.folder(), err))?;
        if youngest.is_none() && rotated.is_empty() {
            return Err(ReadError::Missing { path: active });
        }
        let youngest_id = youngest.as_ref().map(|segment| segment.id);
        let mut waiting: VecDeque<Source> = rotated.into_iter().map(|(_, path)| Source::File(path)).collect();
        waiting.extend(youngest.map(Source::Open));
        if query.newest_first {
            waiting = waiting.into_iter().rev().collect();
        }
        Ok(Scan {
            place,
            query,
            waiting,
            youngest_id,
            current: None,
            next: None,
            seq_below: u64::MAX,
            use_index,
            records: Records::default(),
            damage: Damage::default(),
            tally: Tally::default(),
            buffer: Vec::new(),
        })
    }

    /// Reads one part, or opens the next segment.
    pub fn step(&mut self) -> Result<Progress, ReadError> {
        if self.records.len() >= self.query.limit {
            return Ok(Progress::Done);
        }
        let Some(reading) = &mut self.current else { return self.next_segment() };
        let Some(part) = reading.parts.pop_front() else {
            self.leave_segment();
            return Ok(Progress::More);
        };
        let mut filter = Filter {
            start_ms: self.query.start_ms,
            end_ms: self.query.end_ms,
            channel: self.query.channel.as_deref(),
            seq_from: 0,
            seq_below: reading.seq_below,
        };
        if self.query.newest_first
            && let Some(info) = part.info.filter(|info| filter.takes_all(info))
        {
            // Of a part that matches whole, only its last records are asked for.
            let wanted = (self.query.limit - self.records.len()) as u64;
            filter.seq_from = (info.first_seq + info.records).saturating_sub(wanted);
        }
        if part.info.is_some_and(|info| filter.excludes(&info)) {
            return Ok(Progress::More);
        }
        // A record is some times as long in text as in its block.
        self.records.text.reserve(4 * UNIT_BYTES);
        let before = self.records.rows.len();
        let found = reading.segment.read(part, &filter, &mut self.records, &mut self.buffer);
        let found = found.map_err(|err| ReadError::Io { path: reading.segment.path.clone(), err })?;
        self.tally.add(&found.info);
        if self.query.newest_first
            && let Some(new) = self.records.rows.get_mut(before..)
        {
            new.reverse();
        }
        self.records.rows.truncate(self.query.limit);
        if self.records.text.len() > EVENTLOG_READ_BYTES_MAX {
            return Err(ReadError::TooLarge);
        }
        Ok(Progress::More)
    }

    /// What was found so far.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What was found since the last call; the limit counts anew from here.
    pub fn take_records(&mut self) -> Records {
        std::mem::take(&mut self.records)
    }

    /// Changes how many records are still wanted.
    pub fn set_limit(&mut self, limit: usize) {
        self.query.limit = limit;
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    pub fn finish(mut self) -> ReadOutcome {
        self.take_outcome()
    }

    /// The same for a scan that somebody else holds: it is at its end.
    pub fn take_outcome(&mut self) -> ReadOutcome {
        self.leave_segment();
        ReadOutcome { records: std::mem::take(&mut self.records), damage: std::mem::take(&mut self.damage) }
    }

    fn leave_segment(&mut self) {
        if let Some(reading) = self.current.take() {
            reading.segment.findings.into_iter().for_each(|finding| self.damage.add(finding));
        }
    }

    fn next_segment(&mut self) -> Result<Progress, ReadError> {
        let taken = match self.next.take() {
            Some(segment) => Some(segment),
            None => self.take_source()?,
        };
        let Some(mut segment) = taken else { return Ok(Progress::Done) };
        let mut parts: VecDeque<Part> = segment.parts.iter().copied().collect();
        let seq_below = if self.query.newest_first {
            parts = parts.into_iter().rev().collect();
            let first_seq = self.first_seq(&mut segment)?;
            let seq_below = self.seq_below;
            self.seq_below = first_seq.map_or(seq_below, |seq| seq.min(seq_below));
            seq_below
        } else {
            self.first_seq_of_next()?
        };
        self.tally.segments += 1;
        self.tally.bytes += segment.bytes;
        self.current = Some(Reading { segment, parts, seq_below });
        Ok(Progress::More)
    }

    /// Opens segments until one has a record: its number ends the current one.
    fn first_seq_of_next(&mut self) -> Result<u64, ReadError> {
        while self.next.is_none() {
            let Some(mut segment) = self.take_source()? else { return Ok(u64::MAX) };
            match self.first_seq(&mut segment)? {
                Some(seq) => {
                    self.next = Some(segment);
                    return Ok(seq);
                }
                // Nothing but damage, if anything.
                None => {
                    self.tally.segments += 1;
                    self.tally.bytes += segment.bytes;
                    segment.findings.into_iter().for_each(|finding| self.damage.add(finding));
                }
            }
        }
        Ok(u64::MAX)
    }

    fn first_seq(&mut self, segment: &mut Segment) -> Result<Option<u64>, ReadError> {
        let first = segment.first_seq(&mut self.buffer);
        first.map_err(|err| ReadError::Io { path: segment.path.clone(), err })
    }

    /// The next segment in order of reading, if it can be read.
    fn take_source(&mut self) -> Result<Option<Segment>, ReadError> {
        while let Some(source) = self.waiting.pop_front() {
            let path = match source {
                Source::Open(segment) => return Ok(Some(segment)),
                Source::File(path) => path,
            };
            let opened = match self.place.check(&path) {
                Ok(()) => Segment::open(&path, self.use_index),
                Err(err) => Err(err.into()),
            };
            match opened {
                // The youngest, which was rotated since it was opened.
                Ok(segment) if segment.id != 0 && Some(segment.id) == self.youngest_id => {}
                Ok(segment) => return Ok(Some(segment)),
                // Removed to make room, since the list was made.
                Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => {}
                Err(SegmentError::Io(err)) => return Err(ReadError::Io { path, err }),
                Err(SegmentError::Foreign(_) | SegmentError::Newer(_)) => {
                    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    self.damage.add(Finding { path, offset: 0, bytes, kind: FindingKind::Refused });
                }
            }
        }
        Ok(None)
    }
}

impl Tally {
    fn add(&mut self, info: &crate::eventlog::PartInfo) {
        self.records += info.records;
        if info.records > 0 {
            let (earliest, latest) = (info.earliest_ms, info.latest_ms);
            self.earliest_ms = Some(self.earliest_ms.map_or(earliest, |so_far| so_far.min(earliest)));
            self.latest_ms = Some(self.latest_ms.map_or(latest, |so_far| so_far.max(latest)));
        }
    }
}

/// Why a log was not read.
#[derive(Debug)]
pub enum ReadError {
    Missing {
        path: PathBuf,
    },
    Io {
        path: PathBuf,
        err: io::Error,
    },
    Foreign {
        path: PathBuf,
        found: Vec<u8>,
    },
    Newer {
        path: PathBuf,
        version: u8,
    },
    /// The deadline passed first.
    Timeout,
    /// What matches is more than one answer may hold.
    TooLarge,
    /// So many reads wait already.
    Busy {
        waiting: usize,
    },
    /// Nobody is there to read: the thread ended.
    Closed,
}

impl ReadError {
    fn of(path: &Path, err: SegmentError) -> ReadError {
        let path = path.to_owned();
        match err {
            SegmentError::Io(err) => ReadError::Io { path, err },
            SegmentError::Foreign(found) => ReadError::Foreign { path, found },
            SegmentError::Newer(version) => ReadError::Newer { path, version },
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Missing { path } => write!(f, "there is no event log `{}`", path.display()),
            ReadError::Io { path, err } => write!(f, "cannot read event log `{}`: {err}", path.display()),
            ReadError::Foreign { path, found } => {
                write!(f, "cannot read event log `{}`: starts with {}, not an event log", path.display(), hex(found))
            }
            ReadError::Newer { path, version } => {
                write!(f, "cannot read event log `{}`: written in format {version}, known are 1 to 1", path.display())
            }
            ReadError::Timeout => f.write_str("the event log was not read in time"),
            ReadError::TooLarge => {
                f.write_str("the records asked for are more than one answer may hold: ask for fewer")
            }
            ReadError::Busy { waiting } => write!(f, "{waiting} reads of event logs wait"),
            ReadError::Closed => f.write_str("the event logs are closed"),
        }
    }
}

impl std::error::Error for ReadError {}

/// `50 4b 03 04`
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
