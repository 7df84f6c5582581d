//! The rows of `testdata/template.txt`, and properties that hold for every text and value.

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
    Fields { tape, json: b"null", channel: b"player:kill/1", unix_ms: 1_700_000_000_999, offset_s: 7200 }
}

fn context(name: &str) -> Context {
    match name {
        "markdown" => Context::Markdown,
        "plain" => Context::Plain,
        "body" => Context::Body(None),
        "header" => Context::Header,
        "cookie" => Context::Cookie,
        "url" => Context::Url,
        "key" => Context::Key,
        kind => Context::Body(Some(Syntax::of(kind).unwrap())),
    }
}

#[test]
fn each_row_of_the_table_renders_or_is_refused() {
    for row in rows(include_str!("../../../testdata/template.txt")) {
        let template = match Template::parse(&row.text(1), context(&row.text(0))) {
            Ok(template) => template,
            Err(err) => {
                assert_eq!(format!("refused: {err}"), row.text(3), "line {}", row.line);
                continue;
            }
        };
        let tape = tape_of(row.bytes(2));
        let mut out = b"before".to_vec();
        match template.render(&Fields { json: row.bytes(2), ..fields(&tape) }, &mut out) {
            Ok(()) => assert_eq!(
                out.escape_ascii().to_string(),
                [b"before", row.bytes(3)].concat().escape_ascii().to_string(),
                "line {}",
                row.line
            ),
            Err(err) => {
                let RenderError::Missing { field } = err else { panic!("line {}: {err}", row.line) };
                assert_eq!(format!("missing: {field}"), row.text(3), "line {}", row.line);
                assert_eq!(out, b"before", "line {}", row.line);
            }
        }
    }
}

#[test]
fn a_template_is_bounded() {
    for (context, max) in
        [(Context::Plain, TEMPLATE_BYTES_MAX), (Context::Key, 1024), (Context::Header, 4096), (Context::Url, 8192)]
    {
        let longest = "x".repeat(max);
        assert!(Template::parse(&longest, context).is_ok());
        let err = Template::parse(&format!("{longest}x"), context).unwrap_err();
        assert_eq!(err.to_string(), format!("has {} bytes, {max} are allowed", max + 1));
    }
    assert!(Template::parse(&"{a}".repeat(PLACEHOLDERS_MAX), Context::Key).is_ok());
    let err = Template::parse(&"{a}".repeat(PLACEHOLDERS_MAX + 1), Context::Key).unwrap_err();
    assert_eq!(err.to_string(), "has more than 256 placeholders");
}

/// The placeholders of a text, found without the parser.
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

/// The text without escaped characters.
fn bare(text: &str) -> String {
    let (mut bare, mut escaped) = (String::new(), false);
    for character in text.chars() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        if character == '\\' {
            escaped = true;
        } else {
            bare.push(character);
        }
    }
    bare
}

