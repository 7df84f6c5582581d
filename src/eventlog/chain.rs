//! Decides which files with names of rotated segments belong to a log. Opens files for reading only, in steps, on the
//! thread that opens the log. The numbers in the lock file belong to it. Other files may belong to it: those that
//! follow the last listed number, or all of them if the lock file lists nothing. Their records decide: each segment
//! of a log begins with a higher seq than the segment before it, and a copy, which an owner may have made of any of
//! them, breaks this order. If several selections are possible, the one with the most files wins, and among those the
//! one with the lowest numbers.

use std::io;

use crate::eventlog::claims::Claims;
use crate::eventlog::folder::{Listing, LogFiles};
use crate::eventlog::segment::{Segment, SegmentError};
use crate::io::sharing;

/// State of the search for the rotated segments of a log.
///
/// ```text
/// lock file lists numbers: candidates = last listed one + files behind it ─┐
/// lock file lists nothing: candidates = listing of the folder ─────────────┴─▶ first seq of each ─▶ Rotated
/// ```
pub(super) struct Chain {
    /// The listing of the folder, until it is complete.
    listing: Option<Listing>,
    /// Numbers that the lock file lists. `None`: it lists nothing.
    claims: Option<Claims>,
    /// Numbers of files that are still to be opened: ascending, taken from the end.
    candidates: Vec<u64>,
    /// The file whose first record is being searched.
    open: Option<(u64, Box<Segment>)>,
    /// Files with a record: number and seq of the first record, by number, descending.
    found: Vec<(u64, u64)>,
    /// Numbers of files without a record, or of a later version: nothing contradicts that they belong to the log.
    unknown: Vec<u64>,
    /// Numbers of files that are reported as no event logs.
    foreign: Vec<u64>,
    /// Bounds, both exclusive, of the first seqs that fit between the last listed segment and the youngest one.
    seq_above: u64,
    seq_below: Option<u64>,
}

/// The result of the search: numbers of files, ascending.
#[derive(Default)]
pub(super) struct Rotated {
    /// All rotated segments of the log.
    pub(super) numbers: Vec<u64>,
    /// Those of them that the lock file does not list.
    pub(super) adopted: Vec<u64>,
    /// Links out of the data folder and, if the lock file lists nothing, files that are no event logs.
    pub(super) foreign: Vec<u64>,
}

