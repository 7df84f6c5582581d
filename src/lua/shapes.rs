//! Constructors of tables. Objects of the same shape come again and again: the names of their members, in the same order.
//! A compiled Lua function, `return {killer = a, victim = b}`, makes such a table without looking up each name.
//! Game thread only. [`Shapes::construct`] runs in `shield::perform` and owns nothing; [`Shapes::learn`] runs after it.
//!
//! | object | is made |
//! |---|---|
//! | flat, at most [`MEMBERS_MAX`] members, seen [`SIGHTS`] times in its place | by its constructor |
//! | any other, or while values are slow or kept from tick to tick | member by member (`decode.rs`) |
//!
//! Anybody who may publish chooses names, so the places and the compilations are bounded, each name is compared, and the
//! compiled text holds the bytes of names as escapes only.

use std::cell::Cell;
use std::fmt::Write as _;

use crate::engine::CallbackRef;
use crate::json::build::Pace;
use crate::json::tape::{Reader, TapeItem};
use crate::lua::process::attaches;
use crate::lua::stack::{LUA_TFUNCTION, LUA_TTABLE, Lua};

/// Shapes that are known at the same time.
const PLACES: usize = 64;
/// Most members of an object with a constructor: as many values as are made between two looks at the clock.
const MEMBERS_MAX: u32 = Pace::EVERY_MAX;
/// Longest name of a member, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most constructors that are compiled for one Lua state.
const COMPILED_MAX: u32 = 256;
/// Objects of one shape, with none of another in its place between them, until it gets a constructor.
const SIGHTS: u32 = 3;

thread_local! {
    /// The shapes of the attached state, while no tick uses them.
    static SHAPES: Cell<Option<Box<Shapes>>> = const { Cell::new(None) };
}

/// The shapes of one Lua state.
pub(super) struct Shapes {
    /// The number of the state ([`attaches`]).
    attach: u32,
    places: Box<[Shape; PLACES]>,
    compiled: u32,
    /// Where on the tape an object began that had no constructor.
    missed: Option<usize>,
}

/// The shape in one place.
#[derive(Default)]
struct Shape {
    members: u32,
    /// The names as they stand on a tape. Of a shape that gets no constructor, the first one.
    names: Box<[u8]>,
    state: ShapeState,
}

#[derive(Default, Clone, Copy)]
enum ShapeState {
    /// So many objects of it were seen.
    #[default]
    Empty,
    Seen(u32),
    Compiled(CallbackRef),
    /// Objects that begin like this one get no constructor.
    RuledOut,
}

/// The shapes of the attached state. To be handed back with [`put_back`].
pub(super) fn take() -> Box<Shapes> {
    match SHAPES.take() {
        Some(shapes) if shapes.attach == attaches() => shapes,
        // Constructors of an earlier state went with it.
        _ => Box::new(Shapes::new(attaches())),
    }
}

pub(super) fn put_back(shapes: Box<Shapes>) {
    SHAPES.set(Some(shapes));
}

impl Shapes {
    fn new(attach: u32) -> Shapes {
        let places = Box::new(std::array::from_fn(|_| Shape::default()));
        Shapes { attach, places, compiled: 0, missed: None }
    }

    /// Makes the table of an object by its constructor, if it has one. `tape` stands behind the object's count of members,
    /// and is moved behind the object. Returns the length of the object's texts in bytes. `None`: nothing was made. `at`
    /// is the place of the object on the whole tape. `[-0, +1]`, or `[-0, +0]` for `None`; **raises**.
    #[optimize(speed)]
    pub(super) fn construct(&mut self, lua: Lua, tape: &mut Reader<'_>, members: u32, at: usize) -> Option<usize> {
        if !(1..=MEMBERS_MAX).contains(&members) {
            return None;
        }
        let shape = self.places.get(place_of(members, tape.rest()))?;
        let constructor = match shape.state {
            ShapeState::Compiled(constructor) if shape.members == members => constructor,
            ShapeState::RuledOut if shape.members == members && tape.rest().starts_with(&shape.names) => return None,
            _ => return self.miss(at),
        };
        let top = lua.top();
        // The constructor and its arguments; the caller's own values have room already.
        if !lua.check_stack(MEMBERS_MAX as i32 + 8) {
            return None;
        }
        lua.push_kept(constructor);
        if lua.type_of(-1) == LUA_TFUNCTION
            && let Some((rest, bytes)) = push_members(lua, tape.rest(), &shape.names)
        {
            lua.call(members as i32, 1);
            if lua.type_of(-1) == LUA_TTABLE {
                *tape = rest;
                return Some(bytes);
            }
        }
        lua.set_top(top);
        self.miss(at)
    }