proptest! {
    #[test]
    fn the_parser_finds_the_placeholders_of_a_naive_search(text in "[{}a.:\\- é]{0,24}") {
        let Ok(template) = Template::parse(&text, Context::Plain) else {
            // A refused text has braces with a letter inside that are not a placeholder.
            let braces = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            let odd = |inner: &str| inner.contains(['a', 'é']) && naive_placeholders(&format!("{{{inner}}}")).is_empty();
            prop_assert!(braces.into_iter().any(|(inner, _)| odd(inner)), "{}", text);
            return Ok(());
        };
        let found: Vec<String> = template.parts.iter().filter_map(|part| match part {
            Part::Field { source, .. } => Some(source.to_string()),
            Part::Literal(_) => None,
        }).collect();
        prop_assert_eq!(&found, &naive_placeholders(&text));
        prop_assert_eq!(template.has_placeholders(), !found.is_empty());
        // The parts joined again are the text.
        let again: String = template.parts.iter().map(|part| match part {
            Part::Field { source, .. } => format!("{{{source}}}"),
            Part::Literal(text) => text.to_string(),
        }).collect();
        prop_assert_eq!(again, text);
    }

    #[test]
    fn a_value_adds_no_markdown(value in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut json = Vec::new();
        text::push_string(&mut json, &value);
        let tape = tape_of(&[b"{\"v\":", json.as_slice(), b"}"].concat());
        let rendered = Template::parse("{v}", Context::Markdown).unwrap().render_text(&fields(&tape)).unwrap();
        let bare = bare(&rendered);
        prop_assert!(!bare.contains(['*', '_', '~', '`', '|', '[', ']', '(', ')', '<', '>', '/']), "{}", rendered);
        prop_assert!(rendered.split('@').skip(1).all(|after| after.starts_with('\u{200b}')), "{}", rendered);
        prop_assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{}", rendered);
    }

    #[test]
    fn a_json_body_stays_json(value in ".{0,16}", number: i32) {
        let event = serde_json::json!({ "v": value, "n": number, "o": { "k": [value] } });
        let tape = tape_of(event.to_string().as_bytes());
        let template = Template::parse(r#"{"a":"<{v}|{o}>","b":{v},"c":{n},"d":{o},"e":"{absent}"}"#, Context::Body(None)).unwrap();
        prop_assert!(template.is_json());
        let body: serde_json::Value = serde_json::from_str(&template.render_text(&fields(&tape)).unwrap()).unwrap();
        let inner = event["o"].to_string();
        let expected = serde_json::json!({
            "a": format!("<{value}|{inner}>"), "b": value, "c": number, "d": event["o"], "e": "?",
        });
        prop_assert_eq!(body, expected);
    }

    #[test]
    fn an_envelope_holds_the_event(event in event(), is_pretty: bool, text in ".{0,12}") {
        let json = if is_pretty { serde_json::to_string_pretty(&event) } else { serde_json::to_string(&event) }.unwrap();
        let tape = tape_of(serde_json::json!({ "t": text }).to_string().as_bytes());
        let fields = Fields { json: json.as_bytes(), ..fields(&tape) };
        let render = |text: &str, kind| {
            let template = Template::parse(text, Context::Body(kind)).unwrap();
            (template.is_json(), template.render_text(&fields).unwrap())
        };
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let event = parse(&json);
        for kind in [None, Some(Syntax::Json), Some(Syntax::Text)] {
            let body = r#"{"type":"{channel}","data":{event},"list":[{event}],"text":"{event}","raw":{raw:t},"in":"{raw:t}"}"#;
            let (is_json, body) = render(body, kind);
            prop_assert!(is_json);
            let body = parse(&body);
            prop_assert_eq!(&body["type"], "player:kill/1");
            prop_assert_eq!((&body["data"], &body["list"][0], &body["raw"]), (&event, &event, &serde_json::json!(text)));
            prop_assert_eq!(body["text"].as_str(), Some(&*json));
            prop_assert_eq!(parse(body["in"].as_str().unwrap()), serde_json::json!(text));
        }
        let (_, lines) = render("{\"a\":{event}}\n{event}\n", Some(Syntax::JsonLines));
        let lines: Vec<_> = lines.lines().map(parse).collect();
        prop_assert_eq!(lines, [serde_json::json!({ "a": event }), event.clone()]);
        let (_, form) = render("a={event}&b={\"c\":{event},\"d\":\"{raw:t}\"}&e={raw:t}", Some(Syntax::Form));
        let read: Vec<_> = form.split('&').map(|field| decoded(field.split_once('=').unwrap().1)).collect();
        prop_assert_eq!(read.len(), 3, "{}", form);
        let read: Vec<_> = read.iter().map(|field| parse(str::from_utf8(field).unwrap())).collect();
        prop_assert_eq!(&read[0], &event);
        prop_assert_eq!((&read[1]["c"], parse(read[1]["d"].as_str().unwrap())), (&event, serde_json::json!(text)));
        prop_assert_eq!(&read[2], &serde_json::json!(text));
    }

    #[test]
    fn a_value_adds_no_separator_to_a_url(value in ".{0,16}") {
        let tape = tape_of(serde_json::json!({ "v": value }).to_string().as_bytes());
        let path = Template::parse("/a/{v}/b?q={v}", Context::Url).unwrap().render_text(&fields(&tape)).unwrap();
        prop_assert_eq!(path.matches(['/', '?', '&', '#', ' ', '@', ':']).count(), 4);
        prop_assert!(path.is_ascii());
    }

    #[test]
    fn a_value_in_code_stays_in_code(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
        values in prop::collection::vec("[`\\\\a\n*]{0,6}", 3),
    ) {
        let text: String = pieces.concat();
        let template = Template::parse(&text, Context::Markdown).unwrap();
        let event = serde_json::json!({ "a": values[0], "b": values[1], "c": values[2] });
        let tape = tape_of(event.to_string().as_bytes());
        // The range of each value that is rendered as code.
        let (mut out, mut written) = (Vec::new(), Vec::new());
        for part in &template.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field { source, style, guard } => {
                    let start = out.len();
                    push_guarded(&mut out, *style, *guard, &fields(&tape), source).unwrap();
                    if matches!(style, Style::Code { .. }) {
                        written.push(start..out.len());
                    }
                }
            }
        }
        let rendered = template.render_text(&fields(&tape)).unwrap();
        prop_assert_eq!(rendered.as_bytes(), &out);
        let (codes, is_whole) = markdown::code(&rendered);
        for value in written {
            let holds = |code: &markdown::Code| code.start <= value.start && value.end <= code.end;
            prop_assert!(codes.iter().any(holds), "{:?} became {:?}: {:?} is not code", text, rendered, &rendered[value]);
        }
        // No value begins or ends code: the marks are those that the text has around plain values.
        let plain = tape_of(br#"{"a":"x","b":"x","c":"x"}"#);
        let (expected, expected_whole) = markdown::code(&template.render_text(&fields(&plain)).unwrap());
        let marks = |codes: &[markdown::Code]| codes.iter().map(markdown::Code::mark).collect::<Vec<_>>();
        prop_assert_eq!((marks(&codes), is_whole), (marks(&expected), expected_whole), "{:?} became {:?}", text, rendered);
    }

    #[test]
    fn a_form_decodes_to_its_values(values in prop::collection::vec(".{0,12}", 2), number: f64) {
        let tape = tape_of(serde_json::json!({ "a": values[0], "b": values[1], "n": number }).to_string().as_bytes());
        let template = Template::parse("x={a}&y={b}&z={\"k\":\"{a}\",\"n\":{b}}&n={n}", Context::Body(Some(Syntax::Form)));
        let body = template.unwrap().render_text(&fields(&tape)).unwrap();
        let read: Vec<Vec<u8>> = body.split('&').map(|member| decoded(member.split_once('=').unwrap().1)).collect();
        prop_assert_eq!(read.len(), 4, "{}", body);
        prop_assert_eq!((&read[0], &read[1]), (&values[0].clone().into_bytes(), &values[1].clone().into_bytes()));
        let json: serde_json::Value = serde_json::from_slice(&read[2]).unwrap();
        prop_assert_eq!(json, serde_json::json!({ "k": values[0], "n": values[1] }));
    }

    #[test]
    fn json_inside_json_decodes_to_its_values(value in ".{0,12}") {
        let tape = tape_of(serde_json::json!({ "v": value }).to_string().as_bytes());
        let text = r#"{"s":"{\"v\":\"{v}\",\"w\":[\"{v}\"],\"x\":{v}}","l":"[\"{v}\",{v}]"}"#;
        let template = Template::parse(text, Context::Body(Some(Syntax::Json)));
        let body = template.unwrap().render_text(&fields(&tape)).unwrap();
        let outer: serde_json::Value = serde_json::from_str(&body).unwrap();
        let inner: serde_json::Value = serde_json::from_str(outer["s"].as_str().unwrap()).unwrap();
        prop_assert_eq!(inner, serde_json::json!({ "v": value, "w": [value], "x": value }));
        let list: serde_json::Value = serde_json::from_str(outer["l"].as_str().unwrap()).unwrap();
        prop_assert_eq!(list, serde_json::json!([value, value]));
    }

    #[test]
    fn markup_decodes_to_its_values(value in ".{0,12}") {
        let tape = tape_of(serde_json::json!({ "v": value }).to_string().as_bytes());
        let template = Template::parse("<a b=\"{v}\">{v}</a>", Context::Body(Some(Syntax::Xml))).unwrap();
        let body = template.render_text(&fields(&tape)).unwrap();
        prop_assert_eq!(body.matches(['<', '>', '"']).count(), 6, "{}", body);
        let inner = body.strip_prefix("<a b=\"").and_then(|rest| rest.split_once('"')).unwrap().0;
        let mut cleaned = Vec::new();
        escape::push_plain(&mut cleaned, value.as_bytes());
        let read = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        let read = read.iter().fold(inner.to_owned(), |text, (from, to)| text.replace(from, to));
        prop_assert_eq!(read, String::from_utf8(cleaned).unwrap().replace(['\u{fffe}', '\u{ffff}'], ""));
    }

    #[test]
    fn a_header_is_one_line_of_ascii(value: Vec<u8>) {
        let mut json = Vec::new();
        text::push_string(&mut json, &value);
        let tape = tape_of(&[b"{\"v\":", json.as_slice(), b"}"].concat());
        let mut out = Vec::new();
        Template::parse("x {v}", Context::Header).unwrap().render(&fields(&tape), &mut out).unwrap();
        prop_assert!(out.iter().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", out);
        // In a quoted string of the hook, no quote of a value counts.
        let quoted = Template::parse("n=\"\\{v}{v}\"; x", Context::Header).unwrap().render_text(&fields(&tape)).unwrap();
        prop_assert_eq!(bare(&quoted).matches('"').count(), 2, "{}", quoted);
        prop_assert!(bare(&quoted).ends_with("\"; x"), "{}", quoted);
    }
}

/// Events of all shapes. No member has the name of a built-in value, or that of the identity.
fn event() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        ".{0,12}".prop_map(serde_json::Value::from),
        "[\"\\\\{}:,]{0,8}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::vec(("[a-d\"é]{0,3}", inner), 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Pieces of generated texts of hooks: code marks, escapes, placeholders.
const PIECES: &[&str] =
    &["`", "``", "```", "\\", "{a}", "{b}", "{c}", "x", " ", "\n", "> ", "lua\n", "**", "||", "@", "<@", "https://e/"];

/// Decodes the value of a form's field.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap();
        match byte {
            b'%' => out.push((digit() * 16 + digit()) as u8),
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    out
}

#[test]
fn a_rendered_text_is_bounded() {
    let tape = tape_of(serde_json::json!({ "v": "x".repeat(400_000), "k": "k".repeat(1025) }).to_string().as_bytes());
    let render = |text: &str, context| {
        let mut out = Vec::new();
        let rendered = Template::parse(text, context).unwrap().render(&fields(&tape), &mut out);
        rendered.map(|()| out.len()).map_err(|err| err.to_string())
    };
    let longer = |max: usize| Err(format!("it is longer than {max} bytes"));
    assert_eq!(render("{k}", Context::Key), longer(1024));
    assert_eq!(render("k:{v}", Context::Key), longer(1024));
    assert_eq!(render("{k}{v}", Context::Header), longer(4096));
    assert_eq!(render("/{v}", Context::Url), longer(8192));
    assert_eq!(render("{v}{v}", Context::Body(None)), Ok(800_000));
    assert_eq!(render(&"{v}".repeat(256), Context::Body(None)), longer(BODY_BYTES_MAX));
    let json = serde_json::json!({ "v": "x".repeat(400_000) }).to_string();
    let large = Fields { json: json.as_bytes(), ..fields(&tape) };
    let event =
        |text: &str, context| Template::parse(text, context).unwrap().render_text(&large).map(|text| text.len());
    assert_eq!(event("{event}{event}", Context::Body(None)), Ok(json.len() * 2));
    assert_eq!(event("{event}{event}{event}", Context::Body(None)), Err(RenderError::TooLong { max: BODY_BYTES_MAX }));
    assert_eq!(event("/?e={event:json}", Context::Url), Err(RenderError::TooLong { max: 8192 }));
    let bytes = event(&"`{event}`".repeat(256), Context::Markdown).unwrap();
    assert!(bytes < TEXT_BYTES_MAX * 2 + 2048, "{bytes}");
    // Texts for Discord are cut later. Values far beyond its limits are not rendered, and code marks stay in pairs.
    let long = "`{v}` ".repeat(256);
    let bytes = render(&long, Context::Markdown).unwrap();
    assert!(bytes < TEXT_BYTES_MAX * 2 + long.len() * 2, "{bytes}");
    let text = Template::parse(&long, Context::Markdown).unwrap().render_text(&fields(&tape)).unwrap();
    let (codes, is_whole) = markdown::code(&text);
    assert_eq!((codes.len(), is_whole), (256, true));
}

/// The game thread parses every text of a hook, so the scan for code marks must be linear in its length.
#[test]
fn code_marks_are_found_in_linear_time() {
    let long = [format!("{} {}", "`".repeat(5000), "`` ".repeat(3500)), "`x`*".repeat(3500) + &"`{a}`".repeat(256)];
    for text in long {
        let began = std::time::Instant::now();
        Template::parse(&text, Context::Markdown).unwrap();
        // It takes milliseconds. One scan for each length of a mark, or over all code for each character, takes
        // seconds.
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
