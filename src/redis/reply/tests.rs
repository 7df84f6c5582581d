//! Tests of the decoder: the rows under `testdata/resp`, each decoded whole, cut at every byte and byte by byte; random
//! streams, on which a naive decoder must agree; and bounds for the memory and work of hostile streams.

mod naive;

use std::cell::Cell;
use std::fmt::Write;
use std::io::{self, Read};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

thread_local! {
    /// See `count_work`.
    pub(super) static WORK: Cell<u64> = const { Cell::new(0) };
}

/// The limits for row files, small enough to be exceeded in one line.
pub(in crate::redis) const SMALL: Limits =
    Limits { depth_max: 3, elements_max: 6, line_bytes_max: 32, bulk_bytes_max: 16, reply_bytes_max: 64 };

const LARGE: Limits = Limits {
    depth_max: 8,
    elements_max: 1024 * 1024,
    line_bytes_max: 64 * 1024,
    bulk_bytes_max: 512 * 1024,
    reply_bytes_max: 16 * 1024 * 1024,
};

/// The rows of a file, `input | expected`, with their line numbers, without blank lines and `#` comments.
pub(in crate::redis) fn rows(text: &'static str) -> Vec<(usize, &'static str, &'static str)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let rows: Vec<_> = lines
        .map(|(index, line)| {
            let (input, expected) = line.split_once(" | ").unwrap_or_else(|| panic!("line {}: no ` | `", index + 1));
            (index + 1, input.trim(), expected.trim())
        })
        .collect();
    assert!(!rows.is_empty());
    rows
}

/// `\r`, `\n`, `\\`, `\x00`, and `{100 x text}` for repetition.
pub(in crate::redis) fn unescape(text: &str) -> Vec<u8> {
    if let Some((before, rest)) = text.split_once('{') {
        let (repeated, after) = rest.split_once('}').expect("an open brace");
        let (times, unit) = repeated.split_once(" x ").expect("`{times x text}`");
        return [unescape(before), unescape(unit).repeat(times.parse().unwrap()), unescape(after)].concat();
    }
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escape") {
            b'r' => b'\r',
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            other => panic!("unknown escape `\\{}`", char::from(other)),
        });
    }
    bytes
}

fn render(reply: Reply<'_>) -> String {
    match reply {
        Reply::Simple(text) => format!("+{}", text.escape_ascii()),
        Reply::Error(text) => format!("-{}", text.escape_ascii()),
        Reply::Integer(value) => format!(":{value}"),
        Reply::Bulk(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Reply::Nil => "nil".to_owned(),
        Reply::Array(array) => {
            let elements: Vec<String> = array.iter().map(render).collect();
            assert_eq!(elements.len(), array.len());
            format!("[{}]", elements.join(", "))
        }
        Reply::TooLarge(lost) => {
            format!("{} bytes over {}, head {}", lost.bytes(), lost.cap().name(), render(Reply::Array(lost.head())))
        }
    }
}

/// The transcript of a stream in these pieces: all replies, then an error, `...` for an unfinished reply, or nothing.
fn transcript(limits: Limits, pieces: &[&[u8]]) -> String {
    let mut decoder = Decoder::new(limits);
    let mut out = String::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(reply)) => write!(out, "{} ; ", render(reply)).unwrap(),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next().unwrap_err(), error, "an error stays");
                    return out + "error: " + &error.to_string();
                }
            }
        }
    }
    if !decoder.is_idle() {
        out += "...";
    }
    out.trim_end_matches(" ; ").to_owned()
}

fn check_rows(file: &'static str) {
    for (line, input, expected) in rows(file) {
        let stream = unescape(input);
        assert_eq!(transcript(SMALL, &[&stream]), expected, "line {line}, whole");
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(transcript(SMALL, &single), expected, "line {line}, byte by byte");
        // Long rows repeat themselves: cuts near both ends cover the cases in the middle.
        let cuts = (0..=stream.len()).filter(|at| *at < 300 || stream.len() - at < 300);
        for at in cuts {
            assert_eq!(transcript(SMALL, &[&stream[..at], &stream[at..]]), expected, "line {line}, cut at {at}");
        }
    }
}

