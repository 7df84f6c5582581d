//! The parts of a Discord message, rendered from an event and cut to Discord's limits: texts, URLs and the embed.
//! Runs on `rt-webhooks`; pure. `webhook/discord.rs` makes the message of them, and says where the limits come from.
//! A part that cannot be shown is left out if the message can do without it.

use std::fmt;

use serde_json::{Map, Value};

use crate::calendar::format;
use crate::hooks::color::Color;
use crate::hooks::request::discord::{
    AUTHOR_CHARS_MAX, DESCRIPTION_CHARS_MAX, Embed, EmbedField, FIELD_NAME_CHARS_MAX, FIELD_VALUE_CHARS_MAX,
    FOOTER_CHARS_MAX, Label, TITLE_CHARS_MAX,
};
use crate::hooks::template::markdown::{self, Code};
use crate::hooks::template::{Fields, RenderError, Template};
use crate::hooks::url::{ShownUrl, UrlError};

/// Longest URL that a message shows, in characters. A longer one is left out: a cut URL would lead elsewhere.
pub(crate) const URL_CHARS_MAX: usize = 2048;

/// The making of one message.
pub(crate) struct Making<'a> {
    pub(crate) fields: &'a Fields<'a>,
    /// Characters that the embed may still take.
    pub(crate) budget: usize,
    /// A sentence for each part that the message goes without.
    pub(crate) left_out: &'a mut Vec<String>,
}

impl Making<'_> {
    /// Builds one embed within the budget. Title, author and footer come before the long description, so that a long
    /// description does not use up their budget. `None` if the embed is empty.
    pub(crate) fn embed(&mut self, embed: &Embed) -> Result<Option<Value>, NoMessage> {
        let mut built = Members::default();
        built.text("title", self.text(embed.title.as_ref(), TITLE_CHARS_MAX)?);
        built.put("author", self.label("author", embed.author.as_deref(), "name", AUTHOR_CHARS_MAX)?);
        built.put("footer", self.label("footer", embed.footer.as_deref(), "text", FOOTER_CHARS_MAX)?);
        built.text("description", self.text(embed.description.as_ref(), DESCRIPTION_CHARS_MAX)?);
        let rows = self.rows(&embed.fields)?;
        if !rows.is_empty() {
            built.put("fields", Some(Value::Array(rows)));
        }
        for (name, picture) in [("image", &embed.image), ("thumbnail", &embed.thumbnail)] {
            let mut shown = Members::default();
            shown.text("url", self.url(name, picture.as_deref())?);
            built.put(name, shown.value());
        }
        // The members below are not visible by themselves.
        if built.0.is_empty() {
            return Ok(None);
        }
        built.text("url", self.url("url", embed.url.as_deref())?);
        built.put("color", self.color(embed.color.as_ref()).map(Value::from));
        built.text("timestamp", embed.timestamp.then(|| format::iso8601(self.fields.unix_ms)));
        Ok(built.value())
    }

    /// Builds the fields of an embed, as many as the budget allows.
    fn rows(&mut self, templates: &[EmbedField]) -> Result<Vec<Value>, RenderError> {
        let mut rows = Vec::new();
        for field in templates {
            if self.budget < 2 {
                break;
            }
            let mut row = Members::default();
            // Leaves one character for the value.
            for (name, template, chars_max, kept) in
                [("name", &field.name, FIELD_NAME_CHARS_MAX, 1), ("value", &field.value, FIELD_VALUE_CHARS_MAX, 0)]
            {
                let chars_max = chars_max.min(self.budget.saturating_sub(kept));
                let filled = match self.text(Some(template), chars_max)? {
                    Some(filled) => filled,
                    // Discord requires name and value. An empty one becomes a zero-width space.
                    None => {
                        self.budget = self.budget.saturating_sub(1);
                        "\u{200b}".to_owned()
                    }
                };
                row.text(name, Some(filled));
            }
            row.put("inline", Some(Value::Bool(field.inline)));
            rows.extend(row.value());
        }
        Ok(rows)
    }

    /// Renders a text of an embed, cut to its own limit and to the rest of the budget. `None` if it is empty.
    fn text(&mut self, template: Option<&Template>, chars_max: usize) -> Result<Option<String>, RenderError> {
        let Some(template) = template else { return Ok(None) };
        let text = cut(template.render_text(self.fields)?, chars_max.min(self.budget));
        if is_blank(&text) {
            return Ok(None);
        }
        self.budget = self.budget.saturating_sub(text.chars().count());
        Ok(Some(text))
    }

    /// Builds the author or the footer of an embed. `text_name` is the member for its text: `name` or `text`. `None` if
    /// its text is empty, whatever icon or link it has: Discord requires the text.
    fn label(
        &mut self,
        name: &str,
        label: Option<&Label>,
        text_name: &str,
        chars_max: usize,
    ) -> Result<Option<Value>, NoMessage> {
        let Some(label) = label else { return Ok(None) };
        let Some(text) = self.text(Some(&label.text), chars_max)? else { return Ok(None) };
        let mut built = Members::default();
        built.text(text_name, Some(text));
        for (inner, url) in [("icon_url", &label.icon_url), ("url", &label.url)] {
            built.text(inner, self.url(&format!("{name}.{inner}"), url.as_deref())?);
        }
        Ok(built.value())
    }

    /// Renders the URL `name`. `None` without a template, and for a URL that is left out: it is too long for Discord, a
    /// value makes `.` or `..` a segment of its path, or the field that should be a whole URL is none.
    pub(crate) fn url(&mut self, name: &str, url: Option<&ShownUrl>) -> Result<Option<String>, UrlError> {
        let Some(url) = url else { return Ok(None) };
        let reason = match url.render(self.fields) {
            Ok(None) => return Ok(None),
            Ok(Some(url)) => {
                // A URL is ASCII, so its bytes are its characters.
                let url = url.reveal();
                if url.len() <= URL_CHARS_MAX {
                    return Ok(Some(url));
                }
                format!("is longer than {URL_CHARS_MAX} characters")
            }
            Err(
                err @ (UrlError::TooLong { .. }
                | UrlError::Render(RenderError::TooLong { .. })
                | UrlError::Dots
                | UrlError::Value(_)),
            ) => err.to_string(),
            Err(err) => return Err(err),
        };
        self.left_out.push(format!("`{name}` {reason}"));
        Ok(None)
    }

    /// The color of the embed. `None` without one, and if the field that should be a color is none.
    fn color(&mut self, color: Option<&Color>) -> Option<u32> {
        color?.of(self.fields).unwrap_or_else(|path| {
            self.left_out.push(format!("`color` cannot be made: `{path}` of the event is no color"));
            None
        })
    }
}

