//! Dates of the Gregorian calendar in the formats of HTTP and Discord. Pure; all times are UTC.
//! Days are counted from 1970-01-01. The arithmetic begins the year in March, so that the leap day is the last day of the
//! year and needs no special case. The calendar repeats every 400 years (an era).

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: u64 = 146_097;

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT` to a Unix time in seconds. This is the only form that servers may still send
/// (RFC 9110, 5.6.7). `None` for anything else, and for years before 1970. The name of the day is not checked.
pub(super) fn parse_http(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|digits| digits.parse::<u64>().ok().filter(|_| digits.len() == 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = hour < 24 && minute < 60 && second <= 60 && clock.next().is_none();
    let is_end = words.next() == Some("GMT") && words.next().is_none();
    (valid && is_end).then(|| days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second)
}

/// Formats a Unix time as `2023-11-14T22:13:20.000Z`, for embeds and dead letters.
pub(super) fn iso8601(unix_ms: u64) -> String {
    let (seconds, millis) = (unix_ms / 1000, unix_ms % 1000);
    let (year, month, day) = civil(seconds / DAY_S);
    let second = seconds % DAY_S;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{millis:03}Z", second % 60)
}

/// Days from 1970-01-01 to this date. The year must not be before 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era = year % 400;
    // From March on, five months take 153 days: 31 30 31 30 31.
    let of_year = (153 * month + 2) / 5 + day - 1;
    year / 400 * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(EPOCH_DAYS);
    let of_era = days % ERA_DAYS;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (days / ERA_DAYS * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_convert_both_ways_for_four_centuries() {
        // Compared with a count, month by month.
        let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let mut day = 0;
        for year in 1970..2371 {
            for (month, length) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
                let length = length + u64::from(month == 1 && is_leap(year));
                for of_month in 1..=length {
                    assert_eq!(days(year, month as u64 + 1, of_month), day);
                    assert_eq!(civil(day), (year, month as u64 + 1, of_month));
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn http_dates_are_parsed_strictly() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 32 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, 06 Nov 0000 08:49:37 GMT", None),
            ("120", None),
            ("", None),
        ] {
            assert_eq!(parse_http(text), expected, "{text}");
        }
    }

    #[test]
    fn times_are_formatted_for_discord() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(iso8601(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert!(iso8601(u64::MAX).ends_with('Z'));
    }
}
