//! One TCP connection to Redis, logged in. Owned by one worker; others may write to it or shut it down.
//! Every call is bounded by a timeout of [`crate::config`], name resolution by the system's own.
//! Errors name the address and what was being done, never the password.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io::Error};

use crate::config::{Address, CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, WRITE_TIMEOUT};
use crate::redis::reply::{Decoder, ProtocolError, Reply};
use crate::redis::{REPLY_LIMITS, command};

/// An open socket, and the decoder of what comes from it stays with its reader.
pub struct Connection {
    stream: TcpStream,
    nonblocking: AtomicBool,
}

impl Connection {
    /// Resolves, connects and logs in. The connection is in blocking mode, without a read timeout.
    pub fn open(address: &Address) -> Result<Connection, ConnectError> {
        let failed = |doing, err| ConnectError::Io { doing, address: address.to_string(), err };
        let stream = connect(address).map_err(|err| failed("connect", err))?;
        // Small commands must leave at once; they are gathered into batches before the socket sees them.
        stream.set_nodelay(true).map_err(|err| failed("connect", err))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(|err| failed("connect", err))?;
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(|err| failed("connect", err))?;
        let connection = Connection { stream, nonblocking: AtomicBool::new(false) };
        connection.log_in(address)?;
        connection.stream.set_read_timeout(None).map_err(|err| failed("connect", err))?;
        Ok(connection)
    }

    /// AUTH and SELECT as the address asks for them, one answer each. An address that asks for neither sends PING, so
    /// that a server that wants a password, or is no Redis, is found out here.
    fn log_in(&self, address: &Address) -> Result<(), ConnectError> {
        let mut decoder = Decoder::new(REPLY_LIMITS);
        if let Some(password) = &address.password {
            let mut arguments = vec![b"AUTH".as_slice()];
            arguments.extend(address.user.as_deref().map(str::as_bytes));
            arguments.push(password.reveal().as_bytes());
            self.ask("log in", address, &arguments, &mut decoder)?;
        }
        let database = address.database.to_string();
        match address.database {
            0 => self.ask("log in", address, &[b"PING"], &mut decoder),
            _ => self.ask("select the database", address, &[b"SELECT", database.as_bytes()], &mut decoder),
        }
    }

    /// Sends one command and takes any answer but an error.
    fn ask(
        &self,
        doing: &'static str,
        address: &Address,
        arguments: &[&[u8]],
        decoder: &mut Decoder,
    ) -> Result<(), ConnectError> {
        let failed = |err| ConnectError::Io { doing, address: address.to_string(), err };
        let mut bytes = Vec::new();
        command::encode(&mut bytes, arguments);
        self.write_all(&bytes).map_err(failed)?;
        loop {
            let reply = decoder.next().map_err(|err| ConnectError::Protocol { address: address.to_string(), err })?;
            if let Some(reply) = reply {
                let Reply::Error(text) = reply else { return Ok(()) };
                let user = address.user.clone();
                let reply = String::from_utf8_lossy(text).into_owned();
                return Err(ConnectError::Refused { doing, address: address.to_string(), user, reply });
            }
            if decoder.read_from(&mut self.reader()).map_err(failed)? == 0 {
                return Err(failed(Error::new(ErrorKind::UnexpectedEof, "closed by redis")));
            }
        }
    }

    /// The bytes from Redis; several readers would steal from each other.
    pub fn reader(&self) -> impl Read + '_ {
        &self.stream
    }

    /// With `true`, a read that would wait answers `WouldBlock` instead; writes still wait, up to their timeout.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
        self.stream.set_nonblocking(nonblocking)
    }

    /// Writes everything, within the write timeout, in either mode.
    pub fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                // In blocking mode this is how Linux says that the write timeout passed.
                Err(err) if err.kind() == ErrorKind::WouldBlock && !self.nonblocking.load(Ordering::Relaxed) => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    // Non-blocking mode and a full socket: wait in blocking mode, where the timeout holds.
                    self.stream.set_nonblocking(false)?;
                    let outcome = (&self.stream).write_all(bytes);
                    self.stream.set_nonblocking(true)?;
                    return outcome;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Ends the connection; a read or write that waits on it returns.
    pub fn shut_down(&self) {
        // Fails only when it is closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Tries every address of the host in turn.
fn connect(address: &Address) -> io::Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "the name has no address");
    for place in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(err) => last = err,
        }
    }
    Err(last)
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    Io { doing: &'static str, address: String, err: Error },
    Protocol { address: String, err: ProtocolError },
    Refused { doing: &'static str, address: String, user: Option<String>, reply: String },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Io { doing, address, err } => {
                let to = if *doing == "connect" { "to redis at" } else { "at redis" };
                write!(f, "cannot {doing} {to} {address}: {err}")
            }
            ConnectError::Protocol { address, err } => write!(f, "cannot talk to redis at {address}: {err}"),
            ConnectError::Refused { doing, address, user: Some(user), reply } => {
                write!(f, "cannot {doing} at redis {address} as `{user}`: {reply}")
            }
            ConnectError::Refused { doing, address, user: None, reply } => {
                write!(f, "cannot {doing} at redis {address}: {reply}")
            }
        }
    }
}
