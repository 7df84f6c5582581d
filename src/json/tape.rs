//! Decodes JSON text to a tape: flat bytes that the game thread turns into Lua values without parsing anything.
//! [`parse`] runs on the thread that received the text (`rt-subscriber` for events), [`Reader`] on the game thread. It
//! decides how Lua sees JSON: big integers as strings, null members absent, keys unchanged. No input panics or
//! recurses, and a tape has at most three times the bytes of its text. JSON with more levels or values than Emit writes
//! is checked to its end but gets no tape: see [`Undecoded::Limits`].
//!
//! ```text
//! NIL 00 | NULL 01 | FALSE 02 | TRUE 03 | I8 04 i8 | I32 05 i32 | F64 06 f64
//! TEXT8 07 len u8 bytes … | TEXT32 08 len u32 bytes …
//! ARRAY 09 count u32, then its values | OBJECT 0a count u32, then its (text, value) pairs      little-endian
//!
//! {"a":[1,null]}   0a 01000000  07 01 'a'  09 02000000  04 01  01
//! ```
//! Bytes of 0x80 and above are copied unchanged and not checked for UTF-8: GMod cuts names in the middle of a
//! character, and a Lua string holds any byte. So text that is not UTF-8 is still JSON here.

use std::fmt;

use crate::config::limits::{DECODE_DEPTH_MAX, ENCODE_DEPTH_MAX, ENCODE_NODES_MAX};
use crate::json::text::{self, WHOLE_MAX};

const NIL: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const I8: u8 = 4;
const I32: u8 = 5;
const F64: u8 = 6;
const TEXT8: u8 = 7;
const TEXT32: u8 = 8;
const ARRAY: u8 = 9;
const OBJECT: u8 = 10;

/// Bytes of an object before its first pair: the tag and the count.
pub(crate) const OBJECT_HEAD_BYTES: usize = 5;

/// Why a text has no tape. `Display` continues a sentence that begins with the text: `the payload has 4 bytes and …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecoded {
    /// It is no JSON, or has more than [`DECODE_DEPTH_MAX`] levels.
    NotJson {
        /// Offset in bytes at which the parser gave up. `Display` counts from 1.
        at: usize,
    },
    /// It is JSON, but with more levels or values than Emit writes ([`ENCODE_DEPTH_MAX`], [`ENCODE_NODES_MAX`]). Its
    /// whole text was checked.
    Limits,
}

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecoded::NotJson { at } => write!(f, "is no JSON from byte {} on", at + 1),
            Undecoded::Limits => {
                write!(f, "has more than {ENCODE_NODES_MAX} values or {ENCODE_DEPTH_MAX} levels of JSON")
            }
        }
    }
}

/// Appends the tape of one JSON text. After an error `tape` is unchanged.
pub(crate) fn parse(text: &[u8], tape: &mut Vec<u8>) -> Result<(), Undecoded> {
    parse_without(text, None, tape, &mut Vec::new())
}

/// As [`parse`], but leaves out every member named `cut` of the outermost object. These members do not count for the
/// limits. Afterwards `member` holds the bytes of the last of them if it is a text, and is empty otherwise. This also
/// holds after [`Undecoded::Limits`]: the identity of an event (`_rt`) must be known even if its payload is too large
/// to decode. `cut` has at most 255 bytes.
pub(crate) fn parse_without(
    text: &[u8],
    cut: Option<&str>,
    tape: &mut Vec<u8>,
    member: &mut Vec<u8>,
) -> Result<(), Undecoded> {
    let start = tape.len();
    member.clear();
    let cut = cut.map(str::as_bytes);
    let mut parser = Parser { text, at: 0, tape, cut, cut_at: None, member, start, nodes: 0, is_over: false };
    let outcome = match parser.document() {
        Some(()) if parser.is_over => Err(Undecoded::Limits),
        Some(()) => Ok(()),
        None => Err(Undecoded::NotJson { at: parser.at }),
    };
    if outcome.is_err() {
        tape.truncate(start);
    }
    outcome
}

