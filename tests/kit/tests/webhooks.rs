//! Discord and HTTP hooks with servers that limit, refuse, hang, and answer slowly or endlessly: every post is delivered or
//! given up with a reason, other destinations go on, and no answer takes more time or memory than its bounds.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{Answer, Bucket, Folder, Hook, PATIENCE, Poster, Scripted, Web, comes_true, wait_for, wait_until};
use realtime::facade::config::limits::SENDERS_MAX;
use realtime::facade::webhook::schedule::DestinationState;
use realtime::facade::webhook::schedule::{DENIED_MAX, WEBHOOK_JOBS_MAX};
use serde_json::{Value, json};

const DISCORD_OK: Answer = Answer::Status(204);

fn limited(seconds: f64, global: bool) -> Answer {
    let body = json!({ "message": "You are being rate limited.", "retry_after": seconds, "global": global });
    let headers = format!("X-RateLimit-Remaining: 3\nRetry-After: {}", seconds.ceil());
    Answer::Full(429, headers, body.to_string())
}

/// Answers `first` once, then `then`.
fn once(first: Answer, then: Answer) -> impl Fn(&fault_kit::Seen) -> Answer {
    let asked = AtomicUsize::new(0);
    move |_| if asked.fetch_add(1, Ordering::SeqCst) == 0 { first.clone() } else { then.clone() }
}

/// The table with one more member.
fn with(mut spec: Value, name: &str, value: Value) -> Value {
    spec[name] = value;
    spec
}

/// Waits for a report of failed actions and returns the reports.
fn wait_told(poster: &Poster) -> Vec<(String, &'static str, String)> {
    let mut told = Vec::new();
    wait_until("it is reported", || {
        told.extend(poster.told());
        !told.is_empty()
    });
    told
}

// ---- delivery -----------------------------------------------------------------------------------------------------

#[test]
fn messages_and_requests_arrive() {
    let web = Web::start(|_| DISCORD_OK);
    let poster = Poster::default();
    let discord = Hook::discord(&web.url("/api/webhooks/1/token?thread_id=5"));
    poster.post(&discord, json!({ "text": "*hi* @everyone" }));
    let spec = json!({
        "type": "http", "method": "PUT", "url": web.url("/kill/{k}"),
        "headers": { "Authorization": "Bearer T", "X-Identity": "{_rt}" },
    });
    poster.post(&Hook::new("h", spec), json!({ "k": "a b", "_rt": "identity" }));
    poster.wait_delivered(2);
    let mut seen = web.seen();
    seen.sort_by(|a, b| a.method.cmp(&b.method));
    let [message, request] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(message.target, "/api/webhooks/1/token?thread_id=5&wait=true");
    let expected = json!({ "content": "\\*hi\\* @\u{200b}everyone", "allowed_mentions": { "parse": [] } });
    assert_eq!(message.json(), expected);
    assert!(message.header("user-agent").starts_with("realtime-gmod/"));
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/kill/a%20b"));
    assert_eq!((request.json(), request.header("authorization")), (json!({ "k": "a b" }), "Bearer T"));
    assert_eq!(request.header("x-identity"), "?");
    assert_ne!(message.header("webhook-id"), request.header("webhook-id"));
    poster.wait_drained();
    poster.stop();
}

/// A relay of chat: each message has the name and the picture of its player, whatever these are.
#[test]
fn messages_appear_under_the_names_of_players() {
    let web = Web::start(|_| DISCORD_OK);
    let poster = Poster::default();
    let spec = json!({
        "type": "discord", "webhook": web.url("/api/webhooks/1/token"), "format": "{text}",
        "username": "{name}", "avatar_url": "{avatar}", "silent": true,
    });
    let hook = Hook::new("d", spec);
    for (name, avatar) in [("Bob", "https://a/1.png"), ("Clyde", "file:///etc/passwd"), ("\u{200b}", "")] {
        poster.post(&hook, json!({ "text": "hi", "name": name, "avatar": avatar }));
    }
    poster.wait_delivered(3);
    let seen: Vec<Value> = web.seen().iter().map(fault_kit::Seen::json).collect();
    let shown =
        |at: usize| (seen[at]["username"].as_str(), seen[at]["avatar_url"].as_str(), seen[at]["flags"].as_u64());
    assert_eq!(shown(0), (Some("Bob"), Some("https://a/1.png"), Some(4096)));
    assert_eq!(shown(1), (Some("C\u{200a}lyde"), None, Some(4096)));
    assert_eq!(shown(2), (None, None, Some(4096)));
    assert_eq!(poster.shared.stats.message_parts_left_out.get(), 1);
    poster.wait_drained();
    poster.stop();
}

/// Discord may refuse a name by a rule that nobody knows: the message appears under the webhook's own name then.
#[test]
fn a_message_whose_name_is_refused_goes_without_it() {
    let refusal = json!({ "code": 50035, "message": "Invalid Form Body", "errors": { "username": { "_errors": [] } } });
    let web = Web::start(move |seen| match seen.json()["username"].as_str() {
        Some("Hated") => Answer::Full(400, String::new(), refusal.to_string()),
        _ => DISCORD_OK,
    });
    let poster = Poster::default();
    let spec = json!({
        "type": "discord", "webhook": web.url("/api/webhooks/1/token"), "format": "{text}",
        "username": "{name}", "avatar_url": "https://a/b.png",
    });
    let hook = Hook::new("d", spec);
    for (name, text) in [("Bob", "a"), ("Hated", "b"), ("Bob", "c")] {
        poster.post(&hook, json!({ "text": text, "name": name }));
    }
    poster.wait_delivered(3);
    let seen: Vec<Value> = web.seen().iter().map(fault_kit::Seen::json).collect();
    let said: Vec<_> = seen.iter().map(|body| (body["content"].as_str().unwrap(), body["username"].as_str())).collect();
    assert_eq!(said, [("a", Some("Bob")), ("b", Some("Hated")), ("b", None), ("c", Some("Bob"))]);
    assert!(seen[2]["avatar_url"].is_null());
    assert_eq!(poster.shared.stats.message_parts_left_out.get(), 1);
    poster.wait_drained();
    poster.stop();
}

