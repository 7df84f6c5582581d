//! An event and the hooks that want it, made into jobs for who carries them out: Discord and HTTP, files, counters.
//! Runs where the event is known: `rt-actions` for this server's own, `rt-subscriber` for the others', the game thread
//! after a Lua condition. Waits for nothing: every queue takes or refuses at once, and counts.

use std::sync::Arc;
use std::time::Instant;

use log::Level;

use crate::config::limits::NAME_BYTES_MAX;
use crate::event::notice::Notice;
use crate::event::{Arrival, Decoded, Event, EventText, identity};
use crate::eventlog::spec::LogSpec;
use crate::hooks::aggregator::Aggregator;
use crate::hooks::hook::{Hook, Scopes};
use crate::hooks::spec::{Action, Counter, Kind, Leaderboard};
use crate::hooks::template::{Fields, Template, Unmade};
use crate::io::lock::lock;
use crate::io::text_log::escaped;
use crate::json::tape::{self, Undecoded};
use crate::json::{find, text};
use crate::redis::counter::Count;
use crate::threads::files::queue::AppendRefused;
use crate::threads::publisher::outbox::Item;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{CountJob, Run, Work};
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::{Inbound, Purpose, Undecided};
use crate::threads::webhooks::queue::Job;

/// One event, as hooks look at it.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) text: &'a Arc<EventText>,
    /// The payload without `_rt`; what is no JSON is one text.
    pub(crate) tape: &'a [u8],
    pub(crate) raw: bool,
    pub(crate) arrival: Arrival,
}

/// Lets a hook act on the event, or asks its function first.
pub(crate) fn act(shared: &Shared, hook: &Arc<Hook>, scopes: Scopes, occasion: Occasion<'_>) {
    if !hook.spec.filter.holds(occasion.tape) {
        return;
    }
    if hook.spec.condition.is_none() {
        return perform(shared, hook, scopes, occasion.text, occasion.tape);
    }
    let Occasion { text, tape, raw, arrival } = occasion;
    let event = Event::new(Arc::clone(&hook.topic), text.channel(), Decoded { tape, raw, identity: None }, arrival);
    let undecided = Undecided { hook: Arc::clone(hook), scopes, text: Arc::clone(text) };
    shared.inbox.push(Inbound { event, purpose: Purpose::Condition(Box::new(undecided)) });
}

/// Hands on each action of the hook that is asked for and whose own filter holds.
pub(crate) fn perform(shared: &Shared, hook: &Hook, scopes: Scopes, text: &Arc<EventText>, tape: &[u8]) {
    perform_all(shared, &hook.id, &hook.spec.actions, scopes, text, tape);
}

/// Hands on the actions of an aggregator for what its function made of a window. Only the holder of its lease gets here.
pub(crate) fn perform_sum(shared: &Shared, aggregator: &Aggregator, payload: &[u8], unix_ms: u64) {
    let text = Arc::new(EventText::new(aggregator.topic.name(), &[payload], unix_ms));
    let mut tape = Vec::new();
    decode(payload, &mut tape);
    perform_all(shared, &aggregator.id, &aggregator.spec.actions, Scopes::BOTH, &text, &tape);
}

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

/// One action to who carries it out.
fn hand_on(shared: &Shared, id: &Arc<[u8]>, action: &Action, text: &Arc<EventText>, tape: &[u8]) {
    let fields = Fields { tape, channel: text.channel(), unix_ms: text.unix_ms };
    let refused = match &action.kind {
        Kind::Webhook(webhook) => {
            let job = Job { hook: Arc::clone(id), webhook: Arc::clone(webhook), event: Arc::clone(text) };
            shared.webhooks.push(job).err().map(|refused| format!("queue_full: {} jobs wait", refused.waiting))
        }
        // A channel of another program may have any length; an event log takes those that `Emit` takes.
        Kind::File(_) if text.channel().len() > NAME_BYTES_MAX => {
            let reason = format!("too_large: the channel is longer than {NAME_BYTES_MAX} bytes");
            unmade(shared, id, action, reason)
        }
        Kind::File(log) => record(shared, log, text),
        Kind::Counter(counter) => {
            count(shared, counter, &fields).unwrap_or_else(|reason| unmade(shared, id, action, reason))
        }
        Kind::Leaderboard(leaderboard) => {
            rank(shared, leaderboard, &fields).unwrap_or_else(|reason| unmade(shared, id, action, reason))
        }
    };
    if let Some(reason) = refused {
        shared.notices.push(Notice::ActionFailed { hook: Arc::clone(id), kind: action.kind.name(), reason });
    }
}

