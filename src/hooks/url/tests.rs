//! Rows of URLs: accepted or refused, shown without secrets, and rendered with values.

use super::*;
use crate::json::tape;

/// text | origin and target, or part of the error
const URLS: &[(&str, Result<&str, &str>)] = &[
    ("http://monsite.com/api/kill", Ok("http://monsite.com /api/kill")),
    ("https://Discord.COM/api/webhooks/1/t-T_k", Ok("https://discord.com /api/webhooks/1/t-T_k")),
    ("https://h", Ok("https://h /")),
    ("https://h?a=1", Ok("https://h /?a=1")),
    ("https://h:443/x", Ok("https://h /x")),
    ("http://h:8080/x?y=%20&z", Ok("http://h:8080 /x?y=%20&z")),
    ("http://[::1]:81/", Ok("http://[::1]:81 /")),
    ("HTTP://127.0.0.1/", Ok("http://127.0.0.1 /")),
    ("http://h/a@b:c", Ok("http://h /a@b:c")),
    ("file:///etc/passwd", Err("does not begin with http")),
    ("ftp://h/", Err("does not begin with http")),
    ("h/x", Err("does not begin with http")),
    ("//h/x", Err("does not begin with http")),
    ("http:/h", Err("does not begin with http")),
    ("", Err("does not begin with http")),
    ("http://localhost@evil/x", Err("contains a login")),
    ("http://user:hunter2@h/", Err("contains a login")),
    ("http:///x", Err("no usable host")),
    ("http://ho st/", Err("no usable host")),
    ("http://h\\evil/", Err("no usable host")),
    ("http://é.fr/", Err("no usable host")),
    ("http://[::1/", Err("no usable host")),
    ("http://[x]/", Err("no usable host")),
    ("http://[::1]x/", Err("no usable host")),
    ("http://h:/", Err("port")),
    ("http://h:0/", Err("port")),
    ("http://h:65536/", Err("port")),
    ("http://h:+80/", Err("port")),
    ("http://h:80:80/", Err("port")),
    ("http://h/#f", Err("`#`")),
    ("http://h/a b", Err("contains ' '")),
    ("http://h/a\r\nX: y", Err("contains '\\r'")),
    ("http://h/a\0", Err("contains '\\0'")),
    ("http://h/\u{e9}", Err("contains 'é'")),
    ("http://h/a\\b", Err("contains '\\\\'")),
    ("http://h/<x>", Err("contains '<'")),
    ("http://h/%", Err("a `%`")),
    ("http://h/%2", Err("a `%`")),
    ("http://h/%zz", Err("a `%`")),
    ("http://h/a/../b", Err("`..`")),
    ("http://h/.", Err("`..`")),
];

#[test]
fn a_url_is_parsed_or_refused() {
    for (text, expected) in URLS {
        let found = Url::parse(text).map(|url| format!("{} {}", url.origin, url.target()));
        match (expected, &found) {
            (Ok(row), Ok(found)) => assert_eq!(row, found, "{text}"),
            (Err(part), Err(found)) => {
                let shown = found.to_string();
                assert!(shown.contains(part) && !shown.contains("hunter2"), "{text}: {shown}");
            }
            _ => panic!("{text}: expected {expected:?}, found {found:?}"),
        }
        // A template without placeholders accepts the same texts.
        assert_eq!(UrlTemplate::parse(text).is_ok(), expected.is_ok(), "{text}");
    }
    let long = format!("http://h/{}", "x".repeat(URL_BYTES_MAX));
    assert_eq!(Url::parse(&long).unwrap_err().to_string(), "is longer than 2048 bytes");
}

/// URL | the text shown in logs and errors
const SHOWN: &[(&str, &str)] = &[
    ("https://discord.com/api/webhooks/123456/aB3-x_Yz", "https://discord.com/api/webhooks/123456/***"),
    ("https://discord.com/api/v10/webhooks/123/secret", "https://discord.com/api/v10/webhooks/123/***"),
    ("https://discord.com/api/webhooks/123/secret?thread_id=5", "https://discord.com/api/webhooks/123/***?***"),
    ("https://discord.com/api/webhooks/123/12345", "https://discord.com/api/webhooks/123/***"),
    ("https://discord.com/api/webhooks/123/secret/slack", "https://discord.com/api/webhooks/123/***"),
    ("https://discord.com/api/webhooks/123", "https://discord.com/***"),
    ("https://discord.com/api/webhooks/123/", "https://discord.com/***"),
    ("https://discord.com/api/webhooks/secret/5", "https://discord.com/***"),
    ("https://h/x/api/webhooks/123/secret", "https://h/***"),
    ("https://hooks.example/services/T00/B00/hunter2", "https://hooks.example/***"),
    ("https://api.telegram.org/bot123:ABC/sendMessage?chat_id=5", "https://api.telegram.org/***?***"),
    ("https://n8n.example/webhook/abc", "https://n8n.example/***"),
    ("https://ntfy.sh/kills", "https://ntfy.sh/***"),
    ("https://h.example/webhookb2/1-2@3/IncomingWebhook/4/5", "https://h.example/***"),
    ("http://monsite.com:81/api/kill", "http://monsite.com:81/***"),
    ("http://h/?key=hunter2", "http://h/?***"),
    ("http://h/a", "http://h/***"),
    ("http://h/1", "http://h/***"),
    ("http://h/v10/secret", "http://h/***"),
    ("http://h/abcdefghijklmnopqrstuvwx", "http://h/***"),
    ("http://h/", "http://h/"),
    ("http://h", "http://h/"),
];

