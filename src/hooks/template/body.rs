//! What a body is read as, and how values are written into it so that they stay values. Pure; looked at when a hook is
//! added. Which syntax it is, the request's `Content-Type` says; without one, JSON if the text is JSON, else plain text.
//! A text that is not of the syntax that it is sent as, and a placeholder where no escape helps, are refused.
//!
//! | `Content-Type` | a value |
//! |---|---|
//! | `application/json`, `text/json`, `...+json`, JSON lines | escaped as JSON; outside of quotes a JSON value of its own |
//! | `application/x-www-form-urlencoded` | percent-encoded; in a field whose value is JSON escaped as JSON before |
//! | `text/plain` | as it is, on one line; if the text is JSON, escaped as JSON |
//! | XML and HTML | `&`, `<`, `>` and quotes as character references; not state a tag but in quotes, comments, scripts |

use super::{Part, Style, TemplateError};
use crate::json::{tape, text};

/// How the other end reads a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    /// One JSON text a line.
    JsonLines,
    Form,
    Text,
    Xml,
    Html,
    /// Nothing that values could be escaped for.
    Other,
}

/// Where in JSON a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hole {
    /// MarkupState a string.
    Quoted,
    /// MarkupState a string that is part of a string: `"{\"name\":\"{name}\"}"`.
    Nested,
    /// Where a value is wanted.
    Bare,
}

impl Syntax {
    /// What the value of a header `Content-Type` says: <https://www.rfc-editor.org/rfc/rfc9110#section-8.3>.
    pub(crate) fn of(content_type: &str) -> Result<Syntax, &'static str> {
        let mut members = content_type.split(';');
        let kind = members.next().unwrap_or_default().trim().to_ascii_lowercase();
        let charset = members.filter_map(|member| member.split_once('=')).find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        if !charset.is_none_or(|charset| ["utf-8", "utf8", "us-ascii"].contains(&charset.as_str())) {
            return Err("names a charset that is not UTF-8, in which every body is");
        }
        let (family, name) = kind.split_once('/').ok_or("is no media type like application/json")?;
        if family == "multipart" {
            return Err("is of several parts, which no text with placeholders can be");
        }
        Ok(match name {
            "json" => Syntax::Json,
            "x-ndjson" | "ndjson" | "jsonl" | "x-jsonlines" | "jsonlines" => Syntax::JsonLines,
            "x-www-form-urlencoded" => Syntax::Form,
            "plain" if family == "text" => Syntax::Text,
            "html" | "xhtml+xml" => Syntax::Html,
            "xml" => Syntax::Xml,
            name if name.ends_with("+json") => Syntax::Json,
            name if name.ends_with("+xml") => Syntax::Xml,
            _ => Syntax::Other,
        })
    }

    /// Whether the event's own JSON, as it is, could be read as something that its values choose.
    pub(crate) fn misreads_json(self) -> bool {
        matches!(self, Syntax::Form | Syntax::Xml | Syntax::Html)
    }
}

/// Appends a value as JSON.
pub(super) fn push_json(out: &mut Vec<u8>, hole: Hole, bytes: &[u8]) {
    match hole {
        Hole::Quoted => text::push_escaped(out, bytes),
        Hole::Nested => {
            let mut inner = Vec::new();
            text::push_escaped(&mut inner, bytes);
            text::push_escaped(out, &inner);
        }
        Hole::Bare => text::push_string(out, bytes),
    }
}

/// Gives each placeholder the style of its place. Whether the body is JSON.
pub(super) fn settle(parts: &mut [Part], declared: Option<Syntax>) -> Result<bool, TemplateError> {
    match declared {
        None | Some(Syntax::Text) => {
            let json = Json::of(parts);
            let is_json = tape::is_container(&json.text, &mut Vec::new());
            if is_json {
                json.settle(parts, Style::Json);
            } else if begins_as_json(&json.text) {
                return Err(TemplateError::Body("begins as JSON and is none once its placeholders have values"));
            }
            Ok(is_json)
        }
        Some(Syntax::Json) => {
            let json = Json::of(parts);
            json.is_json()?;
            json.settle(parts, Style::Json);
            Ok(true)
        }
        Some(Syntax::JsonLines) => {
            let json = Json::of(parts);
            let mut lines = json.text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            if !lines.all(|line| tape::parse(line, &mut Vec::new()).is_ok()) {
                return Err(TemplateError::Body("has a line that is no JSON, as its Content-Type says"));
            }
            json.settle(parts, Style::Json);
            Ok(true)
        }
        Some(Syntax::Form) => form(parts).map(|()| false),
        Some(Syntax::Xml) => markup(parts, false).map(|()| false),
        Some(Syntax::Html) => markup(parts, true).map(|()| false),
        Some(Syntax::Other) => Err(TemplateError::Body(
            "cannot be filled safely for its Content-Type: known are JSON, forms, text/plain, XML and HTML",
        )),
    }
}

