//! Golden bodies of `testdata/hooks/discord.txt`, the limits, and what merging keeps.

use proptest::prelude::*;

use super::*;
use crate::action::webhook::Webhook;
use crate::action::{Kind, Spec};
use crate::json::tape;
use crate::rows::rows;

fn hook(mut spec: Value) -> Discord {
    spec["type"] = json!("discord");
    spec["webhook"] = json!("https://h/");
    let Kind::Webhook(webhook) = Spec::parse(&spec).unwrap().actions.remove(0).kind else { panic!("no webhook") };
    match std::sync::Arc::into_inner(webhook) {
        Some(Webhook::Discord(discord)) => *discord,
        other => panic!("{other:?}"),
    }
}

fn message(spec: Value, event: &[u8]) -> Result<Message, NoMessage> {
    let mut found = Vec::new();
    tape::parse(event, &mut found).unwrap();
    Message::of(&hook(spec), &Fields { tape: &found, channel: b"player:death", unix_ms: 1_700_000_000_999 })
}

fn said(text: &str) -> Message {
    message(json!({ "format": "{t}" }), json!({ "t": text }).to_string().as_bytes()).unwrap()
}

#[test]
fn golden_bodies() {
    for row in rows(include_str!("../../../testdata/hooks/discord.txt")) {
        let spec = serde_json::from_slice(row.bytes(0)).unwrap_or_else(|err| panic!("line {}: {err}", row.line));
        let found = match message(spec, row.bytes(1)) {
            Ok(message) => message.body(),
            Err(err) => err.to_string(),
        };
        assert_eq!(found, row.text(2), "line {}", row.line);
        check_limits(&serde_json::from_str(&found).unwrap_or_default());
    }
}

/// Every limit, counted anew.
fn check_limits(body: &Value) {
    let chars = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    assert!(chars(&body["content"]) <= 2000);
    let embeds = body["embeds"].as_array().cloned().unwrap_or_default();
    assert!(embeds.len() <= 10);
    let mut total = 0;
    for embed in &embeds {
        let fields = embed["fields"].as_array().cloned().unwrap_or_default();
        assert!(fields.len() <= 25);
        let mut counted = |value: &Value, max: usize| {
            assert!(chars(value) <= max, "{value} has more than {max}");
            total += chars(value);
        };
        counted(&embed["title"], 256);
        counted(&embed["description"], 4096);
        counted(&embed["footer"]["text"], 2048);
        counted(&embed["author"]["name"], 256);
        for field in &fields {
            assert!(chars(&field["name"]) > 0 && chars(&field["value"]) > 0, "{field}");
            counted(&field["name"], 256);
            counted(&field["value"], 1024);
        }
    }
    assert!(total <= 6000, "{total}");
}

#[test]
fn a_name_of_five_thousand_characters() {
    let event = json!({ "n": "é*".repeat(2500) }).to_string();
    let fields: Vec<_> = (0..25).map(|_| json!({ "name": "{n}", "value": "{n}" })).collect();
    let embed =
        json!({ "title": "{n}", "description": "{n}", "author": { "name": "{n}" }, "footer": "{n}", "fields": fields });
    let body = message(json!({ "format": "{n}", "embed": embed }), event.as_bytes()).unwrap().body();
    let body: Value = serde_json::from_str(&body).unwrap();
    check_limits(&body);
    assert!(body["content"].as_str().unwrap().ends_with("é…"));
    assert!(body["embeds"][0]["title"].as_str().unwrap().ends_with('…'));
}

