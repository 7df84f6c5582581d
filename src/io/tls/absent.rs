//! Stands in for `io/tls.rs` in a library without the feature `tls`: no session can be made, and each attempt says why.
//! URLs that ask for TLS are refused before (`hooks/url.rs`, `config/address.rs`).

use std::convert::Infallible;
use std::io::{self, Read, Write};

use crate::config::WITHOUT_TLS;

/// A connection that cannot exist.
pub(crate) struct Encrypted<S> {
    pub(crate) sock: S,
    never: Infallible,
}

impl<S> Read for Encrypted<S> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.never {}
    }
}

impl<S> Write for Encrypted<S> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.never {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.never {}
    }
}

/// The settings for sessions that cannot be made.
#[derive(Clone)]
pub(crate) struct Trust;

impl Trust {
    /// An error if the option named `option` names a file of authorities: it would have no effect.
    pub(crate) fn read(option: &str, ca_file: &str) -> Result<Trust, String> {
        if ca_file.is_empty() { Ok(Trust) } else { Err(format!("cannot use {option} `{ca_file}`: {WITHOUT_TLS}")) }
    }

    pub(crate) fn encrypt<S>(self, _: S, _: &str) -> Result<Encrypted<S>, String> {
        Err(WITHOUT_TLS.to_owned())
    }
}

/// No error comes from TLS.
pub(crate) fn trouble(_: &io::Error, _: &str, _: &str, _: &str) -> Option<String> {
    None
}
