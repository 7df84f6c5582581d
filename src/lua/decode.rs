//! Tapes (decoded JSON) to Lua values.

use std::time::Instant;

use crate::json::build::{BUILD_DEPTH_MAX, Build, Open, Pace, weight};
use crate::json::tape::{Item, Reader};
use crate::lua::stack::{LUA_TTABLE, Lua, upvalue};

/// The table of [`Lane`]s.
pub(super) const KEPT: i32 = upvalue(4);

/// Whose half-made values are kept from tick to tick: one of each may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    Event = 0,
    Answer = 1,
    Window = 2,
}

/// Elements of the table [`KEPT`] for each lane, and in all.
const LANE_SLOTS: i32 = 64;
pub(super) const KEPT_SLOTS: i32 = 3 * LANE_SLOTS;
const _: () = assert!(BUILD_DEPTH_MAX + 4 < LANE_SLOTS as usize);

impl Lane {
    /// The element of the table [`KEPT`] for the value that stands there, from 0.
    fn slot(self, standing: i32) -> i32 {
        self as i32 * LANE_SLOTS + 1 + standing
    }
}

/// The table [`KEPT`] of a state, every element of it there. `[-0, +1]`, **raises**.
pub(super) fn push_kept_table(lua: Lua) {
    lua.push_table(KEPT_SLOTS, 0);
    for slot in 1..=KEPT_SLOTS {
        lua.push_boolean(false);
        lua.raw_set_index(-2, slot);
    }
}

/// Values and tables that fit the twenty slots every C function starts with.
const STANDING_IN_MINSTACK: i32 = 8;

/// Makes values of the tape until there are `count`, which are on top of the stack then. False: the pace says that time
/// is out; what is there so far is kept for the next time, if there is a lane for it. At least one value is made.
///
/// Runs in [`crate::lua::shield::perform`]: **raises**, and owns nothing. After an error [`Build::after_error`] says
/// how to go on: `build` is changed only together with what stands.
///
/// While values are made the stack holds the whole ones and the open tables, the innermost on top. An open table stands
/// in the one around it from its beginning on.
pub(super) fn make(lua: Lua, tape: &[u8], count: u32, build: &mut Build, pace: &mut Pace, lane: Option<Lane>) -> bool {
    let lane = match lane {
        Some(lane) if build.is_kept => {
            take_up(lua, build, lane);
            Some(lane)
        }
        lane => lane,
    };
    let mut rest = Reader::new(tape.get(build.at..).unwrap_or_default());
    let mut is_over = false;
    loop {
        let around = loop {
            match build.innermost() {
                Some(Open { left: 0, .. }) => {
                    if build.close() {
                        lua.pop(1);
                    }
                }
                around => break around,
            }
        };
        if around.is_none() && build.done >= count {
            return true;
        }
        if is_over {
            if let Some(lane) = lane {
                put_by(lua, build, lane);
            }
            return false;
        }
        is_over = match around {
            Some(open) => make_run(lua, &mut rest, open, build, pace, lane),
            None => {
                let bytes = make_whole(lua, &mut rest, build, lane);
                pace.is_over(weight(bytes), Instant::now)
            }
        };
        build.at = tape.len() - rest.rest().len();
    }
}

/// Makes a value that stands in no other; of an array or object only its table. Returns the bytes of its text.
fn make_whole(lua: Lua, tape: &mut Reader<'_>, build: &mut Build, lane: Option<Lane>) -> usize {
    match tape.next_item() {
        Some(Item::Array(count)) => make_table(lua, count, false, None, build, lane),
        Some(Item::Object(count)) => make_table(lua, count, true, None, build, lane),
        item => {
            let item = item.unwrap_or(Item::Nil);
            push_scalar(lua, item);
            keep_top(lua, build, lane);
            build.done += 1;
            if let Item::Text(text) = item {
                return text.len();
            }
        }
    }
    0
}

