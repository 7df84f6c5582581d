//! Every limit and every option, each in one row with its reason.
//! Pure values: reads no file and no environment itself, it is given their text.
//! Refuses nothing at load: a bad option is reported and its default stands, so a typo never stops a server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::config::nearest::{nearest, unknown};

pub(crate) use address::{Address, Secret};
pub(crate) use sources::{Operator, Sources};
pub(crate) use text::decode;

pub(crate) mod address;
pub(crate) mod nearest;
pub(crate) mod sources;
mod text;

// ---- limits -----------------------------------------------------------------------------------------------

/// Above this no Lua table or chat line is a sensible event: a bigger payload is a caller's bug.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;
/// The member `_rt` that Emit adds to an object, with the fingerprints of the hooks that acted: a receiver accepts this
/// much more than the payload limit.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1024;
/// Channels whose events are numbered, and sources (a server's channel) whose numbers a receiver keeps.
pub(crate) const NUMBERED_CHANNELS_MAX: usize = 16_384;
/// Longest channel, pattern or listener id. Redis allows more, but a name this long is a payload in the wrong place.
pub(crate) const NAME_BYTES_MAX: usize = 1024;

/// Publishes, values and counters waiting for Redis: 8 s of a busy server's traffic while Redis restarts.
pub const OUTBOX_JOBS_MAX: usize = 8192;
pub const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events waiting for Lua: what a server of 66 ticks a second works off in a few ticks.
pub const INBOX_EVENTS_MAX: usize = 8192;
pub(crate) const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one queued item costs beside its bytes (its slot, its allocation header), so that many empty ones count too.
pub(crate) const ITEM_OVERHEAD_BYTES: usize = 64;
/// Lines for the game console waiting for the next tick; more are dropped (the log file has them).
pub(crate) const CONSOLE_LINES_MAX: usize = 64;

/// News for game hooks (a gap, a lost connection) waiting for Lua; equal ones are merged first.
pub(crate) const NOTICES_MAX: usize = 256;

/// Nesting of a reply: nothing we send is answered deeper, and scripts of users stay below it.
pub(crate) const REPLY_DEPTH_MAX: usize = 8;
/// Elements of one reply: a SCAN or MGET of a million keys; and of one push, which has at most four.
pub(crate) const REPLY_ELEMENTS_MAX: usize = 1024 * 1024;
pub(crate) const PUSH_ELEMENTS_MAX: usize = 16;
/// A status or error line.
pub(crate) const REPLY_LINE_BYTES_MAX: usize = 64 * 1024;
/// One value read from Redis.
pub(crate) const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One whole reply as it stands in memory.
pub(crate) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Callbacks of commands that Redis has not answered yet, and answers waiting for their tick. An answer that would pass
/// the bytes becomes an error, so that its callback still hears.
pub(crate) const CALLBACKS_MAX: usize = 8192;
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Arguments of one `Command`: as many as a table in Emit may have values.
pub(crate) const COMMAND_ARGUMENTS_MAX: usize = 15_000;

/// Keys that a leaderboard with `*` may match: what is kept of each is a hash, 4 MiB in all.
pub(crate) const BOARD_KEYS_MAX: usize = 262_144;
/// Rows of a leaderboard: more is no board any more.
pub(crate) const BOARD_ROWS_MAX: usize = 10_000;
/// Keys that one SCAN step looks at: some tenths of a millisecond of Redis' time.
pub(crate) const BOARD_STEP_KEYS: usize = 1000;
/// What such a search may take while it lasts, charged to the queue of commands: a few at once.
pub(crate) const BOARD_BYTES: usize = 2 * 1024 * 1024;
/// A write whose answer was lost is sent this often at most.
pub(crate) const WRITE_ATTEMPTS_MAX: u32 = 5;
/// Longest search of such a board, when a callback waits for it.
pub(crate) const BOARD_TIME_MAX: Duration = Duration::from_secs(10);

