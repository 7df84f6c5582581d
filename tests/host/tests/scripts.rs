//! The Lua library and the frame loop, by the scripts of `tests/lua`.

mod common;
use common::{host, lua};

/// Runs a script that counts with `host.run_tests` or fails by itself, under both builds of Lua.
fn check(name: &str, args: &[&str]) {
    for unwind in ["external", "internal"] {
        let path = lua(name);
        let run = host(&[args, &["--unwind", unwind, &path]].concat(), "").ok();
        assert!(!run.out.contains("FAIL"), "{name} {unwind}:\n{}", run.out);
        run.contains("passed, 0 failed");
    }
}

#[test]
fn library() {
    check("library.lua", &[]);
}

#[test]
fn json() {
    check("json.lua", &[]);
}

#[test]
fn entities() {
    check("entities.lua", &[]);
}

#[test]
fn hooks() {
    check("hooks.lua", &[]);
}

#[test]
fn timers() {
    check("timers.lua", &["--allow-errors"]);
}

#[test]
fn hibernation() {
    check("hibernation.lua", &["--hibernate"]);
}

#[test]
fn maps() {
    check("maps.lua", &["--set", "KEY=VALUE=1", "--name", "Test Server", "--port", "27016", "--map", "gm_first"]);
}

#[test]
fn frames_keep_their_time() {
    check("frames.lua", &["--tickrate", "100"]);
}
