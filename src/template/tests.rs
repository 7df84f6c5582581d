//! Rows of `testdata/template.txt`, and what holds for every text.

use proptest::prelude::*;

use super::*;
use crate::json::tape;
use crate::rows::rows;

fn tape_of(json: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    tape::parse(json, &mut found).unwrap();
    found
}

fn fields(tape: &[u8]) -> Fields<'_> {
    Fields { tape, channel: b"player:kill/1", unix_ms: 1_700_000_000_999 }
}

fn place(name: &str) -> Place {
    match name {
        "markdown" => Place::Markdown,
        "plain" => Place::Plain,
        "body" => Place::Body(None),
        "header" => Place::Header,
        "cookie" => Place::Cookie,
        "url" => Place::Url,
        "key" => Place::Key,
        kind => Place::Body(Some(Syntax::of(kind).unwrap())),
    }
}

#[test]
fn template_rows() {
    for row in rows(include_str!("../../testdata/template.txt")) {
        let template = match Template::parse(&row.text(1), place(&row.text(0))) {
            Ok(template) => template,
            Err(err) => {
                assert_eq!(format!("refused: {err}"), row.text(3), "line {}", row.line);
                continue;
            }
        };
        let tape = tape_of(row.bytes(2));
        let mut out = b"before".to_vec();
        match template.render(&fields(&tape), &mut out) {
            Ok(()) => assert_eq!(
                out.escape_ascii().to_string(),
                [b"before", row.bytes(3)].concat().escape_ascii().to_string(),
                "line {}",
                row.line
            ),
            Err(err) => {
                let Unmade::Missing { field } = err else { panic!("line {}: {err}", row.line) };
                assert_eq!(format!("missing: {field}"), row.text(3), "line {}", row.line);
                assert_eq!(out, b"before", "line {}", row.line);
            }
        }
    }
}

#[test]
fn a_template_is_bounded() {
    for (place, max) in
        [(Place::Plain, TEMPLATE_BYTES_MAX), (Place::Key, 1024), (Place::Header, 4096), (Place::Url, 8192)]
    {
        let longest = "x".repeat(max);
        assert!(Template::parse(&longest, place).is_ok());
        let err = Template::parse(&format!("{longest}x"), place).unwrap_err();
        assert_eq!(err.to_string(), format!("has {} bytes, {max} are allowed", max + 1));
    }
    assert!(Template::parse(&"{a}".repeat(PLACEHOLDERS_MAX), Place::Key).is_ok());
    let err = Template::parse(&"{a}".repeat(PLACEHOLDERS_MAX + 1), Place::Key).unwrap_err();
    assert_eq!(err.to_string(), "has more than 256 placeholders");
}

/// What a template is cut at, found the slow way.
fn naive_placeholders(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let inner = text[at..].strip_prefix('{').and_then(|rest| rest.find('}').map(|end| &rest[..end]));
        let path = inner.filter(|path| {
            path.split('.')
                .all(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)))
        });
        found.extend(path);
        at += path.map_or(text[at..].chars().next().unwrap().len_utf8(), |path| path.len() + 2);
    }
    found
}

/// The characters of Discord's markdown that no backslash precedes.
fn bare(text: &str) -> String {
    let (mut bare, mut escaped) = (String::new(), false);
    for character in text.chars() {
        match std::mem::take(&mut escaped) {
            true => {}
            false if character == '\\' => escaped = true,
            false => bare.push(character),
        }
    }
    bare
}

proptest! {
    #[test]
    fn placeholders_are_where_they_are_looked_for(text in "[{}a.\\- é]{0,24}") {
        let Ok(template) = Template::parse(&text, Place::Plain) else {
            // Some braces hold a letter between what is no name.
            let braces = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            let odd = |inner: &str| inner.contains(['a', 'é']) && naive_placeholders(&format!("{{{inner}}}")).is_empty();
            prop_assert!(braces.into_iter().any(|(inner, _)| odd(inner)), "{}", text);
            return Ok(());
        };
        let found: Vec<&str> = template.parts.iter().filter_map(|part| match part {
            Part::Field { path, .. } => Some(&**path),
            Part::Literal(_) => None,
        }).collect();
        prop_assert_eq!(&found, &naive_placeholders(&text));
        prop_assert_eq!(template.has_placeholders(), !found.is_empty());
        // Put together again it is the text.
        let again: String = template.parts.iter().map(|part| match part {
            Part::Field { path, .. } => format!("{{{path}}}"),
            Part::Literal(text) => text.to_string(),
        }).collect();
        prop_assert_eq!(again, text);
    }

    #[test]
    fn a_value_in_markdown_is_inert(value in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut json = Vec::new();
        text::push_string(&mut json, &value);
        let tape = tape_of(&[b"{\"v\":", json.as_slice(), b"}"].concat());
        let rendered = Template::parse("{v}", Place::Markdown).unwrap().render_text(&fields(&tape)).unwrap();
        let bare = bare(&rendered);
        prop_assert!(!bare.contains(['*', '_', '~', '`', '|', '[', ']', '(', ')', '<', '>', '/']), "{}", rendered);
        prop_assert!(rendered.split('@').skip(1).all(|after| after.starts_with('\u{200b}')), "{}", rendered);
        prop_assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{}", rendered);
    }

    #[test]
    fn a_json_body_stays_json(value in ".{0,16}", number: i32) {
        let event = serde_json::json!({ "v": value, "n": number, "o": { "k": [value] } });
        let tape = tape_of(event.to_string().as_bytes());
        let template = Template::parse(r#"{"a":"<{v}|{o}>","b":{v},"c":{n},"d":{o},"e":"{absent}"}"#, Place::Body(None)).unwrap();
        prop_assert!(template.is_json());
        let body: serde_json::Value = serde_json::from_str(&template.render_text(&fields(&tape)).unwrap()).unwrap();
        let inner = event["o"].to_string();
        let expected = serde_json::json!({
            "a": format!("<{value}|{inner}>"), "b": value, "c": number, "d": event["o"], "e": "?",
        });
        prop_assert_eq!(body, expected);
    }

    #[test]
    fn a_value_in_a_url_stays_in_its_place(value in ".{0,16}") {
        let tape = tape_of(serde_json::json!({ "v": value }).to_string().as_bytes());
        let path = Template::parse("/a/{v}/b?q={v}", Place::Url).unwrap().render_text(&fields(&tape)).unwrap();
        prop_assert_eq!(path.matches(['/', '?', '&', '#', ' ', '@', ':']).count(), 4);
        prop_assert!(path.is_ascii());
    }
}
