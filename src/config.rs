//! Every limit and every option, each in one row with its reason.
//! Pure values: reads no file and no environment itself, it is given their text.
//! Refuses nothing at load: a bad option is reported and its default stands, so a typo never stops a server.

use std::fmt;
use std::time::Duration;

// ---- limits -----------------------------------------------------------------------------------------------

/// Above this no Lua table or chat line is a sensible event: a bigger payload is a caller's bug.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;
/// The member `_rt` that Emit adds to an object, with the fingerprints of the hooks that acted: a receiver accepts this
/// much more than the payload limit.
pub const IDENTITY_BYTES_MAX: usize = 1024;
/// Channels whose events are numbered, and sources (a server's channel) whose numbers a receiver keeps.
pub const NUMBERED_CHANNELS_MAX: usize = 16_384;
/// Longest channel, pattern or listener id. Redis allows more, but a name this long is a payload in the wrong place.
pub const NAME_BYTES_MAX: usize = 1024;

/// Publishes, values and counters waiting for Redis: 8 s of a busy server's traffic while Redis restarts.
pub const OUTBOX_JOBS_MAX: usize = 8192;
pub const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events waiting for Lua: what a server of 66 ticks a second works off in a few ticks.
pub const INBOX_EVENTS_MAX: usize = 8192;
pub const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one queued item costs beside its bytes (its slot, its allocation header), so that many empty ones count too.
pub const ITEM_OVERHEAD_BYTES: usize = 64;
/// Lines for the game console waiting for the next tick; more are dropped (the log file has them).
pub const CONSOLE_LINES_MAX: usize = 64;

/// News for game hooks (a gap, a lost connection) waiting for Lua; equal ones are merged first.
pub const NOTICES_MAX: usize = 256;

/// Nesting of a reply: nothing we send is answered deeper, and scripts of users stay below it.
pub const REPLY_DEPTH_MAX: usize = 8;
/// Elements of one reply: a SCAN or MGET of a million keys; and of one push, which has at most four.
pub const REPLY_ELEMENTS_MAX: usize = 1024 * 1024;
pub const PUSH_ELEMENTS_MAX: usize = 16;
/// A status or error line.
pub const REPLY_LINE_BYTES_MAX: usize = 64 * 1024;
/// One value read from Redis.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One whole reply as it stands in memory.
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Publishes gathered into one socket write.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Depth of a Lua table in Emit; a cycle ends here.
pub const ENCODE_DEPTH_MAX: usize = 32;
/// Values in a Lua table in Emit: the number GMod's own JSON reader stops at.
pub const ENCODE_NODES_MAX: usize = 15_000;
/// Depth of JSON decoded for Lua: deeper text is not refused, it arrives as the raw string.
pub const DECODE_DEPTH_MAX: usize = 128;

/// Connecting to one address of the host, and one blocked write. Name resolution takes what the system lets it take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The whole handshake, TLS included.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle publisher looks whether its connection is still there, and a disconnected one what has expired.
pub const IDLE_CHECK: Duration = Duration::from_secs(1);
/// A connection this long without bytes from Redis is asked for some. Also keeps the ways through a NAT open.
pub const HEARTBEAT: Duration = Duration::from_millis(4800);
/// Silence after which a connection counts as dead, the question included: under 15 s in all. Shorter makes false
/// alarms under `CLIENT PAUSE` and slow commands.
pub const SILENCE_MAX: Duration = Duration::from_millis(3 * 4800);
/// What Redis refuses for the moment (BUSY, LOADING) is asked again after this.
pub const REFUSED_RETRY: Duration = Duration::from_millis(250);
/// A publish waits this long at most for the subscriptions asked for before it.
pub const SETTLE_MAX: Duration = Duration::from_millis(500);
/// After the first tick of a new Lua state, subscriptions of the one before that nobody asked for again are dropped.
pub const KEEP_SUBSCRIPTIONS: Duration = Duration::from_secs(5);
/// Longest wait of `gmod13_close` for what is queued: it may be the end of the process, and Lua cannot tell.
pub const CLOSE_FLUSH_MAX: Duration = Duration::from_millis(1500);

/// The text log's file; the one before it is kept, so the disk holds twice this at most.
pub const LOG_FILE_BYTES_MAX: u64 = 1024 * 1024;

// -- event log --

