//! Replies of a broken or hostile server: each of them ends the connection with a reason, or is skipped and counted. No
//! event is delivered that did not arrive whole.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fault_kit::{PATIENCE, Redis, Scripted, Server, comes_true};
use realtime::facade::config::limits::PAYLOAD_BYTES_MAX;
use realtime::facade::event::notice::Notice;
use serde_json::json;

const ACKNOWLEDGED: &str = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
const MESSAGE: &str = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$7\r\n{\"n\":7}\r\n";

/// A server that sends `first` on the first subscribed connection and closes it. On the next connection it behaves well and
/// sends one message.
fn once(first: Vec<u8>) -> Scripted {
    let said = AtomicBool::new(false);
    Scripted::start(move |client| {
        while let Some(command) = client.question() {
            if command[0] != "SUBSCRIBE" {
                client.send(b":1\r\n");
            } else if said.swap(true, Ordering::SeqCst) {
                client.send(ACKNOWLEDGED.as_bytes());
                client.send(MESSAGE.as_bytes());
            } else {
                client.send(&first);
                return;
            }
        }
    })
}

/// The stream of a message is cut after each of its bytes in turn.
#[test]
fn a_connection_cut_at_any_byte_delivers_no_partial_event() {
    let transcript = format!("{ACKNOWLEDGED}{MESSAGE}");
    let cuts: Vec<usize> = (0..transcript.len()).collect();
    thread::scope(|scope| {
        for cuts in cuts.chunks(cuts.len().div_ceil(8)) {
            let transcript = &transcript;
            scope.spawn(move || {
                for cut in cuts {
                    let redis = once(transcript.as_bytes()[..*cut].to_vec());
                    let mut server = Server::with(json!({ "redis": redis.url() }));
                    server.on("a", 1);
                    server.hear(1);
                    assert_eq!(server.heard, ["1 a 7"], "cut at {cut}");
                    server.wait_ready();
                    server.assert_balanced();
                    server.stop();
                }
            });
        }
    });
}

/// Bytes that are no valid reply, and replies that do not fit the question.
#[test]
fn invalid_replies_end_the_connection_with_a_reason() {
    let rows: [(&str, String, &str); 9] = [
        ("a huge string", "$2147483647\r\nx".to_owned(), ""),
        ("a negative length", "$-2\r\n".to_owned(), "`$-2` is not a number"),
        ("a huge array", "*999999999\r\n".to_owned(), ""),
        ("ten thousand arrays", "*1\r\n".repeat(10_000), ""),
        ("a line without end", format!("+{}", "x".repeat(100_000)), "line"),
        ("a bad type", "!5\r\nhello\r\n".to_owned(), "starts with `!`"),
        ("an answer to another command", ACKNOWLEDGED.replace("$1\r\na", "$1\r\nb"), "another command"),
        ("one answer too many", format!("{ACKNOWLEDGED}{ACKNOWLEDGED}"), "another command"),
        ("a pong nobody asked for", format!("{ACKNOWLEDGED}*2\r\n$4\r\npong\r\n$0\r\n\r\n"), "another command"),
    ];
    for (what, bytes, reason) in rows {
        let redis = once(bytes.into_bytes());
        let mut server = Server::with(json!({ "redis": redis.url() }));
        server.on("a", 1);
        server.hear(1);
        assert_eq!(server.heard, ["1 a 7"], "{what}");
        let is_told = |notice: &Notice| match notice {
            Notice::Error { operation: "connect", reason: told, .. } | Notice::Disconnected { reason: told } => {
                told.contains(reason)
            }
            _ => false,
        };
        if !comes_true(PATIENCE, || {
            server.tick();
            server.told.iter().any(is_told)
        }) {
            panic!("{what}: {:?}", server.told);
        }
        assert_eq!(server.stat("/panics"), 0);
        server.assert_balanced();
        server.stop();
    }
}

/// The same for the publisher: unanswered commands are sent again on the next connection until they are answered.
#[test]
fn a_publisher_survives_any_reply() {
    let answers =
        ["$2147483647\r\n", "*-7\r\n", "?\r\n", "+OK\r\n", "$1\r\n1\r\n", "", "-READONLY no\r\n", ":1\r\n:1\r\n"];
    let asked = AtomicUsize::new(0);
    let redis = Scripted::start(move |client| {
        while let Some(command) = client.question() {
            if command[0] == "SUBSCRIBE" {
                client.acknowledge(&command);
                continue;
            }
            match answers.get(asked.fetch_add(1, Ordering::SeqCst)) {
                Some(answer) => return client.send(answer.as_bytes()),
                None => client.send(b":1\r\n"),
            }
        }
    });
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.emit("a", "{}").unwrap();
    server.wait(|server| server.stat("/outbox/delivered") == 1);
    assert_eq!(server.stat("/resent"), answers.len() as u64 - 1);
    server.emit("a", "{}").unwrap();
    server.wait(|server| server.stat("/outbox/delivered") == 2);
    server.assert_balanced();
    server.stop();
}

/// A payload over the limit.
#[test]
fn an_event_over_the_limit_is_skipped_and_the_next_one_arrives() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.on("a", 1);
    server.wait_ready();
    let huge = format!("\"{}\"", "x".repeat(600_000));
    redis.command(&["PUBLISH", "a", &huge]);
    redis.command(&["PUBLISH", "a", "{\"n\":1}"]);
    server.hear(1);
    assert_eq!((server.stat("/inbox/dropped/too_large"), server.stat("/reconnects")), (1, 0));
    let told = |notice: &Notice| matches!(notice, Notice::Error { operation: "receive", .. });
    server.wait(|server| server.told.iter().any(told));
    // The largest payload that may be sent arrives, its identity included.
    let payload = format!("{{\"n\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES_MAX - 8));
    server.emit("a", &payload).unwrap();
    server.hear(2);
    server.assert_balanced();
    server.stop();
}
