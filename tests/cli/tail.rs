//! `realtime-cli tail`: its lines, its way through the end of Redis, and messages without passwords.

use std::fs;

use crate::fleet::{Game, Running, numbered};
use crate::tool;

/// Lines without their time: the first word of a line for people, the first member of one in JSON.
fn timeless(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("{\"time\":") {
        let (time, rest) = rest.split_once(',').unwrap();
        assert!(time.split_once('.').is_some_and(|(s, ms)| s.len() >= 10 && ms.len() == 3), "{line}");
        return format!("{{{rest}");
    }
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-11-24T12:30:00.250Z".len(), "{line}");
    rest.to_owned()
}

/// Channel, payload, the line for people and the line in JSON.
fn rows() -> Vec<(&'static [u8], Vec<u8>, &'static str, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (
            b"player:kill",
            text(&numbered("eu-1", 7, 1, "player:kill", r#""killer":"Zoë", "n":1.50"#)),
            r#"eu-1 player:kill {"killer":"Zoë","n":1.50}"#,
            r#"{"seq":1,"channel":"player:kill","server":"eu-1","data":{"killer":"Zoë","n":1.50}}"#,
        ),
        // Two patterns cover it, and it is printed once.
        (
            b"player:chat",
            text("{\n  \"text\": \"\u{202e}a\u{7f}\" }"),
            r#"- player:chat {"text":"\u202ea\u007f"}"#,
            r#"{"channel":"player:chat","data":{"text":"\u202ea\u007f"}}"#,
        ),
        (
            b"player:raw",
            b"no \x1b[31mJSON\n\xff".to_vec(),
            "- player:raw \"no \\u001b[31mJSON\\n\u{fffd}\"",
            "{\"channel\":\"player:raw\",\"raw\":true,\"data\":\"no \\u001b[31mJSON\\n\u{fffd}\"}",
        ),
        (
            "player:\u{1b}]0;x\u{7}\n\u{2067}".as_bytes(),
            text("[1, \"a b\"]"),
            r#"- player:\u001b]0;x\u0007\n\u2067 [1,"a b"]"#,
            r#"{"channel":"player:\u001b]0;x\u0007\n\u2067","data":[1,"a b"]}"#,
        ),
        // The operator sees what is sent, addresses too.
        (
            b"player:join",
            text(r#"{"ip":"203.0.113.7"}"#),
            r#"- player:join {"ip":"203.0.113.7"}"#,
            r#"{"channel":"player:join","data":{"ip":"203.0.113.7"}}"#,
        ),
    ]
}

#[test]
fn each_event_is_one_line() {
    let game = Game::start(None);
    for is_json in [false, true] {
        let count = rows().len().to_string();
        let mut arguments = vec!["tail", "player:chat", "player:*", "player:*", "--limit", &count];
        arguments.extend(is_json.then_some("--json"));
        let mut tail = Running::start(game.tool(&arguments));
        for (at, (channel, payload, human, json)) in rows().into_iter().enumerate() {
            if at == 0 {
                game.publish_heard(channel, &payload);
            } else {
                game.publish(channel, &payload);
            }
            assert_eq!(timeless(&tail.line()), if is_json { json } else { human });
        }
        assert_eq!(tail.line(), "");
        let (code, said) = tail.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn channels_have_the_prefix_of_the_settings() {
    let game = Game::start(Some(r#"{"prefix":"gm[1]:"}"#));
    for (arguments, wire) in [
        (&["tail", "a*", "--limit", "2"][..], "gm[1]:"),
        (&["tail", "a", "ab", "--limit", "2", "--prefix", "x:"], "x:"),
        (&["tail", "a*", "--limit", "2", "--prefix="], ""),
    ] {
        let mut tail = Running::start(game.tool(arguments));
        game.publish_heard(format!("{wire}a").as_bytes(), b"1");
        // Beside the prefix.
        game.publish(b"gm1:ab", b"2");
        game.publish(format!("{wire}ab").as_bytes(), b"3");
        let lines = [timeless(&tail.line()), timeless(&tail.line())];
        assert_eq!(lines, ["- a 1", "- ab 3"], "{arguments:?}");
    }
}

#[test]
fn redis_may_end_and_come_back_and_the_gap_is_told() {
    let game = Game::start(None);
    let mut tail = Running::start(game.tool(&["tail", "*"]));
    let event = |seq| numbered("eu-1", 9, seq, "a", "\"x\":1");
    game.publish_heard(b"a", event(1).as_bytes());
    assert_eq!(timeless(&tail.line()), r#"eu-1 a {"x":1}"#);
    game.stop_redis();
    tail.wait_said("lost the connection to the embedded redis at 127.0.0.1:");
    game.start_redis();
    // Numbers 2 to 4 are lost; 5 comes, and once more after a lost reply.
    game.publish_heard(b"a", event(5).as_bytes());
    game.publish(b"a", event(5).as_bytes());
    game.publish(b"a", event(6).as_bytes());
    assert_eq!(timeless(&tail.line()), r#"eu-1 a {"x":1}"#);
    assert_eq!(timeless(&tail.line()), r#"eu-1 a {"x":1}"#);
    tail.wait_said("3 events of eu-1 on `a` were missed");
    game.publish(b"b", b"the next line");
    assert_eq!(timeless(&tail.line()), r#"- b "the next line""#);
    assert_eq!(tail.said().matches("were missed").count(), 1, "{}", tail.said());
}

#[test]
fn the_environment_overrules_the_file_and_the_argument_both() {
    let game = Game::start(Some(r#"{"redis":"redis://127.0.0.1:1"}"#));
    let (port, password) = game.login();
    let url = format!("redis://:{password}@127.0.0.1:{port}");
    let mut by_variable = game.tool(&["tail", "*"]);
    by_variable.env("REALTIME_REDIS", &url);
    let mut by_argument = game.tool(&["tail", "*", "--redis", &url]);
    by_argument.env("REALTIME_REDIS", "redis://127.0.0.1:2");
    for (command, source) in [(by_variable, "the environment sets redis"), (by_argument, "; --redis")] {
        let mut tail = Running::start(command);
        game.publish_heard(b"a", b"1");
        assert_eq!(timeless(&tail.line()), "- a 1");
        tail.wait_said(&format!("listening to redis at 127.0.0.1:{port}; "));
        tail.wait_said(source);
        assert!(!tail.said().contains(&password), "{}", tail.said());
    }
    let tail = Running::start(game.tool(&["tail", "*"]));
    tail.wait_said("cannot connect to redis at 127.0.0.1:1: ");
}

#[test]
fn no_message_shows_a_password() {
    let game = Game::start(None);
    let (port, _) = game.login();
    let wrong = format!("redis://:hunter2@127.0.0.1:{port}");
    let tail = Running::start(game.tool(&["tail", "*", "--redis", &wrong]));
    tail.wait_said("cannot log in at redis 127.0.0.1:");
    tail.wait_said("trying again");
    assert!(!tail.said().contains("hunter2"), "{}", tail.said());
    // These end at once.
    for url in ["redis://:hunter2@", "http://:hunter2@host", ":hunter2@host", "redis://:hunter2@host:port"] {
        let output = game.tool(&["tail", "*", "--redis", url]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && text.contains("--redis"), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{url}: {text}");
    }
    let other = Game::start(Some(r#"{"redis":"redis:/:hunter2@host"}"#));
    let output = other.tool(&["tail", "*"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.matches("realtime.json").count() == 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

/// As the module does in the console, but for the proxies of webhooks, which the tool does not send.
#[test]
fn wrong_settings_are_reported() {
    let hidden_ending = Game::start(None);
    fs::write(hidden_ending.folder.join("cfg/realtime.json.txt"), "{}").unwrap();
    let misspelt = Game::start(Some(r#"{"tls_ca_fil":"ca.pem"}"#));
    for (game, part) in
        [(&hidden_ending, "realtime.json.txt is not read: name it realtime.json"), (&misspelt, "`tls_ca_file`")]
    {
        let output = game.tool(&["servers"]).env("HTTPS_PROXY", "nonsense://").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && text.contains(part) && !text.contains("PROXY"), "{text}");
    }
    for folder in ["no/such/folder", "Cargo.toml"] {
        let output = tool().args(["servers", "--game", folder]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && text.contains("`--game` names no folder"), "{text}");
    }
}

#[test]
fn a_closed_pipe_ends_it_without_an_error() {
    let game = Game::start(None);
    let mut tail = Running::start(game.tool(&["tail", "*"]));
    game.publish_heard(b"a", b"1");
    assert_eq!(timeless(&tail.line()), "- a 1");
    tail.close_out();
    game.publish(b"a", b"2");
    game.publish(b"a", b"3");
    let (code, said) = tail.end();
    assert_eq!(code, Some(0), "{said}");
}
