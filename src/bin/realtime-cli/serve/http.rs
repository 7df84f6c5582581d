//! HTTP/1.1, as much of it as one page needs: the head of a request in, a response out, one request for each connection.
//! [`parse`] is pure; the rest runs on the thread of its connection. A client of any behaviour costs a bounded time and a
//! bounded memory. Grammar: <https://www.rfc-editor.org/rfc/rfc9112>.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use realtime::facade::io::net::{Socket, Timed};

/// Longest head of a request, in bytes. A browser sends less than one KiB.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Time for the head.
const HEAD_MAX: Duration = Duration::from_secs(3);
/// Longest time in which a client takes nothing of a response. It is dropped then.
pub(super) const STALL_MAX: Duration = Duration::from_secs(3);
/// Longest time for one write that makes progress.
pub(super) const WRITE_MAX: Duration = Duration::from_secs(15);
/// Bytes and time for the rest of a request after its answer: a close with unread bytes would take the answer back.
const REST_BYTES_MAX: usize = 64 * 1024;
const REST_MAX: Duration = Duration::from_millis(500);

/// In every response. The page has no script, style or picture but its own files, talks to its own server only, and no
/// other page may show it. Browsers that know trusted types refuse every way from text to elements.
pub(super) const SAFETY_HEADERS: &str = "\
Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r
X-Content-Type-Options: nosniff\r
X-Frame-Options: DENY\r
Referrer-Policy: no-referrer\r
Cross-Origin-Opener-Policy: same-origin\r
Cross-Origin-Resource-Policy: same-origin\r
Cache-Control: no-store\r
Connection: close\r
";

/// The parts of a request that matter here.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) path: String,
    /// Decoded names and values.
    pub(super) query: Vec<(String, String)>,
    pub(super) host: String,
    pub(super) origin: Option<String>,
    /// The word behind `Authorization: Bearer`.
    pub(super) token: Option<String>,
}

/// An answer that is no success: the status with its words, and a sentence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Refusal(pub(super) &'static str, pub(super) &'static str);

const BAD: Refusal = Refusal("400 Bad Request", "this is not a request that a browser sends");
const LONG: Refusal = Refusal("431 Request Header Fields Too Large", "the head of the request is too long");
const LATE: Refusal = Refusal("408 Request Timeout", "the head of the request did not come in time");
const METHOD: Refusal = Refusal("405 Method Not Allowed", "only GET is served: nothing here changes anything");

/// Reads the head of a request and parses it. `None`: the client closed without a request.
pub(super) fn read(socket: &Socket) -> Option<Result<Request, Refusal>> {
    let mut timed = Timed { socket, deadline: Instant::now() + HEAD_MAX };
    let (mut head, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match timed.read(&mut piece) {
            Ok(0) => return None,
            Ok(count) => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == io::ErrorKind::TimedOut => return Some(Err(LATE)),
            Err(_) => return None,
        }
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(parse(head.get(..end).unwrap_or_default()));
        }
        if head.len() >= HEAD_BYTES_MAX {
            return Some(Err(LONG));
        }
    }
}

/// Parses a head without the empty line at its end. Stricter than the grammar where that keeps two readers of the same
/// bytes from disagreeing.
fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| BAD)?;
    if head.len() > HEAD_BYTES_MAX || head.bytes().any(|byte| byte == 0 || byte == 0x7f) {
        return Err(BAD);
    }
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    let (mut host, mut origin, mut token) = (None, None, None);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(BAD)?;
        // A blank before the colon, or a line that continues the last one, is read differently by different programs.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(BAD);
        }
        let value = value.trim_matches([' ', '\t']);
        if value.contains(['\r', '\n']) {
            return Err(BAD);
        }
        let place = match name.to_ascii_lowercase().as_str() {
            "host" => &mut host,
            "origin" => &mut origin,
            "authorization" => &mut token,
            // A request without a body has neither.
            "transfer-encoding" => return Err(BAD),
            "content-length" if value != "0" => return Err(BAD),
            _ => continue,
        };
        if place.replace(value.to_owned()).is_some() {
            return Err(BAD);
        }
    }
    if method != "GET" {
        return Err(if method.bytes().all(|byte| byte.is_ascii_uppercase()) { METHOD } else { BAD });
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.starts_with('/') || target.contains('#') {
        return Err(BAD);
    }
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    });
    let token = token.and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    Ok(Request {
        path: path.to_owned(),
        query: query.collect::<Option<_>>().ok_or(BAD)?,
        host: host.ok_or(BAD)?,
        origin,
        token,
    })
}