/// A player gives a picture that Discord refuses, with and without a version in the webhook's URL.
#[test]
fn a_message_whose_picture_is_refused_goes_without_it() {
    const BAD: &str = "https://a_b.example/";
    let web = Web::start(|seen| {
        // Several messages may be merged.
        let at = seen.json()["embeds"].as_array().unwrap().iter().position(|embed| embed["image"]["url"] == BAD);
        let Some(at) = at.map(|at| at.to_string()) else { return DISCORD_OK };
        let errors = json!({ &at: { "image": { "url": { "_errors": [] } } } });
        let refusal = if seen.target.contains("/v10/") {
            json!({ "code": 50035, "message": "Invalid Form Body", "errors": { "embeds": errors } })
        } else {
            json!({ "embeds": [at] })
        };
        Answer::Full(400, String::new(), refusal.to_string())
    });
    for path in ["/api/webhooks/1/token", "/api/v10/webhooks/1/token"] {
        let before = web.seen().len();
        let poster = Poster::default();
        let embed = json!({ "title": "{text}", "image": "{image}" });
        let hook = Hook::new("d", json!({ "type": "discord", "webhook": web.url(path), "embed": embed }));
        for (image, text) in [("https://good/", "a"), (BAD, "b"), ("https://good/", "c")] {
            poster.post(&hook, json!({ "text": text, "image": image }));
        }
        poster.wait_delivered(3);
        let bodies: Vec<Value> = web.seen()[before..].iter().map(fault_kit::Seen::json).collect();
        let embeds = bodies.iter().flat_map(|body| body["embeds"].as_array().unwrap().clone());
        let shown: Vec<Value> = embeds.filter(|embed| embed["title"] == "b").collect();
        assert_eq!(shown.last(), Some(&json!({ "title": "b" })), "{path}");
        assert_eq!(poster.shared.stats.message_parts_left_out.get(), 1, "{path}");
        poster.wait_drained();
        poster.stop();
    }
}

/// An answer may speak of a name that no message has: then nothing is left out, and the messages are refused one by one.
#[test]
fn a_refused_name_that_no_message_has_is_no_part_left_out() {
    let refusal = json!({ "code": 50035, "message": "Invalid Form Body", "errors": { "username": { "_errors": [] } } });
    let answers = std::sync::Mutex::new(vec![limited(0.5, false)]);
    let web = Web::start(move |_| {
        let first = answers.lock().unwrap().pop();
        first.unwrap_or_else(|| Answer::Full(400, String::new(), refusal.to_string()))
    });
    let poster = Poster::default();
    let hook =
        Hook::new("d", json!({ "type": "discord", "webhook": web.url("/api/webhooks/1/token"), "format": "{text}" }));
    for text in ["a", "b", "c"] {
        poster.post(&hook, json!({ "text": text }));
    }
    poster.wait_drained();
    let stats = &poster.shared.stats;
    assert_eq!((stats.webhooks.dropped.refused.get(), stats.message_parts_left_out.get()), (3, 0));
    assert_eq!(web.seen().len(), 5, "one limited, one merged, three alone");
    poster.stop();
}

/// Threads of one webhook share its rate limit, as Discord counts requests to the webhook.
#[test]
fn threads_share_the_rate_limit_of_their_webhook() {
    let web = Web::start(once(limited(1.5, false), DISCORD_OK));
    let poster = Poster::default();
    let webhook = web.url("/api/webhooks/1/token");
    let spec = |more: Value| {
        let mut spec = json!({ "type": "discord", "webhook": webhook, "format": "{text}" });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Hook::new("d", spec)
    };
    let hooks =
        [json!({}), json!({ "thread_id": "5" }), json!({ "thread_name": "{text}", "applied_tags": ["7"] })].map(spec);
    poster.post(&hooks[0], json!({ "text": "a" }));
    wait_until("the limit is known", || poster.standing("webhooks/1").tally.status_429 == 1);
    for hook in &hooks[1..] {
        poster.post(hook, json!({ "text": "b" }));
        poster.post(hook, json!({ "text": "c" }));
    }
    poster.wait_delivered(5);
    let seen = web.seen();
    let limit = seen[0].at + Duration::from_millis(1500);
    assert!(seen.iter().skip(1).all(|later| later.at >= limit), "{seen:?}");
    let mut got: Vec<_> = seen
        .iter()
        .skip(1)
        .map(|seen| (seen.target.as_str(), seen.content(), seen.json()["thread_name"].clone()))
        .collect();
    got.sort_by_key(|(target, content, _)| (target.len(), content.clone()));
    let wait = "/api/webhooks/1/token?wait=true";
    let expected = [
        (wait, "a".to_owned(), Value::Null),
        (wait, "b".to_owned(), json!("b")),
        (wait, "c".to_owned(), json!("c")),
        ("/api/webhooks/1/token?thread_id=5&wait=true", "b\nc".to_owned(), Value::Null),
    ];
    assert_eq!(got, expected);
    assert!(
        seen.iter()
            .filter(|seen| seen.json()["thread_name"].is_string())
            .all(|seen| seen.json()["applied_tags"] == json!(["7"]))
    );
    poster.stop();
}

