//! The checked form of the table that a script gives to `AddHook` or `AddAggregator`: the actions and their conditions.
//! Parsed once on the game thread, then shared unchanged by all threads that act; pure. A spec with one wrong member is
//! refused as a whole, so no hook acts on half of its author's wishes.
//! Lua functions arrive here as marks, `{"\u0000function": "<file>"}`: the engine keeps the functions themselves.
//! Errors name the member and never hold a URL or the value of a header.
//!
//! ```text
//! AddHook spec ─┬─ where       EventFilter  every hook and action may have one
//!               ├─ condition   Function     only `conditional`: asked on the game thread after `where`
//!               └─ actions     Action       one, or up to 16 for a `conditional`
//!                    ├─ where, scope        its own
//!                    └─ ActionKind          discord and http (request.rs), file, counter, leaderboard,
//!                                           discord_status (status.rs), which is a hook's only action
//! ```

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use crate::calendar::interval::{Interval, Unit, time_of_day};
use crate::config::limits::AGGREGATE_EVENTS_MAX;
use crate::eventlog::spec::{EVENTLOG_SEGMENT_BYTES_MIN, Format, LogSpec};
use crate::hooks::amount::{self, Amount, EventAmount};
use crate::hooks::error::SpecError;
use crate::hooks::filter::EventFilter;
use crate::hooks::log_file::LogFile;
use crate::hooks::members::{COMMON, Function, Members};
use crate::hooks::request::{self, Webhook};
use crate::hooks::status::{self, Status};
use crate::hooks::template::{Context, Template};
use crate::json::text::WHOLE_MAX;

/// Most actions of one conditional hook or aggregator. A longer list is a program, which belongs in Lua.
const ACTIONS_MAX: usize = 16;
/// Longest time to live of a counter, in seconds: ten years.
const TTL_S_MAX: u64 = 10 * 366 * 86_400;
/// Longest window of an aggregator that is given in seconds: a day. Its events are kept in memory until then.
const INTERVAL_S_MAX: u64 = 86_400;
/// Events that one window of an aggregator keeps, unless its spec has `max_events`.
const AGGREGATE_EVENTS_DEFAULT: u64 = 10_000;

/// A checked spec of `AddHook`.
#[derive(Debug)]
pub struct Spec {
    /// `where` of the hook. It is decided first, as it costs no call of Lua.
    pub(crate) filter: EventFilter,
    /// The Lua function that decides after the filter, on the game thread. Only a `conditional` has one.
    pub(crate) condition: Option<Function>,
    /// Exactly one, unless the hook is a `conditional`.
    pub actions: Vec<Action>,
}

/// One action of a hook or an aggregator.
#[derive(Debug)]
pub struct Action {
    /// Its own `where`, decided after that of the hook. Empty for the only action of a hook: there, `where` belongs to
    /// the hook.
    pub(crate) filter: EventFilter,
    pub(crate) scope: Scope,
    pub kind: ActionKind,
}

/// The servers of a fleet that run an action for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Exactly one server.
    Fleet,
    /// Every server that receives the event.
    Each,
}

/// The effect of an action, with the data that it needs. Behind an `Arc` where a job in a queue outlives the hook.
#[derive(Debug)]
pub enum ActionKind {
    /// A request to Discord or to any HTTP server.
    Webhook(Arc<Webhook>),
    /// A record in an event log.
    File(LogFile),
    /// A number in Redis.
    Counter(CounterAction),
    /// A score in a sorted set of Redis.
    Leaderboard(LeaderboardAction),
    /// A line in a message on Discord that is kept up to date. Every server adds the line, so that each can edit the
    /// message: the scope of the action is [`Scope::Each`], whichever server edits.
    Status(Arc<Status>),
}

/// An action of type `counter`: adds to a number in Redis.
#[derive(Debug)]
pub struct CounterAction {
    pub(crate) key: Template,
    /// The amount added. Negative for `decr`. A fixed one is never 0.
    pub(crate) by: Amount<i64>,
    /// Time to live in seconds, from the creation of the key. `None`: the key stays.
    pub(crate) ttl: Option<u64>,
}

/// An action of type `leaderboard`: adds to the score of a member of a sorted set.
#[derive(Debug)]
pub struct LeaderboardAction {
    /// The key of the sorted set.
    pub(crate) board: Template,
    pub(crate) member: Template,
    pub(crate) by: Amount<f64>,
    /// Time to live of the whole sorted set in seconds, as for a counter.
    pub(crate) ttl: Option<u64>,
}

