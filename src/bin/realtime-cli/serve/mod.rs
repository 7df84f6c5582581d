//! `serve`: one page on 127.0.0.1 that shows what passes through Redis. The main thread reads Redis; one thread reads the list of
//! servers, one accepts connections, and each connection has a thread while it lives. Nothing here changes anything: there are GET routes only.
//!
//! ```text
//!   Redis ──▶ feed.rs ──▶ hub.rs: last events, counts, servers, gaps ──▶ a thread for each page ──▶ browser
//!   roll.rs: ZRANGE, MGET, each 5 s while a page is open ──▶ hub.rs
//!                          boards.rs: ZREVRANGE, when a page asks ◀──────────────┘
//! ```
//!
//! | a stranger may try | it fails because |
//! |---|---|
//! | to ask from another machine | it listens on 127.0.0.1 only |
//! | to ask from another user or program of this machine | a random token is asked for; it stands in the address behind the `#`, which no browser sends or logs, and travels in a header |
//! | to ask from a web page in the same browser | there are no CORS headers, `Origin` and `Host` are compared, and a page knows no token |
//! | to point a name of its own at 127.0.0.1 (DNS rebinding) | `Host` must be 127.0.0.1 or localhost with the port |
//! | a player's name that is HTML or script | the page makes text nodes only, and its policy allows no script but its own file |
//! | to send slowly, much, or never read | heads, times, pages, connections and texts are bounded; see the constants |

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use realtime::facade::event::topic::Topic;
use realtime::facade::io::net::Socket;

use crate::feed::{self, News};
use crate::options::{Options, redis_options};
use crate::roll::Roll;
use crate::serve::boards::{Boards, ROWS_MAX};
use crate::serve::http::{Refusal, Request, STALL_MAX, WRITE_MAX};
use crate::serve::hub::{Facts, Hub};
use crate::settings::Settings;
use crate::{Failure, report};

mod boards;
mod http;
mod hub;
mod servers;
mod tally;

/// Text for `--help`, and for wrong arguments.
pub(crate) const USAGE: &str = concat!(
    "\
usage: realtime-cli serve [PATTERN...] [--port N] [--board NAME]... [OPTION...]
Prints the address of the page. It works in browsers on this machine only, and ends with this program.
PATTERN        a channel, or a pattern with * ? [ ] as in realtime.On; without the prefix; all channels by default
               (behind -- also one that begins with a dash)
--port N       the port on 127.0.0.1; 0 takes any free one
--board NAME   a leaderboard (sorted set) that the page shows from the start; further ones can be typed there
",
    redis_options!()
);

/// The port without `--port`.
const PORT: u16 = 7379;
/// Random bytes of the token: 256 bits.
const TOKEN_BYTES: usize = 32;
/// Connections that are served at once. A page has one that stays, and short ones for its files and boards.
const CONNECTIONS_MAX: usize = 32;
/// Stack of a connection's thread, in bytes.
const STACK_BYTES: usize = 256 * 1024;
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Shortest time between two batches of events for a page, and the longest without one.
const BATCH_PAUSE: Duration = Duration::from_millis(100);
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// Time between two readings of the list of servers: half of that between two beats of a server.
const ROLL_PAUSE: Duration = Duration::from_secs(5);
/// Rows of a board if the page names no number.
const BOARD_ROWS: usize = 10;

/// The files of the page: path, type, content.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// Serves until the process ends.
pub(crate) fn run(arguments: Vec<OsString>, out: &mut impl Write) -> Result<(), Failure> {
    let mut options = Options::parse(arguments, &["--port", "--board"], USAGE)?;
    if options.patterns.is_empty() {
        options.patterns.push("*".to_owned());
    }
    let settings = Arc::new(Settings::read(&options)?);
    let wanted = options.port.unwrap_or(PORT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).map_err(|err| {
        Failure::Other(format!("cannot listen on 127.0.0.1:{wanted}: {err}; choose another port with --port"))
    })?;
    let port = listener.local_addr().map_err(|err| Failure::Other(format!("cannot listen: {err}")))?.port();
    let token = new_token()?;
    writeln!(out, "http://127.0.0.1:{port}/#{token}")?;
    out.flush()?;
    report(&format!("open the address above in a browser of this machine; {}", settings.sources));
    let topics: Vec<Topic> = options.patterns.iter().map(|pattern| Topic::new(pattern.as_bytes())).collect();
    let facts = Facts {
        patterns: options.patterns,
        boards: options.boards,
        prefix: settings.prefix().to_owned(),
        sources: settings.sources.clone(),
    };
    let site = Arc::new(Site {
        hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
        token,
        hub: Hub::new(facts),
        boards: Boards::new(Arc::clone(&settings)),
        connections: AtomicUsize::new(0),
    });
    let accepting = Arc::clone(&site);
    start("accept", move || accept(&accepting, &listener))?;
    let (calling, roll) = (Arc::clone(&site), Roll::new(Arc::clone(&settings), "servers"));
    start("servers", move || call_roll(&calling.hub, roll))?;
    let mut said = String::new();
    let mut tell = |news: News<'_>| {
        site.hub.take(&news);
        match news {
            News::Connected { redis } => {
                said.clear();
                report(&format!("listening to {redis}"));
            }
            News::Lost { reason, .. } if said != reason => {
                report(reason);
                reason.clone_into(&mut said);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    };
    feed::run(&settings, "serve", &topics, &mut tell);
    Ok(())
}

/// Starts a thread that lives as long as the process.
fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|err| Failure::Other(format!("cannot start a thread: {err}")))
}

