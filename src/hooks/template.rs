//! Templates: texts in which `{name}` or `{name.path}` stands for a field of the event. All other text stays as it is.
//! `template/source.rs` lists all placeholders.
//! Parsed once on the game thread when a hook is added; rendered for each event, on the thread that runs the action.
//! Pure. The context of the text decides how a value is escaped ([`Context`]). A value is never searched for
//! placeholders. Bounded: a template by its length and its placeholders, a rendered text by the limit of its context.
//!
//! ```text
//! parse:   text ── split ──▶ [Part] ── settle (source.rs, markdown.rs, body.rs) ──▶ a Style and a Guard for each
//! render:  the value of its Source (source.rs) ── its Style (escape.rs) ──▶ its Guard ──▶ out
//! ```
//!
//! | value | in text | in a JSON body | in a form or URL | in a header | in a Redis key |
//! |---|---|---|---|---|---|
//! | text | cleaned; escaped where Discord reads markdown | escaped; outside quotes with its own quotes | percent-encoded | ASCII, no control characters | its bytes |
//! | number, boolean | as JSON writes it | the same | the same, percent-encoded | the same | the same |
//! | array, object | compact JSON, then as text | the JSON itself; inside quotes escaped | percent-encoded | as text | the JSON |
//! | `{raw:name}`, the whole event | JSON, then as text | the same | the same | refused | refused |
//! | absent | `?` | `?`; outside quotes `null` | `?` in a form, an error in a URL | `?` | an error |
//!
//! Names consist of Unicode letters and digits, `_` and `-`. Other text in braces looks like a placeholder, and is
//! refused, if it contains a letter or digit and no `"`, comma, semicolon, backslash, brace or line break. All other
//! braces are literal, so that bodies can be JSON.

use std::fmt;

use crate::calendar::format::DIRECTIVES;
use crate::config::limits::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::json::find::Field;
use crate::json::tape::TapeItem as Item;
use crate::json::text;
use body::{Hole, Syntax};
use source::{Source, Value};

pub(crate) mod body;
mod escape;
pub(crate) mod markdown;
pub(crate) mod source;

/// Longest template, in bytes: far longer than any text that Discord accepts.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 16 * 1024;
/// Most placeholders of one template. Each searches the whole event.
const PLACEHOLDERS_MAX: usize = 256;
/// Longest request body that a template makes, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest path and query of a URL after its values are filled in, in bytes: Apache and nginx accept about as much in
/// the first line of a request by default.
pub(crate) const TARGET_BYTES_MAX: usize = 8192;
/// Longest header value, in bytes: half of the 8 KiB that Apache and nginx accept for one header by default.
const HEADER_BYTES_MAX: usize = 4096;

/// The context of a rendered text: the syntax in which its reader will interpret it. It decides the escaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// Text that Discord reads as markdown: content, and the title, description and fields of an embed.
    Markdown,
    /// Text that Discord shows unchanged: the footer and author of an embed.
    Plain,
    /// The body of a request, in the syntax of its `Content-Type`. `None`: the hook sets no such header.
    Body(Option<Syntax>),
    /// Path and query of a URL.
    Url,
    /// The value of a header.
    Header,
    /// The value of the header `Cookie`. A `;` in it would begin another cookie, so values are percent-encoded.
    Cookie,
    /// A key of Redis, or a member of a sorted set.
    Key,
}

