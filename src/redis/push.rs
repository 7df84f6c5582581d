//! What a subscribed connection says: a [`Reply`] read as one of the few things Redis sends there.
//! Borrowed like the reply itself. What fits nothing is handed back as it came; the caller decides what it means.

use super::reply::{Array, Elements, Reply};

/// An unasked reply, or the acknowledgement of a subscription.
#[derive(Clone, Copy, Debug)]
pub enum Push<'a> {
    Message {
        channel: &'a [u8],
        payload: &'a [u8],
    },
    PatternMessage {
        pattern: &'a [u8],
        channel: &'a [u8],
        payload: &'a [u8],
    },
    /// `count`: channels and patterns this connection is subscribed to from now on.
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
    /// `pong nonce` when subscribed, `+PONG` before the first subscription.
    Pong {
        payload: &'a [u8],
    },
    /// A command was refused; which one, the order of commands tells.
    Error(&'a [u8]),
    /// A message over the limit was skipped. Its channel is known unless that was too long itself.
    TooLarge {
        channel: Option<&'a [u8]>,
        bytes: u64,
    },
    Unexpected(Reply<'a>),
}

impl<'a> Push<'a> {
    #[inline]
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

#[inline]
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

#[inline]
fn bulk<'a>(elements: &mut Elements<'a>) -> Option<&'a [u8]> {
    match elements.next()? {
        Reply::Bulk(bytes) => Some(bytes),
        _ => None,
    }
}

fn bulk_or_nil<'a>(elements: &mut Elements<'a>) -> Option<Option<&'a [u8]>> {
    match elements.next()? {
        Reply::Bulk(bytes) => Some(Some(bytes)),
        Reply::Nil => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
