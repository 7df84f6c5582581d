//! The embedded server beside a real Redis: every row of `testdata/embedded/commands.txt` goes to both, and hostile clients
//! go to the embedded one.

// The compared commands are printed for people, with `cargo test -- --nocapture`.
#![allow(clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fault_kit::{Folder, PATIENCE, Redis, ReservedPort, defaults, wait_until};
use realtime::facade::config::{Address, Sources};
use realtime::facade::embedded::{Claim, Files, Server, Waker};
use realtime::facade::redis::counter::{SCRIPT, SCRIPT_SHA};
use realtime::facade::redis::{kept, lease};

#[path = "../../../src/embedded/commands/tests/table.rs"]
mod table;

/// A database of the real Redis that no other test uses.
const DATABASE: &str = "13";

/// An embedded server on a thread of its own.
struct Embedded {
    address: SocketAddr,
    password: String,
    waker: Arc<Waker>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    folder: Folder,
    /// One test at a time, as some measure the memory of this process.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Embedded {
    fn start() -> Embedded {
        Embedded::start_in(Folder::default())
    }

    fn start_in(folder: Folder) -> Embedded {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::create_dir_all(folder.path()).unwrap();
        let Claim::Ours(files) = Files::claim(&folder.path().join("realtime")).unwrap() else {
            panic!("another server")
        };
        let (mut server, login, notes) = Server::open(files).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let (waker, is_over) = (Arc::clone(server.waker()), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                server.turn(Duration::from_secs(1)).unwrap();
            }
        });
        let (address, password) = (([127, 0, 0, 1], login.port).into(), login.password().to_owned());
        Embedded { address, password, waker, is_over, thread: Some(thread), folder, _alone }
    }

    fn client(&self) -> Client {
        let mut client = Client::connect(self.address);
        assert_eq!(client.ask(&["AUTH", &self.password]), "+OK");
        client
    }

    /// Ends the server and returns its folder.
    fn end(mut self) -> Folder {
        self.finish();
        self.folder.clone()
    }

    fn finish(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.finish();
        }
    }
}

