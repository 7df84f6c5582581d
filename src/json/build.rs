//! How far the making of a Lua value from a tape has come, so that it can go on in a later tick: which part of the tape
//! is done, and which arrays and objects still lack elements. Pure: `lua/json.rs` makes the values.
//! [`Pace`] says when to look at the clock: often enough that no tick is passed by much, whatever a value costs.

use std::time::{Duration, Instant};

use crate::config::limits::{ENCODE_DEPTH_MAX, REPLY_DEPTH_MAX};

/// Time that making a Lua value out of decoded JSON may take, before its values are counted (see
/// [`BUILD_TIME_PER_VALUE`]). Past it the text is delivered. Strings with equal hashes make LuaJIT slow.
const BUILD_TIME_MAX: Duration = Duration::from_millis(20);
/// Time that each value adds to [`BUILD_TIME_MAX`]. A tenth of a microsecond is usual.
const BUILD_TIME_PER_VALUE: Duration = Duration::from_micros(10);

/// Levels of any tape: those of an event, inside a record of an event log, inside the array of records.
pub(crate) const BUILD_DEPTH_MAX: usize = ENCODE_DEPTH_MAX + 2;
const _: () = assert!(REPLY_DEPTH_MAX <= BUILD_DEPTH_MAX);

/// An array or object that lacks elements.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Open {
    /// Elements or members to come.
    pub(crate) left: u32,
    /// Number of the next element; 0: it is an object.
    pub(crate) next: i32,
}

/// One tape on its way into Lua.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// Bytes of the tape that are done.
    pub(crate) at: usize,
    /// Whole values so far: an answer has two.
    pub(crate) done: u32,
    /// How many of `open` count, outermost first.
    pub(crate) depth: usize,
    pub(crate) open: [Open; BUILD_DEPTH_MAX],
    /// Every table is kept outside the Lua stack from its beginning: set once the making was broken off.
    pub(crate) is_kept: bool,
    /// Values made so far, long texts counted as several; and what they took.
    values: u32,
    spent: Duration,
    /// Lua errors in it, and at which byte the last one was.
    errors: u32,
    error_at: usize,
}

/// What to do after a Lua error in the making: no memory, or an error of some script's `__gc`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterError {
    GoOn,
    GiveUp,
}

impl Build {
    /// Errors without progress in between that end the making.
    const ERRORS_MAX: u32 = 16;

    #[inline]
    pub(crate) fn new() -> Build {
        Build {
            at: 0,
            done: 0,
            depth: 0,
            open: [Open::default(); BUILD_DEPTH_MAX],
            is_kept: false,
            values: 0,
            spent: Duration::ZERO,
            errors: 0,
            error_at: 0,
        }
    }

    /// For another tape.
    pub(crate) fn clear(&mut self) {
        self.restart();
        (self.values, self.spent) = (0, Duration::ZERO);
        self.forget_errors();
    }

    /// Nothing is kept any more.
    pub(crate) fn forget_errors(&mut self) {
        (self.is_kept, self.errors, self.error_at) = (false, 0, 0);
    }

    /// Begins anew, with what it took so far.
    pub(crate) fn restart(&mut self) {
        (self.at, self.done, self.depth) = (0, 0, 0);
    }

    #[inline]
    pub(crate) fn innermost(&self) -> Option<Open> {
        self.open.get(self.depth.checked_sub(1)?).copied()
    }

    /// Values of the innermost array or object were made.
    #[inline]
    pub(crate) fn set_innermost(&mut self, open: Open) {
        if let Some(place) = self.depth.checked_sub(1).and_then(|top| self.open.get_mut(top)) {
            *place = open;
        }
    }

    /// The table of an array or object with so many elements was made.
    #[inline]
    pub(crate) fn opened(&mut self, left: u32, is_object: bool) {
        if let Some(around) = self.depth.checked_sub(1).and_then(|top| self.open.get_mut(top)) {
            around.left = around.left.saturating_sub(1);
            around.next += i32::from(around.next > 0);
        }
        // Deeper than any tape: its elements are left out.
        if let Some(open) = self.open.get_mut(self.depth) {
            *open = Open { left, next: i32::from(!is_object) };
        }
        self.depth += 1;
    }

