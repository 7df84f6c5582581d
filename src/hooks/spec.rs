//! What a hook does when its event comes: the checked form of what Lua hands to `AddHook` and `AddAggregator`.
//! Parsed once on the game thread, shared as it is by whoever acts; pure. A spec is taken whole or not at all.
//! Lua functions arrive here as marks, `{"\u0000function": "<source>:<line>"}`: the game thread keeps the functions.
//! The errors name the member and never hold a URL or the value of a header.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use crate::config::limits::AGGREGATE_EVENTS_MAX;
use crate::eventlog::path::LogPath;
use crate::eventlog::spec::{EVENTLOG_SEGMENT_BYTES_MIN, Format, LogSpec};
use crate::hooks::error::SpecError;
use crate::hooks::filter::EventFilter;
use crate::hooks::members::{COMMON, Function, Members};
use crate::hooks::request::{self, Webhook};
use crate::hooks::template::{Context, Template};
use crate::json::text::WHOLE_MAX;

/// Most actions of one conditional hook or aggregator. More is a program, which belongs in Lua.
const ACTIONS_MAX: usize = 16;
/// Longest time to live of a counter, in seconds.
const TTL_S_MAX: u64 = 10 * 366 * 86_400;
/// Longest window of an aggregator, in seconds.
const INTERVAL_S_MAX: u64 = 86_400;
/// Events that one window of an aggregator keeps unless its spec says otherwise.
const AGGREGATE_EVENTS_DEFAULT: u64 = 10_000;

/// A hook: its conditions, and what it does when they hold.
#[derive(Debug)]
pub struct Spec {
    pub(crate) filter: EventFilter,
    /// Asked on the game thread after the filter. Only a `conditional` has one.
    pub(crate) condition: Option<Function>,
    /// At least one; exactly one unless the hook is a `conditional`.
    pub actions: Vec<Action>,
}

/// One thing to do.
#[derive(Debug)]
pub struct Action {
    /// Of its own, beside the hook's; for an action of a conditional or an aggregator.
    pub(crate) filter: EventFilter,
    pub(crate) scope: Scope,
    pub kind: ActionKind,
}

/// Which server of a fleet acts on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Exactly one.
    Fleet,
    /// Every one that sees it.
    Each,
}

#[derive(Debug)]
pub enum ActionKind {
    Webhook(Arc<Webhook>),
    /// A record in an event log.
    File(Arc<LogSpec>),
    Counter(CounterAction),
    Leaderboard(LeaderboardAction),
}

/// A number in Redis that goes up or down.
#[derive(Debug)]
pub struct CounterAction {
    pub(crate) key: Template,
    /// Never 0; below it for `decr`.
    pub(crate) by: i64,
    /// Seconds from the counter's birth.
    pub(crate) ttl: Option<u64>,
}

/// A score in a sorted set of Redis.
#[derive(Debug)]
pub struct LeaderboardAction {
    pub(crate) board: Template,
    pub(crate) member: Template,
    pub(crate) by: f64,
    pub(crate) ttl: Option<u64>,
}

const TYPES: [&str; 6] = ["discord", "http", "file", "counter", "leaderboard", "conditional"];

impl Spec {
    /// Checks a whole spec of `AddHook`.
    pub fn parse(value: &Value) -> Result<Spec, SpecError> {
        let members = Members::of(value, "", "a table with `type` and its members")?;
        let filter = filter(&members)?;
        if members.needed_word("type", &TYPES)? != "conditional" {
            let action = Action { filter: EventFilter::default(), ..action(&members, None)? };
            return Ok(Spec { filter, condition: None, actions: vec![action] });
        }
        members.only(&COMMON, &["condition", "actions"])?;
        let scope = scope(&members)?;
        let condition = Some(members.function("condition")?);
        Ok(Spec { filter, condition, actions: actions(&members, scope)? })
    }
}

/// What `AddAggregator` is given.
#[derive(Debug)]
pub(crate) struct AggregatorSpec {
    pub(crate) interval_s: u64,
    pub(crate) actions: Vec<Action>,
    pub(crate) max_events: usize,
}

impl AggregatorSpec {
    pub(crate) fn parse(value: &Value) -> Result<AggregatorSpec, SpecError> {
        let members = Members::of(value, "", "a table with `interval`, `aggregate` and `actions`")?;
        members.only(&[], &["interval", "aggregate", "actions", "max_events"])?;
        let interval_s = members.whole("interval", 1..=INTERVAL_S_MAX)?;
        let max_events = members.whole("max_events", 1..=AGGREGATE_EVENTS_MAX)?.unwrap_or(AGGREGATE_EVENTS_DEFAULT);
        let interval_s = interval_s.ok_or_else(|| members.missing("interval"))?;
        // Only checked: the engine keeps the Lua function itself.
        members.function("aggregate")?;
        Ok(AggregatorSpec {
            interval_s,
            actions: actions(&members, None)?,
            max_events: usize::try_from(max_events).unwrap_or(usize::MAX),
        })
    }
}

