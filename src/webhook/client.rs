//! Makes one request with minreq and reads its response.
//! Runs on `rt-send-*`, which owns its `Client` and, through it, a carrier (`webhook/carrier.rs`). minreq writes the
//! request and reads the response; the carrier bounds its time and its memory, whatever the destination does.
//! No redirect is followed, no connection is kept: a kept one may be closed by the other end just when it is used, and
//! then nobody knows whether the request arrived.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::event::identity::{new_boot, unix_ms};
use crate::webhook::carrier::{Carrier, Errand};
use crate::webhook::dial::{Dialer, Interrupt, NoAnswer};
use crate::webhook::http::{Request, Response};

/// Bytes kept of a response's body. Discord repeats a created message: at most 8000 characters, of up to 12 bytes each
/// with their escapes. Its id stands at the end.
const RESPONSE_BODY_BYTES_MAX: usize = 128 * 1024;

/// Makes the requests of one sender, one after the other.
pub(crate) struct Client {
    dialer: Arc<Dialer>,
    /// The sender's number, which its carrier's thread is named by.
    number: usize,
    /// Started at the first request.
    carrier: Option<Carrier>,
}

impl Client {
    pub(crate) fn new(dialer: Arc<Dialer>, number: usize) -> Client {
        Client { dialer, number, carrier: None }
    }

    /// Sends the request and reads its response. `id` names the post, the same at every attempt.
    pub(crate) fn send(
        &mut self,
        request: &Request,
        id: &str,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Response, NoAnswer> {
        let origin = &request.url.origin;
        let failed = |found: String| NoAnswer::new("post to", origin, found);
        let deadline = Instant::now() + request.timeout;
        let mut carrier = match self.carrier.take() {
            Some(carrier) => carrier,
            None => Carrier::start(Arc::clone(&self.dialer), self.number)
                .map_err(|err| failed(format!("cannot open a local connection: {err}")))?,
        };
        let errand = Errand {
            token: format!("{:016x}{:016x}", new_boot(), new_boot()),
            origin: origin.clone(),
            target: request.url.target().to_owned(),
            body_bytes: request.body.len(),
            deadline,
            interrupt: Arc::clone(interrupt),
        };
        let unix_s = unix_ms(SystemTime::now()) / 1000;
        let outgoing = request.minreq(carrier.url(&errand), id, unix_s);
        carrier.begin(errand);
        let read = outgoing.send_lazy().map(|lazy| {
            let has_body = &*request.method != "HEAD" && !matches!(lazy.status_code, 204 | 304);
            read(lazy, has_body)
        });
        interrupt.finish();
        let report = carrier.report().ok_or_else(|| failed("internal error".to_owned()))?;
        if report.is_open {
            self.carrier = Some(carrier);
        }
        report.carried?;
        read.map_err(|err| failed(format!("the local connection failed: {err}")))
    }
}

/// The response, with as much of its body as came and is kept.
fn read(mut lazy: minreq::ResponseLazy, has_body: bool) -> Response {
    let mut body = Vec::new();
    let mut buffer = [0; 4096];
    while has_body && body.len() < RESPONSE_BODY_BYTES_MAX {
        match lazy.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => body.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // An error ends the body, which only explains the status.
            Err(_) => break,
        }
    }
    body.truncate(RESPONSE_BODY_BYTES_MAX);
    let mut headers = Vec::new();
    for (name, value) in &lazy.headers {
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Response { status: lazy.status_code, headers, body }
}

#[cfg(test)]
mod tests;