/// Everything that scripts name by a path is below this, seen from where the server runs.
pub const DATA_FOLDER: &str = "garrysmod/data";
/// Records waiting for `rt-files`: minutes of a busy server's events while a disk does not answer.
pub const EVENTLOG_JOBS_MAX: usize = 65_536;
pub const EVENTLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Reads waiting for `rt-files`. Each answers a callback, and a script with more of them open asks in a loop.
pub const EVENTLOG_READS_MAX: usize = 64;
/// Logs open at once, 60 KiB of memory and two files each; the least recently used is closed for another.
pub const EVENTLOG_OPEN_MAX: usize = 32;
/// Records in memory until they are on disk, of all logs together: what a full disk may hold back, and what an fsync
/// that fails may have to be written again.
pub const EVENTLOG_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same of one log. A log that comes this far is synced before its second is over.
pub const EVENTLOG_LOG_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A segment that a write would take beyond this is rotated first, unless the log says otherwise.
pub const EVENTLOG_SEGMENT_BYTES: u64 = 100_000_000;
/// The least that a log may say: two blocks. Less would make a file of every few events.
pub const EVENTLOG_SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// How often a log is synced by default. What a crash of the machine may cost.
pub const EVENTLOG_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// A log that cannot be written or opened is tried again after this.
pub const EVENTLOG_RETRY: Duration = Duration::from_secs(1);
/// An abandoned segment after a failed fsync is tried again after this at first, and at most this at last.
pub const EVENTLOG_ABANDON_RETRY_MAX: Duration = Duration::from_secs(60);
/// Payloads up to this are taken apart. Longer ones are rare, unlike each other, and would fill a block alone.
pub const EVENTLOG_SHAPED_BYTES_MAX: usize = 12 * 1024;
/// Longest skeleton of an object that is numbered: what a record of two bytes may stand for.
pub const EVENTLOG_SKELETON_BYTES_MAX: usize = 2048;
/// What a record, and all records of one block, may grow to when they are read: no writer makes larger ones, a forged
/// file might try.
pub const EVENTLOG_RECORD_BYTES_MAX: usize = 1024 * 1024;
pub const EVENTLOG_BLOCK_TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest stretch without a line end that is kept as lines: far more than a record.
pub const EVENTLOG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records and bytes of one answer: a Lua table of more would stop the game.
pub const EVENTLOG_READ_RECORDS_MAX: usize = 100_000;
pub const EVENTLOG_READ_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Records taken from the queue before the disk is looked after again.
pub const EVENTLOG_BATCH_JOBS_MAX: usize = 1024;
/// A log that was closed to be written in another format is not closed for that again before this: two hooks that do
/// not agree would make a file of every event.
pub const EVENTLOG_REFORMAT_PAUSE: Duration = Duration::from_secs(60);
/// How long `rt-files` reads for a callback before it looks after its queue again.
pub const EVENTLOG_READ_SLICE: Duration = Duration::from_millis(2);
/// Longest path below `garrysmod/data/`, and longest name in it: with our endings it must fit 255 bytes.
pub const EVENTLOG_PATH_BYTES_MAX: usize = 512;
pub const EVENTLOG_NAME_BYTES_MAX: usize = 200;

const _: () = assert!(PAYLOAD_BYTES_MAX + IDENTITY_BYTES_MAX + NAME_BYTES_MAX < EVENTLOG_RECORD_BYTES_MAX);
const _: () = assert!(EVENTLOG_RECORD_BYTES_MAX < EVENTLOG_LOG_HELD_BYTES_MAX);
const _: () = assert!(EVENTLOG_LOG_HELD_BYTES_MAX < EVENTLOG_HELD_BYTES_MAX);
const _: () = assert!(EVENTLOG_RECORD_BYTES_MAX < EVENTLOG_READ_BYTES_MAX);
// A record takes two bytes of a block at least.
const _: () = assert!(16 * 1024 * EVENTLOG_SKELETON_BYTES_MAX < EVENTLOG_BLOCK_TEXT_BYTES_MAX);
// Escapes make six bytes of one at most.
const _: () = assert!((PAYLOAD_BYTES_MAX + NAME_BYTES_MAX) * 6 < EVENTLOG_LINE_BYTES_MAX);

const _: () = assert!(PAYLOAD_BYTES_MAX + NAME_BYTES_MAX < OUTBOX_BYTES_MAX);
// A decoded event takes at most five bytes for two of its text (`json/tape.rs`), and must fit an empty inbox.
const _: () = assert!(PAYLOAD_BYTES_MAX * 3 + NAME_BYTES_MAX + ITEM_OVERHEAD_BYTES < INBOX_BYTES_MAX);
const _: () = assert!(HEARTBEAT.as_millis() * 3 == SILENCE_MAX.as_millis() && SILENCE_MAX.as_secs() < 15);
const _: () = assert!(ENCODE_DEPTH_MAX < DECODE_DEPTH_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX < VALUE_BYTES_MAX && VALUE_BYTES_MAX < REPLY_BYTES_MAX);

// ---- options ----------------------------------------------------------------------------------------------

/// What a value of an option must be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `redis://[user[:password]@]host[:port][/db]`, or `rediss://` for TLS
    Url,
    /// `true` or `false`
    Switch,
    /// 1 to 32 of `A-Z a-z 0-9 _ . -`
    Name,
    /// At most this many bytes, no control characters.
    Text { bytes_max: usize },
    /// A whole number in this range, in this unit.
    Whole { min: u64, max: u64, unit: &'static str },
}

