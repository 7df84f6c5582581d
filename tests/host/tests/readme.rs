//! Every piece of Lua in the READMEs works when it is pasted: each one runs in a stand-in server with a real Redis, and
//! its webhooks reach a stand-in web server. The README's user for Redis has all rights that the module needs. Needs `REALTIME_TEST_REDIS`, which `scripts/redis-in-docker` sets.

// The lines tell which piece failed.
#![allow(clippy::print_stderr)]

mod running;

use fault_kit::{Answer, Folder, Web};
use realtime::facade::redis::reply::Reply;
use running::client::Client;
use running::{Host, prefix, project, redis, variables, without_redis};

/// The addresses of the examples; the tests reach no other host than this one.
const PLACES: [&str; 3] = ["https://discord.com/api/webhooks/...", "https://example.org", "https://example.com"];

/// The blocks of a document that begin with ` ```lua `, with the number of their first line.
fn pieces(document: &str) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(project(document)).unwrap();
    let (mut found, mut open) = (Vec::new(), None::<(usize, String)>);
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line.trim()) {
            (None, "```lua") => open = Some((number + 1, String::new())),
            (None, _) => {}
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, piece)), _) => {
                piece.push_str(line);
                piece.push('\n');
            }
        }
    }
    assert!(open.is_none(), "{document}: a block has no end");
    found
}

/// The text between the heading and the next one.
fn section(document: &str, heading: &str) -> String {
    let text = std::fs::read_to_string(project(document)).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).expect("the section exists");
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Does the steps of "Five minutes" as they are written, on a server without a Redis and on one with a real one.
fn first_minutes(document: &str, heading: &str) {
    let text = section(document, heading);
    let command = |start: &str| {
        let found = text.split('`').find(|code| code.starts_with(start) && !code.contains('\n'));
        found.unwrap_or_else(|| panic!("{document} lacks `{start}...`")).to_owned()
    };
    let file = text.split("```lua\n").nth(1).unwrap().split("```").next().unwrap();
    let place = text.split('`').find(|code| code.ends_with("/kills.lua")).unwrap();
    for (state, mut environment) in [("embedded", without_redis()), ("connected", variables(&prefix(document), &[]))] {
        // An owner calls the server as people do.
        environment.push(("REALTIME_SERVER".to_owned(), "My server #1".to_owned()));
        let discord = Web::start(|_| Answer::Status(204));
        let folder = Folder::default();
        let script = folder.path().join(place);
        std::fs::create_dir_all(script.parent().unwrap()).unwrap();
        std::fs::write(&script, file.replace(PLACES[0], &discord.url("/api/webhooks/1/a"))).unwrap();
        // Files of this folder run in the order of their names.
        std::fs::write(script.with_file_name("a_clock.lua"), CLOCK).unwrap();
        let root = folder.path().display().to_string();
        let [platform, emit] = [("platform", "lua_run print("), ("emit", "lua_run realtime.Emit(")]
            .map(|(name, start)| format!("{name}={}", command(start)));
        let set = format!("state={state}");
        let options = ["--root", &root, "--set", &set, "--set", &platform, "--set", &emit];
        let said = Host::launch("five_minutes", 100, &options, environment).pass();
        said.lines().filter(|line| line.contains("the first require")).for_each(|line| eprintln!("{document}: {line}"));
        // The table of files names the system and the width as they are printed here, with a tab between them.
        let system = said.lines().find(|line| line.contains("\tx")).unwrap_or_default();
        assert!(text.contains(&format!("| `{}` |", system.replace('\t', " "))), "{said}");
        assert!(said.contains("[realtime] self-test passed") && said.contains(&format!(": {state} for ")), "{said}");
        assert!(said.contains("this server is called `My-server--1`: a name has the characters "), "{said}");
        let posted = discord.seen();
        assert!(posted.len() == 1 && posted[0].content().starts_with("**"), "{posted:?}");
        assert!(folder.path().join("garrysmod/data/logs/kills.log").exists());
    }
}

/// Notes the time and the memory of the server before the module is loaded, and the end of the self-test.
const CLOCK: &str = r#"local load, say, kb = require, print, host.resources().rss_kb
function require(name)
    if name == "realtime" and not first_require then first_require, first_kb = SysTime(), kb end
    return load(name)
end
function print(...)
    if tostring((...)):find("[realtime] self-test ", 1, true) then selftest_ended = true end
    return say(...)
end
"#;

#[test]
fn the_first_five_minutes_go_as_the_readmes_say() {
    first_minutes("README.md", "Five minutes");
    first_minutes("README.fr.md", "Cinq minutes");
}

fn run_all(document: &str) {
    let folder = Folder::default();
    std::fs::create_dir_all(folder.path()).unwrap();
    let found = pieces(document);
    assert!(found.len() > 5, "{document} has {} pieces of Lua", found.len());
    for (line, piece) in found {
        let web = Web::start(|_| Answer::Status(204));
        let here = web.url("/api/webhooks/1/a");
        let piece = PLACES.iter().fold(piece, |piece, place| piece.replace(place, &here));
        assert!(!piece.replace(&here, "").contains("://"), "{document}:{line} names another host:\n{piece}");
        let file = folder.path().join(format!("{line}.lua"));
        std::fs::write(&file, &piece).unwrap();
        let set = format!("code={}", file.display());
        eprintln!("{document}:{line}");
        Host::start("snippet", &prefix(&format!("readme-{line}")), &["--set", &set]).pass();
    }
}

