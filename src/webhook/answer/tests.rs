//! The table `testdata/hooks/answers.txt`, and the redaction of reasons.

use super::*;
use crate::rows::rows;

fn shown(answer: &PostResult) -> String {
    let wait = |after: &Option<Duration>| after.map(|after| format!(" {}s", after.as_secs_f64())).unwrap_or_default();
    let verdict = match &answer.verdict {
        Verdict::Delivered => "delivered".to_owned(),
        Verdict::Limited { after, global } => {
            format!("limited{}{}", wait(&Some(*after)), if *global { " global" } else { "" })
        }
        Verdict::Unsent => "unsent".to_owned(),
        Verdict::Unnamed => "unnamed".to_owned(),
        Verdict::BadEmbed => "bad embed".to_owned(),
        Verdict::Again { after, answered } => {
            assert!(answered);
            format!("again{}", wait(after))
        }
        Verdict::Never => "never".to_owned(),
        Verdict::NeverHere => "never here".to_owned(),
        Verdict::Denied => "denied".to_owned(),
        Verdict::Gone => "gone".to_owned(),
        Verdict::Closed => "closed".to_owned(),
    };
    let pause = answer.pause.map(|_| format!(", then{}", wait(&answer.pause))).unwrap_or_default();
    let reason = if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
    format!("{verdict}{pause}{reason}")
}

#[test]
fn responses_have_the_verdicts_of_the_table() {
    for row in rows(include_str!("../../../testdata/hooks/answers.txt")) {
        let kind = match row.text(0).as_str() {
            "discord" => DestinationKind::Discord,
            word => DestinationKind::Http { varies: word == "varies" },
        };
        let headers = row.text(2);
        let headers = headers.split("; ").filter_map(|header| header.split_once(": "));
        let response = Response {
            status: row.text(1).parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: row.bytes(3).to_vec(),
        };
        assert_eq!(shown(&read(kind, &response, 784_111_777)), row.text(4), "line {}", row.line);
    }
}

#[test]
fn the_id_of_a_created_message_is_digits_or_nothing() {
    for (body, id) in [
        (
            r#"{"type":0,"content":"{\"id\":\"5\"}","id":"1200000000000000000","channel_id":"3"}"#,
            Some("1200000000000000000"),
        ),
        (r#"{"id":"12345678901234567890"}"#, Some("12345678901234567890")),
        (r#"{"id":"123456789012345678901"}"#, None),
        (r#"{"id":"1/../2"}"#, None),
        (r#"{"id":""}"#, None),
        (r#"{"id":5}"#, None),
        (r#"["5"]"#, None),
        ("", None),
        (r#"{"id":"5""#, None),
    ] {
        let response = Response { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() };
        assert_eq!(message_id(&response).as_deref(), id, "{body}");
    }
}

#[test]
fn a_reason_shows_a_bounded_excerpt_of_the_body() {
    let response = Response { status: 500, headers: Vec::new(), body: "é ".repeat(5000).into_bytes() };
    let answer = read(DestinationKind::Discord, &response, 0);
    assert_eq!(answer.reason.chars().count(), "HTTP 500: ".len() + EXCERPT_CHARS_MAX + 1);
    assert!(answer.reason.ends_with("é …"), "{}", answer.reason);
    let response = Response { body: b"x".repeat(EXCERPT_CHARS_MAX), ..response };
    assert!(read(DestinationKind::Discord, &response, 0).reason.ends_with('x'));
}

#[test]
fn words_of_the_hooks_own_text_are_redacted() {
    let body = br#"{"token":"tok-En7","key":"Ab12/x=","text":"Bob","kind" : "message","n":12,"pass":"letmein"}"#;
    for (text, expected) in [
        ("HTTP 400: bad tok-En7", "HTTP 400: bad ***"),
        ("HTTP 400: bad tok-En7.", "HTTP 400: bad ***"),
        (r#"HTTP 400: {"token":"Ab12/x="} Bob-9"#, r#"HTTP 400: {"token":"***"} Bob-9"#),
        ("HTTP 400: kind and text of Bob are wrong, 12 é", "HTTP 400: kind and text of Bob are wrong, 12 é"),
        ("HTTP 400: not a message: letmein", "HTTP 400: not a ***: ***"),
    ] {
        assert_eq!(without_own_words(text, body, br#"{"name":"Bob"}"#), expected);
    }
    assert_eq!(without_own_words("no user, no letmein", b"user=x&pass=letmein", b"{}"), "no user, no ***");
}

#[test]
fn secrets_and_their_cut_beginnings_are_redacted() {
    for (text, secrets, expected) in [
        ("POST /hunter2 failed: hunter2x", vec!["hunter2"], "POST /*** failed: ***x"),
        ("Bearer hunter2", vec!["hunter2", "Bearer hunter2"], "***"),
        ("nothing", vec!["", "hunter2"], "nothing"),
        // A server may show the path as its program sees it, or the login that it read.
        ("no route /a+hunter/2", vec!["a%2Bhunter%2f2"], "no route /***"),
        ("no route /a%2Bhunter", vec!["a%2Bhunter", "%zz", "%"], "no route /***"),
        ("bob may not", vec!["Basic Ym9iOmh1bnRlcjI="], "*** may not"),
        ("bob:hunter2 or hunter2", vec!["Basic Ym9iOmh1bnRlcjI="], "*** or ***"),
        ("at Ym9i: bob", vec!["Ym9iOmh1bnRlcjI=", "Basic !", "Basic YQ"], "at Ym9i: bob"),
        // The beginning of a secret counts only at the cut of the excerpt.
        ("bad hunter…", vec!["hun", "hunter2"], "bad ***ter…"),
        ("bad hunter…", vec!["hunter2", "/hunter2"], "bad ***…"),
        ("at /é/hu…", vec!["hunter2", "/é/hunter2"], "at ***…"),
        ("bad h…", vec!["hunter2"], "bad ***…"),
        ("bad hunter", vec!["hunter2"], "bad hunter"),
    ] {
        assert_eq!(redacted(text, secrets), expected);
    }
}
