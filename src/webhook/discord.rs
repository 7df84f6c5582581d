//! Messages to Discord: built from an event, cut to Discord's limits, merged while they wait.
//! Runs on `rt-webhooks`; pure. Every message that leaves this module is within all limits, because Discord refuses a
//! message that exceeds one of them as a whole.
//!
//! Discord counts code points: <https://github.com/discord/discord-api-docs/issues/1315>. Its limits for embeds:
//! <https://docs.discord.com/developers/resources/message#embed-object-embed-limits>.
//!
//! A value of an event cannot ping anybody. `allowed_mentions` is empty, or with `allow_mentions` it lists the mentions in
//! the hook's own text. A value is escaped, so that it neither looks like a mention nor changes one
//! (`template/markdown.rs`). So every mention in the finished text is one that the hook began, even if a value gives the
//! number: `<@{discord_id}>`.

use std::fmt;

use serde_json::{Map, Value};

use crate::hooks::request::{
    AUTHOR_CHARS_MAX, CONTENT_CHARS_MAX, DESCRIPTION_CHARS_MAX, Discord, EMBEDS_CHARS_MAX, Embed, EmbedField,
    FIELD_NAME_CHARS_MAX, FIELD_VALUE_CHARS_MAX, FOOTER_CHARS_MAX, Label, TITLE_CHARS_MAX,
};
use crate::hooks::template::{Fields, RenderError, Template, markdown};
use crate::hooks::url::{UrlError, UrlTemplate};
use crate::json::writer::Writer;
use crate::webhook::date;

/// Most embeds of one message.
const EMBEDS_MAX: usize = 10;
/// Longest URL that a message shows, in characters. A longer one is left out: a cut URL would lead elsewhere.
const URL_CHARS_MAX: usize = 2048;
/// Most names in each list of `allowed_mentions`.
const MENTIONS_MAX: usize = 100;

/// One message, or several merged into one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    content: String,
    /// In Discord's JSON.
    embeds: Vec<Value>,
    /// Characters of all embeds that count for their common limit.
    embeds_chars: usize,
    username: Option<String>,
    avatar_url: Option<String>,
    /// `None`: the hook does not allow mentions.
    mentions: Option<Mentions>,
}

/// The mentions that may ping: the member `allowed_mentions`.
#[derive(Debug, Clone, Default, PartialEq)]
struct Mentions {
    everyone: bool,
    users: Vec<String>,
    roles: Vec<String>,
}

impl Message {
    /// Builds the message of one event. An error if a template or a URL cannot be made, or if nothing of it is visible.
    pub(crate) fn of(discord: &Discord, fields: &Fields<'_>) -> Result<Message, NoMessage> {
        let content = discord.content.as_ref().map_or(Ok(String::new()), |content| content.render_text(fields))?;
        let content = cut(content, CONTENT_CHARS_MAX);
        let mut budget = EMBEDS_CHARS_MAX;
        let embed = discord.embed.as_deref().map(|embed| embed_of(embed, fields, &mut budget)).transpose()?.flatten();
        let content = if is_blank(&content) { String::new() } else { content };
        if content.is_empty() && embed.is_none() {
            return Err(NoMessage::Empty);
        }
        let mentions = discord.allow_mentions.then(|| Mentions::of(discord.content.as_ref(), &content));
        Ok(Message {
            mentions,
            content,
            embeds: embed.into_iter().collect(),
            embeds_chars: EMBEDS_CHARS_MAX - budget,
            username: discord.username.clone(),
            avatar_url: url(discord.avatar_url.as_deref(), fields)?,
        })
    }

    /// Merges a later message to the same destination into this one. Returns false, and changes nothing, if one message
    /// cannot show both as they are: too long, other sender, other rights to ping, or an open mark of code.
    pub(crate) fn merge(&mut self, next: &Message) -> bool {
        let (one, other) = (self.content.chars().count(), next.content.chars().count());
        let joint = usize::from(one > 0 && other > 0);
        let fits = one + joint + other <= CONTENT_CHARS_MAX
            && self.embeds.len() + next.embeds.len() <= EMBEDS_MAX
            && self.embeds_chars + next.embeds_chars <= EMBEDS_CHARS_MAX;
        let same = self.username == next.username && self.avatar_url == next.avatar_url;
        let mentions = match (&self.mentions, &next.mentions) {
            (None, None) => None,
            (Some(mine), Some(theirs)) => match mine.and(theirs) {
                Some(both) => Some(both),
                None => return false,
            },
            _ => return false,
        };
        // An open mark of code in this message would pair with a mark in the next one.
        if !fits || !same || !markdown::code(&self.content).1 {
            return false;
        }
        let Some(embeds) = beside(&self.embeds, &next.embeds) else { return false };
        if joint > 0 {
            self.content.push('\n');
        }
        self.content.push_str(&next.content);
        self.embeds = embeds;
        self.embeds_chars += next.embeds_chars;
        self.mentions = mentions;
        true
    }

