//! Commands about keys of any type. Pure.

use super::{Ask, NO_INTEGER, Ran, SYNTAX, is};
use crate::embedded::number;
use crate::embedded::store::Value;
use crate::event::glob;

/// Keys that one step of SCAN looks at, at most: other clients wait meanwhile.
const SCAN_STEP_MAX: usize = 10_000;
/// Keys of a step that names no number, as in Redis.
const SCAN_STEP: usize = 10;

pub(super) fn del(ask: &mut Ask<'_>) -> Ran {
    let now = ask.now;
    let gone = ask.words_from(1).iter().filter(|key| ask.world.store.delete(key, now)).count();
    ask.out().count(gone);
    Ok(())
}

pub(super) fn exists(ask: &mut Ask<'_>) -> Ran {
    let now = ask.now;
    let found = ask.words_from(1).iter().filter(|key| ask.world.store.value(key, now).is_some()).count();
    ask.out().count(found);
    Ok(())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "string",
        Value::Ranking(_) => "zset",
        Value::Stream(_) => "stream",
    }
}

pub(super) fn type_of(ask: &mut Ask<'_>) -> Ran {
    let name = ask.world.store.value(ask.key(), ask.now).map_or("none", type_name);
    ask.out().simple(name);
    Ok(())
}

pub(super) fn dbsize(ask: &mut Ask<'_>) -> Ran {
    let count = ask.world.store.entries(ask.now).count();
    ask.out().count(count);
    Ok(())
}

/// Both forms do the same, as there is one database.
pub(super) fn flush(ask: &mut Ask<'_>) -> Ran {
    match ask.words {
        [_] => {}
        [_, how] if is(how, "SYNC") || is(how, "ASYNC") => {}
        _ => return Err(SYNTAX),
    }
    ask.store().clear();
    ask.out().ok();
    Ok(())
}

pub(super) fn keys(ask: &mut Ask<'_>) -> Ran {
    let pattern = ask.key();
    let keys: Vec<&[u8]> = {
        let found = ask.world.store.entries(ask.now).map(|(key, _)| key);
        found.filter(|key| glob::matches(pattern, key)).collect()
    };
    ask.me.out.bulks(keys.into_iter());
    Ok(())
}

pub(super) fn scan(ask: &mut Ask<'_>) -> Ran {
    let cursor = std::str::from_utf8(ask.word(1)).ok().and_then(|text| text.parse().ok());
    let cursor = cursor.ok_or("ERR invalid cursor")?;
    let (mut pattern, mut wanted, mut count) = (&b"*"[..], None, SCAN_STEP);
    for option in ask.words_from(2).chunks(2) {
        match *option {
            [name, text] if is(name, "MATCH") => pattern = text,
            [name, text] if is(name, "TYPE") => wanted = Some(text),
            [name, text] if is(name, "COUNT") => {
                let number = usize::try_from(number::whole(text).ok_or(NO_INTEGER)?);
                count = number.ok().filter(|number| *number > 0).ok_or(SYNTAX)?.min(SCAN_STEP_MAX);
            }
            _ => return Err(SYNTAX),
        }
    }
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let next = ask.world.store.scan(cursor, count, ask.now, &mut |key, entry| {
        let is_type = wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(type_name(&entry.value).as_bytes()));
        if is_type && glob::matches(pattern, key) {
            found.push(key.into());
        }
    });
    let out = ask.out();
    out.array(2);
    out.bulk(next.to_string().as_bytes());
    out.bulks(found.iter().map(AsRef::as_ref));
    Ok(())
}

pub(super) fn expire(ask: &mut Ask<'_>) -> Ran {
    let now = ask.now;
    end(ask, 1000, now)
}

pub(super) fn pexpire(ask: &mut Ask<'_>) -> Ran {
    let now = ask.now;
    end(ask, 1, now)
}

pub(super) fn expireat(ask: &mut Ask<'_>) -> Ran {
    end(ask, 1000, 0)
}

pub(super) fn pexpireat(ask: &mut Ask<'_>) -> Ran {
    end(ask, 1, 0)
}

/// Ends a key after a time in units of `unit_ms` milliseconds, counted from the moment `from`.
fn end(ask: &mut Ask<'_>, unit_ms: i64, from: u64) -> Ran {
    let millis = ask.integer(2)?.checked_mul(unit_ms);
    let ends = millis.and_then(|millis| millis.checked_add_unsigned(from));
    // A moment before 1970 has passed, too.
    let ends = u64::try_from(ends.ok_or("ERR invalid expire time in '{}' command")?).unwrap_or(0);
    let is_set = ask.world.store.set_end(ask.key(), ask.now, Some(ends));
    ask.out().integer(i64::from(is_set));
    Ok(())
}

pub(super) fn persist(ask: &mut Ask<'_>) -> Ran {
    let (key, now) = (ask.key(), ask.now);
    let had_end = ask.store().ends(key, now).flatten().is_some();
    if had_end {
        ask.store().set_end(key, now, None);
    }
    ask.out().integer(i64::from(had_end));
    Ok(())
}

/// The milliseconds until a key ends; -1: it never ends; -2: there is no such key.
pub(super) fn left(ask: &mut Ask<'_>, key: &[u8]) -> i64 {
    match ask.world.store.ends(key, ask.now) {
        Some(Some(ends)) => i64::try_from(ends.saturating_sub(ask.now)).unwrap_or(i64::MAX),
        Some(None) => -1,
        None => -2,
    }
}

pub(super) fn pttl(ask: &mut Ask<'_>) -> Ran {
    let left = left(ask, ask.key());
    ask.out().integer(left);
    Ok(())
}

/// In seconds, rounded.
pub(super) fn ttl(ask: &mut Ask<'_>) -> Ran {
    let left = left(ask, ask.key());
    ask.out().integer(if left < 0 { left } else { left.saturating_add(500) / 1000 });
    Ok(())
}