#[test]
fn valid_rows() {
    check_rows(include_str!("../../../testdata/resp/valid.txt"));
}

#[test]
fn error_rows() {
    check_rows(include_str!("../../../testdata/resp/errors.txt"));
}

#[test]
fn limit_rows() {
    check_rows(include_str!("../../../testdata/resp/limits.txt"));
}

// --- against the naive decoder -------------------------------------------------------------------------------------

/// Replies of any shape, some over the small limits.
fn any_reply() -> impl Strategy<Value = OwnedReply> {
    let text = || prop::collection::vec(prop::sample::select(b"abc \x00\xff:$*".to_vec()), 0..20);
    let scalar = prop_oneof![
        text().prop_map(OwnedReply::Simple),
        text().prop_map(OwnedReply::Error),
        any::<i64>().prop_map(OwnedReply::Integer),
        (-20..2000_i64).prop_map(OwnedReply::Integer),
        prop::collection::vec(any::<u8>(), 0..24).prop_map(OwnedReply::Bulk),
        Just(OwnedReply::Nil),
    ];
    scalar.prop_recursive(5, 24, 4, |inner| prop::collection::vec(inner, 0..5).prop_map(OwnedReply::Array))
}

/// Random bytes that resemble RESP2.
fn any_tokens() -> impl Strategy<Value = Vec<u8>> {
    let tokens: &[&[u8]] = &[
        b"*",
        b"$",
        b":",
        b"+",
        b"-",
        b"0",
        b"1",
        b"2",
        b"3",
        b"9",
        b"17",
        b"-1",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"a",
        b" ",
        b"$1\r\na\r\n",
        b"*2\r\n",
        b":7\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
        b"99999999999999999999",
        b"9223372036854775807",
    ];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..24).prop_map(|tokens| tokens.concat())
}

fn cut(stream: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec()).collect()
}

/// Decodes the stream in pieces, and compares with the naive decoder, which decodes it as a whole.
fn check_against_naive(limits: Limits, stream: &[u8], cuts: &[Index]) -> Result<(), TestCaseError> {
    let mut decoder = Decoder::new(limits);
    let mut replies = Vec::new();
    let mut end = naive::End::Clean;
    'stream: for piece in cut(stream, cuts) {
        decoder.feed(&piece);
        loop {
            match decoder.next() {
                // The naive decoder does not know which of several caps is exceeded first.
                Ok(Some(Reply::TooLarge(lost))) => {
                    replies.push(OwnedReply::TooLarge { bytes: lost.bytes(), cap: Cap::default() });
                }
                Ok(Some(reply)) => replies.push(reply.keep()),
                Ok(None) => break,
                Err(_) => {
                    end = naive::End::Error;
                    break 'stream;
                }
            }
        }
    }
    if end == naive::End::Clean && !decoder.is_idle() {
        end = naive::End::Unfinished;
    }
    let (naive_replies, naive_end) = naive::decode_all(stream, limits);
    prop_assert!(replies == naive_replies, "{:?} is not {:?}", replies, naive_replies);
    prop_assert_eq!(end, naive_end);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_naive_decoder_on_replies(
        replies in prop::collection::vec(any_reply(), 0..4),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let stream: Vec<u8> = replies.iter().flat_map(naive::encode).collect();
        check_against_naive(SMALL, &stream, &cuts)?;
        check_against_naive(LARGE, &stream, &cuts)?;
        let (decoded, end) = naive::decode_all(&stream, LARGE);
        prop_assert!(decoded == replies && end == naive::End::Clean);
    }

    #[test]
    fn agrees_with_the_naive_decoder_on_mutations(
        replies in prop::collection::vec(any_reply(), 1..4),
        changes in prop::collection::vec((any::<Index>(), prop::sample::select(b"\r\n0129-+:$*a\x00".to_vec()), 0..3), 1..3),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let mut stream: Vec<u8> = replies.iter().flat_map(naive::encode).collect();
        for (place, byte, kind) in changes {
            let at = place.index(stream.len());
            match kind {
                0 => stream[at] = byte,
                1 => stream.insert(at, byte),
                _ => stream.truncate(at.max(1)),
            }
        }
        check_against_naive(SMALL, &stream, &cuts)?;
        check_against_naive(LARGE, &stream, &cuts)?;
    }

    #[test]
    fn agrees_with_the_naive_decoder_on_tokens(
        stream in any_tokens(),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        check_against_naive(SMALL, &stream, &cuts)?;
        check_against_naive(LARGE, &stream, &cuts)?;
    }

    #[test]
    fn agrees_with_the_naive_decoder_on_noise(
        stream in prop::collection::vec(any::<u8>(), 0..64),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        check_against_naive(SMALL, &stream, &cuts)?;
    }
}

