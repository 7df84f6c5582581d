//! Text of others for terminals, pipes and pages: one line, and nothing in it that a terminal or a browser obeys. Pure.
//! Anybody who may publish decides about channels and payloads, and a player about names in them.

/// Whether a terminal or a browser may do more with the character than show it: control characters, those that change the
/// direction of the text around them, ends of lines, and invisible ones. Joiners stay, as they are parts of emoji.
pub(crate) fn is_unruly(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON text in one line: without white space between its parts, and with an escape for each unruly character of its
/// strings. It has the same value. Text that is no JSON stays in one line too, but may change.
pub(crate) fn tamed(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if !quoted && c.is_ascii_whitespace() {
            continue;
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        if is_unruly(c) { push_escape(&mut out, c) } else { out.push(c) }
    }
    out
}

/// Appends the escape that JSON has for the character: two of them above U+FFFF.
fn push_escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Any text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    tamed(&serde_json::Value::from(text).to_string())
}

/// Any text in one line, without quotes: unruly characters and backslashes are written as in JSON.
pub(crate) fn plain(text: &str) -> String {
    let quoted = quoted(text);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted);
    inner.replace("\\\"", "\"")
}

/// The first bytes of a text, at most so many, up to the end of a character.
pub(crate) fn beginning(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_value_in_one_line() {
        for (json, expected) in [
            ("{\n \"a\" : [ 1, 2 ],\t\"b\":\"c d\" }", r#"{"a":[1,2],"b":"c d"}"#),
            ("\"\u{202e}evil\u{1b}[2J\u{7f}\u{9b}\u{2028}\"", r#""\u202eevil\u001b[2J\u007f\u009b\u2028""#),
            ("\"\u{e0041}\"", r#""\udb40\udc41""#),
            (r#""a\"  b\\""#, r#""a\"  b\\""#),
            ("\"Zoë 👩‍🚀\"", "\"Zoë 👩‍🚀\""),
        ] {
            assert_eq!(tamed(json), expected);
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            // Raw control characters are no JSON, so only the second row cannot be compared.
            assert!(value(json).is_none() || value(json) == value(&tamed(json)), "{json}");
        }
    }

    #[test]
    fn any_text_becomes_one_line() {
        for (text, line, json) in [
            ("a \"b\"", "a \"b\"", r#""a \"b\"""#),
            ("a\nb\u{1b}[31m", r"a\nb\u001b[31m", r#""a\nb\u001b[31m""#),
            ("\u{2067}x", r"\u2067x", r#""\u2067x""#),
            ("", "", "\"\""),
        ] {
            assert_eq!((plain(text).as_str(), quoted(text).as_str()), (line, json));
        }
    }

    #[test]
    fn a_beginning_ends_between_two_characters() {
        for (bytes, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (9, "aé")] {
            assert_eq!(beginning("aé", bytes), expected);
        }
    }
}
