//! Windows of an aggregator, with clocks that go forward and clocks that jump.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn spec(interval: impl Into<serde_json::Value>, max_events: usize) -> AggregatorSpec {
    AggregatorSpec::parse(&json!({
        "interval": interval.into(),
        "aggregate": { "\u{0}function": "x.lua:1" },
        "actions": [{ "type": "file", "path": "x.log" }],
        "max_events": max_events,
    }))
    .unwrap()
}

fn moment(unix_ms: u64) -> Moment {
    Moment { at: Instant::now() + Duration::from_millis(unix_ms), unix_ms, offset_s: 0 }
}

/// Takes all ended windows: the numbers in each.
fn drain(windows: &mut Windows) -> Vec<Vec<u32>> {
    let ended = std::iter::from_fn(|| windows.take_oldest());
    ended.map(|window| window.events_from(0).iter().map(|tape| number(tape)).collect()).collect()
}

fn number(tape: &[u8]) -> u32 {
    u32::from_le_bytes(tape.try_into().unwrap())
}

// case | events at these milliseconds, with windows of ten seconds | the windows
type Row = (&'static str, &'static [u64], &'static [&'static [u32]]);
const CLOCKS: &[Row] = &[
    ("without events there is no window", &[], &[]),
    (
        "windows are aligned to the clock, not to the first event",
        &[9_900, 9_999, 10_000, 19_999, 20_000],
        &[&[0, 1], &[2, 3], &[4]],
    ),
    ("an interval without events makes no window", &[1_000, 95_000], &[&[0], &[1]]),
    ("a clock set back by less than a window ends nothing", &[10_001, 9_990, 9_999, 10_002], &[&[0, 1, 2, 3]]),
    ("a clock set back by a day ends the window", &[90_000_000, 3_600_000, 3_600_001], &[&[0], &[1, 2]]),
    ("a clock set forward by a day and back", &[5_000, 90_000_000, 5_001, 5_002], &[&[0], &[1], &[2, 3]]),
];

#[test]
fn each_event_is_in_the_window_of_its_clock() {
    for (case, times, expected) in CLOCKS {
        let (mut windows, meter) = (Windows::new(&spec(10, 100)), Arc::default());
        for (n, ms) in times.iter().enumerate() {
            windows.collect(&(n as u32).to_le_bytes(), moment(*ms), &meter).unwrap();
        }
        // Long after every event, by both clocks.
        windows.end_due(moment(1 << 40));
        assert_eq!(drain(&mut windows), *expected, "{case}");
        assert_eq!((meter.events(), meter.bytes()), (0, 0), "{case}");
    }
}

/// A moment in a zone that is so many hours east.
fn in_zone(hours: i32, unix_ms: u64) -> Moment {
    Moment { offset_s: hours * 3600, ..moment(unix_ms) }
}

const HOUR_MS: u64 = 3_600_000;

/// Events of one day, through changes of the zone: each row has the zone in hours and the hour of Unix time of each event.
#[test]
fn a_day_is_one_window_through_changes_of_the_clock() {
    type Row = (&'static str, &'static [(i32, u64)], &'static [&'static [u32]]);
    let rows: &[Row] = &[
        ("days of UTC", &[(0, 0), (0, 23), (0, 24), (0, 47), (0, 48)], &[&[0, 1], &[2, 3], &[4]]),
        ("days of another zone", &[(2, 21), (2, 22), (2, 45), (2, 46)], &[&[0], &[1, 2], &[3]]),
        (
            "a day of 23 hours: the clock goes from +1 to +2",
            &[(1, 23), (1, 24), (2, 25), (2, 45), (2, 46)],
            &[&[0, 1, 2, 3], &[4]],
        ),
        (
            "a day of 25 hours: the clock goes from +2 to +1",
            &[(2, 22), (2, 24), (1, 25), (1, 46), (1, 47)],
            &[&[0, 1, 2, 3], &[4]],
        ),
        (
            "the owner moves midnight ahead: the day ends at once",
            &[(0, 10), (0, 22), (2, 22), (2, 45)],
            &[&[0, 1], &[2, 3]],
        ),
        (
            "the owner moves midnight back: the day goes on",
            &[(2, 21), (2, 22), (0, 23), (0, 24), (0, 47), (0, 48)],
            &[&[0], &[1, 2, 3, 4], &[5]],
        ),
    ];
    for (case, events, expected) in rows {
        let (mut windows, meter) = (Windows::new(&spec("day", 100)), Arc::default());
        for (n, (hours, hour)) in events.iter().enumerate() {
            windows.collect(&(n as u32).to_le_bytes(), in_zone(*hours, hour * HOUR_MS), &meter).unwrap();
        }
        windows.end_due(moment(1 << 40));
        assert_eq!(drain(&mut windows), *expected, "{case}");
    }
}

