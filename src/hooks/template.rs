//! Texts with placeholders: `{name}` or `{name.path}` becomes a field of the event, everything else stays as it is.
//! Parsed once when a hook is added, rendered for each event into a buffer that is reused; pure.
//! Where the text goes decides how a value is written ([`Place`]); a value is never looked at for placeholders.
//! Bounded: a template by its length and its placeholders, a rendered text by the longest that its place takes.
//!
//! | value | in text | in a JSON body | in a form or URL | in a header | in a Redis key |
//! |---|---|---|---|---|---|
//! | text | cleaned, markdown escaped where it counts | escaped; outside of quotes with quotes of its own | percent-encoded | ASCII, no control characters | its bytes |
//! | number, boolean | as JSON writes it | the same | the same, percent-encoded | the same | the same |
//! | array, object | compact JSON, then as text | the JSON itself; inside of quotes escaped | percent-encoded | as text | the JSON |
//! | absent | `?` | `?`; outside of quotes `null` | `?` in a form, an error in a URL | `?` | an error |
//!
//! `{channel}` and `{time}` (whole seconds of Unix time) are there for every event that has no such member.
//!
//! Names hold letters and digits of Unicode, `_` and `-`. Other text in braces that holds a letter or a digit, and no
//! `"`, comma, semicolon, backslash, brace or line break, looks like a placeholder and is refused; all other braces
//! are literal, so that bodies can be JSON.

use std::fmt;

use crate::config::limits::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::hooks::url::TARGET_BYTES_MAX;
use crate::json::find::{self, Field};
use crate::json::tape::TapeItem as Item;
use crate::json::text;
use body::{Hole, Syntax};

pub(crate) mod body;
mod escape;
pub(crate) mod markdown;

/// Longest template, in bytes: far longer than any text that Discord takes.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 16 * 1024;
/// Most placeholders of one template: each searches the event.
const PLACEHOLDERS_MAX: usize = 256;
/// Longest request body that a template makes, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest header value, in bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// Where a rendered text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Discord text that is read as markdown: content, an embed's title, description and fields.
    Markdown,
    /// Discord text that is not: an embed's footer and author.
    Plain,
    /// The body of a request, as its `Content-Type` says it is read. `None`: the request has no such header of its own.
    Body(Option<Syntax>),
    /// Path and query of a URL.
    Url,
    /// The value of a header.
    Header,
    /// The value of the header `Cookie`, whose members a `;` would part.
    Cookie,
    /// A key of Redis, or a member of a sorted set.
    Key,
}

/// How one value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Markdown,
    /// Between code marks of markdown, on one line or on several; within other marks, which do not heed those of code.
    Code {
        lines: bool,
        enclosed: bool,
    },
    /// In a URL that stands in a text.
    Link,
    Plain,
    /// Plain text whose lines count.
    Line,
    Json(Hole),
    Form,
    /// In JSON that is the value of a form's field.
    FormJson(Hole),
    /// Text or a quoted attribute of XML and HTML.
    Markup,
    Url,
    Header,
    Key,
}

/// What keeps a value from becoming part of a mention, and its absence from joining marks, that the text around it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    None,
    /// The hook wrote `<@`: digits stand as they are, before anything else goes a zero-width space.
    Digits,
    /// A zero-width space goes before every value.
    Apart,
    /// A zero-width space stands for a value that is empty: the backticks around it would become one mark.
    Present,
}

/// Shows nothing and parts what stands around it.
const ZERO_WIDTH_SPACE: &str = "\u{200b}";

#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    Field { path: Box<str>, style: Style, guard: Guard },
}

/// A parsed text.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Box<[Part]>,
    is_json: bool,
    bytes_max: usize,
    /// Past `bytes_max` the values are left out; otherwise it is an error.
    is_shortened: bool,
}

/// What a template can take its values from.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    /// The event's payload (`json/tape.rs`).
    pub(crate) tape: &'a [u8],
    pub(crate) channel: &'a [u8],
    pub(crate) unix_ms: u64,
}

