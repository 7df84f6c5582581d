//! Which load of each script file is the newest one: what tells that the game loads a file again. Game thread only.
//! Bounded: beyond [`LOADED_FILES_MAX`] names further ones are taken for files that are loaded once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::registrations::Origin;

/// Script files whose newest load is remembered: far more than a server has that add hooks.
const LOADED_FILES_MAX: usize = 4096;

#[derive(Default)]
pub(crate) struct Loads {
    newest: HashMap<Arc<str>, u64>,
}

impl Loads {
    /// The origin with the newest load of its file; and whether this load of it is a new one, not the first.
    pub(crate) fn of(&mut self, mut origin: Origin) -> (Origin, bool) {
        let known = self.newest.get(&origin.file).copied();
        let is_new = origin.load != 0 && known != Some(origin.load);
        if is_new && (known.is_some() || self.newest.len() < LOADED_FILES_MAX) {
            self.newest.insert(Arc::clone(&origin.file), origin.load);
        }
        origin.newest_load = if origin.load == 0 { known.unwrap_or(0) } else { origin.load };
        let is_again = is_new && known.is_some();
        (origin, is_again)
    }
}
