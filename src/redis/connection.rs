//! One TCP connection to Redis, perhaps with TLS, logged in, to a master. One worker owns and reads it; other threads
//! may write to it or shut it down. Every call is bounded by a timeout; name resolution by the system's own. Errors
//! name the operation and the address, never the password.
//!
//! Where the address names sentinels, they are asked for the master first (`connection/sentinel.rs`).
//!
//! ```text
//!   connect ── TLS ── AUTH ── SELECT ── CLIENT SETNAME ── ROLE ──▶ ready
//!   for each address  if asked for       may be forbidden  master, else an error; may be forbidden
//! ```

use std::fmt;
use std::io::{self, Error, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::config::limits::CONNECT_TIMEOUT;
use crate::config::{Address, Config};
use crate::io::net::{Socket, Timed, look_up};
use crate::io::wait::Interest;
use crate::redis::cluster::NodePlace;
use crate::redis::reply::{Decoder, OwnedReply, ProtocolError};
use crate::redis::tls::Tls;
use crate::redis::{REPLY_LIMITS, cluster, command, error_reply::Class, error_reply::ErrorReply};

pub use error::ConnectError;
pub(crate) use error::{SETTINGS_ADVICE, Stage};

use error::NO_LOGIN;

mod error;
mod sentinel;

/// Longest wait for room in the socket: if Redis takes nothing for so long, it hangs or the network is gone.
const WRITE_STALL_MAX: Duration = Duration::from_secs(5);
/// Longest write to Redis that still makes progress: 8 MiB through a slow link.
const WRITE_LONGEST: Duration = Duration::from_secs(60);
/// Longest TLS handshake, and then longest login: a few round trips each, on a busy server too.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// An open socket. The decoder of its bytes belongs to the thread that reads.
pub struct Connection {
    socket: Socket,
    tls: Option<Tls>,
    tells_role: bool,
    ignores_database: bool,
    /// See [`Connection::master`].
    master: Option<String>,
    /// See [`Connection::places`].
    places: Vec<NodePlace>,
}

impl Connection {
    /// Resolves the name, connects, shakes hands, logs in, and checks that the server is a master. `purpose` is part of
    /// the client name in `CLIENT LIST`.
    pub fn open(config: &Config, purpose: &str) -> Result<Connection, ConnectError> {
        if let Some(found) = config.not_understood() {
            return Err(ConnectError::Settings { found: found.to_owned() });
        }
        match &config.redis.sentinels {
            Some(sentinels) => Connection::open_master(config, sentinels, purpose),
            None => Connection::open_at(config, &config.redis, purpose),
        }
    }

    /// As [`Connection::open`], at this address.
    fn open_at(config: &Config, address: &Address, purpose: &str) -> Result<Connection, ConnectError> {
        Connection::open_within(config, address, purpose, CONNECT_TIMEOUT)
    }

    /// As [`Connection::open`], to another node of a cluster, with the same login. `patience`: for each address of the
    /// host, for TLS, and for the login. An empty host is that of the settings.
    pub fn open_node(config: &Config, host: String, port: u16, patience: Duration) -> Result<Connection, ConnectError> {
        let host = if host.is_empty() { config.redis.host.clone() } else { host };
        let address = Address { host, port, sentinels: None, ..config.redis.clone() };
        Connection::open_within(config, &address, "node", patience)
    }

    fn open_within(
        config: &Config,
        address: &Address,
        purpose: &str,
        patience: Duration,
    ) -> Result<Connection, ConnectError> {
        let mut connection = Connection::dial(config, address, patience)?;
        let deadline = Instant::now() + patience.min(HANDSHAKE_TIMEOUT);
        let decoder = Decoder::new(REPLY_LIMITS);
        let mut handshake = Handshake { connection: &connection, address, deadline, decoder, ignores_database: false };
        let tells_role = handshake.run(&format!("realtime-{}-{purpose}", config.server), &config.prefix)?;
        (connection.ignores_database, connection.tells_role) = (handshake.ignores_database, tells_role);
        Ok(connection)
    }

    /// A connection on which nothing was said yet, with TLS if the address asks for it. `patience`: for each address of
    /// the host.
    fn dial(config: &Config, address: &Address, patience: Duration) -> Result<Connection, ConnectError> {
        let failed = |err| ConnectError::Io { doing: "connect", address: address.to_string(), err };
        let stream = connect(address, patience).map_err(failed)?;
        let mut places = vec![(address.host.clone(), address.port)];
        places.extend(stream.peer_addr().ok().map(|peer| (peer.ip().to_string(), peer.port())));
        let socket = Socket::new(stream).map_err(failed)?;
        let mut tls = None;
        if address.tls {
            let deadline = Instant::now() + patience.min(HANDSHAKE_TIMEOUT);
            let name = if config.tls_server_name.is_empty() { &address.host } else { &config.tls_server_name };
            let session = Tls::open(Timed { socket: &socket, deadline }, name, &config.tls_ca_file);
            tls = Some(session.map_err(|found| ConnectError::Tls { address: address.to_string(), found })?);
        }
        Ok(Connection { socket, tls, tells_role: true, ignores_database: false, master: None, places })
    }

    /// A connection that is ready already.
    #[cfg(test)]
    pub(crate) fn over(socket: Socket) -> Connection {
        Connection { socket, tls: None, tells_role: true, ignores_database: false, master: None, places: Vec::new() }
    }

    /// The server by the names that it is known to have: as in the settings, and by its IP address.
    pub(crate) fn places(&self) -> &[NodePlace] {
        &self.places
    }

    /// Host and port of the master, if sentinels have named it.
    pub(crate) fn master(&self) -> Option<&str> {
        self.master.as_deref()
    }

    /// Whether Redis answers ROLE. An ACL may forbid it.
    pub(crate) fn tells_role(&self) -> bool {
        self.tells_role
    }

    /// Whether Redis accepted SELECT and uses another database, so that `/db` separates nothing.
    pub(crate) fn ignores_database(&self) -> bool {
        self.ignores_database
    }

    /// The bytes from Redis that are there, for one thread: two readers would each get a part of them. A read never
    /// waits: without bytes it is an error of kind `WouldBlock`.
    pub fn reader(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// Waits until the reader has something to read, for this long at most; returns at once if there is something. False:
    /// nothing came. With TLS a read may still find nothing, because a part of a record came.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        self.wait_until(self.socket.now() + patience)
    }

    /// As [`Connection::wait`], until the deadline.
    pub(crate) fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        let is_decrypted = self.tls.as_ref().is_some_and(Tls::has_decrypted);
        Ok(is_decrypted || self.socket.wait(Interest::Read, deadline)?)
    }

    /// Writes everything, as long as Redis takes some of it within each [`WRITE_STALL_MAX`]. After an error the connection
    /// is of no use: a part of a command may have left.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_by(bytes, Instant::now() + WRITE_LONGEST)
    }

    /// As [`Connection::write_all`], and the write ends by the deadline.
    pub(crate) fn write_by(&self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        match &self.tls {
            Some(tls) => tls.write_all(bytes, |records| self.send_all(records, deadline)),
            None => self.send_all(bytes, deadline),
        }
    }

    /// Writes bytes as they are: encrypted before, if TLS is used.
    fn send_all(&self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        self.socket.write_all(bytes, WRITE_STALL_MAX, deadline)
    }

    /// Sends one command and waits for its reply until the deadline. For the handshake and the self-test, which have
    /// nothing else in flight.
    pub fn ask(&self, decoder: &mut Decoder, arguments: &[&[u8]], deadline: Instant) -> Result<OwnedReply, AskError> {
        let mut bytes = Vec::new();
        command::encode(&mut bytes, arguments);
        self.write_all(&bytes)?;
        self.next_reply(decoder, deadline)
    }

    /// Sends AUTH and waits for its reply until the deadline. `Some`: the server refuses. The reply may repeat the
    /// password, so it is never shown: of an error only the code word, and nothing of bytes that are not a single reply.
    fn log_in(
        &self,
        decoder: &mut Decoder,
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<Option<ErrorReply>, AskError> {
        match self.ask(decoder, arguments, deadline) {
            Ok(OwnedReply::Error(text)) => Ok(Some(ErrorReply::of_login(&text))),
            Ok(OwnedReply::Simple(_)) if decoder.is_idle() => Ok(None),
            Ok(_) | Err(AskError::Protocol(_)) => Err(AskError::NoLogin),
            Err(err) => Err(err),
        }
    }

    /// Waits for the next reply until the deadline.
    pub(crate) fn next_reply(&self, decoder: &mut Decoder, deadline: Instant) -> Result<OwnedReply, AskError> {
        loop {
            if let Some(reply) = decoder.next().map_err(AskError::Protocol)? {
                return Ok(reply.keep());
            }
            // A server that sends a byte now and then is always ready.
            if Instant::now() >= deadline || !self.wait_until(deadline)? {
                return Err(AskError::Io(ErrorKind::TimedOut.into()));
            }
            match decoder.read_from(&mut self.reader()) {
                Ok(0) => return Err(AskError::Io(Error::new(ErrorKind::UnexpectedEof, "closed by redis"))),
                Err(err) if err.kind() != ErrorKind::WouldBlock => return Err(AskError::Io(err)),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Ends the connection. A wait or write of another thread ends soon.
    pub(crate) fn shut_down(&self) {
        self.socket.end();
    }
}

/// Why a command has no reply.
#[derive(Debug)]
pub enum AskError {
    Io(Error),
    Protocol(ProtocolError),
    /// The reply to AUTH is none that Redis sends. It is not kept, as it may repeat the password.
    NoLogin,
}

impl From<Error> for AskError {
    fn from(err: Error) -> AskError {
        AskError::Io(err)
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Io(err) if err.kind() == ErrorKind::TimedOut => f.write_str("no answer in time"),
            AskError::Io(err) => write!(f, "{err}"),
            AskError::Protocol(err) => write!(f, "{err}"),
            AskError::NoLogin => f.write_str(NO_LOGIN),
        }
    }
}

/// Reads the bytes that Redis sent, decrypted if TLS is used.
pub struct Incoming<'a>(&'a Connection);

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Incoming(connection) = self;
        match &connection.tls {
            Some(tls) => {
                let send = |records: &[u8]| connection.send_all(records, Instant::now() + WRITE_STALL_MAX);
                tls.read(&mut &connection.socket, buffer, send)
            }
            None => connection.socket.read(buffer),
        }
    }
}

