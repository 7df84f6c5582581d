//! Everything that people see of the engine: the state, the numbers of `Stats()`, the lines of `realtime_status`, and
//! one log line about files that were loaded again.
//! Game thread only. Reads counters and never waits for I/O; no text holds a secret.
//!
//! `Stats()` is a tree of names: a group for each queue, the groups below it, and every counter of
//! [`crate::stats::Stats`] by the name of its field. So a counter that is added there appears here on its own.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::registrations::{Header, Registered, Removed};
use crate::stats::{Counters, Histogram, people};
use crate::threads::numbers::{self, QueueNumbers};
use crate::threads::selftest;
use crate::webhook::schedule::{DestinationReport, DestinationState};

impl Engine {
    /// The state in one word (`closed`, `connected`, `connecting` or `auth_failed`) and a sentence. Connected means
    /// that both connections stand and Redis has confirmed every subscription.
    pub fn status(&self) -> (&'static str, String) {
        if !self.is_attached() {
            return ("closed", String::new());
        }
        let links = [&self.shared.links.publisher, &self.shared.links.subscriber];
        match links.iter().find(|link| !link.is_ready()) {
            // A change that is not published yet is not confirmed either, though the last version was.
            None if self.routes_changed || !self.shared.settled.is_reached(self.routes_version) => {
                let redis = self.shared.embedded.address(&self.config);
                ("connecting", format!("redis at {redis} has not confirmed every subscription"))
            }
            None => match self.shared.embedded.in_use() {
                Some(cli_line) => {
                    ("embedded", format!("this server alone, others are not reached. To look inside: {cli_line}"))
                }
                None => ("connected", self.config.redis_name()),
            },
            Some(link) => {
                let trouble = link.trouble();
                (if trouble.login { "auth_failed" } else { "connecting" }, trouble.reason)
            }
        }
    }

    /// The lines of `realtime_status`.
    pub fn report(&self) -> Vec<String> {
        let (state, detail) = self.status();
        lines(&summary(state, &detail, self.shared.links.lasted(), &self.stats()), &self.config, &self.stats())
    }

    /// Begins `realtime_selftest` on a thread of its own.
    pub fn begin_selftest(&self) -> Result<(), String> {
        selftest::begin(&self.shared)
    }

    /// The numbers of `Stats()`.
    pub fn stats(&self) -> Value {
        let (shared, pump) = (&*self.shared, &self.pump);
        let stats = &*shared.stats;
        let mut groups = numbers(&stats.list());
        for numbers in numbers::queues(shared, pump.waiting(), pump.answers_waiting()) {
            let mut group = queue(&numbers);
            if numbers.name == "webhooks" {
                set(&mut group, "on_disk", shared.webhooks.on_disk().into());
            }
            set(&mut groups, numbers.name, group.into());
        }
        for (name, durations) in [("pump", pump.times()), ("wait", pump.waits()), ("latency", pump.latencies())] {
            set(&mut groups, name, percentiles(durations));
        }
        for (name, count) in [
            ("listeners", self.listeners.len()),
            ("hooks", self.hooks.len()),
            ("aggregators", self.aggregators.len()),
            ("callbacks", self.pending.len()),
        ] {
            set(&mut groups, name, count.into());
        }
        set(&mut groups, "event_logs", numbers(&stats.file_counts.list()).into());
        set(&mut groups, "limits", shared.limits.list().into());
        let standings = shared.webhooks.standings();
        set(&mut groups, "destinations", standings.iter().map(destination).collect::<Vec<_>>().into());
        groups.into()
    }
}

/// Adds a member to a group.
fn set(group: &mut Map<String, Value>, name: &str, value: Value) {
    group.insert(name.to_owned(), value);
}

/// A group of counters by name.
fn numbers(counts: &[(&str, u64)]) -> Map<String, Value> {
    let mut group = Map::new();
    counts.iter().for_each(|(name, count)| set(&mut group, name, (*count).into()));
    group
}

