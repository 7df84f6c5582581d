//! JSON lines: the second format of a segment, and the output of `realtime-cli log cat`, which adds escapes for characters
//! that a terminal obeys. One object per line, for other tools. Pure functions over bytes, on `rt-files` and on the thread of a reader.
//!
//! ```text
//! {"time":1763942400.123,"seq":12,"channel":"player:kill","data":{"killer":"Al"}}
//! {"time":1763942401.000,"seq":13,"channel":"note","raw":true,"data":"no JSON: its bytes as text"}
//! ```
//!
//! Time is in Unix seconds. The members stand in this order and without white space, so that the reader of a line
//! needs no JSON parser; `data` is the payload. Bytes that are no UTF-8 become U+FFFD, so that every JSON parser
//! accepts the line.
//!
//! A line that somebody edited into anything else is reported as damage and skipped. Three changes that editors make by
//! themselves are accepted: a byte order mark before the first line, a carriage return at the end of a line, and a last
//! line without a line feed.

use std::borrow::Cow;

use crate::eventlog::format::UNIT_BYTES;
use crate::eventlog::records::{PartInfo, Record, RecordFilter, Records, StoredRecord, TextRange};
use crate::eventlog::scan;
use crate::json::text;

/// A part of JSON lines has this length plus the rest of its last line: about that of a block.
pub(super) const PART_BYTES: usize = UNIT_BYTES;
/// Bytes at the start of every line.
const START: &[u8] = b"{\"time\":";
/// The head of a line, each number as one `0`.
const HEAD: &[u8] = b"{\"time\":0.0,\"seq\":0,\"channel\":";
/// The byte order mark of UTF-8, which Notepad writes to the front of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Appends the record as a line. `scratch` holds the normalised payload and is reused from call to call.
pub fn push(out: &mut Vec<u8>, record: &Record<'_>, scratch: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(START);
    out.extend_from_slice(digits.format(record.time_ms / 1000).as_bytes());
    let millis = record.time_ms % 1000;
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
    out.extend_from_slice(b",\"seq\":");
    out.extend_from_slice(digits.format(record.seq).as_bytes());
    out.extend_from_slice(b",\"channel\":");
    text::push_string(out, record.channel);
    scratch.clear();
    if !record.raw && scan::normalise(record.payload, scratch).is_some() {
        out.extend_from_slice(b",\"data\":");
        match std::str::from_utf8(scratch) {
            Ok(_) => out.extend_from_slice(scratch),
            Err(_) => out.extend_from_slice(String::from_utf8_lossy(scratch).as_bytes()),
        }
    } else {
        out.extend_from_slice(b",\"raw\":true,\"data\":");
        text::push_string(out, record.payload);
    }
    out.extend_from_slice(b"}\n");
}

/// The record in one line. Strings with escapes are owned, all others borrow from the line.
struct Line<'a> {
    time_ms: u64,
    seq: u64,
    channel: Cow<'a, [u8]>,
    payload: Cow<'a, [u8]>,
    raw: bool,
}

/// True if the bytes may be the start of JSON lines, even if they are shorter than the head of a line. Many programs write
/// lines that begin with a time, so the whole head counts.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    head(bytes).is_some() || is_part_of_head(without_mark(bytes))
}

/// Whether the bytes end inside the head of a line.
fn is_part_of_head(bytes: &[u8]) -> bool {
    let mut known: Vec<u8> = bytes.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
    known.dedup_by(|byte, before| *byte == b'0' && *before == b'0');
    HEAD.starts_with(&known)
}

/// The seq of the line at the start of the bytes, which may end behind its head. `None`: there is no such line.
pub(super) fn seq(bytes: &[u8]) -> Option<u64> {
    head(bytes).map(|(_, seq, _)| seq)
}

/// Time and seq of a line, and the bytes behind its head. `None`: it does not begin as [`push`] writes it.
fn head(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (seconds, rest) = whole(without_mark(line).strip_prefix(START)?)?;
    let (millis, rest) = rest.strip_prefix(b".")?.split_at_checked(3)?;
    let (millis, _) = whole(millis).filter(|(_, rest)| rest.is_empty())?;
    let (seq, rest) = whole(rest.strip_prefix(b",\"seq\":")?)?;
    let time_ms = seconds.checked_mul(1000)?.checked_add(millis)?;
    Some((time_ms, seq, rest.strip_prefix(b",\"channel\":")?))
}