/// Appends the tape of a string. A payload that is not JSON is handed to Lua as one string.
#[optimize(speed)]
pub(crate) fn push_text(tape: &mut Vec<u8>, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) => tape.extend_from_slice(&[TEXT8, len]),
        Err(_) => {
            tape.push(TEXT32);
            // The cast is safe: payloads are capped far below 4 GiB (`crate::config::limits::PAYLOAD_BYTES_MAX`).
            tape.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        }
    }
    tape.extend_from_slice(bytes);
}

/// Appends the tape of a boolean.
pub(crate) fn push_boolean(tape: &mut Vec<u8>, value: bool) {
    tape.push(if value { TRUE } else { FALSE });
}

/// Appends the tape of a null. In an array Lua gets `realtime.Null`, so that the elements keep their numbers; elsewhere
/// it gets nil, so the member of an object is absent.
pub(crate) fn push_none(tape: &mut Vec<u8>, in_array: bool) {
    tape.push(if in_array { NULL } else { NIL });
}

/// Appends the tape of a number, without a check for a shorter form.
pub(crate) fn push_f64(tape: &mut Vec<u8>, number: f64) {
    tape.push(F64);
    tape.extend_from_slice(&number.to_le_bytes());
}

/// Appends the tape of a whole number. Above 2^53 it becomes a text of its digits, as in [`parse`], because Lua's
/// numbers (`f64`) would round it.
pub(crate) fn push_i64(tape: &mut Vec<u8>, whole: i64) {
    if whole.unsigned_abs() > WHOLE_MAX as u64 {
        push_text(tape, itoa::Buffer::new().format(whole).as_bytes());
        return;
    }
    match (i8::try_from(whole), i32::try_from(whole)) {
        (Ok(small), _) => tape.extend_from_slice(&[I8, small as u8]),
        (Err(_), Ok(whole)) => {
            tape.push(I32);
            tape.extend_from_slice(&whole.to_le_bytes());
        }
        (Err(_), Err(_)) => push_f64(tape, whole as f64),
    }
}

/// Begins an array. The caller must append `count` values after it.
pub(crate) fn push_array(tape: &mut Vec<u8>, count: usize) {
    tape.push(ARRAY);
    // The cast is safe: counts come from replies, whose elements are capped
    // (`crate::config::limits::REPLY_ELEMENTS_MAX`).
    tape.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Begins an object. The caller must append `count` pairs of a text and a value after it.
pub(crate) fn push_object(tape: &mut Vec<u8>, count: usize) {
    tape.push(OBJECT);
    tape.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Whether the text is one JSON object or array and nothing else, with any number of values. `scratch` is memory to
/// use; it is empty afterwards. Emit asks this for a string: the first byte rules out most strings without a parse.
pub(crate) fn is_container(text: &[u8], scratch: &mut Vec<u8>) -> bool {
    let first = text.iter().find(|byte| !b" \t\r\n".contains(byte));
    if !matches!(first, Some(b'{' | b'[')) {
        return false;
    }
    scratch.clear();
    let parsed = parse(text, scratch);
    scratch.clear();
    matches!(parsed, Ok(()) | Err(Undecoded::Limits))
}

/// The text that begins at byte `at` of the tape; `None` if another value begins there.
fn text_at(tape: &[u8], at: usize) -> Option<&[u8]> {
    match Reader::new(tape.get(at..)?).next_item()? {
        TapeItem::Text(bytes) => Some(bytes),
        _ => None,
    }
}

/// An array or object whose end was not read yet. Without padding, so that an array of them is cleared by `memset`.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Offset of its count on the tape, which is written when its end is read. A tape is far shorter than 4 GiB.
    count_at: u32,
    /// Elements or members so far.
    count: u32,
}

/// In read-only memory: a copy is quicker than a loop over its entries, which a build for size would make.
static NONE_OPEN: [Open; DECODE_DEPTH_MAX] = [Open { count_at: 0, count: 0 }; DECODE_DEPTH_MAX];

/// One pass over a text. It writes the tape as it reads, with a fixed array of open containers instead of recursion.
struct Parser<'a> {
    text: &'a [u8],
    /// Offset of the next byte to read.
    at: usize,
    tape: &'a mut Vec<u8>,
    /// Name of the members of the outermost object that are left out.
    cut: Option<&'a [u8]>,
    /// Offset on the tape of such a member's key, while its value is read. It is written first and taken back then,
    /// because a key with escapes is known only after it was decoded.
    cut_at: Option<usize>,
    /// The text of the last such member.
    member: &'a mut Vec<u8>,
    /// Offset at which the tape of this text begins.
    start: usize,
    /// Values so far, without those of members that are left out.
    nodes: usize,
    /// True once the text has more values or levels than a tape may have: the rest is only checked.
    is_over: bool,
}

