//! Commands about texts and counters. Pure.

use super::{ARITY, Ask, NO_FLOAT, NO_INTEGER, Ran, SYNTAX, is};
use crate::config::limits::VALUE_BYTES_MAX;
use crate::embedded::number;
use crate::embedded::store::{Store, Value};

const BAD_END: &str = "ERR invalid expire time in '{}' command";

pub(super) fn get(ask: &mut Ask<'_>) -> Ran {
    let text = ask.world.store.text(ask.key(), ask.now)?;
    ask.me.out.bulk_or_nil(text);
    Ok(())
}

pub(super) fn getdel(ask: &mut Ask<'_>) -> Ran {
    get(ask)?;
    let (key, now) = (ask.key(), ask.now);
    ask.store().delete(key, now);
    Ok(())
}

pub(super) fn getset(ask: &mut Ask<'_>) -> Ran {
    get(ask)?;
    ask.world.store.put(ask.key(), Value::Text(ask.word(2).into()), None);
    Ok(())
}

pub(super) fn strlen(ask: &mut Ask<'_>) -> Ran {
    let len = ask.world.store.text(ask.key(), ask.now)?.map_or(0, <[u8]>::len);
    ask.out().count(len);
    Ok(())
}

pub(super) fn mget(ask: &mut Ask<'_>) -> Ran {
    let (keys, now) = (ask.words_from(1), ask.now);
    ask.out().array(keys.len());
    for key in keys {
        // A key of another type counts as none.
        let text = ask.world.store.text(key, now).unwrap_or_default();
        ask.me.out.bulk_or_nil(text);
        if ask.me.out.is_full() {
            break;
        }
    }
    Ok(())
}

pub(super) fn mset(ask: &mut Ask<'_>) -> Ran {
    let pairs = ask.words_from(1).chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(ARITY);
    }
    for pair in pairs {
        if let [key, text] = *pair {
            ask.world.store.put(key, Value::Text(text.into()), None);
        }
    }
    ask.out().ok();
    Ok(())
}

pub(super) fn append(ask: &mut Ask<'_>) -> Ran {
    let (key, more, now) = (ask.key(), ask.word(2), ask.now);
    let text = [ask.store().text(key, now)?.unwrap_or_default(), more].concat();
    if text.len() > VALUE_BYTES_MAX {
        return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    }
    ask.store().put_text(key, &text, now);
    ask.out().count(text.len());
    Ok(())
}

/// The moment in so many units of `unit_ms` milliseconds from `from` on.
fn moment(text: &[u8], unit_ms: i64, from: u64) -> Result<u64, &'static str> {
    let amount = number::whole(text).ok_or(NO_INTEGER)?;
    let ends = amount.checked_mul(unit_ms).and_then(|millis| millis.checked_add_unsigned(from));
    ends.filter(|_| amount > 0).and_then(|ends| u64::try_from(ends).ok()).ok_or(BAD_END)
}

/// The options of SET.
#[derive(Default)]
struct Options {
    ends: Option<u64>,
    keeps_end: bool,
    only_new: bool,
    only_known: bool,
    gets: bool,
}

impl Options {
    fn read(mut words: &[&[u8]], now: u64) -> Result<Options, &'static str> {
        let mut options = Options::default();
        while let [name, rest @ ..] = words {
            words = rest;
            if is(name, "NX") {
                options.only_new = true;
            } else if is(name, "XX") {
                options.only_known = true;
            } else if is(name, "GET") {
                options.gets = true;
            } else if is(name, "KEEPTTL") {
                options.keeps_end = true;
            } else {
                let forms = [("EX", 1000, now), ("PX", 1, now), ("EXAT", 1000, 0), ("PXAT", 1, 0)];
                let form = forms.into_iter().find(|(form, ..)| is(name, form));
                let ((_, unit_ms, from), [amount, rest @ ..]) = (form.ok_or(SYNTAX)?, rest) else { return Err(SYNTAX) };
                if options.ends.replace(moment(amount, unit_ms, from)?).is_some() {
                    return Err(SYNTAX);
                }
                words = rest;
            }
        }
        let clashes = options.only_new && options.only_known || options.keeps_end && options.ends.is_some();
        if clashes { Err(SYNTAX) } else { Ok(options) }
    }
}

