//! The threads that make the requests, `rt-send-1` to `rt-send-6`: each takes an order, waits for the network, and
//! reports. Started when all that run are busy; they live as long as the process. A panic costs one attempt.
//! An order can be ended from outside while it waits for a name, an answer or the other end's buffer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustls::ClientConfig;

use crate::config::Config;
use crate::config::limits::{SENDERS_KEPT, SENDERS_MAX};
use crate::io::fail_point::fail_point;
use crate::io::lock::lock;
use crate::stats::Stats;
use crate::threads::join::join_by;
use crate::webhook::client::{Client, Interrupt};
use crate::webhook::http::Request;
use crate::webhook::resolve::Resolver;
use crate::webhook::response::Response;

/// One request to make.
pub(super) struct Order {
    /// The destination's number in the schedule.
    pub(super) at: usize,
    pub(super) id: String,
    pub(super) request: Request,
}

/// What came of an order.
pub(super) struct Done {
    pub(super) at: usize,
    /// The answer, or why there is none.
    pub(super) answer: Result<Response, String>,
}

enum Task {
    Send(Box<Order>, Arc<Interrupt>),
    Stop,
}

/// All of them.
const THREADS_MAX: usize = SENDERS_MAX + SENDERS_KEPT;

/// All senders, and the orders under way.
pub(super) struct Senders {
    client: Arc<Client>,
    tasks_tx: Sender<Task>,
    tasks_rx: Receiver<Task>,
    done_tx: Sender<Done>,
    done_rx: Receiver<Done>,
    running: Mutex<Vec<JoinHandle<()>>>,
    /// Orders that are not reported yet.
    under_way: Mutex<Vec<UnderWay>>,
    stats: Arc<Stats>,
}

struct UnderWay {
    /// The destination.
    at: usize,
    interrupt: Arc<Interrupt>,
}

impl Senders {
    pub(super) fn new(config: &Config, stats: Arc<Stats>) -> Senders {
        // There are as many orders as senders at most, then as many tasks to stop: nothing here is ever full.
        let (tasks_tx, tasks_rx) = crossbeam_channel::bounded(THREADS_MAX * 2);
        let (done_tx, done_rx) = crossbeam_channel::bounded(THREADS_MAX);
        Senders {
            client: Arc::new(Client::new(Resolver::default(), &config.webhook_ca_file)),
            tasks_tx,
            tasks_rx,
            done_tx,
            done_rx,
            running: Mutex::default(),
            under_way: Mutex::default(),
            stats,
        }
    }

    /// Requests from now on trust the authorities of this file; `tls` if it was read already.
    pub(super) fn trust(&self, ca_file: &str, tls: Option<Arc<ClientConfig>>) {
        self.client.trust(ca_file, tls);
    }

    /// How many orders could be taken now.
    pub(super) fn free(&self) -> usize {
        THREADS_MAX.saturating_sub(lock(&self.under_way).len())
    }

    /// The destinations of the orders under way.
    pub(super) fn under_way(&self) -> Vec<usize> {
        lock(&self.under_way).iter().map(|order| order.at).collect()
    }

    /// Ends the order for this destination; its report comes soon.
    pub(super) fn cut(&self, at: usize) {
        lock(&self.under_way).iter().filter(|order| order.at == at).for_each(|order| order.interrupt.set());
    }

    /// Hands the order to a sender that is free, a new one if need be.
    pub(super) fn send(&self, order: Order) -> Result<(), String> {
        let mut under_way = lock(&self.under_way);
        let mut running = lock(&self.running);
        if running.len() <= under_way.len() {
            let sender = self.start(running.len() + 1);
            running.push(sender.map_err(|err| format!("cannot start a sender: {err}"))?);
        }
        let interrupt = Arc::new(Interrupt::default());
        under_way.push(UnderWay { at: order.at, interrupt: Arc::clone(&interrupt) });
        let task = Task::Send(Box::new(order), interrupt);
        self.tasks_tx.try_send(task).map_err(|_| "the senders take no orders".to_owned())
    }

    fn start(&self, number: usize) -> std::io::Result<JoinHandle<()>> {
        let sender = SenderThread {
            client: Arc::clone(&self.client),
            tasks_rx: self.tasks_rx.clone(),
            done_tx: self.done_tx.clone(),
            stats: Arc::clone(&self.stats),
        };
        // TLS needs more than the other workers do.
        let builder = thread::Builder::new().name(format!("rt-send-{number}")).stack_size(512 * 1024);
        builder.spawn(move || sender.run())
    }

    /// Where reports come in; each is to be [`Senders::settle`]d.
    pub(super) fn reports(&self) -> &Receiver<Done> {
        &self.done_rx
    }

    /// The order for this destination is no longer under way.
    pub(super) fn settle(&self, at: usize) {
        lock(&self.under_way).retain(|order| order.at != at);
    }

    /// Ends every sender: what waits on a socket is interrupted. The names of those that did not end in time; they
    /// end with their request's own deadline.
    pub(super) fn stop(&self, patience: Duration) -> Vec<String> {
        let running = std::mem::take(&mut *lock(&self.running));
        lock(&self.under_way).iter().for_each(|order| order.interrupt.set());
        for _ in &running {
            // Never full, and a second stop finds nobody running.
            let _ = self.tasks_tx.try_send(Task::Stop);
        }
        let deadline = Instant::now() + patience;
        join_by(running, deadline)
    }
}

/// One sender's side.
struct SenderThread {
    client: Arc<Client>,
    tasks_rx: Receiver<Task>,
    done_tx: Sender<Done>,
    stats: Arc<Stats>,
}

impl SenderThread {
    fn run(&self) {
        while let Ok(Task::Send(order, interrupt)) = self.tasks_rx.recv() {
            let attempt = || {
                fail_point("sender");
                let answer = self.client.send(&order.request, &order.id, &interrupt);
                answer.map_err(|err| match interrupt.is_set() {
                    true => "no answer in time: other destinations waited for the sender".to_owned(),
                    false => err.to_string(),
                })
            };
            let answer = catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
                self.stats.panics.add(1);
                Err("internal error".to_owned())
            });
            if self.done_tx.send(Done { at: order.at, answer }).is_err() {
                return; // The process ends.
            }
        }
    }
}