impl Parser<'_> {
    /// Reads one value with nothing but white space around it. `None`: the text is not JSON from `self.at` on.
    #[optimize(speed)]
    fn document(&mut self) -> Option<()> {
        let mut open = NONE_OPEN;
        let mut depth = 0;
        // One bit for each open container, the outermost lowest: an object.
        let mut objects: u128 = 0;
        const _: () = assert!(DECODE_DEPTH_MAX <= u128::BITS as usize);
        loop {
            // A value begins here.
            self.skip_space();
            let byte = self.peek()?;
            self.count(depth + usize::from(byte == b'{' || byte == b'['));
            if byte == b'{' || byte == b'[' {
                self.at += 1;
                let object = byte == b'{';
                self.tape.push(if object { OBJECT } else { ARRAY });
                *open.get_mut(depth)? = Open { count_at: self.tape.len() as u32, count: 0 };
                objects = objects & !(1 << depth) | u128::from(object) << depth;
                depth += 1;
                self.tape.extend_from_slice(&[0; 4]);
                self.skip_space();
                if self.peek()? == (if object { b'}' } else { b']' }) {
                    self.at += 1;
                    depth -= 1; // Its count on the tape is zero already.
                } else {
                    if object {
                        self.key(depth)?;
                    }
                    continue;
                }
            } else {
                let in_object = depth > 0 && objects >> (depth - 1) & 1 == 1;
                self.scalar(byte, in_object)?;
            }
            // A value has ended here. Any number of containers may end behind it.
            loop {
                self.skip_space();
                let Some(top) = depth.checked_sub(1).and_then(|top| open.get_mut(top)) else {
                    return (self.at == self.text.len()).then_some(());
                };
                let in_object = objects >> (depth - 1) & 1 == 1;
                match self.cut_at {
                    Some(start) if depth == 1 => self.cut_out(start),
                    _ => top.count += 1,
                }
                let byte = self.peek()?;
                if byte == b',' {
                    self.at += 1;
                    if in_object {
                        self.skip_space();
                        self.key(depth)?;
                    }
                    break;
                }
                if byte != (if in_object { b'}' } else { b']' }) {
                    return None;
                }
                self.at += 1;
                // Beyond the limits the tape was truncated, so the place of the count may be gone.
                let count_at = top.count_at as usize;
                match self.tape.get_mut(count_at..count_at + 4) {
                    Some(place) => place.copy_from_slice(&top.count.to_le_bytes()),
                    None if self.is_over => {}
                    None => return None,
                }
                depth -= 1;
            }
        }
    }

    /// Counts one more value. `levels` are the containers around it, and the value itself if it is one.
    #[inline]
    fn count(&mut self, levels: usize) {
        if self.cut_at.is_some() {
            return;
        }
        self.nodes += 1;
        if self.nodes > ENCODE_NODES_MAX || levels > ENCODE_DEPTH_MAX {
            self.is_over = true;
        }
        // The rest is only checked, so the tape is emptied at each value and takes no memory.
        if self.is_over {
            self.tape.truncate(self.start);
        }
    }

    /// The next byte of the text.
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The text from the next byte on.
    #[inline(always)]
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes the four characters that RFC 8259 calls white space.
    #[inline(always)]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Reads `"name" :` in an object at this depth; the outermost object has depth 1.
    #[optimize(speed)]
    fn key(&mut self, depth: usize) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.tape.len();
        self.string()?;
        if depth == 1 && self.cut.is_some_and(|cut| text_at(self.tape, start) == Some(cut)) {
            self.cut_at = Some(start);
        }
        self.skip_space();
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Takes the member whose key is at `start` off the tape, and keeps its value in `member` if it is a text.
    fn cut_out(&mut self, start: usize) {
        self.cut_at = None;
        self.member.clear();
        let value = self.cut.map_or(start, |cut| start + 2 + cut.len());
        // A key that was written with escapes has the form TEXT32, whose length takes three bytes more.
        let value = if self.tape.get(start) == Some(&TEXT32) { value + 3 } else { value };
        self.member.extend_from_slice(text_at(self.tape, value).unwrap_or_default());
        self.tape.truncate(start);
    }

    /// Reads a string, a word or a number, which begins with `byte`.
    #[optimize(speed)]
    fn scalar(&mut self, byte: u8, in_object: bool) -> Option<()> {
        match byte {
            b'"' => self.string(),
            b't' => self.word(b"true", TRUE),
            b'f' => self.word(b"false", FALSE),
            b'n' => self.word(b"null", if in_object { NIL } else { NULL }),
            _ => self.number(),
        }
    }

    /// Reads `true`, `false` or `null`, and appends its tag.
    fn word(&mut self, word: &[u8], tag: u8) -> Option<()> {
        if !self.rest().starts_with(word) {
            return None;
        }
        self.at += word.len();
        self.tape.push(tag);
        Some(())
    }

    /// Reads a string whose opening quote is at `self.at`.
    #[optimize(speed)]
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        let start = self.at;
        self.skip_plain();
        let plain = self.text.get(start..self.at)?;
        if self.peek()? == b'"' {
            self.at += 1;
            push_text(self.tape, plain);
            return Some(());
        }
        // There is an escape or an error. Decode onto the tape, and write the length when it is known.
        self.tape.push(TEXT32);
        let length_at = self.tape.len();
        self.tape.extend_from_slice(&[0; 4]);
        self.tape.extend_from_slice(plain);
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => {
                    let start = self.at;
                    self.skip_plain();
                    self.tape.extend_from_slice(self.text.get(start..self.at)?);
                }
            }
        }
        self.at += 1;
        let len = self.tape.len() - length_at - 4;
        self.tape.get_mut(length_at..length_at + 4)?.copy_from_slice(&(len as u32).to_le_bytes());
        Some(())
    }

    /// Passes plain characters, up to the next quote, backslash or control character.
    fn skip_plain(&mut self) {
        self.at += text::unescaped(self.rest());
    }

    /// Reads an escape, which begins with the backslash at `self.at`, and appends its character in UTF-8. A surrogate
    /// without its pair becomes U+FFFD.
    fn escape(&mut self) -> Option<()> {
        let letter = *self.text.get(self.at + 1)?;
        self.at += 2;
        let byte = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let high = self.hex4()?;
                let mut code = high;
                if (0xd800..0xdc00).contains(&high) && self.rest().starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex4()?;
                    match low {
                        0xdc00..0xe000 => code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00),
                        _ => self.at = back,
                    }
                }
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                self.tape.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        self.tape.push(byte);
        Some(())
    }

    /// Reads four hexadecimal digits.
    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }

    /// Reads a number, by the grammar of RFC 8259.
    ///
    /// | in the text | on the tape |
    /// |---|---|
    /// | a whole number up to 2^53 | a number |
    /// | a larger whole number | a text of its digits: a SteamID64 must not lose its last digits |
    /// | a fraction or an exponent | the nearest `f64` |
    /// | the same beyond the range of `f64` | its text |
    #[optimize(speed)]
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let negative = self.peek()? == b'-';
        if negative {
            self.at += 1;
        }
        let first = self.at;
        let mut magnitude: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            // May saturate: a number above 2^53 is kept as text anyway.
            magnitude = magnitude.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 || (digits > 1 && self.text.get(first) == Some(&b'0')) {
            return None;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            self.fraction_and_exponent()?;
            let text = std::str::from_utf8(self.text.get(start..self.at)?).ok()?;
            let number: f64 = text.parse().ok()?;
            if number.is_finite() {
                push_f64(self.tape, number);
            } else {
                push_text(self.tape, text.as_bytes());
            }
            return Some(());
        }
        if magnitude > WHOLE_MAX as u64 {
            push_text(self.tape, self.text.get(start..self.at)?);
        } else {
            push_i64(self.tape, magnitude as i64 * if negative { -1 } else { 1 });
        }
        Some(())
    }

    /// Reads the fraction and the exponent of a number, as far as it has them.
    fn fraction_and_exponent(&mut self) -> Option<()> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// One value of a tape, or the beginning of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TapeItem<'a> {
    /// A null in an object. For Lua the member is absent.
    Nil,
    /// A null in an array or alone. For Lua it is `realtime.Null`.
    Null,
    Boolean(bool),
    Number(f64),
    /// Bytes of a string, not necessarily UTF-8.
    Text(&'a [u8]),
    /// An array: that many values follow.
    Array(u32),
    /// An object: that many pairs of a text and a value follow.
    Object(u32),
}