/// Commands gathered into one socket write.
pub(crate) const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Commands that Redis was asked and has not answered. While it works on one batch the next may be on its way; a
/// reader comes behind no more than that.
pub(crate) const UNANSWERED_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Levels of a Lua table in Emit, where a cycle ends; and of JSON decoded for Lua. Deeper JSON arrives as its text.
pub(crate) const ENCODE_DEPTH_MAX: usize = 32;
/// Values in a Lua table in Emit, and in JSON decoded for Lua: the number GMod's own JSON reader stops at.
pub(crate) const ENCODE_NODES_MAX: usize = 15_000;
/// Levels of a text that can be recognised as JSON at all.
pub(crate) const DECODE_DEPTH_MAX: usize = 128;
/// Making a Lua value out of decoded JSON may take so long in all, and so long more for each value in it; after that,
/// text is delivered instead. Usual is a tenth of a microsecond. Strings with equal hashes make LuaJIT slow.
pub(crate) const BUILD_TIME_MAX: Duration = Duration::from_millis(20);
pub(crate) const BUILD_TIME_PER_VALUE: Duration = Duration::from_micros(10);

/// Connecting to one address of the host, and one blocked write. Name resolution takes what the system lets it take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// One write to Redis that makes progress: 8 MiB through a slow link.
pub(crate) const WRITE_LONGEST: Duration = Duration::from_secs(60);
/// The whole handshake, TLS included.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle publisher looks whether its connection is still there, and a disconnected one what has expired.
pub(crate) const IDLE_CHECK: Duration = Duration::from_secs(1);
/// A connection this long without bytes from Redis is asked for some. Also keeps the ways through a NAT open.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(4800);
/// Silence after which a connection counts as dead, the question included: under 15 s in all. Shorter makes false
/// alarms under `CLIENT PAUSE` and slow commands.
pub const SILENCE_MAX: Duration = Duration::from_millis(3 * 4800);
/// What Redis refuses for the moment (BUSY, LOADING) is asked again after this.
pub(crate) const REFUSED_RETRY: Duration = Duration::from_millis(250);
/// A read with a callback that waited this long for Redis is answered with an error: what it would tell is old news.
pub const READ_AGE_MAX: Duration = Duration::from_secs(5);
/// Redis remembers this long which counter of a process it applied last. A counter whose answer was lost is not sent
/// again when half of it has passed.
pub(crate) const COUNTER_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Settings changed: how long the old connection may take to answer what it was asked.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(1);
/// A publish waits this long at most for the subscriptions asked for before it.
pub const SETTLE_MAX: Duration = Duration::from_millis(500);
/// After the first tick of a new Lua state, subscriptions of the one before that nobody asked for again are dropped.
pub(crate) const KEEP_SUBSCRIPTIONS: Duration = Duration::from_secs(5);
/// Longest wait of `gmod13_close` for what is queued: it may be the end of the process, and Lua cannot tell.
pub const CLOSE_FLUSH_MAX: Duration = Duration::from_millis(1500);

/// `garrysmod/cfg/realtime.json`: some hundred bytes are sensible.
pub(crate) const SETTINGS_BYTES_MAX: usize = 64 * 1024;
/// A file of certificate authorities: the public ones of a system, all together, take some 220 KB.
pub(crate) const CA_FILE_BYTES_MAX: usize = 1024 * 1024;

/// The text log's file; the one before it is kept, so the disk holds twice this at most.
pub(crate) const LOG_FILE_BYTES_MAX: u64 = 1024 * 1024;

// -- event log --

