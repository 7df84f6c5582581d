//! Rows of `testdata/resp/push.txt`.

use super::super::reply::Decoder;
use super::super::reply::tests::{SMALL, rows, unescape};
use super::*;

fn render(push: Push<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let named = |name: Option<&[u8]>, none: &str| name.map_or(none.to_owned(), text);
    let line = match push {
        Push::Message { channel, payload } => format!("message {}: {}", text(channel), text(payload)),
        Push::PatternMessage { pattern, channel, payload } => {
            format!("pmessage {} {}: {}", text(pattern), text(channel), text(payload))
        }
        Push::Subscribed { channel, count } => format!("subscribed {} {count}", text(channel)),
        Push::Unsubscribed { channel, count } => format!("unsubscribed {} {count}", named(channel, "nothing")),
        Push::PatternSubscribed { pattern, count } => format!("psubscribed {} {count}", text(pattern)),
        Push::PatternUnsubscribed { pattern, count } => format!("punsubscribed {} {count}", named(pattern, "nothing")),
        Push::Pong { payload } => format!("pong {}", text(payload)),
        Push::Error(message) => format!("error {}", text(message)),
        Push::TooLarge { channel, bytes } => format!("too large {} {bytes}", named(channel, "?")),
        Push::Unexpected(reply) => format!("unexpected {}", reply.describe()),
    };
    line.trim_end().to_owned()
}

#[test]
fn push_rows() {
    for (line, input, expected) in rows(include_str!("../../../testdata/resp/push.txt")) {
        let mut decoder = Decoder::new(SMALL);
        decoder.feed(&unescape(input));
        let reply = decoder.next().unwrap().expect("a whole reply");
        assert_eq!(render(Push::from_reply(reply)), expected, "line {line}");
        assert!(decoder.next().unwrap().is_none(), "line {line}: more than one reply");
    }
}
