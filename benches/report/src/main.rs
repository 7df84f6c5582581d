//! Makes the tables and the picture from the samples of all benchmarks. `scripts/bench` runs it.
//!
//! ```text
//!   bench-report TARGETS.tsv [--write FOLDER] [--about LINE]... [--failed PROGRAM]... SAMPLES...
//! ```
//! `-` stands for stdin. Prints the tables; `--write` also puts them into `FOLDER/results.md`, headed by the `--about`
//! lines, and draws `FOLDER/results.svg`. Fails if a program failed, and, with `--write`, if a target has no samples:
//! never because of a time.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use samples::{BadLine, Samples};
use tables::Row;

mod picture;
mod samples;
mod tables;
mod targets;

const HEAD: &str = "# Benchmarks\n\nWritten by `scripts/bench`. Ours and the peers take turns in one run on the same \
                    bytes; each ratio is the median of the ratios within a round. `≥ 3x` wants three times the speed of \
                    the peer, `≤ 0.5x` at most half its cost.\n\n";

#[derive(Default)]
struct Arguments {
    targets: PathBuf,
    write: Option<PathBuf>,
    about: Vec<String>,
    failed: Vec<String>,
    samples: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(why) => {
            tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments = arguments(std::env::args().skip(1))?;
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|err| format!("{}: {err}", path.display()));
    let targets = targets::read(&read(&arguments.targets)?)?;
    let mut samples = Samples::default();
    for path in &arguments.samples {
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|err| format!("stdin: {err}"))?;
            text
        } else {
            read(path)?
        };
        for line in text.lines() {
            match samples.add(line) {
                Ok(true) => {}
                Ok(false) => tell(line),
                Err(BadLine(why)) => return Err(why),
            }
        }
    }
    let mut rows: Vec<Row<'_>> = targets.iter().map(|target| (target, target.judge(&samples))).collect();
    let without = rows.iter().filter(|(_, verdict)| verdict.is_none()).count();
    if arguments.write.is_none() {
        // Some steps only: the targets of the others are of no interest.
        rows.retain(|(_, verdict)| verdict.is_some());
    }
    let tables =
        format!("{}\n## Cases without a target\n\n{}", tables::targets(&rows), tables::others(&samples, &targets));
    if let Some(folder) = &arguments.write {
        let about: String = arguments.about.iter().map(|line| format!("- {line}\n")).collect();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|err| format!("{}: {err}", path.display()))
        };
        write("results.md", &format!("{HEAD}{about}\n## Targets\n\n{tables}"))?;
        write("results.svg", &picture::draw(&rows))?;
    }
    std::io::stdout().write_all(tables.as_bytes()).map_err(|err| format!("stdout: {err}"))?;
    let (met, missed): (Vec<_>, Vec<_>) =
        rows.iter().filter_map(|(_, verdict)| verdict.as_ref()).partition(|verdict| verdict.is_met);
    tell(&format!("{} targets met, {} missed, {without} without samples", met.len(), missed.len()));
    arguments.failed.iter().for_each(|program| tell(&format!("failed: {program}")));
    let is_complete = arguments.write.is_none() || without == 0;
    Ok(if is_complete && arguments.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let targets = words.next().ok_or("the table of targets is missing")?.into();
    let mut found = Arguments { targets, ..Arguments::default() };
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or(format!("{word} wants a word after it"));
        match word.as_str() {
            "--write" => found.write = Some(next()?.into()),
            "--about" => found.about.push(next()?),
            "--failed" => found.failed.push(next()?),
            _ => found.samples.push(word.into()),
        }
    }
    Ok(found)
}

/// One line for people. A closed stderr is no reason to fail.
fn tell(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}
