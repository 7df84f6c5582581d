//! The action `http`: a request to any server, its members, parsed and checked. Parsed on the game thread, rendered on
//! `rt-webhooks` (`webhook/http.rs`); pure. No value of an event can end a header, choose the syntax of the body or set a
//! header of the client.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::config::Secret;
use crate::config::limits::{REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX};
use crate::hooks::delivery::{Batch, Retries, seconds};
use crate::hooks::error::SpecError;
use crate::hooks::members::{COMMON, Members, describe};
use crate::hooks::signature::{self, SECRETS_MAX, SIGNATURE, Signing, TIMESTAMP};
use crate::hooks::template::body::Syntax;
use crate::hooks::template::{Context, Template};
use crate::hooks::url::UrlTemplate;

/// Most headers of one request. Each is rendered for every event.
const HEADERS_MAX: usize = 32;

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

impl Http {
    /// Advice for a hook whose requests are messages of Discord that say nothing about mentions: all of them ping, also
    /// those in the text of a player.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let decides = match &self.body {
            HttpBody::Template(text) => text.literals().any(|text| text.contains("allowed_mentions")),
            HttpBody::None | HttpBody::Event => false,
        };
        let may_ping = self.method == "POST" && self.url.is_discord() && !decides;
        may_ping.then_some(
            "a value such as @everyone pings in this message: use type = \"discord\", or have \
             \"allowed_mentions\":{\"parse\":[]} in `format`",
        )
    }
}

const METHODS: [&str; 6] = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"];

/// Headers that the client itself writes: for the connection and the framing of the body (RFC 9112), and `webhook-id`,
/// which is equal for all attempts at one request, so that its receiver can deduplicate.
const OWN_HEADERS: [&str; 9] =
    ["connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade", "webhook-id"];

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
