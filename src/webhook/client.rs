//! Makes one request by one deadline: resolves the name, connects, does the TLS handshake, writes and reads.
//! Runs on `rt-send-*`; each call owns its socket. Follows no redirection and keeps no connection.
//! A server that never answers, sends a byte a second or never stops cannot hold the thread beyond the deadline, nor take
//! more memory than the caps of a response (`webhook/response.rs`).
//! Errors name the origin only, because path and query may hold a token.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::limits::CONNECT_TIMEOUT;
use crate::hooks::url::Origin;
use crate::io::lock::lock;
use crate::io::net::{self, Timed};
use crate::webhook::http::Request;
use crate::webhook::resolve::Resolver;
use crate::webhook::response::{Decoder, Response};

/// Longest wait for the body after the head. The head decides the result; the body only explains it.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// The option for further certificate authorities, named in errors.
const CA_OPTION: &str = "webhook_ca_file";

/// Bytes that one read takes from the socket.
const READ_BYTES: usize = 8 * 1024;

/// The parts that all requests share.
pub(crate) struct Client {
    resolver: Arc<Resolver>,
    trust: Mutex<Trust>,
}

/// The certificate authorities that requests trust.
struct Trust {
    /// The value of `webhook_ca_file`: a path, or empty.
    ca_file: String,
    /// Made at the first `https` request. Keeps TLS sessions, so that the next handshake with the same host is short.
    tls: Option<Arc<ClientConfig>>,
}

/// Interrupts one request from another thread.
#[derive(Default)]
pub(crate) struct Interrupt(Mutex<Interrupted>);

#[derive(Default)]
struct Interrupted {
    is_set: bool,
    stream: Option<TcpStream>,
}

impl Interrupt {
    fn state(&self) -> MutexGuard<'_, Interrupted> {
        lock(&self.0)
    }

    /// Ends the request now, or as soon as it is connected: nothing can interrupt connecting.
    pub(crate) fn set(&self) {
        let mut state = self.state();
        state.is_set = true;
        if let Some(stream) = state.stream.take() {
            // Fails only if the socket is already closed.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state().is_set
    }

    /// From here on [`Interrupt::set`] shuts down this socket. An error if the request was interrupted before.
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

    /// Replaces the authorities from the next request on. `tls` is the file's content if the caller has read it.
    pub(crate) fn trust(&self, ca_file: &str, tls: Option<Arc<ClientConfig>>) {
        *self.trusted() = Trust { ca_file: ca_file.to_owned(), tls };
    }

    /// The caller must not read a file while it holds this lock, because the game thread takes it too.
    fn trusted(&self) -> MutexGuard<'_, Trust> {
        lock(&self.trust)
    }

    /// Sends the request and reads the response. `id` is the id of the post, the same at every attempt.
    pub(crate) fn send(&self, request: &Request, id: &str, interrupt: &Interrupt) -> Result<Response, NoAnswer> {
        let deadline = Instant::now() + request.timeout;
        let origin = &request.url.origin;
        let stream = self.connect(origin, deadline, interrupt)?;
        let failed = |doing| move |err: io::Error| NoAnswer::new(doing, origin, io_trouble(&err));
        stream.set_nodelay(true).and_then(|()| interrupt.watch(&stream)).map_err(failed("connect to"))?;
        let bytes = request.encode(id);
        let response = if origin.https {
            self.session(origin).and_then(|session| {
                let mut tls = StreamOwned::new(session, Timed { stream: &stream, deadline });
                exchange(&mut tls, &request.method, &bytes, deadline)
            })
        } else {
            exchange(&mut Timed { stream: &stream, deadline }, &request.method, &bytes, deadline)
        };
        interrupt.unwatch();
        // Tells the server at once, even if a clone of the socket is still open. Fails if the server closed first.
        let _ = stream.shutdown(Shutdown::Both);
        response.map_err(|found| NoAnswer::new("post to", origin, found))
    }

    /// Tries the addresses of the host in turn, each for at most [`CONNECT_TIMEOUT`].
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

    /// A TLS session for this host.
    fn session(&self, origin: &Origin) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(origin.host.to_string());
        let name = name.map_err(|_| "a certificate cannot have its name".to_owned())?;
        ClientConnection::new(self.tls()?, name).map_err(|err| err.to_string())
    }

    /// The settings for TLS sessions. Reads the file of authorities if no request has done so.
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
        // Meanwhile the authorities may have been replaced: those are for the next request. Another request may also have
        // read the same file: both share the first result.
        if trust.ca_file != ca_file {
            return Ok(made);
        }
        Ok(Arc::clone(trust.tls.get_or_insert(made)))
    }
}

/// Writes the request and reads the response.
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
    // A server that refuses a request early answers and closes before it has read everything. So a broken pipe is no error
    // yet: the response may be there.
    let mut decoder = Decoder::new(method);
    let mut buffer = [0; READ_BYTES];
    while !decoder.is_done() {
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            // A TLS connection may end without a `close_notify`. After the head no error matters.
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

/// A stream whose deadline can be moved: after the head only [`BODY_PATIENCE`] is left.
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

/// The error text, the same on every operating system.
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

/// Why there is no response: the step, the origin, the error.
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

    /// One request waits for a look-up, the other for a response.
    #[test]
    fn an_interrupted_request_ends() {
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
            // Waits until the look-up has begun, or until the server has the request.
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
    fn a_request_interrupted_before_it_begins_does_not_connect() {
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
