//! The two actions that send requests, `discord` and `http`: their members, parsed and checked.
//! Parsed on the game thread, rendered on `rt-webhooks` (`webhook/discord.rs`, `webhook/http.rs`); pure.
//! Holds secrets: `Debug` masks URLs and header values. A text without placeholders that Discord would refuse is
//! refused here, when the script can still see the error; a text with placeholders is cut when it is rendered.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::config::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX};
use crate::hooks::delivery::{Batch, Retries, seconds};
use crate::hooks::error::SpecError;
use crate::hooks::members::{COMMON, Members, describe};
use crate::hooks::template::body::Syntax;
use crate::hooks::template::{Context, Template};
use crate::hooks::url::{Url, UrlTemplate};

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
    pub(crate) username: Option<String>,
    pub(crate) avatar_url: Option<Box<UrlTemplate>>,
    /// Mentions in the hook's own text may ping. Mentions in values never do.
    pub(crate) allow_mentions: bool,
    pub(crate) retries: Retries,
}

/// The box below a message: <https://docs.discord.com/developers/resources/message#embed-object>.
#[derive(Debug, Default)]
pub(crate) struct Embed {
    pub(crate) title: Option<Template>,
    pub(crate) description: Option<Template>,
    pub(crate) url: Option<Box<UrlTemplate>>,
    pub(crate) color: Option<u32>,
    pub(crate) fields: Vec<EmbedField>,
    pub(crate) footer: Option<Box<Label>>,
    pub(crate) author: Option<Box<Label>>,
    pub(crate) image: Option<Box<UrlTemplate>>,
    pub(crate) thumbnail: Option<Box<UrlTemplate>>,
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
    pub(crate) icon_url: Option<Box<UrlTemplate>>,
    /// The link of an author. A footer has none.
    pub(crate) url: Option<Box<UrlTemplate>>,
}

/// A request to any HTTP server.
#[derive(Debug)]
pub struct Http {
    pub(crate) url: Box<UrlTemplate>,
    pub(crate) method: &'static str,
    /// Names as the script wrote them, each only once whatever its letter case.
    pub(crate) headers: Vec<(Box<str>, HeaderValue)>,
    pub(crate) body: HttpBody,
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
    /// The event's own JSON, without its identity (`_rt`). The default, and `format = "json"`.
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
const USERNAME_CHARS_MAX: usize = 80;
/// White, in 24 bits of red, green and blue.
const COLOR_MAX: u64 = 0xff_ffff;

const METHODS: [&str; 6] = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"];

/// Headers that the client itself writes: for the connection and the framing of the body (RFC 9112), and `webhook-id`,
/// which is equal for all attempts at one request, so that its receiver can deduplicate.
const OWN_HEADERS: [&str; 9] =
    ["connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade", "webhook-id"];

/// The members of an action of type `discord`.
pub(crate) fn discord(members: &Members<'_>) -> Result<Box<Discord>, SpecError> {
    let own = ["webhook_url", "webhook", "format", "message", "embed", "username", "avatar_url", "allow_mentions"];
    members.only(&[&COMMON[..], &["retry_for", "attempts"]].concat(), &own)?;
    let (url_name, url) = members.either("webhook_url", "webhook")?.ok_or_else(|| members.missing("webhook_url"))?;
    let content = members.either("format", "message")?;
    let url = members.url(url_name, url)?;
    let (embed, username, avatar_url, allow_mentions) = (None, None, None, false);
    let retries = Retries::parse(members)?;
    // Filled in place, as the other large tables are: what was read is dropped in one place if the next member is wrong.
    let mut discord = Box::new(Discord { url, content: None, embed, username, avatar_url, allow_mentions, retries });
    let content_name = content.map_or("format", |(name, _)| name);
    discord.content = text(members, content_name, Context::Markdown, CONTENT_CHARS_MAX)?;
    if let Some(members) = members.table("embed", "a table of an embed's members")? {
        read_embed(&members, discord.embed.insert(Box::default()))?;
    }
    discord.username = username_of(members)?;
    discord.avatar_url = members.url_at("avatar_url")?;
    discord.allow_mentions = members.switch("allow_mentions")?.unwrap_or(false);
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

/// The name that Discord shows as the author of the message.
fn username_of(members: &Members<'_>) -> Result<Option<String>, SpecError> {
    let Some(name) = members.text("username")? else { return Ok(None) };
    if name.trim().is_empty() {
        return Err(members.error("username", format_args!("is empty")));
    }
    if name.chars().count() > USERNAME_CHARS_MAX {
        return Err(members.error("username", format_args!("is longer than {USERNAME_CHARS_MAX} characters")));
    }
    // Discord refuses some names, and the name of a player could be one of them: no placeholders.
    members.no_template("username", name)?;
    Ok(Some(name.to_owned()))
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
    embed.url = members.url_at("url")?;
    embed.color = color(members)?;
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

/// `0x2ecc71` as Discord writes a color, or `"#2ecc71"` as CSS does.
fn color(members: &Members<'_>) -> Result<Option<u32>, SpecError> {
    let Some(Value::String(text)) = members.get("color") else {
        return Ok(members.whole("color", 0..=COLOR_MAX)?.and_then(|color| u32::try_from(color).ok()));
    };
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && !digits.starts_with('+'));
    match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(color) => Ok(Some(color)),
        None => Err(members.error("color", format_args!("expected a number, or \"#\" and six hexadecimal digits"))),
    }
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
    read.icon_url = label.url_at("icon_url")?;
    read.url = label.url_at("url")?;
    Ok(Some(read))
}

/// `image = "https://..."` or `image = {url = "https://..."}`.
fn picture(members: &Members<'_>, name: &str) -> Result<Option<Box<UrlTemplate>>, SpecError> {
    if let Some(Value::String(_)) = members.get(name) {
        return members.url_at(name);
    }
    let Some(picture) = members.table(name, "a URL, or a table with `url`")? else { return Ok(None) };
    picture.only(&[], &["url"])?;
    picture.url_template("url", picture.needed_text("url")?).map(Some)
}

/// The members of an action of type `http`.
pub(crate) fn http(members: &Members<'_>) -> Result<Http, SpecError> {
    members.only(&COMMON, &["url", "method", "headers", "format", "timeout", "retry_for", "attempts", "batch"])?;
    let url = members.url_template("url", members.needed_text("url")?)?;
    let method = members.word("method", &METHODS)?.unwrap_or("POST");
    let headers = headers(members)?;
    let (body, batch) = bodies(members, method)?;
    Ok(Http { url, method, headers, body, timeout: timeout(members)?, retries: Retries::parse(members)?, batch })
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
    let syntax = syntax(members)?;
    let is_template = members.text("format")?.is_some_and(|text| text != "json");
    let batch = Batch::parse(members, method, syntax, is_template)?;
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
/// twice: <https://www.rfc-editor.org/rfc/rfc9110#section-5.3>.
fn headers(members: &Members<'_>) -> Result<Vec<(Box<str>, HeaderValue)>, SpecError> {
    let Some(table) = members.table("headers", HEADERS)? else { return Ok(Vec::new()) };
    let mut headers: Vec<(Box<str>, HeaderValue)> = Vec::new();
    for (name, value) in table.iter() {
        let wrong = |found: fmt::Arguments<'_>| Err(table.error(name, found));
        if name.is_empty() || !name.bytes().all(is_token) {
            return wrong(format_args!("is not a valid header name"));
        }
        if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
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
