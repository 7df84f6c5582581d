//! The connections to the other nodes of a cluster: made when the first command goes there, each with its own batch and
//! decoder. Runs on `rt-publisher`, and blocks it while a node is being connected to, [`NODE_PATIENCE`] for each step.
//! A node that breaks off ends the whole session, so that what happens to unanswered commands is decided in one place;
//! a node that cannot be connected to costs the commands for it, and events go on.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{End, Session};
use crate::config::limits::SILENCE_MAX;
use crate::redis::REPLY_LIMITS;
use crate::redis::cluster::{HOME, LineNumber};
use crate::redis::command;
use crate::redis::connection::Connection;
use crate::redis::reply::Decoder;
use crate::threads::publisher::in_flight::Sent;

/// Longest attempt to connect to a node, and longest handshake. The events of this server wait meanwhile.
const NODE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a node that could not be connected to is left alone.
const NODE_PAUSE: Duration = Duration::from_secs(3);
/// A connection that was not used for so long is replaced, not trusted: no heartbeat keeps it alive.
const NODE_IDLE_MAX: Duration = Duration::from_secs(30);

/// One line, beside the one to the Redis of the settings.
#[derive(Default)]
pub(super) struct Node {
    open: Option<OpenNode>,
    /// Encoded commands that are not written yet.
    pub(super) batch: Vec<u8>,
    /// Until when no attempt is made, and why the last one failed.
    failed: Option<(Instant, String)>,
}

struct OpenNode {
    connection: Connection,
    decoder: Decoder,
    /// When it was last written to, and when its silence ends it.
    used: Instant,
    answer_by: Instant,
}

impl Session<'_, '_> {
    /// Asks for the map of the cluster, if that is due. Written at once: nothing else is written before its answer.
    pub(super) fn ask_for_map(&mut self) -> Result<(), End> {
        if self.backlog.asks_for_map() {
            command::encode(&mut self.batch, &[b"CLUSTER", b"SLOTS"]);
            self.backlog.sent(Sent::Map);
            self.write(self.backlog.in_flight() == 1)?;
        }
        Ok(())
    }

    /// The batch of a line.
    pub(super) fn batch_of(&mut self, line: LineNumber) -> &mut Vec<u8> {
        match usize::from(line).checked_sub(1).and_then(|at| self.nodes.get_mut(at)) {
            Some(node) => &mut node.batch,
            None => &mut self.batch,
        }
    }

    /// Bytes of all batches.
    pub(super) fn batch_bytes(&self) -> usize {
        self.nodes.iter().fold(self.batch.len(), |sum, node| sum + node.batch.len())
    }

    /// Makes sure that commands can be written on a line. `Err` says why not, and starts with a code of the API.
    pub(super) fn prepare(&mut self, line: LineNumber) -> Result<(), String> {
        let Some(at) = usize::from(line).checked_sub(1) else { return Ok(()) };
        let Some((host, port)) = self.backlog.node(line) else { return Ok(()) };
        if self.nodes.len() <= at {
            self.nodes.resize_with(at + 1, Node::default);
        }
        let is_quiet = self.backlog.in_flight_on(line) == 0;
        let (now, Some(node)) = (Instant::now(), self.nodes.get_mut(at)) else { return Ok(()) };
        let is_old = |open: &OpenNode| is_quiet && now.saturating_duration_since(open.used) >= NODE_IDLE_MAX;
        if node.open.as_ref().is_some_and(|open| !is_old(open)) {
            return Ok(());
        }
        if let Some((until, found)) = &node.failed
            && now < *until
        {
            return Err(found.clone());
        }
        match Connection::open_node(&self.backlog.config(), host, port, NODE_PATIENCE) {
            Ok(connection) => {
                let used = Instant::now();
                let decoder = Decoder::new(REPLY_LIMITS);
                node.open = Some(OpenNode { connection, decoder, used, answer_by: used + SILENCE_MAX });
                node.failed = None;
                Ok(())
            }
            Err(err) => {
                let found = format!("disconnected: a node of the cluster is away: {err}");
                (node.open, node.failed) = (None, Some((Instant::now() + NODE_PAUSE, found.clone())));
                self.backlog.doubt_map();
                Err(found)
            }
        }
    }

    /// Writes the batches of all nodes.
    pub(super) fn write_nodes(&mut self) -> Result<(), End> {
        for node in &mut self.nodes {
            if node.batch.is_empty() {
                continue;
            }
            let Some(open) = &mut node.open else { return Err(End::lost("a node of the cluster is away")) };
            open.used = Instant::now();
            open.connection.write_all(&node.batch).map_err(End::lost)?;
            node.batch.clear();
        }
        Ok(())
    }

    /// Reads the replies of all nodes that have arrived. `wait`: for a moment at the first that owes one.
    pub(super) fn read_nodes(&mut self, wait: Option<Duration>) -> Result<(), End> {
        let mut wait = wait;
        for at in 0..self.nodes.len() {
            let line = LineNumber::try_from(at + 1).unwrap_or(HOME);
            let in_flight = self.backlog.in_flight_on(line);
            let Some(open) = self.nodes.get_mut(at).and_then(|node| node.open.as_mut()) else { continue };
            if in_flight == 0 {
                open.answer_by = Instant::now() + SILENCE_MAX;
                continue;
            }
            if let Some(patience) = wait.take() {
                open.connection.wait(patience).map_err(End::lost)?;
            }
            match open.decoder.read_from(&mut open.connection.reader()) {
                Ok(0) => return Err(End::lost("a node of the cluster closed the connection")),
                Ok(_) => open.answer_by = Instant::now() + SILENCE_MAX,
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) => return Err(End::lost(err)),
            }
            if Instant::now() >= open.answer_by {
                return Err(End::lost(format!("no answer of a node for {} s", SILENCE_MAX.as_secs())));
            }
            super::answers::match_all(self.shared, self.backlog, line, &mut open.decoder, &mut false)?;
        }
        Ok(())
    }
}
