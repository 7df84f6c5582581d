//! Reads by the game thread itself: while `rt-publisher` sleeps, it lends its connection, and a reader without callback
//! writes its command there and reads the answer. That saves two changes of thread, which take longer than Redis does.
//! The publisher lends and takes back; the game thread borrows by a lock that it only tries.
//!
//! Guarantees:
//! - Order: a connection is lent only when every item that the publisher took is written. The game thread borrows it only
//!   when no command waits in the outbox. So a read stays behind every write before it; publishes it may overtake.
//! - Answers: replies to publishes before the read are settled here. At anything else (an error, the end of the
//!   connection, the deadline) the publisher takes over with the read in flight, as if it had written the read itself.
//! - Bounds: the wait ends at the reader's deadline. The write finds room, as [`UNREAD_BYTES_MAX`] fit into any socket. The
//!   publisher takes over at an answer of more than [`ANSWER_BYTES_MAX`].

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Instant;

use crate::io::lock::lock;
use crate::redis::connection::Connection;
use crate::redis::reply::Decoder;
use crate::stats::Stats;
use crate::threads::publisher::in_flight::{InFlight, Sent};
use crate::threads::publisher::outbox::{Outbox, Outgoing};
use crate::threads::publisher::replies::Replies;
use crate::threads::publisher::run::{Again, Run, Work};

/// Bytes in flight, those of the read included, up to which the game thread writes: the smallest buffer that systems give
/// a socket, so that the write does not wait even if Redis reads nothing.
const UNREAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes of answers that the game thread reads: the decoding of more would hold it up beyond its deadline.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A connection while nobody else uses it.
pub(super) struct Line {
    pub(super) connection: Arc<Connection>,
    pub(super) decoder: Decoder,
    pub(super) in_flight: InFlight,
    /// The settings' connection version that the connection was made for.
    pub(super) seen: u64,
    /// The game thread used it.
    pub(super) was_used: bool,
}

/// The place where the publisher leaves its connection while it sleeps.
#[derive(Default)]
pub(crate) struct DirectReads(Mutex<Option<Line>>);

impl DirectReads {
    /// The publisher is about to sleep.
    pub(super) fn lend(&self, line: Line) {
        *lock(&self.0) = Some(line);
    }

    /// The publisher is awake. Waits for the end of a read, which has a deadline.
    pub(super) fn take_back(&self) -> Option<Line> {
        lock(&self.0).take()
    }

    /// Sends the read and waits for its answer, which then waits in `replies`. False: the publisher is busy, or this is no
    /// plain read; the caller queues it. True without an answer: the publisher goes on with it.
    pub(crate) fn read(&self, run: &mut Option<Run>, deadline: Instant, to: &Queues<'_>) -> bool {
        let mut line = match self.0.try_lock() {
            Ok(line) => line,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(line) = &mut *line else { return false };
        let Some(run) = run.take_if(|run| line.may_carry(run, to.outbox)) else { return false };
        if line.read(run, deadline, to).is_none() {
            to.outbox.wake();
        }
        true
    }
}

/// The queues that learn of answers.
pub(crate) struct Queues<'a> {
    pub(crate) outbox: &'a Outbox,
    pub(crate) replies: &'a Replies,
    pub(crate) stats: &'a Stats,
}

impl Line {
    fn may_carry(&self, run: &Run, outbox: &Outbox) -> bool {
        is_plain_read(run)
            && !outbox.has_commands()
            && outbox.is_of_generation(self.seen)
            && self.in_flight.bytes() + run.weight() <= UNREAD_BYTES_MAX
    }

