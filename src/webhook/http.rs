//! HTTP requests: built from an event, and encoded as HTTP/1.1.
//! Runs on `rt-webhooks`; pure. A value of the event cannot leave its place: templates escape it for URL, header or body.
//! Each request has a connection of its own (`Connection: close`). A server may close a kept connection just when the
//! next request is written, and then it is unknown whether that request arrived.

use std::fmt;
use std::time::Duration;

use crate::config::Secret;
use crate::hooks::delivery::BatchForm;
use crate::hooks::request::http::{Http, HttpBody, has_body};
use crate::hooks::signature::{SIGNATURE, Signing, TIMESTAMP};
use crate::hooks::template::source::event_json;
use crate::hooks::template::{Fields, RenderError};
use crate::hooks::url::{Url, UrlError};

/// The name of this program for servers. It has no web address, because the program has none.
const USER_AGENT: &str = concat!("realtime-gmod/", env!("CARGO_PKG_VERSION"), " (Garry's Mod server module)");

/// Content types of the bodies that hooks make.
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON_LINES: &str = "application/x-ndjson";

/// One request. `encode` adds the headers that every request has.
#[derive(Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) url: Url,
    pub(crate) method: Box<str>,
    /// The hook's headers, and `Content-Type` if there is a body.
    pub(crate) headers: Vec<(Box<str>, Secret)>,
    pub(crate) body: Vec<u8>,
    /// The secrets by which each attempt is signed.
    pub(crate) signing: Signing,
    /// Time for the whole request, from the look-up of the name to the end of the response's head.
    pub(crate) timeout: Duration,
}

impl Request {
    /// Builds the request for one event. An error if a template needs a member that the event does not have, or becomes
    /// too long.
    pub(crate) fn of(http: &Http, fields: &Fields<'_>) -> Result<Request, NoRequest> {
        let url = http.url.render(fields).map_err(NoRequest::Url)?;
        let mut request = Request {
            url,
            method: http.method.into(),
            headers: headers(http, fields)?,
            body: Vec::new(),
            signing: http.signing.clone(),
            timeout: http.timeout,
        };
        let is_json = match &http.body {
            HttpBody::None => return Ok(request),
            HttpBody::Event => {
                request.body = event_json(fields.json);
                // Its receiver may read line by line.
                on_one_line(&mut request.body);
                true
            }
            HttpBody::Template(template) => {
                template.render(fields, &mut request.body).map_err(NoRequest::Body)?;
                template.is_json()
            }
        };
        let has_lines = http.batch.is_some_and(|batch| batch.form == BatchForm::Lines);
        if !request.has_header("content-type") {
            let json = if has_lines { JSON_LINES } else { JSON };
            let value = if is_json { json } else { TEXT };
            request.headers.push(("Content-Type".into(), Secret::new(value.to_owned())));
        }
        Ok(request)
    }

    /// A POST request with a body of JSON.
    pub(crate) fn post_json(url: Url, body: String, timeout: Duration) -> Request {
        let headers = vec![("Content-Type".into(), Secret::new(JSON.to_owned()))];
        let (body, signing) = (body.into_bytes(), Signing::default());
        Request { url, method: "POST".into(), headers, body, signing, timeout }
    }

    /// Whether both requests differ in their bodies alone, so that one request can carry both.
    pub(crate) fn differs_in_body_only(&self, other: &Request) -> bool {
        // Named one by one, so that a new member cannot be forgotten here.
        let Request { url, method, headers, body: _, signing, timeout } = self;
        let is_same_head = *url == other.url && *method == other.method && *headers == other.headers;
        is_same_head && *signing == other.signing && *timeout == other.timeout
    }

