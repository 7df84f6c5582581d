//! Makes the jobs of a hook from one event, and queues them for the workers that carry them out: Discord and HTTP for
//! `rt-webhooks`, event logs for `rt-files`, counters and leaderboards for `rt-publisher`.
//! Runs on `rt-subscriber` for events of others, and on `rt-actions` for this server's own and after a condition function
//! or an aggregator's function.
//! Never waits: every queue accepts or refuses a job at once. A refused job is counted and reported by
//! `RealtimeActionFailed`.

use std::sync::Arc;
use std::time::Instant;

use log::Level;

use crate::calendar::civil::Local;
use crate::config::limits::NAME_BYTES_MAX;
use crate::event::notice::Notice;
use crate::event::{Arrival, Arrived, Decoded, EventText, identity};
use crate::eventlog::spec::LogSpec;
use crate::hooks::aggregator::Aggregator;
use crate::hooks::amount::{self, Amount};
use crate::hooks::hook::{Hook, Scopes};
use crate::hooks::log_file::LogFile;
use crate::hooks::spec::{Action, ActionKind, CounterAction, LeaderboardAction};
use crate::hooks::status::Status;
use crate::hooks::template::{Fields, RenderError, Template};
use crate::io::lock::lock;
use crate::io::text_log::escaped;

use crate::json::{find, text};
use crate::redis::counter::Count;
use crate::threads::files::queue::AppendRefused;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{CountJob, Run, Work};
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::{Purpose, Undecided};
use crate::threads::webhooks::queue::Job;
use crate::webhook::status::text::line_of;

/// One event with all that a hook needs of it.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) text: &'a Arc<EventText>,
    /// The decoded payload without the member `_rt`. A payload that is no JSON is one string.
    pub(crate) tape: &'a [u8],
    /// The tape is the payload's text as one string, as it could not be decoded.
    pub(crate) raw: bool,
    pub(crate) arrival: Arrival,
}

/// Makes a hook act on an event that passes its filter. If the hook has a condition function, the event goes into the
/// inbox instead, and `rt-actions` calls [`perform`] once the function has agreed. `scopes`: which actions are this
/// server's to do.
pub(crate) fn act(shared: &Shared, hook: &Arc<Hook>, scopes: Scopes, occasion: Occasion<'_>) {
    if !hook.spec.filter.holds(occasion.tape) {
        return;
    }
    if hook.spec.condition.is_none() {
        return perform(shared, hook, scopes, occasion.text, occasion.tape);
    }
    // The function gets the event as a listener would, but without the identity's fields.
    let Occasion { text, tape, raw, arrival } = occasion;
    let (topic, decoded) = (Arc::clone(&hook.topic), Decoded { tape, raw, identity: None });
    let undecided = Undecided { hook: Arc::clone(hook), scopes, text: Arc::clone(text) };
    let arrived = Arrived { topic, channel: text.channel(), decoded, arrival };
    shared.inbox.push(arrived, Purpose::Condition(Box::new(undecided)));
}

/// Queues each action of the hook that is in `scopes` and whose own filter accepts the event.
pub(crate) fn perform(shared: &Shared, hook: &Hook, scopes: Scopes, text: &Arc<EventText>, tape: &[u8]) {
    perform_all(shared, &hook.id, &hook.spec.actions, scopes, text, tape);
}

/// Queues the actions of an aggregator for the JSON text that its function returned for a window. The server holds the
/// aggregator's lease, so it acts for itself and for the fleet.
pub(crate) fn perform_sum(shared: &Shared, aggregator: &Aggregator, text: &Arc<EventText>, tape: &[u8]) {
    perform_all(shared, &aggregator.id, &aggregator.spec.actions, Scopes::BOTH, text, tape);
}

/// Queues the actions that are in `scopes` and whose filter accepts the event. `id` is that of the hook or aggregator,
/// for reports.
fn perform_all(
    shared: &Shared,
    id: &Arc<[u8]>,
    actions: &[Action],
    scopes: Scopes,
    text: &Arc<EventText>,
    tape: &[u8],
) {
    for action in actions {
        if scopes.include(action.scope) && action.filter.holds(tape) {
            hand_on(shared, id, action, text, tape);
        }
    }
}

/// Queues one action with the worker that carries it out. Reports a refusal, and an action that cannot be made from
/// this event.
fn hand_on(shared: &Shared, id: &Arc<[u8]>, action: &Action, text: &Arc<EventText>, tape: &[u8]) {
    let offset_s = shared.zone.offset_s();
    let fields = Fields { tape, json: text.payload(), channel: text.channel(), unix_ms: text.unix_ms, offset_s };
    let refused = match &action.kind {
        ActionKind::Webhook(webhook) => {
            let job = Job { hook: Arc::clone(id), webhook: Arc::clone(webhook), event: Arc::clone(text), offset_s };
            shared.webhooks.push(job).err().map(|refused| format!("queue_full: {} jobs wait", refused.waiting))
        }
        // Another program may publish on a channel of any length. An event log accepts the lengths that `Emit` accepts.
        ActionKind::File(_) if text.channel().len() > NAME_BYTES_MAX => {
            let reason = format!("too_large: the channel is longer than {NAME_BYTES_MAX} bytes");
            unmade(shared, id, action, reason)
        }
        ActionKind::File(LogFile::One(log)) => record(shared, log, text),
        ActionKind::File(LogFile::Each(pattern)) => {
            let local = Local::of(text.unix_ms, offset_s);
            let log = pattern.log(&mut lock(&pattern.logs), text.channel(), local);
            match log {
                Ok(log) => record(shared, &log, text),
                Err(reason) => unmade(shared, id, action, reason.to_string()),
            }
        }
        ActionKind::Counter(counter) => {
            count(shared, counter, &fields).unwrap_or_else(|reason| unmade(shared, id, action, reason))
        }
        ActionKind::Status(status) => {
            add_line(status, &fields).err().and_then(|reason| unmade(shared, id, action, reason))
        }
        ActionKind::Leaderboard(leaderboard) => {
            rank(shared, leaderboard, &fields).unwrap_or_else(|reason| unmade(shared, id, action, reason))
        }
    };
    if let Some(reason) = refused {
        shared.notices.push(Notice::ActionFailed { hook: Arc::clone(id), kind: action.kind.name(), reason });
    }
}

