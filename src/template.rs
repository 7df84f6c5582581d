//! Texts with placeholders: `{name}` or `{name.path}` becomes a field of the event, everything else stays as it is.
//! Parsed once when a hook is added, rendered for each event into a buffer that is reused; pure.
//! Where the text goes decides how a value is written ([`Place`]); a value is never looked at for placeholders.
//!
//! | value | in text | in a JSON body | in a URL | in a Redis key |
//! |---|---|---|---|---|
//! | text | cleaned, markdown escaped where it counts | escaped; outside of quotes with quotes of its own | percent-encoded | its bytes |
//! | number, boolean | as JSON writes it | the same | the same | the same |
//! | array, object | compact JSON, then as text | the JSON itself; inside of quotes escaped | percent-encoded | the JSON |
//! | absent | `?` | `?`; outside of quotes `null` | an error | an error |
//!
//! `{channel}` and `{time}` (whole seconds of Unix time) are there for every event that has no such member.

use std::fmt;

use crate::config::TEMPLATE_BYTES_MAX;
use crate::json::find::{self, Field};
use crate::json::tape::{self, Item};
use crate::json::text;

mod escape;

/// Where a rendered text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Discord text that is read as markdown: content, an embed's title, description and fields.
    Markdown,
    /// Discord text that is not: an embed's footer and author.
    Plain,
    /// The body of a request. JSON if it is JSON with values in the place of the placeholders.
    Body,
    /// Path and query of a URL.
    Url,
    Key,
}

/// How one value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Markdown,
    Plain,
    /// Between the quotes of a JSON string, or in a body that is no JSON.
    Quoted,
    /// Where JSON wants a value.
    Bare,
    Url,
    Key,
}

#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    Field { path: Box<str>, style: Style },
}

/// A parsed text.
#[derive(Debug)]
pub struct Template {
    parts: Box<[Part]>,
    is_json: bool,
}

/// What a template can take its values from.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    /// The event's payload (`json/tape.rs`).
    pub tape: &'a [u8],
    pub channel: &'a [u8],
    pub unix_ms: u64,
}

