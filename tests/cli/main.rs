//! The program `realtime-cli`, started as its users start it. Its Redis is the module's embedded server, in a folder like
//! that of a game server, so these tests need nothing from the machine.

use std::process::Command;

mod fleet;
mod log;
mod serve;
mod tail;

/// The program, without the settings of whoever runs the tests.
fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_realtime-cli"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.to_ascii_uppercase().starts_with("REALTIME_")) {
            command.env_remove(name);
        }
    }
    command
}
