//! `realtime-cli`: looks at a fleet from outside the game. A program of its own; the library knows nothing of it. It reads
//! only: no command changes a log, a value or a server.
//! Results go to stdout, every message to stderr. A closed pipe (`| head`) is a normal end. No message holds a password.
//!
//! | file | question |
//! |---|---|
//! | `log.rs` | What do event logs hold? |
//! | `tail.rs` | What passes through Redis now, line by line? |
//! | `roll.rs`, `servers.rs` | Which servers are up, and how is their list printed? |
//! | `serve/` | The same for a browser on this machine: which page, for whom, how much? |
//! | `feed.rs` | How do events come from Redis, again and again? |
//! | `settings.rs` | Which Redis, and who said so? |
//! | `options.rs` | What do the arguments say? |
//! | `text.rs`, `mask.rs` | How is text of others shown so that it does nothing, and tells no address? |
//! | `time.rs` | How are times written? |
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | the command succeeded |
//! | 1 | `log verify` found damage |
//! | 2 | wrong arguments or settings, or a log that cannot be read |

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

mod feed;
mod log;
mod mask;
mod options;
mod roll;
mod serve;
mod servers;
mod settings;
mod tail;
mod text;
mod time;

/// Text for `--help`, and for a wrong command.
const USAGE: &str = "\
usage: realtime-cli log cat|stat|verify LOG ...   reads event logs
       realtime-cli tail PATTERN... [OPTION...]   prints events as they pass through Redis
       realtime-cli servers [OPTION...]           prints the servers that are up
       realtime-cli serve [PATTERN...] [OPTION...] shows them on a page for a browser on this machine
realtime-cli COMMAND --help lists the options of a command; realtime-cli --version prints the version
";

/// Runs one command. Output is buffered and flushed at the end, so a failed flush counts like a failed write.
fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let command = if arguments.is_empty() { OsString::new() } else { arguments.remove(0) };
    let mut before_names = arguments.iter().take_while(|argument| *argument != "--");
    let asks_for_help = before_names.any(|argument| argument == "--help" || argument == "-h");
    let mut print = |text: &str| out.write_all(text.as_bytes()).map(|()| 0).map_err(Failure::from);
    let result = match command.to_str() {
        Some("--help" | "-h") => print(USAGE),
        Some("--version" | "-V") => print(concat!("realtime-cli ", env!("CARGO_PKG_VERSION"), "\n")),
        Some("log") if asks_for_help => print(log::USAGE),
        Some("tail") if asks_for_help => print(tail::USAGE),
        Some("servers") if asks_for_help => print(servers::USAGE),
        Some("serve") if asks_for_help => print(serve::USAGE),
        Some("log") => log::run(arguments, time::now_ms(), &mut out),
        Some("tail") => tail::run(arguments, &mut out).map(|()| 0),
        Some("servers") => servers::run(arguments, &mut out).map(|()| 0),
        Some("serve") => serve::run(arguments, &mut out).map(|()| 0),
        Some("") => Err(Failure::Usage("no command is given".to_owned(), USAGE)),
        _ => Err(Failure::Usage(options::unknown("command", &command.to_string_lossy()), USAGE)),
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
    let _ = writeln!(io::stderr(), "realtime-cli: {}", text.trim_end());
}

/// The reason for exit status 2.
enum Failure {
    /// Wrong arguments; the usage of the command follows the reason.
    Usage(String, &'static str),
    /// The log cannot be read, or the settings or the system do not allow it.
    Other(String),
    /// Stdout cannot be written.
    Output(io::Error),
}

impl Failure {
    /// The message for the user.
    fn text(&self) -> String {
        match self {
            Failure::Usage(reason, usage) => format!("{reason}\n{usage}"),
            Failure::Other(reason) => reason.clone(),
            Failure::Output(err) => format!("cannot write: {err}"),
        }
    }
}

// Every `io::Error` here comes from the output: all other errors are put into words where they happen.
impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Failure {
        Failure::Output(err)
    }
}