/// A client of a few lines, so that the module's codec is not tested with itself.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, bytes: Vec::new() }
    }

    fn send(&mut self, words: &[Vec<u8>]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next replies as text; `closed` if the server ended the connection.
    fn replies(&mut self, count: usize, is_unordered: bool) -> String {
        let mut all = Vec::new();
        while all.len() < count {
            if let Some((text, size)) = table::shown(&self.bytes, is_unordered) {
                self.bytes.drain(..size);
                all.push(text);
                continue;
            }
            let mut some = [0; 65536];
            match self.stream.read(&mut some) {
                Ok(0) => return "closed".to_owned(),
                Ok(read) => self.bytes.extend_from_slice(&some[..read]),
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return "closed".to_owned(),
                Err(err) => panic!("{err}"),
            }
        }
        all.join(" ")
    }

    fn ask(&mut self, words: &[&str]) -> String {
        self.send(&words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        self.replies(1, false)
    }
}

fn real() -> SocketAddr {
    let url = std::env::var("REALTIME_TEST_REDIS").expect("run this under scripts/redis-in-docker");
    url.strip_prefix("redis://").unwrap().parse().unwrap()
}

/// Whether the test may send this to the real Redis, which other tests use at the same time.
fn is_harmless(words: &[Vec<u8>]) -> bool {
    !matches!(
        words.first().map(Vec::as_slice),
        Some(b"AUTH" | b"CONFIG" | b"FLUSHALL" | b"HELLO" | b"MONITOR" | b"SELECT")
    ) && !words.starts_with(&[b"SCRIPT".to_vec(), b"FLUSH".to_vec()])
}

#[test]
fn every_command_answers_as_a_real_redis_does() {
    let text = std::fs::read_to_string("../../testdata/embedded/commands.txt").unwrap();
    let names = [
        ("counter", SCRIPT),
        ("counter_sha", SCRIPT_SHA),
        ("take", lease::TAKE),
        ("take_sha", lease::TAKE_SHA),
        ("free", lease::FREE),
        ("free_sha", lease::FREE_SHA),
        ("kept", kept::SCRIPT),
        ("kept_sha", kept::SCRIPT_SHA),
    ];
    let cases = table::cases(&text, &names);
    let embedded = Embedded::start();
    let mut ours: Vec<Client> = (0..3).map(|_| embedded.client()).collect();
    let mut theirs: Vec<Client> = (0..3).map(|_| Client::connect(real())).collect();
    for client in &mut theirs {
        assert_eq!(client.ask(&["SELECT", DATABASE]), "+OK");
    }
    assert_eq!(theirs[0].ask(&["FLUSHDB"]), "+OK");
    let mut wrong = Vec::new();
    // For each command, the number of rows that are equal on both, and the reasons of those that differ.
    let mut by_command: BTreeMap<String, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for case in &cases {
        let at = case.connection;
        let name =
            case.words.first().map_or_else(|| "an event".to_owned(), |word| String::from_utf8_lossy(word).into());
        let counted = by_command.entry(name.to_ascii_uppercase()).or_default();
        if !case.words.is_empty() {
            ours[at].send(&case.words);
        }
        let found = ours[at].replies(case.replies, case.is_unordered);
        // The table has the addresses, the clock and the password of the unit test.
        let is_of_test = matches!(case.words.first().map(Vec::as_slice), Some(b"AUTH" | b"CLIENT" | b"TIME"));
        if !case.fits(&case.embedded, &found) && !is_of_test {
            wrong.push(format!("line {}: embedded: expected {}, found {found}", case.line, case.embedded));
        }
        if !is_harmless(&case.words) {
            assert!(!case.reason.is_empty() || case.words[0] == b"SELECT", "line {}: no reason", case.line);
            counted.1.insert(&case.reason);
            continue;
        }
        if !case.words.is_empty() {
            theirs[at].send(&case.words);
        }
        let real = theirs[at].replies(case.replies, case.is_unordered);
        if !case.fits(&case.real, &real) {
            wrong.push(format!("line {}: real: expected {}, found {real}", case.line, case.real));
        }
        if case.reason.is_empty() {
            counted.0 += 1;
        } else {
            counted.1.insert(&case.reason);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    eprintln!("{:<18} rows equal  apart from", "command");
    for (name, (equal, reasons)) in &by_command {
        let reasons: Vec<&str> = reasons.iter().copied().filter(|reason| !reason.is_empty()).collect();
        eprintln!("{name:<18} {equal:>10}  {}", reasons.join("; "));
    }
    let equal: usize = by_command.values().map(|(equal, _)| equal).sum();
    eprintln!("{equal} rows of {} are equal, the others have a reason to differ", cases.len());
    assert!(equal > 200);
    assert_eq!(theirs[0].ask(&["FLUSHDB"]), "+OK");
}

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

const MB: usize = 1 << 20;

/// A field of INFO.
fn info(client: &mut Client, field: &str) -> u64 {
    let text = client.ask(&["INFO"]).replace("\\x{0d}\\x{0a}", "\n");
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {field} in {text}")).parse().unwrap()
}

#[test]
fn strangers_get_little_time_and_no_memory() {
    let embedded = Embedded::start();
    let mut member = embedded.client();
    // Everything but AUTH is refused, and large or foreign requests end the connection.
    for (bytes, expected) in [
        ("GET k\r\nPING\r\n", "-NOAUTH Authentication required. -NOAUTH Authentication required."),
        (
            "AUTH wrong\r\nAUTH default wrong\r\n",
            "-WRONGPASS invalid username-password pair or user is disabled. -WRONGPASS invalid username-password pair or user is disabled.",
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\n", "closed"),
        (
            "*9\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\nPING\r\n",
            "closed",
        ),
    ] {
        let mut client = Client::connect(embedded.address);
        client.stream.write_all(bytes.as_bytes()).unwrap();
        assert_eq!(client.replies(2, false), expected);
    }
    // A line without an end.
    let mut client = Client::connect(embedded.address);
    let _ = client.stream.write_all(&vec![b'x'; 100_000]);
    assert_eq!(client.replies(2, false), "closed");
    // Silent ones are closed after some seconds, and never keep a member out.
    let before = resident();
    let mut silent: Vec<Client> = (0..200).map(|_| Client::connect(embedded.address)).collect();
    silent.iter_mut().take(50).for_each(|client| _ = client.stream.write_all(b"*2\r\n$4\r\nAUTH\r\n$1000\r\n"));
    let mut late = embedded.client();
    assert_eq!((late.ask(&["PING"]), member.ask(&["PING"])), ("+PONG".into(), "+PONG".into()));
    assert!(silent.iter_mut().all(|client| client.replies(1, false) == "closed"));
    assert!(info(&mut member, "closed_before_login") >= 200);
    assert!(resident() < before + 4 * MB);
}

#[test]
fn the_seventeenth_client_is_refused() {
    let embedded = Embedded::start();
    let mut clients: Vec<Client> = (0..16).map(|_| embedded.client()).collect();
    let mut more = Client::connect(embedded.address);
    assert_eq!(more.replies(1, false), "-ERR max number of clients reached");
    assert_eq!(more.replies(1, false), "closed");
    assert_eq!(info(&mut clients[0], "connected_clients"), 16);
    clients.pop();
    wait_until("there is room for another", || {
        let mut more = Client::connect(embedded.address);
        more.ask(&["AUTH", &embedded.password]) == "+OK"
    });
}

#[test]
fn a_slow_reader_is_cut_and_nobody_else_notices() {
    let embedded = Embedded::start();
    let (mut slow, mut quick, mut sender) = (embedded.client(), embedded.client(), embedded.client());
    for client in [&mut slow, &mut quick] {
        client.ask(&["SUBSCRIBE", "news"]);
    }
    let before = resident();
    let payload = "x".repeat(100_000);
    let event = format!("[$message $news ${payload}]");
    let mut sent = 0;
    while sender.ask(&["PUBLISH", "news", &payload]) == ":2" {
        assert_eq!(quick.replies(1, false), event);
        sent += 1;
        assert!(sent < 1000, "never cut");
    }
    // The buffers of the two sockets, and the limit of the replies.
    assert!(sent * 100_000 >= 16 * MB / 2, "cut after {sent} events");
    assert!(resident() < before + 48 * MB);
    assert_eq!(quick.replies(1, false), event);
    assert_eq!(info(&mut sender, "client_output_buffer_limit_disconnections"), 1);
}

/// Thousands of commands at once, of which nobody reads the replies: the server stops reading, and goes on later.
#[test]
fn deep_pipelines_wait_and_lose_nothing() {
    let embedded = Embedded::start();
    let mut deep = embedded.client();
    let mut other = embedded.client();
    let value = "v".repeat(1000);
    assert_eq!(other.ask(&["SET", "k", &value]), "+OK");
    let before = resident();
    let mut stream = deep.stream.try_clone().unwrap();
    const COMMANDS: usize = 50_000;
    let writer = std::thread::spawn(move || {
        let batch = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(1000);
        (0..COMMANDS / 1000).for_each(|_| stream.write_all(&batch).unwrap());
    });
    // Another client is served meanwhile, in bounded memory.
    for _ in 0..100 {
        assert_eq!(other.ask(&["PING"]), "+PONG");
    }
    assert!(resident() < before + 32 * MB);
    for _ in 0..COMMANDS / 1000 {
        let replies = deep.replies(1000, false);
        assert_eq!(replies.matches('$').count(), 1000);
    }
    writer.join().unwrap();
    assert_eq!(deep.ask(&["PING"]), "+PONG");
}

#[test]
fn huge_commands_are_refused_within_bounded_memory() {
    let embedded = Embedded::start();
    let mut client = embedded.client();
    let before = resident();
    // A million elements: skipped, answered, and the connection goes on.
    let mut many = b"*1000000\r\n".to_vec();
    many.extend(b"$1\r\nx\r\n".repeat(1_000_000));
    client.stream.write_all(&many).unwrap();
    assert_eq!(client.replies(1, false), "-ERR Protocol error: too large command");
    client.stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9000000\r\n").unwrap();
    client.stream.write_all(&vec![b'x'; 9_000_000]).unwrap();
    client.stream.write_all(b"\r\n").unwrap();
    assert_eq!(client.replies(1, false), "-ERR Protocol error: too large command");
    // Announced and never sent.
    let mut waiting: Vec<Client> = (0..10).map(|_| embedded.client()).collect();
    waiting
        .iter_mut()
        .for_each(|client| client.stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388608\r\n").unwrap());
    assert_eq!(client.ask(&["PING"]), "+PONG");
    assert!(resident() < before + many.len() + 24 * MB, "{} MB more", (resident() - before) / MB);
    // Ten half-sent values of the largest size exceed the memory of all clients: the largest are cut.
    let half = vec![b'x'; 8_000_000];
    waiting.iter_mut().for_each(|client| _ = client.stream.write_all(&half));
    wait_until("the largest are cut", || info(&mut client, "client_output_buffer_limit_disconnections") > 0);
    assert_eq!(client.ask(&["PING"]), "+PONG");
    drop(waiting);
    wait_until("the others have left", || info(&mut client, "connected_clients") == 1);
    // The store is full: writes are refused, and the server lives.
    let value = "v".repeat(8_000_000);
    let mut refused = 0;
    for n in 0..10 {
        refused += u32::from(client.ask(&["SET", &format!("k{n}"), &value]).starts_with("-OOM"));
    }
    assert!((2..=3).contains(&refused), "{refused}");
    assert_eq!(client.ask(&["GET", "k0"]).len(), 8_000_001);
    assert_eq!(client.ask(&["FLUSHALL"]), "+OK");
    assert_eq!(client.ask(&["SET", "k", "v"]), "+OK");
}

/// Streams that take much memory for their bytes: many of one entry, of short entries, and of lists that were long once.
#[test]
fn streams_are_charged_for_their_memory() {
    let embedded = Embedded::start();
    let mut client = embedded.client();
    let used = |client: &mut Client| info(client, "used_memory") as usize;
    /// The command number `n` of a batch.
    type Line = fn(usize, usize) -> String;
    let shapes: [(&str, Line); 3] = [
        ("one entry each", |batch, n| format!("XADD {batch}:{n} * f v\r\n")),
        ("short entries", |batch, _| format!("XADD {} * f v\r\n", batch / 40)),
        ("once long lists", |batch, n| format!("XADD {batch} MAXLEN {} * f v\r\n", if n == 999 { 3 } else { 1000 })),
    ];
    for (name, line) in shapes {
        assert_eq!(client.ask(&["FLUSHALL"]), "+OK");
        let (before, mut batch) = (resident(), 0);
        while batch < 300 && used(&mut client) < 40 * MB {
            let lines: String = (0..1000).map(|n| line(batch, n)).collect();
            client.stream.write_all(lines.as_bytes()).unwrap();
            assert!(!client.replies(1000, false).contains("-ERR"), "{name}");
            batch += 1;
        }
        let (charged, taken) = (used(&mut client), resident().saturating_sub(before));
        eprintln!("{name}: {} kB charged, {} kB taken, {batch} batches", charged / 1024, taken / 1024);
        assert!(taken < charged + charged / 2 + 8 * MB, "{name}: {charged} bytes charged, {taken} taken");
    }
}

#[test]
fn values_survive_a_restart_and_a_lost_file_is_reported() {
    let embedded = Embedded::start();
    let mut client = embedded.client();
    for (words, reply) in [
        (&["SET", "k", "v"][..], "+OK"),
        (&["SET", "short", "v", "PX", "1"], "+OK"),
        (&["SET", "long", "v", "EX", "1000"], "+OK"),
        (&["ZADD", "z", "1.5", "a", "2", "b"], ":2"),
        (&["XADD", "s", "5-1", "f", "v"], "$5-1"),
        (&["XADD", "s", "9-9", "f", ""], "$9-9"),
        (&["XDEL", "s", "9-9"], ":1"),
        (&["EXPIRE", "s", "1000"], ":1"),
    ] {
        assert_eq!(client.ask(words), reply);
    }
    assert!(embedded.waker.save(Instant::now() + PATIENCE));
    let (address, password) = (embedded.address, embedded.password.clone());
    let folder = embedded.end();
    let embedded = Embedded::start_in(folder);
    assert_eq!((embedded.address, &embedded.password), (address, &password), "the printed line stays valid");
    let mut client = embedded.client();
    assert_eq!(client.ask(&["MGET", "k", "short", "long"]), "[$v nil $v]");
    assert_eq!(client.ask(&["ZRANGE", "z", "0", "-1", "WITHSCORES"]), "[$a $1.5 $b $2]");
    assert!(matches!(client.ask(&["TTL", "long"]).as_str(), ":999" | ":1000"));
    assert_eq!(client.ask(&["XRANGE", "s", "-", "+"]), "[[$5-1 [$f $v]]]");
    assert!(client.ask(&["XADD", "s", "9-9", "f", "v"]).contains("equal or smaller"), "ids go on");
    assert!(matches!(client.ask(&["TTL", "s"]).as_str(), ":999" | ":1000"));
    // The end of `short` was a change. Nothing has changed since: nothing is written.
    assert!(embedded.waker.save(Instant::now() + PATIENCE));
    let values = embedded.folder.path().join("realtime/embedded.values");
    std::fs::remove_file(&values).unwrap();
    assert!(embedded.waker.save(Instant::now() + PATIENCE) && !values.exists());
    client.ask(&["SET", "k", "w"]);
    assert!(embedded.waker.save(Instant::now() + PATIENCE) && values.exists());
}

// ---- the module itself on its embedded server ---------------------------------------------------------------------

/// A server whose settings name this Redis, in this folder. `None`: the settings name none, and `auto` tries this port.
fn module(redis: Option<&str>, auto_port: u16, folder: &Folder) -> fault_kit::Server {
    let mut defaults = defaults();
    defaults.redis = Address::parse(&format!("redis://127.0.0.1:{auto_port}")).unwrap();
    let mut sources = Sources::new(defaults, None, |_| None);
    let mut settings = serde_json::json!({ "sync_timeout_ms": 1000 });
    if let Some(redis) = redis {
        settings["redis"] = redis.into();
    }
    sources.configure(&settings.to_string()).unwrap();
    fault_kit::Server::in_folder(sources, folder.clone())
}

fn status(server: &fault_kit::Server) -> &'static str {
    server.engine.status().0
}

/// Everything that the module sends to Redis, with no Redis anywhere.
#[test]
fn the_module_works_without_a_redis_and_keeps_its_values() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, nobody) = (Folder::default(), ReservedPort::default());
    let mut server = module(None, nobody.number(), &folder);
    server.on("chat", 1);
    server.on("player:*", 2);
    server.wait_ready();
    assert_eq!(status(&server), "embedded");
    server.emit("chat", "{\"n\":1}").unwrap();
    server.hear(1);
    server.emit("player:death", "{\"n\":2}").unwrap();
    server.hear(2);
    assert_eq!(server.heard, ["1 chat 1", "2 player:death 2"]);
    // Kept events.
    server.engine.keep(b"chat", Some(&serde_json::json!({ "max_events": 2 }))).unwrap();
    for n in 3..6 {
        server.emit("chat", &format!("{{\"n\":{n}}}")).unwrap();
    }
    let history = server.history("chat", 10.0);
    let numbers = |history: &str| history.matches("data={n=").count() == 2 && history.starts_with("{{data={n=4}");
    assert!(numbers(&history) && history.contains("{data={n=5},channel='chat',"), "{history}");
    assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (3, 0));
    // Values, counters, a leaderboard of counters and one of a sorted set.
    server.set("k", "v").unwrap();
    server.submit(None, |requests| requests.set_ex("short".as_bytes(), b"v", 1000.0)).unwrap();
    for _ in 0..3 {
        server.incr("kills:Jo:daily", None).unwrap();
    }
    server.incr("kills:Al:daily", Some(7)).unwrap();
    assert_eq!(server.answered(1), [(7, "1".to_owned())]);
    assert_eq!(server.get("k"), "'v'");
    let board = |server: &mut fault_kit::Server, name: &str| {
        let name = name.to_owned();
        server.read(|requests| requests.leaderboard(name.as_bytes(), 10.0))
    };
    assert!(board(&mut server, "kills:*:daily").contains("{rank=1,name='Jo',score=3}"));
    server.hook("kill", serde_json::json!({ "type": "leaderboard", "board": "top", "member": "{who}", "by": 2 }));
    server.hook("kill", serde_json::json!({ "type": "counter", "key": "all", "ttl": 1000 }));
    for who in ["Jo", "Al", "Jo"] {
        server.emit("kill", &format!("{{\"who\":\"{who}\"}}")).unwrap();
    }
    server.settle();
    assert!(board(&mut server, "top").contains("{rank=1,name='Jo',score=4}"));
    assert_eq!(server.get("all"), "'3'");
    let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    server.submit(Some(8), |requests| requests.command(&words("TTL all"))).unwrap();
    server.submit(Some(9), |requests| requests.command(&words("HSET h a 1"))).unwrap();
    let answers = server.answered(3);
    assert!(matches!(answers[1].1.as_str(), "999" | "1000"), "{answers:?}");
    assert_eq!(answers[2].1, "redis: ERR unknown command 'HSET' for the embedded server of realtime");
    // Events of others: the lease of a hook is taken, and it acts on an event that has no identity.
    let login = std::fs::read_to_string(folder.path().join("realtime/embedded.login")).unwrap();
    let (password, port) = login.split_once('\n').unwrap();
    let port: u16 = port.lines().next().unwrap().parse().unwrap();
    let mut cli = Client::connect(([127, 0, 0, 1], port).into());
    assert_eq!(cli.ask(&["AUTH", password]), "+OK");
    assert!(cli.ask(&["INFO", "server"]).contains("realtime_version"));
    wait_until("the lease is taken and the event counted", || {
        cli.ask(&["PUBLISH", "kill", "{\"who\":\"cli\"}"]);
        server.tick();
        cli.ask(&["ZSCORE", "top", "cli"]) != "nil"
    });
    server.assert_balanced();
    // The self-test knows where it is.
    let mut lines = Vec::new();
    server.engine.begin_selftest().unwrap();
    server.wait(|server| {
        lines.extend(server.engine.shared().selftest.pop());
        lines.last().is_some_and(|line: &String| line.starts_with("self-test"))
    });
    assert_eq!(lines.last().unwrap(), "self-test passed", "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("embedded: other servers are not reached")), "{lines:#?}");
    assert!(server.engine.report()[0].contains("embedded"), "{:?}", server.engine.report());
    assert!(!lines.concat().contains(password) && !server.engine.report().concat().contains(password));
    // A map change: the values are on the disk within the bound of closing.
    let began = Instant::now();
    let (_, flush) = server.engine.detach();
    assert!(flush.wait() && began.elapsed() < Duration::from_secs(2));
    assert!(std::fs::metadata(folder.path().join("realtime/embedded.values")).unwrap().len() > 100);
    drop(cli);
    server.stop();
    // The next process.
    let mut server = module(None, nobody.number(), &folder);
    server.wait_ready();
    assert_eq!(server.get("k"), "'v'");
    assert!(board(&mut server, "top").contains("name='Jo',score=4}"));
    assert_eq!(server.history("chat", 10.0), history);
    server.stop();
}

/// `auto` uses a Redis that listens, remembers it, and does not fall back later.
#[test]
fn auto_never_falls_back_once_a_redis_answered() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::default();
    let mut redis = Redis::start(&[]);
    let mut server = module(None, redis.port(), &folder);
    server.wait_ready();
    assert_eq!(status(&server), "connected");
    server.set("k", "real").unwrap();
    server.settle();
    server.stop();
    assert!(folder.path().join("realtime/auto.found").exists());
    redis.kill();
    let mut server = module(None, redis.port(), &folder);
    server.wait(|server| server.stat("/connect_failures") >= 2);
    assert_eq!(status(&server), "connecting");
    assert!(!folder.path().join("realtime/embedded.login").exists());
    // Asked for outright, it serves.
    server.engine.configure("{\"redis\":\"embedded\"}").unwrap();
    server.wait(|server| status(server) == "embedded");
    server.set("k", "own").unwrap();
    server.settle();
    assert_eq!(server.get("k"), "'own'");
    // And back: the Redis of before.
    redis.start_again();
    server.engine.configure(&format!("{{\"redis\":\"{}\"}}", redis.url())).unwrap();
    server.wait(|server| status(server) == "connected");
    server.set("k", "named").unwrap();
    server.settle();
    assert_eq!((server.get("k"), redis.command(&["GET", "k"])), ("'named'".into(), "named".into()));
    server.stop();
}

#[test]
fn a_named_redis_never_falls_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, nobody) = (Folder::default(), ReservedPort::default());
    let server = module(Some(&format!("redis://127.0.0.1:{}", nobody.number())), nobody.number(), &folder);
    wait_until("attempts", || server.stat("/connect_failures") >= 2);
    assert_eq!(status(&server), "connecting");
    assert!(!folder.path().join("realtime/embedded.lock").exists());
    server.stop();
}

