//! `realtime-log`: prints, sums up and checks event logs, without the game, Lua or Redis. Reads only.
//! Data goes to stdout as JSON lines, everything else to stderr. A closed pipe (`| head`) is a proper end.
//! Exit status: 0 as asked; 1 damage was found by `verify`; 2 a wrong call, or a log that cannot be read.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use realtime::facade::eventlog::folder::LogFiles;
use realtime::facade::eventlog::reader::{Damage, Scan, ScanProgress, ScanTally};
use realtime::facade::eventlog::segment::FindingKind;
use realtime::facade::eventlog::{Query, line};

const USAGE: &str = "\
usage: realtime-log cat LOG [--since TIME] [--until TIME] [--channel NAME] [--limit N] [--newest-first]
       realtime-log stat LOG
       realtime-log verify LOG
LOG   the log's own path (rotated segments are found beside it), or that of one rotated segment
TIME  Unix seconds, 2026-11-24, 2026-11-24T12:30:00 (UTC), or 90s, 15m, 2h, 3d ago
";

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let result = Call::parse(arguments, now).and_then(|call| call.run(&mut out));
    match result.and_then(|code| out.flush().map(|()| code).map_err(Failure::from)) {
        Ok(code) => ExitCode::from(code),
        // Whoever read had enough.
        Err(Failure::Output(err)) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure.text());
            ExitCode::from(2)
        }
    }
}

/// A line to stderr. If even that is closed there is nobody to tell.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "realtime-log: {}", text.trim_end());
}

enum Failure {
    Usage(String),
    Log(String),
    Output(io::Error),
}

impl Failure {
    fn text(&self) -> String {
        match self {
            Failure::Usage(reason) => format!("{reason}\n{USAGE}"),
            Failure::Log(reason) => reason.clone(),
            Failure::Output(err) => format!("cannot write: {err}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Failure {
        Failure::Output(err)
    }
}

/// What was asked for.
struct Call {
    command: Command,
    log: PathBuf,
    query: Query,
}

#[derive(Clone, Copy, PartialEq)]
enum Command {
    Cat,
    Stat,
    Verify,
}

impl Call {
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

    fn run(self, out: &mut impl Write) -> Result<u8, Failure> {
        let log = |err: realtime::facade::eventlog::reader::ReadError| Failure::Log(err.to_string());
        let place = LogFiles::anywhere(&self.log);
        match self.command {
            Command::Cat => {
                let limit = self.query.limit;
                let mut scan = Scan::open(place, self.query).map_err(log)?;
                let damage = cat(&mut scan, limit, out)?.damage;
                if damage.damaged > 0 || damage.torn_bytes > 0 {
                    tell(&summary(&damage));
                }
                Ok(0)
            }
            Command::Stat | Command::Verify => {
                let mut scan = Scan::verify(place).map_err(log)?;
                while scan.step().map_err(log)? == ScanProgress::More {
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

/// Prints part by part, so that a log of any size takes little memory.
fn cat(
    scan: &mut Scan,
    limit: usize,
    out: &mut impl Write,
) -> Result<realtime::facade::eventlog::reader::ReadOutcome, Failure> {
    let (mut left, mut lines, mut scratch) = (limit, Vec::new(), Vec::new());
    loop {
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

fn stat(tally: &ScanTally, damage: &Damage, log: &Path, out: &mut impl Write) -> Result<u8, Failure> {
    writeln!(out, "log               {}", log.display())?;
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

/// A torn end is no damage: it tells that a writer was stopped, or that it is just writing.
fn verify(tally: &ScanTally, damage: &Damage, out: &mut impl Write) -> Result<u8, Failure> {
    for finding in &damage.findings {
        let kind = match finding.kind {
            FindingKind::Torn => "torn",
            FindingKind::Damaged => "damaged",
            FindingKind::Refused => "no event log of a known version",
        };
        writeln!(out, "{}: {} bytes from {}: {kind}", finding.path.display(), finding.bytes, finding.offset)?;
    }
    writeln!(out, "{} records in {} files: {}", tally.records, tally.segments, summary(damage))?;
    Ok(u8::from(damage.damaged > 0))
}

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

/// Unix milliseconds of what a user writes.
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
        let millis = (seconds * 1000.0).round();
        return (0.0..1e18).contains(&millis).then_some(millis as u64);
    }
    let (day, time) = text.trim_end_matches('Z').split_once('T').unwrap_or((text, "0:0:0"));
    let [year, month, day] = numbers(day, '-')?;
    let [hours, minutes, seconds] = numbers(time, ':')?;
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let valid = valid && hours < 24 && minutes < 60 && seconds < 61;
    valid.then(|| ((days_before(year, month, day) * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1000)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text.split(between).map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Days from 1970-01-01 to this one.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    // A year that begins in March has its leap day at its end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// `2026-11-24T12:30:00.250Z`
fn date(time_ms: u64) -> String {
    let (days, seconds) = (time_ms / 86_400_000, time_ms / 1000 % 86_400);
    let day = days + 719_468;
    let era_day = day % 146_097;
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
    fn times_as_users_write_them() {
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
    fn dates_come_back() {
        assert_eq!(date(1_709_251_199_007), "2024-02-29T23:59:59.007Z");
        for day in 0..60_000 {
            let time = day * 86_400_000 + 3_661_000;
            assert_eq!(time_ms(&date(time).replace(".000Z", ""), 0), Some(time));
        }
    }
}
