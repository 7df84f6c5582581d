//! Tests of fields and texts against `serde_json`, an independent reader of the same JSON.

use proptest::prelude::*;
use serde_json::Value;

use super::super::tape;
use super::*;

fn tape_of(json: &str) -> Vec<u8> {
    let mut found = Vec::new();
    tape::parse(json.as_bytes(), &mut found).unwrap();
    found
}

fn json_of(field: &Field<'_>) -> String {
    let mut out = Vec::new();
    assert!(field.push_json(&mut out));
    String::from_utf8(out).unwrap()
}

/// JSON | path | JSON of the field, if there is one
const FIELDS: &[(&str, &str, Option<&str>)] = &[
    (r#"{"a":1}"#, "a", Some("1")),
    (r#"{"a":1}"#, "b", None),
    (r#"{"a":{"b":{"c":"x"}}}"#, "a.b.c", Some(r#""x""#)),
    (r#"{"a":{"b":{"c":"x"}}}"#, "a.b", Some(r#"{"c":"x"}"#)),
    (r#"{"a.b":1,"a":{}}"#, "a.b", None),
    (r#"{"a":[10,[20,{"x":null}]]}"#, "a.1", Some("10")),
    (r#"{"a":[10,[20,{"x":null}]]}"#, "a.2", Some("[20,{}]")),
    (r#"{"a":[10,[20,null]]}"#, "a.2.2", Some("null")),
    (r#"{"a":[10]}"#, "a.0", None),
    (r#"{"a":[10]}"#, "a.2", None),
    (r#"{"a":[10]}"#, "a.x", None),
    (r#"{"a":null}"#, "a", None),
    (r#"{"a":1,"a":2}"#, "a", Some("2")),
    (r#"{"a":76561198000000001}"#, "a", Some(r#""76561198000000001""#)),
    (r#"{"a":{"n":9007199254740993}}"#, "a", Some(r#"{"n":"9007199254740993"}"#)),
    (r#"{"a":{"x":null,"y":1,"z":null}}"#, "a", Some(r#"{"y":1}"#)),
    (r#"{"a":"x"}"#, "a.b", None),
    (r#""text""#, "a", None),
    (r#"[1]"#, "1", Some("1")),
    (r#"{"a":{"e":[],"o":{},"t":true,"f":-0.5}}"#, "a", Some(r#"{"e":[],"o":{},"t":true,"f":-0.5}"#)),
];

#[test]
fn a_path_finds_its_field() {
    for (json, path, expected) in FIELDS {
        let tape = tape_of(json);
        let found = field(&tape, path).map(|field| json_of(&field));
        assert_eq!(found.as_deref(), *expected, "{path} of {json}");
    }
}

#[test]
fn a_tape_that_is_cut_off_has_no_field() {
    let tape = tape_of(r#"{"a":{"b":[1,"xyz"]}}"#);
    for end in 0..tape.len() {
        let cut = &tape[..end];
        assert!(field(cut, "a.b.2").is_none(), "cut at {end}");
        assert!(field(cut, "a").is_none_or(|field| !field.push_json(&mut Vec::new())), "cut at {end}");
    }
}

#[test]
fn the_deepest_tape_is_written_whole() {
    let json = format!("{{\"a\":{}1{}}}", "[".repeat(ENCODE_DEPTH_MAX - 1), "]".repeat(ENCODE_DEPTH_MAX - 1));
    let tape = tape_of(&json);
    assert_eq!(format!("{{\"a\":{}}}", json_of(&field(&tape, "a").unwrap())), json);
}

/// JSON text | the same text without the member `_rt`
const WITHOUT: &[(&str, &str)] = &[
    (r#"{"a":1,"_rt":"x"}"#, r#"{"a":1}"#),
    (r#"{"_rt":"x"}"#, "{}"),
    (r#" {"_rt":"x","a":[1,{"_rt":2}]} "#, r#"{"a":[1,{"_rt":2}]}"#),
    (r#"{"a":"x\",\"_rt\":\"y"}"#, r#"{"a":"x\",\"_rt\":\"y"}"#),
    (r#"{"a":"}],{\\","_rt":{"b":[1,2]},"c":3}"#, r#"{"a":"}],{\\","c":3}"#),
    (r#"["_rt"]"#, r#"["_rt"]"#),
    (r#"{"a":"_rt"}"#, r#"{"a":"_rt"}"#),
    (r#"{"\u005frt":"x","a":1}"#, r#"{"a":1}"#),
    (r#"{"a":1,"\u005f\u0072\u0074" : 2}"#, r#"{"a":1}"#),
    (r#"{"\u005frtx":"x","\"_rt":"y","_r\t":1}"#, r#"{"\u005frtx":"x","\"_rt":"y","_r\t":1}"#),
];

#[test]
fn a_member_is_left_out_of_the_outermost_object_only() {
    for (text, expected) in WITHOUT {
        let mut out = Vec::new();
        push_without(&mut out, text.as_bytes(), "_rt");
        assert_eq!(String::from_utf8(out).unwrap(), *expected, "{text}");
    }
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(Value::from),
        // Eighths are exact in binary; serde_json reads some other fractions inexactly.
        (-8000..8000_i32).prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c_]{1,3}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Equality that compares numbers by value, because 1.0 is written as the integer 1.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, one)| other.get(name).is_some_and(|o| is_same(one, o)))
        }
        _ => one == other,
    }
}

proptest! {
    /// serde_json is the oracle: it reads the text that we write.
    #[test]
    fn a_written_field_reads_back_the_same(value in json_values()) {
        let tape = tape_of(&serde_json::json!({ "a": value }).to_string());
        let back: Value = serde_json::from_str(&json_of(&field(&tape, "a").unwrap())).unwrap();
        prop_assert!(is_same(&back, &value), "{} {}", back, value);
    }

    #[test]
    fn leaving_out_a_member_is_removing_it(mut value in json_values(), at_front: bool) {
        let inner = value.to_string();
        let text = if at_front {
            format!("{{\"_rt\":{inner},\"a\":{inner}}}")
        } else {
            format!("{{\"a\":{inner},\"_rt\":{inner}}}")
        };
        let mut out = Vec::new();
        push_without(&mut out, text.as_bytes(), "_rt");
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), serde_json::json!({ "a": value.take() }));
    }
}