impl Template {
    pub(crate) fn parse(text: &str, place: Place) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong { bytes: text.len(), max: TEMPLATE_BYTES_MAX });
        }
        let (style, bytes_max) = match place {
            Place::Markdown => (Style::Markdown, TEXT_BYTES_MAX),
            Place::Plain => (Style::Plain, TEXT_BYTES_MAX),
            Place::Body(_) => (Style::Line, BODY_BYTES_MAX),
            Place::Url => (Style::Url, TARGET_BYTES_MAX),
            Place::Header => (Style::Header, HEADER_BYTES_MAX),
            Place::Cookie => (Style::Form, HEADER_BYTES_MAX),
            Place::Key => (Style::Key, NAME_BYTES_MAX),
        };
        let mut parts = split(text, style)?;
        let mut is_json = false;
        match place {
            Place::Markdown => markdown::settle(&mut parts),
            Place::Body(syntax) => is_json = body::settle(&mut parts, syntax)?,
            Place::Url | Place::Cookie => check_escapes(&parts)?,
            Place::Plain | Place::Header | Place::Key => {}
        }
        let is_shortened = matches!(place, Place::Markdown | Place::Plain);
        let template = Template { parts: parts.into_boxed_slice(), is_json, bytes_max, is_shortened };
        let bytes = template.literals().map(str::len).sum();
        if bytes > bytes_max {
            return Err(TemplateError::TooLong { bytes, max: bytes_max });
        }
        Ok(template)
    }

    /// A body whose every rendering is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(crate) fn has_placeholders(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field { .. }))
    }

    /// The text around the placeholders.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(&**text),
            Part::Field { .. } => None,
        })
    }

    /// Appends the text for one event. UTF-8, except for a key. On an error `out` is as it was.
    pub(crate) fn render(&self, fields: &Fields<'_>, out: &mut Vec<u8>) -> Result<(), Unmade> {
        let start = out.len();
        let made = self.parts.iter().try_for_each(|part| {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                // What no place shows is not written; its sign keeps code marks around it closed.
                Part::Field { .. } if self.is_shortened && out.len() - start > self.bytes_max => {
                    out.extend_from_slice("…".as_bytes());
                }
                Part::Field { path, style, guard } => push_guarded(out, *style, *guard, fields, path)?,
            }
            match !self.is_shortened && out.len() - start > self.bytes_max {
                true => Err(Unmade::TooLong { max: self.bytes_max }),
                false => Ok(()),
            }
        });
        if made.is_err() {
            out.truncate(start);
        }
        made
    }

    /// The text for one event, for places whose text is UTF-8.
    pub(crate) fn render_text(&self, fields: &Fields<'_>) -> Result<String, Unmade> {
        let mut out = Vec::new();
        self.render(fields, &mut out)?;
        // Cleaned values are UTF-8 already: this checks, and copies nothing.
        Ok(String::from_utf8(out).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
    }
}

/// Refuses a text that takes no placeholders and holds one, or what looks like one.
pub(crate) fn check_none(text: &str) -> Result<(), String> {
    match split(text, Style::Plain) {
        Ok(parts) if parts.iter().all(|part| matches!(part, Part::Literal(_))) => Ok(()),
        Err(TemplateError::Count) | Ok(_) => Err("takes no placeholders".to_owned()),
        Err(err) => Err(format!("takes no placeholders, and {err}")),
    }
}

/// Cuts a text at its placeholders.
fn split(text: &str, style: Style) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let (mut literal, mut rest, mut count) = (0, 0, 0);
    while let Some(open) = text.get(rest..).and_then(|tail| tail.find('{')).map(|at| rest + at) {
        rest = open + 1;
        let inner = text.get(rest..).unwrap_or_default();
        let Some(end) = inner.find(['{', '}']).filter(|end| inner.as_bytes().get(*end) == Some(&b'}')) else {
            continue;
        };
        let path = inner.get(..end).unwrap_or_default();
        if !is_path(path) {
            if looks_like_a_placeholder(path) {
                return Err(TemplateError::Placeholder(path.chars().take(64).collect()));
            }
            continue;
        }
        if let Some(before) = text.get(literal..open).filter(|before| !before.is_empty()) {
            parts.push(Part::Literal(before.into()));
        }
        parts.push(Part::Field { path: path.into(), style, guard: Guard::None });
        count += 1;
        if count > PLACEHOLDERS_MAX {
            return Err(TemplateError::Count);
        }
        rest += path.len() + 1;
        literal = rest;
    }
    if let Some(tail) = text.get(literal..).filter(|tail| !tail.is_empty()) {
        parts.push(Part::Literal(tail.into()));
    }
    Ok(parts)
}

