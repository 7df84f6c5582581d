//! Panics on demand, so that tests can reach every place that has to survive a panic.
//! Any thread. Debug builds only: in a release build a fail point compiles to nothing.

use std::sync::atomic::{AtomicU32, Ordering};

/// Panics if the environment variable `REALTIME_TEST_PANIC` names this place: `pump` panics always, `pump*3` the first
/// three times.
#[inline]
pub(crate) fn fail_point(name: &str) {
    if cfg!(debug_assertions) {
        reach(name);
    }
}

/// The part that only debug builds run. The count is shared by all places, because the variable names only one.
fn reach(name: &str) {
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("REALTIME_TEST_PANIC") else { return };
    let (place, times) = wanted.split_once('*').unwrap_or((&wanted, ""));
    if place == name {
        let reached = REACHED.fetch_add(1, Ordering::Relaxed);
        assert!(times.parse().is_ok_and(|times: u32| reached >= times), "fail point {name}");
    }
}
