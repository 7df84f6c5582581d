//! Settings at run time: a change by `Configure` or `realtime_reload` takes effect, or the answer says why it does not.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{Answer, ConnectProxy, Folder, Redis, Server, Way, Web, comes_true, defaults, wait_for};
use realtime::facade::config::{OPTIONS, Operator, Sources};
use realtime::facade::threads::settings::read_operator;
use serde_json::{Value, json};

fn configure(server: &mut Server, option: &str, value: impl Into<Value>) -> Result<(), String> {
    server.engine.configure(&json!({ option: value.into() }).to_string()).map_err(|refusal| refusal.to_string())
}

/// A plain subscriber of `channel`, and the bytes that its connection receives.
struct Plain(std::net::TcpStream, String);

impl Plain {
    fn subscribe(redis: &Redis, channel: &str) -> Plain {
        let mut plain = Plain(redis.begin(&["SUBSCRIBE", channel]), String::new());
        plain.read_until(":1\r\n");
        plain
    }

    /// Reads up to this text.
    fn read_until(&mut self, end: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.1.find(end) {
                let rest = self.1.split_off(at + end.len());
                return std::mem::replace(&mut self.1, rest);
            }
            let read = match self.0.read(&mut buffer) {
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(read > 0, "redis closed the connection");
            self.1.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }
}

/// Each option is changed through `Configure` while the server runs.
#[test]
fn every_option_changes_at_run_time() {
    for row in OPTIONS {
        let redis = Redis::start(&[]);
        let mut server = Server::with(json!({ "redis": redis.url() }));
        server.on("a", 1);
        server.wait_ready();
        match row.name {
            "redis" => {
                let mut other = Redis::start(&["--requirepass", "hunter2"]);
                other.log_in(&["hunter2"]);
                let url = other.url().replace("redis://", "redis://hunter2@");
                configure(&mut server, row.name, url).unwrap();
                redis.wait_clients("pubsub", 0);
                server.wait_ready();
                server.set("k", "v").unwrap();
                server.wait(|_| other.command(&["EXISTS", "k"]) == "1");
                let connected = ("connected", format!("redis at 127.0.0.1:{}", other.port()));
                server.wait(|server| server.engine.status() == connected);
            }
            "server" => {
                configure(&mut server, row.name, "renamed").unwrap();
                server.wait(|_| redis.clients("pubsub").iter().any(|line| line.contains("realtime-renamed-")));
                server.wait_ready();
                let mut plain = Plain::subscribe(&redis, "a");
                server.emit("a", "{\"n\":1}").unwrap();
                assert!(plain.read_until("}\r\n").contains("\"_rt\":\"renamed/"));
            }
            "prefix" => {
                configure(&mut server, row.name, "q:").unwrap();
                server.hook("a", json!({ "type": "counter", "key": "hooked" }));
                server.wait_ready();
                assert_eq!(redis.command(&["PUBSUB", "NUMSUB", "a", "q:a"]), "a\n0\nq:a\n1");
                server.emit("a", "{}").unwrap();
                server.set("k", "v").unwrap();
                server.hear(1);
                server.wait(|_| redis.command(&["GET", "q:hooked"]) == "1");
                server.wait(|_| redis.command(&["EXISTS", "q:k"]) == "1");
                let keys = redis.command(&["KEYS", "*"]);
                assert!(keys.lines().all(|key| key.starts_with("q:")), "{keys}");
            }
            "identity" => {
                let mut plain = Plain::subscribe(&redis, "a");
                server.emit("a", "{\"n\":1}").unwrap();
                assert!(plain.read_until("}\r\n").contains("_rt"));
                configure(&mut server, row.name, false).unwrap();
                server.emit("a", "{\"n\":2}").unwrap();
                assert!(plain.read_until("}\r\n").ends_with("{\"n\":2}\r\n"));
            }
            "thrifty" => {
                server.hook("a", json!({ "type": "counter", "key": "hooked" }));
                let life = || redis.command(&["PTTL", redis.command(&["KEYS", "rt:lead:*"]).as_str()]).parse::<i64>();
                server.wait(|_| life().is_ok_and(|left| (1..=10_000).contains(&left)));
                configure(&mut server, row.name, true).unwrap();
                // The next renewal makes it longer.
                server.wait(|_| life().is_ok_and(|left| (100_000..=120_000).contains(&left)));
            }
            "presence" => {
                let index = || redis.command(&["ZCARD", "rt:{servers}:index"]);
                configure(&mut server, row.name, true).unwrap();
                server.wait(|_| index() == "1");
                configure(&mut server, row.name, false).unwrap();
                server.wait(|_| index() == "0" && redis.command(&["KEYS", "*"]).is_empty());
            }
            "presence_players" => {
                server.engine.configure(r#"{ "presence": true }"#).unwrap();
                server.wait(|_| redis.command(&["KEYS", "*:server:*"]).contains("test"));
                assert_eq!(redis.command(&["KEYS", "*:players:*"]), "");
                configure(&mut server, row.name, true).unwrap();
                server.wait(|_| redis.command(&["KEYS", "*:players:*"]).contains("test"));
            }
            "emit_age_max_s" => {
                drop(redis);
                // Both connections must be lost: an event that was written to one of them would be in doubt, not late.
                server.wait(|server| server.stat("/reconnects") == 2);
                server.emit("a", "{}").unwrap();
                configure(&mut server, row.name, 1).unwrap();
                server.wait(|server| server.stat("/outbox/dropped/expired") == 1);
            }
            "tick_budget_us" => {
                let calls = |server: &mut Server| {
                    let begin = Instant::now();
                    server.engine.begin_tick(begin);
                    // Counted after the start of the tick, which drops an event of the last tick that was not completed.
                    let waiting = server.stat("/inbox/waiting");
                    for n in 0..3 {
                        server.emit("a", &format!("{{\"n\":{n}}}")).unwrap();
                    }
                    wait_for("events that wait", waiting + 3, || server.stat("/inbox/waiting"));
                    // The engine is asked for the second call 700 microseconds later.
                    let first = server.engine.next_call(begin);
                    let second = server.engine.next_call(begin + Duration::from_micros(700));
                    (first.is_some(), second.is_some())
                };
                assert_eq!(calls(&mut server), (true, false));
                configure(&mut server, row.name, 20_000).unwrap();
                assert_eq!(calls(&mut server), (true, true));
                continue;
            }
            "sync_timeout_ms" => {
                redis.stop();
                configure(&mut server, row.name, 7).unwrap();
                let said = server.get("k");
                assert!(said.contains("redis did not answer within 7 ms"), "{said}");
                redis.resume();
            }
            "tls_ca_file" => {
                let authority = Authority::default();
                let redis = Redis::start_tls(&authority.server("localhost", Validity::Now), &[]);
                configure(&mut server, "redis", redis.url()).unwrap();
                server.wait(|server| server.engine.status().1.contains("no known authority"));
                configure(&mut server, row.name, authority.file().to_str()).unwrap();
                server.wait_ready();
                server.stop();
                continue;
            }
            "tls_server_name" => {
                let authority = Authority::default();
                let redis = Redis::start_tls(&authority.server("redis.example", Validity::Now), &[]);
                let first = json!({ "redis": redis.url(), "tls_ca_file": authority.file() });
                server.engine.configure(&first.to_string()).unwrap();
                server.wait(|server| server.engine.status().1.contains("set tls_server_name"));
                assert!(configure(&mut server, row.name, "no name!").unwrap_err().starts_with("config: "));
                configure(&mut server, row.name, "redis.example").unwrap();
                server.wait_ready();
                server.stop();
                continue;
            }
            "webhook_ca_file" => {
                let [authority, other] = [Authority::default(), Authority::default()];
                let web = Web::start_tls(&authority.server("localhost", Validity::Now), |_| Answer::Status(200));
                server.hook("w", json!({ "type": "http", "url": web.url("/") }));
                let failures = |server: &Server| server.engine.stats()["destinations"][0]["no_answer"].as_u64();
                server.emit("w", "{\"n\":1}").unwrap();
                server.wait(|server| failures(server) > Some(0));
                configure(&mut server, row.name, authority.file().to_str()).unwrap();
                server.wait(|_| web.seen().len() == 1);
                server.wait(|server| server.stat("/webhooks/waiting") == 0);
                // Back to the old settings: the old session is not resumed.
                configure(&mut server, row.name, other.file().to_str()).unwrap();
                let before = failures(&server);
                server.emit("w", "{\"n\":2}").unwrap();
                server.wait(|server| failures(server) > before);
                assert_eq!(web.seen().len(), 1);
                configure(&mut server, row.name, authority.file().to_str()).unwrap();
                server.wait(|_| web.seen().len() == 2);
            }
            "proxy" | "no_proxy" => {
                let (web, proxy) = (Web::start(|_| Answer::Status(200)), ConnectProxy::start(|_| Way::Open));
                server.hook("w", json!({ "type": "http", "url": web.url("/") }));
                let mut posts = 0;
                // Each row: the option, its value, and the number of ways that the proxy has opened after one more post.
                for (option, value, ways) in [
                    ("proxy", "none".to_owned(), 0),
                    ("proxy", proxy.url(""), 1),
                    ("no_proxy", "10.0.0.0/8,127.0.0.0/8".to_owned(), 1),
                    ("no_proxy", "10.0.0.0/8".to_owned(), 2),
                    ("proxy", String::new(), 2),
                ] {
                    configure(&mut server, option, value).unwrap();
                    posts += 1;
                    server.emit("w", &format!("{{\"n\":{posts}}}")).unwrap();
                    server.wait(|server| server.stat("/webhooks/delivered") == posts);
                    assert_eq!((web.seen().len() as u64, proxy.asked().len()), (posts, ways), "{option}");
                }
                let said = configure(&mut server, "proxy", "http://user:hunter22@host").unwrap_err();
                assert!(said.contains("no port") && !said.contains("hunter22"), "{said}");
            }
            "timezone_offset" => {
                let web = Web::start(|_| Answer::Status(200));
                server.hook("w", json!({ "type": "http", "url": web.url("/"), "format": "{time} {time:%H:%M}" }));
                for (posts, (value, minutes)) in (1..).zip([("+05:45", 345), ("-3", -180)]) {
                    configure(&mut server, row.name, value).unwrap();
                    server.emit("w", &format!("{{\"n\":{posts}}}")).unwrap();
                    server.wait(|server| server.stat("/webhooks/delivered") == posts);
                    let body = String::from_utf8(web.seen().pop().unwrap().body).unwrap();
                    let (unix_s, shown) = body.split_once(' ').unwrap();
                    let minute = (unix_s.parse::<i64>().unwrap() / 60 + minutes).rem_euclid(1440);
                    assert_eq!(shown, format!("{:02}:{:02}", minute / 60, minute % 60), "{value}");
                }
            }
            "metrics_file" => {
                let exists = |server: &Server, file: &str| server.folder.path().join(file).exists();
                configure(&mut server, row.name, "a.prom").unwrap();
                server.wait(|server| exists(server, "a.prom"));
                configure(&mut server, row.name, "m/b.prom").unwrap();
                server.wait(|server| exists(server, "m/b.prom") && !exists(server, "a.prom"));
                configure(&mut server, row.name, "").unwrap();
                server.wait(|server| !exists(server, "m/b.prom"));
            }
            other => panic!("`{other}` has no test"),
        }
        server.stop();
    }
}

/// For a CA file that cannot be used `Configure` returns `false` and the reason, and changes nothing. A file with the byte
/// order mark or line ends of an editor is used.
#[test]
fn ca_files_are_read_at_configure() {
    let (authority, folder) = (Authority::default(), Folder::default());
    std::fs::create_dir_all(folder.path()).unwrap();
    let certificates = authority.server("localhost", Validity::Now);
    let pem = std::fs::read_to_string(authority.file()).unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let wide: Vec<u8> = format!("\u{feff}{pem}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = pem.split("-----END").next().unwrap();
    let bad = [
        (PathBuf::from("/nowhere/ca.pem"), "No such file"),
        (folder.path().to_owned(), "it is a folder"),
        (pipe, "it is not a plain file"),
        (write("empty", b""), "it holds no certificate in PEM form"),
        (write("text", b"hello"), "it holds no certificate in PEM form"),
        (certificates.key, "it holds no certificate in PEM form"),
        (write("der", &[0x30, 0x82, 1, 2, 0, 0]), "it is in DER form: convert it"),
        (write("broken", broken.as_bytes()), "cannot use"),
        (write("cut", cut.as_bytes()), "cannot use"),
        (write("huge", &vec![b'x'; 1024 * 1024 + 1]), "it has more than 1048576 bytes"),
    ];
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url(), "server": "before" }));
    server.wait_ready();
    let connects = server.stat("/reconnects");
    for option in ["tls_ca_file", "webhook_ca_file"] {
        for (file, words) in &bad {
            let settings = json!({ option: file, "server": "after" });
            let said = server.engine.configure(&settings.to_string()).unwrap_err().to_string();
            let expected = format!("config: cannot use {option} `{}`: ", file.display());
            assert!(said.starts_with(&expected) && said.contains(words), "{said}");
        }
    }
    assert!(server.engine.report().concat().contains("server `before`"));
    assert_eq!(server.stat("/reconnects"), connects);
    let web = Web::start_tls(&certificates_of(&authority), |_| Answer::Status(200));
    server.hook("w", json!({ "type": "http", "url": web.url("/") }));
    for (n, file) in [write("bom", format!("\u{feff}{pem}").as_bytes()), write("wide", &wide)].iter().enumerate() {
        configure(&mut server, "webhook_ca_file", file.to_str()).unwrap();
        server.emit("w", "{}").unwrap();
        server.wait(|_| web.seen().len() == n + 1);
    }
    server.stop();
}

