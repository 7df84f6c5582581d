//! Requests: built from an event, and written as HTTP/1.1 bytes.
//! Runs on `rt-webhooks`; pure. Each request has a connection of its own: a kept one may be closed by the other end
//! just when it is used, and then nobody knows whether the request arrived.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::config::Secret;
use crate::event::identity::MEMBER;
use crate::hooks::request::{Http, HttpBody};
use crate::hooks::template::{Fields, RenderError};
use crate::hooks::url::{Url, UrlError};
use crate::json::find;

/// Who asks. No web address: there is none to give.
const USER_AGENT: &str = concat!("realtime-gmod/", env!("CARGO_PKG_VERSION"), " (Garry's Mod server module)");

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// All that is asked of one destination.
#[derive(Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) url: Url,
    pub(crate) method: Box<str>,
    pub(crate) headers: Vec<(Box<str>, Secret)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
}

impl Request {
    /// The request of one event, whose JSON text `json` is.
    pub(crate) fn of(http: &Http, fields: &Fields<'_>, json: &[u8]) -> Result<Request, NoRequest> {
        let url = http.url.render(fields).map_err(NoRequest::Url)?;
        let mut request = Request {
            url,
            method: http.method.into(),
            headers: headers(http, fields)?,
            body: Vec::new(),
            timeout: http.timeout,
        };
        if matches!(http.method, "GET" | "HEAD") {
            return Ok(request);
        }
        let is_json = match &http.body {
            HttpBody::Event => {
                find::push_without(&mut request.body, json, MEMBER);
                if let Cow::Owned(clean) = String::from_utf8_lossy(&request.body) {
                    // JSON is UTF-8; what other programs publish may not be.
                    request.body = clean.into_bytes();
                }
                true
            }
            HttpBody::Template(template) => {
                template.render(fields, &mut request.body).map_err(NoRequest::Body)?;
                template.is_json()
            }
        };
        if !request.has_header("content-type") {
            let value = if is_json { JSON } else { TEXT };
            request.headers.push(("Content-Type".into(), Secret::new(value.to_owned())));
        }
        Ok(request)
    }

    /// A POST of JSON.
    pub(crate) fn post_json(url: Url, body: String, timeout: Duration) -> Request {
        let headers = vec![("Content-Type".into(), Secret::new(JSON.to_owned()))];
        Request { url, method: "POST".into(), headers, body: body.into_bytes(), timeout }
    }

    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The bytes on the wire; `id` is the same for every attempt.
    pub(crate) fn encode(&self, id: &str) -> Vec<u8> {
        let mut out =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.url.target(), self.url.origin.authority());
        let mut push = |name: &str, value: &str| {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        };
        for (name, value) in [("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Accept-Encoding", "identity")] {
            if !self.has_header(name) {
                push(name, value);
            }
        }
        for (name, value) in &self.headers {
            push(name, value.reveal());
        }
        push("webhook-id", id);
        push("Connection", "close");
        if !matches!(&*self.method, "GET" | "HEAD") {
            push("Content-Length", &self.body.len().to_string());
        }
        out.push_str("\r\n");
        [out.as_bytes(), &self.body].concat()
    }

    /// The bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.reveal().len()).sum();
        self.body.len() + self.url.target().len() + headers
    }

    /// The texts in it that nobody may see.
    pub(crate) fn secrets<'a>(&'a self) -> impl Iterator<Item = &'a str> {
        let public = |name: &str| name.eq_ignore_ascii_case("content-type");
        let headers = self.headers.iter().filter(move |(name, _)| !public(name));
        // `Bearer <token>`, `session=<token>; user=x`: the token alone is as secret.
        let parts = |value: &'a str| value.split([' ', '\t', '=', ';', ',', ':', '"']).chain([value]);
        let values = headers.flat_map(move |(_, value)| parts(value.reveal()));
        self.url.secrets().chain(values.filter(|text| text.len() > 3))
    }
}

fn headers(http: &Http, fields: &Fields<'_>) -> Result<Vec<(Box<str>, Secret)>, NoRequest> {
    let made = http.headers.iter().map(|(name, value)| {
        let value = value.0.render_text(fields).map_err(|err| NoRequest::Header(name.clone(), err))?;
        // White space around it is no part of a value: RFC 9110, 5.5.
        Ok((name.clone(), Secret::new(value.trim_ascii().to_owned())))
    });
    made.collect()
}

/// Shows neither token, header nor body.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { url, method, headers, body, .. } = self;
        write!(f, "{method} {url}, {} headers, {} bytes", headers.len(), body.len())
    }
}

/// Why an event makes no request.
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
