//! URLs of requests: `http` or `https`, a host, a port, and a path with a query, which may have placeholders.
//! Pure. Parsed on the game thread when a hook is added, rendered on `rt-webhooks`.
//! A URL often is a secret: anybody who knows the URL of a webhook can post to it. So `Debug`, `Display` and every
//! error show only scheme, host and port. Path and query become `***`, except for the number of a Discord webhook.
//! A URL that a message only shows may be one field of the event ([`ShownUrl`]).
//! Refused: other schemes, `user@host`, characters that a URL must not contain, placeholders before the path.
//!
//! ```text
//! https://discord.com:443/api/webhooks/123/token?wait=true
//! └────── origin ───────┘└─────────── target ────────────┘    shown as https://discord.com/api/webhooks/123/***?***
//! ```

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::{Secret, WITHOUT_TLS};
use crate::hooks::template::{Context, Fields, RenderError, TARGET_BYTES_MAX, Template, TemplateError, lone_path};
use crate::json::find;
use crate::json::tape::TapeItem;

/// Longest URL in a spec, in bytes: a common default of web servers.
const URL_BYTES_MAX: usize = 2048;

/// Scheme, host and port: the server that is asked. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    /// In lower case. An IPv6 address has no brackets here.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl Origin {
    /// The value of the header `Host`: the port is there only if it is not the default of the scheme (RFC 9110, 7.2).
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == default_port(self.https) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// A URL without placeholders.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// Path and query, from the first `/`.
    target: Secret,
}

impl Url {
    /// Reads a URL without placeholders, to which requests go.
    pub(crate) fn parse(text: &str) -> Result<Url, UrlError> {
        let url = Url::read(text)?;
        check_tls(&url.origin)?;
        Ok(url)
    }

    /// Reads a URL that [`Url::reveal`] gave. Values of an event may have made it longer than a URL in a spec.
    pub(crate) fn reread(text: &str) -> Result<Url, UrlError> {
        let url = Url::of_any_length(text)?;
        check_tls(&url.origin)?;
        Ok(url)
    }

    /// Reads any URL without placeholders.
    fn read(text: &str) -> Result<Url, UrlError> {
        check_length(text)?;
        Url::of_any_length(text)
    }

    fn of_any_length(text: &str) -> Result<Url, UrlError> {
        let (origin, target) = cut(text)?;
        check_target(&target)?;
        Ok(Url { origin, target: Secret::new(target) })
    }

    /// Path and query, for the wire only.
    pub(crate) fn target(&self) -> &str {
        self.target.reveal()
    }

    /// The whole URL, for the wire and the spool only.
    pub(crate) fn reveal(&self) -> String {
        format!("{}{}", self.origin, self.target())
    }

    /// This URL with `more` at the end of its path, and without the members `name` of its query.
    pub(crate) fn below(&self, more: &str, name: &str) -> Url {
        let (path, query) = self.target().split_once('?').unwrap_or((self.target(), ""));
        let is_kept = |member: &&str| !member.is_empty() && member.split('=').next() != Some(name);
        let kept = query.split('&').filter(is_kept).collect::<Vec<_>>().join("&");
        let joint = if kept.is_empty() { "" } else { "?" };
        let target = format!("{}{more}{joint}{kept}", path.trim_end_matches('/'));
        Url { origin: self.origin.clone(), target: Secret::new(target) }
    }

    /// This URL with one more member in its query.
    pub(crate) fn with_query(&self, member: &str) -> Url {
        let target = self.target();
        let joint = match target.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        Url { origin: self.origin.clone(), target: Secret::new(format!("{target}{joint}{member}")) }
    }

    /// True if the query has a member of this name.
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        let query = self.target().split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|member| member.split('=').next() == Some(name))
    }

    /// The secret texts in the URL, for removal from the responses and errors that are shown.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        secrets_in(self.target())
    }
}

/// The secret texts in a target: each segment of the path, each value of the query, and the whole target.
fn secrets_in(target: &str) -> Vec<&str> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let public = discord_parts(path).map_or("", |(public, _)| public);
    let mut texts: Vec<&str> = path.get(public.len()..).unwrap_or(path).split('/').collect();
    for member in query.split('&') {
        texts.push(member.split_once('=').map_or(member, |(_, value)| value));
    }
    // Texts of one or two characters appear everywhere, and these words in many URLs and responses: hiding them would
    // make the response unreadable without protecting anything.
    texts.retain(|text| text.len() > 2 && !["api", "hook", "hooks", "webhook", "webhooks"].contains(text));
    if target.len() > 1 {
        texts.push(target);
    }
    texts
}