/// Makes values of the array or object `open`, up to its end or the next that is an array or object itself, of which the
/// table is made. True: time is out. What is kept is changed value by value, else `build` is changed at the end only:
/// after an error without anything kept all begins anew.
fn make_run(
    lua: Lua,
    tape: &mut Reader<'_>,
    mut open: Open,
    build: &mut Build,
    pace: &mut Pace,
    lane: Option<Lane>,
) -> bool {
    let is_object = open.next == 0;
    loop {
        let key = match is_object {
            true => match tape.next_item() {
                Some(Item::Text(key)) => {
                    lua.push_bytes(key);
                    key
                }
                _ => return build.cut_off(), // Not written by `tape::parse`.
            },
            false => &[],
        };
        let mut bytes = key.len();
        match tape.next_item() {
            None => return build.cut_off(),
            Some(Item::Array(count)) => {
                build.set_innermost(open);
                make_table(lua, count, false, Some(open), build, lane);
                return pace.is_over(weight(bytes), Instant::now);
            }
            Some(Item::Object(count)) => {
                build.set_innermost(open);
                make_table(lua, count, true, Some(open), build, lane);
                return pace.is_over(weight(bytes), Instant::now);
            }
            Some(item) => {
                if let Item::Text(text) = item {
                    bytes += text.len();
                }
                push_scalar(lua, item);
            }
        }
        if is_object {
            // Null is nil: it removes a member of the same name that came before.
            lua.raw_set(-3);
        } else {
            lua.raw_set_index(-2, open.next);
            open.next += 1;
        }
        open.left -= 1;
        let is_over = pace.is_over(weight(bytes), Instant::now);
        if open.left == 0 || is_over || build.is_kept {
            build.set_innermost(open);
            return is_over;
        }
    }
}

/// Makes the table of an array or object; if it is a member, its key is on top, and taken.
fn make_table(lua: Lua, count: u32, is_object: bool, around: Option<Open>, build: &mut Build, lane: Option<Lane>) {
    if build.standing() >= STANDING_IN_MINSTACK && !lua.check_stack(8) {
        lua.raise(b"stack overflow");
    }
    // Larger ones grow: the room for a million elements is no single step.
    let room = count.min(ROOM_MADE_MAX) as i32;
    lua.push_table(if is_object { 0 } else { room }, if is_object { room } else { 0 });
    keep_top(lua, build, lane);
    match around {
        None => {}
        Some(Open { next: 0, .. }) => {
            // Parent, key, table: the table stays on top, in the place of the key.
            lua.push_value(-1);
            lua.insert(-3);
            lua.raw_set(-4);
        }
        Some(Open { next, .. }) => {
            lua.push_value(-1);
            lua.raw_set_index(-3, next);
        }
    }
    build.opened(count, is_object);
}

/// Elements or members that a new table has room for at once.
const ROOM_MADE_MAX: u32 = 16_384;

#[inline]
fn push_scalar(lua: Lua, item: Item<'_>) {
    match item {
        Item::Null => lua.push_null(),
        Item::Boolean(value) => lua.push_boolean(value),
        Item::Number(number) => lua.push_number(number),
        Item::Text(bytes) => lua.push_bytes(bytes),
        Item::Nil | Item::Array(_) | Item::Object(_) => lua.push_nil(),
    }
}

/// The value on top stands next: it is kept, if such are.
#[inline]
fn keep_top(lua: Lua, build: &Build, lane: Option<Lane>) {
    if let (true, Some(lane)) = (build.is_kept, lane) {
        check_kept(lua);
        lua.push_value(-1);
        lua.raw_set_index(KEPT, lane.slot(build.standing()));
    }
}

/// A script can put anything in the place of the table [`KEPT`].
fn check_kept(lua: Lua) {
    if lua.type_of(KEPT) != LUA_TTABLE {
        lua.raise(b"the table of realtime's half-made values is gone");
    }
}

/// Keeps what stands on the stack for the next time.
#[cold]
fn put_by(lua: Lua, build: &mut Build, lane: Lane) {
    if build.is_kept {
        return; // All of it is kept already.
    }
    check_kept(lua);
    let first = lua.top() - build.standing() + 1;
    for standing in 0..build.standing() {
        lua.push_value(first + standing);
        lua.raw_set_index(KEPT, lane.slot(standing));
    }
    build.is_kept = true;
}

/// Pushes what was kept; begins anew if a script changed it.
#[cold]
fn take_up(lua: Lua, build: &mut Build, lane: Lane) {
    check_kept(lua);
    let top = lua.top();
    if !lua.check_stack(build.standing() + 8) {
        lua.raise(b"stack overflow");
    }
    for standing in 0..build.standing() {
        lua.raw_get_index(KEPT, lane.slot(standing));
        if standing as u32 >= build.done && lua.type_of(-1) != LUA_TTABLE {
            lua.set_top(top);
            build.restart();
            return;
        }
    }
}

/// The values are made, and stand where they belong: nothing is kept any more.
#[inline]
pub(super) fn finish(lua: Lua, build: &mut Build, lane: Lane) {
    if build.is_kept {
        forget_kept(lua, build, lane);
    }
    build.restart();
}

#[cold]
fn forget_kept(lua: Lua, build: &mut Build, lane: Lane) {
    build.forget_errors();
    if lua.type_of(KEPT) == LUA_TTABLE {
        for standing in 0..=BUILD_DEPTH_MAX as i32 {
            lua.push_boolean(false);
            lua.raw_set_index(KEPT, lane.slot(standing));
        }
    }
}