/// Everything that scripts name by a path is below this, seen from where the server runs.
pub(crate) const DATA_FOLDER: &str = "garrysmod/data";
/// Records waiting for `rt-files`: minutes of a busy server's events while a disk does not answer.
pub(crate) const EVENTLOG_JOBS_MAX: usize = 65_536;
pub(crate) const EVENTLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Reads waiting for `rt-files`. Each answers a callback, and a script with more of them open asks in a loop.
pub(crate) const EVENTLOG_READS_MAX: usize = 64;
/// Logs open at once, 60 KiB of memory and two files each; the least recently used is closed for another.
pub(crate) const EVENTLOG_OPEN_MAX: usize = 32;
/// Records in memory until they are on disk, of all logs together: what a full disk may hold back, and what an fsync
/// that fails may have to be written again.
pub(crate) const EVENTLOG_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same of one log. A log that comes this far is synced before its second is over.
pub(crate) const EVENTLOG_LOG_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A segment that a write would take beyond this is rotated first, unless the log says otherwise.
pub(crate) const EVENTLOG_SEGMENT_BYTES: u64 = 100_000_000;
/// The least that a log may say: two blocks. Less would make a file of every few events.
pub(crate) const EVENTLOG_SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// How often a log is synced by default. What a crash of the machine may cost.
pub(crate) const EVENTLOG_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// A log that cannot be written or opened is tried again after this.
pub(crate) const EVENTLOG_RETRY: Duration = Duration::from_secs(1);
/// An abandoned segment after a failed fsync is tried again after this at first, and at most this at last.
pub(crate) const EVENTLOG_ABANDON_RETRY_MAX: Duration = Duration::from_secs(60);
/// Payloads up to this are taken apart. Longer ones are rare, unlike each other, and would fill a block alone.
pub(crate) const EVENTLOG_SHAPED_BYTES_MAX: usize = 12 * 1024;
/// Longest skeleton of an object that is numbered: what a record of two bytes may stand for.
pub(crate) const EVENTLOG_SKELETON_BYTES_MAX: usize = 2048;
/// What a record, and all records of one block, may grow to when they are read: no writer makes larger ones, a forged
/// file might try.
pub(crate) const EVENTLOG_RECORD_BYTES_MAX: usize = 1024 * 1024;
pub(crate) const EVENTLOG_BLOCK_TEXT_BYTES_MAX: usize = 36 * 1024 * 1024;
/// Longest stretch without a line end that is kept as lines: far more than a record.
pub(crate) const EVENTLOG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records and bytes of one answer: a Lua table of more would stop the game.
pub(crate) const EVENTLOG_READ_RECORDS_MAX: usize = 100_000;
pub(crate) const EVENTLOG_READ_BYTES_MAX: usize = EVENTLOG_BLOCK_TEXT_BYTES_MAX;
/// Records taken from the queue before the disk is looked after again.
pub(crate) const EVENTLOG_BATCH_JOBS_MAX: usize = 1024;
/// A log that was closed to be written in another format is not closed for that again before this: two hooks that do
/// not agree would make a file of every event.
pub(crate) const EVENTLOG_REFORMAT_PAUSE: Duration = Duration::from_secs(60);
/// How long `rt-files` reads for a callback before it looks after its queue again.
pub(crate) const EVENTLOG_READ_SLICE: Duration = Duration::from_millis(2);
/// How long `rt-files` opens a log at once: enough for any that has its index. Longer, and it goes on in slices as above.
pub(crate) const EVENTLOG_OPEN_SLICE: Duration = Duration::from_millis(10);
/// How long it waits at the end for logs that are still being opened, so that their records are not lost.
pub(crate) const EVENTLOG_CLOSE_OPENING_MAX: Duration = Duration::from_secs(1);
/// Longest path below `garrysmod/data/`, and longest name in it: with our endings it must fit 255 bytes.
pub(crate) const EVENTLOG_PATH_BYTES_MAX: usize = 512;
pub(crate) const EVENTLOG_NAME_BYTES_MAX: usize = 200;

/// The same once its payloads are decoded, on their way to Lua: some tens of milliseconds of making tables.
pub(crate) const EVENTLOG_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

const _: () = assert!(EVENTLOG_ANSWER_BYTES_MAX + EVENTLOG_RECORD_BYTES_MAX * 3 < ANSWERS_BYTES_MAX);
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
const _: () = assert!(VALUE_BYTES_MAX + NAME_BYTES_MAX < OUTBOX_BYTES_MAX && REPLY_BYTES_MAX <= ANSWERS_BYTES_MAX);
const _: () = assert!(BOARD_STEP_KEYS * 2 < REPLY_ELEMENTS_MAX && BOARD_ROWS_MAX < BOARD_KEYS_MAX);

// ---- limits of hooks and webhooks ---------------------------------------------------------------------------

