//! Every piece of Lua in the READMEs works when it is pasted: each one runs in a stand-in server with a real Redis, and
//! its webhooks reach a stand-in web server. The README's user for Redis has all rights that the module needs. Needs `REALTIME_TEST_REDIS`, which `scripts/redis-in-docker` sets.

// The lines tell which piece failed.
#![allow(clippy::print_stderr)]

mod running;

use fault_kit::{Answer, Folder, Web};
use running::client::Client;
use running::{Host, prefix, project, redis, variables};

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

#[test]
fn the_user_of_the_readme_may_do_all_that_the_module_does() {
    let readme = std::fs::read_to_string(project("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("ACL SETUSER gmod ")).expect("the README has the line");
    let user = format!("gmod-{}", std::process::id());
    let mut admin = Client::connect();
    admin.administer(&line.replace("gmod", &user).replace("PASSWORD", "hunter2"));
    let address = redis().replace("redis://", &format!("redis://{user}:hunter2@"));
    let options =
        [("REALTIME_REDIS", address.as_str()), ("REALTIME_SERVER", &user), ("REALTIME_PRESENCE_PLAYERS", "true")];
    let environment = variables("gm:", &options);
    Host::launch("acl", 60, &[], environment).pass();
    admin.administer(&format!("ACL DELUSER {user}"));
}
