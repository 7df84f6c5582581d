//! The metrics file of a whole server, against a real Redis and real webhooks. A reader of the format from PyPI takes it,
//! with `scripts/test metrics`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use fault_kit::{Answer, Redis, Server, Web, wait_until};
use realtime::facade::hooks::status::GameValues;
use serde_json::{Value, json};

/// Words that must not get into the file.
const SECRETS: [&str; 4] = ["hunter2", "hunter22", "whsec_", "token"];

/// The text of the file once it holds all of these.
#[track_caller]
fn text_with(server: &mut Server, file: &str, parts: &[String]) -> String {
    let path = server.folder.path().join(file);
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    server.wait(|_| parts.iter().all(|part| text().contains(part)));
    text()
}

/// Asks for a file at another path, which is written within a second or two, and returns it.
#[track_caller]
fn write_to(server: &mut Server, file: &str, parts: &[String]) -> String {
    server.engine.configure(&json!({ "metrics_file": file }).to_string()).unwrap();
    text_with(server, file, parts)
}

/// A server that has lived: answers of all kinds from webhooks, drops, players, a name and URLs that do their worst.
fn lived() -> (Server, Redis, Web, String) {
    let redis = Redis::start(&["--requirepass", "hunter22"]);
    let url = redis.url().replace("redis://", "redis://hunter22@");
    let mut server = Server::with(json!({ "redis": url, "server": "a\"b\\ é{}" }));
    let asked = AtomicUsize::new(0);
    let web = Web::start(move |seen| {
        let status = seen.target.split('/').nth(1).and_then(|code| code.parse().ok()).unwrap_or(204);
        // Once only, so that the post is delivered at last.
        if status == 503 && asked.fetch_add(1, Ordering::SeqCst) > 0 {
            return Answer::Status(204);
        }
        Answer::Status(status)
    });
    for code in [204, 400, 503] {
        let target = format!("/{code}/hunter2/%22%7D%0A%5C?token=hunter2%0A%23%20TYPE");
        server.hook(
            "w",
            json!({ "type": "http", "url": web.url(&target), "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u" }),
        );
    }
    server.on("w", 1);
    server.wait_ready();
    server.game = GameValues { players: Some(7), max_players: Some(64), ..GameValues::default() };
    (0..3).for_each(|n| server.emit("w", &format!("{{\"n\":{n}}}")).unwrap());
    server.hear(3);
    server.wait(|server| server.stat("/webhooks/waiting") == 0);
    let destination = web.url("/***?***");
    let label = format!("destination=\"{destination}\"");
    let parts = ["2xx", "4xx", "5xx"].map(|code| format!("{label},code=\"{code}\"}} "));
    let text = write_to(&mut server, "m/one.prom", &[&parts[..], &["gmod_players_max{".to_owned()]].concat());
    (server, redis, web, text)
}

