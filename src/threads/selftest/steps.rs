//! The steps of `realtime_selftest`: each tries one thing that the module needs of Redis or of the disk. They use
//! connections and files of their own, so they work while the module cannot connect.
//! Each step is ok, or names the fault that it found and a remedy. Steps that depend on a failed one are left out.
//! Runs on `rt-selftest` and blocks it. No line holds a secret: addresses are shown as `host:port`.
//!
//! | step | tries |
//! |---|---|
//! | `settings`, `platform` | the operator's settings and the files that they name; the library's file name, its version, the owner's clock |
//! | `file` | to write, read and remove a file in `garrysmod/data/realtime` |
//! | `proxy` | the way to Discord through the proxy of the webhooks, if there is one |
//! | `resolve` | to look up the host of the option `redis` |
//! | `connect`, `tls`, `log in`, `role` | a connection, stage by stage (`tls` only if the option asks for it) |
//! | `kind` | whether Redis is a single server |
//! | `publish` | to receive an own event on a second connection |
//! | `values`, `counters` | a key with a time to live; the script that counters use |

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::calendar::offset;
use crate::config::{Config, Place};
use crate::event::identity::new_boot;
use crate::event::topic::SELFTEST;
use crate::hooks::url::Origin;
use crate::io::shown::shown;
use crate::io::tls::Trust;
use crate::io::{plain_file, sharing};
use crate::redis::connection::{AskError, Connection, SETTINGS_ADVICE, Stage};
use crate::redis::counter::{Count, Form};
use crate::redis::error_reply::ErrorReply;
use crate::redis::reply::{Decoder, OwnedReply};
use crate::redis::{REPLY_LIMITS, cluster, counter};
use crate::webhook::dial::{Dialer, Interrupt};
use crate::webhook::resolve::Resolver;

/// Longest time for all commands on one connection, once it is connected. A healthy Redis needs milliseconds; the owner
/// of the server waits at the console.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that are tried in a cluster until this node serves one of them: enough for one of 16 nodes.
const KEYS_TRIED_MAX: usize = 100;

/// One step and its result. Shown as one line: `publish   ok     heard itself after 0.21 ms`.
#[derive(Debug)]
pub struct Step {
    pub(crate) name: &'static str,
    /// `Ok` holds the detail that is shown behind `ok`.
    pub(crate) outcome: Result<String, Failure>,
}

/// The fault that a step found, and a remedy for the owner of the server. The remedy may be empty.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) found: String,
    pub(crate) advice: String,
}

impl Failure {
    /// Cuts a full stop off `found`, as the line goes on after it.
    #[cold]
    fn new(found: &str, advice: &str) -> Failure {
        Failure { found: found.trim_end_matches('.').to_owned(), advice: advice.to_owned() }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(detail) => write!(f, "{:<9} ok     {detail}", self.name),
            Err(Failure { found, advice }) if advice.is_empty() => write!(f, "{:<9} FAILED {found}", self.name),
            Err(Failure { found, advice }) => write!(f, "{:<9} FAILED {found}. What to do: {advice}", self.name),
        }
    }
}

/// Runs all steps, and reports each one when it ends. `data` is the game's data folder, `offset_s` the owner's clock in
/// seconds to the east of UTC.
pub fn run(config: &Config, data: &Path, offset_s: i32, report: &mut dyn FnMut(Step)) {
    let outcome = settings(config);
    report(Step { name: "settings", outcome });
    report(Step { name: "platform", outcome: Ok(platform(offset_s)) });
    let outcome = write_file(data);
    report(Step { name: "file", outcome });
    if let Some(outcome) = proxy(config) {
        report(Step { name: "proxy", outcome });
    }
    // The step `settings` has reported it. Redis at a default address would be another one than the operator meant.
    if config.not_understood().is_some() {
        return;
    }
    let resolved = resolve(config);
    // Without an address there is nothing to connect to; the steps behind it would only repeat the fault.
    let found = resolved.is_ok();
    report(Step { name: "resolve", outcome: resolved });
    if found && let Some(connection) = connect(config, report) {
        use_redis(config, &connection, report);
    }
}

