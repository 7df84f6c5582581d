//! The rows of `testdata/hooks/{specs,aggregators}.txt`, the bounds of lists, and fingerprints of specs.
//! Every row with a secret also checks that neither the spec nor its error shows the secret.

use serde_json::json;

use super::*;
use crate::event::fingerprint::Fingerprint;
use crate::hooks::delivery::{Batch, Retries};
use crate::hooks::members::FUNCTION_MARK;
use crate::hooks::request::http::HttpBody;
use crate::rows::rows;

fn shown(spec: &Spec) -> String {
    let filter = if spec.filter.is_empty() { "" } else { "where " };
    let condition = spec.condition.as_ref().map(|function| format!("if {}: ", function.0)).unwrap_or_default();
    format!("{filter}{condition}{}", shown_actions(&spec.actions))
}

fn shown_actions(actions: &[Action]) -> String {
    actions.iter().map(shown_action).collect::<Vec<_>>().join("; ")
}

/// Empty for the default.
fn shown_retries(retries: Retries) -> String {
    let Retries { retry_for, attempts } = retries;
    let attempts = if attempts == u32::MAX { "any number".to_owned() } else { attempts.to_string() };
    if retries == Retries::default() { String::new() } else { format!(" for {retry_for:?}, {attempts} of attempts") }
}

fn shown_action(action: &Action) -> String {
    let details = match &action.kind {
        ActionKind::Webhook(webhook) => match &**webhook {
            Webhook::Discord(discord) => format!("{}{}", discord.url, shown_retries(discord.retries)),
            Webhook::Http(http) => {
                let headers: String = http.headers.iter().map(|(name, value)| format!(" {name}={value:?}")).collect();
                let body = match http.body {
                    HttpBody::None => "no body",
                    HttpBody::Event => "event",
                    HttpBody::Template(_) => "template",
                };
                let signed = " signed".repeat(http.signing.reveal().len());
                let batch = http
                    .batch
                    .map_or(String::new(), |Batch { max, wait, form }| format!(" {form:?} of {max} within {wait:?}"));
                let retries = shown_retries(http.retries);
                let advice = webhook.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                let (method, url) = (http.method, &http.url);
                format!("{method} {url}{headers} {body}{signed} {:?}{retries}{batch}{advice}", http.timeout)
            }
        },
        ActionKind::File(file) => {
            let LogSpec { format, max_bytes, max_files, .. } = file.spec();
            format!("{file} {} {max_bytes} {max_files}", format.name())
        }
        ActionKind::Counter(counter) => format!("{} {:?}", shown_amount(&counter.by), counter.ttl),
        ActionKind::Leaderboard(board) => format!("{} {:?}", shown_amount(&board.by), board.ttl),
        ActionKind::Status(status) => {
            let (who, lines) = (if status.is_fleet { "one for all" } else { "one each" }, status.lines.is_some());
            format!("{} {:?} {who}, events {lines}", status.discord.url, status.interval)
        }
    };
    let filter = if action.filter.is_empty() { "" } else { "where " };
    let scope = if action.scope == Scope::Each { "each" } else { "fleet" };
    format!("{filter}{scope} {} {details}", action.kind.name())
}

fn shown_amount(amount: &Amount<impl ToString>) -> String {
    match amount {
        Amount::Fixed(number) => number.to_string(),
        Amount::Event(amount) => if amount.negated { "minus a value" } else { "a value" }.to_owned(),
    }
}

#[test]
fn each_row_of_hooks_is_parsed_or_refused() {
    for row in rows(include_str!("../../../testdata/hooks/specs.txt")) {
        let spec: Value = serde_json::from_str(&row.text(0)).unwrap_or_else(|err| panic!("line {}: {err}", row.line));
        let parsed = Spec::parse(&spec);
        let found = match &parsed {
            Ok(spec) => shown(spec),
            Err(err) => err.to_string(),
        };
        assert_eq!(found, row.text(1), "line {}", row.line);
        assert!(!format!("{found} {parsed:?}").contains("hunter2"), "line {}: {parsed:?}", row.line);
    }
}