    /// Notes an object without a constructor. Returns `None`.
    #[cold]
    fn miss(&mut self, at: usize) -> Option<usize> {
        if self.compiled < COMPILED_MAX {
            self.missed = Some(at);
        }
        None
    }

    /// A Call begins, with another tape.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.missed = None;
    }

    /// True if an object of the last tape lacked a constructor.
    #[inline]
    pub(super) fn has_missed(&self) -> bool {
        self.missed.is_some()
    }

    /// Counts the object that lacked a constructor. If its shape was seen often enough, returns its place and the Lua
    /// source of its constructor: the caller compiles that and calls [`Shapes::compiled`]. `tape` is the one that was made.
    /// `[-0, +0]`, never raises.
    #[cold]
    #[inline(never)]
    pub(super) fn learn(&mut self, lua: Lua, tape: &[u8]) -> Option<(usize, String)> {
        let mut rest = Reader::new(tape.get(self.missed.take()?..)?);
        let TapeItem::Object(members) = rest.next_item()? else { return None };
        let place = place_of(members, rest.rest());
        let shape = self.places.get_mut(place)?;
        let (names, is_whole) = names_of(&mut rest, members);
        let sights = match shape.state {
            ShapeState::Seen(sights) if shape.members == members && *shape.names == *names => sights + 1,
            _ => 1,
        };
        if let ShapeState::Compiled(constructor) = shape.state {
            lua.release(constructor);
        }
        let is_known = is_whole && sights == SIGHTS;
        // Until it is compiled, no other attempt is made.
        shape.state = if is_known || !is_whole { ShapeState::RuledOut } else { ShapeState::Seen(sights) };
        (shape.members, shape.names) = (members, names.into());
        self.compiled += u32::from(is_known);
        is_known.then(|| (place, code_of(&shape.names)))
    }

    /// The constructor of the shape in this place was compiled.
    pub(super) fn compiled(&mut self, place: usize, constructor: CallbackRef) {
        if let Some(shape) = self.places.get_mut(place) {
            shape.state = ShapeState::Compiled(constructor);
        }
    }
}

/// The place of an object, by its number of members and its first name as it stands on the tape.
#[inline]
fn place_of(members: u32, tape: &[u8]) -> usize {
    let byte = |at: usize| usize::from(tape.get(at).copied().unwrap_or_default());
    // Of a short text: its tag, its length, its first bytes.
    ((members as usize * 7) ^ (byte(1) * 5) ^ (byte(2) * 3) ^ byte(3)) % PLACES
}

/// Pushes the values of an object's members, whose names are `names`. Returns the tape behind the object, and the length of
/// its texts. `None`: the object has another shape. `[-0, +members]`, or `[-0, +?]` for `None`; **raises**.
#[inline]
#[optimize(speed)]
fn push_members<'a>(lua: Lua, tape: &'a [u8], mut names: &[u8]) -> Option<(Reader<'a>, usize)> {
    let (mut rest, mut bytes) = (tape, 0);
    // Each name: a tag, its length, its bytes.
    while let [_, len, ..] = *names {
        let (name, others) = names.split_at_checked(usize::from(len) + 2)?;
        let mut reader = Reader::new(rest.strip_prefix(name)?);
        match reader.next_item()? {
            TapeItem::Array(_) | TapeItem::Object(_) => return None,
            item => {
                if let TapeItem::Text(text) = item {
                    bytes += text.len();
                }
                push_scalar(lua, item);
            }
        }
        (rest, names) = (reader.rest(), others);
    }
    Some((Reader::new(rest), bytes))
}

