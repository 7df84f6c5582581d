//! `realtime-log`: prints, summarises and verifies event logs without the game, Lua or Redis. One thread; opens files
//! for reading only, and owns nothing but its output. Records go to stdout as JSON lines, every message goes to
//! stderr. A closed pipe (`| head`) is a normal end.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | the command succeeded |
//! | 1 | `verify` found damage |
//! | 2 | wrong arguments, or a log that cannot be read |

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use realtime::facade::eventlog::folder::LogFiles;
use realtime::facade::eventlog::reader::{Damage, ReadError, ReadOutcome, Scan, ScanProgress, ScanTally};
use realtime::facade::eventlog::segment::FindingKind;
use realtime::facade::eventlog::{Query, line};
use realtime::facade::io::shown::shown;

/// Text for `--help`, and for wrong arguments.
const USAGE: &str = "\
usage: realtime-log cat LOG [--since TIME] [--until TIME] [--channel NAME] [--limit N] [--newest-first]
       realtime-log stat LOG
       realtime-log verify LOG
LOG   the log's own path (rotated segments are found beside it), or that of one rotated segment
TIME  Unix seconds, 2026-11-24, 2026-11-24T12:30:00 (UTC), or 90s, 15m, 2h, 3d ago
";

/// Runs one command. Output is buffered and flushed at the end, so a failed flush counts like a failed write.
fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let asks_for_help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    let result = if asks_for_help {
        out.write_all(USAGE.as_bytes()).map(|()| 0).map_err(Failure::from)
    } else {
        Call::parse(arguments, now).and_then(|call| call.run(&mut out))
    };
    match result.and_then(|code| out.flush().map(|()| code).map_err(Failure::from)) {
        Ok(code) => ExitCode::from(code),
        // The reader of the pipe has enough lines.
        Err(Failure::Output(err)) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure.text());
            ExitCode::from(2)
        }
    }
}

/// Prints a message to stderr. If stderr is closed, the message is lost: no other place is left for it.
fn report(text: &str) {
    let _ = writeln!(io::stderr(), "realtime-log: {}", text.trim_end());
}

/// The reason for exit status 2.
enum Failure {
    /// Wrong arguments; the usage follows the reason.
    Usage(String),
    /// The log cannot be read.
    Log(String),
    /// Stdout cannot be written.
    Output(io::Error),
}

impl Failure {
    /// The message for the user.
    fn text(&self) -> String {
        match self {
            Failure::Usage(reason) => format!("{reason}\n{USAGE}"),
            Failure::Log(reason) => reason.clone(),
            Failure::Output(err) => format!("cannot write: {err}"),
        }
    }
}

// Every `io::Error` here comes from the output: errors of a log arrive as a `ReadError`.
impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Failure {
        Failure::Output(err)
    }
}

/// The arguments of one run.
struct Call {
    /// The command of this run.
    command: Command,
    /// Path of the log: its own name, or that of one rotated segment.
    log: PathBuf,
    /// The records that `cat` prints. The other commands take no options and read all records.
    query: Query,
}

/// The command in the first argument.
#[derive(Clone, Copy, PartialEq)]
enum Command {
    /// Prints the matching records.
    Cat,
    /// Prints totals: files, bytes, records, times.
    Stat,
    /// Reads every part without the indexes, and prints all damage.
    Verify,
}

impl Call {
    /// Reads the arguments. `now_ms` is the Unix time that times like `15m` are relative to.
    fn parse(arguments: Vec<OsString>, now_ms: u64) -> Result<Call, Failure> {
        let usage = |reason: String| Err(Failure::Usage(reason));
        let mut arguments = arguments.into_iter();
        let command = match arguments.next().as_ref().and_then(|name| name.to_str()) {
            Some("cat") => Command::Cat,
            Some("stat") => Command::Stat,
            Some("verify") => Command::Verify,
            Some(other) => return usage(format!("there is no command `{other}`")),
            None => return usage("no command is given".to_owned()),
        };
        let mut log = None;
        // A tool has no limit of records, unlike a script.
        let mut query = Query { limit: usize::MAX, ..Query::default() };
        while let Some(argument) = arguments.next() {
            let name = argument.to_str().filter(|name| name.starts_with("--"));
            let Some(name) = name else {
                if log.replace(PathBuf::from(argument)).is_some() {
                    return usage("more than one log is given".to_owned());
                }
                continue;
            };
            if command != Command::Cat {
                return usage(format!("only `cat` takes `{name}`"));
            }
            if name == "--newest-first" {
                query.newest_first = true;
                continue;
            }
            // All options but `--newest-first` have a value.
            let Some(value) = arguments.next().and_then(|value| value.into_string().ok()) else {
                return usage(format!("`{name}` has no value"));
            };
            let done = match name {
                "--since" => time_ms(&value, now_ms).map(|time_ms| query.start_ms = time_ms),
                "--until" => time_ms(&value, now_ms).map(|time_ms| query.end_ms = time_ms),
                "--limit" => value.parse().ok().map(|limit| query.limit = limit),
                "--channel" => {
                    query.channel = Some(value.clone().into_bytes());
                    Some(())
                }
                _ => return usage(format!("there is no option `{name}`")),
            };
            if done.is_none() {
                return usage(format!("`{name}` cannot be `{value}`"));
            }
        }
        match log {
            Some(log) => Ok(Call { command, log, query }),
            None => usage("no log is given".to_owned()),
        }
    }

