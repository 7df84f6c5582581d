//! Messages to Discord: built from an event, cut to what Discord takes, merged while they wait.
//! Runs on `rt-webhooks`; pure. A message that comes out of here is within every limit.
//!
//! Discord counts code points: <https://github.com/discord/discord-api-docs/issues/1315>. Its limits for embeds:
//! <https://docs.discord.com/developers/resources/message#embed-object-embed-limits>.
//!
//! Nobody is pinged by a value: `allowed_mentions` names nobody, or with `allow_mentions` only those that the hook's own
//! text mentions. A value cannot look like such a mention, nor make another one of it (`template/markdown.rs`), so what
//! the finished text mentions is the hook's own, also where a value gives the number: `<@{discord_id}>`.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::hooks::request::{
    AUTHOR_CHARS_MAX, CONTENT_CHARS_MAX, DESCRIPTION_CHARS_MAX, Discord, EMBEDS_CHARS_MAX, Embed, EmbedField,
    FIELD_NAME_CHARS_MAX, FIELD_VALUE_CHARS_MAX, FOOTER_CHARS_MAX, Label, TITLE_CHARS_MAX,
};
use crate::hooks::template::{Fields, RenderError, Template, markdown};
use crate::hooks::url::{UrlError, UrlTemplate};
use crate::webhook::date;

const EMBEDS_MAX: usize = 10;
/// Of every URL that a message shows. A longer one is left out: cut it would lead elsewhere.
const URL_CHARS_MAX: usize = 2048;
/// Names in each list of `allowed_mentions`.
const MENTIONS_MAX: usize = 100;

/// One message, or several in one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    content: String,
    embeds: Vec<Value>,
    embeds_chars: usize,
    username: Option<String>,
    avatar_url: Option<String>,
    mentions: Option<Mentions>,
}

/// Who may be pinged.
#[derive(Debug, Clone, Default, PartialEq)]
struct Mentions {
    everyone: bool,
    users: Vec<String>,
    roles: Vec<String>,
}

impl Message {
    /// The message of one event.
    pub(crate) fn of(discord: &Discord, fields: &Fields<'_>) -> Result<Message, NoMessage> {
        let content = discord.content.as_ref().map_or(Ok(String::new()), |content| content.render_text(fields))?;
        let content = cut(content, CONTENT_CHARS_MAX);
        let mut budget = EMBEDS_CHARS_MAX;
        let embed = discord.embed.as_ref().map(|embed| embed_of(embed, fields, &mut budget)).transpose()?.flatten();
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
            avatar_url: url(discord.avatar_url.as_ref(), fields)?,
        })
    }

    /// Takes in a later message to the same place, if one message can be both. False: `next` is untouched.
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
        // A mark of code that nothing ends would pair with one of the next message.
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

    /// The message of such a body, as [`Message::body`] makes it. `None`: it is none.
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

    /// The body of the request.
    pub(crate) fn body(&self) -> String {
        let mut body = Map::new();
        if !self.content.is_empty() {
            body.insert("content".to_owned(), json!(self.content));
        }
        if !self.embeds.is_empty() {
            body.insert("embeds".to_owned(), json!(self.embeds));
        }
        if let Some(username) = &self.username {
            body.insert("username".to_owned(), json!(username));
        }
        if let Some(avatar_url) = &self.avatar_url {
            body.insert("avatar_url".to_owned(), json!(avatar_url));
        }
        let allowed = self.mentions.as_ref().map_or(json!({ "parse": [] }), Mentions::to_json);
        body.insert("allowed_mentions".to_owned(), allowed);
        Value::Object(body).to_string()
    }

    /// Every URL that it shows.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        // `/author/icon_url` and so on: as `embed_of` makes them.
        const OF_EMBED: [&str; 6] =
            ["/url", "/image/url", "/thumbnail/url", "/author/url", "/author/icon_url", "/footer/icon_url"];
        let of_embed = |embed| OF_EMBED.iter().filter_map(move |path| Value::pointer(embed, path)?.as_str());
        self.avatar_url.as_deref().into_iter().chain(self.embeds.iter().flat_map(of_embed))
    }

    /// About the bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let labels = self.username.as_ref().map_or(0, String::len) + self.urls().map(str::len).sum::<usize>();
        // A character has up to four bytes, and each text of an embed some around it.
        self.content.len() + self.embeds_chars * 4 + self.embeds.len() * 1024 + labels
    }
}

