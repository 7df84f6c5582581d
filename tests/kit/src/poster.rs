//! The threads that post for hooks, and hooks made from specs, without Redis and without a game.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use realtime::facade::event::EventText;
use realtime::facade::event::notice::Notice;
use realtime::facade::hooks::request::Webhook;
use realtime::facade::hooks::spec::{ActionKind, Spec};
use realtime::facade::stats::{Counters, Stats};
use realtime::facade::threads::shared::Shared;
use realtime::facade::threads::webhooks::{IntakeFull, Job};
use realtime::facade::threads::workers::Workers;
use realtime::facade::webhook::schedule::{DestinationReport, DestinationState};
use serde_json::{Value, json};

use crate::{PATIENCE, comes_true, defaults, wait_for, wait_until};

pub struct Poster {
    pub shared: Arc<Shared>,
    workers: Workers,
    folder: Folder,
}

/// A temporary folder for the files of one server. It is removed with the last clone.
#[derive(Clone)]
pub struct Folder(Arc<Removed>);

struct Removed {
    path: PathBuf,
    /// Another process made it and removes it.
    is_others: bool,
}

impl Default for Folder {
    fn default() -> Folder {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("realtime-poster-{}-{number}", std::process::id()));
        Folder(Arc::new(Removed { path, is_others: false }))
    }
}

impl Folder {
    /// The folder that another process has made, and that it removes.
    pub fn at(path: PathBuf) -> Folder {
        Folder(Arc::new(Removed { path, is_others: true }))
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if !self.is_others {
            let _ = std::fs::remove_dir_all(&self.path); // It may never have been created.
        }
    }
}

impl Default for Poster {
    fn default() -> Poster {
        Poster::with(json!({}), Folder::default())
    }
}

impl Poster {
    /// Starts with these options and keeps its files in this folder.
    pub fn with(mut settings: Value, folder: Folder) -> Poster {
        // No server listens on this port: webhooks need no Redis.
        settings["redis"] = json!("redis://127.0.0.1:1");
        let mut config = defaults();
        assert_eq!(config.apply_json("test", &settings.to_string()), []);
        let shared =
            Shared::new(config, folder.path().to_owned(), Arc::new(Stats::default()), Arc::new(AtomicBool::new(true)));
        shared.webhooks.keep_files_in(folder.path().to_owned());
        let shared = Arc::new(shared);
        let workers = Workers::start(&shared).unwrap();
        Poster { shared, workers, folder }
    }

    /// Posts one event for the hook.
    pub fn post(&self, hook: &Hook, event: Value) {
        self.try_post(hook, &event.to_string()).unwrap();
    }

    pub fn try_post(&self, hook: &Hook, json: &str) -> Result<(), IntakeFull> {
        let event = EventText::new(b"test", &[json.as_bytes()], 1_700_000_000_000);
        let (name, webhook) = (Arc::clone(&hook.name), Arc::clone(&hook.webhook));
        self.shared.webhooks.push(Job { hook: name, webhook, event: Arc::new(event), offset_s: 0 })
    }

    /// The standing of the destination whose name contains `part` or whose hook is `part`. Waits until the worker has
    /// taken its first post.
    #[track_caller]
    pub fn standing(&self, part: &str) -> DestinationReport {
        let mut found = None;
        wait_until(part, || {
            let standings = self.shared.webhooks.standings();
            found = standings.into_iter().find(|standing| standing.name.contains(part) || standing.hook == part);
            found.is_some()
        });
        found.expect("waited for")
    }

    pub fn delivered(&self) -> u64 {
        self.shared.stats.webhooks.delivered.get()
    }