    /// The innermost array or object has all its elements. True if it is one inside another.
    #[inline]
    pub(crate) fn close(&mut self) -> bool {
        self.depth -= 1;
        let is_inner = self.depth > 0;
        self.done += u32::from(!is_inner);
        is_inner
    }

    /// The tape ends here, which ours do not: what is open stays as it is. Time is not out.
    #[cold]
    pub(crate) fn cut_off(&mut self) -> bool {
        self.open.iter_mut().for_each(|open| open.left = 0);
        false
    }

    /// Tables and values that stand on the Lua stack, or are kept.
    pub(crate) fn standing(&self) -> i32 {
        // Both are below a hundred.
        self.done as i32 + self.depth as i32
    }

    /// Counts a slice of work that made so many values. True if all of them took too long for what they made.
    pub(crate) fn spend(&mut self, took: Duration, values: u32) -> bool {
        self.values = self.values.saturating_add(values);
        self.spent += took;
        self.spent > BUILD_TIME_MAX + BUILD_TIME_PER_VALUE * self.values
    }

    /// Counts a Lua error. Without kept tables all begins anew, with kept ones from now on.
    pub(crate) fn after_error(&mut self) -> AfterError {
        self.errors = if self.at > self.error_at { 1 } else { self.errors + 1 };
        self.error_at = self.at;
        if !std::mem::replace(&mut self.is_kept, true) {
            self.restart();
            self.error_at = 0;
        }
        if self.errors > Build::ERRORS_MAX { AfterError::GiveUp } else { AfterError::GoOn }
    }
}

impl Default for Build {
    fn default() -> Build {
        Build::new()
    }
}

/// How many values a text of so many bytes counts for.
#[inline]
pub(crate) fn weight(bytes: usize) -> u32 {
    1 + (bytes >> 12) as u32
}

/// Looks at the clock now and then, the more often the longer values took.
pub(crate) struct Pace {
    deadline: Instant,
    looked: Instant,
    /// Values between two looks, and those left until the next.
    every: u32,
    left: u32,
    /// Those before the last look.
    made: u32,
}

impl Pace {
    /// A look costs as much as some values.
    pub(crate) const EVERY_MAX: u32 = 16;
    /// Values that took longer are looked at more often.
    const SLOW: Duration = Duration::from_micros(100);
    const FAST: Duration = Duration::from_micros(25);

    /// Until the deadline. `every` is what the pace before came to, as values that are slow come in floods.
    pub(crate) fn new(now: Instant, deadline: Instant, every: u32) -> Pace {
        let every = every.clamp(1, Pace::EVERY_MAX);
        Pace { deadline, looked: now, every, left: every, made: 0 }
    }

