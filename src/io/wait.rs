//! Waiting for sockets: one trait for all systems, which tests replace.
//! Runs on the thread of its caller and owns nothing.
//!
//! No socket of this library has a timeout of its own. On Windows a socket is in an indeterminate state after a receive
//! that timed out (<https://learn.microsoft.com/en-us/windows/win32/winsock/sol-socket-socket-options>, `SO_RCVTIMEO`),
//! and a receive timeout below 500 ms counts as 500 ms. So every socket is in non-blocking mode (`io/net.rs`), and a
//! read or write that cannot go on waits here.
//!
//! | | Linux | Windows |
//! |---|---|---|
//! | call | `ppoll` | `WSAPoll`, in whole milliseconds, and up to a tick of its clock longer (16 ms) |
//! | another thread shuts the socket down | the wait ends | nothing is promised: it waits in slices |
//! | a connection that failed to open | reported | before Windows 10 2004 not reported: connections are opened with `TcpStream::connect_timeout` of the standard library, which uses `select` |
//!
//! `WSAPoll`: <https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsapoll>.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Longest single wait on a system that may not notice when another thread ends the connection.
const SLICE: Duration = Duration::from_millis(50);
/// Longest single wait elsewhere. The caller waits again until its deadline.
const SLICE_UNBROKEN: Duration = Duration::from_secs(3600);

/// The direction in which a thread wants to use a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

/// The clock and the waits of the operating system, or of a test.
pub(crate) trait Waits: Send + Sync {
    fn now(&self) -> Instant;

    /// Longest time of one [`Waits::wait`]: how late a thread may notice that another one has ended its connection.
    fn slice(&self) -> Duration;

    /// Waits until the socket is ready, for this long at most. True: a read or write goes on, or tells why it cannot.
    /// False: it is not ready; a signal may have ended the wait early.
    fn wait(&self, socket: &TcpStream, interest: Interest, timeout: Duration) -> io::Result<bool>;
}

/// The waits of the operating system.
pub(crate) struct SystemWaits;

impl Waits for SystemWaits {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn slice(&self) -> Duration {
        if cfg!(windows) { SLICE } else { SLICE_UNBROKEN }
    }

    fn wait(&self, socket: &TcpStream, interest: Interest, timeout: Duration) -> io::Result<bool> {
        let events = match interest {
            Interest::Read => PollFlags::IN,
            Interest::Write => PollFlags::OUT,
        };
        any_of(&mut [PollFd::new(socket, events)], timeout)
    }
}

/// Waits until one of these sockets is ready, for this long at most. False: none is; a signal may have ended the wait early.
pub(crate) fn any_of(sockets: &mut [PollFd<'_>], timeout: Duration) -> io::Result<bool> {
    // The error says that the time does not fit: it would be a century.
    let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(sockets, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

/// Waits that a test scripts; other modules' tests use them too.
#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// How long one wait takes, and whether the socket is ready then.
    type Script = dyn Fn(Interest, Duration) -> (Duration, bool) + Send + Sync;

    /// Returns from each wait at once, and moves a clock of its own instead.
    pub(crate) struct Scripted {
        slice: Duration,
        now: Mutex<Instant>,
        timeouts: Mutex<Vec<Duration>>,
        script: Box<Script>,
    }

    impl Scripted {
        /// Lives for ever, as sockets demand.
        pub(crate) fn new(
            slice: Duration,
            script: impl Fn(Interest, Duration) -> (Duration, bool) + Send + Sync + 'static,
        ) -> &'static Scripted {
            let (now, timeouts) = (Mutex::new(Instant::now()), Mutex::default());
            Box::leak(Box::new(Scripted { slice, now, timeouts, script: Box::new(script) }))
        }

        /// The timeouts of all waits since the last call.
        pub(crate) fn timeouts(&self) -> Vec<Duration> {
            std::mem::take(&mut *self.timeouts.lock().unwrap())
        }
    }

    impl Waits for Scripted {
        fn now(&self) -> Instant {
            *self.now.lock().unwrap()
        }

        fn slice(&self) -> Duration {
            self.slice
        }

        fn wait(&self, _: &TcpStream, interest: Interest, timeout: Duration) -> io::Result<bool> {
            self.timeouts.lock().unwrap().push(timeout);
            let (took, is_ready) = (self.script)(interest, timeout);
            *self.now.lock().unwrap() += took;
            Ok(is_ready)
        }
    }
}
