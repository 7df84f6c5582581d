//! Rows: addresses, options, and what is said about wrong ones.

use super::*;

/// `scheme://…` text, then the address as `host port user password db [tls]`, or a part of the error.
const ADDRESSES: &[(&str, Result<&str, &str>)] = &[
    ("redis://127.0.0.1:6379", Ok("127.0.0.1 6379 - - 0")),
    ("redis://localhost", Ok("localhost 6379 - - 0")),
    ("redis://10.0.0.5:7000/3", Ok("10.0.0.5 7000 - - 3")),
    ("redis://:secret@h", Ok("h 6379 - secret 0")),
    ("redis://gmod:p%40ss%3Aword@h:1/2", Ok("h 1 gmod p@ss:word 2")),
    ("redis://gmod@h", Ok("h 6379 gmod - 0")),
    ("redis://[::1]:6380", Ok("::1 6380 - - 0")),
    ("redis://[::1]", Ok("::1 6379 - - 0")),
    ("redis://h/", Ok("h 6379 - - 0")),
    ("", Err("no `redis://`")),
    ("127.0.0.1:6379", Err("no `redis://`")),
    ("http://h", Err("scheme `http`")),
    ("rediss://h", Ok("h 6379 - - 0 tls")),
    ("rediss://:secret@h:6380/1", Ok("h 6380 - secret 1 tls")),
    ("redis://", Err("no usable host")),
    ("redis://:6379", Err("no usable host")),
    ("redis://h:0", Err("port")),
    ("redis://h:65536", Err("port")),
    ("redis://h:port", Err("port")),
    ("redis://h/x", Err("database")),
    ("redis://[::1", Err("unclosed")),
    ("redis://user:%zz@h", Err("escape")),
    ("redis://ho st", Err("no usable host")),
];

#[test]
fn addresses() {
    for (text, expected) in ADDRESSES {
        let found = Address::parse(text).map(|a| {
            let password = a.password.as_ref().map_or("-", Secret::reveal);
            let (user, tls) = (a.user.as_deref().unwrap_or("-"), if a.tls { " tls" } else { "" });
            format!("{} {} {user} {password} {}{tls}", a.host, a.port, a.database)
        });
        match (expected, &found) {
            (Ok(row), Ok(found)) => assert_eq!(row, found, "{text}"),
            (Err(part), Err(found)) => assert!(found.contains(part), "{text}: {found}"),
            _ => panic!("{text}: expected {expected:?}, found {found:?}"),
        }
    }
}

#[test]
fn a_password_shows_nowhere() {
    let address = Address::parse("redis://gmod:hunter2@h").unwrap();
    assert!(!format!("{address:?} {address}").contains("hunter2"));
    for bad in ["redis://gmod:hunter2@h:x", "redis://gmod:hunter2@", "rediss://gmod:hunter2@", "hunter2"] {
        assert!(!Address::parse(bad).unwrap_err().contains("hunter2"), "{bad}");
    }
}

/// Text of realtime.json, then what is reported (a part each), then the server name after it.
const FILES: &[(&str, &[&str], &str)] = &[
    ("{}", &[], "box-27015"),
    (r#"{"server":"eu-1"}"#, &[], "eu-1"),
    (r#"{"server":"no spaces"}"#, &["option `server` of realtime.json: expected 1 to 32"], "box-27015"),
    (
        r#"{"serber":"eu-1"}"#,
        &["option `serber` of realtime.json: unknown option, did you mean `server`?"],
        "box-27015",
    ),
    (r#"{"colour":"red"}"#, &["unknown option"], "box-27015"),
    (r#"{"tick_budget_us":99}"#, &["from 100 to 20000 (microseconds), found \"99\""], "box-27015"),
    (r#"{"tick_budget_us":"800","server":"a"}"#, &[], "a"),
    (r#"{"tick_budget_us":true,"server":"a"}"#, &["(microseconds), found \"true\""], "a"),
    (r#"{"identity":null,"server":"a"}"#, &["expected a string, number or boolean, found null"], "a"),
    (r#"{"identity":"yes"}"#, &["expected true or false, found \"yes\""], "box-27015"),
    (r#"{"identity":false,"emit_age_max_s":5}"#, &[], "box-27015"),
    (r#"{"prefix":"a\nb"}"#, &["control character"], "box-27015"),
    ("[]", &["cannot use realtime.json: expected an object, found an array"], "box-27015"),
    ("{", &["cannot use realtime.json: is not JSON"], "box-27015"),
    (r#"{"redis":"nope:hunter2"}"#, &["no `redis://` at its start"], "box-27015"),
];

#[test]
fn files() {
    for (text, expected, server) in FILES {
        let mut config = Config::defaults("box", 27015);
        let errors = config.apply_json("realtime.json", text);
        assert_eq!(errors.len(), expected.len(), "{text}: {errors:?}");
        for (error, part) in errors.iter().zip(*expected) {
            let said = error.to_string();
            assert!(said.contains(part) && !said.contains("hunter2"), "{text}: {said}");
        }
        assert_eq!(config.server, *server, "{text}");
    }
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
        config.apply("defaults", row.name, row.default).unwrap();
        assert_eq!(config, defaults, "{}", row.name);
    }
}

#[test]
fn host_names_become_server_names() {
    for (host, name) in [("box", "box-27015"), ("", "gmod-27015"), ("Élan rp", "-lan-rp-27015")] {
        assert_eq!(Config::defaults(host, 27015).server, name);
    }
    let long = Config::defaults(&"x".repeat(80), 27015).server;
    assert!(is_server_name(&long) && long.ends_with("-27015"), "{long}");
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
        other.apply("test", row.name, text).unwrap();
        let needs = ["redis", "server", "tls_ca_file", "tls_server_name"].contains(&row.name);
        assert_eq!(other.needs_other_connection(&config), needs, "{}", row.name);
    }
}
