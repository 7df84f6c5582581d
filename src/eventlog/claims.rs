//! The rotated segments of a log as its lock file lists them: ranges of their numbers. Pure values; `folder.rs` reads
//! and writes the file. A name proves nothing: `deaths.log.231224` may be the copy that an owner made on that day. So
//! a file with such a name belongs to the log only if the writer listed its number before it gave the name.
//!
//! ```text
//! 12345 segments 1-12 14       process that writes the log or wrote it last; the numbers of its rotated segments
//! ```
//!
//! The file is one line with a line feed at its end. Bytes behind the line feed are ignored: a crash can leave the
//! end of a longer line there.

use std::fmt;

/// Ranges in one list. No writer leaves so many gaps, so the oldest range is dropped when there is one more.
const RANGES_MAX: usize = 256;
/// Numbers in one list. A reader opens them one by one, so it does not believe a line with more.
const NUMBERS_MAX: u64 = 1_000_000;
/// Numbers are below this. No writer counts that far, and adding to such a number cannot overflow.
pub(super) const NUMBER_MAX: u64 = 1 << 53;
/// Longest line: each range has two numbers of at most 20 digits.
pub(super) const LINE_BYTES_MAX: usize = 64 + RANGES_MAX * 42;

/// Word between the process id and the ranges; an older version wrote the process id alone.
const WORD: &str = "segments";

/// Numbers of rotated segments: ranges with both ends, ascending, with a gap between any two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims(Vec<(u64, u64)>);

impl Claims {
    /// The highest number.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// All numbers, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Adds a number that is above all others; any other number is ignored.
    pub(super) fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last >= number => return,
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.0.push((number, number)),
        }
        if self.0.len() > RANGES_MAX {
            self.0.remove(0);
        }
    }

    /// Removes a number, which may split its range.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(at) = self.0.iter().position(|(first, last)| (*first..=*last).contains(&number)) else { return };
        let (first, last) = self.0.remove(at);
        if number < last {
            self.0.insert(at, (number + 1, last));
        }
        if first < number {
            self.0.insert(at, (first, number - 1));
        }
    }
}

/// The content of a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LockText {
    /// Process that holds the lock or held it last.
    pub(super) pid: Option<u32>,
    /// `None`: the line is incomplete or lists no segments.
    pub(super) claims: Option<Claims>,
}

impl LockText {
    /// Reads the content. `None`: the bytes are no lock file. A line that a crash cut off still counts as one,
    /// without its list: half a list would disown segments.
    pub(super) fn parse(bytes: &[u8]) -> Option<LockText> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (line, is_whole) = text.split_once('\n').map_or((text, false), |(line, _)| (line, true));
        if text.is_empty() {
            return Some(LockText { pid: None, claims: None });
        }
        let (pid, rest) = line.split_once(' ').map_or((line, None), |(pid, rest)| (pid, Some(rest)));
        let pid = Some(pid).filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        let mut words = rest.unwrap_or_default().split(' ');
        let word = words.next().unwrap_or_default();
        // Only a line that was cut off ends before the word or in it.
        let is_cut = !is_whole && WORD.starts_with(word) && rest.is_none_or(|rest| rest == word);
        if word != WORD && !is_cut {
            return None;
        }
        let claims = if is_whole { ranges(words) } else { None };
        Some(LockText { pid: Some(pid), claims })
    }
}

/// Reads the ranges of a list. `None` if any word is no range, or the ranges do not ascend with a gap between them.
fn ranges<'a>(words: impl Iterator<Item = &'a str>) -> Option<Claims> {
    let (mut ranges, mut numbers) = (Vec::<(u64, u64)>::new(), 0_u64);
    for word in words {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        let lowest = ranges.last().map_or(Some(1), |(_, last)| last.checked_add(2))?;
        if first < lowest || last < first || last >= NUMBER_MAX {
            return None;
        }
        numbers = numbers.saturating_add(last - first + 1);
        ranges.push((first, last));
    }
    (ranges.len() <= RANGES_MAX && numbers <= NUMBERS_MAX).then_some(Claims(ranges))
}

