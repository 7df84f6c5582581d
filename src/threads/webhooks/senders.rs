//! [`Senders`], the threads `rt-send-1` to `rt-send-6` that make the HTTP requests. Each takes an order from one queue,
//! waits for the network, and reports the result in another queue.
//! A thread is started when all running ones are busy, and lives as long as the process. A panic costs one attempt.
//! `rt-webhooks` can interrupt an order while it waits for a name, an answer or the other end's buffer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::limits::{SENDERS_KEPT, SENDERS_MAX};
use crate::config::{Config, Proxies};
use crate::io::channel::{self, Bell, Receiver, Sender};
use crate::io::fail_point::fail_point;
use crate::io::lock::lock;
use crate::io::thread;
use crate::io::tls::Trust;
use crate::stats::Stats;
use crate::threads::join::join_by;
use crate::webhook::answer::Trouble;
use crate::webhook::client::Client;
use crate::webhook::dial::{Dialer, Interrupt};
use crate::webhook::http::{Request, Response};
use crate::webhook::resolve::Resolver;

/// One request for a sender.
pub(super) struct Order {
    /// The destination's number in the schedule.
    pub(super) at: usize,
    /// The post's id, the same at every attempt.
    pub(super) id: String,
    pub(super) request: Request,
}

/// The result of an order.
pub(super) struct Done {
    /// The destination's number in the schedule.
    pub(super) at: usize,
    /// The response, or the reason why there is none.
    pub(super) answer: Result<Response, Trouble>,
}

/// One item of the senders' queue.
enum SenderJob {
    Send(Box<Order>, Arc<Interrupt>),
    /// Ends the thread that takes it.
    Stop,
}

/// The number of sender threads. Each handles one request at a time.
const THREADS_MAX: usize = SENDERS_MAX + SENDERS_KEPT;
/// Stack of a sender, in bytes. TLS runs on the carrier's thread (`webhook/carrier.rs`), which has a larger one.
const STACK_BYTES: usize = 256 * 1024;

/// All senders, and the orders under way. It survives a panic of `rt-webhooks`.
pub(super) struct Senders {
    /// Connects for all senders: they share resolved addresses and TLS sessions.
    dialer: Arc<Dialer>,
    jobs_tx: Sender<SenderJob>,
    jobs_rx: Receiver<SenderJob>,
    done_tx: Sender<Done>,
    done_rx: Receiver<Done>,
    /// Rung for each result.
    bell: Arc<Bell>,
    running: Mutex<Vec<JoinHandle<()>>>,
    /// Orders whose result is not settled yet; at most one for each destination.
    under_way: Mutex<Vec<UnderWay>>,
    stats: Arc<Stats>,
}

struct UnderWay {
    /// The destination's number in the schedule.
    at: usize,
    interrupt: Arc<Interrupt>,
}

impl Senders {
    /// Starts no thread yet. `bell` is rung for each result.
    pub(super) fn new(config: &Config, bell: Arc<Bell>, stats: Arc<Stats>) -> Senders {
        // At most as many orders as senders, and one `Stop` for each sender: neither queue is ever full.
        let (jobs_tx, jobs_rx) = channel::bounded(THREADS_MAX * 2);
        let (done_tx, done_rx) = channel::bounded(THREADS_MAX);
        Senders {
            dialer: Arc::new(Dialer::new(Resolver::default(), &config.webhook_ca_file, config.proxies())),
            jobs_tx,
            jobs_rx,
            done_tx,
            done_rx,
            bell,
            running: Mutex::default(),
            under_way: Mutex::default(),
            stats,
        }
    }

    /// Later requests trust the certificate authorities of this file. `tls` is the file's content if it was read already.
    pub(super) fn trust(&self, ca_file: &str, trust: Option<Trust>) {
        self.dialer.trust(ca_file, trust);
    }

    /// Later requests go through these proxies.
    pub(super) fn go_through(&self, proxies: Proxies) {
        self.dialer.go_through(proxies);
    }

    /// The secret texts of the proxies in force.
    pub(super) fn proxy_secrets(&self) -> Vec<String> {
        self.dialer.proxies().secrets()
    }

