//! The progress of making a Lua value from a tape, so that the making can stop at the end of a tick and go on in a
//! later one. [`Build`] holds the position on the tape and the containers that are still open; [`Pace`] says when to
//! stop. Used on the game thread by `lua/decode.rs`, which makes the values. Pure: knows no Lua, and clocks are
//! arguments. It guarantees that no tick is exceeded by much, whatever a value costs, and that no tape is worked on for
//! ever.

use std::time::{Duration, Instant};

use crate::config::limits::{ENCODE_DEPTH_MAX, REPLY_DEPTH_MAX};

/// Base of the time that making a Lua value from a tape may take in all. [`BUILD_TIME_PER_VALUE`] is added for each
/// value. A payload beyond it is delivered as text: LuaJIT takes very long for many strings with equal hashes, and a
/// sender can choose such strings.
const BUILD_TIME_MAX: Duration = Duration::from_millis(20);
/// Time that each value adds to [`BUILD_TIME_MAX`]: a hundred times the usual tenth of a microsecond, so that only
/// values that are slow in themselves exceed it.
const BUILD_TIME_PER_VALUE: Duration = Duration::from_micros(10);

/// Most levels of any tape. The deepest are answers of `ReadEventLog`: an array of records, a record, and in it the
/// levels of an event.
pub(crate) const BUILD_DEPTH_MAX: usize = ENCODE_DEPTH_MAX + 2;
const _: () = assert!(REPLY_DEPTH_MAX <= BUILD_DEPTH_MAX);

/// An array or object whose table exists and still lacks elements.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Open {
    /// Elements or members to come.
    pub(crate) left: u32,
    /// Lua index of the next element, from 1. 0 marks an object.
    pub(crate) next: i32,
}

/// The progress of one tape into Lua.
///
/// ```text
///  {"a":[1,2,3]}   after 1:  at = behind the 1, done = 0, depth = 2,
///                            open = [object: left 0, array: left 2, next 2]
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// Bytes of the tape that were made into values.
    pub(crate) at: usize,
    /// Outermost values that are whole. Most tapes have one; the answer of a leaderboard has two.
    pub(crate) done: u32,
    /// Open containers. The first `depth` entries of `open` are in use, outermost first.
    pub(crate) depth: usize,
    pub(crate) open: [Open; BUILD_DEPTH_MAX],
    /// True once the making was interrupted: every table and whole value is then kept outside the Lua stack, too.
    pub(crate) is_kept: bool,
    /// Values made so far; a long text counts as several ([`weight`]).
    values: u32,
    /// Time that making them took.
    spent: Duration,
    /// Lua errors without progress in between.
    errors: u32,
    /// Byte of the tape at the last error.
    error_at: usize,
}

/// The next step after a Lua error in the making. Such an error means that Lua has no memory, or that the `__gc` of a
/// script failed; the tape is not at fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterError {
    /// Try again at once, from where [`Build`] stands.
    GoOn,
    /// Give the value up.
    GiveUp,
}

impl Build {
    /// Errors without progress in between after which the value is given up. With progress in between, the making ends
    /// anyway, because the tape does.
    const ERRORS_MAX: u32 = 16;

    /// The progress of a tape of which nothing was made.
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

    /// Makes it a new build, for another tape.
    pub(crate) fn clear(&mut self) {
        self.restart();
        (self.values, self.spent) = (0, Duration::ZERO);
        self.forget_errors();
    }

    /// Notes that no value is kept outside the stack any more, and forgets the errors.
    pub(crate) fn forget_errors(&mut self) {
        (self.is_kept, self.errors, self.error_at) = (false, 0, 0);
    }

    /// Goes back to the start of the tape. The time and the values so far still count, so that a tape that starts over
    /// again and again ends.
    pub(crate) fn restart(&mut self) {
        (self.at, self.done, self.depth) = (0, 0, 0);
    }

    /// The innermost open container, if any.
    #[inline]
    pub(crate) fn innermost(&self) -> Option<Open> {
        self.open.get(self.depth.checked_sub(1)?).copied()
    }