#[test]
fn the_end_of_an_open_day_follows_the_zone() {
    let (mut windows, meter) = (Windows::new(&spec("day", 100)), Arc::default());
    windows.collect(&[0; 4], in_zone(1, 30 * HOUR_MS), &meter).unwrap();
    assert_eq!([0, 3600, 7200].map(|offset_s| windows.due_ms(offset_s)), [48, 47, 46].map(|hour| Some(hour * HOUR_MS)));
    windows.end_due(in_zone(2, 46 * HOUR_MS - 1));
    assert!(windows.oldest().is_none());
    windows.end_due(in_zone(2, 46 * HOUR_MS));
    assert!(windows.oldest().is_some());
}

#[test]
fn a_window_ends_without_another_event() {
    let (mut windows, meter) = (Windows::new(&spec(10, 100)), Arc::default());
    assert_eq!(windows.due_ms(0), None);
    windows.collect(&[0; 4], moment(12_345), &meter).unwrap();
    assert_eq!(windows.due_ms(0), Some(20_000));
    windows.end_due(moment(19_999));
    assert!(windows.oldest().is_none());
    windows.end_due(moment(20_003));
    assert_eq!(windows.oldest().map(|window| window.ended().unix_ms), Some(20_003));
    assert_eq!(windows.due_ms(0), None);
}

#[test]
fn events_and_bytes_are_bounded() {
    let (mut windows, mut other) = (Windows::new(&spec(10, 2)), Windows::new(&spec(10, 100_000)));
    let meter = Arc::default();
    for outcome in [Ok(()), Ok(()), Err(NotCollected::Events)] {
        assert_eq!(windows.collect(&[0; 4], moment(1), &meter), outcome);
    }
    assert_eq!(windows.collect(&[0; 4], moment(10_000), &meter), Ok(()), "the next window has room");
    let huge = vec![0; AGGREGATE_BYTES_MAX / 4];
    let taken = (0..10).take_while(|_| other.collect(&huge, moment(1), &meter).is_ok()).count();
    assert_eq!((taken, other.collect(&huge, moment(1), &meter)), (3, Err(NotCollected::Bytes)));
    assert_eq!(windows.collect(&huge, moment(20_000), &meter), Err(NotCollected::Bytes), "all windows share the bytes");
    assert!(meter.bytes() <= AGGREGATE_BYTES_MAX && meter.events() == 6);
    let removed = [&mut windows, &mut other].map(|windows| windows.remove().map(|window| window.len()).sum::<usize>());
    assert_eq!(removed, [3, 3]);
    assert_eq!(windows.collect(&[0; 4], moment(1), &meter), Err(NotCollected::Removed));
    assert_eq!((meter.events(), meter.bytes()), (0, 0));
}

proptest! {
    /// Each event is in one window, in order. With a clock that only goes forward, the window's number is the time
    /// divided by the interval.
    #[test]
    fn no_event_is_lost_or_collected_twice(steps in proptest::collection::vec((any::<bool>(), -50_000_i64..60_000), 0..200)) {
        let (mut windows, meter) = (Windows::new(&spec(10, 1000)), Arc::default());
        let (mut ms, mut count, mut forward) = (1_000_000_u64, 0_u32, true);
        let mut expected: Vec<(u64, Vec<u32>)> = Vec::new();
        let mut found = Vec::new();
        for (is_event, step) in steps {
            forward &= step >= 0;
            ms = ms.saturating_add_signed(step);
            if is_event {
                windows.collect(&count.to_le_bytes(), moment(ms), &meter).unwrap();
                match expected.last_mut() {
                    Some((number, events)) if *number == ms / 10_000 => events.push(count),
                    _ => expected.push((ms / 10_000, vec![count])),
                }
                count += 1;
            } else {
                windows.end_due(moment(ms));
                found.append(&mut drain(&mut windows));
            }
        }
        windows.end_due(moment(1 << 50));
        found.append(&mut drain(&mut windows));
        prop_assert_eq!(found.concat(), (0..count).collect::<Vec<_>>());
        prop_assert!(found.iter().all(|window| !window.is_empty()));
        if forward {
            prop_assert_eq!(found, expected.into_iter().map(|(_, events)| events).collect::<Vec<_>>());
        }
        prop_assert_eq!((meter.events(), meter.bytes()), (0, 0));
    }

    /// The zone may change at any event: no event is lost or in two windows.
    #[test]
    fn no_change_of_the_zone_loses_an_event(
        steps in proptest::collection::vec((0_u64..40, -12_i32..=14), 0..100), unit in 0..3_usize,
    ) {
        let spec = spec(["day", "week", "month"][unit], 1000);
        let (mut windows, meter) = (Windows::new(&spec), Arc::default());
        let (mut hour, mut found) = (400_000, Vec::new());
        for (n, (hours, zone)) in steps.iter().enumerate() {
            hour += hours;
            windows.collect(&(n as u32).to_le_bytes(), in_zone(*zone, hour * HOUR_MS), &meter).unwrap();
            windows.end_due(in_zone(-zone / 2, hour * HOUR_MS));
            found.append(&mut drain(&mut windows));
        }
        windows.end_due(moment(1 << 50));
        found.append(&mut drain(&mut windows));
        prop_assert_eq!(found.concat(), (0..steps.len() as u32).collect::<Vec<_>>());
        prop_assert_eq!((meter.events(), meter.bytes()), (0, 0));
    }
}
