//! Tests of `ReadEventLog`: the options that scripts may give, and the answer that records become.

use super::*;
use crate::eventlog::segment::SegmentError;
use crate::json::tape::{Reader, TapeItem as Item};
use crate::rows::rows;

/// A query in the form of a row of `queries.txt`; `-` stands for the default.
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
fn options_are_parsed_as_the_table_says() {
    for row in rows(include_str!("../../../testdata/eventlog/queries.txt")) {
        let parsed = LogQuery::parse(b"a.log", &serde_json::from_slice(row.bytes(0)).unwrap());
        let found = parsed.map_or_else(|refusal| refusal.to_string(), |wanted| shown(&wanted.query));
        assert_eq!(found, row.text(1), "line {}", row.line);
    }
}

#[test]
fn a_bad_path_is_refused_with_the_code_file() {
    let refusal = LogQuery::parse(b"../x", &Value::Array(Vec::new())).unwrap_err().to_string();
    assert!(refusal.starts_with("file: cannot use `../x` as the path of an event log: "), "{refusal}");
}

#[test]
fn a_record_is_found_by_its_own_time() {
    proptest::proptest!(|(ms in 0..4_000_000_000_000_u64)| {
        assert_eq!(unix_ms(ms as f64 / 1000.0), ms);
    });
}

/// Routes with a hook that writes the log `a.log`.
fn routes() -> Routes {
    let spec = serde_json::json!({ "type": "file", "path": "a.log" });
    let mut hooks = crate::engine::registrations::Registrations::hooks();
    let added = hooks.parse_and_add(b"a", None, &spec, None, &crate::engine::registrations::Origin::default());
    let mut routes = Routes::new("");
    routes.replace_hook(None, added.unwrap().item.hook());
    routes
}

/// The search visits every action of every hook, and the game thread asks for reads.
#[test]
fn hooks_are_searched_for_a_missing_log_only_and_by_the_thread_that_reads() {
    use crate::hooks::trie::VISITED;
    let stats = Arc::new(crate::stats::Stats::default());
    let config = crate::config::Config::defaults("box", 1);
    let shared = Arc::new(Shared::new(config, std::env::temp_dir(), stats, Arc::default()));
    let missing = || Err(ReadError::Missing { path: std::path::PathBuf::from("x") });
    for (path, read, is_answered, visited) in [
        (b"a.log", missing(), true, 1),
        (b"b.log", missing(), false, 1),
        (b"a.log", Err(ReadError::Timeout), false, 0),
        (b"b.log", Ok(Making::begin(&Records::default()).finish()), true, 0),
    ] {
        VISITED.set(0);
        let path = LogPath::parse(path).unwrap();
        let making = read.is_ok().then(|| Ok(Making::begin(&Records::default())));
        let asked = ForCallback { shared: Arc::clone(&shared), ticket: 1, path, routes: routes(), making };
        let read = read.map(|_| ReadOutcome::default());
        Box::new(asked).answer(read);
        assert_eq!((shared.replies.pop().unwrap().outcome.is_ok(), VISITED.get()), (is_answered, visited));
    }
}

#[test]
fn a_log_without_a_file_is_empty_and_other_errors_have_codes() {
    let path = std::path::PathBuf::from("x");
    let of = |read| outcome(read, &LogPath::parse(b"a.log").unwrap(), &routes());
    let empty = of(Err(ReadError::Missing { path: path.clone() })).unwrap();
    assert_eq!(Reader::new(&empty.tape).next_item(), Some(Item::Array(0)));
    let missing = Err(ReadError::Missing { path: path.clone() });
    let unknown = outcome(missing, &LogPath::parse(b"b.log").unwrap(), &routes()).unwrap_err();
    assert_eq!(unknown, "file: there is no event log `x`, and no hook of this server writes it: check the path");
    let file = |err| ReadError::File { path: path.clone(), err };
    for (err, expected) in [
        (file(SegmentError::Io(std::io::ErrorKind::IsADirectory.into())), "file: cannot read"),
        (file(SegmentError::Foreign(b"PK".to_vec())), "file: cannot read event log `x`: starts with 50 4b, not an"),
        (file(SegmentError::Newer(2)), "file: cannot read event log `x`: written in format 2"),
        (ReadError::Timeout, "timeout: "),
        (ReadError::TooLarge, "too_large: "),
        (ReadError::Busy { waiting: 64 }, "queue_full: 64 reads"),
        (ReadError::Closed, "closed: "),
    ] {
        let reason = of(Err(err)).unwrap_err();
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[test]
fn an_answer_made_in_steps_equals_one_made_at_once() {
    let folder = crate::eventlog::writer::tests::double::Folder::new();
    let path = LogPath::parse(b"a.log").unwrap();
    let disk = Arc::new(crate::eventlog::disk::SystemDisk);
    let spec = crate::eventlog::LogSpec::new(path.clone());
    let mut writer = crate::eventlog::writer::Writer::open(disk, &folder.0, spec, Instant::now()).unwrap();
    for n in 0..100 {
        let text = "x".repeat(if n < 50 { 10 } else { 50_000 });
        writer.append(n * 1000, b"c", format!("{{\"n\":{n},\"text\":\"{text}\"}}").as_bytes()).unwrap();
    }
    writer.sync_now(Instant::now()).unwrap();
    let far = Instant::now() + Duration::from_secs(60);
    let records = reader::read(&folder.0, &path, &Query::default(), far).unwrap().records;
    let whole = make_answer(&records, far).unwrap();
    let mut making = Making::begin(&records);
    let mut steps = 1;
    while !making.go_on(&records).unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 2 + 49, "32 short ones, 18 and a long one, then each long one");
    assert!(making.finish().tape == whole.tape);
    let mut tape = Reader::new(&whole.tape);
    assert_eq!(tape.next_item(), Some(Item::Array(100)));
    let late = make_answer(&records, Instant::now());
    assert!(matches!(late, Err(ReadError::Timeout)));
}
