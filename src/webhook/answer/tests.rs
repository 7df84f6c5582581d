//! The table `testdata/hooks/answers.txt`.

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