    /// `None`: the publisher has to go on.
    fn read(&mut self, mut run: Run, deadline: Instant, to: &Queues<'_>) -> Option<()> {
        let mut command = Vec::new();
        if let Work::Ask { command: words, .. } = &run.work {
            words.encode_into(&mut command);
        }
        to.outbox.count_in(run.weight());
        run.attempts = 1;
        self.in_flight.push(Sent::Item(Outgoing::Run(Box::new(run))));
        self.was_used = true;
        if self.connection.write_by(&command, deadline).is_err() {
            // A part may have left.
            self.connection.shut_down();
            return None;
        }
        let mut bytes = 0;
        // A server that sends a byte now and then is always ready.
        while bytes <= ANSWER_BYTES_MAX && self.connection.wait_until(deadline).ok()? && Instant::now() < deadline {
            match self.decoder.read_from(&mut self.connection.reader()) {
                Ok(0) => return None,
                Ok(count) => bytes += count,
                Err(err) if err.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => return None,
            }
            to.replies.note_heard();
            if self.match_answers(to)? {
                return Some(());
            }
        }
        None
    }

    /// Matches the replies in the decoder. True: the answer to the read was among them. `None`: the next reply is one for
    /// the publisher.
    fn match_answers(&mut self, to: &Queues<'_>) -> Option<bool> {
        loop {
            let is_ordinary = match (self.in_flight.oldest(), self.decoder.next_tag()) {
                (_, None) => return Some(false),
                (Some(Sent::Item(Outgoing::Publish(_))), Some(tag)) => tag == b':',
                (Some(Sent::Item(Outgoing::Run(run))), Some(tag)) => {
                    is_plain_read(run) && run.is_reader() && tag != b'-'
                }
                _ => false,
            };
            if !is_ordinary {
                return None;
            }
            // An error stays in the decoder: the publisher finds it, too.
            let Some(reply) = self.decoder.next().ok()? else { return Some(false) };
            let Some(Sent::Item(item)) = self.in_flight.pop() else { return None };
            let counts = &to.stats.outbox;
            let (weight, mut counter) = (item.weight(), &counts.delivered);
            let is_kept = matches!(&item, Outgoing::Publish(publish) if publish.form.is_some());
            if let Outgoing::Run(run) = item
                && let Work::Ask { expect, .. } = run.work
            {
                let outcome = expect.read(reply);
                if outcome.is_err() {
                    counter = &counts.dropped.redis;
                }
                to.replies.answer(run.reply_to, outcome);
            }
            counter.add(1);
            to.stats.kept.add(u64::from(is_kept));
            to.outbox.settle(1, weight);
            if self.in_flight.is_empty() {
                return Some(true);
            }
        }
    }
}