    /// The number of posts that were given up for this reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        let list = self.shared.stats.webhooks.dropped.list();
        list.iter().find(|(name, _)| *name == reason).unwrap_or_else(|| panic!("no {reason} in {list:?}")).1
    }

    /// Waits until the destination whose name contains `part` is broken, and returns the reason.
    #[track_caller]
    pub fn wait_broken(&self, part: &str) -> String {
        let mut found = String::new();
        wait_until(&format!("{part} is broken"), || {
            let DestinationState::Broken(reason, _) = self.standing(part).state else { return false };
            found = reason;
            true
        });
        found
    }

    #[track_caller]
    pub fn wait_delivered(&self, count: u64) {
        let mut last = 0;
        let came = comes_true(PATIENCE, || {
            last = self.delivered();
            last >= count
        });
        let dropped = self.shared.stats.webhooks.dropped.list();
        assert!(came && last == count, "{last} of {count} delivered, dropped {dropped:?}");
    }

    /// Waits until no post waits any more and all of them are counted.
    #[track_caller]
    pub fn wait_drained(&self) {
        // Both at once: a job that becomes a post just now is in neither queue, but not settled either.
        wait_for("posts that wait and posts not settled", (0, 0), || {
            (self.shared.webhooks.waiting(), self.unsettled())
        });
        self.assert_balanced();
    }

    /// Asserts that in = delivered + dropped + waiting. A worker may be between two of its counts, so this waits for it.
    #[track_caller]
    pub fn assert_balanced(&self) {
        wait_for("in - delivered - dropped - waiting", 0, || self.unsettled() - self.shared.webhooks.waiting() as i64);
    }

    /// Posts that are neither delivered nor given up, by the counts.
    fn unsettled(&self) -> i64 {
        let stats = &self.shared.stats.webhooks;
        let dropped: u64 = stats.dropped.list().iter().map(|(_, count)| count).sum();
        stats.offered.get() as i64 - (stats.delivered.get() + dropped) as i64
    }

    /// Waits until `count` failed actions were reported since the last call, and returns them.
    #[track_caller]
    pub fn wait_told(&self, count: usize) -> Vec<(String, &'static str, String)> {
        let mut told = Vec::new();
        wait_until(&format!("{count} failed actions are reported"), || {
            told.extend(self.told());
            told.len() >= count
        });
        assert_eq!(told.len(), count, "{told:?}");
        told
    }

    /// The failed actions that were reported since the last call: hook, kind, reason.
    pub fn told(&self) -> Vec<(String, &'static str, String)> {
        let mut told = Vec::new();
        while let Some(notice) = self.shared.notices.pop() {
            if let Notice::ActionFailed { hook, kind, reason } = notice {
                told.push((String::from_utf8_lossy(&hook).into_owned(), kind, reason));
            }
        }
        told
    }

    /// The lines of the dead-letter file. A line that is still being written is left out.
    pub fn dead_letters(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("dead_letter.jsonl")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool.jsonl")
    }

    pub fn stop(self) -> Folder {
        self.shared.stop();
        assert_eq!(self.workers.join_by(Instant::now() + PATIENCE), Vec::<String>::new(), "did not end");
        self.folder
    }
}

/// A hook with one webhook.
pub struct Hook {
    name: Arc<[u8]>,
    pub webhook: Arc<Webhook>,
}

impl Hook {
    pub fn new(name: &str, spec: Value) -> Hook {
        match Spec::parse(&spec).unwrap().actions.remove(0).kind {
            ActionKind::Webhook(webhook) => Hook { name: name.as_bytes().into(), webhook },
            other => panic!("{other:?} posts nothing"),
        }
    }

    /// Posts `{text}` to a Discord webhook.
    pub fn discord(url: &str) -> Hook {
        Hook::new("d", json!({ "type": "discord", "webhook_url": url, "format": "{text}" }))
    }

    /// Posts the event's JSON, with a timeout of two seconds.
    pub fn http(url: &str) -> Hook {
        Hook::http_named("h", url)
    }

    pub fn http_named(name: &str, url: &str) -> Hook {
        Hook::new(name, json!({ "type": "http", "url": url, "timeout": 2 }))
    }
}