/// The escaping of one value. A context has one style for all its values, except where `settle` finds a finer one from
/// the text around the placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Markdown {
        /// The hook's text has backticks. The search for the end of a code mark does not stop at backslashes, so a
        /// backtick of the value could end one although it is escaped: it becomes `ˋ`, as between the marks.
        beside_marks: bool,
        /// Stands for a line end of the value, so that it stays in a quote, heading or list entry of the hook.
        line_end: &'static str,
        /// The value is in the name of a custom emoji, which would be none with a backslash before its `_`.
        in_emoji: bool,
    },
    /// Between code marks of markdown.
    Code {
        /// The value may have several lines.
        lines: bool,
        /// The code stands inside emphasis, a spoiler or a link, whose end marks count even inside code.
        enclosed: bool,
    },
    /// Inside a URL in a text, which Discord makes a link.
    Link,
    /// Inside a URL in an attribute of HTML.
    Href,
    Plain,
    /// The value is text for Discord that other templates have made: it is written as it is.
    Made,
    /// Plain text in which a line may be an entry: the value stays on its line.
    Line,
    Json(Hole),
    Form,
    /// Inside JSON that is the value of a form's field: escaped as JSON, then percent-encoded.
    FormJson(Hole),
    /// The same in the query of a URL: the event must have the value.
    UrlJson(Hole),
    /// Inside JSON that is the value of a header: escaped as JSON, in ASCII.
    HeaderJson(Hole),
    /// Text or a quoted attribute of XML or HTML.
    Markup,
    Url,
    Header {
        /// The value stands between quotes of the hook, which a quote of the value must not end.
        quoted: bool,
    },
    /// The bytes themselves: Redis knows no syntax inside a key.
    Key,
}

/// The separation of a value from the hook's text before it. Without it, both together could form a mention (`@every`
/// and a value `one`), or an empty value could join two code marks into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    None,
    /// The hook wrote `<@`: a value of digits only is the number that the hook wants. A zero-width space goes before
    /// any other value.
    Digits,
    /// A zero-width space goes before every value.
    Apart,
    /// A zero-width space replaces an empty value, as the marks around it would become one mark.
    Present,
}

/// Invisible, and separates the characters around it.
const ZERO_WIDTH_SPACE: &str = "\u{200b}";

/// A piece of a template.
#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    /// A placeholder: the source of its value, and the way the value is written.
    Field {
        source: Source,
        style: Style,
        guard: Guard,
    },
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Box<[Part]>,
    is_json: bool,
    /// The limit of the rendered text.
    bytes_max: usize,
    /// Beyond `bytes_max`, a text for Discord gets `…` instead of further values, as it is cut later anyway
    /// (`webhook/discord.rs`). In all other contexts it is an error: half a body or key would be another one.
    is_shortened: bool,
}

/// The event from which a template takes its values.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    /// The decoded payload (`json/tape.rs`).
    pub(crate) tape: &'a [u8],
    /// The payload as JSON text. The value of `{event}`.
    pub(crate) json: &'a [u8],
    /// Without the prefix. The value of `{channel}`.
    pub(crate) channel: &'a [u8],
    /// The time at which this server received the event. The value of `{time}`, in seconds there.
    pub(crate) unix_ms: u64,
    /// The owner's zone at that time, in seconds to the east of UTC. For `{date}` and the like.
    pub(crate) offset_s: i32,
}

