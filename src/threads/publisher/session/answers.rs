//! The reply side of a session: reads the socket, matches each reply to the oldest command in flight, and tells the
//! backlog how that command ended. Runs on `rt-publisher`; waits at the socket for [`ANSWER_WAIT`] at most. A
//! reply that no command waits for, or of an impossible kind, ends the connection: replies and commands are out of
//! step.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{ANSWER_WAIT, End, Session};
use crate::config::limits::{REFUSED_RETRY, SILENCE_MAX};
use crate::redis::answer::{self, Expect};
use crate::redis::cluster::{HOME, LineNumber};
use crate::redis::connection::{self, Role};
use crate::redis::counter::{self, Form};
use crate::redis::error_reply::{self, Class, ErrorReply};
use crate::redis::leaderboard::SearchProgress;
use crate::redis::reply::{Array, Decoder, OwnedReply, Reply};
use crate::threads::links::Limit;
use crate::threads::publisher::backlog::{Backlog, REDIRECTS_MAX};
use crate::threads::publisher::expiries::Expiry;
use crate::threads::publisher::in_flight::{LeaseRequest, PresenceRequest, Sent};
use crate::threads::publisher::keeping::KEEP;
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Effect, Run, Work};
use crate::threads::publisher::scripts::ScriptRefusal;
use crate::threads::shared::Shared;

/// A read of fewer bytes has emptied the socket: the decoder has room for so many at least. With TLS a part of the bytes
/// may be left; the next round reads it.
const READ_BYTES_FULL: usize = 4 * 1024;

impl Session<'_, '_> {
    /// Reads and matches the replies that have arrived. Waits a moment at the socket if the backlog wants an answer, such
    /// as one that the game thread waits for.
    pub(super) fn read_answers(&mut self) -> Result<(), End> {
        if std::mem::take(&mut self.has_unmatched) {
            self.match_answers()?;
        }
        let patience = self.backlog.wants_answer().then_some(ANSWER_WAIT);
        if !self.nodes.is_empty() {
            // The answer that is waited for may come from any of them.
            self.read_nodes(patience.filter(|_| self.backlog.in_flight_on(HOME) == 0))?;
        }
        if let Some(patience) = patience.filter(|_| self.backlog.in_flight_on(HOME) > 0)
            && !self.connection.wait(patience).map_err(End::lost)?
        {
            return Ok(());
        }
        while self.read_once()? >= READ_BYTES_FULL {}
        Ok(())
    }

    /// One read, and the replies in it. Returns the number of bytes, 0 if nothing has arrived.
    fn read_once(&mut self) -> Result<usize, End> {
        match self.decoder.read_from(&mut self.connection.reader()) {
            Ok(0) => Err(End::lost("closed by redis")),
            Ok(bytes) => {
                self.answer_by = Instant::now() + SILENCE_MAX;
                self.match_answers()?;
                Ok(bytes)
            }
            Err(err) if err.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(err) => Err(End::lost(err)),
        }
    }

    /// Matches all replies in the decoder. Delivered publishes are counted once for all of them: their counters are
    /// shared with other threads.
    pub(super) fn match_answers(&mut self) -> Result<(), End> {
        match_all(self.shared, self.backlog, HOME, &mut self.decoder, &mut self.heartbeat_is_out)
    }
}

/// How long a command waits for a cluster that does not serve its key: a failover takes some 20 s, and commands for a
/// cluster that nobody repairs must not fill the outbox.
const KEYS_AWAY_MAX: Duration = Duration::from_secs(60);

