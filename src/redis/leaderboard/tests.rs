//! A board against a Redis of a few lines that names keys twice and in any portions, and a plain sort as the oracle.

use proptest::prelude::*;

use super::*;
use crate::redis::REPLY_LIMITS;
use crate::redis::reply::Decoder;

fn words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['$', '*'])).map(str::to_owned).collect()
}

/// Answers the commands of the search from `keys`, in portions, until the board is complete.
fn play(board: &mut Board, keys: &[(String, String)], portion: usize) -> Result<Answer, String> {
    loop {
        let mut bytes = Vec::new();
        board.encode(&mut bytes);
        let words = words(&bytes);
        let reply = match words[0].as_str() {
            "CLUSTER" => b"-ERR This instance has cluster support disabled\r\n".to_vec(),
            "SCAN" => {
                let from: usize = words[1].parse().unwrap();
                let end = keys.len().min(from + portion);
                let cursor = if end == keys.len() { 0 } else { end };
                // SCAN may repeat keys: the first key of a portion, and the whole portion before it.
                let named: Vec<&str> = keys[from.saturating_sub(1)..end].iter().map(|(key, _)| key.as_str()).collect();
                let list: Vec<u8> =
                    named.iter().flat_map(|key| format!("${}\r\n{key}\r\n", key.len()).into_bytes()).collect();
                let mut reply =
                    format!("*2\r\n${}\r\n{cursor}\r\n*{}\r\n", cursor.to_string().len(), named.len()).into_bytes();
                reply.extend(list);
                reply
            }
            "MGET" => {
                let mut reply = format!("*{}\r\n", words.len() - 1).into_bytes();
                for word in &words[1..] {
                    let value = keys.iter().find(|(key, _)| key == word).map(|(_, value)| value.as_str());
                    match value {
                        Some(value) if value != "nil" => {
                            reply.extend(format!("${}\r\n{value}\r\n", value.len()).bytes())
                        }
                        _ => reply.extend(b"$-1\r\n"),
                    }
                }
                reply
            }
            other => panic!("{other}"),
        };
        let mut decoder = Decoder::new(REPLY_LIMITS);
        decoder.feed(&reply);
        match board.take(decoder.next().unwrap().unwrap())? {
            SearchProgress::More => {}
            SearchProgress::Done(answer) => return Ok(answer),
        }
    }
}

#[test]
fn the_commands_of_a_search() {
    let mut board = Board::new(b"p[1]:", b"kills:*:daily?", 10).unwrap();
    let mut bytes = Vec::new();
    board.encode(&mut bytes);
    assert_eq!(words(&bytes).join(" "), "CLUSTER INFO");
    assert!(board.take(Reply::Bulk(b"cluster_state:ok\r\n")).is_err_and(|reason| reason.contains("in a cluster")));
    // A proxy that takes any command.
    assert_eq!(board.take(Reply::Simple(b"OK")), Ok(SearchProgress::More));
    bytes.clear();
    board.encode(&mut bytes);
    assert_eq!(words(&bytes).join(" "), "SCAN 0 MATCH p\\[1\\]:kills:*:daily\\? COUNT 1000");
    assert!(Board::new(b"", b"no star", 10).is_none() && Board::new(b"", b"two*stars*", 10).is_none());
}

#[test]
fn agrees_with_a_plain_sort() {
    proptest!(|(
        keys in proptest::collection::vec(("[a-c]{1,2}", prop_oneof![
            (0..30i32).prop_map(|n| n.to_string()),
            Just("1.5".to_owned()), Just("-3".to_owned()), Just("none".to_owned()), Just("nil".to_owned()), Just("nan".to_owned()), Just("inf".to_owned()),
        ]), 0..60),
        portion in 1..8usize,
        rows_max in 1..6usize,
    )| {
        // Keys are unique in Redis.
        let map: std::collections::BTreeMap<String, String> = keys.into_iter().map(|(name, value)| (format!("k:{name}:d"), value)).collect();
        let keys: Vec<(String, String)> = map.into_iter().collect();
        let mut board = Board::new(b"", b"k:*:d", rows_max).unwrap();
        let found = play(&mut board, &keys, portion).unwrap();
        let mut rows: Vec<(Vec<u8>, f64)> = keys.iter().filter_map(|(key, value)| {
            let score: f64 = value.parse().ok().filter(|score: &f64| score.is_finite())?;
            Some((key.as_bytes()[2..key.len() - 2].to_vec(), score))
        }).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
        rows.truncate(rows_max);
        assert_eq!(found, answer::ranked(&rows));
    });
}

#[test]
fn too_many_keys_are_refused() {
    let mut board = Board::new(b"", b"*", 10).unwrap();
    board.seen.extend(0..BOARD_KEYS_MAX as u64);
    let keys = [("another".to_owned(), "1".to_owned())];
    assert!(play(&mut board, &keys, 5).unwrap_err().starts_with("too_large: more than 262144 keys"));
}
