//! Parts of every outgoing connection: a deadline for each read and write, and how many addresses are tried.
//! Runs on the thread of its caller and owns nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Most addresses of one host that are tried. Each gets a timeout of its own, so their number bounds the whole attempt.
pub(crate) const ADDRESSES_TRIED_MAX: usize = 4;

/// A socket whose reads and writes all end at one deadline. A timeout of the socket alone would not do: it starts again
/// with each read, so a server that sends one byte a second could hold the thread for ever.
pub(crate) struct Timed<'a> {
    pub(crate) stream: &'a TcpStream,
    /// The caller may move it between two reads.
    pub(crate) deadline: Instant,
}

impl Timed<'_> {
    /// The time left, never zero: a zero timeout would mean to wait for ever. An error of kind `TimedOut` if none is left.
    pub(crate) fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    /// Nothing to do: a socket has no buffer in this process.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
