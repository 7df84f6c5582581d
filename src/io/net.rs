//! Parts of every connection: sockets whose waits are bounded, deadlines, and the order of a host's addresses.
//! Any thread: one may read a [`Socket`] while another writes to it, and any may end it.
//!
//! Reads wait before they try, as bytes are seldom there already; writes try before they wait, as there is room almost
//! always. Each order saves a call of the system.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::io::wait::{Interest, SystemWaits, Waits};

/// Most addresses of one host that are tried. Each gets a timeout of its own, so their number bounds the whole attempt.
pub(crate) const ADDRESSES_TRIED_MAX: usize = 4;

/// The addresses of a host in the order in which to try them, [`ADDRESSES_TRIED_MAX`] at most. Waits for the system's
/// look-up, however long it takes.
pub(crate) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(in_order(&mut (host, port).to_socket_addrs()?))
}

/// Moves `::1` behind the other addresses. `localhost` often has it first while the server listens on 127.0.0.1 only,
/// and a refused connection takes Windows about two seconds, because it asks three more times:
/// <https://support.microsoft.com/en-us/help/175523>.
fn in_order(found: &mut dyn Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut places: Vec<SocketAddr> = found.collect();
    places.sort_by_key(|place| place.is_ipv6() && place.ip().is_loopback());
    places.truncate(ADDRESSES_TRIED_MAX);
    places
}

/// A connected socket in non-blocking mode.
pub struct Socket {
    stream: TcpStream,
    /// Set by [`Socket::end`]. Windows does not promise that a shutdown ends a wait of another thread, so each wait looks
    /// here.
    has_ended: AtomicBool,
    waits: &'static dyn Waits,
}

impl Socket {
    /// Takes over a new connection.
    pub fn new(stream: TcpStream) -> io::Result<Socket> {
        Socket::with(stream, &SystemWaits)
    }

    /// The same with other waits.
    pub(crate) fn with(stream: TcpStream, waits: &'static dyn Waits) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        // Nagle's algorithm would delay small writes. Each writer here batches by itself.
        stream.set_nodelay(true)?;
        Ok(Socket { stream, has_ended: AtomicBool::new(false), waits })
    }

    /// The time by which deadlines count.
    pub(crate) fn now(&self) -> Instant {
        self.waits.now()
    }

    /// Ends the connection. Waits of other threads end soon, and what they try then fails or finds the end.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        // Fails only if the other end was first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads the bytes that are there; waits for none, which is an error of kind `WouldBlock`. 0 is the end, also after
    /// [`Socket::end`].
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match (&self.stream).read(buffer) {
            // Systems differ in how they report a socket that was shut down here.
            Err(_) if self.has_ended.load(Ordering::Acquire) => Ok(0),
            outcome => outcome,
        }
    }

    /// Waits until the socket is ready or was ended: then a read or write goes on, or tells why it cannot. False: the
    /// deadline came. It looks at the socket at least once, so bytes that came while the process was stopped are found
    /// after the deadline too.
    pub(crate) fn wait(&self, interest: Interest, deadline: Instant) -> io::Result<bool> {
        loop {
            if self.has_ended.load(Ordering::Acquire) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(self.now());
            if self.waits.wait(&self.stream, interest, left.min(self.waits.slice()))? {
                return Ok(true);
            }
            if self.now() >= deadline {
                return Ok(false);
            }
        }
    }

    /// Reads what comes until the deadline, at least one byte. An error of kind `TimedOut` if nothing comes.
    fn read_by(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            if !self.wait(Interest::Read, deadline)? {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.read(buffer) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }

    /// Writes some of these bytes, as soon as there is room for them. An error of kind `TimedOut` if there is none by the
    /// deadline.
    fn write_by(&self, bytes: &[u8], deadline: Instant) -> io::Result<usize> {
        loop {
            match (&self.stream).write(bytes) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if !self.wait(Interest::Write, deadline)? {
                return Err(ErrorKind::TimedOut.into());
            }
            if self.has_ended.load(Ordering::Acquire) {
                return Err(ErrorKind::BrokenPipe.into());
            }
        }
    }

    /// Writes everything by the deadline, as long as there is room for some of it within each `stall`. After an error the
    /// connection is of no use: a part may have left.
    pub fn write_all(&self, mut bytes: &[u8], stall: Duration, deadline: Instant) -> io::Result<()> {
        let mut now = self.now();
        while !bytes.is_empty() {
            match self.write_by(bytes, deadline.min(now + stall)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
            now = self.now();
            if now >= deadline && !bytes.is_empty() {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

/// The bytes that are there: a read never waits.
impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Socket::read(self, buffer)
    }
}

/// A socket whose reads and writes all end at one deadline. A timeout for each would not do: a server that sends one byte
/// a second could hold the thread for ever.
pub struct Timed<'a> {
    pub socket: &'a Socket,
    /// The caller may move it between two reads.
    pub deadline: Instant,
}

impl Timed<'_> {
    /// An error of kind `TimedOut` once the deadline has come: a peer that is always ready must not go on for ever.
    fn check(&self) -> io::Result<()> {
        if self.socket.now() >= self.deadline { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.socket.read_by(buffer, self.deadline)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.socket.write_by(bytes, self.deadline)
    }

    /// Nothing to do: a socket has no buffer in this process.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