/// As [`Session::match_answers`], on this line.
pub(super) fn match_all(
    shared: &Shared,
    backlog: &mut Backlog<'_>,
    line: LineNumber,
    decoder: &mut Decoder,
    heartbeat_is_out: &mut bool,
) -> Result<(), End> {
    let (mut delivered, mut weight) = (0, 0);
    shared.replies.note_heard();
    let outcome = loop {
        let reply = match decoder.next() {
            Ok(Some(reply)) => reply,
            Ok(None) => break Ok(()),
            Err(err) => break Err(End::lost(err)),
        };
        let matched = match (backlog.take_answered(line), reply) {
            (Some(Sent::Item(Outgoing::Publish(publish))), Reply::Integer(_)) => {
                delivered += 1;
                weight += publish.weight();
                if publish.form.is_some() {
                    shared.stats.kept.add(1);
                    if backlog.keeping().scripts.succeeded() {
                        shared.limits.lift(Limit::Streams);
                    }
                }
                backlog.calm_down();
                backlog.note_success(&Outgoing::Publish(publish));
                Ok(())
            }
            (Some(Sent::Heartbeat), reply) => {
                *heartbeat_is_out = false;
                check_role(shared, &reply.keep())
            }
            (Some(sent), Reply::Error(text)) if !sent.runs_script() && error_reply::loses_answer(text) => {
                backlog.put_back_answered(line, sent);
                Err(End::lost(ErrorReply::new(text)))
            }
            (Some(sent), Reply::Error(text)) => match backlog.follow_redirect(line, sent, text) {
                Some(sent) => answered(shared, backlog, sent, reply),
                None => Ok(()),
            },
            (Some(sent), reply) => answered(shared, backlog, sent, reply),
            (None, other) => Err(End::lost(format!("{} that nobody asked for", other.describe()))),
        };
        if matched.is_err() {
            break matched;
        }
    };
    if delivered > 0 {
        shared.stats.outbox.delivered.add(delivered);
        shared.outbox.settle(delivered as usize, weight);
    }
    outcome
}

/// The answer to any command but a heartbeat and a publish that succeeded: those two come by far the most often, or
/// change the session itself.
///
/// A free function, as are all below: the reply borrows the session's decoder, so the session cannot be borrowed as a
/// whole.
fn answered(shared: &Shared, backlog: &mut Backlog<'_>, sent: Sent, reply: Reply<'_>) -> Result<(), End> {
    match (sent, reply) {
        (Sent::Item(Outgoing::Run(run)), Reply::Error(text))
            if run.expects_error() && ErrorReply::new(text).class == Class::Never =>
        {
            finish_run(shared, backlog, run, reply);
        }
        (Sent::Item(item), Reply::Error(text)) => return item_refused(backlog, item, text),
        (Sent::Item(Outgoing::Run(run)), reply) => {
            backlog.calm_down();
            if run.form().is_some() && backlog.scripts().succeeded() {
                shared.limits.lift(Limit::Scripts);
            }
            let reply = counted_in_part(backlog, &run, reply);
            finish_run(shared, backlog, run, reply);
        }
        (Sent::Item(Outgoing::Publish(publish)), Reply::Array(found)) if publish.form.is_some() => {
            kept_in_part(shared, backlog, publish, found);
        }
        (Sent::Item(publish), other) => {
            let reason = format!("expected the answer of a PUBLISH, found {}", other.describe());
            backlog.put_back_answered(HOME, Sent::Item(publish));
            return Err(End::lost(reason));
        }
        (Sent::Auxiliary(KEEP, channel), Reply::Error(text)) => {
            // A replica would pass the event, which is in flight behind this command, to no other server.
            let error = ErrorReply::new(text);
            if error.class == Class::Reconnect {
                return keep_connection(&error);
            }
            backlog.not_kept(&channel, text);
        }
        (Sent::Auxiliary(KEEP, _), _) => {
            shared.stats.kept.add(1);
            shared.limits.lift(Limit::Streams);
        }
        (Sent::Auxiliary(operation, key), Reply::Error(text)) => {
            backlog.auxiliary_failed(operation, &key, &format!("redis: {}", ErrorReply::new(text)));
        }
        (Sent::Expiry(expiry), reply) => expiry_answered(backlog, expiry, reply),
        (Sent::Presence(request), reply) => return presence_answered(shared, backlog, request, reply),
        (Sent::Leases(request), reply) => return leases_answered(shared, backlog, &request, reply),
        (Sent::Map, reply) => backlog.map_answered(reply),
        (Sent::Auxiliary(..) | Sent::Heartbeat, _) => {}
    }
    Ok(())
}

// ---- errors ---------------------------------------------------------------------------------------------------------

