//! The event log of a `file` action: one path, or a path with `{channel}` and `{date}`, which makes a log for each
//! channel and for each day. Parsed on the game thread; a path is made on the thread that runs the action. Pure.
//! No path can be made by a player's text: a path takes no field of the event, and `{date}` is always that of the owner's
//! clock. Bounded: a hook writes [`LOGS_MAX`] logs, for each day if its path has `{date}`.
//!
//! ```text
//!  logs/{date}/{channel}.log  +  player:kill at midnight  ──▶  logs/2026-11-27/player%3akill.log
//! ```
//!
//! A channel becomes a part of a name that is safe everywhere, and no two channels become the same part, as each part
//! decodes to one channel. Letter case counts, although Windows ignores it: a capital is written with a `%`.
//!
//! | in the channel | in the path |
//! |---|---|
//! | `a` to `z`, `0` to `9`, `_`, `-` | itself |
//! | any other byte | `%` and its two hex digits |
//! | the whole channel is a device of Windows, or `realtime` | its first letter with `%`, too |
//! | nothing at all | `%` |

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::calendar::civil::Local;
use crate::calendar::format;
use crate::event::glob;
use crate::eventlog::path::{LogPath, PathError, is_device, is_in_own_folder};
use crate::eventlog::spec::LogSpec;
use crate::hooks::template;
use crate::sorted::Sorted;

/// Logs that one hook writes, for each day if its path has `{date}`. Each is a file or more, and players may choose
/// channels.
pub(crate) const LOGS_MAX: usize = 256;
/// Most placeholders of one path.
const PLACEHOLDERS_MAX: usize = 4;

const CHANNEL: &str = "{channel}";
const DATE: &str = "{date}";

/// The log of an action.
#[derive(Debug)]
pub enum LogFile {
    One(Arc<LogSpec>),
    Each(Box<LogPattern>),
}

/// A path with placeholders.
#[derive(Debug)]
pub struct LogPattern {
    /// As the script wrote it.
    text: Box<str>,
    /// Matches the paths of its logs. Made once: a reader of a log asks all hooks whether they write it.
    glob: Box<str>,
    /// The settings of every log, with the path of an example.
    spec: LogSpec,
    /// The logs so far. A hook that is added again goes on with them, so that reloads give no new ones.
    pub(crate) logs: Arc<Mutex<Logs>>,
}

/// The logs of a pattern that were written on one day, or ever.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// The day, in days since 1970. Always 0 for a path without `{date}`.
    day: i64,
    by_channel: Sorted<Box<[u8]>, Arc<LogSpec>>,
}

/// The reason why an event has no log. Shown without the channel, so that it is the same for every event.
#[derive(Debug, PartialEq)]
pub(crate) enum NoLog {
    /// The hook has [`LOGS_MAX`] already.
    TooMany,
    /// The channel makes no valid path: it is too long, or the rest of the path makes a device of it.
    Path(PathError),
}

impl LogFile {
    /// Reads the path of a `file` action. `made` are its other settings. The error completes a sentence about the path.
    pub(crate) fn parse(text: &str, made: impl FnOnce(LogPath) -> LogSpec) -> Result<LogFile, String> {
        let example = text.replace(CHANNEL, "c").replace(DATE, "2000-01-01");
        template::check_none(&example)
            .map_err(|found| found.replacen("placeholders", "placeholders but `{channel}` and `{date}`", 1))?;
        let count = text.matches(CHANNEL).count() + text.matches(DATE).count();
        if count > PLACEHOLDERS_MAX {
            return Err(format!("has {count} placeholders, {PLACEHOLDERS_MAX} are allowed"));
        }
        let spec = made(LogPath::parse(example.as_bytes()).map_err(|err| err.to_string())?);
        Ok(match count {
            0 => LogFile::One(Arc::new(spec)),
            _ => {
                let (text, glob) = (text.into(), glob_of(text).into());
                LogFile::Each(Box::new(LogPattern { text, glob, spec, logs: Arc::default() }))
            }
        })
    }

    /// Whether the action writes the log at this path, or may write it.
    pub(crate) fn may_write(&self, path: &LogPath) -> bool {
        match self {
            LogFile::One(log) => log.path == *path,
            LogFile::Each(pattern) => pattern.may_write(path),
        }
    }

    /// Goes on with the logs of an equal action that this one replaces.
    pub(crate) fn go_on_from(&mut self, last: &LogFile) {
        if let (LogFile::Each(pattern), LogFile::Each(last)) = (self, last)
            && pattern.text == last.text
        {
            pattern.logs = Arc::clone(&last.logs);
        }
    }
}

