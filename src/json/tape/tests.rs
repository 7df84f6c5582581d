//! Rows of `testdata/json/decode.txt`, and properties with serde_json as the naive reader.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A tape in the notation of the rows.
fn shown(tape: &[u8]) -> String {
    let mut reader = Reader::new(tape);
    let mut out = String::new();
    show(&mut reader, &mut out);
    assert_eq!(reader.next_item(), None, "something follows the value");
    out
}

fn show(reader: &mut Reader<'_>, out: &mut String) {
    let list = |reader: &mut Reader<'_>, out: &mut String, count: u32, object: bool| {
        for i in 0..count {
            if i > 0 {
                out.push_str(", ");
            }
            if object {
                show(reader, out);
                out.push_str(": ");
            }
            show(reader, out);
        }
    };
    match reader.next_item().expect("a value") {
        TapeItem::Nil => out.push_str("nil"),
        TapeItem::Null => out.push_str("null"),
        TapeItem::Boolean(value) => out.push_str(&value.to_string()),
        TapeItem::Number(number) => out.push_str(&(number + 0.0).to_string()),
        TapeItem::Text(bytes) => {
            out.push('\'');
            for byte in bytes {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0x20..0x7f => out.push(char::from(*byte)),
                    _ => out.push_str(&format!("\\x{byte:02x}")),
                }
            }
            out.push('\'');
        }
        TapeItem::Array(count) => {
            out.push('[');
            list(reader, out, count, false);
            out.push(']');
        }
        TapeItem::Object(count) => {
            out.push('{');
            list(reader, out, count, true);
            out.push('}');
        }
    }
}

#[test]
fn each_row_decodes_as_it_says() {
    let text = include_str!("../../../testdata/json/decode.txt");
    let mut checked = 0;
    for row in text.lines().filter(|line| !line.starts_with('#')) {
        let (json, expected) = row.rsplit_once(" | ").expect("a row has two columns");
        let mut tape = b"before".to_vec();
        match parse(json.as_bytes(), &mut tape) {
            Ok(()) => assert_eq!(shown(&tape[6..]), expected, "{json}"),
            Err(_) => {
                assert_eq!("not JSON", expected, "{json}");
                assert_eq!(tape, b"before", "{json}: an error leaves the tape as it was");
            }
        }
        checked += 1;
    }
    assert!(checked > 60);
}

#[test]
fn bytes_above_0x7f_are_copied_and_control_characters_refused() {
    let mut tape = Vec::new();
    parse(b"\"cut \xf0\x9f\"", &mut tape).unwrap();
    assert_eq!(Reader::new(&tape).next_item(), Some(TapeItem::Text(b"cut \xf0\x9f")));
    assert!(parse(b"\"a\x01b\"", &mut tape).is_err(), "a bare control character");
    assert!(parse(b"\"a\\n\x01b\"", &mut tape).is_err(), "the same after an escape");
}

#[test]
fn depth_ends_at_the_limit() {
    for depth in [ENCODE_DEPTH_MAX, ENCODE_DEPTH_MAX + 1, DECODE_DEPTH_MAX, DECODE_DEPTH_MAX + 1, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inside = if open == "[" { "" } else { "1" };
            let text = open.repeat(depth) + inside + &close.repeat(depth);
            let expected = if depth <= ENCODE_DEPTH_MAX {
                Ok(())
            } else if depth <= DECODE_DEPTH_MAX {
                Err(Undecoded::Limits)
            } else {
                Err(Undecoded::NotJson { at: open.len() * DECODE_DEPTH_MAX + 1 })
            };
            let mut tape = b"before".to_vec();
            assert_eq!(parse(text.as_bytes(), &mut tape), expected, "{depth} of {open}");
            assert_eq!(tape == b"before", expected.is_err(), "{depth} of {open}");
            // Emit sends such a text as JSON, even beyond the limits of a tape.
            let is_json = !matches!(expected, Err(Undecoded::NotJson { .. }));
            assert_eq!(is_container(text.as_bytes(), &mut Vec::new()), is_json);
        }
    }
}

