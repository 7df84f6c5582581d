//! Posts in batches, and posts that wait for long: whatever the endpoint answers and however the process ends, each event
//! arrives in order or is given up with a reason.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fault_kit::{Answer, Folder, Hook, Poster, Seen, Web, wait_for, wait_until};
use serde_json::{Value, json};

fn numbers(seen: &Seen) -> Vec<u64> {
    seen.json().as_array().unwrap().iter().map(|event| event["n"].as_u64().unwrap()).collect()
}

/// The numbers that arrived, without the repetitions of a request, which has the same id.
fn arrived(seen: &[Seen]) -> Vec<u64> {
    let mut known = HashSet::new();
    seen.iter().filter(|seen| known.insert(seen.header("webhook-id").to_owned())).flat_map(numbers).collect()
}

// ---- batches ------------------------------------------------------------------------------------------------------

/// Half of the requests fail, some of them after they were received.
#[test]
fn ten_thousand_events_pass_an_endpoint_that_fails_half_of_the_time() {
    let asked = AtomicUsize::new(0);
    let web = Web::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 6 {
        0 => Answer::Status(503),
        2 => Answer::Close,
        4 => Answer::Full(429, "Retry-After: 0.2".to_owned(), String::new()),
        _ => Answer::Status(200),
    });
    let poster = Poster::default();
    let hook = Hook::new("h", json!({ "type": "http", "url": web.url("/"), "batch": { "max": 1000, "seconds": 1 } }));
    for n in 0..10_000 {
        // As many as find room.
        if n % 100 == 0 {
            wait_until("there is room", || poster.shared.webhooks.waiting() < 800);
        }
        poster.post(&hook, json!({ "n": n }));
    }
    poster.wait_delivered(10_000);
    let seen = web.seen();
    let mut first = HashSet::new();
    let each: Vec<u64> = seen.iter().flat_map(numbers).filter(|n| first.insert(*n)).collect();
    assert_eq!(each, (0..10_000).collect::<Vec<_>>());
    assert!(seen.len() < 100, "{} requests", seen.len());
    assert!(seen.iter().all(|seen| numbers(seen).is_sorted() && seen.header("content-type") == "application/json"));
    // A request that is repeated has the same content under the same id.
    for (at, one) in seen.iter().enumerate() {
        for other in &seen[at + 1..] {
            assert_eq!(one.header("webhook-id") == other.header("webhook-id"), one.body == other.body);
        }
    }
    poster.assert_balanced();
    poster.stop();
}

#[test]
fn only_the_refused_events_of_a_batch_are_lost() {
    for status in [400, 413, 422] {
        // Elasticsearch and the like: two lines for each event.
        let web = Web::start(move |seen| {
            let text = String::from_utf8_lossy(&seen.body).into_owned();
            let is_bad = text.contains("bad") || status == 413 && text.lines().count() > 20;
            if is_bad { Answer::Full(status, String::new(), format!("no: {text}")) } else { Answer::Status(200) }
        });
        let poster = Poster::default();
        let spec = json!({
            "type": "http", "url": web.url("/_bulk"), "batch": { "max": 16, "seconds": 300 },
            "format": "{\"index\":{\"key\":\"hunter2\"}}\n{\"n\":{n},\"text\":\"{text}\"}",
        });
        let hook = Hook::new("h", spec);
        for n in 0..16 {
            poster.post(&hook, json!({ "n": n, "text": if n == 3 || n == 12 { "bad" } else { "good" } }));
        }
        poster.wait_drained();
        assert_eq!((poster.delivered(), poster.dropped("refused")), (14, 2), "{status}");
        let lines = |seen: &Seen| {
            let text = String::from_utf8(seen.body.clone()).unwrap();
            assert!(text.ends_with('\n') && seen.header("content-type") == "application/x-ndjson");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
            lines.chunks(2).map(|pair| pair[1]["n"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        let seen = web.seen();
        assert_eq!(lines(&seen[0]), (0..16).collect::<Vec<_>>());
        let good = seen.iter().filter(|seen| {
            !String::from_utf8_lossy(&seen.body).contains("bad") && (status != 413 || lines(seen).len() <= 10)
        });
        let expected: Vec<u64> = (0..16).filter(|n| *n != 3 && *n != 12).collect();
        assert_eq!(good.flat_map(lines).collect::<Vec<_>>(), expected);
        wait_for("dead letters", 2, || poster.dead_letters().len());
        let dead = poster.dead_letters();
        let found: Vec<(&Value, &Value)> = dead.iter().map(|line| (&line["payload"]["n"], &line["cause"])).collect();
        assert_eq!(found, [(&json!(3), &json!("refused")), (&json!(12), &json!("refused"))]);
        assert!(!format!("{dead:?} {:?}", poster.wait_told(1)).contains("hunter2"));
        poster.stop();
    }
}

/// Events that wait for others when the process ends go into the spool, and the next process posts them at once.
#[test]
fn a_batch_that_gathers_outlives_its_process() {
    let web = Web::start(|_| Answer::Status(200));
    let folder = Folder::default();
    let hook = |max: u32| {
        let spec = json!({ "type": "http", "url": web.url("/"), "batch": { "max": max, "seconds": 300 } });
        Hook::new("h", spec)
    };
    let poster = Poster::with(json!({}), folder.clone());
    (0..5).for_each(|n| poster.post(&hook(100), json!({ "n": n })));
    let began = Instant::now();
    poster.stop();
    assert!(began.elapsed() < Duration::from_secs(60) && web.seen().is_empty());
    let text = std::fs::read_to_string(folder.path().join("spool.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 5);
    let next = Poster::with(json!({}), folder);
    next.wait_delivered(5);
    assert_eq!(web.seen().iter().map(numbers).collect::<Vec<_>>(), [[0, 1, 2, 3, 4]]);
    wait_until("the spool is removed", || !next.spool().exists());
    next.stop();
}
