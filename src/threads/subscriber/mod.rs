//! The loop of `rt-subscriber`: connects, reads the subscribed connection, and turns its pushes into events for Lua.
//! The thread owns the reading side of that connection; the SUBSCRIBE commands are `subscriber/subscriptions.rs`.
//! It never stops reading for long: Redis cuts off a subscriber that falls behind. So a full inbox costs the oldest event,
//! never the connection.
//! `subscriber/intake.rs` handles each push.
//!
//! ```text
//!  connect ──▶ sync (SUBSCRIBE ...) ──▶ read, handle, read ... ──▶ lost ──▶ pause ──▶ connect
//!     ▲                                   │ other settings                   ▲
//!     └───────────────────────────────────┘     connect failed ──────────────┘
//! ```

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::{HEARTBEAT, SILENCE_MAX};
use crate::io::fail_point::fail_point;
use crate::redis::PUSH_LIMITS;
use crate::redis::backoff::Backoff;
use crate::redis::connection::Connection;
use crate::redis::error_reply::Class;
use crate::redis::push::Push;
use crate::redis::reply::Decoder;
use crate::stats::people;
use crate::threads::links::{Side, Trouble};
use crate::threads::shared::{Pause, Shared};
use crate::threads::subscriber::intake::Intake;

pub(crate) mod inbox;
mod intake;
pub(crate) mod subscriptions;

/// Waits in a row that may find nothing, [`HEARTBEAT`] each, before the connection counts as dead. They are counted, not
/// timed: a process that was stopped for an hour finds the bytes that came meanwhile at its next wait.
const EMPTY_WAITS_MAX: u32 = (SILENCE_MAX.as_millis() / HEARTBEAT.as_millis()) as u32;

/// Runs `rt-subscriber` until [`Shared::stop`]: connects, reads until the connection ends, pauses, and again. A panic
/// starts it again.
pub(crate) fn run(shared: &Arc<Shared>) {
    // Doubles its delay while connecting fails, and starts anew after a connection that lasted.
    let mut backoff = Backoff::default();
    let mut absence = Absence::default();
    while !shared.is_stopping() {
        let (seen, mut was_ready) = (shared.settings.connection_version(), false);
        let goal = shared.goal();
        let config = &goal.config;
        let redis = config.redis_name();
        let (trouble, class) = match goal.open(shared, "subscriber") {
            Ok(connection) => {
                shared.follow_master(&connection);
                let (connection, began) = (Arc::new(connection), Instant::now());
                let subscribed = Subscribed::begin(shared, &connection, seen);
                // `stop` ends the connection of `subscriptions`. If it came before the line above, it found none there.
                if shared.is_stopping() {
                    return;
                }
                shared.subscriptions.sync();
                // The same holds for new settings. The read below then ends at once.
                shared.subscriptions.disconnect_before(shared.settings.connection_version());
                let err = Subscriber::new(shared).serve(&connection);
                if shared.settings.connection_version() != seen && !shared.is_stopping() {
                    drop(subscribed);
                    let reason = format!("left {redis}: the settings changed");
                    shared.link_down(Side::Subscriber, &Trouble::new(reason, Class::Reconnect));
                    continue;
                }
                // Ready means that every subscription was acknowledged; only then the backoff starts anew.
                was_ready = shared.links.subscriber.is_ready();
                if was_ready {
                    absence = Absence::default();
                    backoff.was_ready(began.elapsed());
                }
                drop(subscribed);
                (format!("lost the subscribed connection to {redis}: {err}"), Class::Reconnect)
            }
            Err(err) => {
                shared.stats.connect_failures.add(u64::from(config.not_understood().is_none()));
                (err.to_string(), err.class())
            }
        };
        if shared.is_stopping() {
            return;
        }
        let trouble = Trouble::new(trouble, class);
        // Settings that are not understood were reported when they were read.
        if shared.link_down(Side::Subscriber, &trouble) && config.not_understood().is_none() {
            log::warn!("{}; retrying", trouble.reason);
        }
        if let Some(away) = absence.due(Instant::now())
            && config.not_understood().is_none()
        {
            log::warn!("{redis} is away for {}; {} commands wait", people(away), shared.outbox.waiting());
        }
        // After `link_down`: a reader that sees the new number must find the link down.
        shared.stats.reconnects.add(u64::from(was_ready));
        if shared.pause_unless_changed(backoff.next_delay(class, shared.random()), seen) == Pause::Stop {
            return;
        }
    }
}

