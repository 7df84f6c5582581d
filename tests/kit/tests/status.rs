//! Status messages of whole servers without Lua, against a real Redis and a web server that plays Discord: one message is
//! created and then edited, through restarts, map changes, deletions and limits, and a fleet shares one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault_kit::{Answer, Folder, Redis, Seen, Server, Web, comes_true, defaults, wait_for, wait_until};
use realtime::facade::config::Sources;
use realtime::facade::hooks::status::GameValues;
use realtime::facade::webhook::schedule::DestinationState;
use serde_json::{Value, json};

/// The messages of one webhook, as Discord keeps them.
struct Channel {
    web: Web,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The text of each message, by its id. Discord removes white space at both ends.
    messages: BTreeMap<u64, String>,
    created: u64,
    /// Answers to the next requests, instead of the usual ones.
    next: Vec<Answer>,
}

const WEBHOOK: &str = "/api/webhooks/1/hunter2";

impl Channel {
    fn open() -> Channel {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        Channel { web: Web::start(move |seen| shared.lock().unwrap().answer(seen)), state }
    }

    fn url(&self) -> String {
        self.web.url(WEBHOOK)
    }

    /// The texts of all messages, oldest first.
    fn texts(&self) -> Vec<String> {
        self.state.lock().unwrap().messages.values().cloned().collect()
    }

    fn created(&self) -> u64 {
        self.state.lock().unwrap().created
    }

    fn delete_all(&self) {
        self.state.lock().unwrap().messages.clear();
    }

