//! [`Home`], the handle of `rt-embedded`: threads that connect ask it which Redis is theirs ([`Home::goal`]), and the game
//! thread asks it to save the values. The loop (`threads/embedded.rs`) answers; the server itself is here so that it
//! outlives a panic of the loop.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Address, Config, Place};
use crate::embedded::files::Login;
use crate::embedded::server::{Server, Waker};
use crate::io::lock::lock;

/// Longest wait for an answer of the loop: an attempt to connect to a port of this machine, and reading the values.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// The Redis that `auto` has found, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One that listens at the default address, or listened there before.
    Real,
    /// None: the embedded server is used.
    Embedded,
}

/// The last answer of the loop.
#[derive(Default)]
pub(super) struct Answers {
    /// Numbers of the last question, and of the last one that was answered.
    asked: u64,
    answered: u64,
    /// How the newest question would have the Redis chosen.
    place: Option<Place>,
    pub(super) found: Option<Found>,
    /// The embedded server, of this process or of another one that shares the folder.
    pub(super) serving: Option<Serving>,
    /// Why there is none.
    pub(super) failed: String,
    /// The last connection was made to the embedded server.
    is_used: bool,
}

/// A running embedded server.
pub(super) struct Serving {
    pub(super) login: Login,
    /// `None`: another process runs it, and may end at any time.
    pub(super) waker: Option<Arc<Waker>>,
    /// For people: how to look inside.
    pub(super) cli_line: String,
}

pub(crate) struct Home {
    answers: Mutex<Answers>,
    changed: Condvar,
    /// Locked by the loop while it runs.
    pub(super) server: Mutex<Option<Server>>,
    /// The module's folder, `garrysmod/data/realtime`.
    pub(super) folder: PathBuf,
}

/// Where a thread is to connect.
pub(crate) struct Goal {
    /// The settings, with the address of the embedded server in the place of `redis` if that is the one.
    pub(crate) config: Arc<Config>,
    /// Why nothing can be connected to.
    pub(crate) failed: Option<String>,
}

impl Home {
    pub(crate) fn new(folder: PathBuf) -> Home {
        Home { answers: Mutex::default(), changed: Condvar::new(), server: Mutex::default(), folder }
    }

    /// The Redis of these settings. Asks the loop unless it has said so before; waits a bounded time, and no longer than
    /// until `is_stopping`.
    pub(crate) fn goal(&self, config: &Arc<Config>, is_stopping: impl Fn() -> bool) -> Goal {
        let named = |failed| Goal { config: Arc::clone(config), failed };
        let deadline = Instant::now() + ANSWER_MAX;
        let mut answers = lock(&self.answers);
        if config.place == Place::Named {
            answers.is_used = false;
            return named(None);
        }
        let mut mine = None;
        loop {
            let is_real = config.place == Place::Auto && answers.found == Some(Found::Real);
            let is_embedded = config.place == Place::Embedded || answers.found == Some(Found::Embedded);
            let has_answer = mine.is_some_and(|mine| answers.answered >= mine);
            answers.is_used = is_embedded && !is_real;
            if is_real {
                return named(None);
            }
            // The server of another process is asked for anew each time: that process may have ended.
            if is_embedded
                && let Some(serving) = &answers.serving
                && (has_answer || serving.waker.is_some())
            {
                return Goal { config: Arc::new(config.embedded_at(serving.address())), failed: None };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if has_answer || left.is_zero() || is_stopping() {
                let found = if has_answer { answers.failed.clone() } else { "it has not started yet".to_owned() };
                return named(Some(found));
            }
            if mine.is_none() {
                answers.asked += 1;
                answers.place = Some(config.place);
                mine = Some(answers.asked);
                self.notify(&answers);
            }
            answers = self.changed.wait_timeout(answers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether connections lead to the embedded server, and how people look into it.
    pub(crate) fn in_use(&self) -> Option<String> {
        let answers = lock(&self.answers);
        let serving = answers.serving.as_ref().filter(|_| answers.is_used)?;
        Some(serving.cli_line.clone())
    }

    /// The address that connections lead to, for people.
    pub(crate) fn address(&self, config: &Config) -> Address {
        let answers = lock(&self.answers);
        let serving = answers.serving.as_ref().filter(|_| answers.is_used);
        serving.map_or_else(|| config.redis.clone(), Serving::address)
    }

    /// Saves the values of a server of this process, and waits until the deadline at most. True if there is nothing left to
    /// save.
    pub(crate) fn save(&self, deadline: Instant) -> bool {
        let waker = lock(&self.answers).serving.as_ref().and_then(|serving| serving.waker.clone());
        waker.is_none_or(|waker| waker.save(deadline))
    }

    /// Makes the loop and all threads that wait for it look whether they are to stop.
    pub(crate) fn wake(&self) {
        self.notify(&lock(&self.answers));
    }

    fn notify(&self, answers: &Answers) {
        self.changed.notify_all();
        if let Some(waker) = answers.serving.as_ref().and_then(|serving| serving.waker.as_ref()) {
            waker.wake();
        }
    }

    /// For the loop: the newest question that is not answered.
    pub(super) fn pending(&self) -> Option<Place> {
        lock(&self.answers).pending()
    }

    /// For the loop: waits for a question. `None`: it is to stop.
    pub(super) fn question(&self, is_stopping: impl Fn() -> bool) -> Option<Place> {
        let mut answers = lock(&self.answers);
        loop {
            if is_stopping() {
                return None;
            }
            if let Some(place) = answers.pending() {
                return Some(place);
            }
            answers = self.changed.wait(answers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the loop: what `auto` has found so far.
    pub(super) fn found(&self) -> Option<Found> {
        lock(&self.answers).found
    }

    /// For the loop: answers all questions so far.
    pub(super) fn answer(&self, change: impl FnOnce(&mut Answers)) {
        let mut answers = lock(&self.answers);
        change(&mut answers);
        answers.answered = answers.asked;
        self.changed.notify_all();
    }
}

impl Answers {
    fn pending(&self) -> Option<Place> {
        self.place.filter(|_| self.asked > self.answered)
    }
}

impl Serving {
    fn address(&self) -> Address {
        self.login.address()
    }
}
