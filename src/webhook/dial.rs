//! Opens the connection for one request: name, TCP, a proxy if there is one, TLS, all of it by one deadline.
//! Runs on `rt-carry-*` (`webhook/carrier.rs`); shares the socket that it hands out with the [`Interrupt`].
//! Trusts the built-in authorities and those of `webhook_ca_file`.
//! Errors name the host, the proxy and the reason, never a path, a token or a login.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::config::Proxies;
use crate::config::limits::CONNECT_TIMEOUT;
use crate::hooks::url::Origin;
use crate::io::lock::lock;
use crate::io::net::Socket;
use crate::io::tls::{Encrypted, Trust};
use crate::webhook::resolve::Resolver;
use crate::webhook::trouble::{CA_OPTION, io_trouble};
use crate::webhook::tunnel;

/// Connects for all senders: they share resolved addresses and TLS sessions.
pub(crate) struct Dialer {
    resolver: Arc<Resolver>,
    trusted: Mutex<Trusted>,
    proxies: Mutex<Arc<Proxies>>,
}

/// The authorities that may have signed a destination's certificate.
struct Trusted {
    ca_file: String,
    /// Made at the first `https`. It keeps sessions, so that the next handshake with the same host is short.
    trust: Option<Trust>,
}

impl Dialer {
    pub(crate) fn new(resolver: Resolver, ca_file: &str, proxies: Proxies) -> Dialer {
        let trusted = Mutex::new(Trusted { ca_file: ca_file.to_owned(), trust: None });
        Dialer { resolver: Arc::new(resolver), trusted, proxies: Mutex::new(Arc::new(proxies)) }
    }

    /// Requests from now on go through these proxies.
    pub(crate) fn go_through(&self, proxies: Proxies) {
        *lock(&self.proxies) = Arc::new(proxies);
    }

    /// The proxies of requests from now on.
    pub(crate) fn proxies(&self) -> Arc<Proxies> {
        Arc::clone(&lock(&self.proxies))
    }

    /// Requests from now on trust the authorities of this file; `trust` holds them if the file was read already.
    pub(crate) fn trust(&self, ca_file: &str, trust: Option<Trust>) {
        *self.trusted() = Trusted { ca_file: ca_file.to_owned(), trust };
    }

    /// Never held while a file is read: the game thread waits for this lock.
    fn trusted(&self) -> MutexGuard<'_, Trusted> {
        lock(&self.trusted)
    }

    /// Connects to the origin, through its proxy if it has one: then nobody looks up the origin's name here.
    /// `interrupt` ends the connection from then on.
    pub(crate) fn connect(
        &self,
        origin: &Origin,
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> Result<Arc<Socket>, NoAnswer> {
        let failed = |found: String| NoAnswer::new("connect to", origin, found);
        let proxies = self.proxies();
        let Some(proxy) = proxies.of(origin.https, &origin.host) else {
            return self.connect_to(&origin.host, origin.port, deadline, interrupt).map_err(failed);
        };
        let socket = self.connect_to(&proxy.host, proxy.port, deadline, interrupt);
        let socket = socket.map_err(|found| failed(format!("cannot connect to the proxy {proxy}: {found}")))?;
        tunnel::open(&socket, proxy, origin, deadline).map_err(|blocked| {
            socket.end();
            let no_answer = failed(format!("the proxy {proxy} {}", blocked.found));
            NoAnswer { asks_login: blocked.asks_login, ..no_answer }
        })?;
        Ok(socket)
    }

    /// Connects to a host, trying its addresses in turn.
    fn connect_to(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
        interrupt: &Interrupt,
    ) -> Result<Arc<Socket>, String> {
        let addresses = self.resolver.resolve(host, deadline, &|| interrupt.is_set());
        let addresses = addresses.map_err(|err| err.to_string())?;
        let mut last = "no answer in time".to_owned();
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now()).min(CONNECT_TIMEOUT);
            if left.is_zero() || interrupt.is_set() {
                break;
            }
            let connected = TcpStream::connect_timeout(&SocketAddr::new(address, port), left);
            match connected.and_then(Socket::new).and_then(|socket| interrupt.watch(socket)) {
                Ok(socket) => return Ok(socket),
                Err(err) => last = io_trouble(&err),
            }
        }
        Err(last)
    }

    /// Encrypts the connection to this host. The handshake happens at the first write.
    pub(crate) fn encrypt<S: Read + Write>(&self, stream: S, origin: &Origin) -> Result<Encrypted<S>, String> {
        self.trust_of_option()?.encrypt(stream, &origin.host)
    }

    fn trust_of_option(&self) -> Result<Trust, String> {
        let ca_file = {
            let trusted = self.trusted();
            if let Some(trust) = &trusted.trust {
                return Ok(trust.clone());
            }
            trusted.ca_file.clone()
        };
        let made = Trust::read(CA_OPTION, &ca_file)?;
        let mut trusted = self.trusted();
        // Another request may have been first. The settings may have changed meanwhile: those are for the next request.
        if trusted.ca_file != ca_file {
            return Ok(made);
        }
        Ok(trusted.trust.get_or_insert(made).clone())
    }
}

/// Ends one request from another thread.
#[derive(Default)]
pub(crate) struct Interrupt(Mutex<Interrupted>);

#[derive(Default)]
struct Interrupted {
    is_set: bool,
    /// The response was read: the connection is of no use any more.
    is_over: bool,
    socket: Option<Arc<Socket>>,
}

impl Interrupt {
    fn state(&self) -> MutexGuard<'_, Interrupted> {
        lock(&self.0)
    }

    /// Gives the request up: now, or as soon as it is connected.
    pub(crate) fn set(&self) {
        let mut state = self.state();
        state.is_set = true;
        end(&mut state);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state().is_set
    }

    /// Ends the connection once the response was read, or can no longer be read.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        state.is_over = true;
        end(&mut state);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// From here on `set` and `finish` end this connection. An error if one of them came first.
    fn watch(&self, socket: Socket) -> io::Result<Arc<Socket>> {
        let mut state = self.state();
        if state.is_set || state.is_over {
            return Err(ErrorKind::Interrupted.into());
        }
        let socket = Arc::new(socket);
        state.socket = Some(Arc::clone(&socket));
        Ok(socket)
    }
}

fn end(state: &mut Interrupted) {
    if let Some(socket) = state.socket.take() {
        socket.end();
    }
}

/// Why a request has no response: doing what, to which origin, found what.
#[derive(Debug, PartialEq)]
pub(crate) struct NoAnswer {
    doing: &'static str,
    origin: String,
    found: String,
    /// A proxy asks for another login, so the request did not reach its destination.
    pub(crate) asks_login: bool,
}

impl NoAnswer {
    pub(crate) fn new(doing: &'static str, origin: &Origin, found: String) -> NoAnswer {
        NoAnswer { doing, origin: origin.to_string(), found, asks_login: false }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.origin, self.found)
    }
}
