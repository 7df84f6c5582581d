//! The commands that the embedded server runs: one table row each, with the name, the number of words, and the function.
//! Pure: no socket, and the time is an argument. Replies and errors are those of Redis, word by word; the differences are
//! a table in the README, and a test compares every row of `testdata/embedded/commands.txt` with a real Redis.
//! Commands: <https://redis.io/docs/latest/commands/>.
//!
//! | file | commands |
//! |---|---|
//! | [`connection`] | AUTH, PING, CLIENT, INFO, ...: about the connection and the server |
//! | [`pubsub`] | SUBSCRIBE, PUBLISH, PUBSUB, ... |
//! | [`keys`] | DEL, EXPIRE, TTL, KEYS, SCAN, ...: about keys of any type |
//! | [`strings`] | GET, SET, INCR, ... |
//! | [`sorted`] | ZADD, ZRANGE, ... |
//! | [`streams`] | XADD, XRANGE, ... |
//! | [`scripts`] | EVAL, EVALSHA, SCRIPT: the scripts of this module, as functions |

use super::number;
use super::session::{Out, Session};
use super::store::{OtherType, Store};

mod connection;
mod keys;
mod pubsub;
mod scripts;
mod sorted;
mod streams;
mod strings;

const SYNTAX: &str = "ERR syntax error";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_FLOAT: &str = "ERR value is not a valid float";
const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_ROOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const ARITY: &str = "ERR wrong number of arguments for '{}' command";

/// `Err` is the text of an error reply, in which `{}` stands for the name of the command. A function that returns an
/// error has written no reply and changed nothing.
type Ran = Result<(), &'static str>;

impl From<OtherType> for &'static str {
    fn from(_: OtherType) -> &'static str {
        WRONG_TYPE
    }
}

/// Numbers for INFO.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commands: u64,
    pub(crate) connections: u64,
    /// Connections beyond the limit.
    pub(crate) refused: u64,
    /// Clients that were cut because they did not read, or held too much memory.
    pub(crate) slow: u64,
    /// Connections that were closed before they logged in.
    pub(crate) strangers: u64,
}

/// Everything that commands use beside the clients.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) counts: Counts,
    /// The password that AUTH expects.
    pub(crate) password: Box<[u8]>,
    /// When the server began, in milliseconds of Unix time.
    pub(crate) began: u64,
    /// Clients that may be logged in at once.
    pub(crate) clients_max: usize,
}

/// One command on its way: its words, and everything that it may read and change.
pub(super) struct Ask<'a> {
    words: &'a [&'a [u8]],
    /// Milliseconds of Unix time.
    now: u64,
    world: &'a mut World,
    me: &'a mut Session,
    /// The other clients.
    others: [&'a mut [Session]; 2],
}

impl<'a> Ask<'a> {
    /// A word, counted from the name; empty if there is none.
    fn word(&self, at: usize) -> &'a [u8] {
        self.words.get(at).copied().unwrap_or_default()
    }

    /// The words from here on.
    fn words_from(&self, at: usize) -> &'a [&'a [u8]] {
        self.words.get(at..).unwrap_or_default()
    }

    /// The first argument, which is a key in most commands.
    fn key(&self) -> &'a [u8] {
        self.word(1)
    }

    fn integer(&self, at: usize) -> Result<i64, &'static str> {
        number::whole(self.word(at)).ok_or(NO_INTEGER)
    }

    fn out(&mut self) -> &mut Out {
        &mut self.me.out
    }

    fn store(&mut self) -> &mut Store {
        &mut self.world.store
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        let [before, behind] = &self.others;
        before.iter().chain(std::iter::once(&*self.me)).chain(behind.iter())
    }
}

/// Whether a word is this one, which is written in capital letters, in any letter case.
fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// One command.
struct Row {
    name: &'static str,
    /// The number of words, the name included; negative: at least so many.
    arity: i8,
    /// It may need memory: refused while there is none.
    grows: bool,
    run: fn(&mut Ask<'_>) -> Ran,
}

const fn row(name: &'static str, arity: i8, run: fn(&mut Ask<'_>) -> Ran) -> Row {
    Row { name, arity, grows: false, run }
}

const fn growing(name: &'static str, arity: i8, run: fn(&mut Ask<'_>) -> Ran) -> Row {
    Row { name, arity, grows: true, run }
}

