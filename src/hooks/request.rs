//! The two actions that send requests, `discord` and `http`: their members, parsed and checked.
//! Parsed on the game thread, rendered on `rt-webhooks` (`webhook/discord.rs`, `webhook/http.rs`); pure.
//! Holds secrets: `Debug` masks URLs and header values. A text without placeholders that Discord would refuse is
//! refused here, when the script can still see the error; a text with placeholders is cut when it is rendered.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::config::Secret;
use crate::config::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX};
use crate::hooks::color::Color;
use crate::hooks::delivery::{Batch, Retries, seconds};
use crate::hooks::error::SpecError;
use crate::hooks::members::{COMMON, Members, describe};
use crate::hooks::sender_name::{self, NAME_CHARS_MAX};
use crate::hooks::signature::{self, SECRETS_MAX, SIGNATURE, Signing, TIMESTAMP};
use crate::hooks::template::body::Syntax;
use crate::hooks::template::{Context, Template};
use crate::hooks::url::{ShownUrl, Url, UrlTemplate, is_id};

/// Most headers of one request. Each is rendered for every event.
const HEADERS_MAX: usize = 32;

/// A request that is sent for an event.
#[derive(Debug)]
pub enum Webhook {
    Discord(Box<Discord>),
    Http(Http),
}

impl Webhook {
    /// The value of `type` in the spec.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Webhook::Discord(_) => "discord",
            Webhook::Http(_) => "http",
        }
    }
}

/// A message to a Discord webhook: <https://docs.discord.com/developers/resources/webhook#execute-webhook>. At least
/// one of `content` and `embed` is there, as Discord refuses an empty message.
#[derive(Debug)]
pub struct Discord {
    /// The webhook. It takes no placeholders: an event must not choose the destination.
    pub(crate) url: Url,
    /// The text of the message, `format` or `message` in the spec.
    pub(crate) content: Option<Template>,
    pub(crate) embed: Option<Box<Embed>>,
    /// The name that Discord shows as the author of the message (`sender_name.rs`).
    pub(crate) username: Option<Template>,
    pub(crate) avatar_url: Option<Box<ShownUrl>>,
    /// Mentions in the hook's own text may ping. Mentions in values never do.
    pub(crate) allow_mentions: bool,
    /// Each message begins a post of a forum, with this title.
    pub(crate) thread_name: Option<Template>,
    /// The ids of that post's tags.
    pub(crate) applied_tags: Vec<String>,
    /// [`SILENT`] and [`SUPPRESS_EMBEDS`].
    pub(crate) flags: u64,
    pub(crate) retries: Retries,
}

// Bits of `flags`: <https://docs.discord.com/developers/resources/message#message-object-message-flags>.
/// Discord shows no previews of the links in the message.
pub(crate) const SUPPRESS_EMBEDS: u64 = 1 << 2;
/// Nobody's device makes a sound or shows a notification.
pub(crate) const SILENT: u64 = 1 << 12;

/// The box below a message: <https://docs.discord.com/developers/resources/message#embed-object>.
#[derive(Debug, Default)]
pub(crate) struct Embed {
    pub(crate) title: Option<Template>,
    pub(crate) description: Option<Template>,
    pub(crate) url: Option<Box<ShownUrl>>,
    pub(crate) color: Option<Color>,
    pub(crate) fields: Vec<EmbedField>,
    pub(crate) footer: Option<Box<Label>>,
    pub(crate) author: Option<Box<Label>>,
    pub(crate) image: Option<Box<ShownUrl>>,
    pub(crate) thumbnail: Option<Box<ShownUrl>>,
    /// The embed shows the time at which this server received the event.
    pub(crate) timestamp: bool,
}

/// A name with a value, in a list or, if `inline`, in columns.
#[derive(Debug)]
pub(crate) struct EmbedField {
    pub(crate) name: Template,
    pub(crate) value: Template,
    pub(crate) inline: bool,
}

/// A footer or an author: a text with a small picture. Discord shows it as it is, without markdown.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) text: Template,
    pub(crate) icon_url: Option<Box<ShownUrl>>,
    /// The link of an author. A footer has none.
    pub(crate) url: Option<Box<ShownUrl>>,
}