/// The secret texts in a URL that is only known as text.
pub(crate) fn secrets_of(url: &str) -> Vec<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    secrets_in(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default())
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, masked(self.target()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL whose target is a template. The origin has no placeholders: an event must not choose the server.
pub(crate) struct UrlTemplate {
    origin: Origin,
    target: Template,
    /// The target as the script wrote it, for the name of the destination.
    text: Secret,
}

impl UrlTemplate {
    /// Reads a URL to which requests go. With placeholders, [`UrlTemplate::render`] checks the complete target again for
    /// each event.
    pub(crate) fn parse(text: &str) -> Result<UrlTemplate, UrlError> {
        let template = UrlTemplate::read(text)?;
        check_tls(&template.origin)?;
        Ok(template)
    }

    /// Reads any URL.
    fn read(text: &str) -> Result<UrlTemplate, UrlError> {
        check_length(text)?;
        let (origin, target) = cut(text)?;
        let template = Template::parse(&target, Context::Url).map_err(UrlError::Template)?;
        template.literals().try_for_each(check_characters)?;
        if !template.has_placeholders() {
            check_target(&target)?;
        }
        Ok(UrlTemplate { origin, target: template, text: Secret::new(target) })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The target as the script wrote it, with its placeholders. Secret: callers must not show it.
    pub(crate) fn target_text(&self) -> &str {
        self.text.reveal()
    }

    /// The texts between the braces of the placeholders.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = String> {
        self.target.placeholders()
    }

    /// True if events of one hook can have different URLs.
    pub(crate) fn has_placeholders(&self) -> bool {
        self.target.has_placeholders()
    }

    /// True for the URL of a Discord webhook.
    pub(crate) fn is_discord(&self) -> bool {
        discord_parts(self.target_text().split('?').next().unwrap_or_default()).is_some()
    }

    /// The URL for one event.
    pub(crate) fn render(&self, fields: &Fields<'_>) -> Result<Url, UrlError> {
        let target = self.target.render_text(fields).map_err(UrlError::Render)?;
        check_target(&target)?;
        Ok(Url { origin: self.origin.clone(), target: Secret::new(target) })
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, masked(self.target_text()))
    }
}

impl fmt::Debug for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL that a message shows, such as an avatar, a picture or a link. No request goes there, so an event may give all of
/// it.
#[derive(Debug)]
pub(crate) enum ShownUrl {
    Template(UrlTemplate),
    /// The path of the event's field that holds the whole URL: `avatar` for `{avatar}`.
    Field(Box<str>),
}

impl ShownUrl {
    /// Reads a URL, or one placeholder that is the whole text.
    pub(crate) fn parse(text: &str) -> Result<ShownUrl, UrlError> {
        match lone_path(text) {
            Some(path) => Ok(ShownUrl::Field(path.into())),
            None => UrlTemplate::read(text).map(ShownUrl::Template),
        }
    }

    /// The texts between the braces of the placeholders.
    pub(crate) fn placeholders(&self) -> Vec<String> {
        match self {
            ShownUrl::Template(template) => template.placeholders().collect(),
            ShownUrl::Field(path) => vec![path.to_string()],
        }
    }

    /// The URL for one event. `Ok(None)`: the event has no such field, or an empty one.
    pub(crate) fn render(&self, fields: &Fields<'_>) -> Result<Option<Url>, UrlError> {
        let path = match self {
            ShownUrl::Template(template) => return template.render(fields).map(Some),
            ShownUrl::Field(path) => path,
        };
        let text = match find::field(fields.tape, path).map(|field| field.item) {
            None | Some(TapeItem::Text(b"")) => return Ok(None),
            Some(TapeItem::Text(text)) => std::str::from_utf8(text).map_err(|_| UrlError::Value(path.clone()))?,
            Some(_) => return Err(UrlError::Value(path.clone())),
        };
        // The fragment is a place inside a page. It is left out, as merged embeds get one of their own.
        let text = text.trim().split('#').next().unwrap_or_default();
        Url::read(text).map(Some).map_err(|_| UrlError::Value(path.clone()))
    }
}

fn check_length(text: &str) -> Result<(), UrlError> {
    if text.len() > URL_BYTES_MAX { Err(UrlError::TooLong { max: URL_BYTES_MAX }) } else { Ok(()) }
}

/// Splits a URL into its origin and its target. A missing path becomes `/`, as RFC 9112, 3.2.1 requires.
fn cut(text: &str) -> Result<(Origin, String), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        other if other.contains('{') => return Err(UrlError::Placeholder),
        _ => return Err(UrlError::Scheme),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok((origin(https, authority)?, target))
}

/// Refuses the origin of a request that needs TLS, in a library without it.
fn check_tls(origin: &Origin) -> Result<(), UrlError> {
    if origin.https && cfg!(not(feature = "tls")) { Err(UrlError::WithoutTls) } else { Ok(()) }
}

