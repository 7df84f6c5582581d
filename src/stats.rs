//! Our own numbers: what each queue was offered, handed on and lost, by reason; how long the pump took.
//! Counters are atomics that any thread adds to; nothing here blocks or allocates.
//! At rest, for every queue: `in = delivered + dropped + waiting`, with `waiting` counted from the queue itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a group of counters and lists them by name for `Stats()`.
macro_rules! counters {
    ($(#[$doc:meta])* $group:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $group { $($(#[$field_doc])* pub $field: Counter,)* }

        impl $group {
            /// Every counter with its name, in order of declaration.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.get()),)*]
            }
        }
    };
}

counters! {
    /// Why an event, a value or a counter was lost.
    OutboxDrops {
        /// Refused at once: the queue was full.
        queue_full,
        /// A publish that waited longer than `emit_age_max_s` for Redis, and was never written.
        expired,
        /// Redis answered with an error.
        redis,
        /// Written, never answered, and not to be written again: Redis may have it or not.
        unknown,
        /// A read whose answer nobody waits for any more.
        timeout,
        /// Not sent before the settings led to another Redis.
        settings,
    }
}

counters! {
    /// Why an event from Redis did not reach a listener.
    InboxDrops {
        /// The queue was full: the oldest made room.
        overflow,
        /// The queue was full: the oldest made room, and it waited for the function of a hook, which did not act.
        undecided,
        /// A resend of an event that came before.
        repeat,
        /// Nobody listened any more when its turn came.
        no_listener,
        /// Longer than the payload limit; skipped on the wire.
        too_large,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// Why the hooks of an event of this server's own did not act.
    ActionDrops {
        /// Too many events waited.
        queue_full,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// Why an event of an aggregator did not reach its function.
    AggregateDrops {
        /// Its window had `max_events` already.
        too_many,
        /// The windows of all aggregators had too many bytes.
        memory_full,
        /// Another server of the fleet sums this window up.
        other_server,
        /// The new Lua state did not add the aggregator again.
        no_function,
        /// The aggregator was removed or replaced.
        removed,
        /// Lua had no memory for them.
        no_memory,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// Why the answer of a command did not reach its callback.
    ReplyDrops {
        /// The Lua state that asked is gone.
        no_state,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// Why a game hook was not run.
    NoticeDrops {
        /// Too many waited.
        queue_full,
        /// It spoke of a state of the connection that is past.
        outdated,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// Why a Discord message or request was not delivered.
    WebhookDrops {
        /// Refused when it was handed in: too much waited to be looked at.
        queue_full,
        /// The event lacks what a URL needs, or the message would be empty.
        unmade,
        /// Too much waited: the oldest made room.
        overflow,
        /// Older than an hour.
        expired,
        /// Tried too often.
        attempts,
        /// Refused by the destination.
        refused,
        /// The destination takes nothing any more.
        closed,
        /// There are too many destinations.
        crowded,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// Why a record did not reach its event log.
    FileDrops {
        /// Refused: the queue was full.
        queue_full,
        /// The disk was full, and so was the memory for what it did not take.
        disk_full,
        /// The log cannot be written: a bad path, another process, a file that is no log.
        refused,
        /// The disk had not taken it when its log had to be closed.
        unwritten,
        /// Came after the end.
        closed,
        /// Lost in a panic of ours.
        panic,
    }
}

counters! {
    /// What the event logs did to the disk.
    FileCounts {
        /// Written into segments; indexes are not counted.
        bytes,
        rotations,
        /// Syncs that failed: the segment was left for a new one.
        fsync_errors,
        write_errors,
        /// Records written once more after a failure, so that they are safe.
        rewritten,
        /// Indexes that could not be written: reading is slower there.
        index_errors,
        /// Files that another program had cut, lengthened, moved or removed: new ones were begun.
        changed,
        /// Logs read for scripts, and damaged places met on the way.
        reads,
        damaged,
    }
}

/// One queue, or one direction of it.
#[derive(Default)]
pub struct QueueStats<Drops> {
    /// Everything offered, refused ones included.
    pub offered: Counter,
    pub delivered: Counter,
    pub dropped: Drops,
}

/// What the process counted since it started.
#[derive(Default)]
pub struct Stats {
    /// Publishes, values and counters: delivered means Redis did it.
    pub outbox: QueueStats<OutboxDrops>,
    /// Events: delivered means every listener was called.
    pub inbox: QueueStats<InboxDrops>,
    /// News for game hooks: delivered means the hook was run.
    pub notices: QueueStats<NoticeDrops>,
    /// Answers for callbacks: delivered means it was called.
    pub replies: QueueStats<ReplyDrops>,
    /// Answers that were replaced by an error, as too many bytes waited for the tick.
    pub replies_too_large: Counter,
    /// Readers that waited in vain, and those that did not wait because Redis was silent or their share was used up.
    pub reads_timed_out: Counter,
    pub reads_failed_fast: Counter,
    /// Events of this server's own that hooks act on: delivered means that each action was handed on.
    pub actions: QueueStats<ActionDrops>,
    /// Actions that could not be made from their event: a key lacks a field.
    pub actions_unmade: Counter,
    /// Conditions in Lua that were asked, and those that raised an error.
    pub conditions: Counter,
    pub condition_errors: Counter,
    /// Events collected by aggregators: delivered means that the function was called with it.
    pub aggregates: QueueStats<AggregateDrops>,
    /// Windows whose function was called, and those of them that ended in an error.
    pub windows: Counter,
    pub aggregate_errors: Counter,
    /// Discord messages and requests: delivered means an answer of success.
    pub webhooks: QueueStats<WebhookDrops>,
    /// Lines that could not be written to the dead-letter file; lines of spools that could not be read, and files in
    /// their place that are none.
    pub dead_letters_lost: Counter,
    pub spool_unreadable: Counter,
    /// Records for event logs: delivered means written.
    pub files: QueueStats<FileDrops>,
    pub file_counts: FileCounts,
    /// Listeners called, and those of them that ended in an error.
    pub calls: Counter,
    pub call_errors: Counter,
    /// Connections lost after they were ready, both kinds.
    pub reconnects: Counter,
    /// Attempts to connect that failed, both kinds.
    pub connect_failures: Counter,
    /// Commands written again because their connection ended before the answer, or Redis was busy.
    pub resent: Counter,
    /// Events of other servers that never came, by their numbers, and those told of (`RealtimeGap`).
    pub missed: Counter,
    /// Events with an identity that speaks of another channel: somebody relayed them.
    pub relayed: Counter,
    /// Emits refused before the queue: over a size limit, or with a value that has no JSON.
    pub refused_too_large: Counter,
    pub refused_encode: Counter,
    /// Commands beside another that Redis refused: a counter's time to live, the end of a hook's lease.
    pub beside_failures: Counter,
    /// Events of others on which a fleet hook did not act here while nobody was known to hold its lease.
    pub events_without_lease: Counter,
    /// Events whose number no server reaches: they are delivered, and their number is not believed.
    pub numbers_implausible: Counter,
    /// Sources whose numbers were taken anew, as a row of events came under numbers that were passed but never seen.
    pub numbers_renewed: Counter,
    /// Subscriptions that Redis refused.
    pub subscriptions_refused: Counter,
    /// NaN and infinities sent as `null`.
    pub non_finite: Counter,
    /// Payloads delivered as strings: those that are no JSON, those with more values or levels than Emit writes, and
    /// those of which Lua could not make a value in time.
    pub raw: Counter,
    pub raw_over_limits: Counter,
    pub raw_slow: Counter,
    /// Panics caught at an edge or in a thread: each is a bug of ours.
    pub panics: Counter,
    /// Lines of the text log that were one of many of their cause in ten seconds.
    pub log_lines_held_back: Counter,
    /// Lines the console never saw because too many waited; the log file has them.
    pub console_lines_dropped: Counter,
}

/// How often durations occurred, in buckets an eighth of a power of two wide: percentiles are at most 12.5 % high.
pub(crate) struct Histogram {
    counts: Box<[u32; Histogram::BUCKETS]>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; Histogram::BUCKETS]), total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// 8 buckets for each power of two up to 2^40 ns (18 minutes).
    const BUCKETS: usize = 40 * 8;

    pub(crate) fn record(&mut self, duration: Duration) {
        let bucket = Histogram::bucket(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.max = self.max.max(duration);
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// The duration that this share (0 to 1) of all did not pass: the upper edge of its bucket, at most the maximum.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Duration::from_nanos(Histogram::upper_edge(bucket)).min(self.max);
            }
        }
        self.max
    }

    /// Exponent in the high bits, the three bits below the leading one in the low ones. Under 8 ns: one each.
    fn bucket(nanos: u64) -> usize {
        let exponent = 63 - (nanos | 1).leading_zeros() as usize;
        let bucket = match exponent {
            0..3 => nanos as usize,
            _ => (exponent - 2) * 8 + (nanos >> (exponent - 3) & 7) as usize,
        };
        bucket.min(Histogram::BUCKETS - 1)
    }

    fn upper_edge(bucket: usize) -> u64 {
        match bucket / 8 {
            0 => bucket as u64,
            octave => ((8 + bucket as u64 % 8 + 1) << (octave - 1)) - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for nanos in (0..5000).chain([1 << 20, (1 << 20) + 1, (1 << 35) - 1]) {
            let bucket = Histogram::bucket(nanos);
            assert!(nanos <= Histogram::upper_edge(bucket), "{nanos}");
            assert!(bucket == 0 || nanos > Histogram::upper_edge(bucket - 1), "{nanos}");
        }
        assert_eq!(Histogram::bucket(u64::MAX), Histogram::BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_near() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        (1..=1000).for_each(|us| histogram.record(Duration::from_micros(us)));
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.percentile(share).as_secs_f64() * 1e6;
            assert!((exact..=exact * 1.125).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
    }
}