/// A record in an event log: the event as Lua would see it.
fn record(shared: &Shared, log: &Arc<LogSpec>, text: &EventText) -> Option<String> {
    let mut payload = Vec::new();
    find::push_without(&mut payload, text.payload(), identity::MEMBER);
    let refused = shared.files.append(log, text.unix_ms, text.channel(), &payload).err()?;
    Some(match refused {
        AppendRefused::Full { waiting } => format!("queue_full: {waiting} records wait for the disk"),
        AppendRefused::Closed => "closed: the event logs are closed".to_owned(),
    })
}

/// Queues a counter; why it was refused, or as an error why its event makes none.
fn count(shared: &Shared, counter: &Counter, fields: &Fields<'_>) -> Result<Option<String>, String> {
    let key = name("key", &counter.key, fields)?;
    let by = itoa::Buffer::new().format(counter.by).into();
    Ok(queue(shared, key, None, by, counter.ttl))
}

/// The same for a leaderboard.
fn rank(shared: &Shared, leaderboard: &Leaderboard, fields: &Fields<'_>) -> Result<Option<String>, String> {
    let member = name("member", &leaderboard.member, fields)?;
    let board = name("board", &leaderboard.board, fields)?;
    let mut by = Vec::new();
    text::push_decimal(&mut by, leaderboard.by);
    let by = String::from_utf8_lossy(&by).into();
    Ok(queue(shared, board, Some(member.into()), by, leaderboard.ttl))
}

/// A key, board or member within the bound that `realtime.Incr` has. Without its size, the reason is the same for
/// every event.
fn name(what: &str, template: &Template, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
    let mut name = Vec::new();
    match template.render(fields, &mut name) {
        Ok(()) => Ok(name),
        Err(err @ Unmade::TooLong { .. }) => Err(format!("too_large: the {what} cannot be made: {err}")),
        Err(err @ Unmade::Missing { .. }) => Err(err.to_string()),
    }
}

/// Counts an action that its event cannot be made into; the reason, if it was not said lately.
fn unmade(shared: &Shared, id: &[u8], action: &Action, reason: String) -> Option<String> {
    shared.stats.actions_unmade.add(1);
    let id = String::from_utf8_lossy(id);
    let kind = action.kind.name();
    // A cause ends at its first `;`.
    let cause = format!("{id}\0{kind}\0{reason}").replace(';', ",");
    let more = lock(&shared.unmade).pass(Level::Error, &cause, Instant::now())?;
    log::error!("hook `{}`: lost an action of type {kind}: {}{more}", escaped(&id), escaped(&reason));
    Some(reason + &more)
}

/// Queues a counter job; a reason if it was refused.
fn queue(shared: &Shared, key: Vec<u8>, member: Option<Box<[u8]>>, by: Box<str>, ttl: Option<u64>) -> Option<String> {
    let settings = shared.settings.current();
    let on_wire = [settings.prefix.as_bytes(), &key].concat().into_boxed_slice();
    let operation = if member.is_some() { "leaderboard" } else { "counter" };
    let count = Count { key: on_wire, member, by, ttl: ttl.unwrap_or(0) };
    let work = Work::Count(CountJob::new(count, shared.done_key(&settings.prefix)));
    let run = Run::new(work, operation, &key, ReplyTo::Nobody, Instant::now());
    let queued = shared.outbox.push(Item::Run(Box::new(run)));
    queued.err().map(|full| format!("queue_full: {} commands wait for redis", full.waiting))
}

/// The tape of an event's payload, and whether that is its text only.
pub(crate) fn decode(payload: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    decode_with(payload, out, &mut Vec::new()).is_err()
}

/// Appends the tape of an event's payload without the member `_rt`, whose text goes into `member`. On an error the
/// tape is that of the payload's text, and the reason is returned.
pub(crate) fn decode_with(payload: &[u8], out: &mut Vec<u8>, member: &mut Vec<u8>) -> Result<(), Undecoded> {
    let parsed = tape::parse_without(payload, Some(identity::MEMBER), out, member);
    match parsed {
        Ok(()) => {}
        Err(Undecoded::NotJson { .. }) => tape::push_text(out, payload),
        // It is an event of ours perhaps: Lua never sees where it comes from.
        Err(Undecoded::Limits) => {
            let mut text = Vec::with_capacity(payload.len());
            find::push_without(&mut text, payload, identity::MEMBER);
            tape::push_text(out, &text);
        }
    }
    parsed
}
