//! Commands about streams, as far as kept events need them (`redis/kept.rs`). Pure.

use super::{ARITY, Ask, NO_INTEGER, Ran, SYNTAX, is};
use crate::embedded::number;
use crate::embedded::session::OUT_BYTES_MAX;
use crate::embedded::store::Store;
use crate::embedded::stream::{Id, STREAM_BYTES_MAX, Stream, print_id, read_id};
use crate::embedded::words;

// A whole stream is one reply, after which no client is cut: an entry takes at most twice its bytes there.
const _: () = assert!(2 * STREAM_BYTES_MAX <= OUT_BYTES_MAX);

const BAD_ID: &str = "ERR Invalid stream ID specified as stream command argument";

/// XADD with MAXLEN alone. `~` lets some entries more stay for a while (`stream.rs`).
pub(super) fn xadd(ask: &mut Ask<'_>) -> Ran {
    let (limit, words) = match ask.words_from(2) {
        [name, mark, count, rest @ ..] if is(name, "MAXLEN") && matches!(*mark, b"~" | b"=") => {
            (Some((most(count)?, *mark == b"~")), rest)
        }
        [name, count, rest @ ..] if is(name, "MAXLEN") => (Some((most(count)?, false)), rest),
        words => (None, words),
    };
    let [id, fields @ ..] = words else { return Err(ARITY) };
    let wanted = if *id == b"*" { None } else { Some(read_id(id, 0).ok_or(BAD_ID)?) };
    if fields.is_empty() || !fields.len().is_multiple_of(2) {
        return Err(ARITY);
    }
    if wanted == Some(0) {
        return Err("ERR The ID specified in XADD must be greater than 0-0");
    }
    let id = add(ask.key(), wanted, fields, limit, ask.now, ask.store())?;
    ask.out().bulk(print_id(id).as_bytes());
    Ok(())
}

/// The number of entries behind MAXLEN.
pub(super) fn most(text: &[u8]) -> Result<usize, &'static str> {
    let count = number::whole(text).ok_or(NO_INTEGER)?;
    if count < 0 {
        Err("ERR The MAXLEN argument must be >= 0.")
    } else {
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

/// Adds an entry with this id; `None`: with the next one. `limit` is the largest number of entries, and whether some more
/// may stay. Returns the id.
pub(super) fn add(
    key: &[u8],
    wanted: Option<Id>,
    fields: &[&[u8]],
    limit: Option<(usize, bool)>,
    now: u64,
    store: &mut Store,
) -> Result<Id, &'static str> {
    let last = store.stream(key, now)?.map_or(0, Stream::last);
    let next =
        last.checked_add(1).ok_or("ERR The stream has exhausted the last possible ID, unable to add more items")?;
    // The clock may have been set back.
    let id = wanted.unwrap_or_else(|| next.max(Id::from(now) << 64));
    if id < next {
        return Err("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    }
    store.change_stream(key, now, &mut |stream| {
        stream.add(id, fields);
        if let Some((most, is_about)) = limit {
            stream.keep(most, is_about);
        }
    })?;
    Ok(id)
}

/// Removes entries. The stream stays, even if it is empty.
pub(super) fn xdel(ask: &mut Ask<'_>) -> Ran {
    let mut gone = 0;
    if ask.world.store.stream(ask.key(), ask.now)?.is_some() {
        let ids: Option<Vec<Id>> = ask.words_from(2).iter().map(|id| read_id(id, 0)).collect();
        let mut ids = ids.ok_or(BAD_ID)?;
        ids.sort_unstable();
        ask.world.store.change_stream(ask.key(), ask.now, &mut |stream| gone = stream.take(&ids))?;
    }
    ask.out().count(gone);
    Ok(())
}

pub(super) fn xlen(ask: &mut Ask<'_>) -> Ran {
    let count = ask.world.store.stream(ask.key(), ask.now)?.map_or(0, |stream| stream.items().len());
    ask.out().count(count);
    Ok(())
}

pub(super) fn xrange(ask: &mut Ask<'_>) -> Ran {
    range(ask, false)
}

pub(super) fn xrevrange(ask: &mut Ask<'_>) -> Ran {
    range(ask, true)
}

/// One end of a range: the id, and whether it is excluded: `(5-0`. `number` as in [`read_id`].
fn bound(text: &[u8], number: u64) -> Result<(Id, bool), &'static str> {
    let id = match text {
        b"-" => Some((0, false)),
        b"+" => Some((Id::MAX, false)),
        [b'(', id @ ..] => read_id(id, number).map(|id| (id, true)),
        id => read_id(id, number).map(|id| (id, false)),
    };
    id.ok_or(BAD_ID)
}

/// The later end comes first in a reversed range.
fn range(ask: &mut Ask<'_>, is_reversed: bool) -> Ran {
    let [first, last] = if is_reversed { [3, 2] } else { [2, 3] };
    let (first, excludes_first) = bound(ask.word(first), 0)?;
    let first = first.checked_add(excludes_first.into()).ok_or("ERR invalid start ID for the interval")?;
    let (last, excludes_last) = bound(ask.word(last), u64::MAX)?;
    let last = last.checked_sub(excludes_last.into()).ok_or("ERR invalid end ID for the interval")?;
    let mut most = usize::MAX;
    for option in ask.words_from(4).chunks(2) {
        most = match *option {
            [name, count] if is(name, "COUNT") => {
                // A negative number counts as 0.
                usize::try_from(number::whole(count).ok_or(NO_INTEGER)?.max(0)).unwrap_or(usize::MAX)
            }
            _ => return Err(SYNTAX),
        };
    }
    let stream = ask.world.store.stream(ask.key(), ask.now)?;
    let out = &mut ask.me.out;
    if stream.is_some() && most == 0 {
        out.no_array();
        return Ok(());
    }
    let found = stream.map_or(&[][..], |stream| stream.range(first, last));
    let count = found.len().min(most);
    out.array(count);
    for at in 0..count {
        let at = if is_reversed { found.len() - 1 - at } else { at };
        if let Some(item) = found.get(at) {
            out.array(2);
            out.bulk(print_id(item.id).as_bytes());
            out.bulks(words::all(&item.fields).unwrap_or_default().into_iter());
        }
        if out.is_full() {
            break;
        }
    }
    Ok(())
}
