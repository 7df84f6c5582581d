//! `rediss://` with a real Redis and valid, expired and wrong certificates: each mistake is reported in its own words.
//! `https://` with every kind of certificate, key exchange and version of TLS.

use fault_kit::certificates::{Authority, Keys, Validity};
use fault_kit::{Answer, Folder, Hook, Poster, Redis, Server, Web, wait_until};
use rustls::crypto::ring::kx_group::{SECP256R1, SECP384R1, X25519};
use rustls::version::{TLS12, TLS13};
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

/// Each combination calls other parts of ring, some of which the library has in their smaller form (`build.rs`).
#[test]
fn every_certificate_key_exchange_and_version_connects() {
    let authorities = [Keys::Rsa2048, Keys::P256, Keys::P384, Keys::Ed25519].map(|keys| (keys, Authority::of(keys)));
    let folder = Folder::default();
    std::fs::create_dir_all(folder.path()).unwrap();
    let ca_file = folder.path().join("authorities.pem");
    let pem = |(_, authority): &(Keys, Authority)| std::fs::read_to_string(authority.file()).unwrap();
    std::fs::write(&ca_file, authorities.iter().map(pem).collect::<String>()).unwrap();
    let poster = Poster::with(json!({ "webhook_ca_file": ca_file }), folder);
    let mut posted = 0;
    for (keys, authority) in &authorities {
        let certificates = authority.server("localhost", Validity::Now);
        for key_exchange in [X25519, SECP256R1, SECP384R1] {
            for version in [&TLS12, &TLS13] {
                let web = Web::start_tls_with(&certificates, &[key_exchange], &[version], |_| Answer::Status(200));
                poster.post(&Hook::http(&web.url("/")), json!({ "n": posted }));
                posted += 1;
                let row = format!("{keys:?}, {:?}, {:?}: delivered", key_exchange.name(), version.version);
                wait_until(&row, || poster.delivered() == posted);
                assert_eq!(web.seen().len(), 1, "{row}");
            }
        }
    }
    poster.assert_balanced();
    poster.stop();
}