#[test]
fn the_pieces_of_the_readme_work() {
    run_all("README.md");
}

#[test]
fn the_pieces_of_the_french_readme_work() {
    run_all("README.fr.md");
}

/// A piece of Lua without the texts in quotes and without comments.
fn skeleton(piece: &str) -> String {
    let code = piece.lines().map(|line| line.split("--").next().unwrap_or(line));
    code.flat_map(|line| line.split('"').step_by(2)).flat_map(str::split_whitespace).collect()
}

/// The French README has the same pieces of code as the owner's half of the English one, apart from texts and comments, and as
/// many symptoms and alternatives.
#[test]
fn both_readmes_say_the_same() {
    let french: Vec<String> = pieces("README.fr.md").iter().map(|(_, piece)| skeleton(piece)).collect();
    let english = pieces("README.md");
    for ((line, piece), french) in english.iter().zip(&french) {
        assert_eq!(&skeleton(piece), french, "README.md:{line} is another piece of code in French");
    }
    let rows =
        |document: &str, heading: &str| section(document, heading).lines().filter(|line| line.starts_with('|')).count();
    for (heading, titre) in [
        ("Five minutes", "Cinq minutes"),
        ("Troubleshooting", "Dépannage"),
        ("Beside other ways", "À côté des autres solutions"),
    ] {
        assert_eq!(rows("README.md", heading), rows("README.fr.md", titre), "{heading}");
    }
}

/// What scripts find in the table `realtime` stands in the README's table and in the types for editors, and nothing else.
#[test]
fn the_readme_and_the_types_name_all_that_scripts_find() {
    let said = Host::start("names", &prefix("names"), &[]).finish();
    let names: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("name ")).collect();
    assert!(names.len() > 20, "{said}");
    let types = std::fs::read_to_string(project("lua/realtime_meta.lua")).unwrap();
    let readme = std::fs::read_to_string(project("README.md")).unwrap();
    let rows: String = readme.lines().filter(|line| line.starts_with("| `")).collect();
    for name in &names {
        let is_typed = types.lines().any(|line| {
            line.starts_with(&format!("function realtime.{name}(")) || line.starts_with(&format!("realtime.{name} ="))
        });
        assert!(is_typed, "lua/realtime_meta.lua lacks {name}");
        assert!(rows.contains(&format!("`{name}(")) || rows.contains(&format!("`{name}`")), "README.md lacks {name}");
    }
    let typed = types.lines().filter_map(|line| line.strip_prefix("function realtime.")?.split('(').next());
    typed.for_each(|name| assert!(names.contains(&name), "there is no {name}"));
}

/// The lines `ACL SETUSER ...` of a document, without the marks of code around them.
fn users(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project(document)).unwrap();
    let lines = text.lines().filter_map(|line| Some(&line[line.find("ACL SETUSER ")?..]));
    lines.map(|line| line.split('`').next().unwrap_or(line).to_owned()).collect()
}

/// Makes the user of a line, under a name of this process, and returns the name. A rule may take back what an earlier one of
/// the same line gave: every command that the line names must be the user's at the end.
fn make_user(admin: &mut Client, line: &str) -> String {
    let name = line.split(' ').nth(2).unwrap();
    let user = format!("{name}-{}", std::process::id());
    admin.administer(&line.replacen(name, &user, 1).replace("PASSWORD", "hunter2"));
    admin.send(&[b"ACL", b"LIST"]);
    let own = format!("user {user} ");
    let listed = admin.read(|reply| {
        let Reply::Array(users) = reply else { panic!("{reply:?}") };
        let mut lines = users.into_iter().map(|user| String::from_utf8_lossy(user.text().unwrap()).into_owned());
        Some(lines.find(|listed| listed.starts_with(&own)))
    });
    let listed = listed.expect("the user exists");
    let rights: Vec<&str> = listed.split(' ').collect();
    for right in line.split(' ').filter(|word| word.starts_with('+') && !word.starts_with("+@")) {
        assert!(rights.contains(&right), "{right} is taken back by a later rule: {line}");
    }
    user
}

#[test]
fn the_users_of_the_readme_may_do_all_that_they_are_for() {
    let lines = users("README.md");
    let [of_module, of_tool] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(users("README.fr.md"), [of_module.replace("PASSWORD", "MOT_DE_PASSE")]);
    let mut admin = Client::connect();
    let watch = make_user(&mut admin, of_tool);
    let user = make_user(&mut admin, of_module);
    let discord = Web::start(|_| Answer::Full(200, String::new(), r#"{"id":"1"}"#.to_owned()));
    let set = format!("discord={}", discord.url("/api/webhooks/1/acl"));
    let address = redis().replace("redis://", &format!("redis://{user}:hunter2@"));
    let options =
        [("REALTIME_REDIS", address.as_str()), ("REALTIME_SERVER", &user), ("REALTIME_PRESENCE_PLAYERS", "true")];
    let environment = variables("gm:", &options);
    Host::launch("acl", 60, &["--set", &set], environment).pass();
    admin.administer(&format!("ACL DELUSER {user} {watch}"));
}