/// A request to any HTTP server.
#[derive(Debug)]
pub struct Http {
    pub(crate) url: Box<UrlTemplate>,
    pub(crate) method: &'static str,
    /// Names as the script wrote them, each only once whatever its letter case.
    pub(crate) headers: Vec<(Box<str>, HeaderValue)>,
    pub(crate) body: HttpBody,
    /// The member `secret`.
    pub(crate) signing: Signing,
    /// From the look-up of the name to the last byte of the response's head.
    pub(crate) timeout: Duration,
    pub(crate) retries: Retries,
    /// `None`: one request for each event.
    pub(crate) batch: Option<Batch>,
}

/// The value of a header. It may be a secret, so `Debug` shows nothing of it.
pub(crate) struct HeaderValue(pub(crate) Template);

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum HttpBody {
    /// The method has no body.
    None,
    /// The event's own JSON, without its identity (`_rt`): `format = "json"`, the default of methods with a body.
    Event,
    /// The text `format` with its placeholders filled in.
    Template(Template),
}

// The limits of Discord: <https://docs.discord.com/developers/resources/message#embed-object-embed-limits> and
// <https://docs.discord.com/developers/resources/webhook#execute-webhook>. Discord counts code points:
// <https://github.com/discord/discord-api-docs/issues/1315>.
/// Longest text of a message.
pub(crate) const CONTENT_CHARS_MAX: usize = 2000;
pub(crate) const TITLE_CHARS_MAX: usize = 256;
pub(crate) const DESCRIPTION_CHARS_MAX: usize = 4096;
pub(crate) const FIELD_NAME_CHARS_MAX: usize = 256;
pub(crate) const FIELD_VALUE_CHARS_MAX: usize = 1024;
pub(crate) const FOOTER_CHARS_MAX: usize = 2048;
pub(crate) const AUTHOR_CHARS_MAX: usize = 256;
/// All texts of all embeds of a message together.
pub(crate) const EMBEDS_CHARS_MAX: usize = 6000;
const FIELDS_MAX: usize = 25;
/// Longest title of a forum's post.
pub(crate) const THREAD_NAME_CHARS_MAX: usize = 100;
/// Most tags of a forum's post.
pub(crate) const TAGS_MAX: usize = 5;

const METHODS: [&str; 6] = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"];

/// Headers that the client itself writes: for the connection and the framing of the body (RFC 9112), and `webhook-id`,
/// which is equal for all attempts at one request, so that its receiver can deduplicate.
const OWN_HEADERS: [&str; 9] =
    ["connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade", "webhook-id"];

/// The members of an action of type `discord`.
pub(crate) fn discord(members: &Members<'_>) -> Result<Box<Discord>, SpecError> {
    let own = "webhook_url webhook format message embed username avatar_url allow_mentions thread_name thread_id \
        applied_tags silent suppress_embeds retry_for attempts";
    members.only(&COMMON, &own.split_ascii_whitespace().collect::<Vec<_>>())?;
    message(members)
}

/// The members of a message to Discord. Other members are not looked at.
pub(crate) fn message(members: &Members<'_>) -> Result<Box<Discord>, SpecError> {
    let (url_name, url) = members.either("webhook_url", "webhook")?.ok_or_else(|| members.missing("webhook_url"))?;
    let content = members.either("format", "message")?;
    // Filled in place, as the other large tables are: what was read is dropped in one place if the next member is wrong.
    let mut discord = Box::new(Discord {
        url: members.url(url_name, url)?,
        content: None,
        embed: None,
        username: None,
        avatar_url: None,
        allow_mentions: false,
        thread_name: None,
        applied_tags: Vec::new(),
        flags: 0,
        retries: Retries::parse(members)?,
    });
    let content_name = content.map_or("format", |(name, _)| name);
    discord.content = text(members, content_name, Context::Markdown, CONTENT_CHARS_MAX)?;
    if let Some(members) = members.table("embed", "a table of an embed's members")? {
        read_embed(&members, discord.embed.insert(Box::default()))?;
    }
    discord.username = username_of(members)?;
    discord.avatar_url = members.shown_url("avatar_url")?;
    discord.allow_mentions = members.switch("allow_mentions")?.unwrap_or(false);
    read_thread(members, &mut discord)?;
    for (name, flag) in [("silent", SILENT), ("suppress_embeds", SUPPRESS_EMBEDS)] {
        discord.flags |= if members.switch(name)?.unwrap_or(false) { flag } else { 0 };
    }
    if discord.embed.is_some() && discord.flags & SUPPRESS_EMBEDS != 0 {
        return Err(members.error("suppress_embeds", format_args!("would hide the hook's own `embed` too")));
    }
    match (&discord.content, &discord.embed) {
        (None, None) => {
            Err(members.error("format", format_args!("is missing, and so is `embed`: at least one is required")))
        }
        (Some(text), None) if !text.has_placeholders() && text.literals().all(|text| text.trim().is_empty()) => {
            Err(members.error(content_name, format_args!("is empty")))
        }
        _ => Ok(discord),
    }
}