/// The settings: where they come from, what is in force, every complaint about them, and the files of certificate
/// authorities that they name.
fn settings(config: &Config) -> Result<String, Failure> {
    let files = [("tls_ca_file", &config.tls_ca_file), ("webhook_ca_file", &config.webhook_ca_file)];
    let mut found = config.complaints.clone();
    for (option, file) in files {
        found.extend(Trust::read(option, file).err());
    }
    let prefix = if config.prefix.is_empty() { "none" } else { &config.prefix };
    let redis = if config.not_understood().is_some() { "no redis".to_owned() } else { config.redis_name() };
    let renaming = config.renaming().map(|sentence| format!("; {sentence}")).unwrap_or_default();
    let in_force =
        format!("{}; in force: server `{}`, prefix {prefix}, {redis}{renaming}", config.sources(), config.server);
    if found.is_empty() {
        return Ok(in_force);
    }
    found.push(in_force);
    Err(Failure::new(&found.join("; "), SETTINGS_ADVICE))
}

/// The library, and the clock that dates and days follow.
fn platform(offset_s: i32) -> String {
    format!("{}, version {}, clock UTC{}", platform_file(), env!("CARGO_PKG_VERSION"), offset::shown(offset_s))
}

/// The file name under which Garry's Mod looks for this library: by system and by the width of a pointer.
fn platform_file() -> &'static str {
    match (cfg!(windows), cfg!(target_pointer_width = "64")) {
        (true, true) => "gmsv_realtime_win64.dll",
        (true, false) => "gmsv_realtime_win32.dll",
        (false, true) => "gmsv_realtime_linux64.dll",
        (false, false) => "gmsv_realtime_linux.dll",
    }
}

/// Writes, reads and removes a file in the folder of the module's own files. A virus scanner looks at new files, so it is
/// tried again while another program holds the file.
fn write_file(data: &Path) -> Result<String, Failure> {
    let folder = data.join("realtime");
    // A new name each time: whatever has the name of a file is never written to, be it a link, a pipe or a file.
    let path = folder.join(format!("selftest.{:016x}.tmp", new_boot()));
    write_at(&folder, &path)
}

fn write_at(folder: &Path, path: &Path) -> Result<String, Failure> {
    let tried = write_and_remove(folder, path);
    tried.map(|()| format!("wrote and read {}", shown(path))).map_err(|err| {
        let advice = if sharing::is_in_use(&err) {
            "tell that program, such as a virus scanner or a backup, to leave this folder out"
        } else {
            "give the user that runs the game server the right to write there, and make room on the disk"
        };
        Failure::new(&format!("cannot write {}: {}{err}", shown(path), sharing::words(&err)), advice)
    })
}

fn write_and_remove(folder: &Path, path: &Path) -> io::Result<()> {
    let text = b"written by realtime_selftest";
    plain_file::make_folder(folder)?;
    let mut file = sharing::patiently(|| plain_file::create_new(OpenOptions::new().write(true), path))?;
    let written = file.write_all(text);
    drop(file);
    let read = written.and_then(|()| sharing::patiently(|| plain_file::read_own_at_most(path, text.len())));
    let removed = sharing::patiently(|| plain_file::remove(path));
    if read? == text { removed } else { Err(io::Error::other("it reads back changed")) }
}

/// Opens a way to Discord through the proxy of the webhooks. `None` if Discord is reached without one.
fn proxy(config: &Config) -> Option<Result<String, Failure>> {
    let proxies = config.proxies();
    let discord = Origin { https: true, host: "discord.com".into(), port: 443 };
    let proxy = proxies.of(discord.https, &discord.host)?;
    let found = format!("{proxy}, set by `{}`, opens the way to {}", proxy.source, discord.host);
    let dialer = Dialer::new(Resolver::default(), &config.webhook_ca_file, proxies.clone());
    let connected = dialer.connect(&discord, Instant::now() + PATIENCE, &Interrupt::default());
    let advice = format!("check `{}`, which names the proxy of the webhooks", proxy.source);
    Some(connected.map(|_| found).map_err(|err| Failure::new(&err.to_string(), &advice)))
}

