//! The steps of one session, called by hand on a connection to a server that answers the handshake only: which items go
//! into a batch, and how a reply changes the state.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::Config;
use crate::config::limits::REFUSED_RETRY;
use crate::event::fingerprint::Fingerprint;
use crate::redis::answer::Expect;
use crate::redis::command::Command;
use crate::redis::counter::Count;
use crate::redis::lease::boot_text;
use crate::stats::Stats;
use crate::threads::publisher::outbox::tests::{publish, taken};
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Again, CountJob, Run, Work};

/// Starts a server that answers the handshake and nothing else; returns its address as the option `redis` takes it.
fn silent_master() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
            let answer: &[u8] = match line.as_str() {
                "CLIENT" => b"+OK\r\n",
                "ROLE" => b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
                _ => continue,
            };
            // The test may have closed its end already.
            let _ = stream.write_all(answer);
        }
    });
    url
}

/// Runs a test on a new session.
fn with_session(test: impl FnOnce(&mut Session<'_, '_>)) {
    let mut config = Config::defaults("box", 1);
    assert!(config.apply_json("test", &format!(r#"{{"redis":"{}"}}"#, silent_master())).is_empty());
    let connection = Arc::new(Connection::open(&config, "test").unwrap());
    let attention = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared::new(config, PathBuf::new(), Arc::new(Stats::default()), attention));
    let mut backlog = Backlog::new(&shared);
    test(&mut Session::new(&shared, &connection, &mut backlog, 0, 0));
}

fn set(reply_to: ReplyTo) -> Box<Run> {
    let command = Command::new("SET").arg("k").arg("v");
    let work = Work::Ask { command, expect: Expect::Done, again: Again::Write };
    Box::new(Run::new(work, "set", b"k", reply_to, Instant::now()))
}

fn get(ticket: u64) -> Run {
    let deadline = Instant::now() + Duration::from_secs(3600);
    let work = Work::Ask { command: Command::new("GET").arg("k"), expect: Expect::Text, again: Again::Read };
    Run::new(work, "get", b"k", ReplyTo::Reader { ticket, deadline }, Instant::now())
}

fn incr(key: &str, ttl: u64) -> Box<Run> {
    let count = Count { key: key.as_bytes().into(), member: None, by: "1".into(), ttl };
    let work = Work::Count(CountJob::new(count, Arc::from(b"done".as_slice())));
    Box::new(Run::new(work, "incr", key.as_bytes(), ReplyTo::Nobody, Instant::now()))
}

/// Empties the batch; returns the names of its commands.
fn names(session: &mut Session<'_, '_>) -> Vec<String> {
    let batch = std::mem::take(&mut session.batch);
    let mut decoder = Decoder::new(REPLY_LIMITS);
    decoder.feed(&batch);
    let mut names = Vec::new();
    while let Some(command) = decoder.next().unwrap() {
        let name = command.array().and_then(|words| words.iter().next()?.text()).unwrap();
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    names
}

/// Gives the session these bytes as replies of Redis.
fn answer(session: &mut Session<'_, '_>, bytes: &[u8]) {
    session.decoder.feed(bytes);
    assert!(session.match_answers().is_ok());
}

// ---- batches --------------------------------------------------------------------------------------------------------

/// Items behind a call of the script stay unsent in their order, and the mark of the reader among them is set again.
#[test]
fn a_reader_behind_a_script_call_waits_and_is_not_lost() {
    with_session(|session| {
        let outbox = &session.shared.outbox;
        outbox.push(incr("n", 0)).unwrap();
        publish(outbox, "c", b"{}").unwrap();
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        outbox.push_reader(get(1)).unwrap();
        session.gather();
        assert_eq!(names(session), ["EVAL"]);
        assert_eq!((session.backlog.unsent(), session.shared.outbox.waiting()), (3, 4));
        assert!(session.backlog.reader_waits());
        answer(session, b"$1\r\n1\r\n");
        session.gather();
        assert_eq!(names(session), ["SET", "GET"]);
        session.gather();
        assert_eq!(names(session), ["PUBLISH"]);
        answer(session, b"+OK\r\n$1\r\nv\r\n:1\r\n");
        assert_eq!(session.shared.outbox.waiting(), 0);
    });
}

/// Items queued under newer settings do not go out on this connection.
#[test]
fn a_reader_of_newer_settings_waits_and_is_not_lost() {
    with_session(|session| {
        let outbox = &session.shared.outbox;
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        outbox.set_generation(1);
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        outbox.push_reader(get(1)).unwrap();
        session.gather();
        assert_eq!(names(session), ["SET"]);
        assert_eq!((session.backlog.unsent(), session.shared.outbox.waiting()), (2, 3));
    });
}

/// After a lost connection publishes wait for the other servers, and so does what is behind them; a reader does not, and
/// takes the commands with it.
#[test]
fn publishes_are_held_for_servers_that_come_back() {
    with_session(|session| {
        let shared = Arc::clone(session.shared);
        let now = Instant::now();
        let mut at = Moment { now, batch_bytes: 0, poll: Duration::from_millis(16), heartbeat: now };
        let wait = |step: Step| if let Step::Wait(pause) = step { Some(pause) } else { None };
        session.backlog.hold_publishes(now + Duration::from_secs(1));
        publish(&shared.outbox, "c", b"{}").unwrap();
        shared.outbox.push(set(ReplyTo::Nobody)).unwrap();
        assert_eq!(wait(session.backlog.next(&at)), Some(at.poll));
        shared.outbox.push_reader(get(1)).unwrap();
        session.gather();
        assert_eq!(names(session), ["SET", "GET"]);
        // The session waits at the socket for the reader's answer, not for the end of the hold.
        assert_eq!(wait(session.backlog.next(&at)), Some(Duration::ZERO));
        answer(session, b"+OK\r\n$1\r\nv\r\n");
        at.now = now + Duration::from_millis(990);
        assert_eq!(wait(session.backlog.next(&at)), Some(Duration::from_millis(10)));
        at.now = now + Duration::from_secs(1);
        assert!(matches!(session.backlog.next(&at), Step::Write(Outgoing::Publish(_))));
    });
}

/// The end of a Lua state may be the end of the process: it does not wait for other servers.
#[test]
fn held_publishes_go_at_the_end_of_a_state() {
    with_session(|session| {
        let shared = Arc::clone(session.shared);
        session.backlog.hold_publishes(Instant::now() + Duration::from_secs(3600));
        publish(&shared.outbox, "c", b"{}").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| shared.outbox.wait_empty(Instant::now() + Duration::from_secs(60)));
            while names(session) != ["PUBLISH"] {
                session.gather();
            }
            answer(session, b":0\r\n");
        });
        assert_eq!(shared.outbox.waiting(), 0);
    });
}