/// Reads which servers are up, while a page is open, for ever.
fn call_roll(hub: &Hub, mut roll: Roll) {
    loop {
        if hub.has_pages() {
            hub.servers(roll.read());
            std::thread::sleep(ROLL_PAUSE);
        } else {
            std::thread::sleep(BATCH_PAUSE);
        }
    }
}

/// A token that nobody can guess.
fn new_token() -> Result<String, Failure> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::getrandom(&mut random)
        .map_err(|err| Failure::Other(format!("the system has no random numbers: {err}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All that the threads of connections share.
struct Site {
    /// The values of `Host` that are served.
    hosts: [String; 2],
    token: String,
    hub: Hub,
    boards: Boards,
    connections: AtomicUsize,
}

/// One of [`CONNECTIONS_MAX`] places, free again when it is dropped.
struct Place(Arc<Site>);

impl Place {
    fn take(site: &Arc<Site>) -> Option<Place> {
        if site.connections.fetch_add(1, Ordering::AcqRel) < CONNECTIONS_MAX {
            return Some(Place(Arc::clone(site)));
        }
        site.connections.fetch_sub(1, Ordering::AcqRel);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts connections, for ever. One without a place is closed at once.
fn accept(site: &Arc<Site>, listener: &TcpListener) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // The client has gone, or the system has no socket left.
            Err(_) => {
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let Some(place) = Place::take(site) else {
            site.hub.refused();
            continue;
        };
        let serve = move || place.0.serve(stream);
        if Builder::new().name("connection".to_owned()).stack_size(STACK_BYTES).spawn(serve).is_err() {
            site.hub.refused();
        }
    }
}

const FORBIDDEN_HOST: Refusal = Refusal("403 Forbidden", "this server is 127.0.0.1 or localhost");
const FORBIDDEN_ORIGIN: Refusal = Refusal("403 Forbidden", "this page is not for other sites");
const NO_TOKEN: Refusal =
    Refusal("401 Unauthorized", "the token is missing or wrong: use the address that the program printed");
const NOT_FOUND: Refusal = Refusal("404 Not Found", "there is no such path");
const FULL: Refusal = Refusal("503 Service Unavailable", "too many pages are open: close one");

impl Site {
    /// Serves one request.
    fn serve(&self, stream: TcpStream) {
        // Fails only if the client has gone.
        let Ok(socket) = Socket::new(stream) else { return };
        match http::read(&socket) {
            None => {}
            Some(Err(refusal)) => http::refuse_unread(&socket, refusal),
            Some(Ok(request)) => {
                if let Err(refusal) = self.route(&socket, &request) {
                    // A client that has gone by now wants no answer.
                    let _ = http::refuse(&socket, refusal);
                }
            }
        }
        socket.end();
    }

    /// Answers, or returns the refusal to answer with.
    fn route(&self, socket: &Socket, request: &Request) -> Result<(), Refusal> {
        if !self.hosts.iter().any(|host| host.eq_ignore_ascii_case(&request.host)) {
            return Err(FORBIDDEN_HOST);
        }
        let is_own = |origin: &str| self.hosts.iter().any(|host| origin.strip_prefix("http://") == Some(host));
        if request.origin.as_deref().is_some_and(|origin| !is_own(origin)) {
            return Err(FORBIDDEN_ORIGIN);
        }
        if let Some((_, kind, content)) = FILES.iter().find(|(path, ..)| *path == request.path) {
            http::answer(socket, "200 OK", kind, content.as_bytes());
            return Ok(());
        }
        if !matches!(request.path.as_str(), "/events" | "/board") {
            return Err(NOT_FOUND);
        }
        if !request.token.as_ref().is_some_and(|token| is_same(token.as_bytes(), self.token.as_bytes())) {
            return Err(NO_TOKEN);
        }
        if request.path == "/board" {
            self.board(socket, request);
            return Ok(());
        }
        self.stream(socket)
    }

    /// The rows of a board: `/board?name=kills&rows=10`.
    fn board(&self, socket: &Socket, request: &Request) {
        let value = |name: &str| request.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let rows = value("rows").and_then(|rows| rows.parse().ok()).unwrap_or(BOARD_ROWS).min(ROWS_MAX);
        let body = match self.boards.read(value("name").unwrap_or_default(), rows) {
            Ok(rows) => serde_json::json!({ "rows": rows }).to_string(),
            Err(reason) => hub::error(&reason),
        };
        http::answer(socket, "200 OK", "application/json", body.as_bytes());
    }

    /// Events and snapshots, until the page goes or takes nothing.
    fn stream(&self, socket: &Socket) -> Result<(), Refusal> {
        let Some(mut visit) = self.hub.admit() else { return Err(FULL) };
        let write = |text: &str| socket.write_all(text.as_bytes(), STALL_MAX, Instant::now() + WRITE_MAX);
        let mut text = http::head("200 OK", "text/event-stream", None);
        loop {
            text += &visit.batch(Instant::now() + BATCH_WAIT);
            match write(&text) {
                Ok(()) => {}
                Err(err) if err.kind() == std::io::ErrorKind::TimedOut => {
                    visit.drop_slow();
                    return Ok(());
                }
                Err(_) => return Ok(()),
            }
            text.clear();
            std::thread::sleep(BATCH_PAUSE);
        }
    }
}

/// Whether the texts are equal, in a time that does not depend on where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
