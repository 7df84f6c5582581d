//! Webhooks that go out through an HTTP proxy which works, refuses, hangs, wants a password or talks nonsense: every post is
//! delivered in the end, other destinations go on, and no user or password is ever shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{Answer, Asked, ConnectProxy, Folder, Hook, Poster, Redis, Server, Way, Web, wait_until};
use realtime::facade::webhook::schedule::DestinationState;
use serde_json::json;

/// Hosts that no name server knows: their names reach the proxy only.
fn url_of(web: &Web, host: &str) -> String {
    web.url("/api/webhooks/1/token").replace("localhost", host).replace("127.0.0.1", host)
}

fn poster(proxy: &str, no_proxy: &str) -> Poster {
    Poster::with(json!({ "proxy": proxy, "no_proxy": no_proxy }), Folder::default())
}

#[test]
fn posts_go_through_the_proxy() {
    let authority = Authority::default();
    let secure = Web::start_tls(&authority.server("discord.example", Validity::Now), |_| Answer::Status(204));
    let [plain, direct] = [(); 2].map(|()| Web::start(|_| Answer::Status(204)));
    let proxy = ConnectProxy::start(|_| Way::Open);
    let settings = json!({
        "proxy": proxy.url("gmod:hunter2%40@"), "no_proxy": "127.0.0.1", "webhook_ca_file": authority.file(),
    });
    let poster = Poster::with(settings, Folder::default());
    let urls = [url_of(&secure, "discord.example"), url_of(&plain, "plain.example"), direct.url("/direct")];
    for url in &urls {
        poster.post(&Hook::discord(url), json!({ "text": "hi" }));
    }
    poster.wait_delivered(3);
    let mut lines: Vec<String> = proxy.asked().into_iter().map(|asked| asked.line).collect();
    lines.sort();
    let expected = [("discord", secure.port()), ("plain", plain.port())];
    assert_eq!(lines, expected.map(|(name, port)| format!("CONNECT {name}.example:{port}")));
    // `gmod:hunter2@` in base64.
    let login = |asked: &Asked| asked.header("proxy-authorization") == Some("Basic Z21vZDpodW50ZXIyQA==");
    assert!(proxy.asked().iter().all(login), "{:?}", proxy.asked());
    for (web, host) in [(&secure, "discord.example"), (&plain, "plain.example"), (&direct, "127.0.0.1")] {
        let seen = web.seen();
        assert_eq!((seen.len(), seen[0].content()), (1, "hi".to_owned()));
        assert_eq!(seen[0].header("host"), format!("{host}:{}", web.port()));
        assert!(seen[0].headers.iter().all(|(name, _)| !name.starts_with("proxy")), "{seen:?}");
    }
    poster.wait_drained();
    poster.stop();
}

/// The certificate is still that of the destination, not one of the proxy's choice.
#[test]
fn a_proxy_cannot_play_the_destination() {
    let authority = Authority::default();
    let other = Web::start_tls(&authority.server("evil.example", Validity::Now), |_| Answer::Status(204));
    let proxy = ConnectProxy::start(|_| Way::Open);
    let settings = json!({ "proxy": proxy.url(""), "webhook_ca_file": authority.file() });
    let poster = Poster::with(settings, Folder::default());
    poster.post(&Hook::discord(&url_of(&other, "discord.example")), json!({ "text": "hi" }));
    let reason = poster.wait_broken("discord.example");
    assert!(reason.contains("certificate"), "{reason}");
    assert_eq!(other.seen().len(), 0);
    poster.stop();
}

