//! [`Webhooks`], the handle of `rt-webhooks`: every thread queues jobs for Discord and HTTP through it. A job is accepted
//! or refused at once.
//! The handle also owns the state that survives a panic of the thread: the schedule, the senders and the spool.
//! It needs neither Redis nor the game thread: a job holds the text of its event and the hook's settings.
//!
//! ```text
//!  push() ──▶ jobs (8192, 4 MiB) ──▶ rt-webhooks: post ──▶ schedule (12 MiB) ──▶ senders ──▶ HTTP
//!                                                              ├──▶ spool, when the process ends
//!                                                              └──▶ overflow, when the memory is full
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::config::limits::PAYLOAD_BYTES_MAX;
use crate::config::{Config, Proxies};
use crate::event::EventText;
use crate::hooks::request::Webhook;
use crate::io::channel::{self, Bell, Receiver, Sender};
use crate::io::lock::lock;
use crate::io::tls::Trust;
use crate::stats::Stats;
use crate::threads::webhooks::desk::StatusDesk;
use crate::threads::webhooks::senders::Senders;
use crate::webhook::overflow::Overflow;
use crate::webhook::post::PostAddress;
use crate::webhook::schedule::{DestinationReport, Schedule, WEBHOOK_BYTES_MAX};
use crate::webhook::spool::Spool;

/// Jobs that `rt-webhooks` has not taken yet. The thread does no network I/O and empties this queue at once, so the bound
/// is for a burst. A full queue refuses the newest job.
const WEBHOOK_INTAKE_MAX: usize = 8192;
/// Memory that jobs in this queue may take, in bytes. Large events reach this bound before the count.
const WEBHOOK_INTAKE_BYTES_MAX: usize = 4 * 1024 * 1024;
// All jobs and posts together: 16 MiB.
const _: () = assert!(WEBHOOK_BYTES_MAX + WEBHOOK_INTAKE_BYTES_MAX == 16 * 1024 * 1024);
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 < WEBHOOK_INTAKE_BYTES_MAX);

/// One webhook action of one event, to be made into a post on `rt-webhooks`.
pub struct Job {
    /// The id of the hook or aggregator, for reports.
    pub hook: Arc<[u8]>,
    pub webhook: Arc<Webhook>,
    pub event: Arc<EventText>,
    /// The owner's zone at the time of the event, in seconds to the east of UTC.
    pub offset_s: i32,
}

impl Job {
    /// Bytes that it takes of [`WEBHOOK_INTAKE_BYTES_MAX`]. An event that several hooks post counts for each of them,
    /// although they share its memory.
    pub(super) fn weight(&self) -> usize {
        self.event.weight()
    }
}

/// Too many jobs wait for `rt-webhooks`: `waiting` of them, or fewer that are large.
#[derive(Debug, PartialEq)]
pub struct IntakeFull {
    pub(crate) waiting: usize,
}

/// The handle that every thread shares.
pub struct Webhooks {
    /// This process, in the ids of its posts.
    pub(super) boot: u64,
    jobs_tx: Sender<Job>,
    pub(super) jobs_rx: Receiver<Job>,
    /// The weight of the jobs in the queue.
    pub(super) intake_bytes: AtomicUsize,
    /// A job has left the queue and may not be in the schedule yet.
    pub(super) is_making: AtomicBool,
    asks_tx: Sender<SpoolAll>,
    pub(super) asks_rx: Receiver<SpoolAll>,
    /// Rung for each job, result and request, and at stop.
    pub(super) bell: Arc<Bell>,
    /// The lock is never held during I/O: the game thread takes it too, for `Stats()`.
    pub(super) schedule: Mutex<Schedule>,
    pub(super) senders: Senders,
    /// The number of posts made so far; the next post's id holds it.
    pub(super) numbers: AtomicU64,
    /// The folder of the dead-letter file, the spool and the posts on the disk.
    pub(super) directory: OnceLock<PathBuf>,
    /// The values that status messages show.
    pub desk: Arc<StatusDesk>,
    /// Used by `rt-webhooks` only. It is here so that a thread that begins anew after a panic finds it open.
    pub(super) spool: Mutex<SpoolState>,
    /// The posts on the disk; used by `rt-webhooks` only, too. `None` before the thread runs, after it has ended, and without
    /// a folder.
    pub(super) overflow: Mutex<Option<Overflow>>,
    stats: Arc<Stats>,
}

/// The file in which posts survive a restart of the process (`webhook/spool.rs`).
#[derive(Default)]
pub(super) enum SpoolState {
    #[default]
    Unopened,
    Open(Box<Spool>),
    /// It could not be opened, or the thread has ended and another process may have it.
    Closed,
}

/// A request to `rt-webhooks` to write all posts that are not delivered to the spool. The answer is true if they are
/// written. It has a queue of its own, so that a full queue of jobs cannot refuse it.
pub(super) struct SpoolAll(pub(super) Sender<bool>);

