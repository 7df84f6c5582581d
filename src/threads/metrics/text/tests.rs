//! The text of the file: the format's rules with hostile names, a bounded number of series, and the dashboard that shows
//! them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::stats::Histogram;
use crate::webhook::schedule::DestinationState;

fn report(name: &str, tally: Tally) -> DestinationReport {
    let (name, state) = (name.to_owned(), DestinationState::Ok);
    DestinationReport { name, hook: "hunter2".to_owned(), kind: "http", tally, waiting: 0, on_disk: 0, state }
}

fn requests_of(destinations: &[(&str, u64)]) -> Vec<DestinationReport> {
    let tally = |count| Tally { status_2xx: count, status_429: 1, ..Tally::default() };
    destinations.iter().map(|(name, count)| report(name, tally(*count))).collect()
}

/// A file with each of its families.
fn full(server: &str, destinations: &[(&str, u64)]) -> String {
    let mut times = Histogram::default();
    [3, 5, 900, 200_000_000].iter().for_each(|us| times.record(Duration::from_micros(*us)));
    let dropped = vec![("queue_full", 2), ("redis", 0)];
    let queues = [QueueNumbers { name: "outbox", offered: 9, delivered: 6, dropped, waiting: 1 }];
    render(&Values {
        head: "# head",
        server,
        unix_s: 1_764_200_000,
        is_up: true,
        queues: &queues,
        missed: 4,
        destinations: requests_of(destinations),
        pump: Some(PumpNumbers::of(&times)),
        players: Some(7),
        players_max: Some(128),
    })
}

#[test]
fn a_file_has_each_family_with_its_help_and_type() {
    let text = full("box", &[("https://h/***", 3)]);
    let expected = [
        "# head\n# HELP realtime_build_info Version",
        "\n# TYPE realtime_build_info gauge\nrealtime_build_info{server=\"box\",version=\"",
        "\"} 1\n# HELP",
        "\nrealtime_last_write_timestamp_seconds{server=\"box\"} 1764200000\n",
        "\nrealtime_redis_up{server=\"box\"} 1\n",
        "\n# TYPE realtime_queue_in_total counter\nrealtime_queue_in_total{server=\"box\",queue=\"outbox\"} 9\n",
        "\nrealtime_queue_delivered_total{server=\"box\",queue=\"outbox\"} 6\n",
        "\nrealtime_queue_dropped_total{server=\"box\",queue=\"outbox\",reason=\"queue_full\"} 2\n",
        "\nrealtime_queue_dropped_total{server=\"box\",queue=\"outbox\",reason=\"redis\"} 0\n",
        "\n# TYPE realtime_queue_waiting gauge\nrealtime_queue_waiting{server=\"box\",queue=\"outbox\"} 1\n",
        "\nrealtime_gap_missed_total{server=\"box\"} 4\n",
        "\nrealtime_webhook_requests_total{server=\"box\",destination=\"https://h/***\",code=\"2xx\"} 3\n",
        "\nrealtime_webhook_requests_total{server=\"box\",destination=\"https://h/***\",code=\"no_answer\"} 0\n",
        "\n# TYPE realtime_pump_seconds histogram\nrealtime_pump_seconds_bucket{server=\"box\",le=\"0.000004095\"} 1\n",
        "\nrealtime_pump_seconds_bucket{server=\"box\",le=\"0.000008191\"} 2\n",
        "\nrealtime_pump_seconds_bucket{server=\"box\",le=\"0.134217727\"} 3\n",
        "\nrealtime_pump_seconds_bucket{server=\"box\",le=\"+Inf\"} 4\n",
        "\nrealtime_pump_seconds_sum{server=\"box\"} 200.000908\nrealtime_pump_seconds_count{server=\"box\"} 4\n",
        "\ngmod_players{server=\"box\"} 7\n",
        "\ngmod_players_max{server=\"box\"} 128\n",
    ];
    for part in expected {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.ends_with('\n') && !text.contains("hunter2"));
}

