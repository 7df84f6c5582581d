//! [`Standing`]: whether this server's key is in Redis, for the thread that ends a Lua state. Any thread; nobody waits here.
//! `rt-publisher` writes the key (`publisher/presence.rs`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io::lock::lock;

/// The life of the key after the end of a Lua state, in milliseconds. The end may be that of the process.
pub(crate) const LEAVING_MS: u64 = 3000;

/// The part of the presence that other threads use.
#[derive(Default)]
pub(crate) struct Standing {
    /// The own key, if it is in Redis.
    key: Mutex<Option<Box<[u8]>>>,
    /// A Lua state has ended, and the key with a short life is on its way.
    is_leaving: AtomicBool,
}

impl Standing {
    /// A Lua state ends. Returns the key that needs a short life now.
    pub(crate) fn leave(&self) -> Option<Box<[u8]>> {
        let key = lock(&self.key).clone();
        self.is_leaving.store(key.is_some(), Ordering::Release);
        key
    }

    /// Notes the key when it is written, and `None` when it is taken away.
    pub(super) fn set(&self, key: Option<Box<[u8]>>) {
        *lock(&self.key) = key;
    }

    /// Whether a Lua state has ended since the last look. One load in a round of the session.
    pub(super) fn take_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire) && self.is_leaving.swap(false, Ordering::AcqRel)
    }
}