/// Redis answered an item with an error.
fn item_refused(backlog: &mut Backlog<'_>, item: Outgoing, text: &[u8]) -> Result<(), End> {
    if let Outgoing::Run(run) = item {
        return match (run.effect(), run.form()) {
            // The command itself may have made this error, and a script's own command is never sent twice.
            (Effect::Unknown, _) => {
                refuse_own_command(backlog, run, text);
                Ok(())
            }
            (Effect::Counts, Some(form)) => count_refused(backlog, run, form, text),
            (Effect::Counts | Effect::Reads | Effect::Writes, _) => {
                refused(backlog, Outgoing::Run(run), &ErrorReply::new(text))
            }
        };
    }
    if let Outgoing::Publish(publish) = &item
        && let Some(form) = publish.form
    {
        return kept_refused(backlog, item, form, text);
    }
    refused(backlog, item, &ErrorReply::new(text))
}

/// Redis refused an event that was sent as a call of the script that keeps it. The script did not publish it: whatever
/// stays wrong with the script, plain commands do their part.
fn kept_refused(backlog: &mut Backlog<'_>, mut item: Outgoing, form: Form, text: &[u8]) -> Result<(), End> {
    let error = ErrorReply::new(text);
    if let Outgoing::Publish(publish) = &mut item
        && error.is("CLUSTERDOWN")
    {
        // A cluster without a node for the stream passes events on all the same.
        publish.redirects = REDIRECTS_MAX;
        backlog.keeping().scripts.redirected();
        backlog.put_off(item, &error, None);
        return Ok(());
    }
    match backlog.keeping().scripts.refused(form, text, error.class) {
        ScriptRefusal::Counter if error.class != Class::Never => return refused(backlog, item, &error),
        ScriptRefusal::Counter | ScriptRefusal::Script => backlog.keeping().scripts.forbid(),
        ScriptRefusal::Form => {}
    }
    backlog.put_off(item, &error, None);
    Ok(())
}

/// The script that keeps an event could not do all of it. What it did is not done again: if PUBLISH is left, plain
/// commands do it.
fn kept_in_part(shared: &Shared, backlog: &mut Backlog<'_>, mut publish: Publish, found: Array<'_>) {
    let [heard, failed, endless] = [0, 1, 2].map(|at| found.iter().nth(at));
    let channel: Box<[u8]> = publish.parts().0.into();
    match failed.and_then(|failed| failed.text()) {
        Some(text) => backlog.not_kept(&channel, text),
        None => {
            shared.stats.kept.add(1);
            shared.limits.lift(Limit::Streams);
        }
    }
    if let Some(text) = endless.and_then(|endless| endless.text()) {
        let key = backlog.keep_target(&publish).map_or(channel, |target| target.key.clone());
        backlog.auxiliary_failed("expire", &key, &answer::redis_error(text));
    }
    if let Some(Reply::Error(text)) = heard {
        publish.publish_only = true;
        backlog.keeping().scripts.forbid();
        backlog.put_off(Outgoing::Publish(publish), &ErrorReply::new(text), None);
    } else {
        backlog.published(publish);
    }
}

/// Redis refused a command of a script's own. If it carried a secret, the text of the error reply, which may repeat the
/// secret, is shown nowhere. A name that Redis does not know may be a misspelt AUTH: its callback learns its arguments,
/// the log and the game hook do not.
fn refuse_own_command(backlog: &mut Backlog<'_>, mut run: Box<Run>, text: &[u8]) {
    let is_unknown =
        ["unknown command", "not support", "unsupported"].iter().any(|part| error_reply::contains(text, part));
    let error = match run.reply_to {
        _ if run.has_secret() => ErrorReply::of_secret(text),
        ReplyTo::Nobody if is_unknown => ErrorReply::new(b"ERR unknown command"),
        ReplyTo::Nobody | ReplyTo::Status(_) => ErrorReply::new(text),
        ReplyTo::Reader { .. } | ReplyTo::Callback(_) => ErrorReply::with_arguments(text),
    };
    if let Work::Ask { command, .. } = &run.work
        && is_unknown
    {
        run.target = command.name().into();
    }
    backlog.refuse(Outgoing::Run(run), &error);
}

