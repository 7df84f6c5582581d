//! The sockets of the embedded server: one thread serves all clients in turns. Runs on `rt-embedded`; owns the listener,
//! the clients, the values and the right to the files. The values are written to the disk by a short-lived thread,
//! `rt-save`, because a slow disk must not delay an answer.
//!
//! ```text
//!   turn: wait for a socket ──▶ accept ──▶ each ready client: read, run commands ──▶ write to all ──▶ cut, save
//! ```
//! In one turn a client gets one read, [`COMMANDS_MAX`] commands and [`TURN_MAX`] of time; the rest waits for the next
//! turn, after the others. A client whose replies pile up is not read any more ([`OUT_PAUSE_BYTES`]); one that does not
//! read events is cut, as Redis does. Who has not logged in gets
//! 5 s, commands of 4 KiB and 8 KiB of replies.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags};

use super::commands::{self, Counts, World};
use super::files::{Files, Login};
use super::request::{Asked, Requests};
use super::session::{Out, Session};
use crate::config::limits::CLOSE_FLUSH_MAX;
use crate::event::identity::unix_ms;
use crate::io::fail_point::fail_point;
use crate::io::lock::lock;
use crate::io::{thread, wait};

/// Clients that may be logged in at once: the module has two, the self-test two, and there is room for people.
const CLIENTS_MAX: usize = 16;
/// Clients that may be about to log in. One more replaces the oldest, so that strangers cannot keep others out.
const STRANGERS_MAX: usize = 8;
/// Time to log in.
const LOGIN_MAX: Duration = Duration::from_secs(5);
/// A client that takes nothing of its replies for so long is cut.
const STALL_MAX: Duration = Duration::from_secs(60);
/// With so many bytes of replies waiting, no more commands of a client are run: of one that has logged in, and of others.
const OUT_PAUSE_BYTES: usize = 1024 * 1024;
const STRANGER_PAUSE_BYTES: usize = 8 * 1024;
/// Memory of all clients together, in bytes. Beyond it the largest is cut.
const CLIENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Commands of one client in a turn, and the time for them.
const COMMANDS_MAX: usize = 256;
const TURN_MAX: Duration = Duration::from_millis(2);
/// New connections in a turn.
const ACCEPTS_MAX: usize = 16;
/// How often deadlines are looked at and ended keys removed, and the number of keys looked at.
const TICK: Duration = Duration::from_secs(1);
const SWEEP_KEYS: usize = 2000;
/// Pause between two writes of the values. A slow write makes it longer: it is busy at most a twentieth of the time.
const SAVE_PAUSE: Duration = Duration::from_secs(10);
const SAVE_PAUSE_FACTOR: u32 = 20;
/// Stack of `rt-save`, in bytes.
const STACK_BYTES: usize = 64 * 1024;

/// Other threads' handle of a running server: wakes it, and asks it to save its values.
pub struct Waker {
    /// Connected to itself: a byte that is sent makes it readable.
    socket: UdpSocket,
    saving: Mutex<Saving>,
    changed: Condvar,
}

/// The requests to save, and `rt-save`.
#[derive(Default)]
struct Saving {
    /// Numbers of the last request, and of the last one that was answered.
    asked: u64,
    answered: u64,
    is_busy: bool,
    /// The last write: the number of changes that it holds if it succeeded, and the time that it took.
    last: Option<(Result<u64, String>, Duration)>,
}

