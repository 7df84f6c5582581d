//! What the replies of a cluster say about it: whether Redis is one, which node serves which slot, and what becomes of a
//! command that a node has redirected. Runs on `rt-publisher`. Guarantee: the order on a key is kept. A redirected command
//! was not executed, so it is sent again; before that, and before the map changes, all commands in flight are answered
//! ([`Pace::Rephrase`](super::Pace)), and a key has one node by one map.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Backlog;
use crate::config::Config;
use crate::config::limits::REFUSED_RETRY;
use crate::redis::cluster::{self, HOME, LineNumber, NodePlace, Redirect, SlotMap};
use crate::redis::error_reply::ErrorReply;
use crate::redis::leaderboard::IN_A_CLUSTER;
use crate::redis::reply::Reply;
use crate::threads::publisher::in_flight::Sent;
use crate::threads::publisher::keeping::KEEP;
use crate::threads::publisher::outbox::Outgoing;
use crate::threads::publisher::run::{Run, Work};

/// Redirections of one command, beyond which the nodes disagree and it is given up.
pub(crate) const REDIRECTS_MAX: u8 = 8;
/// Shortest time between two questions for the map.
const MAP_PAUSE: Duration = Duration::from_secs(1);

/// The knowledge of a cluster. It is a cluster's once a reply said so; the map is that of one connection.
#[derive(Default)]
pub(super) struct Cluster {
    is_one: bool,
    /// Set while a connection stands and Redis is a cluster.
    map: Option<SlotMap>,
    /// The names of the Redis of the settings.
    home: Vec<NodePlace>,
    wants_map: bool,
    asked: Option<Instant>,
    /// An item is on its way behind ASKING.
    is_asking: bool,
}

impl Cluster {
    /// A connection is ready, to a server of these names.
    pub(super) fn connected(&mut self, home: Vec<NodePlace>) {
        (self.map, self.home, self.wants_map, self.asked) = (None, home, self.is_one, None);
    }

    /// The settings lead to another Redis.
    pub(super) fn forget(&mut self) {
        *self = Cluster::default();
    }

    /// Whether the last question for the map is long enough ago.
    fn may_ask(&self, now: Instant) -> bool {
        self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= MAP_PAUSE)
    }

    fn map(&mut self) -> &mut SlotMap {
        self.map.get_or_insert_with(|| SlotMap::new(self.home.clone()))
    }
}

