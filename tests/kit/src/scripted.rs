//! A server that claims to be Redis and answers as a test wants: a script runs for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::redis::encode;

pub struct Scripted {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Scripted {
    /// Runs `script` for each connection, each on its own thread; when it returns, the connection ends.
    pub fn start(script: impl Fn(&mut Client) + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared::default());
        let (script, seen) = (Arc::new(script), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if seen.ended.load(Ordering::SeqCst) {
                    return;
                }
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                seen.open.lock().expect("open").push(stream.try_clone().expect("clone a socket"));
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    let reader = BufReader::new(stream.try_clone().expect("clone a socket"));
                    script(&mut Client { stream: stream.try_clone().expect("clone a socket"), reader, number });
                    let _ = stream.shutdown(Shutdown::Both); // The other end may have closed first.
                });
            }
        });
        Scripted { port, shared }
    }

    /// The address as a value of the option `redis`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for stream in self.shared.open.lock().expect("open").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A command to which Redis replies with exactly this error text.
pub fn answer_with(error: &str) -> Vec<String> {
    ["EVAL", "return {err=ARGV[1]}", "0", error].map(str::to_owned).to_vec()
}

/// One connection to a [`Scripted`].
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    number: usize,
}

impl Client {
    /// The number of this connection, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads the next command, its words as text; `None` at the end of the connection.
    pub fn command(&mut self) -> Option<Vec<String>> {
        let count = self.header('*')?;
        (0..count).map(|_| self.word()).collect()
    }

    /// Reads the next command after the handshake. Commands of the handshake are answered as a master does.
    pub fn question(&mut self) -> Option<Vec<String>> {
        loop {
            let command = self.command()?;
            match command[0].as_str() {
                "AUTH" | "SELECT" | "CLIENT" => self.send(b"+OK\r\n"),
                "ROLE" => self.send(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
                "PING" => self.send(b"+PONG\r\n"),
                _ => return Some(command),
            }
        }
    }

    /// Sends bytes. Ignores that the other end may have closed.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Acknowledges a SUBSCRIBE or PSUBSCRIBE.
    pub fn acknowledge(&mut self, command: &[String]) {
        let (verb, name) = (command[0].to_lowercase(), &command[1]);
        self.send(format!("*3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:1\r\n", verb.len(), name.len()).as_bytes());
    }

    /// Passes everything on to the Redis at `to` until one end closes. `change` may replace a command by another;
    /// [`answer_with`] makes one to which Redis replies with a given error.
    pub fn relay(&mut self, to: SocketAddr, change: impl Fn(Vec<String>) -> Vec<String>) {
        let mut redis = TcpStream::connect(to).expect("cannot connect to redis");
        let (mut from, mut back) = (redis.try_clone().expect("clone"), self.stream.try_clone().expect("clone"));
        let answers = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        while let Some(command) = self.command() {
            let command = change(command);
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            if redis.write_all(&encode(&words)).is_err() {
                break;
            }
        }
        let _ = redis.shutdown(Shutdown::Both);
        answers.join().expect("the thread of the answers");
    }

    /// Answers as a well-behaved Redis does until the other end closes, but delivers no event.
    pub fn behave(&mut self) {
        while let Some(command) = self.question() {
            match command[0].as_str() {
                "SUBSCRIBE" | "PSUBSCRIBE" => self.acknowledge(&command),
                _ => self.send(b":0\r\n"),
            }
        }
    }

    fn header(&mut self, kind: char) -> Option<usize> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        line.trim_end().strip_prefix(kind)?.parse().ok()
    }

    fn word(&mut self) -> Option<String> {
        let mut bytes = vec![0; self.header('$')? + 2];
        self.reader.read_exact(&mut bytes).ok()?;
        bytes.truncate(bytes.len() - 2);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}
