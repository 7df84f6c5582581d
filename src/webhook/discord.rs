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

use serde_json::Value;

use crate::hooks::request::discord::{CONTENT_CHARS_MAX, Discord, EMBEDS_CHARS_MAX, THREAD_NAME_CHARS_MAX};
use crate::hooks::sender_name;
use crate::hooks::template::{Fields, Template, markdown};
use crate::hooks::url::is_id;
use crate::json::writer::Writer;
use crate::webhook::embed::{Making, NoMessage, URL_CHARS_MAX, cut, is_blank, without_urls};

/// Most embeds of one message.
const EMBEDS_MAX: usize = 10;
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
    /// The title of the forum's post that the message begins.
    thread_name: Option<String>,
    /// The tags of that post.
    applied_tags: Vec<String>,
    flags: u64,
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
    /// `left_out` gets a sentence for each part that the event should give and does not; the message goes without it.
    pub(crate) fn of(discord: &Discord, fields: &Fields<'_>, left_out: &mut Vec<String>) -> Result<Message, NoMessage> {
        let mut making = Making { fields, budget: EMBEDS_CHARS_MAX, left_out };
        let content = discord.content.as_ref().map_or(Ok(String::new()), |content| content.render_text(fields))?;
        let content = cut(content, CONTENT_CHARS_MAX);
        let embed = discord.embed.as_deref().map(|embed| making.embed(embed)).transpose()?.flatten();
        let content = if is_blank(&content) { String::new() } else { content };
        if content.is_empty() && embed.is_none() {
            return Err(NoMessage::Empty);
        }
        let rendered = |text: &Option<Template>| text.as_ref().map(|text| text.render_text(fields)).transpose();
        let thread_name = rendered(&discord.thread_name)?;
        Ok(Message {
            mentions: discord.allow_mentions.then(|| Mentions::of(discord.content.as_ref(), &content)),
            content,
            embeds: embed.into_iter().collect(),
            username: rendered(&discord.username)?.and_then(|name| sender_name::repaired(&name)),
            avatar_url: making.url("avatar_url", discord.avatar_url.as_deref())?,
            // A forum takes no post without a title.
            thread_name: thread_name
                .map(|name| sender_name::title(&name, THREAD_NAME_CHARS_MAX).unwrap_or_else(|| "?".to_owned())),
            applied_tags: discord.applied_tags.clone(),
            flags: discord.flags,
            embeds_chars: EMBEDS_CHARS_MAX - making.budget,
        })
    }

    /// Merges a later message to the same destination into this one. Returns false, and changes nothing, if one message
    /// cannot show both as they are: too long, other sender, other flags or rights to ping, posts of a forum, or an open mark
    /// or quote.
    pub(crate) fn merge(&mut self, next: &Message) -> bool {
        let (one, other) = (self.content.chars().count(), next.content.chars().count());
        let joint = usize::from(one > 0 && other > 0);
        let fits = one + joint + other <= CONTENT_CHARS_MAX
            && self.embeds.len() + next.embeds.len() <= EMBEDS_MAX
            && self.embeds_chars + next.embeds_chars <= EMBEDS_CHARS_MAX;
        let same = self.username == next.username && self.avatar_url == next.avatar_url && self.flags == next.flags;
        let same = same && self.thread_name.is_none() && next.thread_name.is_none();
        let mentions = match (&self.mentions, &next.mentions) {
            (None, None) => None,
            (Some(mine), Some(theirs)) => match mine.and(theirs) {
                Some(both) => Some(both),
                None => return false,
            },
            _ => return false,
        };
        // An open mark of this message would pair with one of the next, and an open quote would contain all of it.
        if !fits || !same || markdown::is_open(&self.content) {
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

    /// Takes off the name and the picture of the sender: Discord shows those of the webhook then. False if it has none.
    pub(crate) fn forget_sender(&mut self) -> bool {
        [self.username.take(), self.avatar_url.take()].iter().any(Option::is_some)
    }

    /// Takes the pictures and links off the embeds. False, and nothing changes, if they have none, or if the message would
    /// show nothing.
    pub(crate) fn forget_urls(&mut self) -> bool {
        let embeds: Vec<Value> = self.embeds.iter().filter_map(without_urls).collect();
        if embeds == self.embeds || self.content.is_empty() && embeds.is_empty() {
            return false;
        }
        self.embeds = embeds;
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
        let tags = body.get("applied_tags").and_then(Value::as_array).into_iter().flatten();
        Some(Message {
            content,
            embeds_chars: embeds.iter().map(embed_chars).sum(),
            embeds,
            username: text("username"),
            avatar_url: text("avatar_url"),
            thread_name: text("thread_name"),
            applied_tags: tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
            flags: body.get("flags").and_then(Value::as_u64).unwrap_or(0),
            mentions: Mentions::from_json(body.get("allowed_mentions")?)?,
        })
    }

    /// The JSON of the request's body.
    pub(crate) fn body(&self) -> String {
        let mut body = Writer::default();
        body.open(b'{');
        Mentions::write(self.mentions.as_ref(), body.name("allowed_mentions"));
        let content = Some(&self.content).filter(|content| !content.is_empty());
        for (name, text) in [
            ("avatar_url", self.avatar_url.as_ref()),
            ("content", content),
            ("thread_name", self.thread_name.as_ref()),
            ("username", self.username.as_ref()),
        ] {
            if let Some(text) = text {
                body.name(name).text(text.as_bytes());
            }
        }
        if !self.embeds.is_empty() {
            body.name("embeds").open(b'[');
            self.embeds.iter().for_each(|embed| body.shown(embed));
            body.close(b']');
        }
        if !self.applied_tags.is_empty() {
            body.name("applied_tags").texts(&self.applied_tags);
        }
        if self.flags != 0 {
            body.name("flags").shown(&self.flags);
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
        let names = [&self.username, &self.thread_name].into_iter().flatten().chain(&self.applied_tags);
        let labels = names.map(String::len).chain(self.urls().iter().map(|url| url.len())).sum::<usize>();
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
            if is_id(number) && !is_escaped && list.len() < MENTIONS_MAX && !list.iter().any(|known| known == number) {
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

#[cfg(test)]
mod tests;