impl fmt::Display for LockText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid.map_or(Ok(()), |pid| write!(f, "{pid}"))?;
        let Some(claims) = &self.claims else { return Ok(()) };
        write!(f, " {WORD}")?;
        for (first, last) in &claims.0 {
            if first == last {
                write!(f, " {first}")?;
            } else {
                write!(f, " {first}-{last}")?;
            }
        }
        f.write_str("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(claims: &Claims) -> String {
        LockText { pid: Some(7), claims: Some(claims.clone()) }.to_string()
    }

    #[test]
    fn numbers_are_added_and_removed_and_survive_the_lock_file() {
        let mut claims = Claims::default();
        assert_eq!(text(&claims), "7 segments\n");
        [1, 2, 3, 3, 2, 5, 6, 9].into_iter().for_each(|number| claims.push(number));
        assert_eq!(text(&claims), "7 segments 1-3 5-6 9\n");
        assert!(claims.iter().eq([1, 2, 3, 5, 6, 9]));
        for (number, left) in [(4, "1-3 5-6 9"), (2, "1 3 5-6 9"), (9, "1 3 5-6"), (5, "1 3 6"), (1, "3 6")] {
            claims.remove(number);
            assert_eq!(text(&claims), format!("7 segments {left}\n"));
            assert_eq!(LockText::parse(text(&claims).as_bytes()).unwrap().claims.unwrap(), claims);
        }
        assert_eq!(claims.last(), Some(6));
    }

    #[test]
    fn a_faulty_line_lists_nothing() {
        let claims = |text: &str| LockText::parse(text.as_bytes()).map(|found| found.claims.map(|claims| claims.0));
        for (line, expected) in [
            ("", Some(None)),
            ("12345", Some(None)),
            ("12345 segm", Some(None)),
            ("12345 segments 1-3", Some(None)),
            ("12345 segments\n", Some(Some(vec![]))),
            ("12345 segments 1-3 5\n", Some(Some(vec![(1, 3), (5, 5)]))),
            ("9 segments 1\nents 1-3\n", Some(Some(vec![(1, 1)]))),
            ("9 segments 0-3\n", Some(None)),
            ("9 segments 3-1\n", Some(None)),
            ("9 segments 1-3 4\n", Some(None)),
            ("9 segments 5 1\n", Some(None)),
            ("9 segments 1-\n", Some(None)),
            ("9 segments 1-18446744073709551615\n", Some(None)),
            ("9 segments 18446744073709551614\n", Some(None)),
            ("9 segments 9007199254740992\n", Some(None)),
            ("9 segments 9007199254740990-9007199254740991\n", Some(Some(vec![((1 << 53) - 2, (1 << 53) - 1)]))),
            ("9 segments 1-1000001\n", Some(None)),
            ("4242\n", None),
            ("4242\nkills\nhost\n", None),
            ("12345 segm\n", None),
            ("\nmy notes", None),
            (" segments\n", None),
            ("5 s left", None),
            ("20231224180000", None),
            ("my notes", None),
            ("12 monkeys", None),
            ("{}", None),
        ] {
            assert_eq!(claims(line), expected, "{line}");
        }
        assert_eq!(LockText::parse(b"\xff"), None);
    }

    #[test]
    fn many_gaps_drop_the_oldest_ranges_and_fit_the_line() {
        let mut claims = Claims::default();
        (1..=RANGES_MAX as u64 + 9).for_each(|number| claims.push(NUMBER_MAX / 2 + number * 2));
        assert_eq!((claims.0.len(), claims.iter().next()), (RANGES_MAX, Some(NUMBER_MAX / 2 + 20)));
        let line = text(&claims);
        assert!(line.len() <= LINE_BYTES_MAX);
        assert_eq!(LockText::parse(line.as_bytes()).unwrap().claims, Some(claims));
    }
}