/// The group of one queue.
fn queue(queue: &QueueNumbers) -> Map<String, Value> {
    let QueueNumbers { offered, delivered, waiting, dropped, .. } = queue;
    let mut group = numbers(&[("in", *offered), ("delivered", *delivered), ("waiting", *waiting as u64)]);
    set(&mut group, "dropped", numbers(dropped).into());
    group
}

/// The group of a duration: how often it was measured, and percentiles in microseconds with one decimal.
fn percentiles(of: &Histogram) -> Value {
    let mut group = numbers(&[("count", of.count())]);
    for (name, duration) in [("p50_us", of.percentile(0.5)), ("p99_us", of.percentile(0.99)), ("max_us", of.max())] {
        set(&mut group, name, ((duration.as_secs_f64() * 1e7).round() / 10.0).into());
    }
    group.into()
}

/// The group of one webhook destination.
fn destination(standing: &DestinationReport) -> Value {
    let DestinationReport { name, hook, kind, tally, waiting, on_disk, state } = standing;
    let words;
    let (word, detail) = match state {
        DestinationState::Ok => ("ok", ""),
        DestinationState::Paused(left) => {
            words = format!("for {:.1} s", left.as_secs_f64());
            ("paused", words.as_str())
        }
        DestinationState::Broken(trouble, left) if !left.is_zero() => {
            words = format!("{trouble}; the next attempt is in {:.1} s", left.as_secs_f64());
            ("broken", words.as_str())
        }
        DestinationState::Broken(trouble, _) => ("broken", trouble.as_str()),
        DestinationState::Closed(reason) => ("closed", reason.as_str()),
    };
    let mut group = numbers(&[
        ("in", tally.offered),
        ("delivered", tally.delivered),
        ("dead", tally.dead),
        ("replaced", tally.replaced),
        ("waiting", *waiting),
        ("on_disk", *on_disk),
    ]);
    tally.codes().iter().for_each(|(code, count)| set(&mut group, code, (*count).into()));
    for (member, text) in [("name", name.as_str()), ("hook", hook), ("type", kind), ("state", word), ("detail", detail)]
    {
        set(&mut group, member, text.into());
    }
    group.into()
}

/// The first line of `realtime_status`, for somebody who reads no other: the state and how long it lasts, and whether
/// anything was lost. `connected for 3 min: redis at h:6379; 2 other servers heard, nothing lost, median 14.6 ms`
fn summary(state: &str, detail: &str, lasted: Duration, stats: &Value) -> String {
    let count = |member: &str| stats[member].as_u64().unwrap_or_default();
    let groups = stats.as_object().into_iter().flatten();
    let dropped: u64 = groups
        .filter_map(|(_, group)| group.get("dropped")?.as_object())
        .flatten()
        .filter_map(|(reason, count)| {
            // A duplicate that is not delivered twice, an event that nobody listens to, and a text that a newer one
            // replaces are no loss.
            count.as_u64().filter(|_| !matches!(reason.as_str(), "repeat" | "no_listener" | "replaced"))
        })
        .sum();
    let lost = match (dropped, count("missed")) {
        (0, 0) => "nothing lost".to_owned(),
        (dropped, 0) => format!("{dropped} dropped here"),
        (0, missed) => format!("{missed} of other servers lost"),
        (dropped, missed) => format!("{dropped} dropped here, {missed} of other servers lost"),
    };
    let servers = match count("servers_heard") {
        0 => "no other server heard".to_owned(),
        1 => "1 other server heard".to_owned(),
        servers => format!("{servers} other servers heard"),
    };
    let waiting = stats["outbox"]["waiting"].as_u64().filter(|waiting| *waiting > 0);
    let waiting = waiting.map(|waiting| format!(", {waiting} wait for redis")).unwrap_or_default();
    let median = Duration::from_secs_f64(stats["latency"]["p50_us"].as_f64().unwrap_or_default().max(0.0) / 1e6);
    let median = if median.is_zero() { String::new() } else { format!(", median {}", people(median)) };
    let between = if detail.is_empty() { "" } else { ": " };
    format!("{state} for {}{between}{detail}; {servers}, {lost}{waiting}{median}", people(lasted))
}

