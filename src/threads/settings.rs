//! The settings in force, for every thread: replaced as a whole, read as a snapshot, with a number to notice a change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::threads::lock;

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
