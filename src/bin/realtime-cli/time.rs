//! Times as people write them in arguments, and as the tool prints them. Pure.

use std::time::SystemTime;

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
    valid.then(|| ((days_before(year, month, day) * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000)
}

/// Three whole numbers with `between` between them.
fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text.split(between).map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Days from 1970-01-01 to this date in the Gregorian calendar.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    // A year that begins in March has its leap day at its end, so the days before a month do not depend on leap
    // years.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// A time in the form `2026-11-24T12:30:00.250Z`: the reverse of [`days_before`], counted in eras of 400 years, after
/// which the calendar repeats.
pub(crate) fn date(time_ms: u64) -> String {
    let (days, seconds) = (time_ms / 86_400_000, time_ms / 1000 % 86_400);
    let day = days + 719_468;
    let era_day = day % 146_097;
    // Takes the leap days of the era out of the day count, so that all years have 365 days.
    let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (era_year * 365 + era_year / 4 - era_year / 100);
    let month = (year_day * 5 + 2) / 153;
    let day_of_month = year_day - (month * 153 + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, era_year) } else { (month - 9, era_year + 1) };
    let year = year + day / 146_097 * 400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", time_ms % 1000)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(date(1_709_251_199_007), "2024-02-29T23:59:59.007Z");
        for day in 0..60_000 {
            let time = day * 86_400_000 + 3_661_000;
            assert_eq!(time_ms(&date(time).replace(".000Z", ""), 0), Some(time));
        }
    }
}
