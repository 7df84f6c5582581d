//! [`StatusDesk`], the place where status messages get their values: the game thread leaves those of the game,
//! `rt-publisher` the ids that Redis keeps, and `rt-webhooks` takes both. `rt-files` takes those of the game, too. Any thread; nobody waits here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use crate::event::fingerprint::Fingerprint;
use crate::event::identity;
use crate::hooks::status::GameValues;
use crate::io::channel::Bell;
use crate::io::lock::lock;
use crate::redis::answer::AnswerResult;
use crate::threads::queue::Queue;

/// The values of the game, and when it told them.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) values: GameValues,
    pub(crate) at: Instant,
    pub(crate) unix_ms: u64,
}

/// The handle that every thread shares.
pub struct StatusDesk {
    /// When this process began, in milliseconds of Unix time.
    pub(crate) started_ms: u64,
    /// A hook with a status message exists. Without one nobody asks the game.
    is_used: AtomicBool,
    /// Other servers see this one, and its players.
    is_present: AtomicBool,
    shows_players: AtomicBool,
    /// The game thread is to ask Lua for the values.
    wants_game: AtomicBool,
    game: Mutex<Option<Told>>,
    /// The ids that Redis was asked for, by the key of their message. At most one for each message that asked.
    ids: Queue<(Fingerprint, AnswerResult)>,
    /// That of `rt-webhooks`.
    bell: Arc<Bell>,
}

impl StatusDesk {
    pub(crate) fn new(bell: Arc<Bell>) -> StatusDesk {
        StatusDesk {
            started_ms: identity::unix_ms(SystemTime::now()),
            is_used: AtomicBool::new(false),
            is_present: AtomicBool::new(false),
            shows_players: AtomicBool::new(false),
            wants_game: AtomicBool::new(false),
            game: Mutex::default(),
            ids: Queue::default(),
            bell,
        }
    }

    /// Notes whether there are status messages.
    pub(crate) fn use_it(&self, is_used: bool) {
        self.is_used.store(is_used, Ordering::Release);
    }

    /// Notes whether other servers see this one, and its players.
    pub(crate) fn be_present(&self, is_present: bool, shows_players: bool) {
        self.is_present.store(is_present, Ordering::Release);
        self.shows_players.store(shows_players, Ordering::Release);
    }

    /// Whether the list of players is wanted with the other values.
    pub(crate) fn shows_players(&self) -> bool {
        self.shows_players.load(Ordering::Acquire)
    }

    /// Asks for the values of the game, if somebody needs them. The caller makes the pump look.
    pub(crate) fn ask_game(&self) {
        if self.is_used.load(Ordering::Acquire) || self.is_present.load(Ordering::Acquire) {
            self.want_game();
        }
    }

    /// The same whether or not anybody needs them: for the metrics file.
    pub(crate) fn want_game(&self) {
        self.wants_game.store(true, Ordering::Release);
    }

    /// Whether the game thread is to ask Lua for the values. Each request is returned once.
    pub fn take_question(&self) -> bool {
        // A load first: most ticks find no question, and need no locked instruction.
        self.wants_game.load(Ordering::Acquire) && self.wants_game.swap(false, Ordering::AcqRel)
    }

    /// Takes the values that the game has now.
    pub fn tell_game(&self, values: GameValues, at: Instant) {
        let unix_ms = identity::unix_ms(SystemTime::now());
        *lock(&self.game) = Some(Told { values, at, unix_ms });
        self.bell.ring();
    }

    /// The last values. `None`: no tick has told any since the process began.
    pub(crate) fn game(&self) -> Option<Told> {
        lock(&self.game).clone()
    }

    /// Takes Redis' answer to the question for the id of this message.
    pub(crate) fn answer(&self, key: Fingerprint, outcome: AnswerResult) {
        self.ids.change(|ids| ids.push_back((key, outcome)));
        self.bell.ring();
    }

    /// The oldest answer of Redis.
    pub(crate) fn take_answer(&self) -> Option<(Fingerprint, AnswerResult)> {
        self.ids.pop()
    }

    /// Whether an answer of Redis waits.
    pub(crate) fn has_answer(&self) -> bool {
        self.ids.waiting() > 0
    }
}
