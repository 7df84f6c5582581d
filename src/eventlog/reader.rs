//! Reads a log: all its segments in both formats, also while a writer appends to it or rotates it. Opens files for
//! reading only. Runs on the caller's thread, or on `rt-files` in slices of time. One [`Scan::step`] reads one part
//! (32 KiB as a rule), makes one step of a search for parts, or lists some names of the folder. It takes less than a
//! millisecond, so a caller can stop at any deadline and continue later. A file that is no log is refused. Damage
//! costs only the bytes that it hit, and is reported ([`Damage`]).

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fmt, io};

use crate::config::limits::EVENTLOG_READ_RECORDS_MAX;
use crate::eventlog::chain::{Chain, Rotated};
use crate::eventlog::folder::LogFiles;
use crate::eventlog::format::{EVENTLOG_BLOCK_TEXT_BYTES_MAX, EVENTLOG_RECORD_BYTES_MAX, UNIT_BYTES};
use crate::eventlog::path::LogPath;
use crate::eventlog::records::{PartInfo, Query, RecordFilter, Records};
use crate::eventlog::segment::{Finding, FindingKind, Segment, SegmentError};
use crate::io::shown::shown;

/// Bytes of records in one answer. A query that matches more is refused rather than cut short.
const EVENTLOG_READ_BYTES_MAX: usize = EVENTLOG_BLOCK_TEXT_BYTES_MAX;
const _: () = assert!(EVENTLOG_RECORD_BYTES_MAX < EVENTLOG_READ_BYTES_MAX);

/// Findings that an answer lists; further ones are only counted.
const FINDINGS_MAX: usize = 100;
/// Rotated files that one step tries to open while they turn out to be gone.
const FILES_PER_STEP: usize = 64;
/// Steps that opening a log makes at once. They suffice to find out that a log is missing: an empty listing, and
/// nothing to compare.
const STEPS_AT_OPEN: usize = 4;

/// Reads all matching records of the log at this path below `root`. Fails with [`ReadError::Timeout`] if that takes
/// longer than the deadline.
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
    /// Damage in the parts that the reader looked at; parts that the index excluded were not read.
    pub damage: Damage,
}

/// Bytes that a reader could not read, in the parts that it looked at.
#[derive(Debug, Default)]
pub struct Damage {
    /// Number of damaged places, and their bytes.
    pub damaged: u64,
    pub damaged_bytes: u64,
    /// Bytes of unfinished writes, which a stopped writer left.
    pub torn_bytes: u64,
    /// The first [`FINDINGS_MAX`] of both.
    pub findings: Vec<Finding>,
}

impl Damage {
    /// Takes over the segment's findings. The last one may still grow until `is_over`.
    fn take(&mut self, segment: &mut Segment, is_over: bool) {
        let count = segment.findings.len().saturating_sub(usize::from(!is_over));
        segment.findings.drain(..count).for_each(|finding| self.add(finding));
    }

    /// Counts a finding, and lists it if there is room.
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

/// The result of one step: whether a further one is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanProgress {
    More,
    Done,
}

/// A query in progress, which can be interrupted after every step.
///
/// ```text
/// chain: which rotated segments?  ──▶  waiting  ──▶  next / after_next  ──▶  current: part by part  ──▶  records
///                                      (order of     (opened, to learn
///                                       the query)    the first seq)
/// ```
///
/// A segment is read once the first seq of the segment behind it is known, because the records from that seq on count
/// in the later segment only.
pub struct Scan {
    files: LogFiles,
    query: Query,
    /// The search for the rotated segments, until it is complete.
    chain: Option<Chain>,
    /// Segments that are still to be opened: the next one is the last. The youngest one was opened first of all.
    waiting: Vec<Source>,
    /// The youngest segment, until the rotated ones are known.
    youngest: Option<Box<Segment>>,
    /// Id of the youngest segment: if a writer rotates it meanwhile, it turns up again under its number and is
    /// skipped.
    youngest_id: Option<u64>,
    /// The segment that is being read.
    current: Option<OpenSegment>,
    /// The segment to be read next and, oldest first, the one behind it, whose first seq bounds the records of the
    /// former.
    next: Option<Box<Segment>>,
    after_next: Option<Box<Segment>>,
    /// With `newest_first`: first seq of the segment that was read last.
    seq_below: u64,
    /// False for a verification, which reads every part whatever an index says.
    use_index: bool,
    records: Records,
    damage: Damage,
    tally: ScanTally,
    /// Buffer for the bytes of parts and indexes, reused in every step.
    buffer: Vec<u8>,
}

/// Totals of everything that a scan read, matching or not.
#[derive(Debug, Default, Clone, Copy)]
pub struct ScanTally {
    pub segments: u64,
    pub bytes: u64,
    pub records: u64,
    pub earliest_ms: Option<u64>,
    pub latest_ms: Option<u64>,
}