/// A text with as many values as Emit writes has a tape, in every shape that Emit writes; with one value more it has
/// none. Values of a member that is left out do not count.
#[test]
fn the_number_of_values_ends_at_the_limit() {
    let many = |count: usize, value: &str| vec![value; count].join(",");
    let objects = |count: usize| (0..count).map(|n| format!("\"{n}\":{{}}")).collect::<Vec<_>>().join(",");
    let cut = |value: &str| format!("{{\"a\":[{}],\"_rt\":{value}}}", many(ENCODE_NODES_MAX - 2, "0"));
    for (text, expected) in [
        (format!("[{}]", many(ENCODE_NODES_MAX - 1, "[]")), Ok(())),
        (format!("[{}]", many(ENCODE_NODES_MAX, "[]")), Err(Undecoded::Limits)),
        (format!("[{}]", many(ENCODE_NODES_MAX - 1, "null")), Ok(())),
        (format!("[{}]", many(250_000, "\"\"")), Err(Undecoded::Limits)),
        (format!("{{{}}}", objects(ENCODE_NODES_MAX - 1)), Ok(())),
        (format!("{{{}}}", objects(ENCODE_NODES_MAX)), Err(Undecoded::Limits)),
        (cut("\"x\""), Ok(())),
        (cut(&format!("[{}]", many(20_000, "[1]"))), Ok(())),
        (cut("1").replace("\"a\"", "\"b\":1,\"a\""), Err(Undecoded::Limits)),
        (format!("[{},", many(20_000, "[]")), Err(Undecoded::NotJson { at: 20_000 * 3 + 1 })),
    ] {
        let mut tape = Vec::new();
        let parsed = parse_without(text.as_bytes(), Some("_rt"), &mut tape, &mut Vec::new());
        assert_eq!(parsed, expected, "{} bytes: {}...", text.len(), &text[..20]);
        assert_eq!(tape.is_empty(), expected.is_err());
    }
}

/// The identity of an event must be known even beyond the limits: the event has a number in its channel, and a repeat
/// of it must be recognized.
#[test]
fn the_member_is_read_even_beyond_the_limits() {
    let text = format!("{{\"a\":[{}],\"_rt\":\"x\",\"b\":[1,2],\"c\":{{\"_rt\":3}}}}", vec!["1"; 20_000].join(","));
    let (mut tape, mut member) = (Vec::new(), Vec::new());
    let parsed = parse_without(text.as_bytes(), Some("_rt"), &mut tape, &mut member);
    assert_eq!((parsed, member.as_slice(), tape.capacity() < 100_000), (Err(Undecoded::Limits), b"x".as_slice(), true));
}

#[test]
fn only_a_whole_object_or_array_is_a_container() {
    for (text, expected) in [
        ("{}", true),
        (" \n[1]", true),
        ("[1", false),
        ("\"{}\"", false),
        ("5", false),
        ("", false),
        ("[Important: read this]", false),
        ("{killer} died", false),
    ] {
        assert_eq!(is_container(text.as_bytes(), &mut Vec::new()), expected, "{text}");
    }
}

/// Rebuilds the value of a tape, as far as serde_json's own value can hold it.
fn value(reader: &mut Reader<'_>) -> Value {
    match reader.next_item().expect("a value") {
        TapeItem::Nil | TapeItem::Null => Value::Null,
        TapeItem::Boolean(value) => Value::Bool(value),
        TapeItem::Number(number) => serde_json::json!(number),
        TapeItem::Text(bytes) => Value::String(String::from_utf8(bytes.to_vec()).unwrap()),
        TapeItem::Array(count) => (0..count).map(|_| value(reader)).collect(),
        TapeItem::Object(count) => Value::Object(
            (0..count)
                .map(|_| match value(reader) {
                    Value::String(key) => (key, value(reader)),
                    other => panic!("a key is {other}"),
                })
                .collect(),
        ),
    }
}

