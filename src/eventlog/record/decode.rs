//! Reads records back from a block. Trusts nothing: a checksum keeps chance away, not malice, so every number is
//! checked and what a record may grow to is bounded.

use crate::config::EVENTLOG_RECORD_BYTES_MAX;
use crate::eventlog::tables::{Body, Form, Shape, Slice, Tables};
use crate::eventlog::varint::{self, Cursor};

use super::{ARRAY_DEPTH_MAX, NEAR_STRINGS, tag};

/// What stands before a record's payload.
pub(in crate::eventlog) struct Head {
    pub(in crate::eventlog) form: usize,
    pub(in crate::eventlog) step_ms: i64,
    /// The payload is no JSON.
    pub(in crate::eventlog) raw: bool,
}

/// Reads the records of one block in their order.
#[derive(Default)]
pub(in crate::eventlog) struct Decoder {
    tables: Tables,
}

impl Decoder {
    /// What follows does not refer to what came before.
    pub(in crate::eventlog) fn clear(&mut self) {
        self.tables.clear();
    }

    /// The channel of a form.
    pub(in crate::eventlog) fn channel<'a>(&self, block: &'a [u8], form: usize) -> &'a [u8] {
        self.tables.forms.get(form).map(|form| form.channel.of(block)).unwrap_or_default()
    }

    /// Reads one record and appends its payload. `None`: there is none. `from.bytes` is the block up to the end of the
    /// records that are known to be whole.
    pub(in crate::eventlog) fn next(&mut self, from: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<Head> {
        let form = match from.size()? {
            0 => self.new_form(from)?,
            number => number - 1,
        };
        let step_ms = varint::unfold(from.number()?);
        let body = self.tables.forms.get(form)?.body;
        match body {
            Body::Raw | Body::Text => {
                let len = from.size()?;
                out.extend_from_slice(from.take(len)?);
            }
            Body::Shape(shape) => {
                let shape = self.tables.shape(shape)?;
                let full = out.len().checked_add(EVENTLOG_RECORD_BYTES_MAX)?;
                Values { tables: &mut self.tables, from, out, full }.fill(shape, 0)?;
            }
        }
        Some(Head { form, step_ms, raw: body == Body::Raw })
    }

    fn new_form(&mut self, from: &mut Cursor<'_>) -> Option<usize> {
        let tag = from.byte()?;
        let channel = string(&mut self.tables, from, tag)?;
        let body = Body::from_code(from.number()?)?;
        if let Body::Shape(shape) = body
            && shape as usize >= self.tables.shapes.len()
        {
            if shape as usize > self.tables.shapes.len() {
                return None;
            }
            new_shape(&mut self.tables, from)?;
        }
        self.tables.forms.push(Form { channel, body });
        Some(self.tables.forms.len() - 1)
    }
}

fn new_shape(tables: &mut Tables, from: &mut Cursor<'_>) -> Option<u32> {
    let len = from.size()?;
    let at = from.at;
    from.take(len)?;
    Some(tables.add_shape(from.bytes, Slice::new(at, len)))
}

/// The place of the string that this tag and what follows it tell of.
#[inline]
fn string(tables: &mut Tables, from: &mut Cursor<'_>, tag: u8) -> Option<Slice> {
    let number = match tag {
        tag::NEAR.. => usize::from(tag - tag::NEAR),
        tag::FAR.. => NEAR_STRINGS + (usize::from(tag - tag::FAR) << 8 | usize::from(from.byte()?)),
        tag::NEW_STRING | tag::STRING => {
            let len = from.size()?;
            let place = Slice::new(from.at, len);
            from.take(len)?;
            if tag == tag::NEW_STRING {
                tables.strings.push(place);
            }
            return Some(place);
        }
        _ => return None,
    };
    tables.strings.get(number).copied()
}