/// Hooks of one server: each has its lease in Redis, renewed every few seconds.
pub(crate) const HOOKS_MAX: usize = 4096;
/// Names of script files whose newest load is known: far more than a server has that add hooks.
pub(crate) const LOADED_FILES_MAX: usize = 4096;
/// Actions of one conditional hook or aggregator, conditions of one `where`, values of one `one_of`, headers of one
/// request: more is a program, which belongs in Lua.
pub(crate) const ACTIONS_MAX: usize = 16;
pub(crate) const CONDITIONS_MAX: usize = 32;
pub(crate) const ONE_OF_MAX: usize = 256;
pub(crate) const HEADERS_MAX: usize = 32;
/// A template, far longer than the longest text that Discord takes.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 16 * 1024;
/// Placeholders of one template: each looks through the event.
pub(crate) const PLACEHOLDERS_MAX: usize = 256;
/// A text for Discord before it is cut to what Discord takes, and the body of a request made by a template.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024;
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A URL as it is written, its path with the values in it, a header's value: what web servers take by default.
pub(crate) const URL_BYTES_MAX: usize = 2048;
pub(crate) const TARGET_BYTES_MAX: usize = 8192;
pub(crate) const HEADER_BYTES_MAX: usize = 4096;
/// A counter's life and an aggregator's window.
pub(crate) const TTL_S_MAX: u64 = 10 * 366 * 86_400;
pub(crate) const INTERVAL_S_MAX: u64 = 86_400;
/// Events that one window of an aggregator keeps.
pub(crate) const AGGREGATE_EVENTS_MAX: u64 = 100_000;
pub(crate) const AGGREGATE_EVENTS_DEFAULT: u64 = 10_000;

/// Events of this server's own waiting to be acted on: `rt-actions` waits for nothing itself.
pub(crate) const ACTIONS_WAITING_MAX: usize = 8192;
pub(crate) const ACTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Hooks that an event's identity lists. With more on one channel all hooks are taken to have acted.
pub(crate) const ACTED_MAX: usize = 48;
/// How long Redis keeps the right to act for the fleet for one server, when that server gives it up by its own clock,
/// and how often it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const LEASE_OWN: Duration = Duration::from_secs(9);
pub(crate) const LEASE_RENEWAL: Duration = Duration::from_secs(3);
/// Leases asked for in one script.
pub(crate) const LEASE_KEYS_MAX: usize = 256;

/// What waits for one destination, and for all together. The oldest makes room.
pub const WEBHOOK_JOBS_MAX: usize = 1000;
pub(crate) const WEBHOOK_BYTES_MAX: usize = 12 * 1024 * 1024;
/// One post, beside what it was made from. A larger one would have all others make room.
pub(crate) const WEBHOOK_POST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Jobs that `rt-webhooks` has not looked at yet: it does no I/O but to files, and empties this at once. Full, it
/// refuses the newest.
pub(crate) const WEBHOOK_INTAKE_MAX: usize = 8192;
pub(crate) const WEBHOOK_INTAKE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Places that are posted to. One that is at rest is forgotten for a new one.
pub(crate) const DESTINATIONS_MAX: usize = 256;
/// Threads that make requests to any destination, and those beside them that serve only destinations whose last
/// request was answered soon. However many destinations hang, those that answer are served.
pub const SENDERS_MAX: usize = 5;
pub(crate) const SENDERS_KEPT: usize = 1;
/// A request longer than this is ended when another destination waits for its sender. A destination whose last answer
/// took longer has twice that time. So [`SENDERS_MAX`] hung destinations hold up a new one for this long, and for
/// [`CONNECT_TIMEOUT`] more if a connection is still being made, which nothing can end.
pub(crate) const SENDER_HOLD: Duration = Duration::from_secs(3);
/// Name look-ups under way at once: the system may take half a minute for one, and nothing can stop it.
pub(crate) const LOOKUPS_MAX: usize = 16;
/// For this long an address that was found is used again, and much longer if a new look-up fails.
pub(crate) const LOOKUP_FRESH: Duration = Duration::from_secs(30);
/// Hosts whose addresses are kept.
pub(crate) const LOOKUP_HOSTS_MAX: usize = 64;

