//! The search for a leaderboard made of plain counters, whose keys match a pattern such as `kills:*:daily`. Pure: hands
//! out the next command and takes its reply, so that other commands go between the steps. Bounded: it keeps a hash of
//! each key, as SCAN may name a key twice, and the best `rows_max` entries. Order: by score, then by name, both
//! descending, as ZREVRANGE orders them.
//!
//! ```text
//!   CLUSTER INFO ──▶ an error: a single server
//!   SCAN 0 MATCH kills:*:daily ──▶ cursor 17, keys ── MGET keys ──▶ values ── SCAN 17 ... ──▶ cursor 0: done
//! ```
//! In a cluster each node knows some of the keys only: the search ends there, and a part is never taken for the whole.
//! Never KEYS, which stops Redis for the whole search. Rules of SCAN: <https://redis.io/docs/latest/commands/scan/>.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::config::limits::NAME_BYTES_MAX;
use crate::redis::answer::{self, Answer};
use crate::redis::reply::Reply;
use crate::redis::{cluster, command};

/// Keys that a leaderboard with `*` may match: their hashes take 4 MiB in all.
pub(crate) const BOARD_KEYS_MAX: usize = 262_144;
/// Keys that one step of SCAN looks at: they take some tenths of a millisecond of Redis' time.
pub(crate) const BOARD_STEP_KEYS: usize = 1000;

/// Why there is no board.
pub(crate) const IN_A_CLUSTER: &str =
    "redis: in a cluster no node knows all keys: use a sorted set, a leaderboard hook, for this board";

/// The search for one board.
pub(crate) struct Board {
    /// The parts of a key before and after the `*`, the prefix included.
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Entries on the finished board.
    rows_max: usize,
    /// Keyed at random, so that nobody can choose names whose hashes collide.
    hasher: RandomState,
    /// Hashes of all keys found so far.
    seen: HashSet<u64>,
    /// The best entries so far, the worst of them on top.
    best: BinaryHeap<Reverse<BoardEntry>>,
    /// The cursor of the next SCAN; `0` at the start and again at the end.
    cursor: Vec<u8>,
    /// The server is no cluster: it has refused CLUSTER INFO.
    is_single: bool,
    /// Keys of the last SCAN, whose values the next MGET asks for.
    keys: Vec<Box<[u8]>>,
}

/// One entry, ordered as on the board.
#[derive(PartialEq)]
struct BoardEntry {
    score: f64,
    name: Box<[u8]>,
}

impl Eq for BoardEntry {}