/// Letters and digits of Unicode, `_` and `-`, in parts with a dot between them.
pub(crate) fn is_path(text: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || is_sign_of_a_letter(c);
    text.split('.').all(|name| !name.is_empty() && name.chars().all(is_letter))
}

/// What belongs to the letter before it and is none to [`char::is_alphanumeric`]: accents, as editors of macOS write
/// them (also those of Japanese), vowels of Arabic, tones of Thai and Lao, and of the scripts of India, whose blocks are
/// alike (U+0900 to 0DFF), the dot below and the sign that takes the vowel away.
fn is_sign_of_a_letter(c: char) -> bool {
    let of_india = ('\u{900}'..='\u{dff}').contains(&c) && matches!(u32::from(c) % 0x80, 0x3c | 0x4d);
    of_india
        || matches!(c, '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{65f}' | '\u{e47}'..='\u{e4e}' | '\u{ec8}'..='\u{ece}')
        || matches!(c, '\u{3099}' | '\u{309a}')
}

/// Whether text that stood in braces was meant as a name: see the top of this file.
fn looks_like_a_placeholder(inner: &str) -> bool {
    let is_code = |c: char| "\",;\\".contains(c) || (c.is_control() && c != '\t');
    inner.chars().any(char::is_alphanumeric) && !inner.chars().any(is_code)
}

/// For places with escapes like `%7B`: a value must not end one that the text before it begins, as in `%{a}` and
/// `%4{a}`; and a placeholder in escaped braces, as browsers copy them, would go out as letters.
fn check_escapes(parts: &[Part]) -> Result<(), TemplateError> {
    let cuts = |text: &str| text.ends_with('%') || text.len() > 1 && text.as_bytes().get(text.len() - 2) == Some(&b'%');
    for (index, part) in parts.iter().enumerate() {
        let Part::Literal(text) = part else { continue };
        if cuts(text) && index + 1 < parts.len() {
            return Err(TemplateError::Escape);
        }
        if text.contains("%7") {
            let text = text.replace(['{', '}'], "").replace("%7B", "{").replace("%7b", "{");
            // Other escapes stand for punctuation, which no placeholder holds.
            let text = text.replace("%7D", "}").replace("%7d", "}").replace("%20", " ").replace('%', "\\");
            check_none(&text).map_err(|_| TemplateError::Braces)?;
        }
    }
    Ok(())
}

/// Appends the field and what keeps it apart from the text before it.
fn push_guarded(out: &mut Vec<u8>, style: Style, guard: Guard, fields: &Fields<'_>, path: &str) -> Result<(), Unmade> {
    let start = out.len();
    if !push_field(out, style, fields, path) {
        return Err(Unmade::Missing { field: path.into() });
    }
    let value = out.get(start..).unwrap_or_default();
    let is_apart = match guard {
        Guard::None => false,
        Guard::Digits => value.is_empty() || !value.iter().all(u8::is_ascii_digit),
        Guard::Apart => true,
        Guard::Present => value.is_empty(),
    };
    // Code marks around nothing, or around line ends alone, are no code marks.
    let is_nothing = matches!(style, Style::Code { .. }) && value.iter().all(|byte| *byte == b'\n');
    if is_apart || is_nothing {
        out.splice(start..start, ZERO_WIDTH_SPACE.bytes());
    }
    Ok(())
}

/// Appends the field; false if it is absent and must not be.
fn push_field(out: &mut Vec<u8>, style: Style, fields: &Fields<'_>, path: &str) -> bool {
    match (find::field(fields.tape, path), path) {
        (Some(field), _) => push_value(out, style, &field),
        (None, "channel") => push_bytes(out, style, fields.channel),
        (None, "time") => _ = text::push_number(out, (fields.unix_ms / 1000) as f64),
        (None, _) => match style {
            Style::Json(Hole::Bare) => out.extend_from_slice(b"null"),
            Style::FormJson(Hole::Bare) => escape::push_percent(out, b"null"),
            Style::Url | Style::Key => return false,
            _ => push_bytes(out, style, b"?"),
        },
    }
    true
}