impl Template {
    pub fn parse(text: &str, place: Place) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError { bytes: text.len() });
        }
        let style = match place {
            Place::Markdown => Style::Markdown,
            Place::Plain => Style::Plain,
            Place::Body => Style::Quoted,
            Place::Url => Style::Url,
            Place::Key => Style::Key,
        };
        let mut parts = split(text, style);
        let is_json = place == Place::Body && as_json_body(&mut parts);
        Ok(Template { parts: parts.into_boxed_slice(), is_json })
    }

    /// A body whose every rendering is JSON.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    pub fn has_placeholders(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field { .. }))
    }

    /// The text around the placeholders.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(&**text),
            Part::Field { .. } => None,
        })
    }

    /// Appends the text for one event. UTF-8, except for a key. On an error `out` is as it was.
    pub fn render(&self, fields: &Fields<'_>, out: &mut Vec<u8>) -> Result<(), Missing> {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field { path, style } => {
                    if !push_field(out, *style, fields, path) {
                        out.truncate(start);
                        return Err(Missing { field: path.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    /// The text for one event, for places whose text is UTF-8.
    pub fn render_text(&self, fields: &Fields<'_>) -> Result<String, Missing> {
        let mut out = Vec::new();
        self.render(fields, &mut out)?;
        // Cleaned values are UTF-8 already: this checks, and copies nothing.
        Ok(String::from_utf8(out).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
    }
}

/// Cuts a text at its placeholders.
fn split(text: &str, style: Style) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut literal, mut rest) = (0, 0);
    while let Some(open) = text.get(rest..).and_then(|tail| tail.find('{')).map(|at| rest + at) {
        rest = open + 1;
        let inner = text.get(rest..).unwrap_or_default();
        let Some(path) = inner.split_once('}').map(|(path, _)| path).filter(|path| is_path(path)) else { continue };
        if let Some(before) = text.get(literal..open).filter(|before| !before.is_empty()) {
            parts.push(Part::Literal(before.into()));
        }
        parts.push(Part::Field { path: path.into(), style });
        rest += path.len() + 1;
        literal = rest;
    }
    if let Some(tail) = text.get(literal..).filter(|tail| !tail.is_empty()) {
        parts.push(Part::Literal(tail.into()));
    }
    parts
}

/// Letters, digits and `_`, in parts with a dot between them.
pub(crate) fn is_path(text: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text.split('.').all(is_name)
}

/// Whether the parts make a JSON object or array once the placeholders have values. If so, those outside of quotes
/// become values of their own.
fn as_json_body(parts: &mut [Part]) -> bool {
    let mut sample = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut bare = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match part {
            Part::Literal(text) => {
                for byte in text.bytes() {
                    match byte {
                        _ if std::mem::take(&mut escaped) => {}
                        b'\\' => escaped = quoted,
                        b'"' => quoted = !quoted,
                        _ => {}
                    }
                }
                sample.extend_from_slice(text.as_bytes());
            }
            Part::Field { .. } => {
                if !quoted {
                    bare.push(index);
                }
                sample.extend_from_slice(if quoted { b"x" } else { b"\"\"" });
            }
        }
    }
    let is_json = tape::is_container(&sample, &mut Vec::new());
    for index in bare.into_iter().filter(|_| is_json) {
        if let Some(Part::Field { style, .. }) = parts.get_mut(index) {
            *style = Style::Bare;
        }
    }
    is_json
}

/// Appends the field; false if it is absent and must not be.
fn push_field(out: &mut Vec<u8>, style: Style, fields: &Fields<'_>, path: &str) -> bool {
    match (find::field(fields.tape, path), path) {
        (Some(field), _) => push_value(out, style, &field),
        (None, "channel") => push_bytes(out, style, fields.channel),
        (None, "time") => _ = text::push_number(out, (fields.unix_ms / 1000) as f64),
        (None, _) => match style {
            Style::Markdown | Style::Plain | Style::Quoted => out.push(b'?'),
            Style::Bare => out.extend_from_slice(b"null"),
            Style::Url | Style::Key => return false,
        },
    }
    true
}

fn push_value(out: &mut Vec<u8>, style: Style, field: &Field<'_>) {
    match field.item {
        Item::Text(bytes) => push_bytes(out, style, bytes),
        // Their text has nothing that any place would have to escape.
        Item::Number(number) if style != Style::Url => _ = text::push_number(out, number),
        Item::Boolean(_) | Item::Nil | Item::Null => _ = field.push_json(out),
        Item::Array(_) | Item::Object(_) if style == Style::Bare => _ = field.push_json(out),
        Item::Number(_) | Item::Array(_) | Item::Object(_) => {
            let mut json = Vec::new();
            field.push_json(&mut json);
            push_bytes(out, style, &json);
        }
    }
}

fn push_bytes(out: &mut Vec<u8>, style: Style, bytes: &[u8]) {
    match style {
        Style::Markdown => escape::push_markdown(out, bytes),
        Style::Plain => escape::push_plain(out, bytes),
        Style::Quoted => text::push_escaped(out, bytes),
        Style::Bare => text::push_string(out, bytes),
        Style::Url => escape::push_percent(out, bytes),
        Style::Key => out.extend_from_slice(bytes),
    }
}

/// The text is too long to be a template.
#[derive(Debug, PartialEq)]
pub struct TemplateError {
    bytes: usize,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has {} bytes, {TEMPLATE_BYTES_MAX} are allowed", self.bytes)
    }
}

/// The event lacks a field without which the text makes no sense.
#[derive(Debug, PartialEq)]
pub struct Missing {
    pub field: Box<str>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the event has no `{}`", self.field)
    }
}

#[cfg(test)]
mod tests;
