//! Reads records back from a block. Trusts nothing: a checksum keeps chance away, not malice, so every number is
//! checked and what a record may grow to is bounded.
//! A record that is not wanted is gone over without making its text; the tables learn from it all the same.

use crate::eventlog::digits;
use crate::eventlog::format::{ARRAY_DEPTH_MAX, EVENTLOG_RECORD_BYTES_MAX, NEAR_STRINGS, tag};
use crate::eventlog::tables::{PayloadKind, RecordForm, Shape, Slice, Tables};
use crate::eventlog::varint::{self, Cursor};

/// What stands before a record's payload.
pub(in crate::eventlog) struct RecordHead {
    pub(in crate::eventlog) form: usize,
    pub(in crate::eventlog) step_ms: i64,
    body: PayloadKind,
}

impl RecordHead {
    /// The payload is no JSON.
    pub(in crate::eventlog) fn is_raw(&self) -> bool {
        self.body == PayloadKind::Raw
    }
}

/// Reads the records of one block in their order: of each the head, then its payload.
/// `from.bytes` is the block up to the end of the records that are known to be whole. `None`: there is no record.
#[derive(Default)]
pub(in crate::eventlog) struct RecordDecoder {
    tables: Tables,
}

impl RecordDecoder {
    /// What follows does not refer to what came before.
    pub(in crate::eventlog) fn clear(&mut self) {
        self.tables.clear();
    }

    /// The channel of a form.
    pub(in crate::eventlog) fn channel<'a>(&self, block: &'a [u8], form: usize) -> &'a [u8] {
        self.tables.forms.get(form).map(|form| form.channel.of(block)).unwrap_or_default()
    }

    #[inline]
    pub(in crate::eventlog) fn head(&mut self, from: &mut Cursor<'_>) -> Option<RecordHead> {
        let form = match from.size()? {
            0 => self.new_form(from)?,
            number => number - 1,
        };
        let step_ms = varint::unfold(from.number()?);
        Some(RecordHead { form, step_ms, body: self.tables.forms.get(form)?.body })
    }

    /// Appends the payload to `out`.
    #[inline]
    pub(in crate::eventlog) fn payload(
        &mut self,
        head: &RecordHead,
        from: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        self.values::<true>(head, from, out)
    }

    /// Goes over the payload.
    #[inline]
    pub(in crate::eventlog) fn skip(&mut self, head: &RecordHead, from: &mut Cursor<'_>) -> Option<()> {
        self.values::<false>(head, from, &mut Vec::new())
    }

    #[inline]
    fn values<const KEEP: bool>(&mut self, head: &RecordHead, from: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<()> {
        let PayloadKind::Shape(shape) = head.body else {
            let len = from.size()?;
            let bytes = from.take(len)?;
            if KEEP {
                out.extend_from_slice(bytes);
            }
            return Some(());
        };
        let shape = self.tables.shape(shape)?;
        let full = out.len().checked_add(EVENTLOG_RECORD_BYTES_MAX)?;
        Values::<KEEP> { tables: &mut self.tables, from, out, full }.fill(shape, 0)
    }

    fn new_form(&mut self, from: &mut Cursor<'_>) -> Option<usize> {
        let tag = from.byte()?;
        let channel = string(&mut self.tables, from, tag)?;
        let body = PayloadKind::from_code(from.number()?)?;
        if let PayloadKind::Shape(shape) = body
            && shape as usize >= self.tables.shapes.len()
        {
            if shape as usize > self.tables.shapes.len() {
                return None;
            }
            new_shape(&mut self.tables, from)?;
        }
        if !self.tables.have_room(b"") {
            return None;
        }
        self.tables.forms.push(RecordForm { channel, body });
        Some(self.tables.forms.len() - 1)
    }
}

fn new_shape(tables: &mut Tables, from: &mut Cursor<'_>) -> Option<u32> {
    let skeleton = take_slice(from)?;
    tables.have_room(skeleton.of(from.bytes)).then(|| tables.add_shape(from.bytes, skeleton))
}

/// A length and so many bytes.
fn take_slice(from: &mut Cursor<'_>) -> Option<Slice> {
    let len = from.size()?;
    let at = from.at;
    from.take(len)?;
    Some(Slice::new(from.bytes, at, len))
}

