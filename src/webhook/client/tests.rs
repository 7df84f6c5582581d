//! Whole requests through minreq and the carrier, against hostile servers on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::config::Proxies;
use crate::hooks::url::Url;
use crate::webhook::resolve::Resolver;

fn client() -> Client {
    Client::new(Arc::new(Dialer::new(Resolver::default(), "", Proxies::default())), 1)
}

fn request(url: &str, seconds: u64) -> Request {
    Request::post_json(Url::parse(url).unwrap(), "{}".to_owned(), Duration::from_secs(seconds))
}

/// A server that reads the request's head, sends these pieces, and closes. Its URL; it ends with its one connection.
fn server(pieces: Vec<Vec<u8>>) -> String {
    server_of("\r\n\r\n{}", pieces)
}

/// The same for requests that end so.
fn server_of(end: &'static str, pieces: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            seen.extend_from_slice(&byte);
        }
        for piece in pieces {
            if stream.write_all(&piece).is_err() {
                return;
            }
        }
    });
    url
}

fn send(pieces: Vec<Vec<u8>>) -> Result<Response, String> {
    client().send(&request(&server(pieces), 30), "id", &Arc::default()).map_err(|err| err.to_string())
}

/// Responses, and the status and body that are read from each.
const RESPONSES: &[(&str, u16, &str)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi"),
    ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    ("HTTP/1.0 200\r\n\r\nto the end", 200, "to the end"),
    ("HTTP/1.1 500 Oops\nServer: x\n\nbare line ends", 500, "bare line ends"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;ext=1\r\n ho\r\n0\r\nX: y\r\n\r\n",
        200,
        "hi ho",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", 200, "0123456789"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi", 200, ""),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhi", 200, ""),
    // The largest length of a 32-bit server.
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nhi", 200, "hi"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: \u{e9}\r\n", 200, "hi"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", 200, "hi"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", 200, "hi"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 4294967295\r\n\r\nhi", 200, "hi"),
    ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi", 200, "hi"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi", 200, "hi"),
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 201 Made\r\n\r\nx", 201, "x"),
    ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, ""),
    ("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\nhello", 304, ""),
    ("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig", 413, "big"),
    ("HTTP/1.1 200 OK\r\nno colon\r\n: no name\r\nA:b\r\nX: \u{e9}\r\n\r\nx", 200, "x"),
];

#[test]
fn responses_whole_and_in_single_bytes() {
    for (text, status, body) in RESPONSES {
        for pieces in [vec![text.as_bytes().to_vec()], text.bytes().map(|byte| vec![byte]).collect()] {
            let response = send(pieces).unwrap();
            assert_eq!((response.status, &*String::from_utf8_lossy(&response.body)), (*status, *body), "{text:?}");
        }
    }
}

#[test]
fn headers_are_found_in_lower_case() {
    let head = b"HTTP/1.1 429 x\r\nX-RateLimit-Scope:  global \r\nRetry-After:5\r\nRetry-After: 6\r\n\r\n";
    let response = send(vec![head.to_vec()]).unwrap();
    assert_eq!(response.header("x-ratelimit-scope"), Some("global"));
    assert_eq!((response.header("retry-after"), response.header("via")), (Some("5"), None));
}

#[test]
fn heads_and_bodies_without_end_are_cut() {
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    // A header line one byte short of minreq's own limit, ended by a bare LF, makes one of its counters underflow.
    let underflow = [b"A: ".as_slice(), &[b'x'; 8188], b"\n"].concat();
    for pieces in [
        [vec![head.clone()], vec![b"A: b\r\n".to_vec(); 100_000]].concat(),
        [vec![head.clone()], vec![vec![b'x'; 1000]; 1000]].concat(),
        [vec![head], vec![underflow; 1000]].concat(),
    ] {
        let found = send(pieces).unwrap_err();
        assert!(found.contains("the head of its answer is longer than 16384 bytes"), "{found}");
    }
    let trailers = vec![b"A: b\r\n".to_vec(); 100_000];
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n".to_vec();
    assert_eq!(send([vec![chunked], trailers].concat()).unwrap().body, b"hi");
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"] {
        let pieces = [vec![head.as_bytes().to_vec()], vec![vec![b'x'; 1000]; 1000]].concat();
        assert_eq!(send(pieces).unwrap().body.len(), RESPONSE_BODY_BYTES_MAX);
    }
}

#[test]
fn a_response_to_head_has_no_body() {
    let url = server_of("\r\n\r\n", vec![b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()]);
    let mut request = request(&url, 30);
    (request.method, request.body) = ("HEAD".into(), Vec::new());
    let response = client().send(&request, "id", &Arc::default()).unwrap();
    assert_eq!((response.status, response.body), (200, Vec::new()));
}

