//! Writes Lua values as JSON text, straight into a byte buffer. The way back is `decode.rs`. Runs on the game thread,
//! in the body of an entry: a hot path of Emit. [`push_json`] only reads the value and never raises. Operations that
//! need Lua's memory or run script code happen under pcall, between two walks over the value. It refuses values without
//! JSON (functions, colliding keys) and values beyond its limits of size, count, depth and time. The depth limit also ends
//! a cycle. The error names the path to the value.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::config::limits::{ENCODE_DEPTH_MAX, ENCODE_NODES_MAX, PAYLOAD_BYTES_MAX};
use crate::json::bytes::{ByteSink, Bytes};
use crate::json::text;
use crate::lua::shield::{self, NESTED_MAX, Work, nested};
use crate::lua::stack::{
    LUA_TBOOLEAN, LUA_TLIGHTUSERDATA, LUA_TNIL, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE, LUA_TUSERDATA, Lua, SHIELD,
};

/// Longest path in an error, in bytes: a table may have 32 levels, and an error text must stay readable.
const PATH_BYTES_MAX: usize = 120;
/// Different userdata of one value. Each is described by functions of the game and of scripts, for some microseconds.
const DESCRIBED_MAX: usize = 2048;
/// Stands for the outer steps of a path that is longer.
const LEFT_OUT: &str = "[...]";

/// Why a value has no JSON, or too much of it. `Display` is the reason that Emit returns to Lua: `encode:
/// data.victim[2] is a function`, or `too_large: …`.
#[derive(Clone)]
pub(super) struct EncodeError {
    /// The way from the argument to the value: `.attacker.weapon`. Built from the value outwards.
    path: String,
    /// The rest of the sentence that begins with the path: `is a function`.
    problem: String,
    too_large: bool,
}

impl EncodeError {
    /// Boxed, so that a `Result` without an error fits a register on the hot path.
    #[cold]
    fn new(problem: impl Into<String>) -> Box<EncodeError> {
        Box::new(EncodeError { path: String::new(), problem: problem.into(), too_large: false })
    }

    /// True if the text is longer than its limit. Any other error means that a value has no JSON. The two are counted
    /// apart.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large
    }

    /// The same error one level further out: `step` is put before its path.
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
        write!(f, "{code}: data{} {}", self.path, self.problem)
    }
}

