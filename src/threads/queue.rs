//! [`Queue`], for items that the game thread looks for at every tick and seldom finds. Its length is an atomic, so a look
//! at an empty queue takes no lock. The queue has no bound: its owner sets one, as it knows which item to drop.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::io::lock::lock;

pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    /// The length of `items`, stored under its lock and read without it.
    waiting: AtomicUsize,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { items: Mutex::default(), waiting: AtomicUsize::new(0) }
    }
}

impl<T> Queue<T> {
    /// Changes the items under the lock; the front is the oldest one. `change` must be short: the game thread waits for
    /// the same lock.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        let mut items = lock(&self.items);
        let outcome = change(&mut items);
        self.waiting.store(items.len(), Ordering::Release);
        outcome
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&self) -> Option<T> {
        if self.waiting() == 0 {
            return None;
        }
        self.change(VecDeque::pop_front)
    }

    /// The number of items.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}