/// Reads a tape from front to back. It cannot panic on any bytes, because it runs between Lua frames, where nothing may
/// unwind.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader at the first byte of `tape`.
    pub fn new(tape: &'a [u8]) -> Reader<'a> {
        Reader(tape)
    }

    /// The next item; `None` at the end, or if the bytes are not a tape.
    #[inline]
    #[optimize(speed)]
    pub fn next_item(&mut self) -> Option<TapeItem<'a>> {
        let [tag] = self.take::<1>()?;
        Some(match tag {
            NIL => TapeItem::Nil,
            NULL => TapeItem::Null,
            FALSE => TapeItem::Boolean(false),
            TRUE => TapeItem::Boolean(true),
            I8 => TapeItem::Number(f64::from(i8::from_le_bytes(self.take()?))),
            I32 => TapeItem::Number(f64::from(i32::from_le_bytes(self.take()?))),
            F64 => TapeItem::Number(f64::from_le_bytes(self.take()?)),
            TEXT8 => {
                let [len] = self.take::<1>()?;
                TapeItem::Text(self.bytes(usize::from(len))?)
            }
            TEXT32 => {
                let len = u32::from_le_bytes(self.take()?);
                TapeItem::Text(self.bytes(len as usize)?)
            }
            ARRAY => TapeItem::Array(u32::from_le_bytes(self.take()?)),
            OBJECT => TapeItem::Object(u32::from_le_bytes(self.take()?)),
            _ => return None,
        })
    }

    /// The bytes that were not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Passes one value with all values inside it. `None` if the tape ends before.
    pub(crate) fn skip(&mut self) -> Option<()> {
        // Values to pass, counted instead of a recursion.
        let mut values: u64 = 1;
        while values > 0 {
            values += match self.next_item()? {
                TapeItem::Array(count) => u64::from(count),
                TapeItem::Object(pairs) => u64::from(pairs) * 2,
                _ => 0,
            };
            values -= 1;
        }
        Some(())
    }

    /// The next `N` bytes.
    #[inline]
    #[optimize(speed)]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// The next `len` bytes.
    #[inline]
    #[optimize(speed)]
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests;
