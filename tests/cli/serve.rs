//! `realtime-cli serve` on the wire: headers, refusals, limits, and the stream of a page without addresses and passwords.
//! `scripts/test-page` looks at the page in a browser.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};

use crate::fleet::{Game, PATIENCE, Running, numbered, wait_until};
use crate::servers::show;

/// A running program and the address of its page.
struct Page {
    _program: Running,
    port: u16,
    token: String,
}

/// One response.
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    fn start(game: &Game, arguments: &[&str]) -> Page {
        let mut program = Running::start(game.tool(&[&["serve", "--port", "0"], arguments].concat()));
        let line = program.line();
        let rest = line.strip_prefix("http://127.0.0.1:").unwrap_or_else(|| panic!("{line:?}, {}", program.said()));
        let (port, token) = rest.split_once("/#").unwrap();
        assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
        program.wait_said("listening to ");
        Page { port: port.parse().unwrap(), token: token.to_owned(), _program: program }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and reads the response to its end.
    fn send(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.connect();
        // The program may answer, or close, before it has read everything.
        let _ = stream.write_all(bytes);
        let mut response = Vec::new();
        match stream.read_to_end(&mut response) {
            Ok(_) => {}
            Err(err) if err.kind() == ErrorKind::ConnectionReset => {}
            Err(err) => panic!("{err}"),
        }
        let text = String::from_utf8(response).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ").unwrap().get(..3).unwrap().parse().unwrap();
        Some(Response { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// A request as the page sends it, with further lines in its head.
    fn request(&self, path: &str, lines: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{lines}\r\n", self.port).into_bytes()
    }

    fn with_token(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }

    fn get(&self, path: &str) -> Response {
        self.send(&self.request(path, &self.with_token())).unwrap()
    }

    fn board(&self, query: &str) -> Value {
        let response = self.get(&format!("/board?{query}"));
        assert_eq!(response.status, 200);
        serde_json::from_str(&response.body).unwrap()
    }

    /// Opens the stream of a page.
    fn open(&self) -> Stream {
        let mut stream = self.connect();
        stream.write_all(&self.request("/events", &self.with_token())).unwrap();
        Stream { stream, text: String::new(), events: Vec::new(), state: Value::Null }
    }
}

/// The stream of an open page.
struct Stream {
    stream: TcpStream,
    /// Bytes that are no whole record yet.
    text: String,
    /// All events so far.
    events: Vec<Value>,
    /// The last state.
    state: Value,
}

impl Stream {
    /// Reads on until this is true.
    #[track_caller]
    fn wait(&mut self, what: &str, done: impl Fn(&Stream) -> bool) {
        let mut bytes = Vec::new();
        wait_until(what, || {
            let mut piece = [0; 8192];
            let count = match self.stream.read(&mut piece) {
                // The machine was stopped for a moment.
                Err(err) if err.kind() == ErrorKind::Interrupted => return false,
                read => read.unwrap(),
            };
            assert!(count > 0, "the stream ended: {}", self.text);
            bytes.extend_from_slice(&piece[..count]);
            // A character may be cut.
            let whole = match std::str::from_utf8(&bytes) {
                Ok(_) => bytes.len(),
                Err(err) => err.valid_up_to(),
            };
            self.text += std::str::from_utf8(&bytes[..whole]).unwrap();
            bytes.drain(..whole);
            while let Some((record, rest)) = self.text.split_once("\n\n") {
                // The head of the response stands before the first record.
                let record = record.rsplit_once("\r\n\r\n").map_or(record, |(_, record)| record);
                let (kind, data) = record.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                match kind {
                    "event" => self.events.push(data),
                    "state" => self.state = data,
                    "skipped" => assert!(data.is_u64()),
                    _ => panic!("{record}"),
                }
                self.text = rest.to_owned();
            }
            done(self)
        });
    }

    fn is_connected(&self) -> bool {
        self.state["link"]["connected"] == true
    }
}

#[test]
fn every_response_has_the_safety_headers() {
    let game = Game::start(None);
    let page = Page::start(&game, &[]);
    for (path, kind, status) in [
        ("/", "text/html; charset=utf-8", 200),
        ("/page.js", "text/javascript; charset=utf-8", 200),
        ("/page.css", "text/css; charset=utf-8", 200),
        ("/icon.svg", "image/svg+xml", 200),
        ("/board?name=x", "application/json", 200),
        ("/page.rs", "text/plain; charset=utf-8", 404),
        ("/%2e%2e/page.js", "text/plain; charset=utf-8", 404),
    ] {
        let response = page.get(path);
        assert_eq!(response.status, status, "{path}");
        let head = &response.head;
        for line in [
            &format!("Content-Type: {kind}"),
            &format!("Content-Length: {}", response.body.len()),
            "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Resource-Policy: same-origin",
            "Cross-Origin-Opener-Policy: same-origin",
            "Cache-Control: no-store",
        ] {
            assert!(head.lines().any(|found| found == line), "{path} lacks {line}: {head}");
        }
        let lower = head.to_ascii_lowercase();
        assert!(!lower.contains("access-control") && !lower.contains("set-cookie"), "{head}");
    }
    let mut stream = page.open();
    stream.wait("the head", |stream| stream.is_connected());
}

/// Nothing in the page's files needs an exception from the policy, or another host.
#[test]
fn the_files_keep_to_the_policy() {
    let file = |name: &str| fs::read_to_string(format!("src/bin/realtime-cli/serve/page/{name}")).unwrap();
    let (html, css, script) = (file("index.html"), file("page.css"), file("page.js"));
    assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/page.js\" defer></script>").count());
    for part in [" style=", "<style", " on", "javascript:", "http:", "https:", "<iframe", "<base"] {
        assert!(!html.contains(part), "index.html has {part}");
    }
    for part in ["@import", "url(", "http"] {
        assert!(!css.contains(part), "page.css has {part}");
    }
    for part in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval",
        "Function(",
        "setTimeout(\"",
        "import(",
        "DOMParser",
        "createContextualFragment",
        "srcdoc",
        "setHTML",
        "Worker",
        "localStorage",
        ".href",
        ".src",
    ] {
        assert!(!script.contains(part), "page.js has {part}");
    }
    let addresses = script.matches("http").count();
    assert_eq!(addresses, script.matches("http://www.w3.org/2000/svg").count(), "page.js names another host");
}

