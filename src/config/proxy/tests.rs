//! Tables of proxies and of `no_proxy`; then which variable or option counts for which destination.

use super::*;
use crate::rows::rows;

#[test]
fn a_proxy_is_parsed_or_refused_without_its_secrets() {
    for row in rows(include_str!("../../../testdata/config/proxies.txt")) {
        let (text, expected) = (row.text(0), row.text(1));
        match Proxy::parse(&text, "proxy") {
            Ok(proxy) => {
                let login = proxy.login.as_ref().map_or("-", |login| login.reveal());
                assert_eq!((proxy.to_string(), login), (expected, row.text(2).as_str()), "{text}");
                assert!(!format!("{proxy} {proxy:?}").contains("hunter2"), "{proxy:?}");
            }
            Err(err) => {
                assert_eq!(expected, "!", "{text}: {err}");
                assert!(err.starts_with("expected http://[user:password@]host:port or none, found "), "{text}: {err}");
                assert!(err.contains(&row.text(2)) && !err.contains("hunter2"), "{text}: {err}");
            }
        }
    }
}

#[test]
fn no_proxy_names_hosts_and_networks() {
    for row in rows(include_str!("../../../testdata/config/no_proxy.txt")) {
        let list = if row.text(0) == "-" { String::new() } else { row.text(0) };
        let found = if is_listed(&list, &row.text(1)) { "direct" } else { "proxy" };
        assert_eq!(found, row.text(2), "line {}", row.line);
    }
}

/// The example of RFC 7617, section 2.
#[test]
fn logins_are_sent_in_base64() {
    let proxy = Proxy::parse("http://Aladdin:open%20sesame@h:1", "proxy").unwrap();
    assert_eq!(proxy.authorization().unwrap().reveal(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let secrets = ["Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"];
    assert_eq!(proxy.secrets(), secrets);
    assert!(Proxy::parse("h:1", "proxy").unwrap().authorization().is_none());
}

/// The proxies for `https://a`, `http://a` and `http://localhost`, and the number of complaints.
fn chosen(variables: &[(&str, &str)], proxy: &str, no_proxy: Option<&str>) -> (String, usize) {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| Some((*text).to_owned()).filter(|text| text != "no text"))
    };
    let (proxies, complaints) = Proxies::of_environment(&lookup);
    let proxies = proxies.with(&ProxyOption::parse(proxy).unwrap(), no_proxy);
    let of = |https, host| {
        proxies.of(https, host).map_or("-".to_owned(), |proxy| format!("{} by {}", proxy.host, proxy.source))
    };
    ([of(true, "a"), of(false, "a"), of(false, "localhost")].join(" | "), complaints.len())
}

#[test]
fn options_come_before_variables_and_curl_s_order_holds() {
    let all = [
        ("https_proxy", "http://s:1"),
        ("HTTPS_PROXY", "http://S:1"),
        ("http_proxy", "http://p:1"),
        ("HTTP_PROXY", "http://cgi:1"),
        ("all_proxy", "http://l:1"),
        ("ALL_PROXY", "http://L:1"),
    ];
    let none = "- | - | -";
    for (variables, option, exceptions, expected, complaints) in [
        (&[][..], "", None, none, 0),
        (&all, "", None, "s by https_proxy | p by http_proxy | -", 0),
        (&all[1..], "", None, "S by HTTPS_PROXY | p by http_proxy | -", 0),
        (&all[3..], "", None, "l by all_proxy | l by all_proxy | -", 0),
        (&all[5..], "", None, "L by ALL_PROXY | L by ALL_PROXY | -", 0),
        (&all[3..4], "", None, none, 0),
        (&[("https_proxy", ""), ("HTTPS_PROXY", " http://S:1 ")], "", None, "S by HTTPS_PROXY | - | -", 0),
        // One that cannot be used is not replaced by a weaker one.
        (&[("https_proxy", "socks5://s:1"), ("all_proxy", "http://l:1")], "", None, "- | l by all_proxy | -", 1),
        (&[("all_proxy", "no text")], "", None, none, 1),
        (&all, "", Some("a"), none, 0),
        (&[all[0], ("no_proxy", "a")], "", None, none, 0),
        (&[all[0], ("NO_PROXY", "b")], "", None, "s by https_proxy | - | -", 0),
        (&[all[0], ("no_proxy", "a")], "", Some(""), "s by https_proxy | - | -", 0),
        (&all, "none", None, none, 0),
        (&all, "http://o:1", None, "o by proxy | o by proxy | o by proxy", 0),
        (&[("no_proxy", "a")], "http://o:1", None, "- | - | o by proxy", 0),
        (&[], "http://o:1", Some("localhost"), "o by proxy | o by proxy | -", 0),
    ] {
        let found = chosen(variables, option, exceptions);
        assert_eq!(found, (expected.to_owned(), complaints), "{variables:?} {option} {exceptions:?}");
    }
}

#[test]
fn the_log_names_the_proxy_without_its_login() {
    let variables = [("ALL_PROXY", "http://user:hunter2@10.0.0.1:3128")];
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| Some((*text).into()));
    let (proxies, _) = Proxies::of_environment(&lookup);
    let expected = "webhooks go out through the proxy 10.0.0.1:3128, set by `ALL_PROXY`";
    assert_eq!(proxies.sentence().as_deref(), Some(expected));
    assert_eq!(proxies.with(&ProxyOption::None, None).sentence(), None);
}

#[test]
fn this_machine_is_not_reached_through_a_proxy_of_the_environment() {
    let (proxies, _) = Proxies::of_environment(&|_| Some(Some("http://p:1".to_owned())));
    let is_direct = |host| proxies.of(true, host).is_none();
    for host in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(is_direct(host), "{host}");
    }
    for host in ["localhost.example", "mylocalhost", "10.0.0.1", "128.0.0.1", "fe80::1"] {
        assert!(!is_direct(host), "{host}");
    }
}
