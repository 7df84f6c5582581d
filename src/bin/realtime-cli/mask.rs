//! Hides addresses of players in JSON text: the value of every member named `ip` or `address`, in any letter case and at
//! any depth, also in JSON that stands inside a string. Pure, and linear in the length of the text.
//!
//! ```text
//! {"name":"Al","ip":"1.2.3.4","at":{"Address":["a","b"]}}   ->   {"name":"Al","ip":"***","at":{"Address":"***"}}
//! ```
//!
//! A string before a colon is always a member's name in JSON, so no stack of open brackets is needed. For the same reason
//! text that is nearly JSON, such as one that was cut off, is masked too.

use std::borrow::Cow;

/// Names of members that hold an address.
const NAMES: [&str; 2] = ["ip", "address"];
/// Longest name as a string with escapes, in bytes: six for each character, and the quotes.
const NAME_BYTES_MAX: usize = 6 * 7 + 2;
/// How deep JSON inside strings is looked at. Each level doubles the backslashes; a deeper string is hidden as a whole.
const LEVELS_MAX: usize = 4;
/// Stands for a hidden value.
const HIDDEN: &str = "\"***\"";

/// The text with its addresses hidden.
pub(crate) fn masked(text: &str) -> String {
    masked_at(text, 0)
}

fn masked_at(text: &str, level: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        let (before, from_quote) = rest.split_at(quote);
        let (string, behind) = from_quote.split_at(string_len(from_quote));
        out.push_str(before);
        rest = behind;
        let value = behind.trim_start().strip_prefix(':').map(str::trim_start);
        match value {
            Some(value) if is_address(string) => {
                out.push_str(string);
                out.push(':');
                out.push_str(HIDDEN);
                rest = value.split_at(value_len(value)).1;
            }
            Some(_) => out.push_str(string),
            None => out.push_str(&inside(string, level)),
        }
    }
    out.push_str(rest);
    out
}

/// A string with the addresses hidden in JSON that is a part of its text.
fn inside(string: &str, level: usize) -> Cow<'_, str> {
    // Only a name in quotes, which have backslashes inside a string, can be one of a member.
    if !string.contains("\\\"") && !string.contains("\\u") {
        return Cow::Borrowed(string);
    }
    let Ok(text) = serde_json::from_str::<String>(string) else {
        // It was cut off, or has a wrong escape: hidden as a whole if an address may be in it.
        let lower = string.to_ascii_lowercase();
        let may_hold = lower.contains("\\u") || NAMES.iter().any(|name| lower.contains(name));
        return Cow::Borrowed(if may_hold { HIDDEN } else { string });
    };
    if level >= LEVELS_MAX {
        return Cow::Borrowed(HIDDEN);
    }
    let hidden = masked_at(&text, level + 1);
    if hidden == text { Cow::Borrowed(string) } else { Cow::Owned(serde_json::Value::from(hidden).to_string()) }
}

/// Whether the string, in its quotes, is one of [`NAMES`]. Its letters may be written as escapes.
fn is_address(string: &str) -> bool {
    if string.len() > NAME_BYTES_MAX {
        return false;
    }
    let plain = string.trim_matches('"');
    let text = if string.contains('\\') {
        serde_json::from_str::<String>(string).map_or(Cow::Borrowed(plain), Cow::Owned)
    } else {
        Cow::Borrowed(plain)
    };
    NAMES.iter().any(|name| text.trim().eq_ignore_ascii_case(name))
}

/// The length of the string at the start of the text, its quotes included; of the whole text if it does not end.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The length of the value at the start of the text: up to its end, or to the end of the text.
fn value_len(text: &str) -> usize {
    match text.bytes().next() {
        Some(b'"') => string_len(text),
        Some(b'{' | b'[') => container_len(text),
        _ => text.find([',', '}', ']', '"', '\n']).unwrap_or(text.len()),
    }
}