impl LogPattern {
    /// The log for an event of this channel at this moment. `logs` are those of the pattern, locked.
    pub(crate) fn log(&self, logs: &mut Logs, channel: &[u8], local: Local) -> Result<Arc<LogSpec>, NoLog> {
        let day = if self.text.contains(DATE) { local.days } else { 0 };
        if logs.day != day {
            *logs = Logs { day, ..Logs::default() };
        }
        let key = if self.text.contains(CHANNEL) { channel } else { b"" };
        if let Some(log) = logs.by_channel.get(key) {
            return Ok(Arc::clone(log));
        }
        if logs.by_channel.len() >= LOGS_MAX {
            return Err(NoLog::TooMany);
        }
        let path = self.text.replace(CHANNEL, &escaped(channel)).replace(DATE, &format::date(local));
        let path = LogPath::parse(path.as_bytes()).map_err(NoLog::Path)?;
        let log = Arc::new(LogSpec { path, ..self.spec.clone() });
        logs.by_channel.set(key.into(), Arc::clone(&log));
        Ok(log)
    }

    /// Whether some channel and day have this path. A `*` may not reach into a folder.
    fn may_write(&self, path: &LogPath) -> bool {
        let folders = |path: &str| path.bytes().filter(|byte| *byte == b'/').count();
        glob::matches(self.glob.as_bytes(), path.as_str().as_bytes()) && folders(path.as_str()) == folders(&self.text)
    }
}

/// The pattern of a path's logs.
fn glob_of(text: &str) -> String {
    let literal: String = text.chars().flat_map(|c| ['\\', c].into_iter().skip(usize::from(c != '['))).collect();
    let digits = |count| "[0-9]".repeat(count);
    literal.replace(CHANNEL, "*").replace(DATE, &format!("{0}-{1}-{1}", digits(4), digits(2)))
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFile::One(log) => write!(f, "{}", log.path),
            LogFile::Each(pattern) => f.write_str(&pattern.text),
        }
    }
}

impl LogFile {
    /// The settings of its logs.
    #[cfg(test)]
    pub(crate) fn spec(&self) -> &LogSpec {
        match self {
            LogFile::One(log) => log,
            LogFile::Each(pattern) => &pattern.spec,
        }
    }
}

impl fmt::Display for NoLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoLog::TooMany => write!(f, "file: the hook has written {LOGS_MAX} logs and begins no other"),
            NoLog::Path(err) => write!(f, "file: the channel makes no path: {}", err.reason()),
        }
    }
}

