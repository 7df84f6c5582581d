//! The scripts of this module as functions, known by their text or its SHA-1: the embedded server has no Lua inside.
//! Pure. Each function does what its script says (`redis/counter.rs`, `redis/lease.rs`, `redis/kept.rs`), with the same reply.

use super::{Ask, Ran, is, pubsub, room, sorted, streams, strings};
use crate::embedded::number;
use crate::embedded::store::Store;
use crate::embedded::store::Value;
use crate::embedded::stream::print_id;
use crate::redis::{counter, kept, lease};

/// A script's function. Gets its keys and its arguments.
type Script = fn(&mut Ask<'_>, &[&[u8]], &[&[u8]]) -> Ran;

/// One script.
struct Known {
    text: &'static str,
    /// SHA-1 of the text. A test compares it with the reply of a real Redis to SCRIPT LOAD.
    sha: &'static str,
    run: Script,
}

static KNOWN: [Known; 4] = [
    Known { text: counter::SCRIPT, sha: counter::SCRIPT_SHA, run: count },
    Known { text: lease::TAKE, sha: lease::TAKE_SHA, run: take },
    Known { text: lease::FREE, sha: lease::FREE_SHA, run: free },
    Known { text: kept::SCRIPT, sha: kept::SCRIPT_SHA, run: keep },
];

const OTHERS: &str = "ERR the embedded server of realtime runs no Lua scripts but those of realtime itself";

pub(super) fn eval(ask: &mut Ask<'_>) -> Ran {
    let script = KNOWN.iter().find(|known| known.text.as_bytes() == ask.word(1));
    run(ask, script.ok_or(OTHERS)?)
}

pub(super) fn evalsha(ask: &mut Ask<'_>) -> Ran {
    let script = KNOWN.iter().find(|known| ask.word(1).eq_ignore_ascii_case(known.sha.as_bytes()));
    run(ask, script.ok_or("NOSCRIPT No matching script. Please use EVAL.")?)
}

fn run(ask: &mut Ask<'_>, script: &Known) -> Ran {
    let count = usize::try_from(ask.integer(2)?).map_err(|_| "ERR Number of keys can't be negative")?;
    let rest = ask.words_from(3);
    let (keys, arguments) =
        rest.split_at_checked(count).ok_or("ERR Number of keys can't be greater than number of args")?;
    (script.run)(ask, keys, arguments)
}

/// LOAD, EXISTS and FLUSH. The scripts are always there.
pub(super) fn script(ask: &mut Ask<'_>) -> Ran {
    let (verb, texts) = (ask.word(1), ask.words_from(2));
    if is(verb, "LOAD") && texts.len() == 1 {
        let script = KNOWN.iter().find(|known| known.text.as_bytes() == ask.word(2)).ok_or(OTHERS)?;
        ask.out().bulk(script.sha.as_bytes());
    } else if is(verb, "EXISTS") && !texts.is_empty() {
        ask.out().array(texts.len());
        for sha in texts {
            let is_known = KNOWN.iter().any(|known| sha.eq_ignore_ascii_case(known.sha.as_bytes()));
            ask.out().integer(i64::from(is_known));
        }
    } else if is(verb, "FLUSH") && texts.len() <= 1 {
        ask.out().ok();
    } else {
        return Err("ERR unknown subcommand or wrong number of arguments for 'script' command");
    }
    Ok(())
}

const BAD_CALL: &str = "ERR wrong arguments for this script";

/// [`counter::SCRIPT`].
fn count(ask: &mut Ask<'_>, keys: &[&[u8]], arguments: &[&[u8]]) -> Ran {
    let ([done, key], [number, memory, ttl, by, rest @ ..]) = (keys, arguments) else { return Err(BAD_CALL) };
    let (member, now) = (rest.first().copied(), ask.now);
    let whole = |text: &[u8]| number::whole(text).and_then(|number| u64::try_from(number).ok()).ok_or(BAD_CALL);
    let (memory, ttl, new) = (whole(memory)?, whole(ttl)?, whole(number)?);
    room(ask)?;
    let later = |seconds: u64| now.saturating_add(seconds.saturating_mul(1000));
    let store = ask.store();
    if new != 0 {
        let last = store.text(done, now)?.map(number::whole);
        if last.flatten().is_some_and(|last| u64::try_from(last).is_ok_and(|last| last >= new)) {
            return answer(ask, key, member);
        }
    }
    // Nothing has changed if one of these fails.
    match member {
        Some(member) => sorted::increase(key, member, by, now, store).map(drop),
        None => match number::whole(by) {
            Some(by) => strings::add(key, by, now, store).map(drop),
            None => strings::add_float(key, by, now, store).map(drop),
        },
    }?;
    if new != 0 {
        store.put(done, Value::Text((*number).into()), Some(later(memory)));
    }
    if ttl != 0 && store.ends(key, now).flatten().is_none() {
        store.set_end(key, now, Some(later(ttl)));
    }
    answer(ask, key, member)
}

/// The value of a counter, or the score of its member.
fn answer(ask: &mut Ask<'_>, key: &[u8], member: Option<&[u8]>) -> Ran {
    let (store, now) = (&mut ask.world.store, ask.now);
    match member {
        Some(member) => ask.me.out.bulk_or_nil(sorted::score(key, member, now, store)?.as_deref()),
        None => ask.me.out.bulk_or_nil(store.text(key, now)?),
    }
    Ok(())
}

/// Whether the key holds this boot number.
fn is_held(store: &mut Store, key: &[u8], boot: &[u8], now: u64) -> Result<bool, &'static str> {
    Ok(store.text(key, now)? == Some(boot))
}

