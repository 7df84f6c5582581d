//! Makes Lua values from tapes (decoded JSON, `json/tape.rs`), with no tree in between. The way back is `encode.rs`.
//! Runs on the game thread, in `shield::perform` between Lua frames: it owns nothing and cannot panic, so that a Lua
//! error may jump over it. This is a hot path.
//! It stops when the tick's time is out, keeps the half-made values in a Lua table, and goes on in a later tick.

use std::time::Instant;

use crate::json::build::{BUILD_DEPTH_MAX, Build, Open, Pace, weight};
use crate::json::tape::{OBJECT_HEAD_BYTES, Reader, TapeItem};
use crate::lua::shapes::{Shapes, push_scalar};
use crate::lua::stack::{LUA_TTABLE, Lua, upvalue};

/// Upvalue 4 of `perform`: a table that keeps half-made values from tick to tick. It has one range of slots for each
/// [`Lane`]:
///
/// ```text
///  slot    1 .. 64    65 .. 128    129 .. 192    193 .. 256
///  lane    Event      Answer       Window        Own
/// ```
///
/// Unused slots are false, never nil, so that a write allocates nothing.
pub(super) const KEPT: i32 = upvalue(4);

/// The kind of Call that half-made values are kept for. Only one Call of each kind can be half-made at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    /// The payload of an event whose turn has come, for a listener or a condition.
    Event = 0,
    /// The answer to a command, for its callback.
    Answer = 1,
    /// An event of an aggregator's window.
    Window = 2,
    /// The payload of an event that waited for a listener with `missed`. Events go on meanwhile.
    Own = 3,
}

/// Slots of the table [`KEPT`] for one lane. A lane needs a slot for each open table and each whole value: at most
/// [`BUILD_DEPTH_MAX`] and two.
const LANE_SLOTS: i32 = 64;
/// Slots of the table [`KEPT`] for all lanes.
const KEPT_SLOTS: i32 = 4 * LANE_SLOTS;
const _: () = assert!(BUILD_DEPTH_MAX + 4 < LANE_SLOTS as usize);

impl Lane {
    /// The slot of the table [`KEPT`] for the value number `standing` (from 0) of this lane.
    fn slot(self, standing: i32) -> i32 {
        self as i32 * LANE_SLOTS + 1 + standing
    }
}

/// Pushes a new table [`KEPT`] with every slot filled, so that later writes to it never allocate. `[-0, +1]`,
/// **raises**.
pub(super) fn push_kept_table(lua: Lua) {
    lua.push_table(KEPT_SLOTS, 0);
    for slot in 1..=KEPT_SLOTS {
        lua.push_boolean(false);
        lua.raw_set_index(-2, slot);
    }
}

/// The values of a Call that are being made: their progress, their time limit, and the stage that was reached.
pub(super) struct Making<'a> {
    /// Survives a tick, so that a later one goes on from here.
    pub(super) build: &'a mut Build,
    /// Says when the tick's time is out.
    pub(super) pace: &'a mut Pace,
    /// `None`: every table is made member by member.
    pub(super) shapes: Option<&'a mut Shapes>,
    pub(super) stage: Stage,
}

impl<'a> Making<'a> {
    /// A making that has reached no stage yet.
    #[inline]
    pub(super) fn new(build: &'a mut Build, pace: &'a mut Pace, shapes: Option<&'a mut Shapes>) -> Making<'a> {
        Making { build, pace, shapes, stage: Stage::Making }
    }
}

/// The stage that a work had reached when it ended, or when a Lua error ended it.
///
/// ```text
///  Making ──all values made──▶ Called      (also if the function is gone: then nothing is called)
///     └─────time is out──────▶ Parked      (the values so far are kept; the next run starts at Making again)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not begun yet, or in the middle of making values. An error at this stage comes from Lua's memory or a `__gc`.
    Making,
    /// The tick's time ran out; the values so far are kept outside the stack.
    Parked,
    /// All values are made. From here on an error comes from the script's function.
    Called,
}

/// Values and tables that may stand on the stack without a `check_stack`. Every C function starts with twenty free
/// slots (LUA_MINSTACK); the rest is for the function to call, its arguments, a key and a value.
const STANDING_IN_MINSTACK: i32 = 8;