// --- memory and work of hostile or large streams -------------------------------------------------------------------

/// Reads and decodes in turn, as a connection does. Returns the largest memory held, the replies, and the error if any.
fn flood(limits: Limits, stream: &mut impl Read) -> (usize, Vec<OwnedReply>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(limits);
    let (mut most_bytes, mut replies) = (0, Vec::new());
    while decoder.read_from(stream).unwrap() > 0 {
        most_bytes = most_bytes.max(decoder.capacity());
        loop {
            match decoder.next() {
                Ok(Some(reply)) => replies.push(reply.keep()),
                Ok(None) => break,
                Err(error) => return (most_bytes, replies, Some(error)),
            }
        }
    }
    (most_bytes.max(decoder.capacity()), replies, None)
}

#[test]
fn a_string_over_the_cap_is_drained_in_flat_memory_and_the_next_reply_arrives() {
    let size = 64 * 1024 * 1024;
    let head = format!("*3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n${size}\r\n");
    let bytes = (head.len() + size + 2) as u64;
    let mut stream = head.as_bytes().chain(io::repeat(b'x').take(size as u64)).chain(&b"\r\n:1\r\n"[..]);
    let (most_bytes, replies, error) = flood(LARGE, &mut stream);
    assert_eq!(error, None);
    assert!(replies == [OwnedReply::TooLarge { bytes, cap: Cap::BulkBytes }, OwnedReply::Integer(1)]);
    assert!(most_bytes < 64 * 1024, "{most_bytes}");
}

#[test]
fn many_small_elements_over_a_cap_are_drained_in_flat_memory() {
    let count = 2_000_000;
    let stream = format!("*{count}\r\n{}+OK\r\n", ":1\r\n".repeat(count));
    let (most_bytes, replies, error) = flood(LARGE, &mut stream.as_bytes());
    assert_eq!(error, None);
    assert!(
        replies
            == [
                OwnedReply::TooLarge { bytes: stream.len() as u64 - 5, cap: Cap::Elements },
                OwnedReply::Simple(b"OK".to_vec())
            ]
    );
    assert!(most_bytes < 64 * 1024, "{most_bytes}");
}

#[test]
fn hostile_streams_end_in_an_error_with_little_memory() {
    let endless_line = || b"+"[..].chain(io::repeat(b'x').take(100_000_000));
    let endless_number = || b":"[..].chain(io::repeat(b'1').take(100_000_000));
    let deep = "*1\r\n".repeat(10_000);
    let streams: [(Box<dyn Read>, &str); 6] = [
        (Box::new(endless_line()), "a line is longer than 65536 bytes"),
        (Box::new(endless_number()), "`...1111111111111111` is not a number"),
        (Box::new(deep.as_bytes()), "more than 128 arrays are inside each other"),
        (Box::new(&b"$2147483647\r\n"[..]), "a string of 2147483647 bytes is announced"),
        (Box::new(&b"*999999999\r\n"[..]), "an array of 999999999 elements is announced"),
        (Box::new(&b"$-2\r\n"[..]), "`$-2` is not a number"),
    ];
    for (mut stream, expected) in streams {
        let (most_bytes, replies, error) = flood(LARGE, &mut stream);
        assert!(replies.is_empty());
        assert_eq!(error.unwrap().to_string(), format!("cannot decode redis reply: {expected}"));
        assert!(most_bytes <= 256 * 1024, "{expected}: {most_bytes}");
    }
}