fn push_value(out: &mut Vec<u8>, style: Style, field: &Field<'_>) {
    if let Item::Text(bytes) = field.item {
        return push_bytes(out, style, bytes);
    }
    let mut json = Vec::new();
    field.push_json(&mut json);
    match (field.item, style) {
        (_, Style::FormJson(Hole::Bare)) => escape::push_percent(out, &json),
        (_, Style::Json(Hole::Bare)) => out.extend_from_slice(&json),
        // The others' text has nothing that any place would have to escape, except a number's `+`.
        (Item::Array(_) | Item::Object(_), _) => push_bytes(out, style, &json),
        (Item::Number(_), style) if is_percent(style) => push_bytes(out, style, &json),
        _ => out.extend_from_slice(&json),
    }
}

/// Where a `+`, as in `1e+300`, would be something else.
fn is_percent(style: Style) -> bool {
    matches!(style, Style::Url | Style::Form | Style::FormJson(_) | Style::Link)
}

fn push_bytes(out: &mut Vec<u8>, style: Style, bytes: &[u8]) {
    match style {
        Style::Markdown => escape::push_markdown(out, shortened(bytes)),
        Style::Code { lines, enclosed } => escape::push_code(out, shortened(bytes), lines, enclosed),
        Style::Link => escape::push_link(out, shortened(bytes)),
        Style::Plain => escape::push_plain(out, shortened(bytes)),
        Style::Line => escape::push_line(out, bytes),
        Style::Json(hole) => body::push_json(out, hole, bytes),
        Style::FormJson(hole) => {
            let mut json = Vec::new();
            body::push_json(&mut json, hole, bytes);
            escape::push_percent(out, &json);
        }
        Style::Markup => escape::push_markup(out, bytes),
        Style::Form | Style::Url => escape::push_percent(out, bytes),
        Style::Header => escape::push_header(out, bytes),
        Style::Key => out.extend_from_slice(bytes),
    }
}

/// As much of a value as a shown text can have.
fn shortened(bytes: &[u8]) -> &[u8] {
    bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)
}

/// Why a text is no template of its place.
#[derive(Debug, PartialEq)]
pub(crate) enum TemplateError {
    TooLong {
        bytes: usize,
        max: usize,
    },
    /// More than [`PLACEHOLDERS_MAX`].
    Count,
    /// Text in braces that was meant as a placeholder and is none.
    Placeholder(Box<str>),
    /// `%` or `%4` right before a placeholder.
    Escape,
    /// `%7Bname%7D`
    Braces,
    /// No body of the syntax that the request says it has.
    Body(&'static str),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::TooLong { bytes, max } => write!(f, "has {bytes} bytes, {max} are allowed"),
            TemplateError::Count => write!(f, "has more than {PLACEHOLDERS_MAX} placeholders"),
            TemplateError::Placeholder(inner) => {
                let trimmed = inner.trim();
                let shown = inner.escape_debug();
                match is_path(trimmed) {
                    true => write!(f, "`{{{shown}}}` is no placeholder: write `{{{trimmed}}}`, without spaces"),
                    false => write!(
                        f,
                        "`{{{shown}}}` is no placeholder: names hold letters, digits, `_` and `-`, with dots between"
                    ),
                }
            }
            TemplateError::Escape => f.write_str("has a placeholder within an escape that `%` begins"),
            TemplateError::Braces => {
                f.write_str("has a placeholder in escaped braces (`%7B`, `%7D`): write `{` and `}`")
            }
            TemplateError::Body(found) => f.write_str(found),
        }
    }
}

/// Why an event makes no text.
#[derive(Debug, PartialEq)]
pub(crate) enum Unmade {
    /// The event lacks a field without which the text makes no sense.
    Missing { field: Box<str> },
    /// The place takes no such text.
    TooLong { max: usize },
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmade::Missing { field } => write!(f, "the event has no `{field}`"),
            Unmade::TooLong { max } => write!(f, "it is longer than {max} bytes"),
        }
    }
}

#[cfg(test)]
mod tests;