    /// Answers the next request in this way.
    fn answer_next(&self, answer: Answer) {
        self.state.lock().unwrap().next.push(answer);
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Answer {
        if !self.next.is_empty() {
            return self.next.remove(0);
        }
        let full = |status: u16, body: Value| Answer::Full(status, String::new(), body.to_string());
        let path = seen.target.split('?').next().unwrap();
        assert_eq!(seen.json()["allowed_mentions"], json!({ "parse": [] }));
        if seen.method == "POST" {
            assert!(path == WEBHOOK && seen.target.ends_with("?wait=true"), "{}", seen.target);
            self.created += 1;
            let id = 1_200_000_000_000_000_000 + self.created;
            self.messages.insert(id, seen.content().trim().to_owned());
            return full(200, json!({ "type": 0, "content": seen.content(), "id": id.to_string(), "channel_id": "5" }));
        }
        assert_eq!(seen.method, "PATCH");
        let id: u64 = path.strip_prefix(&format!("{WEBHOOK}/messages/")).unwrap().parse().unwrap();
        match self.messages.get_mut(&id) {
            Some(text) => {
                *text = seen.content().trim().to_owned();
                full(200, json!({ "id": id.to_string() }))
            }
            None => full(404, json!({ "message": "Unknown Message", "code": 10008 })),
        }
    }
}

fn at(redis: &str, name: &str, folder: Folder) -> Server {
    let mut sources = Sources::new(defaults(), None, |_| None);
    sources.configure(&json!({ "redis": redis, "server": name, "prefix": "p:" }).to_string()).unwrap();
    let mut server = Server::in_folder(sources, folder);
    server.game = on("gmconstruct");
    server.wait_ready();
    server
}

fn on(map: &str) -> GameValues {
    GameValues { map: Some(map.to_owned()), players: Some(3), ..GameValues::default() }
}

fn spec(channel: &Channel, more: Value) -> Value {
    let mut spec = json!({
        "type": "discord_status", "webhook_url": channel.url(), "format": "{server} {map} {players}", "interval": 10,
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn add(server: &mut Server, spec: &Value) {
    server.engine.add_hook(b"player:*", Some(b"status"), spec, None).unwrap();
}

/// Ticks until the channel has these messages.
#[track_caller]
fn shows(servers: &mut [&mut Server], channel: &Channel, texts: &[&str]) {
    wait_for("messages", texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), || {
        servers.iter_mut().for_each(|server| _ = server.tick());
        channel.texts()
    });
}

/// The game leaves a map and starts another one, whose script adds the hook again.
fn change_map(server: &mut Server, map: &str, spec: &Value) {
    server.engine.detach();
    server.game = on(map);
    server.engine.attach();
    add(server, spec);
}

#[test]
fn one_message_lives_through_restarts_and_map_changes() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let spec = spec(&channel, json!({}));
    let mut folder = Folder::default();
    for run in 0..4 {
        let mut server = at(&redis.url(), "one", folder);
        add(&mut server, &spec);
        if run == 0 {
            shows(&mut [&mut server], &channel, &["one gmconstruct 3"]);
        }
        change_map(&mut server, &format!("gm{run}"), &spec);
        shows(&mut [&mut server], &channel, &[&format!("one gm{run} 3")]);
        server.settle();
        let stats = server.engine.stats();
        let destination = &stats["destinations"][0];
        assert_eq!((&destination["type"], &destination["state"]), (&json!("discord_status"), &json!("ok")), "{stats}");
        assert!(!stats.to_string().contains("hunter2"), "{stats}");
        server.assert_balanced();
        folder = server.folder.clone();
        server.stop();
    }
    assert_eq!(channel.created(), 1);
    let keys = redis.command(&["KEYS", "p:rt:status:*"]);
    assert_eq!((redis.command(&["GET", &keys]).as_str(), keys.lines().count()), ("1200000000000000001", 1));
    let ttl: u64 = redis.command(&["TTL", &keys]).parse().unwrap();
    assert!((29 * 86_400..=30 * 86_400).contains(&ttl), "{ttl}");
    assert!(std::fs::read_to_string(folder.path().join("realtime/dead_letter.jsonl")).is_err());
}

/// The message was created by an earlier process, so it may be created anew at once.
#[test]
fn a_deleted_message_is_created_again() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let spec = spec(&channel, json!({}));
    for created in 1..3 {
        let mut server = at(&redis.url(), "one", Folder::default());
        add(&mut server, &spec);
        shows(&mut [&mut server], &channel, &["one gmconstruct 3"]);
        assert_eq!(channel.created(), created);
        server.settle();
        assert_eq!(server.stat("/webhooks/dropped/replaced"), created - 1);
        server.assert_balanced();
        server.stop();
        channel.delete_all();
    }
}

/// No tick tells new values: the events are shown all the same, beside the last values.
#[test]
fn a_game_that_sleeps_keeps_its_last_values() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let lines = json!({ "format": "{map} {players} {time}\n{events}", "event_format": "+ {name}" });
    let mut server = at(&redis.url(), "one", Folder::default());
    add(&mut server, &spec(&channel, lines));
    wait_until("the message is there", || {
        server.tick();
        !channel.texts().is_empty()
    });
    server.settle();
    let before = channel.texts()[0].clone();
    server.game = on("gmother");
    server.emit("player:join", &json!({ "name": "Al" }).to_string()).unwrap();
    wait_for("text", format!("{before}\n+ Al"), || channel.texts()[0].clone());
    server.settle();
    server.stop();
}

/// A limit, an error of the server and a lost answer: each is waited for, and then the newest text is shown. Other messages
/// of the webhook are not merged with it.
#[test]
fn limits_and_failures_delay_the_newest_text_only() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let spec = spec(&channel, json!({}));
    let mut server = at(&redis.url(), "one", Folder::default());
    let body = json!({ "message": "You are being rate limited.", "retry_after": 1.5, "global": false });
    channel.answer_next(Answer::Full(429, "Retry-After: 2".to_owned(), body.to_string()));
    add(&mut server, &spec);
    let began = Instant::now();
    shows(&mut [&mut server], &channel, &["one gmconstruct 3"]);
    assert!(began.elapsed() > Duration::from_millis(1400), "{:?}", began.elapsed());
    assert_eq!(server.engine.stats()["destinations"][0]["429"], 1);
    for (map, answer) in [("gm1", Answer::Status(502)), ("gm2", Answer::Close)] {
        channel.answer_next(answer);
        change_map(&mut server, map, &spec);
        shows(&mut [&mut server], &channel, &[&format!("one {map} 3")]);
    }
    assert_eq!(channel.created(), 1);
    server.settle();
    server.assert_balanced();
    server.stop();
}