impl Template {
    /// Parses a text for this context.
    pub(crate) fn parse(text: &str, context: Context) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong { bytes: text.len(), max: TEMPLATE_BYTES_MAX });
        }
        let (style, bytes_max) = match context {
            Context::Markdown => (markdown::STYLE, TEXT_BYTES_MAX),
            Context::Plain => (Style::Plain, TEXT_BYTES_MAX),
            Context::Body(_) => (Style::Line, BODY_BYTES_MAX),
            Context::Url => (Style::Url, TARGET_BYTES_MAX),
            Context::Header => (Style::Header { quoted: false }, HEADER_BYTES_MAX),
            Context::Cookie => (Style::Form, HEADER_BYTES_MAX),
            Context::Key => (Style::Key, NAME_BYTES_MAX),
        };
        let mut parts = split(text, style)?;
        source::settle(&mut parts, context)?;
        let mut is_json = false;
        match context {
            Context::Markdown => markdown::settle(&mut parts),
            Context::Body(syntax) => is_json = body::settle(&mut parts, syntax)?,
            Context::Url => {
                check_escapes(&parts)?;
                body::query(&mut parts);
            }
            Context::Cookie => {
                check_escapes(&parts)?;
                body::json_in_fields(&mut parts, 0, b';', Style::FormJson);
            }
            Context::Header => body::header(&mut parts),
            Context::Plain | Context::Key => {}
        }
        let is_shortened = matches!(context, Context::Markdown | Context::Plain);
        let template = Template { parts: parts.into_boxed_slice(), is_json, bytes_max, is_shortened };
        let bytes = template.literals().map(str::len).sum();
        if bytes > bytes_max {
            return Err(TemplateError::TooLong { bytes, max: bytes_max });
        }
        Ok(template)
    }

    /// True for a body that is JSON for every event. It gets `Content-Type: application/json` if the hook sets none.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// True unless the text is the same for every event.
    pub(crate) fn has_placeholders(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field { .. }))
    }

    /// True if the text is one placeholder and nothing else.
    pub(crate) fn is_one_placeholder(&self) -> bool {
        matches!(*self.parts, [Part::Field { .. }])
    }

    /// The texts between the braces of the placeholders.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = String> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field { source, .. } => Some(source.to_string()),
            Part::Literal(_) => None,
        })
    }

    /// Where `path` would be escaped as markdown, the field `made` is written instead, as it is: it has the same content,
    /// made by a template of its own. Between code marks, in a link and in plain text the field `path` stays.
    pub(crate) fn write_as_made(&mut self, path: &str, made: &str) {
        for part in &mut self.parts {
            if let Part::Field { source, style: style @ Style::Markdown { .. }, .. } = part
                && *source == Source::field(path)
            {
                (*source, *style) = (Source::field(made), Style::Made);
            }
        }
    }

    /// The text becomes a part of texts that may have backticks: none of a value may end a code mark there.
    pub(crate) fn stands_beside_marks(&mut self) {
        for part in &mut self.parts {
            if let Part::Field { style: Style::Markdown { beside_marks, .. }, .. } = part {
                *beside_marks = true;
            }
        }
    }

    /// The hook's own text, without the placeholders.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(&**text),
            Part::Field { .. } => None,
        })
    }

    /// Appends the text for one event. It is UTF-8, except for a key. On an error `out` stays as it was.
    pub(crate) fn render(&self, fields: &Fields<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let start = out.len();
        let made = self.parts.iter().try_for_each(|part| {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                // Discord would never show this value. The `…` keeps the code marks around it two marks.
                Part::Field { .. } if self.is_shortened && out.len() - start > self.bytes_max => {
                    out.extend_from_slice("…".as_bytes());
                }
                Part::Field { source, style, guard } => push_guarded(out, *style, *guard, fields, source)?,
            }
            if !self.is_shortened && out.len() - start > self.bytes_max {
                return Err(RenderError::TooLong { max: self.bytes_max });
            }
            Ok(())
        });
        if made.is_err() {
            out.truncate(start);
        }
        made
    }

    /// The text for one event, in a context whose text is UTF-8.
    pub(crate) fn render_text(&self, fields: &Fields<'_>) -> Result<String, RenderError> {
        let mut out = Vec::new();
        self.render(fields, &mut out)?;
        // Cleaned values are UTF-8, so this only checks and copies nothing.
        Ok(String::from_utf8(out).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
    }
}

/// Refuses a placeholder, or text that looks like one, in a text that takes none. The error completes a sentence.
pub(crate) fn check_none(text: &str) -> Result<(), String> {
    match split(text, Style::Plain) {
        Ok(parts) if parts.iter().all(|part| matches!(part, Part::Literal(_))) => Ok(()),
        Err(TemplateError::Count) | Ok(_) => Err("takes no placeholders".to_owned()),
        Err(err) => Err(format!("takes no placeholders, and {err}")),
    }
}

/// Splits a text at its placeholders, each with the style of its context.
fn split(text: &str, style: Style) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let (mut literal, mut rest, mut count) = (0, 0, 0);
    while let Some(open) = text.get(rest..).and_then(|tail| tail.find('{')).map(|at| rest + at) {
        rest = open + 1;
        let inner = text.get(rest..).unwrap_or_default();
        // The innermost braces count: in `{{a}}` the placeholder is `{a}`, and the outer braces are literal.
        let Some(end) = inner.find(['{', '}']).filter(|end| inner.as_bytes().get(*end) == Some(&b'}')) else {
            continue;
        };
        let inner = inner.get(..end).unwrap_or_default();
        let Some(source) = Source::parse(inner) else {
            if looks_like_a_placeholder(inner) {
                return Err(TemplateError::Placeholder(inner.chars().take(64).collect()));
            }
            continue;
        };
        if let Some(before) = text.get(literal..open).filter(|before| !before.is_empty()) {
            parts.push(Part::Literal(before.into()));
        }
        parts.push(Part::Field { source, style, guard: Guard::None });
        count += 1;
        if count > PLACEHOLDERS_MAX {
            return Err(TemplateError::Count);
        }
        rest += inner.len() + 1;
        literal = rest;
    }
    if let Some(tail) = text.get(literal..).filter(|tail| !tail.is_empty()) {
        parts.push(Part::Literal(tail.into()));
    }
    Ok(parts)
}