    /// This request with the bodies of several, each of which differs in its body only.
    pub(crate) fn joined<'a>(&'a self, bodies: impl Iterator<Item = &'a Request>, form: BatchForm) -> Request {
        let mut joined = Vec::new();
        for (at, Request { body, .. }) in bodies.enumerate() {
            match form {
                BatchForm::Array => joined.push(if at == 0 { b'[' } else { b',' }),
                // A template may end its last line itself.
                BatchForm::Lines if joined.last().is_some_and(|last| *last != b'\n') => joined.push(b'\n'),
                BatchForm::Lines => {}
            }
            joined.extend_from_slice(body);
        }
        match form {
            BatchForm::Array => joined.push(b']'),
            BatchForm::Lines if joined.ends_with(b"\n") => {}
            BatchForm::Lines => joined.push(b'\n'),
        }
        let Request { url, method, headers, body: _, signing, timeout } = self;
        let (url, method, headers, signing) = (url.clone(), method.clone(), headers.clone(), signing.clone());
        Request { url, method, headers, body: joined, signing, timeout: *timeout }
    }

    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The request as minreq sends it to `url`, which is the carrier's. `id` is the same for every attempt, the time of
    /// the attempt is not. A header of the hook replaces the default of the same name, but not those that the client
    /// itself writes.
    pub(crate) fn minreq(&self, url: String, id: &str, unix_s: u64) -> minreq::Request {
        let method = match &*self.method {
            "GET" => minreq::Method::Get,
            "HEAD" => minreq::Method::Head,
            "POST" => minreq::Method::Post,
            "PUT" => minreq::Method::Put,
            "PATCH" => minreq::Method::Patch,
            "DELETE" => minreq::Method::Delete,
            other => minreq::Method::Custom(other.to_owned()),
        };
        // No limits of minreq's: one of them underflows at a header line without CR. The carrier bounds what comes.
        let mut request = minreq::Request::new(method, url)
            .with_follow_redirects(false)
            .with_max_headers_size(None)
            .with_max_status_line_length(None);
        let mut headers = vec![("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Accept-Encoding", "identity")];
        headers.retain(|(name, _)| !self.has_header(name));
        headers.extend(self.headers.iter().map(|(name, value)| (&**name, value.reveal())));
        headers.extend([("webhook-id", id), ("Connection", "close")]);
        for (name, value) in headers {
            request = request.with_header(name, value);
        }
        if !self.signing.is_empty() {
            request = request
                .with_header(TIMESTAMP, unix_s.to_string())
                .with_header(SIGNATURE, self.signing.sign(id, unix_s, &self.body));
        }
        if has_body(&self.method) { request.with_body(self.body.clone()) } else { request }
    }

    /// About the bytes that the request takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.reveal().len()).sum();
        let secrets: usize = self.signing.reveal().iter().map(|secret| secret.len()).sum();
        self.body.len() + self.url.target().len() + headers + secrets
    }

    /// The secret texts in the request: parts of its URL and of its headers, and what signs it. Header texts of up to three bytes are
    /// left out: replacing them would garble every error text.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        let mut secrets = self.url.secrets();
        for (_, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
            secrets.extend(Some(value.reveal()).filter(|text| text.len() > 3));
        }
        secrets.extend(self.signing.secrets());
        secrets
    }
}

/// Takes the line breaks out of a JSON text. They stand between its values only: inside strings JSON escapes them.
fn on_one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// Renders the hook's headers.
fn headers(http: &Http, fields: &Fields<'_>) -> Result<Vec<(Box<str>, Secret)>, NoRequest> {
    let mut headers = Vec::new();
    for (name, value) in &http.headers {
        let value = value.0.render_text(fields).map_err(|err| NoRequest::Header(name.clone(), err))?;
        // White space around a value is not part of it (RFC 9110, 5.5).
        headers.push((name.clone(), Secret::new(value.trim_ascii().to_owned())));
    }
    Ok(headers)
}

/// A response.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Its beginning.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of this name, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Prints no token, no header and no body.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { url, method, headers, body, .. } = self;
        write!(f, "{method} {url}, {} headers, {} bytes", headers.len(), body.len())
    }
}

/// Why no request could be built from an event.
#[derive(Debug, PartialEq)]
pub(crate) enum NoRequest {
    Url(UrlError),
    Header(Box<str>, RenderError),
    Body(RenderError),
}

impl fmt::Display for NoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRequest::Url(err) => write!(f, "the url {err}"),
            NoRequest::Header(name, unmade) => write!(f, "the header {name} cannot be made: {unmade}"),
            NoRequest::Body(unmade) => write!(f, "the body cannot be made: {unmade}"),
        }
    }
}

#[cfg(test)]
mod tests;
