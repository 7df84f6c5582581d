//! JSON text: written from values ([`text`]), checked and turned into what Lua needs ([`tape`]).
//! Pure functions over bytes; knows neither Lua nor a socket.

pub mod tape;
pub mod text;
