//! Reads the option `timezone_offset`: a distance from UTC, as people write it. Pure.

use super::civil::DAY_S;

/// The longest distances that zones have: Baker Island and the Line Islands.
const WEST_MINUTES_MAX: u32 = 12 * 60;
const EAST_MINUTES_MAX: u32 = 14 * 60;

/// Seconds to the east of Greenwich. `None`: the text is empty, so the machine's clock counts.
///
/// | text | read as |
/// |---|---|
/// | `+02:00`, `-5:30`, `UTC+2`, `GMT-03`, `Z` | hours and minutes |
/// | `+0530`, four digits | hours and minutes |
/// | `2`, `-5`, `+5.5`, at most 14 | hours |
/// | `120`, `-330`, larger | minutes |
pub(crate) fn parse(text: &str) -> Result<Option<i32>, &'static str> {
    const EXPECTED: &str =
        "expected a distance from UTC such as +02:00, -5:30, 2 or -330 (minutes); names of zones are not known";
    let text = text.trim().replace('\u{2212}', "-");
    if text.is_empty() {
        return Ok(None);
    }
    let upper = text.to_ascii_uppercase();
    let named = ["UTC", "GMT", "Z"].iter().find_map(|name| upper.strip_prefix(name));
    let rest = named.unwrap_or(&upper).trim();
    if rest.is_empty() {
        return Ok(Some(0));
    }
    let (sign, digits) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (None, Some(digits)) => (-1, digits),
        // `UTC2` is no notation.
        (None, None) if named.is_some() => return Err(EXPECTED),
        (None, None) => (1, rest),
    };
    let minutes = minutes(digits.trim()).ok_or(EXPECTED)?;
    let max = if sign < 0 { WEST_MINUTES_MAX } else { EAST_MINUTES_MAX };
    if minutes > max {
        return Err("expected a distance from UTC between -12:00 and +14:00");
    }
    if !minutes.is_multiple_of(15) {
        return Err("expected a distance from UTC in quarters of an hour, such as +05:45");
    }
    Ok(Some(sign * i32::try_from(minutes * 60).unwrap_or(0)))
}

/// The minutes of a distance without its sign.
fn minutes(digits: &str) -> Option<u32> {
    let number = |text: &str, length: std::ops::RangeInclusive<usize>| {
        let is_number = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| is_number)
    };
    let clock = |hours: &str, minutes: &str| {
        let minutes = number(minutes, 2..=2).filter(|minutes| *minutes < 60)?;
        Some(number(hours, 1..=2)? * 60 + minutes)
    };
    if let Some((hours, minutes)) = digits.split_once(':') {
        return clock(hours, minutes);
    }
    if let Some((hours, part)) = digits.split_once(['.', ',']) {
        let part = match part.trim_end_matches('0') {
            "" => 0,
            "25" => 15,
            "5" => 30,
            "75" => 45,
            _ => return None,
        };
        let hours = number(hours, 1..=3)?;
        // An editor may write minutes as `-330.0`.
        return if part == 0 { whole(hours) } else { Some(hours * 60 + part) };
    }
    match digits.split_at_checked(2) {
        Some((hours, minutes)) if digits.len() == 4 => clock(hours, minutes),
        _ => whole(number(digits, 1..=3)?),
    }
}

/// A number without a unit: hours up to 14, else minutes.
fn whole(number: u32) -> Option<u32> {
    Some(if number <= 14 { number * 60 } else { number })
}

/// The distance as `+02:00`, for the log and for reports.
pub(crate) fn shown(offset_s: i32) -> String {
    let sign = if offset_s < 0 { '-' } else { '+' };
    let minutes = i64::from(offset_s.unsigned_abs()) % DAY_S / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::rows;

    #[test]
    fn each_row_of_the_table_is_read_or_refused() {
        for row in rows(include_str!("../../testdata/config/offsets.txt")) {
            let found = match parse(&row.text(0)) {
                Ok(Some(offset_s)) => shown(offset_s),
                Ok(None) => "machine".to_owned(),
                Err(err) => err.to_owned(),
            };
            assert!(found.contains(&row.text(1)), "line {}: {found}", row.line);
        }
    }

    #[test]
    fn every_offset_is_read_as_it_is_shown() {
        for minutes in (-12 * 60..=14 * 60).step_by(15) {
            assert_eq!(parse(&shown(minutes * 60)), Ok(Some(minutes * 60)));
        }
    }
}