#[test]
fn each_row_of_aggregators_is_parsed_or_refused() {
    for row in rows(include_str!("../../../testdata/hooks/aggregators.txt")) {
        let value: Value = serde_json::from_str(&row.text(0)).unwrap();
        let found = match AggregatorSpec::parse(&value) {
            Ok(spec) => {
                let AggregatorSpec { interval, actions, max_events } = spec;
                let interval = match interval.unit {
                    Unit::Seconds(seconds) => format!("{seconds} s"),
                    unit => format!("{unit:?} + {} s", interval.at_s),
                };
                let aggregate = Members::of(&value, "", "").unwrap().function("aggregate").unwrap();
                format!("{interval} {} {max_events} events: {}", aggregate.0, shown_actions(&actions))
            }
            Err(err) => err.to_string(),
        };
        assert_eq!(found, row.text(1), "line {}", row.line);
    }
}

#[test]
fn lists_and_texts_are_bounded() {
    let counter = json!({ "type": "counter", "key": "k" });
    let headers: serde_json::Map<_, _> = (0..33).map(|n| (format!("X-{n}"), json!("v"))).collect();
    let rows = [
        (
            json!({ "type": "conditional", "condition": { FUNCTION_MARK: "x:1" }, "actions": vec![counter; 17] }),
            "actions: expected 1 to 16 entries, found 17",
        ),
        (
            json!({ "type": "discord", "webhook": "https://h/", "embed": { "fields": vec![json!({ "name": "n", "value": "v" }); 26] } }),
            "embed.fields: expected 0 to 25 entries, found 26",
        ),
        (json!({ "type": "http", "url": "http://h/", "headers": headers }), "headers: has 33 headers, 32 are allowed"),
        (
            json!({ "type": "http", "url": "http://h/", "headers": { "X": "v".repeat(4097) } }),
            "headers.X: has 4097 bytes, 4096 are allowed",
        ),
        (json!({ "type": "counter", "key": "k".repeat(1025) }), "key: has 1025 bytes, 1024 are allowed"),
        (
            json!({ "type": "leaderboard", "board": "b", "member": "k".repeat(1025) }),
            "member: has 1025 bytes, 1024 are allowed",
        ),
        (
            json!({ "type": "discord", "webhook": "https://h/", "format": "k".repeat(16 * 1024 + 1) }),
            "format: has 16385 bytes, 16384 are allowed",
        ),
        (
            json!({ "type": "counter", "key": "k", "where": { "a": "x".repeat(16 * 1024 + 1) } }),
            "where.a: has 16385 bytes, 16384 are allowed",
        ),
        (
            json!({ "type": "counter", "key": "k", "where": { "x".repeat(1025): 1 } }),
            "where: names a field of 1025 bytes, 1024 are allowed",
        ),
    ];
    for (spec, expected) in rows {
        assert_eq!(Spec::parse(&spec).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_fingerprint_is_the_same_on_every_server() {
    // Other versions must compute the same value: a change here splits a fleet while it is being updated.
    let spec: Value = serde_json::from_str(r#"{"type":"counter","key":"kills:{killer}","ttl":60}"#).unwrap();
    let fingerprint = Fingerprint::of(b"player:kill", &spec);
    assert_eq!(fingerprint.to_string(), "884be0c46fa6335d");
    assert_eq!(fingerprint.to_bytes(), u64::from_str_radix("884be0c46fa6335d", 16).unwrap().to_be_bytes());
    let reordered: Value = serde_json::from_str(r#"{"ttl":60,"key":"kills:{killer}","type":"counter"}"#).unwrap();
    assert_eq!(Fingerprint::of(b"player:kill", &reordered), fingerprint);
}

#[test]
fn different_channels_and_specs_have_different_fingerprints() {
    let mut seen = std::collections::HashSet::new();
    for channel in ["", "a", "b", "ab", "player:kill"] {
        for spec in [json!({}), json!({ "a": 1 }), json!({ "a": "1" }), json!({ "a": { FUNCTION_MARK: "x:1" } })] {
            assert!(seen.insert(Fingerprint::of(channel.as_bytes(), &spec)), "{channel} {spec}");
        }
    }
    // The end of the channel is part of the hash.
    let one = Fingerprint::of(b"a", &json!("b"));
    assert_ne!(one, Fingerprint::of(b"a\"", &json!("b")));
}