fn certificates_of(authority: &Authority) -> fault_kit::certificates::Certificates {
    authority.server("localhost", Validity::Now)
}

/// The operator's settings: this file, and an empty environment.
fn operator(folder: &Path, text: &[u8]) -> Operator {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("realtime.json"), text).unwrap();
    read_operator(folder, std::iter::empty())
}

/// With a wrong `redis` nothing connects, not even to the Redis that scripts name, until the file is corrected.
#[test]
fn with_a_wrong_redis_setting_nothing_connects() {
    let (redis, folder) = (Redis::start(&[]), Folder::default());
    let right = format!("{{\"redis\":\"{}\"}}", redis.url());
    for wrong in [&b"{\"redis\": hunter2@h\"}"[..], b"{\"redis_url\":\"redis://hunter2@h\"}", b"", b"{\"prefix\":null}"]
    {
        let mut sources = Sources::of(defaults(), operator(folder.path(), wrong));
        sources.configure(&right).unwrap();
        let mut server = Server::from_sources(sources);
        server.wait(|server| server.engine.status().1.starts_with("settings not understood: cannot use "));
        let (state, detail) = server.engine.status();
        assert_eq!(state, "connecting");
        assert!(detail.contains("realtime.json") && !detail.contains("hunter2"), "{detail}");
        server.emit("a", "{\"n\":1}").unwrap();
        assert!(server.get("k").starts_with("disconnected: settings not understood: "));
        // Scripts cannot override the operator, even if his setting is wrong.
        server.engine.configure(&right).unwrap();
        let report = server.engine.report().join("\n");
        assert!(report.contains("settings: cannot use ") && !report.contains("hunter2"), "{report}");
        server.wait(|server| !server.errors().is_empty());
        assert!(server.errors()[0].contains("settings not understood") && !server.errors()[0].contains("hunter2"));
        assert!(!comes_true(Duration::from_millis(50), || !redis.clients("pubsub").is_empty()));
        assert_eq!((server.stat("/connect_failures"), server.stat("/outbox/waiting")), (0, 1));
        // First the same mistake again, then the corrected file: the waiting events are sent.
        let lines = server.engine.reload(operator(folder.path(), wrong));
        assert!(lines.len() == 2 && lines[1].starts_with("nothing connects to redis"), "{lines:?}");
        let mut plain = Plain::subscribe(&redis, "a");
        let lines = server.engine.reload(operator(folder.path(), right.as_bytes()));
        assert_eq!(lines, [format!("settings read: redis at 127.0.0.1:{}", redis.port())]);
        server.wait_ready();
        // The connection with the new settings is not closed together with the old ones.
        assert_eq!(server.stat("/reconnects"), 0);
        assert!(plain.read_until("}\r\n").contains("{\"n\":1,\"_rt\""));
        // A wrong file changes nothing while the module works.
        let lines = server.engine.reload(operator(folder.path(), wrong));
        assert!(lines.last().unwrap().starts_with("nothing changed"), "{lines:?}");
        assert!(!comes_true(Duration::from_millis(50), || server.engine.status().0 != "connected"));
        assert!(!server.engine.report().concat().contains("settings: "));
        server.assert_balanced();
        server.stop();
    }
}

