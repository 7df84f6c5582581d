//! Every row of `testdata/embedded/commands.txt` without sockets, the limits of the commands, and the clock.

use super::*;
use crate::redis::{counter, kept, lease};

mod table;

use table::Case;

const NOW: u64 = 1_700_000_000_000;

/// Some logged-in clients of a server with an empty store.
pub(in crate::embedded) struct Desk {
    pub(in crate::embedded) world: World,
    sessions: Vec<Session>,
    pub(in crate::embedded) now: u64,
}

impl Desk {
    pub(in crate::embedded) fn new(store_bytes_max: usize) -> Desk {
        let world = World {
            store: Store::new(store_bytes_max),
            counts: Counts::default(),
            password: b"secret".as_slice().into(),
            began: NOW,
            clients_max: 4,
        };
        let mut sessions: Vec<Session> = (1..=4).map(|id| Session::new(id, format!("peer:{id}"), NOW)).collect();
        sessions.iter_mut().take(3).for_each(|session| session.is_logged_in = true);
        Desk { world, sessions, now: NOW }
    }

    pub(in crate::embedded) fn send(&mut self, at: usize, words: &[Vec<u8>]) {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        run(&mut self.world, &mut self.sessions, at, &words, self.now);
    }

    /// The oldest replies of a client as text, separated by blanks.
    fn replies(&mut self, at: usize, count: usize, is_unordered: bool) -> String {
        let out = &mut self.sessions[at].out;
        let mut all = Vec::new();
        for _ in 0..count {
            let Some((text, size)) = table::shown(out.pending(), is_unordered) else { break };
            out.wrote(size);
            all.push(text);
        }
        all.join(" ")
    }

    /// Sends words separated by blanks, and returns the reply.
    pub(in crate::embedded) fn ask(&mut self, text: &str) -> String {
        self.ask_at(0, text)
    }

    fn ask_at(&mut self, at: usize, text: &str) -> String {
        let words: Vec<Vec<u8>> = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        self.send(at, &words);
        self.replies(at, 1, false)
    }
}

fn cases() -> Vec<Case> {
    let names = [
        ("counter", counter::SCRIPT),
        ("counter_sha", counter::SCRIPT_SHA),
        ("take", lease::TAKE),
        ("take_sha", lease::TAKE_SHA),
        ("free", lease::FREE),
        ("free_sha", lease::FREE_SHA),
        ("kept", kept::SCRIPT),
        ("kept_sha", kept::SCRIPT_SHA),
    ];
    table::cases(include_str!("../../../testdata/embedded/commands.txt"), &names)
}

