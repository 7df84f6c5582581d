//! Sentinels: the master is looked up at every connect, and a failover loses nothing that is not reported.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use fault_kit::{MASTER, Redis, Scripted, Sentinels, Server, wait_until};
use realtime::facade::event::notice::Notice;
use serde_json::json;

/// A master and its replica, both with this password.
fn pair(password: &str) -> [Redis; 2] {
    let login: &[&str] = if password.is_empty() { &[] } else { &["--requirepass", password, "--masterauth", password] };
    let mut master = Redis::start(&[login, &["--repl-diskless-sync-delay", "0"]].concat());
    let port = master.port().to_string();
    let mut replica =
        Redis::start(&[login, &["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]].concat());
    if !password.is_empty() {
        master.log_in(&[password]);
        replica.log_in(&[password]);
    }
    wait_until("the replica follows", || replica.command(&["ROLE"]).contains("connected"));
    [master, replica]
}

fn server(url: &str, name: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "server": name, "prefix": "p:" }));
    server.on("kill", 1);
    server.hook("kill", json!({ "type": "counter", "key": "kills" }));
    server.tick();
    server.wait_ready();
    server
}

fn missed(server: &Server) -> u64 {
    server.told.iter().map(|told| if let Notice::Gap { missed, .. } = told { *missed } else { 0 }).sum()
}

