//! Tables of addresses, files and environments; then the order of the sources, and the error texts.

use super::*;
use crate::config::options::{LOCATING, OPTIONS};
use crate::rows::{Row, rows};

/// Each row: a URL with the parts of its address, or with a part of the error.
#[test]
fn urls_parse_to_addresses() {
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

/// Compares the resolved settings and the complaints with the columns of a row, from the second on. No text may show the
/// password.
fn check(sources: &Sources, row: &Row) {
    let (config, errors) = sources.resolve();
    let line = row.line;
    let redis = match config.place {
        _ if config.not_understood().is_some() => "none".to_owned(),
        Place::Named => config.redis.to_string(),
        Place::Auto => "auto".to_owned(),
        Place::Embedded => "embedded".to_owned(),
    };
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
    // With two errors the one of `redis` is returned.
    let [prefix, redis] = LOCATING.map(|name| config.not_understood.get(name).map(String::as_str));
    assert_eq!(config.not_understood(), redis.or(prefix), "{line}");
    // There is no address exactly if `redis` was not understood.
    assert_eq!(config.redis == Address::unknown(), config.not_understood.get("redis").is_some(), "{line}");
}

#[test]
fn files_are_read_as_people_write_them() {
    for row in rows(include_str!("../../testdata/config/files.txt")) {
        let file = ("realtime.json".to_owned(), decode(row.bytes(0)));
        check(&Sources::new(Config::defaults("box", 27015), Some(file), |_| None), &row);
    }
}

#[test]
fn environments_are_read_as_panels_write_them() {
    for row in rows(include_str!("../../testdata/config/environment.txt")) {
        // As bytes, because a value may not be UTF-8.
        let variables: Vec<u8> = row.bytes(0).to_vec();
        let variables = variables.split(|byte| *byte == b';').filter(|variable| !variable.is_empty()).map(|variable| {
            let at = variable.iter().position(|byte| *byte == b'=').unwrap();
            let name = String::from_utf8(variable[..at].trim_ascii().to_vec()).unwrap();
            (name, String::from_utf8(variable[at + 1..].to_vec()).ok())
        });
        let text = r#"{"redis":"redis://file","server":"file","prefix":"f:"}"#.to_owned();
        let file = Some(("realtime.json".to_owned(), Ok(text)));
        let operator = Operator { file, variables: variables.collect(), ..Operator::default() };
        check(&Sources::of(Config::defaults("box", 27015), operator), &row);
    }
}

/// If any source names a Redis, a script included, such a variable does not stop the connections.
#[test]
fn a_variable_that_may_belong_to_another_program_stops_nothing_once_redis_is_named() {
    let variables = || vec![("REALTIME_PASSWORD".to_owned(), Some("hunter2".to_owned()))];
    let file = |text: &str| Some(("realtime.json".to_owned(), Ok(text.to_owned())));
    let operator = |file| Operator { file, variables: variables(), ..Operator::default() };
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
fn the_environment_overrules_the_file_option_by_option() {
    let file = ("realtime.json".to_owned(), r#"{"server":"file","prefix":"f:"}"#.to_owned());
    let sources = Sources::new(Config::defaults("box", 27015), Some(file), |name| match name {
        "REALTIME_SERVER" => Some("env".to_owned()),
        "REALTIME_TICK_BUDGET_US" => Some("x".to_owned()),
        _ => None,
    });
    let (config, errors) = sources.resolve();
    assert_eq!((config.server.as_str(), config.prefix.as_str()), ("env", "f:"));
    assert_eq!(errors.len(), 1);
    assert_eq!(config.tick_budget, Duration::from_micros(500));
}

#[test]
fn every_default_of_the_table_is_valid_and_is_the_default_of_the_settings() {
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

/// Each row: the script's name, the file's, the environment's; the name in force, and the number of the operator's errors.
#[test]
fn the_operator_overrules_scripts() {
    let rows = [
        (None, None, None, "box-27015", 0),
        (Some("script"), None, None, "script", 0),
        (Some("script"), Some("file"), None, "file", 0),
        (Some("script"), None, Some("environment"), "environment", 0),
        (Some("script"), Some("file"), Some("environment"), "environment", 0),
        (Some("script"), Some("a name!"), None, "a-name-", 0),
        (Some("script"), Some("a@b"), None, "script", 1),
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
fn configure_takes_all_options_or_none_and_the_last_call_counts() {
    let mut sources = Sources::new(Config::defaults("box", 27015), None, |_| None);
    sources.configure(r#"{"server":"one","prefix":"a:","tick_budget_us":600}"#).unwrap();
    sources.configure(r#"{"server":"two"}"#).unwrap();
    let errors = sources.configure(r#"{"server":"three","tick_budget_us":1}"#).unwrap_err();
    assert_eq!(errors.len(), 1);
    let (config, _) = sources.resolve();
    let expected = ("two", "a:", Duration::from_micros(600));
    assert_eq!((config.server.as_str(), config.prefix.as_str(), config.tick_budget), expected);
}

#[test]
fn only_some_options_need_another_connection() {
    let config = Config::defaults("box", 27015);
    for row in OPTIONS {
        let text = match row.name {
            "redis" => "embedded",
            "identity" | "presence" | "presence_players" | "thrifty" => "false",
            "timezone_offset" => "+02:00",
            "proxy" => "http://p:1",
            "metrics_file" => "x.prom",
            "emit_age_max_s" | "tick_budget_us" | "sync_timeout_ms" => "500",
            _ => "x",
        };
        let mut other = config.clone();
        other.apply(row.name, text).unwrap();
        let needs = ["redis", "server", "tls_ca_file", "tls_server_name"].contains(&row.name);
        assert_eq!(other.needs_other_connection(&config), needs, "{}", row.name);
    }
}

/// The options are kept without effect, and `configure` returns them.
#[test]
fn configure_names_the_options_that_the_operator_overrules() {
    let file = Some(("realtime.json".to_owned(), Ok("{\"Prefix\":\"f:\",\"server\":\"file\"}".to_owned())));
    let variables = vec![("REALTIME_SERVER".to_owned(), Some("env".to_owned()))];
    let mut sources = Sources::of(Config::defaults("box", 27015), Operator { file, variables, ..Operator::default() });
    let overruled = sources.configure(r#"{"prefix":"s:","Server":"script","tick_budget_us":600}"#).unwrap();
    assert_eq!(overruled, [("server", "the environment".to_owned()), ("prefix", "realtime.json".to_owned())]);
    let (config, errors) = sources.resolve();
    assert_eq!((config.server.as_str(), config.prefix.as_str(), errors.len()), ("env", "f:", 0));
    assert_eq!(config.tick_budget, Duration::from_micros(600));
    // The operator removes the settings: the kept options take effect.
    let (config, _) = sources.with(Operator::default()).resolve();
    assert_eq!((config.server.as_str(), config.prefix.as_str()), ("script", "s:"));
}

/// The file cannot be read at all. The environment names a Redis in the last row only.
#[test]
fn a_redis_in_the_environment_replaces_an_unreadable_file() {
    for (variables, redis) in [
        (vec![], None),
        (vec![("REALTIME_REDIS", "")], None),
        (vec![("REALTIME_SERVER", "a")], None),
        (vec![("REALTIME_REDIS", "redis://env")], Some("env:6379")),
    ] {
        let file = Some(("realtime.json".to_owned(), Err("cannot read it: it is a folder".to_owned())));
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), Some((*text).to_owned()))).collect();
        let operator = Operator { file, variables, hints: vec!["a hint".to_owned()], ..Operator::default() };
        let mut sources = Sources::of(Config::defaults("box", 27015), operator);
        // Scripts are a weaker source than the file, even if the file cannot be read.
        sources.configure(r#"{"redis":"redis://script"}"#).unwrap();
        let (config, _) = sources.resolve();
        assert_eq!(config.not_understood().is_none().then(|| config.redis.to_string()).as_deref(), redis);
        assert_eq!(config.complaints, ["cannot use realtime.json: cannot read it: it is a folder", "a hint"]);
    }
}

/// A file of something else gives a bounded number of sentences, however many names it holds.
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
    assert_eq!(config.complaints, [format!("cannot use f: it holds 257 options, and there are {}", OPTIONS.len())]);
    assert!(config.not_understood().is_some());
}

/// An inner object of something else is looked through for an address up to a bound, which all of them share.
#[test]
fn inner_members_are_looked_at_up_to_a_bound() {
    let found = |outer: usize, inner: usize| {
        let of = |count: usize| (0..count).map(|n| format!("\"colour{n}\":1,")).collect::<String>();
        let text = format!("{{\"a\":{{{}\"x\":1}},\"b\":{{{}\"redis\":1}}}}", of(outer), of(inner));
        Config::defaults("box", 27015).apply_json("f", &text).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let object =
        |name| format!("cannot use option `{name}` of f: expected a string, number or boolean, found an object");
    let named = "cannot use option `b.redis` of f: write `redis` beside the others, not inside".to_owned();
    for (outer, inner) in [(0, 0), (0, 254), (254, 0), (100, 154)] {
        assert_eq!(found(outer, inner), [object("a"), named.clone()], "{outer} {inner}");
    }
    for (outer, inner) in [(0, 255), (255, 0), (100, 155), (10_000, 0)] {
        assert_eq!(found(outer, inner), [object("a"), object("b")], "{outer} {inner}");
    }
}

proptest::proptest! {
    /// No error shows a value, and none panics, whatever stands around the value.
    #[test]
    fn errors_show_no_value(
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
            let error = Address::parse(&text).err().unwrap_or_default();
            proptest::prop_assert!(!error.contains("HUNTER2"), "{text}: {error}");
        }
    }

    /// Any bytes decode to a text, and any text gives options or an error.
    #[test]
    fn any_bytes_can_be_a_file(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut config = Config::defaults("box", 27015);
        config.apply_json("realtime.json", &decode(&bytes));
    }
}

/// A proxy of the environment that cannot be used is a complaint, unless the option `proxy` decides.
#[test]
fn proxies_of_the_environment_are_taken_or_complained_about() {
    let resolved = |text: &str, option: &str| {
        let proxies = vec![("HTTPS_PROXY".to_owned(), Some(text.to_owned()))];
        let mut sources = Sources::of(Config::defaults("box", 27015), Operator { proxies, ..Operator::default() });
        sources.configure(&format!(r#"{{"proxy":"{option}"}}"#)).unwrap();
        sources.resolve().0
    };
    let host = |config: &Config| config.proxies().of(true, "discord.com").map(|proxy| proxy.to_string());
    let config = resolved("http://u:hunter2@p:1", "");
    assert_eq!((host(&config).as_deref(), config.complaints.len()), (Some("p:1"), 0));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    let config = resolved("socks5://u:hunter2@p:1", "");
    // Windows takes both names for one variable, and the first one is asked for.
    let name = if cfg!(windows) { "https_proxy" } else { "HTTPS_PROXY" };
    let expected = format!(
        "cannot use {name} of the environment for webhooks: expected http://[user:password@]host:port or none, found socks: \
         the module speaks to HTTP proxies only; correct it, or set the option `proxy`, to `none` for no proxy"
    );
    assert_eq!((host(&config), config.complaints), (None, vec![expected]));
    let config = resolved("socks5://u:hunter2@p:1", "http://o:1");
    assert_eq!((host(&config).as_deref(), config.complaints.len()), (Some("o:1"), 0));
    let config = resolved("http://p:1", "none");
    assert_eq!((host(&config), config.complaints.len()), (None, 0));
    let mut config = Config::defaults("box", 27015);
    let errors = config.apply_json("test", r#"{"proxy":"http://u:hunter2@p"}"#);
    assert!(errors.len() == 1 && !errors[0].to_string().contains("hunter2"), "{errors:?}");
    assert!(
        errors[0].to_string().contains("option `proxy` of test: expected http://[user:password@]host:port or none")
    );
}

/// The self-test shows the sources that set something, each with its options, and no value.
#[test]
fn the_sources_of_the_settings_are_listed() {
    let sources = |file: Option<&str>, variables: &[(&str, &str)], script: &str| {
        let file = file.map(|text| ("cfg/realtime.json".to_owned(), text.to_owned()));
        let lookup = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, text)| (*text).to_owned());
        let mut sources = Sources::new(Config::defaults("box", 1), file, lookup);
        assert!(sources.configure(script).is_ok());
        sources.resolve().0.sources()
    };
    assert_eq!(sources(None, &[], "{}"), "no settings file");
    assert_eq!(sources(Some("{"), &[], "{}"), "cfg/realtime.json sets no option");
    let (file, script) = (r#"{"redis":"redis://:hunter2@h","Server":"a","x":1}"#, r#"{"server":"b","prefix":"p:"}"#);
    let variables = [("REALTIME_TICK_BUDGET_US", "700"), ("REALTIME_IDENTITY", "maybe")];
    let listed = "cfg/realtime.json sets redis, server; the environment sets tick_budget_us; Configure sets prefix";
    assert_eq!(sources(Some(file), &variables, script), listed);
}