/// Makes `count` Lua values of the tape and leaves them on top of the stack. False: the pace says that time is out.
/// With a lane, the values so far are then kept in [`KEPT`], and the next call goes on from there. At least one value
/// is made in each call. `[-0, +count]`, or (false) `[-0, +?]`.
///
/// Runs in [`crate::lua::shield::perform`]: **raises**, and owns nothing. After an error [`Build::after_error`] says
/// how to go on. To make that possible, `build` changes only together with the values on the stack or in [`KEPT`].
///
/// While values are made, the stack holds the whole values and then the open tables, the innermost on top:
///
/// ```text
///  read so far: {"a":[1,{"b":2        stack: whole values | {a=…} | {1,{…}} | {b=2}        top on the right
/// ```
///
/// Each open table is put into the table around it when it is created, so closing it needs only a pop.
#[optimize(speed)]
pub(super) fn make(lua: Lua, tape: &[u8], count: u32, making: &mut Making<'_>, lane: Option<Lane>) -> bool {
    let Making { build, pace, shapes, .. } = making;
    let mut shapes = shapes.as_deref_mut();
    let lane = match lane {
        Some(lane) if build.is_kept => {
            restore_standing(lua, build, lane);
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
                keep_standing(lua, build, lane);
            }
            return false;
        }
        is_over = match around {
            Some(open) => {
                let mut source = Source { tape, rest: &mut rest, shapes: usable(&mut shapes, build, pace) };
                make_run(lua, &mut source, open, build, pace, lane)
            }
            None => {
                let mut source = Source { tape, rest: &mut rest, shapes: usable(&mut shapes, build, pace) };
                let values = make_whole(lua, &mut source, build, lane);
                pace.is_over(values, Instant::now)
            }
        };
        build.at = tape.len() - rest.rest().len();
    }
}

/// The tape that values are made of, up to where it was read, and the constructors that may be used.
struct Source<'a, 'b> {
    tape: &'a [u8],
    rest: &'b mut Reader<'a>,
    shapes: Option<&'b mut Shapes>,
}

impl Source<'_, '_> {
    /// Makes the table of an object of `members` by its constructor, if it has one: then returns the number of values that
    /// it counts for. `rest` stands behind the count of the members. `[-0, +1]` or `[-0, +0]`, **raises**.
    #[inline]
    fn construct(&mut self, lua: Lua, members: u32) -> Option<u32> {
        let at = self.tape.len() - self.rest.rest().len() - OBJECT_HEAD_BYTES;
        let bytes = self.shapes.as_mut()?.construct(lua, self.rest, members, at)?;
        Some(members + weight(bytes))
    }
}

/// The constructors, if they may be used now: not for values that are kept one by one, and not while values are so slow
/// that the clock is looked at after each.
#[inline]
fn usable<'a>(shapes: &'a mut Option<&mut Shapes>, build: &Build, pace: &Pace) -> Option<&'a mut Shapes> {
    if build.is_kept || pace.every() < Pace::EVERY_MAX { None } else { shapes.as_deref_mut() }
}

/// Makes the next outermost value. Of an array or object it makes the table only, and leaves it open, unless the object has
/// a constructor. Returns the number of values that it counts for: a long text counts as several. `[-0, +1]`, **raises**.
fn make_whole(lua: Lua, source: &mut Source<'_, '_>, build: &mut Build, lane: Option<Lane>) -> u32 {
    match source.rest.next_item() {
        Some(TapeItem::Array(count)) => make_table(lua, count, false, None, build, lane),
        Some(TapeItem::Object(count)) => match source.construct(lua, count) {
            Some(values) => {
                build.done += 1;
                return values;
            }
            None => make_table(lua, count, true, None, build, lane),
        },
        item => {
            let item = item.unwrap_or(TapeItem::Nil);
            push_scalar(lua, item);
            keep_top(lua, build, lane);
            build.done += 1;
            if let TapeItem::Text(text) = item {
                return weight(text.len());
            }
        }
    }
    1
}

