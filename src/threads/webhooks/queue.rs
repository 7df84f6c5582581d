//! Discord and HTTP, from a job to its answer: what everybody else sees of the thread `rt-webhooks` (`worker.rs`), and
//! what outlives a panic of it. A push is taken or refused at once, whoever pushes.
//! Needs neither Redis nor the game thread: a job is an event's text and what a hook makes of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rustls::ClientConfig;

use crate::config::Config;
use crate::config::limits::PAYLOAD_BYTES_MAX;
use crate::event::EventText;
use crate::hooks::request::Webhook;
use crate::io::lock::lock;
use crate::stats::Stats;
use crate::threads::webhooks::senders::Senders;
use crate::webhook::post::Address;
use crate::webhook::schedule::{Schedule, Standing, WEBHOOK_BYTES_MAX};
use crate::webhook::spool::Spool;

/// Jobs that `rt-webhooks` has not taken yet. It does no network I/O and empties this queue at once. A full queue
/// refuses the newest job.
const WEBHOOK_INTAKE_MAX: usize = 8192;
/// Memory that jobs in the intake of `rt-webhooks` may take, in bytes.
const WEBHOOK_INTAKE_BYTES_MAX: usize = 4 * 1024 * 1024;
// What is promised: 16 MiB in all.
const _: () = assert!(WEBHOOK_BYTES_MAX + WEBHOOK_INTAKE_BYTES_MAX == 16 * 1024 * 1024);
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 < WEBHOOK_INTAKE_BYTES_MAX);

/// One thing to post for one event.
pub struct Job {
    /// The id of the hook, for what is said about it.
    pub hook: Arc<[u8]>,
    pub webhook: Arc<Webhook>,
    pub event: Arc<EventText>,
}

impl Job {
    /// What it takes of the bound. An event that several hooks want counts for each.
    pub(super) fn weight(&self) -> usize {
        self.event.weight()
    }
}

/// Too much waits to be looked at.
#[derive(Debug, PartialEq)]
pub struct IntakeFull {
    pub(crate) waiting: usize,
}

/// The way to `rt-webhooks`.
pub struct Webhooks {
    pub(super) boot: u64,
    jobs_tx: Sender<Job>,
    pub(super) jobs_rx: Receiver<Job>,
    pub(super) intake_bytes: AtomicUsize,
    asks_tx: Sender<Ask>,
    pub(super) asks_rx: Receiver<Ask>,
    /// Never held during I/O: the game thread looks at it too.
    pub(super) schedule: Mutex<Schedule>,
    pub(super) senders: Senders,
    /// Posts made so far.
    pub(super) numbers: AtomicU64,
    pub(super) directory: OnceLock<PathBuf>,
    /// Only for `rt-webhooks`, which a panic may start anew.
    pub(super) spool: Mutex<SpoolState>,
    stats: Arc<Stats>,
}

#[derive(Default)]
pub(super) enum SpoolState {
    #[default]
    Unopened,
    Open(Spool),
    /// It could not be opened, or the thread has ended.
    Closed,
}

/// What `rt-webhooks` is asked beside jobs.
pub(super) enum Ask {
    /// Write what is not posted to the spool, and tell whether it is written.
    Spool(Sender<bool>),
    /// Look again: it is time to stop.
    Wake,
}

/// Asks waiting at once: one who closes, and one who stops.
const ASKS_MAX: usize = 4;

impl Webhooks {
    pub(crate) fn new(boot: u64, config: &Config, stats: Arc<Stats>) -> Webhooks {
        let (jobs_tx, jobs_rx) = crossbeam_channel::bounded(WEBHOOK_INTAKE_MAX);
        let (asks_tx, asks_rx) = crossbeam_channel::bounded(ASKS_MAX);
        Webhooks {
            boot,
            jobs_tx,
            jobs_rx,
            intake_bytes: AtomicUsize::new(0),
            asks_tx,
            asks_rx,
            schedule: Mutex::default(),
            senders: Senders::new(config, Arc::clone(&stats)),
            numbers: AtomicU64::new(0),
            directory: OnceLock::new(),
            spool: Mutex::default(),
            stats,
        }
    }

    /// Where the dead-letter file and the spool are; before the threads start. Without it there are none.
    pub fn keep_files_in(&self, directory: PathBuf) {
        // A second call changes nothing: the files are open.
        let _ = self.directory.set(directory);
    }

    /// Takes the job, or refuses it when too many wait. Never waits; any thread.
    pub fn push(&self, job: Job) -> Result<(), IntakeFull> {
        self.stats.webhooks.offered.add(1);
        let weight = job.weight();
        if self.intake_bytes.fetch_add(weight, Ordering::AcqRel) + weight <= WEBHOOK_INTAKE_BYTES_MAX
            && self.jobs_tx.try_send(job).is_ok()
        {
            return Ok(());
        }
        self.intake_bytes.fetch_sub(weight, Ordering::AcqRel);
        self.stats.webhooks.dropped.queue_full.add(1);
        Err(IntakeFull { waiting: self.jobs_rx.len() })
    }

    /// Requests from now on trust the authorities of this file; `tls` if it was read already.
    pub(crate) fn trust(&self, ca_file: &str, tls: Option<Arc<ClientConfig>>) {
        self.senders.trust(ca_file, tls);
    }

    /// A hook with this action was added: if its destination was given up, it gets another try.
    pub fn reopen(&self, webhook: &Webhook) {
        lock(&self.schedule).reopen(&address_of(webhook));
    }

    /// Writes what is not posted yet to the spool, until the deadline; it may be the end of the process. True if it is
    /// written, or if nothing waits.
    pub fn spool(&self, deadline: Instant) -> bool {
        if self.waiting() == 0 || self.directory.get().is_none() {
            return self.waiting() == 0;
        }
        let (reply_tx, reply_rx) = crossbeam_channel::bounded(1);
        self.asks_tx.try_send(Ask::Spool(reply_tx)).is_ok() && reply_rx.recv_deadline(deadline) == Ok(true)
    }

    /// Jobs taken and neither delivered nor given up.
    pub fn waiting(&self) -> usize {
        // The schedule first: a job that moves there meanwhile is counted twice rather than not at all.
        let scheduled = lock(&self.schedule).jobs();
        scheduled + self.jobs_rx.len()
    }

    /// Every destination and how it stands.
    pub fn standings(&self) -> Vec<Standing> {
        lock(&self.schedule).standings(Instant::now())
    }

    /// Has `rt-webhooks` look whether it is time to stop.
    pub(crate) fn wake(&self) {
        match self.asks_tx.try_send(Ask::Wake) {
            // Full: it has enough to look at.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The destination of a hook's posts.
pub(super) fn address_of(webhook: &Webhook) -> Address {
    match webhook {
        Webhook::Discord(discord) => Address::discord(&discord.url),
        Webhook::Http(http) => {
            let text = format!("{}{}", http.url.origin(), http.url.target_text());
            Address::http(text, http.url.to_string(), http.url.has_placeholders())
        }
    }
}
