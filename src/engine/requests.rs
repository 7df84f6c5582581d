//! The commands of scripts beside events (`Set`, `Get`, `Incr`, `Command`, ...): arguments are checked and become one
//! [`Request`]. Keys get the prefix; values are bytes. Game thread. Pure. Refuses arguments over their limits and
//! commands that would break the module's own connection; the reasons are part of the API.

use std::sync::Arc;
use std::time::Instant;

use crate::config::limits::{
    COMMAND_ARGUMENTS_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, REPLY_ELEMENTS_MAX, VALUE_BYTES_MAX,
};
use crate::engine::refusal::{Refusal, fits};
use crate::event::topic::Topic;
use crate::hooks::status::is_steamid64;
use crate::json::text;
use crate::redis::answer::Expect;
use crate::redis::command::{Command, carries_secret};
use crate::redis::counter::Count;
use crate::redis::kept;
use crate::redis::leaderboard::{BOARD_KEYS_MAX, BOARD_STEP_KEYS, Board};
use crate::redis::presence::Search;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Again, CountJob, Run, Work};

/// Rows in the answer of `GetLeaderboard`: far more than a screen shows.
const BOARD_ROWS_MAX: usize = 10_000;
/// Events in the answer of `History`.
const HISTORY_EVENTS_MAX: i64 = 1000;
// A step of the search is one reply with a name and a value for each key.
const _: () = assert!(BOARD_STEP_KEYS * 2 < REPLY_ELEMENTS_MAX && BOARD_ROWS_MAX < BOARD_KEYS_MAX);

/// One command, checked and ready to be queued.
pub struct Request {
    work: Work,
    /// The name of the API function, as the game hook `RealtimeError` reports it.
    pub(crate) operation: &'static str,
    /// The key as the script named it, without the prefix; for reports.
    pub(crate) target: Box<[u8]>,
    /// The further keys of `Del`.
    more_targets: Vec<Box<[u8]>>,
}

/// Builds requests under the current settings.
pub struct Requests<'a> {
    pub(super) prefix: &'a str,
    /// The key under which Redis keeps the number of this process's last counter (`redis/counter.rs`).
    pub(super) done: &'a Arc<[u8]>,
}

type Made = Result<Request, Refusal>;

impl Request {
    /// The advice for a script whose wait for the answer timed out.
    pub(super) fn advice(&self) -> &'static str {
        match self.work {
            Work::Board(_) => "use a callback, or a leaderboard hook",
            Work::Ask { .. } | Work::Count(_) | Work::Servers(_) => "use a callback",
        }
    }

    /// The job for the publisher.
    pub(super) fn run(self, reply_to: ReplyTo, now: Instant) -> Run {
        let mut run = Run::new(self.work, self.operation, &self.target, reply_to, now);
        run.more_targets = self.more_targets;
        run
    }
}