/// Appends the event to an event log, without its identity, as Lua would see it. Returns the reason of a refusal.
fn record(shared: &Shared, log: &Arc<LogSpec>, text: &EventText) -> Option<String> {
    let mut payload = Vec::new();
    find::push_without(&mut payload, text.payload(), identity::MEMBER);
    let refused = shared.files.append(log, text.unix_ms, text.channel(), &payload).err()?;
    Some(match refused {
        AppendRefused::Full { waiting } => format!("queue_full: {waiting} records wait for the disk"),
        AppendRefused::Closed => "closed: the event logs are closed".to_owned(),
    })
}

/// Queues a counter. `Ok` holds the reason of a refusal, if any; the error is the reason why the action cannot be made
/// from this event. An event whose amount is 0 changes nothing, so nothing is queued.
fn count(shared: &Shared, counter: &CounterAction, fields: &Fields<'_>) -> Result<Option<String>, String> {
    let key = name("key", &counter.key, fields)?;
    let by = match &counter.by {
        Amount::Fixed(by) => *by,
        Amount::Event(amount) => amount::whole(&name("amount", &amount.value, fields)?, amount.negated)
            .ok_or("the value of `by` is not a whole number of 64 bits")?,
    };
    if by == 0 {
        return Ok(None);
    }
    Ok(queue(shared, key, None, itoa::Buffer::new().format(by).into(), counter.ttl))
}

/// The same for a leaderboard, whose member exists after 0 was added to it.
fn rank(shared: &Shared, leaderboard: &LeaderboardAction, fields: &Fields<'_>) -> Result<Option<String>, String> {
    let member = name("member", &leaderboard.member, fields)?;
    let board = name("board", &leaderboard.board, fields)?;
    let by = match &leaderboard.by {
        Amount::Fixed(by) => *by,
        Amount::Event(amount) => amount::finite(&name("amount", &amount.value, fields)?, amount.negated)
            .ok_or("the value of `by` is not a number")?,
    };
    let mut text = Vec::new();
    text::push_decimal(&mut text, by);
    let by = String::from_utf8_lossy(&text).into();
    Ok(queue(shared, board, Some(member.into()), by, leaderboard.ttl))
}

/// Adds the line of the event to a status message, which `rt-webhooks` edits at its own pace. The error is the reason why
/// the line cannot be made from this event.
fn add_line(status: &Status, fields: &Fields<'_>) -> Result<(), String> {
    let Some(lines) = &status.lines else { return Ok(()) };
    let line = line_of(lines, fields).map_err(|err| err.to_string())?;
    lock(&lines.kept).add(line);
    Ok(())
}

/// Renders a key, board, member or amount, within the bound that `realtime.Incr` has. The error text leaves out the size, so
/// that it is the same for every event and can be throttled as one cause.
fn name(part: &str, template: &Template, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
    let mut name = Vec::new();
    match template.render(fields, &mut name) {
        Ok(()) => Ok(name),
        Err(err @ RenderError::TooLong { .. }) => Err(format!("too_large: the {part} cannot be made: {err}")),
        Err(err @ RenderError::Missing { .. }) => Err(err.to_string()),
    }
}

/// Counts an action that cannot be made from its event. Logs and returns the reason, at most once in ten seconds for each
/// cause: a wrong template fails at every event.
fn unmade(shared: &Shared, id: &[u8], action: &Action, reason: String) -> Option<String> {
    shared.stats.actions_unmade.add(1);
    let id = String::from_utf8_lossy(id);
    let kind = action.kind.name();
    // `Causes` takes the message up to its first `;` as the cause.
    let cause = format!("{id}\0{kind}\0{reason}").replace(';', ",");
    let more = lock(&shared.unmade).pass_message(Level::Error, &cause, Instant::now())?;
    log::error!("hook `{}`: lost an action of type {kind}: {}{more}", escaped(&id), escaped(&reason));
    Some(reason + &more)
}

/// Queues a counter (`member` is `None`) or a leaderboard's member. `key` is without the prefix, `ttl` in seconds.
/// Returns the reason of a refusal.
fn queue(shared: &Shared, key: Vec<u8>, member: Option<Box<[u8]>>, by: Box<str>, ttl: Option<u64>) -> Option<String> {
    let settings = shared.settings.current();
    let on_wire = [settings.prefix.as_bytes(), &key].concat().into_boxed_slice();
    let operation = if member.is_some() { "leaderboard" } else { "counter" };
    let count = Count { key: on_wire, member, by, ttl: ttl.unwrap_or(0) };
    let work = Work::Count(CountJob::new(count, shared.done_key(&settings.prefix)));
    let run = Run::new(work, operation, &key, ReplyTo::Nobody, Instant::now());
    let queued = shared.outbox.push(Box::new(run));
    queued.err().map(|full| format!("queue_full: {} commands wait for redis", full.waiting))
}