/// The bytes behind a byte order mark, if there is one.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// The record in a line without its line feed. `None`: the line does not have exactly the form that [`push`] writes.
fn parse<'a>(line: &'a [u8], scratch: &mut Vec<u8>) -> Option<Line<'a>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (time_ms, seq, rest) = head(line)?;
    let (channel, rest) = rest.split_at_checked(scan::string_len(rest).filter(|_| rest.starts_with(b"\""))?)?;
    let (raw, rest) = match rest.strip_prefix(b",\"raw\":true") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let data = rest.strip_prefix(b",\"data\":")?.strip_suffix(b"}")?;
    scratch.clear();
    scan::normalise(data, scratch)?;
    let payload = if raw { unquoted(data)? } else { Cow::Borrowed(data) };
    Some(Line { time_ms, seq, channel: unquoted(channel)?, payload, raw })
}

/// The whole number without a sign at the start of the text, and the text behind it.
fn whole(text: &[u8]) -> Option<(u64, &[u8])> {
    let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(len)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The bytes that a JSON string in quotes stands for.
fn unquoted(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inside.contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_slice::<String>(text).ok().map(|text| Cow::Owned(text.into_bytes()))
}

/// The result of reading some lines.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) info: PartInfo,
    /// Seq that follows the last record.
    pub(super) next_seq: u64,
    /// Bytes from the start to the last line feed, or to the end of a record that has none.
    pub(super) whole_bytes: usize,
    /// Bytes of the lines that are no records.
    pub(super) bad_bytes: u64,
}

/// Reads lines and appends the records that the filter lets through to `out`. Bytes behind the last line feed are
/// torn, unless they are a record: it ends with its last bracket, so no half record can be taken for one.
pub(super) fn decode(bytes: &[u8], filter: &RecordFilter<'_>, out: &mut Records) -> Decoded {
    let mut decoded = Decoded::default();
    let mut scratch = Vec::new();
    let mut rest = bytes;
    while let Some(len) = memchr::memchr(b'\n', rest) {
        let (line, tail) = rest.split_at(len);
        rest = tail.get(1..).unwrap_or_default();
        decoded.whole_bytes += len + 1;
        match parse(line, &mut scratch) {
            Some(line) => decoded.take(&line, filter, out),
            None => decoded.bad_bytes += len as u64 + 1,
        }
    }
    if let Some(line) = parse(rest, &mut scratch) {
        decoded.whole_bytes += rest.len();
        decoded.take(&line, filter, out);
    }
    decoded
}

impl Decoded {
    /// Counts the record of a line, and appends it to `out` if the filter takes it.
    fn take(&mut self, line: &Line<'_>, filter: &RecordFilter<'_>, out: &mut Records) {
        if self.info.records == 0 {
            self.info.first_seq = line.seq;
        }
        self.info.add(line.time_ms);
        self.next_seq = line.seq.saturating_add(1);
        let wanted = filter.channel.is_none_or(|only| only == line.channel.as_ref());
        if !wanted || !filter.takes(line.time_ms, line.seq) || !filter.has_room(out) {
            return;
        }
        let mut put = |bytes: &[u8]| {
            let at = out.text.len();
            out.text.extend_from_slice(bytes);
            TextRange { at, len: bytes.len() }
        };
        let (channel, payload) = (put(&line.channel), put(&line.payload));
        out.rows.push(StoredRecord { time_ms: line.time_ms, seq: line.seq, channel, payload, raw: line.raw });
    }
}

/// The id of JSON lines in their index: the checksum of the first line. `None`: it has no line feed, and is no record.
pub(super) fn segment_id(bytes: &[u8]) -> Option<u64> {
    let len = memchr::memchr(b'\n', bytes).or_else(|| parse(bytes, &mut Vec::new()).map(|_| bytes.len()))?;
    bytes.get(..len).map(|line| u64::from(crc32fast::hash(line)))
}

#[cfg(test)]
mod tests;
