//! The program around the server: command line, console, errors and exit codes, the directory, the watchdog.

mod common;
use common::{Dir, host, script};
use std::fs;

#[test]
fn help_is_printed_and_wrong_options_are_refused_by_name() {
    let help = host(&["--help"], "").ok();
    ["--module", "--unload", "--max-seconds", "exit code"].iter().for_each(|word| help.contains(word));
    for (args, word) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--port", "70000"], "--port"),
        (&["--unwind=sideways"], "sideways"),
        (&["--set", "novalue"], "novalue"),
        (&["--ticks"], "needs a value"),
        (&["/nowhere/script.lua"], "/nowhere/script.lua"),
    ] {
        let run = host(args, "");
        assert_eq!(run.code, Some(2), "{args:?}");
        assert!(run.err.contains(word), "{args:?}: {}", run.err);
    }
}

#[test]
fn the_exit_code_says_how_the_run_ended() {
    for (lua, args, code) in [
        ("", &["--ticks", "3"][..], 0),
        ("", &["--seconds", "0.02"], 0),
        ("host.quit(7)", &[], 7),
        ("host.quit(256)", &[], 1),
        ("error('x') host.quit()", &["--ticks", "1"], 1),
        ("error('x')", &["--ticks", "1", "--allow-errors"], 0),
        ("syntax error", &["--ticks", "1"], 1),
        ("ErrorNoHaltWithStack('x') host.quit()", &[], 0),
        ("hook.Add('Think', 'x', function() host.quit() error('x') end)", &[], 1),
        ("hook.Add('ShutDown', 'x', function() error('x') end) host.quit()", &[], 1),
        ("concommand.Add('x', function() error('x') end) RunConsoleCommand('x')", &["--ticks", "2"], 1),
        ("host.fail('x') host.quit()", &[], 1),
        ("host.fail('x') host.quit()", &["--allow-errors"], 1),
    ] {
        let run = script(lua, args);
        assert_eq!(run.code, Some(code), "{lua}\n{}\n{}", run.out, run.err);
    }
}

#[test]
fn exit_now_ends_at_once() {
    // This run has its own root, because nothing is cleaned up.
    let dir = Dir::new();
    let root = dir.0.join("game");
    let lua =
        "hook.Add('ShutDown', 'x', function() print('shut down') end) print('before') host.exit_now(9) print('after')";
    let run = script(lua, &["--root", root.to_str().expect("UTF-8")]);
    assert_eq!((run.code, run.out.as_str()), (Some(9), "before\n"));
}

#[test]
fn errors_are_printed_as_the_game_does() {
    let lua = "local function inner() error('boom') end\n\
               local function outer() inner() end\n\
               hook.Add('Think', 'x', function()\n  outer()\nend)\n";
    let run = script(lua, &["--ticks", "1"]);
    assert_eq!(run.code, Some(1));
    run.contains("\n[ERROR] ");
    run.contains("script.lua:1: boom\n");
    run.contains("\n  1. inner - ");
    run.contains("script.lua:1\n   2. outer - ");
    run.contains("script.lua:2\n    3. fn - ");

    let run = script("print(host.errors()) ErrorNoHaltWithStack('one ', 2) print(host.errors()) host.quit()", &[]).ok();
    run.contains("[ERROR] one 2\n  1. unknown - ");
    run.contains("1\tone 2");
}

#[test]
fn c_comments_keep_their_lines() {
    let lua = "// one\nlocal url = 'http://x' /* two\n three */ print(url)\n--[[ // ]] print('line', debug.getinfo(1).currentline)\n\
               if 1 != 2 && !false || nil then for i = 1, 2 do if i == 1 then continue end print('i', i) end end\n\
               RunString('print(1) // end') host.quit()";
    let run = script(lua, &[]).ok();
    assert_eq!(run.out, "http://x\nline\t4\ni\t2\n1\n");
}

#[test]
fn the_console_reads_standard_input() {
    let lua = r#"
        concommand.Add("greet", function(ply, cmd, args, text)
            print(IsValid(ply), cmd, #args, args[1], args[2], text)
        end)
    "#;
    let dir = Dir::new();
    let path = dir.write("script.lua", lua);
    let lines = "greet \"a b\" c; echo two // no\nunheard of\nsv_tags x y\nsv_tags\nlua_run print(1 + 1); print('three')\nquit\n";
    let run = host(&["--stdin", path.to_str().expect("UTF-8")], lines).ok();
    for text in [
        "false\tgreet\t2\ta b\tc\t\"a b\" c\n",
        "two \n",
        "Unknown command \"unheard\"",
        "\"sv_tags\" = \"x y\"",
        "\n2\nthree\n",
    ] {
        run.contains(text.trim_end_matches(" \n"));
    }
}

#[test]
fn a_kept_root_has_the_games_layout() {
    let dir = Dir::new();
    dir.write("game/garrysmod/lua/autorun/server/b.lua", "print('autorun b', debug.getinfo(1).source)");
    dir.write("game/garrysmod/lua/autorun/server/a.lua", "print('autorun a') include('lib/x.lua')");
    dir.write("game/garrysmod/lua/lib/x.lua", "print('included') // yes");
    dir.write("game/garrysmod/cfg/server.cfg", "hostname \"From Cfg\" // ours\n");
    let path = dir.write(
        "script.lua",
        "file.Write('kept.txt', 'x') hook.Add('Initialize', 'x', function() print(GetHostName()) host.quit() end)",
    );
    let root = dir.0.join("game");
    let run = host(&["--root", root.to_str().expect("UTF-8"), path.to_str().expect("UTF-8")], "").ok();
    assert_eq!(run.out, "autorun a\nincluded\nautorun b\t@lua/autorun/server/b.lua\nFrom Cfg\n");
    assert_eq!(fs::read_to_string(root.join("garrysmod/data/kept.txt")).expect("kept"), "x");
    assert!(root.join("bin/linux64/lua_shared.so").exists());
}

#[test]
fn a_temporary_root_is_removed() {
    let run = script("print('root', host.env('PWD') ~= nil, file.IsDir('lua/bin', 'GAME')) print('maps', host.io.open('/proc/self/cwd') ~= nil) host.quit() \
                      local p = host.io.popen('pwd -P') print('at\t' .. p:read('*l')) p:close()", &[]).ok();
    let at = run.said("at\t");
    assert!(at[0].contains("gmod-host-"), "{at:?}");
    assert!(!std::path::Path::new(at[0]).exists(), "{at:?} still exists");
}

#[test]
fn the_report_is_one_line_of_json() {
    let run = script("ErrorNoHaltWithStack('x')", &["--ticks", "5", "--report"]).ok();
    let line = run.out.lines().last().expect("a line");
    assert!(
        line.starts_with("{\"frames\":5,\"p50_us\":") && line.ends_with("\"errors\":1,\"uncaught\":0,\"exit\":0}"),
        "{line}"
    );
}

#[test]
fn the_watchdog_kills_a_hung_server() {
    let run = script("while true do end", &["--max-seconds", "0.3"]);
    assert_eq!(run.code, Some(124), "{}", run.err);
    assert!(run.err.contains("WATCHDOG"), "{}", run.err);
}
