//! The table of bodies in `testdata/hooks/discord.txt`, Discord's limits, and the merging of messages.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::hooks::request::Webhook;
use crate::hooks::spec::{ActionKind, Spec};
use crate::json::tape;
use crate::rows::rows;

fn hook(mut spec: Value) -> Discord {
    spec["type"] = json!("discord");
    spec["webhook"] = json!("https://h/");
    let ActionKind::Webhook(webhook) = Spec::parse(&spec).unwrap().actions.remove(0).kind else { panic!("no webhook") };
    match std::sync::Arc::into_inner(webhook) {
        Some(Webhook::Discord(discord)) => *discord,
        other => panic!("{other:?}"),
    }
}

fn message(spec: Value, event: &[u8]) -> Result<Message, NoMessage> {
    made(spec, event, &mut Vec::new())
}

fn made(spec: Value, event: &[u8], left_out: &mut Vec<String>) -> Result<Message, NoMessage> {
    let mut found = Vec::new();
    tape::parse(event, &mut found).unwrap();
    let fields =
        Fields { tape: &found, json: b"null", channel: b"player:death", unix_ms: 1_700_000_000_999, offset_s: 0 };
    Message::of(&hook(spec), &fields, left_out)
}

fn said(text: &str) -> Message {
    message(json!({ "format": "{t}" }), json!({ "t": text }).to_string().as_bytes()).unwrap()
}

#[test]
fn bodies_are_those_of_the_table() {
    for row in rows(include_str!("../../../testdata/hooks/discord.txt")) {
        let spec = serde_json::from_slice(row.bytes(0)).unwrap_or_else(|err| panic!("line {}: {err}", row.line));
        let mut left_out = Vec::new();
        let found = match made(spec, row.bytes(1), &mut left_out) {
            Ok(message) => {
                let body = message.body();
                let read = Message::from_body(&serde_json::from_str(&body).unwrap());
                assert_eq!(read, Some(message), "line {}: a post of the spool differs", row.line);
                body
            }
            Err(err) => err.to_string(),
        };
        assert_eq!(found, row.text(2), "line {}", row.line);
        let expected = row.columns.get(3).map(|_| row.text(3)).unwrap_or_default();
        assert_eq!(left_out.join("; "), expected, "line {}", row.line);
        check_limits(&serde_json::from_str(&found).unwrap_or_default());
    }
}