/// The channel as a part of a path, as the top of this file says.
fn escaped(channel: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).map_or('0', |digit| char::from(*digit));
    if channel.is_empty() {
        return "%".to_owned();
    }
    let is_reserved = str::from_utf8(channel).is_ok_and(|channel| is_device(channel) || is_in_own_folder(channel));
    let mut out = String::with_capacity(channel.len());
    for (at, byte) in channel.iter().enumerate() {
        let is_plain = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if is_plain && !(at == 0 && is_reserved) {
            out.push(char::from(*byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(*byte)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rows::rows;

    fn pattern(text: &str) -> Box<LogPattern> {
        match LogFile::parse(text, LogSpec::new).unwrap() {
            LogFile::Each(pattern) => pattern,
            LogFile::One(_) => panic!("no placeholder in {text}"),
        }
    }

    /// Noon of a day.
    fn noon(days: i64) -> Local {
        Local { days, second: 43_200 }
    }

    fn path(text: &str, channel: &[u8]) -> Result<String, String> {
        let found = pattern(text).log(&mut Logs::default(), channel, noon(20_784));
        found.map(|log| log.path.to_string()).map_err(|err| err.to_string())
    }

    #[test]
    fn each_row_of_the_table_is_a_path_or_none() {
        for row in rows(include_str!("../../testdata/hooks/log_files.txt")) {
            let found = match LogFile::parse(&row.text(0), LogSpec::new) {
                Ok(_) => path(&row.text(0), row.bytes(1)).unwrap_or_else(|err| err),
                Err(err) => err,
            };
            assert_eq!(found, row.text(2), "line {}", row.line);
        }
    }

    #[test]
    fn logs_are_bounded_for_each_day() {
        let both = pattern("{date}/{channel}.log");
        let mut logs = Logs::default();
        let mut log =
            |channel: &str, days| both.log(&mut logs, channel.as_bytes(), noon(days)).map(|log| log.path.to_string());
        for n in 0..LOGS_MAX {
            log(&format!("c{n}"), 0).unwrap();
        }
        assert_eq!(log("other", 0), Err(NoLog::TooMany));
        assert_eq!(log("c7", 0).as_deref(), Ok("1970-01-01/c7.log"));
        assert_eq!(log("other", 1).as_deref(), Ok("1970-01-02/other.log"));
        let (days, mut logs) = (pattern("{date}.log"), Logs::default());
        for day in 0..2 * LOGS_MAX as i64 {
            days.log(&mut logs, format!("c{day}").as_bytes(), noon(day)).unwrap();
            assert_eq!(logs.by_channel.len(), 1);
        }
        let (channels, mut logs) = (pattern("{channel}.log"), Logs::default());
        let made =
            (0..2 * LOGS_MAX).filter(|n| channels.log(&mut logs, n.to_string().as_bytes(), noon(*n as i64)).is_ok());
        assert_eq!(made.count(), LOGS_MAX);
    }

    #[test]
    fn a_hook_that_is_added_again_goes_on_with_its_logs() {
        let parse = |text| LogFile::parse(text, LogSpec::new).unwrap();
        let (first, mut again, mut other) = (parse("{channel}"), parse("{channel}"), parse("{date}"));
        again.go_on_from(&first);
        other.go_on_from(&first);
        let logs = |file: &LogFile| match file {
            LogFile::Each(pattern) => Arc::as_ptr(&pattern.logs),
            LogFile::One(_) => std::ptr::null(),
        };
        assert_eq!(logs(&again), logs(&first));
        assert_ne!(logs(&other), logs(&first));
    }

    /// A naive decoder: what every part of a path must lead back to.
    fn decoded(part: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), part);
        while let Some(first) = rest.chars().next() {
            match rest.get(1..3).filter(|_| first == '%') {
                Some(hex) => bytes.push(u8::from_str_radix(hex, 16).unwrap()),
                None if first == '%' => {}
                None => bytes.push(first as u8),
            }
            rest = rest.get(if first == '%' { 3 } else { 1 }..).unwrap_or_default();
        }
        bytes
    }

    proptest! {
        /// Whatever the channel is, the path is valid on both systems, stays in its folder, and is that of no other channel.
        #[test]
        fn every_channel_has_a_path_of_its_own(
            channels in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..40),
                    "(con|CON|Nul|aux|com1|realtime|\\.\\.|\\.|[a-c:/%.~ ]){0,4}".prop_map(String::into_bytes),
                ],
                1..20,
            ),
            text in prop_oneof![Just("{channel}"), Just("logs/{channel}.log"), Just("{channel}/{date}.log"), Just("a/{channel}/x")],
        ) {
            let (pattern, mut logs) = (pattern(text), Logs::default());
            let mut known: HashMap<String, Vec<u8>> = HashMap::new();
            for channel in channels {
                let path = pattern.log(&mut logs, &channel, noon(20_784)).unwrap().path.to_string();
                let part = escaped(&channel);
                prop_assert!(part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'%')), "{}", part);
                prop_assert_eq!(decoded(&part), &*channel);
                prop_assert_eq!(path.matches('/').count(), text.matches('/').count());
                prop_assert!(pattern.may_write(&LogPath::parse(path.as_bytes()).unwrap()));
                // As Windows compares names.
                if let Some(other) = known.insert(path.to_ascii_uppercase(), channel.clone()) {
                    prop_assert_eq!(other, channel);
                }
            }
        }
    }

    #[test]
    fn a_pattern_knows_its_paths() {
        for (text, path, expected) in [
            ("logs/{channel}.log", "logs/a%3ab.log", true),
            ("logs/{channel}.log", "logs/a/b.log", false),
            ("logs/{channel}.log", "logs/a.txt", false),
            ("logs/{date}.log", "logs/2026-11-27.log", true),
            ("logs/{date}.log", "logs/yesterday.log", false),
            ("logs/{date}.log", "logs/2026-11-27b.log", false),
            ("a[1]-{date}", "a[1]-2026-11-27", true),
            ("a[1]-{date}", "a1-2026-11-27", false),
            ("logs/x.log", "logs/x.log", true),
            ("logs/x.log", "logs/y.log", false),
        ] {
            let file = LogFile::parse(text, LogSpec::new).unwrap();
            assert_eq!(file.may_write(&LogPath::parse(path.as_bytes()).unwrap()), expected, "{text} {path}");
        }
    }
}
