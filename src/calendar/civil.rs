//! Dates of the Gregorian calendar and weeks of ISO 8601. Pure.
//! Days are counted from 1970-01-01. The arithmetic begins the year in March, so that the leap day is the last day of the
//! year and needs no special case. The calendar repeats every 400 years (an era).

pub(crate) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
pub(crate) const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
pub(crate) const DAY_S: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: i64 = 146_097;

/// A moment as a clock and a calendar on the wall show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local {
    /// Days since 1970-01-01.
    pub(crate) days: i64,
    /// Seconds since midnight.
    pub(crate) second: i64,
}

impl Local {
    /// The moment in a zone that is `offset_s` seconds east of Greenwich.
    pub(crate) fn of(unix_ms: u64, offset_s: i32) -> Local {
        // Milliseconds of 64 bits are seconds of 54, so neither the cast nor the sum overflows.
        let second = (unix_ms / 1000) as i64 + i64::from(offset_s);
        Local { days: second.div_euclid(DAY_S), second: second.rem_euclid(DAY_S) }
    }

    /// The year and the week of ISO 8601. A week belongs to the year that has its Thursday.
    pub(crate) fn week(self) -> (i64, i64) {
        let thursday = self.days - weekday(self.days) + 3;
        let (year, ..) = civil(thursday);
        (year, (thursday - days(year, 1, 1)) / 7 + 1)
    }
}

/// The day of the week, Monday as 0.
pub(crate) fn weekday(days: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    (days + 3).rem_euclid(7)
}

/// Days from 1970-01-01 to this date.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era = year.rem_euclid(400);
    // From March on, five months take 153 days: 31 30 31 30 31.
    let of_year = (153 * month + 2) / 5 + day - 1;
    year.div_euclid(400) * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

/// Year, month and day of a number of days since 1970-01-01.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(EPOCH_DAYS);
    let of_era = days.rem_euclid(ERA_DAYS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (days.div_euclid(ERA_DAYS) * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days, dates and weeks, compared with a count day by day.
    #[test]
    fn days_dates_and_weeks_convert_for_five_centuries() {
        let is_leap = |year: i64| year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
        // 1900-01-01 was a Monday. The first week of a year is that of its first Thursday.
        let (mut day, mut weekday_now, mut week) = (-25_567, 0, (1900, 1));
        for year in 1900..2401 {
            for (month, length) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
                let month = month as i64 + 1;
                let length = length + i64::from(month == 2 && is_leap(year));
                for of_month in 1..=length {
                    if weekday_now == 0 && day != -25_567 {
                        // The Thursday of this week is of the next year if this Monday is the 29th of December or later.
                        let is_next = month == 12 && of_month >= 29;
                        let is_first = is_next || month == 1 && of_month <= 4;
                        week = match (is_first, is_next) {
                            (true, true) => (year + 1, 1),
                            (true, false) => (year, 1),
                            _ => (week.0, week.1 + 1),
                        };
                    }
                    assert_eq!(days(year, month, of_month), day);
                    assert_eq!(civil(day), (year, month, of_month));
                    assert_eq!(weekday(day), weekday_now);
                    assert_eq!(Local { days: day, second: 0 }.week(), week, "{year}-{month}-{of_month}");
                    (day, weekday_now) = (day + 1, (weekday_now + 1) % 7);
                }
            }
        }
    }

    #[test]
    fn the_zone_moves_the_moment() {
        for (unix_ms, offset_s, days, second) in [
            (0, 0, 0, 0),
            (0, -1, -1, 86_399),
            (0, 7200, 0, 7200),
            (86_399_999, 0, 0, 86_399),
            (86_399_999, 1, 1, 0),
            (1_700_000_000_000, -19_800, 19_675, 60_200),
        ] {
            assert_eq!(Local::of(unix_ms, offset_s), Local { days, second }, "{unix_ms} {offset_s}");
        }
        assert!(Local::of(u64::MAX, i32::MAX).days > 0);
    }
}
