//! The limits that several modules share, each with its reason. A limit that only one file uses stands in that file.
//! Pure values. The asserts at the end keep limits apart that depend on each other.

use std::time::Duration;

/// Largest payload of an event, in bytes. No sensible Lua table or chat line is larger: it is a caller's bug.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of the member `_rt` that Emit adds to an object. A receiver accepts the payload limit and this.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1024;
/// Most channels whose events are numbered, and most senders (a server's channel) whose numbers a receiver remembers.
pub(crate) const NUMBERED_CHANNELS_MAX: usize = 16_384;
/// Longest channel, pattern or listener id, in bytes. Redis allows more, but a longer name is probably a payload in the
/// wrong place.
pub const NAME_BYTES_MAX: usize = 1024;
/// Publishes, values and counters that may wait for Redis: 8 s of a busy server's traffic while Redis restarts.
pub const OUTBOX_JOBS_MAX: usize = 8192;
/// Memory that one queued item takes beside its bytes (its slot, its allocation header). With it the byte limits also
/// bound a flood of empty items.
pub(crate) const ITEM_OVERHEAD_BYTES: usize = 64;
/// Levels of nesting in a reply. No reply to a command of this crate is deeper, nor are those to users' scripts.
pub(crate) const REPLY_DEPTH_MAX: usize = 8;
/// Elements of one reply: enough for a SCAN or MGET of a million keys.
pub(crate) const REPLY_ELEMENTS_MAX: usize = 1024 * 1024;
/// Largest value that is read from Redis or written to it, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Callbacks that may wait for the reply to a command.
pub(crate) const CALLBACKS_MAX: usize = 8192;
/// Arguments of one `Command`: as many as a table in Emit may have values.
pub(crate) const COMMAND_ARGUMENTS_MAX: usize = 15_000;
/// Levels of a Lua table in Emit (a cycle ends here), and of JSON decoded for Lua. Deeper JSON is delivered as text.
pub(crate) const ENCODE_DEPTH_MAX: usize = 32;
/// Values in a Lua table in Emit, and in JSON decoded for Lua: the number at which GMod's own JSON reader stops.
pub(crate) const ENCODE_NODES_MAX: usize = 15_000;
/// Levels down to which a text is recognised as JSON at all.
pub(crate) const DECODE_DEPTH_MAX: usize = 128;
/// Longest wait for a connection to one address. This does not include name resolution, whose time the system decides.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this time without bytes from Redis, a connection sends a PING. That also keeps NAT entries alive.
pub const HEARTBEAT: Duration = Duration::from_millis(4800);
/// Silence after which a connection counts as lost, although a PING was sent: under 15 s in all. A shorter limit gives
/// false alarms under `CLIENT PAUSE` and slow commands.
pub const SILENCE_MAX: Duration = Duration::from_millis(3 * 4800);
/// Wait before retrying a command that Redis refused for the moment (BUSY, LOADING).
pub(crate) const REFUSED_RETRY: Duration = Duration::from_millis(250);
/// How long Redis remembers which counter job of a process it applied last. A counter job whose reply was lost is not
/// retried after half of this time, because Redis could have forgotten it and would count it twice.
pub(crate) const COUNTER_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest wait of `gmod13_close` for queued work. The call may be the end of the process or only of the map: Lua cannot
/// tell which.
pub const CLOSE_FLUSH_MAX: Duration = Duration::from_millis(1500);
/// Wait before retrying to open or write an event log after a failure.
pub(crate) const EVENTLOG_RETRY: Duration = Duration::from_secs(1);
/// Most records that one `ReadEventLog` returns. Building a larger Lua table would freeze the game.
pub(crate) const EVENTLOG_READ_RECORDS_MAX: usize = 100_000;
/// Longest rendered text, in bytes. Texts for Discord are cut to Discord's limits afterwards.
pub(crate) const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Most events that one window of an aggregator may keep.
pub(crate) const AGGREGATE_EVENTS_MAX: u64 = 100_000;
/// Most hooks that an event's identity lists with their whole fingerprints (`event/identity.rs` says what follows).
pub(crate) const ACTED_MAX: usize = 48;
/// How long Redis keeps a lease for its holder.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// How long a lease holder trusts its lease by its own clock. This is less than [`LEASE`], so the holder stops before
/// Redis gives the lease to another server.
pub(crate) const LEASE_OWN: Duration = Duration::from_secs(9);
/// How often a lease holder renews its lease.
pub(crate) const LEASE_RENEWAL: Duration = Duration::from_secs(3);
/// How many times longer heartbeats and leases last with the option `thrifty`: a heartbeat each 58 s, which most
/// firewalls and hosts take for a sign of life, and a lease of two minutes.
pub(crate) const THRIFT: u32 = 12;
/// Threads that send requests to any destination. Each sends one request at a time, so this many destinations can hang
/// at once before requests to new destinations have to wait.
pub const SENDERS_MAX: usize = 5;
/// Threads beside [`SENDERS_MAX`], kept for destinations that answered their last request soon. They are served even if
/// all other senders hang.
pub(crate) const SENDERS_KEPT: usize = 1;
/// Default time for one request, from the look-up of the name to the last byte of the response's head.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one request that a hook may ask for.
pub(crate) const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Age at which a post is given up and goes to the dead-letter file, unless its hook asks for another.
pub(crate) const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(3600);
/// Failed attempts after which a post is given up.
pub(crate) const WEBHOOK_ATTEMPTS_MAX: u32 = 20;
/// Longest time that a hook may have its posts repeated: a long weekend.
pub(crate) const WEBHOOK_PATIENCE_MAX: Duration = Duration::from_secs(3 * 86_400);
/// Memory that the windows of all aggregators may take until their functions have summed them up, in bytes.
pub(crate) const AGGREGATE_BYTES_MAX: usize = 16 * 1024 * 1024;
// Two heartbeats fit into the silence, so a lost connection has had a PING without answer.
const _: () = assert!(HEARTBEAT.as_millis() * 3 == SILENCE_MAX.as_millis() && SILENCE_MAX.as_secs() < 15);
const _: () = assert!(ENCODE_DEPTH_MAX < DECODE_DEPTH_MAX);
// One fingerprint takes 17 bytes in the identity, and the rest of the identity some hundred.
const _: () = assert!(128 + ACTED_MAX * 17 < IDENTITY_BYTES_MAX);
// A holder misses two renewals in a row before it stops trusting its lease.
const _: () = assert!(LEASE_RENEWAL.as_secs() * 2 < LEASE_OWN.as_secs() && LEASE_OWN.as_secs() < LEASE.as_secs());
const _: () = assert!(WEBHOOK_AGE_MAX.as_secs() < WEBHOOK_PATIENCE_MAX.as_secs());
const _: () = assert!(REQUEST_TIMEOUT.as_secs() <= REQUEST_TIMEOUT_MAX.as_secs());
// A decoded event takes at most five bytes for two of its text, and must fit.
const _: () = assert!(PAYLOAD_BYTES_MAX * 3 < AGGREGATE_BYTES_MAX);
