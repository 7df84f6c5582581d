//! The Lua files that an owner copies beside the module: `lua/autorun/server` and `lua/examples`. Each test copies a file to
//! the place that its card names and runs it in a stand-in server with a real Redis. Needs `REALTIME_TEST_REDIS`, which
//! `scripts/redis-in-docker` sets.

mod running;

use std::fs;

use fault_kit::Folder;
use running::{Host, UNWINDING, prefix, project};

const GAME_HOOKS: &str = "realtime_game_hooks.lua";

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

#[test]
fn standard_events_have_their_fields_switches_and_documents() {
    let meta = format!("meta={}", project("lua/realtime_meta.lua").display());
    for unwinding in UNWINDING {
        let (_folder, root) = server_with(&[(GAME_HOOKS, autorun(GAME_HOOKS))]);
        let options = ["--root", &root, "--set", &meta, "--unwind", unwinding];
        let said = Host::start("game_hooks", &prefix(&format!("game-hooks-{unwinding}")), &options).pass();
        expect_documented(&said);
    }
}