pub(super) fn set(ask: &mut Ask<'_>) -> Ran {
    let (key, now) = (ask.key(), ask.now);
    let options = Options::read(ask.words_from(3), now)?;
    let is_known = ask.world.store.value(key, now).is_some();
    if options.gets {
        get(ask)?;
    }
    if options.only_new && is_known || options.only_known && !is_known {
        if !options.gets {
            ask.out().nil();
        }
        return Ok(());
    }
    let ends = if options.keeps_end { ask.store().ends(key, now).flatten() } else { options.ends };
    let text = ask.word(2);
    put(key, text, ends, now, ask.store());
    if !options.gets {
        ask.out().ok();
    }
    Ok(())
}

/// Puts a text, unless it would have ended already.
fn put(key: &[u8], text: &[u8], ends: Option<u64>, now: u64, store: &mut Store) {
    if ends.is_some_and(|ends| ends <= now) {
        store.delete(key, now);
    } else {
        store.put(key, Value::Text(text.into()), ends);
    }
}

pub(super) fn setnx(ask: &mut Ask<'_>) -> Ran {
    let (key, now) = (ask.key(), ask.now);
    let is_new = ask.store().value(key, now).is_none();
    if is_new {
        ask.world.store.put(key, Value::Text(ask.word(2).into()), None);
    }
    ask.out().integer(i64::from(is_new));
    Ok(())
}

pub(super) fn setex(ask: &mut Ask<'_>) -> Ran {
    set_until(ask, 1000)
}

pub(super) fn psetex(ask: &mut Ask<'_>) -> Ran {
    set_until(ask, 1)
}

fn set_until(ask: &mut Ask<'_>, unit_ms: i64) -> Ran {
    let ends = moment(ask.word(2), unit_ms, ask.now)?;
    put(ask.key(), ask.word(3), Some(ends), ask.now, ask.store());
    ask.out().ok();
    Ok(())
}

pub(super) fn incr(ask: &mut Ask<'_>) -> Ran {
    add_and_answer(ask, 1)
}

pub(super) fn decr(ask: &mut Ask<'_>) -> Ran {
    add_and_answer(ask, -1)
}

pub(super) fn incrby(ask: &mut Ask<'_>) -> Ran {
    let by = ask.integer(2)?;
    add_and_answer(ask, by)
}

pub(super) fn decrby(ask: &mut Ask<'_>) -> Ran {
    let by = ask.integer(2)?.checked_neg().ok_or("ERR decrement would overflow")?;
    add_and_answer(ask, by)
}

fn add_and_answer(ask: &mut Ask<'_>, by: i64) -> Ran {
    let sum = add(ask.key(), by, ask.now, ask.store())?;
    ask.out().integer(sum);
    Ok(())
}

/// Adds to a counter. A new one begins at 0; its end stays.
pub(super) fn add(key: &[u8], by: i64, now: u64, store: &mut Store) -> Result<i64, &'static str> {
    let before = store.text(key, now)?.map_or(Some(0), number::whole).ok_or(NO_INTEGER)?;
    let sum = before.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
    store.put_text(key, itoa::Buffer::new().format(sum).as_bytes(), now);
    Ok(sum)
}

pub(super) fn incrbyfloat(ask: &mut Ask<'_>) -> Ran {
    let sum = add_float(ask.key(), ask.word(2), ask.now, ask.store())?;
    ask.out().bulk(&sum);
    Ok(())
}

/// The same for a number with a fraction.
pub(super) fn add_float(key: &[u8], by: &[u8], now: u64, store: &mut Store) -> Result<Vec<u8>, &'static str> {
    let before = store.text(key, now)?.unwrap_or(b"0");
    if number::float(before).and(number::float(by)).is_none() {
        return Err(NO_FLOAT);
    }
    let sum = number::sum(before, by).ok_or("ERR increment would produce NaN or Infinity")?;
    store.put_text(key, &sum, now);
    Ok(sum)
}
