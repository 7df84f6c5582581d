//! JSON text: written from values ([`text`]), checked and turned into what Lua needs ([`tape`]).
//! [`build`] remembers how far a tape has come into Lua. [`find`] reads single fields off a tape.
//! Pure functions over bytes; knows neither Lua nor a socket.

pub mod build;
pub mod find;
pub mod tape;
pub mod text;
