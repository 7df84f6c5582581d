//! The text log: `garrysmod/data/realtime/realtime.log`, and the same lines in the game console.
//! Any thread writes through the crate `log`. The console belongs to the game thread, so its lines wait in a bounded
//! queue for the next tick.
//! Every message becomes one line: control characters are escaped here, even those in text from Redis or a web server.
//! The log holds no secrets, because callers log addresses (`config::Address` hides its password) and not settings.
//!
//! | level | meaning |
//! |---|---|
//! | error | data is lost |
//! | warn | an attempt failed and is repeated, or a setting is wrong |
//! | info | connected, stopped |
//! | debug, trace | not written |
//!
//! Throttle: one line of a cause in ten seconds; the next line says how many came between. The cause is the level and the
//! message up to its first `;`. So a message has its changing numbers behind a `;`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use crate::io::bounded_file::BoundedFile;
use crate::io::channel::{self, Receiver, Sender};
use crate::io::lock::lock;
use crate::stats::Stats;

/// Most lines that wait for the game console until the next tick. Further lines are dropped and counted; the file has
/// them all.
const CONSOLE_LINES_MAX: usize = 64;
/// Size in bytes at which a new text log begins. One old file is kept, so the disk holds at most twice this.
const LOG_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Causes of messages that are remembered: more than servers, hooks and reasons can be in trouble at once.
const CAUSES_MAX: usize = 512;

/// Installs the log of this process and returns the queue of the console's lines. `attention` is set to true when a line
/// waits there. A second call in one process keeps the first log. Without a directory there is no file, only the console.
pub(crate) fn install(directory: Option<&Path>, attention: Arc<AtomicBool>, stats: Arc<Stats>) -> Receiver<String> {
    let (tx, rx) = channel::bounded(CONSOLE_LINES_MAX);
    let console = Console { tx, attention, stats };
    let open = |directory: &Path| BoundedFile::open(directory.join("realtime.log"), LOG_FILE_BYTES_MAX);
    let file = directory.map(open).transpose();
    let (file, problem) = match file {
        Ok(file) => (file, None),
        Err(err) => (None, Some(err)),
    };
    let settings = ConfigBuilder::new().set_thread_level(LevelFilter::Error).set_target_level(LevelFilter::Off).build();
    let file = file.map(|file| WriteLogger::new(LevelFilter::Info, settings, file));
    let logger = OneLine { console, file, causes: Mutex::default() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    // Only now, so that the console shows it.
    if let (Some(err), Some(directory)) = (problem, directory) {
        log::warn!("cannot open the text log in `{}`: {err}", directory.display());
    }
    rx
}

/// The logger. Escapes characters that could end a line or control a terminal, then writes the message to the file and
/// queues it for the console.
struct OneLine {
    console: Console,
    /// `None`: there is no directory, or the file could not be opened.
    file: Option<Box<WriteLogger<BoundedFile>>>,
    causes: Mutex<Causes>,
}

impl Log for OneLine {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let Some(more) = lock(&self.causes).pass_message(record.level(), &message, Instant::now()) else {
            self.console.stats.log_lines_held_back.add(1);
            return;
        };
        let line = escaped(&(message + &more));
        if let Some(file) = &self.file {
            file.log(&Record::builder().metadata(record.metadata().clone()).args(format_args!("{line}")).build());
        }
        self.console.push(line);
    }

    fn flush(&self) {
        if let Some(file) = &self.file {
            file.flush();
        }
    }
}

/// The sending end of the console's queue. The receiving end belongs to the game thread.
struct Console {
    tx: Sender<String>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Console {
    /// Never waits: any thread may log, and the game thread empties the queue only between ticks.
    fn push(&self, line: String) {
        if self.tx.send(line) {
            self.attention.store(true, Ordering::Release);
        } else {
            self.stats.console_lines_dropped.add(1);
        }
    }
}

/// Lets one line in ten seconds pass, and counts the others.
#[derive(Default)]
pub(crate) struct Throttle {
    /// When a line passed last. `None`: never.
    last: Option<Instant>,
    /// Lines held back since then.
    held_back: u64,
}

impl Throttle {
    /// Long enough that a broken connection does not flood the log, short enough to see that it is still broken.
    const PAUSE: Duration = Duration::from_secs(10);

