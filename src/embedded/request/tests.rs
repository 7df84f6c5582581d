//! Commands in every cut, inline commands, and bytes that are none.

use super::*;

/// Everything that a stream asks for, fed in pieces. A decoder that has trusted its client from the start.
fn asked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, is_member: bool) -> Vec<String> {
    let mut requests = Requests::default();
    if is_member {
        requests.trust();
    }
    let mut all = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            requests.read_from(&mut piece).unwrap();
        }
        while let Some(asked) = requests.next() {
            let is_bad = matches!(asked, Asked::Bad(_));
            all.push(match asked {
                Asked::Words(words) => {
                    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join("|")
                }
                Asked::TooLarge => "TOO LARGE".to_owned(),
                Asked::Bad(text) => format!("BAD {text}"),
            });
            if is_bad {
                return all;
            }
        }
    }
    all
}

#[test]
fn every_cut_of_a_stream_gives_the_same_commands() {
    let stream = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n\r\n*0\r\n*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n  SET 'a b' \"\\x41\\n\"  \r\nget k\n*-1\r\n*1\r\n$4\r\nPING\r\n";
    let expected = ["GET|k", "PING", "", "", "SET|\r\n|", "SET|a b|A\n", "get|k", "", "PING"];
    assert_eq!(asked([&stream[..]], true), expected);
    assert_eq!(asked(stream.chunks(1), true), expected);
    for cut in 0..stream.len() {
        assert_eq!(asked([&stream[..cut], &stream[cut..]], true), expected, "cut at {cut}");
    }
}

#[test]
fn lines_are_split_as_redis_splits_them() {
    for (line, expected) in [
        ("a  b\tc", "a|b|c"),
        ("\"a b\" c", "a b|c"),
        ("'it\\'s' x", "it's|x"),
        ("\"\\x00\\xfg\\q\\\"\"", "\0xfgq\""),
        ("\"\"", ""),
        ("a\"b\"", "ab"),
        ("\"a", "BAD unbalanced quotes in request"),
        ("\"a\"b", "BAD unbalanced quotes in request"),
        ("'a", "BAD unbalanced quotes in request"),
    ] {
        assert_eq!(asked([format!("{line}\r\n").as_bytes()], true), [expected], "{line}");
    }
}

#[test]
fn bytes_that_are_no_command_end_the_connection() {
    for (bytes, expected) in [
        ("*1\r\n:1\r\n", "BAD expected '$' before each word"),
        ("*1\r\n*1\r\n$1\r\na\r\n", "TOO LARGE"),
        ("*x\r\n", "BAD invalid command"),
        ("*-2\r\n", "BAD invalid command"),
        ("*99999999999999999999\r\n", "BAD invalid command"),
        ("*1\r\n$x\r\n", "BAD invalid command"),
        ("*1\r\n$-2\r\n", "BAD invalid command"),
        ("*1\r\n$1\r\nab\r\n", "BAD invalid command"),
        ("*1\r\nPING\r\n", "BAD invalid command"),
        ("*16777217\r\n", "BAD invalid command"),
        ("*1\r\n$536870913\r\n", "BAD invalid command"),
    ] {
        assert_eq!(asked([bytes.as_bytes()], true), [expected], "{bytes:?}");
        assert_eq!(asked(bytes.as_bytes().chunks(1), true), [expected], "{bytes:?}");
    }
    let long = vec![b'x'; MEMBER.line_bytes_max + 1];
    assert_eq!(asked([&long[..]], true), ["BAD too big inline request"]);
    assert_eq!(asked([&long[..STRANGER.line_bytes_max + 1]], false), ["BAD too big inline request"]);
}

/// Announced sizes cost nothing; real bytes beyond the limits are skipped.
#[test]
fn memory_follows_the_bytes_that_have_come() {
    let feed = |requests: &mut Requests, mut bytes: &[u8]| {
        let mut most = 0;
        while !bytes.is_empty() {
            requests.read_from(&mut bytes).unwrap();
            assert!(requests.next().is_none());
            most = most.max(requests.capacity());
        }
        most
    };
    for start in ["*262144\r\n", "*3\r\n$8388608\r\n", "*2\r\n$536870912\r\n", "*16777216\r\n"] {
        let mut requests = Requests::default();
        requests.trust();
        assert!(feed(&mut requests, start.as_bytes()) <= 64 * 1024, "{start}");
    }
    // A value over the limit, then a good command.
    let mut requests = Requests::default();
    requests.trust();
    let size = VALUE_BYTES_MAX + 1;
    feed(&mut requests, format!("*2\r\n$3\r\nGET\r\n${size}\r\n").as_bytes());
    assert!(feed(&mut requests, &vec![b'x'; size]) <= 512 * 1024);
    requests.read_from(&mut &b"\r\nPING\r\n"[..]).unwrap();
    assert_eq!(requests.next(), Some(Asked::TooLarge));
    assert_eq!(requests.next(), Some(Asked::Words(vec![b"PING"])));
    // A stranger may send little more than AUTH.
    for bytes in ["*9\r\n", "*2\r\n$4\r\nAUTH\r\n$1025\r\n"] {
        let mut requests = Requests::default();
        assert!(
            feed(&mut requests, format!("{bytes}{}", "x".repeat(1000)).as_bytes().get(..bytes.len()).unwrap())
                <= 64 * 1024
        );
    }
}

#[test]
fn a_client_that_logs_in_gets_larger_limits_for_the_commands_behind() {
    let mut requests = Requests::default();
    let value = "x".repeat(10_000);
    let stream = format!("AUTH secret\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000\r\n{value}\r\n");
    let mut bytes = stream.as_bytes();
    requests.read_from(&mut bytes).unwrap();
    assert_eq!(requests.next(), Some(Asked::Words(vec![b"AUTH", b"secret"])));
    requests.trust();
    while !bytes.is_empty() {
        requests.read_from(&mut bytes).unwrap();
    }
    assert_eq!(requests.next(), Some(Asked::Words(vec![b"SET", b"k", value.as_bytes()])));
}

#[test]
fn no_bytes_make_the_reader_panic() {
    proptest::proptest!(|(pieces: Vec<Vec<u8>>, tags in "[*$:0-9a\"'\\\\ \r\n]{0,60}")| {
        let all = pieces.iter().map(Vec::as_slice).chain([tags.as_bytes()]);
        asked(all.clone(), true);
        let whole: Vec<u8> = all.clone().flatten().copied().collect();
        assert_eq!(asked(whole.chunks(1), false), asked([&whole[..]], false));
    });
}
