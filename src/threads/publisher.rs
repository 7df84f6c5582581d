//! Sends what scripts emit. Runs on `rt-publisher`; owns one connection and the order of the outbox.
//! Takes all that waits, writes it at once, and never waits for an answer before the next write; answers are matched
//! in order. What was written and not answered when the connection ends is counted as `unknown`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BATCH_BYTES_MAX, IDLE_CHECK};
use crate::redis::backoff::Backoff;
use crate::redis::connection::Connection;
use crate::redis::reply::{Decoder, Reply};
use crate::redis::{REPLY_LIMITS, command};
use crate::text_log::Throttle;
use crate::threads::{Job, Publish, Shared};

/// How soon an answer is looked for after a write, and the longest pause between two looks. An answer only settles
/// a count: a new publish never waits for this.
const ANSWER_POLL_FIRST: Duration = Duration::from_micros(500);
const ANSWER_POLL_LONGEST: Duration = Duration::from_millis(16);

/// The thread's whole life: connect, serve, wait, again, until stop.
pub fn run(shared: &Arc<Shared>) {
    let mut backoff = Backoff::default();
    let mut held = None;
    loop {
        shared.subscriptions.sync(shared);
        let address = &shared.config.redis;
        let trouble = match Connection::open(address) {
            Ok(connection) => {
                backoff.reset();
                shared.publisher_link.up();
                log::info!("connected to redis at {address}");
                let mut publisher = Publisher::new(shared, &connection, held.take());
                let end = publisher.serve();
                held = publisher.held.take();
                drop(publisher);
                let Err(err) = end else { return };
                shared.stats.reconnects.add(1);
                format!("lost the connection to redis at {address}: {err}")
            }
            Err(err) => err.to_string(),
        };
        if shared.publisher_link.down(&trouble) {
            log::warn!("{trouble}; retrying, {} events wait", shared.outbox.waiting());
        }
        if shared.pause(backoff.next_delay()) {
            return;
        }
    }
}

/// One connection's publisher.
struct Publisher<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Connection,
    decoder: Decoder,
    ready: Instant,
    batch: Vec<u8>,
    /// Weights of the publishes that Redis has not answered, in the order written.
    in_flight: VecDeque<usize>,
    /// Taken from the queue, not written yet: it waits for subscriptions.
    held: Option<Publish>,
    /// The routes that [`Shared::subscriptions`] was last told of.
    synced: u64,
    poll: Duration,
    refusals: Throttle,
}

impl<'a> Publisher<'a> {
    fn new(shared: &'a Arc<Shared>, connection: &'a Connection, held: Option<Publish>) -> Publisher<'a> {
        Publisher {
            shared,
            connection,
            decoder: Decoder::new(REPLY_LIMITS),
            ready: Instant::now(),
            batch: Vec::new(),
            in_flight: VecDeque::new(),
            held,
            synced: 0,
            poll: ANSWER_POLL_FIRST,
            refusals: Throttle::new(),
        }
    }

    /// Works until stop (`Ok`) or until the connection ends.
    fn serve(&mut self) -> io::Result<()> {
        self.connection.set_nonblocking(true)?;
        while !self.shared.is_stopping() {
            self.sync_subscriptions();
            let patience = match (&self.held, self.in_flight.is_empty()) {
                (Some(_), _) => Duration::ZERO,
                (None, true) => IDLE_CHECK,
                (None, false) => self.poll,
            };
            let job = self.held.take().map(Job::Publish).or_else(|| self.shared.outbox.take(patience));
            let answered = self.in_flight.len();
            if let Some(job) = job {
                self.gather(job);
                if !self.batch.is_empty() {
                    self.connection.write_all(&self.batch)?;
                    self.batch.clear();
                    self.batch.shrink_to(2 * BATCH_BYTES_MAX);
                    self.poll = ANSWER_POLL_FIRST;
                }
            }
            self.settle_answers()?;
            match self.in_flight.len() < answered {
                true => self.poll = ANSWER_POLL_FIRST,
                false => self.poll = (self.poll * 2).min(ANSWER_POLL_LONGEST),
            }
        }
        Ok(())
    }

    /// Asks for the subscriptions of new routes, if there are any.
    fn sync_subscriptions(&mut self) {
        if self.shared.published.version() != self.synced {
            self.synced = self.shared.subscriptions.sync(self.shared);
        }
    }

    /// Encodes the job and all that waits behind it, up to a batch; stops at a publish whose subscriptions do not
    /// stand yet.
    fn gather(&mut self, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            if let Job::Publish(publish) = job {
                if !self.shared.settled.is_reached(publish.routes_version) {
                    if !self.batch.is_empty() {
                        self.held = Some(publish);
                        return;
                    }
                    // This thread is the one that asks: what is waited for must have been asked.
                    self.sync_subscriptions();
                    let shared = self.shared;
                    shared.settled.wait(publish.routes_version, self.ready, || shared.is_stopping());
                }
                let (channel, payload) = publish.parts();
                command::encode_publish(&mut self.batch, b"", channel, payload);
                self.in_flight.push_back(publish.weight());
            }
            if self.batch.len() >= BATCH_BYTES_MAX {
                return;
            }
            next = self.shared.outbox.take(Duration::ZERO);
        }
    }

    /// Reads what is there without waiting and counts the answers.
    fn settle_answers(&mut self) -> io::Result<()> {
        loop {
            match self.decoder.read_from(&mut self.connection.reader()) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by redis")),
                Ok(_) => self.match_answers()?,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }

    fn match_answers(&mut self) -> io::Result<()> {
        let (mut count, mut weight, mut delivered) = (0, 0, 0);
        let outcome = loop {
            let reply = match self.decoder.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => break Ok(()),
                Err(err) => break Err(io::Error::new(ErrorKind::InvalidData, err.to_string())),
            };
            let Some(answered) = self.in_flight.pop_front() else {
                break Err(io::Error::new(ErrorKind::InvalidData, "an answer nobody asked for"));
            };
            count += 1;
            weight += answered;
            match reply {
                Reply::Integer(_) => delivered += 1,
                Reply::Error(text) => {
                    self.shared.stats.outbox.dropped.redis.add(1);
                    if let Some(more) = self.refusals.pass(Instant::now()) {
                        log::error!("redis refused a publish: {}{more}", String::from_utf8_lossy(text));
                    }
                }
                _ => {
                    self.shared.stats.outbox.dropped.unknown.add(1);
                    break Err(io::Error::new(ErrorKind::InvalidData, "an answer that no PUBLISH has"));
                }
            }
        };
        if count > 0 {
            self.shared.stats.outbox.delivered.add(delivered);
            self.shared.outbox.settle(count, weight);
        }
        outcome
    }
}

/// The connection is over, also by a panic: what Redis may or may not have is counted.
impl Drop for Publisher<'_> {
    fn drop(&mut self) {
        let count = self.in_flight.len() + usize::from(self.held.is_some());
        if count > 0 {
            let weight = self.in_flight.iter().sum::<usize>() + self.held.as_ref().map_or(0, Publish::weight);
            self.shared.stats.outbox.dropped.unknown.add(count as u64);
            self.shared.outbox.settle(count, weight);
        }
    }
}
