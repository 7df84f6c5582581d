//! Commands about the connection and the server. Pure.
//! HELLO is unknown, as to Redis before version 6: clients then speak RESP2, the only form here. MONITOR is unknown too.

use std::fmt::Write as _;

use super::{ARITY, Ask, Ran, SYNTAX, is};
use crate::embedded::session::Kind;

/// `AUTH password`, `AUTH default password`.
pub(super) fn auth(ask: &mut Ask<'_>) -> Ran {
    let (user, password) = match ask.words {
        [_, password] => (&b"default"[..], *password),
        [_, user, password] => (*user, *password),
        _ => return Err(SYNTAX),
    };
    if user != b"default" || !is_equal(password, &ask.world.password) {
        return Err("WRONGPASS invalid username-password pair or user is disabled.");
    }
    let members = ask.sessions().filter(|session| session.is_logged_in).count();
    if !ask.me.is_logged_in && members >= ask.world.clients_max {
        ask.world.counts.refused += 1;
        ask.me.ends = true;
        return Err("ERR max number of clients reached");
    }
    ask.me.is_logged_in = true;
    ask.out().ok();
    Ok(())
}

/// Compares in a time that depends on the lengths only, so that the time of a refusal tells nothing about the password.
fn is_equal(given: &[u8], password: &[u8]) -> bool {
    let differing = given.iter().zip(password).fold(0, |found, (one, other)| found | (one ^ other));
    std::hint::black_box(differing) == 0 && given.len() == password.len()
}

pub(super) fn ping(ask: &mut Ask<'_>) -> Ran {
    let is_subscribed = ask.me.subscriptions() > 0;
    match ask.words {
        [_, text] if !is_subscribed => ask.out().bulk(text),
        [_] | [_, _] if is_subscribed => {
            let text = ask.word(1);
            ask.out().bulks([b"pong".as_slice(), text].into_iter());
        }
        [_] => ask.out().simple("PONG"),
        _ => return Err(ARITY),
    }
    Ok(())
}

pub(super) fn echo(ask: &mut Ask<'_>) -> Ran {
    let text = ask.word(1);
    ask.out().bulk(text);
    Ok(())
}

pub(super) fn quit(ask: &mut Ask<'_>) -> Ran {
    ask.out().ok();
    ask.me.ends = true;
    Ok(())
}

/// There is one database.
pub(super) fn select(ask: &mut Ask<'_>) -> Ran {
    match ask.integer(1) {
        Ok(0) => ask.out().ok(),
        Ok(_) => return Err("ERR DB index is out of range"),
        Err(text) => return Err(text),
    }
    Ok(())
}

/// A master without replicas.
pub(super) fn role(ask: &mut Ask<'_>) -> Ran {
    let out = ask.out();
    out.array(3);
    out.bulk(b"master");
    out.integer(0);
    out.array(0);
    Ok(())
}

pub(super) fn time(ask: &mut Ask<'_>) -> Ran {
    let now = ask.now;
    let (seconds, micros) = ((now / 1000).to_string(), (now % 1000 * 1000).to_string());
    ask.out().bulks([seconds.as_bytes(), micros.as_bytes()].into_iter());
    Ok(())
}

/// `redis-cli` asks at its start, for its hints; an empty answer means that there are none.
pub(super) fn command(ask: &mut Ask<'_>) -> Ran {
    if is(ask.word(1), "COUNT") {
        ask.out().count(super::TABLE.len());
    } else {
        ask.out().array(0);
    }
    Ok(())
}

/// GET finds nothing; there is nothing to set.
pub(super) fn config(ask: &mut Ask<'_>) -> Ran {
    if !is(ask.word(1), "GET") {
        return Err("ERR the embedded server of realtime has no settings");
    }
    ask.out().array(0);
    Ok(())
}

