//! A whole server without Lua: the engine with its threads, and a loop that runs the engine's calls in place of the game.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use realtime::facade::config::Sources;
use realtime::facade::engine::requests::{Request, Requests};
use realtime::facade::engine::{Call, CallbackRef, Deliver, Engine, Outcome, Refusal};
use realtime::facade::event::notice::Notice;
use realtime::facade::hooks::status::GameValues;
use realtime::facade::json::tape::{Reader, TapeItem};
use realtime::facade::redis::answer;
use realtime::facade::stats::Stats;
use realtime::facade::threads::shared::Shared;
use serde_json::{Value, json};

use crate::poster::Folder;
use crate::{PATIENCE, comes_true, defaults};

/// The queues of `Stats()`.
const QUEUES: [&str; 8] = ["outbox", "inbox", "notices", "replies", "actions", "aggregates", "files", "webhooks"];

/// How long an idle worker may take until its last counts are in.
const BALANCE_MAX: Duration = Duration::from_secs(10);

/// One server. Each test has its own prefix, so that tests can share a Redis.
pub struct Server {
    pub engine: Engine,
    /// `callback channel payload` for each delivery; of an object the payload shows the first value. ` missed` follows if
    /// the event came from the stream.
    pub heard: Vec<String>,
    /// The notices for game hooks.
    pub told: Vec<Notice>,
    /// The answers that callbacks got: the callback's number and the values as Lua writes them.
    pub answers: Vec<(i32, String)>,
    /// The result of every Lua condition.
    pub conditions_hold: bool,
    /// The windows that were summed up: the function's number, and the events as Lua writes them. Each sum is
    /// `{"n":count}`.
    pub windows: Vec<(i32, Vec<String>)>,
    gathered: Vec<String>,
    /// The values that the game tells for status messages.
    pub game: GameValues,
    /// The data folder of this server.
    pub folder: Folder,
}

fn shown(delivery: &Deliver) -> String {
    let mut tape = Reader::new(delivery.event.tape());
    let payload = loop {
        match tape.next_item() {
            Some(TapeItem::Number(number)) => break number.to_string(),
            Some(TapeItem::Text(text)) => break String::from_utf8_lossy(text).into_owned(),
            // Skips to the first value.
            Some(TapeItem::Object(1..)) => _ = tape.next_item(),
            other => break format!("{other:?}"),
        }
    };
    let missed = if delivery.is_missed() { " missed" } else { "" };
    format!("{} {} {payload}{missed}", delivery.callback.0, String::from_utf8_lossy(delivery.event.channel()))
}

/// The values of an answer as Lua writes them, or the reason.
fn shown_outcome(outcome: &answer::AnswerResult) -> String {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(reason) => return reason.clone(),
    };
    let mut tape = Reader::new(&answer.tape);
    (0..answer.values).map(|_| shown_value(&mut tape)).collect::<Vec<_>>().join(" ")
}

