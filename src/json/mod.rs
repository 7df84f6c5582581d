//! JSON: written from values ([`text`]), and decoded to a tape, a flat form that is quick to read ([`tape`]).
//! [`mod@bytes`] is memory to write to. [`writer`] puts whole texts together. [`find`] reads single fields off a tape. [`build`] remembers how far a tape was
//! made into Lua values, and when to pause.
//! Pure functions over bytes, for any thread; nothing here knows Lua or a socket. No input panics or recurses.

pub(crate) mod build;
pub(crate) mod bytes;
pub(crate) mod find;
pub(crate) mod tape;
pub(crate) mod text;
pub(crate) mod writer;