/// Parses `host`, `host:port` or `[v6]:port`. A host with other letters than ASCII is refused, as it needs IDNA: a
/// script has to write its ASCII form.
fn origin(https: bool, authority: &str) -> Result<Origin, UrlError> {
    if authority.contains('@') {
        return Err(UrlError::Login);
    }
    if authority.contains('{') {
        return Err(UrlError::Placeholder);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(UrlError::Host)?) })
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(valid) {
                return Err(UrlError::Host);
            }
            (host, port)
        }
    };
    let port = match port {
        None => default_port(https),
        Some(port) => {
            let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|port| digits && *port > 0).ok_or(UrlError::Port)?
        }
    };
    Ok(Origin { https, host: host.to_ascii_lowercase().into(), port })
}

/// Accepts the characters that RFC 3986, 3.3 and 3.4 allow in a path and a query. A fragment is refused, as a client
/// never sends it.
fn check_characters(text: &str) -> Result<(), UrlError> {
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' => {}
            '-' | '.' | '_' | '~' | '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | ';' | '=' => {}
            ':' | '@' | '/' | '?' | '%' => {}
            '#' => return Err(UrlError::Fragment),
            other => return Err(UrlError::Character(other)),
        }
    }
    Ok(())
}

/// Checks a complete target: its characters, its escapes, its length, and that no segment of its path is `.` or `..`. A
/// value in such a segment would move the request to another path than the hook's author wrote.
fn check_target(target: &str) -> Result<(), UrlError> {
    check_characters(target)?;
    if target.len() > TARGET_BYTES_MAX {
        return Err(UrlError::TooLong { max: TARGET_BYTES_MAX });
    }
    let mut escapes = target.split('%').skip(1);
    if !escapes.all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2) {
        return Err(UrlError::Character('%'));
    }
    let path = target.split('?').next().unwrap_or_default();
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(UrlError::Dots);
    }
    Ok(())
}

/// True for an id of Discord, a 64-bit number.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

/// Splits a path of a Discord webhook, `/api/webhooks/<number>/<token>`, after the slash behind the number: the number
/// is not a secret, the token is. `None` for other paths. The host does not matter, as relays for Discord keep this
/// form.
fn discord_parts(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/api/")?;
    let versioned = rest.strip_prefix('v').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let rest = versioned.and_then(|rest| rest.strip_prefix('/')).unwrap_or(rest).strip_prefix("webhooks/")?;
    let (number, token) = rest.split_once('/')?;
    let public = path.len() - token.len();
    (is_id(number) && !token.is_empty()).then(|| path.split_at_checked(public)).flatten()
}

/// The target for logs and errors, without its secrets.
fn masked(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, ""), |(path, _)| (path, "?***"));
    match discord_parts(path) {
        Some((public, _)) => format!("{public}***{query}"),
        None => format!("{}{query}", if path == "/" { path } else { "/***" }),
    }
}

/// The reason why a text is not a URL for a request. It shows nothing of the text but one character, or the text inside
/// a pair of braces.
#[derive(Debug, PartialEq)]
pub(crate) enum UrlError {
    TooLong {
        max: usize,
    },
    Scheme,
    Login,
    Host,
    Port,
    Fragment,
    Character(char),
    /// `https`, in a library without the feature `tls`.
    WithoutTls,
    /// A placeholder in the origin.
    Placeholder,
    /// A segment of the path is `.` or `..`.
    Dots,
    Template(TemplateError),
    /// The event makes no target.
    Render(RenderError),
    /// A field of the event should hold a whole URL, and holds something else.
    Value(Box<str>),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::TooLong { max } => write!(f, "is longer than {max} bytes"),
            UrlError::Scheme => f.write_str("does not begin with http:// or https://"),
            UrlError::WithoutTls => write!(f, "begins with https://, but {WITHOUT_TLS}"),
            UrlError::Login => f.write_str("contains a login (`...@`): use the member `headers`"),
            UrlError::Host => f.write_str("has no usable host"),
            UrlError::Port => f.write_str("has a port that is not 1 to 65535"),
            UrlError::Fragment => f.write_str("has a `#`, but a client never sends the fragment after it"),
            UrlError::Character('%') => f.write_str("has a `%` that two hexadecimal digits do not follow"),
            UrlError::Character(found) => write!(f, "contains {found:?}, which a URL writes as `%` and two digits"),
            UrlError::Placeholder => f.write_str("has a placeholder in its scheme, host or port"),
            UrlError::Dots => f.write_str("has `.` or `..` as a segment of its path"),
            UrlError::Template(err) => err.fmt(f),
            UrlError::Render(unmade) => write!(f, "cannot be made: {unmade}"),
            UrlError::Value(path) => write!(f, "cannot be made: `{path}` of the event is no http(s) URL"),
        }
    }
}

#[cfg(test)]
mod tests;