    pub(crate) const fn new() -> Throttle {
        Throttle { last: None, held_back: 0 }
    }

    /// `None`: the line must not be written now. Otherwise the text to append to the line: empty, or the number of lines
    /// that were held back since the last one.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<String> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < Throttle::PAUSE) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        match std::mem::take(&mut self.held_back) {
            0 => Some(String::new()),
            more => Some(format!(" (and {more} more since the last such line)")),
        }
    }
}

/// One throttle for each cause that was reported lately, at most [`CAUSES_MAX`]. A further cause replaces the one that
/// was reported longest ago.
#[derive(Default)]
pub(crate) struct Causes(HashMap<Box<[u8]>, Throttle>);

impl Causes {
    /// As [`Throttle::pass`], for this cause.
    pub(crate) fn pass(&mut self, cause: Box<[u8]>, now: Instant) -> Option<String> {
        if self.0.len() >= CAUSES_MAX && !self.0.contains_key(&cause) {
            let oldest = self.0.iter().min_by_key(|(_, throttle)| throttle.last).map(|(cause, _)| cause.clone());
            oldest.map(|cause| self.0.remove(&cause));
        }
        self.0.entry(cause).or_default().pass(now)
    }

    /// The same for the cause of this message: its level, and its text up to the first `;`.
    pub(crate) fn pass_message(&mut self, level: Level, message: &str, now: Instant) -> Option<String> {
        let text = message.split(';').next().unwrap_or_default();
        self.pass([level.as_str(), text].concat().into_bytes().into_boxed_slice(), now)
    }
}

/// The message as one line: control characters become `\n`, `\r`, `\t` or `\x1b` in letters. C1 controls (U+0080 to
/// U+009F) are escaped too, because some terminals obey them.
pub(crate) fn escaped(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for character in message.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            other if other.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\x{:02x}", u32::from(other));
            }
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (message, line) in [
            ("plain é", "plain é"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            ("\u{9b}31m", "\\x9b31m"),
        ] {
            assert_eq!(escaped(message), line);
        }
    }

    #[test]
    fn a_throttle_passes_one_line_in_ten_seconds() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let mut at = |seconds| throttle.pass(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(String::new()));
        assert_eq!((at(1), at(9)), (None, None));
        assert_eq!(at(10), Some(" (and 2 more since the last such line)".to_owned()));
        assert_eq!(at(11), None);
        assert_eq!(at(100), Some(" (and 1 more since the last such line)".to_owned()));
        assert_eq!(at(200), Some(String::new()));
    }

    #[test]
    fn a_cause_is_the_level_and_the_message_up_to_its_semicolon() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let mut at =
            |seconds, level, message: &str| causes.pass_message(level, message, start + Duration::from_secs(seconds));
        assert_eq!(at(0, Level::Warn, "lost; 1 waits"), Some(String::new()));
        assert_eq!(at(1, Level::Warn, "lost; 2 wait"), None);
        assert_eq!(at(1, Level::Error, "lost; 2 wait"), Some(String::new()));
        assert_eq!(at(1, Level::Warn, "lost again"), Some(String::new()));
        assert_eq!(at(10, Level::Warn, "lost"), Some(" (and 1 more since the last such line)".to_owned()));
        for n in 0..1000 {
            assert_eq!(at(11, Level::Info, &format!("number {n}")), Some(String::new()));
        }
        assert_eq!(causes.0.len(), CAUSES_MAX);
    }

    #[test]
    fn each_cause_is_reported_once_in_ten_seconds() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let mut at = |cause: &str, s| causes.pass(cause.as_bytes().into(), start + Duration::from_secs(s));
        assert_eq!((at("a", 0), at("b", 1), at("a", 9)), (Some(String::new()), Some(String::new()), None));
        assert_eq!(at("a", 10).as_deref(), Some(" (and 1 more since the last such line)"));
    }

    #[test]
    fn the_number_of_remembered_causes_is_bounded() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let mut at = |n: usize, ms| causes.pass(n.to_le_bytes().into(), start + Duration::from_millis(ms)).is_some();
        for n in 0..CAUSES_MAX * 2 {
            assert!(at(n, n as u64));
        }
        assert!(!at(CAUSES_MAX * 2 - 1, 2000));
        assert_eq!(causes.0.len(), CAUSES_MAX);
    }
}
