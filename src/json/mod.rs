//! JSON text: written from values ([`text`]), checked and turned into what Lua needs ([`tape`]).
//! [`build`] remembers how far a tape has come into Lua. [`find`] reads single fields off a tape.
//! Pure functions over bytes; knows neither Lua nor a socket.

pub(crate) mod build;
pub(crate) mod find;
pub(crate) mod tape;
pub(crate) mod text;