/// Redis refused a counter that was sent as a call of the script: the error may be about the counter or about scripts.
fn count_refused(backlog: &mut Backlog<'_>, mut run: Box<Run>, form: Form, text: &[u8]) -> Result<(), End> {
    let error = ErrorReply::new(text);
    match (backlog.scripts().refused(form, text, error.class), &mut run.work) {
        // The script names a key more than the plain commands, and the reply does not tell which one is forbidden.
        (ScriptRefusal::Counter, Work::Count(job)) if error.is("NOPERM") => job.is_plain = true,
        (ScriptRefusal::Counter, _) => return refused(backlog, Outgoing::Run(run), &error),
        (ScriptRefusal::Script, _) => backlog.do_without_scripts(&error),
        (ScriptRefusal::Form, _) => {}
    }
    backlog.put_off(Outgoing::Run(run), &error, None);
    Ok(())
}

/// Redis refused an item, for the moment or for good. Some errors that pass also end the connection, such as READONLY
/// of a master that became a replica: the item is then sent again on the next one.
fn refused(backlog: &mut Backlog<'_>, item: Outgoing, error: &ErrorReply) -> Result<(), End> {
    if error.class == Class::Never {
        backlog.refuse(item, error);
        return Ok(());
    }
    match item {
        Outgoing::Run(run) if error.is_about_keys() && run.queued.elapsed() >= KEYS_AWAY_MAX => {
            backlog.lose_for_node(run, &format!("redis: {error}"));
        }
        item => backlog.put_off(item, error, Some(REFUSED_RETRY)),
    }
    keep_connection(error)
}

/// `Err` ends the connection, if the error's class says that this server is the wrong one, has no room or does not let
/// us in.
fn keep_connection(error: &ErrorReply) -> Result<(), End> {
    match error.class {
        Class::Wait | Class::Never => Ok(()),
        class => Err(End::Lost { reason: error.to_string(), class }),
    }
}

// ---- replies that are no errors -------------------------------------------------------------------------------------

/// The reply to a counter. If the script could not give its key a time to live, plain commands do so, or report why not.
fn counted_in_part<'a>(backlog: &mut Backlog<'_>, run: &Run, reply: Reply<'a>) -> Reply<'a> {
    let (Work::Count(job), Reply::Array(found)) = (&run.work, reply) else { return reply };
    if found.iter().nth(1).is_some_and(|error| error.text().is_some()) {
        backlog.keep_expiry(Expiry { key: job.count.key.clone(), ttl: job.count.ttl, is_missing: false });
    }
    found.iter().next().unwrap_or(Reply::Nil)
}

/// The reply to a command: its answer, or one step of the search for a leaderboard, which then goes first so that other
/// commands do not delay it.
fn finish_run(shared: &Shared, backlog: &mut Backlog<'_>, run: Box<Run>, reply: Reply<'_>) {
    let mut run = match run.effect() {
        Effect::Reads => match backlog.keep_unless_spoiled(run) {
            Some(run) => run,
            None => return,
        },
        Effect::Writes | Effect::Counts | Effect::Unknown => run,
    };
    let progress = match &mut run.work {
        Work::Ask { expect, .. } => expect.read(reply).map(SearchProgress::Done),
        Work::Count(_) => Expect::Number.read(reply).map(SearchProgress::Done),
        Work::Board(board) => board.take(reply),
        Work::Servers(search) => {
            let progress = search.take(reply);
            if !matches!(progress, Ok(SearchProgress::More)) {
                shared.stats.presence_skipped.add(search.skipped);
            }
            progress
        }
    };
    let outcome = match progress {
        Ok(progress @ (SearchProgress::More | SearchProgress::Cluster)) => {
            if progress == SearchProgress::Cluster {
                backlog.found_cluster();
            }
            // A redirection was about the step that is answered.
            (run.slot, run.redirects) = (None, 0);
            if let Some(item) = backlog.keep_unless_late(Outgoing::Run(run), Instant::now(), Duration::MAX) {
                backlog.put_back(item);
            }
            return;
        }
        Ok(SearchProgress::Done(answer)) => Ok(answer),
        Err(reason) => Err(reason),
    };
    let item = Outgoing::Run(run);
    backlog.note_success(&item);
    match (item, outcome) {
        (Outgoing::Run(run), Ok(answer)) => backlog.answer(run, answer),
        (item, Err(reason)) => backlog.lose_to_redis(item, &reason),
        (Outgoing::Publish(_), Ok(_)) => {}
    }
}