/// One request from the look-up to the last byte of the answer's head, and the most that a hook may ask for.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The head of an answer decides; this much longer is given to its body, which only explains it.
pub(crate) const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// An answer's head (Discord's has under 2 KiB), its interim heads, and what is kept of its body.
pub(crate) const RESPONSE_HEAD_BYTES_MAX: usize = 16 * 1024;
pub(crate) const RESPONSE_INTERIM_MAX: usize = 4;
pub(crate) const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;

/// The wait before the second attempt; it doubles up to the longest. Taken off at random: up to a half.
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(1);
pub(crate) const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// Older, or tried more often, a message goes to the dead-letter file.
pub(crate) const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(3600);
pub(crate) const WEBHOOK_ATTEMPTS_MAX: u32 = 20;
/// Failures in a row that make a destination known as broken: it never holds the last free sender.
pub(crate) const BROKEN_AFTER: u32 = 3;
/// Failures in a row of one message, each answered by the destination, after which it lets the others pass.
pub(crate) const STEP_BEHIND_AFTER: u32 = 3;
/// Posts in a row that one `http` destination denied (401, 403, 404, 410), after which it rests: first so long, twice
/// as long each time that it denies another one, and this long at most.
pub const DENIED_MAX: u32 = 5;
pub(crate) const REST_FIRST: Duration = Duration::from_secs(60);
pub(crate) const REST_LONGEST: Duration = Duration::from_secs(900);
/// The shortest pause after a rate limit (some servers say 0), the longest that a destination may ask for, and that
/// after a global limit that does not say how long.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(86_400);
pub(crate) const PAUSE_UNSAID: Duration = Duration::from_secs(10);

/// The dead-letter file (the one before it is kept), and the payload shown in one line.
pub(crate) const DEAD_LETTER_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
pub(crate) const DEAD_LETTER_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// The posts kept for the next process. The marks of those that were settled later take less than the posts.
pub(crate) const SPOOL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Processes that share one folder, each with a spool of its own.
pub(crate) const SPOOLS_MAX: usize = 16;

// The rest of an identity takes some hundred bytes, a fingerprint 17.
const _: () = assert!(128 + ACTED_MAX * 17 < IDENTITY_BYTES_MAX);
const _: () = assert!(LEASE_RENEWAL.as_secs() * 2 < LEASE_OWN.as_secs() && LEASE_OWN.as_secs() < LEASE.as_secs());
// What is promised: 16 MiB in all.
const _: () = assert!(WEBHOOK_BYTES_MAX + WEBHOOK_INTAKE_BYTES_MAX == 16 * 1024 * 1024);
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 < WEBHOOK_INTAKE_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 < WEBHOOK_POST_BYTES_MAX && WEBHOOK_POST_BYTES_MAX * 2 < WEBHOOK_BYTES_MAX);
const _: () = assert!(TEMPLATE_BYTES_MAX < TEXT_BYTES_MAX && BODY_BYTES_MAX * 2 < WEBHOOK_POST_BYTES_MAX);
const _: () = assert!(BROKEN_AFTER < WEBHOOK_ATTEMPTS_MAX && SENDERS_MAX > 1 && SENDERS_KEPT > 0);
const _: () = assert!(SENDER_HOLD.as_secs() < REQUEST_TIMEOUT.as_secs() && SENDERS_MAX < LOOKUPS_MAX);
// What waits for a destination that rests is tried before it is too old.
const _: () = assert!(REST_FIRST.as_secs() < REST_LONGEST.as_secs());
const _: () = assert!(REST_LONGEST.as_secs() * 2 < WEBHOOK_AGE_MAX.as_secs());
const _: () = assert!(REQUEST_TIMEOUT.as_secs() <= REQUEST_TIMEOUT_MAX.as_secs());
const _: () = assert!(DEAD_LETTER_PAYLOAD_BYTES_MAX as u64 * 8 < DEAD_LETTER_FILE_BYTES_MAX);

