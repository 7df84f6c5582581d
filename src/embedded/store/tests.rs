//! The store beside a naive one: an ordered map that is searched from its start for every question.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, Option<u8>),
    PutText(u8, u8),
    Score(u8, u8, i8),
    Take(u8, u8),
    Add(u8, u8),
    Drop(u8, u8),
    Delete(u8),
    End(u8, Option<u8>),
    Wait(u8),
    Sweep(u8),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys, so that steps meet.
    let key = 0..6u8;
    prop_oneof![
        4 => (key.clone(), any::<u8>(), any::<Option<u8>>()).prop_map(|(key, value, ends)| Step::Put(key, value, ends)),
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::PutText(key, value)),
        4 => (key.clone(), 0..4u8, any::<i8>()).prop_map(|(key, member, score)| Step::Score(key, member, score)),
        2 => (key.clone(), 0..4u8).prop_map(|(key, member)| Step::Take(key, member)),
        3 => (key.clone(), any::<u8>()).prop_map(|(key, bytes)| Step::Add(key, bytes)),
        1 => (key.clone(), 0..4u8).prop_map(|(key, most)| Step::Drop(key, most)),
        2 => key.clone().prop_map(Step::Delete),
        3 => (key, any::<Option<u8>>()).prop_map(|(key, ends)| Step::End(key, ends)),
        2 => any::<u8>().prop_map(Step::Wait),
        2 => (0..4u8).prop_map(Step::Sweep),
        1 => Just(Step::Clear),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Text(Vec<u8>),
    Board(BTreeMap<Vec<u8>, i32>),
    /// The largest id, and the bytes of the fields of each entry.
    Events(u128, Vec<usize>),
}

type Naive = BTreeMap<Vec<u8>, (Plain, Option<u64>)>;

fn plain(value: &Value) -> Plain {
    match value {
        Value::Text(text) => Plain::Text(text.to_vec()),
        Value::Ranking(ranking) => {
            Plain::Board(ranking.entries().iter().map(|(score, name)| (name.to_vec(), *score as i32)).collect())
        }
        Value::Stream(stream) => {
            Plain::Events(stream.last(), stream.items().iter().map(|item| item.fields.len()).collect())
        }
    }
}

/// Memory by the definition: the overheads, and all bytes.
fn bytes(store: &Store) -> usize {
    store.keys.iter().map(|slot| slot.key.len() + KEY_OVERHEAD_BYTES + slot.entry.bytes()).sum()
}

fn apply(step: &Step, store: &mut Store, naive: &mut Naive, now: &mut u64) {
    let at = *now;
    let later = |ends: Option<u8>| ends.map(|ends| at + u64::from(ends));
    match *step {
        Step::Put(key, value, ends) => {
            let text = vec![value; usize::from(value % 7)];
            store.put(&[key], Value::Text(text.as_slice().into()), later(ends));
            naive.insert(vec![key], (Plain::Text(text), later(ends)));
        }
        Step::PutText(key, value) => {
            store.put_text(&[key], &[value], at);
            let ends = naive.get(&vec![key]).and_then(|(_, ends)| *ends);
            naive.insert(vec![key], (Plain::Text(vec![value]), ends));
        }
        Step::Score(key, member, score) => {
            let mut before = None;
            let changed =
                store.change_ranking(&[key], at, &mut |ranking| before = ranking.set(&[member], f64::from(score)));
            let found = changed.map(|()| before);
            match naive.entry(vec![key]).or_insert((Plain::Board(BTreeMap::new()), None)) {
                (Plain::Board(board), _) => {
                    assert_eq!(found, Ok(board.insert(vec![member], score.into()).map(f64::from)));
                }
                _ => assert_eq!(found, Err(OtherType)),
            }
        }
        Step::Take(key, member) => {
            let mut is_gone = false;
            let changed = store.change_ranking(&[key], at, &mut |ranking| is_gone = ranking.take(&[member]));
            let found = changed.map(|()| is_gone);
            match naive.get_mut(&vec![key]) {
                Some((Plain::Board(board), _)) => {
                    assert_eq!(found, Ok(board.remove(&vec![member]).is_some()));
                    if board.is_empty() {
                        naive.remove(&vec![key]);
                    }
                }
                Some(_) => assert_eq!(found, Err(OtherType)),
                None => assert_eq!(found, Ok(false)),
            }
        }
        Step::Add(key, bytes) => {
            let (value, mut added) = (vec![0; bytes.into()], 0);
            let changed = store.change_stream(&[key], at, &mut |stream| {
                added = stream.last() + 1;
                stream.add(added, &[b"f", &value]);
            });
            match naive.entry(vec![key]).or_insert((Plain::Events(0, Vec::new()), None)) {
                (Plain::Events(last, events), _) => {
                    *last += 1;
                    events.push(4 + 1 + 4 + value.len());
                    assert_eq!((changed, added), (Ok(()), *last));
                }
                _ => assert_eq!(changed, Err(OtherType)),
            }
        }
        Step::Drop(key, most) => {
            let most = usize::from(most);
            let changed = store.change_stream(&[key], at, &mut |stream| stream.keep(most, false));
            match naive.entry(vec![key]).or_insert((Plain::Events(0, Vec::new()), None)) {
                (Plain::Events(_, events), _) => {
                    events.drain(..events.len().saturating_sub(most));
                    assert_eq!(changed, Ok(()));
                }
                _ => assert_eq!(changed, Err(OtherType)),
            }
        }
        Step::Delete(key) => assert_eq!(store.delete(&[key], at), naive.remove(&vec![key]).is_some()),
        Step::End(key, ends) => {
            let found = naive.get_mut(&vec![key]);
            assert_eq!(store.set_end(&[key], at, later(ends)), found.is_some());
            found.into_iter().for_each(|(_, known)| *known = later(ends));
        }
        Step::Wait(ms) => *now += u64::from(ms),
        Step::Sweep(count) => store.sweep(count.into(), at),
        Step::Clear => {
            store.clear();
            naive.clear();
        }
    }
}

