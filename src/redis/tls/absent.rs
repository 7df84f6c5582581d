//! Stands in for `redis/tls.rs` in a library without the feature `tls`: a session cannot be opened.

use std::convert::Infallible;
use std::io::{self, Read, Write};

use crate::config::WITHOUT_TLS;

/// A session that cannot exist.
pub(super) struct Tls(Infallible);

impl Tls {
    pub(super) fn open(_: impl Read + Write, _: &str, _: &str) -> Result<Tls, String> {
        Err(WITHOUT_TLS.to_owned())
    }

    pub(super) fn has_decrypted(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn read(
        &self,
        _: &mut dyn Read,
        _: &mut [u8],
        _: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        match self.0 {}
    }

    pub(super) fn write_all(&self, _: &[u8], _: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self.0 {}
    }
}