/// The path of the placeholder that is the whole text: `player.color` for `{player.color}`.
pub(crate) fn lone_path(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}').filter(|path| is_path(path))
}

/// True for names of Unicode letters and digits, `_` and `-`, separated by dots.
pub(crate) fn is_path(text: &str) -> bool {
    // They choose the forms of the letters on both sides, as in Persian and Sinhala.
    let joins = |c: char| matches!(c, '\u{200c}' | '\u{200d}');
    let is_letter = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || is_sign_of_a_letter(c) || joins(c);
    let is_name = |name: &str| !name.is_empty() && !name.starts_with(joins) && !name.ends_with(joins);
    text.split('.').all(|name| is_name(name) && name.chars().all(is_letter))
}

/// True for a combining mark, which belongs to the letter before it but is not [`char::is_alphanumeric`]: accents as
/// editors of macOS write them (also Japanese ones), vowels of Arabic, tones of Thai and Lao. In the scripts of India,
/// whose blocks (U+0900 to 0DFF) have the same layout: the dot below and the sign that removes the vowel. Sinhala, Burmese
/// and Khmer have the latter elsewhere.
fn is_sign_of_a_letter(c: char) -> bool {
    let of_india = ('\u{900}'..='\u{dff}').contains(&c) && matches!(u32::from(c) % 0x80, 0x3c | 0x4d);
    of_india
        || matches!(c, '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{65f}' | '\u{e47}'..='\u{e4e}' | '\u{ec8}'..='\u{ece}')
        || matches!(c, '\u{dca}' | '\u{1037}' | '\u{1039}' | '\u{103a}' | '\u{17d2}' | '\u{17dd}')
        || matches!(c, '\u{3099}' | '\u{309a}')
}

/// True if the author of a text in braces most likely meant a placeholder: see the rule at the top of this file.
fn looks_like_a_placeholder(inner: &str) -> bool {
    let is_code = |c: char| "\",;\\".contains(c) || (c.is_control() && c != '\t');
    // A format may have commas.
    inner.starts_with(source::TIME) && inner.contains('%')
        || inner.chars().any(char::is_alphanumeric) && !inner.chars().any(is_code)
}

/// Checks a text with escapes such as `%7B`. A value must not complete an escape that the text before it begins, as in
/// `%{a}` and `%4{a}`. A placeholder in escaped braces is refused, as it would be sent as plain letters: browsers copy
/// URLs in this form.
fn check_escapes(parts: &[Part]) -> Result<(), TemplateError> {
    let cuts = |text: &str| text.ends_with('%') || text.len() > 1 && text.as_bytes().get(text.len() - 2) == Some(&b'%');
    for (index, part) in parts.iter().enumerate() {
        let Part::Literal(text) = part else { continue };
        if cuts(text) && index + 1 < parts.len() {
            return Err(TemplateError::Escape);
        }
        if text.contains("%7") {
            let text = text.replace(['{', '}'], "").replace("%7B", "{").replace("%7b", "{");
            // Other escapes stand for punctuation, which no placeholder contains: a backslash makes the text literal.
            let text = text.replace("%7D", "}").replace("%7d", "}").replace("%20", " ").replace('%', "\\");
            check_none(&text).map_err(|_| TemplateError::Braces)?;
        }
    }
    Ok(())
}

/// Doubles a backslash of the hook that ends this text, directly before a value: it would escape the first backslash of
/// the value, and the sign after that would count.
fn double_backslash(literal: &mut Box<str>) {
    if literal.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
        *literal = format!("{literal}\\").into();
    }
}

