//! The look-up of the master by sentinels, at every connect: a sentinel knows which of a set of servers is the master now.
//! Blocks the thread that connects: [`SEARCH_MAX`] for all sentinels together, beside the connection to the master.
//! The answer of a sentinel is not trusted: host and port are checked, and the server that it names must itself say that
//! it is a master, as a sentinel may be behind the times.
//!
//! ```text
//!   sentinel 1: no answer ──▶ sentinel 2: 10.0.0.1:6379 ──▶ ROLE: replica ──▶ sentinel 3: 10.0.0.2:6379 ──▶ ROLE: master
//! ```

use std::time::{Duration, Instant};

use super::{AskError, ConnectError, Connection};
use crate::config::{Address, Config, Sentinels, named_place};
use crate::redis::REPLY_LIMITS;
use crate::redis::error_reply::ErrorReply;
use crate::redis::reply::{Decoder, OwnedReply};

/// Longest search, in which each sentinel gets its share of the time that is left.
const SEARCH_MAX: Duration = Duration::from_secs(5);
/// Masters that one attempt tries, if the sentinels name different ones.
const MASTERS_TRIED_MAX: usize = 2;

impl Connection {
    /// Asks the sentinels in turn, until the connection to a master that one of them names is ready.
    pub(super) fn open_master(
        config: &Config,
        sentinels: &Sentinels,
        purpose: &str,
    ) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + SEARCH_MAX;
        let (mut found, mut tried, mut refused) = (Vec::new(), Vec::new(), None);
        for (at, (host, port)) in sentinels.places.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(sentinels.places.len() - at).unwrap_or(u32::MAX);
            let of =
                |host: &str, port| Address { host: host.to_owned(), port, sentinels: None, ..config.redis.clone() };
            let sentinel = of(host, *port);
            let (host, port) = match ask(config, sentinels, &sentinel, share.max(Duration::from_millis(1))) {
                Ok(master) => master,
                Err(reason) => {
                    found.push(format!("{sentinel}: {reason}"));
                    continue;
                }
            };
            let master = of(&host, port);
            if tried.contains(&master) {
                continue;
            }
            match Connection::open_at(config, &master, purpose) {
                Ok(connection) => return Ok(Connection { master: Some(master.to_string()), ..connection }),
                Err(err) => refused = Some(err),
            }
            tried.push(master);
            if tried.len() >= MASTERS_TRIED_MAX {
                break;
            }
        }
        let unknown = || ConnectError::Sentinels { master: sentinels.master.clone(), found: found.join("; ") };
        Err(refused.unwrap_or_else(unknown))
    }
}

/// Asks one sentinel for the master. `Err`: why it does not say.
fn ask(config: &Config, sentinels: &Sentinels, place: &Address, patience: Duration) -> Result<(String, u16), String> {
    let deadline = Instant::now() + patience;
    let connection = Connection::dial(config, place, patience).map_err(|err| match err {
        ConnectError::Io { err, .. } => AskError::Io(err).to_string(),
        ConnectError::Tls { found, .. } => found,
        err => err.to_string(),
    })?;
    let mut decoder = Decoder::new(REPLY_LIMITS);
    if let Some(password) = &sentinels.password {
        let refusal = connection.log_in(&mut decoder, &[b"AUTH", password.reveal().as_bytes()], deadline);
        if let Some(refusal) = refusal.map_err(|err| err.to_string())? {
            return Err(format!("{refusal} (`sentinel_password`)"));
        }
    }
    let name = &sentinels.master;
    let question = [b"SENTINEL".as_slice(), b"get-master-addr-by-name", name.as_bytes()];
    match connection.ask(&mut decoder, &question, deadline).map_err(|err| err.to_string())? {
        OwnedReply::Array(parts) => match parts.as_slice() {
            [OwnedReply::Bulk(host), OwnedReply::Bulk(port)] => {
                named_place(host, port).ok_or_else(|| "its answer is no host and port".to_owned())
            }
            _ => Err("its answer is no host and port".to_owned()),
        },
        OwnedReply::Nil => Err(format!("it knows no master `{name}`")),
        OwnedReply::Error(text) => {
            let refusal = ErrorReply::of_handshake(&text);
            let advice =
                if refusal.is("NOAUTH") { "; write it behind the address: ?sentinel_password=WORD" } else { "" };
            Err(format!("{refusal}{advice}"))
        }
        other => Err(format!("it answered with {}", other.describe())),
    }
}
