//! Times in the format of HTTP. Pure; all times are UTC.

use crate::calendar::civil::{DAY_S, MONTHS, days};

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
}
