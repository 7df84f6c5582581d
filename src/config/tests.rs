//! Rows: addresses, options, and what is said about wrong ones.

use super::*;
use crate::rows::{Row, rows};

/// `host port` and so on of an address, as the table has them.
#[test]
fn addresses() {
    for row in rows(include_str!("../../testdata/config/addresses.txt")) {
        let (url, first) = (row.text(0), row.text(1));
        let found = Address::parse(&url);
        if first == "!" {
            let err = found.expect_err(&url);
            assert!(err.starts_with("expected redis://[[user:]password@]host[:port][/db], found "), "{url}: {err}");
            assert!(err.contains(&row.text(2)) && !err.contains("hunter2"), "{url}: {err}");
            continue;
        }
        let address = found.unwrap_or_else(|err| panic!("{url}: {err}"));
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let columns = [
            address.to_string(),
            or_dash(address.user.as_deref()),
            or_dash(address.password.as_ref().map(Secret::reveal)),
            format!("{}{}", address.database, if address.tls { " tls" } else { "" }),
            format!("{address:?}"),
        ];
        assert_eq!(columns, [first, row.text(2), row.text(3), row.text(4), row.text(5)], "{url}");
        assert!(!format!("{address:?} {address}").contains("hunter2"), "{url}");
        assert_ne!(address.shown_user(), Some("hunter2"), "{url}");
    }
}

/// What is in force, and the complaints: the columns of a table from the second on. Nothing shows the password.
fn check(sources: &Sources, row: &Row) {
    let (config, errors) = sources.resolve();
    let line = row.line;
    let redis = if config.not_understood().is_some() { "none".to_owned() } else { config.redis.to_string() };
    let or_empty = |column| Some(row.text(column)).filter(|text| text != "-").unwrap_or_default();
    assert_eq!(
        [redis, config.server.clone(), config.prefix.clone()],
        [row.text(1), row.text(2), or_empty(3)],
        "{line}"
    );
    let (complaints, expected) = (&config.complaints, or_empty(4));
    let parts: Vec<&str> = expected.split(";;").filter(|part| !part.is_empty()).collect();
    assert_eq!((complaints.len(), errors.len()), (parts.len(), parts.len()), "{line}: {complaints:#?}");
    for (complaint, part) in complaints.iter().zip(parts) {
        assert!(complaint.starts_with("cannot use ") && complaint.contains(part), "{line}: {complaint}");
    }
    assert!(!format!("{config:?}").contains("hunter2"), "{line}: {config:?}");
    // That of the Redis is what is said, if both are not understood.
    let [prefix, redis] = LEADING.map(|name| config.not_understood.get(name).map(String::as_str));
    assert_eq!(config.not_understood(), redis.or(prefix), "{line}");
    // What leads to the Redis is not understood, so there is no address.
    assert_eq!(config.redis == Address::unknown(), config.not_understood.contains_key("redis"), "{line}");
}

#[test]
fn files_as_people_write_them() {
    for row in rows(include_str!("../../testdata/config/files.txt")) {
        let file = ("realtime.json".to_owned(), decode(row.bytes(0)));
        check(&Sources::new(Config::defaults("box", 27015), Some(file), |_| None), &row);
    }
}

#[test]
fn environments_as_panels_write_them() {
    for row in rows(include_str!("../../testdata/config/environment.txt")) {
        // As bytes: a value may be no text.
        let variables: Vec<u8> = row.bytes(0).to_vec();
        let variables = variables.split(|byte| *byte == b';').filter(|variable| !variable.is_empty()).map(|variable| {
            let at = variable.iter().position(|byte| *byte == b'=').unwrap();
            let name = String::from_utf8(variable[..at].trim_ascii().to_vec()).unwrap();
            (name, String::from_utf8(variable[at + 1..].to_vec()).ok())
        });
        let text = r#"{"redis":"redis://file","server":"file","prefix":"f:"}"#.to_owned();
        let file = Some(("realtime.json".to_owned(), Ok(text)));
        let operator = Operator { file, variables: variables.collect(), hints: Vec::new() };
        check(&Sources::of(Config::defaults("box", 27015), operator), &row);
    }
}