/// The length of the array or object at the start of the text. Its brackets are counted, whichever they are.
fn container_len(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let end = text.bytes().position(|byte| {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(text.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The same by the structure of the value. Strings that are JSON themselves are looked into, as long as there are levels.
    fn naive(value: &Value, level: usize) -> Value {
        match value {
            Value::Object(members) => {
                let hidden = |name: &str| NAMES.iter().any(|other| other.eq_ignore_ascii_case(name));
                let member = |(name, value): (&String, &Value)| {
                    (name.clone(), if hidden(name) { Value::from("***") } else { naive(value, level) })
                };
                Value::Object(members.iter().map(member).collect())
            }
            Value::Array(elements) => elements.iter().map(|element| naive(element, level)).collect(),
            Value::String(text) if level < LEVELS_MAX => match serde_json::from_str::<Value>(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => {
                    Value::from(naive(&inner, level + 1).to_string())
                }
                _ => value.clone(),
            },
            other => other.clone(),
        }
    }

    /// Values in which addresses, words like them, quotes and JSON in strings are frequent.
    fn any_value() -> impl Strategy<Value = Value> {
        let word = || prop_oneof![Just("ip"), Just("Address"), Just("x"), Just("é"), Just("a\\\"b"), Just("[{")];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            word().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 4, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::Array),
                vec((word(), inner.clone()), 0..4)
                    .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
                inner.prop_map(|value| Value::from(value.to_string())),
            ]
        })
    }

    /// How deep JSON stands inside strings.
    fn levels(value: &Value) -> usize {
        match value {
            Value::Array(elements) => elements.iter().map(levels).max().unwrap_or(0),
            Value::Object(members) => members.values().map(levels).max().unwrap_or(0),
            Value::String(text) => serde_json::from_str::<Value>(text).map_or(0, |inner| 1 + levels(&inner)),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn the_text_is_masked_as_its_value(value in any_value(), is_pretty in any::<bool>()) {
            // Deeper strings are hidden as a whole.
            prop_assume!(levels(&value) < LEVELS_MAX);
            let text = if is_pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let hidden = masked(&text);
            prop_assert_eq!(serde_json::from_str::<Value>(&hidden).unwrap(), naive(&value, 0), "{}", text);
        }

        #[test]
        fn any_text_is_masked_without_a_panic(text in "[\"\\\\{}\\[\\]:, ipé\\n]{0,60}") {
            let hidden = masked(&text);
            // Hiding again changes nothing.
            prop_assert_eq!(masked(&hidden), hidden.clone(), "{}", text);
        }
    }

    #[test]
    fn addresses_are_hidden_at_any_depth() {
        let rows = [
            (r#"{"ip":"1.2.3.4:27005","n":1}"#, r#"{"ip":"***","n":1}"#),
            (r#"{"IP" : "1.2.3.4" , "n":1}"#, r#"{"IP":"***" , "n":1}"#),
            (r#"{"a":[{"address":{"v4":"1.2.3.4","x":["}",1]}},2]}"#, r#"{"a":[{"address":"***"},2]}"#),
            (r#"{"\u0069p":16909060}"#, r#"{"\u0069p":"***"}"#),
            (r#"{"ip":null}"#, r#"{"ip":"***"}"#),
            (r#"{"ip":"a\"b","name":"ip"}"#, r#"{"ip":"***","name":"ip"}"#),
            // A value, and other names, stay.
            (r#"["ip","address"]"#, r#"["ip","address"]"#),
            (r#"{"ship":"a","addresses":"b","text":"my ip: 1"}"#, r#"{"ship":"a","addresses":"b","text":"my ip: 1"}"#),
            // JSON in a string, also twice.
            (r#"{"json":"{\"ip\":\"1.2.3.4\"}"}"#, r#"{"json":"{\"ip\":\"***\"}"}"#),
            (r#"["[\"{\\\"ip\\\":\\\"1.2.3.4\\\"}\"]"]"#, r#"["[\"{\\\"ip\\\":\\\"***\\\"}\"]"]"#),
            (r#"{"json":"{\u0022ip\u0022:1}"}"#, r#"{"json":"{\"ip\":\"***\"}"}"#),
            (r#"["at {\"ip\":\"1.2.3.4\"}"]"#, r#"["at {\"ip\":\"***\"}"]"#),
            // Text that is no JSON.
            (r#"{"ip":"1.2.3.4"#, r#"{"ip":"***""#),
            (r#"{"ip":[1,2"#, r#"{"ip":"***""#),
            (r#"{"ip":1.2.3.4}"#, r#"{"ip":"***"}"#),
            (r#"{"ip""#, r#"{"ip""#),
            ("plain", "plain"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn strings_too_deep_to_look_into_are_hidden() {
        let mut text = r#"{"ip":"1.2.3.4"}"#.to_owned();
        for level in 0..8 {
            let hidden = masked(&text);
            assert!(!hidden.contains("1.2.3.4") && hidden.contains("***"), "{level}: {hidden}");
            assert!(serde_json::from_str::<serde_json::Value>(&hidden).is_ok(), "{level}: {hidden}");
            text = serde_json::json!([text]).to_string();
        }
    }

    /// A text that was cut off at any place is no JSON any more.
    #[test]
    fn no_cut_of_a_text_shows_an_address() {
        let text = r#"{"é":"{\"ip\":\"1.2.3.4\"}","ip":"1.2.3.4","address":{"a":["1.2.3.4"]},"x":1}"#;
        for (end, _) in text.char_indices() {
            let shown = masked(text.get(..end).unwrap());
            assert!(!shown.contains("1."), "{shown}");
        }
    }
}
