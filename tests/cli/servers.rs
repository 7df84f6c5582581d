//! `realtime-cli servers`: one line for each server that is up, whatever other programs have written into its keys.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::fleet::Game;
use crate::tool;

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
    assert!(code == Some(2) && said.contains("`servers` takes no name\n"), "{said}");
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

/// A node of a cluster that serves no key itself, or all of them: its port. It answers each command by these words.
fn node(answer: impl Fn(&[String], u16) -> Option<String> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            thread::spawn(move || serve(stream.unwrap(), |words| answer(words, port)));
        }
    });
    port
}

/// No word of a test holds the end of a line.
fn serve(stream: TcpStream, answer: impl Fn(&[String]) -> Option<String>) {
    let mut out = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(count) = lines.next() {
        let count: usize = count.strip_prefix('*').unwrap().parse().unwrap();
        let words: Vec<String> = (0..count).map(|_| lines.nth(1).unwrap()).collect();
        let reply = answer(&words).unwrap_or_else(|| "-ERR unknown command".to_owned());
        out.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
    }
}

#[test]
fn the_node_of_a_cluster_that_has_the_list_is_found() {
    let text = json!({ "name": "eu-1", "players": 3 }).to_string();
    let owner = node(move |words, _| match words[0].as_str() {
        "ZRANGE" => Some("*1\r\n$21\r\neu-1/0000000000000007".to_owned()),
        "MGET" => Some(format!("*1\r\n${}\r\n{text}", text.len())),
        _ => None,
    });
    // Without a host it is that of the node which says so.
    for place in [format!("127.0.0.1:{owner}"), format!(":{owner}")] {
        let first = node(move |words, _| (words[0] == "ZRANGE").then(|| format!("-MOVED 5 {place}")));
        let mut command = tool();
        command.args(["servers", "--json", "--redis", &format!("redis://127.0.0.1:{first}")]);
        let (out, said, code) = run(command);
        assert_eq!(
            (out.as_str(), said.as_str(), code),
            ("{\"boot\":\"0000000000000007\",\"name\":\"eu-1\",\"players\":3}\n", "", Some(0))
        );
    }
    let lost = node(|words, port| (words[0] == "ZRANGE").then(|| format!("-MOVED 5 127.0.0.1:{port}")));
    let mut command = tool();
    command.args(["servers", "--redis", &format!("redis://127.0.0.1:{lost}")]);
    let (out, said, code) = run(command);
    assert!(code == Some(2) && out.is_empty() && said.contains("the nodes of the cluster disagree"), "{out}{said}");
}
