//! Whether Redis runs the counters' script for this user, and in which form a counter is sent next. A pure value;
//! `rt-publisher` owns it as a field of its backlog. Guarantee: a counter is never sent by the script's SHA before
//! Redis has answered one that carried the script's text on the same connection.
//!
//! ```text
//!   Unknown ──EVAL sent──▶ Asked ──answered──▶ Loaded ──NOSCRIPT──▶ Unknown
//!      ▲                     │ │ EVAL forbidden
//!      └──refused for now────┘ └────────────▶ Forbidden: plain commands for the rest of the connection
//! ```

use crate::redis::counter::{self, Form};
use crate::redis::error_reply::Class;

/// One connection's knowledge of the script, and the one fact that outlives a connection.
#[derive(Default)]
pub(super) struct Scripts {
    state: ScriptState,
    /// An ACL forbids EVALSHA and allows EVAL. Remembered across connections: a counter that is refused for its form is
    /// sent again, and commands behind it may have overtaken it by then.
    sha_is_forbidden: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ScriptState {
    /// The next counter brings the script's text.
    #[default]
    Unknown,
    /// A counter has brought it. Nothing is written behind that counter before its answer: a refusal would let
    /// everything behind it overtake it.
    Asked,
    /// Redis knows the script by its SHA.
    Loaded,
    /// This user may run no scripts.
    Forbidden,
}

/// The meaning of an error reply to a call of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptRefusal {
    /// Redis refused this form of the call: the counter is sent again in the next form.
    Form,
    /// Redis runs no scripts for this user: the counter is sent again as plain commands.
    Script,
    /// The error is about the counter or about the state of the server.
    Counter,
}

impl Scripts {
    /// A new connection: Redis may have restarted without the script, and an ACL may have changed.
    pub(super) fn connected(&mut self) {
        self.state = ScriptState::Unknown;
    }

    /// The settings lead to another Redis, of which nothing is known.
    pub(super) fn forget(&mut self) {
        self.sha_is_forbidden = false;
    }

    /// The form of the next counter's call; `None`: plain commands.
    pub(super) fn form(&self) -> Option<Form> {
        match self.state {
            ScriptState::Forbidden => None,
            ScriptState::Loaded if !self.sha_is_forbidden => Some(Form::EvalSha),
            ScriptState::Unknown | ScriptState::Asked | ScriptState::Loaded => Some(Form::Eval),
        }
    }

    /// A counter was written as the script's call.
    pub(super) fn was_sent(&mut self) {
        if self.state == ScriptState::Unknown {
            self.state = ScriptState::Asked;
        }
    }

    /// Redis executed a call of the script. True if that is the first one on this connection.
    pub(super) fn succeeded(&mut self) -> bool {
        let is_first = self.state == ScriptState::Asked;
        if is_first {
            self.state = ScriptState::Loaded;
        }
        is_first
    }

    /// Redis answered a call of this form with the error `text`, of this class.
    pub(super) fn refused(&mut self, form: Form, text: &[u8], class: Class) -> ScriptRefusal {
        match form {
            Form::EvalSha if counter::wants_script(text) => self.state = ScriptState::Unknown,
            Form::EvalSha if counter::forbids_scripts(text) => {
                self.sha_is_forbidden = true;
                if self.state != ScriptState::Forbidden {
                    self.state = ScriptState::Unknown;
                }
            }
            // NOSCRIPT in reply to the script's text means the same: this server will never know it.
            Form::Eval if counter::forbids_scripts(text) || counter::wants_script(text) => {
                // The refusal was not about the form. A refusal of all scripts lasts for this connection only.
                self.sha_is_forbidden = false;
                return ScriptRefusal::Script;
            }
            Form::Eval | Form::EvalSha => {
                if self.state == ScriptState::Asked {
                    // Redis compiles and keeps a script before it runs it, but does neither while it refuses
                    // everything.
                    self.state = if class == Class::Never { ScriptState::Loaded } else { ScriptState::Unknown };
                }
                return ScriptRefusal::Counter;
            }
        }
        ScriptRefusal::Form
    }

    /// A node of a cluster did not run a call of the script, but named another node: the next counter brings the text.
    pub(super) fn redirected(&mut self) {
        if self.state == ScriptState::Asked {
            self.state = ScriptState::Unknown;
        }
    }

    /// This user may run no scripts.
    pub(super) fn forbid(&mut self) {
        self.state = ScriptState::Forbidden;
    }

    /// Whether counters and leases use plain commands.
    pub(super) fn are_forbidden(&self) -> bool {
        self.state == ScriptState::Forbidden
    }

    /// Whether a counter has brought the script's text and Redis has not answered it.
    pub(super) fn are_asked(&self) -> bool {
        self.state == ScriptState::Asked
    }
}