/// The answer to TTL, or to EXPIRE. TTL's -1 says that the key never ends: EXPIRE is next. Any other number says that
/// it has an end, or has ended.
fn expiry_answered(backlog: &mut Backlog<'_>, expiry: Expiry, reply: Reply<'_>) {
    match reply {
        Reply::Integer(-1) if !expiry.is_missing => backlog.keep_expiry(Expiry { is_missing: true, ..expiry }),
        Reply::Error(text) => {
            let error = ErrorReply::new(text);
            if error.class == Class::Never {
                backlog.auxiliary_failed("counter", &expiry.key, &format!("redis: {error}"));
            } else {
                backlog.put_off_expiry(expiry, REFUSED_RETRY);
            }
        }
        _ => {}
    }
}

/// The answer to a request for leases. A failure is reported once, and lifted when a later request succeeds: with the
/// script one reply covers all keys, without it a good reply counts only if no other of the same round failed.
fn leases_answered(
    shared: &Shared,
    backlog: &mut Backlog<'_>,
    request: &LeaseRequest,
    reply: Reply<'_>,
) -> Result<(), End> {
    let outcome = match reply {
        Reply::Error(text) => {
            let error = ErrorReply::new(text);
            if request.by_script && (counter::forbids_scripts(text) || counter::wants_script(text)) {
                // Plain commands come next. Another call may have been refused before.
                if !backlog.scripts().are_forbidden() {
                    backlog.do_without_scripts(&error);
                }
                return Ok(());
            }
            if error.class != Class::Never {
                // A lease that is held ends by itself, and the next request asks for it again.
                return keep_connection(&error);
            }
            Err(error.to_string())
        }
        reply => backlog.leases().answered(request, reply, shared.boot),
    };
    match (outcome, reply) {
        (Err(found), _) => {
            backlog.leases().note_failure();
            backlog.note_limit(Limit::Leases, &found);
        }
        (Ok(()), Reply::Array(_)) => {
            shared.limits.lift(Limit::Scripts);
            shared.limits.lift(Limit::Leases);
        }
        (Ok(()), Reply::Bulk(_)) if !backlog.leases().has_failed() => shared.limits.lift(Limit::Leases),
        (Ok(()), _) => {}
    }
    Ok(())
}

/// The answer to a command of this server's presence. A failure is reported once, and lifted when all commands of a later
/// beat succeed.
fn presence_answered(
    shared: &Shared,
    backlog: &mut Backlog<'_>,
    request: PresenceRequest,
    reply: Reply<'_>,
) -> Result<(), End> {
    let outcome = match reply {
        Reply::Error(text) => {
            let error = ErrorReply::new(text);
            keep_connection(&error)?;
            Err((error.to_string(), error.class == Class::Wait))
        }
        reply => backlog.presence().answered(request, reply, shared, Instant::now()).map_err(|found| (found, false)),
    };
    match outcome {
        Err((found, passes)) => {
            if backlog.presence().note_failure(passes) {
                backlog.note_limit(Limit::Presence, &found);
            }
        }
        Ok(is_whole) => {
            if is_whole {
                shared.limits.lift(Limit::Presence);
            }
            match backlog.presence().shared_name().map(|name| format!("it is `{name}`")) {
                Some(name) => backlog.note_limit(Limit::Name, &name),
                None => shared.limits.lift(Limit::Name),
            }
        }
    }
    Ok(())
}

/// The answer to a heartbeat. A master that became a replica still takes publishes, but they reach no other server.
fn check_role(shared: &Shared, reply: &OwnedReply) -> Result<(), End> {
    match connection::role(reply) {
        Some(Role::Other(role)) => {
            // The subscribed connection leads to the same server.
            shared.subscriptions.disconnect();
            Err(End::lost(format!("it is no master any more, but a {role}")))
        }
        None | Some(Role::Master | Role::Unknown) => Ok(()),
    }
}
