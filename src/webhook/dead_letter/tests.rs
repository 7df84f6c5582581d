//! Lines of the dead-letter file: complete, on one line, without secrets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::config::Secret;
use crate::event::EventText;
use crate::hooks::delivery::Retries;
use crate::hooks::signature::Signing;
use crate::hooks::url::Url;
use crate::io::sharing::HELD_RETRY;
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Post, PostAddress, PostId};
use crate::webhook::schedule::Cause;

fn dead(body: &[u8]) -> DeadLetter {
    let url = Url::parse("https://discord.com/api/webhooks/123/hunter2?thread_id=5").unwrap();
    let request = Request {
        url: url.clone(),
        method: "POST".into(),
        headers: vec![("Authorization".into(), Secret::new("Bearer hunter2".to_owned()))],
        body: body.to_vec(),
        signing: Signing::new(vec![Secret::new("whsec_hunter2".to_owned())]),
        timeout: Duration::from_secs(1),
    };
    let post = Post {
        id: PostId { boot: 0x0123_4567_89ab_cdef, number: 7 },
        address: PostAddress::discord(&url),
        hook: Arc::from(b"x\xff".as_slice()),
        content: Content::Request(request),
        event: None,
        expires: Instant::now(),
        retries: Retries::default(),
        gathering: None,
        attempts: 3,
        refusals: 0,
        merged: Vec::new(),
    };
    DeadLetter { post, cause: Cause::Refused, reason: "HTTP 400".to_owned() }
}

#[test]
fn a_line_holds_everything_but_secrets() {
    assert_eq!(
        line(&dead(br#"{"content":"hi"}"#), 1_700_000_000_000),
        concat!(
            r#"{"attempts":3,"cause":"refused","destination":"https://discord.com/api/webhooks/123/***?***","#,
            r#""hook":"x"#,
            "\u{fffd}",
            r#"","id":"01234567-89ab-8def-800c-000000000007","payload":{"content":"hi"},"reason":"HTTP 400","#,
            r#""time":"2023-11-14T22:13:20.000Z","type":"discord"}"#,
            "\n"
        )
    );
}

/// The hook's text in a body may be a key, so the line shows the event.
#[test]
fn the_event_replaces_a_body_with_the_hooks_own_text() {
    let mut dead = dead(br#"{"token":"topsecret","text":"Bob"}"#);
    dead.post.event = Some(Arc::new(EventText::new(b"kill", &[br#"{"name":"Bob","_rt":"x"}"#], 0)));
    let line: Value = serde_json::from_str(&line(&dead, 0)).unwrap();
    assert_eq!(line["payload"], json!({ "name": "Bob" }));
    assert!(!line.to_string().contains("topsecret"));
}

#[test]
fn urls_of_a_discord_message_are_masked() {
    let body = json!({
        "content": "see https://u/?v=text",
        "avatar_url": "https://u/a.png?key=hunter2",
        "embeds": [{ "image": { "url": "https://u/?k=hunter2" }, "author": { "name": "n", "icon_url": "hunter2" } }],
        "allowed_mentions": { "parse": [] },
    });
    let mut dead = dead(b"");
    let url = Url::parse("https://h/").unwrap();
    dead.post.content = Content::Message { url, message: Message::from_body(&body).unwrap() };
    let line: Value = serde_json::from_str(&line(&dead, 0)).unwrap();
    assert_eq!(line["payload"]["content"], "see https://u/?v=text");
    assert!(line["payload"]["avatar_url"].as_str().unwrap().starts_with("https://u/"));
    assert!(!line.to_string().contains("hunter2"), "{line}");
}

#[test]
fn hostile_text_becomes_one_line_without_control_characters() {
    let body = "a\n\r\u{1b}[31m\u{9b}31m\u{7f}\u{85}\0".as_bytes();
    for body in [body.to_vec(), serde_json::to_vec(&json!({ "t": String::from_utf8_lossy(body) })).unwrap()] {
        let line = line(&dead(&body), 0);
        assert!(line.ends_with("}\n") && !line.trim_end().chars().any(char::is_control), "{line:?}");
        let back: Value = serde_json::from_str(&line).unwrap();
        assert!(back["payload"].to_string().contains("[31m"));
    }
}

#[test]
fn a_long_payload_is_cut() {
    let line = line(&dead(&vec![b'x'; DEAD_LETTER_PAYLOAD_BYTES_MAX * 4]), 0);
    assert!(line.len() < DEAD_LETTER_PAYLOAD_BYTES_MAX + 1000);
    // JSON that is too long becomes a string.
    let long = json!({ "t": "x".repeat(DEAD_LETTER_PAYLOAD_BYTES_MAX) }).to_string();
    let back: Value = serde_json::from_str(&super::line(&dead(long.as_bytes()), 0)).unwrap();
    assert!(back["payload"].as_str().is_some_and(|text| text.len() == DEAD_LETTER_PAYLOAD_BYTES_MAX));
}

#[test]
fn lines_are_appended_to_a_bounded_file() {
    let directory = std::env::temp_dir().join(format!("realtime-dead-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory); // A killed run may have left it.
    let mut letters = DeadLetters::new(&directory);
    assert!(!directory.exists());
    let long = dead(&vec![b'x'; DEAD_LETTER_PAYLOAD_BYTES_MAX]);
    for _ in 0..200 {
        assert_eq!(letters.write(&long, 0, Instant::now()), Written::default());
    }
    for name in ["dead_letter.jsonl", "dead_letter.old.jsonl"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(text.len() as u64 <= DEAD_LETTER_FILE_BYTES_MAX, "{name}");
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{name}");
    }
    drop(letters);
    std::fs::remove_dir_all(&directory).unwrap();
    // A file in the place of the directory: the lines wait, as many as fit into their memory.
    std::fs::write(&directory, "").unwrap();
    let (mut letters, now) = (DeadLetters::new(&directory), Instant::now());
    let first = letters.write(&long, 0, now);
    assert!(first.lost == 0 && first.trouble.is_some(), "{first:?}");
    let lost: u64 = (1..20).map(|_| letters.write(&long, 0, now).lost).sum();
    assert_eq!((lost, letters.due()), (5, Some(now + HELD_RETRY)));
    std::fs::remove_file(&directory).unwrap();
    assert_eq!(letters.retry(now + HELD_RETRY), Written::default());
    let text = std::fs::read_to_string(directory.join("dead_letter.jsonl")).unwrap();
    assert_eq!((text.lines().count(), letters.due(), letters.give_up()), (15, None, 0));
    drop(letters);
    std::fs::remove_dir_all(&directory).unwrap();
}
