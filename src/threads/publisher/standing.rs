//! [`Standing`]: whether this server's key is in Redis, for the thread that ends a Lua state. Any thread; nobody waits here.
//! `rt-publisher` writes the key (`publisher/presence.rs`).

use std::sync::Mutex;

use crate::io::lock::lock;

/// The life of the key after the end of a Lua state, in milliseconds. The end may be that of the process.
pub(crate) const LEAVING_MS: u64 = 3000;

/// The part of the presence that other threads use.
#[derive(Default)]
pub(crate) struct Standing(Mutex<Stands>);

#[derive(Default)]
struct Stands {
    /// The own key, if it is in Redis.
    key: Option<Box<[u8]>>,
    /// A Lua state has ended, and the key with a short life is on its way.
    is_leaving: bool,
}

impl Standing {
    /// A Lua state ends. Returns the key that needs a short life now.
    pub(crate) fn leave(&self) -> Option<Box<[u8]>> {
        let mut stands = lock(&self.0);
        stands.is_leaving = stands.key.is_some();
        stands.key.clone()
    }

    /// Notes the key when it is written, and `None` when it is taken away.
    pub(super) fn set(&self, key: Option<Box<[u8]>>) {
        lock(&self.0).key = key;
    }

    /// Whether a Lua state has ended since the last look.
    pub(super) fn take_leaving(&self) -> bool {
        std::mem::take(&mut lock(&self.0).is_leaving)
    }
}