/// Somebody who writes this means JSON, and it will be read so. Backslashes count for nothing: it may be quoted.
fn begins_as_json(text: &[u8]) -> bool {
    let mut signs = text.iter().filter(|byte| !byte.is_ascii_whitespace() && **byte != b'\\').take(3);
    matches!(
        (signs.next(), signs.next(), signs.next()),
        (Some(b'{'), Some(b'"'), _) | (Some(b'['), Some(b'{'), Some(b'"'))
    )
}

/// A text with a sample in the place of each value, and where these stand.
#[derive(Default)]
struct Json {
    text: Vec<u8>,
    quoted: bool,
    nested: bool,
    escaped: bool,
    /// Where the string that it is in begins.
    string: usize,
    holes: Vec<(usize, Hole)>,
}

impl Json {
    fn of(parts: &[Part]) -> Json {
        let mut json = Json::default();
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Literal(text) => text.bytes().for_each(|byte| json.push(byte)),
                Part::Field { .. } => json.hole(index),
            }
        }
        json
    }

    fn push(&mut self, byte: u8) {
        self.text.push(byte);
        match byte {
            b'"' if self.escaped => self.nested = !self.nested,
            _ if self.escaped => {}
            b'"' => (self.quoted, self.nested, self.string) = (!self.quoted, false, self.text.len()),
            _ => {}
        }
        self.escaped = byte == b'\\' && self.quoted && !self.escaped;
    }

    fn hole(&mut self, index: usize) {
        let hole = if !self.quoted {
            Hole::Bare
        } else if self.nested && begins_as_json(self.text.get(self.string..).unwrap_or_default()) {
            Hole::Nested
        } else {
            Hole::Quoted
        };
        // `\{a}` state a string is no JSON: the sample is no escape. Outside of strings it is a value, and no name of a
        // member: there a number would be no JSON.
        self.text.extend_from_slice(if self.quoted { b" " } else { b"true" });
        self.escaped = false;
        self.holes.push((index, hole));
    }

    fn is_json(&self) -> Result<(), TemplateError> {
        let found = TemplateError::Body("is no JSON once its placeholders have values, as its Content-Type says");
        tape::parse(&self.text, &mut Vec::new()).map_err(|_| found)
    }

    fn settle(&self, parts: &mut [Part], made: fn(Hole) -> Style) {
        for (index, hole) in &self.holes {
            set(parts, *index, made(*hole));
        }
    }
}

fn set(parts: &mut [Part], index: usize, found: Style) {
    if let Some(Part::Field { style, .. }) = parts.get_mut(index) {
        *style = found;
    }
}

/// A form: `name=value&name=value`. Values that are JSON, percent-encoded or not, are looked into.
fn form(parts: &mut [Part]) -> Result<(), TemplateError> {
    super::check_escapes(parts)?;
    let mut fields = vec![(false, Json::default())];
    for (index, part) in parts.iter().enumerate() {
        let Part::Literal(text) = part else {
            if let Some((_, json)) = fields.last_mut() {
                json.hole(index);
            }
            continue;
        };
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let Some((has_name, json)) = fields.last_mut() else { break };
            match byte {
                b'&' => fields.push((false, Json::default())),
                // The name is no part of the JSON; its placeholders keep the style of the form.
                b'=' if !*has_name => fields.push((true, Json::default())),
                b'%' => {
                    let digits = [bytes.next(), bytes.next()].map(|digit| digit.map_or('x', char::from));
                    let digit = |at: usize| digits.get(at).and_then(|digit| digit.to_digit(16)).unwrap_or(0);
                    json.push(u8::try_from(digit(0) * 16 + digit(1)).unwrap_or(b'%'));
                }
                b'+' => json.push(b' '),
                other => json.push(other),
            }
        }
    }
    for index in 0..parts.len() {
        set(parts, index, Style::Form);
    }
    for (has_name, json) in fields {
        if has_name && tape::is_container(&json.text, &mut Vec::new()) {
            json.settle(parts, Style::FormJson);
        }
    }
    Ok(())
}