#[test]
fn waiting_messages_are_merged_in_order() {
    let bucket = Arc::new(Bucket::new(2, Duration::from_millis(300)));
    let limits = Arc::clone(&bucket);
    let web = Web::start(move |_| limits.answer());
    let (poster, hook) = (Poster::default(), Hook::discord(&web.url("/api/webhooks/1/token")));
    for n in 0..200 {
        poster.post(&hook, json!({ "text": format!("m{n}") }));
    }
    poster.wait_delivered(200);
    let seen = web.seen();
    let lines: Vec<String> =
        seen.iter().flat_map(|seen| seen.content().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(lines, (0..200).map(|n| format!("m{n}")).collect::<Vec<_>>());
    assert!(seen.len() < 20, "{} requests", seen.len());
    assert_eq!(bucket.broken(), 0);
    assert_eq!(poster.standing("webhooks").tally.status_429, 0);
    poster.stop();
}

// ---- limits -------------------------------------------------------------------------------------------------------

/// In real time; `webhook/schedule/tests.rs` tests the same for 45.3 s with a simulated clock.
#[test]
fn a_rate_limit_stops_one_webhook_only() {
    let first = Mutex::new(None);
    let web = Web::start(move |seen| {
        let is_first = seen.target.contains("/1/") && first.lock().unwrap().replace(()).is_none();
        if is_first { limited(2.0, false) } else { DISCORD_OK }
    });
    let poster = Poster::default();
    let [limited, free] = [1, 2].map(|n| Hook::discord(&web.url(&format!("/api/webhooks/{n}/token"))));
    poster.post(&limited, json!({ "text": "a" }));
    wait_until("the limit is known", || poster.standing("webhooks/1").tally.status_429 == 1);
    poster.post(&limited, json!({ "text": "b" }));
    poster.post(&free, json!({ "text": "c" }));
    poster.wait_delivered(3);
    let seen = web.seen();
    let at = |text: &str| seen.iter().rfind(|seen| seen.content() == text).unwrap().at;
    // The webhook without a limit does not wait for the limited one.
    assert!(at("c") < at("a\nb"));
    // The refused message was not delivered: now both go in one post, with the id of the first.
    assert!(at("a\nb") >= seen[0].at + Duration::from_secs(2));
    let ids: Vec<&str> =
        seen.iter().filter(|seen| seen.target.contains("/1/")).map(|seen| seen.header("webhook-id")).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    poster.stop();
}

/// A global limit of Discord stops all Discord webhooks; HTTP hooks go on.
#[test]
fn a_global_limit_stops_discord_but_not_http() {
    let web = Web::start(once(limited(2.0, true), DISCORD_OK));
    let other = Web::start(|_| Answer::Status(200));
    let poster = Poster::default();
    let hooks = [1, 2, 3].map(|n| Hook::discord(&web.url(&format!("/api/webhooks/{n}/token"))));
    poster.post(&hooks[0], json!({ "text": "a" }));
    wait_until("the limit is known", || poster.standing("webhooks/1").tally.status_429 == 1);
    hooks.iter().for_each(|hook| poster.post(hook, json!({ "text": "b" })));
    poster.post(&Hook::http(&other.url("/")), json!({}));
    poster.wait_delivered(5);
    let (seen, flowed) = (web.seen(), other.seen()[0].at);
    let limit = seen[0].at + Duration::from_secs(2);
    assert!(seen.iter().skip(1).all(|later| later.at >= limit && later.at > flowed));
    poster.stop();
}

/// A global limit holds for the origin that answered it: another server that answers like Discord is not affected.
#[test]
fn a_global_limit_of_one_origin_does_not_stop_another() {
    let web = Web::start(|_| limited(3600.0, true));
    let other = Web::start(|_| DISCORD_OK);
    let poster = Poster::default();
    poster.post(&Hook::discord(&web.url("/api/webhooks/1/token")), json!({ "text": "a" }));
    wait_until("the limit is known", || poster.standing("webhooks/1").tally.status_429 == 1);
    for n in 2..5 {
        poster.post(&Hook::discord(&other.url(&format!("/api/webhooks/{n}/token"))), json!({ "text": "b" }));
    }
    poster.wait_delivered(3);
    assert_eq!((web.seen().len(), other.seen().len()), (1, 3));
    poster.stop();
}

#[test]
fn many_rate_limits_lose_no_message() {
    let asked = AtomicUsize::new(0);
    let web = Web::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0..30 => limited(0.01, false),
        _ => DISCORD_OK,
    });
    let (poster, hook) = (Poster::default(), Hook::discord(&web.url("/api/webhooks/1/token")));
    for n in 0..50 {
        poster.post(&hook, json!({ "text": format!("m{n}") }));
    }
    poster.wait_delivered(50);
    let tally = poster.standing("webhooks").tally;
    assert_eq!((tally.status_429, tally.dead), (30, 0));
    poster.wait_drained();
    poster.stop();
}

// ---- refusals -----------------------------------------------------------------------------------------------------

