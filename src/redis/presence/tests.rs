//! The search against a Redis of a few lines, with entries that no server wrote among those of servers.

use super::*;
use crate::json::tape::{Reader, TapeItem};
use crate::redis::REPLY_LIMITS;
use crate::redis::reply::Decoder;

fn game() -> GameValues {
    let list = vec![Player { steamid64: "76561198000000001".into(), name: "J\u{f6} \"x\"".into() }];
    let map = Some("m".repeat(300));
    GameValues { hostname: Some("My \"server\"".to_owned()), map, players: Some(3), list, ..GameValues::default() }
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// Answers the search from these keys; a value of `None` has ended.
fn play(search: &mut Search, keys: &[(String, Option<Vec<u8>>)]) -> (Result<Answer, String>, Vec<String>) {
    let mut names = Vec::new();
    loop {
        let mut bytes = Vec::new();
        search.encode(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let words: Vec<&str> =
            text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['$', '*'])).collect();
        names.push(format!("{} {}", words[0], words.len() - 1));
        let parts: Vec<Vec<u8>> = match words[0] {
            "ZRANGE" => {
                assert_eq!(words[1..], ["p:rt:{servers}:index", "0", "999"]);
                keys.iter().map(|(member, _)| bulk(member.as_bytes())).collect()
            }
            _ => {
                let value = |key: &&str| {
                    let member = key
                        .strip_prefix("p:rt:{servers}:server:")
                        .or_else(|| key.strip_prefix("p:rt:{servers}:players:"))
                        .unwrap();
                    keys.iter().find(|(known, _)| known == member).and_then(|(_, value)| value.clone())
                };
                words[1..].iter().map(|key| value(key).map_or(b"$-1\r\n".to_vec(), |value| bulk(&value))).collect()
            }
        };
        let mut decoder = Decoder::new(REPLY_LIMITS);
        decoder.feed(&[format!("*{}\r\n", parts.len()).into_bytes(), parts.concat()].concat());
        match search.take(decoder.next().unwrap().unwrap()) {
            Ok(SearchProgress::More) => {}
            Ok(SearchProgress::Cluster) => panic!("its keys share a slot"),
            Ok(SearchProgress::Done(answer)) => return (Ok(answer), names),
            Err(reason) => return (Err(reason), names),
        }
    }
}

/// The texts and numbers of an answer, in order.
fn shown(answer: &Answer) -> String {
    let mut tape = Reader::new(&answer.tape);
    let mut out = Vec::new();
    while let Some(item) = tape.next_item() {
        out.push(match item {
            TapeItem::Text(text) if text.len() > 100 => format!("{} bytes", text.len()),
            TapeItem::Text(text) => String::from_utf8_lossy(text).into_owned(),
            TapeItem::Number(number) => number.to_string(),
            TapeItem::Array(count) => format!("[{count}]"),
            TapeItem::Object(count) => format!("{{{count}}}"),
            _ => "nil".to_owned(),
        });
    }
    out.join(" ")
}

#[test]
fn servers_are_listed_by_name_and_hostile_entries_are_skipped() {
    let text = |name: &str| Some(server_text(name, &game(), 5_500, 7_900, 2).into_bytes());
    let own = |name: &str, value| (member(name, 1), value);
    let with = |name: &str, text: &str| (member(name, 1), Some(text.as_bytes().to_vec()));
    let huge = format!("{{\"name\":\"huge\",\"x\":\"{}\"}}", "x".repeat(SERVER_BYTES_MAX));
    let keys = vec![
        own("b", text("b")),
        own("a", text("a")),
        (member("a", 2), text("a")),
        own("gone", None),
        // Each of the others was written by another program.
        own("liar", text("b")),
        with("empty", ""),
        with("array", "[]"),
        with("deep", &"[".repeat(5000)),
        with("nameless", "{}"),
        with("map", r#"{"name":"map","map":{}}"#),
        with("long", &format!(r#"{{"name":"long","map":"{}"}}"#, "x".repeat(257))),
        with("float", r#"{"name":"float","players":1.5}"#),
        with("negative", r#"{"name":"negative","seen":-1}"#),
        with("large", r#"{"name":"large","started":9007199254740993}"#),
        with("huge", &huge),
        own("bytes", Some(b"\xff\xfe".to_vec())),
        ("no-boot".to_owned(), text("no-boot")),
        ("a/000000000000000G".to_owned(), text("a")),
        ("evil name/0000000000000001".to_owned(), text("evil name")),
        (String::new(), None),
    ];
    let mut search = Search::new("p:", None);
    let (answer, commands) = play(&mut search, &keys);
    let row = |name: &str| {
        let version = env!("CARGO_PKG_VERSION");
        format!("{{7}} name {name} map 256 bytes hostname My \"server\" version {version} players 3 started 5 seen 7")
    };
    assert_eq!(shown(&answer.unwrap()), format!("[3] {} {} {}", row("a"), row("a"), row("b")));
    assert_eq!((search.skipped, commands), (16, vec!["ZRANGE 3".to_owned(), "MGET 16".to_owned()]));
    assert_eq!(beat_of(&member("a", 1), &text("a").unwrap()), Some(2));
}

#[test]
fn a_thousand_servers_are_read_in_steps_and_no_more() {
    let key = |number: usize| {
        let name = format!("s{number}");
        let text = server_text(&name, &GameValues::default(), 0, 0, 1);
        (member(&name, 1), Some(text.into_bytes()))
    };
    let keys: Vec<_> = (0..1200).map(key).collect();
    let mut search = Search::new("p:", None);
    let (answer, commands) = play(&mut search, &keys);
    assert!(shown(&answer.unwrap()).starts_with("[1000] {4} name s0 "));
    assert_eq!((commands.len(), commands[10].as_str(), search.skipped), (11, "MGET 100", 0));
}

#[test]
fn a_player_is_found_on_the_server_that_shows_players() {
    let players = players_text(&game().list);
    let keys = vec![
        (member("a", 1), None),
        (member("b", 1), Some(b"[7]".to_vec())),
        (member("c", 1), Some(b"{}".to_vec())),
        (member("d", 1), Some(players.into_bytes())),
    ];
    for (player, expected, skipped) in
        [("76561198000000001", "{2} server d name J\u{f6} \"x\"", 1), ("7656119800000000", "nil", 1)]
    {
        let mut search = Search::new("p:", Some(player));
        let (answer, _) = play(&mut search, &keys);
        assert_eq!((shown(&answer.unwrap()).as_str(), search.skipped), (expected, skipped));
    }
}

#[test]
fn a_reply_of_another_kind_is_an_error_with_its_code() {
    for (reply, expected) in [
        (&b"-WRONGTYPE x\r\n"[..], "redis: WRONGTYPE"),
        (b":5\r\n", "redis: expected the reply of ZRANGE or MGET, found"),
    ] {
        let mut decoder = Decoder::new(REPLY_LIMITS);
        decoder.feed(reply);
        let found = Search::new("", None).take(decoder.next().unwrap().unwrap()).unwrap_err();
        assert!(found.starts_with(expected), "{found}");
    }
}
