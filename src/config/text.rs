//! Reads `realtime.json`: bytes to text, text to options. Accepts the deviations from JSON that editors, panels and
//! people produce: a byte order mark, UTF-16, NUL padding, comments (`//`, `/* */`, `#`), a comma before a closing
//! bracket, and one more object around everything.
//! Pure. Errors name the place and say how to write it; they show no part of the text, which may hold a password.
//!
//! ```text
//! bytes ──decode──▶ text ──plain_json──▶ JSON of the same length ──serde_json──▶ members
//! ```

use serde_json::Value;

use crate::config::options::{OPTIONS, is_address, locating_option_of, plain_name, row_of};

/// An option as a source writes it: its name, and the value as text or why that cannot be the value of an option.
pub(super) type Member = (String, Result<String, String>);

/// Members of one source, and members of its inner objects and arrays that are looked at. This is far more than there are
/// options, and it bounds the work for a file of something else.
const MEMBERS_MAX: usize = 256;

/// The example file in error texts.
const EXAMPLE: &str = "{\"redis\": \"redis://:PASSWORD@HOST:6379\"}";

/// [`decode`] replaces bad bytes by this character. A value that holds it is refused, but a comment may hold it.
const NO_TEXT: char = char::REPLACEMENT_CHARACTER;

/// Decodes UTF-8, or UTF-16 as Windows Notepad writes it under the name `Unicode`. Bad bytes become U+FFFD.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let wide = |little: bool, bytes: &[u8]| {
        let units = bytes.chunks(2).map(|pair| match *pair {
            [first, second] if little => u16::from_le_bytes([first, second]),
            [first, second] => u16::from_be_bytes([first, second]),
            // Half a unit at the end is a bad character.
            _ => 0xfffd,
        });
        String::from_utf16_lossy(&units.collect::<Vec<u16>>())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(true, rest),
        [0xfe, 0xff, rest @ ..] => wide(false, rest),
        // UTF-16 without a mark shows itself: JSON begins with two ASCII characters, so one byte of each pair is 0.
        [first, 0, ..] if *first != 0 => wide(true, bytes),
        [0, second, ..] if *second != 0 => wide(false, bytes),
        _ => String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned(),
    }
}

/// The members of the object in the text. A name that stands there twice becomes one member with an error.
pub(super) fn members(text: &str) -> Result<Vec<Member>, String> {
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\0', '\u{1a}']);
    if text.trim().is_empty() {
        return Err(format!("is empty: write {EXAMPLE}, or {{}} for no settings"));
    }
    let (plain, names) = plain_json(text);
    let whole = match serde_json::from_slice(&plain) {
        Ok(whole) => whole,
        Err(err) => return Err(misread(text, &err)),
    };
    let (depth, members) = match whole {
        Value::Object(members) => match unwrapped(&members) {
            Some(inner) => (2, inner.clone()),
            None => (1, members),
        },
        other => return Err(format!("expected an object, found {}: write {EXAMPLE}", kind_of(&other))),
    };
    if members.len() > MEMBERS_MAX {
        return Err(format!("it holds {} options, and there are {}", members.len(), OPTIONS.len()));
    }
    let of_object = names.into_iter().filter(|(at, _)| *at == depth);
    let names: Vec<String> = of_object.map(|(_, name)| plain_name(&name)).collect();
    let (mut found, mut left) = (Vec::new(), MEMBERS_MAX);
    for (name, value) in members {
        let plain = plain_name(&name);
        let count = names.iter().filter(|known| **known == plain).count();
        let inner = locating_option_inside(&value, &mut left).filter(|_| locating_option_of(&name).is_none());
        found.push(match inner {
            // The name of the member and of the option: the inner name may be anything.
            Some(option) => {
                (format!("{name}.{option}"), Err(format!("write `{option}` beside the others, not inside")))
            }
            None if count > 1 => (name, Err("it stands there more than once: keep one".to_owned())),
            None => (name, text_of(value)),
        });
    }
    Ok(found)
}

/// The value of an option as text, or why it cannot be one.
fn text_of(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.contains(NO_TEXT) => {
            Err("it holds bytes that are not UTF-8 text; save the file as UTF-8".to_owned())
        }
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(switch) => Ok(switch.to_string()),
        other => Err(format!("expected a string, number or boolean, found {}", kind_of(&other))),
    }
}