/// Discord answers that a webhook no longer exists, or another receiver that it is gone.
#[test]
fn a_destination_that_is_gone_gets_one_request() {
    for (kind, status, body) in [
        ("discord", 401, r#"{"message":"Invalid Webhook Token","code":50027}"#),
        ("discord", 403, "{}"),
        ("discord", 404, r#"{"message":"Unknown Webhook","code":10015}"#),
        ("discord", 410, ""),
        ("http", 410, "gone"),
    ] {
        let web = Web::start(move |_| Answer::Full(status, String::new(), body.to_owned()));
        let url = web.url("/api/webhooks/1/hunter2");
        let spec = json!({ "type": kind, "format": "{text}" });
        let url_name = if kind == "http" { "url" } else { "webhook_url" };
        let (poster, hook) = (Poster::default(), Hook::new("d", with(spec, url_name, json!(url))));
        poster.post(&hook, json!({ "text": "first" }));
        wait_until("the destination is closed", || {
            matches!(poster.standing("webhooks").state, DestinationState::Closed(_))
        });
        for _ in 0..10 {
            poster.post(&hook, json!({ "text": "later" }));
        }
        poster.wait_drained();
        assert_eq!((web.seen().len(), poster.dropped("closed")), (1, 11), "{status}");
        let DestinationState::Closed(reason) = poster.standing("webhooks").state else { panic!("open again") };
        assert!(reason.starts_with(&format!("HTTP {status}")), "{reason}");
        wait_until("all dead letters are written", || poster.dead_letters().len() == 11);
        assert!(
            poster.dead_letters().iter().all(|line| line["cause"] == "closed" && line["reason"] == reason.as_str())
        );
        // The first post reports it; ten more of the same kind within ten seconds do not.
        assert_eq!(poster.wait_told(1), [("d".to_owned(), kind, reason)]);
        // The hook is added again: the module tries once more.
        poster.shared.webhooks.reopen(&hook.webhook);
        assert_eq!(poster.standing("webhooks").state, DestinationState::Ok);
        poster.post(&hook, json!({ "text": "again" }));
        poster.wait_drained();
        assert_eq!(web.seen().len(), 2);
        poster.stop();
    }
}

/// A post that the server refuses.
#[test]
fn a_refused_post_goes_to_the_dead_letters_without_secrets() {
    let body = r#"{"code":50035,"message":"Invalid Form Body hunter2","errors":{"content":{"_errors":["x"]}}}"#;
    let web = Web::start(move |seen| {
        let is_bad = seen.body.windows(3).any(|part| part == b"bad");
        if is_bad { Answer::Full(400, String::new(), body.to_owned()) } else { DISCORD_OK }
    });
    let (poster, hook) = (Poster::default(), Hook::discord(&web.url("/api/webhooks/1/hunter2")));
    poster.post(&hook, json!({ "text": "bad\u{1b}[31m\u{9b}" }));
    wait_until("it is given up", || poster.dropped("refused") == 1);
    poster.post(&hook, json!({ "text": "good" }));
    poster.wait_drained();
    assert_eq!((web.seen().len(), poster.delivered()), (2, 1));
    wait_until("the dead letter is written", || poster.dead_letters().len() == 1);
    let line = &poster.dead_letters()[0];
    assert_eq!(line["reason"], r#"HTTP 400, code 50035: Invalid Form Body *** {"content":{"_errors":["x"]}}"#);
    assert_eq!(line["destination"], format!("http://127.0.0.1:{}/api/webhooks/1/***", web.port()));
    assert_eq!(line["payload"]["content"], "bad\\[31m");
    let folder = poster.stop();
    let text = std::fs::read_to_string(folder.path().join("dead_letter.jsonl")).unwrap();
    assert!(!text.contains("hunter2") && text.lines().count() == 1);
}

/// Discord refuses a merged message because of one part: then each part is sent alone.
#[test]
fn one_bad_message_does_not_fail_others() {
    for status in [400, 413] {
        let asked = AtomicUsize::new(0);
        let web = Web::start(move |seen| {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                return limited(0.4, false);
            }
            let is_bad = seen.body.windows(3).any(|part| part == b"bad");
            let refusal = r#"{"code":50035,"message":"Invalid Form Body"}"#;
            if is_bad { Answer::Full(status, String::new(), refusal.to_owned()) } else { DISCORD_OK }
        });
        let poster = Poster::default();
        let url = web.url("/api/webhooks/1/hunter2");
        let text = Hook::discord(&url);
        let embed = json!({ "type": "discord", "webhook_url": url, "embed": { "title": "{text}" } });
        let embed = Hook::new("e", embed);
        poster.post(&text, json!({ "text": "first" }));
        wait_until("the others wait", || poster.standing("webhooks").tally.status_429 == 1);
        for (hook, text) in [(&text, "a"), (&embed, "b"), (&embed, "bad one"), (&text, "c"), (&embed, "d")] {
            poster.post(hook, json!({ "text": text }));
        }
        poster.wait_drained();
        assert_eq!((poster.delivered(), poster.dropped("refused")), (5, 1), "{status}");
        let said = |seen: &fault_kit::Seen| {
            let body = seen.json();
            let titles =
                body["embeds"].as_array().cloned().unwrap_or_default().into_iter().map(|embed| embed["title"].clone());
            let texts = titles.chain([body["content"].clone()]);
            texts.filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>().join(" ")
        };
        let said: Vec<String> = web.seen().iter().map(said).collect();
        assert_eq!(said, ["first", "b bad one d first\na\nc", "first", "a", "b", "bad one", "c", "d"]);
        wait_until("the dead letter is written", || poster.dead_letters().len() == 1);
        let line = &poster.dead_letters()[0];
        assert_eq!((&line["hook"], &line["payload"]["embeds"][0]["title"]), (&json!("e"), &json!("bad one")));
        let told = wait_told(&poster);
        assert!(told.len() == 1 && told[0].0 == "e" && told[0].2.starts_with(&format!("HTTP {status}")), "{told:?}");
        poster.stop();
    }
}

/// A web server's 403 or 404 counts for one post and one path.
#[test]
fn a_denied_request_does_not_close_its_destination() {
    let web = Web::start(|seen| match seen.json()["n"].as_u64() {
        Some(n) if n % 3 == 1 => Answer::Status(403),
        Some(n) if n % 3 == 2 => Answer::Status(404),
        _ if seen.target == "/missing" => Answer::Status(404),
        _ => Answer::Status(200),
    });
    let poster = Poster::default();
    let hook = Hook::http_named("good", &web.url("/good"));
    for n in 0..20 {
        poster.post(&hook, json!({ "n": n }));
        poster.post(&Hook::http(&web.url(&format!("/player/{}", n % 2))), json!({ "n": n }));
    }
    poster.wait_drained();
    assert_eq!((web.seen().len(), poster.delivered(), poster.dropped("refused")), (40, 14, 26));
    assert_eq!(poster.standing("good").state, DestinationState::Ok);
    // In the end the path that is missing is paused. Its other posts wait, and no other path does.
    let missing = Hook::http_named("missing", &web.url("/missing"));
    (0..DENIED_MAX + 1).for_each(|_| poster.post(&missing, json!({})));
    wait_until("the path is paused", || matches!(poster.standing("missing").state, DestinationState::Closed(_)));
    poster.post(&hook, json!({}));
    poster.wait_delivered(15);
    assert_eq!(poster.dropped("refused"), 26 + u64::from(DENIED_MAX));
    let DestinationState::Closed(reason) = poster.standing("missing").state else {
        panic!("{:?}", poster.standing("missing"))
    };
    assert!(reason.starts_with("HTTP 404; it denied"), "{reason}");
    assert_eq!(poster.standing("missing").waiting, 1);
    poster.assert_balanced();
    poster.stop();
}

/// Secrets that the owner wrote into a body or a header are never shown, even if the server repeats them in its answer.
#[test]
fn secrets_in_templates_are_never_shown() {
    let echo = |seen: &fault_kit::Seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let authorization = seen.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value);
        Answer::Full(400, String::new(), format!("no: {body} {authorization:?} {}", seen.target))
    };
    let web = Web::start(echo);
    let poster = Poster::default();
    let spec = json!({
        "type": "http", "url": web.url("/hook/T0P-s3cret?key=K3y-value"), "format": r#"{"token":"Tok-3n","text":"{text}"}"#,
        "headers": { "Authorization": "Bearer B3arer-x" },
    });
    poster.post(&Hook::new("h", spec), json!({ "text": "Bob" }));
    wait_until("the dead letter is written", || poster.dead_letters().len() == 1);
    let line = poster.dead_letters().remove(0);
    assert_eq!(line["payload"], json!({ "text": "Bob" }));
    let told = wait_told(&poster);
    // Another type of hook, and secrets that are plain words.
    let spec = json!({
        "type": "discord", "webhook": web.url("/api/webhooks/1/tokenword"), "format": "{text}",
        "avatar_url": web.url("/a.png?key=avatarword"),
    });
    poster.post(&Hook::new("d", spec), json!({ "text": "Bob" }));
    let spec = json!({ "type": "http", "url": web.url("/bodies"), "format": r#"{"pass":"bodyword","text":"{text}"}"# });
    poster.post(&Hook::new("b", spec), json!({ "text": "Bob" }));
    wait_until("all dead letters are written", || poster.dead_letters().len() == 3);
    let lines = poster.dead_letters();
    assert!(lines.iter().all(|line| line["reason"].as_str().unwrap().contains("no: ")), "{lines:?}");
    let shown = format!("{lines:?} {told:?} {:?} {:?}", wait_told(&poster), poster.shared.webhooks.standings());
    for secret in ["T0P-s3cret", "K3y-value", "Tok-3n", "B3arer-x", "tokenword", "avatarword", "bodyword"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let folder = poster.stop();
        let rights = std::fs::metadata(folder.path().join("dead_letter.jsonl")).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o600);
    }
}

/// The post is given up, and the host of the redirection gets no request.
#[test]
fn redirections_are_not_followed() {
    let target = Web::start(|_| Answer::Status(200));
    let elsewhere = target.url("/hunter2");
    let web = Web::start(move |_| Answer::Full(302, format!("Location: {elsewhere}"), String::new()));
    let poster = Poster::default();
    poster.post(&Hook::http(&web.url("/")), json!({}));
    poster.wait_drained();
    assert_eq!((poster.dropped("refused"), target.connections()), (1, 0));
    assert_eq!(poster.wait_told(1)[0].2, "HTTP 302: redirections are not followed");
    poster.stop();
}

#[test]
fn an_event_that_makes_no_post_is_reported() {
    let web = Web::start(|_| DISCORD_OK);
    let poster = Poster::default();
    poster.post(&Hook::http(&web.url("/{player}")), json!({}));
    poster.post(&Hook::discord(&web.url("/api/webhooks/1/token")), json!({ "text": " " }));
    poster.wait_drained();
    assert_eq!((poster.dropped("unmade"), web.connections()), (2, 0));
    let reasons: Vec<String> = poster.wait_told(2).into_iter().map(|(_, _, reason)| reason).collect();
    assert_eq!(reasons, ["the url cannot be made: the event has no `player`", "the message would be empty"]);
    poster.stop();
}

#[test]
fn dead_letters_show_an_event_without_json_or_too_deep_as_text() {
    let web = Web::start(|_| Answer::Status(400));
    let (poster, hook) = (Poster::default(), Hook::http(&web.url("/")));
    poster.try_post(&hook, "plain \"words\"").unwrap();
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    poster.try_post(&hook, &deep).unwrap();
    poster.try_post(&hook, &"[".repeat(100_000)).unwrap();
    poster.wait_drained();
    assert_eq!(web.seen()[0].json(), json!("plain \"words\""));
    assert_eq!((web.seen()[1].body.as_slice(), web.seen()[2].body.len()), (deep.as_bytes(), 100_002));
    wait_until("all dead letters are written", || poster.dead_letters().len() == 3);
    // One level more than most JSON readers accept: the event is written as a text, so that they can read the line.
    assert_eq!(poster.dead_letters()[1]["payload"], deep.as_str());
    poster.stop();
}

// ---- trouble ------------------------------------------------------------------------------------------------------

/// Each kind of failure, then a good answer: the second attempt has the same id.
#[test]
fn failed_requests_are_tried_again() {
    let troubles = [
        Answer::Status(500),
        Answer::Status(503),
        Answer::Status(408),
        Answer::Close,
        Answer::Raw(b"HTTP/1.1 200".to_vec()),
        Answer::Raw(b"-ERR unknown command\r\n".to_vec()),
        Answer::Full(503, "Retry-After: 1".to_owned(), String::new()),
    ];
    // All at the same time, because each waits for its second attempt.
    let runs: Vec<_> = troubles
        .into_iter()
        .map(|trouble| {
            let web = Web::start(once(trouble, Answer::Status(200)));
            let poster = Poster::default();
            poster.post(&Hook::http(&web.url("/")), json!({ "n": 1 }));
            (web, poster)
        })
        .collect();
    for (web, poster) in runs {
        poster.wait_delivered(1);
        let seen = web.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
        assert_eq!(seen[0].body, seen[1].body);
        assert!(seen[1].at - seen[0].at >= Duration::from_millis(500), "{:?}", seen[1].at - seen[0].at);
        poster.wait_drained();
        poster.stop();
    }
}

/// A closed port, an unknown name, no TLS: each has its own words.
#[test]
fn each_failure_to_connect_has_its_own_words() {
    let plain = Web::start(|_| Answer::Status(200));
    let mute = plain.url("/").replace("http://", "https://");
    let plain = Scripted::start(|client| client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let talks = plain.url().replace("redis://", "https://") + "/";
    let poster = Poster::default();
    let rows = [
        ("http://127.0.0.1:1/", "cannot connect to http://127.0.0.1:1: "),
        ("http://no-such-host.invalid/", "cannot connect to http://no-such-host.invalid: "),
        (mute.as_str(), "it closed the connection (if it has no TLS, use http://)"),
        (talks.as_str(), "it does not speak TLS: use http://"),
    ];
    for (url, _) in rows {
        poster.post(&Hook::http(url), json!({}));
    }
    for (url, words) in rows {
        let host = url.trim_end_matches('/');
        let reason = poster.wait_broken(host);
        assert!(reason.contains(words), "{reason}");
        assert_eq!(poster.standing(host).tally.delivered, 0);
    }
    poster.assert_balanced();
    poster.stop();
}

/// Certificates that are expired, for another name, or of an unknown authority are refused.
#[test]
fn certificates_are_checked() {
    let (authority, other) = (Authority::default(), Authority::default());
    let serve = |name, validity| Web::start_tls(&authority.server(name, validity), |_| Answer::Status(200));
    let good = serve("localhost", Validity::Now);
    let bad = [
        (serve("localhost", Validity::Expired), "its certificate has expired"),
        (serve("localhost", Validity::NotYet), "not valid yet"),
        (serve("elsewhere.example", Validity::Now), "its certificate is for another name"),
        (
            Web::start_tls(&other.server("localhost", Validity::Now), |_| Answer::Status(200)),
            "no known authority signed its certificate: name the authority's file in webhook_ca_file",
        ),
    ];
    let poster = Poster::with(json!({ "webhook_ca_file": authority.file() }), Folder::default());
    poster.post(&Hook::http(&good.url("/a")), json!({ "n": 1 }));
    poster.wait_delivered(1);
    assert_eq!(good.seen()[0].json(), json!({ "n": 1 }));
    for (web, _) in &bad {
        poster.post(&Hook::http(&web.url("/")), json!({}));
    }
    for (web, words) in &bad {
        let name = web.url("/");
        let reason = poster.wait_broken(&name);
        assert!(reason.contains(words), "{reason}");
        assert_eq!(web.seen().len(), 0);
    }
    poster.stop();
    // Without the CA file even the valid certificate has no known authority; a file without certificates is reported.
    for (file, words) in [("", "no known authority"), ("/nowhere.pem", "cannot use webhook_ca_file `/nowhere.pem`")] {
        let poster = Poster::with(json!({ "webhook_ca_file": file }), Folder::default());
        poster.post(&Hook::http(&good.url("/b")), json!({}));
        let reason = poster.wait_broken("localhost");
        assert!(reason.contains(words), "{reason}");
        poster.stop();
    }
    assert_eq!(good.seen().len(), 1);
}

fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name)))
        .count()
}