/// The string that this tag and what follows it tell of.
#[inline]
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

/// Turns the values of one record into text, if it is kept.
struct Values<'t, 'c, 'b, const KEEP: bool> {
    tables: &'t mut Tables,
    from: &'c mut Cursor<'b>,
    out: &'t mut Vec<u8>,
    /// The length that `out` may have.
    full: usize,
}

impl<const KEEP: bool> Values<'_, '_, '_, KEEP> {
    /// Appends the skeleton with its values.
    fn fill(&mut self, shape: Shape, depth: u32) -> Option<()> {
        for hole in 0..shape.holes {
            self.push_slice(self.tables.piece(shape, hole));
            let tag = self.from.byte()?;
            self.value(tag, Some((shape.first_hole + hole) as usize), depth)?;
            // After each: a string of many bytes may be named by one.
            if self.out.len() > self.full {
                return None;
            }
        }
        self.push_slice(self.tables.piece(shape, shape.holes));
        (self.out.len() <= self.full).then_some(())
    }

    #[inline]
    fn push_slice(&mut self, slice: Slice) {
        if KEEP {
            slice.push_to(self.from.bytes, self.out);
        }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if KEEP {
            self.out.extend_from_slice(bytes);
        }
    }

    #[inline]
    fn value(&mut self, tag: u8, hole: Option<usize>, depth: u32) -> Option<()> {
        match tag {
            tag::FAR.. | tag::NEW_STRING | tag::STRING => {
                let text = string(self.tables, self.from, tag)?;
                if KEEP {
                    text.push_quoted_to(self.from.bytes, self.out);
                }
            }
            tag::SMALL.. => self.whole(false, u64::from(tag - tag::SMALL), hole),
            tag::DECIMAL..tag::SMALL => self.decimal(tag)?,
            tag::STEP => {
                let step = varint::unfold(self.from.number()?);
                let value = self.tables.previous(hole?)?.checked_add(step)?;
                self.whole(value < 0, value.unsigned_abs(), hole);
            }
            tag::WHOLE | tag::NEGATIVE => {
                let magnitude = self.from.number()?;
                self.whole(tag == tag::NEGATIVE, magnitude, hole);
            }
            tag::NULL => self.push(b"null"),
            tag::FALSE => self.push(b"false"),
            tag::TRUE => self.push(b"true"),
            tag::NUMBER => {
                let text = take_slice(self.from)?;
                self.push_slice(text);
            }
            tag::ARRAY => self.array(depth)?,
            _ => return None,
        }
        Some(())
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        if depth >= ARRAY_DEPTH_MAX {
            return None;
        }
        self.push(b"[");
        let mut first = true;
        loop {
            let tag = self.from.byte()?;
            if tag == tag::END {
                self.push(b"]");
                return Some(());
            }
            if !first {
                self.push(b",");
            }
            first = false;
            match tag {
                tag::OBJECT => self.object(depth + 1)?,
                _ => self.value(tag, None, depth + 1)?,
            }
            if self.out.len() > self.full {
                return None;
            }
        }
    }

    fn object(&mut self, depth: u32) -> Option<()> {
        let number = match self.from.size()? {
            0 => new_shape(self.tables, self.from)?,
            known => u32::try_from(known - 1).ok()?,
        };
        let shape = self.tables.shape(number)?;
        self.fill(shape, depth)
    }

    #[inline]
    fn whole(&mut self, negative: bool, magnitude: u64, hole: Option<usize>) {
        if let (Ok(value), Some(hole)) = (i64::try_from(magnitude), hole) {
            self.tables.set_previous(hole, if negative { -value } else { value });
        }
        if KEEP {
            digits::push_whole(self.out, negative, magnitude);
        }
    }

    #[inline]
    fn decimal(&mut self, tag: u8) -> Option<()> {
        let negative = tag >= tag::NEGATIVE_DECIMAL;
        let scale = tag - if negative { tag::NEGATIVE_DECIMAL } else { tag::DECIMAL };
        let mantissa = self.from.number()?;
        // Tags 0x30 to 0x3f are free.
        if scale >= 16 {
            return None;
        }
        if KEEP {
            digits::push_decimal(self.out, negative, mantissa, usize::from(scale) + 1);
        }
        Some(())
    }
}