/// Makes values of the innermost open container `open`, whose table is on top of the stack. Stops at its end, or after
/// the table of an array or object inside it was made. True: time is out. `[-0, +0]` or, with a new table, `[-0, +1]`;
/// **raises**.
///
/// If the tables are kept, `build` is updated after each value, so that an error costs one value only. If they are not
/// kept, an error makes all of them begin anew (the stack is gone), so one update at the end is enough.
#[optimize(speed)]
fn make_run(
    lua: Lua,
    source: &mut Source<'_, '_>,
    mut open: Open,
    build: &mut Build,
    pace: &mut Pace,
    lane: Option<Lane>,
) -> bool {
    let is_object = open.next == 0;
    // Script code may have run since the table was checked: while inner tables were made, in a constructor (debug
    // hooks), or as a `__gc` in the step of the collector that a text may cause. A number or boolean runs none.
    let mut unchecked = true;
    loop {
        let key = if is_object {
            match source.rest.next_item() {
                Some(TapeItem::Text(key)) => {
                    lua.push_bytes(key);
                    key
                }
                _ => return build.cut_off(), // Never happens: `tape::parse` writes a text before each member.
            }
        } else {
            &[]
        };
        let (mut bytes, mut inner) = (key.len(), 0);
        match source.rest.next_item() {
            None => return build.cut_off(),
            Some(TapeItem::Array(count)) => {
                build.set_innermost(open);
                make_table(lua, count, false, Some(open), build, lane);
                return pace.is_over(weight(bytes), Instant::now);
            }
            Some(TapeItem::Object(count)) => match source.construct(lua, count) {
                Some(values) => (inner, unchecked) = (values, true),
                None => {
                    build.set_innermost(open);
                    make_table(lua, count, true, Some(open), build, lane);
                    return pace.is_over(weight(bytes), Instant::now);
                }
            },
            Some(item) => {
                if let TapeItem::Text(text) = item {
                    bytes += text.len();
                    unchecked = true;
                }
                push_scalar(lua, item);
            }
        }
        if is_object {
            lua.check_table(-3);
            // A null member is nil here, so it removes an earlier member of the same name.
            lua.raw_set(-3);
        } else {
            if std::mem::take(&mut unchecked) {
                lua.check_table(-2);
            }
            lua.raw_set_index(-2, open.next);
            open.next += 1;
        }
        open.left -= 1;
        let is_over = pace.is_over(inner + weight(bytes), Instant::now);
        if open.left == 0 || is_over || build.is_kept {
            build.set_innermost(open);
            return is_over;
        }
    }
}

/// Makes the table of an array or object, puts it into the container `around`, and leaves it on top of the stack. The
/// key of a member is on top before. `[-0, +1]`, or in an object `[-1, +1]`; **raises**.
#[optimize(speed)]
fn make_table(lua: Lua, count: u32, is_object: bool, around: Option<Open>, build: &mut Build, lane: Option<Lane>) {
    if build.standing() >= STANDING_IN_MINSTACK && !lua.check_stack(8) {
        lua.raise(b"stack overflow");
    }
    // Room for a million elements at once would be one long step that no pace can interrupt. Larger tables grow.
    let room = count.min(ROOM_MADE_MAX) as i32;
    lua.push_table(if is_object { 0 } else { room }, if is_object { room } else { 0 });
    keep_top(lua, build, lane);
    match around {
        None => {}
        Some(Open { next: 0, .. }) => {
            // Before: parent, key, table. After: parent, table.
            lua.push_value(-1);
            lua.insert(-3);
            lua.check_table(-4);
            lua.raw_set(-4);
        }
        Some(Open { next, .. }) => {
            lua.push_value(-1);
            lua.check_table(-3);
            lua.raw_set_index(-3, next);
        }
    }
    build.opened(count, is_object);
}

/// Elements or members that a new table gets room for when it is created.
const ROOM_MADE_MAX: u32 = 16_384;

/// Keeps the value on top in the next slot of the lane, if the values of this build are kept. `[-0, +0]`, **raises**
/// only if a script changed the table of kept values.
#[inline]
fn keep_top(lua: Lua, build: &Build, lane: Option<Lane>) {
    if let (true, Some(lane)) = (build.is_kept, lane) {
        lua.check_table(KEPT);
        lua.push_value(-1);
        lua.raw_set_index(KEPT, lane.slot(build.standing()));
    }
}

/// Copies the values and open tables from the stack to [`KEPT`], so that a later tick can go on with them. `[-0, +0]`,
/// **raises** if a script replaced that table (`debug.setupvalue`).
#[cold]
fn keep_standing(lua: Lua, build: &mut Build, lane: Lane) {
    if build.is_kept {
        return; // They were kept one by one.
    }
    lua.check_table(KEPT);
    let first = lua.top() - build.standing() + 1;
    for standing in 0..build.standing() {
        lua.push_value(first + standing);
        lua.raw_set_index(KEPT, lane.slot(standing));
    }
    build.is_kept = true;
}

/// Pushes the kept values and open tables. If a script changed one of the tables, the build begins anew. `[-0,
/// +standing]` or `[-0, +0]`, **raises**.
#[cold]
fn restore_standing(lua: Lua, build: &mut Build, lane: Lane) {
    lua.check_table(KEPT);
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

/// Ends a build whose values are all made and where they belong: clears its slots of [`KEPT`], so that Lua can collect
/// the values later. `[-0, +0]`, never raises.
#[inline]
pub(super) fn finish(lua: Lua, build: &mut Build, lane: Lane) {
    if build.is_kept {
        forget_kept(lua, build, lane);
    }
    build.restart();
}

/// Overwrites the slots of a lane with false. `[-0, +0]`, never raises: the slots exist.
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
