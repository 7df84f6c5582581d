//! The Lua library and the frame loop of the host, tested by the scripts of `tests/lua` beside this file.

mod common;
use common::{host, lua};

/// Runs a script under both builds of Lua. The script counts with `host.run_tests` or fails by itself.
fn check(name: &str, args: &[&str]) {
    for unwind in ["external", "internal"] {
        let path = lua(name);
        let run = host(&[args, &["--unwind", unwind, &path]].concat(), "").ok();
        assert!(!run.out.contains("FAIL"), "{name} {unwind}:\n{}", run.out);
        run.contains("passed, 0 failed");
    }
}

#[test]
fn the_lua_library_behaves_as_in_the_game() {
    check("library.lua", &[]);
}

#[test]
fn json_is_written_and_read_as_in_the_game() {
    check("json.lua", &[]);
}

#[test]
fn entities_and_players_behave_as_in_the_game() {
    check("entities.lua", &[]);
}

#[test]
fn hooks_run_as_in_the_game() {
    check("hooks.lua", &[]);
}

#[test]
fn timers_fire_as_in_the_game() {
    check("timers.lua", &["--allow-errors"]);
}

#[test]
fn hibernation_stops_time_and_hooks() {
    check("hibernation.lua", &["--hibernate"]);
}

#[test]
fn a_map_change_resets_the_lua_state() {
    check("maps.lua", &["--set", "KEY=VALUE=1", "--name", "Test Server", "--port", "27016", "--map", "gm_first"]);
}

#[test]
fn frames_keep_their_time() {
    check("frames.lua", &["--tickrate", "100"]);
}
