//! Requests as bytes on the wire.

use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use super::*;
use crate::hooks::request::Webhook;
use crate::hooks::spec::{ActionKind, Spec};
use crate::json::tape;
use crate::rows::rows;
use crate::webhook::carrier;

fn request(spec: Value, event: &str) -> Result<Request, NoRequest> {
    request_of(spec, event.as_bytes())
}

fn request_of(mut spec: Value, event: &[u8]) -> Result<Request, NoRequest> {
    spec["type"] = json!("http");
    let ActionKind::Webhook(webhook) = Spec::parse(&spec).unwrap().actions.remove(0).kind else { panic!("no webhook") };
    let Webhook::Http(http) = &*webhook else { panic!("not http") };
    let mut found = Vec::new();
    tape::parse(event, &mut found).unwrap();
    let fields = Fields { tape: &found, json: event, channel: b"kill", unix_ms: 1_700_000_000_000, offset_s: 0 };
    Request::of(http, &fields)
}

fn wire(spec: Value, event: &str) -> String {
    wire_of(&request(spec, event).unwrap())
}

/// The request as minreq writes it, with the destination in place of the carrier.
fn wire_of(request: &Request) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let sender = thread::spawn({
        let minreq = request.minreq(url, "the-id", 1_731_705_121);
        move || minreq.send_lazy().map(drop)
    });
    let mut stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = Vec::new();
    let body_bytes = request.body.len();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") || !bytes.ends_with(&request.body) {
        let mut buffer = [0; 1024];
        let read = match stream.read(&mut buffer) {
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert!(read > 0, "{} of a request with {body_bytes} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..read]);
    }
    drop(stream);
    // The answer is none, which minreq takes for one.
    let _ = sender.join().unwrap();
    carrier::readdress(&mut bytes, request.url.target(), &request.url.origin.authority()).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn requests_are_encoded_with_their_default_headers() {
    let agent = format!("User-Agent: realtime-gmod/{} (Garry's Mod server module)", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        wire(json!({ "url": "http://h:81/api", "headers": { "Authorization": "Bearer T" } }), r#"{"a":1,"_rt":"x"}"#),
        format!(
            "POST /api HTTP/1.1\r\nHost: h:81\r\n{agent}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
             Authorization: Bearer T\r\nContent-Type: application/json\r\nwebhook-id: the-id\r\nConnection: close\r\n\
             Content-Length: 7\r\n\r\n{{\"a\":1}}"
        )
    );
    assert_eq!(
        wire(json!({ "url": "https://[::1]/x?k={k}", "method": "GET" }), r#"{"k":"a b"}"#),
        format!(
            "GET /x?k=a%20b HTTP/1.1\r\nHost: [::1]\r\n{agent}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
             webhook-id: the-id\r\nConnection: close\r\n\r\n"
        )
    );
}

#[test]
fn each_row_of_the_table_is_written() {
    for row in rows(include_str!("../../../testdata/hooks/http.txt")) {
        let spec: Value = serde_json::from_str(&row.text(0)).unwrap();
        let request = request_of(spec, row.bytes(1)).unwrap_or_else(|err| panic!("line {}: {err}", row.line));
        let mut found = wire_of(&request);
        let mut always = vec![
            "Host: h".to_owned(),
            format!("User-Agent: {USER_AGENT}"),
            "Accept: */*".to_owned(),
            "Accept-Encoding: identity".to_owned(),
            "webhook-id: the-id".to_owned(),
            "Connection: close".to_owned(),
        ];
        if !["GET", "HEAD"].contains(&&*request.method) {
            always.push(format!("Content-Length: {}", request.body.len()));
        }
        for line in always {
            let line = format!("\r\n{line}\r\n");
            assert_eq!(found.matches(&line).count(), 1, "line {}: {line:?} in {found:?}", row.line);
            found = found.replacen(&line, "\r\n", 1);
        }
        assert_eq!(found.replace("\r\n", "⏎"), row.text(2), "line {}", row.line);
    }
}

#[test]
fn bodies_have_their_content_type() {
    for (format, body, kind) in [
        ("json", r#"{"k":"a\"b"}"#, "application/json"),
        (r#"{"text":"{k}"}"#, r#"{"text":"a\"b"}"#, "application/json"),
        ("say {k}", r#"say a"b"#, "text/plain; charset=utf-8"),
    ] {
        let request = request(json!({ "url": "http://h/", "format": format }), r#"{"k":"a\"b"}"#).unwrap();
        assert_eq!(String::from_utf8(request.body.clone()).unwrap(), body);
        let kinds: Vec<&str> = request.headers.iter().map(|(_, value)| value.reveal()).collect();
        assert_eq!(kinds, [kind]);
    }
    // Numbers keep their digits, even those beyond 53 bits.
    let event = r#"{"id":76561198000000001,"x":1.50,"n":null}"#;
    assert_eq!(request(json!({ "url": "http://h/" }), event).unwrap().body, event.as_bytes());
    // Bytes that are not UTF-8 are replaced, because a server could not parse them.
    let body = request_of(json!({ "url": "http://h/" }), b"{\"n\":\"cut \xc3\"}").unwrap().body;
    assert_eq!(String::from_utf8(body).unwrap(), "{\"n\":\"cut \u{fffd}\"}");
}

#[test]
fn headers_of_the_hook_replace_the_defaults() {
    let headers = json!({ "user-agent": "x", "CONTENT-TYPE": "text/x", "Accept": "y" });
    let wire = wire(json!({ "url": "http://h/", "headers": headers }), "{}").to_lowercase();
    for name in ["user-agent: ", "content-type: ", "accept: "] {
        assert_eq!(wire.matches(name).count(), 1, "{name}");
    }
}

#[test]
fn values_cannot_leave_their_place_in_the_request() {
    let headers = json!({
        "content-TYPE": "application/X-WWW-form-urlencoded; charset=utf-8", "X-Player": "{name}", "X-Id": "{id}",
    });
    let spec = json!({ "url": "http://h/{name}?n={name}", "headers": headers, "format": "name={name}&id={id}" });
    let event = json!({ "name": "Tom&admin=1\r\nX-Admin: 1\r\n\r\n", "id": "STEAM_0:1:1 " }).to_string();
    let wire = wire(spec, &event);
    let (head, body) = wire.split_once("\r\n\r\n").unwrap();
    let name = "Tom%26admin%3D1%0D%0AX-Admin%3A%201%0D%0A%0D%0A";
    assert!(head.starts_with(&format!("POST /{name}?n={name} HTTP/1.1\r\n")), "{head}");
    assert!(head.contains("\r\nX-Player: Tom&admin=1X-Admin: 1\r\n"), "{head}");
    assert!(head.contains("\r\nX-Id: STEAM_0:1:1\r\n"), "{head}");
    assert_eq!(body, format!("name={name}&id=STEAM_0%3A1%3A1%20"));
}

#[test]
fn a_header_is_bounded() {
    let spec = json!({ "url": "http://h/", "headers": { "X-A": "{a}" } });
    let event = |length: usize| json!({ "a": "x".repeat(length) }).to_string();
    assert!(request(spec.clone(), &event(4096)).is_ok());
    let err = request(spec, &event(4097)).unwrap_err();
    assert_eq!(err.to_string(), "the header X-A cannot be made: it is longer than 4096 bytes");
}

#[test]
fn an_event_without_a_needed_member_makes_no_request() {
    let err = request(json!({ "url": "http://h/{k}" }), "{}").unwrap_err();
    assert_eq!(err.to_string(), "the url cannot be made: the event has no `k`");
}

#[test]
fn debug_shows_no_secret_and_secrets_finds_them() {
    let spec = json!({ "url": "http://h/hunter2?key=hunter2", "headers": { "Authorization": "Bearer hunter2" } });
    let request = request(spec, r#"{"a":"hunter2"}"#).unwrap();
    assert_eq!(format!("{request:?}"), "POST http://h/***?***, 2 headers, 15 bytes");
    let secrets = request.secrets();
    assert_eq!(secrets, ["hunter2", "hunter2", "/hunter2?key=hunter2", "Bearer hunter2"]);
}

/// Rows: the hook's format, its `Content-Type`, the events, the `Content-Type` of the request, and its body.
#[test]
fn one_body_holds_several_events() {
    let bulk = "{\"index\":{}}\n{\"k\":\"{k}\"}";
    let rows: [(&str, &str, &[&str], &str, &str); 9] = [
        ("json", "", &[r#"{"k":1,"_rt":"x"}"#], JSON, r#"[{"k":1}]"#),
        ("json", "", &[r#"{"k":1}"#, "[2]", "3"], JSON, r#"[{"k":1},[2],3]"#),
        (
            "json",
            "application/x-ndjson",
            &["{\n\"k\":\r\n\"a\\n\"}", "2"],
            "application/x-ndjson",
            "{ \"k\":  \"a\\n\"}\n2\n",
        ),
        ("json", "text/plain", &["1", "2"], "text/plain", "[1,2]"),
        (r#"{"k":"{k}"}"#, "", &[r#"{"k":"a\nb"}"#], JSON_LINES, "{\"k\":\"a\\nb\"}\n"),
        (
            bulk,
            "",
            &[r#"{"k":"a"}"#, r#"{"k":"b"}"#],
            JSON_LINES,
            "{\"index\":{}}\n{\"k\":\"a\"}\n{\"index\":{}}\n{\"k\":\"b\"}\n",
        ),
        (
            &format!("{bulk}\n"),
            "",
            &[r#"{"k":"a"}"#, r#"{"k":"b"}"#],
            JSON_LINES,
            "{\"index\":{}}\n{\"k\":\"a\"}\n{\"index\":{}}\n{\"k\":\"b\"}\n",
        ),
        (bulk, "application/json", &[r#"{"k":"a"}"#], JSON, "{\"index\":{}}\n{\"k\":\"a\"}\n"),
        ("kill k={k}", "text/plain", &[r#"{"k":"a\nb"}"#, "{}"], "text/plain", "kill k=a b\nkill k=?\n"),
    ];
    for (format, content_type, events, sent_type, body) in rows {
        let mut spec = json!({ "url": "http://h/", "format": format, "batch": {} });
        if !content_type.is_empty() {
            spec["headers"] = json!({ "Content-Type": content_type });
        }
        let requests: Vec<Request> = events.iter().map(|event| request(spec.clone(), event).unwrap()).collect();
        let form = if body.starts_with('[') { BatchForm::Array } else { BatchForm::Lines };
        let joined = requests[0].joined(requests.iter(), form);
        assert_eq!(String::from_utf8(joined.body.clone()).unwrap(), body, "{spec}");
        assert_eq!(joined.headers, [("Content-Type".into(), Secret::new(sent_type.to_owned()))], "{spec}");
        assert!(joined.differs_in_body_only(&requests[0]), "{spec}");
    }
    let of = |spec: Value| request(spec, r#"{"k":1}"#).unwrap();
    let first = of(json!({ "url": "http://h/{k}" }));
    for (spec, is_equal) in [
        (json!({ "url": "http://h/{k}", "format": "{\"k\":{k}}" }), true),
        (json!({ "url": "http://h/2" }), false),
        (json!({ "url": "http://h/{k}", "method": "PUT" }), false),
        (json!({ "url": "http://h/{k}", "headers": { "X": "y" } }), false),
        (json!({ "url": "http://h/{k}", "timeout": 9 }), false),
    ] {
        assert_eq!(first.differs_in_body_only(&of(spec.clone())), is_equal, "{spec}");
    }
}