/// The number of a sample whose line begins like this and has these labels.
fn number(text: &str, metric: &str, labels: &str) -> f64 {
    let sample = |line: &&str| line.split_once('{').is_some_and(|(name, rest)| name == metric && rest.contains(labels));
    let line = text.lines().find(sample).unwrap_or_else(|| panic!("no {metric} {labels} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_file_has_the_numbers_of_stats_and_no_secret() {
    let (mut server, redis, web, text) = lived();
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
    let stats = server.engine.stats();
    for queue in ["outbox", "inbox", "notices", "replies", "actions", "aggregates", "webhooks", "files"] {
        let label = format!("queue=\"{queue}\"");
        assert_eq!(number(&text, "realtime_queue_in_total", &label), stats[queue]["in"].as_f64().unwrap(), "{queue}");
        assert_eq!(
            number(&text, "realtime_queue_delivered_total", &label),
            stats[queue]["delivered"].as_f64().unwrap()
        );
        assert_eq!(number(&text, "realtime_queue_waiting", &label), 0.0);
        for (reason, count) in stats[queue]["dropped"].as_object().unwrap() {
            let label = format!("{label},reason=\"{reason}\"");
            assert_eq!(number(&text, "realtime_queue_dropped_total", &label), count.as_f64().unwrap(), "{label}");
        }
    }
    // The three hooks differ in their secret path only.
    let code = |code: &str| number(&text, "realtime_webhook_requests_total", &format!("code=\"{code}\""));
    assert_eq!([code("2xx"), code("4xx"), code("5xx"), code("429")], [6.0, 3.0, 1.0, 0.0]);
    assert_eq!(web.seen().len(), 10);
    assert_eq!((number(&text, "gmod_players", ""), number(&text, "gmod_players_max", "")), (7.0, 64.0));
    assert!(number(&text, "realtime_pump_seconds_count", "") >= 3.0);
    assert_eq!(number(&text, "realtime_redis_up", ""), 1.0);
    // Redis goes away: the file goes on and says so. The old file is gone.
    drop(redis);
    server.wait(|server| server.engine.status().0 == "connecting");
    let text = write_to(&mut server, "two.prom", &["realtime_redis_up{".to_owned()]);
    assert_eq!(number(&text, "realtime_redis_up", ""), 0.0);
    assert!(!server.folder.path().join("m/one.prom").exists());
    server.stop();
}

/// Nobody ticks: the game loads a map, or hangs.
#[test]
fn the_file_goes_on_without_the_game() {
    let mut server = Server::with(json!({ "redis": "redis://127.0.0.1:1", "metrics_file": "a.prom" }));
    let text = text_with(&mut server, "a.prom", &["realtime_pump_seconds_count{".to_owned()]);
    let wrote = |text: &str| number(text, "realtime_last_write_timestamp_seconds", "");
    let path = server.folder.path().join("a.prom");
    wait_until("the next file is written", || {
        std::fs::read_to_string(&path).is_ok_and(|next| wrote(&next) > wrote(&text))
    });
    let folder = server.folder.clone();
    server.stop();
    // The game does not tell whether a process ends, so the file stays as it is.
    assert!(path.exists());
    drop(folder);
}

/// Reads a file, and prints its families with the samples as JSON.
const READ: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.buffer.read().decode()):
    assert family.name not in families, family.name
    assert family.documentation, family.name
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    series = {json.dumps([name, labels], sort_keys=True) for name, labels, _ in samples}
    assert samples and len(series) == len(samples), family.name
    families[family.name] = {"type": family.type, "samples": samples}
print(json.dumps(families))
"#;

#[test]
#[ignore = "needs the Python package prometheus-client, which scripts/test installs"]
fn the_reference_reader_takes_the_file() {
    let python = std::env::var("REALTIME_TEST_PROMETHEUS").expect("the path of a Python with the package");
    let (server, _redis, web, text) = lived();
    server.stop();
    let mut child =
        Command::new(python).args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let families: Value = serde_json::from_slice(&output.stdout).unwrap();
    let types = [
        ("realtime_build_info", "gauge"),
        ("realtime_last_write_timestamp_seconds", "gauge"),
        ("realtime_redis_up", "gauge"),
        // The reader names counters without their end.
        ("realtime_queue_in", "counter"),
        ("realtime_queue_delivered", "counter"),
        ("realtime_queue_dropped", "counter"),
        ("realtime_queue_waiting", "gauge"),
        ("realtime_gap_missed", "counter"),
        ("realtime_webhook_requests", "counter"),
        ("realtime_pump_seconds", "histogram"),
        ("gmod_players", "gauge"),
        ("gmod_players_max", "gauge"),
    ];
    assert_eq!(families.as_object().unwrap().len(), types.len(), "{families}");
    for (name, kind) in types {
        assert_eq!(families[name]["type"], kind, "{name} in {families}");
    }
    // Each value that stands in the text is one that the reader found.
    let samples: Vec<&Value> =
        families.as_object().unwrap().values().flat_map(|f| f["samples"].as_array().unwrap()).collect();
    assert_eq!(samples.len(), text.lines().filter(|line| !line.starts_with('#')).count());
    for sample in &samples {
        let destination = sample[1].get("destination");
        assert!(destination.is_none_or(|name| *name == web.url("/***?***")), "{sample}");
        assert_eq!(sample[1]["server"], samples[0][1]["server"]);
        let named = text.lines().filter(|line| line.starts_with(sample[0].as_str().unwrap()));
        let value = sample[2].as_f64().unwrap();
        assert!(named.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).any(|found| found == value));
    }
}