impl Waker {
    fn new() -> io::Result<Waker> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Waker { socket, saving: Mutex::default(), changed: Condvar::new() })
    }

    /// Makes the server take its next turn at once.
    pub fn wake(&self) {
        // Refused only while a byte waits already.
        let _ = self.socket.send(b"!");
    }

    /// Saves the values and waits for it, until the deadline at most. True: they are on the disk.
    pub fn save(&self, deadline: Instant) -> bool {
        let mut saving = lock(&self.saving);
        saving.asked += 1;
        let mine = saving.asked;
        self.wake();
        while saving.answered < mine {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            saving = self.changed.wait_timeout(saving, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The socket of one client; its session has the same position in another list.
struct Socket {
    stream: TcpStream,
    requests: Requests,
    /// When it connected, and when it last took some bytes of its replies or had none to take.
    began: Instant,
    progress: Instant,
    /// Commands that were read may wait for the next turn.
    has_more: bool,
    is_trusted: bool,
}

pub struct Server {
    listener: TcpListener,
    waker: Arc<Waker>,
    world: World,
    sessions: Vec<Session>,
    sockets: Vec<Socket>,
    files: Files,
    /// The number of the last connection.
    last_id: u64,
    tick: Instant,
    /// A connection waits to be accepted.
    has_arrivals: bool,
    /// The system has no socket for another connection: none is accepted before this moment.
    accept_from: Instant,
    save_from: Instant,
    saved_changes: u64,
}

impl Server {
    /// Listens, on the port of the last time if it is free, and reads the values. Returns the login, and notes for the log.
    pub fn open(mut files: Files) -> io::Result<(Server, Login, Vec<String>)> {
        let mut login = files.login()?;
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = bind(login.port).or_else(|_| bind(0))?;
        listener.set_nonblocking(true)?;
        login.port = listener.local_addr()?.port();
        let now = unix_ms(SystemTime::now());
        let mut notes = files.keep_login(&login);
        let (store, found) = files.read_values(now);
        notes.extend(found);
        let world = World {
            store,
            counts: Counts::default(),
            password: login.password.reveal().as_bytes().into(),
            began: now,
            clients_max: CLIENTS_MAX,
        };
        if let Some(found) = &files.unkept {
            notes.push(format!("the values of the embedded redis do not survive a restart: {found}"));
        }
        let server = Server {
            listener,
            waker: Arc::new(Waker::new()?),
            saved_changes: world.store.changes(),
            world,
            sessions: Vec::new(),
            sockets: Vec::new(),
            files,
            last_id: 0,
            tick: Instant::now(),
            has_arrivals: false,
            accept_from: Instant::now(),
            save_from: Instant::now() + SAVE_PAUSE,
        };
        Ok((server, login, notes))
    }

    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Ends all connections, after a panic: the one that caused it may cause another.
    pub(crate) fn drop_clients(&mut self) {
        self.sockets.clear();
        self.sessions.clear();
    }

    /// Waits until there is something to do, for this long at most, and does it. The error is one of the system, which
    /// cannot wait.
    pub fn turn(&mut self, patience: Duration) -> io::Result<()> {
        let ready = self.wait(patience)?;
        fail_point("embedded");
        let now = unix_ms(SystemTime::now());
        for at in 0..self.sockets.len() {
            if ready.get(at).copied().unwrap_or_default() {
                self.serve(at, now);
            }
        }
        self.accept(now);
        for at in 0..self.sockets.len() {
            self.write(at);
        }
        let instant = Instant::now();
        if instant >= self.tick {
            self.tick = instant + TICK;
            self.world.store.sweep(SWEEP_KEYS, now);
            self.look_at_deadlines(instant);
        }
        self.cut();
        self.save(now);
        Ok(())
    }

    /// Waits for sockets. Returns which clients are to be served.
    fn wait(&mut self, patience: Duration) -> io::Result<Vec<bool>> {
        let clients = self.sockets.iter().zip(&self.sessions);
        let waiting: Vec<bool> = clients.map(|(socket, session)| socket.has_more && may_run(session)).collect();
        let now = Instant::now();
        let mut patience = patience.min(self.tick.saturating_duration_since(now));
        if waiting.contains(&true) {
            patience = Duration::ZERO;
        }
        let mut polled = vec![PollFd::new(&self.waker.socket, PollFlags::IN)];
        if now >= self.accept_from {
            polled.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let first = polled.len();
        for (socket, session) in self.sockets.iter().zip(&self.sessions) {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !socket.has_more && may_run(session));
            flags.set(PollFlags::OUT, !session.out.pending().is_empty());
            polled.push(PollFd::new(&socket.stream, flags));
        }
        wait::any_of(&mut polled, patience)?;
        let mut is_readable = polled.iter().map(|polled| polled.revents().intersects(!PollFlags::OUT));
        let is_woken = is_readable.next() == Some(true);
        self.has_arrivals = first > 1 && is_readable.next() == Some(true);
        let ready = is_readable.zip(waiting).map(|(is_readable, waits)| is_readable || waits).collect();
        // All of them ask for the same turn.
        let mut bytes = [0; 64];
        while is_woken && self.waker.socket.recv(&mut bytes).is_ok() {}
        Ok(ready)
    }

    fn accept(&mut self, now: u64) {
        if !self.has_arrivals {
            return;
        }
        for _ in 0..ACCEPTS_MAX {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(err) if matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return,
                // Out of sockets.
                Err(_) => {
                    self.accept_from = Instant::now() + TICK;
                    return;
                }
            };
            self.world.counts.connections += 1;
            if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_err() {
                continue;
            }
            let members = self.sessions.iter().filter(|session| session.is_logged_in).count();
            if members >= CLIENTS_MAX {
                self.world.counts.refused += 1;
                // A new socket has room for it.
                let _ = (&stream).write(b"-ERR max number of clients reached\r\n");
                continue;
            }
            if self.sessions.len() - members >= STRANGERS_MAX
                && let Some(oldest) = self.sessions.iter().position(|session| !session.is_logged_in)
            {
                self.world.counts.strangers += 1;
                self.remove(oldest);
            }
            self.last_id += 1;
            let began = Instant::now();
            self.sessions.push(Session::new(self.last_id, peer.to_string(), now));
            let requests = Requests::default();
            let socket = Socket { stream, requests, began, progress: began, has_more: false, is_trusted: false };
            self.sockets.push(socket);
        }
    }

    /// One read, and some commands.
    fn serve(&mut self, at: usize, now: u64) {
        let Server { sockets, sessions, world, .. } = self;
        let (Some(socket), Some(session)) = (sockets.get_mut(at), sessions.get_mut(at)) else { return };
        if session.ends {
            // It is gone before it took the last replies.
            session.out = Out::default();
            return;
        }
        if !socket.has_more {
            match socket.requests.read_from(&mut &socket.stream) {
                Ok(1..) => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => return,
                // It is gone, and nobody reads its replies.
                Ok(0) | Err(_) => return session.abandon(),
            }
        }
        let until = Instant::now() + TURN_MAX;
        socket.has_more = true;
        for _ in 0..COMMANDS_MAX {
            match socket.requests.next() {
                None => {
                    socket.has_more = false;
                    return;
                }
                Some(Asked::Words(words)) => commands::run(world, sessions, at, &words, now),
                Some(Asked::TooLarge) => refuse(sessions.get_mut(at), "too large command", !socket.is_trusted),
                Some(Asked::Bad(text)) => refuse(sessions.get_mut(at), text, true),
            }
            let Some(session) = sessions.get(at) else { return };
            if session.is_logged_in && !socket.is_trusted {
                socket.is_trusted = true;
                socket.requests.trust();
            }
            if !may_run(session) || Instant::now() >= until {
                return;
            }
        }
    }

    /// Writes as many replies as the socket takes at once.
    fn write(&mut self, at: usize) {
        let (Some(socket), Some(session)) = (self.sockets.get_mut(at), self.sessions.get_mut(at)) else { return };
        let pending = session.out.pending();
        if pending.is_empty() {
            socket.progress = Instant::now();
            return;
        }
        match (&socket.stream).write(pending) {
            Ok(count) => {
                session.out.wrote(count);
                socket.progress = Instant::now();
            }
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => session.abandon(),
        }
    }

    /// Cuts strangers whose time is over, and clients that do not read.
    fn look_at_deadlines(&mut self, now: Instant) {
        for (socket, session) in self.sockets.iter().zip(&mut self.sessions) {
            let is_over = |since: Instant, most: Duration| now.saturating_duration_since(since) >= most;
            if !session.is_logged_in && is_over(socket.began, LOGIN_MAX) {
                self.world.counts.strangers += 1;
            } else if is_over(socket.progress, STALL_MAX) {
                self.world.counts.slow += 1;
            } else {
                continue;
            }
            session.abandon();
        }
    }

    /// Removes clients that have ended, those with too many replies, and the largest while all together take too much
    /// memory.
    fn cut(&mut self) {
        let sizes = |server: &Server| -> Vec<usize> {
            let both = server.sockets.iter().zip(&server.sessions);
            both.map(|(socket, session)| socket.requests.capacity() + session.out.capacity()).collect()
        };
        let all = sizes(self);
        let largest = (all.iter().sum::<usize>() > CLIENT_BYTES_MAX)
            .then(|| all.iter().enumerate().max_by_key(|(_, size)| **size).map(|(at, _)| at))
            .flatten();
        for at in (0..self.sessions.len()).rev() {
            let Some(session) = self.sessions.get(at) else { continue };
            let is_slow = session.out.is_full() || largest == Some(at);
            if is_slow {
                self.world.counts.slow += 1;
                log::warn!(
                    "the embedded redis cut a client that does not read or sends too much; `{}` at {}",
                    String::from_utf8_lossy(&session.name),
                    session.peer
                );
            }
            if is_slow || session.ends && session.out.pending().is_empty() {
                self.remove(at);
            }
        }
    }

    fn remove(&mut self, at: usize) {
        // Both lists change in the same way.
        self.sockets.remove(at);
        self.sessions.remove(at);
    }

    /// Ends the server: writes the values if they have changed since the last time.
    pub(crate) fn close(self) {
        let mut saving = lock(&self.waker.saving);
        // `rt-save` uses the same temporary file.
        let until = Instant::now() + CLOSE_FLUSH_MAX;
        while saving.is_busy && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            saving = self.waker.changed.wait_timeout(saving, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let is_saved = match &saving.last {
            Some((Ok(changes), _)) => *changes == self.world.store.changes(),
            _ => self.saved_changes == self.world.store.changes(),
        };
        if is_saved || saving.is_busy {
            return;
        }
        let now = unix_ms(SystemTime::now());
        if let Some(write) = self.files.writer(Files::encode(&self.world.store, now))
            && let Err(err) = write()
        {
            log::error!("cannot keep the values of the embedded redis: {err}");
        }
    }

    // ---- values on the disk ---------------------------------------------------------------------------------------

    /// Starts `rt-save` if values have changed, and somebody asked or it is time.
    fn save(&mut self, now: u64) {
        let waker = Arc::clone(&self.waker);
        let mut saving = lock(&waker.saving);
        if let Some((outcome, took)) = saving.last.take() {
            self.save_from = Instant::now() + SAVE_PAUSE.max(took * SAVE_PAUSE_FACTOR);
            match outcome {
                Ok(changes) => self.saved_changes = changes,
                Err(found) => log::error!("cannot keep the values of the embedded redis: {found}"),
            }
        }
        let is_asked = saving.asked > saving.answered;
        let changes = self.world.store.changes();
        if saving.is_busy || !is_asked && (changes == self.saved_changes || Instant::now() < self.save_from) {
            return;
        }
        let asked = saving.asked;
        let writer =
            if changes == self.saved_changes { None } else { self.files.writer(Files::encode(&self.world.store, now)) };
        let Some(write) = writer else {
            saving.answered = asked;
            waker.changed.notify_all();
            return;
        };
        saving.is_busy = true;
        drop(saving);
        let end = {
            let waker = Arc::clone(&waker);
            move |outcome: Result<u64, String>, took: Duration| {
                let mut saving = lock(&waker.saving);
                (saving.is_busy, saving.answered, saving.last) = (false, asked, Some((outcome, took)));
                waker.changed.notify_all();
                waker.wake();
            }
        };
        let failed = end.clone();
        let run = move || {
            let began = Instant::now();
            // A panic must not look like a write that never ends.
            let outcome = catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| Err(ErrorKind::Other.into()));
            end(outcome.map(|()| changes).map_err(|err| err.to_string()), began.elapsed());
        };
        if let Err(err) = thread::spawn("rt-save".to_owned(), STACK_BYTES, Box::new(run)) {
            failed(Err(err.to_string()), Duration::ZERO);
        }
    }
}

/// Whether the next command of a client may run.
fn may_run(session: &Session) -> bool {
    let most = if session.is_logged_in { OUT_PAUSE_BYTES } else { STRANGER_PAUSE_BYTES };
    !session.ends && session.out.pending().len() < most
}

/// Answers bytes that are no command, or too large a one. `ends`: the connection ends with the answer.
fn refuse(session: Option<&mut Session>, text: &str, ends: bool) {
    if let Some(session) = session {
        session.out.error(&format!("ERR Protocol error: {text}"));
        session.ends |= ends;
    }
}
