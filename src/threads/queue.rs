//! A queue that is looked at far more often than it holds something: its length is read without its lock.
//! Its bounds are its owner's business.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::io::lock::lock;

pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    waiting: AtomicUsize,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { items: Mutex::default(), waiting: AtomicUsize::new(0) }
    }
}

impl<T> Queue<T> {
    /// Changes what waits, under the lock.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        let mut items = lock(&self.items);
        let outcome = change(&mut items);
        self.waiting.store(items.len(), Ordering::Release);
        outcome
    }

    /// The oldest.
    pub(crate) fn pop(&self) -> Option<T> {
        if self.waiting() == 0 {
            return None;
        }
        self.change(VecDeque::pop_front)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}
