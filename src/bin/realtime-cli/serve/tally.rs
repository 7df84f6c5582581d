//! Events per minute by channel, of the last hour. Pure: the caller tells the time. Bounded by the hour, and by the
//! channels of each minute.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

/// Minutes that are kept.
const MINUTES: u64 = 60;
/// Channels that are counted apart in one minute. Names of channels can be made up by anybody who may publish.
const CHANNELS_MAX: usize = 64;
/// Channels that the chart shows apart: as many as have a colour.
const SHOWN_MAX: usize = 7;

/// The events of one minute.
#[derive(Default)]
struct Minute {
    /// Minutes since 1970.
    number: u64,
    by_channel: BTreeMap<Box<str>, u64>,
    /// Events on all channels beyond [`CHANNELS_MAX`].
    others: u64,
}

/// The last hour, oldest minute first.
#[derive(Default)]
pub(super) struct Tally {
    minutes: VecDeque<Minute>,
}

impl Tally {
    /// Counts one event. A clock that went back counts it in the newest minute.
    pub(super) fn count(&mut self, channel: &str, unix_ms: u64) {
        let number = unix_ms / 60_000;
        if self.minutes.back().is_none_or(|newest| newest.number < number) {
            self.minutes.push_back(Minute { number, ..Minute::default() });
            while self.minutes.front().is_some_and(|oldest| oldest.number + MINUTES <= number) {
                self.minutes.pop_front();
            }
        }
        let Some(minute) = self.minutes.back_mut() else { return };
        let has_room = minute.by_channel.len() < CHANNELS_MAX;
        if let Some(count) = minute.by_channel.get_mut(channel) {
            *count += 1;
        } else if has_room {
            minute.by_channel.insert(channel.into(), 1);
        } else {
            minute.others += 1;
        }
    }

    /// For the chart: the number of the first minute, the names of the channels with most events, and a row of counts for
    /// each of them. The last row is that of all others.
    pub(super) fn chart(&self, unix_ms: u64) -> Value {
        let newest = (unix_ms / 60_000).max(self.minutes.back().map_or(0, |minute| minute.number));
        let first = newest.saturating_sub(MINUTES - 1);
        let recent = || self.minutes.iter().filter(move |minute| minute.number >= first);
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (channel, count) in recent().flat_map(|minute| &minute.by_channel) {
            *sums.entry(channel).or_default() += count;
        }
        let mut shown: Vec<(&str, u64)> = sums.into_iter().collect();
        shown.sort_by_key(|(channel, sum)| (std::cmp::Reverse(*sum), *channel));
        shown.truncate(SHOWN_MAX);
        let row = |count: &dyn Fn(&Minute) -> u64| {
            let mut row = vec![0_u64; MINUTES as usize];
            for minute in recent() {
                if let Some(place) = row.get_mut((minute.number - first) as usize) {
                    *place = count(minute);
                }
            }
            row
        };
        let of = |channel: &str| row(&|minute: &Minute| minute.by_channel.get(channel).copied().unwrap_or(0));
        let mut rows: Vec<Vec<u64>> = shown.iter().map(|(channel, _)| of(channel)).collect();
        rows.push(row(&|minute: &Minute| {
            let is_shown = |channel: &str| shown.iter().any(|(name, _)| *name == channel);
            let rest = minute.by_channel.iter().filter(|(channel, _)| !is_shown(channel));
            minute.others + rest.map(|(_, count)| count).sum::<u64>()
        }));
        json!({ "first": first, "channels": shown.iter().map(|(name, _)| name).collect::<Vec<_>>(), "rows": rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of each row of the chart at this minute, trailing zeros of the hour's beginning left out.
    fn rows(tally: &Tally, minute: u64) -> Vec<(String, Vec<u64>)> {
        let chart = tally.chart(minute * 60_000);
        assert_eq!(chart["first"], minute.saturating_sub(59));
        let mut names: Vec<String> =
            chart["channels"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        names.push("others".to_owned());
        let counts = |row: &Value| {
            let row = row.as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
            let row: Vec<u64> = row.collect();
            assert_eq!(row.len(), 60);
            row.into_iter().skip_while(|count| *count == 0).collect()
        };
        names.into_iter().zip(chart["rows"].as_array().unwrap().iter().map(counts)).collect()
    }

    fn named(rows: &[(&str, &[u64])]) -> Vec<(String, Vec<u64>)> {
        rows.iter().map(|(name, counts)| ((*name).to_owned(), counts.to_vec())).collect()
    }

    #[test]
    fn events_are_counted_by_minute_and_channel() {
        let mut tally = Tally::default();
        for (minute, channel) in [(100, "a"), (100, "b"), (100, "b"), (102, "a"), (101, "a")] {
            tally.count(channel, minute * 60_000 + 59_999);
        }
        assert_eq!(rows(&tally, 102), named(&[("a", &[1, 0, 2]), ("b", &[2, 0, 0]), ("others", &[])]));
        // A minute later, and when the first minute is more than an hour old.
        assert_eq!(rows(&tally, 103), named(&[("a", &[1, 0, 2, 0]), ("b", &[2, 0, 0, 0]), ("others", &[])]));
        let hour: Vec<u64> = std::iter::once(2).chain([0; 59]).collect();
        assert_eq!(rows(&tally, 161), named(&[("a", &hour), ("others", &[])]));
        assert_eq!(rows(&tally, 162), named(&[("others", &[])]));
    }

    #[test]
    fn channels_beyond_the_bounds_are_counted_together() {
        let mut tally = Tally::default();
        for n in 0..CHANNELS_MAX + 10 {
            tally.count(&format!("c{n:03}"), 0);
            tally.count("c000", 0);
        }
        let rows = rows(&tally, 0);
        assert_eq!(rows.len(), SHOWN_MAX + 1);
        assert_eq!(rows[0], ("c000".to_owned(), vec![75].into_iter().chain([0; 59]).collect()));
        assert_eq!(rows[SHOWN_MAX].1[0] as usize, CHANNELS_MAX + 10 - SHOWN_MAX);
        assert_eq!(tally.minutes[0].by_channel.len(), CHANNELS_MAX);
        for minute in 1..1000 {
            tally.count("a", minute * 60_000);
        }
        assert_eq!(tally.minutes.len(), MINUTES as usize);
    }
}
