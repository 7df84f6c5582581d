//! The numbers of all queues in one list, for `Stats()` and for the metrics file. Any thread; reads counters and waits for
//! short locks only.

use crate::stats::{Counters, QueueStats};
use crate::threads::shared::Shared;

/// The numbers of one queue, or of one direction of it.
pub(crate) struct QueueNumbers {
    /// The name in `Stats()`.
    pub(crate) name: &'static str,
    pub(crate) offered: u64,
    pub(crate) delivered: u64,
    /// By reason.
    pub(crate) dropped: Vec<(&'static str, u64)>,
    pub(crate) waiting: usize,
}

/// The numbers of all queues. Items that the pump has taken and not finished still wait: `events` and `answers` of them,
/// as far as the caller can know.
pub(crate) fn queues(shared: &Shared, events: usize, answers: usize) -> [QueueNumbers; 8] {
    let stats = &*shared.stats;
    [
        numbers("outbox", &stats.outbox, shared.outbox.waiting()),
        numbers("inbox", &stats.inbox, shared.inbox.waiting() + events),
        numbers("notices", &stats.notices, shared.notices.waiting()),
        numbers("replies", &stats.replies, shared.replies.waiting() + answers),
        numbers("actions", &stats.actions, shared.actions.waiting()),
        numbers("aggregates", &stats.aggregates, shared.collector.waiting()),
        numbers("webhooks", &stats.webhooks, shared.webhooks.waiting()),
        numbers("files", &stats.files, shared.files.waiting()),
    ]
}

fn numbers<D: Counters>(name: &'static str, of: &QueueStats<D>, waiting: usize) -> QueueNumbers {
    let QueueStats { offered, delivered, dropped } = of;
    QueueNumbers { name, offered: offered.get(), delivered: delivered.get(), dropped: dropped.list(), waiting }
}
