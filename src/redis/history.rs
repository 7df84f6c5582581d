//! Turns entries of the stream of a channel (`redis/kept.rs`) into events: for the answer of `History` a list, newest last;
//! for a listener that comes back the entries one by one. Pure; any thread. An event that was sent again stands in the
//! stream twice: the later entry is left out. Entries of another shape are another program's and are left out, too.
//!
//! ```text
//!   [ [ "1732460000123-0", [ "channel", "chat", "event", "{...}" ] ], ... ]     newest first
//!   { { data = {...}, channel = "chat", time = 1732460000.123, id = "1732460000123-0" }, ... }
//! ```
//!
//! The entries for a listener, as the game thread gets them ([`push_entries`], [`next_entry`]):
//!
//! ```text
//!   count u32 | ms u64 | number u64 | kind u8 | identity bytes u32 | tape bytes u32 | identity … | tape … | ms u64 ...
//! ```

use std::collections::HashSet;

use crate::event::payload;
use crate::event::stream_id::StreamId;
use crate::json::tape;
use crate::redis::kept::{CHANNEL_FIELD, EVENT_FIELD};
use crate::redis::reply::{Array, Reply};

/// One entry of a stream.
struct KeptEvent<'a> {
    id: &'a [u8],
    /// Unix time of Redis in milliseconds.
    unix_ms: u64,
    /// Without the prefix.
    channel: &'a [u8],
    payload: &'a [u8],
}

/// Appends the list of events to a tape.
pub(crate) fn push_events(newest_first: Array<'_>, list: &mut Vec<u8>) {
    let entries: Vec<_> = newest_first.iter().filter_map(entry).collect();
    let (mut events, mut count) = (Vec::new(), 0);
    let (mut seen, mut identity) = (HashSet::new(), Vec::new());
    for KeptEvent { id, unix_ms, channel, payload } in entries.into_iter().rev() {
        let start = events.len();
        tape::push_object(&mut events, 4);
        tape::push_text(&mut events, b"data");
        identity.clear();
        // A payload that is no JSON becomes its text.
        let _ = payload::decode_with(payload, &mut events, &mut identity);
        if !identity.is_empty() && !seen.insert(identity.clone()) {
            events.truncate(start);
            continue;
        }
        tape::push_text(&mut events, b"channel");
        tape::push_text(&mut events, channel);
        tape::push_text(&mut events, b"time");
        tape::push_f64(&mut events, unix_ms as f64 / 1000.0);
        tape::push_text(&mut events, b"id");
        tape::push_text(&mut events, id);
        count += 1;
    }
    tape::push_array(list, count);
    list.append(&mut events);
}

/// The entry, if this module or another program in its way wrote it.
fn entry(found: Reply<'_>) -> Option<KeptEvent<'_>> {
    let Reply::Array(parts) = found else { return None };
    let mut parts = parts.iter();
    let (id, Reply::Array(fields)) = (parts.next()?.text()?, parts.next()?) else { return None };
    let (mut channel, mut payload) = (None, None);
    let mut fields = fields.iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name.text()? {
            CHANNEL_FIELD => channel = value.text(),
            EVENT_FIELD => payload = value.text(),
            _ => {}
        }
    }
    let unix_ms = std::str::from_utf8(id).ok()?.split('-').next()?.parse().ok()?;
    Some(KeptEvent { id, unix_ms, channel: channel?, payload: payload? })
}

// ---- entries for a listener -------------------------------------------------------------------------------------------

/// An entry in its place in the stream.
pub(crate) struct ReadEntry<'a> {
    pub(crate) id: StreamId,
    pub(crate) kind: EntryKind,
    /// The text of the member `_rt`; empty without one.
    pub(crate) identity: &'a [u8],
    /// The payload, decoded.
    pub(crate) tape: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// The payload was JSON.
    Json,
    /// The payload is text.
    Raw,
    /// The entry is another program's.
    Foreign,
}