/// The name that Discord shows as the author of the message. A fixed name that Discord refuses is an error; a name with
/// placeholders is repaired for each event.
fn username_of(members: &Members<'_>) -> Result<Option<Template>, SpecError> {
    let name = title(members, "username", NAME_CHARS_MAX)?;
    let fixed = name.as_ref().filter(|name| !name.has_placeholders());
    if let Some(word) = fixed.and_then(|name| name.literals().find_map(sender_name::refused)) {
        let found = format_args!("Discord refuses the word `{word}` in the name of a webhook");
        return Err(members.error("username", found));
    }
    Ok(name)
}

/// A text of one line that Discord shows unchanged. A fixed one must show something.
fn title(members: &Members<'_>, name: &str, chars_max: usize) -> Result<Option<Template>, SpecError> {
    let title = text(members, name, Context::Plain, chars_max)?;
    if title.is_some() && members.text(name)?.and_then(|text| sender_name::title(text, chars_max)).is_none() {
        return Err(members.error(name, format_args!("is empty")));
    }
    Ok(title)
}

/// The members about the thread or the forum's post to which a message goes:
/// <https://docs.discord.com/developers/resources/webhook#execute-webhook>.
fn read_thread(members: &Members<'_>, discord: &mut Discord) -> Result<(), SpecError> {
    discord.thread_name = title(members, "thread_name", THREAD_NAME_CHARS_MAX)?;
    let thread_id = id("thread_id", members, members.get("thread_id"))?;
    if thread_id.is_some() || discord.thread_name.is_some() {
        let name = if thread_id.is_some() { "thread_id" } else { "thread_name" };
        if thread_id.is_some() && discord.thread_name.is_some() {
            let found = "is a thread that exists, and `thread_name` begins a new one: use one of them";
            return Err(members.error(name, format_args!("{found}")));
        }
        if discord.url.asks_for("thread_id") {
            return Err(members.error(name, format_args!("the URL of the webhook names a thread already")));
        }
    }
    if let Some(id) = thread_id {
        discord.url = discord.url.with_query(&format!("thread_id={id}"));
    }
    for tag in members.list("applied_tags", 0..=TAGS_MAX)?.unwrap_or_default() {
        discord.applied_tags.extend(id("applied_tags", members, Some(tag))?.map(str::to_owned));
    }
    if !discord.applied_tags.is_empty() && discord.thread_name.is_none() {
        return Err(members.error("applied_tags", format_args!("are the tags of a new post, and need `thread_name`")));
    }
    Ok(())
}

/// An id of Discord: up to 20 digits in a string.
fn id<'a>(name: &str, members: &Members<'_>, value: Option<&'a Value>) -> Result<Option<&'a str>, SpecError> {
    match value {
        None => Ok(None),
        Some(Value::String(id)) if is_id(id) => Ok(Some(id)),
        Some(Value::Number(_)) => {
            let found = "expected an id in quotes: a number of Lua does not hold all its digits";
            Err(members.error(name, format_args!("{found}")))
        }
        Some(Value::String(_)) => Err(members.error(name, format_args!("expected an id, which has digits only"))),
        Some(other) => Err(members.error(name, format_args!("expected an id in quotes, found {}", describe(other)))),
    }
}

