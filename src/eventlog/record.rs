//! One record inside a chunk: the number of its form, its time, and a value for each hole of its shape (`mod.rs`,
//! Records). [`RecordEncoder`] runs on `rt-files`, [`RecordDecoder`] on the thread of the reader. The encoder first
//! assumes that a record has the form of the last record of its channel, and compares the payload with that shape
//! instead of parsing it. Only a payload that differs is parsed. Once the tables have grown, a record allocates
//! nothing.

use crate::eventlog::format::{
    ARRAY_DEPTH_MAX, EVENTLOG_BLOCK_TEXT_BYTES_MAX, NEAR_STRINGS, SMALL_MAX, STRINGS_MAX, tag,
};
use crate::eventlog::scan::{self, Number};
use crate::eventlog::tables::{Finder, Mark, PayloadKind, RecordForm, Shape, Slice, Tables, cut, hash, window};
use crate::eventlog::varint;

mod decode;

pub(super) use decode::RecordDecoder;

/// Largest payload that is split into skeleton and values, after its white space is removed. Larger ones are rare,
/// differ from each other, and would fill a block alone.
const EVENTLOG_SHAPED_BYTES_MAX: usize = 12 * 1024;
/// Longest skeleton that gets a number. A later record of two bytes can stand for the whole skeleton, so this bounds
/// how much text a block of such records expands to.
const EVENTLOG_SKELETON_BYTES_MAX: usize = 2048;
// A record takes at least two bytes, so a unit has at most 16 Ki records that each expand to a whole skeleton.
const _: () = assert!(16 * 1024 * EVENTLOG_SKELETON_BYTES_MAX < EVENTLOG_BLOCK_TEXT_BYTES_MAX);

/// Longest string that gets a number: longer ones seldom repeat.
const NUMBERED_BYTES_MAX: usize = 64;

/// The reason why a payload does not match the shape that the encoder tries.
enum Miss {
    /// The text does not fit the shape; another shape may fit.
    Other,
    /// The arrays are too deep or a skeleton is too long for any shape: the payload is stored as text.
    TooMuch,
}

/// Encodes records into a block, and gives numbers to the forms, shapes and strings that it writes.
///
/// ```text
/// payload ──▶ form of the channel's last record fits? ──yes──▶ number, time, values
///                       │ no
///                       ▼
///             JSON, not too long or deep? ──yes──▶ known shape: its number; else its skeleton, then the values
///                       │ no
///                       ▼
///             the payload's bytes, marked as JSON or not
/// ```
pub(super) struct RecordEncoder {
    tables: Tables,
    /// The finders below map content to the number of a table entry. They may forget an entry, and the encoder then
    /// writes the content once more.
    strings: Finder,
    shapes: Finder,
    /// From a channel to the form of its last record.
    channels: Finder,
    /// From a channel and a payload kind to their form.
    forms: Finder,
    /// Form of the last record, of any channel. It is tried first, before the channel is looked up.
    last_form: usize,
    /// Buffers for the payload without white space and for its skeleton, kept from record to record.
    normal: Vec<u8>,
    skeleton: Vec<u8>,
}

impl RecordEncoder {
    /// An encoder with empty tables.
    pub(super) fn new() -> RecordEncoder {
        RecordEncoder {
            tables: Tables::default(),
            strings: Finder::new(4096),
            shapes: Finder::new(256),
            channels: Finder::new(256),
            forms: Finder::new(256),
            last_form: 0,
            normal: Vec::new(),
            skeleton: Vec::new(),
        }
    }

    /// Empties all tables: the next chunk is a fresh one, which refers to nothing before it.
    pub(super) fn clear(&mut self) {
        self.tables.clear();
        for finder in [&mut self.strings, &mut self.shapes, &mut self.channels, &mut self.forms] {
            finder.clear();
        }
    }

    /// Begins a record. Returns the mark with which [`RecordEncoder::back_to`] removes it again.
    pub(super) fn begin(&mut self, block: &[u8]) -> Mark {
        self.tables.begin();
        self.tables.mark(block)
    }

    /// Removes everything behind the mark from the block and from the tables.
    pub(super) fn back_to(&mut self, mark: Mark, block: &mut Vec<u8>) {
        self.tables.back_to(mark, block);
    }

