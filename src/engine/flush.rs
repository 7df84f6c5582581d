//! The wait at the end of a Lua state: queued work is brought to its destination before the process may end.
//! Game thread, with the engine not borrowed. One deadline bounds all waits together.

use std::sync::Arc;
use std::time::Instant;

use crate::config::limits::CLOSE_FLUSH_MAX;
use crate::threads::shared::Shared;

/// Everything that was queued when a state ended. The end of a state may be the end of the process.
pub struct Flush(Arc<Shared>);

impl Flush {
    pub(super) fn new(shared: Arc<Shared>) -> Flush {
        Flush(shared)
    }

    /// Waits until everything has reached its destination, at most [`CLOSE_FLUSH_MAX`]. True if it has.
    pub fn wait(self) -> bool {
        let deadline = Instant::now() + CLOSE_FLUSH_MAX;
        // `rt-actions` first: its hooks put jobs for the last events into the other queues.
        let actions = self.0.actions.flush(deadline);
        // In sequence, but the threads work in parallel: while one wait lasts, the other queues empty, too.
        let files = self.0.files.flush(deadline);
        let spooled = self.0.webhooks.spool(deadline);
        let outbox = self.outbox(deadline);
        // Last, so that the file holds the values of the outbox.
        let saved = self.0.embedded.save(deadline);
        actions && files && spooled && outbox && saved
    }

    /// Waits until Redis has answered everything. Without a connection it does not wait: the queue outlives the state,
    /// and during an outage every map change would cost the full time.
    fn outbox(&self, deadline: Instant) -> bool {
        self.0.outbox.waiting() == 0 || self.0.links.publisher.is_ready() && self.0.outbox.wait_empty(deadline)
    }
}
