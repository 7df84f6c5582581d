//! Callbacks of commands that Redis has not answered: which function each answer belongs to.
//! Game thread only. Every function is handed back once, to be released: with its answer, or when its state goes away.

use std::collections::HashMap;

use crate::engine::registry::CallbackRef;
use crate::json::build::Build;
use crate::redis::answer::AnswerResult;
use crate::threads::publisher::replies::{CallbackAnswer, Ticket};

#[derive(Default)]
pub(crate) struct Pending {
    last: Ticket,
    waiting: HashMap<Ticket, Waiting>,
}

struct Waiting {
    callback: CallbackRef,
    operation: &'static str,
    target: Box<[u8]>,
}

/// An answer for its callback, which is called this once.
pub struct Answered {
    pub callback: CallbackRef,
    pub(crate) operation: &'static str,
    pub(crate) target: Box<[u8]>,
    pub outcome: AnswerResult,
    /// How far its values have come into Lua, if they were begun in a tick before.
    pub(crate) build: Option<Box<Build>>,
}

impl Pending {
    /// A number that no other command has.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.last += 1;
        self.last
    }

    pub(crate) fn add(&mut self, ticket: Ticket, callback: CallbackRef, operation: &'static str, target: &[u8]) {
        self.waiting.insert(ticket, Waiting { callback, operation, target: target.into() });
    }

    /// The command was refused: nobody waits for its answer.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Whose answer this is; nobody's if the state that asked is gone.
    pub(crate) fn answered(&mut self, reply: CallbackAnswer) -> Option<Answered> {
        let Waiting { callback, operation, target } = self.waiting.remove(&reply.ticket)?;
        Some(Answered { callback, operation, target, outcome: reply.outcome, build: None })
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The Lua state goes away.
    pub(crate) fn detach(&mut self) -> Vec<CallbackRef> {
        std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.callback).collect()
    }
}