    /// Updates the innermost open container, after values of it were made.
    #[inline]
    pub(crate) fn set_innermost(&mut self, open: Open) {
        if let Some(place) = self.depth.checked_sub(1).and_then(|top| self.open.get_mut(top)) {
            *place = open;
        }
    }

    /// Notes a new table, for an array or object of `left` elements or members. The container around it lacks one
    /// element less.
    #[inline]
    pub(crate) fn opened(&mut self, left: u32, is_object: bool) {
        if let Some(around) = self.depth.checked_sub(1).and_then(|top| self.open.get_mut(top)) {
            around.left = around.left.saturating_sub(1);
            around.next += i32::from(around.next > 0);
        }
        // A container deeper than any tape has no entry, so its elements would be left out.
        if let Some(open) = self.open.get_mut(self.depth) {
            *open = Open { left, next: i32::from(!is_object) };
        }
        self.depth += 1;
    }

    /// Closes the innermost container, which has all its elements. True if it is inside another one.
    #[inline]
    pub(crate) fn close(&mut self) -> bool {
        self.depth -= 1;
        let is_inner = self.depth > 0;
        self.done += u32::from(!is_inner);
        is_inner
    }

    /// Ends all open containers as they are, because the tape is cut off. `tape::parse` never writes such a tape.
    /// Returns false for "time is not out".
    #[cold]
    pub(crate) fn cut_off(&mut self) -> bool {
        self.open.iter_mut().for_each(|open| open.left = 0);
        false
    }

    /// Number of whole values and open tables on the Lua stack, or kept outside it.
    pub(crate) fn standing(&self) -> i32 {
        // The casts are safe: both numbers are below a hundred.
        self.done as i32 + self.depth as i32
    }

    /// Counts a slice of work that took so long and made so many values ([`Pace::take_made`]). True if all slices together exceed the time
    /// ([`BUILD_TIME_MAX`]) for their values.
    pub(crate) fn spend(&mut self, (took, values): (Duration, u32)) -> bool {
        self.values = self.values.saturating_add(values);
        self.spent += took;
        self.spent > BUILD_TIME_MAX + BUILD_TIME_PER_VALUE * self.values
    }

    /// Counts a Lua error, and says how to go on. The error cleared the Lua stack: if the tables were not kept, the
    /// making starts over, and keeps them from now on; if they were kept, it goes on from the last one.
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

/// The number of values that a text counts for: one, and one more for each 4 KiB, because Lua copies and hashes it.
#[inline]
pub(crate) fn weight(bytes: usize) -> u32 {
    1 + (bytes >> 12) as u32
}

/// Decides when to read the clock while values are made, and whether the deadline has passed. Reading it after each
/// value would cost more than the values; so it is read after `every` values, and `every` adapts to their cost:
///
/// ```text
///  time since the last look   > SLOW              every shrinks in proportion, down to 1
///                             < FAST              every doubles, up to EVERY_MAX
/// ```
pub(crate) struct Pace {
    deadline: Instant,
    /// Time of the last look at the clock.
    looked: Instant,
    /// Values between two looks.
    every: u32,
    /// Values left until the next look.
    left: u32,
    /// Values up to the last look that nobody has taken yet, and the time that they took.
    made: u32,
    spent: Duration,
}

impl Pace {
    /// Most values between two looks: a look costs as much as some values, so more would gain little.
    pub(crate) const EVERY_MAX: u32 = 16;
    /// If the values between two looks take longer than this, the clock is read more often.
    const SLOW: Duration = Duration::from_micros(100);
    /// If they take less than this, it is read less often.
    const FAST: Duration = Duration::from_micros(25);
    /// Most time between two looks that counts against the values: more than [`Pace::EVERY_MAX`] of the slowest strings
    /// take. If more has passed, the thread was off its processor, or Lua collected garbage.
    const COUNTED_MAX: Duration = Duration::from_millis(1);

