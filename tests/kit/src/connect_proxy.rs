//! An HTTP proxy on loopback that understands `CONNECT`. Whatever host a request names, the way leads to this machine: so
//! a test can use hosts that no name server knows, and sees that nobody looked them up.

use std::io::{BufRead, BufReader, Read, Write, copy};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request for a way.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The method and the place: `CONNECT host:port`.
    pub line: String,
    /// The names are in lower case.
    pub headers: Vec<(String, String)>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Way {
    /// Opens the way.
    Open,
    /// These bytes; then closes the connection.
    Raw(Vec<u8>),
    /// These bytes again and again, until the other end closes.
    Endless(Vec<u8>),
    /// No answer; the connection stays open as long as the other end keeps it.
    Hang,
    /// Opens the way, and closes it after this many bytes from the destination.
    CloseAfter(u64),
}

/// The proxy. It takes no more connections when the value is dropped.
pub struct ConnectProxy {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl ConnectProxy {
    /// Answers each request as `script` says.
    pub fn start(script: impl Fn(&Asked) -> Way + Send + Sync + 'static) -> ConnectProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let port = listener.local_addr().expect("a bound address").port();
        let (asked, ended, script) = (Arc::default(), Arc::<AtomicBool>::default(), Arc::new(script));
        let proxy = ConnectProxy { port, asked: Arc::clone(&asked), ended: Arc::clone(&ended) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (asked, script) = (Arc::clone(&asked), Arc::clone(&script));
                thread::spawn(move || serve(&stream, &asked, &*script));
            }
        });
        proxy
    }

    /// `http://<login>127.0.0.1:<port>`, where the login is empty or ends with `@`.
    pub fn url(&self, login: &str) -> String {
        format!("http://{login}127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("asked").clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // Wakes the listener, if it still listens.
    }
}

fn serve(stream: &TcpStream, asked: &Mutex<Vec<Asked>>, script: &dyn Fn(&Asked) -> Way) {
    let mut reader = BufReader::new(stream);
    let Some(request) = read(&mut reader) else { return };
    asked.lock().expect("asked").push(request.clone());
    let mut writer = stream;
    match script(&request) {
        Way::Open => relay(stream, reader, &request, u64::MAX),
        Way::CloseAfter(bytes) => relay(stream, reader, &request, bytes),
        Way::Raw(bytes) => _ = writer.write_all(&bytes), // The other end may have closed.
        Way::Endless(bytes) => while writer.write_all(&bytes).is_ok() {},
        Way::Hang => _ = reader.read_to_end(&mut Vec::new()),
    }
    let _ = stream.shutdown(Shutdown::Both); // The other end may have closed first.
}

/// The head of a request, which ends with an empty line.
fn read(reader: &mut dyn BufRead) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0).strip_suffix(" HTTP/1.1")?.to_owned();
    let headers = lines.iter().filter_map(|line| line.split_once(": "));
    Some(Asked { line, headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect() })
}

/// Opens the way to the port of the request, and carries at most this many bytes back.
fn relay(stream: &TcpStream, mut reader: BufReader<&TcpStream>, request: &Asked, bytes_back: u64) {
    let port = request.line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let Ok(destination) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        let mut writer = stream;
        let _ = writer.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"); // The other end may have closed.
        return;
    };
    let mut writer = stream;
    if writer.write_all(b"HTTP/1.1 200 Connection established\r\nVia: kit\r\n\r\n").is_err() {
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = copy(&mut reader, &mut &destination); // Ends with either end.
            let _ = destination.shutdown(Shutdown::Both);
        });
        let _ = copy(&mut (&destination).take(bytes_back), &mut writer); // Ends with either end.
        let _ = (stream.shutdown(Shutdown::Both), destination.shutdown(Shutdown::Both));
    });
}