/// A part of a query with its `%XX` and `+` resolved. `None`: an escape is incomplete, or the bytes are not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The head of a response. Without a length it goes on until the connection ends.
pub(super) fn head(status: &str, kind: &str, length: Option<usize>) -> String {
    let length = length.map_or(String::new(), |bytes| format!("Content-Length: {bytes}\r\n"));
    let allow = if status == METHOD.0 { "Allow: GET\r\n" } else { "" };
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{length}{allow}{SAFETY_HEADERS}\r\n")
}

/// Writes a whole response. False: the client has gone, or takes nothing; nobody is left to be told.
pub(super) fn answer(socket: &Socket, status: &str, kind: &str, body: &[u8]) -> bool {
    let mut bytes = head(status, kind, Some(body.len())).into_bytes();
    bytes.extend_from_slice(body);
    socket.write_all(&bytes, STALL_MAX, Instant::now() + WRITE_MAX).is_ok()
}

/// Writes an answer that is no success.
pub(super) fn refuse(socket: &Socket, Refusal(status, sentence): Refusal) -> bool {
    answer(socket, status, "text/plain; charset=utf-8", format!("{sentence}\n").as_bytes())
}

/// As [`refuse`], for a request that was not read to its end; takes a bounded part of the rest.
pub(super) fn refuse_unread(socket: &Socket, refusal: Refusal) {
    if !refuse(socket, refusal) {
        return;
    }
    let mut timed = Timed { socket, deadline: Instant::now() + REST_MAX };
    let (mut piece, mut left) = ([0; 1024], REST_BYTES_MAX);
    while let Ok(count @ 1..) = timed.read(&mut piece) {
        left = left.saturating_sub(count);
        if left == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, query: &[(&str, &str)], host: &str, token: Option<&str>) -> Request {
        Request {
            path: path.to_owned(),
            query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            host: host.to_owned(),
            origin: None,
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn requests_of_a_browser_are_read() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a:1", request("/", &[], "a:1", None)),
            (
                "GET /b?n=a%20b%2f+c&x HTTP/1.1\r\nhOsT:\ta:1 ",
                request("/b", &[("n", "a b/ c"), ("x", "")], "a:1", None),
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x=", request("/", &[], "a", Some("x="))),
            ("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic x", request("/", &[], "a", None)),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX: é", request("/", &[], "a", None)),
        ] {
            assert_eq!(parse(head.as_bytes()), Ok(expected), "{head}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for head in [
            "",
            "GET /",
            "GET / HTTP/1.1",
            "GET / HTTP/1.0\r\nHost: a",
            "GET / HTTP/2\r\nHost: a",
            "GET  / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1 x\r\nHost: a",
            "get / HTTP/1.1\r\nHost: a",
            "GET http://a/ HTTP/1.1\r\nHost: a",
            "GET * HTTP/1.1\r\nHost: a",
            "GET /#x HTTP/1.1\r\nHost: a",
            "GET /?a=%2 HTTP/1.1\r\nHost: a",
            "GET /?a=%ff HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
            "GET / HTTP/1.1\r\nHost : a",
            "GET / HTTP/1.1\r\nHost: a\r\n b",
            "GET / HTTP/1.1\r\nHost: a\nX: b",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nHost: a\0b",
            "GET / HTTP/1.1\r\nHost: a\r\nOrigin: x\r\nOrigin: y",
        ] {
            assert_eq!(parse(head.as_bytes()), Err(BAD), "{head}");
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: \xff"), Err(BAD));
        for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
            assert_eq!(parse(format!("{method} / HTTP/1.1\r\nHost: a").as_bytes()), Err(METHOD));
        }
    }
}