/// A text for Discord. Refused if it is without placeholders and longer than Discord's limit; a text with placeholders is
/// cut when it is rendered.
fn text(members: &Members<'_>, name: &str, context: Context, chars_max: usize) -> Result<Option<Template>, SpecError> {
    let template = members.template_at(name, context)?;
    let chars = template.as_ref().map_or(0, fixed_chars);
    if chars > chars_max {
        return Err(members.error(name, format_args!("has {chars} characters, Discord takes {chars_max}")));
    }
    Ok(template)
}

/// A text for Discord that must be there.
fn needed(members: &Members<'_>, name: &str, context: Context, chars_max: usize) -> Result<Template, SpecError> {
    text(members, name, context, chars_max)?.ok_or_else(|| members.missing(name))
}

/// The length of a text without placeholders, in code points. 0 for a text with placeholders: it is not known yet.
fn fixed_chars(template: &Template) -> usize {
    if template.has_placeholders() { 0 } else { template.literals().map(|text| text.chars().count()).sum() }
}

/// The table `embed`. Discord refuses an embed that shows nothing, and one whose texts are too long together.
fn read_embed(members: &Members<'_>, embed: &mut Embed) -> Result<(), SpecError> {
    let own = ["title", "description", "url", "color", "fields", "footer", "author", "image", "thumbnail", "timestamp"];
    members.only(&[], &own)?;
    embed.title = text(members, "title", Context::Markdown, TITLE_CHARS_MAX)?;
    embed.description = text(members, "description", Context::Markdown, DESCRIPTION_CHARS_MAX)?;
    embed.url = members.shown_url("url")?;
    embed.color = Color::read(members, "color")?;
    read_fields(members, &mut embed.fields)?;
    embed.footer = label(members, "footer", &["text", "icon_url"], FOOTER_CHARS_MAX)?;
    embed.author = label(members, "author", &["name", "icon_url", "url"], AUTHOR_CHARS_MAX)?;
    embed.image = picture(members, "image")?;
    embed.thumbnail = picture(members, "thumbnail")?;
    embed.timestamp = members.switch("timestamp")?.unwrap_or(false);
    let labels = [&embed.footer, &embed.author].map(|label| label.as_ref().map(|label| &label.text));
    let texts = [embed.title.as_ref(), embed.description.as_ref()].into_iter().chain(labels).flatten();
    let mut chars: usize = texts.map(fixed_chars).sum();
    for field in &embed.fields {
        chars += fixed_chars(&field.name) + fixed_chars(&field.value);
    }
    if chars > EMBEDS_CHARS_MAX {
        let found = format_args!("has {chars} characters, Discord takes {EMBEDS_CHARS_MAX} in one embed");
        return Err(members.error("description", found));
    }
    let shows = embed.title.is_some()
        || embed.description.is_some()
        || !embed.fields.is_empty()
        || embed.footer.is_some()
        || embed.author.is_some()
        || embed.image.is_some()
        || embed.thumbnail.is_some();
    if !shows {
        return Err(members.error("description", format_args!("is missing, and the embed would show nothing")));
    }
    Ok(())
}

/// The list `fields` of an embed.
fn read_fields(members: &Members<'_>, fields: &mut Vec<EmbedField>) -> Result<(), SpecError> {
    let list = members.list("fields", 0..=FIELDS_MAX)?.unwrap_or_default();
    for (at, value) in list.iter().enumerate() {
        let field = members.entry("fields", at, value, "a table with `name` and `value`")?;
        field.only(&[], &["name", "value", "inline"])?;
        let name = needed(&field, "name", Context::Markdown, FIELD_NAME_CHARS_MAX)?;
        let value = needed(&field, "value", Context::Markdown, FIELD_VALUE_CHARS_MAX)?;
        fields.push(EmbedField { name, value, inline: field.switch("inline")?.unwrap_or(false) });
    }
    Ok(())
}