/// A request with an endless answer is ended with its own words, and its thread is free for others.
#[test]
fn requests_with_endless_answers_are_ended() {
    let rows = [
        (Answer::Hang, "no answer in time"),
        (Answer::Drip, "no answer in time"),
        (Answer::LongHead(100_000_000), "the head of its answer is longer than 16384 bytes"),
        (Answer::Endless(500), "HTTP 500: xxx"),
        (Answer::DripBody(500), "HTTP 500"),
    ];
    let runs: Vec<_> = rows
        .into_iter()
        .map(|(answer, words)| {
            let web = Web::start(once(answer, Answer::Status(200)));
            let poster = Poster::default();
            let began = Instant::now();
            poster.post(&Hook::http(&web.url("/")), json!({}));
            (web, poster, words, began)
        })
        .collect();
    for (web, poster, words, began) in &runs {
        let in_trouble = || poster.standing("127").tally.status_5xx + poster.standing("127").tally.no_answer == 1;
        wait_until(words, in_trouble);
        // The bound is two seconds. The shortest of these answers takes 40 s, the others never end.
        assert!(began.elapsed() < Duration::from_secs(15), "{words} after {:?}", began.elapsed());
        // Far less than the 100 MB of one answer and than an endless stream: only the buffers of the sockets fill up.
        assert!(web.bytes_sent() < 16 * 1024 * 1024, "{words}: {}", web.bytes_sent());
    }
    for (_, poster, ..) in runs {
        poster.wait_delivered(1);
        poster.stop();
    }
}

