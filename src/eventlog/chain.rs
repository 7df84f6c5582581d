//! Which of the files that look like rotated segments of a log are. Reads only, in steps, by whoever opens a log.
//! The numbers in the lock file are. Others may be: those that follow the last of them, or all if that file says nothing.
//! The numbers of their records tell: each segment of a log begins with a higher one than the segment before it, and a
//! copy, which an owner may have made of any of them, does not. Where that leaves a choice, the longest row is taken, and
//! of those the one with the lowest names.

use std::io;

use crate::eventlog::claims::Claims;
use crate::eventlog::folder::{Listing, LogFiles};
use crate::eventlog::segment::{Segment, SegmentError};

/// The rotated files of a log, while it is found out which they are.
pub(super) struct Chain {
    listing: Option<Listing>,
    /// `None`: the lock file says nothing.
    claims: Option<Claims>,
    /// Files still to be looked at: ascending, taken from the end.
    candidates: Vec<u64>,
    /// One that is being looked at.
    open: Option<(u64, Segment)>,
    /// Those that have a record: their numbers, and those of their first records. By number, descending.
    found: Vec<(u64, u64)>,
    /// Those that have none, or are of a later version.
    unknown: Vec<u64>,
    foreign: Vec<u64>,
    /// The segments begin with records above the one and below the other.
    seq_above: u64,
    seq_below: Option<u64>,
}

/// Numbers of files, ascending.
#[derive(Default)]
pub(super) struct Rotated {
    pub(super) numbers: Vec<u64>,
    /// Those of them that the lock file does not have.
    pub(super) adopted: Vec<u64>,
    /// Links out of the data folder, and if the lock file says nothing, files that are no event logs.
    pub(super) foreign: Vec<u64>,
}

impl Chain {
    pub(super) fn begin(files: &LogFiles, claims: Option<Claims>) -> io::Result<Chain> {
        let (mut candidates, mut listing) = (Vec::new(), None);
        match &claims {
            None => listing = Some(files.list()?),
            Some(claims) => {
                candidates = files.following(claims);
                if !candidates.is_empty() {
                    // To compare them with.
                    candidates.splice(..0, claims.last());
                }
            }
        }
        let (found, unknown, foreign) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Chain { listing, claims, candidates, open: None, found, unknown, foreign, seq_above: 0, seq_below: None })
    }

    /// Looks a little further. `None`: not known yet. The youngest segment is looked at, too, if that is needed.
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
            self.open(files, number);
            return Ok(None);
        }
        if self.seq_below.is_none() {
            // The youngest ends the row. One without a record ends nothing.
            let first = match youngest.filter(|_| !self.found.is_empty()) {
                Some(segment) => segment.first_seq(buffer)?,
                None => Some(None),
            };
            self.seq_below = first.map(|seq| seq.unwrap_or(u64::MAX));
            return Ok(None);
        }
        Ok(Some(self.finish()))
    }

    fn open(&mut self, files: &LogFiles, number: u64) {
        let path = files.rotated(number);
        if files.check(&path).is_err() {
            // A link out of the data folder: of that a reader tells.
            return self.foreign.push(number);
        }
        match Segment::open(&path, true) {
            Ok(segment) if segment.id != 0 => self.open = Some((number, segment)),
            Err(SegmentError::Newer(_)) => self.unknown.push(number),
            Err(SegmentError::Foreign(_)) if self.claims.is_none() => self.foreign.push(number),
            // Empty, or zeros; no plain file, or not for us to read.
            Ok(_) | Err(SegmentError::Foreign(_) | SegmentError::Io(_)) => {}
        }
    }

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

    fn finish(&mut self) -> Rotated {
        let (above, below) = (self.seq_above, self.seq_below.unwrap_or(u64::MAX));
        self.found.retain(|(_, first)| above < *first && *first < below);
        let mut adopted = longest_row(&self.found);
        adopted.append(&mut self.unknown);
        adopted.sort_unstable();
        let mut numbers: Vec<u64> = self.claims.iter().flat_map(Claims::iter).collect();
        numbers.extend_from_slice(&adopted);
        Rotated { numbers, adopted, foreign: std::mem::take(&mut self.foreign) }
    }
}

/// The most files, by number and descending, whose first records descend as well; of several such rows that of the lowest
/// numbers.
fn longest_row(files: &[(u64, u64)]) -> Vec<u64> {
    // For each length of a row the last file of the best one so far: that with the highest first record. And for each
    // file the one before it in its row.
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
    fn the_longest_row_of_the_lowest_names() {
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
            assert_eq!(longest_row(&descending), row, "{files:?}");
        }
    }
}