impl Requests<'_> {
    /// `SET key value`.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Made {
        fits("value", value, VALUE_BYTES_MAX)?;
        Ok(asked("set", key, self.on_key("SET", key)?.arg(value), Expect::Done, Again::Write))
    }

    /// `SETEX key seconds value`.
    pub fn set_ex(&self, key: &[u8], value: &[u8], seconds: f64) -> Made {
        fits("value", value, VALUE_BYTES_MAX)?;
        let seconds = whole("seconds", seconds, 1)?;
        Ok(asked("setex", key, self.on_key("SETEX", key)?.arg_int(seconds).arg(value), Expect::Done, Again::Write))
    }

    /// `GET key`, answered as text.
    pub fn get(&self, key: &[u8]) -> Made {
        Ok(asked("get", key, self.on_key("GET", key)?, Expect::Text, Again::Read))
    }

    /// `GET key`, answered as the Lua values of its JSON.
    pub fn get_table(&self, key: &[u8]) -> Made {
        Ok(asked("gettable", key, self.on_key("GET", key)?, Expect::Json, Again::Read))
    }

    /// `EXPIRE key seconds`. Redis allows zero and negative seconds: they delete the key.
    pub fn expire(&self, key: &[u8], seconds: f64) -> Made {
        let seconds = whole("seconds", seconds, i64::MIN)?;
        Ok(asked("expire", key, self.on_key("EXPIRE", key)?.arg_int(seconds), Expect::Number, Again::Write))
    }

    /// `DEL key ...`. All names together are bounded as one payload is: a script may pass thousands.
    pub fn del(&self, keys: &[&[u8]]) -> Made {
        keys.iter().try_for_each(|key| fits("key", key, NAME_BYTES_MAX))?;
        let bytes = keys.iter().map(|key| key.len()).sum::<usize>();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(Refusal::TooLarge { argument: "list of keys", bytes, max: PAYLOAD_BYTES_MAX });
        }
        let (first, more) = keys.split_first().map_or((&b""[..], &[][..]), |(first, more)| (*first, more));
        let mut command = self.on_key("DEL", first)?;
        for key in more {
            command = command.arg_parts(&[self.prefix.as_bytes(), key]);
        }
        let made = asked("del", first, command, Expect::Number, Again::Write);
        Ok(Request { more_targets: more.iter().map(|key| Box::from(*key)).collect(), ..made })
    }

    /// Adds to a counter. It runs as a numbered script (`redis/counter.rs`), so a retry never counts twice.
    pub fn incr(&self, key: &[u8], by: f64) -> Made {
        fits("key", key, NAME_BYTES_MAX)?;
        if !by.is_finite() {
            return Err(Refusal::Encode(format!("by is {by}, expected a number")));
        }
        let mut digits = Vec::new();
        text::push_decimal(&mut digits, by);
        let by = String::from_utf8_lossy(&digits).into_owned().into_boxed_str();
        let key_on_wire = [self.prefix.as_bytes(), key].concat().into_boxed_slice();
        let count = Count { key: key_on_wire, member: None, by, ttl: 0 };
        let work = Work::Count(CountJob::new(count, Arc::clone(self.done)));
        Ok(Request { work, operation: "incr", target: key.into(), more_targets: Vec::new() })
    }

    /// Any command, in the words of the script and without the prefix, except those that [`forbidden`] names. It is
    /// never sent twice, because its effect is unknown.
    pub fn command(&self, words: &[Vec<u8>]) -> Made {
        let Some((name, arguments)) = words.split_first() else {
            return Err(Refusal::Encode("the command has no name".to_owned()));
        };
        if words.len() > COMMAND_ARGUMENTS_MAX {
            let found = words.len();
            return Err(Refusal::Encode(format!("the command has {found} words, {COMMAND_ARGUMENTS_MAX} are allowed")));
        }
        if let Some(why) = forbidden(name, arguments) {
            let name = String::from_utf8_lossy(name).to_ascii_uppercase();
            return Err(Refusal::Encode(format!("{name} cannot be sent: {why}")));
        }
        let bytes = words.iter().map(Vec::len).sum::<usize>();
        if bytes > VALUE_BYTES_MAX {
            return Err(Refusal::TooLarge { argument: "command", bytes, max: VALUE_BYTES_MAX });
        }
        // Reports name the first argument as the target, unless it may be a password.
        let has_secret = carries_secret(words);
        let command = Command::new(name).args(arguments).with_secret(has_secret);
        let target = arguments.first().filter(|_| !has_secret).map_or(name.as_slice(), Vec::as_slice);
        let target = target.get(..NAME_BYTES_MAX).unwrap_or(target).into();
        let work = Work::Ask { command, expect: Expect::Any, again: Again::Never };
        Ok(Request { work, operation: "command", target, more_targets: Vec::new() })
    }

    /// The first `rows` of a board. A name with one `*` means all counters whose keys match, found by SCAN and MGET;
    /// any other name is a sorted set.
    pub fn leaderboard(&self, board: &[u8], rows: f64) -> Made {
        fits("board", board, NAME_BYTES_MAX)?;
        let rows = whole("n", rows, 1)?;
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        if rows > BOARD_ROWS_MAX {
            return Err(Refusal::Encode(format!("n is {rows}, {BOARD_ROWS_MAX} are allowed")));
        }
        let operation = "getleaderboard";
        if !board.contains(&b'*') {
            let command = self.on_key("ZREVRANGE", board)?.arg("0").arg_int(rows as i64 - 1).arg("WITHSCORES");
            return Ok(asked(operation, board, command, Expect::Ranked, Again::Read));
        }
        let Some(search) = Board::new(self.prefix.as_bytes(), board, rows) else {
            return Err(Refusal::Encode("the board has more than one `*`".to_owned()));
        };
        Ok(Request { work: Work::Board(Box::new(search)), operation, target: board.into(), more_targets: Vec::new() })
    }

    /// All servers that are up.
    pub fn servers(&self) -> Made {
        let work = Work::Servers(Box::new(Search::new(self.prefix, None)));
        Ok(Request { work, operation: "servers", target: Box::default(), more_targets: Vec::new() })
    }

    /// The server with this player.
    pub fn find_player(&self, steamid64: &[u8]) -> Made {
        let player = std::str::from_utf8(steamid64).ok().filter(|text| is_steamid64(text));
        let Some(player) = player else {
            return Err(Refusal::Encode("the steamid64 has other characters than 1 to 20 digits".to_owned()));
        };
        let work = Work::Servers(Box::new(Search::new(self.prefix, Some(player))));
        Ok(Request { work, operation: "findplayer", target: steamid64.into(), more_targets: Vec::new() })
    }

    /// The last `count` events of the stream of this channel (`redis/kept.rs`).
    pub fn history(&self, channel: &[u8], count: f64) -> Made {
        fits("channel", channel, NAME_BYTES_MAX)?;
        let count = whole("n", count, 1)?;
        if count > HISTORY_EVENTS_MAX {
            return Err(Refusal::Encode(format!("n is {count}, {HISTORY_EVENTS_MAX} are allowed")));
        }
        if Topic::new(channel).is_pattern() {
            let channel = String::from_utf8_lossy(channel);
            return Err(Refusal::Encode(format!("`{channel}` is a pattern; name one channel")));
        }
        let command = kept::newest(self.prefix, channel, count);
        Ok(asked("history", channel, command, Expect::History, Again::Read))
    }

    /// The beginning of a command whose first argument is a key.
    fn on_key(&self, name: &str, key: &[u8]) -> Result<Command, Refusal> {
        fits("key", key, NAME_BYTES_MAX)?;
        Ok(Command::new(name).arg_parts(&[self.prefix.as_bytes(), key]))
    }
}

