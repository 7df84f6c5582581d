//! `realtime_selftest` with a Redis that works, and with twelve mistakes: its step finds each mistake and says what to do.

#![allow(clippy::print_stdout, reason = "what each mistake leads to is for people to read")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{ConnectProxy, Redis, ReservedPort, Scripted, Way, wait_until};
use realtime::facade::config::Config;
use realtime::facade::threads::selftest;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// A temporary folder of this test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("realtime-selftest-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The lines that the console shows.
fn lines(settings: &Value, data: &Folder) -> Vec<String> {
    let mut config = Config::defaults("test", 1);
    assert_eq!(config.apply_json("test", &settings.to_string()), []);
    let mut lines = Vec::new();
    selftest::run(&config, &data.0, 7200, &mut |step| lines.push(step.to_string()));
    lines
}

/// The names of the failed steps. Also checks that no line contains the password.
fn failed(settings: Value, data: &Folder) -> Vec<String> {
    let lines = lines(&settings, data);
    println!("{}\n", lines.join("\n"));
    assert!(!lines.concat().contains("hunter2"), "{lines:?}");
    lines.into_iter().filter(|line| line.contains("FAILED")).collect()
}

#[test]
fn a_redis_that_works_passes_every_step() {
    let redis = Redis::start(&["--user", "gmod", "on", ">hunter2", "~p:*", "&p:*", "+@all"]);
    let data = Folder::new("works");
    let url = redis.url().replace("redis://", "redis://gmod:hunter2@");
    let found = lines(&json!({ "redis": url, "prefix": "p:" }), &data);
    let names: Vec<&str> = found.iter().map(|line| line.split("  ").next().unwrap().trim()).collect();
    let expected = [
        "settings", "platform", "file", "resolve", "connect", "log in", "role", "kind", "publish", "values", "counters",
    ];
    assert_eq!(names, expected, "{found:#?}");
    assert!(found.iter().all(|line| line.contains(" ok ")), "{found:#?}");
    assert!(found[1].ends_with(", clock UTC+02:00"), "{}", found[1]);
    assert_eq!(redis.command(&["KEYS", "*"]), "", "nothing is left behind");
    assert_eq!(std::fs::read_dir(data.0.join("realtime")).unwrap().count(), 0);
}

/// The step `proxy` opens a way to Discord, if webhooks have a proxy for it, and tells its trouble without its password.
#[test]
fn a_proxy_is_a_step_of_its_own() {
    let data = Folder::new("proxy");
    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_vec();
    // The way leads nowhere, as no packet of a test goes to Discord.
    let opened = b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec();
    let proxy = ConnectProxy::start(move |asked| {
        Way::Raw(if asked.header("proxy-authorization").is_some() { opened.clone() } else { refusal.clone() })
    });
    let step = |settings: Value| {
        let mut settings = settings;
        settings["redis"] = json!("redis://127.0.0.1:1");
        let found = lines(&settings, &data);
        assert!(!found.concat().contains("hunter2"), "{found:?}");
        let place = proxy.url("").replace("http://", "");
        found.into_iter().find(|line| line.starts_with("proxy ")).map(|line| line.replace(&place, "PLACE"))
    };
    let ok = "proxy     ok     PLACE, set by `proxy`, opens the way to discord.com";
    assert_eq!(step(json!({ "proxy": proxy.url("gmod:hunter2@") })).as_deref(), Some(ok));
    assert_eq!(proxy.asked()[0].line, "CONNECT discord.com:443");
    let failed = "proxy     FAILED cannot connect to https://discord.com: the proxy PLACE answered 407: set user and \
        password, http://USER:PASSWORD@HOST:PORT. What to do: check `proxy`, which names the proxy of the webhooks";
    assert_eq!(step(json!({ "proxy": proxy.url("") })).as_deref(), Some(failed));
    assert_eq!(step(json!({ "proxy": proxy.url(""), "no_proxy": "discord.com" })), None);
    assert_eq!(step(json!({})), None);
}

/// A port that neither accepts nor refuses connections, like a firewall that drops packets.
fn dropping() -> (Socket, Vec<TcpStream>, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut full = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        full.push(stream);
        assert!(full.len() < 10, "the backlog never fills up");
    }
    (socket, full, address.port())
}

