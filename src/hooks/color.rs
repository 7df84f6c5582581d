//! The color of an embed: read from a spec, or from a field of an event.
//! Pure. Read on the game thread when a hook is added, looked up on `rt-webhooks` for each message.
//!
//! | shape | where it comes from |
//! |---|---|
//! | `0xff8800` | Discord's own documentation: 24 bits of red, green and blue |
//! | `"#ff8800"`, `"ff8800"`, `"0xff8800"` | CSS, web pages, settings |
//! | `{r = 255, g = 136, b = 0, a = 255}` | `Color(255, 136, 0)` of the game; its `a` is ignored |
//! | `"{color}"`, in a spec only | a field of the event in one of the other shapes |

use serde_json::Value;

use crate::hooks::error::SpecError;
use crate::hooks::members::Members;
use crate::hooks::template::{Fields, lone_path};
use crate::json::find;
use crate::json::tape::TapeItem;

/// White.
const COLOR_MAX: u32 = 0xff_ffff;

/// A color of a spec.
#[derive(Debug)]
pub(crate) enum Color {
    Fixed(u32),
    /// The path of the event's field that holds it.
    Field(Box<str>),
}

impl Color {
    /// The member `name` of a spec.
    pub(crate) fn read(members: &Members<'_>, name: &str) -> Result<Option<Color>, SpecError> {
        let found = match members.get(name) {
            None => return Ok(None),
            Some(Value::Number(_)) => {
                let color = members.whole(name, 0..=u64::from(COLOR_MAX))?;
                return Ok(color.and_then(|color| u32::try_from(color).ok()).map(Color::Fixed));
            }
            Some(Value::String(text)) => match lone_path(text) {
                Some(path) => Some(Color::Field(path.into())),
                None => of_digits(text.as_bytes()).map(Color::Fixed),
            },
            Some(Value::Object(parts)) if parts.keys().all(|part| ["r", "g", "b", "a"].contains(&part.as_str())) => {
                of_parts(["r", "g", "b"].map(|part| parts.get(part).and_then(Value::as_f64))).map(Color::Fixed)
            }
            Some(_) => None,
        };
        let expected =
            "expected a number, \"#\" and six hexadecimal digits, Color(...) or one placeholder like {color}";
        found.map(Some).ok_or_else(|| members.error(name, format_args!("{expected}")))
    }

    /// The placeholder that stands for the color.
    pub(crate) fn placeholder(&self) -> Option<&str> {
        match self {
            Color::Fixed(_) => None,
            Color::Field(path) => Some(path),
        }
    }

    /// The color for one event. `Ok(None)`: the event has no such field, or an empty one. The error is the path of a
    /// field that holds something else than a color.
    pub(crate) fn of(&self, fields: &Fields<'_>) -> Result<Option<u32>, &str> {
        let path = match self {
            Color::Fixed(color) => return Ok(Some(*color)),
            Color::Field(path) => path,
        };
        let Some(field) = find::field(fields.tape, path) else { return Ok(None) };
        let found = match field.item {
            TapeItem::Text(b"") => return Ok(None),
            TapeItem::Text(text) => of_digits(text),
            TapeItem::Number(number) => of_number(number, COLOR_MAX),
            TapeItem::Object(_) => {
                of_parts(["r", "g", "b"].map(|part| match find::field(fields.tape, &format!("{path}.{part}"))?.item {
                    TapeItem::Number(number) => Some(number),
                    _ => None,
                }))
            }
            _ => None,
        };
        found.map(Some).ok_or(path)
    }
}

/// Six hexadecimal digits, with or without `#` or `0x` before them.
fn of_digits(text: &[u8]) -> Option<u32> {
    let digits = [&b"#"[..], b"0x", b"0X"].iter().find_map(|start| text.strip_prefix(*start)).unwrap_or(text);
    // The parser alone would accept a sign.
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits).filter(|digits| digits.len() == 6)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A whole number up to `max`.
fn of_number(number: f64, max: u32) -> Option<u32> {
    let whole = number as u32;
    (f64::from(whole) == number && whole <= max).then_some(whole)
}

/// Red, green and blue from 0 to 255. The game mixes colors to fractions, which are rounded.
fn of_parts(parts: [Option<f64>; 3]) -> Option<u32> {
    parts.into_iter().try_fold(0, |color, part| Some(color << 8 | of_number(part?.round(), 255)?))
}

#[cfg(test)]
mod tests;
