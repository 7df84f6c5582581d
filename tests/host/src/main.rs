//! The program `gmod-host`: the command line in front of [`gmod_host::Server`].
//! The server's output goes to standard output, errors of the program itself to standard error.

use std::io::Write;
use std::process::ExitCode;

use gmod_host::options::{self, HELP, Request};
use gmod_host::{Error, Server};

/// The server could not start or go on.
const EXIT_BROKEN: u8 = 2;

fn main() -> ExitCode {
    match run() {
        // An exit code that does not fit into a byte must not wrap around to 0.
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(err) => {
            let _ = writeln!(std::io::stderr(), "gmod-host: {err}");
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn run() -> Result<i32, Error> {
    let mut options = match options::parse(std::env::args_os().skip(1))? {
        Request::Run(options) => *options,
        Request::Help => {
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return Ok(0);
        }
    };
    if !options.modules.iter().any(|(name, _)| name == "realtime")
        && let Some(module) = options::default_module()
    {
        options.modules.push(("realtime".to_owned(), module));
    }
    let report = options.report;
    let mut server = Server::new(options)?;
    server.run_until_quit()?;
    // The server ends in two steps, because the report also counts errors at shutdown.
    server.stop();
    if report {
        let _ = writeln!(std::io::stdout(), "{}", server.report_json());
    }
    Ok(server.shutdown())
}
