//! A folder like `garrysmod` with an embedded server that serves from it, a client that publishes events as servers do,
//! and running programs whose lines are read.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use realtime::facade::embedded::{Claim, Files, Server, Waker};

use crate::tool;

/// How long a test waits for something that must happen: only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server's folder `garrysmod`. It is removed with its value.
pub(crate) struct Game {
    pub(crate) folder: PathBuf,
    redis: Mutex<Option<Redis>>,
}

/// A running embedded server.
struct Redis {
    port: u16,
    password: String,
    is_over: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: JoinHandle<()>,
}

impl Game {
    /// The folder with these settings in `cfg/realtime.json`, if any, and a running Redis.
    pub(crate) fn start(settings: Option<&str>) -> Game {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("realtime-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("cfg")).unwrap();
        if let Some(settings) = settings {
            fs::write(folder.join("cfg/realtime.json"), settings).unwrap();
        }
        let game = Game { folder, redis: Mutex::default() };
        game.start_redis();
        game
    }

    /// Starts Redis, on the port of the last time.
    pub(crate) fn start_redis(&self) {
        fs::create_dir_all(self.folder.join("data")).unwrap();
        let Claim::Ours(files) = Files::claim(&self.folder.join("data/realtime")).unwrap() else {
            panic!("another process serves")
        };
        let (mut server, login, _) = Server::open(files).unwrap();
        let (is_over, waker) = (Arc::new(AtomicBool::new(false)), Arc::clone(server.waker()));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                server.turn(Duration::from_secs(1)).unwrap();
            }
        });
        let (port, password) = (login.port, login.password().to_owned());
        *self.redis.lock().unwrap() = Some(Redis { port, password, is_over, waker, thread });
    }

    pub(crate) fn stop_redis(&self) {
        if let Some(redis) = self.redis.lock().unwrap().take() {
            redis.is_over.store(true, Ordering::Release);
            redis.waker.wake();
            redis.thread.join().unwrap();
        }
    }

    /// Port and password of Redis.
    pub(crate) fn login(&self) -> (u16, String) {
        let redis = self.redis.lock().unwrap();
        let redis = redis.as_ref().unwrap();
        (redis.port, redis.password.clone())
    }

    /// The reply to one command, without its kind; an error ends the test.
    pub(crate) fn command(&self, words: &[&[u8]]) -> String {
        let (port, password) = self.login();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        for words in [&[b"AUTH".as_slice(), password.as_bytes()][..], words] {
            bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        stream.write_all(&bytes).unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "+OK");
        let reply = lines.next().unwrap().unwrap();
        assert!(!reply.starts_with('-'), "{reply}");
        reply[1..].to_owned()
    }

    /// Publishes an event. Returns the number of listeners.
    pub(crate) fn publish(&self, channel: &[u8], payload: &[u8]) -> u64 {
        self.command(&[b"PUBLISH", channel, payload]).parse().unwrap()
    }

    /// Publishes until somebody listens: nobody has heard it before.
    #[track_caller]
    pub(crate) fn publish_heard(&self, channel: &[u8], payload: &[u8]) {
        wait_until("somebody listens", || self.publish(channel, payload) > 0);
    }

    /// `realtime-cli` with these arguments and this folder.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = tool();
        command.args(arguments).arg("--game").arg(&self.folder);
        command
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        self.stop_redis();
        let _ = fs::remove_dir_all(&self.folder); // A leftover in the temporary folder is harmless.
    }
}

/// The text of an event that a server of this module sends on a channel.
pub(crate) fn numbered(server: &str, boot: u64, seq: u64, wire_channel: &str, members: &str) -> String {
    let crc = crc32fast::hash(wire_channel.as_bytes());
    format!("{{{members},\"_rt\":\"{server}/{boot:016x}:{seq}:1700000000000:{crc:08x}\"}}")
}

/// A program that runs until its value is dropped.
pub(crate) struct Running {
    child: Child,
    /// `None`: the test has closed it.
    out: Option<BufReader<ChildStdout>>,
    /// All of stderr so far.
    said: Arc<Mutex<String>>,
    ends: Receiver<()>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, mut err) = (child.stdout.take().map(BufReader::new), child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let (heard, (end, ends)) = (Arc::clone(&said), channel());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = err.read(&mut piece) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            drop(end);
        });
        Running { child, out, said, ends }
    }

    /// The next line of stdout, without its end. Empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Closes stdout at this end, as `| head` does.
    pub(crate) fn close_out(&mut self) {
        self.out = None;
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn wait_said(&self, text: &str) {
        wait_until(text, || self.said().contains(text));
    }

    /// The exit status of a program that ends by itself, and all that it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        // The thread that reads stderr ends after the last byte, which is no message.
        let _ = self.ends.recv_timeout(PATIENCE);
        (code, self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this is true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
