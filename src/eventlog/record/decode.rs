//! Decodes the records of a block, on the thread of the reader. Trusts nothing: a checksum catches accidents, but an
//! attacker can compute it too, so every number is checked and the text of a record is bounded. A record that the
//! filter refuses is skipped without making its text; its strings and shapes still enter the tables, because later
//! records refer to them.

use crate::eventlog::digits;
use crate::eventlog::format::{ARRAY_DEPTH_MAX, EVENTLOG_RECORD_BYTES_MAX, NEAR_STRINGS, tag};
use crate::eventlog::tables::{PayloadKind, RecordForm, Shape, Slice, Tables};
use crate::eventlog::varint::{self, Cursor};

/// The part of a record before its payload.
pub(in crate::eventlog) struct RecordHead {
    /// Index of the form in the tables.
    pub(in crate::eventlog) form: usize,
    /// Milliseconds after the previous record, or after the header's time.
    pub(in crate::eventlog) step_ms: i64,
    kind: PayloadKind,
}

impl RecordHead {
    /// True if the payload is no JSON.
    pub(in crate::eventlog) fn is_raw(&self) -> bool {
        self.kind == PayloadKind::Raw
    }
}

/// Decodes the records of one block in their order: for each one the head, then the payload, which is either appended
/// or skipped. `from.bytes` is the block up to the end of the chunk whose checksum was verified. Every method returns
/// `None` for bytes that no encoder writes; the block ends there.
#[derive(Default)]
pub(in crate::eventlog) struct RecordDecoder {
    tables: Tables,
}

impl RecordDecoder {
    /// Empties the tables, as a fresh chunk demands.
    pub(in crate::eventlog) fn clear(&mut self) {
        self.tables.clear();
    }

    /// The bytes of the form's channel in `block`; empty if there is no such form.
    pub(in crate::eventlog) fn channel<'a>(&self, block: &'a [u8], form: usize) -> &'a [u8] {
        self.tables.forms.get(form).map(|form| form.channel.of(block)).unwrap_or_default()
    }

    /// Reads the head of a record, and the new form that it may define.
    #[inline(always)]
    pub(in crate::eventlog) fn head(&mut self, from: &mut Cursor<'_>) -> Option<RecordHead> {
        let form = match from.size()? {
            0 => self.new_form(from)?,
            number => number - 1,
        };
        let step_ms = varint::unfold(from.number()?);
        Some(RecordHead { form, step_ms, kind: self.tables.forms.get(form)?.kind })
    }

    /// Reads the payload and appends its text to `out`.
    #[inline(always)]
    pub(in crate::eventlog) fn payload(
        &mut self,
        head: &RecordHead,
        from: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        self.values::<true>(head, from, out)
    }

    /// Reads the payload without making its text.
    #[inline(always)]
    pub(in crate::eventlog) fn skip(&mut self, head: &RecordHead, from: &mut Cursor<'_>) -> Option<()> {
        self.values::<false>(head, from, &mut Vec::new())
    }

    /// Reads the payload. `KEEP` is a constant so that the compiler makes a loop of its own for skipped records.
    #[optimize(speed)]
    fn values<const KEEP: bool>(&mut self, head: &RecordHead, from: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<()> {
        let PayloadKind::Shape(shape) = head.kind else {
            let len = from.size()?;
            let bytes = from.take(len)?;
            if KEEP {
                out.extend_from_slice(bytes);
            }
            return Some(());
        };
        let shape = self.tables.shape(shape)?;
        // A record that expands beyond the limit is forged; the block ends before it.
        let full = out.len().checked_add(EVENTLOG_RECORD_BYTES_MAX)?;
        let mut values = Values::<KEEP> { tables: &mut self.tables, bytes: from.bytes, out, full };
        from.at = values.fill(Some(shape), from.at, 0)?;
        Some(())
    }

    /// Reads a new form, and the new shape that it may define, into the tables.
    fn new_form(&mut self, from: &mut Cursor<'_>) -> Option<usize> {
        let tag = from.byte()?;
        let channel = string(&mut self.tables, from, tag)?;
        let kind = PayloadKind::from_code(from.number()?)?;
        if let PayloadKind::Shape(shape) = kind
            && shape as usize >= self.tables.shapes.len()
        {
            // Only the next number may be new: an encoder numbers shapes without a gap.
            if shape as usize > self.tables.shapes.len() {
                return None;
            }
            new_shape(&mut self.tables, from)?;
        }
        if !self.tables.have_room(b"") {
            return None;
        }
        self.tables.forms.push(RecordForm { channel, kind });
        Some(self.tables.forms.len() - 1)
    }
}