#[test]
fn a_batch_is_bounded() {
    with_session(|session| {
        let payload = vec![b'x'; 1000];
        for _ in 0..1000 {
            publish(&session.shared.outbox, "c", &payload).unwrap();
        }
        session.gather();
        let bytes = session.batch.len();
        assert!((BATCH_BYTES_MAX..BATCH_BYTES_MAX + 1100).contains(&bytes), "{bytes}");
        assert_eq!(names(session).len(), session.backlog.in_flight());
    });
}

/// A reader that arrives while a batch is gathered ends that batch.
#[test]
fn a_reader_ends_the_batch() {
    with_session(|session| {
        for _ in 0..10 {
            publish(&session.shared.outbox, "c", b"{}").unwrap();
        }
        let at = Moment { now: Instant::now(), batch_bytes: 0, poll: session.poll, heartbeat: session.heartbeat };
        let Step::Idle(_) = session.backlog.next(&at) else { panic!("nothing is unsent yet") };
        session.backlog.arrived(session.shared.outbox.take().unwrap());
        let Step::Write(first) = session.backlog.next(&at) else { panic!("the first publish goes") };
        session.encode(first);
        session.shared.outbox.mark_reader();
        session.gather();
        assert_eq!(names(session), ["PUBLISH"]);
    });
}

