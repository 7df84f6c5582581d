//! The files of the embedded server, in `garrysmod/data/realtime`. Runs on `rt-embedded`, and [`Files::replace`] on
//! `rt-save`. Only the owner may read them (mode 0600; on Windows they have the rights of the folder).
//!
//! | file | holds |
//! |---|---|
//! | `embedded.login` | the password and the port, a line each; the password is made once |
//! | `embedded.values` | the values, in the form of `snapshot.rs` |
//! | `embedded.lock` | nothing; the process that serves holds its lock, so that two servers of one folder share one |
//!
//! A file of such a name that this module did not write, or that is damaged, is renamed to `NAME.aside.1` and so on.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::snapshot;
use super::store::Store;
use crate::config::{Address, Secret};
use crate::io::shown::shown;
use crate::io::{own_file, plain_file, sharing};

/// Memory that the values may take in all, in bytes. A game server has hundreds of times less.
pub(crate) const STORE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest file of values: the overheads that the store counts are larger than those of the file.
const VALUES_BYTES_MAX: usize = STORE_BYTES_MAX + 1024;
const LOGIN_BYTES_MAX: usize = 4096;
/// Random bytes of a password: 192 bits.
const PASSWORD_BYTES: usize = 24;
/// Shortest password that is taken from the file.
const PASSWORD_BYTES_MIN: usize = 16;

const LOGIN: &str = "embedded.login";
const VALUES: &str = "embedded.values";

/// The password and the port of the embedded server.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    pub(crate) password: Secret,
    /// 0: none yet.
    pub port: u16,
}

impl Login {
    pub fn password(&self) -> &str {
        self.password.reveal()
    }

    /// The address of the server, with its password.
    pub fn address(&self) -> Address {
        Address { port: self.port, password: Some(self.password.clone()), ..Address::default() }
    }
}

/// The right to serve from this folder, as long as it lives.
pub struct Files {
    folder: PathBuf,
    /// Held for its lock. `None`: the folder cannot be written to, and nothing survives this process.
    lock: Option<File>,
    /// Why values cannot be kept. Then the file of values is not written.
    pub(crate) unkept: Option<String>,
}

/// The result of asking for the right to serve.
pub enum Claim {
    Ours(Files),
    /// Another process serves from this folder, with this login.
    Others(Login),
}

impl Files {
    /// Takes the lock of the folder, which is made if it does not exist.
    pub fn claim(folder: &Path) -> io::Result<Claim> {
        let mut files = Files { folder: folder.to_owned(), lock: None, unkept: None };
        match files.lock() {
            Ok(true) => {}
            Ok(false) => {
                // It writes its login right after it took the lock.
                let login = files.read_login().filter(|login| login.port > 0);
                let missing = || io::Error::other("another process begins to serve from this folder");
                return login.map(Claim::Others).ok_or_else(missing);
            }
            Err(err) => files.unkept = Some(format!("cannot write in `{}`: {err}", shown(folder))),
        }
        Ok(Claim::Ours(files))
    }

    /// The login of the server that serves from this folder, or that did; it may have ended. Changes nothing there.
    pub fn peek(folder: &Path) -> Option<Login> {
        let files = Files { folder: folder.to_owned(), lock: None, unkept: None };
        files.read_login().filter(|login| login.port > 0)
    }

    /// False: another process holds the lock.
    fn lock(&mut self) -> io::Result<bool> {
        plain_file::make_folder(&self.folder)?;
        self.lock = own_file::take_lock(&self.folder.join("embedded.lock"))?;
        Ok(self.lock.is_some())
    }

    /// The login of the file; `None`: there is none that can be used.
    fn read_login(&self) -> Option<Login> {
        let bytes = self.read(LOGIN, LOGIN_BYTES_MAX).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let (password, port) = (lines.next()?.trim(), lines.next()?.trim().parse().ok()?);
        let is_sound = password.len() >= PASSWORD_BYTES_MIN && password.bytes().all(|byte| byte.is_ascii_graphic());
        is_sound.then(|| Login { password: Secret::new(password.to_owned()), port })
    }