pub(super) fn client(ask: &mut Ask<'_>) -> Ran {
    let (verb, argument) = (ask.word(1), ask.word(2));
    match ask.words.len() {
        2 if is(verb, "ID") => {
            let id = ask.me.id;
            ask.out().integer(i64::try_from(id).unwrap_or(i64::MAX));
        }
        2 if is(verb, "GETNAME") => {
            let name = ask.me.name.clone();
            ask.out().bulk_or_nil((!name.is_empty()).then_some(&*name));
        }
        3 if is(verb, "SETNAME") => {
            // Redis' rule: the list of clients must stay readable by programs.
            if !argument.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
                return Err("ERR Client names cannot contain spaces, newlines or special characters.");
            }
            ask.me.name = argument.into();
            ask.out().ok();
        }
        // Libraries tell their name and version, which are not kept.
        4 if is(verb, "SETINFO") => ask.out().ok(),
        2 if is(verb, "LIST") => {
            let list: String = ask.sessions().map(|session| line(session, ask.now)).collect();
            ask.out().bulk(list.as_bytes());
        }
        2 if is(verb, "INFO") => {
            let line = line(ask.me, ask.now);
            ask.out().bulk(line.as_bytes());
        }
        _ => return Err("ERR unknown subcommand or wrong number of arguments for 'client' command"),
    }
    Ok(())
}

/// The line of one client in CLIENT LIST. `flags` is `P` for a subscriber and `N` for others.
fn line(session: &super::Session, now: u64) -> String {
    let [channels, patterns] = [Kind::Channel, Kind::Pattern].map(|kind| session.names(kind).len());
    format!(
        "id={} addr={} name={} age={} idle={} flags={} db=0 sub={channels} psub={patterns} omem={}\n",
        session.id,
        session.peer,
        String::from_utf8_lossy(&session.name),
        now.saturating_sub(session.since) / 1000,
        now.saturating_sub(session.last) / 1000,
        if channels + patterns > 0 { 'P' } else { 'N' },
        session.out.pending().len(),
    )
}

/// The sections that programs read. The version is that of the oldest Redis with all these commands.
pub(super) fn info(ask: &mut Ask<'_>) -> Ran {
    let now = ask.now;
    let clients = ask.sessions().filter(|session| session.is_logged_in).count();
    let (mut keys, mut ending) = (0, 0);
    for (_, entry) in ask.world.store.entries(now) {
        keys += 1;
        ending += usize::from(entry.ends.is_some());
    }
    let (store, counts) = (&ask.world.store, &ask.world.counts);
    let mut keyspace = String::new();
    if keys > 0 {
        keyspace = format!("db0:keys={keys},expires={ending},avg_ttl=0\r\n");
    }
    let sections = [
        (
            "Server",
            format!(
                "redis_version:6.2.0\r\nredis_mode:standalone\r\nrealtime_version:{}\r\nprocess_id:{}\r\n\
                 uptime_in_seconds:{}\r\n",
                env!("CARGO_PKG_VERSION"),
                std::process::id(),
                now.saturating_sub(ask.world.began) / 1000
            ),
        ),
        ("Clients", format!("connected_clients:{clients}\r\nmaxclients:{}\r\n", ask.world.clients_max)),
        (
            "Memory",
            format!(
                "used_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n",
                store.bytes(),
                store.bytes_max()
            ),
        ),
        (
            "Stats",
            format!(
                "total_connections_received:{}\r\ntotal_commands_processed:{}\r\nrejected_connections:{}\r\n\
                 client_output_buffer_limit_disconnections:{}\r\nclosed_before_login:{}\r\n",
                counts.connections, counts.commands, counts.refused, counts.slow, counts.strangers
            ),
        ),
        ("Replication", "role:master\r\nconnected_slaves:0\r\n".to_owned()),
        ("Keyspace", keyspace),
    ];
    let wanted = ask.words_from(1);
    let is_wanted = |name: &str| {
        let all = |word: &&[u8]| is(word, "ALL") || is(word, "DEFAULT") || is(word, "EVERYTHING");
        wanted.is_empty() || wanted.iter().any(|word| all(word) || word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let mut text = String::new();
    for (name, lines) in sections.iter().filter(|(name, _)| is_wanted(name)) {
        let gap = if text.is_empty() { "" } else { "\r\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}# {name}\r\n{lines}");
    }
    ask.out().bulk(text.as_bytes());
    Ok(())
}
