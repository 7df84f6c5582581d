//! Carries one request of minreq at a time from a loopback connection to its destination, and the response back.
//!
//! ```text
//! rt-send-N: minreq ──plain HTTP──▶ 127.0.0.1:port ──▶ rt-carry-N ──HTTP or TLS──▶ destination
//! ```
//!
//! minreq by itself has no time limit for a TLS handshake, no authorities of the owner's, and limits on a response that
//! a hostile server can evade. The carrier has all of these: name look-up, connection and TLS (`webhook/dial.rs`), one
//! deadline for everything, and caps on what comes back.
//! Each sender keeps its carrier, the thread and the port of it, for life. Only the sender knows the random token in the
//! path of its request, so no other local program can send anything through the port.
//!
//! minreq's own end of the loopback connection waits without a limit. It ends because this end does, which wakes it on
//! every system: the connection is closed when its errand is over, by a response, an error, the deadline, an interrupt or
//! a panic. A connection that nobody has accepted ends with the listener.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::hooks::url::Origin;
use crate::io::channel::{self, Receiver, Sender};
use crate::io::fail_point::fail_point;
use crate::io::net::{Socket, Timed};
use crate::io::thread::spawn;
use crate::io::tls::Encrypted;
use crate::webhook::dial::{Dialer, Interrupt, NoAnswer};
use crate::webhook::head::{Head, head_end};
use crate::webhook::trouble::io_trouble;

/// Time that is added for the response's body: the head decides, the body only explains it.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes of a body that are carried, the frames of its chunks included. minreq keeps less than that.
const CARRIED_BODY_BYTES_MAX: usize = 160 * 1024;
/// Bytes read from a socket at once.
const READ_BYTES: usize = 8 * 1024;
/// Time in which a connection to the port must show its token: minreq sends it with its first bytes.
const TOKEN_PATIENCE: Duration = Duration::from_secs(1);
/// How often the listener is asked for a connection while a request is on its way to it.
const ACCEPT_CHECK: Duration = Duration::from_micros(200);
/// A TLS handshake needs more stack than other threads do.
const STACK_BYTES: usize = 512 * 1024;

/// Where one request goes.
pub(crate) struct Errand {
    /// Path of the request on the loopback connection; nobody else knows it.
    pub(crate) token: String,
    pub(crate) origin: Origin,
    /// Path and query at the destination.
    pub(crate) target: String,
    pub(crate) body_bytes: usize,
    pub(crate) deadline: Instant,
    pub(crate) interrupt: Arc<Interrupt>,
}

/// What came of an errand.
pub(crate) struct Report {
    /// `Ok` if a whole head of a response was carried.
    pub(crate) carried: Result<(), NoAnswer>,
    /// False if the carrier has lost its port and takes no further errand.
    pub(crate) is_open: bool,
}

/// The sender's end of its carrier.
pub(crate) struct Carrier {
    port: u16,
    /// `None` only while the carrier ends.
    errands_tx: Option<Sender<Errand>>,
    reports_rx: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
    /// Ends the errand under way.
    interrupt: Option<Arc<Interrupt>>,
}

