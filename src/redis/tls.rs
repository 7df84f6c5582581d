//! TLS for `rediss://`: one session over a connection's socket, read by one thread while another writes.
//! Trusts the public authorities that are built in, and those of the option `tls_ca_file`; there is no way to trust
//! anybody. Blocks only in the socket, and never while it holds the session.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::io::net;

/// The option that names further authorities.
const CA_OPTION: &str = "tls_ca_file";

/// What is encrypted at once: one record.
const RECORD_BYTES: usize = 16 * 1024;

pub(super) struct Tls {
    session: Mutex<ClientConnection>,
    /// Held from the encryption of bytes until the socket has them: records leave in their order. Taken before
    /// `session`, and by the reader only if it is free.
    sending: Mutex<()>,
}

impl Tls {
    /// Shakes hands over `stream`, whose reads and writes are bounded. `name` is what the certificate must be for.
    pub(super) fn open(mut stream: impl Read + Write, name: &str, ca_file: &str) -> Result<Tls, String> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` can be no certificate's name"))?;
        let config = net::tls_config(CA_OPTION, ca_file)?;
        let mut session = ClientConnection::new(config, name).map_err(|err| err.to_string())?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(|err| trouble(&err))?;
        }
        Ok(Tls { session: Mutex::new(session), sending: Mutex::new(()) })
    }

    fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads decrypted bytes; waits for the socket as its mode says. One reader at a time.
    pub(super) fn read(&self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session().reader().read(buffer) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                // The end without a farewell: Redis ends connections so.
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => return outcome,
            }
            // Waits here, with the session free for the writer.
            stream.peek(&mut [0])?;
            let mut session = self.session();
            session.read_tls(&mut stream)?;
            session.process_new_packets().map_err(|err| io::Error::new(ErrorKind::InvalidData, err))?;
            self.send_own(session, stream)?;
        }
    }

    /// What the protocol itself has to say (a new key). Left to the next write if one is under way.
    fn send_own(&self, mut session: MutexGuard<'_, ClientConnection>, mut stream: &TcpStream) -> io::Result<()> {
        if !session.wants_write() {
            return Ok(());
        }
        let sending = match self.sending.try_lock() {
            Ok(sending) => sending,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let mut records = Vec::new();
        session.write_tls(&mut records)?;
        drop(session);
        let outcome = stream.write_all(&records);
        drop(sending);
        outcome
    }

    /// Encrypts everything and hands it to `send`, record by record.
    pub(super) fn write_all(&self, bytes: &[u8], mut send: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        for part in bytes.chunks(RECORD_BYTES) {
            let mut session = self.session();
            session.writer().write_all(part)?;
            while session.wants_write() {
                session.write_tls(&mut records)?;
            }
            drop(session);
            send(&records)?;
            records.clear();
        }
        Ok(())
    }
}

/// Why the handshake failed, in the words of somebody who set up a server.
fn trouble(err: &io::Error) -> String {
    let tls = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(certificate)) => {
            net::certificate_trouble(certificate, CA_OPTION, ": set tls_server_name")
        }
        Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. }) => {
            "it does not speak TLS (if it is a plain Redis, use redis://)".to_owned()
        }
        Some(other) => other.to_string(),
        None if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            "it did not answer in time (if it is a plain Redis, use redis://)".to_owned()
        }
        None if err.kind() == ErrorKind::UnexpectedEof => {
            "it closed the connection (if it is a plain Redis, use redis://)".to_owned()
        }
        None => err.to_string(),
    }
}