/// Pushes a value that contains no others. Nil stands for an absent member. `[-0, +1]`, **raises**.
#[inline]
#[optimize(speed)]
pub(super) fn push_scalar(lua: Lua, item: TapeItem<'_>) {
    match item {
        TapeItem::Null => lua.push_null(),
        TapeItem::Boolean(value) => lua.push_boolean(value),
        TapeItem::Number(number) => lua.push_number(number),
        TapeItem::Text(bytes) => lua.push_bytes(bytes),
        TapeItem::Nil | TapeItem::Array(_) | TapeItem::Object(_) => lua.push_nil(),
    }
}

/// The names of an object as they stand on the tape, and true; or the first of them, and false, if the object is not flat
/// or has too many members or too long names.
fn names_of(tape: &mut Reader<'_>, members: u32) -> (Vec<u8>, bool) {
    let mut names = Vec::new();
    for member in 0..members {
        let before = tape.rest();
        let name = tape.next_item();
        let written = before.get(..before.len() - tape.rest().len()).unwrap_or_default();
        let is_flat = !matches!(tape.next_item(), None | Some(TapeItem::Array(_) | TapeItem::Object(_)));
        let fits = matches!(name, Some(TapeItem::Text(name)) if name.len() <= NAME_BYTES_MAX && name.len() + 2 == written.len());
        if member == 0 || fits {
            names.extend_from_slice(written);
        }
        if !fits || !is_flat || members > MEMBERS_MAX {
            let first = names.get(..2 + names.get(1).map_or(0, |len| usize::from(*len))).unwrap_or(&names).to_vec();
            return (first, false);
        }
    }
    (names, true)
}

/// Lua source that returns the constructor.
///
/// ```text
///  return function(a1,a2)return{["\107"]=a1,["\118"]=a2}end
/// ```
fn code_of(mut names: &[u8]) -> String {
    let (mut parameters, mut fields) = (String::new(), String::new());
    let mut number = 0;
    while let [_, len, rest @ ..] = names {
        let (name, others) = rest.split_at_checked(usize::from(*len)).unwrap_or_default();
        number += 1;
        let comma = if number > 1 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(parameters, "{comma}a{number}");
        let _ = write!(fields, "{comma}[\"");
        name.iter().for_each(|byte| _ = write!(fields, "\\{byte:03}"));
        let _ = write!(fields, "\"]=a{number}");
        names = others;
    }
    format!("return function({parameters})return{{{fields}}}end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tape;

    fn names(text: &str) -> (Vec<u8>, bool) {
        let mut tape = Vec::new();
        tape::parse(text.as_bytes(), &mut tape).unwrap();
        let mut reader = Reader::new(&tape);
        let Some(TapeItem::Object(members)) = reader.next_item() else { panic!("{text}") };
        names_of(&mut reader, members)
    }

    #[test]
    fn only_flat_objects_with_few_and_short_names_get_a_constructor() {
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"n{n}\":{n}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let long = |bytes: usize| format!("{{\"a\":1,\"{}\":2}}", "x".repeat(bytes));
        let rows = [
            (r#"{"a":1,"b":null,"a":"x"}"#.to_owned(), true),
            (r#"{"":true}"#.to_owned(), true),
            (many(16), true),
            (many(17), false),
            (long(64), true),
            (long(65), false),
            (long(300), false),
            (r#"{"\u0000é":1}"#.to_owned(), false), // An escape: the name stands on the tape in its long form.
            (r#"{"a":1,"b":[]}"#.to_owned(), false),
            (r#"{"a":{"b":1}}"#.to_owned(), false),
        ];
        for (text, expected) in rows {
            let (names, is_whole) = names(&text);
            assert_eq!(is_whole, expected, "{text}");
            assert!(is_whole || names.len() <= 2 + 300, "{text}");
        }
        assert_eq!(names(r#"{"ab":1,"c":[]}"#).0, b"\x07\x02ab");
    }

    #[test]
    fn the_code_holds_no_byte_of_a_name() {
        let (names, _) = names("{\"]]\":1,\"a é\":2}");
        let code = code_of(&names);
        assert_eq!(code, r#"return function(a1,a2)return{["\093\093"]=a1,["\097\032\195\169"]=a2}end"#);
    }
}
