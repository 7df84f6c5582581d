//! Locks a mutex even if it is poisoned, so that one panic does not disable every later call. Any thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex. A mutex whose holder panicked is locked all the same: the data behind the locks of this crate is
/// valid between any two statements, and the panic was counted by the code that caught it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