/// The values of the member `type`. `conditional` is a kind of hook, not an action: see [`actions`].
const TYPES: [&str; 7] = ["discord", "discord_status", "http", "file", "counter", "leaderboard", "conditional"];
/// Those that are a hook of their own and no action in a list.
const NO_ACTIONS: [&str; 2] = ["conditional", "discord_status"];

impl Spec {
    /// Checks a whole spec of `AddHook`.
    pub fn parse(value: &Value) -> Result<Spec, SpecError> {
        let members = Members::of(value, "", "a table with `type` and its members")?;
        let filter = filter(&members)?;
        if members.needed_word("type", &TYPES)? != "conditional" {
            // `where` stands beside the action's members, but it is the hook's: decided once, not twice.
            let action = Action { filter: EventFilter::default(), ..action(&members, None)? };
            return Ok(Spec { filter, condition: None, actions: vec![action] });
        }
        members.only(&COMMON, &["condition", "actions"])?;
        let scope = scope(&members)?;
        let condition = Some(members.function("condition")?);
        Ok(Spec { filter, condition, actions: actions(&members, scope)? })
    }
}

/// A checked spec of `AddAggregator`.
#[derive(Debug)]
pub(crate) struct AggregatorSpec {
    /// The length and beginning of a window.
    pub(crate) interval: Interval,
    /// Run for the value that the Lua function returns for a window.
    pub(crate) actions: Vec<Action>,
    /// Events that one window keeps. Later events of that window are dropped and counted.
    pub(crate) max_events: usize,
}

impl AggregatorSpec {
    /// Checks a whole spec of `AddAggregator`.
    pub(crate) fn parse(value: &Value) -> Result<AggregatorSpec, SpecError> {
        let members = Members::of(value, "", "a table with `interval`, `aggregate` and `actions`")?;
        members.only(&[], &["interval", "at", "aggregate", "actions", "max_events"])?;
        let interval = interval(&members)?;
        let max_events = members.whole("max_events", 1..=AGGREGATE_EVENTS_MAX)?.unwrap_or(AGGREGATE_EVENTS_DEFAULT);
        // Only checked: the engine keeps the Lua function itself.
        members.function("aggregate")?;
        Ok(AggregatorSpec {
            interval,
            actions: actions(&members, None)?,
            max_events: usize::try_from(max_events).unwrap_or(usize::MAX),
        })
    }
}

/// The members `interval` and `at`.
fn interval(members: &Members<'_>) -> Result<Interval, SpecError> {
    let Some(Value::String(_)) = members.get("interval") else {
        let seconds = members.whole("interval", 1..=INTERVAL_S_MAX)?.ok_or_else(|| members.missing("interval"))?;
        if members.get("at").is_some() {
            return Err(members.error("at", format_args!("belongs to the intervals \"day\", \"week\" and \"month\"")));
        }
        return Ok(Interval { unit: Unit::Seconds(seconds), at_s: 0 });
    };
    if members.text("interval")?.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit())) {
        return Err(members.error("interval", format_args!("expected seconds without quotes, such as 60")));
    }
    let unit = match members.needed_word("interval", &["day", "week", "month"])? {
        "day" => Unit::Day,
        "week" => Unit::Week,
        _ => Unit::Month,
    };
    let Some(at) = members.text("at")? else { return Ok(Interval { unit, at_s: 0 }) };
    let at_s = time_of_day(at);
    let at_s = at_s.ok_or_else(|| members.error("at", format_args!("expected a time of day such as \"06:00\"")))?;
    Ok(Interval { unit, at_s })
}

impl ActionKind {
    /// The value of `type` in the spec, for notices and log lines.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ActionKind::Webhook(webhook) => webhook.kind(),
            ActionKind::File(_) => "file",
            ActionKind::Counter(_) => "counter",
            ActionKind::Leaderboard(_) => "leaderboard",
            ActionKind::Status(_) => "discord_status",
        }
    }
}

/// The list `actions`. A `conditional` inside it is refused: the function of a hook is asked once, before all actions. So
/// is a `discord_status`: its message belongs to the id of its hook.
fn actions(members: &Members<'_>, scope: Option<Scope>) -> Result<Vec<Action>, SpecError> {
    let list = members.list("actions", 1..=ACTIONS_MAX)?.ok_or_else(|| members.missing("actions"))?;
    let mut actions = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let members = members.entry("actions", at, value, "a table with `type` and its members")?;
        let kind = members.needed_word("type", &TYPES)?;
        if NO_ACTIONS.contains(&kind) {
            let found = format_args!("a {kind} cannot be an action: add it as a hook of its own");
            return Err(members.error("type", found));
        }
        actions.push(action(&members, scope)?);
    }
    Ok(actions)
}