/// `footer = "text"` or `footer = {text = "text", icon_url = ...}`. The first name in `own` is that of the text.
fn label(members: &Members<'_>, name: &str, own: &[&str], chars_max: usize) -> Result<Option<Box<Label>>, SpecError> {
    if let Some(Value::String(_)) = members.get(name) {
        let text = needed(members, name, Context::Plain, chars_max)?;
        return Ok(Some(Box::new(Label { text, icon_url: None, url: None })));
    }
    let Some(label) = members.table(name, "a string, or a table of its members")? else { return Ok(None) };
    label.only(&[], own)?;
    let text = needed(&label, own.first().copied().unwrap_or_default(), Context::Plain, chars_max)?;
    let mut read = Box::new(Label { text, icon_url: None, url: None });
    read.icon_url = label.shown_url("icon_url")?;
    read.url = label.shown_url("url")?;
    Ok(Some(read))
}

/// `image = "https://..."` or `image = {url = "https://..."}`.
fn picture(members: &Members<'_>, name: &str) -> Result<Option<Box<ShownUrl>>, SpecError> {
    if let Some(Value::String(_)) = members.get(name) {
        return members.shown_url(name);
    }
    let Some(picture) = members.table(name, "a URL, or a table with `url`")? else { return Ok(None) };
    picture.only(&[], &["url"])?;
    if picture.get("url").is_none() { Err(picture.missing("url")) } else { picture.shown_url("url") }
}

/// The members of an action of type `http`.
pub(crate) fn http(members: &Members<'_>) -> Result<Http, SpecError> {
    let own = ["url", "method", "headers", "format", "secret", "timeout", "retry_for", "attempts", "batch"];
    members.only(&COMMON, &own)?;
    let url = members.url_template("url", members.needed_text("url")?)?;
    let method = members.word("method", &METHODS)?.unwrap_or("POST");
    let signing = signing(members)?;
    let headers = headers(members, !signing.is_empty())?;
    let (body, batch) = bodies(members, method)?;
    let (timeout, retries) = (timeout(members)?, Retries::parse(members)?);
    Ok(Http { url, method, headers, body, signing, timeout, retries, batch })
}

/// Whether requests of this method carry a body. A server may refuse or ignore one of the others:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.1>.
pub(crate) fn has_body(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD")
}

/// The member `secret`: one secret, or a list of them.
fn signing(members: &Members<'_>) -> Result<Signing, SpecError> {
    let secrets = match members.get("secret") {
        None => return Ok(Signing::default()),
        Some(one @ Value::String(_)) => std::slice::from_ref(one),
        Some(Value::Array(_)) => members.list("secret", 1..=SECRETS_MAX)?.unwrap_or_default(),
        Some(other) => {
            let found = describe(other);
            return Err(members.error("secret", format_args!("expected a string or a list of strings, found {found}")));
        }
    };
    let mut read = Vec::new();
    for (at, secret) in secrets.iter().enumerate() {
        let name = if secrets.len() == 1 { "secret".to_owned() } else { format!("secret[{}]", at + 1) };
        let Value::String(secret) = secret else {
            return Err(members.error(&name, format_args!("expected a string, found {}", describe(secret))));
        };
        signature::check(secret).map_err(|found| members.error(&name, format_args!("{found}")))?;
        read.push(Secret::new(secret.clone()));
    }
    Ok(Signing::new(read))
}

/// The syntax of the body according to the hook's own header `Content-Type`. `None`: the hook has no such header.
fn syntax(members: &Members<'_>) -> Result<Option<Syntax>, SpecError> {
    let Some(table) = members.table("headers", HEADERS)? else { return Ok(None) };
    let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let Some((name, Value::String(value))) = table.iter().find(|(name, _)| is_type(name)) else { return Ok(None) };
    // The syntax decides how values are escaped, so no value may choose the syntax.
    table.no_template(name, value)?;
    Syntax::of(value).map(Some).map_err(|found| table.error(name, format_args!("{found}")))
}

/// The members `format` and `batch`.
fn bodies(members: &Members<'_>, method: &str) -> Result<(HttpBody, Option<Batch>), SpecError> {
    if !has_body(method) {
        return match ["format", "batch"].iter().find(|name| members.get(name).is_some()) {
            None => Ok((HttpBody::None, None)),
            Some(name) => {
                let found = format_args!("needs a body, and a {method} request has none: use `url` or `headers`");
                Err(members.error(name, found))
            }
        };
    }
    let syntax = syntax(members)?;
    let is_template = members.text("format")?.is_some_and(|text| text != "json");
    let batch = Batch::parse(members, syntax, is_template)?;
    let of_one = if batch.is_some() && is_template { Some(Batch::syntax(syntax)) } else { syntax };
    Ok((body(members, of_one)?, batch))
}