    /// Reads the message back from the JSON that [`Message::body`] makes, for posts from the spool. `None` if it is
    /// something else.
    pub(crate) fn from_body(body: &Value) -> Option<Message> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let embeds = body.get("embeds").and_then(Value::as_array).cloned().unwrap_or_default();
        let content = text("content").unwrap_or_default();
        if content.is_empty() && embeds.is_empty() {
            return None;
        }
        Some(Message {
            content,
            embeds_chars: embeds.iter().map(embed_chars).sum(),
            embeds,
            username: text("username"),
            avatar_url: text("avatar_url"),
            mentions: Mentions::from_json(body.get("allowed_mentions")?)?,
        })
    }

    /// The JSON of the request's body.
    pub(crate) fn body(&self) -> String {
        let mut body = Writer::default();
        body.open(b'{');
        Mentions::write(self.mentions.as_ref(), body.name("allowed_mentions"));
        let content = Some(&self.content).filter(|content| !content.is_empty());
        for (name, text) in
            [("avatar_url", self.avatar_url.as_ref()), ("content", content), ("username", self.username.as_ref())]
        {
            if let Some(text) = text {
                body.name(name).text(text.as_bytes());
            }
        }
        if !self.embeds.is_empty() {
            body.name("embeds").open(b'[');
            self.embeds.iter().for_each(|embed| body.shown(embed));
            body.close(b']');
        }
        body.close(b'}');
        body.end()
    }

    /// The JSON of the request's body for an edit. Texts that the message does not have are there, too, and empty: they
    /// remove those that it had before. An edit cannot change the author.
    pub(crate) fn edit_body(&self) -> String {
        let mut body = Writer::default();
        body.open(b'{');
        Mentions::write(self.mentions.as_ref(), body.name("allowed_mentions"));
        body.name("content").text(self.content.as_bytes());
        body.name("embeds").open(b'[');
        self.embeds.iter().for_each(|embed| body.shown(embed));
        body.close(b']');
        body.close(b'}');
        body.end()
    }

    /// Every URL that the message shows. Each may hold a secret.
    pub(crate) fn urls(&self) -> Vec<&str> {
        let mut urls = Vec::new();
        urls.extend(self.avatar_url.as_deref());
        // The members that `embed_of` makes, each in the embed itself or in one of its members.
        for embed in &self.embeds {
            let inner = ["image", "thumbnail", "author", "footer"].map(|name| embed.get(name));
            for place in [Some(embed)].into_iter().chain(inner).flatten() {
                urls.extend(["url", "icon_url"].iter().filter_map(|name| place.get(name)?.as_str()));
            }
        }
        urls
    }

    /// About the bytes that the message takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let labels =
            self.username.as_ref().map_or(0, String::len) + self.urls().iter().map(|url| url.len()).sum::<usize>();
        // A character has up to four bytes; 1024 stands for the JSON around the texts of an embed.
        self.content.len() + self.embeds_chars * 4 + self.embeds.len() * 1024 + labels
    }
}