/// Emits the next events, one in some milliseconds so that the queue holds those of a long failover, while both servers tick, until `done`.
fn emit_until(here: &mut Server, there: &mut Server, sent: &mut u64, mut done: impl FnMut(&Server, &Server) -> bool) {
    let began = Instant::now();
    while !done(here, there) {
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {:?}", here.engine.status());
        *sent += 1;
        here.emit("kill", &format!(r#"{{"n":{sent}}}"#)).unwrap();
        here.tick();
        there.tick();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn is_connected(server: &Server) -> bool {
    server.engine.status().0 == "connected"
}

/// The master dies under load. Each event is heard once or counted as missed, and no kill is counted twice. Then the
/// old master comes back as a replica, and a failover by hand brings everybody back to it.
#[test]
fn a_failover_under_load_loses_nothing_untold() {
    let [mut master, replica] = pair("secret");
    let sentinels = Sentinels::start(&master, Some("secret"), Some("word"));
    let url = sentinels.url(":secret@");
    let (mut here, mut there) = (server(&url, "here"), server(&url, "there"));
    let (first, second) = (master.port(), replica.port());
    let shown = here.engine.status().1;
    assert!(shown.contains(&format!("{MASTER} (sentinels 127.0.0.1:")), "{shown}");

    let mut sent = 0;
    emit_until(&mut here, &mut there, &mut sent, |_, there| there.heard.len() > 100);
    master.kill();
    emit_until(&mut here, &mut there, &mut sent, |here, _| !is_connected(here));
    emit_until(&mut here, &mut there, &mut sent, |here, there| is_connected(here) && is_connected(there));
    assert_eq!(sentinels.master(), Some(second));
    let heard = there.heard.len();
    emit_until(&mut here, &mut there, &mut sent, |_, there| there.heard.len() > heard + 100);
    here.settle();
    there.wait(|there| there.heard.len() as u64 + missed(there) >= sent);
    assert_eq!(there.heard.len() as u64 + missed(&there), sent);
    assert_eq!(there.heard.iter().collect::<HashSet<_>>().len(), there.heard.len(), "an event was heard twice");
    // A write that the dead master had answered and not yet passed on is lost with it.
    let kills: u64 = replica.command(&["GET", "p:kills"]).parse().unwrap();
    assert!((sent - 50..=sent).contains(&kills), "{kills} of {sent}");
    assert_eq!(here.stat("/outbox/dropped/unknown") + here.stat("/outbox/dropped/redis"), 0);
    for kind in ["normal", "pubsub"] {
        replica.wait_clients(kind, 2);
    }
    here.assert_balanced();

    master.start_again();
    wait_until("the old master follows", || {
        master.try_command(&["ROLE"]).is_ok_and(|role| role.starts_with("slave") && role.contains("connected"))
    });
    let before = replica.command(&["GET", "p:kills"]);
    wait_until("the sentinels accept a failover", || {
        sentinels.ask(0, &["SENTINEL", "FAILOVER", MASTER]).is_ok_and(|found| found == "OK")
    });
    wait_until("the master changes back", || sentinels.master() == Some(first));
    let at_first = |server: &Server| is_connected(server) && server.stat("/reconnects") > 2;
    wait_until("both servers follow", || {
        here.tick();
        there.tick();
        at_first(&here)
            && at_first(&there)
            && master.clients("pubsub").len() == 2
            && master.clients("normal").len() == 2
    });
    let heard = there.heard.len();
    here.emit("kill", r#"{"n":0}"#).unwrap();
    there.wait(|there| there.heard.len() == heard + 1);
    let expected = (before.parse::<u64>().unwrap() + 1).to_string();
    wait_until("counted once", || master.command(&["GET", "p:kills"]) == expected);
    here.stop();
    there.stop();
}

/// One sentinel is enough, whichever it is.
#[test]
fn dead_sentinels_are_passed_over() {
    let [master, _replica] = pair("");
    let mut sentinels = Sentinels::start(&master, None, None);
    let url = sentinels.url("");
    sentinels.kill(0);
    sentinels.kill(1);
    let mut server = server(&url, "one");
    server.emit("kill", "{}").unwrap();
    server.hear(1);
    sentinels.kill(2);
    master.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.wait(|server| server.engine.status().1.contains("cannot find the redis `mymaster`: no sentinel names it: "));
    let shown = server.engine.status().1;
    assert_eq!(shown.matches("127.0.0.1:").count(), 3, "{shown}");
    server.stop();
}

/// A sentinel that answers `SENTINEL` with these bytes.
fn sentinel(answer: String) -> Scripted {
    Scripted::start(move |client| {
        while let Some(command) = client.command() {
            match command[0].as_str() {
                "SENTINEL" if answer.is_empty() => _ = client.command(),
                "SENTINEL" => client.send(answer.as_bytes()),
                _ => client.send(b"-ERR unknown command\r\n"),
            }
        }
    })
}

fn names(host: &str, port: &str) -> String {
    format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len())
}

/// Whatever a sentinel says, nothing is trusted: the next one is asked. One that hangs costs its share of the time.
#[test]
fn wrong_answers_of_a_sentinel_are_passed_over() {
    let [master, replica] = pair("");
    let port = master.port().to_string();
    let right = sentinel(names("127.0.0.1", &port));
    let long = "a".repeat(300);
    let rows = [
        ("*-1\r\n".to_owned(), "it knows no master `mymaster`"),
        ("$-1\r\n".to_owned(), "it knows no master `mymaster`"),
        (names("127.0.0.1", "0"), "its answer is no host and port"),
        (names("127.0.0.1", "65536"), "its answer is no host and port"),
        (names("127.0.0.1", "+1"), "its answer is no host and port"),
        (names("", &port), "its answer is no host and port"),
        (names("a b", &port), "its answer is no host and port"),
        (names("127.0.0.1\r\nx", &port), "its answer is no host and port"),
        (names(&long, &port), "its answer is no host and port"),
        ("*1\r\n$9\r\n127.0.0.1\r\n".to_owned(), "its answer is no host and port"),
        (":1\r\n".to_owned(), "it answered with"),
        ("?\r\n".to_owned(), ""),
        ("-NOAUTH Authentication required.\r\n".to_owned(), "?sentinel_password=WORD"),
        (String::new(), "no answer in time"),
        // It is behind the times, and names a replica.
        (names("127.0.0.1", &replica.port().to_string()), "it is a replica"),
    ];
    for (answer, found) in rows {
        let wrong = sentinel(answer.clone());
        let place = |scripted: &Scripted| scripted.url().replace("redis://", "");
        let mut alone = Server::with(json!({ "redis": format!("redis+sentinel://{}/{MASTER}", place(&wrong)) }));
        alone.wait(|server| server.engine.status().1.contains(found) && !server.engine.status().1.is_empty());
        alone.stop();
        let url = format!("redis+sentinel://{},{}/{MASTER}", place(&wrong), place(&right));
        let began = Instant::now();
        let mut both = server(&url, "both");
        both.emit("kill", "{}").unwrap();
        both.hear(1);
        assert!(began.elapsed() < Duration::from_secs(20), "{answer:?}: {:?}", began.elapsed());
        both.stop();
    }
}

/// A sentinel's reply to AUTH may repeat the password, however it does: ours does not.
#[test]
fn the_password_of_a_sentinel_is_shown_nowhere() {
    let none = "its reply is none to AUTH";
    for (reply, found) in [
        ("-WRONGPASS hunter2 is wrong\r\n", "(`sentinel_password`)"),
        // Line feeds alone end the lines of this server.
        ("-ERR unknown: AUTH hunter2\n", none),
        ("-ERR unknown: AUTH hunter2\n\r\n", none),
        (":hunter2\r\n", none),
        ("$7\r\nhunter2\r\n", none),
        // The second line would be the reply to the next command.
        ("+OK\r\n-ERR what is hunter2\r\n", none),
        ("+OK\r\n+hunter2\r\n", none),
        // It sends back whatever it gets.
        ("*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n", none),
    ] {
        let sentinel = Scripted::start(move |client| {
            while let Some(command) = client.command() {
                client.send(if command[0] == "AUTH" { reply.as_bytes() } else { b"-ERR what\r\n" });
            }
        });
        let place = sentinel.url().replace("redis://", "");
        let url = format!("redis+sentinel://{place}/{MASTER}?sentinel_password=hunter2");
        let mut server = Server::with(json!({ "redis": url }));
        server.wait(|server| server.engine.status().1.contains("no sentinel names it: "));
        server.tick();
        let said = format!("{:?} {:?} {:?}", server.engine.status(), server.told, server.engine.report());
        assert!(said.contains(found) && !said.contains("hunter2"), "{reply:?}: {said}");
        server.stop();
    }
}