    /// The login of the file, or a new one with a random password. The error says that the system has no random numbers.
    pub fn login(&self) -> io::Result<Login> {
        if let Some(login) = self.read_login() {
            return Ok(login);
        }
        let mut random = [0; PASSWORD_BYTES];
        getrandom::getrandom(&mut random).map_err(|err| io::Error::other(err.to_string()))?;
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Login { password: Secret::new(password), port: 0 })
    }

    /// Writes the login. An unusable file of this name is set aside. Returns notes for the log.
    pub(crate) fn keep_login(&mut self, login: &Login) -> Vec<String> {
        let Some(_) = self.lock else { return Vec::new() };
        let mut notes = Vec::new();
        if self.read_login().is_none() {
            notes.extend(self.set_aside(LOGIN, "it holds no password and port"));
        }
        let text = format!(
            "{}\n{}\nThe password and the port of the embedded server of realtime. It makes a new password if this file is gone.\n",
            login.password.reveal(),
            login.port
        );
        if let Err(err) = self.replace(LOGIN, text.as_bytes()) {
            notes.push(format!("cannot write `{}`: {err}", shown(&self.folder.join(LOGIN))));
        }
        notes
    }

    /// The command line that opens `redis-cli` at the server of this folder. It names the file of the password, so that the
    /// password itself stands neither in the log nor in the list of processes.
    pub(crate) fn cli_line(folder: &Path, port: u16) -> String {
        let path = folder.join(LOGIN);
        if cfg!(windows) {
            format!("set /p REDISCLI_AUTH=<\"{}\" && redis-cli -h 127.0.0.1 -p {port}", shown(&path))
        } else {
            format!("REDISCLI_AUTH=$(head -n 1 '{}') redis-cli -h 127.0.0.1 -p {port}", shown(&path))
        }
    }

    /// The values of the file. A file that cannot be used is set aside, and the store begins empty. Returns notes for the
    /// log.
    pub(crate) fn read_values(&mut self, now: u64) -> (Store, Vec<String>) {
        let mut store = Store::new(STORE_BYTES_MAX);
        let read = match self.read(VALUES, VALUES_BYTES_MAX) {
            Err(err) if err.kind() == ErrorKind::NotFound => return (store, Vec::new()),
            // The file is no worse for it, so it stays where it is.
            Err(err) if sharing::is_held(&err) => {
                let path = shown(&self.folder.join(VALUES)).to_string();
                self.unkept = Some(format!("cannot read `{path}`: {}{err}", sharing::words(&err)));
                return (store, Vec::new());
            }
            Err(err) => Err(err.to_string()),
            Ok(bytes) => snapshot::decode(&bytes, &mut store, now).map_err(str::to_owned),
        };
        match read {
            Ok(()) => (store, Vec::new()),
            Err(found) => (Store::new(STORE_BYTES_MAX), self.set_aside(VALUES, &found).into_iter().collect()),
        }
    }

    /// A file of ours. A virus scanner may hold it for a moment.
    fn read(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        sharing::patiently(|| plain_file::read_own_at_most(&self.folder.join(name), bytes_max))
    }

    /// The values as they are written.
    pub(crate) fn encode(store: &Store, now: u64) -> Vec<u8> {
        snapshot::encode(store, now)
    }

    /// A job that writes the values; `None`: they cannot be kept.
    pub(crate) fn writer(&self, values: Vec<u8>) -> Option<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let files = Files { folder: self.folder.clone(), lock: None, unkept: None };
        self.unkept.is_none().then_some(move || files.replace(VALUES, &values))
    }

    /// Renames a file of ours that is none. Returns a note; `None`: there is no such file.
    fn set_aside(&mut self, name: &str, found: &str) -> Option<String> {
        let path = self.folder.join(name);
        fs::symlink_metadata(&path).ok()?;
        Some(match own_file::set_aside(&path) {
            Ok(aside) => format!("cannot use `{}`: {found}; it is now `{}`", shown(&path), shown(&aside)),
            Err(err) => {
                let note = format!("cannot use `{}`: {found}; it cannot be renamed: {err}", shown(&path));
                self.unkept = Some(note.clone());
                note
            }
        })
    }

    /// Replaces a file: after a crash it is the old one or the new one. The folder is not synced, as both will do.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Another program may have removed the folder.
        plain_file::make_folder(&self.folder)?;
        let temporary = self.folder.join(format!("{name}.new"));
        own_file::replace(&self.folder.join(name), &temporary, bytes, true, File::sync_all).map(drop)
    }
}

#[cfg(test)]
mod tests;
