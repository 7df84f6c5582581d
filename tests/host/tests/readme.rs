//! Every piece of Lua in the READMEs works when it is pasted: each one runs in a stand-in server with a real Redis, and
//! its webhooks reach a stand-in web server. Needs `REALTIME_TEST_REDIS`, which `scripts/redis-in-docker` sets.

// The lines tell which piece failed.
#![allow(clippy::print_stderr)]

mod running;

use fault_kit::{Answer, Folder, Web};
use running::{Host, prefix, project};

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
