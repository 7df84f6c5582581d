//! `servers`: prints once which servers are up. One thread. Names, maps and host names are texts of others.

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use serde_json::Value;

use crate::options::{Options, redis_options};
use crate::roll::{Roll, Row};
use crate::settings::Settings;
use crate::text::{plain, tamed};
use crate::time::now_ms;
use crate::{Failure, report};

/// Text for `--help`, and for wrong arguments.
pub(crate) const USAGE: &str = concat!(
    "\
usage: realtime-cli servers [--json] [OPTION...]
Prints the servers that are up: those whose option `presence` is on, as is the default.
--json         a line of JSON for each
",
    redis_options!()
);

/// The columns of the table: its head, and the width that its texts are padded to.
const COLUMNS: [&str; 6] = ["name", "players", "map", "gamemode", "seen", "hostname"];

/// Prints the list once.
pub(crate) fn run(arguments: Vec<OsString>, out: &mut impl Write) -> Result<(), Failure> {
    let options = Options::parse(arguments, &["--json"], USAGE)?;
    if !options.patterns.is_empty() {
        return Err(Failure::Usage("`servers` takes no name".to_owned(), USAGE));
    }
    let settings = Arc::new(Settings::read(&options)?);
    let rows = Roll::new(Arc::clone(&settings), "servers").read().map_err(Failure::Other)?;
    if rows.is_empty() {
        report(&format!("no server is up, or none has the option `presence`; {}", settings.sources));
    }
    let text = if options.is_json { as_json(&rows) } else { as_table(&rows, now_ms()) };
    Ok(out.write_all(text.as_bytes())?)
}

/// `{"boot":"00fe...","name":"eu-1","map":"gm_construct","players":12,...}` for each.
fn as_json(rows: &[Row]) -> String {
    rows.iter().map(|row| tamed(&Value::from(row.clone()).to_string()) + "\n").collect()
}

/// A table with a head. Unruly characters are escapes, so each cell is text alone.
fn as_table(rows: &[Row], now_ms: u64) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let lines: Vec<[String; 6]> =
        std::iter::once(COLUMNS.map(str::to_owned)).chain(rows.iter().map(|row| cells(row, now_ms))).collect();
    let widths = [0, 1, 2, 3, 4, 5].map(|at| lines.iter().map(|line| width(line, at)).max().unwrap_or_default());
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn width(line: &[String; 6], at: usize) -> usize {
    line.get(at).map_or(0, |cell| cell.chars().count())
}

fn cells(row: &Row, now_ms: u64) -> [String; 6] {
    let text = |name: &str| row.get(name).and_then(Value::as_str).map_or_else(|| "-".to_owned(), plain);
    let number = |name: &str| row.get(name).and_then(Value::as_u64);
    let count = |name: &str| number(name).map_or_else(|| "?".to_owned(), |number| number.to_string());
    // By the clock of the server, which may be ahead.
    let seen =
        number("seen").map_or_else(|| "-".to_owned(), |seen| format!("{} s ago", (now_ms / 1000).saturating_sub(seen)));
    let players = format!("{}/{}", count("players"), count("max_players"));
    [text("name"), players, text("map"), text("gamemode"), seen, text("hostname")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_server_whatever_it_says() {
        let row = |row: Value| row.as_object().unwrap().clone();
        let rows = [
            row(json!({ "name": "eu-1", "players": 3, "max_players": 64, "map": "gm_a\n\u{1b}[2J", "seen": 995,
                "gamemode": "sandbox", "hostname": "\u{202e}evil \"x\"" })),
            row(json!({ "name": "us" })),
            row(json!({ "name": "ahead", "seen": 2000 })),
        ];
        let expected = "\
name   players  map                  gamemode  seen     hostname
eu-1   3/64     gm_a\\n\\u001b[2J  sandbox   5 s ago  \\u202eevil \"x\"
us     ?/?      -                    -         -        -
ahead  ?/?      -                    -         0 s ago  -
";
        let found = as_table(&rows, 1_000_000);
        let words = |text: &str| {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(words(&found), words(expected));
        assert_eq!(as_table(&[], 0), "");
        assert_eq!(as_json(&rows[1..2]), "{\"name\":\"us\"}\n");
        assert!(as_json(&rows).lines().count() == 3 && as_json(&rows).contains("\\u202e"));
    }
}