/// The option of [`LOCATING`](super::options::LOCATING) that an object or an array holds at any depth, by its name or as
/// an address. serde_json bounds the depth, and `left` the members that are looked at: each costs some microseconds.
fn locating_option_inside(value: &Value, left: &mut usize) -> Option<&'static str> {
    let mut of_member = |name: Option<&str>, value: &Value| {
        *left = left.checked_sub(1)?;
        name.and_then(locating_option_of).or_else(|| match value {
            Value::String(text) => is_address(text).then_some("redis"),
            inner => locating_option_inside(inner, left),
        })
    };
    match value {
        Value::Array(items) => items.iter().find_map(|item| of_member(None, item)),
        Value::Object(members) => members.iter().find_map(|(name, value)| of_member(Some(name), value)),
        _ => None,
    }
}

/// The inner object of `{"realtime": {...}}`: one object, under any name that is no option, around all options.
fn unwrapped(members: &serde_json::Map<String, Value>) -> Option<&serde_json::Map<String, Value>> {
    let (name, inner) = members.iter().next().filter(|_| members.len() == 1)?;
    inner.as_object().filter(|_| row_of(name).is_none())
}

/// Replaces comments, and commas before a closing bracket, by blanks. The length stays the same, so that the line and
/// column of an error are those of the file. Also returns the name of each member with its depth (1 = the outermost
/// object): serde_json keeps only the last of two members with one name, so duplicates have to be found here.
fn plain_json(text: &str) -> (Vec<u8>, Vec<(usize, String)>) {
    let (bytes, mut plain) = (text.as_bytes(), text.as_bytes().to_vec());
    let (mut names, mut depth, mut at) = (Vec::new(), 0_usize, 0);
    // Position and value of the last byte outside blanks and comments.
    let mut last = (0, b' ');
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match rest {
            [b'"', tail @ ..] => {
                let length = string_length(tail);
                if matches!(last.1, b'{' | b',') {
                    let name = tail.get(..length.saturating_sub(1)).unwrap_or_default();
                    names.push((depth, String::from_utf8_lossy(name).into_owned()));
                }
                last = (at, b'"');
                1 + length
            }
            [b'/', b'/', ..] | [b'#', ..] => {
                let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                blank(&mut plain, at, length);
                length
            }
            [b'/', b'*', tail @ ..] => {
                let length = tail.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 4);
                blank(&mut plain, at, length);
                length
            }
            [byte, ..] => {
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth = depth.saturating_sub(1);
                        if last.1 == b',' {
                            blank(&mut plain, last.0, 1);
                        }
                    }
                    _ => {}
                }
                if !byte.is_ascii_whitespace() {
                    last = (at, *byte);
                }
                1
            }
            [] => break,
        };
        at += length;
    }
    (plain, names)
}

/// Overwrites the bytes with blanks, but keeps line ends, so that line numbers stay right.
fn blank(plain: &mut [u8], at: usize, length: usize) {
    let part = plain.get_mut(at..at + length).into_iter().flatten();
    part.filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The length of a string, counted behind its opening quote and with its closing quote. A string without an end takes
/// the rest of the text.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The error for a text that is not JSON: the place, serde_json's message, and advice for the usual mistakes.
/// serde_json's messages hold no part of the text.
fn misread(text: &str, err: &serde_json::Error) -> String {
    let line = text.split('\n').nth(err.line().saturating_sub(1)).unwrap_or_default();
    let (before, after) = line.split_at(line.floor_char_boundary(err.column().saturating_sub(1)));
    let (place, said) = (format!("line {} column {}", err.line(), before.chars().count() + 1), err.to_string());
    let said = said.split(" at line ").next().unwrap_or_default();
    let advice = if after.starts_with(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}']) {
        "curly quotes: write straight ones, \"".to_owned()
    } else if said.contains("escape") {
        "a backslash is written twice, \\\\; in paths write /".to_owned()
    } else if after.starts_with('\'') {
        "names and texts stand in double quotes, \"".to_owned()
    } else {
        format!("write it as {EXAMPLE}")
    };
    format!("is not JSON: {said} at {place}; {advice}")
}

/// The JSON type of a value, for error texts.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
