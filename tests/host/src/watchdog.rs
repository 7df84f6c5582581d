//! Ends a process that runs too long, with a message: a hung test must not hang its caller.
//! Runs on its own thread until the process ends, because the shutdown itself may hang.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, thread};

use crate::Error;

/// The same code as that of `timeout(1)`.
const EXIT_CODE: i32 = 124;

pub(crate) fn start(limit: Duration, remove: Option<PathBuf>) -> Result<(), Error> {
    let body = move || {
        thread::sleep(limit);
        let mut err = std::io::stderr().lock();
        let _ =
            writeln!(err, "gmod-host: WATCHDOG: still running after {} s, killing the process", limit.as_secs_f64());
        if let Some(dir) = remove {
            let _ = fs::remove_dir_all(dir);
        }
        crate::exit_now(EXIT_CODE);
    };
    let spawned = thread::Builder::new().name("host-watchdog".to_owned()).spawn(body);
    spawned.map(drop).map_err(|err| Error::new(format!("cannot start the watchdog: {err}")))
}