/// Appends a placeholder's value, after a zero-width space if its guard asks for one.
fn push_guarded(
    out: &mut Vec<u8>,
    style: Style,
    guard: Guard,
    fields: &Fields<'_>,
    source: &Source,
) -> Result<(), RenderError> {
    let start = out.len();
    match source.value(fields) {
        Value::Field(field) => push_field(out, style, &field),
        Value::Text(bytes) => push_bytes(out, style, bytes),
        Value::Made(text) => push_bytes(out, style, text.as_bytes()),
        Value::Number(number) => _ = text::push_number(out, number),
        Value::Json(json) => push_json(out, style, &json),
        Value::Absent => match style {
            // A URL or key without the value would address another thing.
            Style::Url | Style::UrlJson(_) | Style::Key => {
                return Err(RenderError::Missing { field: source.to_string().into() });
            }
            Style::Json(hole) | Style::FormJson(hole) | Style::HeaderJson(hole) if !hole.is_quoted => {
                push_json(out, style, b"null");
            }
            _ if source.is_json() => push_json(out, style, b"null"),
            _ => push_bytes(out, style, b"?"),
        },
    }
    let value = out.get(start..).unwrap_or_default();
    let is_apart = match guard {
        Guard::None => false,
        Guard::Digits => value.is_empty() || !value.iter().all(u8::is_ascii_digit),
        // A zero-width space would lead the link elsewhere. An escaped letter is the same letter to a browser.
        Guard::Apart if style == Style::Link && !value.is_empty() => {
            if let Some(letter) = value.first().copied().filter(|byte| b"everyonh".contains(&byte.to_ascii_lowercase()))
            {
                out.splice(start..=start, format!("%{letter:02X}").into_bytes());
            }
            return Ok(());
        }
        Guard::Apart => true,
        Guard::Present => value.is_empty(),
    };
    // Discord takes no code marks around an empty text or around line ends alone: they would be backticks.
    let is_nothing = matches!(style, Style::Code { .. }) && value.iter().all(|byte| *byte == b'\n');
    if is_apart || is_nothing {
        ZERO_WIDTH_SPACE.bytes().rev().for_each(|byte| out.insert(start, byte));
    }
    Ok(())
}

/// Appends the value of a field that the event has.
fn push_field(out: &mut Vec<u8>, style: Style, field: &Field<'_>) {
    if let Item::Text(bytes) = field.item {
        return push_bytes(out, style, bytes);
    }
    let mut json = Vec::new();
    field.push_json(&mut json);
    // Numbers and booleans contain nothing that a context escapes, except the `+` of a number such as `1e+300`.
    if matches!(field.item, Item::Array(_) | Item::Object(_)) || is_percent(style) {
        push_json(out, style, &json);
    } else {
        out.extend_from_slice(&json);
    }
}

/// Appends a JSON text: as it is where JSON takes a whole value, else as a text.
fn push_json(out: &mut Vec<u8>, style: Style, json: &[u8]) {
    match style {
        Style::Json(hole) => body::push_value(out, hole, json),
        Style::FormJson(hole) | Style::UrlJson(hole) | Style::HeaderJson(hole) => {
            let mut value = Vec::new();
            body::push_value(&mut value, hole, json);
            push_transported(out, style, &value);
        }
        _ => push_bytes(out, style, json),
    }
}

/// Appends JSON to the text that carries it: a header, or a form or URL.
fn push_transported(out: &mut Vec<u8>, style: Style, json: &[u8]) {
    match style {
        Style::HeaderJson(_) => escape::push_ascii(out, json),
        _ => escape::push_percent(out, json),
    }
}

/// True for styles in which a `+` means a space, or may mean one.
fn is_percent(style: Style) -> bool {
    matches!(style, Style::Url | Style::Form | Style::FormJson(_) | Style::UrlJson(_) | Style::Link | Style::Href)
}

