//! Asks the game for the values that status messages show: its name, map, gamemode and players.
//! Runs on the game thread, inside the pump, when `rt-webhooks` wants the values. The functions of the game may be
//! missing, and a script may have replaced them by anything: a value of another type counts as not told.

use std::time::Instant;

use crate::hooks::status::GameValues;
use crate::lua::shield::nested;
use crate::lua::stack::{LUA_TNUMBER, Lua};
use crate::threads::webhooks::desk::StatusDesk;

/// Longest text that is taken, in bytes. Names of servers and maps are shorter.
const TEXT_BYTES_MAX: usize = 256;

/// Tells the values, if they are wanted. `function` is the index of the prelude's `game_values`. `[-0, +0]`, never raises.
pub(super) fn tell(lua: Lua, function: i32, desk: &StatusDesk) {
    if desk.take_question() {
        // If Lua has no memory, the last values stay, and the question comes again.
        values(lua, function).into_iter().for_each(|values| desk.tell_game(values, Instant::now()));
    }
}

/// Calls the function, which returns five values: hostname, map, gamemode, players, max_players. `None`: it failed, although
/// it catches the errors of the functions that it calls.
#[cold]
fn values(lua: Lua, function: i32) -> Option<GameValues> {
    let top = lua.top();
    lua.push_value(function);
    let mut values = GameValues::default();
    // It calls functions that scripts may have replaced, and those may use this module: hence `nested`.
    let is_told = nested(|| lua.pcall(0, 5, 0)).unwrap_or(false);
    if is_told {
        let text = |at: i32| {
            let bytes = lua.string(top + at)?;
            Some(String::from_utf8_lossy(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)).into_owned())
        };
        // The cast saturates.
        let number = |at: i32| {
            let number = (lua.type_of(top + at) == LUA_TNUMBER).then(|| lua.number(top + at));
            number.filter(|number| *number >= 0.0).map(|number| number as u32)
        };
        (values.hostname, values.map, values.gamemode) = (text(1), text(2), text(3));
        (values.players, values.max_players) = (number(4), number(5));
    }
    lua.set_top(top);
    is_told.then_some(values)
}
