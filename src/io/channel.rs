//! Queues between threads: [`Sender`] and [`Receiver`], typed ends of one kind of crossbeam channel.
//! The channel's code is large and generic: a copy for each of ten types of items took 80 KB of the library. So these
//! queues hold boxed items, which costs an allocation for each. The two queues of events between the game thread and
//! Redis hold plain items instead, in an array (`threads/publisher/outbox.rs`, `threads/subscriber/inbox.rs`).
//! [`Bell`] wakes a thread that serves several queues, or an array, which nobody can wait for.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::RecvTimeoutError;

/// An item of any queue; [`Receiver::unboxed`] gives it its type back.
type Item = Box<dyn Any + Send>;

/// The sending end; a clone sends to the same queue.
pub(crate) struct Sender<T> {
    tx: crossbeam_channel::Sender<Item>,
    items: PhantomData<fn(T)>,
}

/// The receiving end; a clone takes from the same queue, and each item goes to one of them.
pub(crate) struct Receiver<T> {
    rx: crossbeam_channel::Receiver<Item>,
    items: PhantomData<fn() -> T>,
}

/// A queue of at most `most` items. Its memory is allocated at once.
pub(crate) fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    typed(crossbeam_channel::bounded(most))
}

/// A queue without a bound of its own: the owner counts its items.
pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    typed(crossbeam_channel::unbounded())
}

fn typed<T>(
    (tx, rx): (crossbeam_channel::Sender<Item>, crossbeam_channel::Receiver<Item>),
) -> (Sender<T>, Receiver<T>) {
    (Sender { tx, items: PhantomData }, Receiver { rx, items: PhantomData })
}

impl<T: Send + 'static> Sender<T> {
    /// Queues the item. Never waits. False, and the item is dropped: the queue is full, or its receivers are gone.
    #[must_use]
    pub(crate) fn send(&self, item: T) -> bool {
        send(&self.tx, Box::new(item))
    }
}

impl<T: 'static> Receiver<T> {
    /// Takes the oldest item, if there is one.
    pub(crate) fn try_recv(&self) -> Option<T> {
        Receiver::unboxed(try_recv(&self.rx)?)
    }

    /// Takes the oldest item; waits for one. `None`: the queue is empty and its senders are gone.
    pub(crate) fn recv(&self) -> Option<T> {
        Receiver::unboxed(recv(&self.rx, None).ok()?)
    }

    /// Takes the oldest item; waits for one until the deadline.
    pub(crate) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        let item = recv(&self.rx, Some(deadline))?;
        Receiver::unboxed(item).ok_or(RecvTimeoutError::Disconnected)
    }

    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        len(&self.rx)
    }

    /// True if no item waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item with its type. Always `Some`: only a `Sender` of the same type puts items into this queue.
    fn unboxed(item: Item) -> Option<T> {
        item.downcast().ok().map(|item| *item)
    }
}

/// Wakes the one thread that serves a set of queues: every sender rings after each item. A ring while nobody waits ends
/// the next wait at once.
pub(crate) struct Bell {
    /// It was rung since the last wait ended: further rings cost one look at this.
    is_rung: AtomicBool,
    tx: Sender<()>,
    rx: Receiver<()>,
}

impl Default for Bell {
    fn default() -> Bell {
        let (tx, rx) = bounded(1);
        Bell { is_rung: AtomicBool::new(false), tx, rx }
    }
}

impl Bell {
    #[inline]
    pub(crate) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            // Refused after a wait that ended at its deadline while the bell was being rung: the ring before is still there.
            let _ = self.tx.send(());
        }
    }

    /// Whether it was rung since the last wait ended. Sees the end of a wait for sure only if the caller and the waiting
    /// thread, after that wait, took the same lock.
    #[inline]
    pub(crate) fn is_rung(&self) -> bool {
        self.is_rung.load(Ordering::Acquire)
    }

    /// Waits for a ring until the deadline. The caller must look at its queues afterwards in any case. False: nobody rang.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        let heard = self.rx.recv_deadline(deadline).is_ok();
        // Before the caller's look at its queues: an item that comes later rings again.
        self.is_rung.swap(false, Ordering::AcqRel) || heard
    }
}

// The four functions below hold the one copy of the channel's code: each typed method is a call.

#[inline(never)]
fn send(tx: &crossbeam_channel::Sender<Item>, item: Item) -> bool {
    tx.try_send(item).is_ok()
}

#[inline(never)]
fn try_recv(rx: &crossbeam_channel::Receiver<Item>) -> Option<Item> {
    rx.try_recv().ok()
}

#[inline(never)]
fn recv(rx: &crossbeam_channel::Receiver<Item>, deadline: Option<Instant>) -> Result<Item, RecvTimeoutError> {
    match deadline {
        Some(deadline) => rx.recv_deadline(deadline),
        None => Ok(rx.recv()?),
    }
}

#[inline(never)]
fn len(rx: &crossbeam_channel::Receiver<Item>) -> usize {
    rx.len()
}

// Derived, these would ask for `T: Clone`.
impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { tx: self.tx.clone(), items: PhantomData }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver { rx: self.rx.clone(), items: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn items_come_in_order_and_a_full_queue_refuses() {
        let (tx, rx) = bounded(2);
        assert_eq!(["a", "b", "c"].map(|item| tx.send(item.to_owned())), [true, true, false]);
        assert_eq!((rx.len(), rx.clone().recv(), rx.try_recv()), (2, Some("a".to_owned()), Some("b".to_owned())));
        assert_eq!((rx.is_empty(), rx.try_recv()), (true, None));
    }

    #[test]
    fn the_loss_of_one_end_is_seen_at_the_other() {
        let (tx, rx) = unbounded();
        let soon = || Instant::now() + Duration::from_millis(1);
        assert_eq!(rx.recv_deadline(soon()), Err(RecvTimeoutError::Timeout));
        assert!(tx.clone().send(1));
        drop(tx);
        assert_eq!((rx.recv(), rx.recv()), (Some(1), None));
        assert_eq!(rx.recv_deadline(soon()), Err(RecvTimeoutError::Disconnected));
        let (tx, rx) = unbounded();
        drop(rx);
        assert!(!tx.send(1));
    }
}