/// A good status is a delivery, whatever the body does: the post is not sent twice.
#[test]
fn a_good_status_with_an_endless_body_is_a_delivery() {
    for answer in [Answer::Endless(200), Answer::DripBody(200)] {
        let web = Web::start(move |_| answer.clone());
        let poster = Poster::default();
        let began = Instant::now();
        poster.post(&Hook::new("h", json!({ "type": "http", "url": web.url("/"), "timeout": 60 })), json!({}));
        poster.wait_delivered(1);
        // The module reads the body for one second, not for the whole minute.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert_eq!(web.seen().len(), 1);
        poster.stop();
    }
}

/// Three destinations hang; a fourth is served within a second.
#[test]
fn three_hung_destinations_do_not_delay_others() {
    let webs: Vec<Web> = (0..3).map(|_| Web::start(|_| Answer::Hang)).collect();
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let arrivals = Arc::clone(&arrived);
    let good = Web::start(move |seen| {
        arrivals.lock().unwrap().push((seen.json()["n"].as_u64().unwrap(), Instant::now()));
        Answer::Status(200)
    });
    let poster = Poster::default();
    for web in &webs {
        (0..5).for_each(|_| poster.post(&Hook::http(&web.url("/")), json!({})));
    }
    wait_until("all three hang", || webs.iter().all(|web| web.connections() == 1));
    let hook = Hook::http(&good.url("/"));
    let mut sent = Vec::new();
    // Meanwhile each of them hangs for two seconds, fails, waits, and hangs again.
    while !comes_true(Duration::from_millis(10), || webs.iter().all(|web| web.connections() >= 3)) {
        poster.post(&hook, json!({ "n": sent.len() }));
        sent.push(Instant::now());
    }
    poster.wait_delivered(sent.len() as u64);
    let arrived = arrived.lock().unwrap();
    let mut waits: Vec<Duration> =
        arrived.iter().map(|(n, at)| at.saturating_duration_since(sent[*n as usize])).collect();
    waits.sort();
    // If posts were delayed, nearly all of them would wait for two seconds. On a busy machine the 90th percentile is still
    // fast.
    let p90 = waits[waits.len() * 9 / 10];
    assert!(waits.len() > 100 && p90 < Duration::from_secs(1), "p90 {p90:?} of {}", waits.len());
    poster.assert_balanced();
    // A request that hangs for a minute is interrupted.
    let hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", hole.local_addr().unwrap());
    poster.post(&Hook::new("h", json!({ "type": "http", "url": url, "timeout": 60 })), json!({}));
    let (mut stream, _) = hole.accept().unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    poster.stop();
    stream.read_to_end(&mut Vec::new()).expect("the end of the connection");
}

