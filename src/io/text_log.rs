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
//!
//! While the file cannot be written, lines wait in memory; a line in the file says how many were lost ([`LogFile`]).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};
use time::UtcOffset;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::io::bounded_file::{BoundedFile, Bounds, Written};
use crate::io::channel::{self, Receiver, Sender};
use crate::io::lock::lock;
use crate::io::sharing::HELD_RETRY;
use crate::stats::Stats;

/// Most lines that wait for the game console until the next tick. Further lines are dropped and counted; the file has
/// them all.
const CONSOLE_LINES_MAX: usize = 64;
/// Size in bytes at which a new text log begins. One old file is kept, so the disk holds twice this as a rule.
const LOG_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of lines that wait while the file cannot be written: some hundred lines.
const LOG_WAITING_BYTES_MAX: usize = 64 * 1024;
/// The time at the start of a line, `2026-11-26 20:15:30 +01:00`.
const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]");
/// Causes of messages that are remembered: more than servers, hooks and reasons can be in trouble at once.
const CAUSES_MAX: usize = 512;

/// Installs the log of this process and returns the queue of the console's lines. `attention` is set to true when a line
/// waits there. A second call in one process keeps the first log. Without a directory there is no file, only the console.
/// The file has the time of a zone that is `offset_s` seconds east of Greenwich.
pub(crate) fn install(
    directory: Option<&Path>,
    offset_s: i32,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
) -> Receiver<String> {
    let (tx, rx) = channel::bounded(CONSOLE_LINES_MAX);
    let console = Arc::new(Console { tx, attention, stats });
    let settings = ConfigBuilder::new()
        .set_time_format_custom(TIME)
        .set_time_offset(UtcOffset::from_whole_seconds(offset_s).unwrap_or(UtcOffset::UTC))
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .build();
    let file = directory.map(|directory| {
        let bounds =
            Bounds { bytes_max: LOG_FILE_BYTES_MAX, waiting_bytes_max: LOG_WAITING_BYTES_MAX, is_private: false };
        let file = BoundedFile::new(directory.join("realtime.log"), bounds);
        let mut file = LogFile { file, line: Vec::new(), lost: 0, is_told: false, console: Arc::clone(&console) };
        // Opened now, so that the owner finds an empty log rather than none, and hears of an error at once.
        let opened = file.file.retry(Instant::now());
        file.note(opened);
        WriteLogger::new(LevelFilter::Info, settings, file)
    });
    let logger = OneLine { console, file, causes: Mutex::default() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    rx
}

/// The file, as the formatter writes to it: in pieces of a line. A line is handed on when it is complete, so that nothing
/// splits it. It is open from the start, or from the first line that finds it free.
struct LogFile {
    file: BoundedFile,
    /// The pieces so far.
    line: Vec<u8>,
    /// Lines lost and not mentioned in the file yet.
    lost: u64,
    /// The console has shown the trouble that the file is in.
    is_told: bool,
    console: Arc<Console>,
}

impl LogFile {
    /// Appends the complete line.
    fn end_line(&mut self, now: Instant) {
        let line = std::mem::take(&mut self.line);
        let written = self.file.append(&line, now);
        self.note(written);
        if self.lost > 0 && self.file.due().is_none() {
            let lost = std::mem::take(&mut self.lost);
            let written = self.file.append(format!("{lost} lines before this one were lost\n").as_bytes(), now);
            self.note(written);
        }
    }

    /// Counts lost lines, and shows the first trouble in a row in the console. The log itself is no place for it.
    fn note(&mut self, Written { trouble, lost }: Written) {
        self.lost += lost;
        self.console.stats.log_lines_lost.add(lost);
        match trouble {
            Some(trouble) => {
                self.console.stats.files_held.add(1);
                if !std::mem::replace(&mut self.is_told, true) {
                    self.console.push(format!("{trouble}; the text log is tried again"));
                }
            }
            None if self.file.due().is_none() => self.is_told = false,
            None => {}
        }
    }
}

impl io::Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            self.end_line(Instant::now());
        }
        Ok(bytes.len())
    }

    /// Called at the end of the process: this last attempt waits for no pause.
    fn flush(&mut self) -> io::Result<()> {
        let retried = self.file.retry(Instant::now() + HELD_RETRY);
        self.note(retried);
        Ok(())
    }
}

/// The logger. Escapes characters that could end a line or control a terminal, then writes the message to the file and
/// queues it for the console.
struct OneLine {
    console: Arc<Console>,
    /// `None`: there is no directory.
    file: Option<Box<WriteLogger<LogFile>>>,
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
    use std::fs;
    use std::io::Write as _;

    use super::*;

    /// A log in a folder of one test, and the queue of its console.
    fn log_file(name: &str) -> (LogFile, Receiver<String>, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("realtime-text-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path); // A killed run may have left it.
        fs::create_dir_all(&path).unwrap();
        let (tx, rx) = channel::bounded(CONSOLE_LINES_MAX);
        let (attention, stats) = (Arc::default(), Arc::default());
        let console = Arc::new(Console { tx, attention, stats });
        let bounds = Bounds { bytes_max: 200, waiting_bytes_max: 20, is_private: false };
        let file = BoundedFile::new(path.join("realtime.log"), bounds);
        (LogFile { file, line: Vec::new(), lost: 0, is_told: false, console }, rx, path)
    }

    #[test]
    fn the_pieces_of_a_line_are_written_together() {
        let (mut file, _rx, folder) = log_file("pieces");
        for line in 0..40 {
            for piece in ["12:00:00 ", "[WARN] ", "", "line", " ", &line.to_string()] {
                file.write_all(piece.as_bytes()).unwrap();
            }
            assert!(
                !fs::read_to_string(folder.join("realtime.log")).unwrap_or_default().contains(&format!("e {line}\n"))
            );
            file.write_all(b"\n").unwrap();
        }
        let texts = ["realtime.old.log", "realtime.log"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
        for text in &texts {
            assert!(text.len() <= 200 && text.ends_with('\n'), "{texts:?}");
            assert!(text.lines().all(|line| line.starts_with("12:00:00 [WARN] line ")), "{texts:?}");
        }
        drop(file);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_wait_for_the_file_and_lost_ones_are_counted_and_mentioned() {
        let (mut file, rx, folder) = log_file("held");
        let (path, mut now) = (folder.join("realtime.log"), Instant::now());
        fs::create_dir(&path).unwrap();
        let say = |file: &mut LogFile, text: &str, now| {
            file.line.extend_from_slice(text.as_bytes());
            file.end_line(now);
        };
        say(&mut file, "first line\n", now);
        say(&mut file, "second\n", now);
        say(&mut file, "does not fit\n", now);
        now += HELD_RETRY;
        say(&mut file, "neither does this\n", now);
        let told = rx.recv().unwrap();
        assert!(told.starts_with("cannot open `") && told.ends_with(": it is a folder; the text log is tried again"));
        assert!(rx.is_empty(), "told once");
        assert_eq!((file.console.stats.log_lines_lost.get(), file.console.stats.files_held.get()), (2, 2));
        fs::remove_dir(&path).unwrap();
        now += HELD_RETRY;
        say(&mut file, "last\n", now);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "first line\nsecond\nlast\n2 lines before this one were lost\n");
        assert!(!file.is_told && rx.is_empty());
        drop(file);
        fs::remove_dir_all(folder).unwrap();
    }

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
