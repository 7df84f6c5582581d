//! The keys by which servers see each other, the texts in them, and the search for the servers that are up. Pure: hands
//! out commands and takes replies. Everything that is read here may have been written by any program.
//!
//! ```text
//!   rt:{servers}:index                   sorted set, every score 0: `<name>/<boot>` of each server
//!   rt:{servers}:server:<name>/<boot>    JSON, ends by itself: name, map, gamemode, players, ...
//!   rt:{servers}:players:<name>/<boot>   JSON, ends by itself: [{"steamid64": "7656...", "name": "..."}, ...]
//! ```
//! The tag `{servers}` gives all keys one slot of a cluster, so that one MGET reads many of them.
//! A server is up as long as its key exists: Redis' clock decides, whatever the clocks of the servers say. The boot is a
//! part of the key, so that two servers of one name do not overwrite each other.

use serde_json::{Map, Value, json};

use crate::config::is_server_name;
use crate::hooks::status::{GameValues, Player};
use crate::json::tape;
use crate::redis::answer::{self, Answer};
use crate::redis::leaderboard::SearchProgress;
use crate::redis::reply::Reply;
use crate::redis::{cluster, command};

/// Most servers that are looked at. Members of the index beyond it are not read.
pub(crate) const SERVERS_MAX: usize = 1000;
/// Values that one MGET asks for.
const STEP_KEYS: usize = 100;
/// Longest text of a server, in bytes: all its members at their bounds, with escapes, are shorter.
const SERVER_BYTES_MAX: usize = 8 * 1024;
/// Longest list of players, in bytes: 128 of them with names of 128 bytes, with escapes.
const PLAYERS_BYTES_MAX: usize = 128 * 1024;
/// Longest text of a member, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The two kinds of keys that end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Players,
}

/// The key of a member of the index.
pub(crate) fn key(prefix: &str, kind: Kind, member: &str) -> Vec<u8> {
    let kind = match kind {
        Kind::Server => "server",
        Kind::Players => "players",
    };
    format!("{prefix}rt:{{servers}}:{kind}:{member}").into_bytes()
}

/// The key of the index.
pub(crate) fn index(prefix: &str) -> Vec<u8> {
    format!("{prefix}rt:{{servers}}:index").into_bytes()
}

/// The member of the index for this server.
pub(crate) fn member(name: &str, boot: u64) -> String {
    format!("{name}/{boot:016x}")
}

/// The name in a member of the index. `None`: no server wrote this member.
pub(crate) fn name_of(member: &str) -> Option<&str> {
    let (name, boot) = member.split_once('/')?;
    let is_boot = boot.len() == 16 && boot.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (is_boot && is_server_name(name)).then_some(name)
}

/// Appends the command that reads the index.
pub(crate) fn encode_index(out: &mut Vec<u8>, prefix: &str) {
    let last = (SERVERS_MAX - 1).to_string();
    command::encode(out, &[b"ZRANGE", &index(prefix), b"0", last.as_bytes()]);
}

/// Appends the command that reads the keys of these members.
pub(crate) fn encode_values(out: &mut Vec<u8>, prefix: &str, kind: Kind, members: &[Box<str>]) {
    let keys: Vec<Vec<u8>> = members.iter().map(|member| key(prefix, kind, member)).collect();
    let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
    command::encode(out, &words);
}

/// The members of the index that servers wrote, and all others.
pub(crate) type Index = (Vec<Box<str>>, Vec<Box<[u8]>>);

/// Reads the reply to [`encode_index`]. `None`: it is no such reply.
pub(crate) fn read_index(reply: Reply<'_>) -> Option<Index> {
    let (mut members, mut others) = (Vec::new(), Vec::new());
    for member in reply.array()?.iter().filter_map(|member| member.text()).take(SERVERS_MAX) {
        match std::str::from_utf8(member).ok().filter(|member| name_of(member).is_some()) {
            Some(member) => members.push(member.into()),
            None => others.push(member.into()),
        }
    }
    Some((members, others))
}

// ---- one server -----------------------------------------------------------------------------------------------

/// The members of a server's text that are strings, and those that are whole numbers.
const TEXTS: [&str; 5] = ["name", "map", "gamemode", "hostname", "version"];
const NUMBERS: [&str; 4] = ["players", "max_players", "started", "seen"];