#[test]
fn secrets_are_not_shown() {
    for (text, shown) in SHOWN {
        let (url, template) = (Url::parse(text).unwrap(), UrlTemplate::parse(text).unwrap());
        assert_eq!(url.reveal().trim_end_matches('/'), text.trim_end_matches('/'));
        for found in [format!("{url}"), format!("{url:?}"), format!("{template}"), format!("{template:?}")] {
            assert_eq!(found, *shown, "{text}");
        }
    }
    let secret = Url::parse("https://discord.com/api/webhooks/123/secret?thread_id=567890&x").unwrap();
    let all = ["secret", "567890", "/api/webhooks/123/secret?thread_id=567890&x"];
    assert_eq!(secret.secrets(), all);
    let short = Url::parse("https://h/api/abc/kill/x1").unwrap();
    assert_eq!(short.secrets(), ["abc", "kill", "/api/abc/kill/x1"]);
    for (text, _) in SHOWN {
        let url = Url::parse(text).unwrap();
        assert_eq!(url.secrets(), secrets_of(&url.reveal()), "{text}");
    }
    assert_eq!(secrets_of("https://h").len() + secrets_of("").len(), 0);
}

#[test]
fn a_query_member_is_appended_with_the_right_separator() {
    for (target, joined) in
        [("/x", "/x?wait=true"), ("/x?a=1", "/x?a=1&wait=true"), ("/x?", "/x?wait=true"), ("/x?a&", "/x?a&wait=true")]
    {
        let url = Url::parse(&format!("http://h{target}")).unwrap();
        assert_eq!(url.with_query("wait=true").target(), joined);
    }
}

/// URL template | the value of `v` | URL, or part of the error
const TEMPLATES: &[(&str, &str, Result<&str, &str>)] = &[
    ("http://h/p/{v}?q={v}", "a b", Ok("http://h/p/a%20b?q=a%20b")),
    ("http://h/p/{v}", "../../x", Ok("http://h/p/..%2F..%2Fx")),
    ("http://h/p/{v}", "..", Err("`..`")),
    ("http://h/p/.{v}", ".", Err("`..`")),
    ("http://h/p?x={v}", "..", Ok("http://h/p?x=..")),
    ("http://h/p/{absent}", "x", Err("no `absent`")),
];

#[test]
fn a_value_is_escaped_or_refused_in_a_url() {
    for (text, value, expected) in TEMPLATES {
        let mut found = Vec::new();
        tape::parse(serde_json::json!({ "v": value }).to_string().as_bytes(), &mut found).unwrap();
        let fields = Fields { tape: &found, json: b"null", channel: b"c", unix_ms: 0, offset_s: 0 };
        match (UrlTemplate::parse(text).unwrap().render(&fields), expected) {
            (Ok(url), Ok(row)) => assert_eq!(url.reveal(), *row),
            (Err(err), Err(part)) => assert!(err.to_string().contains(part), "{text}: {err}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
    for bad in ["{v}://h/", "http://{v}/", "http://h:{v}/", "http://{v}.h/x"] {
        assert_eq!(UrlTemplate::parse(bad).unwrap_err(), UrlError::Placeholder, "{bad}");
    }
    for bad in ["http://h/{", "http://h/{}"] {
        assert_eq!(UrlTemplate::parse(bad).unwrap_err(), UrlError::Character('{'), "{bad}");
    }
    for (bad, part) in [
        ("http://h/{a b}", "`{a b}` is not a placeholder"),
        ("http://h/%7Ba%7D", "escaped braces"),
        ("http://h/%7ba.b%7d/{v}", "escaped braces"),
        ("http://h/?a=%7Ba%20b%7D", "escaped braces"),
        ("http://h/%{v}", "escape"),
        ("http://h/?a=%2{v}", "escape"),
    ] {
        let err = UrlTemplate::parse(bad).unwrap_err().to_string();
        assert!(err.contains(part), "{bad}: {err}");
    }
    // Escaped braces of a value are not a placeholder when the URL is read back from the spool.
    assert!(Url::parse("http://h/%7Ba%7D").is_ok() && UrlTemplate::parse("http://h/%7B%22a%22%7D").is_ok());
    let long = UrlTemplate::parse("http://h/{v}").unwrap();
    let mut found = Vec::new();
    tape::parse(serde_json::json!({ "v": "x".repeat(TARGET_BYTES_MAX) }).to_string().as_bytes(), &mut found).unwrap();
    let err = long.render(&Fields { tape: &found, json: b"null", channel: b"c", unix_ms: 0, offset_s: 0 }).unwrap_err();
    assert_eq!(err.to_string(), "cannot be made: it is longer than 8192 bytes");
}