/// One option: the parser, the README's table and the error texts all come from here.
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// As a user would write it.
    pub default: &'static str,
    pub sentence: &'static str,
}

pub const OPTIONS: &[Row] = &[
    Row {
        name: "redis",
        kind: Kind::Url,
        default: "redis://127.0.0.1:6379",
        sentence: "where Redis is: `redis://[user[:password]@]host[:port][/db]`, or `rediss://...` for TLS",
    },
    Row {
        name: "tls_ca_file",
        kind: Kind::Text { bytes_max: 1024 },
        default: "",
        sentence: "PEM file of further authorities whose certificate Redis may have, beside the public ones",
    },
    Row {
        name: "tls_server_name",
        kind: Kind::Text { bytes_max: 253 },
        default: "",
        sentence: "the name that Redis' certificate must have, if it is not the host of `redis`",
    },
    Row {
        name: "server",
        kind: Kind::Name,
        default: "<host name>-<hostport>",
        sentence: "this server's name, shown to the others",
    },
    Row {
        name: "prefix",
        kind: Kind::Text { bytes_max: 64 },
        default: "",
        sentence: "stands before every channel and key, so that two sets of servers can share one Redis",
    },
    Row {
        name: "identity",
        kind: Kind::Switch,
        default: "true",
        sentence: "whether events carry the member `_rt`: without it no loss and no repeat is noticed",
    },
    Row {
        name: "emit_age_max_s",
        kind: Kind::Whole { min: 1, max: 86_400, unit: "seconds" },
        default: "60",
        sentence: "an event that waited this long for Redis is dropped",
    },
    Row {
        name: "tick_budget_us",
        kind: Kind::Whole { min: 100, max: 20_000, unit: "microseconds" },
        default: "500",
        sentence: "longest time spent on events in one tick",
    },
];

/// The name of the environment variable of an option: `tick_budget_us` is `REALTIME_TICK_BUDGET_US`.
pub fn environment_name(option: &str) -> String {
    format!("REALTIME_{}", option.to_ascii_uppercase())
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub redis: Address,
    pub server: String,
    pub prefix: String,
    pub identity: bool,
    pub emit_age_max: Duration,
    pub tick_budget: Duration,
    pub tls_ca_file: String,
    pub tls_server_name: String,
}

impl Config {
    /// The settings without any file or variable, on the host of this name and the game port given.
    pub fn defaults(host_name: &str, host_port: u16) -> Config {
        Config {
            redis: Address::default(),
            server: default_server_name(host_name, host_port),
            prefix: String::new(),
            identity: true,
            emit_age_max: Duration::from_secs(60),
            tick_budget: Duration::from_micros(500),
            tls_ca_file: String::new(),
            tls_server_name: String::new(),
        }
    }

    /// Applies the options of one JSON object (`garrysmod/cfg/realtime.json`). Every member that is wrong is
    /// reported and skipped.
    pub fn apply_json(&mut self, source: &str, text: &str) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let whole = |found: String| ConfigError { source: source.to_owned(), option: String::new(), found };
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(serde_json::Value::Object(members)) => {
                for (name, value) in members {
                    let text = match value {
                        serde_json::Value::String(text) => text,
                        serde_json::Value::Number(number) => number.to_string(),
                        serde_json::Value::Bool(switch) => switch.to_string(),
                        other => {
                            let found = format!("expected a string, number or boolean, found {}", kind_of(&other));
                            errors.push(ConfigError { source: source.to_owned(), option: name, found });
                            continue;
                        }
                    };
                    errors.extend(self.apply(source, &name, &text).err());
                }
            }
            Ok(other) => errors.push(whole(format!("expected an object, found {}", kind_of(&other)))),
            // serde_json's message carries line and column, never the text itself, which may hold a password.
            Err(err) => errors.push(whole(format!("is not JSON: {err}"))),
        }
        errors
    }

    /// Applies every option that `lookup` knows under its environment name.
    pub fn apply_environment(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for row in OPTIONS {
            if let Some(text) = lookup(&environment_name(row.name)) {
                errors.extend(self.apply("environment", row.name, &text).err());
            }
        }
        errors
    }

    /// Sets one option from its text.
    fn apply(&mut self, source: &str, name: &str, text: &str) -> Result<(), ConfigError> {
        let wrong = |found: String| ConfigError { source: source.to_owned(), option: name.to_owned(), found };
        let Some(row) = OPTIONS.iter().find(|row| row.name == name) else {
            return Err(wrong(match nearest(name) {
                Some(near) => format!("unknown option, did you mean `{near}`?"),
                None => "unknown option".to_owned(),
            }));
        };
        let number = row.kind.check(text).map_err(wrong)?;
        match row.name {
            "redis" => self.redis = Address::parse(text).map_err(wrong)?,
            "server" => self.server = text.to_owned(),
            "prefix" => self.prefix = text.to_owned(),
            "tls_ca_file" => self.tls_ca_file = text.to_owned(),
            "tls_server_name" => self.tls_server_name = text.to_owned(),
            "identity" => self.identity = number == 1,
            "emit_age_max_s" => self.emit_age_max = Duration::from_secs(number),
            "tick_budget_us" => self.tick_budget = Duration::from_micros(number),
            other => return Err(wrong(format!("`{other}` is listed but has no setter"))),
        }
        Ok(())
    }
}