/// The embed without its pictures and links. `None` if nothing of it would be visible.
pub(crate) fn without_urls(embed: &Value) -> Option<Value> {
    let mut embed = embed.as_object()?.clone();
    embed.retain(|name, _| !["url", "image", "thumbnail"].contains(&name.as_str()));
    for label in ["author", "footer"] {
        if let Some(Value::Object(label)) = embed.get_mut(label) {
            label.retain(|name, _| !["url", "icon_url"].contains(&name.as_str()));
        }
    }
    let texts = ["title", "author", "footer", "description", "fields"];
    texts.iter().any(|name| embed.contains_key(*name)).then_some(Value::Object(embed))
}

/// The members of a JSON object that is being built.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    /// Adds a member, if it has a value.
    fn put(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Adds a text, if there is one.
    fn text(&mut self, name: &str, text: Option<String>) {
        self.put(name, text.map(Value::String));
    }

    /// The object. `None` without members.
    fn value(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }
}

/// Whether Discord would treat the text as empty: it removes white space and control characters from both ends, and
/// refuses a text that is empty then.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || character.is_control())
}

/// Cuts the text to `chars_max` characters; a cut text ends in `…`.
///
/// The cut must not change the meaning of the markdown around it: a value in a code span is not escaped, so an open code
/// span would let it out.
///
/// ```text
/// ab\*c       cut between `\` and `*`: the backslash goes too, it would escape the `…`
/// ``co|de``   cut inside code: the code is closed with the same mark, or left out if that has no room
/// ||a|b||     cut inside emphasis or a spoiler: it is closed as well, or the text after it would be hidden in its place
/// ```
pub(crate) fn cut(text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    let (codes, _) = markdown::code(&text);
    let mut room = chars_max;
    loop {
        let found = cut_to(&text, &codes, room);
        let excess = found.chars().count().saturating_sub(chars_max);
        if excess == 0 {
            return found;
        }
        room = room.saturating_sub(excess);
    }
}

/// As [`cut`]. The marks that end emphasis and spoilers go beyond `chars_max`.
fn cut_to(text: &str, codes: &[Code], chars_max: usize) -> String {
    let byte_of = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    // One character is left for the `…`.
    let mut kept = byte_of(chars_max.saturating_sub(1));
    let opened = codes.iter().find(|code| (code.open..code.close()).contains(&kept) && code.open < kept);
    let (mut end, mut outside) = (String::new(), None);
    if let Some(code) = opened {
        let room = byte_of(chars_max.saturating_sub(1 + code.mark()));
        if room >= code.start {
            (kept, end, outside) = (room.min(code.end), "`".repeat(code.mark()), Some(code.open));
        } else {
            kept = code.open;
        }
    }
    let text = text.get(..kept).unwrap_or_default();
    // An odd number of backslashes at the end: the last one began an escape.
    let backslashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    let text = if backslashes % 2 == 1 && end.is_empty() { text.get(..kept - 1).unwrap_or_default() } else { text };
    end.push_str(&markdown::end_marks(text, outside.unwrap_or(text.len()), codes));
    let dots = if chars_max > 0 { "…" } else { "" };
    format!("{text}{dots}{end}")
}

/// Why no message could be built from an event.
#[derive(Debug, PartialEq)]
pub(crate) enum NoMessage {
    Url(UrlError),
    RenderError(RenderError),
    Empty,
}

impl From<UrlError> for NoMessage {
    fn from(err: UrlError) -> NoMessage {
        NoMessage::Url(err)
    }
}

impl From<RenderError> for NoMessage {
    fn from(unmade: RenderError) -> NoMessage {
        NoMessage::RenderError(unmade)
    }
}

impl fmt::Display for NoMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoMessage::Url(err) => write!(f, "a url of the message {err}"),
            NoMessage::RenderError(unmade) => write!(f, "the message cannot be made: {unmade}"),
            NoMessage::Empty => f.write_str("the message would be empty"),
        }
    }
}