impl Mentions {
    /// Collects the mentions of the content. `@everyone` and `@here` count only in the template's literal text. `<@...>`
    /// counts in the finished text, where values are escaped and cannot begin one.
    fn of(template: Option<&Template>, content: &str) -> Mentions {
        let literal = |word: &str| template.is_some_and(|text| text.literals().any(|text| text.contains(word)));
        let mut mentions = Mentions { everyone: literal("@everyone") || literal("@here"), ..Mentions::default() };
        // `<@1>` and `<@!1>` mention a user, `<@&1>` a role.
        for (at, _) in content.match_indices("<@") {
            let backslashes = content.bytes().take(at).rev().take_while(|byte| *byte == b'\\').count();
            let is_escaped = backslashes % 2 == 1;
            let inner = content.get(at + 2..).and_then(|rest| rest.split_once('>')).map_or("", |(inner, _)| inner);
            let (list, number) = match inner.strip_prefix('&') {
                Some(role) => (&mut mentions.roles, role),
                None => (&mut mentions.users, inner.strip_prefix('!').unwrap_or(inner)),
            };
            // Ids are 64-bit numbers.
            let is_number = (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
            if is_number && !is_escaped && list.len() < MENTIONS_MAX && !list.iter().any(|known| known == number) {
                list.push(number.to_owned());
            }
        }
        mentions
    }

    /// The mentions of two merged messages. `None` if they are too many, or if only one of them may ping everyone.
    fn and(&self, other: &Mentions) -> Option<Mentions> {
        let union = |mine: &[String], theirs: &[String]| {
            let mut both = mine.to_vec();
            for name in theirs {
                if !mine.contains(name) {
                    both.push(name.clone());
                }
            }
            (both.len() <= MENTIONS_MAX).then_some(both)
        };
        Some(Mentions {
            // Otherwise `@everyone` in a value of one message would ping, because the text of the other may.
            everyone: (self.everyone == other.everyone).then_some(self.everyone)?,
            users: union(&self.users, &other.users)?,
            roles: union(&self.roles, &other.roles)?,
        })
    }

    /// Writes the member `allowed_mentions`.
    fn write(mentions: Option<&Mentions>, json: &mut Writer) {
        json.open(b'{');
        let everyone = mentions.is_some_and(|mentions| mentions.everyone);
        json.name("parse").texts(if everyone { &["everyone"] } else { &[] });
        if let Some(Mentions { users, roles, .. }) = mentions {
            json.name("roles").texts(roles);
            json.name("users").texts(users);
        }
        json.close(b'}');
    }

    /// Reads the JSON of [`Mentions::write`]. `Some(None)`: the hook does not allow mentions. `None`: it is something else.
    fn from_json(json: &Value) -> Option<Option<Mentions>> {
        let list = |name: &str| {
            let mut texts = Vec::new();
            for text in json.get(name)?.as_array()? {
                texts.push(text.as_str()?.to_owned());
            }
            Some(texts)
        };
        let parse = list("parse")?;
        if json.get("users").is_none() {
            return Some(None);
        }
        let everyone = parse.iter().any(|word| word == "everyone");
        Some(Some(Mentions { everyone, users: list("users")?, roles: list("roles")? }))
    }
}

/// The embeds of two merged messages, changed so that Discord shows each of them. Discord shows only the first of several
/// embeds with one URL, with the pictures of the others (<https://github.com/discord/discord-api-docs/issues/1418>). So a
/// repeated URL gets a fragment: it is another URL then, and leads to the same place. No URL of a hook has a fragment of
/// its own. `None` if a URL would get too long.
fn beside(embeds: &[Value], next: &[Value]) -> Option<Vec<Value>> {
    let mut all = embeds.to_vec();
    for embed in next {
        let mut embed = embed.clone();
        if let Some(Value::String(url)) = embed.get_mut("url")
            && all.iter().any(|other| other.get("url").and_then(Value::as_str) == Some(url))
        {
            *url = format!("{url}#{}", all.len() + 1);
            if url.len() > URL_CHARS_MAX {
                return None;
            }
        }
        all.push(embed);
    }
    Some(all)
}

/// The characters of an embed that count for the common limit of all embeds.
fn embed_chars(embed: &Value) -> usize {
    let chars = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, |text| text.chars().count());
    let of = |member: &str, name: &str| chars(embed.get(member).and_then(|member| member.get(name)));
    let fields = embed.get("fields").and_then(Value::as_array).into_iter().flatten();
    let fields: usize = fields.map(|field| chars(field.get("name")) + chars(field.get("value"))).sum();
    chars(embed.get("title")) + chars(embed.get("description")) + of("footer", "text") + of("author", "name") + fields
}