/// Events that were emitted while the prefix was unknown are not sent without a prefix.
#[test]
fn no_event_is_sent_while_the_prefix_is_unknown() {
    let (redis, folder) = (Redis::start(&[]), Folder::default());
    let wrong = format!("{{\"redis\":\"{}\",\"prefix\":[]}}", redis.url());
    let sources = Sources::of(defaults(), operator(folder.path(), wrong.as_bytes()));
    let mut server = Server::from_sources(sources);
    server.wait(|server| server.engine.status().1.contains("option `prefix`"));
    server.set("k", "v").unwrap();
    let right = format!("{{\"redis\":\"{}\",\"prefix\":\"p:\"}}", redis.url());
    assert_eq!(server.engine.reload(operator(folder.path(), right.as_bytes())).len(), 1);
    server.wait_ready();
    server.wait(|server| server.stat("/outbox/dropped/settings") == 1);
    server.set("k", "v").unwrap();
    server.wait(|_| redis.command(&["KEYS", "*"]) == "p:k");
    server.assert_balanced();
    server.stop();
}

/// A reload reads the files that the operator's settings name again, also if their names did not change.
#[test]
fn a_reload_reads_certificates_again() {
    let [authority, other] = [Authority::default(), Authority::default()];
    let (redis, folder) = (Redis::start(&[]), Folder::default());
    std::fs::create_dir_all(folder.path()).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::copy(other.file(), &ca).unwrap();
    let text = json!({ "redis": redis.url(), "webhook_ca_file": ca }).to_string();
    let read = || operator(folder.path(), text.as_bytes());
    let mut server = Server::from_sources(Sources::of(defaults(), read()));
    let web = Web::start_tls(&authority.server("localhost", Validity::Now), |_| Answer::Status(200));
    server.hook("w", json!({ "type": "http", "url": web.url("/") }));
    server.emit("w", "{}").unwrap();
    server.wait(|server| server.engine.stats()["destinations"][0]["no_answer"].as_u64() > Some(0));
    std::fs::write(&ca, "nothing").unwrap();
    let lines = server.engine.reload(read());
    assert!(
        lines.len() == 2 && lines[0].contains("webhook_ca_file") && lines[1].starts_with("nothing changed"),
        "{lines:?}"
    );
    std::fs::copy(authority.file(), &ca).unwrap();
    assert_eq!(server.engine.reload(read()).len(), 1);
    server.wait(|_| web.seen().len() == 1);
    server.stop();
}

