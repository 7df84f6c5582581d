//! The text of the metrics file, in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>). Pure.
//!
//! ```text
//!  # Written by ... server box-27015, process 00c0ffee00c0ffee, at 1764200000    the head: whose file it is
//!  # HELP realtime_queue_dropped_total Items that ...                            a family
//!  # TYPE realtime_queue_dropped_total counter
//!  realtime_queue_dropped_total{server="box-27015",queue="outbox",reason="expired"} 2
//! ```
//! Each sample names the server, because one collector may read the files of all servers of a machine, and two equal
//! series would make it refuse all of them. The number of series is bounded: the labels `queue` and `reason` have fixed
//! values, and at most [`DESTINATIONS_SHOWN_MAX`] destinations have series of their own.

use std::fmt::{Display, Write as _};

use crate::threads::metrics::desk::PumpNumbers;
use crate::threads::numbers::QueueNumbers;
use crate::webhook::schedule::{DestinationReport, OTHERS, Tally};

/// Destinations with series of their own. The requests of further ones are summed up as those of `others`.
const DESTINATIONS_SHOWN_MAX: usize = 64;

/// The values of one file.
pub(super) struct Values<'a> {
    /// The first line.
    pub(super) head: &'a str,
    pub(super) server: &'a str,
    pub(super) unix_s: u64,
    /// Both connections to Redis are ready.
    pub(super) is_up: bool,
    pub(super) queues: &'a [QueueNumbers],
    pub(super) missed: u64,
    pub(super) destinations: Vec<DestinationReport>,
    pub(super) pump: Option<PumpNumbers>,
    /// `None`: the game has not told it lately.
    pub(super) players: Option<u32>,
    pub(super) players_max: Option<u32>,
}

/// The whole file.
pub(super) fn render(values: &Values<'_>) -> String {
    let mut text = Text { text: format!("{}\n", values.head), server: escaped(values.server), family: "" };
    text.family("realtime_build_info", "gauge", "Version of the module, as a label.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], &1);
    text.family("realtime_last_write_timestamp_seconds", "gauge", "Unix time at which this file was written.");
    text.sample("", &[], &values.unix_s);
    text.family("realtime_redis_up", "gauge", "1 while both connections to Redis are ready, else 0.");
    text.sample("", &[], &u8::from(values.is_up));
    queues(&mut text, values.queues);
    text.family("realtime_gap_missed_total", "counter", "Events of other servers that never arrived.");
    text.sample("", &[], &values.missed);
    requests(&mut text, &values.destinations);
    if let Some(pump) = &values.pump {
        text.family("realtime_pump_seconds", "histogram", "Work of the module in one tick of the game.");
        for (edge, count) in &pump.buckets {
            text.sample("_bucket", &[("le", &edge.as_secs_f64().to_string())], count);
        }
        text.sample("_bucket", &[("le", "+Inf")], &pump.count);
        text.sample("_sum", &[], &pump.sum.as_secs_f64());
        text.sample("_count", &[], &pump.count);
    }
    for (name, help, value) in [
        ("gmod_players", "Players on the server.", values.players),
        ("gmod_players_max", "Slots for players.", values.players_max),
    ] {
        if let Some(value) = value {
            text.family(name, "gauge", help);
            text.sample("", &[], &value);
        }
    }
    text.text
}

fn queues(text: &mut Text, queues: &[QueueNumbers]) {
    text.family("realtime_queue_in_total", "counter", "Items offered to a queue, refused ones included.");
    queues.iter().for_each(|queue| text.sample("", &[("queue", queue.name)], &queue.offered));
    text.family("realtime_queue_delivered_total", "counter", "Items of a queue that were delivered.");
    queues.iter().for_each(|queue| text.sample("", &[("queue", queue.name)], &queue.delivered));
    text.family("realtime_queue_dropped_total", "counter", "Items of a queue that were dropped, by reason.");
    for queue in queues {
        for (reason, count) in &queue.dropped {
            text.sample("", &[("queue", queue.name), ("reason", reason)], count);
        }
    }
    text.family("realtime_queue_waiting", "gauge", "Items that wait in a queue.");
    queues.iter().for_each(|queue| text.sample("", &[("queue", queue.name)], &queue.waiting));
}

/// The requests by destination. Destinations that differ in their secrets only have equal names, and equal series would
/// make the whole file invalid: so their counts are added.
fn requests(text: &mut Text, destinations: &[DestinationReport]) {
    let mut named: Vec<(&str, Tally)> = Vec::new();
    let mut others = Tally::default();
    for report in destinations {
        if let Some((_, tally)) = named.iter_mut().find(|(name, _)| *name == report.name) {
            tally.add(&report.tally);
        } else if report.name == OTHERS || named.len() >= DESTINATIONS_SHOWN_MAX {
            others.add(&report.tally);
        } else {
            named.push((&report.name, report.tally));
        }
    }
    if others != Tally::default() {
        named.push((OTHERS, others));
    }
    text.family(
        "realtime_webhook_requests_total",
        "counter",
        "Requests of webhooks by destination, without its secrets, and status.",
    );
    for (name, tally) in &named {
        for (code, count) in tally.codes() {
            text.sample("", &[("destination", name), ("code", code)], &count);
        }
    }
}

/// The text so far.
struct Text {
    text: String,
    /// Escaped.
    server: String,
    /// The name of the family that was begun last.
    family: &'static str,
}

impl Text {
    /// Begins a family of samples.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a sample of that family. `end` is the end of its name, if it is one of a histogram.
    fn sample(&mut self, end: &str, labels: &[(&str, &str)], value: &dyn Display) {
        let _ = write!(self.text, "{}{end}{{server=\"{}\"", self.family, self.server);
        for (label, value) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}

/// The value of a label with the three escapes of the format. Other control characters have none, and some readers end a
/// line at them: a sign takes their place.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            control if control.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
