//! Times in the formats of HTTP and Discord. Pure; all times are UTC.

use crate::calendar::civil::{DAY_S, Local, MONTHS, civil, days};

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT` to a Unix time in seconds. This is the only form that servers may still send
/// (RFC 9110, 5.6.7). `None` for anything else, and for years before 1970. The name of the day is not checked.
pub(super) fn parse_http(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock =
        words.next()?.split(':').map(|digits| digits.parse::<u32>().ok().filter(|_| digits.len() == 2).map(i64::from));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = hour < 24 && minute < 60 && second <= 60 && clock.next().is_none();
    let is_end = words.next() == Some("GMT") && words.next().is_none();
    let unix_s = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    u64::try_from(unix_s).ok().filter(|_| valid && is_end)
}

/// Formats a Unix time as `2023-11-14T22:13:20.000Z`, for embeds and dead letters.
pub(super) fn iso8601(unix_ms: u64) -> String {
    let Local { days, second } = Local::of(unix_ms, 0);
    let ((year, month, day), millis) = (civil(days), unix_ms % 1000);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{millis:03}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

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
