//! What is wrong with a spec: which member, found what.

use std::fmt;

/// A spec was refused. Holds no URL and no header's value.
#[derive(Debug, PartialEq)]
pub struct SpecError {
    /// `actions[2].webhook_url`; empty if it is the whole spec.
    pub(crate) member: String,
    pub(crate) found: String,
}

impl SpecError {
    pub(crate) fn new(member: &str, found: impl Into<String>) -> SpecError {
        SpecError { member: member.to_owned(), found: found.into() }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.member.is_empty() {
            true => f.write_str(&self.found),
            false => write!(f, "{}: {}", self.member, self.found),
        }
    }
}