impl ActionKind {
    /// The `type` it was made from.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ActionKind::Webhook(webhook) => webhook.kind(),
            ActionKind::File(_) => "file",
            ActionKind::Counter(_) => "counter",
            ActionKind::Leaderboard(_) => "leaderboard",
        }
    }
}

fn actions(members: &Members<'_>, scope: Option<Scope>) -> Result<Vec<Action>, SpecError> {
    let list = members.list("actions", 1..=ACTIONS_MAX)?.ok_or_else(|| members.missing("actions"))?;
    let each = list.iter().enumerate().map(|(at, value)| {
        let place = format!("{}[{}]", members.at("actions"), at + 1);
        let members = Members::of(value, &place, "a table with `type` and its members")?;
        if members.needed_word("type", &TYPES)? == "conditional" {
            let found = "a conditional cannot stand among actions: add it as a hook of its own";
            return Err(SpecError::new(&members.at("type"), found));
        }
        action(&members, scope)
    });
    each.collect()
}

/// One action; `scope` is what holds if it says nothing itself.
fn action(members: &Members<'_>, default: Option<Scope>) -> Result<Action, SpecError> {
    let kind = match members.needed_word("type", &TYPES)? {
        "discord" => ActionKind::Webhook(Arc::new(Webhook::Discord(Box::new(request::discord(members)?)))),
        "http" => ActionKind::Webhook(Arc::new(Webhook::Http(request::http(members)?))),
        "file" => ActionKind::File(Arc::new(file(members)?)),
        "counter" => ActionKind::Counter(counter(members)?),
        _ => ActionKind::Leaderboard(leaderboard(members)?),
    };
    let usual = if matches!(kind, ActionKind::File(_)) { Scope::Each } else { Scope::Fleet };
    let scope = scope(members)?.or(default).unwrap_or(usual);
    Ok(Action { filter: filter(members)?, scope, kind })
}

fn filter(members: &Members<'_>) -> Result<EventFilter, SpecError> {
    members.get("where").map_or(Ok(EventFilter::default()), |value| EventFilter::parse(value, &members.at("where")))
}

fn scope(members: &Members<'_>) -> Result<Option<Scope>, SpecError> {
    let word = members.word("scope", &["fleet", "each"])?;
    Ok(word.map(|word| if word == "each" { Scope::Each } else { Scope::Fleet }))
}

fn file(members: &Members<'_>) -> Result<LogSpec, SpecError> {
    members.only(&COMMON, &["path", "format", "max_bytes", "max_files"])?;
    let text = members.needed_text("path")?;
    members.no_template("path", text)?;
    let path = LogPath::parse(text.as_bytes());
    let path = path.map_err(|err| SpecError::new(&members.at("path"), err.to_string()))?;
    let mut log = LogSpec::new(path);
    if members.word("format", &["json", "binary"])? == Some("binary") {
        log.format = Format::Binary;
    }
    log.max_bytes = members.whole("max_bytes", EVENTLOG_SEGMENT_BYTES_MIN..=WHOLE_MAX as u64)?.unwrap_or(log.max_bytes);
    let max_files = members.whole("max_files", 0..=u64::from(u32::MAX))?;
    log.max_files = max_files.and_then(|files| u32::try_from(files).ok()).unwrap_or(log.max_files);
    Ok(log)
}

fn counter(members: &Members<'_>) -> Result<CounterAction, SpecError> {
    members.only(&COMMON, &["key", "action", "by", "ttl"])?;
    let down = members.word("action", &["incr", "decr"])? == Some("decr");
    let by = members.whole_signed("by")?.unwrap_or(1);
    if by == 0 {
        return Err(SpecError::new(&members.at("by"), "0 would change nothing"));
    }
    Ok(CounterAction { key: key(members, "key")?, by: if down { -by } else { by }, ttl: ttl(members)? })
}

fn leaderboard(members: &Members<'_>) -> Result<LeaderboardAction, SpecError> {
    members.only(&COMMON, &["board", "member", "by", "ttl"])?;
    Ok(LeaderboardAction {
        board: key(members, "board")?,
        member: key(members, "member")?,
        by: members.number("by")?.unwrap_or(1.0),
        ttl: ttl(members)?,
    })
}

fn key(members: &Members<'_>, name: &str) -> Result<Template, SpecError> {
    members.template(name, members.needed_text(name)?, Context::Key)
}

fn ttl(members: &Members<'_>) -> Result<Option<u64>, SpecError> {
    const RANGE: RangeInclusive<u64> = 1..=TTL_S_MAX;
    members.whole("ttl", RANGE)
}

#[cfg(test)]
mod tests;