enum Source {
    /// A rotated segment of this number, not opened yet.
    Rotated(u64),
    /// The youngest segment, opened before the rotated ones were known.
    Open(Box<Segment>),
}

/// A segment that is being read part by part.
struct OpenSegment {
    segment: Box<Segment>,
    /// Parts read so far: from the front, or from the end with `newest_first`.
    parts_read: usize,
    /// Records from this seq on count in the next segment.
    seq_below: u64,
}

impl Scan {
    /// A scan for a script: below the data folder, with at most [`EVENTLOG_READ_RECORDS_MAX`] records.
    pub(crate) fn of_script(root: &Path, path: &LogPath, query: Query) -> Result<Scan, ReadError> {
        let limit = query.limit.min(EVENTLOG_READ_RECORDS_MAX);
        Scan::open(LogFiles::below(root, path), Query { limit, ..query })
    }

    /// Opens the youngest segment and begins the search for the others. Fails at once if the log is missing or is no
    /// log.
    pub fn open(files: LogFiles, query: Query) -> Result<Scan, ReadError> {
        Scan::open_by(files, query, true)
    }

    /// A scan that ignores the indexes and reads every part of every segment, so that it finds all damage.
    pub fn verify(files: LogFiles) -> Result<Scan, ReadError> {
        Scan::open_by(files, Query::default(), false)
    }

    fn open_by(files: LogFiles, query: Query, use_index: bool) -> Result<Scan, ReadError> {
        let active = files.active().to_owned();
        files.check(&active).map_err(|err| ReadError::of(&active, err))?;
        // The youngest segment is opened first. If a writer rotates it meanwhile, it turns up again below and is
        // recognised by its id.
        let youngest = match Segment::open(&active, use_index) {
            Ok(segment) => Some(segment),
            Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(ReadError::of(&active, err)),
        };
        let chain = files.claims().and_then(|claims| Chain::begin(&files, claims));
        let chain = chain.map_err(|err| ReadError::of(files.folder(), err))?;
        let mut scan = Scan {
            files,
            query,
            chain: Some(chain),
            waiting: Vec::new(),
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
        // A missing log is found out in these steps, so the caller gets that error at once.
        for _ in 0..STEPS_AT_OPEN {
            if scan.chain.is_some() {
                scan.find_segments()?;
            }
        }
        Ok(scan)
    }

    /// Makes one step of the search for the rotated segments.
    fn find_segments(&mut self) -> Result<(), ReadError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let found = chain.step(&self.files, self.youngest.as_deref_mut(), &mut self.buffer);
        if let Some(rotated) = found.map_err(|err| ReadError::of(self.files.folder(), err))? {
            self.chain = None;
            self.order_segments(rotated)?;
        }
        Ok(())
    }

    /// Puts all segments into the order of reading.
    fn order_segments(&mut self, rotated: Rotated) -> Result<(), ReadError> {
        let Rotated { mut numbers, foreign, .. } = rotated;
        // Foreign files are reported as no event logs: nothing proves that they never were.
        numbers.extend(foreign);
        numbers.sort_unstable();
        if self.youngest.is_none() && numbers.is_empty() {
            return Err(ReadError::Missing { path: self.files.active().to_owned() });
        }
        self.waiting = numbers.into_iter().map(Source::Rotated).collect();
        self.waiting.extend(self.youngest.take().map(Source::Open));
        if !self.query.newest_first {
            self.waiting.reverse();
        }
        Ok(())
    }

    /// Makes one step: lists some names, opens the next segment, searches some of its parts, or reads one.
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