/// Tries the addresses of the host in turn. One name may have an IPv6 address on which nothing listens.
fn connect(address: &Address, patience: Duration) -> io::Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "the name has no address");
    for place in look_up(&address.host, address.port)? {
        match TcpStream::connect_timeout(&place, patience) {
            Ok(stream) => return Ok(stream),
            Err(err) => last = err,
        }
    }
    Err(last)
}

/// The commands before the connection is ready: AUTH, SELECT, CLIENT SETNAME, ROLE.
struct Handshake<'a> {
    connection: &'a Connection,
    address: &'a Address,
    deadline: Instant,
    decoder: Decoder,
    /// See [`Connection::ignores_database`].
    ignores_database: bool,
}

impl Handshake<'_> {
    /// True if Redis answered ROLE.
    fn run(&mut self, client_name: &str, prefix: &str) -> Result<bool, ConnectError> {
        if let Some(password) = &self.address.password {
            let mut arguments = vec![b"AUTH".as_slice()];
            arguments.extend(self.address.user.as_deref().map(str::as_bytes));
            arguments.push(password.reveal().as_bytes());
            self.log_in(&arguments)?;
        }
        if self.address.database != 0 {
            self.demand("select the database", &[b"SELECT", self.address.database.to_string().as_bytes()])?;
            self.ignores_database = self.uses_other_database()?;
        }
        // Only shown to operators in CLIENT LIST, so an ACL may forbid it.
        self.offer(&[b"CLIENT", b"SETNAME", client_name.as_bytes()])?;
        let Some(reply) = self.offer(&[b"ROLE"])? else { return Ok(false) };
        match role(&reply) {
            Some(Role::Master) => Ok(true),
            // In a cluster every node passes events on, and says which node serves a key.
            Some(Role::Other("replica")) if self.is_of_cluster()? => Ok(false),
            Some(Role::Other(role)) => Err(ConnectError::Role { address: self.address.to_string(), role }),
            Some(Role::Unknown) => self.try_a_write(prefix).map(|()| true),
            None => Ok(false),
        }
    }

    fn is_of_cluster(&mut self) -> Result<bool, ConnectError> {
        let info = self.offer(&[b"CLUSTER", b"INFO"])?;
        Ok(matches!(info, Some(OwnedReply::Bulk(info)) if info.starts_with(cluster::INFO)))
    }

    /// Some servers accept SELECT and do nothing: two sets of servers would then share all keys. CLIENT INFO, where it is
    /// known, tells the database in use. True if it is another one. Said once in the life of the process.
    fn uses_other_database(&mut self) -> Result<bool, ConnectError> {
        static SAID: Once = Once::new();
        let Some(OwnedReply::Bulk(info)) = self.offer(&[b"CLIENT", b"INFO"])? else { return Ok(false) };
        let (info, wanted) = (String::from_utf8_lossy(&info), self.address.database);
        let used = info.split_ascii_whitespace().find_map(|word| word.strip_prefix("db=")?.parse::<u32>().ok());
        let is_other = used.is_some_and(|used| used != wanted);
        if is_other {
            let address = self.address;
            SAID.call_once(|| {
                log::warn!(
                    "redis at {address} accepts database {wanted} and does not use it: `/{wanted}` in the option `redis` \
                     separates nothing there, the option `prefix` does"
                );
            });
        }
        Ok(is_other)
    }

    /// A write that changes nothing, for servers with a role unknown here: a replica refuses it with READONLY.
    fn try_a_write(&mut self, prefix: &str) -> Result<(), ConnectError> {
        let key = format!("{prefix}rt:role");
        match self.request("log in", &[b"DEL", key.as_bytes()])? {
            OwnedReply::Error(text) => match self.refusal(&text) {
                refusal if refusal.is("READONLY") => {
                    Err(ConnectError::Role { address: self.address.to_string(), role: "server that takes no writes" })
                }
                // An ACL may forbid DEL.
                refusal if refusal.class == Class::Never => Ok(()),
                refusal => Err(self.refused("log in", refusal)),
            },
            _ => Ok(()),
        }
    }

    /// Sends one command. `None`: Redis forbids it or does not know it. Without AUTH, the first of these shows that
    /// Redis wants a login or takes no more clients.
    fn offer(&mut self, arguments: &[&[u8]]) -> Result<Option<OwnedReply>, ConnectError> {
        match self.request("log in", arguments)? {
            OwnedReply::Error(text) => match self.refusal(&text) {
                refusal if refusal.class == Class::Never => Ok(None),
                refusal => Err(self.refused("log in", refusal)),
            },
            reply => Ok(Some(reply)),
        }
    }

    /// Sends AUTH.
    fn log_in(&mut self, arguments: &[&[u8]]) -> Result<(), ConnectError> {
        let refusal = self.connection.log_in(&mut self.decoder, arguments, self.deadline);
        let refusal = refusal.map_err(|err| self.failed("log in", err))?;
        refusal.map_or(Ok(()), |refusal| Err(self.refused("log in", refusal)))
    }

    /// Sends one command and accepts any reply but an error.
    fn demand(&mut self, doing: &'static str, arguments: &[&[u8]]) -> Result<(), ConnectError> {
        match self.request(doing, arguments)? {
            OwnedReply::Error(text) => Err(self.refused(doing, ErrorReply::of_handshake(&text))),
            _ => Ok(()),
        }
    }

    /// Behind an accepted login a server has room for this client and wants no other login, whatever its words are.
    fn refusal(&self, text: &[u8]) -> ErrorReply {
        if self.address.password.is_some() { ErrorReply::new(text) } else { ErrorReply::of_handshake(text) }
    }

    fn refused(&self, doing: &'static str, refusal: ErrorReply) -> ConnectError {
        let user = self.address.shown_user().map(str::to_owned);
        ConnectError::Refused { doing, address: self.address.to_string(), user, refusal }
    }

    /// Sends one command and returns its reply. `doing` is for errors: "cannot log in".
    fn request(&mut self, doing: &'static str, arguments: &[&[u8]]) -> Result<OwnedReply, ConnectError> {
        let asked = self.connection.ask(&mut self.decoder, arguments, self.deadline);
        asked.map_err(|err| self.failed(doing, err))
    }

    fn failed(&self, doing: &'static str, err: AskError) -> ConnectError {
        let address = self.address.to_string();
        match err {
            AskError::Io(err) => ConnectError::Io { doing, address, err: hint(err, self.address.tls) },
            AskError::Protocol(err) => ConnectError::Protocol { address, err },
            AskError::NoLogin => ConnectError::NoReply { address },
        }
    }
}

