//! Pushed messages: turns a [`Reply`] of a subscribed connection into one of the few kinds that Redis sends there.
//! Pure; runs on `rt-subscriber`. A push borrows from the reply, so it costs no allocation. A reply of any other kind
//! is returned as [`Push::Unexpected`]; the caller decides about it.
//!
//! Kinds: <https://redis.io/docs/latest/develop/interact/pubsub/>, "Format of pushed messages".

use super::reply::{Array, Decoder, Elements, ProtocolError, Reply};

/// A message, or the acknowledgement of a subscription.
#[derive(Clone, Copy, Debug)]
pub enum Push<'a> {
    /// An event on a subscribed channel.
    Message {
        channel: &'a [u8],
        payload: &'a [u8],
    },
    /// An event on a channel that matches a subscribed pattern.
    PatternMessage {
        pattern: &'a [u8],
        channel: &'a [u8],
        payload: &'a [u8],
    },
    /// `count`: the channels and patterns that this connection is subscribed to from now on.
    Subscribed {
        channel: &'a [u8],
        count: i64,
    },
    /// No channel: there was nothing to unsubscribe from.
    Unsubscribed {
        channel: Option<&'a [u8]>,
        count: i64,
    },
    PatternSubscribed {
        pattern: &'a [u8],
        count: i64,
    },
    PatternUnsubscribed {
        pattern: Option<&'a [u8]>,
        count: i64,
    },
    /// The reply to PING: the array `pong payload` on a subscribed connection, `+PONG` before the first subscription.
    Pong {
        payload: &'a [u8],
    },
    /// Redis refused a command; the order of commands tells which one.
    Error(&'a [u8]),
    /// A message over a limit was skipped. Its channel is known, unless the channel itself was too long.
    TooLarge {
        channel: Option<&'a [u8]>,
        bytes: u64,
    },
    /// Any other reply.
    Unexpected(Reply<'a>),
}

impl<'a> Push<'a> {
    /// The next push of a subscribed connection, or `None` if it has not arrived completely.
    #[optimize(speed)]
    pub fn next(decoder: &mut Decoder) -> Result<Option<Push<'_>>, ProtocolError> {
        if let Some(message) = decoder.find_message() {
            let (channel, payload) = decoder.take_message(message);
            return Ok(Some(Push::Message { channel, payload }));
        }
        Ok(decoder.next()?.map(Push::from_reply))
    }

    /// Never fails: see [`Push::Unexpected`].
    pub fn from_reply(reply: Reply<'a>) -> Self {
        let push = match reply {
            Reply::Array(array) => from_array(array),
            Reply::Error(text) => Some(Push::Error(text)),
            Reply::Simple(b"PONG") => Some(Push::Pong { payload: b"" }),
            Reply::TooLarge(lost) => Some(Push::TooLarge { channel: lost_channel(lost.head()), bytes: lost.bytes() }),
            _ => None,
        };
        push.unwrap_or(Push::Unexpected(reply))
    }
}

/// The kind is the first element; each kind has a fixed number of elements.
fn from_array(array: Array<'_>) -> Option<Push<'_>> {
    let mut rest = array.iter();
    let kind = bulk(&mut rest)?;
    let push = match (kind, array.len()) {
        (b"message", 3) => Push::Message { channel: bulk(&mut rest)?, payload: bulk(&mut rest)? },
        (b"pmessage", 4) => {
            Push::PatternMessage { pattern: bulk(&mut rest)?, channel: bulk(&mut rest)?, payload: bulk(&mut rest)? }
        }
        (b"subscribe", 3) => Push::Subscribed { channel: bulk(&mut rest)?, count: rest.next()?.integer()? },
        (b"unsubscribe", 3) => Push::Unsubscribed { channel: bulk_or_nil(&mut rest)?, count: rest.next()?.integer()? },
        (b"psubscribe", 3) => Push::PatternSubscribed { pattern: bulk(&mut rest)?, count: rest.next()?.integer()? },
        (b"punsubscribe", 3) => {
            Push::PatternUnsubscribed { pattern: bulk_or_nil(&mut rest)?, count: rest.next()?.integer()? }
        }
        (b"pong", 2) => Push::Pong { payload: bulk(&mut rest)? },
        _ => return None,
    };
    Some(push)
}

/// The channel of a skipped message, from the elements before its payload.
fn lost_channel(head: Array<'_>) -> Option<&[u8]> {
    let mut rest = head.iter();
    match bulk(&mut rest)? {
        b"message" => bulk(&mut rest),
        b"pmessage" => {
            bulk(&mut rest)?;
            bulk(&mut rest)
        }
        _ => None,
    }
}

/// The next element, if it is a string.
fn bulk<'a>(elements: &mut Elements<'a>) -> Option<&'a [u8]> {
    match elements.next()? {
        Reply::Bulk(bytes) => Some(bytes),
        _ => None,
    }
}

/// The next element, if it is a string or nil.
fn bulk_or_nil<'a>(elements: &mut Elements<'a>) -> Option<Option<&'a [u8]>> {
    match elements.next()? {
        Reply::Bulk(bytes) => Some(Some(bytes)),
        Reply::Nil => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