/// A variable that may be of another program holds nothing back where somebody named the Redis, also a script.
#[test]
fn variables_that_may_be_of_others() {
    let variables = || vec![("REALTIME_PASSWORD".to_owned(), Some("hunter2".to_owned()))];
    let file = |text: &str| Some(("realtime.json".to_owned(), Ok(text.to_owned())));
    let operator = |file| Operator { file, variables: variables(), hints: Vec::new() };
    let mut rows = Vec::new();
    for text in ["{}", r#"{"redis":"redis://127.0.0.1:6379"}"#, r#"{"host":"h"}"#] {
        rows.push(Sources::of(Config::defaults("box", 27015), operator(file(text))));
    }
    rows.push(Sources::of(Config::defaults("box", 27015), operator(None)));
    let mut scripted = rows[3].clone();
    scripted.configure(r#"{"redis":"redis://127.0.0.1:6379"}"#).unwrap();
    rows.push(scripted);
    let found = rows.iter().map(|sources| {
        let config = sources.resolve().0;
        assert!(config.complaints.iter().any(|complaint| complaint.contains("REALTIME_PASSWORD")));
        config.not_understood().is_none()
    });
    assert_eq!(found.collect::<Vec<_>>(), [false, true, false, false, true]);
}

#[test]
fn the_environment_has_the_last_word() {
    let mut config = Config::defaults("box", 27015);
    assert!(config.apply_json("realtime.json", r#"{"server":"file","prefix":"f:"}"#).is_empty());
    let errors = config.apply_environment(|name| match name {
        "REALTIME_SERVER" => Some("env".to_owned()),
        "REALTIME_TICK_BUDGET_US" => Some("x".to_owned()),
        _ => None,
    });
    assert_eq!((config.server.as_str(), config.prefix.as_str()), ("env", "f:"));
    assert_eq!(errors.len(), 1);
    assert_eq!(config.tick_budget, Duration::from_micros(500));
}

#[test]
fn every_default_passes_its_own_check_and_is_the_default() {
    let defaults = Config::defaults("box", 27015);
    for row in OPTIONS.iter().filter(|row| !row.default.starts_with('<')) {
        let mut config = defaults.clone();
        config.apply(row.name, row.default).unwrap();
        assert_eq!(config, defaults, "{}", row.name);
    }
}

#[test]
fn host_names_become_server_names() {
    for (host, name) in [
        ("box", "box-27015"),
        ("", "gmod-27015"),
        ("Élan rp", "-lan-rp-27015"),
        ("サーバー", "-----27015"),
        ("a\u{fffd}\0\n.b_c", "a---.b_c-27015"),
        ("DESKTOP-1A2B3C4", "DESKTOP-1A2B3C4-27015"),
    ] {
        assert_eq!(Config::defaults(host, 27015).server, name);
    }
    for (host, port) in [("x".repeat(80), 27015), ("é".repeat(300), 65535), (String::new(), 0)] {
        let name = Config::defaults(&host, port).server;
        assert!(is_server_name(&name) && name.ends_with(&format!("-{port}")), "{name}");
    }
}

/// What scripts say, the file, the environment; what is in force, and how many errors of the operator's there are.
#[test]
fn the_operator_has_the_last_word() {
    let rows = [
        (None, None, None, "box-27015", 0),
        (Some("script"), None, None, "script", 0),
        (Some("script"), Some("file"), None, "file", 0),
        (Some("script"), None, Some("environment"), "environment", 0),
        (Some("script"), Some("file"), Some("environment"), "environment", 0),
        (Some("script"), Some("no name!"), None, "script", 1),
    ];
    for (script, file, environment, expected, wrong) in rows {
        let file = file.map(|name| ("realtime.json".to_owned(), format!("{{\"server\":\"{name}\"}}")));
        let lookup = |name: &str| environment.filter(|_| name == "REALTIME_SERVER").map(str::to_owned);
        let mut sources = Sources::new(Config::defaults("box", 27015), file, lookup);
        if let Some(name) = script {
            sources.configure(&format!("{{\"server\":\"{name}\"}}")).unwrap();
        }
        let (config, errors) = sources.resolve();
        assert_eq!((config.server.as_str(), errors.len()), (expected, wrong));
    }
}

#[test]
fn scripts_configure_all_or_nothing_and_the_last_one_counts() {
    let mut sources = Sources::new(Config::defaults("box", 27015), None, |_| None);
    sources.configure(r#"{"server":"one","prefix":"a:","tick_budget_us":600}"#).unwrap();
    sources.configure(r#"{"server":"two"}"#).unwrap();
    let errors = sources.configure(r#"{"server":"three","tick_budget_us":1}"#).unwrap_err();
    assert_eq!(errors.len(), 1);
    let (config, _) = sources.resolve();
    let expected = ("two", "a:", Duration::from_micros(600));
    assert_eq!((config.server.as_str(), config.prefix.as_str(), config.tick_budget), expected);
}

/// Which options need another connection.
#[test]
fn what_changes_under_a_connection() {
    let config = Config::defaults("box", 27015);
    for row in OPTIONS {
        let text = match row.name {
            "redis" => "redis://:other@127.0.0.1",
            "identity" => "false",
            "emit_age_max_s" | "tick_budget_us" | "sync_timeout_ms" => "500",
            _ => "x",
        };
        let mut other = config.clone();
        other.apply(row.name, text).unwrap();
        let needs = ["redis", "server", "tls_ca_file", "tls_server_name"].contains(&row.name);
        assert_eq!(other.needs_other_connection(&config), needs, "{}", row.name);
    }
}

/// What a script sets and the operator has set already is kept, has no effect now, and is named.
#[test]
fn what_the_operator_overrules_is_named() {
    let file = Some(("realtime.json".to_owned(), Ok("{\"Prefix\":\"f:\",\"server\":\"file\"}".to_owned())));
    let variables = vec![("REALTIME_SERVER".to_owned(), Some("env".to_owned()))];
    let mut sources = Sources::of(Config::defaults("box", 27015), Operator { file, variables, hints: Vec::new() });
    let overruled = sources.configure(r#"{"prefix":"s:","Server":"script","tick_budget_us":600}"#).unwrap();
    assert_eq!(overruled, [("server", "the environment".to_owned()), ("prefix", "realtime.json".to_owned())]);
    let (config, errors) = sources.resolve();
    assert_eq!((config.server.as_str(), config.prefix.as_str(), errors.len()), ("env", "f:", 0));
    assert_eq!(config.tick_budget, Duration::from_micros(600));
    // The operator says nothing any more.
    let (config, _) = sources.with(Operator::default()).resolve();
    assert_eq!((config.server.as_str(), config.prefix.as_str()), ("script", "s:"));
}

/// A file that is no settings at all, under an environment that names a Redis or does not.
#[test]
fn the_environment_makes_up_for_a_file_that_is_not_understood() {
    for (variables, redis) in [
        (vec![], None),
        (vec![("REALTIME_REDIS", "")], None),
        (vec![("REALTIME_SERVER", "a")], None),
        (vec![("REALTIME_REDIS", "redis://env")], Some("env:6379")),
    ] {
        let file = Some(("realtime.json".to_owned(), Err("cannot read it: it is a folder".to_owned())));
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), Some((*text).to_owned()))).collect();
        let operator = Operator { file, variables, hints: vec!["a hint".to_owned()] };
        let mut sources = Sources::of(Config::defaults("box", 27015), operator);
        // Scripts have less to say than the file, also than one that is not understood.
        sources.configure(r#"{"redis":"redis://script"}"#).unwrap();
        let (config, _) = sources.resolve();
        assert_eq!(config.not_understood().is_none().then(|| config.redis.to_string()).as_deref(), redis);
        assert_eq!(config.complaints, ["cannot use realtime.json: cannot read it: it is a folder", "a hint"]);
    }
}

/// A file of other things: a bounded number of sentences, whatever it holds.
#[test]
fn complaints_are_bounded() {
    let of = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("\"colour{n}\":1")).collect();
        let text = format!("{{{}}}", members.join(","));
        Sources::new(Config::defaults("box", 27015), Some(("f".to_owned(), text)), |_| None).resolve()
    };
    let (config, errors) = of(200);
    assert_eq!((errors.len(), config.complaints.len()), (200, 17));
    assert_eq!((config.complaints[16].as_str(), config.not_understood()), ("and 184 more", None));
    let (config, _) = of(257);
    assert_eq!(config.complaints, ["cannot use f: it holds 257 options, and there are 10"]);
    assert!(config.not_understood().is_some());
}

proptest::proptest! {
    /// Whatever stands around it, no error shows a value, and none panics.
    #[test]
    fn no_text_makes_an_error_show_a_value(
        before in "[{}\\[\\],:\"'#/*\\\\ a-z\\n\u{201c}\u{e9}]{0,12}",
        name in "(redis|password|Redis_url|server|tls_ca_file|prefix|[a-z]{1,8})",
        after in "[{}\\[\\],:\"'#/*\\\\ a-z\\n\u{201c}\u{e9}]{0,12}",
    ) {
        for text in [
            format!("{before}{{\"{name}\":\"hunter2://HUNTER2:{after}@HUNTER2\"}}"),
            format!("{{\"{name}\":{before}\"HUNTER2\"{after}}}"),
            format!("{before}{name}{after}HUNTER2"),
        ] {
            let mut config = Config::defaults("box", 27015);
            for error in config.apply_json("realtime.json", &text) {
                proptest::prop_assert!(!error.to_string().contains("HUNTER2"), "{text}: {error}");
            }
            let said = Address::parse(&text).err().unwrap_or_default();
            proptest::prop_assert!(!said.contains("HUNTER2"), "{text}: {said}");
        }
    }

    /// Any bytes are some text, and any text is options or an error.
    #[test]
    fn any_bytes_are_a_file(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut config = Config::defaults("box", 27015);
        config.apply_json("realtime.json", &decode(&bytes));
    }
}
