//! Items taken from the outbox whose fate is not known yet. `rt-publisher` owns the backlog; it outlives a connection.
//! Guarantee: the order on a channel and on a key is kept through resends and refusals. An item that cannot be sent in
//! order any more is lost: it is counted by reason, and its caller, the log or a game hook learns of it. Counters
//! commute, so they have no order among themselves; their numbers increase instead (`redis/counter.rs`), and no new
//! number is given while a counter with an older number is to be sent again.
//!
//! | file | question |
//! |---|---|
//! | [`next`] | Which item does the session write next, and when? |
//! | [`fate`] | How does an item end: answered, lost, refused for good, refused for the moment? |
//! | [`mod@cluster`] | Which node of a cluster gets an item? |
//! | [`connection`] | How do items go on when a connection begins or ends, or the settings change? |
//!
//! ```text
//!  outbox ──▶ unsent ──next()──▶ session encodes ──sent()──▶ in flight ──take_answered()──▶ answered, lost
//!               ▲  ▲                                             │
//!               │  └── refused, released in order ◀── put_off() ─┤
//!               └───── the connection ended ◀────────────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::config::limits::HEARTBEAT;
use crate::io::text_log::Throttle;
use crate::redis::REPLY_LIMITS;
use crate::redis::cluster::LineNumber;
use crate::redis::connection::Connection;
use crate::redis::kept::Target;
use crate::redis::reply::Decoder;
use crate::threads::publisher::direct::Line;
use crate::threads::publisher::expiries::{Expiries, Expiry};
use crate::threads::publisher::in_flight::{InFlight, OwnCommands, Sent};
use crate::threads::publisher::keeping::Keeping;
use crate::threads::publisher::leases::{LEASE_KEYS_MAX, Leases};
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::publisher::pace::Pace;
use crate::threads::publisher::presence::Presence;
use crate::threads::publisher::refused::Refused;
use crate::threads::publisher::scripts::Scripts;
use crate::threads::shared::Shared;

use cluster::Cluster;
pub(super) use cluster::REDIRECTS_MAX;
pub(super) use next::{BATCH_BYTES_MAX, Moment, Step};

mod cluster;
mod connection;
mod fate;
mod next;

/// How often an idle publisher looks at its connection, and a disconnected one drops expired items.
const IDLE_CHECK: Duration = Duration::from_secs(1);

pub(super) struct Backlog<'a> {
    shared: &'a Arc<Shared>,
    /// Items to be written before everything in the outbox.
    unsent: VecDeque<Outgoing>,
    /// Commands written on this connection and not answered.
    in_flight: InFlight,
    /// See [`Backlog::is_full`].
    is_clogged: bool,
    /// Items that Redis refused for the moment.
    refused: Refused,
    pace: Pace,
    scripts: Scripts,
    keeping: Keeping,
    leases: Leases,
    presence: Presence,
    cluster: Cluster,
    expiries: Expiries,
    /// Some unsent counter may carry a number that Redis may have applied. False: certainly none does, so that a new
    /// number costs no walk through `unsent`.
    has_doubts: bool,
    /// A walk through all unsent items that is not finished.
    pass: Option<next::Pass>,
    /// The settings that the current connection and all items here belong to; `None` before the first connection.
    home: Option<Arc<Config>>,
    /// The newest settings that were looked at: their version, how long an event may wait, and how often a heartbeat is due.
    config_version: u64,
    event_age_max: Duration,
    heartbeat: Duration,
    /// The settings' connection version that the current connection was made for.
    seen: u64,
    /// Until then publishes stay, and what is behind them: after a lost connection the other servers are not back yet.
    held_until: Option<Instant>,
    /// The settings ask for another connection: until then this one answers items queued before the change.
    drain_until: Option<Instant>,
    // Each bounds the rate of one kind of log line: lost events, failed commands, failed auxiliary commands.
    losses: Throttle,
    failures: Throttle,
    auxiliary_failures: Throttle,
}