// ---- limits of aggregators ----------------------------------------------------------------------------------

pub(crate) const AGGREGATORS_MAX: usize = 1024;
/// What the windows of all aggregators hold together until their function has summed them up.
pub(crate) const AGGREGATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events put into a function's array in one Call, and their bytes: some tens of microseconds of a tick.
pub(crate) const GATHER_EVENTS_MAX: usize = 32;
pub(crate) const GATHER_BYTES_MAX: usize = 16 * 1024;

// A decoded event takes at most five bytes for two of its text, and must fit.
const _: () = assert!(PAYLOAD_BYTES_MAX * 3 < AGGREGATE_BYTES_MAX);

// ---- options ----------------------------------------------------------------------------------------------

/// What a value of an option must be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `redis://[[user:]password@]host[:port][/db]`, or `rediss://` for TLS
    Url,
    /// `true` or `false`; also `yes`, `no`, `on`, `off`, `1`, `0`
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
        sentence: "where Redis is: `redis://[[user:]password@]host[:port][/db]`, or `rediss://...` for TLS",
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
        name: "webhook_ca_file",
        kind: Kind::Text { bytes_max: 1024 },
        default: "",
        sentence: "PEM file of further authorities that webhooks trust, beside the public ones",
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
    Row {
        name: "sync_timeout_ms",
        kind: Kind::Whole { min: 1, max: 1000, unit: "milliseconds" },
        default: "50",
        sentence: "longest wait of a `Get` without callback, and of all of them together in any second",
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
    pub(crate) server: String,
    pub(crate) prefix: String,
    pub(crate) identity: bool,
    pub(crate) emit_age_max: Duration,
    pub(crate) tick_budget: Duration,
    pub(crate) sync_timeout: Duration,
    pub(crate) tls_ca_file: String,
    pub(crate) tls_server_name: String,
    pub(crate) webhook_ca_file: String,
    /// What is wrong with the operator's settings, a sentence each, the first ones.
    pub(crate) complaints: Vec<String>,
    /// The options of [`LEADING`] that somebody set and nobody understood, and the error.
    not_understood: BTreeMap<&'static str, String>,
    /// Somebody said where Redis is.
    is_redis_named: bool,
}

/// The options that say which data this server shares: without them, or with their defaults, it would read and write
/// those of others.
const LEADING: [&str; 2] = ["prefix", "redis"];