/// The loop panics three times: the server goes on with the same port, and with the values that it had.
#[test]
fn a_panic_costs_connections_and_no_value() {
    let (inner, its_folder) = ("REALTIME_TEST_PANIC", "REALTIME_TEST_FOLDER");
    let nobody = ReservedPort::default();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = match std::env::var_os(its_folder) {
        Some(path) => Folder::at(path.into()),
        None => Folder::default(),
    };
    let mut server = module(Some("embedded"), nobody.number(), &folder);
    server.wait_ready();
    if std::env::var_os(inner).is_some() {
        assert_eq!(server.get("k"), "'v'");
        assert_eq!(server.stat("/panics"), 3);
        server.set("k", "w").unwrap();
        server.settle();
        return server.stop();
    }
    server.set("k", "v").unwrap();
    server.settle();
    server.stop();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_panic_costs_connections_and_no_value", "--nocapture"])
        .env(inner, "embedded*3")
        .env(its_folder, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let mut server = module(Some("embedded"), nobody.number(), &folder);
    server.wait_ready();
    assert_eq!(server.get("k"), "'w'");
    server.stop();
}

/// Two processes that share a folder share one server, and the second takes over when the first ends.
#[test]
fn servers_of_one_folder_share_one_embedded_server() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, nobody) = (Folder::default(), ReservedPort::default());
    let mut first = module(Some("embedded"), nobody.number(), &folder);
    first.wait_ready();
    let mut second = module(Some("embedded"), nobody.number(), &folder);
    second.on("chat", 1);
    second.wait_ready();
    first.emit("chat", "{\"n\":1}").unwrap();
    second.hear(1);
    first.set("k", "v").unwrap();
    first.settle();
    first.stop();
    second.wait(|server| server.stat("/reconnects") >= 2);
    second.wait_ready();
    assert_eq!(second.get("k"), "'v'");
    second.stop();
}
