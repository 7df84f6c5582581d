//! [`MetricsDesk`], the place where the game thread leaves its own numbers for the metrics file: the durations of the
//! pump, which no other thread may read. `rt-files` asks and takes them. Nobody waits here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::io::lock::lock;
use crate::stats::Histogram;

/// The edges of the pump's buckets are 2^n ns for these n: 4 us to 134 ms. The budget of a tick is 500 us unless an owner
/// changes it, and a tick of the game has 15 ms.
const EDGES: std::ops::RangeInclusive<u32> = 12..=27;

/// The durations of the ticks' work so far.
#[derive(Clone)]
pub(crate) struct PumpNumbers {
    /// Upper edge of each bucket, and the number of durations up to it.
    pub(crate) buckets: Vec<(Duration, u64)>,
    pub(crate) count: u64,
    pub(crate) sum: Duration,
}

impl PumpNumbers {
    pub(crate) fn of(times: &Histogram) -> PumpNumbers {
        let bucket = |exponent| (Duration::from_nanos((1_u64 << exponent) - 1), times.below(exponent));
        PumpNumbers { buckets: EDGES.map(bucket).collect(), count: times.count(), sum: times.sum() }
    }
}

/// The handle that both threads share.
#[derive(Default)]
pub(crate) struct MetricsDesk {
    is_asked: AtomicBool,
    told: Mutex<Option<PumpNumbers>>,
}

impl MetricsDesk {
    /// Asks the game thread for its numbers. The caller makes the pump look.
    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Release);
    }

    /// Leaves the game thread's numbers here if they were asked for. One load in a tick that has work.
    pub(crate) fn answer(&self, times: &Histogram) {
        if self.is_asked.load(Ordering::Acquire) {
            self.is_asked.store(false, Ordering::Release);
            *lock(&self.told) = Some(PumpNumbers::of(times));
        }
    }

    /// The last numbers. `None`: no tick has told any yet.
    pub(crate) fn told(&self) -> Option<PumpNumbers> {
        lock(&self.told).clone()
    }
}