#[test]
fn a_webhook_that_is_gone_closes_until_the_hook_is_added_again() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let spec = spec(&channel, json!({}));
    let mut server = at(&redis.url(), "one", Folder::default());
    let body = json!({ "message": "Unknown Webhook", "code": 10015 });
    channel.answer_next(Answer::Full(404, String::new(), body.to_string()));
    add(&mut server, &spec);
    let closed = |server: &Server| {
        let standings = server.engine.shared().webhooks.standings();
        standings.iter().any(|standing| matches!(standing.state, DestinationState::Closed(_)))
    };
    server.wait(closed);
    server.settle();
    let asked = channel.web.seen().len();
    // Neither a new map nor the interval sends anything; the hook that is added again does.
    server.game = on("gm1");
    assert!(!comes_true(Duration::from_secs(1), || {
        server.tick();
        channel.web.seen().len() > asked
    }));
    change_map(&mut server, "gm2", &spec);
    shows(&mut [&mut server], &channel, &["one gm2 3"]);
    server.settle();
    assert_eq!(server.stat("/webhooks/dropped/closed"), 1);
    server.assert_balanced();
    server.stop();
}

/// The message of each server shows the events of that server, and those of other programs; that of a fleet shows all. The
/// fleet's is edited by one server, and by another one when that ends.
#[test]
fn a_fleet_has_one_message_or_one_for_each_server() {
    let redis = Redis::start(&[]);
    let (own, shared) = (Channel::open(), Channel::open());
    let lines = json!({ "format": "{server} {map}\n{events}", "event_format": "+ {name}" });
    let each = spec(&own, lines.clone());
    let mut fleet = spec(&shared, lines);
    (fleet["scope"], fleet["format"]) = (json!("fleet"), json!("{map}\n{events}"));
    let mut servers = ["one", "two"].map(|name| at(&redis.url(), name, Folder::default()));
    for server in &mut servers {
        server.engine.add_hook(b"player:*", Some(b"fleet"), &fleet, None).unwrap();
        add(server, &each);
        server.tick();
    }
    servers.iter_mut().for_each(Server::wait_ready);
    let [one, two] = &mut servers;
    shows(&mut [one, two], &shared, &["gmconstruct"]);
    wait_until("each server has a message", || {
        [&mut *one, two].into_iter().for_each(|server| _ = server.tick());
        own.texts().len() == 2
    });
    one.emit("player:join", &json!({ "name": "Al" }).to_string()).unwrap();
    two.emit("player:join", &json!({ "name": "Bo" }).to_string()).unwrap();
    redis.command(&["PUBLISH", "p:player:web", &json!({ "name": "Web" }).to_string()]);
    // The next interval shows the events.
    let has = |text: &str, names: [bool; 3]| {
        ["+ Al", "+ Bo", "+ Web"].iter().zip(names).all(|(name, there)| text.lines().any(|line| line == *name) == there)
    };
    wait_until("the events are shown", || {
        [&mut *one, two].into_iter().for_each(|server| _ = server.tick());
        let texts = own.texts();
        let of = |name: &str| texts.iter().find(|text| text.starts_with(name)).unwrap();
        has(&shared.texts()[0], [true; 3]) && has(of("one"), [true, false, true]) && has(of("two"), [false, true, true])
    });
    // The lease holder ends: the other edits the same message, with the lines that it has seen itself.
    let holds = |server: &Server| {
        let (_, routes) = server.engine.shared().published.current();
        routes.leases().iter().any(|(_, lease)| lease.holds(Instant::now()))
    };
    let [one, two] = servers;
    let (ends, mut stays) = if holds(&one) { (one, two) } else { (two, one) };
    ends.stop();
    change_map(&mut stays, "gm2", &each);
    stays.engine.add_hook(b"player:*", Some(b"fleet"), &fleet, None).unwrap();
    wait_until("the other server edits", || {
        stays.tick();
        shared.texts()[0].starts_with("gm2\n") && has(&shared.texts()[0], [true; 3])
    });
    assert_eq!((shared.created(), own.created()), (1, 2));
    // A removed hook leaves its message alone.
    assert!(stays.engine.remove_hook(b"fleet").is_some() && stays.engine.remove_hook(b"status").is_some());
    stays.tick();
    stays.settle();
    stays.assert_balanced();
    assert_eq!(shared.texts().len() + own.texts().len(), 3);
    stays.stop();
}

