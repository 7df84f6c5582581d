//! Tests of the JSON scanner against `serde_json`, an independent parser, and of numbers digit by digit.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn normal(text: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    normalise(text, &mut out)?;
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn a_number_is_an_integer_only_if_that_reproduces_its_text() {
    let whole = |negative, magnitude| Some(Number::Whole { negative, magnitude });
    let decimal = |negative, mantissa, scale| Some(Number::Decimal { negative, mantissa, scale });
    let text = |text: &'static str| Some(Number::Text(text.as_bytes()));
    for (input, expected) in [
        ("0", whole(false, 0)),
        ("7,", whole(false, 7)),
        ("-12]", whole(true, 12)),
        ("12345678", whole(false, 12_345_678)),
        ("1763942400}", whole(false, 1_763_942_400)),
        ("9999999999999999999", whole(false, 9_999_999_999_999_999_999)),
        ("10000000000000000000", text("10000000000000000000")),
        ("1.50,\"x\":1", decimal(false, 150, 2)),
        ("-0.5", decimal(true, 5, 1)),
        ("0.0", decimal(false, 0, 1)),
        ("640.5307006835938", decimal(false, 6_405_307_006_835_938, 13)),
        ("0.1234567890123456", decimal(false, 1_234_567_890_123_456, 16)),
        ("0.12345678901234567", text("0.12345678901234567")),
        ("12345678.12345678901", decimal(false, 1_234_567_812_345_678_901, 11)),
        ("123456789.12345678901", text("123456789.12345678901")),
        ("-0", text("-0")),
        ("-0.00", text("-0.00")),
        ("1e3", text("1e3")),
        ("1E+3}", text("1E+3")),
        ("1.5e-10,", text("1.5e-10")),
        ("01", None),
        ("-", None),
        ("-a", None),
        (".5", None),
        ("1.", None),
        ("1.}", None),
        ("1e", None),
        ("1e+", None),
        ("+1", None),
        ("", None),
    ] {
        let found = number(input.as_bytes());
        assert_eq!(found.map(|(number, _)| number), expected, "{input}");
        let len = input.find([',', ']', '}']).unwrap_or(input.len());
        assert!(found.is_none_or(|(_, found)| found == len), "{input}");
    }
}

#[test]
fn a_skeleton_keeps_objects_and_has_holes_for_all_other_values() {
    for (text, expected) in [
        ("{}", "{}"),
        ("1", "_"),
        ("[1,{\"a\":2}]", "_"),
        ("\"a\"", "_"),
        ("{\"a\":1}", "{\"a\":_}"),
        ("{\"a\":1}}", "{\"a\":_}"),
        ("{\"a\":{\"b\":[],\"c\":\"}\"},\"d\":null}", "{\"a\":{\"b\":_,\"c\":_},\"d\":_}"),
        ("{\"a\\\"b\":[{\"x\":\"]\"},[[]]],\"c\":{}}", "{\"a\\\"b\":_,\"c\":{}}"),
    ] {
        let mut out = Vec::new();
        assert_eq!(skeleton(text.as_bytes(), &mut out), Some(()), "{text}");
        assert_eq!(String::from_utf8(out).unwrap().replace('\0', "_"), expected);
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(normal(nested(DECODE_DEPTH_MAX).as_bytes()), Some(nested(DECODE_DEPTH_MAX)));
    assert_eq!(normal(nested(DECODE_DEPTH_MAX + 1).as_bytes()), None);
}

/// Texts that are JSON more often than random bytes.
fn any_tokens() -> impl Strategy<Value = String> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "\n",
        "\"",
        "\"a\"",
        "\"b\\n\"",
        "\"\\u00e9\"",
        "\"\\x\"",
        "\\",
        "0",
        "1",
        "-",
        "1.5",
        "1e-9",
        "-0.0",
        "00",
        "true",
        "false",
        "null",
        "nul",
        "é",
        "\"sixteen bytes and more in it\"",
        "\t",
    ];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..14).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_texts_are_json_as_for_serde_json(text in any_tokens()) {
        let theirs = serde_json::from_str::<Value>(&text);
        let ours = normal(text.as_bytes());
        prop_assert_eq!(ours.is_some(), theirs.is_ok(), "{}", text);
        if let (Some(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(serde_json::from_str::<Value>(&ours).unwrap(), theirs);
            prop_assert_eq!(normal(ours.as_bytes()), Some(ours.clone()), "normal stays normal");
        }
    }

    #[test]
    fn white_space_changes_nothing(text in any_tokens(), spaces in prop::collection::vec(0..4_usize, 40)) {
        let Some(plain) = normal(text.as_bytes()) else { return Ok(()) };
        let value: Value = serde_json::from_str(&plain).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let mut spaces = spaces.into_iter().cycle();
        let spaced: String = pretty
            .chars()
            .map(|c| if c == '\n' { [" ", "\n", "\t\r ", "\n\n"][spaces.next().unwrap()].to_owned() } else { c.to_string() })
            .collect();
        prop_assert_eq!(normal(spaced.as_bytes()), normal(value.to_string().as_bytes()));
    }

    #[test]
    fn a_string_ends_where_a_simple_loop_finds_its_end(inside in "[a-d\"\\\\\u{1}é]{0,40}", more in "[a\"]{0,3}") {
        let text = format!("\"{inside}{more}");
        let bytes = text.as_bytes();
        let mut at = 1;
        let plain = loop {
            match bytes.get(at) {
                Some(b'"') => break Some(at + 1),
                Some(b'\\') if matches!(bytes.get(at + 1), Some(b'"' | b'\\' | b'b')) => at += 2,
                Some(0..0x20 | b'\\') | None => break None,
                _ => at += 1,
            }
        };
        prop_assert_eq!(string_len(bytes), plain);
    }
}
