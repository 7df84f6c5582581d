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
//! In a string of JSON that contains JSON itself, values are escaped for both, as the receiver parses twice. Such a
//! string begins like an object or a list of objects, or it is another list with quotes in it.
//!
//! In HTML a value does not begin a link such as `href`: it could choose another site there, or be a script. Further on
//! it is percent-encoded.
//!
//! A field of a URL's query, a cookie and a header may hold JSON, too: values in it are escaped as JSON first.
//!
//! A body is checked with a sample in place of each placeholder. A text that is JSON with the samples is JSON with all
//! values, as each value is written as one JSON value or inside one string.

use super::{Part, Style, TemplateError};
use crate::json::tape::{self, Reader, TapeItem as Item};
use crate::json::text;

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
pub(crate) struct Hole {
    /// Inside a string. Otherwise the placeholder stands for a whole value, and a text gets quotes of its own.
    pub(super) is_quoted: bool,
    /// The number of strings around this JSON: 1 for both in `"{\"name\":\"{name}\",\"hp\":{hp}}"`. The receiver parses
    /// such a string once more, so the value is escaped once more for each.
    strings: u8,
}

/// The names of the charset of all bodies, and the error for another one, which completes a sentence.
const UTF8: [&str; 2] = ["utf-8", "utf8"];
const OTHER_CHARSET: &str = "names a charset other than UTF-8, but every body is UTF-8";