/// Whether it is one command that changes nothing.
fn is_plain_read(run: &Run) -> bool {
    matches!(run.work, Work::Ask { again: Again::Read, .. })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::io::net::Socket;
    use crate::redis::REPLY_LIMITS;
    use crate::redis::answer::Expect;
    use crate::redis::command::Command;
    use crate::threads::publisher::outbox::tests::publish;
    use crate::threads::publisher::replies::ReplyTo;
    use crate::threads::webhooks::desk::StatusDesk;

    const TICKET: u64 = 7;

    /// A lent connection, with the other end of it and the queues.
    struct Bench {
        direct: DirectReads,
        outbox: Outbox,
        replies: Replies,
        stats: Arc<Stats>,
        redis: TcpStream,
    }

    impl Bench {
        /// `publishes` are in flight.
        fn new(publishes: usize) -> Bench {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let socket = Socket::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
            let stats = Arc::new(Stats::default());
            let outbox = Outbox::new(Arc::clone(&stats));
            let mut in_flight = InFlight::default();
            for _ in 0..publishes {
                publish(&outbox, "c", b"{}").unwrap();
                in_flight.push(Sent::Item(outbox.take().unwrap()));
            }
            let direct = DirectReads::default();
            direct.lend(Line {
                connection: Arc::new(Connection::over(socket)),
                decoder: Decoder::new(REPLY_LIMITS),
                in_flight,
                seen: 1,
                was_used: false,
            });
            let desk = Arc::new(StatusDesk::new(Arc::default()));
            let replies = Replies::new(Arc::clone(&stats), Arc::new(AtomicBool::new(false)), desk);
            Bench { direct, outbox, replies, stats, redis: listener.accept().unwrap().0 }
        }

        /// Reads `k` until `deadline`. False: the read has to be queued.
        fn read(&self, deadline: Instant) -> bool {
            let mut run = Some(get(deadline));
            self.replies.expect(TICKET);
            let to = Queues { outbox: &self.outbox, replies: &self.replies, stats: &self.stats };
            let was_sent = self.direct.read(&mut run, deadline, &to);
            assert_eq!(run.is_none(), was_sent);
            was_sent
        }

        fn answer(&mut self, bytes: &[u8]) {
            self.redis.write_all(bytes).unwrap();
        }

        /// The first bytes that Redis got.
        fn written(&mut self) -> String {
            let mut bytes = [0; 20];
            self.redis.read_exact(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    fn get(deadline: Instant) -> Run {
        let work = Work::Ask { command: Command::new("GET").arg("k"), expect: Expect::Text, again: Again::Read };
        Run::new(work, "get", b"k", ReplyTo::Reader { ticket: TICKET, deadline }, Instant::now())
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn a_read_gets_its_answer_behind_those_of_publishes() {
        let mut bench = Bench::new(2);
        bench.answer(b":0\r\n:3\r\n$5\r\nvalue\r\n");
        // A publish in the queue may be overtaken.
        publish(&bench.outbox, "c", b"{}").unwrap();
        let deadline = later();
        assert!(bench.read(deadline));
        assert!(bench.replies.wait(deadline).is_some_and(|outcome| outcome.is_ok()));
        assert_eq!(bench.written(), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
        assert_eq!((bench.outbox.waiting(), bench.stats.outbox.delivered.get()), (1, 3));
        let line = bench.direct.take_back().unwrap();
        assert!(line.was_used && line.in_flight.is_empty());
    }

    #[test]
    fn a_read_overtakes_no_command_and_no_change_of_the_settings() {
        let bench = Bench::new(0);
        bench.outbox.push(Box::new(get(later()))).unwrap();
        assert!(!bench.read(later()));
        assert!(bench.outbox.take().is_some());
        bench.outbox.set_generation(2);
        assert!(!bench.read(later()));
        bench.outbox.set_generation(1);
        bench.direct.take_back().unwrap();
        assert!(!bench.read(later()));
    }

    /// The publisher treats these as ever: it finds the reply, or the end of the connection, and the read in flight.
    #[test]
    fn the_publisher_goes_on_with_everything_out_of_the_ordinary() {
        for (replies, left) in [
            (&b"-LOADING\r\n"[..], 1),
            (b":0\r\n-READONLY\r\n", 1),
            (b"-OOM\r\n$1\r\nv\r\n", 2),
            (b"?\r\n", 1),
            (b"", 1),
        ] {
            let publishes = usize::from(replies.starts_with(b":") || replies.starts_with(b"-OOM"));
            let mut bench = Bench::new(publishes);
            bench.answer(replies);
            bench.redis.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(bench.read(later()));
            let mut line = bench.direct.take_back().unwrap();
            assert_eq!((line.in_flight.len(), bench.outbox.waiting()), (left, left), "{replies:?}");
            // The publisher does not sleep now.
            bench.outbox.wait(Duration::from_secs(3600));
            let next = line.decoder.next().map(|reply| reply.map(|reply| reply.describe()));
            assert!(matches!(next, Ok(None | Some("an error")) | Err(_)));
        }
    }

    #[test]
    fn a_read_without_an_answer_ends_at_its_deadline() {
        let bench = Bench::new(0);
        let deadline = Instant::now();
        assert!(bench.read(deadline));
        assert!(bench.replies.wait(deadline).is_none());
        assert_eq!(bench.direct.take_back().unwrap().in_flight.len(), 1);
    }
}