impl Backlog<'_> {
    /// Whether Redis is a node of a cluster, as far as it has said so.
    pub(crate) fn is_cluster(&self) -> bool {
        self.cluster.is_one
    }

    /// The settings of the current connection.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.home.clone().unwrap_or_else(|| self.shared.settings.current())
    }

    /// The node of a line.
    pub(crate) fn node(&self, line: LineNumber) -> Option<NodePlace> {
        self.cluster.map.as_ref()?.node(line).cloned()
    }

    /// Whether this item has to wait until the items behind ASKING are answered. It would go to the old node of the slot,
    /// be refused before they succeed, and count as overtaken by them.
    pub(super) fn waits_for_asked(&mut self, item: &Outgoing) -> bool {
        let is_asking = self.cluster.is_asking && !self.in_flight.is_empty();
        self.cluster.is_asking = is_asking || item.is_asked();
        is_asking && !item.is_asked()
    }

    /// Whether items behind ASKING may be on their way.
    pub(super) fn is_asking(&self) -> bool {
        self.cluster.is_asking
    }

    /// The line on which commands for this key go.
    pub(crate) fn line_of_key(&self, key: &[u8]) -> LineNumber {
        self.cluster.map.as_ref().map_or(HOME, |map| map.line_of(cluster::slot(key)))
    }

    /// The line on which this command goes.
    pub(crate) fn line_of(&self, run: &Run) -> LineNumber {
        let Some(map) = &self.cluster.map else { return HOME };
        if let Some(line) = run.asked_at.or_else(|| run.scans_on()) {
            return line;
        }
        run.slot().map_or(HOME, |slot| map.line_of(slot))
    }

    /// Gives a search for a leaderboard the lines of all masters, and returns it. `None`: the map is asked for first, or the
    /// cluster has just not told all of them.
    pub(crate) fn spread(&mut self, mut run: Box<Run>) -> Option<Box<Run>> {
        match (&mut run.work, self.cluster.map.as_ref().and_then(SlotMap::masters)) {
            (Work::Board(board), Some(masters)) => {
                board.spread(masters);
                return Some(run);
            }
            _ if !self.cluster.may_ask(Instant::now()) => self.lose_to_redis(Outgoing::Run(run), IN_A_CLUSTER),
            _ => {
                self.cluster.wants_map = true;
                let error = ErrorReply::new(b"CLUSTERDOWN the nodes of the cluster are not known yet");
                self.put_off(Outgoing::Run(run), &error, None);
            }
        }
        None
    }

    /// Redis said that it is a cluster. The map is asked for before anything else is written.
    pub(crate) fn found_cluster(&mut self) {
        self.cluster.is_one = true;
        self.cluster.wants_map = true;
        self.cluster.map();
    }

    /// True if the map is to be asked for now. It is in use once all answers are in.
    pub(crate) fn asks_for_map(&mut self) -> bool {
        let now = Instant::now();
        let asks = std::mem::take(&mut self.cluster.wants_map) && self.cluster.may_ask(now);
        if asks {
            self.cluster.asked = Some(now);
            self.pace.put_off(now, None);
        }
        asks
    }

    /// A node cannot be reached, or it is another one since: the map may be old.
    pub(crate) fn doubt_map(&mut self) {
        self.cluster.wants_map = true;
    }

    /// The reply to CLUSTER SLOTS. If an ACL forbids it, the map grows by redirections alone.
    pub(crate) fn map_answered(&mut self, reply: Reply<'_>) {
        if let Reply::Array(_) = reply {
            self.cluster.is_one = true;
            self.cluster.map().read(reply);
        }
    }

    /// The reply to a command, on this line, is an error. `Some`: it is one about the command and no redirection, so the
    /// command goes on as elsewhere.
    pub(crate) fn follow_redirect(&mut self, line: LineNumber, sent: Sent, text: &[u8]) -> Option<Sent> {
        let Some(redirect) = Redirect::parse(text) else { return self.do_without_number(sent, text) };
        if matches!(&sent, Sent::Item(Outgoing::Publish(publish)) if publish.form.is_none()) {
            return Some(sent);
        }
        let now = Instant::now();
        // A script can answer with any text. It must not make this server log in anywhere, nor be run twice: only a known
        // cluster, and its map, are believed.
        let runs_script = sent.runs_script();
        if runs_script && !self.cluster.is_one {
            self.cluster.wants_map = true;
            return Some(sent);
        }
        self.cluster.is_one = true;
        self.refused.is_of_cluster();
        let known = match redirect {
            Redirect::CrossSlot => None,
            Redirect::Moved(slot, _) if runs_script => {
                self.cluster.wants_map = true;
                Some((slot, None))
            }
            Redirect::Ask(slot, place) if runs_script => {
                self.cluster.map().known(&place).map(|line| (slot, Some(line)))
            }
            Redirect::Moved(slot, place) => {
                let to = self.cluster.map().line_to(place, line);
                if let Some(to) = to {
                    self.cluster.map().moved(slot, to);
                }
                self.cluster.wants_map = true;
                to.map(|_| (slot, None))
            }
            Redirect::Ask(slot, place) => self.cluster.map().line_to(place, line).map(|to| (slot, Some(to))),
        };
        // The first error of a cluster of one node may be this one.
        self.cluster.map();
        match sent {
            Sent::Item(Outgoing::Run(run)) => return self.redirect(run, known, text).map(Sent::Item),
            Sent::Item(Outgoing::Publish(mut publish)) => {
                self.keeping.scripts.redirected();
                // Without a node for its stream it is published only.
                let line = known.map(|(_, line)| line);
                publish.redirects = if line.is_some() { publish.redirects.saturating_add(1) } else { REDIRECTS_MAX };
                publish.asked_at = line.flatten();
                self.put_off(Outgoing::Publish(publish), &ErrorReply::new(text), None);
            }
            // Its PUBLISH is on the way.
            Sent::Auxiliary(KEEP, channel) => self.not_kept(&channel, text),
            Sent::Expiry(expiry) => self.put_off_expiry(expiry, REFUSED_RETRY),
            Sent::Leases(_) => self.leases.put_off(now + REFUSED_RETRY),
            Sent::Presence(_) => self.presence.put_off(now + REFUSED_RETRY),
            // The item that it accompanies is redirected as well.
            _ => {}
        }
        self.pace.put_off(now, None);
        None
    }

    /// While its slot is on its way, the two keys of a counter may be on two nodes. It then goes without its number, unless
    /// Redis may have applied it already.
    fn do_without_number(&mut self, sent: Sent, text: &[u8]) -> Option<Sent> {
        let Sent::Item(Outgoing::Run(mut run)) = sent else { return Some(sent) };
        let error = ErrorReply::new(text);
        let has_number = run.form().is_some() && run.number_in_doubt().is_none();
        match &mut run.work {
            Work::Count(job) if has_number && self.is_cluster() && error.is("TRYAGAIN") => job.is_plain = true,
            _ => return Some(Sent::Item(Outgoing::Run(run))),
        }
        self.scripts.redirected();
        self.put_off(Outgoing::Run(run), &error, None);
        None
    }

    /// Sends a command again to the node that serves its key. `known`: the slot, and a line for this time only. `Some`:
    /// there is no such node, or the command can never succeed in a cluster.
    fn redirect(
        &mut self,
        mut run: Box<Run>,
        known: Option<(u16, Option<LineNumber>)>,
        text: &[u8],
    ) -> Option<Outgoing> {
        let is_call = run.form().is_some();
        if is_call {
            self.scripts.redirected();
        }
        match known {
            // With a tag for the key of the numbers, the keys of a counter have one slot.
            None if is_call && !run.has_tag() => {}
            None => return Some(Outgoing::Run(run)),
            Some(_) if run.redirects >= REDIRECTS_MAX => return Some(Outgoing::Run(run)),
            Some((slot, line)) => {
                if let Work::Count(job) = &mut run.work
                    && line.is_none()
                {
                    job.is_plain = false;
                }
                run.redirects += 1;
                (run.slot, run.asked_at) = (Some(slot), line);
            }
        }
        self.put_off(Outgoing::Run(run), &ErrorReply::new(text), None);
        None
    }
}
