//! The limits that several rooms share, each with its reason. A limit that one file uses stands in that file.

use std::time::Duration;

/// Largest payload of an event, in bytes. No sensible Lua table or chat line is larger: it is a caller's bug.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of the member `_rt` that Emit adds to an object. A receiver accepts the payload limit and this.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1024;
/// Channels whose events are numbered, and senders (a server's channel) whose numbers a receiver remembers.
pub(crate) const NUMBERED_CHANNELS_MAX: usize = 16_384;
/// Longest channel, pattern or listener id, in bytes. Redis allows more, but a longer name is a payload in the wrong
/// place.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// Publishes, values and counters that may wait for Redis: 8 s of a busy server's traffic while Redis restarts.
pub const OUTBOX_JOBS_MAX: usize = 8192;
/// What one queued item costs beside its bytes (its slot, its allocation header), so that many empty items count too.
pub(crate) const ITEM_OVERHEAD_BYTES: usize = 64;
/// Levels of nesting in a reply: no command of ours is answered deeper, and users' scripts stay below it.
pub(crate) const REPLY_DEPTH_MAX: usize = 8;
/// Elements of one reply: enough for a SCAN or MGET of a million keys.
pub(crate) const REPLY_ELEMENTS_MAX: usize = 1024 * 1024;
/// Largest value that is read from Redis or written to it, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Callbacks that may wait for the answer to a command.
pub(crate) const CALLBACKS_MAX: usize = 8192;
/// Arguments of one `Command`: as many as a table in Emit may have values.
pub(crate) const COMMAND_ARGUMENTS_MAX: usize = 15_000;
/// Levels of a Lua table in Emit (a cycle ends here), and of JSON decoded for Lua. Deeper JSON is delivered as text.
pub(crate) const ENCODE_DEPTH_MAX: usize = 32;
/// Values in a Lua table in Emit, and in JSON decoded for Lua: the number at which GMod's own JSON reader stops.
pub(crate) const ENCODE_NODES_MAX: usize = 15_000;
/// Levels down to which a text is recognised as JSON at all.
pub(crate) const DECODE_DEPTH_MAX: usize = 128;
/// Longest wait for a connection to one address. Name resolution takes the time that the system lets it take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection without bytes from Redis for this long is sent a PING. It also keeps NAT entries alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(4800);
/// Silence after which a connection counts as lost, the PING included: under 15 s in all. A shorter limit gives false
/// alarms under `CLIENT PAUSE` and slow commands.
pub const SILENCE_MAX: Duration = Duration::from_millis(3 * 4800);
/// Wait before a command is sent again that Redis refused for the moment (BUSY, LOADING).
pub(crate) const REFUSED_RETRY: Duration = Duration::from_millis(250);
/// How long Redis remembers which counter of a process it applied last. A counter whose answer was lost is not retried
/// after half of it.
pub(crate) const COUNTER_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest wait of `gmod13_close` for queued work: it may be the end of the process, and Lua cannot tell.
pub const CLOSE_FLUSH_MAX: Duration = Duration::from_millis(1500);
/// Wait before a log that could not be written or opened is tried again.
pub(crate) const EVENTLOG_RETRY: Duration = Duration::from_secs(1);
/// Most records of one answer: a larger Lua table would stop the game.
pub(crate) const EVENTLOG_READ_RECORDS_MAX: usize = 100_000;
/// Longest text for Discord before it is cut to Discord's limits, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Most events that one window of an aggregator may keep.
pub(crate) const AGGREGATE_EVENTS_MAX: u64 = 100_000;
/// Hooks that an event's identity lists. With more on one channel, all hooks count as having acted.
pub(crate) const ACTED_MAX: usize = 48;
/// How long Redis keeps a lease for its holder.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// How long a lease holder trusts its lease by its own clock: less than [`LEASE`].
pub(crate) const LEASE_OWN: Duration = Duration::from_secs(9);
/// How often a lease holder renews its lease.
pub(crate) const LEASE_RENEWAL: Duration = Duration::from_secs(3);
/// Threads that send requests to any destination. However many destinations hang, those that answer are served.
pub const SENDERS_MAX: usize = 5;
/// Threads beside [`SENDERS_MAX`] that only serve destinations whose last request was answered soon.
pub(crate) const SENDERS_KEPT: usize = 1;
/// Default time for one request, from the look-up to the last byte of the response's head.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one request that a hook may ask for.
pub(crate) const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Age at which a post goes to the dead-letter file.
pub(crate) const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(3600);
/// Memory that the windows of all aggregators may take until their functions have summed them up, in bytes.
pub(crate) const AGGREGATE_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(HEARTBEAT.as_millis() * 3 == SILENCE_MAX.as_millis() && SILENCE_MAX.as_secs() < 15);
const _: () = assert!(ENCODE_DEPTH_MAX < DECODE_DEPTH_MAX);
// The rest of an identity takes some hundred bytes, a fingerprint 17.
const _: () = assert!(128 + ACTED_MAX * 17 < IDENTITY_BYTES_MAX);
const _: () = assert!(LEASE_RENEWAL.as_secs() * 2 < LEASE_OWN.as_secs() && LEASE_OWN.as_secs() < LEASE.as_secs());
const _: () = assert!(REQUEST_TIMEOUT.as_secs() <= REQUEST_TIMEOUT_MAX.as_secs());
// A decoded event takes at most five bytes for two of its text, and must fit.
const _: () = assert!(PAYLOAD_BYTES_MAX * 3 < AGGREGATE_BYTES_MAX);