/// Appends all entries of a reply to XRANGE or XREVRANGE, in the order of the reply.
pub(crate) fn push_entries(entries: Array<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let (mut count, mut tape, mut identity) = (0_u32, Vec::new(), Vec::new());
    for found in entries.iter() {
        let Some(id) = id_of(found) else { continue };
        tape.clear();
        identity.clear();
        let kind = match entry(found) {
            None => EntryKind::Foreign,
            Some(event) => match payload::decode_with(event.payload, &mut tape, &mut identity) {
                Ok(()) => EntryKind::Json,
                Err(_) => EntryKind::Raw,
            },
        };
        out.extend_from_slice(&id.ms.to_le_bytes());
        out.extend_from_slice(&id.number.to_le_bytes());
        out.push(kind as u8);
        // The casts are safe: a reply is bounded far below 4 GiB.
        out.extend_from_slice(&(identity.len() as u32).to_le_bytes());
        out.extend_from_slice(&(tape.len() as u32).to_le_bytes());
        out.extend_from_slice(&identity);
        out.extend_from_slice(&tape);
        count += 1;
    }
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
}

/// The number of entries that [`push_entries`] wrote, and where the first begins.
pub(crate) fn entries(bytes: &[u8]) -> (u32, usize) {
    (bytes.first_chunk().map_or(0, |count| u32::from_le_bytes(*count)), 4)
}

/// The entry at this place, and the place behind it.
pub(crate) fn next_entry(bytes: &[u8], at: usize) -> Option<(ReadEntry<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (ms, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (identity_bytes, rest) = rest.split_first_chunk()?;
    let (tape_bytes, rest) = rest.split_first_chunk()?;
    let (identity, rest) = rest.split_at_checked(u32::from_le_bytes(*identity_bytes) as usize)?;
    let (tape, rest) = rest.split_at_checked(u32::from_le_bytes(*tape_bytes) as usize)?;
    let id = StreamId { ms: u64::from_le_bytes(*ms), number: u64::from_le_bytes(*number) };
    let kind = match *kind {
        0 => EntryKind::Json,
        1 => EntryKind::Raw,
        _ => EntryKind::Foreign,
    };
    Some((ReadEntry { id, kind, identity, tape }, bytes.len() - rest.len()))
}

/// The id of an entry of any shape.
fn id_of(found: Reply<'_>) -> Option<StreamId> {
    StreamId::parse(found.array()?.iter().next()?.text()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::REPLY_LIMITS;
    use crate::redis::reply::Decoder;

    #[test]
    fn entries_come_out_as_they_went_in_whatever_their_shape() {
        let words = |words: &[&str]| {
            let texts: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
            format!("*{}\r\n{texts}", words.len())
        };
        let entry = |id: &str, fields: &[&str]| format!("*2\r\n${}\r\n{id}\r\n{}", id.len(), words(fields));
        let all = [
            entry("5-1", &["channel", "c", "event", r#"{"a":1,"_rt":"x"}"#]),
            entry("5-2", &["channel", "c", "event", "no json"]),
            entry("6-0", &["some", "thing"]),
            entry("x", &["channel", "c", "event", "{}"]),
            entry("7-0", &["channel", "c", "event", "5"]),
        ];
        let mut decoder = Decoder::new(REPLY_LIMITS);
        decoder.feed(format!("*{}\r\n{}", all.len(), all.concat()).as_bytes());
        let reply = decoder.next().unwrap().unwrap();
        let mut bytes = Vec::new();
        push_entries(reply.array().unwrap(), &mut bytes);
        let ((count, mut at), mut found) = (entries(&bytes), Vec::new());
        while let Some((entry, behind)) = next_entry(&bytes, at) {
            let identity = String::from_utf8_lossy(entry.identity).into_owned();
            found.push(format!("{} {:?} {identity} {}", entry.id, entry.kind, entry.tape.is_empty()));
            at = behind;
        }
        let expected = ["5-1 Json x false", "5-2 Raw  false", "6-0 Foreign  true", "7-0 Json  false"];
        assert_eq!((count, found, at), (4, expected.map(str::to_owned).to_vec(), bytes.len()));
        // Cut at any byte it is shorter, never anything else.
        for cut in 0..bytes.len() {
            let (mut at, mut count) = (4, 0);
            while let Some((_, behind)) = next_entry(&bytes[..cut], at) {
                (at, count) = (behind, count + 1);
            }
            assert!(count < 4 && at <= cut.max(4));
        }
    }
}