impl<'a> Backlog<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Backlog<'a> {
        Backlog {
            shared,
            unsent: VecDeque::new(),
            in_flight: InFlight::default(),
            is_clogged: false,
            refused: Refused::default(),
            pace: Pace::default(),
            scripts: Scripts::default(),
            keeping: Keeping::default(),
            leases: Leases::default(),
            presence: Presence::default(),
            cluster: Cluster::default(),
            expiries: Expiries::default(),
            has_doubts: false,
            pass: None,
            home: None,
            config_version: 0,
            event_age_max: Duration::MAX,
            heartbeat: HEARTBEAT,
            seen: 0,
            held_until: None,
            drain_until: None,
            losses: Throttle::new(),
            failures: Throttle::new(),
            auxiliary_failures: Throttle::new(),
        }
    }

    // ---- sending ----------------------------------------------------------------------------------------------------

    /// The number of the next counter: higher than all that Redis may have seen of this process. `None`: the counter
    /// must go without one, as a counter with an older number waits behind it.
    pub(super) fn next_number(&mut self) -> Option<u64> {
        if self.has_doubts {
            self.has_doubts =
                self.unsent.iter().any(|item| matches!(item, Outgoing::Run(run) if run.number_in_doubt().is_some()));
        }
        (!self.has_doubts).then(|| self.shared.count_number.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn scripts(&mut self) -> &mut Scripts {
        &mut self.scripts
    }

    /// How this process keeps events.
    pub(super) fn keeping(&mut self) -> &mut Keeping {
        &mut self.keeping
    }

    /// How the events of the channel of this one are kept; `None`: they are not.
    pub(super) fn keep_target(&mut self, publish: &Publish) -> Option<Arc<Target>> {
        self.keeping.target(&self.shared.keeps, publish.head().prefix_bytes.into(), publish.parts().0)
    }

    /// Whether a command has brought the text of a script and Redis has not answered it: nothing is written behind it.
    fn awaits_script(&self) -> bool {
        self.scripts.are_asked() || self.keeping.scripts.are_asked()
    }

    /// A command was appended to the batch.
    pub(super) fn sent(&mut self, sent: Sent) {
        self.in_flight.push(sent);
    }

    /// A command was appended to the batch of this line.
    pub(super) fn sent_on(&mut self, line: LineNumber, sent: Sent) {
        self.in_flight.push_on(line, sent);
    }

    /// The next key whose time to live is to be checked or set now.
    pub(super) fn next_expiry(&mut self, now: Instant) -> Option<Expiry> {
        self.expiries.pop(now)
    }

    /// The commands for leases that are due.
    pub(super) fn ask_for_leases(&mut self, now: Instant) -> Vec<OwnCommands> {
        if self.awaits_map() {
            return Vec::new();
        }
        let keys_max = if self.is_cluster() { 1 } else { LEASE_KEYS_MAX };
        self.leases.ask(self.shared, now, !self.scripts.are_forbidden(), keys_max)
    }

    /// The commands for this server's presence that are due. `ends`: those that end it.
    pub(super) fn ask_for_presence(&mut self, now: Instant, ends: bool) -> OwnCommands {
        if ends {
            self.presence.end(self.shared)
        } else if self.awaits_map() {
            OwnCommands::default()
        } else {
            self.presence.ask(self.shared, now)
        }
    }

    /// The map of a cluster is not known yet: a command of this thread's own would only be redirected.
    fn awaits_map(&self) -> bool {
        self.is_cluster() && matches!(self.pace, Pace::Rephrase { .. })
    }

    // ---- reads by the game thread ------------------------------------------------------------------------------------

    /// Lends the connection to the game thread, which may read on it unless an item waits for an answer to go.
    pub(super) fn lend(&mut self, connection: &Arc<Connection>, decoder: &mut Decoder) {
        if self.pace != Pace::Open || self.awaits_script() || !self.unsent.is_empty() || self.is_cluster() {
            return;
        }
        self.shared.direct.lend(Line {
            connection: Arc::clone(connection),
            decoder: std::mem::replace(decoder, Decoder::new(REPLY_LIMITS)),
            in_flight: std::mem::take(&mut self.in_flight),
            seen: self.seen,
            was_used: false,
        });
    }

    /// Takes the connection back. True: the game thread used it.
    pub(super) fn take_back(&mut self, decoder: &mut Decoder) -> bool {
        let Some(line) = self.shared.direct.take_back() else { return false };
        (*decoder, self.in_flight) = (line.decoder, line.in_flight);
        line.was_used
    }

    /// When the heartbeat after this one is due.
    pub(super) fn next_heartbeat(&self, last: Instant) -> Instant {
        last + self.heartbeat
    }

    // ---- answers ----------------------------------------------------------------------------------------------------

    /// How many commands are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the publisher should wait at the socket for an answer: something else waits for it, or nothing can be
    /// written before it.
    pub(super) fn wants_answer(&mut self) -> bool {
        let is_full = self.is_full();
        let is_urgent = || {
            self.in_flight.has_awaited()
                || self.awaits_script()
                || self.is_asking()
                || matches!(self.pace, Pace::Rephrase { .. })
        };
        is_full || !self.in_flight.is_empty() && is_urgent()
    }

    /// How many commands are in flight on this line.
    pub(super) fn in_flight_on(&self, line: LineNumber) -> usize {
        self.in_flight.len_on(line)
    }

    /// The command that the next reply on this line answers.
    pub(super) fn take_answered(&mut self, line: LineNumber) -> Option<Sent> {
        self.in_flight.pop_on(line)
    }

    /// The reply on this line was none to this command: the command stays unanswered.
    pub(super) fn put_back_answered(&mut self, line: LineNumber, sent: Sent) {
        self.in_flight.put_back_on(line, sent);
    }

    pub(super) fn leases(&mut self) -> &mut Leases {
        &mut self.leases
    }

    pub(super) fn presence(&mut self) -> &mut Presence {
        &mut self.presence
    }

    /// Moves everything in the outbox behind the unsent items, and takes back the mark that a reader waits there.
    fn absorb(&mut self) {
        self.shared.outbox.take_reader();
        while let Some(item) = self.shared.outbox.take() {
            self.unsent.push_back(item);
        }
    }
}

/// For tests of the session, which set up a state and look at it.
#[cfg(test)]
impl Backlog<'_> {
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    pub(super) fn push(&mut self, item: Outgoing) {
        self.unsent.push_back(item);
    }

    pub(super) fn be_careful(&mut self) {
        self.pace = Pace::Careful;
    }

    pub(super) fn is_careful(&self) -> bool {
        self.pace == Pace::Careful
    }
}
