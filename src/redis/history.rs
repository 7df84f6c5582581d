//! Turns the reply to XREVRANGE on the stream of a channel (`redis/kept.rs`) into the answer of `History`: a list of
//! events, newest last. Pure; any thread. An event that was sent again stands in the stream twice: the later entry is
//! left out. Entries of another shape are another program's and are left out, too.
//!
//! ```text
//!   [ [ "1732460000123-0", [ "channel", "chat", "event", "{...}" ] ], ... ]     newest first
//!   { { data = {...}, channel = "chat", time = 1732460000.123, id = "1732460000123-0" }, ... }
//! ```

use std::collections::HashSet;

use crate::event::payload;
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
