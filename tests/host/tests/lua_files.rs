//! The Lua files that an owner copies beside the module: `lua/autorun/server` and `lua/examples`. Each test copies a file to
//! the place that its card names and runs it in a stand-in server with a real Redis. Needs `REALTIME_TEST_REDIS`, which
//! `scripts/redis-in-docker` sets. `REALTIME_TEST_PYTHON` and `REALTIME_TEST_NODE` name interpreters that have the packages
//! `redis` and `ioredis`; without them small stand-ins for the packages are used.

// Says which packages were used, with `cargo test -- --nocapture`.
#![allow(clippy::print_stderr)]

mod running;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use fault_kit::{Answer, Folder, Web};
use running::{Host, prefix, project, redis, unwinding};

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

/// Runs `tests/lua/SCRIPT.lua` with this file of `lua/autorun/server` in place, under both builds of Lua. Another process has
/// left its last map in the folder, which must not look like a map change.
fn check_autorun(script: &str, file: &str) {
    let meta = format!("meta={}", project("lua/realtime_meta.lua").display());
    for unwinding in unwinding() {
        let (folder, root) = server_with(&[(file, autorun(file))]);
        let data = folder.path().join("garrysmod/data/realtime");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("game_hooks.json"), r#"{"map":"gm_other","started":"1000000000"}"#).unwrap();
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

/// The scripts compare the fields of the events with `lua/realtime_meta.lua`; this compares that file with the README.
#[test]
fn the_readme_names_every_field_of_the_events() {
    let (readme, meta) = (text_of("README.md"), text_of("lua/realtime_meta.lua"));
    let mut fields = 0;
    for class in meta.split("---@class realtime.event.").skip(1).filter(|class| !class.starts_with("Position")) {
        for line in class.lines().skip(1).map_while(|line| line.strip_prefix("---@field ")) {
            let name = line.split([' ', '?']).next().unwrap();
            fields += 1;
            // The README describes them as the victim's.
            let is_named = name.starts_with("killer_") || readme.contains(&format!("`{name}`"));
            assert!(is_named, "README.md does not name `{name}` of {}", class.lines().next().unwrap());
        }
    }
    assert!(fields > 60, "only {fields} fields found");
}

/// The program without a module beside it. The files say so in one line each, and raise no error.
#[test]
fn the_files_do_no_harm_without_the_module() {
    let mut files = vec![(GAME_HOOKS.to_owned(), autorun(GAME_HOOKS)), (ADAPTERS.to_owned(), autorun(ADAPTERS))];
    for entry in fs::read_dir(project("lua/examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".lua") {
            files.push((name.clone(), text_of(&format!("lua/examples/{name}"))));
        }
    }
    // The file that the README has owners paste.
    for document in ["README.md", "README.fr.md"] {
        let text = text_of(document);
        let piece = text.split("```lua\n").find(|piece| piece.starts_with("if not util.")).unwrap();
        files.push((format!("{document}.lua"), piece.split("```").next().unwrap().to_owned()));
    }
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let (folder, root) = server_with(&files);
    let program = folder.path().join("gmod-host");
    fs::copy(env!("CARGO_BIN_EXE_gmod-host"), &program).unwrap();
    let run = Command::new(program).args(["--root", &root, "--ticks", "5"]).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{said}");
    let in_english = "garrysmod/lua/bin has no realtime module for this server";
    let in_french = "garrysmod/lua/bin n'a pas de module realtime pour ce serveur";
    let is_told = |line: &str| line.contains(in_english) || line.contains(in_french);
    assert!(said.lines().count() == files.len() && said.lines().all(is_told), "{said}");
}

/// The placeholder of a webhook in the examples.
const WEBHOOK: &str = "https://discord.com/api/webhooks/ID/TOKEN";

/// An example with changed constants. Each row is a line as it is in the file, and the line that the test needs.
fn example(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = text_of(&format!("lua/examples/{name}.lua"));
    assert!(
        text.starts_with("-- ") && text.contains("-- Copy to:  garrysmod/lua/autorun/server/"),
        "{name} has no card"
    );
    for (from, to) in changes {
        assert!(text.contains(from), "{name} lacks `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// Starts a server with the example and, as its card says, the files that it needs beside it.
fn start_example(name: &str, changes: &[(&str, &str)], prefix: &str, more: &[&str]) -> (Folder, Host) {
    let text = example(name, changes);
    let file = format!("{name}.lua");
    let mut files = vec![(file.as_str(), text.clone())];
    for needed in [GAME_HOOKS, ADAPTERS] {
        if text.contains(needed) {
            files.push((needed, autorun(needed)));
        }
    }
    let (folder, root) = server_with(&files);
    let set = format!("example={name}");
    let host = Host::start("examples", prefix, &[&["--root", root.as_str(), "--set", &set], more].concat());
    (folder, host)
}

fn run_example(name: &str, changes: &[(&str, &str)]) {
    let (_folder, host) = start_example(name, changes, &prefix(name), &[]);
    host.pass();
}

/// One server acts while another watches.
fn run_example_on_two(name: &str) {
    let prefix = prefix(name);
    let (_folder, mut watches) = start_example(name, &[], &prefix, &["--set", "role=watches", "--name", "two"]);
    watches.line("ready");
    let (_other, acts) = start_example(name, &[], &prefix, &["--set", "role=acts", "--name", "one"]);
    watches.pass();
    acts.pass();
}

/// Runs an example that posts to Discord. Returns the lines that Discord got.
fn run_discord_example(name: &str, changes: &[(&str, &str)]) -> Vec<String> {
    let discord = Web::start(|_| Answer::Status(204));
    let url = discord.url("/api/webhooks/1/example");
    run_example(name, &[&[(WEBHOOK, url.as_str())], changes].concat());
    discord.seen().iter().flat_map(|seen| seen.content().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_example_of_the_economy_posts_big_payments_only() {
    let said = run_discord_example("economy_discord", &[("local WINDOW_S = 3600", "local WINDOW_S = 1")]);
    assert_eq!(said, ["**John** received 150000 on Garry's Mod and has 151000 now"]);
}

#[test]
fn the_example_of_crossbow_shots_posts_low_health_only() {
    assert_eq!(run_discord_example("crossbow_shot", &[]), ["AWESOME SHOT: John killed Alice"; 2]);
}

#[test]
fn the_example_of_chat_posts_under_the_names_of_players() {
    let discord = Web::start(|_| Answer::Status(204));
    run_example("discord_chat", &[(WEBHOOK, &discord.url("/api/webhooks/1/example"))]);
    let seen = discord.seen();
    let [line] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(
        (line.content(), line.json()["flags"].as_u64()),
        ("\\*hello\\* @\u{200b}everyone".to_owned(), Some(4100))
    );
    assert_eq!(line.json()["username"], "John on Garry's Mod");
}

#[test]
fn the_examples_on_one_server_do_what_their_cards_say() {
    run_example("tournament", &[("local SHOW_EVERY_S = 5", "local SHOW_EVERY_S = 0.1")]);
    run_example("anticheat", &[]);
    run_example("top_killer", &[]);
    run_example("minute_stats", &[("local WINDOW_S = 60", "local WINDOW_S = 1")]);
    run_example("batch_archive", &[("local EVERY_S = 300", "local EVERY_S = 0.1")]);
}

#[test]
fn the_examples_on_two_servers_do_what_their_cards_say() {
    for name in ["network_kills", "cross_server_chat", "shared_bans"] {
        run_example_on_two(name);
    }
}

/// Not run here: the unit tests of `src/threads/metrics/text.rs` compare it with the metrics file.
const DASHBOARD: &str = "grafana_dashboard.json";

/// Every file of `lua/examples` is in the README, and every Lua file is run by a test above.
#[test]
fn the_readme_lists_every_example() {
    let readme = text_of("README.md");
    let tests = text_of("tests/host/tests/lua_files.rs");
    for entry in fs::read_dir(project("lua/examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("`{name}`")), "README.md does not list {name}");
        let is_run = name == DASHBOARD || tests.contains(&format!("\"{}\"", name.trim_end_matches(".lua")));
        assert!(is_run, "no test runs {name}");
    }
}

/// The interpreter that `variable` names if it has the package, or else `program` with a stand-in for the package; `None` if
/// the machine has neither.
fn interpreter(variable: &str, program: &str, check: &[&str]) -> Option<(String, bool)> {
    let named = std::env::var(variable).unwrap_or_else(|_| program.to_owned());
    let has_package =
        Command::new(&named).args(check).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if has_package {
        return Some((named, true));
    }
    let runs =
        Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    runs.then(|| (program.to_owned(), false))
}

/// Runs the consumer beside a server that speaks, until the consumer prints an event of it.
fn expect_consumed(name: &str, mut command: Command) {
    let prefix = prefix(name);
    let speaks = Host::start("speaks", &prefix, &[]);
    let mut consumer = command.env("REALTIME_REDIS", redis()).stdout(Stdio::piped()).spawn().unwrap();
    let wanted = format!("{prefix}player:death");
    let lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    let found = lines.map(Result::unwrap).find(|line| line.starts_with(&wanted));
    consumer.kill().unwrap();
    consumer.wait().unwrap();
    speaks.kill();
    let line = found.expect("the consumer ended");
    assert!(line.contains("Zoé") && line.contains("Alice") && !line.contains("_rt"), "{line}");
}

#[test]
fn the_consumer_in_python_prints_events() {
    let Some((python, real)) =
        interpreter("REALTIME_TEST_PYTHON", "python3", &["-c", "import redis; redis.Redis.from_url"])
    else {
        eprintln!("this machine has no python3: consumer.py was not run");
        return;
    };
    eprintln!("consumer.py with {}", if real { "the package redis" } else { "a stand-in for the package redis" });
    let mut command = Command::new(python);
    command.arg(project("lua/examples/consumer.py"));
    if !real {
        command.env("PYTHONPATH", project("tests/host/tests/consumers"));
    }
    expect_consumed("consumer.py", command);
}

/// Node.js looks for packages beside the file, so the file is copied beside the package.
#[test]
fn the_consumer_in_node_prints_events() {
    let found = interpreter("REALTIME_TEST_NODE", "node", &["--input-type=module", "-e", "import 'ioredis'"]);
    let Some((node, real)) = found else {
        eprintln!("this machine has no node: consumer.mjs was not run");
        return;
    };
    eprintln!("consumer.mjs with {}", if real { "the package ioredis" } else { "a stand-in for the package ioredis" });
    let folder = Folder::default();
    let mut file = project("lua/examples/consumer.mjs");
    if !real {
        let package = folder.path().join("node_modules/ioredis");
        fs::create_dir_all(&package).unwrap();
        for part in ["package.json", "index.js"] {
            fs::copy(project("tests/host/tests/consumers/ioredis").join(part), package.join(part)).unwrap();
        }
        let copy = folder.path().join("consumer.mjs");
        fs::copy(&file, &copy).unwrap();
        file = copy;
    }
    let mut command = Command::new(node);
    command.arg(file);
    expect_consumed("consumer.mjs", command);
}