/// Appends the JSON of the value at `index` (absolute). `describe` is the index of the prelude's function of that name,
/// which names the kind of a userdata. Returns how many NaN and infinities became `null`. On an error `out` holds part
/// of a text. The caller's entry must have made [`crate::lua::stack::ROOM`]. `[-0, +0]`, or after an error `[-0, +?]`;
/// never raises.
///
/// Describing a userdata runs script code (a player's `Nick`), which may change the very table that is walked. So it
/// happens when no walk is under way:
///
/// ```text
///  walk 1   writes the JSON and counts the userdata; without any, this is all
///  walk 2   writes the JSON again with gaps, and collects the userdata in a list
///  fill     describes each userdata of the list once, and puts its text into the gaps
///  walk 3   only after an error: finds the path of the userdata that could not be described
/// ```
#[optimize(speed)]
pub(super) fn push_json(lua: Lua, index: i32, describe: i32, out: &mut Bytes) -> Result<u64, Box<EncodeError>> {
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

/// Walk 2 and the filling, for a value that contains `count` userdata. `[-0, +?]`, never raises; the caller resets the
/// stack.
fn encode_described(
    lua: Lua,
    index: i32,
    describe: i32,
    count: usize,
    out: &mut Bytes,
) -> Result<u64, Box<EncodeError>> {
    let start = out.len();
    let room = i32::try_from(count).unwrap_or(i32::MAX);
    let list = new_table(lua, room)
        .ok_or_else(|| EncodeError::new("has userdata, and Lua has no memory for a list of them"))?;
    let mut again = Again::Collect { list, room: count, gaps: Vec::new() };
    let mut encoder = Encoder::new(lua, out);
    encoder.again = Some(&mut again);
    encoder.value(index, 0)?;
    let Encoder { nodes, mut non_finite, .. } = encoder;
    let Again::Collect { gaps, .. } = again else { return Err(EncodeError::new("was lost")) };
    let text = out.split_off(start);
    let mut filler = Encoder::new(lua, out);
    filler.nodes = nodes;
    // By address of the userdata: where its text is in `out`, and how many values its object adds. Each userdata is
    // described once, however often it occurs.
    let mut known: HashMap<*mut c_void, (Range<usize>, usize)> = HashMap::new();
    let mut at = 0;
    for (number, gap) in (1..).zip(&gaps) {
        filler.out.push_bytes(text.get(at..gap.at).unwrap_or_default());
        at = gap.at;
        // The description of the last one may have run script code.
        if lua.type_of(list) != LUA_TTABLE {
            return Err(Encoder::changed());
        }
        lua.raw_get_index(list, number);
        let userdata = lua.top();
        let before = (filler.out.len(), filler.nodes);
        // Null only if a script changed the list; `describe` then names the type it finds.
        let address = lua.userdata(userdata);
        let written = match known.get(&address) {
            Some((range, nodes)) => filler.repeat(range.clone(), *nodes, gap.depth),
            None if known.len() >= DESCRIBED_MAX => Err(Encoder::too_many_described()),
            None => filler.describe(userdata, describe, gap.depth),
        };
        known.entry(address).or_insert((before.0..filler.out.len(), filler.nodes - before.1));
        lua.set_top(userdata - 1);
        if let Err(err) = written {
            return Err(with_path(lua, index, number as usize, err));
        }
    }
    filler.out.push_bytes(text.get(at..).unwrap_or_default());
    non_finite += filler.non_finite;
    filler.fits(0)?;
    Ok(non_finite)
}

/// Pushes an empty table with room for `room` elements, and returns its index. `None`: Lua has no memory. `[-0, +1]` or
/// `[-0, +0]`, never raises.
fn new_table(lua: Lua, room: i32) -> Option<i32> {
    for _ in 0..shield::attempts() {
        lua.push_value(SHIELD);
        if shield::run(lua, &mut Work::Table(room), 0, 1, 0) && lua.type_of(lua.top()) == LUA_TTABLE {
            return Some(lua.top());
        }
        lua.pop(1);
    }
    None
}

/// Adds the path to the error of userdata `number` (from 1), by one more walk up to it. `[-0, +?]`, never raises.
fn with_path(lua: Lua, index: i32, number: usize, err: Box<EncodeError>) -> Box<EncodeError> {
    let mut nowhere = Bytes::default();
    let mut again = Again::Find { number, err: err.clone() };
    let mut encoder = Encoder::new(lua, &mut nowhere);
    encoder.again = Some(&mut again);
    // If a script changed the table meanwhile, the walk may not find it; then the error has no path.
    encoder.value(index, 0).err().unwrap_or(err)
}

/// A place of the text that waits for the description of a userdata.
struct Gap {
    /// Offset in the text, in bytes.
    at: usize,
    /// Levels of tables around it: a description is an object, and must not exceed the depth limit either.
    depth: usize,
}

/// Sees to it that a walk ends in time, although the clock is read seldom. Most values are quick and bounded by their
/// number. But Lua searches the whole room of a table for its members, even if a million of them were removed.
struct Watch {
    /// The clock is read once there are more nodes than this. Each table brings it nearer.
    look_at: usize,
    /// Time of the last look at the clock.
    looked: Option<Instant>,
    /// Time between the looks that counts.
    spent: Duration,
}

impl Watch {
    /// Nodes until the first look: a usual event ends without one.
    const FIRST: usize = 128;
    /// Nodes between two looks.
    const EVERY: usize = 256;
    /// Nodes that a table counts for, besides its values.
    const TABLE: usize = 16;
    /// Nodes that a table without members counts for: its room may be large.
    const EMPTY: usize = Watch::FIRST;
    /// If the nodes between two looks take longer than this, the clock is read after each.
    const SLOW: Duration = Duration::from_micros(500);
    /// Most time between two looks that counts. If more has passed, the thread was probably off its processor.
    const COUNTED_MAX: Duration = Duration::from_millis(2);
    /// Time for all nodes, and what each adds: many times the usual tenth of a microsecond.
    const TIME_MAX: Duration = Duration::from_millis(10);
    const TIME_PER_NODE: Duration = Duration::from_micros(2);

    fn new() -> Watch {
        Watch { look_at: Watch::FIRST, looked: None, spent: Duration::ZERO }
    }

    /// Looks at the clock, after so many nodes. True: time is out.
    fn look(&mut self, nodes: usize) -> bool {
        let now = Instant::now();
        let took = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        self.spent += took.min(Watch::COUNTED_MAX);
        let every = if took > Watch::SLOW { 0 } else { Watch::EVERY };
        self.look_at = (nodes + every).min(ENCODE_NODES_MAX);
        // The cast is safe: there are at most `ENCODE_NODES_MAX`.
        self.spent >= Watch::TIME_MAX + Watch::TIME_PER_NODE * nodes as u32
    }
}

/// One walk over a value. It runs no script code and takes no memory of Lua, so the table cannot change under it.
struct Encoder<'a> {
    lua: Lua,
    /// Length that `out` must not exceed.
    bytes_max: usize,
    out: &'a mut Bytes,
    /// Values so far, tables included.
    nodes: usize,
    watch: Watch,
    /// NaN and infinities so far, written as `null`.
    non_finite: u64,
    /// Userdata so far.
    found: usize,
    /// The task of a later walk; `None` in the first one, which only counts userdata.
    again: Option<&'a mut Again>,
}

