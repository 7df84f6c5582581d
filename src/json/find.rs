//! Single fields of an event: looked up on its tape by a dotted path, and written back as compact JSON.
//! Runs wherever a template or a condition does; allocates nothing to look, and never recurses.
//! A number past 2^53 is a text here as it is for Lua, and a null in an object is no member at all.

use crate::config::limits::ENCODE_DEPTH_MAX;
use crate::json::tape::{self, Item, Reader};
use crate::json::text;

/// The value at a dotted path: members of objects by name, elements of arrays by their number from 1, as Lua counts.
/// Of members of the same name the last counts, as it does for Lua. `None`: absent.
pub(crate) fn field<'a>(tape: &'a [u8], path: &str) -> Option<Field<'a>> {
    let mut at = tape;
    for name in path.split('.') {
        let mut reader = Reader::new(at);
        at = match reader.next_item()? {
            Item::Object(pairs) => member(&mut reader, pairs, name.as_bytes())?,
            Item::Array(count) => {
                let wanted = name.parse::<u32>().ok().filter(|number| (1..=count).contains(number))?;
                for _ in 1..wanted {
                    reader.skip()?;
                }
                reader.rest()
            }
            _ => return None,
        };
    }
    let item = Reader::new(at).next_item()?;
    (item != Item::Nil).then_some(Field { item, tape: at })
}

/// The whole value of a tape.
pub(crate) fn whole(tape: &[u8]) -> Option<Field<'_>> {
    Some(Field { item: Reader::new(tape).next_item()?, tape })
}

fn member<'a>(reader: &mut Reader<'a>, pairs: u32, name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    for _ in 0..pairs {
        let key = reader.next_item()?;
        if key == Item::Text(name) {
            found = Some(reader.rest());
        }
        reader.skip()?;
    }
    found
}

/// A value found.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Its first item: all of it, unless it is an array or an object.
    pub(crate) item: Item<'a>,
    tape: &'a [u8],
}

impl Field<'_> {
    /// Appends it as JSON text without white space. False if the tape is broken off, which ours are not.
    pub(crate) fn push_json(&self, out: &mut Vec<u8>) -> bool {
        push_json(self.tape, out).is_some()
    }
}

/// A container whose end was not written yet.
#[derive(Clone, Copy, Default)]
struct Open {
    left: u32,
    object: bool,
    begun: bool,
}

fn push_json(tape: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader::new(tape);
    let mut open = [Open::default(); ENCODE_DEPTH_MAX];
    let mut depth = 0_usize;
    loop {
        let top = depth.checked_sub(1).and_then(|top| open.get_mut(top));
        let item = match top {
            None => reader.next_item()?,
            Some(Open { left: 0, object, .. }) => {
                out.push(if *object { b'}' } else { b']' });
                depth -= 1;
                if depth == 0 {
                    return Some(());
                }
                continue;
            }
            Some(top) => {
                top.left -= 1;
                let key = if top.object { Some(reader.next_item()?) } else { None };
                let item = reader.next_item()?;
                if item == Item::Nil {
                    continue;
                }
                if std::mem::replace(&mut top.begun, true) {
                    out.push(b',');
                }
                if let Some(Item::Text(name)) = key {
                    text::push_string(out, name);
                    out.push(b':');
                }
                item
            }
        };
        if let Item::Array(left) | Item::Object(left) = item {
            let object = matches!(item, Item::Object(_));
            out.push(if object { b'{' } else { b'[' });
            *open.get_mut(depth)? = Open { left, object, begun: false };
            depth += 1;
        } else {
            push_scalar(item, out);
            if depth == 0 {
                return Some(());
            }
        }
    }
}

fn push_scalar(item: Item<'_>, out: &mut Vec<u8>) {
    match item {
        Item::Boolean(true) => out.extend_from_slice(b"true"),
        Item::Boolean(false) => out.extend_from_slice(b"false"),
        Item::Number(number) => _ = text::push_number(out, number),
        Item::Text(bytes) => text::push_string(out, bytes),
        Item::Nil | Item::Null | Item::Array(_) | Item::Object(_) => out.extend_from_slice(b"null"),
    }
}

/// Appends the text of a JSON object without its outermost members of this name. `text` is JSON; what is no object is
/// appended as it is.
pub(crate) fn push_without(out: &mut Vec<u8>, text: &[u8], name: &str) {
    let key = [b"\"", name.as_bytes(), b"\""].concat();
    let may_have = || memchr::memmem::find(text, &key).is_some() || memchr::memchr(b'\\', text).is_some();
    if text.trim_ascii_start().first() != Some(&b'{') || !may_have() {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'{');
    let mut begun = false;
    for member in members(text) {
        if is_named(member, &key) {
            continue;
        }
        if std::mem::replace(&mut begun, true) {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    out.push(b'}');
}

/// Whether the key of a member is `key`, quotes included; it may be written with escapes.
fn is_named(member: &[u8], key: &[u8]) -> bool {
    let member = member.trim_ascii_start();
    if member.starts_with(key) {
        return true;
    }
    // Written with escapes a character takes six bytes at most, a backslash among them.
    let head = member.get(..6 * key.len()).unwrap_or(member);
    let mut escaped = false;
    let end = head.iter().skip(1).position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    });
    let Some(text) = end.and_then(|end| head.get(..end + 2)).filter(|text| text.contains(&b'\\')) else { return false };
    let mut tape = Vec::new();
    let name = key.get(1..key.len().saturating_sub(1));
    tape::parse(text, &mut tape).is_ok() && Reader::new(&tape).next_item() == name.map(Item::Text)
}

/// The texts between the outermost braces and commas of a JSON object.
fn members(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.trim_ascii();
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    inner.split(move |byte| {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            b',' => return !quoted && depth == 0,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests;
