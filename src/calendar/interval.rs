//! The windows of aggregators: seconds of Unix time, or days, weeks and months of the owner's calendar. Pure.
//! Each window has a number; a moment is in the window whose number it has. Windows follow each other without gaps, so
//! the number of a later moment is never smaller while the offset stays. A day with a change of the clock is 23 or 25
//! hours long: its moments have one number, because the number is that of a date.
//!
//! | unit | window | number |
//! |---|---|---|
//! | seconds | whole multiples since 1970 in UTC | Unix time / length |
//! | day | from `at` to `at` of the next day | days since 1970 |
//! | week | from `at` on Monday | weeks since 1970 |
//! | month | from `at` on the 1st | months since year 0 |

use super::civil::{DAY_S, civil, days};

/// The length and the beginning of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) unit: Unit,
    /// Seconds from midnight to the beginning of the window. 0 for [`Unit::Seconds`].
    pub(crate) at_s: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// At least 1.
    Seconds(u64),
    Day,
    Week,
    Month,
}

impl Interval {
    /// The number of the window in which a moment is.
    pub(crate) fn number(self, unix_ms: u64, offset_s: i32) -> i64 {
        // Milliseconds of 64 bits are seconds of 54.
        let unix_s = (unix_ms / 1000) as i64;
        let day = (unix_s + i64::from(offset_s) - self.at_s).div_euclid(DAY_S);
        match self.unit {
            Unit::Seconds(length) => i64::try_from(unix_ms / 1000 / length.max(1)).unwrap_or(i64::MAX),
            Unit::Day => day,
            // 1970-01-01 was a Thursday.
            Unit::Week => (day + 3).div_euclid(7),
            Unit::Month => {
                let (year, month, _) = civil(day);
                year * 12 + month - 1
            }
        }
    }

    /// The end of a window, in milliseconds of Unix time: the first moment of the next one.
    pub(crate) fn end_ms(self, number: i64, offset_s: i32) -> u64 {
        let next = number.saturating_add(1);
        let first_day = match self.unit {
            Unit::Seconds(length) => {
                let next = u64::try_from(next).unwrap_or(0);
                return next.saturating_mul(length).saturating_mul(1000);
            }
            Unit::Day => next,
            Unit::Week => next.saturating_mul(7).saturating_sub(3),
            Unit::Month => days(next.div_euclid(12), next.rem_euclid(12) + 1, 1),
        };
        let unix_s = first_day.saturating_mul(DAY_S).saturating_add(self.at_s).saturating_sub(i64::from(offset_s));
        u64::try_from(unix_s).unwrap_or(0).saturating_mul(1000)
    }
}

