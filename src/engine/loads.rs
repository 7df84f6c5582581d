//! The newest load of each script file, to notice that the game loads a file again (an edited file, or a new map). Also
//! the files whose hooks do not follow them, to say so once.
//! Game thread only. Bounded: beyond [`LOADED_FILES_MAX`] names, further files count as loaded once only.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::registrations::Origin;
use crate::sorted::Sorted;

/// Script files whose newest load is remembered: far more than a server has that add hooks. Names come from scripts, so
/// without a bound they could fill the memory.
const LOADED_FILES_MAX: usize = 4096;

/// The number of the newest load, by file.
#[derive(Default)]
pub(crate) struct Loads {
    newest: Sorted<Arc<str>, u64>,
    /// Files that added something without an id while no file was being loaded, and names of code from strings.
    strays: Sorted<Arc<str>, ()>,
}

impl Loads {
    /// Completes an origin with the newest load of its file. The flag is true for the first registration of a load
    /// that is not the file's first.
    pub(crate) fn of(&mut self, mut origin: Origin) -> (Origin, bool) {
        let known = self.newest.get(&origin.file).copied();
        let is_new = origin.load != 0 && known != Some(origin.load);
        if is_new && (known.is_some() || self.newest.len() < LOADED_FILES_MAX) {
            self.newest.set(Arc::clone(&origin.file), origin.load);
        }
        // A callback belongs to the newest load of its file.
        origin.newest_load = if origin.load == 0 { known.unwrap_or(0) } else { origin.load };
        let is_again = is_new && known.is_some();
        (origin, is_again)
    }
}

impl Engine {
    /// A file added something without an id while no file was being loaded: whether it did so for the first time.
    pub(crate) fn is_first_stray(&mut self, file: &Arc<str>) -> bool {
        let strays = &mut self.loads.strays;
        let is_first = strays.len() < LOADED_FILES_MAX && strays.get(file).is_none();
        if is_first {
            strays.set(Arc::clone(file), ());
        }
        is_first
    }
}
