//! Reads a log: across its segments, both formats alike, while it is written. Runs on the caller's thread, or on
//! `rt-files` in slices; opens files for reading and changes nothing.
//! One [`Scan::step`] reads one part (32 KiB as a rule), or looks for some, or lists a part of the folder: less than a
//! millisecond, so whoever drives it can stop at any deadline, and goes on where it was.
//! Refuses a file that is no log. Of damage only what it hit is lost, and told ([`Damage`]).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fmt, io};

use crate::config::limits::EVENTLOG_READ_RECORDS_MAX;
use crate::eventlog::chain::{Chain, Rotated};
use crate::eventlog::folder::LogFiles;
use crate::eventlog::format::{EVENTLOG_BLOCK_TEXT_BYTES_MAX, EVENTLOG_RECORD_BYTES_MAX, UNIT_BYTES};
use crate::eventlog::path::LogPath;
use crate::eventlog::records::{PartInfo, Query, RecordFilter, Records};
use crate::eventlog::segment::{Finding, FindingKind, Segment, SegmentError, hex};

/// Most bytes of records in one answer.
const EVENTLOG_READ_BYTES_MAX: usize = EVENTLOG_BLOCK_TEXT_BYTES_MAX;
const _: () = assert!(EVENTLOG_RECORD_BYTES_MAX < EVENTLOG_READ_BYTES_MAX);

/// Findings that are kept one by one; more are only counted.
const FINDINGS_MAX: usize = 100;
/// Rotated files that are opened in one step, as long as they turn out to be gone.
const FILES_PER_STEP: usize = 64;
/// Steps that a log takes to be found if it is missing: an empty listing, and nothing to compare.
const STEPS_AT_OPEN: usize = 4;