/// Counts every limit independently of the code.
fn check_limits(body: &Value) {
    let chars = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    assert!(chars(&body["content"]) <= 2000);
    for (name, max) in [("username", 80), ("thread_name", 100)] {
        assert!(body[name].is_null() || (1..=max).contains(&chars(&body[name])), "{name}: {}", body[name]);
    }
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
fn a_name_of_five_thousand_characters_is_cut_everywhere() {
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

/// A text without placeholders is the same for each event, so it is refused when the hook is added.
#[test]
fn fixed_texts_beyond_the_limits_are_refused() {
    let refusal = |mut spec: Value| {
        spec["type"] = json!("discord");
        spec["webhook"] = json!("https://h/");
        Spec::parse(&spec).err().map(|err| err.to_string())
    };
    let field = |name: &str, value: &str| json!([{ "name": "n", "value": "v" }, { "name": name, "value": value }]);
    type Make = fn(String) -> Value;
    let texts: [(usize, &str, Make); 9] = [
        (2000, "format: has 2001 characters, Discord takes 2000", |text| json!({ "format": text })),
        (2000, "message: has 2001 characters, Discord takes 2000", |text| json!({ "message": text })),
        (256, "embed.title: has 257 characters, Discord takes 256", |text| json!({ "embed": { "title": text } })),
        (
            4096,
            "embed.description: has 4097 characters, Discord takes 4096",
            |text| json!({ "embed": { "description": text } }),
        ),
        (2048, "embed.footer: has 2049 characters, Discord takes 2048", |text| json!({ "embed": { "footer": text } })),
        (
            2048,
            "embed.footer.text: has 2049 characters, Discord takes 2048",
            |text| json!({ "embed": { "footer": { "text": text } } }),
        ),
        (
            256,
            "embed.author.name: has 257 characters, Discord takes 256",
            |text| json!({ "embed": { "author": { "name": text } } }),
        ),
        (80, "username: has 81 characters, Discord takes 80", |text| json!({ "format": "m", "username": text })),
        (
            2039,
            "avatar_url: is longer than 2048 bytes",
            |text| json!({ "format": "m", "avatar_url": "https://h/".to_owned() + &text.replace('é', "x")[1..] }),
        ),
    ];
    for (max, words, make) in texts {
        // The limits count code points, not bytes.
        assert_eq!(refusal(make("é".repeat(max))), None, "{words}");
        assert_eq!(refusal(make("é".repeat(max + 1))).as_deref(), Some(words));
        assert_eq!(refusal(json!({ "format": "{x}".to_owned() + &"é".repeat(2001) })), None, "cut for each event");
    }
    let fields = [
        ("n".repeat(257), "v".to_owned(), "embed.fields[2].name: has 257 characters, Discord takes 256"),
        ("n".to_owned(), "v".repeat(1025), "embed.fields[2].value: has 1025 characters, Discord takes 1024"),
    ];
    for (name, value, words) in fields {
        assert_eq!(refusal(json!({ "embed": { "fields": field(&name, &value) } })).as_deref(), Some(words));
        assert_eq!(
            refusal(
                json!({ "embed": { "fields": field(&name[..name.len().min(256)], &value[..value.len().min(1024)]) } })
            ),
            None
        );
    }
    let embed = |chars| json!({ "embed": { "description": "d".repeat(4096), "footer": "f".repeat(chars) } });
    assert_eq!(refusal(embed(1904)), None);
    let words = "embed.description: has 6001 characters, Discord takes 6000 in one embed";
    assert_eq!(refusal(embed(1905)).as_deref(), Some(words));
    for (spec, words) in [
        (json!({ "format": " \n" }), "format: is empty"),
        (json!({ "message": "" }), "message: is empty"),
        (json!({ "format": "m", "username": " " }), "username: is empty"),
    ] {
        assert_eq!(refusal(spec).as_deref(), Some(words));
    }
    assert_eq!(refusal(json!({ "format": " ", "embed": { "title": "t" } })), None);
}

/// A cut URL would lead elsewhere.
#[test]
fn a_url_that_is_too_long_is_left_out() {
    for (chars, is_shown) in [(2048 - "https://h/".len(), true), (2049 - "https://h/".len(), false), (9000, false)] {
        let event = json!({ "x": "y".repeat(chars), "n": "x" }).to_string();
        let url = "https://h/{x}";
        let embed = json!({
            "title": "t", "url": url, "image": url, "thumbnail": { "url": url },
            "author": { "name": "a", "url": url, "icon_url": url }, "footer": { "text": "f", "icon_url": url },
        });
        let spec = json!({ "format": "{n}", "avatar_url": url, "embed": embed });
        let body = message(spec, event.as_bytes()).unwrap().body();
        assert_eq!(body.matches("https://h/").count(), if is_shown { 7 } else { 0 }, "{chars}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["embeds"][0]["author"]["name"], &body["content"]), (&json!("a"), &json!("x")));
    }
    // Without the URL nothing is visible.
    let event = json!({ "x": "y".repeat(9000) }).to_string();
    assert_eq!(message(json!({ "embed": { "image": "https://h/{x}" } }), event.as_bytes()), Err(NoMessage::Empty));
}

/// Discord removes white space and control characters from both ends, and refuses an empty text.
#[test]
fn blank_texts_are_left_out() {
    for blank in ["", " \n", "\u{a0}\u{3000}", "\u{1c}\u{1f}", "\u{85}"] {
        let embed = json!({ "title": "{x}", "description": "d", "footer": "{x}", "author": { "name": "{x}" },
            "fields": [{ "name": "{x}", "value": "{x}" }] });
        let event = json!({ "x": blank }).to_string();
        let body = message(json!({ "format": "{x}", "embed": embed }), event.as_bytes()).unwrap().body();
        let field = r#"{"inline":false,"name":"\u{200b}","value":"\u{200b}"}"#.replace("\\u{200b}", "\u{200b}");
        let expected =
            format!(r#"{{"allowed_mentions":{{"parse":[]}},"embeds":[{{"description":"d","fields":[{field}]}}]}}"#);
        assert_eq!(body, expected, "{blank:?}");
        assert_eq!(message(json!({ "format": "{x}" }), event.as_bytes()), Err(NoMessage::Empty), "{blank:?}");
    }
}

#[test]
fn the_weight_covers_texts_and_urls() {
    let weight = |spec: Value| message(spec, b"{}").unwrap().weight();
    let long =
        |name: &str| weight(json!({ "format": "é".repeat(2000), name: "https://u/".to_owned() + &"x".repeat(70) }));
    assert_eq!(weight(json!({ "format": "é".repeat(2000) })), 4000);
    assert_eq!((long("username"), long("avatar_url")), (4080, 4080));
    let embed = weight(json!({ "embed": { "description": "😀".repeat(4096) } }));
    assert!((4 * 4096..4 * 4096 + 2048).contains(&embed), "{embed}");
    // URLs made from values count too.
    let url = json!({ "url": "https://u/{x}" });
    let embed = json!({ "title": "t", "image": url, "thumbnail": url, "url": "https://u/{x}" });
    let event = json!({ "x": "y".repeat(2000) }).to_string();
    let weight = message(json!({ "embed": embed }), event.as_bytes()).unwrap().weight();
    assert!((6000..6000 + 2048).contains(&weight), "{weight}");
}

#[test]
fn a_body_can_be_read_back_to_its_message() {
    let specs = [
        json!({ "format": "m" }),
        json!({ "format": "<@1> @here", "allow_mentions": true }),
        json!({ "format": "m", "allow_mentions": true }),
        json!({ "format": "m", "username": "u", "avatar_url": "https://u/" }),
        json!({ "embed": { "title": "tt", "description": "ddd", "footer": "ffff", "author": { "name": "aaaaa" },
            "fields": [{ "name": "nnnnnn", "value": "vvvvvvv" }], "color": 7, "timestamp": true } }),
    ];
    for spec in specs {
        let before = message(spec, b"{}").unwrap();
        assert_eq!(Message::from_body(&serde_json::from_str(&before.body()).unwrap()), Some(before));
    }
    for body in [json!(null), json!({}), json!({ "content": "m" }), json!({ "content": "m", "allowed_mentions": {} })] {
        assert_eq!(Message::from_body(&body), None, "{body}");
    }
}

#[test]
fn texts_are_cut_between_characters_and_outside_escapes() {
    for (text, max, expected) in [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("👩🚀x", 2, "👩…"),
        ("a\\*b", 3, "a…"),
        ("\\\\\\*", 3, "\\\\…"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
        // Emphasis and spoilers of the hook stay closed, those of a value are escaped.
        ("||abcdef||", 9, "||abcd…||"),
        ("||abcdef||", 8, "||abc…||"),
        ("||abc|| d", 8, "||abc||…"),
        ("||abc|| d", 7, "||ab…||"),
        ("||abc|| de", 9, "||abc|| …"),
        ("||abcdef||", 4, "|…"),
        ("**__~~a_b c~~__**", 14, "**__~~a…~~__**"),
        ("*a\\*b* _cdef_", 11, "*a\\*b* _c…_"),
        ("||`*b* c`|| x", 11, "||`*b* …`||"),
    ] {
        assert_eq!(cut(text.to_owned(), max), expected, "{text} to {max}");
    }
    // Code spans stay closed: their content is not escaped.
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
fn merging_joins_texts_and_embeds() {
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
fn messages_that_differ_are_not_merged() {
    let with = |name: &str, value: Value| message(json!({ "format": "m", name: value }), b"{}").unwrap();
    let plain = message(json!({ "format": "m" }), b"{}").unwrap();
    let others = [
        with("username", json!("a")),
        with("username", json!("b")),
        with("avatar_url", json!("https://a/")),
        with("allow_mentions", json!(true)),
        with("silent", json!(true)),
        with("suppress_embeds", json!(true)),
        message(json!({ "format": "@here", "allow_mentions": true }), b"{}").unwrap(),
    ];
    for (at, one) in others.iter().enumerate() {
        let before = one.clone();
        for other in others.iter().skip(at + 1).chain([&plain]) {
            let mut merged = one.clone();
            assert!(!merged.merge(other) && merged == before, "{one:?} {other:?}");
        }
    }
    // An open mark of code would turn the next message into code.
    let open = message(json!({ "format": "5` of" }), b"{}").unwrap();
    let code = message(json!({ "format": "`{t}`" }), br#"{"t":"*x*"}"#).unwrap();
    assert!(!open.clone().merge(&code) && code.clone().merge(&open));
    // An open mark pairs with one of the next message, and an open quote contains all of it.
    let after = |text: &str| {
        let event = json!({ "t": "`x` **y\n>>> z" }).to_string();
        message(json!({ "format": text }), event.as_bytes()).unwrap().merge(&plain)
    };
    for open in [">>> {t}", "report:\n >>> {t}", "```\nx\n```\n>>> x", "**{t}", "a ||{t}", "~~x", "*x", "_x_ _y", "[x"]
    {
        assert!(!after(open), "{open}");
    }
    for closed in [
        "{t}",
        "> {t}",
        "```\n>>> {t}\n```",
        "\\>>> x",
        "x >>> {t}",
        "**{t}** ||{t}|| *{t}*",
        "[x] | ~5",
        "* {t}\n* x",
        "gm_construct",
        "\\*x \\_",
        "{t}** **",
        "*`*`*",
        "[x](https://e/a_b)",
    ] {
        assert!(after(closed), "{closed}");
    }
    // Each message with a title begins a post of its own.
    let titled = with("thread_name", json!("t"));
    assert!(!titled.clone().merge(&titled) && !plain.clone().merge(&titled) && !titled.clone().merge(&plain));
    // The names that Discord shows count, not those of the event.
    let relayed = |name: &str, avatar: &str| {
        let event = json!({ "n": name, "a": avatar }).to_string();
        let spec = json!({ "format": "m", "username": "{n}", "avatar_url": "{a}" });
        message(spec, event.as_bytes()).unwrap()
    };
    let bob = relayed("Bob", "https://a/1");
    for (other, merges) in [
        (relayed(" Bob\n", "https://a/1#x"), true),
        (relayed("Bob", "https://a/2"), false),
        (relayed("Bob", ""), false),
        (relayed("Alice", "https://a/1"), false),
    ] {
        assert_eq!(bob.clone().merge(&other), merges, "{other:?}");
    }
    let mut pings = message(json!({ "format": "<@1>", "allow_mentions": true }), b"{}").unwrap();
    assert!(pings.merge(&message(json!({ "format": "<@2> <@&3>", "allow_mentions": true }), b"{}").unwrap()));
    assert!(pings.body().contains(r#""allowed_mentions":{"parse":[],"roles":["3"],"users":["1","2"]}"#));
}

#[test]
fn urls_returns_every_url_of_the_body() {
    let embed = json!({
        "title": "t", "url": "https://h/1", "image": "https://h/2", "thumbnail": "https://h/3",
        "author": { "name": "a", "url": "https://h/4", "icon_url": "https://h/5" },
        "footer": { "text": "f", "icon_url": "https://h/6" },
    });
    let message = message(json!({ "avatar_url": "https://h/0", "embed": embed }), b"{}").unwrap();
    let body = message.body();
    let urls = message.urls();
    assert_eq!((urls.len(), body.matches("https://").count()), (7, 7));
    assert!((0..7).all(|n| urls.contains(&&*format!("https://h/{n}"))), "{urls:?}");
}

/// Discord shows only the first of several embeds with one URL.
#[test]
fn merged_embeds_have_different_urls() {
    let linked = |url: &str| message(json!({ "embed": { "title": "t", "url": url } }), b"{}").unwrap();
    let mut one = linked("https://e/a?b=1");
    let same = ["https://e/a?b=1", "https://e/c", "https://e/a?b=1", "https://e/a?b=1"];
    assert!(same.iter().all(|url| one.merge(&linked(url))));
    let urls: Vec<_> = one.embeds.iter().map(|embed| embed["url"].as_str().unwrap()).collect();
    let expected = ["https://e/a?b=1", "https://e/a?b=1#2", "https://e/c", "https://e/a?b=1#4", "https://e/a?b=1#5"];
    assert_eq!(urls, expected);
    // A URL of the greatest length has no room for a fragment.
    let long = |chars: usize| {
        let event = json!({ "x": "y".repeat(chars) }).to_string();
        message(json!({ "embed": { "title": "t", "url": "https://h/{x}" } }), event.as_bytes()).unwrap()
    };
    for (chars, merges) in [(2048 - "https://h/#2".len(), true), (2049 - "https://h/#2".len(), false)] {
        let mut one = long(chars);
        let before = one.clone();
        assert_eq!(one.merge(&long(chars)), merges);
        assert!(merges || one == before);
    }
    // Embeds without a URL need no change.
    let mut one = message(json!({ "embed": { "title": "t" } }), b"{}").unwrap();
    assert!(one.merge(&one.clone()) && one.embeds[0] == one.embeds[1]);
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

/// Pieces of hooks' texts, which may begin mentions of users; and values that try to make other mentions of them.
const PIECES: &[&str] =
    &["{a}", "{b}", "<@", "<@!", ">", "@", "@every", "`", "```", "\\", "<", "5", " ", "\n", "**", "https://e/"];
const VALUES: &[&str] =
    &["&", "1", "77", "<@&7>", "<@8>", "@everyone", "everyone", "one", "here", "`", "\\", "<", "@", ">", "\n", "\u{0}"];
/// Pieces of text, and code spans that are closed.
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
    fn a_value_cannot_ping(
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
        // Each allowed user belongs to a mention that the hook began.
        let begun = format.matches("<@").count();
        prop_assert!(allowed["users"].as_array().unwrap().len() <= begun, "{} gave {}", format, content);
    }

    #[test]
    fn a_cut_leaves_no_code_open(pieces in prop::collection::vec(prop::sample::select(CODES), 0..10), max in 1..40_usize) {
        let text = pieces.join(" ");
        prop_assert!(markdown::code(&text).1);
        let found = cut(text.clone(), max);
        prop_assert!(markdown::code(&found).1 && found.chars().count() <= max, "{:?} to {}: {:?}", text, max, found);
        // Around all of it a spoiler, which is closed too, if there is room for one.
        let found = cut(format!("||x{text}x||"), max + 6);
        prop_assert!(!markdown::is_open(&found) && found.chars().count() <= max + 6, "{:?} to {}: {:?}", text, max, found);
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