/// The request of a command for one key.
fn asked(operation: &'static str, key: &[u8], command: Command, expect: Expect, again: Again) -> Request {
    Request { work: Work::Ask { command, expect, again }, operation, target: key.into(), more_targets: Vec::new() }
}

/// A whole number from `min` on. Refuses numbers from 2^53 on, where a Lua number cannot tell neighbours apart.
fn whole(argument: &str, number: f64, min: i64) -> Result<i64, Refusal> {
    let whole = number as i64;
    if whole as f64 == number && number.abs() < text::WHOLE_MAX && whole >= min {
        return Ok(whole);
    }
    let expected = if min == i64::MIN { "a whole number".to_owned() } else { format!("a whole number from {min} on") };
    Err(Refusal::Encode(format!("{argument} is {number}, expected {expected}")))
}

const CONNECTION: &str = "it changes the connection that the module itself needs";
const BLOCKS: &str = "it would hold up every other command";

/// Commands that must not be sent whatever their arguments are, each group with its reason. All commands of this server
/// share one connection, in order. Names: <https://redis.io/docs/latest/commands/>.
const FORBIDDEN: [(&str, &str); 4] = [
    ("SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE", "use realtime.On and realtime.Off"),
    ("SELECT AUTH HELLO RESET QUIT MONITOR SYNC PSYNC REPLCONF ASKING READONLY READWRITE", CONNECTION),
    (
        "MULTI EXEC DISCARD WATCH UNWATCH",
        "a transaction belongs to one connection's order of commands, use a script (EVAL)",
    ),
    ("BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF", BLOCKS),
];

