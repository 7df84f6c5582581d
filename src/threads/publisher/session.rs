//! The work on one connection: encode the items that the backlog hands out, write batches, match replies. Runs on
//! `rt-publisher`; owns the batch and the decoder of that connection. The backlog decides which item is written and
//! when (`backlog/next.rs`).
//!
//! | file | question |
//! |---|---|
//! | this one | In which order do the steps of one round come, and when does the connection end? |
//! | [`encode`] | Which bytes does an item, a heartbeat, a time to live become? |
//! | [`nodes`] | How are the other nodes of a cluster reached? |
//! | [`answers`] | How does a reply change the fate of the item that it answers? |

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::{HEARTBEAT, SILENCE_MAX};
use crate::io::fail_point::fail_point;
use crate::redis::REPLY_LIMITS;
use crate::redis::cluster::HOME;
use crate::redis::connection::Connection;
use crate::redis::error_reply::Class;
use crate::redis::reply::Decoder;
use crate::threads::links::News;
use crate::threads::publisher::backlog::{BATCH_BYTES_MAX, Backlog, Moment, Step};
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::shared::Shared;

mod answers;
mod encode;
mod nodes;

/// The first pause after a write before the publisher looks for an answer, and the longest: the pause doubles while no
/// answer comes. An answer only settles a count; a new publish never waits for this.
const ANSWER_POLL_FIRST: Duration = Duration::from_micros(500);
const ANSWER_POLL_LONGEST: Duration = Duration::from_millis(16);
/// Longest wait at the socket for an answer that something waits for. Jobs of other threads wait no longer than this.
const ANSWER_WAIT: Duration = Duration::from_millis(2);

/// How a connection ended.
pub(super) enum End {
    /// The library stops.
    Stop,
    /// The settings ask for another connection, and this one is drained.
    Settings,
    /// The connection failed, or Redis sent an error that ends it. The class decides when to connect again.
    Lost { reason: String, class: Class },
}

impl End {
    fn lost(reason: impl ToString) -> End {
        End::Lost { reason: reason.to_string(), class: Class::Reconnect }
    }
}

pub(super) struct Session<'a, 'b> {
    shared: &'a Arc<Shared>,
    connection: &'b Arc<Connection>,
    backlog: &'b mut Backlog<'a>,
    decoder: Decoder,
    /// When the connection was ready.
    ready: Instant,
    /// The version of the master that the connection leads to ([`crate::threads::links::Masters`]).
    master: u64,
    /// Encoded commands that are not written yet.
    batch: Vec<u8>,
    /// The other nodes of a cluster; the first is line 1.
    nodes: Vec<nodes::Node>,
    /// The version of the routes that [`Shared::subscriptions`] last asked Redis for.
    synced: u64,
    /// The pause before the next look for answers.
    poll: Duration,
    /// When the last heartbeat was encoded, at first when the connection was ready.
    heartbeat: Instant,
    heartbeat_is_out: bool,
    /// The game thread left bytes in the decoder that it read and did not match.
    has_unmatched: bool,
    /// While something is in flight: when silence ends the connection.
    answer_by: Instant,
}