/// The lines of `realtime_status`: the summary, the settings that matter most, and every number that is not zero.
fn lines(summary: &str, config: &Config, stats: &Value) -> Vec<String> {
    let mut lines = vec![format!("realtime {}: {summary}", env!("CARGO_PKG_VERSION"))];
    let prefix = if config.prefix.is_empty() { "none".to_owned() } else { format!("`{}`", config.prefix) };
    lines.push(format!(
        "server `{}`, prefix {prefix}, budget {} us a tick",
        config.server,
        config.tick_budget.as_micros()
    ));
    lines.extend(config.renaming());
    lines.extend(config.complaints.iter().map(|complaint| format!("settings: {complaint}")));
    for limit in list(stats, "limits") {
        lines.extend(limit.as_str().map(str::to_owned));
    }
    let Some(groups) = stats.as_object() else { return lines };
    // Groups are recognized by their members, so a new queue or duration needs no change here.
    for (name, group) in groups.iter().filter(|(_, group)| group.get("in").is_some_and(|count| count != 0)) {
        lines.push(queue_line(name, group));
    }
    for (name, group) in groups.iter().filter(|(_, group)| group.get("p50_us").is_some()) {
        let micros = |member: &str| group[member].as_f64().unwrap_or_default();
        if micros("count") > 0.0 {
            let shown = |member: &str| people(Duration::from_secs_f64(micros(member).max(0.0) / 1e6));
            lines.push(format!(
                "{}: p50 {}, p99 {}, longest {}",
                words(name),
                shown("p50_us"),
                shown("p99_us"),
                shown("max_us")
            ));
        }
    }
    for destination in list(stats, "destinations") {
        lines.push(destination_line(destination));
    }
    let mut others = String::new();
    for (name, number) in groups.iter().filter_map(|(name, value)| Some((name, value.as_u64().filter(|n| *n > 0)?))) {
        // Writing to a String cannot fail.
        let _ = write!(others, "{}{name} {number}", if others.is_empty() { "counts: " } else { ", " });
    }
    lines.extend((!others.is_empty()).then_some(others));
    lines
}

/// The words for the groups of `Stats()`, as the README has them.
const WORDS: [(&str, &str); 11] = [
    ("outbox", "to redis"),
    ("inbox", "events for Lua"),
    ("replies", "answers for Lua"),
    ("notices", "game hooks"),
    ("actions", "events for hooks"),
    ("aggregates", "events for aggregators"),
    ("webhooks", "posts"),
    ("files", "records for event logs"),
    ("pump", "work in one tick"),
    ("wait", "from redis to the listener"),
    ("latency", "from Emit to the listener"),
];

/// A group in words, with its name in `Stats()`: `to redis (outbox)`.
fn words(name: &str) -> String {
    match WORDS.iter().find(|(group, _)| *group == name) {
        Some((_, words)) => format!("{words} ({name})"),
        None => name.to_owned(),
    }
}

/// The elements of a member.
fn list<'a>(stats: &'a Value, member: &str) -> &'a [Value] {
    stats.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `to redis (outbox): in 6, delivered 3, waiting 1, dropped as expired 2`
fn queue_line(name: &str, group: &Value) -> String {
    let mut line = format!("{}: in {}, delivered {}", words(name), group["in"], group["delivered"]);
    if group["waiting"] != 0 {
        let _ = write!(line, ", waiting {}{}", group["waiting"], on_disk(group));
    }
    for (reason, count) in group["dropped"].as_object().into_iter().flatten() {
        if count.as_u64() > Some(0) {
            let _ = write!(line, ", dropped as {reason} {count}");
        }
    }
    line
}

/// ` (5 on the disk)`, for a group of which some items wait there.
fn on_disk(group: &Value) -> String {
    match group["on_disk"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => format!(" ({count} on the disk)"),
    }
}