impl Ord for BoardEntry {
    fn cmp(&self, other: &BoardEntry) -> Ordering {
        // Scores are finite: values that are not are skipped.
        self.score.total_cmp(&other.score).then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for BoardEntry {
    fn partial_cmp(&self, other: &BoardEntry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The state of a search after a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SearchProgress {
    /// [`Board::encode`] has another command.
    More,
    /// The board is complete.
    Done(Answer),
}

impl Board {
    /// `None` unless the board has exactly one `*`.
    pub(crate) fn new(prefix: &[u8], board: &[u8], rows_max: usize) -> Option<Board> {
        let mut parts = board.split(|byte| *byte == b'*');
        let (head, tail) = (parts.next()?, parts.next()?);
        parts.next().is_none().then(|| Board {
            head: [prefix, head].concat(),
            tail: tail.to_vec(),
            rows_max,
            hasher: RandomState::new(),
            seen: HashSet::new(),
            best: BinaryHeap::new(),
            cursor: b"0".to_vec(),
            is_single: false,
            keys: Vec::new(),
        })
    }

    /// Begins anew: a cursor is of no use on another connection, which may lead to another server.
    pub(crate) fn restart(&mut self) {
        self.seen.clear();
        self.best.clear();
        self.cursor = b"0".to_vec();
        self.is_single = false;
        self.keys.clear();
    }

    /// Appends the next command: CLUSTER INFO at first, MGET of the keys that the last SCAN found, else the next SCAN.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_single {
            return command::encode(out, &[b"CLUSTER", b"INFO"]);
        }
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(AsRef::as_ref);
            command::encode(out, &std::iter::once(b"MGET".as_slice()).chain(keys).collect::<Vec<_>>());
            return;
        }
        let pattern = [literal(&self.head), b"*".to_vec(), literal(&self.tail)].concat();
        let step = BOARD_STEP_KEYS.to_string();
        command::encode(out, &[b"SCAN", &self.cursor, b"MATCH", &pattern, b"COUNT", step.as_bytes()]);
    }

    /// Whether the next reply may be an error: that of a server that is no cluster.
    pub(crate) fn expects_error(&self) -> bool {
        !self.is_single
    }

    /// Takes the reply to the command that [`Board::encode`] appended. `Err` is a reason string of the API.
    pub(crate) fn take(&mut self, reply: Reply<'_>) -> Result<SearchProgress, String> {
        if !self.is_single {
            let enabled = reply.text().is_some_and(|text| text.starts_with(cluster::INFO));
            self.is_single = !enabled;
            return if enabled { Err(IN_A_CLUSTER.to_owned()) } else { Ok(SearchProgress::More) };
        }
        match reply {
            Reply::Error(text) => return Err(answer::redis_error(text)),
            Reply::TooLarge(lost) => return Err(answer::too_large(lost)),
            _ => {}
        }
        let taken = if self.keys.is_empty() { self.take_step(reply) } else { self.take_values(reply) };
        taken.ok_or_else(|| format!("redis: expected the reply of SCAN or MGET, found {}", reply.describe()))?;
        if self.seen.len() > BOARD_KEYS_MAX {
            return Err(format!(
                "too_large: more than {BOARD_KEYS_MAX} keys match, use a sorted set (a leaderboard hook)"
            ));
        }
        if self.keys.is_empty() && self.cursor == b"0" {
            return Ok(SearchProgress::Done(self.finish()));
        }
        Ok(SearchProgress::More)
    }

    /// Reads the reply to SCAN: `cursor, [key, ...]`. `None`: it is no such reply.
    fn take_step(&mut self, reply: Reply<'_>) -> Option<()> {
        let mut parts = reply.array()?.iter();
        let (cursor, keys) = (parts.next()?.text()?, parts.next()?.array()?);
        self.cursor = cursor.to_vec();
        for key in keys.iter().filter_map(|key| key.text()) {
            if self.name(key).is_some_and(|name| name.len() <= NAME_BYTES_MAX)
                && self.seen.insert(self.hasher.hash_one(key))
            {
                self.keys.push(key.into());
            }
        }
        Some(())
    }

    /// Reads the reply to MGET: one value for each key, in their order, nil for a key of another type. A value that is
    /// no finite number is skipped.
    fn take_values(&mut self, reply: Reply<'_>) -> Option<()> {
        let values = reply.array()?;
        for (key, value) in std::mem::take(&mut self.keys).iter().zip(values) {
            let score = value.text().and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
            let Some(score) = score.filter(|score: &f64| score.is_finite()) else { continue };
            let Some(name) = self.name(key) else { continue };
            let row = BoardEntry { score, name: name.into() };
            if self.best.len() < self.rows_max {
                self.best.push(Reverse(row));
            } else if let Some(mut worst) = self.best.peek_mut()
                && row > worst.0
            {
                *worst = Reverse(row);
            }
        }
        Some(())
    }

    /// The part of a key in the place of the `*`: the entry's name.
    fn name<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.head.as_slice())?.strip_suffix(self.tail.as_slice())
    }

    /// The board, best entry first.
    fn finish(&mut self) -> Answer {
        // Ascending in the order of `Reverse` is descending in the order of entries.
        let rows = std::mem::take(&mut self.best).into_sorted_vec();
        let rows: Vec<(Box<[u8]>, f64)> = rows.into_iter().map(|Reverse(row)| (row.name, row.score)).collect();
        answer::ranked(&rows)
    }
}

/// A glob pattern that matches exactly these bytes.
fn literal(bytes: &[u8]) -> Vec<u8> {
    let escaped = bytes.iter().flat_map(|byte| match byte {
        b'*' | b'?' | b'[' | b']' | b'\\' => vec![b'\\', *byte],
        _ => vec![*byte],
    });
    escaped.collect()
}

#[cfg(test)]
mod tests;