/// Complaints that are kept and said: a file of other things may hold thousands.
const COMPLAINTS_MAX: usize = 16;

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
            sync_timeout: Duration::from_millis(50),
            tls_ca_file: String::new(),
            tls_server_name: String::new(),
            webhook_ca_file: String::new(),
            complaints: Vec::new(),
            not_understood: BTreeMap::new(),
            is_redis_named: false,
        }
    }

    /// Why nothing may connect: somebody named a Redis or a prefix, and it was not understood. A Redis or a prefix that
    /// has less to say is not taken instead.
    pub(crate) fn not_understood(&self) -> Option<&str> {
        self.not_understood.values().next_back().map(String::as_str)
    }

    /// Whether a connection made with `other` is not the one these settings ask for.
    pub(crate) fn needs_other_connection(&self, other: &Config) -> bool {
        let key = |config: &Config| {
            let Config { redis, server, tls_ca_file, tls_server_name, not_understood, .. } = config;
            (redis.clone(), server.clone(), tls_ca_file.clone(), tls_server_name.clone(), not_understood.clone())
        };
        key(self) != key(other)
    }

    /// Whether `other` leads to another Redis, or another database of it. What is not understood leads elsewhere.
    pub(crate) fn is_elsewhere(&self, other: &Config) -> bool {
        let key = |config: &Config| {
            (config.redis.host.clone(), config.redis.port, config.redis.database, config.not_understood().is_some())
        };
        key(self) != key(other)
    }

    /// Applies the options of one JSON object (`garrysmod/cfg/realtime.json`). Every member that is wrong is
    /// reported and skipped.
    pub fn apply_json(&mut self, source: &str, text: &str) -> Vec<ConfigError> {
        match text::members(text) {
            Ok(members) => self.apply_all(source, members.into_iter().map(|member| (member.name, member.value))),
            Err(found) => self.apply_none(source, found),
        }
    }

    /// A whole source that cannot be used: what it says of the Redis is not understood.
    fn apply_none(&mut self, source: &str, found: String) -> Vec<ConfigError> {
        let error = ConfigError { source: source.to_owned(), option: String::new(), found };
        self.not_understood.insert("redis", error.to_string());
        self.redis = Address::unknown();
        vec![error]
    }

    /// Applies every option that `lookup` knows under its environment name.
    pub(crate) fn apply_environment(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Vec<ConfigError> {
        let variables = OPTIONS.iter().map(|row| environment_name(row.name));
        let variables = variables.filter_map(|name| lookup(&name).map(|text| (name, Ok(text))));
        self.apply_all(ENVIRONMENT, variables)
    }

    /// Applies the options of one source, each by itself. An option of [`LEADING`] that is not understood here stays so
    /// until a source above sets it. A name that may only stand for one counts where the option itself is not set; a
    /// variable that may be of another program, where no source sets it.
    fn apply_all(
        &mut self,
        source: &str,
        options: impl Iterator<Item = (String, Result<String, String>)>,
    ) -> Vec<ConfigError> {
        let (mut errors, mut understood) = (Vec::new(), Vec::new());
        let (mut misread, mut misspelt) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in options {
            match value.and_then(|text| self.apply(&name, &text)) {
                Ok(name) => understood.push(name),
                Err(found) => {
                    let error = ConfigError { source: source.to_owned(), option: shown_name(&name), found };
                    let of_name = if row_of(&name).is_some() { &mut misread } else { &mut misspelt };
                    if source != ENVIRONMENT || !self.is_redis_named || !may_be_of_others(&name) {
                        of_name.extend(meant(&name).map(|name| (name, error.to_string())));
                    }
                    errors.push(error);
                }
            }
        }
        for name in LEADING {
            let is_set = understood.contains(&name);
            if let Some(error) = misread.remove(name).or_else(|| misspelt.remove(name).filter(|_| !is_set)) {
                self.not_understood.insert(name, error);
            } else if is_set {
                self.not_understood.remove(name);
            }
        }
        self.is_redis_named |= understood.contains(&"redis");
        if self.not_understood.contains_key("redis") {
            self.redis = Address::unknown();
        }
        errors
    }

    /// Sets one option from its text; its name, or what is wrong.
    fn apply(&mut self, name: &str, text: &str) -> Result<&'static str, String> {
        let Some(row) = row_of(name) else {
            return Err(match meant(name) {
                Some("redis") => format!("unknown option, did you mean `redis`? {WHOLE_ADDRESS}"),
                _ => unknown("option", &plain_name(name), OPTIONS.iter().map(|row| row.name)),
            });
        };
        // Blanks at the ends of a prefix may be meant.
        let text = if row.name == "prefix" { text } else { text.trim() };
        let number = row.kind.check(text)?;
        match row.name {
            "redis" => self.redis = Address::parse(text)?,
            "server" => self.server = text.to_owned(),
            "prefix" => self.prefix = text.to_owned(),
            "tls_ca_file" => self.tls_ca_file = text.to_owned(),
            "tls_server_name" if !text.is_empty() && ServerName::try_from(text).is_err() => {
                return Err("expected a host name or an IP address".to_owned());
            }
            "tls_server_name" => self.tls_server_name = text.to_owned(),
            "webhook_ca_file" => self.webhook_ca_file = text.to_owned(),
            "identity" => self.identity = number == 1,
            "emit_age_max_s" => self.emit_age_max = Duration::from_secs(number),
            "tick_budget_us" => self.tick_budget = Duration::from_micros(number),
            "sync_timeout_ms" => self.sync_timeout = Duration::from_millis(number),
            other => return Err(format!("`{other}` is listed but has no setter")),
        }
        Ok(row.name)
    }
}