/// How often the log says that Redis is still away: the line about its loss scrolls out of sight.
const ABSENCE_LINE: Duration = Duration::from_secs(60);

/// The time since the first of the failed attempts in a row.
#[derive(Default)]
struct Absence {
    since: Option<Instant>,
    /// When the log said so last.
    said: Option<Instant>,
}

impl Absence {
    /// After a failed attempt: for how long Redis is away, if a line is due.
    fn due(&mut self, now: Instant) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(self.said.unwrap_or(since)) < ABSENCE_LINE {
            return None;
        }
        self.said = Some(now);
        Some(now.saturating_duration_since(since))
    }
}

/// While it lives, other threads may subscribe on the connection. Dropping it, also by a panic, ends the connection and
/// all subscriptions.
struct Subscribed<'a>(&'a Shared);

impl<'a> Subscribed<'a> {
    /// Makes the connection, of this generation of the settings, known to the other threads.
    fn begin(shared: &'a Shared, connection: &Arc<Connection>, seen: u64) -> Subscribed<'a> {
        shared.subscriptions.connected(connection, seen);
        Subscribed(shared)
    }
}

impl Drop for Subscribed<'_> {
    fn drop(&mut self) {
        // In this order: `sync` of another thread must find no connection once the subscriptions count as lost.
        self.0.subscriptions.disconnect();
        self.0.settled.lost();
        if std::thread::panicking() {
            let reason = "internal error, the subscriber starts again".to_owned();
            self.0.link_down(Side::Subscriber, &Trouble::new(reason, Class::Wait));
        }
    }
}

/// The reader of one connection.
struct Subscriber<'a> {
    /// Bytes of pushes that are not complete.
    decoder: Decoder,
    intake: Intake<'a>,
}

