//! A web server that answers as a test wants, over HTTP or HTTPS: it can play Discord or a badly broken host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;

use crate::certificates::Certificates;
use crate::{PATIENCE, wait_until};

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub method: String,
    pub target: String,
    /// The names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no header {name} in {self:?}"), |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// The text of a Discord message.
    pub fn content(&self) -> String {
        self.json()["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    /// A status with headers, one on each line, and a body.
    Full(u16, String, String),
    /// No answer; the connection stays open as long as the other end keeps it.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// These bytes; then closes the connection.
    Raw(Vec<u8>),
    /// A valid answer, one byte each second.
    Drip,
    /// A valid head with this status, then one byte of the body each second.
    DripBody(u16),
    /// A valid head with this status, then an endless body.
    Endless(u16),
    /// A head of this many bytes.
    LongHead(usize),
}

/// The server. It ends when the value is dropped.
pub struct Web {
    port: u16,
    https: bool,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    over: (Mutex<bool>, Condvar),
    connections: AtomicUsize,
    /// The number of connections whose request was read, or ended before it was complete.
    asked: AtomicUsize,
    bytes_sent: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<Vec<TcpStream>>,
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

impl Web {
    /// Answers each request as `script` says, then closes its connection.
    pub fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Web {
        Web::listen(None, Arc::new(script))
    }

    /// As [`Web::start`], over TLS.
    pub fn start_tls(certificates: &Certificates, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Web {
        Web::start_tls_with(certificates, ring::ALL_KX_GROUPS, rustls::DEFAULT_VERSIONS, script)
    }

    /// As [`Web::start_tls`], with these key exchanges and versions of TLS only.
    pub fn start_tls_with(
        certificates: &Certificates,
        key_exchanges: &[&'static dyn SupportedKxGroup],
        versions: &[&'static SupportedProtocolVersion],
        script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Web {
        let chain = CertificateDer::pem_file_iter(&certificates.cert).expect("a certificate");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&certificates.key).expect("a key");
        let provider = CryptoProvider { kx_groups: key_exchanges.to_vec(), ..ring::default_provider() };
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .expect("a TLS server");
        Web::listen(Some(Arc::new(config)), Arc::new(script))
    }

    fn listen(tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Web {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared::default());
        let (seen, https) = (Arc::clone(&shared), tls.is_some());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if seen.ended.load(Ordering::SeqCst) {
                    return;
                }
                seen.connections.fetch_add(1, Ordering::SeqCst);
                seen.open.lock().expect("open").push(stream.try_clone().expect("clone a socket"));
                let (shared, script, tls) = (Arc::clone(&seen), Arc::clone(&script), tls.clone());
                thread::spawn(move || {
                    let socket = stream.try_clone().expect("clone a socket");
                    match tls {
                        None => Connection { shared: &shared, stream: BufReader::new(stream) }.serve(&script),
                        Some(config) => {
                            let session = ServerConnection::new(config).expect("a TLS session");
                            let stream = BufReader::new(StreamOwned::new(session, stream));
                            Connection { shared: &shared, stream }.serve(&script);
                        }
                    }
                    let _ = socket.shutdown(Shutdown::Both); // The other end may have closed first.
                });
            }
        });
        Web { port, https, shared }
    }

    /// `http://127.0.0.1:<port><path>`, or `https://localhost:...`.
    pub fn url(&self, path: &str) -> String {
        if self.https {
            format!("https://localhost:{}{path}", self.port)
        } else {
            format!("http://127.0.0.1:{}{path}", self.port)
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("seen").clone()
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until every request that was sent before this call is in [`Web::seen`].
    #[track_caller]
    pub fn catch_up(&self) {
        // Connections are accepted in order: when this one has ended, all earlier ones were accepted.
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("cannot connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream.shutdown(Shutdown::Write).expect("end the request");
        stream.read_to_end(&mut Vec::new()).expect("the end of the connection");
        wait_until("every request is read", || self.shared.asked.load(Ordering::SeqCst) == self.connections());
    }

    /// Bytes of answers that the other ends accepted.
    pub fn bytes_sent(&self) -> u64 {
        self.shared.bytes_sent.load(Ordering::SeqCst)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        *self.shared.over.0.lock().expect("over") = true;
        self.shared.over.1.notify_all();
        // Wakes the accepting thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for stream in self.shared.open.lock().expect("open").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Connection<'a, S: Read> {
    shared: &'a Shared,
    stream: BufReader<S>,
}

impl<S: Read + Write> Connection<'_, S> {
    fn serve(mut self, script: &Arc<Script>) {
        let request = self.request();
        let answer = request.map(|seen| {
            let answer = script(&seen);
            self.shared.seen.lock().expect("seen").push(seen);
            answer
        });
        self.shared.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer {
            self.answer(answer);
        }
    }

    fn request(&mut self) -> Option<Seen> {
        let first = self.line()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ")?;
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().expect("a length"))];
        self.stream.read_exact(&mut body).ok()?;
        Some(Seen { at: Instant::now(), method, target, headers, body })
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn answer(&mut self, answer: Answer) {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nServer: test\r\n\r\n";
        match answer {
            Answer::Status(status) => self.send(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes()),
            Answer::Full(status, headers, body) => {
                let headers: String = headers.lines().map(|header| format!("{header}\r\n")).collect();
                let length = body.len();
                self.send(format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}").as_bytes())
            }
            Answer::Raw(bytes) => self.send(&bytes),
            Answer::Close => true,
            Answer::Hang => self.pause(Duration::MAX),
            Answer::Drip => HEAD.bytes().all(|byte| self.send(&[byte]) && self.pause(Duration::from_secs(1))),
            Answer::DripBody(status) => {
                let mut going = self.send(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes());
                while going {
                    going = self.pause(Duration::from_secs(1)) && self.send(b"x");
                }
                false
            }
            Answer::Endless(status) => {
                let mut going = self.send(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes());
                while going {
                    going = self.send(&[b'x'; 16 * 1024]);
                }
                false
            }
            Answer::LongHead(bytes) => {
                let line = format!("X-Long: {}\r\n", "x".repeat(1000));
                self.send(b"HTTP/1.1 200 OK\r\n") && (0..bytes / line.len()).all(|_| self.send(line.as_bytes()))
            }
        };
    }

    /// Returns true while the other end accepts bytes.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let stream = self.stream.get_mut();
        let sent = stream.write_all(bytes).and_then(|()| stream.flush()).is_ok();
        if sent {
            self.shared.bytes_sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
        sent
    }

    /// Returns false when the server ends.
    fn pause(&self, duration: Duration) -> bool {
        let (over, changed) = &self.shared.over;
        let guard = over.lock().expect("over");
        if duration == Duration::MAX {
            !*changed.wait_while(guard, |over| !*over).expect("over")
        } else {
            !*changed.wait_timeout_while(guard, duration, |over| !*over).expect("over").0
        }
    }
}

/// A rate limit as Discord has for each webhook: `size` requests in each window, reported in headers.
pub struct Bucket {
    size: u32,
    window: Duration,
    state: Mutex<(Instant, u32)>,
    /// Requests that came although the answer before said that none remained, or before the window ended.
    broken: AtomicUsize,
    until: Mutex<Instant>,
}

impl Bucket {
    pub fn new(size: u32, window: Duration) -> Bucket {
        let now = Instant::now();
        Bucket { size, window, state: Mutex::new((now, 0)), broken: AtomicUsize::new(0), until: Mutex::new(now) }
    }

    /// Counts one more request and returns the answer to it.
    pub fn answer(&self) -> Answer {
        let (mut state, now) = (self.state.lock().expect("state"), Instant::now());
        if now >= state.0 + self.window {
            *state = (now, 0);
        }
        let mut until = self.until.lock().expect("until");
        self.broken.fetch_add(usize::from(now < *until), Ordering::SeqCst);
        state.1 += 1;
        let left = (state.0 + self.window).saturating_duration_since(now);
        let (remaining, seconds) = (self.size.saturating_sub(state.1), left.as_secs_f64());
        if remaining == 0 {
            *until = state.0 + self.window;
        }
        let headers = format!(
            "X-RateLimit-Limit: {}\nX-RateLimit-Remaining: {remaining}\nX-RateLimit-Reset-After: {seconds:.3}\nX-RateLimit-Bucket: abcd",
            self.size
        );
        if state.1 > self.size {
            let body =
                format!(r#"{{"message":"You are being rate limited.","retry_after":{seconds:.3},"global":false}}"#);
            return Answer::Full(429, format!("{headers}\nRetry-After: {}", seconds.ceil()), body);
        }
        Answer::Full(200, headers, "{}".to_owned())
    }

    /// The number of requests that should have waited.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::SeqCst)
    }
}