/// What markup the text is in.
enum MarkupState {
    Text,
    /// After `<`; with what stands there so far.
    Tag(String),
    /// An attribute's value, and its tag.
    Quotes(char, String),
    /// Until that text.
    Passage(String),
}

/// XML or HTML. A placeholder may stand in text and in the quotes of an attribute.
fn markup(parts: &mut [Part], is_html: bool) -> Result<(), TemplateError> {
    let mut state = MarkupState::Text;
    for index in 0..parts.len() {
        match parts.get(index) {
            Some(Part::Literal(text)) => {
                let text = text.clone();
                let mut rest = &*text;
                while let Some(character) = rest.chars().next() {
                    let (next, read) = step(state, character, rest, is_html);
                    state = next;
                    rest = rest.get(read..).unwrap_or_default();
                }
            }
            Some(Part::Field { .. }) if is_text(&state, is_html) => set(parts, index, Style::Markup),
            Some(Part::Field { .. }) => {
                let found = "has a placeholder in its markup: it may stand in text and in the quotes of an attribute";
                return Err(TemplateError::Body(found));
            }
            None => {}
        }
    }
    Ok(())
}

/// What follows the next character, and how much of `rest` was read.
fn step(state: MarkupState, character: char, rest: &str, is_html: bool) -> (MarkupState, usize) {
    let one = character.len_utf8();
    let passage = |end: &str, read: usize| (MarkupState::Passage(end.to_owned()), read);
    match state {
        MarkupState::Text if rest.starts_with("<!--") => passage("-->", 4),
        MarkupState::Text if rest.starts_with("<![CDATA[") => passage("]]>", 9),
        MarkupState::Text if rest.starts_with("<?") => passage("?>", 2),
        MarkupState::Text if rest.starts_with("<!") => passage(">", 2),
        MarkupState::Text if character == '<' => (MarkupState::Tag(String::new()), one),
        MarkupState::Text => (MarkupState::Text, one),
        MarkupState::Tag(tag) if character == '>' => {
            let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
            // What stands in these is no text of the page, whatever it looks like.
            if is_html && ["script", "style", "xmp", "iframe", "noscript"].contains(&name) {
                return (MarkupState::Passage(format!("</{name}")), one);
            }
            (MarkupState::Text, one)
        }
        MarkupState::Tag(tag) if matches!(character, '"' | '\'') && tag.trim_end().ends_with('=') => {
            (MarkupState::Quotes(character, tag), one)
        }
        MarkupState::Tag(mut tag) => {
            tag.extend(character.to_lowercase());
            (MarkupState::Tag(tag), one)
        }
        MarkupState::Quotes(quote, tag) if character == quote => (MarkupState::Tag(tag + "\"\" "), one),
        MarkupState::Passage(end) if rest.get(..end.len()).is_some_and(|text| text.eq_ignore_ascii_case(&end)) => {
            let next = if end.starts_with("</") { MarkupState::Tag(String::from("/")) } else { MarkupState::Text };
            (next, end.len())
        }
        same => (same, one),
    }
}

/// Whether a value is only a value there.
fn is_text(state: &MarkupState, is_html: bool) -> bool {
    match state {
        MarkupState::Text => true,
        MarkupState::Quotes(_, tag) => {
            let name = tag.trim_end().trim_end_matches('=').trim_end();
            let name = name.rsplit(|c: char| c.is_whitespace() || c == '"' || c == '/').next().unwrap_or_default();
            // Their values are programs.
            !is_html || !(name.starts_with("on") || ["style", "srcdoc"].contains(&name))
        }
        MarkupState::Tag(_) | MarkupState::Passage(_) => false,
    }
}
