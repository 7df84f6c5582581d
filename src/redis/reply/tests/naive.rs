//! A naive decoder as the oracle of the tests: recursive, copying, from whole bytes, and written to be read.

use super::super::{Cap, Limits, OwnedReply};

/// How a stream ends after its last whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    Unfinished,
    Error,
}

/// All replies of a stream. The cap of a `TooLarge` is always the default one.
pub(super) fn decode_all(stream: &[u8], limits: Limits) -> (Vec<OwnedReply>, End) {
    let mut replies = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        match value(rest, limits, 0) {
            Ok((reply, after)) => {
                let bytes = rest.len() - after.len();
                let over = bytes > limits.reply_bytes_max || is_over(&reply, limits);
                replies.push(if over {
                    OwnedReply::TooLarge { bytes: bytes as u64, cap: Cap::default() }
                } else {
                    reply
                });
                rest = after;
            }
            Err(end) => return (replies, end),
        }
    }
    (replies, End::Clean)
}

pub(super) fn encode(reply: &OwnedReply) -> Vec<u8> {
    let line = |tag: &str, text: &[u8]| [tag.as_bytes(), text, b"\r\n"].concat();
    match reply {
        OwnedReply::Simple(text) => line("+", text),
        OwnedReply::Error(text) => line("-", text),
        OwnedReply::Integer(number) => line(":", number.to_string().as_bytes()),
        OwnedReply::Bulk(bytes) => [line("$", bytes.len().to_string().as_bytes()), line("", bytes)].concat(),
        OwnedReply::Nil => line("$", b"-1"),
        OwnedReply::Array(elements) => {
            let head = line("*", elements.len().to_string().as_bytes());
            [head, elements.iter().flat_map(encode).collect()].concat()
        }
        OwnedReply::TooLarge { .. } => unreachable!("never generated"),
    }
}

fn value(bytes: &[u8], limits: Limits, depth: usize) -> Result<(OwnedReply, &[u8]), End> {
    let (&tag, rest) = bytes.split_first().ok_or(End::Unfinished)?;
    match tag {
        b'+' | b'-' => {
            let (text, rest) = line(rest, limits.line_bytes_max)?;
            Ok((if tag == b'+' { OwnedReply::Simple(text.to_vec()) } else { OwnedReply::Error(text.to_vec()) }, rest))
        }
        b':' => number(rest).map(|(number, rest)| (OwnedReply::Integer(number), rest)),
        b'$' => match number(rest)? {
            (-1, rest) => Ok((OwnedReply::Nil, rest)),
            (len @ 0..=0x2000_0000, rest) if rest.len() >= len as usize + 2 => {
                let (payload, rest) = rest.split_at(len as usize);
                let rest = rest.strip_prefix(b"\r\n").ok_or(End::Error)?;
                Ok((OwnedReply::Bulk(payload.to_vec()), rest))
            }
            (0..=0x2000_0000, _) => Err(End::Unfinished),
            _ => Err(End::Error),
        },
        b'*' => match number(rest)? {
            (-1, rest) => Ok((OwnedReply::Nil, rest)),
            (count @ 0..=0x100_0000, mut rest) if depth < 128 => {
                let mut elements = Vec::new();
                for _ in 0..count {
                    let (element, after) = value(rest, limits, depth + 1)?;
                    elements.push(element);
                    rest = after;
                }
                Ok((OwnedReply::Array(elements), rest))
            }
            _ => Err(End::Error),
        },
        _ => Err(End::Error),
    }
}

fn line(bytes: &[u8], max: usize) -> Result<(&[u8], &[u8]), End> {
    match bytes.iter().position(|byte| b"\r\n".contains(byte)) {
        None if bytes.len() > max => Err(End::Error),
        None => Err(End::Unfinished),
        Some(at) if at > max || bytes[at] == b'\n' => Err(End::Error),
        Some(at) => match bytes.get(at + 1) {
            None => Err(End::Unfinished),
            Some(b'\n') => Ok((&bytes[..at], &bytes[at + 2..])),
            Some(_) => Err(End::Error),
        },
    }
}

/// Reads an integer line. A text is right if printing its number gives the same text. It may become right if it is
/// empty, a minus, or right so far.
fn number(bytes: &[u8]) -> Result<(i64, &[u8]), End> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-').unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let text = std::str::from_utf8(text).unwrap();
    let parsed = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    match (parsed, rest) {
        (Some(number), [b'\r', b'\n', rest @ ..]) => Ok((number, rest)),
        (Some(_), [] | [b'\r']) => Err(End::Unfinished),
        (None, []) if text.is_empty() || text == "-" => Err(End::Unfinished),
        // The lowest number without its minus is one too large, which shows only when the line ends there.
        (None, [] | [b'\r']) if text == "9223372036854775808" => Err(End::Unfinished),
        _ => Err(End::Error),
    }
}

fn is_over(reply: &OwnedReply, limits: Limits) -> bool {
    depth(reply) > limits.depth_max || elements(reply) > limits.elements_max || longest(reply) > limits.bulk_bytes_max
}

fn children(reply: &OwnedReply) -> &[OwnedReply] {
    if let OwnedReply::Array(elements) = reply { elements } else { &[] }
}

fn depth(reply: &OwnedReply) -> usize {
    let inside = children(reply).iter().map(depth).max().unwrap_or(0);
    inside + usize::from(matches!(reply, OwnedReply::Array(_)))
}

fn elements(reply: &OwnedReply) -> usize {
    children(reply).iter().map(|child| 1 + elements(child)).sum()
}

fn longest(reply: &OwnedReply) -> usize {
    let own = if let OwnedReply::Bulk(bytes) = reply { bytes.len() } else { 0 };
    children(reply).iter().map(longest).max().unwrap_or(0).max(own)
}
