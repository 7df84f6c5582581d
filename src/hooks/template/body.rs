//! The syntax of a request body, and the escaping that keeps values inside it from becoming syntax.
//! Bodies are checked on the game thread when a hook is added; [`push_json`] runs where they are rendered. Pure.
//! The request's `Content-Type` decides the syntax. Without one, a text that is JSON counts as JSON, any other as plain
//! text.
//! Refused: a text that is not of its syntax, and a placeholder at a position where no escaping makes a value harmless.
//!
//! | `Content-Type` | a value |
//! |---|---|
//! | `application/json`, `text/json`, `...+json`, JSON lines | escaped as JSON; outside quotes a JSON value by itself |
//! | `application/x-www-form-urlencoded` | percent-encoded; if the field is JSON, escaped as JSON before that |
//! | `text/plain` | cleaned, on one line; if the text is JSON, escaped as JSON |
//! | XML and HTML | `&`, `<`, `>` and quotes as character references; refused in comments, scripts, unquoted in tags |
//!
//! In a string of JSON that contains JSON itself, values are escaped for both. The receiver parses twice.
//!
//! A body is checked with a sample in place of each placeholder. A text that is JSON with the samples is JSON with all
//! values, as each value is written as one JSON value or inside one string.

use super::{Part, Style, TemplateError};
use crate::json::{tape, text};

/// The syntax in which the receiver reads a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    /// One JSON text on each line.
    JsonLines,
    Form,
    Text,
    Xml,
    Html,
    /// A syntax without known escapes: a body with placeholders is refused.
    Other,
}

/// The position of a placeholder in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hole {
    /// Inside a string: escaped once.
    Quoted,
    /// Inside a string of JSON that is itself a string, `"{\"name\":\"{name}\"}"`: escaped twice, as the receiver
    /// parses twice.
    Nested,
    /// In the place of a whole value of JSON that is a string, `"{\"name\":{name}}"`: a text gets quotes, and all of it
    /// is escaped once.
    NestedBare,
    /// In the place of a whole value: a text gets quotes of its own.
    Bare,
}

impl Syntax {
    /// The syntax that a `Content-Type` names: <https://www.rfc-editor.org/rfc/rfc9110#section-8.3>. Structured
    /// suffixes (`+json`, `+xml`) are those of RFC 6839. The error completes a sentence about the header.
    pub(crate) fn of(content_type: &str) -> Result<Syntax, &'static str> {
        let mut members = content_type.split(';');
        let kind = members.next().unwrap_or_default().trim().to_ascii_lowercase();
        let charset = members.filter_map(|member| member.split_once('=')).find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        if !charset.is_none_or(|charset| ["utf-8", "utf8", "us-ascii"].contains(&charset.as_str())) {
            return Err("names a charset other than UTF-8, but every body is UTF-8");
        }
        let (family, name) = kind.split_once('/').ok_or("is not a media type like application/json")?;
        if family == "multipart" {
            return Err("is multipart, which a text with placeholders cannot be");
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

    /// True if a receiver that reads the event's own JSON in this syntax could take its values for syntax.
    pub(crate) fn misreads_json(self) -> bool {
        matches!(self, Syntax::Form | Syntax::Xml | Syntax::Html)
    }
}

/// Appends a value escaped for its position in JSON.
pub(super) fn push_json(out: &mut Vec<u8>, hole: Hole, bytes: &[u8]) {
    match hole {
        Hole::Quoted => text::push_escaped(out, bytes),
        Hole::Nested => {
            let mut inner = Vec::new();
            text::push_escaped(&mut inner, bytes);
            text::push_escaped(out, &inner);
        }
        Hole::NestedBare => {
            let mut inner = Vec::new();
            text::push_string(&mut inner, bytes);
            text::push_escaped(out, &inner);
        }
        Hole::Bare => text::push_string(out, bytes),
    }
}

/// Appends JSON, the value of a placeholder, to JSON.
pub(super) fn push_value(out: &mut Vec<u8>, hole: Hole, json: &[u8]) {
    match hole {
        Hole::Quoted | Hole::Nested => push_json(out, hole, json),
        Hole::NestedBare => text::push_escaped(out, json),
        // Line ends in it are white space. They become spaces, as each line may be a JSON text of its own.
        Hole::Bare => out.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })),
    }
}