#[test]
fn each_row_of_the_table_has_its_reply() {
    let mut desk = Desk::new(1 << 20);
    let mut wrong = Vec::new();
    for case in cases() {
        if !case.words.is_empty() {
            desk.send(case.connection, &case.words);
        }
        let found = desk.replies(case.connection, case.replies, case.is_unordered);
        if !case.fits(&case.embedded, &found) {
            wrong.push(format!("line {}: expected {}, found {found}", case.line, case.embedded));
        }
        assert!(case.embedded == case.real || !case.reason.is_empty(), "line {}: a reason is missing", case.line);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(desk.sessions.iter().all(|session| session.out.pending().is_empty()));
}

#[test]
fn the_table_has_a_row_for_every_command() {
    let cases = cases();
    for name in names() {
        let has = cases.iter().any(|case| case.words.first().is_some_and(|word| is(word, name)));
        assert!(has, "testdata/embedded/commands.txt has no row for {name}");
    }
}

#[test]
fn keys_end_by_the_clock() {
    let mut desk = Desk::new(1 << 20);
    for (text, reply) in
        [("SET a 1 PX 1500", "+OK"), ("SETEX b 2 x", "+OK"), ("ZADD z 1 m", ":1"), ("PEXPIRE z 10", ":1")]
    {
        assert_eq!(desk.ask(text), reply);
    }
    for (later, text, reply) in [
        (0, "PTTL a", ":1500"),
        (0, "TTL a", ":2"),
        (9, "ZSCORE z m", "$1"),
        (1, "ZSCORE z m", "nil"),
        (0, "DBSIZE", ":2"),
        (1489, "INCR a", ":2"),
        (0, "PTTL a", ":1"),
        (1, "INCR a", ":1"),
        (0, "TTL a", ":-1"),
        (500, "GET b", "nil"),
        (0, "DBSIZE", ":1"),
    ] {
        desk.now += later;
        assert_eq!(desk.ask(text), reply, "{text} at {}", desk.now - NOW);
    }
    assert_eq!(desk.world.store.entries(0).count(), 1, "ended keys are gone");
}

/// The scripts with the clock: a counter's end counts from its birth, and a lease ends unless it is renewed.
#[test]
fn scripts_follow_the_clock() {
    let mut desk = Desk::new(1 << 20);
    let sha = counter::SCRIPT_SHA;
    let count = |desk: &mut Desk, number: u32| desk.ask(&format!("EVALSHA {sha} 2 done k {number} 100 10 1"));
    assert_eq!(count(&mut desk, 1), "$1");
    desk.now += 9_000;
    assert_eq!((count(&mut desk, 2), count(&mut desk, 2), desk.ask("TTL k")), ("$2".into(), "$2".into(), ":1".into()));
    desk.now += 1_000;
    assert_eq!(
        (count(&mut desk, 3), desk.ask("TTL k"), desk.ask("TTL done")),
        ("$1".into(), ":10".into(), ":100".into())
    );
    let take = |desk: &mut Desk, boot: &str| desk.ask(&format!("EVALSHA {} 2 l1 l2 {boot} 10000", lease::TAKE_SHA));
    assert_eq!((take(&mut desk, "a"), take(&mut desk, "b")), ("[:1 :1]".into(), "[:0 :0]".into()));
    desk.now += 6_000;
    assert_eq!(take(&mut desk, "a"), "[:1 :1]");
    desk.now += 9_999;
    assert_eq!(take(&mut desk, "b"), "[:0 :0]");
    desk.now += 1;
    assert_eq!(take(&mut desk, "b"), "[:1 :1]");
}

#[test]
fn memory_is_bounded() {
    let mut desk = Desk::new(100_000);
    let mut refused = 0;
    for n in 0..2000 {
        let found = desk.ask(&format!("SET key{n} {} PX {}", "x".repeat(100), 1000 + n));
        assert!(found == "+OK" || found == format!("-{NO_ROOM}"), "{found}");
        refused += usize::from(found != "+OK");
        assert!(desk.world.store.bytes() <= 100_000);
    }
    assert!(refused > 1000, "{refused}");
    let large = "x".repeat(1000);
    for text in [format!("ZADD z 1 {large}"), format!("EVALSHA {} 2 d k 1 1 1 1 {large}", counter::SCRIPT_SHA)] {
        assert_eq!(desk.ask(&text), format!("-{NO_ROOM}"));
    }
    // Reading and removing go on, and ended keys make room.
    assert_eq!((desk.ask("DEL key0 key1 key2"), desk.ask("SET key0 x")), (":3".into(), "+OK".into()));
    desk.now += 10_000;
    assert_eq!(desk.ask("SET new x"), "+OK");
    assert_eq!((desk.ask("DBSIZE"), desk.ask("GET key0")), (":2".into(), "$x".into()));
}

/// Kept events make room for other values, those of the largest streams first. An event that does not fit is heard.
#[test]
fn the_oldest_kept_events_make_room() {
    let mut desk = Desk::new(200_000);
    assert_eq!(desk.ask_at(1, "SUBSCRIBE chat"), "[$subscribe $chat :1]");
    let sha = kept::SCRIPT_SHA;
    let keep = |desk: &mut Desk, channel: &str, bytes: usize| {
        let found = desk.ask(&format!("EVALSHA {sha} 1 {channel} 9999 600000 chat chat {} 0", "x".repeat(bytes)));
        assert_eq!(desk.replies(1, 1, false).len(), "[$message $chat $]".len() + bytes, "it is heard");
        assert!(desk.world.store.bytes() <= 200_000);
        found
    };
    for n in 0..10 {
        assert_eq!(keep(&mut desk, &format!("quiet{n}"), 10), ":1");
    }
    let mut lost = 0;
    for _ in 0..1000 {
        desk.now += 1;
        lost += u32::from(keep(&mut desk, "busy", 1000) != ":1");
    }
    // The largest stream gave way once; the next search comes a second later.
    assert!((700..900).contains(&lost), "{lost}");
    assert_eq!(keep(&mut desk, "busy", 1000), format!("[:1 ${NO_ROOM}]"));
    assert_eq!((desk.ask("XLEN quiet0"), desk.ask("XLEN quiet9")), (":1".into(), ":1".into()));
    assert_eq!(desk.ask(&format!("SET k {}", "x".repeat(5000))), format!("-{NO_ROOM}"));
    desk.now += 1000;
    assert_eq!(desk.ask(&format!("SET k {}", "x".repeat(5000))), "+OK");
    assert_eq!(desk.ask("XREVRANGE busy + - COUNT 1").matches("$event").count(), 1);
    // Values alone fill the memory: the newest event of each stream is left.
    for n in 0..300 {
        desk.now += 1000;
        desk.ask(&format!("SET key{n} {}", "x".repeat(1000)));
    }
    assert!(desk.world.store.bytes() > 180_000);
    assert_eq!((desk.ask("XLEN busy"), desk.ask("XLEN quiet0")), (":1".into(), ":1".into()));
    assert_eq!(keep(&mut desk, "busy", 1000), format!("[:1 ${NO_ROOM}]"));
    // The streams end as the script said.
    desk.now += 600_000;
    assert_eq!((desk.ask("EXISTS busy quiet0"), desk.ask("EXISTS k")), (":0".into(), ":1".into()));
}

#[test]
fn ids_grow_also_if_the_clock_is_set_back() {
    let mut desk = Desk::new(1 << 20);
    let mut ids = Vec::new();
    for change in [0, 0, 5, 0, -1_000_000, 0, 1_000_001] {
        desk.now = desk.now.saturating_add_signed(change);
        ids.push(desk.ask("XADD s * f v"));
    }
    let [first, later] = [NOW, NOW + 5];
    let expected = [(first, 0), (first, 1), (later, 0), (later, 1), (later, 2), (later, 3), (NOW + 6, 0)];
    assert_eq!(ids, expected.map(|(millis, number)| format!("${millis}-{number}")));
    // Nor does an entry that is gone give its id away.
    assert_eq!(
        (desk.ask(&format!("XDEL s {}-0", NOW + 6)), desk.ask("XADD s * f v")),
        (":1".into(), format!("${}-1", NOW + 6))
    );
    assert_eq!((desk.ask("DEL s"), desk.ask("XADD s * f v")), (":1".into(), format!("${}-0", NOW + 6)));
}

/// A stream of the largest size is one reply, and the client is not cut.
#[test]
fn the_reply_with_a_whole_stream_fits_what_may_wait() {
    let mut desk = Desk::new(64 << 20);
    // Fields without bytes take the most beside their bytes, and one field of many bytes takes the least.
    for (key, fields, bytes) in [("s", 100_000, 0), ("t", 2, 250_000)] {
        let head = ["XADD", key, "*"].map(|word| word.as_bytes().to_vec());
        let words = [&head[..], &vec![vec![b'x'; bytes]; fields]].concat();
        for _ in 0..22 {
            desk.send(0, &words);
            assert!(desk.replies(0, 1, false).starts_with('$'));
        }
        desk.send(0, &["XRANGE", key, "-", "+"].map(|word| word.as_bytes().to_vec()));
        let out = &mut desk.sessions[0].out;
        let pending = out.pending().len();
        assert!(!out.is_full() && pending > 7_000_000, "{pending}");
        out.wrote(pending);
    }
}

#[test]
fn strangers_can_only_log_in() {
    let mut desk = Desk::new(1 << 20);
    for text in ["GET k", "PING", "SUBSCRIBE a", "CLIENT LIST", "HELLO 3 AUTH default secret", "NOSUCH"] {
        assert_eq!(desk.ask_at(3, text), "-NOAUTH Authentication required.");
    }
    for text in ["AUTH wrong", "AUTH secretx", "AUTH secre", "AUTH somebody secret", "AUTH default wrong"] {
        assert!(desk.ask_at(3, text).starts_with("-WRONGPASS"), "{text}");
    }
    assert_eq!(
        (desk.ask_at(3, "AUTH"), desk.ask_at(3, "AUTH a b c")),
        ("-ERR wrong number of arguments for 'auth' command".into(), "-ERR syntax error".into())
    );
    assert_eq!((desk.ask_at(3, "AUTH default secret"), desk.ask_at(3, "PING")), ("+OK".into(), "+PONG".into()));
    // The fifth of four.
    desk.sessions.push(Session::new(5, "peer:5".into(), NOW));
    assert_eq!(desk.ask_at(4, "AUTH secret"), "-ERR max number of clients reached");
    assert!(desk.sessions[4].ends && !desk.sessions[4].is_logged_in);
    desk.send(1, &[b"POST".to_vec(), b"/".to_vec()]);
    assert!(desk.sessions[1].ends && desk.sessions[1].out.pending().is_empty());
}

#[test]
fn replies_that_nobody_reads_are_bounded() {
    let mut desk = Desk::new(32 << 20);
    assert_eq!(desk.ask(&format!("SET big {}", "x".repeat(1 << 20))), "+OK");
    desk.send(0, &[vec![b"MGET".to_vec()], vec![b"big".to_vec(); 100_000]].concat());
    let out = &desk.sessions[0].out;
    assert!(out.is_full() && out.capacity() <= 2 * crate::embedded::session::OUT_BYTES_MAX, "{}", out.capacity());
    // A subscriber that does not read.
    assert_eq!(desk.ask_at(1, "PSUBSCRIBE *"), "[$psubscribe $* :1]");
    let payload = "x".repeat(1 << 20);
    for _ in 0..20 {
        desk.ask_at(2, &format!("PUBLISH a {payload}"));
    }
    let out = &desk.sessions[1].out;
    assert!(out.is_full() && out.pending().len() <= crate::embedded::session::OUT_BYTES_MAX);
}

#[test]
fn a_search_by_scan_sees_every_key_that_is_there_all_the_time() {
    let mut desk = Desk::new(1 << 20);
    for n in 0..500 {
        desk.ask(&format!("SET k{n} v"));
    }
    let (mut cursor, mut seen, mut steps) = ("0".to_owned(), std::collections::BTreeSet::new(), 0);
    loop {
        let reply = desk.ask(&format!("SCAN {cursor} COUNT 17 MATCH k*"));
        let (next, keys) = reply.trim_start_matches("[$").split_once(" [").unwrap();
        seen.extend(keys.trim_end_matches(']').split(' ').filter(|key| !key.is_empty()).map(str::to_owned));
        steps += 1;
        // Other keys come and go meanwhile.
        desk.ask(&format!("SET other{steps} v"));
        desk.ask(&format!("DEL other{}", steps - 1));
        cursor = next.to_owned();
        if cursor == "0" {
            break;
        }
        assert!(cursor.parse::<u64>().unwrap() < 1 << 53);
    }
    assert_eq!(seen.len(), 500);
    assert!((30..=40).contains(&steps), "{steps}");
}