/// The text of this server. `started_ms` and `seen_ms` are Unix times by its own clock; `beat` counts its texts.
pub(crate) fn server_text(name: &str, game: &GameValues, started_ms: u64, seen_ms: u64, beat: u64) -> String {
    let mut text = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        value.into_iter().for_each(|value| _ = text.insert(name.to_owned(), value));
    };
    let bounded = |text: &String| Value::from(cut(text, TEXT_BYTES_MAX));
    set("name", Some(name.into()));
    set("map", game.map.as_ref().map(bounded));
    set("gamemode", game.gamemode.as_ref().map(bounded));
    set("hostname", game.hostname.as_ref().map(bounded));
    set("version", Some(env!("CARGO_PKG_VERSION").into()));
    set("players", game.players.map(Value::from));
    set("max_players", game.max_players.map(Value::from));
    set("started", Some((started_ms / 1000).into()));
    set("seen", Some((seen_ms / 1000).into()));
    set("beat", Some(beat.into()));
    Value::from(text).to_string()
}

/// The text of the players.
pub(crate) fn players_text(players: &[Player]) -> String {
    let one = |player: &Player| json!({ "steamid64": &*player.steamid64, "name": &*player.name });
    Value::from(players.iter().map(one).collect::<Vec<_>>()).to_string()
}

/// The beginning of a text, of at most this many bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// The text of the server with this index member, decoded and checked. `None`: no server wrote it.
fn server_of(member: &str, text: &[u8]) -> Option<Map<String, Value>> {
    if text.len() > SERVER_BYTES_MAX {
        return None;
    }
    let Ok(Value::Object(server)) = serde_json::from_slice(text) else { return None };
    let is_text = |value: &Value| value.as_str().is_some_and(|text| text.len() <= TEXT_BYTES_MAX);
    let is_number = |value: &Value| value.as_u64().is_some_and(|number| number <= 1 << 53);
    let is_sound = server.get("name").and_then(Value::as_str) == name_of(member)
        && TEXTS.iter().all(|name| server.get(*name).is_none_or(is_text))
        && NUMBERS.iter().chain(&["beat"]).all(|name| server.get(*name).is_none_or(is_number));
    is_sound.then_some(server)
}

/// The number of the newest text of this server. `None`: no server wrote this text.
pub(crate) fn beat_of(member: &str, text: &[u8]) -> Option<u64> {
    server_of(member, text)?.get("beat")?.as_u64()
}

/// The name of the player with this SteamID64 in a list of players. The outer `None`: it is no such list.
fn player_of(text: &[u8], steamid64: &str) -> Option<Option<String>> {
    if text.len() > PLAYERS_BYTES_MAX {
        return None;
    }
    let Ok(Value::Array(players)) = serde_json::from_slice::<Value>(text) else { return None };
    let member = |player: &Value, name: &str| player.get(name).and_then(Value::as_str).map(str::to_owned);
    let found = players.iter().find(|player| member(player, "steamid64").as_deref() == Some(steamid64));
    Some(found.map(|player| cut(&member(player, "name").unwrap_or_default(), TEXT_BYTES_MAX).to_owned()))
}

// ---- the search -----------------------------------------------------------------------------------------------

/// A search through all servers: one ZRANGE, then MGET in steps.
pub struct Search {
    prefix: Box<str>,
    /// The SteamID64 of the player that is looked for. `None`: all servers are listed.
    player: Option<Box<str>>,
    /// The members whose values are not read yet. `None`: the index is not read.
    members: Option<Vec<Box<str>>>,
    /// The servers, each with its boot.
    found: Vec<(Box<str>, Map<String, Value>)>,
    /// Entries that no server wrote.
    pub(crate) skipped: u64,
}

impl Search {
    /// Lists all servers, or looks for one player.
    pub fn new(prefix: &str, player: Option<&str>) -> Search {
        let player = player.map(Box::from);
        Search { prefix: prefix.into(), player, members: None, found: Vec::new(), skipped: 0 }
    }

    /// Begins anew, on another connection.
    pub(crate) fn restart(&mut self) {
        (self.members, self.skipped) = (None, 0);
        self.found.clear();
    }

    /// The slot of all its keys in a cluster.
    pub(crate) fn slot(&self) -> u16 {
        cluster::slot(&index(&self.prefix))
    }