    /// A pace up to the deadline. `every` is the value that the pace before ended with, because slow values come in
    /// floods.
    pub(crate) fn new(now: Instant, deadline: Instant, every: u32) -> Pace {
        let every = every.clamp(1, Pace::EVERY_MAX);
        Pace { deadline, looked: now, every, left: every, made: 0, spent: Duration::ZERO }
    }

    /// Starts the next Call of the same tick.
    #[inline]
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.looked, self.left, self.made, self.spent) = (now, self.every, 0, Duration::ZERO);
    }

    /// Values between two looks at present, for the next pace.
    pub(crate) fn every(&self) -> u32 {
        self.every
    }

    /// Takes the number of values up to the last look and the time that counts for them; each is handed out once.
    pub(crate) fn take_made(&mut self) -> (Duration, u32) {
        (std::mem::take(&mut self.spent), std::mem::take(&mut self.made))
    }

    /// The time of the last look at the clock.
    pub(crate) fn looked(&self) -> Instant {
        self.looked
    }

    /// Counts a value with this [`weight`]. True if the deadline has passed; calls `clock` only when a look is due.
    #[inline]
    #[optimize(speed)]
    pub(crate) fn is_over(&mut self, values: u32, clock: impl FnOnce() -> Instant) -> bool {
        self.left = self.left.saturating_sub(values);
        self.left == 0 && self.look(clock(), values)
    }

    /// Looks at the clock and adapts `every`. `last` is the weight of the last value, which alone may exceed `every`.
    /// True if the deadline has passed.
    #[cold]
    fn look(&mut self, now: Instant, last: u32) -> bool {
        let took = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        self.made = self.made.saturating_add(self.every.max(last));
        self.spent += took.min(Pace::COUNTED_MAX);
        if took > Pace::SLOW {
            // The number of values that would have taken SLOW.
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

    /// Makes values of the same cost until the pace says that time is out. Returns the time in all, the looks at the
    /// clock, and the final `every`.
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
    fn a_tick_is_never_exceeded_by_more_than_a_millisecond() {
        for cost_ns in [10, 100, 1000, 6000, 20_000, 50_000] {
            let (took, looks, _) = run(Duration::from_nanos(cost_ns), 8, Pace::EVERY_MAX);
            assert!(took <= 1500 * US, "{cost_ns} ns each: {took:?}");
            assert!(u64::from(looks) * 16 * cost_ns <= 1_600_000 + 16 * cost_ns, "{cost_ns} ns each: {looks} looks");
        }
        // The next slice of a flood of slow values begins with the pace at the end of the last slice.
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
    fn a_build_that_takes_too_long_for_its_values_is_given_up() {
        // Microseconds and values of each slice, and the number of slices that are accepted.
        for (micros, values, slices) in [(500, 10, 50), (500, 49, 2000), (500, 50, u64::MAX), (500, 5000, u64::MAX)] {
            let mut build = Build::new();
            let given_up = (1..10_000).find(|_| build.spend((micros * US, values)));
            assert_eq!(given_up.unwrap_or(u64::MAX), slices.saturating_add(1), "{values} values a slice");
        }
    }

    #[test]
    fn time_off_the_processor_does_not_count_as_slow() {
        let start = Instant::now();
        // Also with a tick of 20 ms, which is all the time that the values may take.
        for tick in [500 * US, 20_000 * US] {
            let mut pace = Pace::new(start, start + tick, 1);
            assert!(pace.is_over(1, || start + Duration::from_secs(1)));
            assert_eq!(pace.take_made(), (1000 * US, 1));
            pace.restart(start);
            assert!(!pace.is_over(1, || start + 300 * US));
            assert!(!pace.is_over(1, || start + 400 * US));
            assert_eq!(pace.take_made(), (400 * US, 2));
            assert_eq!(pace.take_made(), (Duration::ZERO, 0));
        }
    }

    #[test]
    fn errors_end_a_build_only_without_progress() {
        let mut build = Build { at: 70, done: 1, depth: 2, ..Build::new() };
        assert_eq!(build.after_error(), AfterError::GoOn);
        assert_eq!((build.at, build.done, build.depth, build.is_kept), (0, 0, 0, true));
        // An error at every byte, but each time one byte further.
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
