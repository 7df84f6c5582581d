//! `log cat|stat|verify`: prints, summarises and verifies event logs without the game, Lua or Redis. One thread; opens
//! files for reading only, and owns nothing but its output. Records go to stdout as JSON lines.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use realtime::facade::calendar::iso8601;
use realtime::facade::eventlog::folder::LogFiles;
use realtime::facade::eventlog::reader::{Damage, ReadError, ReadOutcome, Scan, ScanProgress, ScanTally};
use realtime::facade::eventlog::segment::FindingKind;
use realtime::facade::eventlog::{Query, line};
use realtime::facade::io::shown::shown;

use crate::options::{is_address, split, unknown};
use crate::text::tamed;
use crate::time::time_ms;
use crate::{Failure, report};

/// Text for `--help`, and for wrong arguments.
pub(crate) const USAGE: &str = "\
usage: realtime-cli log cat LOG [--since TIME] [--until TIME] [--channel NAME] [--limit N] [--newest-first]
       realtime-cli log stat LOG
       realtime-cli log verify LOG
LOG   the log's own path (rotated segments are found beside it), or that of one rotated segment
TIME  Unix seconds, 2026-11-24, 2026-11-24T12:30:00 (UTC), or 90s, 15m, 2h, 3d ago
";

/// The options of `cat`.
const OPTIONS: [&str; 5] = ["--since", "--until", "--channel", "--limit", "--newest-first"];

/// Runs one command with the arguments behind `log`. Returns the exit status.
pub(crate) fn run(arguments: Vec<OsString>, now_ms: u64, out: &mut impl Write) -> Result<u8, Failure> {
    Call::parse(arguments, now_ms)?.run(out)
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
        let usage = |reason: String| Err(Failure::Usage(reason, USAGE));
        let mut arguments = arguments.into_iter();
        let command = match arguments.next().as_ref().and_then(|name| name.to_str()) {
            Some("cat") => Command::Cat,
            Some("stat") => Command::Stat,
            Some("verify") => Command::Verify,
            Some(other) => return usage(unknown("command", other)),
            None => return usage("`log` needs a command".to_owned()),
        };
        let mut log = None;
        // A tool has no limit of records, unlike a script.
        let mut query = Query { limit: usize::MAX, ..Query::default() };
        // True behind `--`.
        let mut paths_only = false;
        while let Some(argument) = arguments.next() {
            let name = argument.to_str().filter(|name| name.starts_with('-') && !paths_only);
            let Some(name) = name else {
                if argument.to_str().is_some_and(is_address) {
                    return usage("a log is a file, not an address".to_owned());
                }
                if log.replace(PathBuf::from(argument)).is_some() {
                    return usage("more than one log is given".to_owned());
                }
                continue;
            };
            if name == "--" {
                paths_only = true;
                continue;
            }
            let (name, given) = split(name);
            if !OPTIONS.contains(&name) {
                return usage(unknown("option", name));
            }
            if command != Command::Cat {
                return usage(format!("only `cat` takes `{name}`"));
            }
            if name == "--newest-first" && given.is_none() {
                query.newest_first = true;
                continue;
            }
            // All options but `--newest-first` have a value.
            let next = || arguments.next()?.into_string().ok();
            let Some(value) = given.map(str::to_owned).or_else(next) else {
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
                _ => return usage(format!("`{name}` has no value")),
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
        let log = |err: ReadError| Failure::Other(err.to_string());
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
        let progress = scan.step().map_err(|err| Failure::Other(err.to_string()))?;
        let records = scan.take_records();
        left -= records.len().min(left);
        lines.clear();
        records.iter().for_each(|record| line::push(&mut lines, &record, &mut scratch));
        write_tamed(&lines, out)?;
        if progress == ScanProgress::Done {
            return Ok(scan.take_outcome());
        }
    }
}

/// Writes JSON lines. Names of players are in them, so each character that a terminal obeys becomes an escape. Files
/// keep it as it is: the value is the same.
fn write_tamed(lines: &[u8], out: &mut impl Write) -> io::Result<()> {
    // Most parts are plain ASCII.
    if lines.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return out.write_all(lines);
    }
    String::from_utf8_lossy(lines).lines().try_for_each(|line| writeln!(out, "{}", tamed(line)))
}

/// Prints the totals of a log as a table.
fn stat(tally: &ScanTally, damage: &Damage, log: &Path, out: &mut impl Write) -> Result<u8, Failure> {
    writeln!(out, "log               {}", shown(log))?;
    writeln!(out, "files             {}", tally.segments)?;
    writeln!(out, "bytes             {}", tally.bytes)?;
    writeln!(out, "records           {}", tally.records)?;
    if let (Some(earliest), Some(latest)) = (tally.earliest_ms, tally.latest_ms) {
        writeln!(out, "earliest          {}", iso8601(earliest))?;
        writeln!(out, "latest            {}", iso8601(latest))?;
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
