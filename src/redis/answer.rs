//! Turns a reply of Redis into values for Lua: a tape (`json/tape.rs`) that the game thread replays for a callback or a
//! reader. Pure; runs on `rt-publisher`, so that the game thread does not decode, but for the small answer that it waits
//! for itself. Errors are the reason strings of the API and start with their stable code (`redis`, `too_large`,
//! `decode`).
//!
//! | reply | Lua |
//! |---|---|
//! | status, bulk string | string |
//! | integer | number; beyond 2^53, where a Lua number loses digits, a string |
//! | nil | nil |
//! | array | table; a nil inside is `realtime.Null`, an error inside a table with `err` |
//! | error | `nil, reason` |

use crate::json::tape;
use crate::redis::error_reply::ErrorReply;
use crate::redis::history;
use crate::redis::reply::{Array, Reply, TooLarge};

/// The kind of reply that a command's caller expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Any reply that is no error: `true`.
    Done,
    /// The stored bytes, or nil.
    Text,
    /// Stored JSON, decoded; or nil.
    Json,
    /// A number, which Redis may send as text.
    Number,
    /// Any reply, as it is.
    Any,
    /// Members and scores of a sorted set: a map, and a ranked list.
    Ranked,
    /// Entries of a stream of kept events: a list, newest last.
    History,
    /// The same for a listener that reads on: [`history::push_entries`], which is no tape.
    Entries,
}

/// Values for Lua.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The values in their order.
    pub tape: Vec<u8>,
    /// How many values: 1, or 2 for a leaderboard.
    pub values: u8,
}

/// An answer, or a reason that starts with its code.
pub type AnswerResult = Result<Answer, String>;

impl Expect {
    /// Turns the reply to a command into its answer.
    pub(crate) fn read(self, reply: Reply<'_>) -> AnswerResult {
        match reply {
            Reply::Error(text) => return Err(redis_error(text)),
            Reply::TooLarge(lost) => return Err(too_large(lost)),
            _ => {}
        }
        let mut tape = Vec::new();
        match (self, reply) {
            (Expect::Done, _) => tape::push_boolean(&mut tape, true),
            (Expect::Json, Reply::Bulk(text)) => tape::parse(text, &mut tape)
                .map_err(|err| format!("decode: the value has {} bytes and {err}", text.len()))?,
            (Expect::Number, Reply::Bulk(digits)) => push_number(&mut tape, digits),
            (Expect::Ranked, Reply::Array(array)) => return ranked_from(array),
            (Expect::History, Reply::Array(array)) => history::push_events(array, &mut tape),
            (Expect::Entries, Reply::Array(array)) => history::push_entries(array, &mut tape),
            (Expect::Entries, other) => return Err(format!("redis: expected entries, found {}", other.describe())),
            _ => push_any(&mut tape, reply, false),
        }
        Ok(Answer { tape, values: 1 })
    }
}

/// The reason string of an error reply.
pub(crate) fn redis_error(text: &[u8]) -> String {
    format!("redis: {}", ErrorReply::new(text))
}

/// The reason string of a reply that was skipped.
pub(crate) fn too_large(lost: TooLarge<'_>) -> String {
    format!("too_large: the reply has {} bytes and is over {}", lost.bytes(), lost.cap().name())
}

/// A number that Redis sends as text. Text that is no number stays text.
fn push_number(tape: &mut Vec<u8>, digits: &[u8]) {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => tape::push_i64(tape, whole),
        (Err(_), Ok(number)) if text.contains('.') => tape::push_f64(tape, number),
        _ => tape::push_text(tape, digits),
    }
}

/// Any reply. Recursion is bounded by the decoder's depth. An error inside an array is a table with the member `err`,
/// as in Redis' own scripts.
fn push_any(tape: &mut Vec<u8>, reply: Reply<'_>, in_array: bool) {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => tape::push_text(tape, text),
        Reply::Integer(whole) => tape::push_i64(tape, whole),
        Reply::Nil => tape::push_none(tape, in_array),
        Reply::Array(array) => {
            tape::push_array(tape, array.len());
            array.iter().for_each(|element| push_any(tape, element, true));
        }
        Reply::Error(text) => {
            tape::push_object(tape, 1);
            tape::push_text(tape, b"err");
            tape::push_text(tape, text);
        }
        // Only the outermost value can be skipped, and the caller has handled that.
        Reply::TooLarge(lost) => tape::push_text(tape, too_large(lost).as_bytes()),
    }
}

/// Reads `member score member score ...`, the reply to ZREVRANGE WITHSCORES.
fn ranked_from(array: Array<'_>) -> AnswerResult {
    let mut rows = Vec::with_capacity(array.len() / 2);
    let mut elements = array.iter();
    while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
        let score = score.text().and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
        let (Some(member), Some(score)) = (member.text(), score) else {
            return Err("redis: expected members and scores, found something else".to_owned());
        };
        rows.push((member, score));
    }
    Ok(ranked(&rows))
}

/// A leaderboard, best first: `{name = score, ...}` and `{{rank=, name=, score=}, ...}`.
pub(crate) fn ranked<Name: AsRef<[u8]>>(rows: &[(Name, f64)]) -> Answer {
    let mut tape = Vec::new();
    tape::push_object(&mut tape, rows.len());
    for (name, score) in rows {
        tape::push_text(&mut tape, name.as_ref());
        push_score(&mut tape, *score);
    }
    tape::push_array(&mut tape, rows.len());
    for (rank, (name, score)) in (1..).zip(rows) {
        tape::push_object(&mut tape, 3);
        tape::push_text(&mut tape, b"rank");
        tape::push_i64(&mut tape, rank);
        tape::push_text(&mut tape, b"name");
        tape::push_text(&mut tape, name.as_ref());
        tape::push_text(&mut tape, b"score");
        push_score(&mut tape, *score);
    }
    Answer { tape, values: 2 }
}

/// Scores are doubles. A whole score up to 2^53 becomes a whole number, so that it prints without a point.
fn push_score(tape: &mut Vec<u8>, score: f64) {
    match score as i64 {
        whole if whole as f64 == score && whole.unsigned_abs() < 1 << 53 => tape::push_i64(tape, whole),
        _ => tape::push_f64(tape, score),
    }
}

#[cfg(test)]
mod tests;