impl Chain {
    /// Begins the search with the numbers of the lock file, or with a listing of the folder.
    pub(super) fn begin(files: &LogFiles, claims: Option<Claims>) -> io::Result<Chain> {
        let (mut candidates, mut listing) = (Vec::new(), None);
        match &claims {
            None => listing = Some(files.list()?),
            Some(claims) => {
                candidates = files.following(claims);
                if !candidates.is_empty() {
                    // The last listed segment comes along, to compare its seq with theirs.
                    candidates.splice(..0, claims.last());
                }
            }
        }
        let (found, unknown, foreign) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Chain { listing, claims, candidates, open: None, found, unknown, foreign, seq_above: 0, seq_below: None })
    }

    /// Makes one step of the search. `None`: not known yet. The search looks at the youngest segment, too, if there
    /// are candidates to compare with it.
    pub(super) fn step(
        &mut self,
        files: &LogFiles,
        youngest: Option<&mut Segment>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Rotated>> {
        if let Some(listing) = &mut self.listing {
            if let Some(numbers) = listing.step(files)? {
                (self.listing, self.candidates) = (None, numbers);
            }
            return Ok(None);
        }
        if let Some((number, mut segment)) = self.open.take() {
            match segment.first_seq(buffer)? {
                None => self.open = Some((number, segment)),
                Some(first) => self.take(number, first),
            }
            return Ok(None);
        }
        if let Some(number) = self.candidates.pop() {
            self.open(files, number)?;
            return Ok(None);
        }
        if self.seq_below.is_none() {
            // All candidates must begin below the youngest segment. A youngest segment without a record bounds
            // nothing.
            let first = match youngest.filter(|_| !self.found.is_empty()) {
                Some(segment) => segment.first_seq(buffer)?,
                None => Some(None),
            };
            self.seq_below = first.map(|seq| seq.unwrap_or(u64::MAX));
            return Ok(None);
        }
        Ok(Some(self.finish()))
    }

    /// Opens one candidate and sorts it in. An error if another program holds it: it may belong to the log.
    fn open(&mut self, files: &LogFiles, number: u64) -> io::Result<()> {
        let path = files.rotated(number);
        if files.check(&path).is_err() {
            // A link out of the data folder. A reader reports it.
            self.foreign.push(number);
            return Ok(());
        }
        match Segment::open(&path, true) {
            Ok(segment) if segment.id != 0 => self.open = Some((number, segment)),
            Err(SegmentError::Newer(_)) => self.unknown.push(number),
            Err(SegmentError::Foreign(_)) if self.claims.is_none() => self.foreign.push(number),
            Err(SegmentError::Io(err)) if sharing::is_in_use(&err) => return Err(err),
            // Ignored: empty or all zeros, no plain file, or not readable for this process.
            Ok(_) | Err(SegmentError::Foreign(_) | SegmentError::Io(_)) => {}
        }
        Ok(())
    }

    /// Sorts in a file whose first record is known.
    fn take(&mut self, number: u64, first: Option<u64>) {
        if self.claims.as_ref().is_some_and(|claims| claims.last() == Some(number)) {
            self.seq_above = first.unwrap_or(0);
            return;
        }
        match first {
            Some(first) => self.found.push((number, first)),
            None => self.unknown.push(number),
        }
    }

    /// Selects the files that form one log.
    fn finish(&mut self) -> Rotated {
        let (above, below) = (self.seq_above, self.seq_below.unwrap_or(u64::MAX));
        self.found.retain(|(_, first)| above < *first && *first < below);
        let mut adopted = longest_selection(&self.found);
        adopted.append(&mut self.unknown);
        adopted.sort_unstable();
        let mut numbers: Vec<u64> = self.claims.iter().flat_map(Claims::iter).collect();
        numbers.extend_from_slice(&adopted);
        Rotated { numbers, adopted, foreign: std::mem::take(&mut self.foreign) }
    }
}

/// The longest selection of files whose first seqs descend with their numbers. `files` are pairs of number and first
/// seq, by number, descending. Among several longest selections it takes the one with the lowest numbers. The
/// algorithm is that for the longest increasing subsequence, in n log n steps.
fn longest_selection(files: &[(u64, u64)]) -> Vec<u64> {
    // `ends`: for each length of a selection, the last file of the best one so far, which has the highest first seq.
    // `before`: for each file, the file before it in its selection.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(files.len());
    let first_of = |file: usize| files.get(file).map_or(0, |(_, first)| *first);
    for (file, (_, first)) in files.iter().enumerate() {
        let len = ends.partition_point(|end| first_of(*end) > *first);
        before.push(len.checked_sub(1).and_then(|shorter| ends.get(shorter)).copied());
        match ends.get_mut(len) {
            Some(end) => *end = file,
            None => ends.push(file),
        }
    }
    let mut row = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(file) = next {
        row.extend(files.get(file).map(|(number, _)| *number));
        next = before.get(file).copied().flatten();
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_selection_with_the_lowest_numbers_wins() {
        for (files, row) in [
            (&[][..], &[][..]),
            (&[(1, 1), (2, 101), (3, 201)], &[1, 2, 3]),
            // Copies: of the first, of the last, of one that is gone, and of the first in front.
            (&[(1, 1), (2, 101), (231_224, 1)], &[1, 2]),
            (&[(1, 1), (2, 101), (231_224, 101)], &[1, 2]),
            (&[(2, 101), (231_224, 1)], &[2]),
            (&[(1, 1), (231_224, 1)], &[1]),
            (&[(1, 201), (2, 101), (3, 201)], &[2, 3]),
            (&[(1, 1), (2, 1), (3, 101), (4, 50), (5, 201)], &[1, 3, 5]),
        ] {
            let descending: Vec<_> = files.iter().rev().copied().collect();
            assert_eq!(longest_selection(&descending), row, "{files:?}");
        }
    }
}
