//! A way through an HTTP proxy: `CONNECT`, RFC 9110 section 9.3.6.
//! Runs on `rt-carry-*` (`webhook/carrier.rs`) and on `rt-selftest`; owns nothing.
//!
//! `http://` destinations are reached by `CONNECT` too, not by a request with the whole URL: so an answer of the proxy is
//! never taken for one of the destination, which could close it, and the login of the proxy stays out of the request.
//!
//! The proxy is not trusted. Its answer has the caps of `webhook/head.rs`, errors quote nothing of it but the status, and
//! bytes behind its head are refused: the destination speaks only after the request.

use std::io::{Read, Write};
use std::net::Ipv6Addr;
use std::time::Instant;

use crate::config::Proxy;
use crate::hooks::url::Origin;
use crate::io::net::{Socket, Timed};
use crate::webhook::head::{Head, NotHttp, status};
use crate::webhook::trouble::io_trouble;

/// Why the proxy opened no way.
pub(super) struct Blocked {
    /// The predicate of a sentence about the proxy.
    pub(super) found: String,
    /// The proxy asks for another login (407): nothing was sent to the destination, and nothing will be until the settings
    /// change.
    pub(super) asks_login: bool,
}

impl Blocked {
    fn new(found: String) -> Blocked {
        Blocked { found, asks_login: false }
    }
}

/// Asks the proxy at the other end of this socket for a way to the origin. After `Ok` the socket leads there.
pub(super) fn open(socket: &Socket, proxy: &Proxy, origin: &Origin, deadline: Instant) -> Result<(), Blocked> {
    let mut stream = Timed { socket, deadline };
    let sent = stream.write_all(request(proxy, origin).as_bytes());
    sent.map_err(|err| Blocked::new(format!("takes no request: {}", io_trouble(&err))))?;
    let mut head = Head::default();
    let mut buffer = [0; 2048];
    while !head.is_whole() {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => head.feed(buffer.get(..read).unwrap_or_default()).map_err(|err| misread(&err))?,
            Err(err) => return Err(Blocked::new(format!("does not answer: {}", io_trouble(&err)))),
        }
    }
    let (head, rest) = head.finish().map_err(|err| misread(&err))?;
    match status(&head).map_err(|err| misread(&err))? {
        200..300 if rest.is_empty() => Ok(()),
        200..300 => Err(Blocked::new("sends more than the head of an answer".to_owned())),
        status => Err(refused(status, proxy)),
    }
}

/// The request for a way. Host and port are all that the proxy learns of the destination.
fn request(proxy: &Proxy, origin: &Origin) -> String {
    let host = &origin.host;
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_string() };
    let place = format!("{host}:{}", origin.port);
    let login = proxy.authorization().map(|login| format!("Proxy-Authorization: {}\r\n", login.reveal()));
    format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{}\r\n", login.unwrap_or_default())
}

/// An answer that is not 2xx.
fn refused(status: u16, proxy: &Proxy) -> Blocked {
    let meaning = match status {
        407 if proxy.has_login() => ": it does not take this user and password",
        407 => ": set user and password, http://USER:PASSWORD@HOST:PORT",
        403 | 405 => ": it forbids the way to this destination",
        502..=504 => ": it does not reach the destination",
        _ => "",
    };
    Blocked { found: format!("answered {status}{meaning}"), asks_login: status == 407 }
}

/// An answer that is not HTTP. The words of `NotHttp` quote the beginning of an answer, which could be a login.
fn misread(err: &NotHttp) -> Blocked {
    Blocked::new(match err {
        NotHttp::Start(_) => "does not answer in HTTP/1".to_owned(),
        NotHttp::HeadTooLong => "answers without end".to_owned(),
        NotHttp::Ended { .. } => "closed the connection without a whole answer".to_owned(),
    })
}