static TABLE: [Row; 71] = [
    row("AUTH", -2, connection::auth),
    row("CLIENT", -2, connection::client),
    row("COMMAND", -1, connection::command),
    row("CONFIG", -2, connection::config),
    row("ECHO", 2, connection::echo),
    row("INFO", -1, connection::info),
    row("PING", -1, connection::ping),
    row("QUIT", -1, connection::quit),
    row("ROLE", 1, connection::role),
    row("SELECT", 2, connection::select),
    row("TIME", 1, connection::time),
    row("PSUBSCRIBE", -2, pubsub::psubscribe),
    row("PUBLISH", 3, pubsub::publish),
    row("PUBSUB", -2, pubsub::pubsub),
    row("PUNSUBSCRIBE", -1, pubsub::punsubscribe),
    row("SUBSCRIBE", -2, pubsub::subscribe),
    row("UNSUBSCRIBE", -1, pubsub::unsubscribe),
    row("DBSIZE", 1, keys::dbsize),
    row("DEL", -2, keys::del),
    row("EXISTS", -2, keys::exists),
    row("EXPIRE", 3, keys::expire),
    row("EXPIREAT", 3, keys::expireat),
    row("FLUSHALL", -1, keys::flush),
    row("FLUSHDB", -1, keys::flush),
    row("KEYS", 2, keys::keys),
    row("PERSIST", 2, keys::persist),
    row("PEXPIRE", 3, keys::pexpire),
    row("PEXPIREAT", 3, keys::pexpireat),
    row("PTTL", 2, keys::pttl),
    row("SCAN", -2, keys::scan),
    row("TTL", 2, keys::ttl),
    row("TYPE", 2, keys::type_of),
    row("UNLINK", -2, keys::del),
    growing("APPEND", 3, strings::append),
    growing("DECR", 2, strings::decr),
    growing("DECRBY", 3, strings::decrby),
    row("GET", 2, strings::get),
    row("GETDEL", 2, strings::getdel),
    growing("GETSET", 3, strings::getset),
    growing("INCR", 2, strings::incr),
    growing("INCRBY", 3, strings::incrby),
    growing("INCRBYFLOAT", 3, strings::incrbyfloat),
    row("MGET", -2, strings::mget),
    growing("MSET", -3, strings::mset),
    growing("PSETEX", 4, strings::psetex),
    growing("SET", -3, strings::set),
    growing("SETEX", 4, strings::setex),
    growing("SETNX", 3, strings::setnx),
    row("STRLEN", 2, strings::strlen),
    growing("XADD", -5, streams::xadd),
    row("XDEL", -3, streams::xdel),
    row("XLEN", 2, streams::xlen),
    row("XRANGE", -4, streams::xrange),
    row("XREVRANGE", -4, streams::xrevrange),
    growing("ZADD", -4, sorted::zadd),
    row("ZCARD", 2, sorted::zcard),
    row("ZCOUNT", 4, sorted::zcount),
    growing("ZINCRBY", 4, sorted::zincrby),
    row("ZRANGE", -4, sorted::zrange),
    row("ZRANGEBYSCORE", -4, sorted::zrangebyscore),
    row("ZRANK", 3, sorted::zrank),
    row("ZREM", -3, sorted::zrem),
    row("ZREMRANGEBYRANK", 4, sorted::zremrangebyrank),
    row("ZREMRANGEBYSCORE", 4, sorted::zremrangebyscore),
    row("ZREVRANGE", -4, sorted::zrevrange),
    row("ZREVRANGEBYSCORE", -4, sorted::zrevrangebyscore),
    row("ZREVRANK", 3, sorted::zrevrank),
    row("ZSCORE", 3, sorted::zscore),
    // Each script asks for its room.
    row("EVAL", -3, scripts::eval),
    row("EVALSHA", -3, scripts::evalsha),
    row("SCRIPT", -2, scripts::script),
];

/// The names of all commands, for the test that compares each of them with a real Redis.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

/// Runs the command of the client `sessions[at]` and appends its replies to those that wait. `words` has the name first;
/// without words nothing happens.
pub(crate) fn run(world: &mut World, sessions: &mut [Session], at: usize, words: &[&[u8]], now: u64) {
    let (before, rest) = sessions.split_at_mut(at.min(sessions.len()));
    let (Some((me, behind)), Some(name)) = (rest.split_first_mut(), words.first()) else { return };
    me.last = now;
    world.counts.commands += 1;
    let found = TABLE.iter().find(|row| is(name, row.name));
    let mut ask = Ask { words, now, world, me, others: [before, behind] };
    let ran = match found {
        // A web page can make a browser send such a request here; the lines behind it must not run.
        _ if is(name, "POST") || is(name, "HOST:") => {
            ask.me.ends = true;
            return;
        }
        _ if !ask.me.is_logged_in && !found.is_some_and(|row| row.name == "AUTH" || row.name == "QUIT") => {
            Err("NOAUTH Authentication required.")
        }
        None => {
            let name = String::from_utf8_lossy(name.get(..NAME_SHOWN_BYTES).unwrap_or(name)).into_owned();
            return ask.out().error(&format!("ERR unknown command '{name}' for the embedded server of realtime"));
        }
        Some(row) if !has_arity(row.arity, words.len()) => Err(ARITY),
        Some(row) if ask.me.subscriptions() > 0 && !pubsub::ALLOWED.contains(&row.name) => Err(pubsub::NOT_ALLOWED),
        Some(row) if row.grows => room(&mut ask).and_then(|()| (row.run)(&mut ask)),
        Some(row) => (row.run)(&mut ask),
    };
    if let Err(text) = ran {
        let name = found.map_or("", |row| row.name).to_ascii_lowercase();
        ask.out().error(&text.replace("{}", &name));
    }
}

/// Bytes of an unknown command that its error repeats.
const NAME_SHOWN_BYTES: usize = 128;

fn has_arity(arity: i8, words: usize) -> bool {
    let wanted = usize::from(arity.unsigned_abs());
    if arity < 0 { words >= wanted } else { words == wanted }
}

/// An error if the words of the command may not fit the memory.
fn room(ask: &mut Ask<'_>) -> Ran {
    let (words, now) = (ask.words, ask.now);
    let bytes = words.iter().map(|word| word.len()).sum();
    if ask.store().has_room(words.len(), bytes, now) { Ok(()) } else { Err(NO_ROOM) }
}

#[cfg(test)]
pub(super) mod tests;
