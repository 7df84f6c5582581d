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
        let push = Push::next(&mut decoder).unwrap().expect("a whole reply");
        assert_eq!(render(push), expected, "line {line}");
        assert!(decoder.next().unwrap().is_none(), "line {line}: more than one reply");
    }
}

/// The pushes of a stream that arrives in two pieces, through `next`; an error as its text.
fn pushes(stream: &[u8], cut: usize, next: fn(&mut Decoder) -> Result<Option<Push<'_>>, ProtocolError>) -> Vec<String> {
    let mut decoder = Decoder::new(SMALL);
    let mut found = Vec::new();
    for piece in [&stream[..cut], &stream[cut..]] {
        decoder.feed(piece);
        loop {
            match next(&mut decoder) {
                Ok(Some(push)) => found.push(render(push)),
                Ok(None) => break,
                Err(error) => {
                    found.push(error.to_string());
                    break;
                }
            }
        }
    }
    found
}

#[test]
fn the_short_way_of_messages_finds_the_same_as_the_long_way() {
    let message = b"*3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n$12\r\n{\"a\":[1,22]}\r\n";
    let mut streams: Vec<Vec<u8>> = rows(include_str!("../../../testdata/resp/push.txt"))
        .into_iter()
        .map(|(_, input, _)| unescape(input))
        .collect();
    // One byte of a message changed, to each of those that mean something to the decoder.
    for at in 0..message.len() {
        for byte in *b"\r\n$*+-:0123" {
            let mut changed = message.to_vec();
            changed[at] = byte;
            streams.push(changed);
        }
    }
    for stream in streams {
        let stream = [message, stream.as_slice(), message].concat();
        for cut in 0..=stream.len() {
            let long = pushes(&stream, cut, |decoder| Ok(decoder.next()?.map(Push::from_reply)));
            assert_eq!(pushes(&stream, cut, Push::next), long, "{} cut at {cut}", stream.escape_ascii());
        }
    }
}
