//! Starts threads. In one place, because the standard library's code for it is generic: a copy for each thread's function
//! takes 2 KB.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread with this name and stack, in bytes. Linux shows 15 bytes of the name. The error says that the system
/// has no thread left.
#[inline(never)]
pub(crate) fn spawn(name: String, stack_bytes: usize, run: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name).stack_size(stack_bytes).spawn(run)
}