/// `to h/*** of hook `a`: paused for 1.5 s, in 3, delivered 1, dead 1, waiting 9 (5 on the disk)`
fn destination_line(stats: &Value) -> String {
    let text = |member: &str| stats[member].as_str().unwrap_or_default();
    let (name, hook, state, detail) = (text("name"), text("hook"), text("state"), text("detail"));
    let between = if detail.is_empty() { "" } else { " " };
    let (offered, delivered, dead, waiting) = (&stats["in"], &stats["delivered"], &stats["dead"], &stats["waiting"]);
    let on_disk = on_disk(stats);
    let whose = if hook.is_empty() { String::new() } else { format!(" of hook `{hook}`") };
    format!(
        "to {name}{whose}: {state}{between}{detail}, in {offered}, delivered {delivered}, dead {dead}, waiting {waiting}{on_disk}"
    )
}

/// Names in the log line about files that were loaded again. More do not help, and a line has to stay readable.
const NAMES_MAX: usize = 5;

/// The files that were loaded again, for one log line.
#[derive(Default)]
pub(super) struct LoadedAgain {
    /// Each with the number of its registrations that were suspended.
    pub(super) files: Vec<(Arc<str>, usize)>,
    /// Those of them that were not added again: their number, and the first of them.
    gone: usize,
    first_gone: Vec<Registered>,
}

impl LoadedAgain {
    /// Some of the suspended registrations were removed.
    pub(super) fn lost(&mut self, gone: &[Removed]) {
        self.gone += gone.len();
        // One more than a line names tells that there are more.
        let room = (NAMES_MAX + 1).saturating_sub(self.first_gone.len());
        self.first_gone.extend(gone.iter().take(room).map(|(item, _)| item.clone()));
    }

    /// Logs how many registrations were replaced, and the names of those that the files do not add any more. The names
    /// make it a warning: a hook may be lost by mistake.
    pub(super) fn say(self) {
        // Only a suspension lists a file, so without files nothing was suspended and nothing is gone.
        let LoadedAgain { files, gone, first_gone } = self;
        let Some((file, _)) = files.first() else { return };
        let before: usize = files.iter().map(|(_, before)| before).sum();
        let others = if files.len() > 1 { format!(" and {} other files", files.len() - 1) } else { String::new() };
        let replaced = before.saturating_sub(gone);
        let mut line = format!("`{file}`{others} loaded again; {replaced} earlier hooks and aggregators were replaced");
        if gone == 0 {
            return log::info!("{line}");
        }
        let names = names(first_gone.iter());
        let _ = write!(line, ", {gone} are not added any more and were removed: {names}");
        log::warn!("{line}");
    }
}

/// Logs the hooks and aggregators that the new Lua state did not add again. `lost` counts the events that waited for
/// functions of theirs. A warning for the same reason as above.
pub(super) fn say_not_added_again(gone: &[Registered], lost: usize) {
    if gone.is_empty() {
        return;
    }
    let (count, names) = (gone.len(), names(gone.iter()));
    let waited = if lost > 0 { format!("; {lost} events that waited for them are lost") } else { String::new() };
    log::warn!("{count} hooks and aggregators were not added again after the map change and are gone: {names}{waited}");
}