#[test]
fn labels_are_escaped() {
    for (name, expected) in [
        ("plain", "plain"),
        ("a\"b", r#"a\"b"#),
        ("a\\", r"a\\"),
        ("\\n", r"\\n"),
        ("a\n# TYPE x counter\nx 1", r"a\n# TYPE x counter\nx 1"),
        ("\"} 1\nx{y=\"", r#"\"} 1\nx{y=\""#),
        ("a\r\0\u{7f}\u{85}b", "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b"),
        ("Zoé \u{1F600}", "Zoé \u{1F600}"),
        ("", ""),
    ] {
        assert_eq!(escaped(name), expected);
        let (text, plain) = (full(name, &[(name, 1)]), full("box", &[("box", 1)]));
        assert_eq!(text.lines().count(), plain.lines().count(), "{text}");
        assert_eq!(text, plain.replace("\"box\"", &format!("\"{expected}\"")));
    }
}

proptest::proptest! {
    /// Whatever the names are, the lines have the form of the format, and a naive reader finds the names again.
    #[test]
    fn any_name_comes_back(server in "\\PC{0,20}", destination in "[\\PC\n\"\\\\]{0,20}") {
        let text = full(&server, &[(&destination, 1)]);
        let sample = text.lines().find(|line| line.starts_with("realtime_webhook_requests_total{")).unwrap();
        let mut values = Vec::new();
        let mut rest = sample;
        while let Some((_, after)) = rest.split_once("=\"") {
            let (mut value, mut characters) = (String::new(), after.chars());
            loop {
                match characters.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match characters.next().unwrap() { 'n' => '\n', other => other }),
                    other => value.push(other),
                }
            }
            values.push(value);
            rest = characters.as_str();
        }
        proptest::prop_assert_eq!(values, [server, destination, "2xx".to_owned()]);
        proptest::prop_assert_eq!(rest, "} 1");
    }
}

/// Two equal series would make the collector refuse the file.
#[test]
fn destinations_of_one_name_are_added_and_many_are_summed_up() {
    let requests = |text: &str, name: &str| -> Vec<String> {
        let label = format!("destination=\"{name}\",code=\"2xx\"");
        text.lines().filter(|line| line.contains(&label)).map(|line| line.rsplit(' ').next().unwrap().into()).collect()
    };
    let text = full("box", &[("h/***", 3), ("i/***", 5), ("h/***", 4)]);
    assert_eq!((requests(&text, "h/***"), requests(&text, "i/***")), (vec!["7".into()], vec!["5".into()]));
    assert!(requests(&text, OTHERS).is_empty());
    let names: Vec<String> = (0..300).map(|n| format!("https://h{n}/***")).collect();
    let mut many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    many.push((OTHERS, 1000));
    let text = full("box", &many);
    assert_eq!(requests(&text, OTHERS), ["1236"]);
    let series: Vec<&str> = text.lines().filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series)).collect();
    let distinct: BTreeSet<&str> = series.iter().copied().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(series.iter().filter(|line| !line.starts_with('#')).count(), distinct.len());
    assert_eq!(text.matches("code=\"429\"").count(), DESTINATIONS_SHOWN_MAX + 1);
    assert!(text.len() < 64 * 1024, "{}", text.len());
}

#[test]
fn numbers_that_nobody_told_are_left_out() {
    let text = render(&Values {
        head: "# head",
        server: "box",
        unix_s: 1,
        is_up: false,
        queues: &[],
        missed: 0,
        destinations: Vec::new(),
        pump: None,
        players: None,
        players_max: Some(2),
    });
    assert!(!text.contains("realtime_pump") && !text.contains("gmod_players{") && text.contains("gmod_players_max{"));
    assert!(text.contains("realtime_redis_up{server=\"box\"} 0\n"));
}

/// The words of a query that are names of metrics. Those of a histogram's samples count for their family.
fn metrics_in(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("realtime_") || word.starts_with("gmod_"));
    metrics.map(|word| ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word))
}

/// All texts named `member`, at any depth.
fn texts<'a>(value: &'a Value, member: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| texts(value, member, found)),
        Value::Object(members) => {
            for (name, value) in members {
                found.extend(value.as_str().filter(|_| name == member));
                texts(value, member, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../../lua/examples/grafana_dashboard.json")).unwrap();
    let mut queries = Vec::new();
    texts(&dashboard, "expr", &mut queries);
    let shown: BTreeSet<&str> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    let text = full("box", &[("h", 1)]);
    let written: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(shown, written);
    // The owner chooses the source at import.
    let mut sources = Vec::new();
    texts(&dashboard, "uid", &mut sources);
    assert!(sources.iter().all(|uid| ["${source}", "realtime-gmod"].contains(uid)), "{sources:?}");
    assert!(dashboard["templating"]["list"][0]["type"] == "datasource" && dashboard["id"].is_null());
}
