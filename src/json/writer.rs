//! [`Writer`] writes JSON value by value, for the lines of files and the bodies of messages: those are written once and
//! never read again here, so they need no tree of values. Pure; any thread.

use std::fmt::Display;
use std::io::Write;

use crate::json::text;

/// A JSON text in the making. It puts the commas; the caller closes what it opens.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Begins an object (`{`) or a list (`[`).
    pub(crate) fn open(&mut self, bracket: u8) {
        self.separate().push(bracket);
    }

    /// Ends an object (`}`) or a list (`]`).
    pub(crate) fn close(&mut self, bracket: u8) {
        self.0.push(bracket);
    }

    /// Writes the name of a member, whose value must follow. The name needs no escapes.
    pub(crate) fn name(&mut self, name: &str) -> &mut Writer {
        self.text(name.as_bytes());
        self.0.push(b':');
        self
    }

    /// Writes a string. Bytes that are not valid UTF-8 become U+FFFD.
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        text::push_string(self.separate(), bytes);
    }

    /// Writes a list of strings.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, texts: &[T]) {
        self.open(b'[');
        texts.iter().for_each(|text| self.text(text.as_ref().as_bytes()));
        self.close(b']');
    }

    /// Writes a value that prints itself as JSON: a number, a boolean, a value of serde_json.
    pub(crate) fn shown(&mut self, value: &dyn Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.separate(), "{value}");
    }

    /// The text, which is UTF-8 whatever was written.
    pub(crate) fn end(self) -> String {
        String::from_utf8(self.0).unwrap_or_default()
    }

    /// The buffer, after a comma unless a bracket was opened or a name written last: a string ends with its quote.
    fn separate(&mut self) -> &mut Vec<u8> {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_members_and_entries_only() {
        let mut json = Writer::default();
        json.open(b'{');
        json.name("a").texts(&["x", "{["]);
        json.name("b").shown(&1.5);
        json.name("c").open(b'[');
        json.open(b'{');
        json.close(b'}');
        json.text(b"\"\xff:");
        json.shown(&true);
        json.close(b']');
        json.close(b'}');
        assert_eq!(json.end(), r#"{"a":["x","{["],"b":1.5,"c":[{},"\"�:",true]}"#);
    }
}