/// More destinations than there are senders hang, each for its whole timeout of a minute. A destination that answered
/// before is served at once, and a new one as soon as the hung requests have had their time.
#[test]
fn hung_destinations_do_not_delay_others_for_their_whole_timeout() {
    let hung: Vec<Web> = (0..SENDERS_MAX * 2)
        .map(|n| Web::start(move |_| if n % 2 == 0 { Answer::Hang } else { Answer::Drip }))
        .collect();
    let [known, new] = [(); 2].map(|()| Web::start(|_| Answer::Status(200)));
    let poster = Poster::default();
    let good = Hook::http(&known.url("/"));
    poster.post(&good, json!({}));
    poster.wait_delivered(1);
    for web in &hung {
        poster.post(&Hook::new("h", json!({ "type": "http", "url": web.url("/"), "timeout": 60 })), json!({}));
    }
    let connections = || hung.iter().map(Web::connections).sum::<usize>();
    wait_until("all senders hang", || connections() == SENDERS_MAX);
    // Everything here happens in less than their minute: a test does not wait so long.
    poster.post(&Hook::http(&new.url("/")), json!({}));
    for n in 2..30 {
        poster.post(&good, json!({}));
        wait_until("the known destination is served", || known.seen().len() == n);
    }
    wait_until("the new destination is served", || new.seen().len() == 1);
    let words = "no answer in time: other destinations waited for the sender";
    let cut = poster.shared.webhooks.standings().into_iter().filter(|standing| standing.tally.no_answer > 0).count();
    assert!(cut >= 1 && cut <= hung.len(), "{cut}");
    wait_until("it is reported", || {
        let standings = poster.shared.webhooks.standings();
        standings
            .iter()
            .any(|standing| matches!(&standing.state, DestinationState::Broken(reason, _) if reason.contains(words)))
    });
    poster.assert_balanced();
    poster.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn the_number_of_threads_is_bounded_and_all_of_them_end() {
    // This runs in its own process, because other tests have such threads too.
    let inner = "REALTIME_TEST_INNER";
    if std::env::var_os(inner).is_none() {
        let program = std::env::current_exe().unwrap();
        let run = std::process::Command::new(program)
            .args(["--exact", "the_number_of_threads_is_bounded_and_all_of_them_end", "--nocapture"])
            .env(inner, "1")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"));
        return;
    }
    let mut files = Vec::new();
    for round in 0..3 {
        let webs: Vec<Web> = (0..SENDERS_MAX * 3).map(|_| Web::start(|_| Answer::Hang)).collect();
        let poster = Poster::default();
        for web in &webs {
            // Host names, because each look-up has a thread.
            poster.post(&Hook::http(&web.url("/").replace("127.0.0.1", "localhost")), json!({}));
        }
        wait_until("the first posts failed", || {
            let standings = poster.shared.webhooks.standings();
            standings.iter().filter(|standing| standing.tally.no_answer > 0).count() > SENDERS_MAX
        });
        assert_eq!(threads("rt-send-"), SENDERS_MAX, "{round}");
        poster.stop();
        wait_until("all threads ended", || threads("rt-") == 0);
        drop(webs);
        files.push(std::fs::read_dir("/proc/self/fd").unwrap().count());
    }
    wait_until("no socket is left open", || std::fs::read_dir("/proc/self/fd").unwrap().count() <= files[0]);
}

// ---- bounds -------------------------------------------------------------------------------------------------------

#[test]
fn posts_beyond_the_queue_of_a_destination_go_to_the_dead_letters() {
    let web = Web::start(|_| Answer::Hang);
    let (poster, hook) = (Poster::default(), Hook::http(&web.url("/")));
    let more = 100;
    poster.post(&hook, json!({ "n": 0 }));
    wait_for("requests in flight", 1, || web.seen().len());
    for n in 1..WEBHOOK_JOBS_MAX + more {
        while poster.try_post(&hook, &json!({ "n": n }).to_string()).is_err() {
            std::thread::yield_now(); // Counted as refused.
        }
    }
    wait_until("all posts were taken", || poster.standing("127").tally.offered == (WEBHOOK_JOBS_MAX + more) as u64);
    // One is in flight.
    wait_for("posts dropped", more as u64 - 1, || poster.dropped("overflow"));
    wait_for("dead letters", more - 1, || poster.dead_letters().len());
    let numbers: Vec<u64> = poster.dead_letters().iter().map(|line| line["payload"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..more as u64).collect::<Vec<_>>());
    poster.assert_balanced();
    poster.stop();
}

#[test]
fn every_event_of_a_flood_is_delivered_refused_or_counted() {
    let web = Web::start(|_| Answer::Status(200));
    let (poster, hook) = (Arc::new(Poster::default()), Arc::new(Hook::http(&web.url("/"))));
    let payload = json!({ "text": "x".repeat(100_000) }).to_string();
    let pushers: Vec<_> = (0..2)
        .map(|_| {
            let (poster, hook, payload) = (Arc::clone(&poster), Arc::clone(&hook), payload.clone());
            std::thread::spawn(move || (0..2000).filter(|_| poster.try_post(&hook, &payload).is_ok()).count())
        })
        .collect();
    let taken: usize = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
    poster.wait_drained();
    let stats = &poster.shared.stats.webhooks;
    assert_eq!((stats.offered.get(), poster.dropped("queue_full")), (4000, 4000 - taken as u64));
    assert_eq!(taken as u64, poster.delivered() + poster.dropped("overflow"));
    Arc::into_inner(poster).unwrap().stop();
}

// ---- the end, and after it ------------------------------------------------------------------------------------------

/// Posts that could not be sent are sent by the next process, once.
#[test]
fn the_next_process_sends_the_remaining_posts() {
    let folder = Folder::default();
    let web = Web::start(|_| Answer::Hang);
    let poster = Poster::with(json!({}), folder.clone());
    let hooks = [Hook::http(&web.url("/a")), Hook::discord(&web.url("/api/webhooks/1/hunter2"))];
    for n in 0..3 {
        hooks.iter().for_each(|hook| poster.post(hook, json!({ "text": n.to_string(), "n": n })));
    }
    let spec = json!({
        "type": "discord", "webhook": web.url("/forum"), "format": "new", "username": "{name}", "avatar_url": "{avatar}",
        "thread_name": "{name}", "applied_tags": ["7"], "silent": true, "suppress_embeds": true,
    });
    poster.post(&Hook::new("f", spec), json!({ "name": "Clyde", "avatar": "https://a/b" }));
    wait_for("posts in flight", 3, || web.seen().len());
    let first: Vec<String> = web.seen().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    poster.assert_balanced();
    poster.stop();
    drop(web);

    let text = std::fs::read_to_string(folder.path().join("spool.jsonl")).unwrap();
    let urls: Vec<String> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["url"].to_string()).collect();
    assert!(urls.len() >= 4 && urls.iter().any(|url| url.contains("hunter2")), "{urls:?}");
    // For this test the server comes back at another address.
    let web = Web::start(|_| DISCORD_OK);
    let port = text.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap();
    let text = text.replace(&format!("127.0.0.1:{port}/"), &format!("127.0.0.1:{}/", web.port()));
    std::fs::write(folder.path().join("spool.jsonl"), text).unwrap();

    let poster = Poster::with(json!({}), folder.clone());
    poster.wait_delivered(7);
    wait_until("the spool is removed", || !poster.spool().exists());
    let mut seen = web.seen();
    let forum = seen.remove(seen.iter().position(|seen| seen.target == "/forum?wait=true").unwrap());
    let expected = json!({
        "allowed_mentions": { "parse": [] }, "content": "new", "username": "C\u{200a}lyde", "avatar_url": "https://a/b",
        "thread_name": "Clyde", "applied_tags": ["7"], "flags": 4100,
    });
    assert_eq!((forum.json(), first.contains(&forum.header("webhook-id").to_owned())), (expected, true));
    let numbers: Vec<u64> =
        seen.iter().filter(|seen| seen.target == "/a").map(|seen| seen.json()["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let texts: Vec<String> = seen.iter().filter(|seen| seen.target != "/a").map(|seen| seen.content()).collect();
    assert_eq!(texts.join("\n"), "0\n1\n2");
    assert!(
        first
            .iter()
            .all(|id| *id == forum.header("webhook-id") || seen.iter().any(|seen| seen.header("webhook-id") == id))
    );
    poster.wait_drained();
    poster.stop();
    let again = Poster::with(json!({}), folder);
    again.assert_balanced();
    assert_eq!(again.shared.stats.webhooks.offered.get(), 0);
    again.stop();
}

/// The server crashes after its spool was written and some of its posts were sent. The next process sends only the rest;
/// Discord messages in it are merged, and sent one by one if the merged one is refused.
#[test]
fn posts_sent_before_a_crash_are_not_sent_again() {
    let open = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
    let gate = Arc::clone(&open);
    let web = Web::start(move |seen| {
        let n = seen.json()["n"].as_u64().unwrap();
        drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| *open <= n).unwrap());
        Answer::Status(200)
    });
    let chat = Web::start(|_| Answer::Hang);
    let (poster, hook) = (Poster::default(), Hook::http(&web.url("/")));
    for n in 0..5 {
        poster.post(&hook, json!({ "n": n }));
        let text = if n == 3 { "bad".to_owned() } else { n.to_string() };
        poster.post(&Hook::discord(&chat.url("/api/webhooks/1/token")), json!({ "text": text }));
    }
    wait_until("one post hangs", || chat.seen().len() == 1);
    assert!(poster.shared.webhooks.spool(Instant::now() + Duration::from_secs(10)));
    *open.0.lock().unwrap() = 3;
    open.1.notify_all();
    poster.wait_delivered(3);
    // After a crash only the contents of the file are left.
    let text = std::fs::read_to_string(poster.spool()).unwrap();
    poster.stop();
    drop((web, chat));
    let (web, chat) = (
        Web::start(|_| Answer::Status(200)),
        Web::start(|seen| if seen.content().contains("bad") { Answer::Status(400) } else { DISCORD_OK }),
    );
    let folder = Folder::default();
    std::fs::create_dir_all(folder.path()).unwrap();
    let moved: String = text
        .lines()
        .map(|line| {
            let port = if line.contains("/api/webhooks") { chat.port() } else { web.port() };
            let mut parts = line.split("127.0.0.1:");
            let first = parts.next().unwrap().to_owned();
            let moved = parts.fold(first, |moved, part| {
                format!("{moved}127.0.0.1:{port}{}", part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
            });
            moved + "\n"
        })
        .collect();
    std::fs::write(folder.path().join("spool.jsonl"), moved).unwrap();
    let next = Poster::with(json!({}), folder);
    wait_until("all posts are read from the spool", || next.shared.stats.webhooks.offered.get() == 7);
    next.wait_drained();
    let numbers: Vec<u64> = web.seen().iter().map(|seen| seen.json()["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 4]);
    let texts: Vec<String> = chat.seen().iter().map(|seen| seen.content()).collect();
    assert_eq!(texts.last().map(String::as_str), Some("4"), "{texts:?}");
    assert_eq!((next.delivered(), next.dropped("refused")), (6, 1));
    wait_until("the spool is removed", || !next.spool().exists());
    next.stop();
}

/// Two servers share one folder.
#[test]
fn two_processes_in_one_folder_keep_their_spools_apart() {
    let folder = Folder::default();
    let web = Web::start(|_| Answer::Hang);
    let posters = [1, 2].map(|_| Poster::with(json!({}), folder.clone()));
    let deadline = || Instant::now() + Duration::from_secs(10);
    for (n, poster) in posters.iter().enumerate() {
        poster.post(&Hook::http(&web.url("/")), json!({ "n": n }));
        assert!(poster.shared.webhooks.spool(deadline()));
    }
    let [one, two] = posters;
    // The first server ends. The next one takes over its spool, and leaves the spool of the running one alone.
    one.stop();
    let heir = Poster::with(json!({}), folder.clone());
    wait_until("the heir has the post", || heir.shared.webhooks.waiting() == 1);
    wait_until("its own spool is there", || heir.spool().exists() && folder.path().join("spool.2.jsonl").exists());
    assert_eq!(two.shared.webhooks.waiting(), 1);
    two.stop();
    heir.stop();
    let last = Poster::with(json!({}), folder.clone());
    wait_until("the last one has both posts", || last.shared.webhooks.waiting() == 2);
    let other = Poster::with(json!({}), folder);
    other.post(&Hook::http(&web.url("/other")), json!({}));
    wait_until("the first post is in flight", || web.seen().iter().any(|seen| seen.target == "/other"));
    assert_eq!(other.shared.stats.webhooks.offered.get(), 1);
    other.stop();
    last.stop();
}

/// At a map change the spool is written; the same process removes it when it has sent the posts in it.
#[test]
fn a_process_that_goes_on_removes_its_spool() {
    let open = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let gate = Arc::clone(&open);
    let web = Web::start(move |_| {
        drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
        Answer::Status(200)
    });
    let (poster, hook) = (Poster::default(), Hook::http(&web.url("/")));
    let deadline = || Instant::now() + PATIENCE;
    assert!(poster.shared.webhooks.spool(deadline()));
    assert!(!poster.spool().exists());
    for n in 0..3 {
        poster.post(&hook, json!({ "n": n }));
    }
    assert!(poster.shared.webhooks.spool(deadline()));
    let lines = std::fs::read_to_string(poster.spool()).unwrap().lines().count();
    assert_eq!(lines, 3);
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    poster.wait_delivered(3);
    wait_until("the spool is removed", || !poster.spool().exists());
    assert_eq!(web.seen().len(), 3);
    poster.stop();
}

// ---- panics ------------------------------------------------------------------------------------------------------------

/// A panic in each of the threads: the lost post is counted, the others are delivered.
#[test]
fn a_panic_costs_at_most_one_attempt() {
    let inner = "REALTIME_TEST_PANIC";
    if let Ok(place) = std::env::var(inner) {
        let web = Web::start(|_| Answer::Status(200));
        let (poster, hook) = (Poster::default(), Hook::http(&web.url("/")));
        (0..5).for_each(|n| poster.post(&hook, json!({ "n": n })));
        poster.wait_drained();
        let lost = poster.dropped("panic");
        assert_eq!((poster.delivered() + lost, lost), (5, u64::from(place.starts_with("webhook*"))));
        // The carrier counts nothing: its sender gets an error, and no connection that hangs.
        assert_eq!(poster.shared.stats.panics.get(), u64::from(place != "carrier*1"));
        poster.stop();
        return;
    }
    for place in ["carrier*1", "sender*1", "webhook*1", "webhooks*1"] {
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_panic_costs_at_most_one_attempt", "--nocapture"])
            .env(inner, place)
            .output()
            .unwrap();
        assert!(run.status.success(), "{place}: {}", String::from_utf8_lossy(&run.stderr));
        assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"), "{place}");
    }
}
