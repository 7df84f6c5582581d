//! Leaderboards, read when a page asks: `ZREVRANGE` of a bounded part of one sorted set. Runs on the thread of a request;
//! one connection serves all of them, and an answer serves all pages for a moment, so that pages cost Redis little.

use std::time::{Duration, Instant};

use realtime::facade::config::limits::NAME_BYTES_MAX;
use realtime::facade::io::lock::lock;
use realtime::facade::redis::REPLY_LIMITS;
use realtime::facade::redis::connection::Connection;
use realtime::facade::redis::error_reply::ErrorReply;
use realtime::facade::redis::reply::{Decoder, OwnedReply};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

use crate::settings::{Settings, words};
use crate::text::beginning;

/// Most rows of one answer.
pub(super) const ROWS_MAX: usize = 100;
/// Longest name of a row that is shown, in bytes.
const MEMBER_BYTES_MAX: usize = 256;
/// Time for one answer of Redis.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long an answer, or a failure to connect, holds for all pages.
const FRESH: Duration = Duration::from_secs(1);
/// Answers that are kept.
const KEPT_MAX: usize = 32;

/// Reads boards, and keeps the last answers.
pub(super) struct Boards {
    settings: Arc<Settings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<(Connection, Decoder)>,
    /// Why the last attempt to connect failed, and when.
    failed: Option<(String, Instant)>,
    kept: Vec<(String, usize, Instant, Value)>,
}

impl Boards {
    pub(super) fn new(settings: Arc<Settings>) -> Boards {
        Boards { settings, state: Mutex::default() }
    }

    /// The first rows of a board, best first: `[{"name":...,"score":"12"}]`. The error is for the user.
    pub(super) fn read(&self, name: &str, rows: usize) -> Result<Value, String> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(format!("the name of a board has 1 to {NAME_BYTES_MAX} bytes"));
        }
        let rows = rows.clamp(1, ROWS_MAX);
        let mut state = lock(&self.state);
        state.kept.retain(|(.., at, _)| at.elapsed() < FRESH);
        if let Some((.., kept)) = state.kept.iter().find(|(kept, count, ..)| kept == name && *count == rows) {
            return Ok(kept.clone());
        }
        let found = self.ask(&mut state, name, rows)?;
        if state.kept.len() < KEPT_MAX {
            state.kept.push((name.to_owned(), rows, Instant::now(), found.clone()));
        }
        Ok(found)
    }

    fn ask(&self, state: &mut State, name: &str, rows: usize) -> Result<Value, String> {
        let key = format!("{}{name}", self.settings.prefix());
        let last = (rows - 1).to_string();
        let arguments: [&[u8]; 5] = [b"ZREVRANGE", key.as_bytes(), b"0", last.as_bytes(), b"WITHSCORES"];
        // A connection that stood idle may have ended: the second attempt has a new one.
        for is_last in [false, true] {
            let is_new = state.connection.is_none();
            let (connection, mut decoder) = self.connection(state)?;
            match connection.ask(&mut decoder, &arguments, Instant::now() + ANSWER_MAX) {
                Ok(reply) => {
                    state.connection = Some((connection, decoder));
                    return listed(&reply);
                }
                Err(err) if is_last || is_new => return Err(format!("cannot read the board: {err}")),
                Err(_) => {}
            }
        }
        Err("cannot read the board".to_owned())
    }

    fn connection(&self, state: &mut State) -> Result<(Connection, Decoder), String> {
        if let Some(connection) = state.connection.take() {
            return Ok(connection);
        }
        if let Some((reason, at)) = &state.failed
            && at.elapsed() < FRESH
        {
            return Err(reason.clone());
        }
        match self.settings.open("boards") {
            Ok((connection, _)) => Ok((connection, Decoder::new(REPLY_LIMITS))),
            Err(err) => {
                state.failed = Some((words(&err), Instant::now()));
                Err(words(&err))
            }
        }
    }
}

/// The rows of a reply `member score member score ...`.
fn listed(reply: &OwnedReply) -> Result<Value, String> {
    let elements = match reply {
        OwnedReply::Array(elements) => elements,
        OwnedReply::Error(text) => return Err(format!("redis: {}", ErrorReply::new(text))),
        _ => return Err("redis answered with something that is no list".to_owned()),
    };
    let row = |pair: &[OwnedReply]| match pair {
        [OwnedReply::Bulk(member), OwnedReply::Bulk(score)] => {
            let (member, score) = (String::from_utf8_lossy(member), String::from_utf8_lossy(score));
            Ok(json!({ "name": beginning(&member, MEMBER_BYTES_MAX), "score": beginning(&score, 32) }))
        }
        _ => Err("redis answered with something that is no score".to_owned()),
    };
    elements.chunks(2).map(row).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_becomes_rows_or_a_reason() {
        let bulk = |text: &str| OwnedReply::Bulk(text.as_bytes().to_vec());
        let long = "é".repeat(MEMBER_BYTES_MAX);
        let reply = OwnedReply::Array(vec![bulk(&long), bulk("12"), OwnedReply::Bulk(vec![0xff]), bulk("1.5")]);
        let expected = json!([
            { "name": "é".repeat(MEMBER_BYTES_MAX / 2), "score": "12" },
            { "name": "\u{fffd}", "score": "1.5" },
        ]);
        assert_eq!(listed(&reply), Ok(expected));
        for (reply, found) in [
            (OwnedReply::Array(vec![bulk("a")]), "no score"),
            (OwnedReply::Nil, "no list"),
            (OwnedReply::Error(b"WRONGTYPE Operation against a key".to_vec()), "redis: WRONGTYPE"),
        ] {
            let reason = listed(&reply).unwrap_err();
            assert!(reason.contains(found), "{reason}");
        }
    }
}