impl Kind {
    /// The number of a `Whole`, 1 for a `Switch` that is on, else 0; or what is wrong with the text.
    fn check(&self, text: &str) -> Result<u64, String> {
        match *self {
            Kind::Url => Ok(0),
            Kind::Switch => match text {
                "true" => Ok(1),
                "false" => Ok(0),
                _ => Err(format!("expected true or false, found {text:?}")),
            },
            Kind::Name if is_server_name(text) => Ok(0),
            Kind::Name => Err("expected 1 to 32 of the characters A-Z a-z 0-9 _ . -".to_owned()),
            Kind::Text { bytes_max } if text.len() > bytes_max => Err(format!("is longer than {bytes_max} bytes")),
            Kind::Text { .. } if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) => {
                Err("holds a control character".to_owned())
            }
            Kind::Text { .. } => Ok(0),
            Kind::Whole { min, max, unit } => match text.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => Err(format!("expected a whole number from {min} to {max} ({unit}), found {text:?}")),
            },
        }
    }
}

/// Whether the text may name a server.
pub fn is_server_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// `<os host name>-<game port>`, with what a server name may not hold replaced.
fn default_server_name(host_name: &str, host_port: u16) -> String {
    let port = host_port.to_string();
    let room = 32 - 1 - port.len();
    let mut name: String = host_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' })
        .take(room)
        .collect();
    if name.is_empty() {
        name.push_str("gmod");
    }
    format!("{name}-{port}")
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// The option whose name is closest, if it is close enough to be what was meant.
fn nearest(name: &str) -> Option<&'static str> {
    OPTIONS.iter().map(|row| (edit_distance(name, row.name), row.name)).min().filter(|near| near.0 <= 3).map(|n| n.1)
}

/// Levenshtein distance in characters.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// An option that was not taken: where it stands, its name, what is wrong. Never holds a password.
#[derive(Debug, PartialEq)]
pub struct ConfigError {
    pub source: String,
    /// Empty when the whole source is unusable.
    pub option: String,
    pub found: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.option.is_empty() {
            true => write!(f, "cannot use {}: {}", self.source, self.found),
            false => write!(f, "cannot use option `{}` of {}: {}", self.option, self.source, self.found),
        }
    }
}

// ---- the address of Redis ---------------------------------------------------------------------------------

/// A text that no log, error or `Debug` may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// For the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where Redis is and how to log in. `Display` is `host:port`.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
    /// `rediss://`
    pub tls: bool,
}

impl Default for Address {
    fn default() -> Address {
        Address { host: "127.0.0.1".to_owned(), port: 6379, user: None, password: None, database: 0, tls: false }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// Reads `redis://[user[:password]@]host[:port][/db]` or `rediss://...`; user and password percent-encoded. The
    /// errors never repeat the text, which may hold a password.
    pub fn parse(url: &str) -> Result<Address, String> {
        let expected = |what: &str| format!("expected redis://[user[:password]@]host[:port][/db], found {what}");
        let (tls, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => {
                return Err(match url.split_once("://") {
                    Some((scheme, _)) if scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                        expected(&format!("scheme `{scheme}`"))
                    }
                    _ => expected("no `redis://` at its start"),
                });
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let mut address = Address { tls, ..Address::default() };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let decode = |text| percent_decode(text).ok_or_else(|| expected("a bad % escape before the @"));
            address.user = Some(decode(user)?).filter(|user| !user.is_empty());
            address.password = Some(decode(password)?).filter(|text| !text.is_empty()).map(Secret::new);
        }
        let (host, port) = split_port(place).ok_or_else(|| expected("an unclosed `[` in the host"))?;
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b)) {
            return Err(expected("no usable host"));
        }
        address.host = host.to_owned();
        if let Some(port) = port {
            address.port = match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(expected("a port that is not 1 to 65535")),
            };
        }
        if !path.is_empty() {
            address.database = path.parse().map_err(|_| expected("a database that is not a whole number"))?;
        }
        Ok(address)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(v6) = place.strip_prefix('[') {
        let (host, rest) = v6.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match place.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((place, None)),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
