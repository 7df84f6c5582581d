//! The callbacks of commands that Redis has not answered yet, by the ticket of the command.
//! Game thread only. Owns the callbacks and hands each back exactly once, to be released: with its answer, or when its
//! Lua state ends. Refuses a new one when [`CALLBACKS_MAX`] are waiting.

use std::collections::VecDeque;

use crate::config::limits::CALLBACKS_MAX;
use crate::engine::call::{Answered, CallbackRef};
use crate::engine::refusal::Refusal;
use crate::threads::publisher::replies::{CallbackAnswer, Ticket};

/// The waiting callbacks, and the last ticket that was given out.
#[derive(Default)]
pub(crate) struct Pending {
    last: Ticket,
    /// In order of the tickets. Answers come nearly in the same order, so that removing is quick.
    waiting: VecDeque<(Ticket, Waiting)>,
}

/// A callback, with the names that the report of an error needs.
struct Waiting {
    callback: CallbackRef,
    operation: &'static str,
    target: Box<[u8]>,
}

impl Pending {
    /// A ticket that no other command has.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.last += 1;
        self.last
    }

    /// Keeps the callback of a command and returns the ticket under which the answer must come.
    pub(crate) fn add(
        &mut self,
        callback: CallbackRef,
        operation: &'static str,
        target: &[u8],
    ) -> Result<Ticket, Refusal> {
        if self.waiting.len() >= CALLBACKS_MAX {
            return Err(Refusal::QueueFull { waiting: self.waiting.len() });
        }
        let ticket = self.ticket();
        self.waiting.push_back((ticket, Waiting { callback, operation, target: target.into() }));
        Ok(ticket)
    }

    /// Forgets the callback of a command that was refused after all: the caller still owns it.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        self.take(ticket);
    }

    fn take(&mut self, ticket: Ticket) -> Option<Waiting> {
        let at = self.waiting.binary_search_by_key(&ticket, |(known, _)| *known).ok()?;
        self.waiting.remove(at).map(|(_, waiting)| waiting)
    }

    /// Joins an answer with its callback. `None` if the Lua state that asked has ended.
    pub(crate) fn answered(&mut self, reply: CallbackAnswer) -> Option<Answered> {
        let Waiting { callback, operation, target } = self.take(reply.ticket)?;
        Some(Answered { callback, operation, target, outcome: reply.outcome, build: None })
    }

    /// Callbacks that wait for an answer.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The Lua state ends: hands back every callback. Answers that come later find none.
    pub(crate) fn detach(&mut self) -> Vec<CallbackRef> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, waiting)| waiting.callback).collect()
    }
}