/// Requests that may wait. At most one flush is under way, so this is never reached.
const ASKS_MAX: usize = 4;

impl Webhooks {
    /// `boot` is the number of this process; `config` names the certificate authorities to trust at first.
    pub(crate) fn new(boot: u64, config: &Config, stats: Arc<Stats>) -> Webhooks {
        let (jobs_tx, jobs_rx) = channel::bounded(WEBHOOK_INTAKE_MAX);
        let (asks_tx, asks_rx) = channel::bounded(ASKS_MAX);
        let bell = Arc::<Bell>::default();
        Webhooks {
            boot,
            jobs_tx,
            jobs_rx,
            intake_bytes: AtomicUsize::new(0),
            is_making: AtomicBool::new(false),
            asks_tx,
            asks_rx,
            schedule: Mutex::default(),
            senders: Senders::new(config, Arc::clone(&bell), Arc::clone(&stats)),
            desk: Arc::new(StatusDesk::new(Arc::clone(&bell))),
            bell,
            numbers: AtomicU64::new(0),
            directory: OnceLock::new(),
            spool: Mutex::default(),
            overflow: Mutex::default(),
            stats,
        }
    }

    /// Sets the folder of the dead-letter file, the spool and the posts on the disk. Must be called before the threads start; without a folder
    /// there are no such files.
    pub fn keep_files_in(&self, directory: PathBuf) {
        // A second call changes nothing: the files are open already.
        let _ = self.directory.set(directory);
    }

    /// Queues the job, or refuses and counts it when too many wait. Never blocks; any thread.
    pub fn push(&self, job: Job) -> Result<(), IntakeFull> {
        self.stats.webhooks.offered.add(1);
        let weight = job.weight();
        if self.intake_bytes.fetch_add(weight, Ordering::AcqRel) + weight <= WEBHOOK_INTAKE_BYTES_MAX
            && self.jobs_tx.send(job)
        {
            self.bell.ring();
            return Ok(());
        }
        self.intake_bytes.fetch_sub(weight, Ordering::AcqRel);
        self.stats.webhooks.dropped.queue_full.add(1);
        Err(IntakeFull { waiting: self.jobs_rx.len() })
    }

    /// Later requests trust the certificate authorities of this file. `tls` is the file's content if it was read already.
    pub(crate) fn trust(&self, ca_file: &str, trust: Option<Trust>) {
        self.senders.trust(ca_file, trust);
    }

    /// Later requests go through these proxies.
    pub(crate) fn go_through(&self, proxies: Proxies) {
        self.senders.go_through(proxies);
    }

    /// A hook with this action was added: if its destination was closed after refusals, it gets posts again, as the
    /// operator may have repaired it.
    pub fn reopen(&self, webhook: &Webhook) {
        lock(&self.schedule).reopen(&address_of(webhook));
    }

    /// Asks the thread to write all posts in memory that are not delivered to the spool, and waits for that until the
    /// deadline: the process may end right after. True if they are written, or if there are none.
    pub fn spool(&self, deadline: Instant) -> bool {
        if self.waiting() == 0 || self.directory.get().is_none() {
            return self.waiting() == 0;
        }
        let (reply_tx, reply_rx) = channel::bounded(1);
        let is_asked = self.asks_tx.send(SpoolAll(reply_tx));
        self.bell.ring();
        is_asked && reply_rx.recv_deadline(deadline) == Ok(true)
    }

    /// Jobs accepted and neither delivered nor given up.
    pub fn waiting(&self) -> usize {
        // In the order in which a job moves: one that moves meanwhile is counted twice rather than not at all.
        let (queued, moving) = (self.jobs_rx.len(), usize::from(self.is_making.load(Ordering::SeqCst)));
        let schedule = lock(&self.schedule);
        queued + moving + schedule.jobs() + schedule.on_disk() as usize
    }

    /// Those of them that wait on the disk.
    pub fn on_disk(&self) -> u64 {
        lock(&self.schedule).on_disk()
    }

    /// The state of every destination, for `Stats()`.
    pub fn standings(&self) -> Vec<DestinationReport> {
        lock(&self.schedule).reports(Instant::now())
    }

    /// Makes the thread look whether it is to stop.
    pub(crate) fn wake(&self) {
        self.bell.ring();
    }
}

/// The destination of a webhook's posts: the unit of order, rate limits and pauses.
pub(super) fn address_of(webhook: &Webhook) -> PostAddress {
    match webhook {
        Webhook::Discord(discord) => PostAddress::discord(&discord.url),
        Webhook::Http(http) => {
            let text = format!("{}{}", http.url.origin(), http.url.target_text());
            PostAddress::http(&text, &http.url.to_string(), http.url.has_placeholders())
        }
    }
}
