//! What `realtime_status` prints: the state, the settings that matter, and the numbers of `Stats()` that are not zero.
//! Lines of text, no secret. And one line of the log: what became of the hooks of files that were loaded again.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Config;
use crate::engine::registrations::{Registered, Removed};
use crate::webhook::schedule::{DestinationReport, DestinationState};

/// The lines, for a person.
pub(crate) fn lines(state: &str, detail: &str, config: &Config, stats: &Value) -> Vec<String> {
    let mut lines = vec![format!("realtime {}: {state}: {detail}", env!("CARGO_PKG_VERSION"))];
    let prefix = if config.prefix.is_empty() { "none".to_owned() } else { format!("`{}`", config.prefix) };
    lines.push(format!(
        "server `{}`, prefix {prefix}, budget {} us a tick",
        config.server,
        config.tick_budget.as_micros()
    ));
    lines.extend(config.complaints.iter().map(|complaint| format!("settings: {complaint}")));
    lines.extend(stats["limits"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    let Some(groups) = stats.as_object() else { return lines };
    for (name, group) in groups.iter().filter(|(_, group)| group.get("in").is_some()) {
        lines.push(queue_line(name, group));
    }
    for (name, group) in groups.iter().filter(|(_, group)| group.get("p50_us").is_some()) {
        let micros = |member: &str| group[member].as_f64().unwrap_or_default();
        if micros("count") > 0.0 {
            let (p50, p99, max) = (micros("p50_us"), micros("p99_us"), micros("max_us"));
            lines.push(format!("{name}: p50 {p50} us, p99 {p99} us, longest {max} us"));
        }
    }
    lines.extend(stats["destinations"].as_array().into_iter().flatten().map(destination_line));
    let mut others = String::new();
    for (name, number) in groups.iter().filter_map(|(name, value)| Some((name, value.as_u64().filter(|n| *n > 0)?))) {
        // Writing to a String cannot fail.
        let _ = write!(others, "{}{name} {number}", if others.is_empty() { "" } else { ", " });
    }
    lines.extend((!others.is_empty()).then_some(others));
    lines
}

/// One destination of webhooks, for `Stats()`.
pub(crate) fn destination(standing: &DestinationReport) -> Value {
    let DestinationReport { name, hook, kind, tally, waiting, state } = standing;
    let (word, detail) = match state {
        DestinationState::Ok => ("ok", String::new()),
        DestinationState::Paused(left) => ("paused", format!("for {:.1} s", left.as_secs_f64())),
        DestinationState::Broken(trouble) => ("broken", trouble.clone()),
        DestinationState::Closed(reason) => ("closed", reason.clone()),
    };
    json!({
        "name": name, "hook": hook, "type": kind, "state": word, "detail": detail, "in": tally.offered, "delivered": tally.delivered,
        "dead": tally.dead, "waiting": waiting, "2xx": tally.status_2xx, "4xx": tally.status_4xx,
        "429": tally.status_429, "5xx": tally.status_5xx, "no_answer": tally.no_answer,
    })
}

/// Says once what became of the hooks and aggregators of files that were loaded again: of each file how many it had
/// added before, and those that it adds no more.
pub(super) fn say_loaded_again(
    files: &[(Arc<str>, usize)],
    hooks: &[Removed<impl Registered>],
    aggregators: &[Removed<impl Registered>],
) {
    let Some((file, _)) = files.first() else { return };
    let before: usize = files.iter().map(|(_, before)| before).sum();
    let gone = hooks.len() + aggregators.len();
    let others = if files.len() > 1 { format!(" and {} other files", files.len() - 1) } else { String::new() };
    let replaced = before.saturating_sub(gone);
    let mut line = format!("`{file}`{others} loaded again; {replaced} hooks and aggregators of before were replaced");
    if gone == 0 {
        return log::info!("{line}");
    }
    let names = hooks.iter().map(|(hook, _)| name(&**hook)).chain(aggregators.iter().map(|(it, _)| name(&**it)));
    let names: Vec<String> = names.take(NAMES_MAX).collect();
    let more = if gone > names.len() { ", ..." } else { "" };
    // Writing to a String cannot fail.
    let _ = write!(line, ", {gone} are added no more and gone: {}{more}", names.join(", "));
    log::warn!("{line}");
}

/// Names in one line of the log.
const NAMES_MAX: usize = 5;

fn name(registered: &impl Registered) -> String {
    let (id, channel) = (registered.id(), registered.topic().name());
    format!("`{}` on `{}`", String::from_utf8_lossy(id), String::from_utf8_lossy(channel))
}

fn destination_line(stats: &Value) -> String {
    let text = |member: &str| stats[member].as_str().unwrap_or_default().to_owned();
    let (name, hook, state, detail) = (text("name"), text("hook"), text("state"), text("detail"));
    let between = if detail.is_empty() { "" } else { " " };
    let (offered, delivered, dead, waiting) = (&stats["in"], &stats["delivered"], &stats["dead"], &stats["waiting"]);
    let whose = if hook.is_empty() { String::new() } else { format!(" of hook `{hook}`") };
    format!(
        "to {name}{whose}: {state}{between}{detail}, in {offered}, delivered {delivered}, dead {dead}, waiting {waiting}"
    )
}

fn queue_line(name: &str, group: &Value) -> String {
    let mut line =
        format!("{name}: in {}, delivered {}, waiting {}", group["in"], group["delivered"], group["waiting"]);
    for (reason, count) in group["dropped"].as_object().into_iter().flatten() {
        if count.as_u64() > Some(0) {
            let _ = write!(line, ", dropped as {reason} {count}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_a_person() {
        let mut config = Config::defaults("box", 27015);
        assert!(config.apply_json("test", r#"{"redis":"redis://gmod:hunter2@h","prefix":"p:"}"#).is_empty());
        let stats = json!({
            "outbox": { "in": 5, "delivered": 3, "dropped": { "expired": 2, "redis": 0 }, "waiting": 0 },
            "pump": { "count": 2, "p50_us": 1.5, "p99_us": 2.5, "max_us": 3.0 },
            "wait": { "count": 0, "p50_us": 0.0, "p99_us": 0.0, "max_us": 0.0 },
            "resent": 7,
            "missed": 0,
            "limits": ["redis refuses scripts; NOPERM"],
            "destinations": [
                { "name": "h/***", "hook": "a", "state": "broken", "detail": "no answer", "in": 3, "delivered": 1, "dead": 1, "waiting": 1 }
            ],
        });
        let said = lines("connected", "redis at h:6379", &config, &stats);
        assert!(said[0].ends_with(": connected: redis at h:6379"), "{said:?}");
        assert_eq!(
            said[1..],
            [
                "server `box-27015`, prefix `p:`, budget 500 us a tick",
                "redis refuses scripts; NOPERM",
                "outbox: in 5, delivered 3, waiting 0, dropped as expired 2",
                "pump: p50 1.5 us, p99 2.5 us, longest 3 us",
                "to h/*** of hook `a`: broken no answer, in 3, delivered 1, dead 1, waiting 1",
                "resent 7",
            ]
        );
        assert!(!said.concat().contains("hunter2"));
    }
}