/// Builds one embed of at most `budget` characters and takes its characters off the budget. Title, author and footer come
/// before the long description, so that a long description does not use up their budget. `None` if the embed is empty.
fn embed_of(embed: &Embed, fields: &Fields<'_>, budget: &mut usize) -> Result<Option<Value>, NoMessage> {
    let mut built = Members::default();
    built.text("title", text(embed.title.as_ref(), fields, TITLE_CHARS_MAX, budget)?);
    built.put("author", label(embed.author.as_deref(), "name", fields, AUTHOR_CHARS_MAX, budget)?);
    built.put("footer", label(embed.footer.as_deref(), "text", fields, FOOTER_CHARS_MAX, budget)?);
    built.text("description", text(embed.description.as_ref(), fields, DESCRIPTION_CHARS_MAX, budget)?);
    let rows = rows(&embed.fields, fields, budget)?;
    if !rows.is_empty() {
        built.put("fields", Some(Value::Array(rows)));
    }
    for (name, picture) in [("image", &embed.image), ("thumbnail", &embed.thumbnail)] {
        let mut shown = Members::default();
        shown.text("url", url(picture.as_deref(), fields)?);
        built.put(name, shown.value());
    }
    // The members below are not visible by themselves.
    if built.0.is_empty() {
        return Ok(None);
    }
    built.text("url", url(embed.url.as_deref(), fields)?);
    built.put("color", embed.color.map(Value::from));
    built.text("timestamp", embed.timestamp.then(|| date::iso8601(fields.unix_ms)));
    Ok(built.value())
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

/// Builds the fields of an embed, as many as the budget allows.
fn rows(templates: &[EmbedField], fields: &Fields<'_>, budget: &mut usize) -> Result<Vec<Value>, RenderError> {
    let mut rows = Vec::new();
    for field in templates {
        if *budget < 2 {
            break;
        }
        let mut row = Members::default();
        // Leaves one character for the value.
        for (name, template, chars_max, kept) in
            [("name", &field.name, FIELD_NAME_CHARS_MAX, 1), ("value", &field.value, FIELD_VALUE_CHARS_MAX, 0)]
        {
            let mut room = *budget - kept;
            // Discord requires name and value. An empty one becomes a zero-width space.
            let filled = text(Some(template), fields, chars_max, &mut room)?.unwrap_or_else(|| "\u{200b}".to_owned());
            *budget = budget.saturating_sub(filled.chars().count());
            row.text(name, Some(filled));
        }
        row.put("inline", Some(Value::Bool(field.inline)));
        rows.extend(row.value());
    }
    Ok(rows)
}

/// Renders a text of an embed, cut to its own limit and to the rest of the budget. `None` if it is empty.
fn text(
    template: Option<&Template>,
    fields: &Fields<'_>,
    chars_max: usize,
    budget: &mut usize,
) -> Result<Option<String>, RenderError> {
    let Some(template) = template else { return Ok(None) };
    let text = cut(template.render_text(fields)?, chars_max.min(*budget));
    if is_blank(&text) {
        return Ok(None);
    }
    *budget = budget.saturating_sub(text.chars().count());
    Ok(Some(text))
}

/// Builds the author or the footer of an embed. `name` is the member for its text: `name` or `text`. `None` if its text is
/// empty, whatever icon or link it has: Discord requires the text.
fn label(
    label: Option<&Label>,
    name: &str,
    fields: &Fields<'_>,
    chars_max: usize,
    budget: &mut usize,
) -> Result<Option<Value>, NoMessage> {
    let Some(label) = label else { return Ok(None) };
    let Some(text) = text(Some(&label.text), fields, chars_max, budget)? else { return Ok(None) };
    let mut built = Members::default();
    built.text(name, Some(text));
    built.text("icon_url", url(label.icon_url.as_deref(), fields)?);
    built.text("url", url(label.url.as_deref(), fields)?);
    Ok(built.value())
}

/// Renders a URL. `None` without a template, and for a URL that is too long for Discord.
fn url(template: Option<&UrlTemplate>, fields: &Fields<'_>) -> Result<Option<String>, UrlError> {
    match template.map(|template| template.render(fields)) {
        None | Some(Err(UrlError::TooLong { .. } | UrlError::Render(RenderError::TooLong { .. }))) => Ok(None),
        Some(Err(err)) => Err(err),
        // A URL is ASCII, so its bytes are its characters.
        Some(Ok(url)) => Ok(Some(url.reveal()).filter(|url| url.len() <= URL_CHARS_MAX)),
    }
}

/// Whether Discord would treat the text as empty: it removes white space and control characters from both ends, and
/// refuses a text that is empty then.
fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || character.is_control())
}

/// Cuts the text to `chars_max` characters; a cut text ends in `…`. Also used for the lines of `webhook/status.rs`.
///
/// The cut must not change the meaning of the markdown around it: a value in a code span is not escaped, so an open code
/// span would let it out.
///
/// ```text
/// ab\*c       cut between `\` and `*`: the backslash goes too, it would escape the `…`
/// ``co|de``   cut inside code: the code is closed with the same mark, or left out if that has no room
/// ```
pub(crate) fn cut(mut text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    let byte_of = |text: &str, chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    // One character is left for the `…`.
    let mut kept = byte_of(&text, chars_max.saturating_sub(1));
    let (codes, _) = markdown::code(&text);
    let opened = codes.iter().find(|code| (code.open..code.close()).contains(&kept) && code.open < kept);
    let mut end = String::new();
    if let Some(code) = opened {
        let room = byte_of(&text, chars_max.saturating_sub(1 + code.mark()));
        if room >= code.start {
            (kept, end) = (room.min(code.end), "`".repeat(code.mark()));
        } else {
            kept = code.open;
        }
    }
    text.truncate(kept);
    // An odd number of backslashes at the end: the last one began an escape.
    let backslashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if backslashes % 2 == 1 && end.is_empty() {
        text.pop();
    }
    if chars_max > 0 {
        text.push('…');
    }
    text + &end
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

#[cfg(test)]
mod tests;