    fn step(&self) -> &[Box<str>] {
        let members = self.members.as_deref().unwrap_or_default();
        members.get(..STEP_KEYS).unwrap_or(members)
    }

    /// Appends the next command.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = if self.player.is_some() { Kind::Players } else { Kind::Server };
        match self.members {
            None => encode_index(out, &self.prefix),
            Some(_) => encode_values(out, &self.prefix, kind, self.step()),
        }
    }

    /// Takes the reply to the command that [`Search::encode`] appended. `Err` is a reason string of the API.
    pub fn take(&mut self, reply: Reply<'_>) -> Result<SearchProgress, String> {
        let unexpected = || format!("redis: expected the reply of ZRANGE or MGET, found {}", reply.describe());
        match (reply, &self.members) {
            (Reply::Error(text), _) => return Err(answer::redis_error(text)),
            (Reply::TooLarge(lost), None) => return Err(answer::too_large(lost)),
            (_, None) => {
                let (members, others) = read_index(reply).ok_or_else(unexpected)?;
                self.skipped += others.len() as u64;
                self.members = Some(members);
            }
            (_, Some(_)) => {
                let step: Vec<Box<str>> = self.step().to_vec();
                self.members.iter_mut().for_each(|members| _ = members.drain(..step.len()));
                match reply {
                    // Some program wrote values of many megabytes.
                    Reply::TooLarge(_) => self.skipped += step.len() as u64,
                    _ => {
                        let values = reply.array().ok_or_else(unexpected)?;
                        for (member, value) in step.iter().zip(values.iter()) {
                            let Some(text) = value.text() else { continue };
                            if let Some(answer) = self.take_value(member, text) {
                                return Ok(SearchProgress::Done(answer));
                            }
                        }
                    }
                }
            }
        }
        if self.members.as_ref().is_some_and(|members| !members.is_empty()) {
            return Ok(SearchProgress::More);
        }
        Ok(SearchProgress::Done(self.finish()))
    }

    /// Takes one value. Returns the answer if it ends the search.
    fn take_value(&mut self, member: &str, text: &[u8]) -> Option<Answer> {
        let Some(player) = &self.player else {
            match server_of(member, text) {
                Some(server) => self.found.push((boot_of(member).into(), server)),
                None => self.skipped += 1,
            }
            return None;
        };
        let Some(found) = player_of(text, player) else {
            self.skipped += 1;
            return None;
        };
        let name = found?;
        let mut tape = Vec::new();
        tape::push_object(&mut tape, 2);
        for text in ["server", name_of(member)?, "name", &name] {
            tape::push_text(&mut tape, text.as_bytes());
        }
        Some(Answer { tape, values: 1 })
    }

    /// The servers that were found, in the order of their names: the boot of each, and its members that are known.
    pub fn rows(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&'static str, &Value)>)> {
        self.found.iter().map(|(boot, server)| (&**boot, members(server)))
    }

    /// The answer at the end: the servers in the order of their names, or nil if the player was not found.
    fn finish(&mut self) -> Answer {
        let mut tape = Vec::new();
        if self.player.is_some() {
            tape::push_none(&mut tape, false);
            return Answer { tape, values: 1 };
        }
        // The index is in the order of the members, in which `/` stands among the other characters of a name.
        self.found.sort_by(|one, other| name_in(&one.1).cmp(name_in(&other.1)));
        tape::push_array(&mut tape, self.found.len());
        for (_, server) in &self.found {
            let members: Vec<(&str, &Value)> = members(server).collect();
            tape::push_object(&mut tape, members.len());
            for (name, value) in members {
                tape::push_text(&mut tape, name.as_bytes());
                match value.as_str() {
                    Some(text) => tape::push_text(&mut tape, text.as_bytes()),
                    None => tape::push_i64(&mut tape, value.as_i64().unwrap_or_default()),
                }
            }
        }
        Answer { tape, values: 1 }
    }
}

/// The boot in a member of the index.
fn boot_of(member: &str) -> &str {
    member.split_once('/').map_or("", |(_, boot)| boot)
}

/// The members of a server's text that are known. Any program may add others.
fn members(server: &Map<String, Value>) -> impl Iterator<Item = (&'static str, &Value)> {
    TEXTS.iter().chain(&NUMBERS).filter_map(|name| Some((*name, server.get(*name)?)))
}

fn name_in(server: &Map<String, Value>) -> &str {
    server.get("name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
