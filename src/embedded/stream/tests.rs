//! A stream beside a naive one: a map of all entries. Then its bounds, and ids as text.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(u8, u8),
    Keep(u8, bool),
    Take(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4u8, any::<u8>()).prop_map(|(later, bytes)| Step::Add(later, bytes)),
        1 => (0..40u8, any::<bool>()).prop_map(|(most, is_about)| Step::Keep(most, is_about)),
        2 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Step::Take),
    ]
}

#[test]
fn it_behaves_like_a_map_that_never_takes_an_old_id() {
    proptest!(|(steps in prop::collection::vec(step(), 0..200), first in 0..40_u8, last in 0..40_u8)| {
        let (mut stream, mut naive, mut newest) = (Stream::default(), BTreeMap::<Id, usize>::new(), 0);
        for step in steps {
            match step {
                Step::Add(later, bytes) => {
                    newest += Id::from(later);
                    let text = vec![0; usize::from(bytes)];
                    stream.add(newest, &[b"f", &text]);
                    naive.insert(newest, 4 + 1 + 4 + text.len());
                }
                Step::Keep(most, is_about) => {
                    let most = usize::from(most);
                    stream.keep(most, is_about);
                    let spare = if is_about { most / 16 } else { 0 };
                    if naive.len() > most + spare {
                        while naive.len() > most {
                            naive.pop_first();
                        }
                    }
                }
                Step::Take(mut ids) => {
                    ids.sort_unstable();
                    let ids: Vec<Id> = ids.into_iter().map(Id::from).collect();
                    let before = naive.len();
                    naive.retain(|id, _| !ids.contains(id));
                    prop_assert_eq!(stream.take(&ids), before - naive.len());
                }
            }
            prop_assert!(stream.items.capacity() <= 2 * (stream.items.len() + 1));
        }
        prop_assert!(stream.items().iter().map(|item| (item.id, item.fields.len())).eq(naive.clone()));
        prop_assert_eq!(stream.bytes, naive.values().map(|bytes| bytes + ITEM_OVERHEAD_BYTES).sum::<usize>());
        prop_assert_eq!(stream.last(), newest);
        let range = |first: Id, last: Id| stream.range(first, last).iter().map(|item| item.id).collect::<Vec<_>>();
        let (first, last) = (first.into(), last.into());
        let expected: Vec<Id> = naive.into_keys().filter(|id| (first..=last).contains(id)).collect();
        prop_assert_eq!(range(first, last), expected);
        prop_assert_eq!(range(0, Id::MAX).len(), stream.items().len());
    });
}

#[test]
fn the_oldest_entries_go_beyond_the_bytes_and_the_newest_stays() {
    let mut stream = Stream::default();
    let text = vec![b'x'; 100_000];
    for id in 1..=1000 {
        stream.add(id, &[b"event", &text]);
        assert!(stream.bytes <= STREAM_BYTES_MAX);
    }
    // Entries go in groups.
    let ids: Vec<Id> = stream.items().iter().map(|item| item.id).collect();
    assert!((78..=83).contains(&ids.len()), "{}", ids.len());
    assert_eq!(ids, (1001 - ids.len() as Id..=1000).collect::<Vec<_>>());
    let huge = vec![b'x'; STREAM_BYTES_MAX];
    stream.add(1001, &[b"event", &huge]);
    assert_eq!(stream.items().iter().map(|item| item.id).collect::<Vec<_>>(), [1001]);
    stream.add(1002, &[b"event", b""]);
    assert_eq!(stream.items().iter().map(|item| item.id).collect::<Vec<_>>(), [1002]);
    stream.fit(0);
    assert_eq!(stream.items().len(), 1);
    // Not even the newest one, if no entry is to stay.
    stream.keep(0, true);
    assert_eq!((stream.items().len(), stream.bytes, stream.last()), (0, 0, 1002));
}

#[test]
fn ids_are_read_and_printed() {
    for (text, expected) in [
        ("0-0", Some("0-0")),
        ("5", Some("5-7")),
        ("5-3", Some("5-3")),
        ("007-01", Some("7-1")),
        ("18446744073709551615-18446744073709551615", Some("18446744073709551615-18446744073709551615")),
        ("18446744073709551616-0", None),
        ("0-18446744073709551616", None),
        ("-", None),
        ("+", None),
        ("*", None),
        ("", None),
        ("5-", None),
        ("-5", None),
        ("5--1", None),
        ("5-1-2", None),
        ("5-*", None),
        (" 5", None),
        ("5.0", None),
        ("0x5", None),
        ("\u{661}", None),
    ] {
        assert_eq!(read_id(text.as_bytes(), 7).map(print_id).as_deref(), expected, "{text:?}");
    }
    assert_eq!(read_id(b"\xff-1", 7), None);
}
