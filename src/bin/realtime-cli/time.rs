//! Times as people write them in arguments. Pure.

use std::time::SystemTime;

use realtime::facade::calendar::days;
use realtime::facade::event::identity::unix_ms;

/// The time in milliseconds of Unix time.
pub(crate) fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

/// Unix milliseconds of a time in one of these forms. `None`: the text has none of them.
///
/// | form | example |
/// |---|---|
/// | age: a whole number and `s`, `m`, `h` or `d` | `15m` |
/// | Unix seconds, also with a fraction | `1763942400.25` |
/// | day | `2025-11-24` |
/// | day and time in UTC, `Z` allowed | `2025-11-24T12:30:00Z` |
pub(crate) fn time_ms(text: &str, now_ms: u64) -> Option<u64> {
    let seconds_of = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    };
    if let Some(seconds) = text.chars().last().and_then(seconds_of) {
        let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
        return now_ms.checked_sub(count.checked_mul(seconds * 1000)?);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // The range excludes infinite values and NaN too.
        let millis = (seconds * 1000.0).round();
        return (0.0..1e18).contains(&millis).then_some(millis as u64);
    }
    let (day, time) = text.trim_end_matches('Z').split_once('T').unwrap_or((text, "0:0:0"));
    let [year, month, day] = numbers(day, '-')?;
    let [hours, minutes, seconds] = numbers(time, ':')?;
    // Days up to 31 in every month and a 61st second are accepted: they only move the time into the next month or
    // minute.
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let valid = valid && hours < 24 && minutes < 60 && seconds < 61;
    if !valid {
        return None;
    }
    let days = u64::try_from(days(year as i64, month as i64, day as i64)).ok()?;
    Some(((days * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000)
}

/// Three whole numbers with `between` between them.
fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text.split(between).map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use realtime::facade::calendar::iso8601;

    use super::*;

    #[test]
    fn all_forms_of_a_time_are_read() {
        let now = 1_763_942_400_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("1763942400", Some(now)),
            ("1763942400.25", Some(now + 250)),
            ("1970-01-01", Some(0)),
            ("2025-11-24", Some(now)),
            ("2025-11-24T00:00:01Z", Some(now + 1000)),
            ("2024-02-29T23:59:59", Some(1_709_251_199_000)),
            ("90s", Some(now - 90_000)),
            ("15m", Some(now - 900_000)),
            ("2h", Some(now - 7_200_000)),
            ("3d", Some(now - 259_200_000)),
            ("99999999d", None),
            ("-1", None),
            ("nan", None),
            ("", None),
            ("s", None),
            ("2025-13-01", None),
            ("2025-11-24T24:00:00", None),
            ("1969-12-31", None),
            ("yesterday", None),
        ] {
            assert_eq!(time_ms(text, now), expected, "{text}");
        }
    }

    #[test]
    fn a_printed_date_is_read_as_the_same_time() {
        assert_eq!(iso8601(1_709_251_199_007), "2024-02-29T23:59:59.007Z");
        for day in 0..60_000 {
            let time = day * 86_400_000 + 3_661_000;
            assert_eq!(time_ms(&iso8601(time).replace(".000Z", ""), 0), Some(time));
        }
    }
}