impl Syntax {
    /// The syntax that a `Content-Type` names: <https://www.rfc-editor.org/rfc/rfc9110#section-8.3>. Structured
    /// suffixes (`+json`, `+xml`) are those of RFC 6839. The error completes a sentence about the header.
    pub(crate) fn of(content_type: &str) -> Result<Syntax, &'static str> {
        let mut members = content_type.split(';');
        let kind = members.next().unwrap_or_default().trim().to_ascii_lowercase();
        let charset = members.filter_map(|member| member.split_once('=')).find_map(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        if !charset.is_none_or(|charset| UTF8.contains(&charset.as_str())) {
            return Err(OTHER_CHARSET);
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
    let start = out.len();
    if hole.is_quoted {
        text::push_escaped(out, bytes);
    } else {
        text::push_string(out, bytes);
    }
    escape_again(out, start, hole);
}

/// Appends JSON, the value of a placeholder, to JSON.
pub(super) fn push_value(out: &mut Vec<u8>, hole: Hole, json: &[u8]) {
    if hole.is_quoted {
        return push_json(out, hole, json);
    }
    let start = out.len();
    // Line ends in it are white space. They become spaces, as each line may be a JSON text of its own.
    out.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    escape_again(out, start, hole);
}

/// Escapes the value from `start` on for each string around its JSON.
fn escape_again(out: &mut Vec<u8>, start: usize, hole: Hole) {
    for _ in 0..hole.strings {
        let inner = out.split_off(start);
        text::push_escaped(out, &inner);
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

/// Most strings around a JSON text whose placeholders are escaped for it. Each of them can double a value.
const STRINGS_MAX: u8 = 2;

/// A JSON text with a sample in place of each placeholder, and the position of each. It is only scanned for quotes: the
/// parser in `json/tape.rs` decides whether it is JSON.
#[derive(Default)]
struct Json {
    /// The hook's text with the samples.
    text: Vec<u8>,
    /// The number of strings around this text.
    strings: u8,
    /// The scan is inside a string.
    quoted: bool,
    /// The last byte was a backslash that escapes the next.
    escaped: bool,
    /// Open braces and brackets outside strings.
    depth: i32,
    /// Index of the first byte of the current string.
    string: usize,
    /// The placeholders of the current string: the index of the part, and that of the sample.
    samples: Vec<(usize, usize)>,
    /// The index of the part and the position, for each placeholder outside the current string.
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
        match byte {
            b'"' if self.quoted && !self.escaped => {
                self.end_string();
                self.quoted = false;
            }
            b'"' if !self.quoted => (self.quoted, self.string) = (true, self.text.len() + 1),
            b'{' | b'[' if !self.quoted => self.depth += 1,
            b'}' | b']' if !self.quoted => self.depth -= 1,
            _ => {}
        }
        self.text.push(byte);
        self.escaped = byte == b'\\' && self.quoted && !self.escaped;
    }

    /// Scans a placeholder: records its position, and writes its sample.
    fn hole(&mut self, index: usize) {
        // Inside a string the sample is a space: `\{a}` becomes `\ `, which is not JSON, so no value can complete an
        // escape. Outside strings it is `true`, which is a value but not the name of a member: a number could not be a
        // name.
        if self.quoted {
            self.samples.push((index, self.text.len()));
            self.text.push(b' ');
        } else {
            // Before or after the JSON of a string the value is text of that string.
            let is_text = self.strings > 0 && self.depth <= 0;
            self.holes.push((index, Hole { is_quoted: is_text, strings: self.strings - u8::from(is_text) }));
            self.text.extend_from_slice(b"true");
        }
        self.escaped = false;
    }

    /// Ends the current string: records the positions of its placeholders, in the JSON that the string holds if it
    /// holds any.
    fn end_string(&mut self) {
        let samples = std::mem::take(&mut self.samples);
        let quoted = Hole { is_quoted: true, strings: self.strings };
        if samples.is_empty() || self.strings == STRINGS_MAX {
            return self.holes.extend(samples.iter().map(|(index, _)| (*index, quoted)));
        }
        let mut inner = Json { strings: self.strings + 1, ..Json::default() };
        let mut from = self.string;
        for (index, at) in &samples {
            inner.push_unescaped(self.text.get(from..*at).unwrap_or_default());
            inner.hole(*index);
            from = at + 1;
        }
        inner.push_unescaped(self.text.get(from..).unwrap_or_default());
        inner.end_string();
        // Without quotes, brackets are rather a decoration: `[{rank}]`.
        let is_list = || inner.text.contains(&b'"') && tape::is_container(&inner.text, &mut Vec::new());
        if begins_as_json(&inner.text) || is_list() {
            self.holes.append(&mut inner.holes);
        } else {
            self.holes.extend(samples.iter().map(|(index, _)| (*index, quoted)));
        }
    }

    /// Scans a piece of a string's text as the receiver reads it, without the escapes.
    fn push_unescaped(&mut self, piece: &[u8]) {
        let mut tape = Vec::new();
        // A piece that is not the inside of a string makes the whole text no JSON, and nothing is settled.
        _ = tape::parse(&[b"\"", piece, b"\""].concat(), &mut tape);
        if let Some(Item::Text(text)) = Reader::new(&tape).next_item() {
            text.iter().for_each(|byte| self.push(*byte));
        }
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
    for index in 0..parts.len() {
        set(parts, index, Style::Form);
    }
    json_in_fields(parts, 0, b'&', Style::FormJson);
    Ok(())
}

/// Settles the query of a URL, whose fields are those of a form. The placeholders before it keep their style.
pub(super) fn query(parts: &mut [Part]) {
    let start = parts.iter().enumerate().find_map(|(index, part)| match part {
        Part::Literal(text) => text.find('?').map(|at| (index, at + 1)),
        Part::Field { .. } => None,
    });
    if let Some((index, skipped)) = start {
        json_in_fields(parts.get_mut(index..).unwrap_or_default(), skipped, b'&', Style::UrlJson);
    }
}

/// Gives the placeholders in those fields whose value is JSON the style that `made` builds from their position. The
/// fields begin after `skipped` bytes.
pub(super) fn json_in_fields(parts: &mut [Part], skipped: usize, separator: u8, made: fn(Hole) -> Style) {
    let mut fields = vec![(false, Json::default())];
    for (index, part) in parts.iter().enumerate() {
        let Part::Literal(text) = part else {
            if let Some((_, json)) = fields.last_mut() {
                json.hole(index);
            }
            continue;
        };
        let mut bytes = text.bytes().skip(if index == 0 { skipped } else { 0 });
        while let Some(byte) = bytes.next() {
            let Some((has_name, json)) = fields.last_mut() else { break };
            match byte {
                separates if separates == separator => fields.push((false, Json::default())),
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
    for (has_name, json) in fields {
        if has_name && tape::is_container(&json.text, &mut Vec::new()) {
            json.settle(parts, made);
        }
    }
}

/// Settles a header: its values are escaped as JSON if it is JSON with quotes. Brackets alone are a decoration. In any
/// other header, values between quotes stay between them. A quote that no other ends is a letter.
pub(super) fn header(parts: &mut [Part]) {
    let json = Json::of(parts);
    if json.text.contains(&b'"') && tape::is_container(&json.text, &mut Vec::new()) {
        return json.settle(parts, Style::HeaderJson);
    }
    for (index, hole) in json.holes {
        if !hole.is_quoted && hole.strings == 0 {
            continue;
        }
        if let Some(Part::Literal(literal)) = index.checked_sub(1).and_then(|before| parts.get_mut(before)) {
            super::double_backslash(literal);
        }
        set(parts, index, Style::Header { quoted: true });
    }
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
    /// Inside the quotes of an attribute: that quote, the text of the tag before it, and the hook's own text since.
    Quotes(char, String, String),
    /// Inside a passage that ends with this text. Escapes have no meaning there.
    Passage(&'static str),
}

/// Settles XML or HTML. A placeholder is allowed in text and in a quoted attribute, where character references count.
fn markup(parts: &mut [Part], is_html: bool) -> Result<(), TemplateError> {
    let mut state = MarkupState::Text;
    for index in 0..parts.len() {
        match parts.get(index) {
            Some(Part::Literal(text)) => {
                if names_another_charset(&text.to_ascii_lowercase()) {
                    return Err(TemplateError::Body(OTHER_CHARSET));
                }
                let text = text.clone();
                let mut rest = &*text;
                while let Some(character) = rest.chars().next() {
                    let (next, read) = step(state, character, rest, is_html);
                    state = next;
                    rest = rest.get(read..).unwrap_or_default();
                }
            }
            Some(Part::Field { .. }) => {
                let found = style_in(&state, is_html, parts.get(index..).unwrap_or_default())?;
                set(parts, index, found);
            }
            None => {}
        }
    }
    Ok(())
}

/// True if the prolog of XML or a `<meta>` of HTML, in this text of lower case, names a charset other than UTF-8.
fn names_another_charset(text: &str) -> bool {
    [("<?xml", "encoding"), ("<meta", "charset")].iter().any(|(start, name)| {
        text.split(start).skip(1).any(|rest| {
            let tag = rest.split('>').next().unwrap_or_default();
            let value = tag.split_once(name).and_then(|(_, rest)| rest.trim_start().strip_prefix('='));
            let value = value.map(|value| value.trim_start_matches(|c: char| c.is_whitespace() || "\"'".contains(c)));
            let name = value
                .and_then(|value| value.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next());
            name.is_some_and(|name| !UTF8.contains(&name))
        })
    })
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
            (MarkupState::Quotes(character, tag, String::new()), one)
        }
        MarkupState::Tag(mut tag) => {
            tag.extend(character.to_lowercase());
            (MarkupState::Tag(tag), one)
        }
        MarkupState::Quotes(quote, tag, _) if character == quote => (MarkupState::Tag(tag + "\"\" "), one),
        MarkupState::Quotes(quote, tag, mut text) => {
            text.push(character);
            (MarkupState::Quotes(quote, tag, text), one)
        }
        MarkupState::Passage(end) if rest.get(..end.len()).is_some_and(|text| text.eq_ignore_ascii_case(end)) => {
            let next = if end.starts_with("</") { MarkupState::Tag(String::from("/")) } else { MarkupState::Text };
            (next, end.len())
        }
        same => (same, one),
    }
}

/// Attributes of HTML that hold a URL. A browser runs the rest of one that begins with `javascript:`.
const LINKS: [&str; 12] = [
    "href",
    "src",
    "action",
    "formaction",
    "xlink:href",
    "data",
    "poster",
    "background",
    "cite",
    "manifest",
    "longdesc",
    "codebase",
];
/// Attributes of HTML whose value is itself a style, a page, or a list of URLs, in which a value could begin another.
const NOT_FILLED: [&str; 5] = ["style", "srcdoc", "srcset", "imagesrcset", "ping"];

/// A link names its site in so many characters, or not at all: each placeholder of a long link looks at its beginning.
const SITE_CHARS_MAX: usize = 1024;

/// The style that keeps a value harmless in this state. An error if none does. `rest` begins with the placeholder.
fn style_in(state: &MarkupState, is_html: bool, rest: &[Part]) -> Result<Style, TemplateError> {
    let found = "has a placeholder in its markup: allowed are text and quoted attributes";
    let (tag, text) = match state {
        MarkupState::Text => return Ok(Style::Markup),
        MarkupState::Quotes(_, tag, text) => (tag, text),
        MarkupState::Tag(_) | MarkupState::Passage(_) => return Err(TemplateError::Body(found)),
    };
    let name = tag.trim_end().trim_end_matches('=').trim_end();
    let name = name.rsplit(|c: char| c.is_whitespace() || c == '"' || c == '/').next().unwrap_or_default();
    let element = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
    // A `<meta http-equiv="refresh">` leads to the URL in its content, whatever the order of both.
    let acts = || {
        let literals = rest.iter().filter_map(|part| if let Part::Literal(text) = part { Some(&**text) } else { None });
        let later = literals.collect::<String>().to_ascii_lowercase();
        [tag, later.split('>').next().unwrap_or_default()].iter().any(|text| text.contains("http-equiv"))
    };
    // An animation of SVG may set the `href` of the element around it.
    let animates = || element.starts_with("animate") || element == "set";
    // The value of an `on...` attribute is a script: a browser resolves character references before it runs it.
    let is_refused = name.starts_with("on")
        || NOT_FILLED.contains(&name)
        || name == "content" && element == "meta" && acts()
        || ["values", "to", "from", "by"].contains(&name) && animates();
    if is_html && is_refused {
        return Err(TemplateError::Body(found));
    }
    let Some(link) = LINKS.iter().find(|link| is_html && **link == name) else { return Ok(Style::Markup) };
    // Browsers ignore these characters, and read a backslash as a slash.
    let text = text.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).take(SITE_CHARS_MAX);
    let text: String = text.collect();
    let text = text.trim_start_matches(|c: char| c <= ' ').replace('\\', "/");
    match &*text {
        // Another slash at the beginning of the value would make its next word the host. Encoded, it is a letter.
        "/" => Ok(Style::Form),
        text if names_its_site(text) => Ok(Style::Href),
        _ => Err(TemplateError::Link(link)),
    }
}

/// True if no value after this beginning of a URL can change the scheme or the host, and the scheme runs no script.
fn names_its_site(text: &str) -> bool {
    // An `&` may begin a character reference, which could stand for any of these signs.
    let end = text.find([':', '/', '?', '#', '&']);
    let Some((scheme, rest)) = end.and_then(|at| text.split_at_checked(at)) else { return false };
    match rest.strip_prefix("://").or_else(|| text.strip_prefix("//")) {
        Some(rest) => {
            let is_script = ["javascript", "vbscript", "data"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
            !is_script && rest.find(['/', '?', '#']).is_some_and(|end| end > 0)
        }
        None => !rest.starts_with([':', '&']),
    }
}