/// Adds advice to an error: a server that expects TLS ends a plain connection at its first bytes.
fn hint(err: Error, tls: bool) -> Error {
    match err.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
            if !tls =>
        {
            Error::new(err.kind(), format!("{err} (if it wants TLS, use rediss://)"))
        }
        _ => err,
    }
}

/// A server's role, by its reply to ROLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes writes: a master, or a server of KeyDB that replicates both ways.
    Master,
    /// A replica or a sentinel, with the name that errors show.
    Other(&'static str),
    /// A role unknown here, as a proxy may have.
    Unknown,
}

/// Reads the first word of the reply to ROLE: <https://redis.io/docs/latest/commands/role/>; `active-replica` is
/// KeyDB's. `None`: the reply is of another kind, such as an error where an ACL forbids ROLE.
pub(crate) fn role(reply: &OwnedReply) -> Option<Role> {
    let OwnedReply::Array(elements) = reply else { return None };
    let Some(OwnedReply::Bulk(role) | OwnedReply::Simple(role)) = elements.first() else { return None };
    Some(match role.to_ascii_lowercase().as_slice() {
        b"master" | b"primary" | b"active-replica" => Role::Master,
        b"slave" | b"replica" => Role::Other("replica"),
        b"sentinel" => Role::Other("sentinel"),
        _ => Role::Unknown,
    })
}