impl Mentions {
    /// Those of the hook's own text.
    fn of(template: Option<&Template>, content: &str) -> Mentions {
        let literal = |word: &str| template.is_some_and(|text| text.literals().any(|text| text.contains(word)));
        let mut mentions = Mentions { everyone: literal("@everyone") || literal("@here"), ..Mentions::default() };
        for (at, _) in content.match_indices("<@") {
            let backslashes = content.bytes().take(at).rev().take_while(|byte| *byte == b'\\').count();
            let is_escaped = backslashes % 2 == 1;
            let inner = content.get(at + 2..).and_then(|rest| rest.split_once('>')).map_or("", |(inner, _)| inner);
            let (list, number) = match inner.strip_prefix('&') {
                Some(role) => (&mut mentions.roles, role),
                None => (&mut mentions.users, inner.strip_prefix('!').unwrap_or(inner)),
            };
            let is_number = (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
            if is_number && !is_escaped && list.len() < MENTIONS_MAX && !list.iter().any(|known| known == number) {
                list.push(number.to_owned());
            }
        }
        mentions
    }

    /// Both together, if that is not too many.
    fn and(&self, other: &Mentions) -> Option<Mentions> {
        let union = |mine: &[String], theirs: &[String]| {
            let new = theirs.iter().filter(|name| !mine.contains(name));
            let both: Vec<String> = mine.iter().chain(new).cloned().collect();
            (both.len() <= MENTIONS_MAX).then_some(both)
        };
        Some(Mentions {
            // A value of the one must not be pinged because the other's text may.
            everyone: (self.everyone == other.everyone).then_some(self.everyone)?,
            users: union(&self.users, &other.users)?,
            roles: union(&self.roles, &other.roles)?,
        })
    }

    fn to_json(&self) -> Value {
        let parse: &[&str] = if self.everyone { &["everyone"] } else { &[] };
        json!({ "parse": parse, "users": self.users, "roles": self.roles })
    }

    /// The other way round. `Some(None)`: the hook lets nobody be pinged.
    fn from_json(json: &Value) -> Option<Option<Mentions>> {
        let list = |name: &str| {
            let names = json.get(name)?.as_array()?.iter();
            names.map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let parse = list("parse")?;
        if json.get("users").is_none() {
            return Some(None);
        }
        let everyone = parse.iter().any(|word| word == "everyone");
        Some(Some(Mentions { everyone, users: list("users")?, roles: list("roles")? }))
    }
}

/// The embeds of both, each of which is shown. Of embeds with one URL in one message Discord shows the first alone, with
/// the pictures of the others (<https://github.com/discord/discord-api-docs/issues/1418>): a fragment makes another URL
/// that leads to the same place. No URL of a hook has one. `None`: a URL has no room for it.
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

/// The characters of an embed that count for the limit of all embeds.
fn embed_chars(embed: &Value) -> usize {
    let chars = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, |text| text.chars().count());
    let of = |member: &str, name: &str| chars(embed.get(member).and_then(|member| member.get(name)));
    let fields = embed.get("fields").and_then(Value::as_array).into_iter().flatten();
    let fields: usize = fields.map(|field| chars(field.get("name")) + chars(field.get("value"))).sum();
    chars(embed.get("title")) + chars(embed.get("description")) + of("footer", "text") + of("author", "name") + fields
}

/// One embed of at most `budget` characters, which it takes off; `None` if nothing of it is left.
fn embed_of(embed: &Embed, fields: &Fields<'_>, budget: &mut usize) -> Result<Option<Value>, NoMessage> {
    let mut built = Map::new();
    if let Some(title) = text(embed.title.as_ref(), fields, TITLE_CHARS_MAX, budget)? {
        built.insert("title".to_owned(), json!(title));
    }
    if let Some(author) = label(embed.author.as_ref(), "name", fields, AUTHOR_CHARS_MAX, budget)? {
        built.insert("author".to_owned(), author);
    }
    if let Some(footer) = label(embed.footer.as_ref(), "text", fields, FOOTER_CHARS_MAX, budget)? {
        built.insert("footer".to_owned(), footer);
    }
    if let Some(description) = text(embed.description.as_ref(), fields, DESCRIPTION_CHARS_MAX, budget)? {
        built.insert("description".to_owned(), json!(description));
    }
    let rows = rows(&embed.fields, fields, budget)?;
    if !rows.is_empty() {
        built.insert("fields".to_owned(), Value::Array(rows));
    }
    for (name, picture) in [("image", &embed.image), ("thumbnail", &embed.thumbnail)] {
        if let Some(url) = url(picture.as_ref(), fields)? {
            built.insert(name.to_owned(), json!({ "url": url }));
        }
    }
    if built.is_empty() {
        return Ok(None);
    }
    if let Some(url) = url(embed.url.as_ref(), fields)? {
        built.insert("url".to_owned(), json!(url));
    }
    if let Some(color) = embed.color {
        built.insert("color".to_owned(), json!(color));
    }
    if embed.timestamp {
        built.insert("timestamp".to_owned(), json!(date::iso8601(fields.unix_ms)));
    }
    Ok(Some(Value::Object(built)))
}

/// The fields of an embed, as many as the budget allows.
fn rows(templates: &[EmbedField], fields: &Fields<'_>, budget: &mut usize) -> Result<Vec<Value>, RenderError> {
    let mut rows = Vec::new();
    for field in templates {
        // Discord wants both; what is empty gets a space that does not show.
        let filled = |text: Option<String>| text.unwrap_or_else(|| "\u{200b}".to_owned());
        if *budget < 2 {
            break;
        }
        // One character is left for the value.
        let mut for_name = *budget - 1;
        let name = filled(text(Some(&field.name), fields, FIELD_NAME_CHARS_MAX, &mut for_name)?);
        *budget = budget.saturating_sub(name.chars().count());
        let mut for_value = *budget;
        let value = filled(text(Some(&field.value), fields, FIELD_VALUE_CHARS_MAX, &mut for_value)?);
        *budget = budget.saturating_sub(value.chars().count());
        rows.push(json!({ "name": name, "value": value, "inline": field.inline }));
    }
    Ok(rows)
}

/// A text of an embed, cut to its own limit and to what is left for all; `None` if it is empty.
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

fn label(
    label: Option<&Label>,
    name: &str,
    fields: &Fields<'_>,
    chars_max: usize,
    budget: &mut usize,
) -> Result<Option<Value>, NoMessage> {
    let Some(label) = label else { return Ok(None) };
    let Some(text) = text(Some(&label.text), fields, chars_max, budget)? else { return Ok(None) };
    let mut built = Map::new();
    built.insert(name.to_owned(), json!(text));
    for (name, link) in [("icon_url", &label.icon_url), ("url", &label.url)] {
        if let Some(url) = url(link.as_ref(), fields)? {
            built.insert(name.to_owned(), json!(url));
        }
    }
    Ok(Some(Value::Object(built)))
}

/// `None` without a template, and for a URL that is too long for Discord.
fn url(template: Option<&UrlTemplate>, fields: &Fields<'_>) -> Result<Option<String>, UrlError> {
    match template.map(|template| template.render(fields)) {
        None | Some(Err(UrlError::TooLong { .. } | UrlError::Render(RenderError::TooLong { .. }))) => Ok(None),
        Some(Err(err)) => Err(err),
        // A URL is ASCII.
        Some(Ok(url)) => Ok(Some(url.reveal()).filter(|url| url.len() <= URL_CHARS_MAX)),
    }
}

/// Discord takes off white space and control characters at both ends, and refuses what is empty then.
fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || character.is_control())
}

/// At most so many characters; a longer text ends in `…`, never in the middle of an escape, and code marks that the cut
/// would open are closed: a value between them is not escaped.
fn cut(mut text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    let byte_of = |text: &str, chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
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
    let backslashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if backslashes % 2 == 1 && end.is_empty() {
        text.pop();
    }
    if chars_max > 0 {
        text.push('…');
    }
    text + &end
}

/// Why an event makes no message.
#[derive(Debug, PartialEq)]
pub(crate) enum NoMessage {
    Url(UrlError),
    Unmade(RenderError),
    Empty,
}

impl From<UrlError> for NoMessage {
    fn from(err: UrlError) -> NoMessage {
        NoMessage::Url(err)
    }
}

impl From<RenderError> for NoMessage {
    fn from(unmade: RenderError) -> NoMessage {
        NoMessage::Unmade(unmade)
    }
}

impl fmt::Display for NoMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoMessage::Url(err) => write!(f, "a url of the message {err}"),
            NoMessage::Unmade(unmade) => write!(f, "the message cannot be made: {unmade}"),
            NoMessage::Empty => f.write_str("the message would be empty"),
        }
    }
}

#[cfg(test)]
mod tests;
