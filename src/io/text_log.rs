//! The text log: `garrysmod/data/realtime/realtime.log`, and the lines that the game console shows.
//! Any thread writes through the crate `log`; the console's lines wait in a bounded queue for the next tick.
//! Every message is one line: control characters are escaped here, whoever sent them. Never holds a secret: callers
//! log addresses (`config::Address` hides its password), not settings.
//!
//! Levels: error = data lost, warn = retrying or misconfigured, info = connected, stopped; debug and trace are not
//! written. The console shows what the file gets.
//!
//! One line of a cause in ten seconds, the next one with the count of those between. A cause is a level and a message
//! up to its first `;`: what changes from line to line stands behind it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use crate::io::bounded_file::BoundedFile;
use crate::stats::Stats;

/// Lines for the game console that may wait for the next tick. Further ones are dropped; the log file has them.
const CONSOLE_LINES_MAX: usize = 64;
/// Size at which the text log begins anew. The file before it is kept, so the disk holds twice this at most.
const LOG_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Installs the log of this process; the second call of a process keeps the first log. Returns the console's lines.
/// Without a directory there is no file, only the console.
pub(crate) fn install(directory: Option<&Path>, attention: Arc<AtomicBool>, stats: Arc<Stats>) -> Receiver<String> {
    let (tx, rx) = crossbeam_channel::bounded(CONSOLE_LINES_MAX);
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
    if let (Some(err), Some(directory)) = (problem, directory) {
        log::warn!("cannot open the text log in `{}`: {err}", directory.display());
    }
    rx
}

/// Escapes what could end a line or steer a terminal, then hands the message to the file and the console.
struct OneLine {
    console: Console,
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
        let passed =
            self.causes.lock().unwrap_or_else(PoisonError::into_inner).pass(record.level(), &message, Instant::now());
        let Some(more) = passed else {
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

struct Console {
    tx: Sender<String>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Console {
    fn push(&self, line: String) {
        match self.tx.try_send(line) {
            Ok(()) => self.attention.store(true, Ordering::Release),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.stats.console_lines_dropped.add(1),
        }
    }
}

/// Lets one line of a cause through in ten seconds, and counts the others.
#[derive(Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(10);

    pub(crate) const fn new() -> Throttle {
        Throttle { last: None, held_back: 0 }
    }

    /// What to write after the line about what just happened: nothing, or how often it happened unsaid. `None`: say
    /// nothing now.
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

/// What was written lately, by cause.
#[derive(Default)]
pub(crate) struct Causes(HashMap<(Level, String), Throttle>);

impl Causes {
    /// Causes kept; with more, the one longest ago is forgotten.
    const MAX: usize = 128;

    /// As [`Throttle::pass`], for the message's cause.
    pub(crate) fn pass(&mut self, level: Level, message: &str, now: Instant) -> Option<String> {
        let cause = (level, message.split(';').next().unwrap_or_default().to_owned());
        if self.0.len() >= Causes::MAX && !self.0.contains_key(&cause) {
            let oldest = self.0.iter().min_by_key(|(_, throttle)| throttle.last).map(|(cause, _)| cause.clone());
            oldest.map(|cause| self.0.remove(&cause));
        }
        self.0.entry(cause).or_default().pass(now)
    }
}

/// The message on one line, with no control characters.
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
    fn a_message_is_one_line() {
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
    fn one_line_of_a_cause_in_ten_seconds() {
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
    fn a_cause_is_a_level_and_a_message_up_to_its_semicolon() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let mut at = |seconds, level, message: &str| causes.pass(level, message, start + Duration::from_secs(seconds));
        assert_eq!(at(0, Level::Warn, "lost; 1 waits"), Some(String::new()));
        assert_eq!(at(1, Level::Warn, "lost; 2 wait"), None);
        assert_eq!(at(1, Level::Error, "lost; 2 wait"), Some(String::new()));
        assert_eq!(at(1, Level::Warn, "lost again"), Some(String::new()));
        assert_eq!(at(10, Level::Warn, "lost"), Some(" (and 1 more since the last such line)".to_owned()));
        for n in 0..1000 {
            assert_eq!(at(11, Level::Info, &format!("number {n}")), Some(String::new()));
        }
        assert_eq!(causes.0.len(), Causes::MAX);
    }
}
