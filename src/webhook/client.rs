//! Makes one request: name, connection, TLS, bytes out, answer in, all of it by one deadline.
//! Runs on `rt-send-*`, owns the socket of one request at a time; follows nothing, keeps no connection. Whatever the
//! other end does (nothing, a byte a second, without end), the caller has its thread back in time and no more memory
//! gone than the answer's caps (`webhook/response.rs`).
//! Errors say where, without path or token.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::limits::CONNECT_TIMEOUT;
use crate::hooks::url::Origin;
use crate::io::net;
use crate::io::net::Timed;
use crate::webhook::http::Request;
use crate::webhook::resolve::Resolver;
use crate::webhook::response::{Decoder, Response};
use std::time::Duration;

/// Time that is added for the response's body: the head decides, the body only explains it.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// The option that names further authorities.
const CA_OPTION: &str = "webhook_ca_file";

/// Read from the socket at once.
const READ_BYTES: usize = 8 * 1024;

/// What all requests share.
pub(crate) struct Client {
    resolver: Arc<Resolver>,
    trust: Mutex<Trust>,
}

/// Whom the other end's certificate may be from.
struct Trust {
    ca_file: String,
    /// Made at the first `https`; keeps sessions, so that the next handshake with the same host is short.
    tls: Option<Arc<ClientConfig>>,
}

/// Ends a request from another thread.
#[derive(Default)]
pub(crate) struct Interrupt(Mutex<Interrupted>);

#[derive(Default)]
struct Interrupted {
    is_set: bool,
    stream: Option<TcpStream>,
}

impl Interrupt {
    fn state(&self) -> MutexGuard<'_, Interrupted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request under way ends now, or as soon as it is connected.
    pub(crate) fn set(&self) {
        let mut state = self.state();
        state.is_set = true;
        if let Some(stream) = state.stream.take() {
            // Fails only when it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state().is_set
    }

    /// From here on this socket is what is shut down.
    fn watch(&self, stream: &TcpStream) -> io::Result<()> {
        let mut state = self.state();
        if state.is_set {
            return Err(ErrorKind::Interrupted.into());
        }
        state.stream = Some(stream.try_clone()?);
        Ok(())
    }

    fn unwatch(&self) {
        self.state().stream = None;
    }
}

impl Client {
    pub(crate) fn new(resolver: Resolver, ca_file: &str) -> Client {
        let trust = Mutex::new(Trust { ca_file: ca_file.to_owned(), tls: None });
        Client { resolver: Arc::new(resolver), trust }
    }

    /// From the next request on: the authorities of this file; `tls` if it was read already.
    pub(crate) fn trust(&self, ca_file: &str, tls: Option<Arc<ClientConfig>>) {
        *self.trusted() = Trust { ca_file: ca_file.to_owned(), tls };
    }

    /// Not to be held while a file is read: the game thread waits for it.
    fn trusted(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the request and reads its answer. `id` names the post, the same at every attempt.
    pub(crate) fn send(&self, request: &Request, id: &str, interrupt: &Interrupt) -> Result<Response, NoAnswer> {
        let deadline = Instant::now() + request.timeout;
        let origin = &request.url.origin;
        let stream = self.connect(origin, deadline, interrupt)?;
        let failed = |doing| move |err: io::Error| NoAnswer::new(doing, origin, io_trouble(&err));
        stream.set_nodelay(true).and_then(|()| interrupt.watch(&stream)).map_err(failed("connect to"))?;
        let bytes = request.encode(id);
        let outcome = match origin.https {
            false => exchange(&mut Timed { stream: &stream, deadline }, &request.method, &bytes, deadline),
            true => match self.session(origin) {
                Ok(session) => {
                    let mut tls = StreamOwned::new(session, Timed { stream: &stream, deadline });
                    exchange(&mut tls, &request.method, &bytes, deadline)
                }
                Err(found) => Err(found),
            },
        };
        interrupt.unwatch();
        // So that the other end knows at once, and a clone of the socket keeps nothing open. It may be first.
        let _ = stream.shutdown(Shutdown::Both);
        outcome.map_err(|found| NoAnswer::new("post to", origin, found))
    }

    /// Tries the addresses of the host in turn.
    fn connect(&self, origin: &Origin, deadline: Instant, interrupt: &Interrupt) -> Result<TcpStream, NoAnswer> {
        let failed = |found: String| NoAnswer::new("connect to", origin, found);
        let addresses = self.resolver.resolve(&origin.host, deadline, || interrupt.is_set());
        let addresses = addresses.map_err(|err| failed(err.to_string()))?;
        let mut last = "no answer in time".to_owned();
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now()).min(CONNECT_TIMEOUT);
            if left.is_zero() || interrupt.is_set() {
                break;
            }
            match TcpStream::connect_timeout(&SocketAddr::new(address, origin.port), left) {
                Ok(stream) => return Ok(stream),
                Err(err) => last = io_trouble(&err),
            }
        }
        Err(failed(last))
    }