    /// Reads one part of the current segment, or makes one step of the search for its parts.
    fn read_on(&mut self, mut reading: OpenSegment) -> Result<ScanProgress, ReadError> {
        let (newest_first, limit, segment) = (self.query.newest_first, self.query.limit, &mut reading.segment);
        let number = if !newest_first {
            Some(reading.parts_read)
        } else if segment.is_searched() {
            segment.parts.len().checked_sub(reading.parts_read + 1)
        } else {
            // The last part is known once all parts are.
            None
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
            // The newest records of a part are its last ones, so no count can end the decoding early.
            rows_max: if newest_first { usize::MAX } else { limit },
            text_max: EVENTLOG_READ_BYTES_MAX,
        };
        if newest_first && let Some(info) = part.info.filter(|info| filter.takes_all(info)) {
            // If the whole part matches, only its last records are needed.
            let wanted = (limit - self.records.len()) as u64;
            filter.seq_from = (info.first_seq + info.records).saturating_sub(wanted);
        }
        if !part.info.is_some_and(|info| filter.excludes(&info)) {
            // The text of a record is several times as long as the record in its block.
            self.records.text.reserve(8 * UNIT_BYTES);
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

    /// Takes the records found since the last call. The limit counts anew from here, so a tool can print a log of any
    /// size.
    pub fn take_records(&mut self) -> Records {
        std::mem::take(&mut self.records)
    }

    /// Changes how many further records the scan looks for.
    pub fn set_limit(&mut self, limit: usize) {
        self.query.limit = limit;
    }

    /// Totals so far.
    pub fn tally(&self) -> ScanTally {
        self.tally
    }

    /// Ends the scan and returns its answer.
    pub fn finish(mut self) -> ReadOutcome {
        self.take_outcome()
    }

    /// [`Scan::finish`] for a borrowed scan: the scan is over, and empty from here on.
    pub fn take_outcome(&mut self) -> ReadOutcome {
        if let Some(mut reading) = self.current.take() {
            self.damage.take(&mut reading.segment, true);
        }
        ReadOutcome { records: std::mem::take(&mut self.records), damage: std::mem::take(&mut self.damage) }
    }

    /// Opens the next segment, or makes one step to learn the seq that its records must be below.
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

    /// The seq that the records of the next segment must be below. `None`: not known yet, or the segment that would
    /// bound it has no record and was dropped.
    fn bound(&mut self) -> Result<Option<u64>, ReadError> {
        // With `newest_first` the later segment was read before, and its first seq is known.
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
            // The segment has no record. Its damage is reported now, and it is not read again.
            Some(None) => {
                self.tally.segments += 1;
                self.tally.bytes += segment.bytes;
                self.damage.take(segment, true);
                *probed = None;
                Ok(None)
            }
        }
    }

    /// Opens the next segment in order of reading. `None`: no segment was opened in this step.
    fn take_source(&mut self) -> Result<Option<Box<Segment>>, ReadError> {
        for _ in 0..FILES_PER_STEP {
            let path = match self.waiting.pop() {
                None => break,
                Some(Source::Open(segment)) => return Ok(Some(segment)),
                Some(Source::Rotated(number)) => self.files.rotated(number),
            };
            let opened = match self.files.check(&path) {
                Ok(()) => Segment::open(&path, self.use_index),
                Err(err) => Err(err.into()),
            };
            match opened {
                // The youngest segment, which was rotated after it was opened.
                Ok(segment) if segment.id != 0 && Some(segment.id) == self.youngest_id => {}
                Ok(segment) => return Ok(Some(segment)),
                // A writer removed it to make room after it was listed.
                Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => {}
                Err(SegmentError::Io(err)) => return Err(ReadError::of(&path, err)),
                Err(SegmentError::Foreign(_) | SegmentError::Newer(_)) => {
                    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    self.damage.add(Finding { path, offset: 0, bytes, kind: FindingKind::Refused });
                }
            }
        }
        Ok(None)
    }
}

/// A read error with the path of the segment.
fn io_error(segment: &Segment, err: io::Error) -> ReadError {
    ReadError::of(&segment.path, err)
}

impl ScanTally {
    /// Counts the records of one part.
    fn add(&mut self, info: &PartInfo) {
        self.records += info.records;
        if info.records > 0 {
            let (earliest, latest) = (info.earliest_ms, info.latest_ms);
            self.earliest_ms = Some(self.earliest_ms.map_or(earliest, |so_far| so_far.min(earliest)));
            self.latest_ms = Some(self.latest_ms.map_or(latest, |so_far| so_far.max(latest)));
        }
    }
}

/// The reason why a log could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The log has no file at all.
    Missing { path: PathBuf },
    /// The operating system refused a call, or the file is no event log of this version.
    File { path: PathBuf, err: SegmentError },
    /// The deadline passed before the end of the log.
    Timeout,
    /// The matching records are longer than one answer may be.
    TooLarge,
    /// The queue of `rt-files` has this many reads already.
    Busy { waiting: usize },
    /// The thread `rt-files` has ended.
    Closed,
}

impl ReadError {
    /// The error for this file or folder.
    #[cold]
    fn of(path: &Path, err: impl Into<SegmentError>) -> ReadError {
        ReadError::File { path: path.to_owned(), err: err.into() }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Missing { path } => write!(f, "there is no event log `{}`", shown(path)),
            ReadError::File { path, err } => write!(f, "cannot read event log `{}`: {err}", shown(path)),
            ReadError::Timeout => f.write_str("the event log was not read in time"),
            ReadError::TooLarge => f.write_str("the matching records are more than one answer may hold: ask for fewer"),
            ReadError::Busy { waiting } => write!(f, "{waiting} reads of event logs wait"),
            ReadError::Closed => f.write_str("the event logs are closed"),
        }
    }
}

impl std::error::Error for ReadError {}