/// While Redis is busy one item goes at a time, until one succeeds: an event, or a command.
#[test]
fn careful_mode_ends_with_a_success() {
    for (answer_of_the_first, first) in
        [(&b":1\r\n"[..], taken(b"{}")), (b"+OK\r\n", Outgoing::Run(set(ReplyTo::Nobody)))]
    {
        with_session(|session| {
            session.backlog.be_careful();
            session.backlog.push(first);
            (0..10).for_each(|_| publish(&session.shared.outbox, "c", b"{}").unwrap());
            // The outbox did not count `first`: this one stands for it.
            session.shared.outbox.push(set(ReplyTo::Nobody)).unwrap();
            session.gather();
            assert_eq!(names(session).len(), 1);
            session.gather();
            assert_eq!(names(session), Vec::<String>::new(), "its answer is not there yet");
            answer(session, answer_of_the_first);
            assert!(!session.backlog.is_careful());
            session.gather();
            assert_eq!(names(session).len(), 11);
        });
    }
}

/// An event that waited too long counts as expired; if an earlier connection wrote it, as unknown.
#[test]
fn a_late_event_is_expired_or_unknown() {
    for was_written in [false, true] {
        with_session(|session| {
            let Outgoing::Publish(mut late) = taken(b"{}") else { panic!("no publish") };
            late.written = was_written;
            let later = Instant::now() + Duration::from_secs(61);
            let kept = session.backlog.keep_unless_late(Outgoing::Publish(late), later, Duration::from_secs(60));
            let drops = &session.shared.stats.outbox.dropped;
            assert!(kept.is_none());
            assert_eq!((drops.expired.get(), drops.unknown.get()), (u64::from(!was_written), u64::from(was_written)));
        });
    }
}

// ---- refusals, numbers, the drain -----------------------------------------------------------------------------------

/// Items that Redis refused for the moment go first after the pause, one at a time.
#[test]
fn refused_items_go_first_after_the_pause() {
    with_session(|session| {
        publish(&session.shared.outbox, "c", b"{}").unwrap();
        session.gather();
        assert_eq!(names(session), ["PUBLISH"]);
        session.shared.outbox.push(set(ReplyTo::Nobody)).unwrap();
        answer(session, b"-LOADING Redis is loading the dataset in memory\r\n");
        let mut at = Moment { now: Instant::now(), batch_bytes: 0, poll: session.poll, heartbeat: session.heartbeat };
        assert!(matches!(session.backlog.next(&at), Step::Wait(pause) if pause == session.poll));
        at.now += REFUSED_RETRY;
        let Step::Write(item) = session.backlog.next(&at) else { panic!("the pause is over") };
        session.encode(item);
        assert_eq!(names(session), ["PUBLISH"]);
        at.batch_bytes = 1;
        assert!(matches!(session.backlog.next(&at), Step::Wait(Duration::ZERO)));
        answer(session, b":1\r\n");
        session.gather();
        assert_eq!(names(session), ["SET"]);
    });
}

/// No counter gets a new number before one in doubt that waits behind it: the script would take the older number for
/// applied. A pass for a reader keeps to that as well.
#[test]
fn a_counter_before_one_in_doubt_goes_without_a_number() {
    with_session(|session| {
        session.shared.outbox.push(incr("n", 60)).unwrap();
        session.gather();
        assert_eq!(names(session), ["EVAL"]);
        session.backlog.connection_ended();
        session.backlog.connected(0, Vec::new());
        session.backlog.put_back(Outgoing::Run(incr("n", 60)));
        session.shared.outbox.push_reader(get(1)).unwrap();
        session.gather();
        assert!(session.batch.windows(6).any(|part| part == b"\r\n0\r\n\x24"), "the number of the first is 0");
        assert_eq!(names(session), ["EVAL"]);
    });
}