#[test]
fn each_of_twelve_mistakes_is_found_by_its_step() {
    let authority = Authority::default();
    let certificate = |name, validity| authority.server(name, validity);
    let plain = Redis::start(&[]);
    let locked = Redis::start(&["--requirepass", "right"]);
    let users = Redis::start(&["--user", "gmod", "on", ">hunter2", "resetchannels", "~*", "+@all", "-publish"]);
    let tls = Redis::start_tls(&certificate("localhost", Validity::Now), &[]);
    let expired = Redis::start_tls(&certificate("localhost", Validity::Expired), &[]);
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", plain.port())]);
    let cluster = Redis::start(&["--cluster-enabled", "yes"]);
    let redis = plain.address();
    let ignores = Scripted::start(move |client| {
        client.relay(redis, |command| if command[0] == "SELECT" { vec!["PING".to_owned()] } else { command });
    });
    let full = Redis::start(&["--maxmemory", "1"]);
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (_drops, _full, dropping_port) = dropping();
    let nobody = ReservedPort::default();
    let free_port = nobody.number();
    let other_port = other.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // Another program on the port of the option: a web server.
        while let Ok((mut stream, _)) = other.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    wait_until("the replica follows", || replica.command(&["ROLE"]).contains("connected"));
    let data = Folder::new("mistakes");
    let ca = authority.file();
    let with = |redis: &Redis, login: &str| redis.url().replace("redis://", &format!("redis://{login}@"));
    // The mistake, the settings, the step that finds it, its words, its advice.
    let rows: Vec<(&str, Value, &str, &str, &str)> = vec![
        (
            "no server",
            json!({ "redis": format!("redis://127.0.0.1:{free_port}") }),
            "connect",
            "refused",
            "start redis-server",
        ),
        (
            "wrong port",
            json!({ "redis": format!("redis://127.0.0.1:{other_port}") }),
            "log in",
            "cannot talk to redis",
            "check the port",
        ),
        (
            "a firewall drops",
            json!({ "redis": format!("redis://127.0.0.1:{dropping_port}") }),
            "connect",
            "no answer in time",
            "firewall",
        ),
        (
            "wrong password",
            json!({ "redis": with(&locked, ":hunter2") }),
            "log in",
            "WRONGPASS",
            "correct user and password",
        ),
        ("a single word", json!({ "redis": with(&locked, "hunter2") }), "log in", "WRONGPASS", "user and password"),
        (
            "a password in the place of the user",
            json!({ "redis": with(&locked, "hunter2:") }),
            "log in",
            "WRONGPASS",
            "user and password",
        ),
        ("no password", json!({ "redis": locked.url() }), "log in", "NOAUTH", "correct user and password"),
        ("a user without rights", json!({ "redis": with(&users, "gmod:hunter2") }), "publish", "NOPERM", "rights"),
        (
            "TLS to a plain port",
            json!({ "redis": plain.url().replace("redis://", "rediss://") }),
            "tls",
            "redis://",
            "redis://",
        ),
        (
            "plain to a TLS port",
            json!({ "redis": format!("redis://127.0.0.1:{}", tls.port()) }),
            "log in",
            "rediss://",
            "TLS",
        ),
        ("a bad certificate", json!({ "redis": expired.url(), "tls_ca_file": ca }), "tls", "expired", "tls_ca_file"),
        ("a replica", json!({ "redis": replica.url() }), "role", "it is a replica", "name the master"),
        ("a cluster without slots", json!({ "redis": cluster.url() }), "values", "CLUSTERDOWN", "CLUSTER NODES"),
        (
            "a database that does not exist",
            json!({ "redis": format!("{}/99", plain.url()) }),
            "log in",
            "DB index is out of range",
            "the answer of redis",
        ),
        (
            "a database that is ignored",
            json!({ "redis": format!("{}/3", ignores.url()) }),
            "kind",
            "database 3",
            "prefix",
        ),
        ("full memory", json!({ "redis": full.url() }), "values", "OOM", "maxmemory"),
        // The name is too long, so no name server is asked.
        (
            "an unknown host",
            json!({ "redis": format!("redis://{}", "x".repeat(70)) }),
            "resolve",
            "xxx",
            "name servers",
        ),
    ];
    for (mistake, settings, step, found, advice) in rows {
        let failures = failed(settings, &data);
        let first = failures.first().unwrap_or_else(|| panic!("{mistake} was not found"));
        let (said, what_to_do) = first.split_once("What to do: ").unwrap_or((first.as_str(), first.as_str()));
        assert!(first.starts_with(step) && said.contains(found) && what_to_do.contains(advice), "{mistake}: {first}");
    }
    let blocked = Folder::new("unwritable");
    std::fs::write(blocked.0.join("realtime"), "a file in the place of the folder").unwrap();
    let failures = failed(json!({ "redis": plain.url() }), &blocked);
    assert!(failures.len() == 1 && failures[0].starts_with("file") && failures[0].contains("the right to write"));
}