#[test]
fn strangers_are_refused() {
    let game = Game::start(None);
    let page = Page::start(&game, &[]);
    let (port, token) = (page.port, page.with_token());
    let wrong = format!("Authorization: Bearer {}\r\n", "0".repeat(64));
    let host = |host: &str, lines: &str| format!("GET /events HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let with_token = |host_name: &str| host(host_name, &token);
    let own = format!("127.0.0.1:{port}");
    for (request, status) in [
        // Without the token, or with a wrong one.
        (host(&own, ""), 401),
        (host(&own, &wrong), 401),
        (host(&own, &token.replace("Bearer", "Basic")), 401),
        (host(&own, &token.replace("\r\n", "0\r\n")), 401),
        (format!("GET /board?name=x&token={} HTTP/1.1\r\nHost: {own}\r\n\r\n", page.token), 401),
        // Names that lead to 127.0.0.1, and other ports.
        (with_token("evil.example"), 403),
        (with_token(&format!("evil.example:{port}")), 403),
        (with_token("127.0.0.1"), 403),
        (with_token(&format!("127.0.0.1:{}", port ^ 1)), 403),
        (with_token(&format!("127.0.0.1.:{port}")), 403),
        (with_token(&format!("[::1]:{port}")), 403),
        (with_token(&format!("0.0.0.0:{port}")), 403),
        (format!("GET / HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), 403),
        // Pages of other sites.
        (host(&own, &format!("{token}Origin: http://evil.example\r\n")), 403),
        (host(&own, &format!("{token}Origin: null\r\n")), 403),
        (host(&own, &format!("{token}Origin: https://{own}\r\n")), 403),
        // Other methods and forms.
        (format!("POST /events HTTP/1.1\r\nHost: {own}\r\n{token}\r\n"), 405),
        (format!("OPTIONS /events HTTP/1.1\r\nHost: {own}\r\nOrigin: http://evil.example\r\n\r\n"), 405),
        (format!("GET /events HTTP/1.1\r\n{token}\r\n"), 400),
        (format!("GET /events HTTP/1.0\r\nHost: {own}\r\n{token}\r\n"), 400),
        (format!("GET http://{own}/events HTTP/1.1\r\nHost: {own}\r\n{token}\r\n"), 400),
        (format!("GET /events HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n{token}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {own}\r\nContent-Length: 5\r\n\r\nhello"), 400),
        ("\x16\x03\x01\r\n\r\n".to_owned(), 400),
    ] {
        let response = page.send(request.as_bytes()).unwrap_or_else(|| panic!("no answer to {request}"));
        assert_eq!(response.status, status, "{request}");
        assert!(!response.body.contains(&page.token), "{request}");
    }
    for (name, origin) in [("127.0.0.1", "127.0.0.1"), ("LocalHost", "localhost"), ("localhost", "127.0.0.1")] {
        let lines = format!("Host: {name}:{port}\r\nOrigin: http://{origin}:{port}\r\n{token}");
        let response = page.send(format!("GET /board?name=x HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap();
        assert_eq!(response.status, 200, "{lines}");
    }
}

#[test]
fn requests_are_bounded_in_bytes_and_time() {
    let game = Game::start(None);
    let page = Page::start(&game, &[]);
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    assert_eq!(page.send(&page.request("/", &long)).unwrap().status, 431);
    let many = "X: y\r\n".repeat(5000);
    assert_eq!(page.send(&page.request("/", &many)).unwrap().status, 431);
    // A head that never ends.
    let response = page.send(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(response.status, 408);
    // Connections that say nothing take the places of others only until their time is over.
    let idle: Vec<TcpStream> = (0..32).map(|_| page.connect()).collect();
    assert!(page.send(&page.request("/", "")).is_none());
    wait_until("a place is free", || page.send(&page.request("/", "")).is_some());
    drop(idle);
}

#[test]
fn a_page_gets_events_without_addresses_and_within_bounds() {
    let game = Game::start(Some(r#"{"prefix":"gm:"}"#));
    let page = Page::start(&game, &["player:*", "--board", "kills:today"]);
    let event = |seq, members: &str| numbered("eu-1", 7, seq, "gm:player:kill", members);
    let script = r#""killer":"</script><img src=x onerror=alert(1)>\u2028","at":{"IP":"203.0.113.7"}"#;
    game.publish_heard(b"gm:player:kill", event(1, script).as_bytes());
    let long = format!("\"ip\":\"203.0.113.7\",\"text\":\"{}\"", "é".repeat(50_000));
    let long = event(4, &long);
    game.publish(b"gm:player:kill", long.as_bytes());
    game.publish(b"gm:player:kill", long.as_bytes());
    game.publish(b"gm:player:\xff\n", b"no JSON, \"ip\": \"203.0.113.7\"\n\ndata: {}");
    // Of another channel, and a number that no server can have reached.
    game.publish(b"gm:player:copy", event(9, "\"x\":1").as_bytes());
    game.publish(b"gm:player:kill", event(1 << 50, "\"x\":1").as_bytes());
    game.publish(b"gm:player:large", &[b'x'; 600 * 1024]);
    let mut stream = page.open();
    stream.wait("all events", |stream| stream.events.len() == 5 && stream.is_connected());
    let shown = |event: &Value| {
        let mut event = event.clone();
        assert!(event["time"].as_u64().unwrap() > 1_700_000_000_000);
        event.as_object_mut().unwrap().remove("time");
        event
    };
    let kill = r#"{"killer":"</script><img src=x onerror=alert(1)>\u2028","at":{"IP":"***"}}"#;
    let expected = json!({ "channel": "player:kill", "server": "eu-1", "seq": 1, "text": kill });
    assert_eq!(shown(&stream.events[0]), expected);
    let cut = &stream.events[1];
    let text = cut["text"].as_str().unwrap();
    assert!(text.starts_with(r#"{"ip":"***","text":"éé"#) && text.len() <= 4096, "{text}");
    assert_eq!((&cut["missed"], &cut["bytes"]), (&json!(2), &json!(long.len())));
    let raw = json!({ "channel": "player:\u{fffd}\n", "text": r#""no JSON, \"ip\":\"***\"\n\ndata: {}""# });
    assert_eq!(shown(&stream.events[2]), raw);
    assert_eq!(shown(&stream.events[3])["server"], Value::Null);
    stream.wait("a new state", |stream| stream.state["counts"]["too_large"] == 1);
    let state = &stream.state;
    let counts = &state["counts"];
    for (name, count) in
        [("missed", 2), ("repeats", 1), ("relayed", 1), ("implausible", 1), ("too_large", 1), ("lost", 0)]
    {
        assert_eq!(counts[name], count, "{name}: {counts}");
    }
    assert_eq!(state["facts"]["boards"], json!(["kills:today"]));
    assert_eq!((&state["facts"]["prefix"], &state["facts"]["patterns"]), (&json!("gm:"), &json!(["player:*"])));
    let server = &state["servers"][0];
    assert_eq!(
        (&server["name"], &server["boot"], &server["missed"]),
        (&json!("eu-1"), &json!("0000000000000007"), &json!(2))
    );
    let large = &state["gaps"][0];
    assert_eq!(json!([large["kind"], large["channel"]]), json!(["too large", "player:large"]));
    let gap = &state["gaps"][1];
    let expected = json!(["missed", "player:kill", "eu-1", 2]);
    assert_eq!(json!([gap["kind"], gap["channel"], gap["server"], gap["count"]]), expected);
    let sum: u64 = state["chart"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(sum, 5);
    let (_, password) = game.login();
    assert!(!state.to_string().contains(&password));
    // The connection ends and comes back.
    game.stop_redis();
    stream.wait("it is lost", |stream| !stream.is_connected() && stream.state["counts"]["lost"] == 1);
    assert!(!stream.state.to_string().contains(&password), "{}", stream.state);
    game.start_redis();
    stream.wait("it is back", Stream::is_connected);
    game.publish_heard(b"gm:player:kill", event(5, "\"x\":1").as_bytes());
    stream.wait("the next event", |stream| stream.events.last().is_some_and(|event| event["seq"] == 5));
}

#[test]
fn boards_are_read_on_demand_and_bounded() {
    let game = Game::start(Some(r#"{"prefix":"gm:"}"#));
    let page = Page::start(&game, &[]);
    for n in 0..200 {
        let member = format!("<b>player {n}</b>");
        game.command(&[b"ZADD", b"gm:kills", n.to_string().as_bytes(), member.as_bytes()]);
    }
    game.command(&[b"SET", b"gm:text", b"x"]);
    let rows = page.board("name=kills&rows=3");
    let expected = json!([
        { "name": "<b>player 199</b>", "score": "199" },
        { "name": "<b>player 198</b>", "score": "198" },
        { "name": "<b>player 197</b>", "score": "197" },
    ]);
    assert_eq!(rows["rows"], expected);
    for (query, count) in
        [("name=kills", 10), ("name=kills&rows=0", 1), ("name=kills&rows=9999", 100), ("name=none", 0)]
    {
        assert_eq!(page.board(query)["rows"].as_array().unwrap().len(), count, "{query}");
    }
    for (query, reason) in [("", "1 to 1024 bytes"), ("name=text", "redis: WRONGTYPE")] {
        let error = page.board(query)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(reason), "{query}: {error}");
    }
    // The connection for boards is made anew after Redis has come back.
    game.stop_redis();
    wait_until("it fails", || page.board("name=kills&rows=2")["error"].is_string());
    game.start_redis();
    game.command(&[b"ZADD", b"gm:kills", b"1000", b"x"]);
    wait_until("it is back", || page.board("name=kills&rows=1")["rows"][0]["name"] == "x");
}

#[test]
fn pages_are_bounded_and_a_page_that_does_not_read_is_dropped() {
    let game = Game::start(None);
    let page = Page::start(&game, &[]);
    let mut pages: Vec<Stream> = (0..8).map(|_| page.open()).collect();
    for open in &mut pages {
        open.wait("it is open", Stream::is_connected);
    }
    let response = page.get("/events");
    assert_eq!((response.status, response.body.contains("too many pages")), (503, true));
    // Each event fills the most that a page gets of one, so that the sockets of a page that does not read are full soon.
    let payload = format!("\"{}\"", "x".repeat(5000));
    let mut reader = pages.pop().unwrap();
    let _sleepers = pages;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                game.publish(b"a", payload.as_bytes());
            }
        });
        reader.wait("slow pages are dropped", |stream| stream.state["pages"]["slow"] == 7);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let pages = &reader.state["pages"];
    assert_eq!((&pages["open"], &pages["refused"], &pages["most"]), (&json!(1), &json!(1), &json!(8)));
    // There is room again.
    page.open().wait("it is open", Stream::is_connected);
}

#[test]
fn a_page_lists_the_servers_that_are_up() {
    let game = Game::start(Some(r#"{"prefix":"gm:"}"#));
    let page = Page::start(&game, &[]);
    game.publish_heard(b"gm:player:kill", numbered("eu-1", 7, 1, "gm:player:kill", "\"x\":1").as_bytes());
    game.publish(b"gm:player:kill", numbered("heard", 8, 1, "gm:player:kill", "\"x\":1").as_bytes());
    let map = "<img src=x onerror=alert(1)>";
    let text = json!({ "name": "eu-1", "map": map, "hostname": "x".repeat(200), "players": 3, "seen": 5 });
    show(&game, "gm:", "eu-1/0000000000000007", &text);
    let mut stream = page.open();
    stream.wait("the list", |stream| stream.state["servers"][0]["up"] == true);
    let servers = &stream.state["servers"];
    let shown = |at: usize, names: &[&str]| names.iter().map(|name| servers[at][name].clone()).collect::<Vec<_>>();
    assert_eq!(
        shown(0, &["name", "boot", "map", "players", "seen", "events"]),
        [json!("eu-1"), json!("0000000000000007"), json!(map), json!(3), json!(5), json!(1)]
    );
    assert_eq!(servers[0]["hostname"].as_str().unwrap().len(), 128);
    assert_eq!(shown(1, &["name", "up", "events"]), [json!("heard"), Value::Null, json!(1)]);
    assert_eq!((servers.as_array().unwrap().len(), &stream.state["trouble"]), (2, &json!("")));
    // Its key is gone, and only the event is left of it.
    game.command(&[b"DEL", b"gm:rt:{servers}:server:eu-1/0000000000000007"]);
    stream.wait("it is down", |stream| {
        stream.state["servers"].as_array().unwrap().iter().all(|server| server["up"].is_null())
    });
    assert_eq!(stream.state["servers"].as_array().unwrap().len(), 2);
    game.command(&[b"SET", b"gm:rt:{servers}:index", b"x"]);
    stream.wait("the trouble is said", |stream| stream.state["trouble"].as_str().unwrap().contains("WRONGTYPE"));
}