/// Resolves the host of the option `redis`. Connecting does the same; as a step of its own it tells a wrong name from a
/// server that does not answer.
fn resolve(config: &Config) -> Result<String, Failure> {
    let address = &config.redis;
    let advice = "check the host in the option `redis`, and this machine's name servers";
    match (address.host.as_str(), address.port).to_socket_addrs() {
        Ok(places) => {
            let mut found = String::new();
            for place in places {
                let comma = if found.is_empty() { "" } else { ", " };
                // Writing to a String cannot fail.
                let _ = write!(found, "{comma}{}", place.ip());
            }
            if found.is_empty() {
                Err(Failure::new(&format!("`{}` has no address", address.host), advice))
            } else {
                Ok(format!("{} is {found}", address.host))
            }
        }
        Err(err) => Err(Failure::new(&format!("cannot resolve `{}`: {err}", address.host), advice)),
    }
}

/// Connects and logs in. Reports a step for each stage up to the first failure: TCP, TLS, login, role.
fn connect(config: &Config, report: &mut dyn FnMut(Step)) -> Option<Connection> {
    let address = &config.redis;
    let opened = Connection::open(config, "selftest");
    // `open` goes through all stages at once. The stage of its error tells which ones have passed.
    let failed_at = opened.as_ref().err().map(|err| err.stage());
    let mut stages = vec![
        (Stage::Connect, "connect", config.redis_name()),
        (
            Stage::LogIn,
            "log in",
            match (address.shown_user(), &address.password) {
                (Some(user), _) => format!("as `{user}`"),
                (None, Some(_)) => "with the password".to_owned(),
                (None, None) => "without a password".to_owned(),
            },
        ),
        (
            Stage::Role,
            "role",
            if opened.as_ref().is_ok_and(Connection::tells_role) {
                "a master".to_owned()
            } else {
                "unknown (an ACL forbids ROLE): a replica would not be noticed".to_owned()
            },
        ),
    ];
    if address.tls {
        stages.insert(1, (Stage::Tls, "tls", "the certificate is good".to_owned()));
    }
    for (stage, name, detail) in stages {
        if failed_at.is_none_or(|failed| stage < failed) {
            report(Step { name, outcome: Ok(detail) });
        } else if let (Some(failed), Err(err)) = (failed_at, &opened)
            && stage == failed
        {
            report(Step { name, outcome: Err(Failure::new(&err.to_string(), err.advice())) });
        }
    }
    opened.ok()
}

/// Sends commands on one connection and waits for each reply, all by one deadline. An error reply is a failure.
struct Asking<'a> {
    connection: &'a Connection,
    decoder: Decoder,
    deadline: Instant,
}

