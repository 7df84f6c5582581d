//! The error of a refused spec: it names the member and says why the member is wrong.
//! The game thread makes it and hands it to the script, which may print it: so it never holds a secret.

use std::fmt;

/// A refused spec, shown as `actions[2].webhook_url: is missing`. It never holds a URL or the value of a header, as
/// both may be secrets.
#[derive(Debug, PartialEq)]
pub struct SpecError {
    /// The path of the member, such as `actions[2].webhook_url`. Empty if the error concerns the whole spec.
    pub(crate) member: String,
    /// The reason, as the predicate of a sentence about the member: `is missing`, `expected a number, found a string`.
    pub(crate) found: String,
}

impl SpecError {
    pub(crate) fn new(member: &str, found: impl Into<String>) -> SpecError {
        SpecError { member: member.to_owned(), found: found.into() }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() { f.write_str(&self.found) } else { write!(f, "{}: {}", self.member, self.found) }
    }
}