fn shown_value(tape: &mut Reader<'_>) -> String {
    match tape.next_item() {
        Some(TapeItem::Nil | TapeItem::Null) => "nil".to_owned(),
        Some(TapeItem::Boolean(value)) => value.to_string(),
        Some(TapeItem::Number(number)) => number.to_string(),
        Some(TapeItem::Text(text)) => format!("'{}'", String::from_utf8_lossy(text)),
        Some(TapeItem::Array(count)) => {
            let values: Vec<String> = (0..count).map(|_| shown_value(tape)).collect();
            format!("{{{}}}", values.join(","))
        }
        Some(TapeItem::Object(count)) => {
            let member = |_| format!("{}={}", shown_value(tape).trim_matches('\''), shown_value(tape));
            let members: Vec<String> = (0..count).map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        None => "the end".to_owned(),
    }
}

/// Three numbers of one queue: in; delivered and dropped together; waiting.
fn balance(stats: &Value, queue: &str) -> (u64, u64, u64) {
    let number = |name: &str| stats[queue][name].as_u64().unwrap();
    let dropped: u64 = stats[queue]["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    (number("in"), number("delivered") + dropped, number("waiting"))
}

impl Server {
    /// Starts on the Redis of `REALTIME_TEST_REDIS`, which `scripts/redis-in-docker` sets.
    pub fn start(prefix: &str) -> Server {
        let redis = std::env::var("REALTIME_TEST_REDIS").expect("run this under scripts/redis-in-docker");
        Server::at(&redis, prefix)
    }

    /// Starts on this Redis, with a prefix that only this process uses.
    pub fn at(redis: &str, prefix: &str) -> Server {
        Server::with_prefix(redis, &format!("{prefix}:{}:", std::process::id()))
    }

    pub fn with_prefix(redis: &str, prefix: &str) -> Server {
        Server::with(json!({ "redis": redis, "prefix": prefix }))
    }

    /// Starts with these options; [`Engine::configure`] can change them later.
    pub fn with(settings: Value) -> Server {
        let mut sources = Sources::new(defaults(), None, |_| None);
        sources.configure(&settings.to_string()).unwrap();
        assert_eq!(sources.resolve().1, []);
        Server::from_sources(sources)
    }

    /// Starts with these settings, right or wrong.
    pub fn from_sources(sources: Sources) -> Server {
        Server::in_folder(sources, Folder::default())
    }

    /// The same with the data folder of an earlier server.
    pub fn in_folder(sources: Sources, folder: Folder) -> Server {
        std::fs::create_dir_all(folder.path()).expect("a folder for data");
        let (config, _) = sources.resolve();
        let shared =
            Shared::new(config, folder.path().to_owned(), Arc::new(Stats::default()), Arc::new(AtomicBool::new(true)));
        shared.webhooks.keep_files_in(folder.path().join("realtime"));
        let mut engine = Engine::start(shared, sources).unwrap();
        engine.attach();
        Server {
            engine,
            heard: Vec::new(),
            told: Vec::new(),
            answers: Vec::new(),
            conditions_hold: true,
            windows: Vec::new(),
            gathered: Vec::new(),
            game: GameValues::default(),
            folder,
        }
    }

    pub fn on(&mut self, channel: &str, callback: i32) {
        self.engine.on(channel.as_bytes(), None, CallbackRef(callback), false).unwrap();
    }

    /// A listener that gets what it missed; its id names its place.
    pub fn on_missed(&mut self, channel: &str, id: &str, callback: i32) {
        let callback = CallbackRef(callback);
        self.engine.on_missed(channel.as_bytes(), Some(id.as_bytes()), callback, false).unwrap();
    }

    /// Ends as a game server does: the Lua state ends, and everything that is queued is sent.
    /// Returns its data folder.
    pub fn leave(mut self) -> Folder {
        let (_, flush) = self.engine.detach();
        flush.wait();
        let folder = std::mem::take(&mut self.folder);
        self.stop();
        folder
    }

    pub fn emit(&mut self, channel: &str, payload: &str) -> Result<(), Refusal> {
        self.engine.emit(channel.as_bytes(), payload.as_bytes())
    }

    pub fn hook(&mut self, channel: &str, spec: Value) {
        let condition = (spec["type"] == "conditional").then_some(CallbackRef(1));
        self.engine.add_hook(channel.as_bytes(), None, &spec, condition).unwrap();
    }

    /// Adds an aggregator whose function has this number.
    pub fn aggregator(&mut self, channel: &str, function: i32, spec: &Value) {
        self.engine.add_aggregator(channel.as_bytes(), None, spec, Some(CallbackRef(function))).unwrap();
    }

    /// Sends a command with a callback of this number, or without a callback.
    pub fn submit(
        &mut self,
        callback: Option<i32>,
        make: impl FnOnce(Requests<'_>) -> Result<Request, Refusal>,
    ) -> Result<(), Refusal> {
        let request = make(self.engine.requests())?;
        self.engine.submit(request, callback.map(CallbackRef))
    }

    /// A reader without a callback, which waits.
    pub fn read(&mut self, make: impl FnOnce(Requests<'_>) -> Result<Request, Refusal>) -> String {
        let reading = make(self.engine.requests()).and_then(|request| self.engine.begin_read(request));
        match reading {
            Ok(mut reading) => {
                let outcome = reading.wait();
                shown_outcome(&self.engine.end_read(reading, outcome))
            }
            Err(refusal) => refusal.to_string(),
        }
    }

    pub fn get(&mut self, key: &str) -> String {
        self.read(|requests| requests.get(key.as_bytes()))
    }

    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        self.submit(None, |requests| requests.set(key.as_bytes(), value.as_bytes()))
    }

    pub fn incr(&mut self, key: &str, callback: Option<i32>) -> Result<(), Refusal> {
        self.submit(callback, |requests| requests.incr(key.as_bytes(), 1.0))
    }

    /// Waits until `count` answers have come in all, and returns them.
    #[track_caller]
    pub fn answered(&mut self, count: usize) -> Vec<(i32, String)> {
        self.wait(|server| server.answers.len() >= count);
        assert_eq!(self.answers.len(), count);
        self.answers.clone()
    }

    /// The errors that were reported, each as `operation target: reason`.
    pub fn errors(&self) -> Vec<String> {
        let told = self.told.iter().filter_map(|notice| match notice {
            Notice::Error { operation, target, reason } => {
                Some(format!("{operation} {}: {reason}", String::from_utf8_lossy(target)))
            }
            _ => None,
        });
        told.collect()
    }

    /// The last events that Redis keeps of a channel, as Lua writes them; asked behind everything emitted so far.
    pub fn history(&mut self, channel: &str, count: f64) -> String {
        let before = self.answers.len();
        self.submit(Some(1), |requests| requests.history(channel.as_bytes(), count)).unwrap();
        self.wait(|server| server.answers.len() > before);
        self.answers.remove(before).1
    }

    /// Runs one tick. Returns the number of calls.
    pub fn tick(&mut self) -> usize {
        let calls = self.heard.len();
        if self.engine.shared().inbox.take_attention() {
            let mut now = Instant::now();
            self.engine.begin_tick(now);
            let desk = &self.engine.shared().webhooks.desk;
            if desk.take_question() {
                desk.tell_game(self.game.clone(), now);
            }
            while let Some(call) = self.engine.next_call(now) {
                let mut outcome = Outcome::Done;
                match &call {
                    Call::Condition(_) => outcome = Outcome::Holds(self.conditions_hold),
                    // Any reference serves here: no Lua state has to release it.
                    Call::Gather(gather) => {
                        let array = gather.array.unwrap_or(CallbackRef(1000));
                        self.gathered.extend(gather.events().iter().map(|event| shown_value(&mut Reader::new(event))));
                        outcome = Outcome::Gathered(array);
                    }
                    Call::Aggregate(aggregate) => {
                        let window = std::mem::take(&mut self.gathered);
                        assert_eq!(window.len(), aggregate.due.window.len());
                        outcome = Outcome::Sum(json!({ "n": window.len() }).to_string().into_bytes());
                        self.windows.push((aggregate.function.0, window));
                    }
                    Call::Deliver(delivery) => self.heard.push(shown(delivery)),
                    Call::Notice(notice) => self.told.push(notice.clone()),
                    Call::Answer(answered) => {
                        self.answers.push((answered.callback.0, shown_outcome(&answered.outcome)));
                    }
                }
                self.engine.complete(call, outcome);
                now = Instant::now();
            }
        }
        self.heard.len() - calls
    }

    /// Ticks until `count` deliveries have come in all.
    #[track_caller]
    pub fn hear(&mut self, count: usize) {
        self.wait(|server| server.heard.len() >= count);
        assert_eq!(self.heard.len(), count);
    }

    /// Ticks until `done` returns true; the test fails after [`PATIENCE`] and prints the state of the server.
    #[track_caller]
    pub fn wait(&mut self, mut done: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {}", self.describe());
            if self.tick() == 0 {
                // Pause between two ticks: other threads need the processor.
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
    }

    /// The state of the server, for a test that waited in vain.
    fn describe(&self) -> String {
        let newest = self.heard.iter().rev().take(20).collect::<Vec<_>>();
        format!(
            "status {:?}\nheard {}, the newest {newest:?}\nanswers {:?}\ntold {:?}\nstats {}",
            self.engine.status(),
            self.heard.len(),
            self.answers,
            self.told,
            self.engine.stats()
        )
    }

    #[track_caller]
    pub fn wait_ready(&mut self) {
        self.wait(|server| matches!(server.engine.status().0, "connected" | "embedded"));
    }

    /// Ticks until `RealtimeConnected` is due. The status is `connected` a little earlier.
    #[track_caller]
    pub fn wait_told_connected(&mut self) {
        self.wait(|server| server.told.contains(&Notice::Connected));
    }

    /// Ticks until every queue is empty and every worker is idle: each queue has in = delivered + dropped, and these
    /// numbers no longer change.
    #[track_caller]
    pub fn settle(&mut self) {
        let mut before = Vec::new();
        self.wait(|server| {
            let stats = server.engine.stats();
            let now: Vec<_> = QUEUES.iter().map(|queue| balance(&stats, queue)).collect();
            let is_empty = now.iter().all(|(offered, done, waiting)| *waiting == 0 && offered == done);
            let is_same = std::mem::replace(&mut before, now.clone()) == now;
            is_empty && is_same
        });
    }

    pub fn stat(&self, path: &str) -> u64 {
        let stats = self.engine.stats();
        stats.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {stats}"))
    }

    /// Asserts for each queue that in = delivered + dropped + waiting. Idle queues balance; a worker gets the time for its
    /// last counts. Wrong numbers stay wrong.
    #[track_caller]
    pub fn assert_balanced(&self) {
        for queue in QUEUES {
            let is_balanced = || {
                let (offered, done, waiting) = balance(&self.engine.stats(), queue);
                offered == done + waiting
            };
            assert!(comes_true(BALANCE_MAX, is_balanced), "{queue}: {}", self.engine.stats());
        }
    }

    pub fn stop(self) {
        assert!(self.engine.stop(Instant::now() + PATIENCE), "a thread did not end");
    }
}