/// Reads a skeleton and makes it the next shape of the tables.
fn new_shape(tables: &mut Tables, from: &mut Cursor<'_>) -> Option<u32> {
    let skeleton = take_slice(from)?;
    tables.have_room(skeleton.of(from.bytes)).then(|| tables.add_shape(from.bytes, skeleton))
}

/// Reads a length and as many bytes.
#[inline(always)]
fn take_slice(from: &mut Cursor<'_>) -> Option<Slice> {
    let len = from.size()?;
    let at = from.at;
    from.take(len)?;
    Some(Slice::new(from.bytes, at, len))
}

/// Reads the rest of a string value behind its tag: a number, or the bytes, which a new string enters into the
/// tables.
#[inline(always)]
fn string(tables: &mut Tables, from: &mut Cursor<'_>, tag: u8) -> Option<Slice> {
    let number = match tag {
        tag::NEAR.. => usize::from(tag - tag::NEAR),
        tag::FAR.. => NEAR_STRINGS + (usize::from(tag - tag::FAR) << 8 | usize::from(from.byte()?)),
        tag::NEW_STRING => {
            let string = take_slice(from)?;
            if !tables.have_room(b"") {
                return None;
            }
            tables.strings.push(string);
            return Some(string);
        }
        tag::STRING => return take_slice(from),
        _ => return None,
    };
    tables.strings.get(number).copied()
}

/// Turns the values of one record into JSON text, or skips them.
///
/// The methods pass the position on by value instead of keeping it here: so the compiler holds it in a register.
struct Values<'t, 'b, const KEEP: bool> {
    tables: &'t mut Tables,
    /// The block up to the end of the chunk.
    bytes: &'b [u8],
    out: &'t mut Vec<u8>,
    /// Length of `out` beyond which the record is refused as forged.
    full: usize,
}

impl<const KEEP: bool> Values<'_, '_, KEEP> {
    /// Appends the text of an object: the pieces of its skeleton with a value between any two. Without a shape it appends
    /// a single value, an element of an array: so both share the code that reads a value. Returns the position behind the
    /// values.
    #[optimize(speed)]
    fn fill(&mut self, shape: Option<Shape>, mut at: usize, depth: u32) -> Option<usize> {
        for hole in 0..shape.map_or(1, |shape| shape.holes) {
            if let Some(shape) = shape {
                self.push_slice(*self.tables.piece(shape, hole)?);
            }
            at = self.value(at, shape.map(|shape| (shape.first_hole + hole) as usize), depth)?;
            // Checked after each value, because one byte can name a long string.
            if self.out.len() > self.full {
                return None;
            }
        }
        if let Some(shape) = shape {
            self.push_slice(*self.tables.piece(shape, shape.holes)?);
        }
        (self.out.len() <= self.full).then_some(at)
    }

    /// Appends bytes of the block, unless the record is skipped.
    #[inline(always)]
    fn push_slice(&mut self, slice: Slice) {
        if KEEP {
            slice.push_to(self.bytes, self.out);
        }
    }