#[test]
fn texts_are_cut_between_characters_and_not_in_an_escape() {
    for (text, max, expected) in [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("👩🚀x", 2, "👩…"),
        ("a\\*b", 3, "a…"),
        ("\\\\\\*", 3, "\\\\…"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
    ] {
        assert_eq!(cut(text.to_owned(), max), expected, "{text} to {max}");
    }
    // Code marks stay closed: what is in them is not escaped.
    for (text, max, expected) in [
        ("a `*b* c` d", 8, "a `*b*…`"),
        ("a `*b* c` d", 9, "a `*b* …`"),
        ("a `*b* c` d", 10, "a `*b* c`…"),
        ("a `*b* c` d", 5, "a `…`"),
        ("a `*b* c` d", 4, "a …"),
        ("```\n*b* c```", 9, "```\n*…```"),
        ("```\n*b* c```", 8, "```\n…```"),
        ("```\n*b* c```", 7, "```…```"),
        ("```\n*b* c```", 6, "…"),
        ("`a\\\\\\bc`", 5, "`a\\…`"),
        ("lone ` and more", 10, "lone ` an…"),
    ] {
        let found = cut(text.to_owned(), max);
        assert_eq!(found, expected, "{text} to {max}");
        assert!(found.chars().count() <= max);
    }
}

#[test]
fn waiting_messages_become_one() {
    let mut one = said("a");
    assert!(one.merge(&said("b")) && one.merge(&said("c")));
    assert_eq!(one.content, "a\nb\nc");
    let embed = |text: &str| message(json!({ "embed": { "description": text } }), b"{}").unwrap();
    assert!(one.merge(&embed("x")) && one.merge(&said("d")));
    assert_eq!((one.content.as_str(), one.embeds.len()), ("a\nb\nc\nd", 1));
    for n in 1..EMBEDS_MAX {
        assert!(one.merge(&embed("y")), "{n}");
    }
    assert!(!one.merge(&embed("z")));
    check_limits(&serde_json::from_str(&one.body()).unwrap());
}

#[test]
fn what_differs_stays_apart() {
    let with = |name: &str, value: Value| message(json!({ "format": "m", name: value }), b"{}").unwrap();
    let plain = message(json!({ "format": "m" }), b"{}").unwrap();
    let others = [
        with("username", json!("a")),
        with("username", json!("b")),
        with("avatar_url", json!("https://a/")),
        with("allow_mentions", json!(true)),
        message(json!({ "format": "@here", "allow_mentions": true }), b"{}").unwrap(),
    ];
    for (at, one) in others.iter().enumerate() {
        let before = one.clone();
        for other in others.iter().skip(at + 1).chain([&plain]) {
            let mut merged = one.clone();
            assert!(!merged.merge(other) && merged == before, "{one:?} {other:?}");
        }
    }
    // A mark that nothing ends would make code of the next message.
    let open = message(json!({ "format": "5` of" }), b"{}").unwrap();
    let code = message(json!({ "format": "`{t}`" }), br#"{"t":"*x*"}"#).unwrap();
    assert!(!open.clone().merge(&code) && code.clone().merge(&open));
    let mut pings = message(json!({ "format": "<@1>", "allow_mentions": true }), b"{}").unwrap();
    assert!(pings.merge(&message(json!({ "format": "<@2> <@&3>", "allow_mentions": true }), b"{}").unwrap()));
    assert!(pings.body().contains(r#""allowed_mentions":{"parse":[],"roles":["3"],"users":["1","2"]}"#));
}

#[test]
fn a_merged_message_has_room_for_two_thousand_characters() {
    let mut one = said(&"é".repeat(1000));
    assert!(!one.merge(&said(&"é".repeat(1000)))); // The line break is the 2001st.
    assert!(one.merge(&said(&"é".repeat(999))));
    assert_eq!(one.content.chars().count(), 2000);
    let big = || message(json!({ "embed": { "description": "x".repeat(3001) } }), b"{}").unwrap();
    let mut one = big();
    assert!(!one.merge(&big()));
}

/// Texts of hooks that mention users, if anybody; and values that try to be more.
const PIECES: &[&str] =
    &["{a}", "{b}", "<@", "<@!", ">", "@", "@every", "`", "```", "\\", "<", "5", " ", "\n", "**", "https://e/"];
const VALUES: &[&str] =
    &["&", "1", "77", "<@&7>", "<@8>", "@everyone", "everyone", "one", "here", "`", "\\", "<", "@", ">", "\n", "\u{0}"];
/// Whole stretches of text and code.
const CODES: &[&str] = &["`a*b`", "``a ` b``", "```\nx\ny```", "plain ", "\\` ", " \\\\ ", "é"];

proptest! {
    #[test]
    fn any_event_makes_a_message_within_the_limits(
        values in prop::collection::vec((0..3000_usize, ".{1,3}"), 8),
        fields in 0..25_usize,
    ) {
        let event: Map<_, _> = values.iter().enumerate().map(|(n, (times, text))| (format!("v{n}"), json!(text.repeat(*times / 2)))).collect();
        let fields: Vec<_> = (0..fields).map(|n| json!({ "name": format!("{{v{}}}", n % 8), "value": format!("{{v{}}}", (n + 1) % 8) })).collect();
        let embed = json!({ "title": "t {v0}", "description": "{v1}{v2}", "footer": "{v3}", "author": { "name": "{v4}" }, "fields": fields });
        let spec = json!({ "format": "x{v5}{v6}{v7}", "embed": embed });
        let message = message(spec, Value::Object(event).to_string().as_bytes()).unwrap();
        check_limits(&serde_json::from_str(&message.body()).unwrap());
    }

    #[test]
    fn a_value_pings_nobody(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..8),
        values in prop::collection::vec(prop::collection::vec(prop::sample::select(VALUES), 0..4), 2),
    ) {
        let format = pieces.concat() + "x";
        let spec = json!({ "format": format, "allow_mentions": true });
        let event = json!({ "a": values[0].concat(), "b": values[1].concat() });
        let body: Value = serde_json::from_str(&message(spec, event.to_string().as_bytes()).unwrap().body()).unwrap();
        let (content, allowed) = (body["content"].as_str().unwrap(), &body["allowed_mentions"]);
        prop_assert_eq!(&allowed["parse"], &json!([]));
        prop_assert_eq!(&allowed["roles"], &json!([]), "{} gave {}", format, content);
        prop_assert!(!content.contains("@everyone") && !content.contains("@here"), "{} gave {}", format, content);
        prop_assert!(!content.contains("<@&"), "{} gave {}", format, content);
        // Who may be pinged is a mention that the hook began.
        let begun = format.matches("<@").count();
        prop_assert!(allowed["users"].as_array().unwrap().len() <= begun, "{} gave {}", format, content);
    }

    #[test]
    fn a_cut_leaves_no_code_open(pieces in prop::collection::vec(prop::sample::select(CODES), 0..10), max in 1..40_usize) {
        let text = pieces.join(" ");
        prop_assert!(markdown::code(&text).1);
        let found = cut(text.clone(), max);
        prop_assert!(markdown::code(&found).1 && found.chars().count() <= max, "{:?} to {}: {:?}", text, max, found);
    }

    #[test]
    fn merging_keeps_every_text_in_order(lengths in prop::collection::vec(1..400_usize, 1..30)) {
        let texts: Vec<String> = lengths.iter().enumerate().map(|(n, len)| format!("m{n}").repeat(len / 3 + 1)).collect();
        let mut merged: Vec<Message> = Vec::new();
        for text in &texts {
            let next = said(text);
            if !merged.last_mut().is_some_and(|last| last.merge(&next)) {
                merged.push(next);
            }
        }
        let all: Vec<&str> = merged.iter().flat_map(|message| message.content.split('\n')).collect();
        prop_assert_eq!(all, texts);
        merged.iter().for_each(|message| check_limits(&serde_json::from_str(&message.body()).unwrap()));
    }
}
