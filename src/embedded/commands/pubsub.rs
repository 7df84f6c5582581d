//! Subscriptions and events. Pure. A client hears an event once for each of its subscriptions that match: first as
//! `message`, then as `pmessage` for each pattern.

use super::{Ask, Ran, is};
use crate::embedded::session::Kind;
use crate::event::glob;

/// Commands that a client with subscriptions may send.
pub(super) const ALLOWED: [&str; 6] = ["PING", "PSUBSCRIBE", "PUNSUBSCRIBE", "QUIT", "SUBSCRIBE", "UNSUBSCRIBE"];
pub(super) const NOT_ALLOWED: &str = "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                                      RESET are allowed in this context";

pub(super) fn subscribe(ask: &mut Ask<'_>) -> Ran {
    add(ask, Kind::Channel, "subscribe")
}

pub(super) fn psubscribe(ask: &mut Ask<'_>) -> Ran {
    add(ask, Kind::Pattern, "psubscribe")
}

pub(super) fn unsubscribe(ask: &mut Ask<'_>) -> Ran {
    remove(ask, Kind::Channel, "unsubscribe")
}

pub(super) fn punsubscribe(ask: &mut Ask<'_>) -> Ran {
    remove(ask, Kind::Pattern, "punsubscribe")
}

fn add(ask: &mut Ask<'_>, kind: Kind, verb: &str) -> Ran {
    for name in ask.words_from(1) {
        if ask.me.subscribe(kind, name) {
            acknowledge(ask, verb, Some(name));
        } else {
            ask.out().error("ERR this client has too many subscriptions for the embedded server");
        }
    }
    Ok(())
}

fn remove(ask: &mut Ask<'_>, kind: Kind, verb: &str) -> Ran {
    let mut names: Vec<Box<[u8]>> = ask.words_from(1).iter().map(|name| Box::from(*name)).collect();
    if names.is_empty() {
        names.extend(ask.me.names(kind).iter().map(|(name, ())| name.clone()));
    }
    if names.is_empty() {
        acknowledge(ask, verb, None);
    }
    for name in names {
        ask.me.unsubscribe(kind, &name);
        acknowledge(ask, verb, Some(&name));
    }
    Ok(())
}

fn acknowledge(ask: &mut Ask<'_>, verb: &str, name: Option<&[u8]>) {
    let count = ask.me.subscriptions();
    let out = ask.out();
    out.array(3);
    out.bulk(verb.as_bytes());
    out.bulk_or_nil(name);
    out.count(count);
}

pub(super) fn publish(ask: &mut Ask<'_>) -> Ran {
    let heard = heard(ask, ask.word(1), ask.word(2));
    ask.out().count(heard);
    Ok(())
}

/// Sends an event to all clients that subscribed to its channel. Returns how many hear it.
pub(super) fn heard(ask: &mut Ask<'_>, channel: &[u8], payload: &[u8]) -> usize {
    let others = ask.others.iter_mut().flat_map(|some| some.iter_mut());
    others.map(|session| session.publish(channel, payload)).sum()
}

/// CHANNELS, NUMSUB and NUMPAT.
pub(super) fn pubsub(ask: &mut Ask<'_>) -> Ran {
    let names = |ask: &Ask<'_>, kind| {
        let all = ask.sessions().flat_map(|session| session.names(kind).iter().map(|(name, ())| name.clone()));
        let mut all: Vec<Box<[u8]>> = all.collect();
        all.sort();
        all
    };
    let verb = ask.word(1);
    if is(verb, "CHANNELS") && ask.words.len() <= 3 {
        let pattern = ask.words.get(2).copied().unwrap_or(b"*");
        let mut found = names(ask, Kind::Channel);
        found.dedup();
        found.retain(|name| glob::matches(pattern, name));
        ask.out().bulks(found.iter().map(AsRef::as_ref));
    } else if is(verb, "NUMSUB") {
        let wanted = ask.words_from(2);
        let found = names(ask, Kind::Channel);
        ask.out().array(wanted.len() * 2);
        for channel in wanted {
            ask.out().bulk(channel);
            ask.out().count(found.iter().filter(|name| ***name == **channel).count());
        }
    } else if is(verb, "NUMPAT") && ask.words.len() == 2 {
        let mut found = names(ask, Kind::Pattern);
        found.dedup();
        ask.out().count(found.len());
    } else {
        return Err("ERR unknown subcommand or wrong number of arguments for 'pubsub' command");
    }
    Ok(())
}
