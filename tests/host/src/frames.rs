//! The durations of frames: a ring of the newest ones for percentiles, and the maximum and number of all.
//! Main thread. All memory is allocated at the start, so that measuring never grows the process.

use std::time::Duration;

/// About a quarter of an hour at the game's rate: long enough for percentiles of a soak, half a MiB.
const FRAMES_KEPT_MAX: usize = 1 << 16;

pub(crate) struct Frames {
    ring_ns: Vec<u64>,
    count: u64,
    max_ns: u64,
}

/// Percentiles are over the newest 65,536 frames, `count` and `max_us` over all since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameStats {
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Frames {
    pub(crate) fn new() -> Frames {
        // Ones, not zeroes, so that the pages are touched now and not one by one while a test watches the process size.
        Frames { ring_ns: vec![1; FRAMES_KEPT_MAX], count: 0, max_ns: 0 }
    }

    pub(crate) fn add(&mut self, work: Duration) {
        let ns = u64::try_from(work.as_nanos()).unwrap_or(u64::MAX);
        self.ring_ns[(self.count % FRAMES_KEPT_MAX as u64) as usize] = ns;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub(crate) fn reset(&mut self) {
        self.count = 0;
        self.max_ns = 0;
    }

    pub(crate) fn stats(&self) -> FrameStats {
        let kept = self.count.min(FRAMES_KEPT_MAX as u64) as usize;
        if kept == 0 {
            return FrameStats::default();
        }
        let mut sorted = self.ring_ns[..kept].to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| us(sorted[(kept * percent).div_ceil(100).saturating_sub(1)]);
        FrameStats { count: self.count, p50_us: at(50), p99_us: at(99), max_us: us(self.max_ns) }
    }
}

/// Microseconds with one decimal.
fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut frames = Frames::new();
        assert_eq!(frames.stats(), FrameStats::default());
        (1..=100).for_each(|us| frames.add(Duration::from_micros(us)));
        assert_eq!(frames.stats(), FrameStats { count: 100, p50_us: 50.0, p99_us: 99.0, max_us: 100.0 });
        frames.reset();
        frames.add(Duration::from_nanos(2_340));
        assert_eq!(frames.stats(), FrameStats { count: 1, p50_us: 2.3, p99_us: 2.3, max_us: 2.3 });
    }

    #[test]
    fn the_ring_forgets_the_oldest_but_not_the_maximum() {
        let mut frames = Frames::new();
        frames.add(Duration::from_millis(9));
        (0..FRAMES_KEPT_MAX).for_each(|_| frames.add(Duration::from_micros(3)));
        let stats = frames.stats();
        assert_eq!((stats.p99_us, stats.max_us, stats.count), (3.0, 9000.0, FRAMES_KEPT_MAX as u64 + 1));
    }
}