    /// The number of orders that [`Senders::send`] would accept now.
    pub(super) fn free(&self) -> usize {
        THREADS_MAX.saturating_sub(lock(&self.under_way).len())
    }

    /// The destinations of the orders under way, by their numbers in the schedule.
    pub(super) fn under_way(&self) -> Vec<usize> {
        lock(&self.under_way).iter().map(|order| order.at).collect()
    }

    /// Interrupts the order for this destination; its result then comes soon.
    pub(super) fn cut(&self, at: usize) {
        lock(&self.under_way).iter().filter(|order| order.at == at).for_each(|order| order.interrupt.set());
    }

    /// Queues the order, and starts another sender if all running ones are busy. The error is the reason why the system
    /// gave no thread.
    pub(super) fn send(&self, order: Order) -> Result<(), String> {
        let mut under_way = lock(&self.under_way);
        let mut running = lock(&self.running);
        // Each order under way keeps one thread busy, so with as many orders as threads none is free.
        if running.len() <= under_way.len() {
            let sender = self.start(running.len() + 1);
            running.push(sender.map_err(|err| format!("cannot start a sender: {err}"))?);
        }
        let interrupt = Arc::new(Interrupt::default());
        under_way.push(UnderWay { at: order.at, interrupt: Arc::clone(&interrupt) });
        let job = SenderJob::Send(Box::new(order), interrupt);
        self.jobs_tx.send(job).then_some(()).ok_or_else(|| "the senders take no orders".to_owned())
    }

    fn start(&self, number: usize) -> std::io::Result<JoinHandle<()>> {
        let mut sender = SenderThread {
            client: Client::new(Arc::clone(&self.dialer), number),
            jobs_rx: self.jobs_rx.clone(),
            done_tx: self.done_tx.clone(),
            bell: Arc::clone(&self.bell),
            stats: Arc::clone(&self.stats),
        };
        thread::spawn(format!("rt-send-{number}"), STACK_BYTES, Box::new(move || sender.run()))
    }

    /// The queue of results. The receiver must call [`Senders::settle`] for each.
    pub(super) fn reports(&self) -> &Receiver<Done> {
        &self.done_rx
    }

    /// The result of this destination's order was received: its sender is free again.
    pub(super) fn settle(&self, at: usize) {
        lock(&self.under_way).retain(|order| order.at != at);
    }

    /// Interrupts every order and ends every sender. Returns the names of those that did not end within `patience`; they
    /// end at the deadline of their request.
    pub(super) fn stop(&self, patience: Duration) -> Vec<String> {
        let running = std::mem::take(&mut *lock(&self.running));
        lock(&self.under_way).iter().for_each(|order| order.interrupt.set());
        for _ in &running {
            // Never full: one for each sender, and a second call finds none running.
            let _ = self.jobs_tx.send(SenderJob::Stop);
        }
        let deadline = Instant::now() + patience;
        join_by(running, deadline)
    }
}

/// The state of one sender's thread.
struct SenderThread {
    client: Client,
    jobs_rx: Receiver<SenderJob>,
    done_tx: Sender<Done>,
    bell: Arc<Bell>,
    stats: Arc<Stats>,
}

impl SenderThread {
    /// Serves orders until [`SenderJob::Stop`].
    fn run(&mut self) {
        while let Some(SenderJob::Send(order, interrupt)) = self.jobs_rx.recv() {
            let attempt = || {
                fail_point("sender");
                let answer = self.client.send(&order.request, &order.id, &interrupt);
                answer.map_err(|err| {
                    if interrupt.is_set() {
                        Trouble::from("no answer in time: other destinations waited for the sender".to_owned())
                    } else {
                        Trouble { reason: err.to_string(), asks_login: err.asks_login }
                    }
                })
            };
            let answer = catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
                self.stats.panics.add(1);
                Err("internal error".to_owned().into())
            });
            if !self.done_tx.send(Done { at: order.at, answer }) {
                return; // The receiver is gone: the process ends.
            }
            self.bell.ring();
        }
    }
}