/// Milliseconds as an argument.
fn millis(text: &[u8]) -> Result<u64, &'static str> {
    number::whole(text).and_then(|millis| u64::try_from(millis).ok()).ok_or(BAD_CALL)
}

/// [`kept::SCRIPT`].
fn keep(ask: &mut Ask<'_>, keys: &[&[u8]], arguments: &[&[u8]]) -> Ran {
    let ([key], [most, age, channel, bare, payload, numbered]) = (keys, arguments) else { return Err(BAD_CALL) };
    let ends = ask.now.saturating_add(millis(age)?);
    let added = room(ask).and_then(|()| {
        let (most, now) = (streams::most(most)?, ask.now);
        let entry = [kept::CHANNEL_FIELD, *bare, kept::EVENT_FIELD, *payload];
        let id = streams::add(key, None, &entry, Some((most, true)), now, ask.store())?;
        ask.store().set_end(key, now, Some(ends));
        Ok(id)
    });
    let told;
    let event = match added {
        Ok(id) if *numbered == b"1" => {
            let head = payload.get(..payload.len().saturating_sub(2)).unwrap_or_default();
            told = [head, b":@", print_id(id).as_bytes(), b"\"}"].concat();
            &*told
        }
        _ => *payload,
    };
    // An event that cannot be kept is heard nevertheless.
    let heard = pubsub::heard(ask, channel, event);
    let out = ask.out();
    if let Err(text) = added {
        out.array(2);
        out.count(heard);
        out.bulk(text.as_bytes());
    } else {
        out.count(heard);
    }
    Ok(())
}

/// [`lease::TAKE`].
fn take(ask: &mut Ask<'_>, keys: &[&[u8]], arguments: &[&[u8]]) -> Ran {
    let [boot, millis] = arguments else { return Err(BAD_CALL) };
    let ends = Some(ask.now.saturating_add(self::millis(millis)?));
    room(ask)?;
    let (store, now) = (&mut ask.world.store, ask.now);
    let mut held = Vec::with_capacity(keys.len());
    for key in keys {
        let is_ours = is_held(store, key, boot, now)?;
        let is_free = store.value(key, now).is_none();
        if is_ours || is_free {
            store.put(key, Value::Text((*boot).into()), ends);
        }
        held.push(is_ours || is_free);
    }
    ask.out().array(held.len());
    held.into_iter().for_each(|held| ask.me.out.integer(i64::from(held)));
    Ok(())
}

/// [`lease::FREE`].
fn free(ask: &mut Ask<'_>, keys: &[&[u8]], arguments: &[&[u8]]) -> Ran {
    let [boot] = arguments else { return Err(BAD_CALL) };
    let (store, now) = (&mut ask.world.store, ask.now);
    for key in keys {
        if is_held(store, key, boot, now)? {
            store.delete(key, now);
        }
    }
    ask.out().integer(0);
    Ok(())
}
