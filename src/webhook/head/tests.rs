//! Heads of responses, whole and cut at every byte, and those without end.

use super::*;

/// Heads that are refused, and a part of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("HTTP/1.1 999 x\r\n\r\n", "does not answer in HTTP/1"),
    ("HTTP/1.1 20 x\r\n\r\n", "does not answer in HTTP/1"),
    ("HTTP/1.1  200 x\r\n\r\n", "does not answer in HTTP/1"),
    ("HTTP/1.1\r\n\r\n", "does not answer in HTTP/1"),
    ("HTTP/2 200\r\n\r\n", "does not answer in HTTP/1"),
    ("SSH-2.0-OpenSSH\r\n", "does not answer in HTTP/1"),
    ("\x1b[31m\x07", "HTTP/1: `\\x1b"),
    ("-ERR unknown command", "does not answer in HTTP/1"),
    ("", "closed the connection without an answer"),
    ("HTTP/1.1 200 OK\r\nA: b", "after 21 bytes of an answer"),
];

/// Heads as destinations send them, the body's beginning, and both as minreq gets them.
const CARRIED: &[(&str, &str, &str)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "hi"),
    ("HTTP/1.0 200\n\nx", "HTTP/1.0 200\r\n\r\n", "x"),
    ("HTTP/1.1 200 OK\r\nContent-Length: x\r\nA: b \r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\ncontent-length : -1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", ""),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "",
    ),
    ("HTTP/1.1 200 \u{e9}\r\nX: \u{1}y\tz\r\n\r\n", "HTTP/1.1 200 ??\r\nX: ?y\tz\r\n\r\n", ""),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 201 y\r\n\r\nz",
        "HTTP/1.1 201 y\r\n\r\n",
        "z",
    ),
];

/// Feeds the pieces until the head is whole. What follows is body.
fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), NotHttp> {
    let mut head = Head::default();
    let mut body = Vec::new();
    for piece in pieces {
        if head.is_whole() { body.extend_from_slice(piece) } else { head.feed(piece)? }
    }
    let (head, beginning) = head.finish()?;
    Ok((head, [beginning, body].concat()))
}

fn cut_at_every_byte(text: &str, check: impl Fn(Result<(Vec<u8>, Vec<u8>), NotHttp>)) {
    check(read(&[text.as_bytes()]));
    for at in 0..text.len() {
        let (before, after) = text.as_bytes().split_at(at);
        check(read(&[before, after]));
    }
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    check(read(&bytes));
}

#[test]
fn heads_are_carried_in_a_form_that_minreq_takes() {
    for (text, head, body) in CARRIED {
        cut_at_every_byte(text, |found| {
            let (found_head, found_body) = found.unwrap();
            let found = (String::from_utf8_lossy(&found_head), String::from_utf8_lossy(&found_body));
            assert_eq!((&*found.0, &*found.1), (*head, *body), "{text:?}");
        });
    }
}

#[test]
fn a_head_that_is_no_http_is_refused_with_its_beginning() {
    for (text, part) in REFUSED {
        cut_at_every_byte(text, |found| {
            let reason = found.unwrap_err().to_string();
            assert!(reason.contains(part), "{text:?}: {reason}");
        });
    }
}

/// Whoever is at the other end may repeat a token of the request, or the login of a proxy. A part of it is no secret that
/// could be found and masked, so an error shows no more than names a protocol.
#[test]
fn a_head_that_is_no_http_shows_no_secret() {
    for start in ["", "HTTP/1.1 ", "HTTP/1.1 200", "HTTP/1.", "HTTP/", "SSH-2.0-", "HTTP/1.1 20 ", " "] {
        cut_at_every_byte(&format!("{start}hunter2-letmein-hunter2\r\n\r\n"), |found| {
            let reason = found.map(|_| ()).map_err(|err| err.to_string());
            let shown = reason.unwrap_err();
            assert!(!shown.contains("hunt"), "{start:?}: {shown}");
        });
    }
}

#[test]
fn a_head_without_end_is_refused_at_its_cap() {
    let line = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'x'; 100_000]].concat();
    let lines = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"A: b\r\n".repeat(100_000)].concat();
    let bare = [b"HTTP/1.1 200 OK\n".as_slice(), &b"A: b\n".repeat(100_000)].concat();
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10);
    for bytes in [&line, &lines, &bare, &interim] {
        for size in [1, 1000, 8192] {
            let mut head = Head::default();
            let err = bytes.chunks(size).find_map(|piece| head.feed(piece).err());
            assert_eq!(err, Some(NotHttp::HeadTooLong));
            assert!(head.pending.capacity() <= RESPONSE_HEAD_BYTES_MAX * 3);
        }
    }
}
