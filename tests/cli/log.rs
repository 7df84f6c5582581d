//! `realtime-cli log`: its output, its error output and its exit status.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use realtime::facade::eventlog::disk::SystemDisk;
use realtime::facade::eventlog::path::LogPath;
use realtime::facade::eventlog::writer::Writer;
use realtime::facade::eventlog::{Format, LogSpec};

use serde_json::{Value, json};

use crate::tool;

/// The log of one test, in a temporary folder.
struct Log(PathBuf);

impl Log {
    /// `count` records, a second apart from 1970-01-02 on, every fifth on channel `five`; segments of 64 KiB.
    fn of(name: &str, format: Format, count: u64) -> Log {
        let record = |n| {
            let channel: &[u8] = if n % 5 == 0 { b"five" } else { b"other" };
            (channel.to_vec(), format!("{{\"n\":{n},\"text\":\"a text of its own, {n}\"}}").into_bytes())
        };
        Log::holding(name, format, (0..count).map(record))
    }

    /// These channels and payloads, at the same times.
    fn holding(name: &str, format: Format, records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Log {
        let folder = std::env::temp_dir().join(format!("realtime-cli-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = LogPath::parse(b"deaths.log").unwrap();
        let spec = LogSpec { format, max_bytes: 64 * 1024, ..LogSpec::new(path) };
        let mut writer = Writer::open(Arc::new(SystemDisk), &folder, spec, Instant::now()).unwrap();
        for (n, (channel, payload)) in (0..).zip(records) {
            writer.append((86_400 + n) * 1000, &channel, &payload).unwrap();
            if n % 1000 == 0 {
                writer.advance(Instant::now(), true).unwrap();
            }
        }
        writer.finish(Instant::now()).unwrap();
        Log(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("deaths.log")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        tool().arg("log").arg(arguments[0]).arg(self.path()).args(&arguments[1..]).output().unwrap()
    }

    /// The numbers in the lines that `cat` prints.
    fn cat(&self, arguments: &[&str]) -> Vec<u64> {
        let output = self.run(&[&["cat"], arguments].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let number = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let n = line["data"]["n"].as_u64().unwrap();
            assert_eq!(line["seq"], n + 1);
            assert_eq!(line["time"].as_f64().unwrap(), (86_400 + n) as f64);
            assert_eq!(line["channel"], if n.is_multiple_of(5) { "five" } else { "other" });
            n
        };
        lines.lines().map(number).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn cat_prints_what_is_asked_for_in_both_formats() {
    for (name, format) in [("cat-binary", Format::Binary), ("cat-json", Format::Json)] {
        let log = Log::of(name, format, 8000);
        assert!(log.cat(&[]).into_iter().eq(0..8000));
        assert!(log.cat(&["--newest-first"]).into_iter().eq((0..8000).rev()));
        assert!(log.cat(&["--limit", "2500"]).into_iter().eq(0..2500));
        assert!(log.cat(&["--newest-first", "--limit", "2500"]).into_iter().eq((5500..8000).rev()));
        assert_eq!(log.cat(&["--since", "1970-01-02T00:00:10", "--until", "86415"]), [10, 11, 12, 13, 14, 15]);
        assert_eq!(log.cat(&["--channel=five", "--limit=3", "--since", "86401"]), [5, 10, 15]);
        assert!(log.cat(&["--channel", "none"]).is_empty());
        assert!(log.cat(&["--since", "1h"]).is_empty());
    }
}

/// Names of players may hold what a terminal obeys. The files keep it.
#[test]
fn cat_prints_nothing_that_a_terminal_obeys() {
    const UNRULY: [char; 6] = ['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2028}', '\u{e0041}'];
    let name = format!("Zoë 👩‍🚀{}", String::from_iter(UNRULY));
    let payload = json!({ "name": name, "at": [1, "a b"] }).to_string();
    let raw = format!("no JSON: {name}\n");
    for (folder, format) in [("unruly-binary", Format::Binary), ("unruly-json", Format::Json)] {
        let records = [&payload, &raw].map(|payload| (name.as_bytes().to_vec(), payload.as_bytes().to_vec()));
        let log = Log::holding(folder, format, records.into_iter());
        let file = fs::read(log.path()).unwrap();
        assert!(file.windows(3).any(|bytes| bytes == "\u{202e}".as_bytes()), "{folder}");
        let output = log.run(&["cat"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(UNRULY) && text.matches("Zoë 👩‍🚀").count() == 4, "{text}");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            json!({ "time": 86_400.0, "seq": 1, "channel": name, "data": { "name": name, "at": [1, "a b"] } }),
            json!({ "time": 86_401.0, "seq": 2, "channel": name, "raw": true, "data": raw }),
        ];
        assert_eq!(lines, expected);
    }
}

#[test]
fn stat_prints_files_records_and_times() {
    let log = Log::of("stat", Format::Binary, 8000);
    let output = log.run(&["stat"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "records           8000",
        "earliest          1970-01-02T00:00:00.000Z",
        "latest            1970-01-02T02:13:19.000Z",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    assert!(!text.contains("damage"), "{text}");
}

#[test]
fn verify_exits_with_1_if_there_is_damage() {
    let log = Log::of("verify", Format::Binary, 8000);
    let output = log.run(&["verify"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().ends_with(" files: no damage\n"));
    // A torn end is no damage.
    let whole = fs::read(log.path()).unwrap();
    fs::write(log.path(), &whole[..whole.len() - 3]).unwrap();
    let output = log.run(&["verify"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("bytes torn at an end"));
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    fs::write(log.path(), &flipped).unwrap();
    let output = log.run(&["verify"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("from 40: damaged"));
    // The other records are printed nevertheless, and the damage is reported on standard error.
    let output = log.run(&["cat"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("damage in 1 places"));
    assert!(output.stdout.len() > 100_000);
}

#[test]
fn files_beside_a_log_are_ignored_and_damaged_segments_are_reported() {
    let log = Log::of("beside", Format::Binary, 20_000);
    let beside = |name: &str| log.0.join(name);
    fs::write(beside("deaths.log.20231224"), b"notes").unwrap();
    fs::copy(beside("deaths.log.000001"), beside("deaths.log.231224")).unwrap();
    fs::create_dir(beside("deaths.log.000099")).unwrap();
    #[cfg(unix)]
    assert!(std::process::Command::new("mkfifo").arg(beside("deaths.log.000098")).status().unwrap().success());
    // The same without the `.lock` file that lists the segments of the log.
    for _ in 0..2 {
        assert!(log.cat(&[]).into_iter().eq(0..20_000));
        assert_eq!(log.run(&["verify"]).status.code(), Some(0));
        let _ = fs::remove_file(beside("deaths.log.lock"));
    }
    // A segment with whole block headers and no readable chunk, without its index.
    let mut bytes = fs::read(beside("deaths.log.000002")).unwrap();
    bytes.chunks_mut(32 * 1024).for_each(|unit| unit[60] ^= 1);
    fs::write(beside("deaths.log.000002"), bytes).unwrap();
    fs::remove_file(beside("deaths.log.000002.idx")).unwrap();
    let output = log.run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("deaths.log.000002: ") && text.contains(": damage in 2 places"), "{text}");
}

#[test]
fn a_closed_pipe_ends_cat_without_an_error() {
    let log = Log::of("pipe", Format::Binary, 20_000);
    let mut child =
        tool().args(["log", "cat"]).arg(log.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"time\":86400.000,\"seq\":1,"));
    // The pipe is closed now.
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn help_is_an_answer_and_no_error() {
    for (arguments, usage) in [
        (&["--help"][..], "usage: realtime-cli log cat|stat|verify LOG"),
        (&["-h"], "usage: realtime-cli log cat|stat|verify LOG"),
        (&["--version"], "realtime-cli 0."),
        (&["log", "--help"], "usage: realtime-cli log cat LOG"),
        (&["log", "cat", "-h"], "usage: realtime-cli log cat LOG"),
        (&["tail", "--help"], "usage: realtime-cli tail PATTERN..."),
        (&["serve", "--port", "1", "--help"], "usage: realtime-cli serve [PATTERN...]"),
    ] {
        let output = tool().args(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        assert!(output.stdout.starts_with(usage.as_bytes()), "{arguments:?}: {output:?}");
    }
}

#[test]
fn wrong_arguments_are_refused_with_the_reason() {
    let log = Log::of("usage", Format::Json, 1);
    for (arguments, reason) in [
        (&["dance"][..], "there is no command `dance`"),
        (&["cat", "-n", "5"], "there is no option `-n`"),
        (&["cat", "--newest-first=5"], "`--newest-first` has no value"),
        (&["cat", "--since"], "`--since` has no value"),
        (&["cat", "--since", "soon"], "`--since` cannot be `soon`"),
        (&["cat", "--limit", "-1"], "`--limit` cannot be `-1`"),
        (&["cat", "--sinse", "1"], "there is no option `--sinse`"),
        (&["stat", "--limit", "1"], "only `cat` takes `--limit`"),
        (&["verify", "another"], "more than one log is given"),
    ] {
        let output = log.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(reason) && text.contains("usage: realtime-cli log cat"), "{text}");
    }
    for foreign in ["Cargo.toml", "no/such.log", "src"] {
        let output = tool().args(["log", "verify", foreign]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{foreign}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(foreign));
    }
    for (arguments, reason) in [
        (&[][..], "no command is given"),
        (&["dance"], "there is no command `dance`"),
        (&["log"], "`log` needs a command"),
        (&["tail"], "no pattern is given"),
        (&["tail", "-u", "redis://:hunter2@host", "player:*"], "there is no option `-u`"),
        (&["tail", "-a", "hunter2", "player:*"], "there is no option `-a`"),
        (&["serve", "redis://:hunter2@host"], "write --redis before it"),
        (&["serve", "--board", "redis://:hunter2@host"], "write --redis before it"),
        (&["servers", "redis://:hunter2@host"], "write --redis before it"),
        (&["redis://:hunter2@host", "tail", "*"], "there is no such command"),
        (&["log", "redis://:hunter2@host"], "there is no such command"),
        (&["log", "cat", "redis://:hunter2@host"], "a log is a file"),
        (&["log", "stat", "--redis=redis://:hunter2@host"], "there is no option `--redis`"),
        (&["tail", "a", "--port", "1"], "there is no option `--port`"),
        (&["serve", "--json"], "there is no option `--json`"),
    ] {
        let output = tool().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(reason) && text.contains("usage: realtime-cli"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