/// Without an id the message cannot be edited. Posting it again would fill the channel.
#[test]
fn an_answer_without_an_id_ends_the_message() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let spec = spec(&channel, json!({}));
    let mut server = at(&redis.url(), "one", Folder::default());
    channel.answer_next(Answer::Full(200, String::new(), json!({ "id": "../../1" }).to_string()));
    add(&mut server, &spec);
    server.wait(|server| format!("{:?}", server.told).contains("no id of the message"));
    server.settle();
    server.game = on("gm1");
    assert!(!comes_true(Duration::from_secs(1), || {
        server.tick();
        channel.web.seen().len() > 1
    }));
    server.stop();
}

/// The embedded server keeps the id as well.
#[test]
fn a_server_without_redis_keeps_its_message() {
    let channel = Channel::open();
    let spec = spec(&channel, json!({}));
    let mut folder = Folder::default();
    for run in 0..3 {
        let mut server = at("embedded", "one", folder);
        server.game = on(&format!("gm{run}"));
        add(&mut server, &spec);
        shows(&mut [&mut server], &channel, &[&format!("one gm{run} 3")]);
        server.settle();
        let (_, flush) = server.engine.detach();
        assert!(flush.wait());
        folder = server.folder.clone();
        server.stop();
    }
    assert_eq!(channel.created(), 1);
}

/// Without an answer of Redis nobody knows whether there is a message already: nothing is posted, and an error is reported.
#[test]
fn nothing_is_created_while_redis_does_not_tell_the_id() {
    let mut redis = Redis::start(&["--user", "gmod", "on", ">pw", "~*", "&*", "+@all", "-get"]);
    let channel = Channel::open();
    let spec = spec(&channel, json!({}));
    let mut server = at(&redis.url().replace("redis://", "redis://gmod:pw@"), "one", Folder::default());
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    add(&mut server, &spec);
    // One question may be queued before both connections are known to be lost.
    assert!(!comes_true(Duration::from_secs(3), || {
        server.tick();
        server.stat("/outbox/in") > 1
    }));
    redis.start_again();
    server.wait(|server| server.errors().iter().any(|error| error.starts_with("status rt:status:")));
    assert!(channel.web.seen().is_empty());
    redis.command(&["ACL", "SETUSER", "gmod", "+get"]);
    shows(&mut [&mut server], &channel, &["one gmconstruct 3"]);
    assert_eq!(channel.created(), 1);
    server.stop();
}

#[test]
fn the_number_of_status_messages_is_bounded() {
    let (redis, channel) = (Redis::start(&[]), Channel::open());
    let mut server = at(&redis.url(), "one", Folder::default());
    let spec = spec(&channel, json!({}));
    for number in 0..32 {
        server.engine.add_hook(b"a", Some(format!("s{number}").as_bytes()), &spec, None).unwrap();
    }
    let refused = server.engine.add_hook(b"a", Some(b"one more"), &spec, None).unwrap_err();
    assert_eq!(refused.to_string(), "config: there are 32 hooks of type discord_status already");
    server.engine.add_hook(b"a", Some(b"s5"), &spec, None).unwrap();
    server.stop();
}
