//! Processes that keep cores busy, as other game servers on the machine do.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// Busy processes, which end with this value, and with this process.
pub struct Crowd(Vec<Child>);

impl Crowd {
    /// Starts this program as often as that, each time as a busy loop.
    pub fn start(count: usize) -> Crowd {
        let program = std::env::current_exe().unwrap();
        let start = |_| Command::new(&program).arg("spin").stdin(Stdio::piped()).spawn().unwrap();
        Crowd((0..count).map(start).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for mut child in self.0.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps one core busy until standard input ends.
pub fn run() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        std::hint::black_box(0);
    }
}