/// One wrong option (a missing CA file) does not void the others, also if nothing was connected before.
#[test]
fn a_reload_applies_the_right_options_beside_a_wrong_one() {
    let authority = Authority::default();
    let (redis, folder) = (Redis::start(&[]), Folder::default());
    let ca = folder.path().join("ca.pem");
    let read = |redis: &str| {
        let text = json!({ "redis": redis, "webhook_ca_file": ca }).to_string();
        operator(folder.path(), text.as_bytes())
    };
    let mut server = Server::from_sources(Sources::of(defaults(), operator(folder.path(), b"")));
    server.wait(|server| server.engine.status().1.contains("is empty"));
    let lines = server.engine.reload(read(&redis.url()));
    assert!(
        lines.len() == 2 && lines[0].contains("webhook_ca_file") && lines[1].starts_with("settings read"),
        "{lines:?}"
    );
    server.wait_ready();
    let web = Web::start_tls(&authority.server("localhost", Validity::Now), |_| Answer::Status(200));
    server.hook("w", json!({ "type": "http", "url": web.url("/") }));
    server.emit("w", "{}").unwrap();
    server.wait(|server| server.engine.stats()["destinations"].to_string().contains("cannot use webhook_ca_file"));
    std::fs::copy(authority.file(), &ca).unwrap();
    // Now the file exists, and the next attempt reads it.
    server.wait(|_| web.seen().len() == 1);
    server.stop();
}