    fn session(&self, origin: &Origin) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(origin.host.to_string());
        let name = name.map_err(|_| "its name can be no certificate's".to_owned())?;
        ClientConnection::new(self.tls()?, name).map_err(|err| err.to_string())
    }

    /// What sessions are made with.
    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let ca_file = {
            let trust = self.trusted();
            if let Some(tls) = &trust.tls {
                return Ok(Arc::clone(tls));
            }
            trust.ca_file.clone()
        };
        let made = net::tls_config(CA_OPTION, &ca_file)?;
        let mut trust = self.trusted();
        // Another request may have been first, or other settings: those are for the next one.
        if trust.ca_file != ca_file {
            return Ok(made);
        }
        Ok(Arc::clone(trust.tls.get_or_insert(made)))
    }
}

/// Writes the request, reads the answer.
fn exchange(
    stream: &mut (impl Read + Write + Deadline),
    method: &str,
    request: &[u8],
    deadline: Instant,
) -> Result<Response, String> {
    let sent = stream.write_all(request).and_then(|()| stream.flush());
    if let Err(err) = &sent
        && !matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
    {
        return Err(io_trouble(err));
    }
    // Who refuses a request early answers and closes before all of it was sent.
    let mut decoder = Decoder::new(method);
    let mut buffer = [0; READ_BYTES];
    while !decoder.is_done() {
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            // The end of a TLS connection without a farewell; and what comes after the head only explains it.
            Err(err) if err.kind() == ErrorKind::UnexpectedEof || decoder.has_head() => break,
            Err(err) => return Err(io_trouble(sent.as_ref().err().unwrap_or(&err))),
        };
        let had_head = decoder.has_head();
        decoder.feed(bytes).map_err(|err| err.to_string())?;
        if decoder.has_head() && !had_head {
            stream.set_deadline(deadline.min(Instant::now() + BODY_PATIENCE));
        }
    }
    decoder.finish().map_err(|err| err.to_string())
}

/// A stream whose deadline moves.
trait Deadline {
    fn set_deadline(&mut self, deadline: Instant);
}

impl Deadline for Timed<'_> {
    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }
}

impl Deadline for StreamOwned<ClientConnection, Timed<'_>> {
    fn set_deadline(&mut self, deadline: Instant) {
        self.sock.deadline = deadline;
    }
}

/// What went wrong, in words that are the same on every system.
fn io_trouble(err: &io::Error) -> String {
    let tls = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(certificate)) => net::certificate_trouble(certificate, CA_OPTION, ""),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS: use http://".to_owned(),
        Some(other) => other.to_string(),
        None if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => "no answer in time".to_owned(),
        None if err.kind() == ErrorKind::UnexpectedEof => {
            "it closed the connection (if it has no TLS, use http://)".to_owned()
        }
        None if err.kind() == ErrorKind::Interrupted => "the module is stopping".to_owned(),
        None => err.to_string(),
    }
}

/// Why there is no answer: doing what, where, found what.
#[derive(Debug, PartialEq)]
pub(crate) struct NoAnswer {
    doing: &'static str,
    origin: String,
    found: String,
}

impl NoAnswer {
    fn new(doing: &'static str, origin: &Origin, found: String) -> NoAnswer {
        NoAnswer { doing, origin: origin.to_string(), found }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.origin, self.found)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::hooks::url::Url;

    /// A request that waits for a name, or for an answer, ends when it is told to.
    #[test]
    fn a_request_ends_when_it_is_interrupted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mute = format!("http://{}/", listener.local_addr().unwrap());
        let (began_tx, began_rx) = mpsc::channel();
        let lookup = move |_: &str| {
            began_tx.send(()).unwrap();
            thread::sleep(Duration::from_secs(3600));
            Ok(Vec::new())
        };
        let client = Arc::new(Client::new(Resolver::new(lookup), ""));
        for (url, words) in [("http://hangs/", "not looked up in time"), (&*mute, "it closed the connection")] {
            let request = Request::post_json(Url::parse(url).unwrap(), "{}".to_owned(), Duration::from_secs(3600));
            let interrupt = Arc::new(Interrupt::default());
            let (client, own) = (Arc::clone(&client), Arc::clone(&interrupt));
            let sender = thread::spawn(move || client.send(&request, "id", &own));
            // Until it has begun; and the whole request has arrived where it is not answered.
            let mut asked = if url == mute { Some(listener.accept().unwrap().0) } else { None };
            match &mut asked {
                Some(stream) => assert!(stream.read(&mut [0; 1024]).unwrap() > 0),
                None => began_rx.recv().unwrap(),
            }
            interrupt.set();
            let found = sender.join().unwrap().unwrap_err().to_string();
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn a_request_that_was_interrupted_before_it_began_reaches_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let interrupt = Interrupt::default();
        interrupt.set();
        let client = Client::new(Resolver::default(), "");
        let request = Request::post_json(url, "{}".to_owned(), Duration::from_secs(3600));
        assert!(client.send(&request, "id", &interrupt).is_err());
        assert!(listener.accept().is_err());
    }
}
