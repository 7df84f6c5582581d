//! Rows of `testdata/resp/commands.txt`, every way to encode the same command, and the way back through the decoder.

use proptest::prelude::*;

use super::super::reply::tests::{rows, unescape};
use super::super::reply::{Decoder, Limits};
use super::*;

fn encoded(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, arguments);
    out
}

#[test]
fn command_rows() {
    for (line, input, expected) in rows(include_str!("../../../testdata/resp/commands.txt")) {
        // A repetition contains blanks.
        let input = input.replace(" x ", "\u{1}x\u{1}");
        let arguments: Vec<Vec<u8>> = input
            .split(' ')
            .map(|word| if word == "''" { Vec::new() } else { unescape(&word.replace('\u{1}', " ")) })
            .collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        assert_eq!(
            encoded(&arguments).escape_ascii().to_string(),
            unescape(expected).escape_ascii().to_string(),
            "line {line}"
        );
    }
}

#[test]
fn a_command_is_what_encode_makes_of_its_arguments() {
    let mut out = b"before".to_vec();
    let command = Command::new("SET").arg("key").arg(b"\x00\xff").arg_parts(&[b"pre:", b"", b"fix"]).arg_int(-42);
    command.encode_into(&mut out);
    let plain = encoded(&[b"SET", b"key", b"\x00\xff", b"pre:fix", b"-42"]);
    assert_eq!(out, [b"before", plain.as_slice()].concat());
    assert!(command.bytes_max() >= plain.len());
    let many = Command::new("MGET").args((0..20).map(|key| format!("key{key}")));
    let mut out = Vec::new();
    many.encode_into(&mut out);
    assert!(out.starts_with(b"*21\r\n$4\r\nMGET\r\n$4\r\nkey0\r\n"));
}

#[test]
fn debug_output_shows_no_argument() {
    let command = Command::new("AUTH").arg("gmod").arg("hunter2");
    assert_eq!(format!("{command:?}"), "a command of 3 words, 33 bytes");
}

#[test]
fn the_name_is_its_first_word() {
    for name in ["GET", "", "a\r\nb"] {
        let first = name.split('\r').next().unwrap();
        assert_eq!(Command::new(name).arg("k").arg("v").name(), first.as_bytes());
    }
}

#[test]
fn which_commands_carry_a_secret() {
    for (row, expected) in [
        ("AUTH pw", true),
        ("auth gmod pw", true),
        ("HELLO 3 AUTH gmod pw", true),
        ("ACL SETUSER gmod >pw", true),
        ("Config Set requirepass pw", true),
        ("CONFIG SET primaryauth pw", true),
        ("renamed set MasterAuth pw", true),
        ("renamed SetUser gmod >pw", true),
        ("MIGRATE h 1 k 0 10 auth pw", true),
        ("MIGRATE h 1 k 0 10 AUTH2 gmod pw", true),
        ("SENTINEL SET m auth-pass pw", true),
        ("MIGRATE h 1 k 0 10", false),
        ("SET k v", false),
        ("ZADD authors 1 a", false),
        ("", false),
    ] {
        let words: Vec<&[u8]> = row.split(' ').map(str::as_bytes).collect();
        assert_eq!(carries_secret(&words), expected, "{row}");
    }
}

#[test]
fn publishing_into_a_warm_buffer_allocates_nothing() {
    let mut out = Vec::with_capacity(64 * 1024);
    for _ in 0..1000 {
        out.clear();
        encode_publish(&mut out, b"realtime:death", &[b'x'; 120]);
    }
    assert_eq!(out.capacity(), 64 * 1024);
}

proptest! {
    #[test]
    fn decodes_to_its_arguments(arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 1..12)) {
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let limits = Limits {
            depth_max: 1, elements_max: 12, line_bytes_max: 64, bulk_bytes_max: 1200, reply_bytes_max: 100_000,
        };
        let mut decoder = Decoder::new(limits);
        decoder.feed(&encoded(&arguments));
        let reply = decoder.next().unwrap().unwrap();
        let decoded: Vec<&[u8]> = reply.array().unwrap().iter().map(|argument| argument.text().unwrap()).collect();
        prop_assert_eq!(decoded, arguments);
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn publish_is_encode(
        channel in prop::collection::vec(any::<u8>(), 0..120),
        payload in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut out = Vec::new();
        encode_publish(&mut out, &channel, &payload);
        prop_assert_eq!(out, encoded(&[b"PUBLISH", &channel, &payload]));
    }
}

#[test]
fn the_key_is_the_first_argument_or_behind_the_number_of_keys() {
    let rows: [(&[&str], Option<&str>); 8] = [
        (&["GET", "k"], Some("k")),
        (&["PING"], None),
        (&["SET", "a\r\nb", "v"], Some("a\r\nb")),
        (&["SET", "", "v"], Some("")),
        (&["EVAL", "return 1", "1", "k"], Some("k")),
        (&["evalsha_ro", "sha", "2", "k", "l"], Some("k")),
        (&["FCALL", "f", "0"], None),
        (&["EVA", "k"], Some("k")),
    ];
    for (words, key) in rows {
        let command = words.iter().skip(1).fold(Command::new(words[0]), |command, word| command.arg(word));
        assert_eq!(command.key(), key.map(str::as_bytes), "{words:?}");
    }
}
