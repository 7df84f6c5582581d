//! Reads which servers are up from the keys that they renew in Redis (`redis/presence.rs` of the module). Blocks its caller,
//! a bounded time; owns one connection, which it keeps for the next time. Any program may have written what is read here:
//! the module's search skips what no server wrote, and bounds the rest.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime::facade::redis::REPLY_LIMITS;
use realtime::facade::redis::cluster::{NodePlace, Redirect};
use realtime::facade::redis::connection::Connection;
use realtime::facade::redis::presence::{Search, SearchProgress};
use realtime::facade::redis::reply::{Decoder, Reply};
use serde_json::{Map, Value};

use crate::settings::{Settings, words};
use crate::text::beginning;

/// Time for all answers of Redis on one connection.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Nodes of a cluster that are asked one after the other, before they seem to disagree.
const NODES_MAX: usize = 4;
/// Longest text that is shown, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// One server: `boot`, and the members that it wrote about itself.
pub(crate) type Row = Map<String, Value>;

pub(crate) struct Roll {
    settings: Arc<Settings>,
    /// The end of the name in CLIENT LIST.
    purpose: &'static str,
    connection: Option<Connection>,
}

impl Roll {
    pub(crate) fn new(settings: Arc<Settings>, purpose: &'static str) -> Roll {
        Roll { settings, purpose, connection: None }
    }

    /// The servers that are up, by their names. The error is for the user.
    pub(crate) fn read(&mut self) -> Result<Vec<Row>, String> {
        // A connection that stood idle may have ended: the second attempt has a new one.
        if let Some(connection) = self.connection.take()
            && let Ok(rows) = self.read_on(connection)
        {
            return Ok(rows);
        }
        let (connection, _) = self.settings.open(self.purpose).map_err(|err| words(&err))?;
        self.read_on(connection)
    }

    /// Reads from this node, or from that which has the keys.
    fn read_on(&mut self, mut connection: Connection) -> Result<Vec<Row>, String> {
        let mut search = Search::new(self.settings.prefix(), None);
        for _ in 0..NODES_MAX {
            match ask(&connection, &mut search)? {
                Some(place) => connection = self.settings.open_node(place).map_err(|err| words(&err))?,
                None => {
                    self.connection = Some(connection);
                    return Ok(search.rows().map(|(boot, members)| row(boot, members)).collect());
                }
            }
        }
        Err("the nodes of the cluster disagree about who has the list of servers".to_owned())
    }
}

fn row<'a>(boot: &str, members: impl Iterator<Item = (&'static str, &'a Value)>) -> Row {
    let mut row = Row::new();
    row.insert("boot".to_owned(), boot.into());
    for (name, value) in members {
        let value = value.as_str().map_or_else(|| value.clone(), |text| beginning(text, TEXT_BYTES_MAX).into());
        row.insert(name.to_owned(), value);
    }
    row
}

/// Runs the search to its end. `Some`: another node of the cluster has the keys, and nothing was read.
fn ask(connection: &Connection, search: &mut Search) -> Result<Option<NodePlace>, String> {
    let deadline = Instant::now() + ANSWER_MAX;
    let mut decoder = Decoder::new(REPLY_LIMITS);
    loop {
        let mut bytes = Vec::new();
        search.encode(&mut bytes);
        let failed = |err: io::Error| format!("cannot read the list of servers: {err}");
        connection.write_all(&bytes).map_err(failed)?;
        loop {
            match decoder.next() {
                Ok(Some(reply)) => {
                    if let Reply::Error(text) = reply
                        && let Some(Redirect::Moved(_, place)) = Redirect::parse(text)
                    {
                        return Ok(Some(place));
                    }
                    match search.take(reply)? {
                        SearchProgress::More | SearchProgress::Cluster => break,
                        SearchProgress::Done(_) => return Ok(None),
                    }
                }
                Ok(None) => fill(connection, &mut decoder, deadline).map_err(failed)?,
                Err(err) => return Err(format!("cannot read the list of servers: {err}")),
            }
        }
    }
}

/// Waits for more bytes of the reply, until the deadline.
fn fill(connection: &Connection, decoder: &mut Decoder, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || !connection.wait(left)? {
        return Err(io::Error::new(ErrorKind::TimedOut, format!("no answer for {} s", ANSWER_MAX.as_secs())));
    }
    match decoder.read_from(&mut connection.reader()) {
        Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by redis")),
        Err(err) if err.kind() != ErrorKind::WouldBlock => Err(err),
        // Without bytes, a part of a record of TLS has come.
        _ => Ok(()),
    }
}
