//! Bounds and counts of the hub. Waits end at once here: their deadline is the present.

use super::*;

fn hub() -> Hub {
    let facts = || Facts { patterns: Vec::new(), boards: Vec::new(), prefix: String::new(), sources: String::new() };
    Hub::new(facts())
}

/// Events without identity on channel `a`, with these numbers as payloads.
fn publish(hub: &Hub, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let payload = number.to_string();
        hub.take(&News::Event(Event {
            channel: b"a",
            payload: payload.as_bytes(),
            is_json: true,
            identity: None,
            is_relayed: false,
            sight: None,
            unix_ms: 0,
        }));
    }
}

/// The numbers in one batch of a page, and its count of skipped events.
fn batch(visit: &mut Visit<'_>) -> (Vec<usize>, u64) {
    let text = visit.batch(Instant::now());
    let (mut numbers, mut skipped) = (Vec::new(), None);
    for record in text.split_terminator("\n\n") {
        let (kind, data) = record.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        match kind {
            "event: event" => numbers.push(data["text"].as_str().unwrap().parse().unwrap()),
            "event: skipped" => skipped = data.as_u64(),
            kind => assert_eq!(kind, "event: state"),
        }
    }
    (numbers, skipped.unwrap())
}

#[test]
fn a_page_gets_the_last_events_then_the_newest_of_each_moment() {
    let hub = hub();
    publish(&hub, 0..1000);
    let mut visit = hub.admit().unwrap();
    assert_eq!(batch(&mut visit), ((1000 - EVENTS_MAX..1000).collect(), 0));
    assert_eq!(batch(&mut visit), (Vec::new(), 0));
    publish(&hub, 1000..1010);
    assert_eq!(batch(&mut visit), ((1000..1010).collect(), 0));
    // More than fit into a batch, then more than are kept.
    publish(&hub, 1010..1110);
    assert_eq!(batch(&mut visit), ((1110 - BATCH_MAX..1110).collect(), 100 - BATCH_MAX as u64));
    publish(&hub, 2000..3000);
    assert_eq!(batch(&mut visit), ((3000 - BATCH_MAX..3000).collect(), 1100 - 2 * BATCH_MAX as u64));
    let state = lock(&hub.state);
    assert_eq!(state.pages.skipped, 1100 - 2 * BATCH_MAX as u64);
    assert_eq!((state.events.len(), state.counts.events), (EVENTS_MAX, 2110));
    drop(state);
}

#[test]
fn pages_and_gaps_are_bounded_and_counted() {
    let hub = hub();
    let mut visits: Vec<Visit<'_>> = (0..PAGES_MAX).map(|_| hub.admit().unwrap()).collect();
    assert!(hub.admit().is_none());
    visits.pop().unwrap().drop_slow();
    assert!(hub.admit().is_some());
    drop(visits);
    for bytes in 0..GAPS_MAX as u64 + 5 {
        hub.take(&News::TooLarge { channel: b"a", bytes });
    }
    let snapshot: Value = serde_json::from_str(&hub.snapshot()).unwrap();
    let gaps = snapshot["gaps"].as_array().unwrap();
    assert_eq!((gaps.len(), &gaps[0]["bytes"]), (GAPS_MAX, &json!(GAPS_MAX as u64 + 4)));
    let pages = &snapshot["pages"];
    assert_eq!([&pages["open"], &pages["slow"], &pages["refused"]], [&json!(0), &json!(1), &json!(1)]);
    assert_eq!(snapshot["counts"]["too_large"], GAPS_MAX as u64 + 5);
}

#[test]
fn a_loss_counts_once_and_its_reason_is_shown() {
    let hub = hub();
    let lost = |reason| News::Lost { reason, pause: Duration::ZERO };
    let link = |hub: &Hub| {
        let state = lock(&hub.state);
        (state.link.is_connected, state.link.words.clone(), state.counts.lost)
    };
    hub.take(&lost("refused"));
    assert_eq!(link(&hub), (false, "refused".to_owned(), 0));
    hub.take(&News::Connected { redis: "redis at x" });
    assert_eq!(link(&hub), (true, "redis at x".to_owned(), 0));
    for reason in ["closed", "refused", "refused"] {
        hub.take(&lost(reason));
    }
    assert_eq!(link(&hub), (false, "refused".to_owned(), 1));
    assert_eq!(lock(&hub.state).gaps.len(), 1);
}