#[test]
fn an_announcement_takes_no_memory() {
    let mut decoder = Decoder::new(LARGE);
    decoder.feed(b"*1000000\r\n$500000\r\nx");
    assert!(matches!(decoder.next(), Ok(None)));
    assert!(decoder.capacity() < 20 * 1024, "{}", decoder.capacity());
}

#[test]
fn memory_of_large_replies_is_given_back() {
    let large = format!("*200000\r\n{}", "$5\r\nhello\r\n".repeat(200_000));
    let mut decoder = Decoder::new(LARGE);
    decoder.feed(large.as_bytes());
    assert!(matches!(decoder.next(), Ok(Some(Reply::Array(array))) if array.iter().count() == 200_000));
    assert!(decoder.capacity() > large.len());
    for _ in 0..200 {
        decoder.feed(b":1\r\n");
        assert!(matches!(decoder.next(), Ok(Some(Reply::Integer(1)))));
    }
    assert!(decoder.capacity() < 64 * 1024, "{}", decoder.capacity());
}

#[test]
fn reads_that_bring_nothing_shrink_the_buffer_around_what_is_pending() {
    struct Silent;
    impl Read for Silent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    let mut decoder = Decoder::new(LARGE);
    decoder.feed(format!("$400000\r\n{}\r\n$60000\r\n{}", "x".repeat(400_000), "y".repeat(50_000)).as_bytes());
    assert!(matches!(decoder.next(), Ok(Some(Reply::Bulk(_)))));
    assert!(decoder.capacity() > 400_000);
    for _ in 0..200 {
        assert!(decoder.read_from(&mut Silent).is_err());
    }
    assert!(decoder.capacity() < 100_000, "{}", decoder.capacity());
    decoder.feed(format!("{}\r\n", "y".repeat(10_000)).as_bytes());
    assert!(matches!(decoder.next(), Ok(Some(Reply::Bulk(bytes))) if bytes == "y".repeat(60_000).as_bytes()));
}

#[test]
fn a_steady_stream_takes_no_more_memory_over_time() {
    let frame = b"*3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n$5\r\nhello\r\n".repeat(1000);
    let mut decoder = Decoder::new(LARGE);
    let mut capacities = Vec::new();
    for piece in frame.repeat(20).chunks(16 * 1024) {
        decoder.feed(piece);
        while let Some(reply) = decoder.next().unwrap() {
            assert_eq!(reply.array().unwrap().len(), 3);
        }
        capacities.push(decoder.capacity());
    }
    assert_eq!(capacities[2..].iter().min(), capacities[2..].iter().max());
}

/// The work of a stream fed in pieces of this size, decoded after each.
fn work(stream: &[u8], piece_bytes: usize) -> u64 {
    WORK.set(0);
    let mut decoder = Decoder::new(Limits { bulk_bytes_max: usize::MAX, ..LARGE });
    let mut seen = 0;
    for piece in stream.chunks(piece_bytes) {
        decoder.feed(piece);
        while decoder.next().unwrap().is_some() {
            seen += 1;
        }
    }
    assert!(seen > 0 && decoder.is_idle());
    WORK.get()
}