/// What is wrong, a sentence each, as far as it is said.
pub(crate) fn sentences(errors: &[ConfigError]) -> Vec<String> {
    let mut said: Vec<String> = errors.iter().take(COMPLAINTS_MAX).map(ToString::to_string).collect();
    if errors.len() > COMPLAINTS_MAX {
        said.push(format!("and {} more", errors.len() - COMPLAINTS_MAX));
    }
    said
}

const ENVIRONMENT: &str = "the environment";
const WHOLE_ADDRESS: &str = "The whole address stands there: redis://:PASSWORD@HOST:6379";

/// A name as options are written: `REALTIME_Tick_Budget_us` is `tick_budget_us`.
fn plain_name(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    name.strip_prefix("realtime_").map_or(name.clone(), str::to_owned)
}

/// The option of this name, in any letter case, also by its environment name.
fn row_of(name: &str) -> Option<&'static Row> {
    let name = plain_name(name);
    OPTIONS.iter().find(|row| row.name == name)
}

/// Names that may stand for the Redis, or for a part that says where it is.
const OF_ADDRESSES: &str = "addr address auth config connection database db host hostname ip options pass passwd \
    password port realtime settings uri url user username";

/// The option of [`LEADING`] that a name is or may stand for.
fn meant(name: &str) -> Option<&'static str> {
    let name = plain_name(name);
    if let Some(row) = row_of(&name) {
        return LEADING.into_iter().find(|leading| *leading == row.name);
    }
    match nearest(&name, OPTIONS.iter().map(|row| row.name)) {
        Some("prefix") => Some("prefix"),
        Some("redis") => Some("redis"),
        _ if name.contains("redis") || may_be_of_others(&name) => Some("redis"),
        _ => None,
    }
}

/// Whether a name that stands for `redis` at most may as well be of another program that is called so.
fn may_be_of_others(name: &str) -> bool {
    let name = plain_name(name);
    OF_ADDRESSES.split_whitespace().any(|word| word == name)
}

/// The name for an error: one that is no word may be something else in the wrong place.
fn shown_name(name: &str) -> String {
    let is_word = name.len() <= 48 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if is_word && !name.is_empty() { name.to_owned() } else { "(no word)".to_owned() }
}

impl Kind {
    /// The number of a `Whole`, 1 for a `Switch` that is on, else 0; or what is wrong with the text.
    fn check(&self, text: &str) -> Result<u64, String> {
        match *self {
            Kind::Url => Ok(0),
            Kind::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(1),
                "false" | "no" | "off" | "0" => Ok(0),
                _ => Err(format!("expected true or false{}", found(text))),
            },
            Kind::Name if is_server_name(text) => Ok(0),
            Kind::Name => Err("expected 1 to 32 of the characters A-Z a-z 0-9 _ . -".to_owned()),
            Kind::Text { bytes_max } if text.len() > bytes_max => Err(format!("is longer than {bytes_max} bytes")),
            Kind::Text { .. } if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) => {
                Err("holds a control character".to_owned())
            }
            Kind::Text { .. } => Ok(0),
            // Some editors and panels write whole numbers as 500.0.
            Kind::Whole { min, max, unit } => match text.strip_suffix(".0").unwrap_or(text).parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => Err(format!("expected a whole number from {min} to {max} ({unit}){}", found(text))),
            },
        }
    }
}

/// The value of an option for an error, if it looks like one and not like something else in the wrong place.
fn found(text: &str) -> String {
    let is_shown = text.len() <= 24 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-., ".contains(&b));
    if is_shown { format!(", found {text:?}") } else { String::new() }
}

/// Whether the text may name a server.
pub(crate) fn is_server_name(text: &str) -> bool {
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

/// An option that was not taken: where it stands, its name, what is wrong. Never holds a password.
#[derive(Debug, PartialEq)]
pub struct ConfigError {
    pub(crate) source: String,
    /// Empty when the whole source is unusable.
    pub(crate) option: String,
    pub(crate) found: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.option.is_empty() {
            write!(f, "cannot use {}: {}", self.source, self.found)
        } else {
            write!(f, "cannot use option `{}` of {}: {}", self.option, self.source, self.found)
        }
    }
}

#[cfg(test)]
mod tests;
