//! Lua tables to JSON text, and tapes (decoded JSON) to Lua tables; straight, with no tree in between.
//! Game thread, hot paths. [`push_json`] only reads and never raises: what needs Lua's memory or runs scripts is done under
//! pcall, before or after a walk. [`make`] runs between Lua frames: it owns nothing and cannot panic; it stops when the
//! tick has had enough, and goes on in a later one.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;

use crate::config::limits::{ENCODE_DEPTH_MAX, ENCODE_NODES_MAX, PAYLOAD_BYTES_MAX};
use crate::json::text;
use crate::lua::shield::{self, NESTED_MAX, Work, nested};
use crate::lua::stack::{
    LUA_TBOOLEAN, LUA_TLIGHTUSERDATA, LUA_TNIL, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE, LUA_TUSERDATA, Lua, SHIELD,
};

/// Bytes of a path shown in an error.
const PATH_BYTES_MAX: usize = 120;
const LEFT_OUT: &str = "[...]";

/// Why a value has no JSON. `Display` is the reason string that Emit returns.
#[derive(Clone)]
pub(super) struct EncodeError {
    /// From the value outwards: `.weapon`, `.attacker`.
    path: String,
    what: String,
    too_large: bool,
}

impl EncodeError {
    /// Boxed, so that a result without one is a register.
    #[cold]
    fn new(what: impl Into<String>) -> Box<EncodeError> {
        Box::new(EncodeError { path: String::new(), what: what.into(), too_large: false })
    }

    /// The text grew past its limit; any other error is a value that has no JSON.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large
    }

    #[cold]
    fn within(mut self: Box<EncodeError>, step: &str) -> Box<EncodeError> {
        if self.path.len() + step.len() <= PATH_BYTES_MAX {
            self.path.insert_str(0, step);
        } else if !self.path.starts_with(LEFT_OUT) {
            self.path.insert_str(0, LEFT_OUT);
        }
        self
    }
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = if self.too_large { "too_large" } else { "encode" };
        write!(f, "{code}: data{} {}", self.path, self.what)
    }
}

/// Appends the JSON of the value at `index` (absolute). `describe` is the index of the prelude's function that tells
/// what a userdata is; the caller's entry made [`crate::lua::stack::ROOM`]. Returns how many NaN and infinities became
/// `null`.
///
/// Describing a userdata runs scripts (a player's `Nick`), which may change the very table. So it is done when the walk
/// is over: a first walk counts the userdata, a second one, if there are any, collects them.
pub(super) fn push_json(lua: Lua, index: i32, describe: i32, out: &mut Vec<u8>) -> Result<u64, Box<EncodeError>> {
    let start = out.len();
    let mut encoder = Encoder::new(lua, out);
    encoder.value(index, 0)?;
    let Encoder { found, non_finite, .. } = encoder;
    if found == 0 {
        return Ok(non_finite);
    }
    out.truncate(start);
    let top = lua.top();
    let outcome = encode_described(lua, index, describe, found, out);
    lua.set_top(top);
    outcome
}

/// The same for a value with that many userdata in it.
fn encode_described(
    lua: Lua,
    index: i32,
    describe: i32,
    count: usize,
    out: &mut Vec<u8>,
) -> Result<u64, Box<EncodeError>> {
    let start = out.len();
    let room = i32::try_from(count).unwrap_or(i32::MAX);
    let list =
        new_table(lua, room).ok_or_else(|| EncodeError::new("has userdata, and Lua no memory for their list"))?;
    let mut again = Again::Collect { list, room: count, gaps: Vec::new() };
    let mut encoder = Encoder::new(lua, out);
    encoder.again = Some(&mut again);
    encoder.value(index, 0)?;
    let Encoder { nodes, mut non_finite, .. } = encoder;
    let Again::Collect { gaps, .. } = again else { return Err(EncodeError::new("was lost")) };
    let text = out.split_off(start);
    let mut filler = Encoder::new(lua, out);
    filler.nodes = nodes;
    // Each once: where its text stands, and the values that it counts for beside itself.
    let mut known: HashMap<*mut c_void, (Range<usize>, usize)> = HashMap::new();
    let mut at = 0;
    for (number, gap) in (1..).zip(&gaps) {
        filler.out.extend_from_slice(text.get(at..gap.at).unwrap_or_default());
        at = gap.at;
        lua.raw_get_index(list, number);
        let userdata = lua.top();
        let before = (filler.out.len(), filler.nodes);
        // Only what a script may have put there is none.
        let address = lua.userdata(userdata);
        let written = match known.get(&address) {
            Some((range, nodes)) => filler.repeat(range.clone(), *nodes, gap.depth),
            None => filler.describe(userdata, describe, gap.depth),
        };
        known.entry(address).or_insert((before.0..filler.out.len(), filler.nodes - before.1));
        lua.set_top(userdata - 1);
        if let Err(err) = written {
            return Err(with_path(lua, index, number as usize, err));
        }
    }
    filler.out.extend_from_slice(text.get(at..).unwrap_or_default());
    non_finite += filler.non_finite;
    filler.fits(0)?;
    Ok(non_finite)
}

