//! Lua tables to JSON text, and tapes (decoded JSON) to Lua tables; straight, with no tree in between.
//! Game thread, hot paths. [`encode`] only reads and never raises (a userdata is described by Lua code under pcall);
//! [`push`] runs between Lua frames: it owns nothing and cannot panic.

use crate::config::{ENCODE_DEPTH_MAX, ENCODE_NODES_MAX, PAYLOAD_BYTES_MAX};
use crate::json::tape::{Item, Reader};
use crate::json::text;
use crate::lua::stack::{LUA_TBOOLEAN, LUA_TLIGHTUSERDATA, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE, LUA_TUSERDATA, Lua};

/// Bytes of a path shown in an error.
const PATH_BYTES_MAX: usize = 120;
const LEFT_OUT: &str = "[...]";

/// Why a value has no JSON. `Display` is the reason string that Emit returns.
pub(super) struct EncodeError {
    /// From the value outwards: `.weapon`, `.attacker`.
    path: String,
    what: String,
    too_large: bool,
}

impl EncodeError {
    fn new(what: impl Into<String>) -> EncodeError {
        EncodeError { path: String::new(), what: what.into(), too_large: false }
    }

    /// The text grew past its limit; any other error is a value that has no JSON.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large
    }

    fn within(mut self, step: String) -> EncodeError {
        if self.path.len() + step.len() <= PATH_BYTES_MAX {
            self.path.insert_str(0, &step);
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
pub(super) fn encode(lua: Lua, index: i32, describe: i32, out: &mut Vec<u8>) -> Result<u64, EncodeError> {
    let mut encoder = Encoder { lua, describe, bytes_max: out.len() + PAYLOAD_BYTES_MAX, out, nodes: 0, non_finite: 0 };
    encoder.value(index, 0)?;
    Ok(encoder.non_finite)
}

struct Encoder<'a> {
    lua: Lua,
    describe: i32,
    bytes_max: usize,
    out: &'a mut Vec<u8>,
    nodes: usize,
    non_finite: u64,
}

impl Encoder<'_> {
    fn value(&mut self, index: i32, depth: usize) -> Result<(), EncodeError> {
        self.nodes += 1;
        if self.nodes > ENCODE_NODES_MAX {
            return Err(EncodeError::new(format!("is the value number {}, the limit", ENCODE_NODES_MAX + 1)));
        }
        // Checked once a value, so the text passes its limit by one string at most.
        if self.out.len() > self.bytes_max {
            let what = format!("passes {PAYLOAD_BYTES_MAX} bytes of text");
            return Err(EncodeError { too_large: true, ..EncodeError::new(what) });
        }
        match self.lua.type_of(index) {
            LUA_TSTRING => text::push_string(self.out, self.lua.bytes(index)),
            LUA_TNUMBER => self.number(index),
            LUA_TBOOLEAN => {
                let word: &[u8] = if self.lua.boolean(index) { b"true" } else { b"false" };
                self.out.extend_from_slice(word);
            }
            LUA_TTABLE if depth == ENCODE_DEPTH_MAX => {
                return Err(EncodeError::new(format!("is nested deeper than {ENCODE_DEPTH_MAX} levels (a cycle?)")));
            }
            LUA_TTABLE => return self.table(index, depth + 1),
            LUA_TLIGHTUSERDATA if self.lua.userdata(index).is_null() => self.out.extend_from_slice(b"null"),
            LUA_TUSERDATA => return self.userdata(index),
            kind => return Err(EncodeError::new(format!("is a {}", Lua::type_name(kind)))),
        }
        Ok(())
    }

    fn number(&mut self, index: i32) {
        self.non_finite += u64::from(!text::push_number(self.out, self.lua.number(index)));
    }

    /// Keys first, values after: a table whose values were written twice would double the work of every level.
    fn table(&mut self, table: i32, depth: usize) -> Result<(), EncodeError> {
        let border = self.lua.raw_len(table);
        match border > 0 && self.is_sequence(table, border) {
            true => self.elements(table, border, depth),
            false => self.object(table, depth),
        }
    }

    /// True if the keys are 1 to `border`, in any order, and no others.
    fn is_sequence(&self, table: i32, border: i32) -> bool {
        let mut count = 0;
        self.lua.push_nil();
        while self.lua.next(table) {
            self.lua.pop(1);
            let key = self.lua.top();
            let number = if self.lua.type_of(key) == LUA_TNUMBER { self.lua.number(key) } else { 0.0 };
            count += 1;
            if number.fract() != 0.0 || !(1.0..=f64::from(border)).contains(&number) {
                self.lua.pop(1);
                return false;
            }
        }
        count == border
    }

    fn elements(&mut self, table: i32, border: i32, depth: usize) -> Result<(), EncodeError> {
        self.out.push(b'[');
        for i in 1..=border {
            if i > 1 {
                self.out.push(b',');
            }
            self.lua.raw_get_index(table, i);
            self.value(self.lua.top(), depth).map_err(|err| err.within(format!("[{i}]")))?;
            self.lua.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes an object; an empty table is `[]`, as GMod has it.
    fn object(&mut self, table: i32, depth: usize) -> Result<(), EncodeError> {
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
                    text::push_string(self.out, self.lua.bytes(value - 1));
                }
                LUA_TNUMBER => {
                    numbers += 1;
                    text::push_number_key(self.out, self.lua.number(value - 1));
                }
                kind => return Err(EncodeError::new(format!("has a {} as a key", Lua::type_name(kind)))),
            }
            self.out.push(b':');
            self.value(value, depth).map_err(|err| err.within(self.step(value - 1)))?;
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

    /// A table with keys of both types: the number 5 and the text "5" would be one member, and one of them lost.
    fn refuse_collisions(&self, table: i32) -> Result<(), EncodeError> {
        let mut numbers = std::collections::HashSet::new();
        let mut texts = Vec::new();
        self.lua.push_nil();
        while self.lua.next(table) {
            self.lua.pop(1);
            let key = self.lua.top();
            let mut written = Vec::new();
            if self.lua.type_of(key) == LUA_TNUMBER {
                text::push_number_key(&mut written, self.lua.number(key));
                numbers.insert(written);
            } else {
                text::push_string(&mut written, self.lua.bytes(key));
                texts.push(written);
            }
        }
        match texts.iter().find(|text| numbers.contains(*text)) {
            Some(text) => {
                Err(EncodeError::new(format!("has the key {} twice, as a number and as a string", shown(text))))
            }
            None => Ok(()),
        }
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

    /// A vector, angle or entity, which Lua code tells apart.
    fn userdata(&mut self, index: i32) -> Result<(), EncodeError> {
        let lua = self.lua;
        let top = lua.top();
        lua.push_value(self.describe);
        lua.push_value(index);
        let described = lua.pcall(1, 4, 0);
        let written = if described { self.described(top + 1) } else { None };
        let failed = || match lua.string(top + 1) {
            Some(kind) => format!("is a {}", shown(kind)),
            None => "is a userdata".to_owned(),
        };
        let outcome = written.ok_or_else(|| EncodeError::new(failed()));
        lua.set_top(top);
        outcome
    }

    /// Writes what `describe` returned at `first`: a kind, then up to three values.
    fn described(&mut self, first: i32) -> Option<()> {
        let lua = self.lua;
        match lua.string(first)? {
            b"vector" | b"angle" => {
                let [open, close] = if lua.string(first)? == b"vector" { [b'[', b']'] } else { [b'{', b'}'] };
                self.out.extend_from_slice(&[b'"', open]);
                for i in 1..=3 {
                    if i > 1 {
                        self.out.push(b' ');
                    }
                    text::push_g9(self.out, lua.number(first + i));
                }
                self.out.extend_from_slice(&[close, b'"']);
            }
            b"player" => self.members(first, ["steamid64", "name", "userid"].as_slice()),
            b"entity" => self.members(first, ["class", "index"].as_slice()),
            b"null" => self.out.extend_from_slice(b"null"),
            _ => return None,
        }
        Some(())
    }

    fn members(&mut self, first: i32, names: &[&str]) {
        for ((name, at), before) in
            names.iter().zip(first + 1..).zip(std::iter::once(b'{').chain(std::iter::repeat(b',')))
        {
            self.out.push(before);
            text::push_string(self.out, name.as_bytes());
            self.out.push(b':');
            match self.lua.type_of(at) {
                LUA_TSTRING => text::push_string(self.out, self.lua.bytes(at)),
                LUA_TNUMBER => self.number(at),
                _ => self.out.extend_from_slice(b"null"),
            }
        }
        self.out.push(b'}');
    }
}

/// Bytes of a script's own names in an error: short, and valid text.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes)).into_owned();
    if bytes.len() > 40 {
        text.push_str("...");
    }
    text
}

/// Pushes the value that stands next on the tape. `[-0, +1]`; raises only when Lua is out of memory or stack, so the
/// caller's frame owns nothing.
pub(super) fn push(lua: Lua, tape: &mut Reader<'_>) {
    push_at(lua, tape, 0);
}

/// Levels of tables that fit the twenty slots every C function starts with, three a level.
const LEVELS_IN_MINSTACK: u32 = 4;

/// Depth is bounded by the tape's (`DECODE_DEPTH_MAX`), so recursion is too.
fn push_at(lua: Lua, tape: &mut Reader<'_>, depth: u32) {
    match tape.next_item() {
        None | Some(Item::Nil) => lua.push_nil(),
        Some(Item::Null) => lua.push_null(),
        Some(Item::Boolean(value)) => lua.push_boolean(value),
        Some(Item::Number(number)) => lua.push_number(number),
        Some(Item::Text(bytes)) => lua.push_bytes(bytes),
        Some(Item::Array(count)) => push_array(lua, tape, count, depth + 1),
        Some(Item::Object(count)) => push_object(lua, tape, count, depth + 1),
    }
}

fn push_array(lua: Lua, tape: &mut Reader<'_>, count: u32, depth: u32) {
    if depth > LEVELS_IN_MINSTACK {
        lua.check_stack(8);
    }
    let hint = i32::try_from(count).unwrap_or(i32::MAX);
    lua.push_table(hint, 0);
    for i in 1..=hint {
        push_at(lua, tape, depth);
        lua.raw_set_index(-2, i);
    }
}

fn push_object(lua: Lua, tape: &mut Reader<'_>, count: u32, depth: u32) {
    if depth > LEVELS_IN_MINSTACK {
        lua.check_stack(8);
    }
    lua.push_table(0, i32::try_from(count).unwrap_or(i32::MAX));
    for _ in 0..count {
        match tape.next_item() {
            Some(Item::Text(key)) => lua.push_bytes(key),
            _ => return, // Not written by `tape::parse`.
        }
        push_at(lua, tape, depth);
        lua.raw_set(-3);
    }
}

/// The types of values that Emit takes.
pub(super) fn can_start(kind: i32) -> bool {
    matches!(kind, LUA_TTABLE | LUA_TSTRING | LUA_TNUMBER | LUA_TBOOLEAN)
}
