//! The loop of `rt-embedded`: decides whether this server has a Redis or serves itself, and serves. It sleeps until a
//! thread that connects asks ([`home`]), so with a Redis in the settings it never does anything.
//!
//! | `redis` | something listens on 127.0.0.1:6379 | a Redis answered there before | then |
//! |---|---|---|---|
//! | an address | | | that one, always |
//! | `auto` | yes | | that one |
//! | `auto` | no | yes | that one: it is away, and the values are there |
//! | `auto` | no | no | the embedded server |
//! | `embedded` | | | the embedded server |
//!
//! The choice of `auto` holds for the life of the process. That a Redis answered is remembered in a file.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::limits::CONNECT_TIMEOUT;
use crate::config::{Address, Config, Place};
use crate::embedded::files::{Claim, Files};
use crate::embedded::server::Server;
use crate::io::lock::lock;
use crate::io::net::look_up;
use crate::io::plain_file;
use crate::io::shown::shown;
use crate::redis::connection::{ConnectError, Connection};
use crate::threads::embedded::home::{Found, Goal, Home, Serving};
use crate::threads::shared::Shared;

pub(crate) mod home;

/// Longest time between two looks at the stop flag while the server runs; a wake-up ends it.
const TURN: Duration = Duration::from_secs(1);
/// Pause after the system failed to wait for sockets.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// The file that remembers that a Redis answered under `auto`.
const MARK: &str = "auto.found";

/// Runs `rt-embedded` until stop. After a panic the server goes on without the clients that it had.
pub(crate) fn run(shared: &Arc<Shared>) {
    let home = &shared.embedded;
    let mut slot = lock(&home.server);
    if let Some(server) = &mut *slot {
        server.drop_clients();
    }
    while !shared.is_stopping() {
        let question = match &mut *slot {
            Some(server) => {
                if let Err(err) = server.turn(TURN) {
                    log::error!("the embedded redis cannot wait for its clients: {err}");
                    shared.pause(FAILED_PAUSE);
                }
                home.pending()
            }
            None => home.question(|| shared.is_stopping()),
        };
        if let Some(place) = question {
            let server = answer(shared, place, slot.is_some());
            *slot = server.or(slot.take());
        }
    }
    if let Some(server) = slot.take() {
        server.close();
    }
}

/// Answers a question. Returns the server if this process runs it from now on.
fn answer(shared: &Shared, place: Place, is_serving: bool) -> Option<Server> {
    let home = &shared.embedded;
    let config = shared.settings.current();
    let mut found = home.found();
    if place == Place::Auto && found.is_none() {
        found = Some(look_for_redis(home, &config.redis));
    }
    if is_serving || place == Place::Auto && found == Some(Found::Real) {
        home.answer(|answers| answers.found = found);
        return None;
    }
    let why = match place {
        Place::Auto => format!("no redis was set and none listens on {}", config.redis),
        _ => "redis = \"embedded\"".to_owned(),
    };
    match serve(home, &why) {
        Ok((server, serving)) => {
            home.answer(|answers| (answers.found, answers.serving) = (found, Some(serving)));
            server
        }
        Err(err) => {
            log::error!("{why}, and the embedded redis cannot start: {err}");
            let failed = err.to_string();
            home.answer(|answers| (answers.found, answers.serving, answers.failed) = (found, None, failed));
            None
        }
    }
}

/// Looks whether something listens at the address that `auto` tries. No byte is sent.
fn look_for_redis(home: &Home, address: &Address) -> Found {
    let place = look_up(&address.host, address.port).ok().and_then(|places| places.first().copied());
    let connect = |place: SocketAddr| TcpStream::connect_timeout(&place, CONNECT_TIMEOUT);
    let refused =
        place.is_some_and(|place| connect(place).is_err_and(|err| err.kind() == ErrorKind::ConnectionRefused));
    if !refused {
        return Found::Real;
    }
    let mark = mark(home);
    if fs::symlink_metadata(&mark).is_err() {
        return Found::Embedded;
    }
    log::warn!(
        "the redis at {address} is away; it answered before, so the embedded one does not take its place. To use that: \
         redis = \"embedded\", or remove `{}`",
        shown(&mark)
    );
    Found::Real
}

fn mark(home: &Home) -> PathBuf {
    home.folder.join(MARK)
}

impl Goal {
    /// Connects. A Redis that `auto` has found and that answers is remembered.
    pub(crate) fn open(&self, shared: &Shared, purpose: &str) -> Result<Connection, ConnectError> {
        if let Some(found) = &self.failed {
            return Err(ConnectError::Embedded { found: found.clone() });
        }
        let opened = Connection::open(&self.config, purpose);
        note_answer(shared, &self.config, opened.as_ref().err());
        opened
    }
}

/// Remembers that a Redis answered, for an attempt to connect with these settings.
fn note_answer(shared: &Shared, config: &Config, failed: Option<&ConnectError>) {
    let has_answered = matches!(failed, None | Some(ConnectError::Refused { .. } | ConnectError::Role { .. }));
    let mark = mark(&shared.embedded);
    if config.place != Place::Auto || !has_answered || fs::symlink_metadata(&mark).is_ok() {
        return;
    }
    let text = format!(
        "A Redis answered at {}. While this file is here, `redis = \"auto\"` of realtime never uses the embedded one.\n",
        config.redis
    );
    let written = plain_file::make_folder(&shared.embedded.folder)
        .and_then(|()| plain_file::create_new(OpenOptions::new().write(true), &mark))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    // Both threads that connect may come here at once.
    if let Err(err) = written.or_else(|err| if err.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(err) }) {
        log::warn!("cannot remember that a redis answered, in `{}`: {err}", shown(&mark));
    }
}

/// Starts to serve, or finds the process that serves from the same folder. `why` begins the line in the log.
fn serve(home: &Home, why: &str) -> io::Result<(Option<Server>, Serving)> {
    let (server, login) = match Files::claim(&home.folder)? {
        Claim::Others(login) => (None, login),
        Claim::Ours(files) => {
            let (server, login, notes) = Server::open(files)?;
            notes.iter().for_each(|note| log::warn!("{note}"));
            (Some(server), login)
        }
    };
    let cli_line = Files::cli_line(&home.folder, login.port);
    let other = if server.is_some() { "" } else { ", which another server of this folder runs" };
    log::info!(
        "{why}: this server uses its embedded redis at 127.0.0.1:{}{other}. Events, values, hooks and leaderboards work \
         here alone; other servers are not reached, not even on this machine. To connect servers, set `redis` in \
         garrysmod/cfg/realtime.json. To look inside: {cli_line}",
        login.port
    );
    let waker = server.as_ref().map(|server| Arc::clone(server.waker()));
    Ok((server, Serving { login, waker, cli_line }))
}