/// Turns the values of one record into text.
struct Values<'t, 'c, 'b> {
    tables: &'t mut Tables,
    from: &'c mut Cursor<'b>,
    out: &'t mut Vec<u8>,
    /// The length that `out` may have.
    full: usize,
}

impl Values<'_, '_, '_> {
    /// Appends the skeleton with its values.
    fn fill(&mut self, shape: Shape, depth: u32) -> Option<()> {
        for hole in 0..shape.holes {
            let piece = self.tables.piece(shape, hole);
            self.out.extend_from_slice(piece.of(self.from.bytes));
            let tag = self.from.byte()?;
            self.value(tag, Some((shape.first_hole + hole) as usize), depth)?;
        }
        let piece = self.tables.piece(shape, shape.holes);
        self.out.extend_from_slice(piece.of(self.from.bytes));
        (self.out.len() <= self.full).then_some(())
    }

    #[inline]
    fn value(&mut self, tag: u8, hole: Option<usize>, depth: u32) -> Option<()> {
        match tag {
            tag::FAR.. | tag::NEW_STRING | tag::STRING => {
                let text = string(self.tables, self.from, tag)?.of(self.from.bytes);
                self.out.push(b'"');
                self.out.extend_from_slice(text);
                self.out.push(b'"');
            }
            tag::SMALL.. => self.whole(false, u64::from(tag - tag::SMALL), hole)?,
            tag::WHOLE => self.whole_of(false, hole)?,
            tag::NEGATIVE => self.whole_of(true, hole)?,
            tag::STEP => {
                let step = varint::unfold(self.from.number()?);
                let value = self.tables.previous(hole?)?.checked_add(step)?;
                self.whole(value < 0, value.unsigned_abs(), hole)?;
            }
            tag::DECIMAL..tag::SMALL => self.decimal(tag)?,
            tag::NULL => self.out.extend_from_slice(b"null"),
            tag::FALSE => self.out.extend_from_slice(b"false"),
            tag::TRUE => self.out.extend_from_slice(b"true"),
            tag::NUMBER => {
                let len = self.from.size()?;
                self.out.extend_from_slice(self.from.take(len)?);
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
        self.out.push(b'[');
        let mut first = true;
        loop {
            let tag = self.from.byte()?;
            if tag == tag::END {
                self.out.push(b']');
                return Some(());
            }
            if !first {
                self.out.push(b',');
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

    fn whole_of(&mut self, negative: bool, hole: Option<usize>) -> Option<()> {
        let magnitude = self.from.number()?;
        self.whole(negative, magnitude, hole)
    }

    #[inline]
    fn whole(&mut self, negative: bool, magnitude: u64, hole: Option<usize>) -> Option<()> {
        if let (Ok(value), Some(hole)) = (i64::try_from(magnitude), hole) {
            self.tables.set_previous(hole, if negative { -value } else { value });
        }
        if negative {
            self.out.push(b'-');
        }
        self.out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
        Some(())
    }

    /// The digits of the mantissa with the point before the last `scale` of them, and at least one digit before it.
    #[inline]
    fn decimal(&mut self, tag: u8) -> Option<()> {
        let (tag, negative) = if tag >= tag::NEGATIVE_DECIMAL { (tag - 0x10, true) } else { (tag, false) };
        // Tags 0x30 to 0x3f are free.
        let scale = usize::from(tag.checked_sub(tag::DECIMAL).filter(|scale| *scale < 16)?) + 1;
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.from.number()?).as_bytes();
        if negative {
            self.out.push(b'-');
        }
        match digits.len().checked_sub(scale) {
            Some(whole) if whole > 0 => {
                let (whole, fraction) = digits.split_at_checked(whole)?;
                self.out.extend_from_slice(whole);
                self.out.push(b'.');
                self.out.extend_from_slice(fraction);
            }
            _ => {
                self.out.extend_from_slice(b"0.");
                self.out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
                self.out.extend_from_slice(digits);
            }
        }
        Some(())
    }
}
