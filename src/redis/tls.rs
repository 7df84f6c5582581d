//! TLS for `rediss://`: one session over the socket of a connection, which one thread reads while another writes.
//! Trusts the built-in public authorities and those of the option `tls_ca_file`. Certificate checks cannot be switched
//! off. Waits only for room in the socket, and never while it holds the lock of the session, so that reading and writing
//! do not wait for each other.
//!
//! | lock | held | order |
//! |---|---|---|
//! | `sending` | from the encryption of bytes until the socket has them | first |
//! | `session` | for the encryption or decryption of one record | second |

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, MutexGuard, TryLockError};

use rustls::ClientConnection;

use crate::io::lock::lock;
use crate::io::tls::{self, Trust};

/// The option that names further authorities.
const CA_OPTION: &str = "tls_ca_file";

/// Bytes encrypted at once: one record, the largest that TLS allows (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 * 1024;

pub(super) struct Tls {
    session: Mutex<ClientConnection>,
    /// Keeps records in the order of their encryption. The reader takes it only if it is free: it must not wait for a
    /// write.
    sending: Mutex<()>,
}

impl Tls {
    /// Shakes hands over `stream`, whose reads and writes are bounded in time. `name` is the host name that the
    /// certificate must carry; `ca_file` a file of further authorities, or empty.
    pub(super) fn open(mut stream: impl Read + Write, name: &str, ca_file: &str) -> Result<Tls, String> {
        let session = Trust::read(CA_OPTION, ca_file)?.session(name);
        let mut session = session.ok_or_else(|| format!("`{name}` can be no certificate's name"))??;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(|err| trouble(&err))?;
        }
        Ok(Tls { session: Mutex::new(session), sending: Mutex::new(()) })
    }

    fn session(&self) -> MutexGuard<'_, ClientConnection> {
        lock(&self.session)
    }

    /// Whether a read finds decrypted bytes without the socket.
    pub(super) fn has_decrypted(&self) -> bool {
        self.session().process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// Reads decrypted bytes. `stream` never waits, so a read that needs more of it ends with `WouldBlock`. `send` writes
    /// records that the protocol itself makes. One reader at a time.
    pub(super) fn read(
        &self,
        stream: &mut dyn Read,
        buffer: &mut [u8],
        mut send: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        loop {
            let mut session = self.session();
            match session.reader().read(buffer) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                // Redis closes connections without the `close_notify` of TLS.
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => return outcome,
            }
            session.read_tls(stream)?;
            session.process_new_packets().map_err(|err| io::Error::new(ErrorKind::InvalidData, err))?;
            self.send_own(session, &mut send)?;
        }
    }

    /// Sends records that the protocol itself makes, such as a key update. A write under way sends them instead.
    fn send_own(
        &self,
        mut session: MutexGuard<'_, ClientConnection>,
        send: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
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
        let outcome = send(&records);
        drop(sending);
        outcome
    }

    /// Encrypts everything and passes it to `send`, record by record.
    pub(super) fn write_all(&self, bytes: &[u8], mut send: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let _sending = lock(&self.sending);
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

/// The reason for a failed handshake, in words for the owner of a game server.
fn trouble(err: &io::Error) -> String {
    const PLAIN_ADVICE: &str = " (if it is a plain Redis, use redis://)";
    match tls::trouble(err, CA_OPTION, ": set tls_server_name", PLAIN_ADVICE) {
        Some(found) => found,
        None if err.kind() == ErrorKind::TimedOut => format!("it did not answer in time{PLAIN_ADVICE}"),
        None if err.kind() == ErrorKind::UnexpectedEof => format!("it closed the connection{PLAIN_ADVICE}"),
        None => err.to_string(),
    }
}