    /// Appends a record. `mark` is that of [`RecordEncoder::begin`], `step_ms` its time minus the time of the previous
    /// record, or of the header.
    #[optimize(speed)]
    pub(super) fn push(&mut self, block: &mut Vec<u8>, mark: Mark, step_ms: i64, channel: &[u8], payload: &[u8]) {
        let likely = self.likely_form(block, channel);
        if let Some(number) = likely
            && self.push_as(block, mark, step_ms, number, payload)
        {
            self.last_form = number;
            return;
        }
        let mut normal = std::mem::take(&mut self.normal);
        normal.clear();
        let is_json = scan::normalise(payload, &mut normal).is_some();
        if !is_json || normal.len() > EVENTLOG_SHAPED_BYTES_MAX || !self.push_shaped(block, step_ms, channel, &normal) {
            self.push_verbatim(block, step_ms, channel, payload, is_json);
        }
        self.normal = normal;
    }

    /// Appends a record whose payload is stored as its bytes. `is_json` is kept with it, so that a reader knows which
    /// it is.
    pub(super) fn push_verbatim(
        &mut self,
        block: &mut Vec<u8>,
        step_ms: i64,
        channel: &[u8],
        payload: &[u8],
        is_json: bool,
    ) {
        let kind = if is_json { PayloadKind::Text } else { PayloadKind::Raw };
        match self.find_form(block, channel, kind) {
            Some(form) => varint::put(block, form as u64 + 1),
            None => {
                let place = self.push_channel(block, channel);
                varint::put(block, kind.code());
                self.add_form(place, channel, kind);
            }
        }
        varint::put(block, varint::fold(step_ms));
        varint::put(block, payload.len() as u64);
        block.extend_from_slice(payload);
    }

    /// The form of the channel's last record, if the finder still knows it.
    #[inline(always)]
    fn likely_form(&self, block: &[u8], channel: &[u8]) -> Option<usize> {
        let head = cut(window(channel), channel.len());
        // Compares the bytes themselves: a finder returns candidates by their hash.
        let is = |form: usize| self.tables.forms.get(form).is_some_and(|form| form.channel.is(block, channel, head));
        if is(self.last_form) {
            return Some(self.last_form);
        }
        self.channels.candidates(hash(channel, head)).into_iter().flatten().find(|form| is(*form))
    }

    /// Appends a record of this form. Returns false and appends nothing if the payload does not fit the form's shape.
    #[inline(always)]
    fn push_as(&mut self, block: &mut Vec<u8>, mark: Mark, step_ms: i64, number: usize, payload: &[u8]) -> bool {
        let Some(RecordForm { kind: PayloadKind::Shape(shape), .. }) = self.tables.forms.get(number) else {
            return false;
        };
        let Some(shape) = self.tables.shape(*shape) else { return false };
        varint::put(block, number as u64 + 1);
        varint::put(block, varint::fold(step_ms));
        // The shape fits only if nothing is left of the payload, so a payload with outer white space is normalised
        // first.
        if matches!(self.fill(block, Some(shape), payload, 0), Ok([])) {
            return true;
        }
        self.tables.back_to(mark, block);
        false
    }

    /// Appends a record whose payload fits no form that the encoder tried. `normal` is JSON without white space.
    /// Returns false and appends nothing if the payload is too deep or its skeleton too long.
    fn push_shaped(&mut self, block: &mut Vec<u8>, step_ms: i64, channel: &[u8], normal: &[u8]) -> bool {
        let mark = self.tables.mark(block);
        let mut skeleton = std::mem::take(&mut self.skeleton);
        skeleton.clear();
        let whole = scan::skeleton(normal, &mut skeleton);
        if skeleton.len() > EVENTLOG_SKELETON_BYTES_MAX {
            self.skeleton = skeleton;
            return false;
        }
        // A known shape may still be new for this channel: then the form is new, and its skeleton need not be
        // written.
        let known = self.find_shape(block, &skeleton);
        let form = known.and_then(|shape| self.find_form(block, channel, PayloadKind::Shape(shape)));
        let mut shape = known;
        match form {
            Some(form) => varint::put(block, form as u64 + 1),
            None => {
                let place = self.push_channel(block, channel);
                let next = self.tables.shapes.len() as u32;
                varint::put(block, PayloadKind::Shape(known.unwrap_or(next)).code());
                let number = known.unwrap_or_else(|| self.push_skeleton(block, &skeleton));
                self.add_form(place, channel, PayloadKind::Shape(number));
                shape = Some(number);
            }
        }
        self.skeleton = skeleton;
        varint::put(block, varint::fold(step_ms));
        let shape = shape.and_then(|shape| self.tables.shape(shape));
        // `fill` fails here only for arrays that are too deep or hold objects with too long skeletons: the normalised
        // text fits its own skeleton.
        if let (Some(()), Some(shape)) = (whole, shape)
            && matches!(self.fill(block, Some(shape), normal, 0), Ok([]))
        {
            return true;
        }
        self.tables.back_to(mark, block);
        false
    }