/// Reads a time of day such as `06:00`, in seconds since midnight.
pub(crate) fn time_of_day(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str, max: i64| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i64>().ok().filter(|number| is_number && *number <= max)
    };
    let is_whole = hour.len() <= 2 && minute.len() == 2;
    Some(number(hour, 23)? * 3600 + number(minute, 59)? * 60).filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calendar::civil::Local;
    use crate::calendar::format::text_of;

    fn interval(unit: Unit, at: &str) -> Interval {
        Interval { unit, at_s: time_of_day(at).unwrap() }
    }

    /// Milliseconds of Unix time of a time in UTC.
    fn utc(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> u64 {
        u64::try_from((days(year, month, day) * 24 + hour) * 60 + minute).unwrap() * 60_000
    }

    #[test]
    fn windows_end_at_the_owners_time() {
        let day = interval(Unit::Day, "00:00");
        let six = interval(Unit::Day, "06:00");
        let week = interval(Unit::Week, "06:00");
        let month = interval(Unit::Month, "23:30");
        let rows = [
            // interval, now, offset in hours, the end of its window
            (day, utc(2026, 11, 27, 12, 0), 0, utc(2026, 11, 28, 0, 0)),
            (day, utc(2026, 11, 27, 23, 0), 2, utc(2026, 11, 28, 22, 0)),
            (day, utc(2026, 11, 27, 21, 59), 2, utc(2026, 11, 27, 22, 0)),
            (day, utc(2026, 11, 28, 4, 59), -5, utc(2026, 11, 28, 5, 0)),
            (six, utc(2026, 11, 27, 5, 59), 0, utc(2026, 11, 27, 6, 0)),
            (six, utc(2026, 11, 27, 6, 0), 0, utc(2026, 11, 28, 6, 0)),
            // 2026-11-30 is a Monday.
            (week, utc(2026, 11, 27, 12, 0), 0, utc(2026, 11, 30, 6, 0)),
            (week, utc(2026, 11, 30, 5, 59), 0, utc(2026, 11, 30, 6, 0)),
            (week, utc(2026, 11, 30, 6, 0), 0, utc(2026, 12, 7, 6, 0)),
            (month, utc(2026, 11, 30, 12, 0), 0, utc(2026, 12, 1, 23, 30)),
            (month, utc(2026, 12, 1, 23, 29), 0, utc(2026, 12, 1, 23, 30)),
            (month, utc(2026, 12, 1, 23, 30), 0, utc(2027, 1, 1, 23, 30)),
            (month, utc(2024, 2, 29, 23, 31), 14, utc(2024, 3, 1, 9, 30)),
            (interval(Unit::Seconds(60), "00:00"), 60_001, 5, 120_000),
        ];
        for (number, (interval, now, hours, end)) in rows.into_iter().enumerate() {
            let offset_s = hours * 3600;
            assert_eq!(interval.end_ms(interval.number(now, offset_s), offset_s), end, "row {number}");
        }
    }

    #[test]
    fn times_of_day_are_read_strictly() {
        for (text, expected) in [
            ("06:00", Some(21_600)),
            ("6:00", Some(21_600)),
            ("00:00", Some(0)),
            ("23:59", Some(86_340)),
            ("24:00", None),
            ("06:60", None),
            ("06:0", None),
            ("6", None),
            ("06:00:00", None),
            ("+6:00", None),
            (":00", None),
            ("006:00", None),
            ("6am", None),
            ("", None),
        ] {
            assert_eq!(time_of_day(text), expected, "{text}");
        }
    }

    proptest! {
        /// The dates of days, weeks and months are those of a calendar on the wall, and a window ends with its last moment.
        #[test]
        fn a_window_has_one_date_and_ends_with_it(
            unix_s in 0_u64..7_000_000_000, minutes in -720..=840_i32, at_minutes in 0..1440_i64,
        ) {
            let (offset_s, at_s, unix_ms) = (minutes * 60, at_minutes * 60, unix_s * 1000);
            // The moment on a clock that shows midnight when the window begins.
            let shown = |unix_ms: u64, format| {
                text_of(format, Local::of(unix_ms, offset_s - i32::try_from(at_s).unwrap()))
            };
            for (unit, format) in
                [(Unit::Day, "%Y-%m-%d"), (Unit::Week, "%G-%V"), (Unit::Month, "%Y-%m")]
            {
                let interval = Interval { unit, at_s };
                let number = interval.number(unix_ms, offset_s);
                let end = interval.end_ms(number, offset_s);
                prop_assert!(end > unix_ms);
                prop_assert_eq!(interval.number(end - 1, offset_s), number);
                prop_assert_eq!(interval.number(end, offset_s), number + 1);
                prop_assert_eq!(shown(unix_ms, format), shown(end - 1, format));
                prop_assert_ne!(shown(unix_ms, format), shown(end, format));
            }
        }
    }

    #[test]
    fn far_moments_do_not_overflow() {
        for unit in [Unit::Seconds(1), Unit::Day, Unit::Week, Unit::Month] {
            for (unix_ms, offset_s) in [(u64::MAX, i32::MAX), (0, -86_399)] {
                let interval = Interval { unit, at_s: 86_399 };
                let number = interval.number(unix_ms, offset_s);
                assert!(interval.end_ms(number, offset_s) > 0 || unix_ms == 0);
            }
        }
    }
}
