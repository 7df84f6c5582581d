//! Binary modules are found, opened, closed and unmapped in the game's order, with both ways of raising errors.

mod common;
use common::{Dir, host, probe, script};

const MAPS: &str = r#"
require("probe")
hook.Add("ShutDown", "test", function() print("probe shutdown " .. host.map_changes()) end)
-- Runs when the state closes.
local ffi = host.require("ffi")
keep = ffi.gc(ffi.new("char[1]"), function() print("probe lua_close " .. host.map_changes()) end)
hook.Add("Think", "test", function()
    if host.map_changes() < 1 then host.changelevel("gm_flatgrass") else host.quit() end
end)
"#;

fn run(lua: &str, flags: &[&str], args: &[&str]) -> common::Run {
    let dir = Dir::new();
    let module = probe(&dir, flags);
    let path = dir.write("script.lua", lua);
    host(&[args, &["--module", &module, path.to_str().expect("UTF-8")]].concat(), "")
}

/// The lines that the probe printed, without the facts that it prints at each open.
fn story(run: &common::Run) -> Vec<&str> {
    let facts = ["top", "main", "resume"];
    run.said("probe ").into_iter().filter(|line| !facts.iter().any(|fact| line.starts_with(fact))).collect()
}

#[test]
fn by_default_the_library_is_unmapped_before_the_state_closes() {
    let run = run(MAPS, &[], &[]).ok();
    let one_map = |map| {
        [
            "open 1".to_owned(),
            format!("shutdown {map}"),
            "close 1".into(),
            "unmapped 1".into(),
            format!("lua_close {map}"),
        ]
    };
    assert_eq!(story(&run), [one_map(0), one_map(1)].concat());
}

#[test]
fn with_dlclose_last_finalisers_can_still_use_the_library() {
    let run = run(MAPS, &["-DWITH_USERDATA"], &["--unload", "dlclose-last"]).ok();
    let story = story(&run);
    let at =
        |line: &str| story.iter().position(|said| *said == line).unwrap_or_else(|| panic!("no {line} in {story:?}"));
    assert!(at("close 1") < at("collected 0") && at("collected 0") < at("unmapped 1"), "{story:?}");
    assert_eq!(story.iter().filter(|line| **line == "open 1").count(), 2, "statics are fresh: {story:?}");
}

#[test]
fn never_unloading_keeps_the_statics() {
    let run = run(MAPS, &["-DWITH_USERDATA"], &["--unload", "never"]).ok();
    let story = story(&run);
    assert!(story.contains(&"open 2") && story.contains(&"close 2"), "{story:?}");
    assert_eq!(story.iter().filter(|line| line.starts_with("unmapped")).count(), 1, "only at the very end: {story:?}");
}

#[test]
fn a_library_linked_nodelete_survives_dlclose() {
    let run = run(MAPS, &["-DWITH_USERDATA", "-Wl,-z,nodelete"], &[]).ok();
    assert!(story(&run).contains(&"open 2"), "{:?}", story(&run));
}

#[test]
fn open_gets_the_calling_state_and_require_returns_nothing() {
    let lua = r##"
        print("result", select("#", require("probe")))
        coroutine.wrap(function() require("probe") end)()
        host.quit()
    "##;
    let run = run(lua, &[], &[]).ok();
    assert_eq!(run.said("probe main "), ["1", "0"], "the second call came from a coroutine");
    assert_eq!(run.said("probe top "), ["0", "0"]);
    assert_eq!(run.said("probe resume "), ["1", "1"]);
    assert_eq!(run.said("result\t"), ["0"]);
    // It was opened twice, so one handle is lost: the library is closed once, and unmapped only with the process.
    assert_eq!(story(&run), ["open 1", "open 2", "close 2", "unmapped 2"]);
}

#[test]
fn errors_unwind_c_frames_or_jump_over_them_as_chosen() {
    let lua = r#"
        require("probe")
        for _ = 1, 3 do print("caught", pcall(probe_raise)) end
        host.quit()
    "#;
    for (mode, unwound) in [("external", 3), ("internal", 0)] {
        let run = run(lua, &[], &["--unwind", mode]).ok();
        assert_eq!(run.said("caught\t"), ["false\traised"; 3], "{mode}");
        assert_eq!(run.said("probe unwound ").len(), unwound, "{mode}");
    }
}

#[test]
fn missing_and_broken_modules_are_lua_errors() {
    let dir = Dir::new();
    let broken = dir.write("broken.so", "not a library");
    let module = format!("broken={}", broken.display());
    let lua = r#"
        print("missing", pcall(require, "missing"))
        print("climbing", pcall(require, "../../x"))
        print("broken", pcall(require, "broken"))
        print("installed", util.IsBinaryModuleInstalled("broken"), util.IsBinaryModuleInstalled("missing"))
        host.quit()
    "#;
    let run = script(lua, &["--module", &module]).ok();
    run.contains("missing\tfalse\tModule not found!");
    run.contains("climbing\tfalse\tModule not found!");
    run.contains("broken\tfalse\tCouldn't load module library!");
    run.contains("installed\ttrue\tfalse");
    // An owner looks the words up.
    for document in ["README.md", "README.fr.md"] {
        let text = std::fs::read_to_string(format!("../../{document}")).unwrap();
        for words in ["Module not found!", "Couldn't load module library!"] {
            assert!(text.contains(&format!("`{words}`")), "{document} does not explain `{words}`");
        }
    }
}

#[test]
fn a_missing_module_is_refused_by_name() {
    let run = script("host.quit()", &["--module", "/nowhere/libgmsv_realtime.so"]);
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("/nowhere/libgmsv_realtime.so"), "{}", run.err);
}

#[test]
fn stock_c_modules_find_lua_in_the_process() {
    let dir = Dir::new();
    let module = probe(&dir, &[]);
    let path = module.trim_start_matches("probe=");
    let lua = format!(r#"assert(host.loadlib("{path}", "gmod13_open"))() host.quit()"#);
    assert_eq!(script(&lua, &[]).ok().said("probe open "), ["1"]);
}