    /// For the next call of the tick.
    #[inline]
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.looked, self.left, self.made) = (now, self.every, 0);
    }

    pub(crate) fn every(&self) -> u32 {
        self.every
    }

    /// Values up to the last look, which are counted once.
    pub(crate) fn take_made(&mut self) -> u32 {
        std::mem::take(&mut self.made)
    }

    /// When the clock was looked at last.
    pub(crate) fn looked(&self) -> Instant {
        self.looked
    }

    /// From `began` to the last look. What is far past the deadline is not counted: values that are slow are looked at
    /// often enough, so this thread was off its processor meanwhile.
    pub(crate) fn counted(&self, began: Instant) -> Duration {
        self.looked.min(self.deadline + 2 * Pace::SLOW).saturating_duration_since(began)
    }

    /// A value that counts for so many was made. True if time is out; `clock` is read now and then.
    #[inline]
    pub(crate) fn is_over(&mut self, values: u32, clock: impl FnOnce() -> Instant) -> bool {
        self.left = self.left.saturating_sub(values);
        self.left == 0 && self.look(clock(), values)
    }

    #[cold]
    fn look(&mut self, now: Instant, last: u32) -> bool {
        let took = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        self.made = self.made.saturating_add(self.every.max(last));
        if took > Pace::SLOW {
            // As many as took so long.
            let share = Pace::SLOW.as_secs_f64() / took.as_secs_f64();
            self.every = ((f64::from(self.every) * share) as u32).max(1);
        } else if took < Pace::FAST {
            self.every = (self.every * 2).min(Pace::EVERY_MAX);
        }
        self.left = self.every;
        now >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// Values of one cost until the pace says that time is out: what it took in all, and how often the clock was read.
    fn run(cost: Duration, bytes: usize, every: u32) -> (Duration, u32, u32) {
        let start = Instant::now();
        let mut pace = Pace::new(start, start + 500 * US, every);
        let (mut now, mut looks) = (start, 0);
        loop {
            now += cost;
            let over = pace.is_over(weight(bytes), || {
                looks += 1;
                now
            });
            if over {
                return (now - start, looks, pace.every());
            }
        }
    }

    #[test]
    fn a_tick_is_never_passed_by_more_than_a_millisecond() {
        for cost_ns in [10, 100, 1000, 6000, 20_000, 50_000] {
            let (took, looks, _) = run(Duration::from_nanos(cost_ns), 8, Pace::EVERY_MAX);
            assert!(took <= 1500 * US, "{cost_ns} ns each: {took:?}");
            assert!(u64::from(looks) * 16 * cost_ns <= 1_600_000 + 16 * cost_ns, "{cost_ns} ns each: {looks} looks");
        }
        // The next slice of a flood of slow values begins at the pace that the last one came to.
        let (_, _, every) = run(300 * US, 8, Pace::EVERY_MAX);
        let (took, ..) = run(300 * US, 8, every);
        assert!(every == 1 && took <= 900 * US, "{every}, {took:?}");
        assert!(run(300 * US, 8, 1).0 <= 900 * US);
        assert_eq!(run(Duration::from_nanos(50), 8, 1).2, Pace::EVERY_MAX);
    }

    #[test]
    fn long_texts_count_as_many_values() {
        let (took, ..) = run(100 * US, 512 * 1024, Pace::EVERY_MAX);
        assert_eq!(took, 500 * US);
    }

    #[test]
    fn what_takes_too_long_for_its_values_is_given_up() {
        // Microseconds and values of each slice, and how many slices it is borne.
        for (micros, values, slices) in [(500, 10, 50), (500, 49, 2000), (500, 50, u64::MAX), (500, 5000, u64::MAX)] {
            let mut build = Build::new();
            let given_up = (1..10_000).find(|_| build.spend(micros * US, values));
            assert_eq!(given_up.unwrap_or(u64::MAX), slices.saturating_add(1), "{values} values a slice");
        }
    }

    #[test]
    fn a_thread_off_its_processor_is_not_slow() {
        let start = Instant::now();
        let mut pace = Pace::new(start, start + 500 * US, 1);
        assert!(pace.is_over(1, || start + Duration::from_secs(1)));
        assert_eq!(pace.counted(start), 700 * US);
        let mut pace = Pace::new(start, start + 500 * US, 1);
        assert!(!pace.is_over(1, || start + 300 * US));
        assert_eq!(pace.counted(start), 300 * US);
    }

    #[test]
    fn errors_end_it_only_without_progress() {
        let mut build = Build { at: 70, done: 1, depth: 2, ..Build::new() };
        assert_eq!(build.after_error(), AfterError::GoOn);
        assert_eq!((build.at, build.done, build.depth, build.is_kept), (0, 0, 0, true));
        // An error at each byte.
        for at in 1..100 {
            build.at = at;
            assert_eq!(build.after_error(), AfterError::GoOn);
            assert_eq!(build.at, at);
        }
        for _ in 1..Build::ERRORS_MAX {
            assert_eq!(build.after_error(), AfterError::GoOn);
        }
        assert_eq!(build.after_error(), AfterError::GiveUp);
    }
}