/// One action. `default` is the scope of its hook, which holds if the action names none. Without both, an event log is
/// written on each server, since it is a file of that server, and every other effect happens once for the fleet. A status
/// message shows its own server, unless its scope says otherwise.
fn action(members: &Members<'_>, default: Option<Scope>) -> Result<Action, SpecError> {
    let kind = match members.needed_word("type", &TYPES)? {
        "discord" => ActionKind::Webhook(Arc::new(Webhook::Discord(request::discord(members)?))),
        "http" => ActionKind::Webhook(Arc::new(Webhook::Http(request::http(members)?))),
        "file" => ActionKind::File(file(members)?),
        "counter" => ActionKind::Counter(counter(members)?),
        "discord_status" => {
            let is_fleet = scope(members)? == Some(Scope::Fleet);
            let kind = ActionKind::Status(Arc::new(status::status(members, is_fleet)?));
            return Ok(Action { filter: filter(members)?, scope: Scope::Each, kind });
        }
        _ => ActionKind::Leaderboard(leaderboard(members)?),
    };
    let usual = if matches!(kind, ActionKind::File(_)) { Scope::Each } else { Scope::Fleet };
    let scope = scope(members)?.or(default).unwrap_or(usual);
    Ok(Action { filter: filter(members)?, scope, kind })
}

/// The member `where`. Without it every event passes.
fn filter(members: &Members<'_>) -> Result<EventFilter, SpecError> {
    match members.get("where") {
        Some(value) => EventFilter::parse(value, &members.at("where")),
        None => Ok(EventFilter::default()),
    }
}

/// The member `scope`.
fn scope(members: &Members<'_>) -> Result<Option<Scope>, SpecError> {
    let word = members.word("scope", &["fleet", "each"])?;
    Ok(word.map(|word| if word == "each" { Scope::Each } else { Scope::Fleet }))
}

/// The members of an action of type `file`.
fn file(members: &Members<'_>) -> Result<LogFile, SpecError> {
    members.only(&COMMON, &["path", "format", "max_bytes", "max_files"])?;
    let text = members.needed_text("path")?;
    let is_binary = members.word("format", &["json", "binary"])? == Some("binary");
    let max_bytes = members.whole("max_bytes", EVENTLOG_SEGMENT_BYTES_MIN..=WHOLE_MAX as u64)?;
    let max_files = members.whole("max_files", 0..=u64::from(u32::MAX))?;
    let made = |path| {
        let mut log = LogSpec::new(path);
        if is_binary {
            log.format = Format::Binary;
        }
        log.max_bytes = max_bytes.unwrap_or(log.max_bytes);
        log.max_files = max_files.and_then(|files| u32::try_from(files).ok()).unwrap_or(log.max_files);
        log
    };
    LogFile::parse(text, made).map_err(|err| members.error("path", format_args!("{err}")))
}

/// The members of an action of type `counter`.
fn counter(members: &Members<'_>) -> Result<CounterAction, SpecError> {
    members.only(&COMMON, &["key", "action", "by", "ttl"])?;
    let down = members.word("action", &["incr", "decr"])? == Some("decr");
    let by = match amount::of_event(members)? {
        Some(amount) => Amount::Event(EventAmount { negated: amount.negated != down, ..amount }),
        None => {
            let by = members.whole_signed("by")?.unwrap_or(1);
            if by == 0 {
                return Err(members.error("by", format_args!("0 would change nothing")));
            }
            Amount::Fixed(if down { -by } else { by })
        }
    };
    Ok(CounterAction { key: key(members, "key")?, by, ttl: ttl(members)? })
}

/// The members of an action of type `leaderboard`.
fn leaderboard(members: &Members<'_>) -> Result<LeaderboardAction, SpecError> {
    members.only(&COMMON, &["board", "member", "by", "ttl"])?;
    let by = match amount::of_event(members)? {
        Some(amount) => Amount::Event(amount),
        None => Amount::Fixed(members.number("by")?.unwrap_or(1.0)),
    };
    Ok(LeaderboardAction { board: key(members, "board")?, member: key(members, "member")?, by, ttl: ttl(members)? })
}

/// A key of Redis or a member of a sorted set, which may have placeholders.
fn key(members: &Members<'_>, name: &str) -> Result<Template, SpecError> {
    members.template(name, members.needed_text(name)?, Context::Key)
}

/// The member `ttl`, in seconds.
fn ttl(members: &Members<'_>) -> Result<Option<u64>, SpecError> {
    const RANGE: RangeInclusive<u64> = 1..=TTL_S_MAX;
    members.whole("ttl", RANGE)
}

#[cfg(test)]
mod tests;