/// The first names of some registrations, for the log: `id` on `channel`, ...
fn names<'a>(all: impl ExactSizeIterator<Item = &'a Registered>) -> String {
    let more = if all.len() > NAMES_MAX { ", ..." } else { "" };
    let name = |registered: &Registered| {
        let Header { id, topic, .. } = registered.header();
        format!("`{}` on `{}`", String::from_utf8_lossy(id), String::from_utf8_lossy(topic.name()))
    };
    all.take(NAMES_MAX).map(name).collect::<Vec<_>>().join(", ") + more
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::webhook::schedule::Tally;

    #[test]
    fn the_lines_show_the_settings_and_every_number_that_is_not_zero() {
        let mut config = Config::defaults("box", 27015);
        assert!(config.apply_json("test", r#"{"redis":"redis://gmod:hunter2@h","prefix":"p:"}"#).is_empty());
        let stats = json!({
            "outbox": { "in": 5, "delivered": 3, "dropped": { "expired": 2, "redis": 0 }, "waiting": 0 },
            "pump": { "count": 2, "p50_us": 1.6, "p99_us": 2500.0, "max_us": 3000000.0 },
            "inbox": { "in": 0, "delivered": 0, "dropped": {}, "waiting": 0 },
            "wait": { "count": 0, "p50_us": 0.0, "p99_us": 0.0, "max_us": 0.0 },
            "webhooks": { "in": 9, "delivered": 2, "dropped": {}, "waiting": 7, "on_disk": 5 },
            "resent": 7,
            "missed": 0,
            "limits": ["redis refuses scripts; NOPERM"],
            "destinations": [
                { "name": "h/***", "hook": "a", "state": "broken", "detail": "no answer", "in": 3, "delivered": 1, "dead": 1, "waiting": 1, "on_disk": 0 },
                { "name": "h/***", "hook": "b", "state": "ok", "in": 6, "delivered": 0, "dead": 0, "waiting": 6, "on_disk": 5 }
            ],
        });
        let said = lines("connected", &config, &stats);
        assert!(said[0].ends_with(": connected"), "{said:?}");
        assert_eq!(
            said[1..],
            [
                "server `box-27015`, prefix `p:`, budget 500 us a tick",
                "redis refuses scripts; NOPERM",
                "to redis (outbox): in 5, delivered 3, dropped as expired 2",
                "posts (webhooks): in 9, delivered 2, waiting 7 (5 on the disk)",
                "work in one tick (pump): p50 2 us, p99 2.5 ms, longest 3.0 s",
                "to h/*** of hook `a`: broken no answer, in 3, delivered 1, dead 1, waiting 1",
                "to h/*** of hook `b`: ok, in 6, delivered 0, dead 0, waiting 6 (5 on the disk)",
                "counts: resent 7",
            ]
        );
        assert!(!said.concat().contains("hunter2"));
    }

    #[test]
    fn a_broken_destination_says_when_it_is_tried_again() {
        let shown = |state| {
            let (name, hook) = ("h/***".to_owned(), "a".to_owned());
            let report =
                DestinationReport { name, hook, kind: "http", tally: Tally::default(), waiting: 2, on_disk: 0, state };
            destination_line(&destination(&report))
        };
        let broken = |left| DestinationState::Broken("HTTP 500".to_owned(), left);
        let line = |words: &str| format!("to h/*** of hook `a`: {words}, in 0, delivered 0, dead 0, waiting 2");
        let later = line("broken HTTP 500; the next attempt is in 12.5 s");
        assert_eq!(shown(broken(Duration::from_millis(12_500))), later);
        assert_eq!(shown(broken(Duration::ZERO)), line("broken HTTP 500"));
        assert_eq!(shown(DestinationState::Paused(Duration::from_millis(1500))), line("paused for 1.5 s"));
    }

    #[test]
    fn the_first_line_is_a_sentence_for_people() {
        let row = |stats: Value, seconds| summary("connected", "redis at h", Duration::from_secs(seconds), &stats);
        let queue = |dropped: Value, waiting: u64| json!({ "in": 9, "dropped": dropped, "waiting": waiting });
        for (stats, seconds, expected) in [
            (
                json!({ "servers_heard": 2, "latency": { "p50_us": 14_600.0 } }),
                180,
                "3 min: redis at h; 2 other servers heard, nothing lost, median 14.6 ms",
            ),
            (
                json!({ "inbox": queue(json!({ "repeat": 3 }), 4) }),
                5,
                "5.0 s: redis at h; no other server heard, nothing lost",
            ),
            (
                json!({ "missed": 3, "servers_heard": 1 }),
                9000,
                "2 h 30 min: redis at h; 1 other server heard, 3 of other servers lost",
            ),
            (
                json!({ "outbox": queue(json!({ "expired": 2, "redis": 1 }), 4), "missed": 1 }),
                90_000_000,
                "1041 d 16 h: redis at h; no other server heard, 3 dropped here, 1 of other servers lost, 4 wait for redis",
            ),
        ] {
            assert_eq!(row(stats, seconds), format!("connected for {expected}"));
        }
    }
}