/// Appends a text, or the JSON of a list or table, in this style.
fn push_bytes(out: &mut Vec<u8>, style: Style, bytes: &[u8]) {
    match style {
        Style::Markdown { in_emoji: true, .. } if escape::is_emoji_name(bytes) => out.extend_from_slice(bytes),
        Style::Markdown { beside_marks, line_end, .. } => {
            escape::push_markdown(out, shortened(bytes), beside_marks, line_end);
        }
        Style::Code { lines, enclosed } => escape::push_code(out, shortened(bytes), lines, enclosed),
        Style::Link => escape::push_link(out, shortened(bytes)),
        Style::Href => escape::push_link(out, bytes),
        Style::Plain => escape::push_plain(out, shortened(bytes)),
        Style::Made => out.extend_from_slice(bytes),
        Style::Line => escape::push_line(out, bytes),
        Style::Json(hole) => body::push_json(out, hole, bytes),
        Style::FormJson(hole) | Style::UrlJson(hole) | Style::HeaderJson(hole) => {
            let mut json = Vec::new();
            body::push_json(&mut json, hole, bytes);
            push_transported(out, style, &json);
        }
        Style::Markup => escape::push_markup(out, bytes),
        Style::Form | Style::Url => escape::push_percent(out, bytes),
        Style::Header { quoted } => escape::push_header(out, bytes, quoted),
        Style::Key => out.extend_from_slice(bytes),
    }
}

/// The part of a value that a text for Discord can show. Escaping the rest would be wasted work.
fn shortened(bytes: &[u8]) -> &[u8] {
    bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)
}

/// The reason why a text is not a template for its context. Shown after the name of the member.
#[derive(Debug, PartialEq)]
pub(crate) enum TemplateError {
    TooLong {
        bytes: usize,
        max: usize,
    },
    /// More than [`PLACEHOLDERS_MAX`].
    Count,
    /// Text in braces that looks like a placeholder but is not a valid name.
    Placeholder(Box<str>),
    /// A placeholder whose value is JSON, in a text that takes none.
    Json(Box<str>),
    /// `%` or `%4` directly before a placeholder.
    Escape,
    /// A placeholder in escaped braces, `%7Bname%7D`.
    Braces,
    /// The body is not of the syntax that its `Content-Type` names.
    Body(&'static str),
    /// A placeholder that would choose the scheme or the host of a link in HTML: the name of the attribute.
    Link(&'static str),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::TooLong { bytes, max } => write!(f, "has {bytes} bytes, {max} are allowed"),
            TemplateError::Count => write!(f, "has more than {PLACEHOLDERS_MAX} placeholders"),
            TemplateError::Placeholder(inner) => {
                let trimmed = inner.trim();
                let shown = inner.escape_debug();
                if inner.starts_with(source::TIME) {
                    return write!(f, "`{{{shown}}}` is not a time: after `time:` known are {DIRECTIVES}");
                }
                if is_path(trimmed) {
                    return write!(f, "`{{{shown}}}` is not a placeholder: write `{{{trimmed}}}`, without spaces");
                }
                write!(
                    f,
                    "`{{{shown}}}` is not a placeholder: names hold letters, digits, `_` and `-`, with dots between"
                )
            }
            TemplateError::Json(inner) => write!(f, "has `{{{inner}}}`, which is JSON: headers and keys take none"),
            TemplateError::Escape => f.write_str("has a placeholder inside a `%` escape"),
            TemplateError::Braces => {
                f.write_str("has a placeholder in escaped braces (`%7B`, `%7D`): write `{` and `}`")
            }
            TemplateError::Body(found) => f.write_str(found),
            TemplateError::Link(name) => write!(
                f,
                "has a placeholder that could choose the site of `{name}`, or be a script: begin with https://site/ or /"
            ),
        }
    }
}

/// The reason why a template has no text for an event.
#[derive(Debug, PartialEq)]
pub(crate) enum RenderError {
    /// The event lacks a field that a URL or key needs.
    Missing { field: Box<str> },
    /// The text is longer than its context allows.
    TooLong { max: usize },
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenderError::Missing { field } => write!(f, "the event has no `{field}`"),
            RenderError::TooLong { max } => write!(f, "it is longer than {max} bytes"),
        }
    }
}

#[cfg(test)]
mod tests;
