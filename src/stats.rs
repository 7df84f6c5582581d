//! The process's own numbers: for each queue the items offered, delivered and dropped, by reason; counters of events
//! that matter; and how long the pump took.
//! Any thread adds to the counters; nothing here blocks or allocates. They only grow, for the life of the process.
//!
//! The balance that tests check for every queue, whenever it is idle (`waiting` is counted from the queue itself):
//!
//! ```text
//!  in = delivered + dropped (all reasons) + waiting
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows. `Relaxed` is enough: nobody concludes anything about other memory from a count.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// As [`Counter::add`], where one thread at a time adds (under a lock): without a locked instruction.
    pub(crate) fn add_alone(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A group of counters that lists itself for `Stats()`.
pub trait Counters {
    /// The names of the fields in order of declaration, with blanks between them.
    const NAMES: &'static str;

    /// The counts in the same order.
    fn counts(&self) -> Vec<u64>;

    /// Every counter by the name of its field, in order of declaration.
    fn list(&self) -> Vec<(&'static str, u64)> {
        named(Self::NAMES, self.counts())
    }
}

fn named(names: &'static str, counts: Vec<u64>) -> Vec<(&'static str, u64)> {
    names.split_ascii_whitespace().zip(counts).collect()
}

/// Declares a struct of counters, so that `Stats()` lists each by the name of its field. Fields of other types come
/// first, in braces of their own, and are not listed.
macro_rules! counters {
    (
        $(#[$doc:meta])* $group:ident {
            $({ $($(#[$other_doc:meta])* $other:ident: $type:ty,)* })?
            $($(#[$field_doc:meta])* $field:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $group {
            $($($(#[$other_doc])* pub $other: $type,)*)?
            $($(#[$field_doc])* pub $field: Counter,)*
        }

        impl Counters for $group {
            // One text, as a list of texts would take an address of each.
            const NAMES: &'static str = concat!($(stringify!($field), " "),*);

            fn counts(&self) -> Vec<u64> {
                vec![$(self.$field.get(),)*]
            }
        }
    };
}

counters! {
    /// Why an event, a value or a counter did not take effect in Redis.
    OutboxDrops {
        /// Refused at once: the queue was full.
        queue_full,
        /// A publish that waited for Redis longer than `emit_age_max_s` and was never written.
        expired,
        /// Redis answered with an error.
        redis,
        /// Written but not acknowledged before the connection ended, and not safe to repeat: Redis may have it or not.
        unknown,
        /// A read whose reader stopped waiting for the answer.
        timeout,
        /// Not sent before the settings changed to another Redis.
        settings,
    }
}

counters! {
    /// Why an event from Redis did not reach a listener.
    InboxDrops {
        /// The queue was full: this event was the oldest and made room.
        overflow,
        /// It waited for the function of a conditional hook: it found no room, or the hook was removed or replaced, or was
        /// not added again after a map change. The hook did not act.
        undecided,
        /// A duplicate: the event came before, and its sender sent it again.
        repeat,
        /// No listener was left when its turn came.
        no_listener,
        /// Longer than the payload limit; skipped on the wire.
        too_large,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Why the hooks did not act on one of this server's own events.
    ActionDrops {
        /// Refused at once: too many events waited for `rt-actions`.
        queue_full,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Why a collected event did not reach the function of its aggregator.
    AggregateDrops {
        /// Its window had `max_events` already.
        too_many,
        /// The windows of all aggregators together had too many bytes.
        memory_full,
        /// Another server of the fleet is the lease holder and sums this window up.
        other_server,
        /// The new Lua state did not add the aggregator again.
        no_function,
        /// A script removed or replaced the aggregator.
        removed,
        /// Lua had no memory for its values.
        no_memory,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Why the answer of a command did not reach its callback.
    ReplyDrops {
        /// The Lua state that asked has ended.
        no_state,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Why a game hook was not run.
    NoticeDrops {
        /// Too many notices waited.
        queue_full,
        /// It reported a state of the connection that was over.
        outdated,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Why a Discord message or an HTTP request was not delivered.
    WebhookDrops {
        /// Refused when it was handed in: too many waited to be scheduled.
        queue_full,
        /// The event lacks a field that the URL needs, or the message would be empty.
        unmade,
        /// Too many waited for this destination, or on the disk: this one was the oldest and made room.
        overflow,
        /// Older than an hour, or than the hook's `retry_for`.
        expired,
        /// Too many attempts failed.
        attempts,
        /// Refused by the destination.
        refused,
        /// The destination is closed: it refused for good.
        closed,
        /// There are too many destinations.
        crowded,
        /// A text of a status message that a newer one took the place of.
        replaced,
        /// It waited on the disk, and another program changed or removed its file.
        disk,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Why a record did not reach its event log.
    FileDrops {
        /// Refused at once: the queue was full.
        queue_full,
        /// The disk was full, and so was the memory for records that wait for it.
        disk_full,
        /// Another program held a file of the log, and the memory for records that wait was full.
        held,
        /// The log was still being opened, and the memory for records that wait was full.
        opening,
        /// The log cannot be written: a bad path, another process has it, or the file is no event log.
        refused,
        /// The disk had not taken it when its log had to be closed.
        unwritten,
        /// Came after the files were closed.
        closed,
        /// Lost in a panic of the library.
        panic,
    }
}

counters! {
    /// Work and failures of the event logs on the disk.
    FileCounts {
        /// Bytes written into segments; indexes are not counted.
        bytes,
        /// Segments that were full, so that a new one was begun.
        rotations,
        /// Syncs that failed: the segment was left, and a new one begun.
        fsync_errors,
        /// Writes that failed.
        write_errors,
        /// Records that were written again after a failed sync, as the first copy may be lost.
        rewritten,
        /// Indexes that could not be written: reading is slower there.
        index_errors,
        /// Files that another program had cut, lengthened, moved or removed: new ones were begun.
        changed,
        /// Attempts to open, write, rename or remove a file that another program held: they were repeated.
        held,
        /// Logs read for scripts.
        reads,
        /// Damaged places that those reads skipped.
        damaged,
    }
}

/// The numbers of one queue, or of one direction of it.
#[derive(Default)]
pub struct QueueStats<Drops> {
    /// Every item offered, refused ones included.
    pub offered: Counter,
    pub delivered: Counter,
    pub dropped: Drops,
}

counters! {
    /// Everything that the process has counted since it started.
    Stats {
        {
            /// Publishes, values and counters. Delivered: Redis acknowledged it.
            outbox: QueueStats<OutboxDrops>,
            /// Events from Redis. Delivered: every listener was called.
            inbox: QueueStats<InboxDrops>,
            /// News for game hooks. Delivered: the game hook was run.
            notices: QueueStats<NoticeDrops>,
            /// Answers for callbacks. Delivered: the callback was called.
            replies: QueueStats<ReplyDrops>,
            /// This server's own events on which hooks act. Delivered: each action was handed to its worker.
            actions: QueueStats<ActionDrops>,
            /// Events collected by aggregators. Delivered: the function was called with the event's window.
            aggregates: QueueStats<AggregateDrops>,
            /// Discord messages and HTTP requests. Delivered: the destination answered with success.
            webhooks: QueueStats<WebhookDrops>,
            /// Records for event logs. Delivered: written.
            files: QueueStats<FileDrops>,
            file_counts: FileCounts,
        }
        /// Answers replaced by an error because too many bytes waited for the tick.
        replies_too_large,
        /// Readers without callback that waited until their deadline.
        reads_timed_out,
        /// Readers without callback that were refused at once: Redis was silent, or their time of this second was used
        /// up.
        reads_failed_fast,
        /// Actions that could not be made from their event, for example because a key lacks a field.
        actions_unmade,
        /// Parts that Discord messages went without: a URL or color that a field of the event should give, or too long.
        message_parts_left_out,
        /// Functions of conditional hooks that were called.
        conditions,
        /// Those of them that raised an error.
        condition_errors,
        /// Windows whose function was called.
        windows,
        /// Those of them whose function raised an error.
        aggregate_errors,
        /// Lines that could not be written to the dead-letter file.
        dead_letters_lost,
        /// Failed attempts to write or rename the text log, the dead-letter file, a spool or posts on the disk: they were
        /// repeated.
        files_held,
        /// Failed attempts to write the metrics file.
        metrics_unwritten,
        /// Lines of spools and of posts on the disk that could not be read, and files in their place that are none.
        spool_unreadable,
        /// Calls of listeners.
        calls,
        /// Calls of any function of a script that raised an error.
        call_errors,
        /// Connections lost after they were ready, of both kinds.
        reconnects,
        /// Attempts to connect that failed, of both kinds.
        connect_failures,
        /// Commands written again because their connection ended before the answer, or because Redis was busy.
        resent,
        /// Events that Redis keeps (`Keep`), and those that it should have kept and could not.
        kept,
        not_kept,
        /// Events that listeners with `missed` got from streams, and entries there that they had got before.
        caught_up,
        caught_up_repeats,
        /// Places of listeners with `missed` that the stream no longer held (`RealtimeGap` without a number).
        places_lost,
        /// Events without an entry in a stream that a listener with `missed` did not get: too many came while it read, or
        /// they were lost in a panic of the library.
        missed_dropped,
        /// Other servers whose events came, by their names.
        servers_heard,
        /// Events of other servers that never came, by the gaps in their numbers (`RealtimeGap`).
        missed,
        /// Events whose identity names another channel than the one they came on: somebody relayed them.
        relayed,
        /// Emits over a size limit, refused before the queue.
        refused_too_large,
        /// Emits with a value that has no JSON, refused before the queue.
        refused_encode,
        /// Auxiliary commands beside another that Redis refused: a counter's time to live, the end of a hook's lease.
        beside_failures,
        /// Entries among the servers in Redis that no server wrote, each time that they were found.
        presence_skipped,
        /// Events of other servers on which a fleet hook did not act here while no lease holder was known.
        events_without_lease,
        /// Events of other servers on which a fleet hook did not act here although this server holds its lease: the sender
        /// has too many hooks to list them, so it may have acted.
        events_without_list,
        /// Events whose number is higher than any server can reach. They are delivered, but the number is ignored.
        numbers_implausible,
        /// Servers whose numbering was learnt anew: several events came under numbers that were already passed but
        /// never seen.
        numbers_renewed,
        /// Subscriptions that Redis refused.
        subscriptions_refused,
        /// NaN and infinities that were sent as `null`.
        non_finite,
        /// Payloads delivered as strings because they are not JSON.
        raw,
        /// Payloads delivered as strings because they have more values or levels than Emit writes.
        raw_over_limits,
        /// Payloads delivered as strings because their Lua values took too long to build.
        raw_slow,
        /// Panics caught at the Lua edge or in a thread. Each is a bug of this library.
        panics,
        /// Lines of the text log that were held back, as their cause had logged many in ten seconds.
        log_lines_held_back,
        /// Lines that the text log lost, as it could not be written and the memory for waiting lines was full.
        log_lines_lost,
        /// Lines that the console never showed because too many waited; the log file has them.
        console_lines_dropped,
    }
}

/// How often durations occurred, in buckets an eighth of a power of two wide: a percentile is at most 12.5 % too high.
/// It records in constant time and memory, so the pump can measure every event.
pub(crate) struct Histogram {
    counts: Box<[u32; Histogram::BUCKETS]>,
    total: u64,
    /// All durations together, in nanoseconds: enough for five centuries.
    sum_ns: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; Histogram::BUCKETS]), total: 0, sum_ns: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// 8 buckets for each power of two up to 2^40 ns (18 minutes).
    const BUCKETS: usize = 40 * 8;

    /// Counts one duration. Longer ones than the last bucket's count there; the maximum is exact.
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = Histogram::bucket(nanos);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos);
        self.max = self.max.max(duration);
    }

    /// The number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// All durations together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// The number of durations below 2^`exponent` nanoseconds. Exact: no bucket crosses a power of two.
    pub(crate) fn below(&self, exponent: u32) -> u64 {
        let buckets = exponent.saturating_sub(2) as usize * 8;
        self.counts.iter().take(buckets).map(|count| u64::from(*count)).sum()
    }

    /// The longest duration.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// The duration that this share (0 to 1) of all did not exceed: the upper edge of its bucket, at most the maximum.
    /// Zero if there are none.
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

    /// The bucket of a duration. Below 8 ns each nanosecond has one; above, the three bits below the leading one choose
    /// among the eight buckets of a power of two.
    ///
    /// ```text
    /// nanos   0000 0001 0110 ....     exponent 8, three bits 011
    /// bucket  (8 - 2) * 8 + 0b011
    /// ```
    fn bucket(nanos: u64) -> usize {
        let exponent = 63 - (nanos | 1).leading_zeros() as usize;
        let bucket = match exponent {
            0..3 => nanos as usize,
            _ => (exponent - 2) * 8 + (nanos >> (exponent - 3) & 7) as usize,
        };
        bucket.min(Histogram::BUCKETS - 1)
    }

    /// The longest duration of a bucket, in nanoseconds.
    fn upper_edge(bucket: usize) -> u64 {
        match bucket / 8 {
            0 => bucket as u64,
            octave => ((8 + bucket as u64 % 8 + 1) << (octave - 1)) - 1,
        }
    }
}

/// A duration as people say it: `850 us`, `14.6 ms`, `3.2 s`, `3 min`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn people(duration: Duration) -> String {
    let (s, ms) = (duration.as_secs(), duration.as_secs_f64() * 1000.0);
    match s {
        0 if ms < 1.0 => format!("{:.0} us", ms * 1000.0),
        0 => format!("{ms:.1} ms"),
        1..10 => format!("{:.1} s", ms / 1000.0),
        10..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_do() {
        for (micros, said) in [
            (0, "0 us"),
            (999, "999 us"),
            (14_600, "14.6 ms"),
            (3_210_000, "3.2 s"),
            (59_900_000, "59 s"),
            (119_000_000, "119 s"),
            (120_000_000, "2 min"),
            (7_500_000_000, "2 h 5 min"),
            (273_600_000_000, "3 d 4 h"),
        ] {
            assert_eq!(people(Duration::from_micros(micros)), said);
        }
    }

    #[test]
    fn a_duration_lies_within_the_edges_of_its_bucket() {
        for nanos in (0..5000).chain([1 << 20, (1 << 20) + 1, (1 << 35) - 1]) {
            let bucket = Histogram::bucket(nanos);
            assert!(nanos <= Histogram::upper_edge(bucket), "{nanos}");
            assert!(bucket == 0 || nanos > Histogram::upper_edge(bucket - 1), "{nanos}");
        }
        assert_eq!(Histogram::bucket(u64::MAX), Histogram::BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_at_most_an_eighth_too_high() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        (1..=1000).for_each(|us| histogram.record(Duration::from_micros(us)));
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.percentile(share).as_secs_f64() * 1e6;
            assert!((exact..=exact * 1.125).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(histogram.sum(), Duration::from_micros(500_500));
    }

    #[test]
    fn powers_of_two_divide_the_durations_exactly() {
        let mut histogram = Histogram::default();
        let nanos = [0, 7, 8, 1023, 1024, 1025, (1 << 27) - 1, 1 << 27, 1 << 50];
        nanos.iter().for_each(|nanos| histogram.record(Duration::from_nanos(*nanos)));
        for exponent in 3..40 {
            let expected = nanos.iter().filter(|nanos| **nanos < 1 << exponent).count() as u64;
            assert_eq!(histogram.below(exponent), expected, "{exponent}");
        }
    }
}