/// Each trouble with the proxy has its own words; then the post arrives.
#[test]
fn a_proxy_that_opens_no_way_costs_no_post() {
    let raw = |text: &str| Way::Raw(text.as_bytes().to_vec());
    let rows = [
        (raw("HTTP/1.1 403 Forbidden\r\n\r\nhunter22"), "answered 403: it forbids the way to this destination"),
        (raw("HTTP/1.0 502 hunter22\r\nX: hunter22\r\n\r\n"), "answered 502: it does not reach the destination"),
        (raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), "answered 302"),
        (raw("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), "sends more than the head of an answer"),
        (raw("hunter22 hunter22\r\n\r\n"), "does not answer in HTTP/1"),
        (raw("HTTP/1.1 hunter22\r\n\r\n"), "does not answer in HTTP/1"),
        (raw(""), "closed the connection without a whole answer"),
        (raw("HTTP/1.1 200 OK\r\nX: hun"), "closed the connection without a whole answer"),
        (Way::Endless(b"X: hunter22\r\n".to_vec()), "does not answer in HTTP/1"),
        (Way::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), "answers without end"),
        (Way::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), "answers without end"),
        (Way::CloseAfter(0), "it closed the connection without an answer"),
        (Way::Hang, "no answer in time"),
    ];
    // All at the same time, because each waits for its second attempt.
    let runs: Vec<_> = rows
        .into_iter()
        .map(|(way, words)| {
            let web = Web::start(|_| Answer::Status(204));
            let works = Arc::new(AtomicBool::new(false));
            let is_mended = Arc::clone(&works);
            let script = move |_: &Asked| if is_mended.load(Ordering::SeqCst) { Way::Open } else { way.clone() };
            let proxy = ConnectProxy::start(script);
            let poster = poster(&proxy.url("user:hunter22@"), "");
            // Its timeout is two seconds.
            poster.post(&Hook::http(&url_of(&web, "host.example")), json!({ "n": 1 }));
            (web, proxy, poster, words, works)
        })
        .collect();
    for (_, _, poster, words, works) in &runs {
        let reason = poster.wait_broken("host.example");
        assert!(reason.contains(words) && !reason.contains("hunter22"), "{words}: {reason}");
        works.store(true, Ordering::SeqCst);
    }
    for (web, proxy, poster, words, _) in runs {
        poster.wait_delivered(1);
        let asked = proxy.asked().len();
        // Only the proxy that closes the way of a failed attempt may have let the request through.
        let arrived = if words.contains("it closed") { 1..=asked } else { 1..=1 };
        assert!(arrived.contains(&web.seen().len()) && asked >= 2, "{words}");
        poster.wait_drained();
        poster.stop();
    }
}

/// A proxy that nobody starts, and one whose name nobody knows.
#[test]
fn a_proxy_that_is_away_is_named() {
    for (proxy, words) in [
        ("http://user:hunter22@127.0.0.1:1", "cannot connect to the proxy 127.0.0.1:1: "),
        ("http://user:hunter22@no-such-host.invalid:3128", "cannot connect to the proxy no-such-host.invalid:3128: "),
    ] {
        let poster = poster(proxy, "");
        poster.post(&Hook::http("http://host.example/"), json!({}));
        let reason = poster.wait_broken("host.example");
        assert!(reason.starts_with("cannot connect to http://host.example: ") && reason.contains(words), "{reason}");
        assert!(!reason.contains("hunter22"), "{reason}");
        poster.stop();
    }
}

/// The proxy hangs; destinations that need no proxy are served at once, and the hung requests end by their deadline.
#[test]
fn a_hung_proxy_does_not_delay_direct_destinations() {
    let proxy = ConnectProxy::start(|_| Way::Hang);
    let direct = Web::start(|_| Answer::Status(200));
    let poster = poster(&proxy.url(""), "127.0.0.1");
    let began = Instant::now();
    for n in 0..3 {
        poster.post(&Hook::http_named(&format!("h{n}"), &format!("http://host{n}.example/")), json!({}));
    }
    wait_until("all three hang", || proxy.asked().len() == 3);
    let sent = Instant::now();
    poster.post(&Hook::http(&direct.url("/")), json!({}));
    poster.wait_delivered(1);
    let seen = direct.seen()[0].at;
    assert!(seen.saturating_duration_since(sent) < Duration::from_secs(1), "{:?}", seen - sent);
    wait_until("their requests end", || (0..3).all(|n| poster.standing(&format!("host{n}")).tally.no_answer >= 1));
    // The bound is two seconds.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // A request that waits for the proxy for a minute is interrupted.
    let hook = Hook::new("long", json!({ "type": "http", "url": "http://long.example/", "timeout": 60 }));
    let before = proxy.asked().len();
    poster.post(&hook, json!({}));
    wait_until("the proxy is asked", || proxy.asked().len() > before);
    poster.stop();
}