/// An empty table on top of the stack: its index. `None`: Lua has no memory.
fn new_table(lua: Lua, room: i32) -> Option<i32> {
    for _ in 0..shield::ATTEMPTS_MAX {
        lua.push_value(SHIELD);
        if shield::run(lua, &mut Work::Table(room), 0, 1, 0) && lua.type_of(lua.top()) == LUA_TTABLE {
            return Some(lua.top());
        }
        lua.pop(1);
    }
    None
}

/// The error of the userdata of that number, with its path, which a walk up to it finds.
fn with_path(lua: Lua, index: i32, number: usize, err: Box<EncodeError>) -> Box<EncodeError> {
    let mut nowhere = Vec::new();
    let mut again = Again::Find { number, err: err.clone() };
    let mut encoder = Encoder::new(lua, &mut nowhere);
    encoder.again = Some(&mut again);
    // A table that was changed meanwhile may lead nowhere.
    encoder.value(index, 0).err().unwrap_or(err)
}

/// Where a userdata is to be described.
struct Gap {
    /// Byte of the text.
    at: usize,
    depth: usize,
}

/// One walk over a value. Nothing in it runs a script or takes memory of Lua.
struct Encoder<'a> {
    lua: Lua,
    bytes_max: usize,
    out: &'a mut Vec<u8>,
    nodes: usize,
    non_finite: u64,
    /// Userdata so far.
    found: usize,
    /// What a walk does with them that is not the first.
    again: Option<&'a mut Again>,
}

/// A walk after the first.
enum Again {
    /// The userdata are collected in a table with room for so many, and their places noted.
    Collect { list: i32, room: usize, gaps: Vec<Gap> },
    /// The one of this number cannot be described.
    Find { number: usize, err: Box<EncodeError> },
}

