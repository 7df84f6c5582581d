//! Rows: a reply on the wire, the expected kind of reply, and the resulting Lua values.

use super::*;
use crate::json::tape::{Reader, TapeItem};
use crate::redis::REPLY_LIMITS;
use crate::redis::reply::Decoder;

/// The values of a tape as Lua would write them.
fn shown(tape: &[u8], values: u8) -> String {
    let mut reader = Reader::new(tape);
    let shown: Vec<String> = (0..values).map(|_| value(&mut reader)).collect();
    assert_eq!(reader.next_item(), None, "more on the tape than values");
    shown.join(" ")
}

fn value(reader: &mut Reader<'_>) -> String {
    match reader.next_item().expect("a value") {
        TapeItem::Nil => "nil".to_owned(),
        TapeItem::Null => "Null".to_owned(),
        TapeItem::Boolean(value) => value.to_string(),
        TapeItem::Number(number) => number.to_string(),
        TapeItem::Text(text) => format!("'{}'", text.escape_ascii()),
        TapeItem::Array(count) => format!("{{{}}}", (0..count).map(|_| value(reader)).collect::<Vec<_>>().join(",")),
        TapeItem::Object(count) => {
            let mut member = || format!("{}={}", value(reader).trim_matches('\''), value(reader));
            format!("{{{}}}", (0..count).map(|_| member()).collect::<Vec<_>>().join(","))
        }
    }
}

/// Expands the short form of a reply in the rows, in which `\n` ends a line.
const ROWS: &[(Expect, &str, &str)] = &[
    (Expect::Done, "+OK\n", "true"),
    (Expect::Done, ":0\n", "true"),
    (Expect::Text, "$2\nhi\n", "'hi'"),
    (Expect::Text, "$3\n1.5\n", "'1.5'"),
    (Expect::Text, "$-1\n", "nil"),
    (Expect::Json, "$-1\n", "nil"),
    (Expect::Json, "$7\n{\"a\":1}\n", "{a=1}"),
    (Expect::Json, "$4\nnull\n", "Null"),
    (Expect::Json, "$2\nno\n", "decode: the value has 2 bytes and is no JSON from byte 1 on"),
    (Expect::Number, ":42\n", "42"),
    (Expect::Number, ":9223372036854775807\n", "'9223372036854775807'"),
    (Expect::Number, "$2\n42\n", "42"),
    (Expect::Number, "$3\n1.5\n", "1.5"),
    (Expect::Number, "$16\n9007199254740992\n", "9007199254740992"),
    (Expect::Number, "$16\n9007199254740993\n", "'9007199254740993'"),
    (Expect::Number, "$3\ninf\n", "'inf'"),
    (Expect::Any, "+OK\n", "'OK'"),
    (Expect::Any, "$-1\n", "nil"),
    (Expect::Any, "*-1\n", "nil"),
    (Expect::Any, "*4\n$1\na\n:-5\n$-1\n*1\n+b\n", "{'a',-5,Null,{'b'}}"),
    (Expect::Any, "*1\n-ERR inside\n", "{{err='ERR inside'}}"),
    (Expect::Any, "-ERR no such key\n", "redis: ERR no such key"),
    (Expect::Text, "-WRONGTYPE of value\n", "redis: WRONGTYPE of value"),
    (Expect::Ranked, "*0\n", "{} {}"),
    (
        Expect::Ranked,
        "*4\n$1\na\n$2\n50\n$1\nb\n$3\n4.5\n",
        "{a=50,b=4.5} {{rank=1,name='a',score=50},{rank=2,name='b',score=4.5}}",
    ),
    (Expect::Ranked, "*2\n$1\na\n$1\nx\n", "redis: expected members and scores, found something else"),
];

#[test]
fn replies_become_lua_values() {
    for (expect, wire, expected) in ROWS {
        let mut decoder = Decoder::new(REPLY_LIMITS);
        decoder.feed(wire.replace('\n', "\r\n").as_bytes());
        let found = match expect.read(decoder.next().unwrap().expect("a whole reply")) {
            Ok(answer) => shown(&answer.tape, answer.values),
            Err(reason) => reason,
        };
        assert_eq!(found, *expected, "{expect:?} {wire}");
    }
}

#[test]
fn a_skipped_reply_is_an_error() {
    let mut decoder = Decoder::new(crate::redis::reply::Limits { bulk_bytes_max: 4, ..REPLY_LIMITS });
    decoder.feed(b"$5\r\nhello\r\n");
    let reason = Expect::Text.read(decoder.next().unwrap().unwrap()).unwrap_err();
    assert_eq!(reason, "too_large: the reply has 11 bytes and is over bulk_bytes_max");
}
