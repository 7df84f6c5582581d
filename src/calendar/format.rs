//! The text of a time: after a format, as in `{time:%H:%M}`, or as ISO 8601 has it. Pure.
//!
//! | directive | text | | directive | text |
//! |---|---|---|---|---|
//! | `%Y` `%y` | 2026, 26 | | `%H` `%M` `%S` | 00 to 23, 00 to 59, 00 to 59 |
//! | `%m` `%b` | 01 to 12, Jan to Dec | | `%G` `%V` | year and week of ISO 8601, 01 to 53 |
//! | `%d` `%j` | 01 to 31, 001 to 366 | | `%u` `%a` | 1 to 7 from Monday, Mon to Sun |
//! | `%%` | `%` | | | |

use std::fmt::Write as _;

use super::civil::{Local, MONTHS, WEEKDAYS, civil, days, weekday};

/// All directives, for the error about another one.
pub(crate) const DIRECTIVES: &str = "%Y %m %d %H %M %S %j %u %V %G %a %b %y %%";

/// True if the text is a format: it has a directive, no other use of `%`, and no control character.
pub(crate) fn is_format(text: &str) -> bool {
    let mut rest = text.chars();
    let mut count = 0;
    while let Some(character) = rest.next() {
        if character == '%' {
            count += 1;
            if !rest.next().is_some_and(|letter| "YmdHMSjuVGaby%".contains(letter)) {
                return false;
            }
        } else if character.is_control() {
            return false;
        }
    }
    count > 0
}

/// The text of this time. `format` is checked by [`is_format`].
pub(crate) fn text_of(format: &str, local: Local) -> String {
    let mut out = String::with_capacity(format.len() * 2);
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        match character {
            '%' => push(&mut out, rest.next().unwrap_or('%'), local),
            other => out.push(other),
        }
    }
    out
}

/// The date, `2026-11-27`.
pub(crate) fn date(local: Local) -> String {
    text_of("%Y-%m-%d", local)
}

/// The week of ISO 8601, `2026-W48`.
pub(crate) fn week(local: Local) -> String {
    text_of("%G-W%V", local)
}

/// Appends one directive.
fn push(out: &mut String, directive: char, local: Local) {
    let (year, month, day) = civil(local.days);
    let name = |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
    let (number, width) = match directive {
        'Y' => (year, 4),
        'y' => (year.rem_euclid(100), 2),
        'm' => (month, 2),
        'd' => (day, 2),
        'H' => (local.second / 3600, 2),
        'M' => (local.second / 60 % 60, 2),
        'S' => (local.second % 60, 2),
        'j' => (local.days - days(year, 1, 1) + 1, 3),
        'u' => (weekday(local.days) + 1, 1),
        'G' => (local.week().0, 4),
        'V' => (local.week().1, 2),
        'a' => return out.push_str(name(&WEEKDAYS, weekday(local.days)).unwrap_or_default()),
        'b' => return out.push_str(name(&MONTHS, month - 1).unwrap_or_default()),
        other => return out.push(other),
    };
    // Writing to a String cannot fail.
    let _ = write!(out, "{number:0width$}");
}

/// Formats a Unix time as `2023-11-14T22:13:20.000Z` in UTC.
pub fn iso8601(unix_ms: u64) -> String {
    let Local { days, second } = Local::of(unix_ms, 0);
    let ((year, month, day), millis) = (civil(days), unix_ms % 1000);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{millis:03}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_after_their_format() {
        // 2026-11-27 was a Friday, 2021-01-03 the Sunday of the last week of 2020, 2024-02-29 a leap day.
        for (unix_s, offset_s, format, expected) in [
            (1_795_737_600, 0, "%Y-%m-%d %H:%M:%S", "2026-11-27 00:00:00"),
            (1_795_737_599, 0, "%Y-%m-%d %H:%M:%S", "2026-11-26 23:59:59"),
            (1_795_737_599, 1, "%Y-%m-%d %H:%M:%S", "2026-11-27 00:00:00"),
            (1_795_737_600, -19_800, "%d.%m.%y, %H h %M", "26.11.26, 18 h 30"),
            (1_795_737_600, 0, "%a %d %b %j %u %G-W%V", "Fri 27 Nov 331 5 2026-W48"),
            (1_609_632_000, 0, "%a %G-W%V %j %u", "Sun 2020-W53 003 7"),
            (1_709_164_800, 0, "%b %d %j", "Feb 29 060"),
            (0, -1, "%Y %b %a", "1969 Dec Wed"),
            (0, 0, "100%% %é", "100% é"),
        ] {
            assert_eq!(text_of(format, Local::of(unix_s * 1000, offset_s)), expected, "{unix_s} {format}");
        }
        let local = Local::of(1_795_737_600_000, 3600);
        assert_eq!((date(local).as_str(), week(local).as_str()), ("2026-11-27", "2026-W48"));
    }

    #[test]
    fn only_known_directives_are_a_format() {
        for directive in DIRECTIVES.split(' ') {
            assert!(is_format(directive) && is_format(&format!("a {directive}: é, b")), "{directive}");
        }
        for other in ["", "H:M", "%", "%H%", "%Q", "%e", "%s", "%n", "%-d", "%Ey", "% H", "%H\n", "%H\u{85}"] {
            assert!(!is_format(other), "{other:?}");
        }
        for letter in (0..=0x7f_u8).map(char::from) {
            assert_eq!(is_format(&format!("%{letter}")), DIRECTIVES.contains(&format!("%{letter}")), "{letter:?}");
        }
    }

    #[test]
    fn times_are_formatted_as_iso_8601() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(iso8601(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert!(iso8601(u64::MAX).ends_with('Z'));
    }
}