impl Carrier {
    /// Opens the port and starts the thread, `rt-carry-NUMBER`.
    pub(crate) fn start(dialer: Arc<Dialer>, number: usize) -> io::Result<Carrier> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (errands_tx, errands_rx) = channel::bounded(1);
        let (reports_tx, reports_rx) = channel::bounded(1);
        let run = move || {
            let mut carry = CarrierThread { dialer, listener, is_open: true };
            while let Some(errand) = errands_rx.recv() {
                let carried = catch_unwind(AssertUnwindSafe(|| carry.errand(&errand)));
                let failed = |_| Err(NoAnswer::new("post to", &errand.origin, "internal error".to_owned()));
                let carried = carried.unwrap_or_else(failed);
                let is_open = carry.is_open;
                if !reports_tx.send(Report { carried, is_open }) || !is_open {
                    // A connection that nobody has accepted ends with the listener: minreq may be waiting there.
                    return;
                }
            }
        };
        let thread = spawn(format!("rt-carry-{number}"), STACK_BYTES, Box::new(run))?;
        Ok(Carrier { port, errands_tx: Some(errands_tx), reports_rx, thread: Some(thread), interrupt: None })
    }

    #[cfg(test)]
    pub(crate) fn address(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.port)
    }

    /// Where minreq has to send the errand's request.
    pub(crate) fn url(&self, errand: &Errand) -> String {
        format!("http://{}:{}/{}", Ipv4Addr::LOCALHOST, self.port, errand.token)
    }

    /// Hands the errand over; [`Carrier::report`] must follow.
    pub(crate) fn begin(&mut self, errand: Errand) {
        self.interrupt = Some(Arc::clone(&errand.interrupt));
        // The last errand was reported, so the queue is empty. If the thread has ended, the report says so.
        let _ = self.errands_tx.as_ref().map(|errands_tx| errands_tx.send(errand));
    }

    /// Waits until the errand has ended, which it does at its deadline at the latest. `None` if the thread has ended.
    pub(crate) fn report(&self) -> Option<Report> {
        self.reports_rx.recv()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // After a panic of the sender an errand may be under way. The closed queue ends the thread then.
        if let Some(interrupt) = self.interrupt.take() {
            interrupt.finish();
        }
        self.errands_tx = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct CarrierThread {
    dialer: Arc<Dialer>,
    listener: TcpListener,
    /// False once the connection of an errand did not come: the port is of no more use.
    is_open: bool,
}

impl CarrierThread {
    fn errand(&mut self, errand: &Errand) -> Result<(), NoAnswer> {
        let Errand { origin, deadline, interrupt, .. } = errand;
        let failed = |found| NoAnswer::new("post to", origin, found);
        let accepted = self.accept(errand);
        self.is_open = accepted.is_ok();
        let (local, mut request) = accepted.map_err(|err| failed(io_trouble(&err)))?;
        fail_point("carrier");
        readdress(&mut request, &errand.target, &origin.authority())
            .ok_or_else(|| failed("internal error".to_owned()))?;
        let socket = self.dialer.connect(origin, *deadline, interrupt)?;
        let mut destination = Timed { socket: &socket, deadline: *deadline };
        let carried = if origin.https {
            let encrypted = self.dialer.encrypt(destination, origin);
            encrypted.and_then(|mut destination| carry(&mut destination, &local, &request))
        } else {
            carry(&mut destination, &local, &request)
        };
        // Both ends know at once, although the interrupt shares the socket.
        socket.end();
        local.end();
        carried.map_err(failed)
    }

    /// The loopback connection that shows the token, and the whole request that came through it.
    fn accept(&self, errand: &Errand) -> io::Result<(Socket, Vec<u8>)> {
        loop {
            // minreq connects at once, also for a request that was given up meanwhile. It is over if it cannot connect.
            if errand.interrupt.is_over() {
                return Err(ErrorKind::Interrupted.into());
            }
            if Instant::now() >= errand.deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Ok(local) = Socket::new(stream)
                        && let Some(request) = local_request(&local, errand)
                    {
                        return Ok((local, request));
                    }
                }
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    thread::park_timeout(ACCEPT_CHECK);
                }
                // A connection that its client has given up is no trouble of the listener's.
                Err(err) if err.kind() == ErrorKind::ConnectionAborted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

/// The request that comes through this connection; `None` if it does not show the token in time, or ends early.
fn local_request(local: &Socket, errand: &Errand) -> Option<Vec<u8>> {
    let mut reader = Timed { socket: local, deadline: errand.deadline.min(Instant::now() + TOKEN_PATIENCE) };
    let mut request = Vec::new();
    let line = read_until(&mut reader, &mut request, &|request| {
        request.iter().position(|byte| *byte == b'\n').or((request.len() > READ_BYTES).then_some(0))
    })?;
    let path = request.get(..line)?.split(|byte| *byte == b' ').nth(1)?;
    if path.strip_prefix(b"/")? != errand.token.as_bytes() {
        return None;
    }
    reader.deadline = errand.deadline;
    let end = read_until(&mut reader, &mut request, &|request| head_end(request, 0))? + errand.body_bytes;
    request.reserve_exact(end.saturating_sub(request.len()));
    read_until(&mut reader, &mut request, &|request| (request.len() >= end).then_some(end))?;
    Some(request)
}

/// Appends what comes to `bytes` until `find` finds its place there. `None` if the connection or the time ends before.
fn read_until(reader: &mut Timed<'_>, bytes: &mut Vec<u8>, find: &dyn Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let mut buffer = [0; READ_BYTES];
    loop {
        if let Some(found) = find(bytes) {
            return Some(found);
        }
        let read = reader.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(buffer.get(..read)?);
    }
}

/// Puts the destination in place of the loopback address: in the request's first two lines, which are minreq's request
/// line and `Host`. `None` if they are not.
pub(super) fn readdress(request: &mut Vec<u8>, target: &str, authority: &str) -> Option<()> {
    let mut lines = request.splitn(3, |byte| *byte == b'\n');
    let (line, host) = (lines.next()?, lines.next()?);
    let method = line.split(|byte| *byte == b' ').next()?;
    host.starts_with(b"Host: ").then_some(())?;
    let mut readdressed = method.to_vec();
    write!(readdressed, " {target} HTTP/1.1\r\nHost: {authority}\r\n").ok()?;
    readdressed.extend_from_slice(lines.next()?);
    *request = readdressed;
    Some(())
}

/// Writes the request to the destination, and the response to the loopback connection.
fn carry(destination: &mut dyn Destination, local: &Socket, request: &[u8]) -> Result<(), String> {
    let sent = destination.write_all(request).and_then(|()| destination.flush());
    if let Err(err) = &sent
        && !matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
    {
        return Err(io_trouble(err));
    }
    // A server that refuses a request early (413) answers and closes before all of it was sent: its answer is read.
    let mut head = Head::default();
    let mut buffer = [0; READ_BYTES];
    while !head.is_whole() {
        match destination.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => head.feed(buffer.get(..read).unwrap_or_default()).map_err(|err| err.to_string())?,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The end of a TLS connection that sent no close_notify.
            Err(err) if err.kind() == ErrorKind::UnexpectedEof => break,
            Err(err) => return Err(io_trouble(sent.as_ref().err().unwrap_or(&err))),
        }
    }
    let (response, body) = head.finish().map_err(|err| err.to_string())?;
    let deadline = Instant::now() + BODY_PATIENCE;
    destination.set_deadline(deadline);
    // minreq takes everything at once, so this is more than it needs for the bytes that came last.
    let mut local = Timed { socket: local, deadline: deadline + BODY_PATIENCE };
    // Whatever is wrong with the body, the response has its status: the body ends there.
    let _ = carry_body(destination, &mut local, &response, &body);
    Ok(())
}

/// Hands the head and the body to minreq, until one of the three ends.
fn carry_body(destination: &mut dyn Destination, local: &mut dyn Write, head: &[u8], body: &[u8]) -> io::Result<()> {
    local.write_all(head)?;
    local.write_all(body)?;
    let mut carried = body.len();
    let mut buffer = [0; READ_BYTES];
    while carried < CARRIED_BODY_BYTES_MAX {
        match destination.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                local.write_all(buffer.get(..read).unwrap_or_default())?;
                carried += read;
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// The connection to a destination, with or without TLS.
trait Destination: Read + Write {
    /// Moves the deadline of all that follows; never to a later time.
    fn set_deadline(&mut self, deadline: Instant);
}

impl Destination for Timed<'_> {
    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
    }
}

impl Destination for Encrypted<Timed<'_>> {
    fn set_deadline(&mut self, deadline: Instant) {
        self.sock.set_deadline(deadline);
    }
}

#[cfg(test)]
mod tests;
