//! The Lua files that an owner copies beside the module: `lua/autorun/server` and `lua/examples`. Each test copies a file to
//! the place that its card names and runs it in a stand-in server with a real Redis. Needs `REALTIME_TEST_REDIS`, which
//! `scripts/redis-in-docker` sets.

mod running;

use std::fs;

use fault_kit::Folder;
use running::{Host, UNWINDING, prefix, project};

const GAME_HOOKS: &str = "realtime_game_hooks.lua";
const ADAPTERS: &str = "realtime_adapters.lua";

/// A server's folder with these files in `lua/autorun/server`.
fn server_with(files: &[(&str, String)]) -> (Folder, String) {
    let folder = Folder::default();
    let place = folder.path().join("garrysmod/lua/autorun/server");
    fs::create_dir_all(&place).unwrap();
    for (name, text) in files {
        fs::write(place.join(name), text).unwrap();
    }
    let root = folder.path().display().to_string();
    (folder, root)
}

fn text_of(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap()
}

fn autorun(name: &str) -> String {
    text_of(&format!("lua/autorun/server/{name}"))
}

/// Every convar that the script printed as `convar NAME DEFAULT` is in the README with its default.
fn expect_documented(said: &str) {
    let readme = text_of("README.md");
    let convars: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("convar ")).collect();
    assert!(convars.len() > 5, "{said}");
    for convar in convars {
        let (name, default) = convar.split_once(' ').unwrap();
        let documented = readme.contains(&format!("| `{name}` | {default} |"));
        assert!(documented, "README.md does not list the convar {name} with its default {default}");
    }
}

/// Runs `tests/lua/SCRIPT.lua` with this file of `lua/autorun/server` in place, under both builds of Lua.
fn check_autorun(script: &str, file: &str) {
    let meta = format!("meta={}", project("lua/realtime_meta.lua").display());
    for unwinding in UNWINDING {
        let (_folder, root) = server_with(&[(file, autorun(file))]);
        let options = ["--root", &root, "--set", &meta, "--unwind", unwinding];
        let said = Host::start(script, &prefix(&format!("{script}-{unwinding}")), &options).pass();
        expect_documented(&said);
    }
}

#[test]
fn standard_events_have_their_fields_switches_and_documents() {
    check_autorun("game_hooks", GAME_HOOKS);
}

#[test]
fn adapters_turn_the_hooks_of_addons_into_events() {
    check_autorun("adapters", ADAPTERS);
}
