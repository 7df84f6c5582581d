//! What scripts may ask of a log, and how records become an answer.

use super::*;
use crate::json::tape::{Item, Reader};
use crate::rows::rows;

/// What a row of `queries.txt` says of a query.
fn shown(query: &Query) -> String {
    let usual = Query::default();
    let or = |same: bool, text: String| if same { "-".to_owned() } else { text };
    [
        or(query.start_ms == usual.start_ms, query.start_ms.to_string()),
        or(query.end_ms == usual.end_ms, query.end_ms.to_string()),
        query.channel.as_deref().map_or("-".to_owned(), |channel| String::from_utf8_lossy(channel).into_owned()),
        or(query.limit == usual.limit, query.limit.to_string()),
        or(query.newest_first == usual.newest_first, query.newest_first.to_string()),
    ]
    .join(" ")
}

#[test]
fn options_by_the_table() {
    for row in rows(include_str!("../../../testdata/eventlog/queries.txt")) {
        let parsed = LogQuery::parse(b"a.log", &serde_json::from_slice(row.bytes(0)).unwrap());
        let found = parsed.map_or_else(|refusal| refusal.to_string(), |wanted| shown(&wanted.query));
        assert_eq!(found, row.text(1), "line {}", row.line);
    }
}

#[test]
fn a_bad_path_is_a_file_reason() {
    let refusal = LogQuery::parse(b"../x", &Value::Array(Vec::new())).unwrap_err().to_string();
    assert!(refusal.starts_with("file: cannot use `../x` as the path of an event log: "), "{refusal}");
}

#[test]
fn a_records_own_time_finds_it() {
    proptest::proptest!(|(ms in 0..4_000_000_000_000_u64)| {
        assert_eq!(unix_ms(ms as f64 / 1000.0), ms);
    });
}

#[test]
fn a_log_without_a_file_is_empty_and_other_errors_have_codes() {
    let path = std::path::PathBuf::from("x");
    let empty = told(Err(ReadError::Missing { path: path.clone() })).unwrap();
    assert_eq!(Reader::new(&empty.tape).next_item(), Some(Item::Array(0)));
    for (err, expected) in [
        (ReadError::Io { path: path.clone(), err: std::io::ErrorKind::IsADirectory.into() }, "file: cannot read"),
        (
            ReadError::Foreign { path: path.clone(), found: b"PK".to_vec() },
            "file: cannot read event log `x`: starts with",
        ),
        (ReadError::Newer { path, version: 2 }, "file: cannot read event log `x`: written in format 2"),
        (ReadError::Timeout, "timeout: "),
        (ReadError::TooLarge, "too_large: "),
        (ReadError::Busy { waiting: 64 }, "queue_full: 64 reads"),
        (ReadError::Closed, "closed: "),
    ] {
        let reason = told(Err(err)).unwrap_err();
        assert!(reason.starts_with(expected), "{reason}");
    }
}