/// The member `format`. A text without a placeholder is refused: its body would be the same for every event.
fn body(members: &Members<'_>, syntax: Option<Syntax>) -> Result<HttpBody, SpecError> {
    let text = match members.text("format")? {
        // A receiver that reads a form or markup could take a value of the JSON for a part of its syntax.
        None | Some("json") if syntax.is_some_and(Syntax::misreads_json) => {
            let found = "is JSON, but the Content-Type says otherwise: expected a text with placeholders like {killer}";
            return Err(members.error("format", format_args!("{found}")));
        }
        None | Some("json") => return Ok(HttpBody::Event),
        Some(text) => text,
    };
    let template = members.template("format", text, Context::Body(syntax))?;
    if !template.has_placeholders() {
        let found = "expected \"json\", or a text with at least one placeholder like {killer}";
        return Err(members.error("format", format_args!("{found}")));
    }
    Ok(HttpBody::Template(template))
}

/// The member `timeout`, in seconds.
fn timeout(members: &Members<'_>) -> Result<Duration, SpecError> {
    let range = 0.1..=REQUEST_TIMEOUT_MAX.as_secs_f64();
    Ok(seconds(members, "timeout", &range)?.unwrap_or(REQUEST_TIMEOUT))
}

/// The description of the table `headers`, for errors.
const HEADERS: &str = "a table of names and values";

/// The table `headers`. Neither a name nor a value can end its line and begin another header, and no header appears
/// twice: <https://www.rfc-editor.org/rfc/rfc9110#section-5.3>. `is_signed` reserves the headers of a signature.
fn headers(members: &Members<'_>, is_signed: bool) -> Result<Vec<(Box<str>, HeaderValue)>, SpecError> {
    let Some(table) = members.table("headers", HEADERS)? else { return Ok(Vec::new()) };
    let mut headers: Vec<(Box<str>, HeaderValue)> = Vec::new();
    for (name, value) in table.iter() {
        let wrong = |found: fmt::Arguments<'_>| Err(table.error(name, found));
        if name.is_empty() || !name.bytes().all(is_token) {
            return wrong(format_args!("is not a valid header name"));
        }
        let is_own = |own: &&str| own.eq_ignore_ascii_case(name);
        if OWN_HEADERS.iter().any(is_own) || is_signed && [&TIMESTAMP, &SIGNATURE].into_iter().any(is_own) {
            return wrong(format_args!("is set by the module itself"));
        }
        if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return wrong(format_args!("appears twice, in different letter case"));
        }
        let value = match value {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            other => return wrong(format_args!("expected a string, found {}", describe(other))),
        };
        let context = if name.eq_ignore_ascii_case("cookie") { Context::Cookie } else { Context::Header };
        let template = table.template(name, &value, context)?;
        // Receivers strip white space at both ends (RFC 9110, 5.5): the value would not arrive as it was written.
        if value.trim_ascii() != value {
            return wrong(format_args!("begins or ends with white space"));
        }
        for text in template.literals() {
            match text.chars().find(|character| !matches!(character, ' '..='~' | '\t')) {
                // A line break would end the header and begin another.
                Some('\r' | '\n') => return wrong(format_args!("contains a line break")),
                Some(found) if found.is_ascii() => {
                    return wrong(format_args!("contains the control character {found:?}"));
                }
                // Other characters have no encoding that both ends agree on (RFC 9110, 5.5).
                Some(_) => return wrong(format_args!("contains a character that is not ASCII")),
                None => {}
            }
        }
        headers.push((name.as_str().into(), HeaderValue(template)));
    }
    if headers.len() > HEADERS_MAX {
        let found = format_args!("has {} headers, {HEADERS_MAX} are allowed", headers.len());
        return Err(members.error("headers", found));
    }
    Ok(headers)
}

/// True for a byte of a header's name (`tchar`): <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
