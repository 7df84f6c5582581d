//! The functions of the table `realtime` about the module itself: `Configure`, `Status` and `Stats`. Also the Rust half
//! of the console commands `realtime_status`, `realtime_reload` and `realtime_selftest`, which the prelude adds. Runs
//! on the game thread; each function is an `entry!`. Nothing here waits, except `reload` for the settings files.

use crate::io::text_log;
use crate::json::bytes::Bytes;
use crate::json::tape;
use crate::lua::arguments::{bad, done, push_answer, refused};
use crate::lua::encode;
use crate::lua::entry::EntryOutcome;
use crate::lua::process::{operator, process};
use crate::lua::shield::Results;
use crate::lua::stack::{HELPER, LUA_TTABLE, Lua};
use crate::redis::answer::Answer;

entry! {
    /// `realtime.Configure(options) -> true | false, reason`. Applies all options or none; an option that the operator
    /// set keeps the operator's value. Upvalue 2: the prelude's `describe`.
    configure, run_configure
}

fn run_configure(lua: Lua) -> EntryOutcome {
    if lua.type_of(1) != LUA_TTABLE {
        return bad(lua, 1, "Configure", "table");
    }
    let mut text = Bytes::default();
    let outcome = process(lua).map_err(str::to_owned).and_then(|process| {
        encode::push_json(lua, 1, HELPER, &mut text).map_err(|err| err.to_string())?;
        // An empty table is encoded as an array, but options are an object.
        let text = if *text == *b"[]" { "{}".into() } else { String::from_utf8_lossy(&text) };
        process.engine().configure(&text).map_err(|refusal| refusal.to_string())
    });
    done(outcome)
}

entry! {
    /// `realtime.Status() -> state, detail`: one word for scripts, one sentence for people. Also works in a state that
    /// is not attached: the word is then `closed`.
    status, run_status
}

fn run_status(lua: Lua) -> EntryOutcome {
    let (state, detail) = match process(lua) {
        Ok(process) => process.engine().status(),
        Err(reason) => ("closed", reason.to_owned()),
    };
    EntryOutcome::Results(Results::Texts(state, detail))
}

entry! {
    /// `realtime.Stats() -> table`, the numbers of `Engine::stats`; an empty table in a state that is not attached.
    stats, run_stats
}

fn run_stats(lua: Lua) -> EntryOutcome {
    let numbers = match process(lua) {
        Ok(process) => process.engine().stats().to_string(),
        Err(_) => "{}".to_owned(),
    };
    let mut decoded = Vec::new();
    match tape::parse(numbers.as_bytes(), &mut decoded) {
        Ok(()) => push_answer(lua, &Answer { tape: decoded, values: 1 }, None),
        Err(err) => refused(None, format!("decode: the numbers have {} bytes and {err}", numbers.len())),
    }
}

entry! {
    /// For the prelude: the lines that the console command `realtime_status` prints, joined by line ends.
    report, run_report
}

fn run_report(lua: Lua) -> EntryOutcome {
    let lines = match process(lua) {
        Ok(process) => process.engine().report(),
        Err(reason) => vec![reason.to_owned()],
    };
    text_of(&lines)
}

entry! {
    /// For the prelude: reads the operator's settings again (`realtime_reload`). Returns the lines to print, joined by
    /// line ends.
    reload, run_reload
}

fn run_reload(lua: Lua) -> EntryOutcome {
    let lines = match process(lua) {
        Ok(process) => {
            let operator = operator();
            process.engine().reload(operator)
        }
        Err(reason) => vec![reason.to_owned()],
    };
    text_of(&lines)
}

/// One text of several lines. Control characters are escaped, because a server name from Redis must not steer the
/// terminal of the console.
fn text_of(lines: &[String]) -> EntryOutcome {
    let text = lines.iter().map(|line| text_log::escaped(line)).collect::<Vec<_>>().join("\n");
    EntryOutcome::Results(Results::Text(text.into_bytes().into()))
}

entry! {
    /// For the prelude: starts the self-test (`realtime_selftest`) on a thread of its own. `true`, or `false, reason`.
    begin_selftest, run_begin_selftest
}

fn run_begin_selftest(lua: Lua) -> EntryOutcome {
    let begun = process(lua).map_err(str::to_owned).and_then(|process| process.engine().begin_selftest());
    done(begun)
}