#[test]
fn it_behaves_like_a_map_that_is_searched_from_its_start() {
    proptest!(|(steps in prop::collection::vec(step(), 0..60))| {
        let (mut store, mut naive, mut now) = (Store::new(1 << 20), Naive::new(), 1000);
        for step in &steps {
            let changes = store.changes();
            let before = naive.clone();
            apply(step, &mut store, &mut naive, &mut now);
            naive.retain(|_, (_, ends)| ends.is_none_or(|ends| ends > now));
            prop_assert_eq!(store.bytes(), bytes(&store));
            if naive != before && !matches!(step, Step::Wait(_)) {
                prop_assert!(store.changes() > changes, "a change that would not be saved");
            }
            let found: Naive =
                store.entries(now).map(|(key, entry)| (key.to_vec(), (plain(&entry.value), entry.ends))).collect();
            prop_assert_eq!(&found, &naive);
            for key in 0..6 {
                let expected = naive.get(&vec![key]);
                prop_assert_eq!(store.value(&[key], now).map(plain), expected.map(|(value, _)| value.clone()));
                prop_assert_eq!(store.ends(&[key], now), expected.map(|(_, ends)| *ends));
            }
        }
    });
}

/// Keys of one hash are told apart, and belong to one step of a search.
#[test]
fn a_search_returns_each_key_once() {
    proptest!(|(keys: std::collections::BTreeSet<Vec<u8>>, count in 1usize..9)| {
        let mut store = Store::new(1 << 20);
        keys.iter().for_each(|key| store.put(key, Value::Text(Box::default()), None));
        let (mut cursor, mut found) = (0, Vec::new());
        loop {
            let before = found.len();
            cursor = store.scan(cursor, count, 0, &mut |key, _| found.push(key.to_vec()));
            if cursor == 0 {
                break;
            }
            prop_assert_eq!(found.len() - before, count);
        }
        found.sort();
        prop_assert!(found.iter().eq(&keys));
    });
}

#[test]
fn ended_keys_are_removed_step_by_step_and_when_memory_is_short() {
    let mut store = Store::new(10_000);
    for n in 0..40u8 {
        store.put(&[n], Value::Text([n; 10].as_slice().into()), (n % 2 == 0).then_some(100));
    }
    (0..3).for_each(|_| store.sweep(10, 99));
    assert_eq!(store.keys.len(), 40);
    (0..4).for_each(|_| store.sweep(10, 100));
    assert_eq!(store.keys.len(), 20);
    for n in 0..30u8 {
        store.put(&[n, n], Value::Text([n; 10].as_slice().into()), Some(5000));
    }
    assert!(!store.has_room(4, 1000, 4999) && store.has_room(4, 1000, 6000), "a search makes room");
    assert_eq!(store.keys.len(), 20);
    assert!(!store.has_room(usize::MAX, usize::MAX, 9000));
}