impl<'a> Encoder<'a> {
    fn new(lua: Lua, out: &'a mut Vec<u8>) -> Encoder<'a> {
        let bytes_max = out.len() + PAYLOAD_BYTES_MAX;
        Encoder { lua, bytes_max, out, nodes: 0, non_finite: 0, found: 0, again: None }
    }

    /// Checked before a text is copied, and once a value: the text passes its limit by the escapes of one string.
    #[inline(always)]
    fn fits(&self, more: usize) -> Result<(), Box<EncodeError>> {
        if self.out.len() + more > self.bytes_max { Err(Encoder::too_large()) } else { Ok(()) }
    }

    #[cold]
    fn too_large() -> Box<EncodeError> {
        let what = format!("passes {PAYLOAD_BYTES_MAX} bytes of text");
        Box::new(EncodeError { too_large: true, ..*EncodeError::new(what) })
    }

    #[cold]
    fn too_many() -> Box<EncodeError> {
        EncodeError::new(format!("is the value number {}, the limit", ENCODE_NODES_MAX + 1))
    }

    #[cold]
    fn too_deep() -> Box<EncodeError> {
        EncodeError::new(format!("is nested deeper than {ENCODE_DEPTH_MAX} levels (a cycle?)"))
    }

    fn value(&mut self, index: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        self.nodes += 1;
        if self.nodes > ENCODE_NODES_MAX {
            return Err(Encoder::too_many());
        }
        match self.lua.type_of(index) {
            LUA_TSTRING => return self.string(self.lua.bytes(index)),
            LUA_TNUMBER => self.number(index),
            LUA_TBOOLEAN => {
                let word: &[u8] = if self.lua.boolean(index) { b"true" } else { b"false" };
                self.out.extend_from_slice(word);
            }
            LUA_TTABLE if depth == ENCODE_DEPTH_MAX => return Err(Encoder::too_deep()),
            LUA_TTABLE => return self.table(index, depth + 1),
            LUA_TLIGHTUSERDATA if self.lua.userdata(index).is_null() => self.out.extend_from_slice(b"null"),
            LUA_TUSERDATA => return self.userdata(index, depth),
            kind => return Err(EncodeError::new(format!("is a {}", Lua::type_name(kind)))),
        }
        self.fits(0)
    }

    #[inline(always)]
    fn string(&mut self, bytes: &[u8]) -> Result<(), Box<EncodeError>> {
        self.fits(bytes.len())?;
        text::push_string(self.out, bytes);
        Ok(())
    }

    fn number(&mut self, index: i32) {
        self.non_finite += u64::from(!text::push_number(self.out, self.lua.number(index)));
    }

    /// Keys first, values after: a table whose values were written twice would double the work of every level.
    fn table(&mut self, table: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        let border = self.lua.raw_len(table);
        match border > 0 && self.is_sequence(table, border)? {
            true => self.elements(table, border, depth),
            false => self.object(table, depth),
        }
    }

    /// True if the keys are 1 to `border`, in any order, and no others. Looks at no more keys than there may be values.
    fn is_sequence(&self, table: i32, border: i32) -> Result<bool, Box<EncodeError>> {
        let most = i32::try_from(ENCODE_NODES_MAX - self.nodes).unwrap_or(i32::MAX);
        let mut count = 0;
        self.lua.push_nil();
        while self.lua.next(table) {
            self.lua.pop(1);
            let key = self.lua.top();
            let number = if self.lua.type_of(key) == LUA_TNUMBER { self.lua.number(key) } else { 0.0 };
            count += 1;
            if number.fract() != 0.0 || !(1.0..=f64::from(border)).contains(&number) {
                self.lua.pop(1);
                return Ok(false);
            }
            if count > most {
                return Err(Encoder::too_many().within(&format!("[{count}]")));
            }
        }
        Ok(count == border)
    }

    fn elements(&mut self, table: i32, border: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        self.out.push(b'[');
        for i in 1..=border {
            if i > 1 {
                self.out.push(b',');
            }
            self.lua.raw_get_index(table, i);
            self.value(self.lua.top(), depth).map_err(|err| err.within(&format!("[{i}]")))?;
            self.lua.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes an object; an empty table is `[]`, as GMod has it.
    fn object(&mut self, table: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        let start = self.out.len();
        let (mut numbers, mut texts) = (0, 0);
        self.out.push(b'{');
        self.lua.push_nil();
        while self.lua.next(table) {
            let value = self.lua.top();
            if self.out.len() > start + 1 {
                self.out.push(b',');
            }
            match self.lua.type_of(value - 1) {
                LUA_TSTRING => {
                    texts += 1;
                    self.string(self.lua.bytes(value - 1))?;
                }
                LUA_TNUMBER => {
                    numbers += 1;
                    text::push_number_key(self.out, self.lua.number(value - 1));
                }
                kind => return Err(EncodeError::new(format!("has a {} as a key", Lua::type_name(kind)))),
            }
            self.out.push(b':');
            self.value(value, depth).map_err(|err| err.within(&self.step(value - 1)))?;
            self.lua.pop(1);
        }
        if self.out.len() == start + 1 {
            self.out.truncate(start);
            self.out.extend_from_slice(b"[]");
            return Ok(());
        }
        self.out.push(b'}');
        match numbers > 0 && texts > 0 {
            true => self.refuse_collisions(table),
            false => Ok(()),
        }
    }

    /// A table with keys of both types: the number 5 and the text "5" would be one member, and one of them lost. Of each
    /// text that is how a number is written, the number is looked up.
    fn refuse_collisions(&self, table: i32) -> Result<(), Box<EncodeError>> {
        let mut written = Vec::new();
        self.lua.push_nil();
        while self.lua.next(table) {
            self.lua.pop(1);
            let Some(text) = self.lua.string(self.lua.top()) else { continue };
            let Some(number) = as_number(text) else { continue };
            written.clear();
            text::push_number_key(&mut written, number);
            if written.get(1..written.len().saturating_sub(1)) != Some(text) {
                continue;
            }
            self.lua.push_number(number);
            self.lua.raw_get(table);
            let is_there = self.lua.type_of(self.lua.top()) != LUA_TNIL;
            self.lua.pop(1);
            if is_there {
                let key = shown(&written);
                return Err(EncodeError::new(format!("has the key {key} twice, as a number and as a string")));
            }
        }
        Ok(())
    }

    /// How an error's path names the member whose key is at `key`.
    fn step(&self, key: i32) -> String {
        let mut step = Vec::new();
        if self.lua.type_of(key) == LUA_TNUMBER {
            text::push_number_key(&mut step, self.lua.number(key));
            return format!("[{}]", shown(&step).trim_matches('"'));
        }
        format!(".{}", shown(self.lua.bytes(key)))
    }

    /// A vector, angle or entity: left out here, and collected in the second walk.
    fn userdata(&mut self, index: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        self.found += 1;
        match &mut self.again {
            None => {}
            Some(Again::Find { number, err }) if *number == self.found => return Err(err.clone()),
            Some(Again::Find { .. }) => {}
            Some(Again::Collect { room, .. }) if self.found > *room => {
                return Err(EncodeError::new("was changed while it was read"));
            }
            Some(Again::Collect { list, gaps, .. }) => {
                self.lua.push_value(index);
                // There is room: nothing is allocated. `room` came from an i32.
                self.lua.raw_set_index(*list, self.found as i32);
                gaps.push(Gap { at: self.out.len(), depth });
            }
        }
        Ok(())
    }

    /// Writes once more what was written for the same userdata.
    fn repeat(&mut self, range: Range<usize>, nodes: usize, depth: usize) -> Result<(), Box<EncodeError>> {
        self.fits(range.len())?;
        self.members_fit(nodes, depth)?;
        self.out.extend_from_within(range);
        Ok(())
    }

    /// Writes a userdata, which Lua code tells apart.
    fn describe(&mut self, index: i32, describe: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        let lua = self.lua;
        let top = lua.top();
        lua.push_value(describe);
        lua.push_value(index);
        // An error of `Nick` and its like leaves its message in the place of the kind.
        let Some(described) = nested(|| lua.pcall(1, 4, 0)) else {
            return Err(EncodeError::new(format!(
                "cannot be told apart: doing so (`Nick`) called the module again, {NESTED_MAX} times inside each other"
            )));
        };
        let written = if described { self.described(top + 1, depth)? } else { false };
        let failed = || match lua.string(top + 1) {
            Some(kind) => format!("is a {}", shown(kind)),
            None => "is a userdata".to_owned(),
        };
        if written { Ok(()) } else { Err(EncodeError::new(failed())) }
    }

    /// Writes what `describe` returned at `first`: a kind, then up to three values. False: an unknown kind.
    fn described(&mut self, first: i32, depth: usize) -> Result<bool, Box<EncodeError>> {
        let lua = self.lua;
        match lua.string(first) {
            Some(kind @ (b"vector" | b"angle")) => {
                let [open, close] = if kind == b"vector" { [b'[', b']'] } else { [b'{', b'}'] };
                self.out.extend_from_slice(&[b'"', open]);
                for i in 1..=3 {
                    if i > 1 {
                        self.out.push(b' ');
                    }
                    text::push_g9(self.out, lua.number(first + i));
                }
                self.out.extend_from_slice(&[close, b'"']);
            }
            Some(b"player") => self.members(first, &["steamid64", "name", "userid"], depth)?,
            Some(b"entity") => self.members(first, &["class", "index"], depth)?,
            Some(b"null") => self.out.extend_from_slice(b"null"),
            _ => return Ok(false),
        }
        self.fits(0)?;
        Ok(true)
    }

    /// What is written as an object counts as one: whoever decodes it has the same limits.
    fn members(&mut self, first: i32, names: &[&str], depth: usize) -> Result<(), Box<EncodeError>> {
        self.members_fit(names.len(), depth)?;
        let befores = std::iter::once(b'{').chain(std::iter::repeat(b','));
        for ((name, at), before) in names.iter().zip(first + 1..).zip(befores) {
            self.out.push(before);
            text::push_string(self.out, name.as_bytes());
            self.out.push(b':');
            match self.lua.type_of(at) {
                LUA_TSTRING => self.string(self.lua.bytes(at))?,
                LUA_TNUMBER => self.number(at),
                _ => self.out.extend_from_slice(b"null"),
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// So many values more, in an object that stands at this depth; none: it is no object.
    fn members_fit(&mut self, count: usize, depth: usize) -> Result<(), Box<EncodeError>> {
        if count > 0 && depth == ENCODE_DEPTH_MAX {
            return Err(Encoder::too_deep());
        }
        self.nodes += count;
        if self.nodes > ENCODE_NODES_MAX { Err(Encoder::too_many()) } else { Ok(()) }
    }
}

/// The number that a text may be written for: one with a digit or `inf`.
fn as_number(text: &[u8]) -> Option<f64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    // The longest number in JSON's shortest form has 24 bytes.
    if text.len() > 32 || !matches!(digits.first(), Some(b'0'..=b'9' | b'i')) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Bytes of a script's own names in an error: short, and valid text.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes)).into_owned();
    if bytes.len() > 40 {
        text.push_str("...");
    }
    text
}

/// The types of values that Emit takes.
pub(super) fn can_start(kind: i32) -> bool {
    matches!(kind, LUA_TTABLE | LUA_TSTRING | LUA_TNUMBER | LUA_TBOOLEAN)
}