impl<'a> Asking<'a> {
    fn new(connection: &'a Connection) -> Asking<'a> {
        Asking { connection, decoder: Decoder::new(REPLY_LIMITS), deadline: Instant::now() + PATIENCE }
    }

    /// Sends one command whose reply matters only if it is an error.
    fn tell(&mut self, arguments: &[&[u8]]) -> Result<(), Failure> {
        self.ask(arguments).map(drop)
    }

    /// Sends one command and returns its reply.
    fn ask(&mut self, arguments: &[&[u8]]) -> Result<OwnedReply, Failure> {
        let name = String::from_utf8_lossy(arguments.first().copied().unwrap_or_default()).into_owned();
        match self.connection.ask(&mut self.decoder, arguments, self.deadline) {
            Ok(OwnedReply::Error(text)) => Err(refused(&name, &text)),
            Ok(reply) => Ok(reply),
            Err(err) => Err(Failure::new(&format!("{name}: {err}"), "see whether redis is overloaded or restarts")),
        }
    }
}

/// The failure for an error reply (`text`) to the command `name`.
fn refused(name: &str, text: &[u8]) -> Failure {
    let refusal = ErrorReply::new(text);
    // Only refusals that an owner of the server can do something about have a remedy.
    let advice = match &refusal {
        _ if refusal.is("NOPERM") => "give this user the rights that the README lists",
        _ if refusal.is("OOM") => "redis is full: raise its maxmemory, or delete what nobody needs",
        _ if refusal.is("CLUSTERDOWN") => "no node serves a part of the keys: see CLUSTER NODES",
        _ => "",
    };
    Failure::new(&format!("{name} was refused: {refusal}"), advice)
}

/// The steps that need a connection.
fn use_redis(config: &Config, connection: &Connection, report: &mut dyn FnMut(Step)) {
    let mut asking = Asking::new(connection);
    // A random number in the name: two servers that test at once use different keys and channels.
    let mine = format!("{}{SELFTEST}{:016x}", config.prefix, new_boot());
    let mut step = |name, outcome| report(Step { name, outcome });
    step("kind", kind(config, &mut asking));
    step("publish", publish_to_itself(config, &mut asking, mine.as_bytes()));
    let Some(mine) = own_key(&mut asking, &mine) else {
        return step("values", Ok("not tried: this node of a cluster serves no key of the test".to_owned()));
    };
    step("values", write_and_read(&mut asking, mine.as_bytes()));
    step("counters", count(&mut asking, mine.as_bytes()));
}

/// A key that this server serves. In a cluster, other nodes serve most keys.
fn own_key(asking: &mut Asking<'_>, mine: &str) -> Option<String> {
    (0..KEYS_TRIED_MAX).map(|number| format!("{mine}:{number}")).find(|key| {
        let reply = asking.connection.ask(&mut asking.decoder, &[b"GET", key.as_bytes()], asking.deadline);
        !matches!(reply, Ok(OwnedReply::Error(text)) if ErrorReply::new(&text).is("MOVED"))
    })
}

/// The kind of the server.
fn kind(config: &Config, asking: &mut Asking<'_>) -> Result<String, Failure> {
    if config.place == Place::Embedded {
        return Ok("embedded: other servers are not reached; to connect servers, set the option `redis`".to_owned());
    }
    if asking.connection.ignores_database() {
        let found = format!("it accepts database {} and does not use it", config.redis.database);
        return Err(Failure::new(&found, "leave the number out of the option `redis`, and use the option `prefix`"));
    }
    let info = match asking.ask(&[b"INFO", b"server"]) {
        Ok(OwnedReply::Bulk(text)) => String::from_utf8_lossy(&text).into_owned(),
        // An ACL may forbid INFO, and the module does not need it.
        _ => return Ok("unknown (INFO was refused)".to_owned()),
    };
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
    Ok(format!("{}, version {}", value("redis_mode:"), value("redis_version:")))
}

/// Publishes on one connection, and receives the event on a second one that has subscribed.
fn publish_to_itself(config: &Config, asking: &mut Asking<'_>, channel: &[u8]) -> Result<String, Failure> {
    let second = Connection::open(config, "selftest").map_err(|err| Failure::new(&err.to_string(), err.advice()))?;
    let mut listening = Asking::new(&second);
    // The reply is read before the PUBLISH: an event that is published earlier is not received.
    listening.tell(&[b"SUBSCRIBE", channel])?;
    let began = Instant::now();
    // The time includes the answer of PUBLISH, which Redis sends after the event.
    asking.tell(&[b"PUBLISH", channel, b"selftest"])?;
    let heard = second.next_reply(&mut listening.decoder, listening.deadline);
    match heard {
        Ok(OwnedReply::Array(parts)) if parts.last() == Some(&OwnedReply::Bulk(b"selftest".to_vec())) => {
            Ok(format!("heard itself after {:.2} ms", began.elapsed().as_secs_f64() * 1e3))
        }
        Ok(other) => Err(Failure::new(&format!("expected the event, found {}", other.describe()), "")),
        Err(err) => {
            Err(Failure::new(&format!("did not hear its own event: {err}"), "see whether a proxy stands before redis"))
        }
    }
}

/// Writes and reads a key, and checks its time to live. The key expires by itself if this ends half-way.
fn write_and_read(asking: &mut Asking<'_>, key: &[u8]) -> Result<String, Failure> {
    asking.tell(&[b"SET", key, b"selftest", b"EX", b"60"])?;
    let value = asking.ask(&[b"GET", key])?;
    let seconds = asking.ask(&[b"TTL", key])?;
    asking.tell(&[b"DEL", key])?;
    match (&value, &seconds) {
        (OwnedReply::Bulk(text), OwnedReply::Integer(1..=60)) if text == b"selftest" => {
            Ok("a key was written, read, and would have expired".to_owned())
        }
        _ => Err(Failure::new(&format!("read back {} with {}", value.describe(), seconds.describe()), "")),
    }
}

/// Runs the script that counters use (`redis/counter.rs`), with keys that expire by themselves. A Redis that refuses
/// scripts is no failure: counters then use plain commands.
fn count(asking: &mut Asking<'_>, key: &[u8]) -> Result<String, Failure> {
    // The script notes the number of the last counter in this key, so that a resend does not count twice.
    let done = cluster::beside(&[key, b":done"].concat(), key).unwrap_or_default();
    let job = Count { key: key.into(), member: None, by: "1".into(), ttl: 60 };
    let mut bytes = Vec::new();
    job.encode(&mut bytes, Form::Eval, &done, 1);
    let sent = asking.connection.write_all(&bytes).map_err(AskError::from);
    let reply = sent.and_then(|()| asking.connection.next_reply(&mut asking.decoder, asking.deadline));
    let outcome = match reply {
        Ok(OwnedReply::Error(text)) if counter::forbids_scripts(&text) => {
            Ok("work, but redis refuses scripts (EVAL, EVALSHA): a counter whose answer is lost is not sent again"
                .to_owned())
        }
        Ok(OwnedReply::Error(text)) => Err(refused("EVAL", &text)),
        Ok(_) => Ok("count once, however often they are sent".to_owned()),
        Err(err) => Err(Failure::new(&format!("EVAL: {err}"), "see whether redis is overloaded or restarts")),
    };
    asking.tell(&[b"DEL", key, &done])?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventlog::writer::tests::double::Folder;
    use crate::io::plain_file::held;

    /// A name that a pipe or a link has would block the thread, or lead to the file of somebody else.
    #[test]
    fn the_file_of_the_test_is_a_new_one() {
        let folder = Folder::new();
        let own = folder.0.join("realtime");
        assert!(write_file(&folder.0).is_ok_and(|found| found.starts_with("wrote and read ")));
        assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
        let path = own.join("x.tmp");
        std::fs::write(&path, "mine").unwrap();
        let Failure { found, advice } = write_at(&own, &path).unwrap_err();
        assert!(found.starts_with("cannot write ") && advice.starts_with("give the user"), "{found}; {advice}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_file_that_a_scanner_holds_is_tried_again_and_then_told() {
        let folder = Folder::new();
        let path = folder.0.join("x.tmp");
        // The file is made, read and removed.
        for calls in 0..3 {
            held::hold_after(&path, calls, 2);
            assert_eq!(write_at(&folder.0, &path).unwrap(), format!("wrote and read {}", shown(&path)));
            assert!(!path.exists(), "held at call {calls}");
        }
        held::hold(&path, u32::MAX);
        let Failure { found, advice } = write_at(&folder.0, &path).unwrap_err();
        assert!(found.starts_with(&format!("cannot write {}: another program holds it: ", shown(&path))), "{found}");
        assert!(advice.starts_with("tell that program"), "{advice}");
        held::release(&path);
    }
}