/// A program that guesses the port, and knows no token, neither gets the request nor keeps it from its way.
#[test]
fn other_programs_cannot_use_the_carriers_port() {
    let mut client = client();
    client.send(&request(&server(vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()]), 30), "id", &Arc::default()).unwrap();
    let address = client.carrier.as_ref().unwrap().address();
    let mut intruder = TcpStream::connect(address).unwrap();
    intruder.write_all(b"POST /guess HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mute = TcpStream::connect(address).unwrap();
    let url = server(vec![b"HTTP/1.1 200 OK\r\n\r\nfor us".to_vec()]);
    assert_eq!(client.send(&request(&url, 30), "id", &Arc::default()).unwrap().body, b"for us");
    let mut got = Vec::new();
    // Reset or closed: nothing comes back.
    let _ = intruder.read_to_end(&mut got);
    assert_eq!(got, b"");
    drop(mute);
}

/// A request that waits for a name, or for an answer, ends when it is interrupted.
#[test]
fn a_request_ends_when_it_is_interrupted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}/", listener.local_addr().unwrap());
    let (began_tx, began_rx) = mpsc::channel();
    let lookup = move |_: &str| {
        began_tx.send(()).unwrap();
        thread::sleep(Duration::from_secs(3600));
        Ok(Vec::new())
    };
    let dialer = Arc::new(Dialer::new(Resolver::new(lookup), "", Proxies::default()));
    for (url, words) in [("http://hangs/", "not looked up in time"), (&*mute, "it closed the connection")] {
        let request = request(url, 3600);
        let interrupt = Arc::new(Interrupt::default());
        let (mut client, own) = (Client::new(Arc::clone(&dialer), 1), Arc::clone(&interrupt));
        let sender = thread::spawn(move || client.send(&request, "id", &own));
        // Until it has begun; and the whole request has arrived where it is not answered.
        let mut asked = if url == mute { Some(listener.accept().unwrap().0) } else { None };
        match &mut asked {
            Some(stream) => assert!(stream.read(&mut [0; 1024]).unwrap() > 0),
            None => began_rx.recv().unwrap(),
        }
        interrupt.set();
        let found = sender.join().unwrap().unwrap_err().to_string();
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn a_request_that_was_interrupted_before_it_began_reaches_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let interrupt = Arc::new(Interrupt::default());
    interrupt.set();
    assert!(client().send(&request(&url, 3600), "id", &interrupt).is_err());
    assert!(listener.accept().is_err());
}

/// A server that refuses a large request answers before it has read the body.
#[test]
fn an_early_refusal_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").unwrap();
        // It reads on, so that no reset overtakes the answer.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest.len()
    });
    let mut request = request(&url, 30);
    request.body = vec![b'x'; 4 * 1024 * 1024];
    let response = client().send(&request, "id", &Arc::default()).unwrap();
    assert_eq!((response.status, &*response.body), (413, &b"big"[..]));
    assert!(server.join().unwrap() > 0);
}

/// A line of `/proc/self/status`, as a number.
#[cfg(target_os = "linux")]
fn process_status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Every tenth request hangs until its deadline. `REALTIME_REQUESTS=10000` makes the test as long as it should once be.
#[cfg(target_os = "linux")]
#[allow(clippy::print_stdout, reason = "the figures of a run by hand")]
#[test]
fn threads_sockets_and_memory_stay_flat() {
    // A process of its own: other tests have threads and sockets too.
    let inner = "REALTIME_TEST_INNER";
    if std::env::var_os(inner).is_none() {
        let program = std::env::current_exe().unwrap();
        let name = "webhook::client::tests::threads_sockets_and_memory_stay_flat";
        let run = std::process::Command::new(program).args(["--exact", name, "--nocapture"]).env(inner, "1").output();
        let run = run.unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
        println!("{said}");
        return;
    }
    let requests: usize = std::env::var("REALTIME_REQUESTS").map_or(300, |text| text.parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let url = format!("http://{server}");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap_or(0);
            if buffer[..read].starts_with(b"POST /hang") {
                // The client closes at its deadline.
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
            } else {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
            }
        }
    });
    let mut client = client();
    let (mut answered, mut hung) = (0, 0);
    let mut send = |count: usize| {
        for n in 0..count {
            let hangs = n % 10 == 9;
            let mut request = request(&format!("{url}/{}", if hangs { "hang" } else { "ok" }), 30);
            if hangs {
                request.timeout = Duration::from_millis(40);
            }
            match client.send(&request, "id", &Arc::default()) {
                Ok(response) => answered += usize::from(response.body == b"hi" && !hangs),
                Err(reason) => hung += usize::from(hangs && reason.to_string().contains("no answer in time")),
            }
        }
    };
    let figures = || {
        // The server here serves one connection after the other: this answer ends after it closed all others.
        let mut last = TcpStream::connect(server).unwrap();
        last.write_all(b"POST /ok").unwrap();
        last.read_to_end(&mut Vec::new()).unwrap();
        drop(last);
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
        (process_status("Threads:"), files, process_status("VmRSS:"))
    };
    send(100);
    let before = figures();
    send(requests);
    let after = figures();
    println!("after 100 requests, and {requests} more: threads, files, RSS in kB: {before:?}, {after:?}");
    assert_eq!((answered, hung), ((requests + 100) / 10 * 9, (requests + 100) / 10));
    assert_eq!((before.0, before.1), (after.0, after.1));
    assert!(after.2 < before.2 + 2048, "{before:?} {after:?}");
}