    /// Runs the command. Returns the exit status.
    fn run(self, out: &mut impl Write) -> Result<u8, Failure> {
        let log = |err: ReadError| Failure::Log(err.to_string());
        let files = LogFiles::anywhere(&self.log);
        match self.command {
            Command::Cat => {
                let limit = self.query.limit;
                let mut scan = Scan::open(files, self.query).map_err(log)?;
                let damage = cat(&mut scan, limit, out)?.damage;
                if damage.damaged > 0 || damage.torn_bytes > 0 {
                    report(&summary(&damage));
                }
                Ok(0)
            }
            // Both read every part of the log, so that the totals are those of the files and not of the indexes.
            Command::Stat | Command::Verify => {
                let mut scan = Scan::verify(files).map_err(log)?;
                while scan.step().map_err(log)? == ScanProgress::More {
                    // Only the totals matter; the records are dropped to keep memory small.
                    scan.take_records();
                }
                let tally = scan.tally();
                let damage = scan.finish().damage;
                match self.command {
                    Command::Verify => verify(&tally, &damage, out),
                    _ => stat(&tally, &damage, &self.log, out),
                }
            }
        }
    }
}

/// Prints the records part by part, so that a log of any size takes little memory.
fn cat(scan: &mut Scan, limit: usize, out: &mut impl Write) -> Result<ReadOutcome, Failure> {
    // `left` is the rest of the whole limit; `lines` and `scratch` are reused for every part.
    let (mut left, mut lines, mut scratch) = (limit, Vec::new(), Vec::new());
    loop {
        // The limit of a scan counts from the last `take_records`, so each step gets the rest of the whole limit.
        scan.set_limit(left);
        let progress = scan.step().map_err(|err| Failure::Log(err.to_string()))?;
        let records = scan.take_records();
        left -= records.len().min(left);
        lines.clear();
        records.iter().for_each(|record| line::push(&mut lines, &record, &mut scratch));
        out.write_all(&lines)?;
        if progress == ScanProgress::Done {
            return Ok(scan.take_outcome());
        }
    }
}

/// Prints the totals of a log as a table.
fn stat(tally: &ScanTally, damage: &Damage, log: &Path, out: &mut impl Write) -> Result<u8, Failure> {
    writeln!(out, "log               {}", shown(log))?;
    writeln!(out, "files             {}", tally.segments)?;
    writeln!(out, "bytes             {}", tally.bytes)?;
    writeln!(out, "records           {}", tally.records)?;
    if let (Some(earliest), Some(latest)) = (tally.earliest_ms, tally.latest_ms) {
        writeln!(out, "earliest          {}", date(earliest))?;
        writeln!(out, "latest            {}", date(latest))?;
        writeln!(out, "bytes per record  {:.1}", tally.bytes as f64 / tally.records as f64)?;
    }
    if damage.damaged > 0 || damage.torn_bytes > 0 {
        writeln!(out, "damage            {}", summary(damage))?;
    }
    Ok(0)
}

/// Prints all findings and a summary. The exit status is 1 for damage. A torn end is no damage: a writer was stopped,
/// or is writing at this moment.
fn verify(tally: &ScanTally, damage: &Damage, out: &mut impl Write) -> Result<u8, Failure> {
    for finding in &damage.findings {
        let kind = match finding.kind {
            FindingKind::Torn => "torn",
            FindingKind::Damaged => "damaged",
            FindingKind::Refused => "no event log of a known version",
        };
        writeln!(out, "{}: {} bytes from {}: {kind}", shown(&finding.path), finding.bytes, finding.offset)?;
    }
    writeln!(out, "{} records in {} files: {}", tally.records, tally.segments, summary(damage))?;
    Ok(u8::from(damage.damaged > 0))
}