/// The reason for which a command must not be sent: its name alone, or its name with an argument.
fn forbidden(name: &[u8], arguments: &[Vec<u8>]) -> Option<&'static str> {
    let is_one_of = |word: &[u8], names: &str| names.split(' ').any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    let first = arguments.first().map_or(&b""[..], Vec::as_slice);
    if let Some((_, why)) = FORBIDDEN.iter().find(|(names, _)| is_one_of(name, names)) {
        Some(why)
    } else if is_one_of(name, "CLIENT") && is_one_of(first, "REPLY TRACKING CACHING")
        || is_one_of(name, "SCRIPT") && is_one_of(first, "DEBUG")
    {
        Some(CONNECTION)
    } else {
        let blocks = is_one_of(name, "XREAD XREADGROUP") && arguments.iter().any(|word| is_one_of(word, "BLOCK"));
        blocks.then_some(BLOCKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').filter(|word| !word.is_empty()).map(|word| word.as_bytes().to_vec()).collect()
    }

    fn with<T>(test: impl FnOnce(Requests<'_>) -> T) -> T {
        test(Requests { prefix: "p:", done: &Arc::from(b"p:rt:done:1".as_slice()) })
    }

    #[test]
    fn commands_that_change_or_block_the_connection_are_refused() {
        for (text, allowed) in [
            ("PING", true),
            ("ZADD k 1 a", true),
            ("client list", true),
            ("XREAD COUNT 1 STREAMS s 0", true),
            ("EVAL x 0", true),
            ("subscribe a", false),
            ("Select 1", false),
            ("MULTI", false),
            ("client reply off", false),
            ("CLIENT TRACKING on", false),
            ("client caching yes", false),
            ("CLIENT ID", true),
            ("client kill TYPE pubsub", true),
            ("CLIENT", true),
            ("script debug yes", false),
            ("SCRIPT DEBUG SYNC", false),
            ("SCRIPT EXISTS x", true),
            ("script load x", true),
            ("SCRIPT", true),
            ("DEBUG SLEEP 0", true),
            ("BLPOP k 0", false),
            ("xread block 0 streams s 0", false),
            ("", false),
        ] {
            assert_eq!(with(|requests| requests.command(&words(text)).is_ok()), allowed, "{text}");
        }
    }

    #[test]
    fn arguments_over_their_limits_are_refused_with_a_stable_code() {
        let long = vec![b'k'; NAME_BYTES_MAX + 1];
        let said = |made: Made| made.err().map_or("made".to_owned(), |refusal| refusal.to_string());
        with(|requests| {
            for (made, expected) in [
                (requests.get(&long), "too_large: the key has 1025 bytes, 1024 are allowed"),
                (requests.del(&[b"a", &long]), "too_large: the key has 1025 bytes"),
                (requests.del(&[[b'k'; 1000].as_slice(); 600]), "too_large: the list of keys has 600000 bytes"),
                (requests.set(b"k", &vec![0; VALUE_BYTES_MAX + 1]), "too_large: the value has 8388609 bytes"),
                (requests.set_ex(b"k", b"v", 0.0), "encode: seconds is 0, expected a whole number from 1 on"),
                (requests.set_ex(b"k", b"v", 1.5), "encode: seconds is 1.5"),
                (requests.expire(b"k", f64::NAN), "encode: seconds is NaN, expected a whole number"),
                (requests.expire(b"k", -1.0), "made"),
                (requests.incr(b"k", f64::INFINITY), "encode: by is inf"),
                (requests.incr(b"k", 0.5), "made"),
                (requests.leaderboard(b"a*b*", 10.0), "encode: the board has more than one `*`"),
                (requests.leaderboard(b"a", 0.0), "encode: n is 0"),
                (requests.history(b"a", 0.0), "encode: n is 0"),
                (requests.history(b"a", 1001.0), "encode: n is 1001, 1000 are allowed"),
                (requests.history(b"a*", 1.0), "encode: `a*` is a pattern; name one channel"),
                (requests.history(b"a", 1000.0), "made"),
                (requests.leaderboard(b"a", 10_001.0), "encode: n is 10001, 10000 are allowed"),
                (
                    requests.find_player(b"STEAM_0:1:1"),
                    "encode: the steamid64 has other characters than 1 to 20 digits",
                ),
                (requests.find_player(b""), "encode: the steamid64"),
                (requests.find_player(b"76561197960287930"), "made"),
                (requests.command(&[vec![b'x'; VALUE_BYTES_MAX + 1]]), "too_large: the command"),
                (requests.command(&vec![vec![b'x']; COMMAND_ARGUMENTS_MAX + 1]), "encode: the command has 15001 words"),
            ] {
                let found = said(made);
                assert!(found.starts_with(expected), "{found}, expected {expected}");
            }
        });
    }
}