/// The task of a walk after the first, at each userdata.
enum Again {
    /// Put it into the table at index `list`, which has room for `room` userdata, and note its place.
    Collect { list: i32, room: usize, gaps: Vec<Gap> },
    /// Fail with `err` at userdata `number` (from 1), so that the error gets its path on the way out.
    Find { number: usize, err: Box<EncodeError> },
}

impl<'a> Encoder<'a> {
    /// A first walk, which appends at most [`PAYLOAD_BYTES_MAX`] to `out`.
    fn new(lua: Lua, out: &'a mut Bytes) -> Encoder<'a> {
        let bytes_max = out.len() + PAYLOAD_BYTES_MAX;
        Encoder { lua, bytes_max, out, nodes: 0, watch: Watch::new(), non_finite: 0, found: 0, again: None }
    }

    /// Whether `more` bytes still fit. Checked before a string is copied and after each value, so the text can exceed
    /// its limit by the escapes of one string at most.
    #[inline(always)]
    fn fits(&self, more: usize) -> Result<(), Box<EncodeError>> {
        if self.out.len() + more > self.bytes_max { Err(Encoder::too_large()) } else { Ok(()) }
    }

    #[cold]
    fn too_large() -> Box<EncodeError> {
        let problem = format!("passes {PAYLOAD_BYTES_MAX} bytes of text");
        Box::new(EncodeError { too_large: true, ..*EncodeError::new(problem) })
    }

    #[cold]
    fn changed() -> Box<EncodeError> {
        EncodeError::new("was changed while it was read")
    }

    #[cold]
    fn too_many() -> Box<EncodeError> {
        EncodeError::new(format!("is the value number {}, the limit", ENCODE_NODES_MAX + 1))
    }

    #[cold]
    fn too_many_described() -> Box<EncodeError> {
        let number = DESCRIBED_MAX + 1;
        EncodeError::new(format!("is the different entity, vector or angle number {number}, the limit"))
    }

    /// Looks at the number of nodes and at the clock, because one of them may have passed its limit.
    #[cold]
    fn look(&mut self) -> Result<(), Box<EncodeError>> {
        if self.nodes > ENCODE_NODES_MAX {
            return Err(Encoder::too_many());
        }
        if self.watch.look(self.nodes) { Err(EncodeError::new("takes too long to read")) } else { Ok(()) }
    }

    /// After a table, which counts for so many nodes.
    #[inline]
    fn walked(&mut self, nodes: usize) -> Result<(), Box<EncodeError>> {
        self.watch.look_at = self.watch.look_at.saturating_sub(nodes);
        if self.nodes > self.watch.look_at { self.look() } else { Ok(()) }
    }

    #[cold]
    fn too_deep() -> Box<EncodeError> {
        EncodeError::new(format!("is nested deeper than {ENCODE_DEPTH_MAX} levels (a cycle?)"))
    }

    /// Writes the value at `index`, with `depth` tables around it. The recursion ends at [`ENCODE_DEPTH_MAX`].
    /// `[-0, +0]`, or after an error `[-0, +?]`; never raises. The same holds for every method of the walk below.
    #[optimize(speed)]
    fn value(&mut self, index: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        self.nodes += 1;
        if self.nodes > self.watch.look_at {
            self.look()?;
        }
        match self.lua.type_of(index) {
            LUA_TSTRING => return self.string(self.lua.bytes(index)),
            LUA_TNUMBER => self.number(index),
            LUA_TBOOLEAN => {
                let word: &[u8] = if self.lua.boolean(index) { b"true" } else { b"false" };
                self.out.push_bytes(word);
            }
            LUA_TTABLE if depth == ENCODE_DEPTH_MAX => return Err(Encoder::too_deep()),
            LUA_TTABLE => return self.table(index, depth + 1),
            LUA_TLIGHTUSERDATA if self.lua.userdata(index).is_null() => self.out.push_bytes(b"null"),
            LUA_TUSERDATA => return self.userdata(index, depth),
            kind => return Err(EncodeError::new(format!("is a {}", Lua::type_name(kind)))),
        }
        self.fits(0)
    }

    /// Writes a JSON string. Inlined for keys and values alike: most values of an event are strings.
    #[inline(always)]
    fn string(&mut self, bytes: &[u8]) -> Result<(), Box<EncodeError>> {
        self.fits(bytes.len())?;
        text::push_string(self.out, bytes);
        Ok(())
    }

    /// Writes the number at `index`; NaN and infinities, which JSON lacks, as `null`, counted.
    #[optimize(speed)]
    fn number(&mut self, index: i32) {
        self.non_finite += u64::from(!text::push_number(self.out, self.lua.number(index)));
    }

    /// Writes a table as an array or an object. It looks at all keys before it writes any value: to write the values as
    /// an array first and again as an object would double the work at every level.
    #[optimize(speed)]
    fn table(&mut self, table: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        let border = self.lua.raw_len(table);
        if border > 0 && self.is_sequence(table, border)? {
            self.elements(table, border, depth)?;
        } else {
            self.object(table, depth)?;
        }
        self.walked(Watch::TABLE)
    }

    /// Whether the keys are exactly 1 to `border`, in any order. It looks at no more keys than the text may still have
    /// values, so a huge table costs no more than an allowed one.
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

    /// Writes the elements 1 to `border` as an array.
    fn elements(&mut self, table: i32, border: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        self.out.push_byte(b'[');
        let element = self.lua.top() + 1;
        for i in 1..=border {
            if i > 1 {
                self.out.push_byte(b',');
            }
            self.lua.raw_get_index(table, i);
            self.value(element, depth).map_err(|err| err.within(&format!("[{i}]")))?;
            self.lua.pop(1);
        }
        self.out.push_byte(b']');
        Ok(())
    }

    /// Writes an object. An empty table becomes `[]`, as in GMod's own `util.TableToJSON`.
    fn object(&mut self, table: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        let start = self.out.len();
        let (mut numbers, mut texts) = (0, 0);
        self.out.push_byte(b'{');
        self.lua.push_nil();
        // Of each member: the key, and the value above it.
        let value = self.lua.top() + 1;
        while self.lua.next(table) {
            if self.out.len() > start + 1 {
                self.out.push_byte(b',');
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
            self.out.push_byte(b':');
            self.value(value, depth).map_err(|err| err.within(&self.step(value - 1)))?;
            self.lua.pop(1);
        }
        if self.out.len() == start + 1 {
            self.out.truncate(start);
            self.out.push_bytes(b"[]");
            return self.walked(Watch::EMPTY);
        }
        self.out.push_byte(b'}');
        if numbers > 0 && texts > 0 { self.refuse_collisions(table) } else { Ok(()) }
    }

    /// Refuses a table in which a number and a string would become the same member: of the keys 5 and "5" one value
    /// would be lost. For each string key that reads exactly as a number is written, it looks up that number as a key.
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

    /// The step of an error's path for the member whose key is at `key`: `.name` or `[5]`.
    fn step(&self, key: i32) -> String {
        let mut step = Vec::new();
        if self.lua.type_of(key) == LUA_TNUMBER {
            text::push_number_key(&mut step, self.lua.number(key));
            return format!("[{}]", shown(&step).trim_matches('"'));
        }
        format!(".{}", shown(self.lua.bytes(key)))
    }

    /// Passes a userdata (a vector, angle or entity). It leaves the text out, and does the task of this walk.
    fn userdata(&mut self, index: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        self.found += 1;
        match &mut self.again {
            None => {}
            Some(Again::Find { number, err }) if *number == self.found => return Err(err.clone()),
            Some(Again::Find { .. }) => {}
            Some(Again::Collect { room, .. }) if self.found > *room => {
                return Err(Encoder::changed());
            }
            Some(Again::Collect { list, gaps, .. }) => {
                self.lua.push_value(index);
                // The list has room, so this does not allocate or raise. The cast is safe: `room` came from an i32.
                self.lua.raw_set_index(*list, self.found as i32);
                gaps.push(Gap { at: self.out.len(), depth });
            }
        }
        Ok(())
    }

    /// Copies the description of a userdata that was described before: the bytes of `out` in `range`, with `nodes`
    /// values.
    fn repeat(&mut self, range: Range<usize>, nodes: usize, depth: usize) -> Result<(), Box<EncodeError>> {
        self.fits(range.len())?;
        self.members_fit(nodes, depth)?;
        let again = self.out.get(range).unwrap_or_default().to_vec();
        self.out.push_bytes(&again);
        Ok(())
    }

    /// Calls the prelude's `describe` for the userdata at `index`, and writes the description. `[-0, +?]`, never
    /// raises.
    fn describe(&mut self, index: i32, describe: i32, depth: usize) -> Result<(), Box<EncodeError>> {
        let lua = self.lua;
        let top = lua.top();
        lua.push_value(describe);
        lua.push_value(index);
        // If `Nick` or a method like it raises an error, its message is where the kind would be.
        let Some(described) = nested(|| lua.pcall(1, 4, 0)) else {
            return Err(EncodeError::new(format!(
                "cannot be described: its methods (`Nick`) called the module again, {NESTED_MAX} levels deep"
            )));
        };
        let written = if described { self.described(top + 1, depth)? } else { false };
        let failed = || match lua.string(top + 1) {
            Some(kind) => format!("is a {}", shown(kind)),
            None => "is a userdata".to_owned(),
        };
        if written { Ok(()) } else { Err(EncodeError::new(failed())) }
    }

    /// Writes the results of `describe`: the kind at `first`, then up to three values. False: it is an unknown kind.
    /// Vectors and angles are written as GMod's own `util.TableToJSON` writes them: `"[x y z]"` and `"{p y r}"`.
    fn described(&mut self, first: i32, depth: usize) -> Result<bool, Box<EncodeError>> {
        let lua = self.lua;
        match lua.string(first) {
            Some(kind @ (b"vector" | b"angle")) => {
                let [open, close] = if kind == b"vector" { [b'[', b']'] } else { [b'{', b'}'] };
                self.out.push_bytes(&[b'"', open]);
                for i in 1..=3 {
                    if i > 1 {
                        self.out.push_byte(b' ');
                    }
                    text::push_g9(self.out, lua.number(first + i));
                }
                self.out.push_bytes(&[close, b'"']);
            }
            Some(b"player") => self.members(first, &["steamid64", "name", "userid"], depth)?,
            Some(b"entity") => self.members(first, &["class", "index"], depth)?,
            Some(b"null") => self.out.push_bytes(b"null"),
            _ => return Ok(false),
        }
        self.fits(0)?;
        Ok(true)
    }

    /// Writes an object of the values from `first + 1` on. Each member counts as a value, because the receiver, which
    /// decodes an object, has the same limits.
    fn members(&mut self, first: i32, names: &[&str], depth: usize) -> Result<(), Box<EncodeError>> {
        self.members_fit(names.len(), depth)?;
        let befores = std::iter::once(b'{').chain(std::iter::repeat(b','));
        for ((name, at), before) in names.iter().zip(first + 1..).zip(befores) {
            self.out.push_byte(before);
            text::push_string(self.out, name.as_bytes());
            self.out.push_byte(b':');
            match self.lua.type_of(at) {
                LUA_TSTRING => self.string(self.lua.bytes(at))?,
                LUA_TNUMBER => self.number(at),
                _ => self.out.push_bytes(b"null"),
            }
        }
        self.out.push_byte(b'}');
        Ok(())
    }

    /// Counts `count` values more, the members of an object at `depth`. A description without members is no object.
    fn members_fit(&mut self, count: usize, depth: usize) -> Result<(), Box<EncodeError>> {
        if count > 0 && depth == ENCODE_DEPTH_MAX {
            return Err(Encoder::too_deep());
        }
        self.nodes += count;
        if self.nodes > ENCODE_NODES_MAX { Err(Encoder::too_many()) } else { Ok(()) }
    }
}

/// The number that `text` may be the JSON key of: digits, or `inf`. `None` for most names, without parsing them.
fn as_number(text: &[u8]) -> Option<f64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    // The longest number in its shortest form has 24 bytes.
    if text.len() > 32 || !matches!(digits.first(), Some(b'0'..=b'9' | b'i')) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The first 40 bytes of a name that a script chose, as valid UTF-8 for an error text.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes)).into_owned();
    if bytes.len() > 40 {
        text.push_str("...");
    }
    text
}

/// Whether Emit and Set take a value of this type as their argument.
pub(super) fn can_start(kind: i32) -> bool {
    matches!(kind, LUA_TTABLE | LUA_TSTRING | LUA_TNUMBER | LUA_TBOOLEAN)
}
