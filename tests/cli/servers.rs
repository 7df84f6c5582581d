//! `realtime-cli servers`: one line for each server that is up, whatever other programs have written into its keys.

use std::process::Command;

use serde_json::{Value, json};

use crate::fleet::Game;

/// Standard output, standard error and the exit status.
fn run(mut command: Command) -> (String, String, Option<i32>) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// Writes the keys of a server, as the module does.
pub(crate) fn show(game: &Game, prefix: &str, member: &str, text: &Value) {
    let key = format!("{prefix}rt:{{servers}}:server:{member}");
    game.command(&[b"SET", key.as_bytes(), text.to_string().as_bytes(), b"EX", b"600"]);
    game.command(&[b"ZADD", format!("{prefix}rt:{{servers}}:index").as_bytes(), b"0", member.as_bytes()]);
}

#[test]
fn each_server_is_one_line() {
    let game = Game::start(Some(r#"{"prefix":"gm:"}"#));
    let (out, said, code) = run(game.tool(&["servers"]));
    assert!(out.is_empty() && code == Some(0) && said.contains("no server is up"), "{out}{said}");
    let full = json!({ "name": "eu-1", "map": "gm_construct", "gamemode": "sandbox", "hostname": "Mine \u{202e}\u{1b}[2J\n",
        "version": "1.0.0", "players": 12, "max_players": 64, "started": 1_763_942_400, "seen": 1_763_942_500, "beat": 7 });
    show(&game, "gm:", "eu-1/0000000000000007", &full);
    show(&game, "gm:", "a/0000000000000001", &json!({ "name": "a" }));
    // A restarted server is listed twice until the key of the old process ends.
    show(&game, "gm:", "a/0000000000000002", &json!({ "name": "a", "players": 0 }));
    show(&game, "gm:", "liar/0000000000000001", &json!({ "name": "other" }));
    show(&game, "gm:", "huge/0000000000000001", &json!({ "name": "huge", "x": "x".repeat(9000) }));
    show(&game, "gm:", "no-boot", &json!({ "name": "no-boot" }));
    show(&game, "", "elsewhere/0000000000000001", &json!({ "name": "elsewhere" }));
    game.command(&[b"ZADD", b"gm:rt:{servers}:index", b"0", b"gone/0000000000000001"]);

    let (out, said, code) = run(game.tool(&["servers"]));
    assert_eq!((said.as_str(), code), ("", Some(0)));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["name", "players", "map", "gamemode", "seen", "hostname"]);
    assert_eq!(
        (lines.len(), lines[1][..3].join(" "), lines[2][..3].join(" ")),
        (4, "a ?/? -".to_owned(), "a 0/? -".to_owned())
    );
    assert_eq!(lines[3][..4], ["eu-1", "12/64", "gm_construct", "sandbox"]);
    assert!(
        lines[3][4].parse::<u64>().unwrap() > 1000 && out.ends_with(" s ago  Mine \\u202e\\u001b[2J\\n\n"),
        "{out}"
    );

    let (out, said, code) = run(game.tool(&["servers", "--json"]));
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out}");
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut expected = full;
    let members = expected.as_object_mut().unwrap();
    members.remove("beat");
    members.insert("boot".to_owned(), json!("0000000000000007"));
    assert_eq!((rows.len(), &rows[2]), (3, &expected));
}

#[test]
fn what_cannot_be_read_is_said() {
    let game = Game::start(None);
    let (_, said, code) = run(game.tool(&["servers", "eu-1"]));
    assert!(code == Some(2) && said.contains("`servers` takes no name: `eu-1`"), "{said}");
    game.command(&[b"SET", b"rt:{servers}:index", b"x"]);
    let (out, said, code) = run(game.tool(&["servers"]));
    assert!(code == Some(2) && out.is_empty() && said.contains("WRONGTYPE"), "{out}{said}");
    let (_, password) = game.login();
    game.stop_redis();
    let (out, said, code) = run(game.tool(&["servers", "--redis", "embedded"]));
    assert!(
        code == Some(2) && out.is_empty() && said.starts_with("realtime-cli: ") && !said.contains(&password),
        "{said}"
    );
}