/// All matching records of the log at this path below `root`, unless that takes longer than the deadline.
pub fn read(root: &Path, path: &LogPath, query: &Query, deadline: Instant) -> Result<ReadOutcome, ReadError> {
    let mut scan = Scan::of_script(root, path, query.clone())?;
    while scan.step()? == ScanProgress::More {
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
    /// Takes what was found in the segment. Until that is over, the last finding may become longer.
    fn take(&mut self, segment: &mut Segment, is_over: bool) {
        let count = segment.findings.len().saturating_sub(usize::from(!is_over));
        segment.findings.drain(..count).for_each(|finding| self.add(finding));
    }

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
pub enum ScanProgress {
    More,
    Done,
}

/// A reading of a log that can be interrupted after every part.
pub struct Scan {
    files: LogFiles,
    query: Query,
    /// Until it is known which rotated segments there are.
    chain: Option<Chain>,
    /// Segments still to be opened, in the order in which they are read; the youngest was opened first.
    waiting: VecDeque<Source>,
    /// The youngest, until the others are known.
    youngest: Option<Segment>,
    youngest_id: Option<u64>,
    current: Option<OpenSegment>,
    /// The segment to be read after the current one, and oldest first the one after that: a segment is read when it is
    /// known with which number the next one begins.
    next: Option<Segment>,
    after_next: Option<Segment>,
    /// Newest first: the first number of the segment that was read last.
    seq_below: u64,
    use_index: bool,
    records: Records,
    damage: Damage,
    tally: ScanTally,
    buffer: Vec<u8>,
}

/// What a scan went over, whether it was asked for or not.
#[derive(Debug, Default, Clone, Copy)]
pub struct ScanTally {
    pub segments: u64,
    pub bytes: u64,
    pub records: u64,
    pub earliest_ms: Option<u64>,
    pub latest_ms: Option<u64>,
}

enum Source {
    /// A rotated segment of this number.
    Rotated(u64),
    Open(Box<Segment>),
}

struct OpenSegment {
    segment: Segment,
    /// Parts read so far, from whichever end.
    parts_read: usize,
    seq_below: u64,
}

impl Scan {
    /// For a script: below its folder, and no more than one answer may have.
    pub(crate) fn of_script(root: &Path, path: &LogPath, query: Query) -> Result<Scan, ReadError> {
        let limit = query.limit.min(EVENTLOG_READ_RECORDS_MAX);
        Scan::open(LogFiles::below(root, path), Query { limit, ..query })
    }

    /// Opens the youngest segment and lists the others.
    pub fn open(files: LogFiles, query: Query) -> Result<Scan, ReadError> {
        Scan::open_by(files, query, true)
    }

    /// The same, but every part of every segment is read, whatever an index says.
    pub fn verify(files: LogFiles) -> Result<Scan, ReadError> {
        Scan::open_by(files, Query::default(), false)
    }

    fn open_by(files: LogFiles, query: Query, use_index: bool) -> Result<Scan, ReadError> {
        let fail = |path: &Path, err| ReadError::Io { path: path.to_owned(), err };
        let active = files.active().to_owned();
        files.check(&active).map_err(|err| fail(&active, err))?;
        // The youngest first: if it is rotated meanwhile it is found once more below, and known by its id.
        let youngest = match Segment::open(&active, use_index) {
            Ok(segment) => Some(segment),
            Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(ReadError::of(&active, err)),
        };
        let chain = Chain::begin(&files, files.claims()).map_err(|err| fail(files.folder(), err))?;
        let mut scan = Scan {
            files,
            query,
            chain: Some(chain),
            waiting: VecDeque::new(),
            youngest_id: youngest.as_ref().map(|segment| segment.id),
            youngest,
            current: None,
            next: None,
            after_next: None,
            seq_below: u64::MAX,
            use_index,
            records: Records::default(),
            damage: Damage::default(),
            tally: ScanTally::default(),
            buffer: Vec::new(),
        };
        // With nothing to look at this is all there is to it, and a log that is missing is told at once.
        for _ in 0..STEPS_AT_OPEN {
            if scan.chain.is_some() {
                scan.find_segments()?;
            }
        }
        Ok(scan)
    }

    /// Looks a little further which segments there are.
    fn find_segments(&mut self) -> Result<(), ReadError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let found = chain.step(&self.files, self.youngest.as_mut(), &mut self.buffer);
        if let Some(rotated) = found.map_err(|err| ReadError::Io { path: self.files.folder().to_owned(), err })? {
            self.chain = None;
            self.wait_for(rotated)?;
        }
        Ok(())
    }

    /// Puts the segments into the order in which they are read.
    fn wait_for(&mut self, rotated: Rotated) -> Result<(), ReadError> {
        let Rotated { mut numbers, foreign, .. } = rotated;
        // Of those it is told that they are no event logs: nothing says that they never were.
        numbers.extend(foreign);
        numbers.sort_unstable();
        if self.youngest.is_none() && numbers.is_empty() {
            return Err(ReadError::Missing { path: self.files.active().to_owned() });
        }
        self.waiting = numbers.into_iter().map(Source::Rotated).collect();
        self.waiting.extend(self.youngest.take().map(|youngest| Source::Open(Box::new(youngest))));
        if self.query.newest_first {
            self.waiting.make_contiguous().reverse();
        }
        Ok(())
    }

    /// Lists some of the folder, opens the next segment, looks for some of its parts, or reads one.
    pub fn step(&mut self) -> Result<ScanProgress, ReadError> {
        if self.records.len() >= self.query.limit {
            return Ok(ScanProgress::Done);
        }
        if self.chain.is_some() {
            self.find_segments()?;
            return Ok(ScanProgress::More);
        }
        match self.current.take() {
            Some(reading) => self.read_on(reading),
            None => self.next_segment(),
        }
    }

    /// Reads one part of the segment, or looks for some.
    fn read_on(&mut self, mut reading: OpenSegment) -> Result<ScanProgress, ReadError> {
        let (newest_first, limit, segment) = (self.query.newest_first, self.query.limit, &mut reading.segment);
        let number = match newest_first {
            // The last part is known when all are.
            true if !segment.is_searched() => None,
            true => segment.parts.len().checked_sub(reading.parts_read + 1),
            false => Some(reading.parts_read),
        };
        let Some(part) = number.and_then(|number| segment.part(number)) else {
            let is_over = segment.is_searched();
            if !is_over {
                segment.search(&mut self.buffer).map_err(|err| io_error(segment, err))?;
            }
            self.damage.take(segment, is_over);
            self.current = Some(reading).filter(|_| !is_over);
            return Ok(ScanProgress::More);
        };
        reading.parts_read += 1;
        let mut filter = RecordFilter {
            start_ms: self.query.start_ms,
            end_ms: self.query.end_ms,
            channel: self.query.channel.as_deref(),
            seq_from: 0,
            seq_below: reading.seq_below,
            // Newest first, the last records of the part are wanted.
            rows_max: if newest_first { usize::MAX } else { limit },
            text_max: EVENTLOG_READ_BYTES_MAX,
        };
        if newest_first && let Some(info) = part.info.filter(|info| filter.takes_all(info)) {
            // Of a part that matches whole, only its last records are asked for.
            let wanted = (limit - self.records.len()) as u64;
            filter.seq_from = (info.first_seq + info.records).saturating_sub(wanted);
        }
        if !part.info.is_some_and(|info| filter.excludes(&info)) {
            // A record is some times as long in text as in its block.
            self.records.text.reserve(4 * UNIT_BYTES);
            let before = self.records.rows.len();
            let found = segment.read(part, &filter, &mut self.records, &mut self.buffer);
            let found = found.map_err(|err| io_error(segment, err))?;
            self.damage.take(segment, false);
            self.tally.add(&found.info);
            if newest_first && let Some(new) = self.records.rows.get_mut(before..) {
                new.reverse();
            }
            self.records.rows.truncate(limit);
            if self.records.text.len() > EVENTLOG_READ_BYTES_MAX {
                return Err(ReadError::TooLarge);
            }
        }
        self.current = Some(reading);
        Ok(ScanProgress::More)
    }

    /// What was found since the last call; the limit counts anew from here.
    pub fn take_records(&mut self) -> Records {
        std::mem::take(&mut self.records)
    }

    /// Changes how many records are still wanted.
    pub fn set_limit(&mut self, limit: usize) {
        self.query.limit = limit;
    }

    pub fn tally(&self) -> ScanTally {
        self.tally
    }

    pub fn finish(mut self) -> ReadOutcome {
        self.take_outcome()
    }

    /// The same for a scan that somebody else holds: it is at its end.
    pub fn take_outcome(&mut self) -> ReadOutcome {
        if let Some(mut reading) = self.current.take() {
            self.damage.take(&mut reading.segment, true);
        }
        ReadOutcome { records: std::mem::take(&mut self.records), damage: std::mem::take(&mut self.damage) }
    }

    /// Opens a segment, or looks for the number that its last records must be below.
    fn next_segment(&mut self) -> Result<ScanProgress, ReadError> {
        if self.next.is_none() {
            self.next = match self.after_next.take() {
                Some(segment) => Some(segment),
                None => self.take_source()?,
            };
            let is_over = self.next.is_none() && self.waiting.is_empty();
            return Ok(if is_over { ScanProgress::Done } else { ScanProgress::More });
        }
        let Some(seq_below) = self.bound()? else { return Ok(ScanProgress::More) };
        if let Some(segment) = self.next.take() {
            self.tally.segments += 1;
            self.tally.bytes += segment.bytes;
            self.current = Some(OpenSegment { segment, parts_read: 0, seq_below });
        }
        Ok(ScanProgress::More)
    }

    /// The number that the records of the next segment must be below. `None`: not known yet, or there is no record in it.
    fn bound(&mut self) -> Result<Option<u64>, ReadError> {
        // Newest first the segment after it was read before it.
        let newest_first = self.query.newest_first;
        let probed = if newest_first { &mut self.next } else { &mut self.after_next };
        let Some(segment) = probed else {
            if self.waiting.is_empty() {
                return Ok(Some(u64::MAX));
            }
            self.after_next = self.take_source()?;
            return Ok(None);
        };
        let first = segment.first_seq(&mut self.buffer).map_err(|err| io_error(segment, err))?;
        match first {
            None => Ok(None),
            Some(Some(seq)) if newest_first => {
                let below = self.seq_below;
                self.seq_below = seq.min(below);
                Ok(Some(below))
            }
            Some(Some(seq)) => Ok(Some(seq)),
            // Nothing but damage, if anything: told now, and not read again.
            Some(None) => {
                self.tally.segments += 1;
                self.tally.bytes += segment.bytes;
                self.damage.take(segment, true);
                *probed = None;
                Ok(None)
            }
        }
    }

    /// The next segment in order of reading, if it can be read. None: there is none in this step.
    fn take_source(&mut self) -> Result<Option<Segment>, ReadError> {
        for _ in 0..FILES_PER_STEP {
            let path = match self.waiting.pop_front() {
                None => break,
                Some(Source::Open(segment)) => return Ok(Some(*segment)),
                Some(Source::Rotated(number)) => self.files.rotated(number),
            };
            let opened = match self.files.check(&path) {
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

fn io_error(segment: &Segment, err: io::Error) -> ReadError {
    ReadError::Io { path: segment.path.clone(), err }
}

impl ScanTally {
    fn add(&mut self, info: &PartInfo) {
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