impl<'a, 'b> Session<'a, 'b> {
    /// Begins the work on a connection that was made for the settings of this connection version, to the master of this
    /// version.
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        connection: &'b Arc<Connection>,
        backlog: &'b mut Backlog<'a>,
        seen: u64,
        master: u64,
    ) -> Session<'a, 'b> {
        let ready = Instant::now();
        backlog.connected(seen, connection.places().to_vec());
        shared.replies.note_heard();
        Session {
            shared,
            connection,
            backlog,
            decoder: Decoder::new(REPLY_LIMITS),
            ready,
            master,
            batch: Vec::new(),
            nodes: Vec::new(),
            synced: 0,
            poll: ANSWER_POLL_FIRST,
            heartbeat: ready,
            heartbeat_is_out: false,
            has_unmatched: false,
            answer_by: ready,
        }
    }

    /// Works until the connection ends.
    pub(super) fn serve(&mut self) -> End {
        match self.work() {
            Ok(end) | Err(end) => end,
        }
    }

    fn work(&mut self) -> Result<End, End> {
        while !self.shared.is_stopping() {
            fail_point("publisher");
            if self.shared.masters.version() != self.master {
                return Err(End::lost("the sentinels name another master"));
            }
            self.sync_subscriptions();
            self.backlog.look_at_settings();
            self.ask_for_map()?;
            let before = self.backlog.in_flight();
            if self.backlog.is_draining() {
                if self.gather() == Gathered::Drained {
                    return Ok(End::Settings);
                }
            } else {
                self.gather();
                let now = Instant::now();
                self.encode_heartbeat(now);
                self.encode_leases(now);
                self.encode_expiries(now);
            }
            self.write(before == 0)?;
            self.read_answers()?;
            let in_flight = self.backlog.in_flight();
            if self.backlog.in_flight_on(HOME) > 0 && Instant::now() >= self.answer_by {
                return Err(End::lost(format!("no answer for {} s", SILENCE_MAX.as_secs())));
            }
            self.poll = if in_flight < before { ANSWER_POLL_FIRST } else { (self.poll * 2).min(ANSWER_POLL_LONGEST) };
        }
        // A key that should end is not left without an end.
        self.encode_expiries(Instant::now());
        self.write(false)?;
        Ok(End::Stop)
    }

    /// Asks Redis for the subscriptions of new routes, and again for those that it refused for the moment. This thread
    /// does it, as the subscriber's thread waits for bytes.
    fn sync_subscriptions(&mut self) {
        let subscriptions = &self.shared.subscriptions;
        if self.shared.published.version() != self.synced || subscriptions.are_due(Instant::now()) {
            self.synced = subscriptions.sync();
        }
    }

    // ---- gathering --------------------------------------------------------------------------------------------------

    /// Fills the batch with the items that the backlog hands out; waits, a bounded time, if there are none.
    fn gather(&mut self) -> Gathered {
        let mut may_wait = true;
        let mut at =
            Moment { now: Instant::now(), batch_bytes: self.batch_bytes(), poll: self.poll, heartbeat: self.heartbeat };
        loop {
            match self.backlog.next(&at) {
                Step::Write(item) => self.encode(item),
                Step::Settle(publish) => {
                    if !self.settle(&publish) {
                        self.backlog.put_back(Outgoing::Publish(publish));
                        return Gathered::Batch;
                    }
                    self.encode_publish(publish);
                }
                Step::Idle(patience) if self.batch_bytes() == 0 => {
                    if may_wait {
                        self.sleep(patience);
                    }
                    let Some(item) = self.shared.outbox.take() else { return Gathered::Batch };
                    // After a wait as short as between two looks for answers no item is older than it was.
                    if may_wait && patience > ANSWER_POLL_LONGEST {
                        at.now = Instant::now();
                    }
                    may_wait = false;
                    self.backlog.arrived(item);
                }
                Step::Idle(_) => return Gathered::Batch,
                Step::Wait(pause) => {
                    if !pause.is_zero() {
                        self.shared.pause(pause);
                    }
                    return Gathered::Batch;
                }
                Step::Drained => return Gathered::Drained,
            }
            at.batch_bytes = self.batch_bytes();
        }
    }

    /// Waits for an item at the outbox. Meanwhile the game thread may read on the connection. Items are taken only
    /// afterwards, so that no read overtakes one.
    fn sleep(&mut self, patience: Duration) {
        self.backlog.lend(self.connection, &mut self.decoder);
        self.shared.outbox.wait(patience);
        if self.backlog.take_back(&mut self.decoder) {
            self.answer_by = Instant::now() + SILENCE_MAX;
            self.has_unmatched = !self.decoder.is_idle();
        }
    }

    /// Waits until the subscriptions asked for before this publish stand, so that a script hears what it emits right
    /// after `On`. False: a reader came first. True after [`crate::threads::links::SETTLE_MAX`] at the latest: the
    /// publish goes in any case.
    fn settle(&mut self, publish: &Publish) -> bool {
        let shared = self.shared;
        shared.subscriptions.hurry();
        loop {
            // No other thread asks for subscriptions: this one must have asked before it waits.
            self.sync_subscriptions();
            let give_up = || shared.is_stopping() || self.backlog.reader_waits();
            if shared.settled.wait(publish.head().routes_version, self.ready, give_up) != Some(News::More) {
                break;
            }
        }
        shared.settled.is_reached(publish.head().routes_version) || !self.backlog.reader_waits()
    }

    /// Writes the batches. `was_idle`: nothing was in flight before it.
    fn write(&mut self, was_idle: bool) -> Result<(), End> {
        self.write_nodes()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        if was_idle {
            // A heartbeat is sent after a silence of its own, which counts.
            let silence = if self.heartbeat_is_out { SILENCE_MAX - HEARTBEAT } else { SILENCE_MAX };
            self.answer_by = Instant::now() + silence;
        }
        self.connection.write_all(&self.batch).map_err(End::lost)?;
        self.batch.clear();
        self.batch.shrink_to(2 * BATCH_BYTES_MAX);
        self.poll = ANSWER_POLL_FIRST;
        Ok(())
    }
}

/// The end of one gathering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    /// The batch, which may be empty, is to be written now.
    Batch,
    /// The connection is to be left.
    Drained,
}

#[cfg(test)]
mod tests;
