//! Asks the game for the values that status messages and other servers show: its name, map, gamemode and players.
//! Runs on the game thread, inside the pump, when `rt-webhooks` or `rt-publisher` wants the values. The functions of the game may be
//! missing, and a script may have replaced them by anything: a value of another type counts as not told.

use std::time::Instant;

use crate::hooks::status::{GameValues, Player, is_steamid64};
use crate::lua::shield::nested;
use crate::lua::stack::{LUA_TNUMBER, Lua};
use crate::threads::webhooks::desk::StatusDesk;

/// Longest text that is taken, in bytes. Names of servers and maps are shorter.
const TEXT_BYTES_MAX: usize = 256;
/// Players that are listed: as many as a server can have.
const PLAYERS_MAX: usize = 128;
/// Longest name of a player, in bytes: Steam allows 32 characters.
const PLAYER_NAME_BYTES_MAX: usize = 128;

/// Tells the values, if they are wanted. `function` is the index of the prelude's `game_values`. `[-0, +0]`, never raises.
pub(super) fn tell(lua: Lua, function: i32, desk: &StatusDesk) {
    if desk.take_question() {
        // If Lua has no memory, the last values stay, and the question comes again.
        values(lua, function, desk.shows_players())
            .into_iter()
            .for_each(|values| desk.tell_game(values, Instant::now()));
    }
}

/// Calls the function, which returns six values: hostname, map, gamemode, players, max_players, and the list of players if it is wanted. `None`: it failed, although
/// it catches the errors of the functions that it calls.
#[cold]
fn values(lua: Lua, function: i32, shows_players: bool) -> Option<GameValues> {
    let top = lua.top();
    lua.push_value(function);
    lua.push_boolean(shows_players);
    let mut values = GameValues::default();
    // It calls functions that scripts may have replaced, and those may use this module: hence `nested`.
    let is_told = nested(|| lua.pcall(1, 6, 0)).unwrap_or(false);
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
        values.list = lua.string(top + 6).map(players).unwrap_or_default();
    }
    lua.set_top(top);
    is_told.then_some(values)
}

/// Reads the list of players: a line `steamid64 name` for each. A player without a SteamID64 is left out.
fn players(list: &[u8]) -> Vec<Player> {
    let player = |line: &str| {
        let (steamid64, name) = line.split_once(' ')?;
        let name = name.get(..name.floor_char_boundary(PLAYER_NAME_BYTES_MAX)).unwrap_or(name);
        is_steamid64(steamid64).then(|| Player { steamid64: steamid64.into(), name: name.into() })
    };
    String::from_utf8_lossy(list).split('\n').filter_map(player).take(PLAYERS_MAX).collect()
}