/// Gives each placeholder the style of its position. Returns true if the body is JSON.
pub(super) fn settle(parts: &mut [Part], declared: Option<Syntax>) -> Result<bool, TemplateError> {
    match declared {
        None | Some(Syntax::Text) => {
            let json = Json::of(parts);
            let is_json = tape::is_container(&json.text, &mut Vec::new());
            if is_json {
                json.settle(parts, Style::Json);
            } else if begins_as_json(&json.text) {
                return Err(TemplateError::Body("begins like JSON but is not JSON once its placeholders have values"));
            }
            Ok(is_json)
        }
        Some(Syntax::Json) => {
            let json = Json::of(parts);
            json.check()?;
            json.settle(parts, Style::Json);
            Ok(true)
        }
        Some(Syntax::JsonLines) => {
            let json = Json::of(parts);
            let mut lines = json.text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            if !lines.all(|line| tape::parse(line, &mut Vec::new()).is_ok()) {
                return Err(TemplateError::Body(
                    "has a line that is not JSON, but its Content-Type is JSON lines (the default of a batch)",
                ));
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

/// True for a text that begins like a JSON object or a list of them: its author means JSON, and its receiver reads
/// JSON. Backslashes are skipped, as the text may be JSON inside a string.
fn begins_as_json(text: &[u8]) -> bool {
    let mut signs = text.iter().filter(|byte| !byte.is_ascii_whitespace() && **byte != b'\\').take(3);
    matches!(
        (signs.next(), signs.next(), signs.next()),
        (Some(b'{'), Some(b'"'), _) | (Some(b'['), Some(b'{'), Some(b'"'))
    )
}

/// A JSON text with a sample in place of each placeholder, and the position of each. It is only scanned for quotes: the
/// parser in `json/tape.rs` decides whether it is JSON.
#[derive(Default)]
struct Json {
    /// The hook's text with the samples.
    text: Vec<u8>,
    /// The scan is inside a string.
    quoted: bool,
    /// The scan is inside an escaped string (`\"`) of that string.
    nested: bool,
    /// Open braces and brackets of that string, outside its escaped strings.
    depth: i32,
    /// The last byte was a backslash that escapes the next.
    escaped: bool,
    /// Index of the first byte of the current string.
    string: usize,
    /// The index of the part and the position, for each placeholder.
    holes: Vec<(usize, Hole)>,
}

impl Json {
    /// Scans all parts.
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

    /// Scans one byte of the hook's own text.
    fn push(&mut self, byte: u8) {
        self.text.push(byte);
        match byte {
            b'"' if self.escaped => self.nested = !self.nested,
            _ if self.escaped => {}
            b'"' => {
                (self.quoted, self.nested, self.depth, self.string) = (!self.quoted, false, 0, self.text.len());
            }
            b'{' | b'[' if !self.nested => self.depth += 1,
            b'}' | b']' if !self.nested => self.depth -= 1,
            _ => {}
        }
        self.escaped = byte == b'\\' && self.quoted && !self.escaped;
    }

    /// Scans a placeholder: records its position, and writes its sample.
    fn hole(&mut self, index: usize) {
        let hole = if !self.quoted {
            Hole::Bare
        } else if !begins_as_json(self.text.get(self.string..).unwrap_or_default()) {
            Hole::Quoted
        } else if self.nested {
            Hole::Nested
        } else if self.depth > 0 {
            Hole::NestedBare
        } else {
            Hole::Quoted
        };
        // Inside a string the sample is a space: `\{a}` becomes `\ `, which is not JSON, so no value can complete an
        // escape. Outside strings it is `true`, which is a value but not the name of a member: a number could not be a
        // name.
        self.text.extend_from_slice(if self.quoted { b" " } else { b"true" });
        self.escaped = false;
        self.holes.push((index, hole));
    }

    /// Refuses a text that is not JSON.
    fn check(&self) -> Result<(), TemplateError> {
        let found =
            TemplateError::Body("is not JSON once its placeholders have values, but its Content-Type says JSON");
        tape::parse(&self.text, &mut Vec::new()).map_err(|_| found)
    }

    /// Gives each placeholder the style that `made` builds from its position.
    fn settle(&self, parts: &mut [Part], made: fn(Hole) -> Style) {
        for (index, hole) in &self.holes {
            set(parts, *index, made(*hole));
        }
    }
}

/// Sets the style of one placeholder.
fn set(parts: &mut [Part], index: usize, found: Style) {
    if let Some(Part::Field { style, .. }) = parts.get_mut(index) {
        *style = found;
    }
}

/// Settles a form, `name=value&name=value` (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>). A field
/// whose value is JSON, percent-encoded or not, has its placeholders escaped as JSON first: the receiver decodes the
/// form and then parses the JSON.
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
                // The name is not part of the JSON. Its placeholders keep the style of the form.
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

/// The state of the scan through XML or HTML.
///
/// | state | input | next state |
/// |---|---|---|
/// | Text | `<` | Tag |
/// | Text | `<!--`, `<![CDATA[`, `<?`, `<!` | Passage, until `-->`, `]]>`, `?>`, `>` |
/// | Tag | `="` or `='` | Quotes |
/// | Tag | `>` | Text; in HTML after `<script` and the like: Passage, until `</script` |
/// | Quotes | the same quote | Tag |
/// | Passage | its end | Text; after `</script`: Tag |
enum MarkupState {
    Text,
    /// Inside a tag, with its text so far in lower case.
    Tag(String),
    /// Inside the quotes of an attribute, with that quote and the text of the tag before it.
    Quotes(char, String),
    /// Inside a passage that ends with this text. Escapes have no meaning there.
    Passage(&'static str),
}

/// Settles XML or HTML. A placeholder is allowed in text and in a quoted attribute, where character references count.
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
                let found = "has a placeholder in its markup: allowed are text and quoted attributes";
                return Err(TemplateError::Body(found));
            }
            None => {}
        }
    }
    Ok(())
}

/// The state after the next character, and the number of bytes read from `rest`, which begins with that character.
fn step(state: MarkupState, character: char, rest: &str, is_html: bool) -> (MarkupState, usize) {
    let one = character.len_utf8();
    let passage = |end: &'static str, read: usize| (MarkupState::Passage(end), read);
    match state {
        MarkupState::Text if rest.starts_with("<!--") => passage("-->", 4),
        MarkupState::Text if rest.starts_with("<![CDATA[") => passage("]]>", 9),
        MarkupState::Text if rest.starts_with("<?") => passage("?>", 2),
        MarkupState::Text if rest.starts_with("<!") => passage(">", 2),
        MarkupState::Text if character == '<' => (MarkupState::Tag(String::new()), one),
        MarkupState::Text => (MarkupState::Text, one),
        MarkupState::Tag(tag) if character == '>' => {
            let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
            // Browsers read the content of these elements as a program or as raw text, without character references:
            // <https://html.spec.whatwg.org/multipage/parsing.html#parsing-html-fragments>.
            let raw = ["</script", "</style", "</xmp", "</iframe", "</noscript"];
            match raw.into_iter().find(|end| is_html && end.strip_prefix("</") == Some(name)) {
                Some(end) => passage(end, one),
                None => (MarkupState::Text, one),
            }
        }
        MarkupState::Tag(tag) if matches!(character, '"' | '\'') && tag.trim_end().ends_with('=') => {
            (MarkupState::Quotes(character, tag), one)
        }
        MarkupState::Tag(mut tag) => {
            tag.extend(character.to_lowercase());
            (MarkupState::Tag(tag), one)
        }
        MarkupState::Quotes(quote, tag) if character == quote => (MarkupState::Tag(tag + "\"\" "), one),
        MarkupState::Passage(end) if rest.get(..end.len()).is_some_and(|text| text.eq_ignore_ascii_case(end)) => {
            let next = if end.starts_with("</") { MarkupState::Tag(String::from("/")) } else { MarkupState::Text };
            (next, end.len())
        }
        same => (same, one),
    }
}

/// True if character references keep a value harmless in this state.
fn is_text(state: &MarkupState, is_html: bool) -> bool {
    match state {
        MarkupState::Text => true,
        MarkupState::Quotes(_, tag) => {
            let name = tag.trim_end().trim_end_matches('=').trim_end();
            let name = name.rsplit(|c: char| c.is_whitespace() || c == '"' || c == '/').next().unwrap_or_default();
            // The value of an `on...` attribute, of `style` and of `srcdoc` is itself a script, style or page: a
            // browser resolves character references before it runs it.
            !is_html || !(name.starts_with("on") || ["style", "srcdoc"].contains(&name))
        }
        MarkupState::Tag(_) | MarkupState::Passage(_) => false,
    }
}