/// The damage in one line.
fn summary(damage: &Damage) -> String {
    match (damage.damaged, damage.torn_bytes) {
        (0, 0) => "no damage".to_owned(),
        (0, torn) => format!("no damage, {torn} bytes torn at an end"),
        (places, torn) => {
            format!("damage in {places} places, {} bytes; {torn} bytes torn at an end", damage.damaged_bytes)
        }
    }
}

// ---- times ----------------------------------------------------------------------------------------------------

/// Unix milliseconds of a time in one of these forms. `None`: the text has none of them.
///
/// | form | example |
/// |---|---|
/// | age: a whole number and `s`, `m`, `h` or `d` | `15m` |
/// | Unix seconds, also with a fraction | `1763942400.25` |
/// | day | `2025-11-24` |
/// | day and time in UTC, `Z` allowed | `2025-11-24T12:30:00Z` |
fn time_ms(text: &str, now_ms: u64) -> Option<u64> {
    let seconds_of = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    };
    if let Some(seconds) = text.chars().last().and_then(seconds_of) {
        let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
        return now_ms.checked_sub(count.checked_mul(seconds * 1000)?);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // The range excludes infinite values and NaN too.
        let millis = (seconds * 1000.0).round();
        return (0.0..1e18).contains(&millis).then_some(millis as u64);
    }
    let (day, time) = text.trim_end_matches('Z').split_once('T').unwrap_or((text, "0:0:0"));
    let [year, month, day] = numbers(day, '-')?;
    let [hours, minutes, seconds] = numbers(time, ':')?;
    // Days up to 31 in every month and a 61st second are accepted: they only move the time into the next month or
    // minute.
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let valid = valid && hours < 24 && minutes < 60 && seconds < 61;
    valid.then(|| ((days_before(year, month, day) * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000)
}

/// Three whole numbers with `between` between them.
fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text.split(between).map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Days from 1970-01-01 to this date in the Gregorian calendar.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    // A year that begins in March has its leap day at its end, so the days before a month do not depend on leap
    // years.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// A time in the form `2026-11-24T12:30:00.250Z`: the reverse of [`days_before`], counted in eras of 400 years, after
/// which the calendar repeats.
fn date(time_ms: u64) -> String {
    let (days, seconds) = (time_ms / 86_400_000, time_ms / 1000 % 86_400);
    let day = days + 719_468;
    let era_day = day % 146_097;
    // Takes the leap days of the era out of the day count, so that all years have 365 days.
    let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (era_year * 365 + era_year / 4 - era_year / 100);
    let month = (year_day * 5 + 2) / 153;
    let day_of_month = year_day - (month * 153 + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, era_year) } else { (month - 9, era_year + 1) };
    let year = year + day / 146_097 * 400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", time_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_time_are_read() {
        let now = 1_763_942_400_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("1763942400", Some(now)),
            ("1763942400.25", Some(now + 250)),
            ("1970-01-01", Some(0)),
            ("2025-11-24", Some(now)),
            ("2025-11-24T00:00:01Z", Some(now + 1000)),
            ("2024-02-29T23:59:59", Some(1_709_251_199_000)),
            ("90s", Some(now - 90_000)),
            ("15m", Some(now - 900_000)),
            ("2h", Some(now - 7_200_000)),
            ("3d", Some(now - 259_200_000)),
            ("99999999d", None),
            ("-1", None),
            ("nan", None),
            ("", None),
            ("s", None),
            ("2025-13-01", None),
            ("2025-11-24T24:00:00", None),
            ("1969-12-31", None),
            ("yesterday", None),
        ] {
            assert_eq!(time_ms(text, now), expected, "{text}");
        }
    }

    #[test]
    fn a_printed_date_is_read_as_the_same_time() {
        assert_eq!(date(1_709_251_199_007), "2024-02-29T23:59:59.007Z");
        for day in 0..60_000 {
            let time = day * 86_400_000 + 3_661_000;
            assert_eq!(time_ms(&date(time).replace(".000Z", ""), 0), Some(time));
        }
    }
}
