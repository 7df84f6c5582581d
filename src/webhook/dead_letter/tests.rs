//! Lines of the dead-letter file: whole, on one line, without secrets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::Secret;
use crate::url::Url;
use crate::webhook::http::Request;
use crate::webhook::post::{Address, Content, Post, PostId};
use crate::webhook::schedule::Cause;

fn dead(body: &[u8]) -> Dead {
    let url = Url::parse("https://discord.com/api/webhooks/123/hunter2?thread_id=5").unwrap();
    let request = Request {
        url: url.clone(),
        method: "POST".into(),
        headers: vec![("Authorization".into(), Secret::new("Bearer hunter2".to_owned()))],
        body: body.to_vec(),
        timeout: Duration::from_secs(1),
    };
    let post = Post {
        id: PostId { boot: 0x0123_4567_89ab_cdef, number: 7 },
        address: Address::discord(&url),
        hooks: [b"kills".as_slice(), b"kills", b"x\xff"].map(Arc::from).to_vec(),
        content: Content::Request(request),
        expires: Instant::now(),
        attempts: 3,
        refusals: 0,
    };
    Dead { post, cause: Cause::Refused, reason: "HTTP 400".to_owned() }
}

#[test]
fn a_line_says_all_but_secrets() {
    assert_eq!(
        line(&dead(br#"{"content":"hi"}"#), 1_700_000_000_000),
        concat!(
            r#"{"attempts":3,"cause":"refused","destination":"https://discord.com/api/webhooks/123/***?***","#,
            r#""hooks":["kills","x"#,
            "\u{fffd}",
            r#""],"id":"01234567-89ab-8def-800c-000000000007","jobs":3,"payload":{"content":"hi"},"reason":"HTTP 400","#,
            r#""time":"2023-11-14T22:13:20.000Z","type":"discord"}"#,
            "\n"
        )
    );
}

#[test]
fn hostile_text_is_one_line_that_steers_nothing() {
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
    // JSON that is too long is no JSON any more.
    let long = json!({ "t": "x".repeat(DEAD_LETTER_PAYLOAD_BYTES_MAX) }).to_string();
    let back: Value = serde_json::from_str(&super::line(&dead(long.as_bytes()), 0)).unwrap();
    assert!(back["payload"].as_str().is_some_and(|text| text.len() == DEAD_LETTER_PAYLOAD_BYTES_MAX));
}

#[test]
fn lines_are_appended_to_a_bounded_file() {
    let directory = std::env::temp_dir().join(format!("realtime-dead-{}", std::process::id()));
    let mut letters = DeadLetters::new(&directory);
    assert!(!directory.exists());
    let long = dead(&vec![b'x'; DEAD_LETTER_PAYLOAD_BYTES_MAX]);
    for _ in 0..200 {
        letters.write(&long, 0).unwrap();
    }
    for name in ["dead_letter.jsonl", "dead_letter.old.jsonl"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(text.len() as u64 <= DEAD_LETTER_FILE_BYTES_MAX, "{name}");
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{name}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    // A file where the directory should be: said, and tried again.
    std::fs::write(&directory, "").unwrap();
    assert!(DeadLetters::new(&directory).write(&long, 0).is_err());
    std::fs::remove_file(&directory).unwrap();
}