/// After the settings changed, items queued before go out on the old connection, which is left when they are answered.
#[test]
fn a_connection_drains_after_the_settings_changed() {
    with_session(|session| {
        let outbox = &session.shared.outbox;
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        let mut config = Config::defaults("box", 1);
        assert!(config.apply_json("test", r#"{"redis":"redis://127.0.0.1:1"}"#).is_empty());
        session.shared.reconfigure(config);
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        session.backlog.look_at_settings();
        assert_eq!(session.gather(), Gathered::Batch);
        session.encode_heartbeat(Instant::now() + HEARTBEAT);
        assert_eq!(names(session), ["SET", "ROLE"]);
        assert_eq!(session.gather(), Gathered::Batch, "its answer is not there yet");
        answer(session, b"+OK\r\n");
        assert_eq!(session.gather(), Gathered::Drained, "nobody needs the answer to ROLE");
        assert_eq!((session.backlog.unsent(), session.shared.outbox.waiting()), (1, 1));
    });
}

/// A cluster that does not serve a key holds up the commands for a while, and no event.
#[test]
fn events_go_past_commands_whose_keys_a_cluster_does_not_serve() {
    for error in ["CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request during rehashing of slot"] {
        with_session(|session| {
            let shared = Arc::clone(session.shared);
            let outbox = &shared.outbox;
            outbox.push(incr("n", 0)).unwrap();
            session.gather();
            assert_eq!(names(session), ["EVAL"]);
            publish(outbox, "c", b"1").unwrap();
            outbox.push(set(ReplyTo::Nobody)).unwrap();
            publish(outbox, "c", b"2").unwrap();
            answer(session, format!("-{error}\r\n").as_bytes());
            session.gather();
            assert_eq!(names(session), ["PUBLISH", "PUBLISH"]);
            answer(session, b":1\r\n:1\r\n");
            session.gather();
            assert_eq!(names(session), Vec::<String>::new());
            // The commands keep their order. One that waited too long is lost.
            let late = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
            let next = |session: &mut Session<'_, '_>| {
                let at = Moment {
                    now: Instant::now() + REFUSED_RETRY,
                    batch_bytes: 0,
                    poll: Duration::ZERO,
                    heartbeat: late,
                };
                match session.backlog.next(&at) {
                    Step::Write(Outgoing::Run(run)) => run,
                    _ => panic!("no command"),
                }
            };
            let mut run = next(session);
            run.queued = late;
            session.encode(Outgoing::Run(run));
            assert_eq!(names(session), ["EVAL"]);
            answer(session, format!("-{error}\r\n").as_bytes());
            assert_eq!(shared.stats.outbox.dropped.redis.get(), 1);
            session.gather();
            assert_eq!(names(session), ["SET"]);
            answer(session, b"+OK\r\n");
            assert_eq!(outbox.waiting(), 0);
        });
    }
}

/// A command that ends every connection it is sent on is given up, and those behind it are not.
#[test]
fn a_command_that_ends_connections_is_given_up() {
    with_session(|session| {
        let shared = Arc::clone(session.shared);
        let outbox = &shared.outbox;
        let unknown = || shared.stats.outbox.dropped.unknown.get();
        outbox.push(incr("n", 0)).unwrap();
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        for lost in [0, 0, 0, 0, 1] {
            session.gather();
            assert_eq!(names(session), ["EVAL"]);
            session.backlog.connection_ended();
            session.backlog.scripts().connected();
            assert_eq!(unknown(), lost);
        }
        // A later one is not the first without an answer.
        outbox.push(set(ReplyTo::Nobody)).unwrap();
        for lost in [1, 1, 1, 1, 2] {
            session.gather();
            assert_eq!(names(session).first().map(String::as_str), Some("SET"));
            session.backlog.connection_ended();
            assert_eq!(unknown(), lost);
        }
        assert_eq!(session.backlog.unsent(), 1);
        session.gather();
        assert_eq!(names(session), ["SET"]);
        answer(session, b"+OK\r\n");
        assert_eq!(outbox.waiting(), 0);
    });
}

// ---- scripts and leases ---------------------------------------------------------------------------------------------

fn limits(session: &Session<'_, '_>) -> Vec<String> {
    session.shared.limits.list()
}

/// Where Redis refuses EVALSHA alone, counters go by EVAL; where it refuses EVAL, by plain commands.
#[test]
fn a_refused_script_goes_in_another_form() {
    with_session(|session| {
        let outbox = &session.shared.outbox;
        (0..4).for_each(|_| outbox.push(incr("n", 60)).unwrap());
        session.gather();
        assert_eq!(names(session), ["EVAL"]);
        answer(session, b"$1\r\n1\r\n");
        session.gather();
        assert_eq!(names(session), ["EVALSHA", "EVALSHA", "EVALSHA"]);
        let refused = "-NOPERM User gmod has no permissions to run the 'EVALSHA' command\r\n";
        answer(session, refused.repeat(3).as_bytes());
        session.gather();
        assert_eq!(names(session), ["EVAL"]);
        answer(session, b"$1\r\n2\r\n");
        session.gather();
        assert_eq!(names(session), ["EVAL", "EVAL"]);
        assert_eq!(limits(session), Vec::<String>::new());
        answer(session, b"-ERR unknown command 'EVAL'\r\n-ERR unknown command 'EVAL'\r\n");
        session.gather();
        assert_eq!(names(session), ["SET", "INCRBY", "TTL", "SET", "INCRBY", "TTL"]);
        assert_eq!(limits(session).len(), 1);
        // The first key ends, the second does not.
        answer(session, b"$-1\r\n:3\r\n:60\r\n$-1\r\n:4\r\n:-1\r\n");
        session.encode_expiries(Instant::now());
        assert_eq!(names(session), ["EXPIRE"]);
        answer(session, b"-BUSY a script\r\n");
        session.encode_expiries(Instant::now());
        assert_eq!(names(session), Vec::<String>::new(), "not at once");
        session.encode_expiries(Instant::now() + REFUSED_RETRY);
        assert_eq!(names(session), ["EXPIRE"]);
        answer(session, b":1\r\n");
        session.encode_expiries(Instant::now() + REFUSED_RETRY);
        assert_eq!(names(session), Vec::<String>::new());
        assert_eq!((session.shared.outbox.waiting(), session.shared.stats.beside_failures.get()), (0, 0));
    });
}

/// A server that answers NOSCRIPT to the script's own text gets plain commands.
#[test]
fn a_server_that_never_knows_the_script_gets_plain_commands() {
    with_session(|session| {
        session.shared.outbox.push(incr("n", 0)).unwrap();
        for expected in ["EVAL", "INCRBY"] {
            session.gather();
            assert_eq!(names(session), [expected]);
            let reply: &[u8] = if expected == "EVAL" { b"-NOSCRIPT No matching script.\r\n" } else { b":1\r\n" };
            answer(session, reply);
        }
        assert_eq!(session.shared.outbox.waiting(), 0);
    });
}

/// An error that nobody knew is no reason to go without EVALSHA on the next connection.
#[test]
fn a_refusal_of_all_scripts_ends_with_the_connection() {
    with_session(|session| {
        let next = |session: &mut Session<'_, '_>, expected: &str, reply: &str| {
            session.shared.outbox.push(incr("n", 0)).unwrap();
            session.gather();
            assert_eq!(names(session), [expected]);
            answer(session, reply.as_bytes());
        };
        next(session, "EVAL", "$1\r\n1\r\n");
        next(session, "EVALSHA", "-ERR command rejected\r\n");
        for (expected, reply) in [("EVAL", "-ERR command rejected\r\n"), ("INCRBY", ":2\r\n")] {
            session.gather();
            assert_eq!(names(session), [expected]);
            answer(session, reply.as_bytes());
        }
        next(session, "INCRBY", ":3\r\n");
        session.backlog.scripts().connected();
        next(session, "EVAL", "$1\r\n4\r\n");
        assert_eq!(limits(session), Vec::<String>::new());
        next(session, "EVALSHA", "$1\r\n5\r\n");
        assert_eq!(session.shared.outbox.waiting(), 0);
    });
}

/// A user who may write the counter but not the key of its number: the reply does not tell which key is forbidden.
#[test]
fn a_counter_whose_number_is_forbidden_goes_as_plain_commands() {
    let forbidden = "-NOPERM No permissions to access a key\r\n";
    for (reply, lost) in [(":1\r\n", 0), (forbidden, 1)] {
        with_session(|session| {
            session.shared.outbox.push(incr("n", 0)).unwrap();
            for (expected, reply) in [("EVAL", forbidden), ("INCRBY", reply)] {
                session.gather();
                assert_eq!(names(session), [expected]);
                answer(session, reply.as_bytes());
            }
            let stats = &session.shared.stats.outbox;
            assert_eq!((session.shared.outbox.waiting(), stats.dropped.redis.get()), (0, lost));
            // Other counters are not forbidden.
            session.shared.outbox.push(incr("m", 0)).unwrap();
            session.gather();
            assert_eq!(names(session), ["EVALSHA"]);
        });
    }
}

/// The server refuses EXPIRE inside a script only.
#[test]
fn a_time_to_live_that_a_script_may_not_set_is_set_by_plain_commands() {
    with_session(|session| {
        session.shared.outbox.push(incr("n", 60)).unwrap();
        session.gather();
        assert_eq!(names(session), ["EVAL"]);
        let refused = "@user_script: 18: Write commands not allowed after non deterministic commands";
        answer(session, format!("*2\r\n$1\r\n1\r\n${}\r\n{refused}\r\n", refused.len()).as_bytes());
        for (expected, reply) in [("TTL", ":-1\r\n"), ("EXPIRE", ":1\r\n")] {
            session.encode_expiries(Instant::now());
            assert_eq!(names(session), [expected]);
            answer(session, reply.as_bytes());
        }
        assert_eq!((session.shared.outbox.waiting(), session.shared.stats.beside_failures.get()), (0, 0));
    });
}

/// The proxy before Redis lost its connection: Redis may have counted. The counter keeps its number, and the event comes
/// again.
#[test]
fn an_answer_that_a_proxy_lost_leaves_the_command_in_doubt() {
    with_session(|session| {
        let outbox = &session.shared.outbox;
        outbox.push(incr("n", 0)).unwrap();
        session.gather();
        let number = |session: &Session<'_, '_>| session.shared.count_number.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((names(session), number(session)), (vec!["EVAL".to_owned()], 1));
        publish(outbox, "c", b"{}").unwrap();
        for _ in 0..2 {
            session.decoder.feed(b"-ERR server connection close\r\n");
            assert!(matches!(session.match_answers(), Err(End::Lost { .. })));
            session.backlog.connection_ended();
            session.backlog.connected(0, Vec::new());
            session.gather();
            assert_eq!((names(session), number(session)), (vec!["EVAL".to_owned()], 1));
        }
        answer(session, b"$1\r\n1\r\n");
        session.gather();
        assert_eq!(names(session), ["PUBLISH"]);
        // Redis did not get this one.
        answer(session, b"-ERR no server connection avaliable\r\n");
        assert_eq!((outbox.waiting(), session.shared.stats.outbox.dropped.redis.get()), (1, 0));
        assert_eq!(limits(session), Vec::<String>::new());
    });
}

/// A counter before the request for leases, or more than one request: each of them may find out that scripts are refused.
#[test]
fn leases_are_not_refused_because_scripts_are() {
    with_session(|session| {
        session.shared.outbox.push(incr("n", 0)).unwrap();
        session.gather();
        let lease = Arc::new(crate::hooks::lease::Lease::default());
        session.backlog.leases().want(Fingerprint::of(b"c", &serde_json::Value::Null), lease);
        session.encode_leases(Instant::now());
        assert_eq!(names(session), ["EVAL", "EVAL"]);
        answer(session, b"-ERR unknown command 'EVAL'\r\n-ERR unknown command 'EVAL'\r\n");
        let told = limits(session);
        assert!(told.len() == 1 && told[0].contains("scripts"), "{told:?}");
        session.encode_leases(Instant::now());
        assert_eq!(names(session), ["SET", "GET"]);
    });
}

/// A TTL that was not answered is sent again on the next connection.
#[test]
fn an_unanswered_ttl_is_sent_again() {
    with_session(|session| {
        session.backlog.scripts().forbid();
        session.shared.outbox.push(incr("n", 60)).unwrap();
        session.gather();
        assert_eq!(names(session), ["SET", "INCRBY", "TTL"]);
        answer(session, b"+OK\r\n:1\r\n");
        session.backlog.connection_ended();
        session.encode_expiries(Instant::now());
        assert_eq!(names(session), ["TTL"]);
    });
}

/// Without scripts a lease is held if its key is this server's *and* was made to live for another ten seconds.
#[test]
fn leases_work_by_plain_commands() {
    let ours = |session: &Session<'_, '_>| {
        let boot = String::from_utf8(boot_text(session.shared.boot)).unwrap();
        format!("$16\r\n{boot}\r\n")
    };
    let other = || "$16\r\nffffffffffffffff\r\n".to_owned();
    // A round: the reply to its first command, whether the key is this server's, the name of that command, and whether
    // the lease is held afterwards.
    type Round = (&'static str, bool, &'static str, bool);
    let rows: [(Round, Round); 7] = [
        (("+OK", true, "SET", true), (":1", true, "PEXPIRE", true)),
        (("$-1", false, "SET", false), ("+OK", true, "SET", true)),
        // The key is this server's but was not renewed: it may be about to end.
        (("$-1", true, "SET", false), (":1", true, "PEXPIRE", true)),
        (("+OK", true, "SET", true), (":0", false, "PEXPIRE", false)),
        (("+OK", true, "SET", true), (":1", false, "PEXPIRE", false)),
        (("-NOPERM no SET", true, "SET", false), (":1", true, "PEXPIRE", true)),
        (("+OK", false, "SET", false), ("$-1", false, "SET", false)),
    ];
    for (first, second) in rows {
        with_session(|session| {
            session.backlog.scripts().forbid();
            let lease = Arc::new(crate::hooks::lease::Lease::default());
            let fingerprint = Fingerprint::of(b"c", &serde_json::Value::Null);
            let mut now = Instant::now();
            for (reply, is_ours, command, is_held) in [first, second] {
                session.backlog.leases().want(fingerprint, Arc::clone(&lease));
                session.encode_leases(now);
                assert_eq!(names(session), [command, "GET"], "{first:?} {second:?}");
                let holder = if is_ours { ours(session) } else { other() };
                answer(session, format!("{reply}\r\n{holder}").as_bytes());
                assert_eq!(lease.holds(now), is_held, "{first:?} {second:?}");
                // Long enough for the lease to end by this server's clock.
                now += Duration::from_secs(9);
                assert!(!lease.holds(now));
            }
        });
    }
}

// ---- the role -------------------------------------------------------------------------------------------------------

/// A heartbeat that finds a replica ends the connection. KeyDB's active replica and an unknown role do not end it.
#[test]
fn a_heartbeat_that_finds_a_replica_ends_the_connection() {
    for (reply, stays) in [
        ("*1\r\n$6\r\nmaster\r\n", true),
        ("*1\r\n$14\r\nactive-replica\r\n", true),
        ("*1\r\n+Master\r\n", true),
        ("*1\r\n$7\r\nunknown\r\n", true),
        ("-NOPERM no ROLE\r\n", true),
        ("*1\r\n$5\r\nslave\r\n", false),
        ("*1\r\n$7\r\nREPLICA\r\n", false),
        ("*1\r\n$8\r\nsentinel\r\n", false),
    ] {
        with_session(|session| {
            session.encode_heartbeat(Instant::now() + HEARTBEAT);
            assert_eq!(names(session), ["ROLE"]);
            session.decoder.feed(reply.as_bytes());
            assert_eq!(session.match_answers().is_ok(), stays, "{reply}");
        });
    }
}