    /// Appends text, unless the record is skipped.
    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        if KEEP {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Reads the value at this position. Returns the position behind it. `hole` is the index of the hole's last whole number
    /// in the tables; elements of arrays have none.
    #[inline(always)]
    fn value(&mut self, at: usize, hole: Option<usize>, depth: u32) -> Option<usize> {
        let from = &mut Cursor { bytes: self.bytes, at };
        let tag = from.byte()?;
        match tag {
            tag::FAR.. | tag::NEW_STRING | tag::STRING => {
                let text = string(self.tables, from, tag)?;
                if KEEP {
                    text.push_quoted_to(self.bytes, self.out);
                }
            }
            tag::SMALL.. => self.whole(false, u64::from(tag - tag::SMALL), hole),
            tag::DECIMAL..tag::SMALL => self.decimal(from, tag)?,
            tag::STEP => {
                let step = varint::unfold(from.number()?);
                // An element of an array has no hole, hence no base, and a sum beyond 64 bits is forged.
                let value = self.tables.previous(hole?)?.checked_add(step)?;
                self.whole(value < 0, value.unsigned_abs(), hole);
            }
            tag::WHOLE | tag::NEGATIVE => {
                let magnitude = from.number()?;
                self.whole(tag == tag::NEGATIVE, magnitude, hole);
            }
            tag::NULL => self.push(b"null"),
            tag::FALSE => self.push(b"false"),
            tag::TRUE => self.push(b"true"),
            tag::NUMBER => {
                let text = take_slice(from)?;
                self.push_slice(text);
            }
            tag::ARRAY => return self.array(from.at, depth),
            _ => return None,
        }
        Some(from.at)
    }

    /// Reads the elements of an array up to the end tag. Returns the position behind it.
    #[optimize(speed)]
    fn array(&mut self, mut at: usize, depth: u32) -> Option<usize> {
        // The same bound as the encoder's, so the recursion of a forged record ends.
        if depth >= ARRAY_DEPTH_MAX {
            return None;
        }
        self.push(b"[");
        let mut first = true;
        loop {
            let tag = *self.bytes.get(at)?;
            if tag == tag::END {
                self.push(b"]");
                return Some(at + 1);
            }
            // Commas stand between elements only.
            if !first {
                self.push(b",");
            }
            first = false;
            at = match tag {
                tag::OBJECT => self.object(at + 1, depth + 1)?,
                _ => self.fill(None, at, depth + 1)?,
            };
        }
    }

    /// Reads an object inside an array behind its tag: its shape by number or as a new skeleton, then its values.
    /// Returns the position behind it.
    fn object(&mut self, at: usize, depth: u32) -> Option<usize> {
        let mut from = Cursor { bytes: self.bytes, at };
        let number = match from.size()? {
            0 => new_shape(self.tables, &mut from)?,
            known => u32::try_from(known - 1).ok()?,
        };
        let shape = self.tables.shape(number)?;
        self.fill(Some(shape), from.at, depth)
    }

    /// Appends a whole number and remembers it as the hole's last one.
    #[inline(always)]
    fn whole(&mut self, negative: bool, magnitude: u64, hole: Option<usize>) {
        if let (Ok(value), Some(hole)) = (i64::try_from(magnitude), hole) {
            self.tables.set_previous(hole, if negative { -value } else { value });
        }
        if KEEP {
            digits::push_whole(self.out, negative, magnitude);
        }
    }

    /// Reads the rest of a decimal behind its tag. A decimal does not change the hole's last whole number.
    #[inline(always)]
    fn decimal(&mut self, from: &mut Cursor<'_>, tag: u8) -> Option<()> {
        let negative = tag >= tag::NEGATIVE_DECIMAL;
        let scale = tag - if negative { tag::NEGATIVE_DECIMAL } else { tag::DECIMAL };
        let mantissa = from.number()?;
        // Tags 0x30 to 0x3f are free, and count here as a scale of 17 or more.
        if scale >= 16 {
            return None;
        }
        if KEEP {
            digits::push_decimal(self.out, negative, mantissa, usize::from(scale) + 1);
        }
        Some(())
    }
}
