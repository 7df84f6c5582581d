//! The settings in force, for every thread: replaced as a whole, read as a snapshot, with a number to notice a change.
//! Also reads what the operator says, on the game thread: one plain file of bounded size, and the environment.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::bounded_file::read_at_most;
use crate::config::{Config, Operator, SETTINGS_BYTES_MAX, decode};
use crate::threads::lock;

const FILE_NAME: &str = "realtime.json";
/// Names that a file of settings gets by mistake, beside the right one. Windows hides the ends of names, and its editor
/// adds one.
const WRONG_NAMES: [&str; 4] = ["realtime.json.txt", "realtime.txt", "Realtime.json", "realtime.cfg"];

/// Reads the operator's file in this folder, `garrysmod/cfg`, and the variables of this environment.
pub fn read_operator(folder: &Path, environment: impl Iterator<Item = (OsString, OsString)>) -> Operator {
    let path = folder.join(FILE_NAME);
    let name = path.to_string_lossy().into_owned();
    let mut hints = Vec::new();
    let file = match read_at_most(&path, SETTINGS_BYTES_MAX) {
        Ok(bytes) => Some((name, Ok(decode(&bytes)))),
        Err(err) if err.kind() == ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => {
            let wrong = WRONG_NAMES.iter().find(|wrong| folder.join(wrong).is_file());
            hints.extend(
                wrong.map(|wrong| format!("{} is not read: name it {FILE_NAME}", folder.join(wrong).display())),
            );
            None
        }
        Err(err) => Some((name, Err(format!("cannot read it: {err}")))),
    };
    let variables = environment.filter_map(|(name, text)| {
        let name = name.into_string().ok().filter(|name| name.to_ascii_uppercase().starts_with("REALTIME_"))?;
        Some((name, text.into_string().ok()))
    });
    Operator { file, variables: variables.collect(), hints }
}

pub struct Settings {
    current: Mutex<Arc<Config>>,
    /// Counts all changes, and those that ask for another connection.
    version: AtomicU64,
    reconnects: AtomicU64,
}

impl Settings {
    pub(super) fn new(config: Config) -> Settings {
        Settings { current: Mutex::new(Arc::new(config)), version: AtomicU64::new(1), reconnects: AtomicU64::new(0) }
    }

    pub fn current(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.current))
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How often the settings asked for another connection.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Acquire)
    }

    /// True if the connections are to be made anew.
    pub(super) fn replace(&self, config: Config) -> bool {
        let mut current = lock(&self.current);
        let reconnect = config.needs_other_connection(&current);
        *current = Arc::new(config);
        // In this order: who sees the new version finds the number of reconnections that goes with it.
        self.reconnects.fetch_add(u64::from(reconnect), Ordering::AcqRel);
        self.version.fetch_add(1, Ordering::AcqRel);
        reconnect
    }
}