/// With a wrong password no post can go out: all of them wait, whatever their number of attempts, and arrive once the
/// password is right.
#[test]
fn posts_wait_for_the_right_password() {
    // `user:right00` in base64.
    let is_right = |asked: &Asked| asked.header("proxy-authorization") == Some("Basic dXNlcjpyaWdodDAw");
    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\nhunter22".to_vec();
    let proxy = ConnectProxy::start(move |asked| if is_right(asked) { Way::Open } else { Way::Raw(refusal.clone()) });
    let web = Web::start(|_| Answer::Status(204));
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url(), "proxy": proxy.url("") }));
    server.wait_ready();
    server.hook("w", json!({ "type": "http", "url": url_of(&web, "host.example") }));
    server.emit("w", "{\"n\":1}").unwrap();
    let said = |server: &Server| server.engine.stats()["destinations"].to_string();
    server.wait(|server| said(server).contains("answered 407: set user and password, http://USER:PASSWORD@HOST:PORT"));
    let login = json!({ "proxy": proxy.url("user:hunter22@") }).to_string();
    server.engine.configure(&login).unwrap();
    server.wait(|server| said(server).contains("answered 407: it does not take this user and password"));
    assert_eq!(server.stat("/webhooks/waiting"), 1);
    assert!(!said(&server).contains("hunter22") && !server.engine.report().concat().contains("hunter22"));
    let login = json!({ "proxy": proxy.url("user:right00@") }).to_string();
    server.engine.configure(&login).unwrap();
    server.wait(|server| server.stat("/webhooks/delivered") == 1);
    assert_eq!(web.seen().len(), 1);
    server.stop();
}

/// A proxy may answer in the place of the destination, with words of the login.
#[test]
fn an_answer_that_repeats_the_login_is_redacted() {
    // The last one is `user:hunter22` in base64.
    let words = ["hunter22", "user:hunter22", "dXNlcjpodW50ZXIyMg=="];
    let web = Web::start(move |_| Answer::Full(400, String::new(), format!("no: {}", words.join(" "))));
    let proxy = ConnectProxy::start(|_| Way::Open);
    let poster = poster(&proxy.url("user:hunter22@"), "");
    poster.post(&Hook::discord(&url_of(&web, "host.example")), json!({ "text": "hi" }));
    let told = poster.wait_told(1).remove(0).2;
    wait_until("the dead letter is written", || poster.dead_letters().len() == 1);
    let shown = format!("{told} {} {:?}", poster.dead_letters()[0], poster.shared.webhooks.standings());
    assert!(told.starts_with("HTTP 400: no: ***"), "{told}");
    assert!(words.iter().all(|word| !shown.contains(word)), "{shown}");
    poster.stop();
}

/// A rate limit behind the proxy is the destination's own: 407 alone has to do with the proxy.
#[test]
fn a_limit_behind_the_proxy_is_the_destination_s() {
    let limit = |_: &fault_kit::Seen| Answer::Full(429, "Retry-After: 100".to_owned(), String::new());
    let web = Web::start(limit);
    let proxy = ConnectProxy::start(|_| Way::Open);
    let poster = poster(&proxy.url(""), "");
    poster.post(&Hook::http(&url_of(&web, "host.example")), json!({}));
    wait_until("it is paused", || matches!(poster.standing("host").state, DestinationState::Paused(_)));
    assert_eq!(poster.standing("host").tally.status_429, 1);
    poster.stop();
}