#[test]
fn work_grows_with_the_bytes_alone() {
    let mget = |count: usize| format!("*{count}\r\n{}", "$10\r\n0123456789\r\n".repeat(count)).into_bytes();
    let nested = |count: usize| format!("*{count}\r\n{}", "*2\r\n*1\r\n:1\r\n$-1\r\n".repeat(count)).into_bytes();
    let pipelined = |count: usize| "$5\r\nhello\r\n+OK\r\n:1\r\n-ERR no\r\n".repeat(count).into_bytes();
    let streams: [&dyn Fn(usize) -> Vec<u8>; 3] = [&mget, &nested, &pipelined];
    for stream in streams {
        let (short, long) = (work(&stream(10_000), 1024), work(&stream(100_000), 1024));
        assert!(long <= short * 12, "ten times the stream took {short} -> {long}");
        // Growth and compaction move each byte twice at most; a value begins every few bytes and once in each piece.
        let bytes = stream(100_000).len() as u64;
        assert!(long <= 3 * bytes, "{long} for {bytes} bytes");
    }
    // One long value, byte by byte: no byte is searched twice.
    let line = format!("+{}\r\n", "x".repeat(60_000)).into_bytes();
    let bulk = format!("$60000\r\n{}\r\n", "x".repeat(60_000)).into_bytes();
    for stream in [line, bulk] {
        let (bytes, work) = (stream.len() as u64, work(&stream, 1));
        assert!(work <= 5 * bytes, "{work} for {bytes} bytes");
    }
}

#[test]
fn many_small_reads_behind_a_large_backlog_stay_linear() {
    let backlog = b":1\r\n".repeat(100_000);
    let mut decoder = Decoder::new(LARGE);
    decoder.feed(&backlog);
    WORK.set(0);
    for _ in 0..100_000 {
        decoder.feed(b":2\r\n");
        assert!(matches!(decoder.next(), Ok(Some(Reply::Integer(1)))));
    }
    assert!(WORK.get() <= 8 * backlog.len() as u64, "{}", WORK.get());
}

// --- the edges of the interface ------------------------------------------------------------------------------------

#[test]
fn a_read_retries_interruptions_and_checks_the_count() {
    struct Odd(u8);
    impl Read for Odd {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::Interrupted.into()),
                2 => Err(io::ErrorKind::WouldBlock.into()),
                3 => Ok(0),
                _ => {
                    room.fill(b'x');
                    Ok(usize::MAX)
                }
            }
        }
    }
    let (mut decoder, mut odd) = (Decoder::new(LARGE), Odd(0));
    assert_eq!(decoder.read_from(&mut odd).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(decoder.read_from(&mut odd).unwrap(), 0);
    assert!(decoder.read_from(&mut odd).unwrap() > 0);
    assert!(decoder.next().is_err());
}

#[test]
fn too_high_limits_are_lowered() {
    let all = usize::MAX;
    let limits =
        Limits { depth_max: all, elements_max: all, line_bytes_max: all, bulk_bytes_max: all, reply_bytes_max: all };
    let deep = format!("{}:5\r\n", "*1\r\n".repeat(128));
    let mut decoder = Decoder::new(limits);
    decoder.feed(deep.as_bytes());
    let mut reply = decoder.next().unwrap().unwrap();
    for _ in 0..128 {
        reply = reply.array().unwrap().iter().next().unwrap();
    }
    assert_eq!(reply.integer(), Some(5));
    assert!(transcript(limits, &["*1\r\n".repeat(129).as_bytes()]).contains("more than 128 arrays"));
}

#[test]
fn debug_output_shows_no_bytes() {
    let mut decoder = Decoder::new(SMALL);
    decoder.feed(b"*2\r\n$6\r\nsecret\r\n:1\r\n$6\r\nsecret\r\n");
    let reply = decoder.next().unwrap().unwrap();
    assert_eq!(format!("{reply:?} {:?}", reply.keep()), "an array of 2 an array of 2");
    let reply = decoder.next().unwrap().unwrap();
    assert_eq!(format!("{reply:?} {:?}", reply.keep()), "a string of 6 bytes a string of 6 bytes");
}

#[test]
fn a_reply_stays_small_enough_to_pass_by_value() {
    assert!(size_of::<Reply<'_>>() <= 40, "{}", size_of::<Reply<'_>>());
}