/// Applies the rules of the tape (big numbers become texts) to a value that serde_json has read.
fn by_our_rules(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.abs() <= WHOLE_MAX || !number.is_i64() && !number.is_u64() => serde_json::json!(float),
            _ => Value::String(number.to_string()),
        },
        Value::Array(values) => values.into_iter().map(by_our_rules).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, by_our_rules(value))).collect(),
        other => other,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|n| serde_json::json!(n)),
        (-(1i64 << 53)..=1i64 << 53).prop_map(|n| serde_json::json!(n)),
        // Halves are exact in binary, so the comparison does not depend on serde_json's rounding.
        (-1_000_000i32..1_000_000).prop_map(|n| serde_json::json!(f64::from(n) + 0.5)),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_decoded_value_equals_the_written_one(json in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) }.unwrap();
        let mut tape = Vec::new();
        parse(text.as_bytes(), &mut tape).unwrap();
        prop_assert!(tape.len() <= text.len() * 3 + 5);
        let mut reader = Reader::new(&tape);
        prop_assert_eq!(value(&mut reader), by_our_rules(json));
        prop_assert_eq!(reader.next_item(), None);
    }

    #[test]
    fn the_parser_accepts_the_same_texts_as_serde_json(json in any_json(), at: prop::sample::Index, byte in "[\\[\\]{}\",:0-9a-z.+\\-\\\\ ]", remove: bool) {
        let mut text = serde_json::to_string(&json).unwrap().into_bytes();
        let at = at.index(text.len());
        if remove { text.remove(at); } else { text[at] = byte.as_bytes()[0]; }
        // By design the parser is more lenient in three points: numbers beyond f64, invalid UTF-8, lone surrogates.
        let ours = parse(&text, &mut Vec::new());
        match serde_json::from_slice::<Value>(&text) {
            Ok(_) => prop_assert_eq!(ours, Ok(())),
            Err(err) => {
                let lenient = ["number out of range", "unicode", "surrogate", "hex escape"];
                prop_assert!(ours.is_err() || lenient.iter().any(|part| err.to_string().contains(part)), "{err}: {}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let mut tape = Vec::new();
        if parse(&bytes, &mut tape).is_ok() {
            shown(&tape);
        }
        let mut reader = Reader::new(&bytes);
        while reader.next_item().is_some() {}
    }
}

/// JSON text | the value for Lua, without the members `_rt` | the text of the last `_rt`
const CUT: &[(&str, &str, &str)] = &[
    (r#"{"a":1,"_rt":"x"}"#, "{'a': 1}", "x"),
    (r#"{"_rt":"x","a":1}"#, "{'a': 1}", "x"),
    (r#"{"_rt":"x"}"#, "{}", "x"),
    (r#"{ "_rt" : "x" , "a" : {"_rt":"inner"} , "_rt" : "y" }"#, "{'a': {'_rt': 'inner'}}", "y"),
    (r#"{"\u005frt":"x\n"}"#, "{}", "x\n"),
    (r#"{"_rt":{"a":[1,{"_rt":"deep"}]},"b":2}"#, "{'b': 2}", ""),
    (r#"{"_rt":"x","_rt":5}"#, "{}", ""),
    (r#"{"_rt":null}"#, "{}", ""),
    (r#"[{"_rt":"x"}]"#, "[{'_rt': 'x'}]", ""),
    (r#"{"_rtx":"x","_r":"y"}"#, "{'_rtx': 'x', '_r': 'y'}", ""),
    (r#""_rt""#, "'_rt'", ""),
];

#[test]
fn a_member_of_the_outermost_object_is_left_off_the_tape() {
    for (text, seen, value) in CUT {
        let (mut tape, mut member) = (Vec::new(), b"left from before".to_vec());
        parse_without(text.as_bytes(), Some("_rt"), &mut tape, &mut member).unwrap();
        assert_eq!((shown(&tape).as_str(), member.as_slice()), (*seen, value.as_bytes()), "{text}");
        for cut in 0..text.len() {
            let before = tape.clone();
            assert!(parse_without(&text.as_bytes()[..cut], Some("_rt"), &mut tape, &mut member).is_err());
            assert_eq!(tape, before, "{text} cut at {cut}");
        }
    }
}
