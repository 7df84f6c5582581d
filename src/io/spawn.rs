//! Starts threads. One function for all of them: the standard library's own is compiled anew for each closure.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread with this name and this stack, in bytes.
pub(crate) fn spawn(
    name: String,
    stack_bytes: usize,
    run: Box<dyn FnOnce() + Send + 'static>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name).stack_size(stack_bytes).spawn(run)
}
