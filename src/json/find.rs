//! Looks up single fields of an event on its tape, by a dotted path, and writes values of a tape as compact JSON.
//! Runs on every thread that has a template or a condition. A look-up allocates nothing; nothing here recurses.
//! As for Lua, a number above 2^53 is a text here, and a null member of an object is absent.

use crate::config::limits::ENCODE_DEPTH_MAX;
use crate::json::tape::{self, Reader, TapeItem};
use crate::json::text;

/// The value at a dotted path, such as `players.1.name`. A step names a member of an object, or is the number of an
/// element of an array, counted from 1 as in Lua. If an object has several members of the same name, the last one
/// counts, as it does for Lua. `None`: there is no such value, or it is a null member.
pub(crate) fn field<'a>(tape: &'a [u8], path: &str) -> Option<Field<'a>> {
    let mut at = tape;
    for name in path.split('.') {
        let mut reader = Reader::new(at);
        at = match reader.next_item()? {
            TapeItem::Object(pairs) => member(&mut reader, pairs, name.as_bytes())?,
            TapeItem::Array(count) => {
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
    (item != TapeItem::Nil).then_some(Field { item, tape: at })
}

/// The whole value of a tape; `None` for an empty tape.
pub(crate) fn whole(tape: &[u8]) -> Option<Field<'_>> {
    Some(Field { item: Reader::new(tape).next_item()?, tape })
}

/// The tape from the value of the last member `name` on. `reader` is at the first of `pairs` members.
fn member<'a>(reader: &mut Reader<'a>, pairs: u32, name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    for _ in 0..pairs {
        let key = reader.next_item()?;
        if key == TapeItem::Text(name) {
            found = Some(reader.rest());
        }
        reader.skip()?;
    }
    found
}

/// A value on a tape.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Its first item. For a scalar this is the whole value.
    pub(crate) item: TapeItem<'a>,
    /// The tape from this value on; it may go on behind it.
    tape: &'a [u8],
}

impl<'a> Field<'a> {
    /// The elements of an array: a scalar as itself, an array or object as its head. Nothing for any other value.
    pub(crate) fn elements(&self) -> impl Iterator<Item = TapeItem<'a>> + use<'a> {
        let mut reader = Reader::new(self.tape);
        let count = if let Some(TapeItem::Array(count)) = reader.next_item() { count } else { 0 };
        (0..count).map_while(move |_| {
            let item = Reader::new(reader.rest()).next_item();
            reader.skip()?;
            item
        })
    }

    /// Appends the value as JSON text without white space. False if the tape is cut off, which `tape::parse` never
    /// does.
    pub(crate) fn push_json(&self, out: &mut Vec<u8>) -> bool {
        push_json(self.tape, out).is_some()
    }
}

/// An array or object whose closing bracket was not written yet.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Elements or members to come.
    left: u32,
    object: bool,
    /// True after the first element: the next one needs a comma before it.
    begun: bool,
}

/// Appends the first value of `tape` as JSON text. `None`: the tape is cut off, or deeper than any tape. It has a fixed
/// array of open containers instead of a recursion, so that no payload can exhaust a thread's stack.
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
                // A null member is absent for Lua, so it is left out here, too.
                if item == TapeItem::Nil {
                    continue;
                }
                if std::mem::replace(&mut top.begun, true) {
                    out.push(b',');
                }
                if let Some(TapeItem::Text(name)) = key {
                    text::push_string(out, name);
                    out.push(b':');
                }
                item
            }
        };
        if let TapeItem::Array(left) | TapeItem::Object(left) = item {
            let object = matches!(item, TapeItem::Object(_));
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

/// Appends a value that contains no others.
fn push_scalar(item: TapeItem<'_>, out: &mut Vec<u8>) {
    match item {
        TapeItem::Boolean(true) => out.extend_from_slice(b"true"),
        TapeItem::Boolean(false) => out.extend_from_slice(b"false"),
        TapeItem::Number(number) => _ = text::push_number(out, number),
        TapeItem::Text(bytes) => text::push_string(out, bytes),
        TapeItem::Nil | TapeItem::Null | TapeItem::Array(_) | TapeItem::Object(_) => out.extend_from_slice(b"null"),
    }
}

/// Appends the text of a JSON object without the members `name` of the outermost object. `text` must be JSON; anything
/// but an object is appended unchanged. It works on the text, not on a tape, so numbers and escapes stay as the sender
/// wrote them.
pub fn push_without(out: &mut Vec<u8>, text: &[u8], name: &str) {
    let key = [b"\"", name.as_bytes(), b"\""].concat();
    // A quick search decides most texts: without the quoted name and without any escape no member has this name.
    let may_have = || has_key(text, &key) || memchr::memchr(b'\\', text).is_some();
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

/// Whether the text has `key`, which has quotes around it, anywhere. It looks for the first letter, as that is rarer in
/// JSON than a quote.
fn has_key(text: &[u8], key: &[u8]) -> bool {
    let begins = |at: usize| text.get(at.saturating_sub(1)..).is_some_and(|rest| rest.starts_with(key));
    key.get(1).is_some_and(|letter| memchr::memchr_iter(*letter, text).any(begins))
}

/// Whether the member's key is `key`, which has quotes around it. The text may have the key in another spelling, with
/// escapes.
fn is_named(member: &[u8], key: &[u8]) -> bool {
    let member = member.trim_ascii_start();
    if member.starts_with(key) {
        return true;
    }
    // An escape turns a character into six bytes at most, so a longer key cannot be equal. Without a backslash the
    // comparison above was enough.
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
    tape::parse(text, &mut tape).is_ok() && Reader::new(&tape).next_item() == name.map(TapeItem::Text)
}

/// The members of a JSON object as texts: the parts between the outermost braces and commas. `text` must be a valid
/// object.
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
