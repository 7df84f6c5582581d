//! The error of a refused spec: it names the member and says why the member is wrong.
//! The game thread makes it and hands it to the script, which may print it: so it never holds a secret.

use std::fmt;

/// A refused spec, shown as `actions[2].webhook_url: is missing`. It never holds a URL or the value of a header, as
/// both may be secrets.
#[derive(Debug, PartialEq)]
pub struct SpecError(pub(crate) Box<Refused>);

/// The two halves of a [`SpecError`], in a box: every reader of a member passes it on, and it is hardly ever there.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    /// The path of the member, such as `actions[2].webhook_url`. Empty if the error concerns the whole spec.
    pub(crate) member: String,
    /// The reason, as the predicate of a sentence about the member: `is missing`, `expected a number, found a string`.
    pub(crate) found: String,
}

impl SpecError {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(member: &str, found: fmt::Arguments<'_>) -> SpecError {
        SpecError(Box::new(Refused { member: member.to_owned(), found: found.to_string() }))
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { member, found } = &*self.0;
        if member.is_empty() { f.write_str(found) } else { write!(f, "{member}: {found}") }
    }
}
