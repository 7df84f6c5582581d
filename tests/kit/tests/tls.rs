//! `rediss://` with a real Redis and valid, expired and wrong certificates: each mistake is reported in its own words.

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{Redis, Server, wait_until};
use serde_json::json;

#[test]
fn events_pass_through_tls() {
    let authority = Authority::default();
    let redis = Redis::start_tls(&authority.server("localhost", Validity::Now), &[]);
    let settings = json!({ "redis": redis.url(), "tls_ca_file": authority.file() });
    let mut server = Server::with(settings);
    server.on("a", 1);
    server.wait_ready();
    // TLS records of every size, in both directions at once: the subscriber reads while the publisher writes subscriptions.
    for n in 0..300 {
        server.on(&format!("c{n}"), 2);
        server.emit("a", &format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(n * 100))).unwrap();
    }
    server.hear(300);
    assert!(server.heard.iter().enumerate().all(|(n, line)| *line == format!("1 a {n}")));
    server.wait_ready();
    // The plain port of the same server shows the subscriptions.
    assert_eq!(redis.command(&["PUBSUB", "NUMSUB", "c299"]), "c299\n1");
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    server.wait(|server| server.stat("/reconnects") == 1);
    server.wait_ready();
    server.emit("a", "{\"n\":300}").unwrap();
    server.hear(301);
    server.assert_balanced();
    server.stop();
}

#[test]
fn idle_tls_connections_send_heartbeats() {
    let authority = Authority::default();
    let redis = Redis::start_tls(&authority.server("localhost", Validity::Now), &[]);
    let mut server = Server::with(json!({ "redis": redis.url(), "tls_ca_file": authority.file() }));
    server.on("a", 1);
    server.wait_ready();
    let last = |kind: &str, word: &str| redis.clients(kind).iter().any(|line| line.contains(word));
    wait_until("both connections sent a heartbeat", || last("normal", " cmd=role ") && last("pubsub", " cmd=ping "));
    server.wait_ready();
    assert_eq!(server.stat("/reconnects"), 0);
    server.stop();
}

#[test]
fn the_certificate_may_have_the_name_of_the_option_tls_server_name() {
    let authority = Authority::default();
    let redis = Redis::start_tls(&authority.server("redis.example", Validity::Now), &[]);
    let name = "redis.example";
    let settings = json!({ "redis": redis.url(), "tls_ca_file": authority.file(), "tls_server_name": name });
    let mut server = Server::with(settings);
    server.wait_ready();
    server.stop();
}

/// Each failure has its own words and is tried rarely, because only the operator can correct it.
#[test]
fn each_tls_mistake_is_reported_in_its_own_words() {
    let (authority, other) = (Authority::default(), Authority::default());
    let certificate = |name, validity| authority.server(name, validity);
    let good = Redis::start_tls(&certificate("localhost", Validity::Now), &[]);
    let expired = Redis::start_tls(&certificate("localhost", Validity::Expired), &[]);
    let not_yet = Redis::start_tls(&certificate("localhost", Validity::NotYet), &[]);
    let elsewhere = Redis::start_tls(&certificate("elsewhere.example", Validity::Now), &[]);
    let plain = Redis::start(&[]);
    let (ca, other) = (authority.file().to_str().unwrap(), other.file().to_str().unwrap());
    let tls_to_plain = plain.url().replace("redis://", "rediss://");
    let plain_to_tls = format!("redis://127.0.0.1:{}", good.port());
    let key = certificate("localhost", Validity::Now).key;
    let rows: [(&str, &str, &str); 9] = [
        (&good.url(), "", "no known authority signed its certificate: name the authority's file in tls_ca_file"),
        (&good.url(), other, "no known authority signed its certificate"),
        (&expired.url(), ca, "its certificate has expired"),
        (&not_yet.url(), ca, "not valid yet, or the clock here is wrong"),
        (&elsewhere.url(), ca, "its certificate is for another name: set tls_server_name"),
        (&tls_to_plain, ca, "if it is a plain Redis, use redis://"),
        (&plain_to_tls, "", "use rediss://"),
        (&good.url(), "/nowhere/ca.pem", "cannot use tls_ca_file `/nowhere/ca.pem`"),
        (&good.url(), key.to_str().unwrap(), "it holds no certificate"),
    ];
    let start = |url: &str, ca: &str| Server::with(json!({ "redis": url, "tls_ca_file": ca }));
    // All servers run at the same time, because one of them waits for a timeout.
    let mut servers: Vec<_> = rows.iter().map(|(url, ca, words)| (start(url, ca), *words)).collect();
    for (server, words) in &mut servers {
        server.wait(|server| !server.engine.status().1.is_empty());
        let (state, detail) = server.engine.status();
        assert!(state == "connecting" && detail.contains(*words), "expected {words:?}, found {detail:?}");
    }
    servers.into_iter().for_each(|(server, _)| server.stop());
}
