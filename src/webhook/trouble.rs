//! The words for I/O errors on the way to a destination. Pure; used on `rt-carry-*` and `rt-selftest`.

use std::io::{self, ErrorKind};

use crate::io::tls;

/// The option that names further authorities.
pub(super) const CA_OPTION: &str = "webhook_ca_file";

/// The reason of an I/O error, in words that are the same on every system.
pub(super) fn io_trouble(err: &io::Error) -> String {
    match tls::trouble(err, CA_OPTION, "", ": use http://") {
        Some(found) => found,
        None if err.kind() == ErrorKind::TimedOut => "no answer in time".to_owned(),
        None if err.kind() == ErrorKind::UnexpectedEof => {
            "it closed the connection (if it has no TLS, use http://)".to_owned()
        }
        None if err.kind() == ErrorKind::Interrupted => "the module is stopping".to_owned(),
        None => err.to_string(),
    }
}