impl<'a> Subscriber<'a> {
    fn new(shared: &'a Arc<Shared>) -> Subscriber<'a> {
        Subscriber { decoder: Decoder::new(PUSH_LIMITS), intake: Intake::new(shared) }
    }

    /// Reads until the connection ends. Returns the reason. After each [`HEARTBEAT`] without bytes it sends a PING: a
    /// network that drops packets silently is noticed after [`SILENCE_MAX`]. With the option `thrifty` the first silence may
    /// last longer.
    fn serve(mut self, connection: &Connection) -> io::Error {
        let mut empty_waits = 0;
        let shared = self.intake.shared;
        // Read again after a silence only: the settings are locked for a moment.
        let mut quiet = HEARTBEAT * shared.settings.current().thrift();
        loop {
            match connection.wait(if empty_waits == 0 { quiet } else { HEARTBEAT }) {
                Ok(true) => {}
                Ok(false) => {
                    empty_waits += 1;
                    if empty_waits >= EMPTY_WAITS_MAX {
                        let found = format!("no answer for {} s", SILENCE_MAX.as_secs());
                        return io::Error::new(ErrorKind::TimedOut, found);
                    }
                    shared.subscriptions.ping();
                    quiet = HEARTBEAT * shared.settings.current().thrift();
                    continue;
                }
                Err(err) => return err,
            }
            match self.decoder.read_from(&mut connection.reader()) {
                Ok(0) => return io::Error::new(ErrorKind::UnexpectedEof, "closed by redis"),
                Ok(_) => {
                    empty_waits = 0;
                    if let Err(err) = self.handle_pushes() {
                        return err;
                    }
                }
                // A part of a record of TLS has come.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) => return err,
            }
        }
    }

    /// Handles all pushes that are complete. An error is a protocol error: the connection cannot go on.
    fn handle_pushes(&mut self) -> io::Result<()> {
        fail_point("subscriber");
        self.intake.begin();
        loop {
            match Push::next(&mut self.decoder) {
                Ok(Some(push)) => self.intake.handle(push)?,
                Ok(None) => return Ok(()),
                Err(err) => return Err(io::Error::new(ErrorKind::InvalidData, err.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::io::net::Socket;
    use crate::io::wait::Waits;
    use crate::io::wait::tests::Scripted;
    use crate::stats::Stats;
    use crate::threads::subscriber::subscriptions::Verb;

    const HOUR: Duration = Duration::from_secs(3600);

    fn shared() -> Shared {
        let attention = Arc::new(AtomicBool::new(false));
        Shared::new(Config::defaults("box", 1), PathBuf::new(), Arc::new(Stats::default()), attention)
    }

    /// Reads a connection to a Redis that sends the beginning of a push and then nothing. Returns the time until the
    /// connection counts as lost.
    fn time_until_lost(waits: &'static Scripted) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        far.write_all(b"*3\r\n").unwrap();
        // Until the bytes are there: the scripted waits tell nothing about the socket.
        near.peek(&mut [0]).unwrap();
        let connection = Connection::over(Socket::with(near, waits).unwrap());
        let shared = Arc::new(shared());
        let began = waits.now();
        let lost = Subscriber::new(&shared).serve(&connection);
        assert!(lost.to_string().contains("no answer"), "{lost}");
        waits.now() - began
    }

    #[test]
    fn silence_ends_the_connection_however_long_a_slice_is() {
        for slice in [Duration::from_millis(50), HOUR] {
            let waits = Scripted::new(slice, |_, timeout| (timeout, false));
            assert_eq!(time_until_lost(waits), SILENCE_MAX);
        }
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_finds_its_bytes() {
        for slice in [Duration::from_millis(50), HOUR] {
            let count = AtomicU32::new(0);
            let waits = Scripted::new(slice, move |_, timeout| match count.fetch_add(1, Ordering::Relaxed) {
                0 => (HOUR, false),
                1 => (Duration::ZERO, true),
                _ => (timeout, false),
            });
            // The bytes count as a sign of life, so the silence begins after them.
            assert_eq!(time_until_lost(waits), HOUR + SILENCE_MAX);
        }
    }

    /// Meanwhile the thread that reads the connection has not noticed its end yet, and reads its last answers.
    #[test]
    fn subscriptions_of_an_ended_connection_do_not_stand() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Arc::new(Connection::over(Socket::new(near).unwrap()));
        let shared = shared();
        let Shared { subscriptions, settled, .. } = &shared;
        subscriptions.connected(&connection, 1);
        subscriptions.ping();
        settled.reached(1);
        subscriptions.disconnect_before(1);
        assert!(settled.is_reached(1), "it was made with these settings");
        subscriptions.disconnect_before(2);
        assert!(!settled.is_reached(1));
        assert!(subscriptions.answered(Verb::Ping, false, b"") && !settled.is_reached(1));
        subscriptions.connected(&connection, 2);
        settled.reached(1);
        subscriptions.disconnect();
        assert!(!settled.is_reached(1));
    }

    #[test]
    fn an_absence_is_said_once_a_minute() {
        let (mut absence, start) = (Absence::default(), Instant::now());
        let mut at = |s| absence.due(start + Duration::from_secs(s)).map(|away| away.as_secs());
        assert_eq!(
            [0, 30, 59, 61, 90, 120, 121, 400].map(&mut at),
            [None, None, None, Some(61), None, None, Some(121), Some(400)]
        );
    }
}