    /// Appends the values that `text` has for the holes of the shape. Without a shape it appends the single value at the
    /// start of `text`, an element of an array: so both share the code that writes a value. Returns the text behind.
    #[optimize(speed)]
    fn fill<'t>(
        &mut self,
        block: &mut Vec<u8>,
        shape: Option<Shape>,
        text: &'t [u8],
        depth: u32,
    ) -> Result<&'t [u8], Miss> {
        let mut rest = text;
        for hole in 0..shape.map_or(1, |shape| shape.holes) {
            let value = match shape {
                Some(shape) => self.after_piece(block, shape, hole, rest)?,
                None => rest,
            };
            rest = match value.first() {
                Some(b'"') => self.push_quoted(block, value).ok_or(Miss::Other)?,
                Some(b'[') => self.push_array(block, value, depth)?,
                _ => {
                    let hole = shape.map(|shape| (shape.first_hole + hole) as usize);
                    self.push_bare(block, value, hole).ok_or(Miss::Other)?
                }
            };
        }
        match shape {
            Some(shape) => self.after_piece(block, shape, shape.holes, rest),
            None => Ok(rest),
        }
    }

    /// The text behind the piece of skeleton that precedes this hole. [`Miss::Other`] if `text` does not begin with
    /// it.
    #[inline(always)]
    fn after_piece<'t>(&self, block: &[u8], shape: Shape, hole: u32, text: &'t [u8]) -> Result<&'t [u8], Miss> {
        self.tables.piece(shape, hole).and_then(|piece| piece.behind(block, text)).ok_or(Miss::Other)
    }

    /// Appends the array at the start of `text`. Returns the text behind it.
    fn push_array<'t>(&mut self, block: &mut Vec<u8>, text: &'t [u8], depth: u32) -> Result<&'t [u8], Miss> {
        if depth >= ARRAY_DEPTH_MAX {
            return Err(Miss::TooMuch);
        }
        block.push(tag::ARRAY);
        let mut rest = text.get(1..).unwrap_or_default();
        // Elements of an array usually have the same shape: each object is compared with the shape of the one before.
        let mut likely = None;
        // An empty array would otherwise look like a missing scalar.
        if let Some(rest) = rest.strip_prefix(b"]") {
            block.push(tag::END);
            return Ok(rest);
        }
        loop {
            rest = match rest.first() {
                Some(b'{') => self.push_object(block, rest, &mut likely, depth + 1)?,
                _ => self.fill(block, None, rest, depth + 1)?,
            };
            match rest.split_first() {
                Some((b',', more)) => rest = more,
                Some((b']', more)) => {
                    block.push(tag::END);
                    return Ok(more);
                }
                _ => return Err(Miss::Other),
            }
        }
    }

    /// Appends the object at the start of `text`, an element of an array. Returns the text behind it. `likely` is the
    /// shape of the object before it in the same array, and becomes that of this object.
    fn push_object<'t>(
        &mut self,
        block: &mut Vec<u8>,
        text: &'t [u8],
        likely: &mut Option<u32>,
        depth: u32,
    ) -> Result<&'t [u8], Miss> {
        block.push(tag::OBJECT);
        if let Some(number) = *likely
            && let Some(shape) = self.tables.shape(number)
        {
            let mark = self.tables.mark(block);
            varint::put(block, u64::from(number) + 1);
            match self.fill(block, Some(shape), text, depth) {
                Err(Miss::Other) => self.tables.back_to(mark, block),
                other => return other,
            }
        }
        let mut skeleton = std::mem::take(&mut self.skeleton);
        skeleton.clear();
        let whole = scan::skeleton(text, &mut skeleton);
        if skeleton.len() > EVENTLOG_SKELETON_BYTES_MAX {
            self.skeleton = skeleton;
            return Err(Miss::TooMuch);
        }
        let number = match self.find_shape(block, &skeleton) {
            Some(known) => {
                varint::put(block, u64::from(known) + 1);
                known
            }
            None => {
                block.push(0);
                self.push_skeleton(block, &skeleton)
            }
        };
        self.skeleton = skeleton;
        whole.ok_or(Miss::Other)?;
        *likely = Some(number);
        let shape = self.tables.shape(number).ok_or(Miss::Other)?;
        self.fill(block, Some(shape), text, depth)
    }

    /// Appends the number or word at the start of `text`. Returns the text behind it; `None` if neither stands there.
    /// `hole` is the index of the hole's last whole number in the tables; elements of arrays have none.
    #[inline(always)]
    fn push_bare<'t>(&mut self, block: &mut Vec<u8>, text: &'t [u8], hole: Option<usize>) -> Option<&'t [u8]> {
        match text.first()? {
            b'-' | b'0'..=b'9' => {
                let (number, len) = scan::number(text)?;
                self.push_number(block, number, hole);
                text.get(len..)
            }
            first => {
                let tag = match first {
                    b't' => tag::TRUE,
                    b'f' => tag::FALSE,
                    _ => tag::NULL,
                };
                let len = scan::scalar_len(text)?;
                block.push(tag);
                text.get(len..)
            }
        }
    }

    /// Appends a number in the shortest encoding that reproduces its digits.
    #[inline(always)]
    fn push_number(&mut self, block: &mut Vec<u8>, number: Number<'_>, hole: Option<usize>) {
        match number {
            Number::Whole { negative, magnitude } => self.push_whole(block, negative, magnitude, hole),
            Number::Decimal { negative, mantissa, scale } => {
                let tag = if negative { tag::NEGATIVE_DECIMAL } else { tag::DECIMAL };
                varint::put_tagged(block, tag + scale - 1, mantissa);
            }
            Number::Text(text) => {
                push_bytes(block, tag::NUMBER, text);
            }
        }
    }

    /// Appends a whole number: in its tag if it is small, as the difference from the last one in this hole if that is
    /// shorter, in full otherwise.
    #[inline(always)]
    fn push_whole(&mut self, block: &mut Vec<u8>, negative: bool, magnitude: u64, hole: Option<usize>) {
        // Differences are computed on signed 64-bit numbers; a larger number is no base for them, and none is stored
        // for it.
        let value = match (i64::try_from(magnitude), negative) {
            (Ok(value), true) => Some(-value),
            (Ok(value), false) => Some(value),
            (Err(_), _) => None,
        };
        let mut step = None;
        if let (Some(value), Some(hole)) = (value, hole)
            && let Some(previous) = self.tables.replace_previous(hole, value)
        {
            step = value.checked_sub(previous).map(varint::fold);
        }
        match step {
            // The order is by length: one byte, then a shorter difference, then the number itself.
            _ if magnitude <= SMALL_MAX && !negative => block.push(tag::SMALL + magnitude as u8),
            Some(step) if varint::len(step) < varint::len(magnitude) => varint::put_tagged(block, tag::STEP, step),
            _ => varint::put_tagged(block, if negative { tag::NEGATIVE } else { tag::WHOLE }, magnitude),
        }
    }

    /// Appends the string at the start of `text`. Returns the text behind its closing quote.
    #[inline(always)]
    fn push_quoted<'t>(&mut self, block: &mut Vec<u8>, text: &'t [u8]) -> Option<&'t [u8]> {
        let inside = text.get(1..)?;
        let window = window(inside);
        let mut len = scan::plain_len(window);
        // The string is longer than the window or contains an escape.
        if inside.get(len) != Some(&b'"') {
            len = scan::string_len(text)? - 2;
        }
        let (string, rest) = inside.split_at_checked(len)?;
        self.push_string(block, string, cut(window, len));
        rest.get(1..)
    }

    /// Appends a string, or its number if the tables have it. Returns the place of its bytes in the block. `head` is
    /// the string's first 16 bytes as [`window`] and [`cut`] make them.
    #[inline(always)]
    fn push_string(&mut self, block: &mut Vec<u8>, text: &[u8], head: u128) -> Slice {
        if text.len() > NUMBERED_BYTES_MAX {
            return push_bytes(block, tag::STRING, text);
        }
        let hash = hash(text, head);
        for number in self.strings.candidates(hash).into_iter().flatten() {
            if let Some(string) = self.tables.strings.get(number)
                && string.is(block, text, head)
            {
                match number.checked_sub(NEAR_STRINGS) {
                    None => block.push(tag::NEAR + number as u8),
                    Some(far) => block.extend_from_slice(&[tag::FAR + (far >> 8) as u8, far as u8]),
                }
                return *string;
            }
        }
        // Once all numbers are taken, strings are written in full until the tables are cleared.
        let number = self.tables.strings.len();
        if number >= STRINGS_MAX {
            return push_bytes(block, tag::STRING, text);
        }
        let string = push_bytes(block, tag::NEW_STRING, text);
        self.tables.strings.push(string);
        self.strings.insert(hash, number);
        string
    }

    /// Begins a record of a new form: the mark 0 and the channel. Returns the place of the channel.
    fn push_channel(&mut self, block: &mut Vec<u8>, channel: &[u8]) -> Slice {
        block.push(0);
        self.push_string(block, channel, cut(window(channel), channel.len()))
    }

    /// Appends a skeleton and makes it the next shape. Returns the number of the shape.
    fn push_skeleton(&mut self, block: &mut Vec<u8>, skeleton: &[u8]) -> u32 {
        varint::put(block, skeleton.len() as u64);
        block.extend_from_slice(skeleton);
        let slice = Slice::new(block, block.len() - skeleton.len(), skeleton.len());
        let shape = self.tables.add_shape(block, slice);
        self.shapes.insert(hash_of(skeleton), shape as usize);
        shape
    }

    /// The number of the shape with this skeleton, if the finder still knows it.
    fn find_shape(&self, block: &[u8], skeleton: &[u8]) -> Option<u32> {
        let is =
            |shape: &usize| self.tables.shapes.get(*shape).is_some_and(|shape| shape.skeleton.of(block) == skeleton);
        self.shapes.candidates(hash_of(skeleton)).into_iter().flatten().find(is).map(|shape| shape as u32)
    }

    /// The form of this channel and payload kind, if the finder still knows it; it becomes the channel's last form.
    fn find_form(&mut self, block: &[u8], channel: &[u8], kind: PayloadKind) -> Option<usize> {
        let is = |form: &usize| {
            self.tables.forms.get(*form).is_some_and(|form| form.kind == kind && form.channel.of(block) == channel)
        };
        let channel_hash = hash_of(channel);
        let found = self.forms.candidates(form_hash(channel_hash, kind)).into_iter().flatten().find(is);
        if let Some(form) = found {
            self.last_form = form;
            self.channels.insert(channel_hash, form);
        }
        found
    }

    /// Makes a channel and payload kind the next form, and the channel's last one.
    fn add_form(&mut self, place: Slice, channel: &[u8], kind: PayloadKind) {
        let number = self.tables.forms.len();
        self.tables.forms.push(RecordForm { channel: place, kind });
        let channel_hash = hash_of(channel);
        self.forms.insert(form_hash(channel_hash, kind), number);
        self.channels.insert(channel_hash, number);
        self.last_form = number;
    }
}

/// The hash of bytes whose head the caller does not have yet.
fn hash_of(bytes: &[u8]) -> u64 {
    hash(bytes, cut(window(bytes), bytes.len()))
}

/// The hash of a channel together with a payload kind.
fn form_hash(channel_hash: u64, kind: PayloadKind) -> u64 {
    // The multiplication carries the low bits of the code into the high ones, which a finder uses.
    channel_hash ^ kind.code().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Appends a tag, a length and bytes. Returns the place of the bytes.
fn push_bytes(block: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Slice {
    block.push(tag);
    varint::put(block, bytes.len() as u64);
    block.extend_from_slice(bytes);
    Slice::new(block, block.len() - bytes.len(), bytes.len())
}
