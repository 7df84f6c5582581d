//! Replies in, commands out, without a socket: targets 1 to 5. The inputs are made from a seed, the same for all programs.

use std::hint::black_box;

use peers::{Decode, Pieces, hiredis, redis_rs};
use realtime::facade::event::EventText;
use realtime::facade::redis::command::encode_publish;
use realtime::facade::redis::push::Push;
use realtime::facade::redis::reply::{Decoder, Reply};
use realtime::facade::redis::{PUSH_LIMITS, REPLY_LIMITS};

use crate::cpu::Stopwatch;
use crate::{Seed, allocations, channel, sample, typical_payloads};

const ROUNDS: usize = 11;
/// One read of a busy socket.
const PIECE: usize = 16 * 1024;
/// The publisher writes a batch of this size.
const BATCH: usize = 64 * 1024;

/// A named input, the number of its messages, and the programs that decode it.
struct Case {
    name: &'static str,
    input: Vec<u8>,
    messages: usize,
    programs: Vec<(&'static str, Decode)>,
}

/// The cases, with inputs of so many messages.
fn cases(messages: usize) -> Vec<Case> {
    let case = |name, input, programs| Case { name, input, messages, programs };
    let peers: [(&str, Decode); 2] = [("hiredis", hiredis::decode), ("redis-rs", redis_rs::decode)];
    let beside = |ours: Decode| [("ours", ours)].into_iter().chain(peers).collect();
    let large = messages.min(100_000);
    vec![
        case("resp/pubsub", frames(messages), beside(pushes)),
        // Reply objects own their bytes already.
        case("resp/owned", frames(messages), vec![("ours", owned), ("hiredis", hiredis::decode)]),
        case("resp/small", small(messages), beside(replies)),
        case("resp/mget", arrays(messages, large), beside(replies)),
    ]
}

/// Prints times and allocations.
pub(crate) fn measure() {
    let cases = cases(100_000);
    // A connection outlives its replies, so the decoder has read one such reply before: its memory grows once.
    let mut linear = [("ours", 100_000), ("10k", 10_000)].map(|(who, each)| {
        let (input, mut decoder) = (arrays(100_000, each), Decoder::new(REPLY_LIMITS));
        replies_of(&mut decoder, &input, PIECE);
        (who, input, decoder)
    });
    let payloads = typical_payloads(&mut Seed::default(), 1000);
    for round in 1..=ROUNDS {
        for case in &cases {
            let expected = hiredis::decode(&case.input, PIECE).1;
            for (who, decode) in &case.programs {
                let (before, began) = (allocations(), Stopwatch::start());
                let sum = decode(black_box(&case.input), PIECE).1;
                let nanos = began.own().as_nanos() as f64 / case.messages as f64;
                assert_eq!(sum, expected, "{who} read something else in {}", case.name);
                sample(case.name, who, round, nanos, "ns");
                if *who == "ours" {
                    // The buffers of a new decoder are not a cost of a message.
                    let whole = (allocations() - before) / case.messages as u64;
                    sample(case.name, who, round, whole as f64, "allocations");
                }
            }
        }
        for (who, input, decoder) in &mut linear {
            let began = Stopwatch::start();
            black_box(replies_of(decoder, black_box(input), PIECE));
            sample("resp/linear", who, round, began.own().as_nanos() as f64 / 100_000.0, "ns");
        }

        let count = payloads.len() * 100;
        let programs: [(&str, Encode); 3] =
            [("ours", encode), ("hiredis", encode_hiredis), ("redis-rs", encode_redis_rs)];
        let expected = encode_hiredis(&payloads);
        for (who, encode) in programs {
            let (before, began) = (allocations(), Stopwatch::start());
            for _ in 0..100 {
                assert_eq!(encode(black_box(&payloads)), expected, "{who} wrote something else");
            }
            sample("publish/encode", who, round, began.own().as_nanos() as f64 / count as f64, "ns");
            if who == "ours" {
                sample("publish/encode", who, round, ((allocations() - before) / count as u64) as f64, "allocations");
            }
        }
    }
}

/// Encodes one PUBLISH for each payload. Returns the bytes of all commands.
type Encode = fn(&[Vec<u8>]) -> usize;

/// The work of one case, done `passes` times: callgrind counts it.
pub(crate) fn repeat(name: &str, who: &str, passes: usize) {
    if name == "publish/encode" {
        let payloads = typical_payloads(&mut Seed::default(), MESSAGES_COUNTED);
        let encode = match who {
            "ours" => encode,
            "hiredis" => encode_hiredis,
            _ => panic!("no program {who}"),
        };
        (0..passes).for_each(|_| _ = black_box(encode(black_box(&payloads))));
        return;
    }
    let cases = cases(MESSAGES_COUNTED);
    let case = cases.iter().find(|case| case.name == name).expect("a case");
    let (_, decode) = case.programs.iter().find(|program| program.0 == who).expect("a program");
    (0..passes).for_each(|_| _ = black_box(decode(black_box(&case.input), PIECE)));
}

/// Messages of one pass of [`repeat`].
pub(crate) const MESSAGES_COUNTED: usize = 5000;

// ---- ours -------------------------------------------------------------------------------------------------------------

/// Hands each push to `take`, as `rt-subscriber` does. Returns the number of pushes.
fn each_push(bytes: &[u8], piece: usize, mut take: impl FnMut(&[u8], &[u8])) -> usize {
    let mut decoder = Decoder::new(PUSH_LIMITS);
    let mut source = Pieces { left: bytes, piece };
    let mut pushes = 0;
    while decoder.read_from(&mut source).expect("a slice is readable") > 0 {
        while let Some(push) = Push::next(&mut decoder).expect("a push") {
            let Push::Message { channel, payload } = push else { panic!("no message") };
            take(channel, payload);
            pushes += 1;
        }
    }
    pushes
}

/// The bytes of `message`, which stands before the channel and the payload.
const KIND_BYTES: usize = 7;

fn pushes(bytes: &[u8], piece: usize) -> (usize, usize) {
    let mut sum = 0;
    let pushes = each_push(bytes, piece, |channel, payload| sum += KIND_BYTES + channel.len() + payload.len());
    (pushes, sum)
}

fn owned(bytes: &[u8], piece: usize) -> (usize, usize) {
    let mut sum = 0;
    let pushes = each_push(bytes, piece, |channel, payload| {
        let block = black_box(EventText::new(channel, &[payload], 0));
        sum += KIND_BYTES + channel.len() + payload.len();
        drop(block);
    });
    (pushes, sum)
}

fn replies(bytes: &[u8], piece: usize) -> (usize, usize) {
    replies_of(&mut Decoder::new(REPLY_LIMITS), bytes, piece)
}

fn replies_of(decoder: &mut Decoder, bytes: &[u8], piece: usize) -> (usize, usize) {
    let mut source = Pieces { left: bytes, piece };
    let (mut replies, mut sum) = (0, 0);
    while decoder.read_from(&mut source).expect("a slice is readable") > 0 {
        while let Some(reply) = decoder.next().expect("a reply") {
            replies += 1;
            match reply {
                Reply::Array(elements) => {
                    sum += elements.into_iter().filter_map(|element| element.text()).map(<[u8]>::len).sum::<usize>();
                }
                reply => sum += reply.text().map_or(0, <[u8]>::len),
            }
        }
    }
    (replies, sum)
}

/// Encodes as the publisher does: into one batch, which is emptied when it is full.
fn encode(payloads: &[Vec<u8>]) -> usize {
    thread_local!(static WARM: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) });
    let (mut batch, mut bytes) = (WARM.take(), 0);
    for payload in payloads {
        encode_publish(&mut batch, channel(), payload);
        if batch.len() >= BATCH {
            bytes += batch.len();
            batch.clear();
        }
    }
    bytes += batch.len();
    batch.clear();
    WARM.set(batch);
    bytes
}

// ---- the peers --------------------------------------------------------------------------------------------------------

fn encode_hiredis(payloads: &[Vec<u8>]) -> usize {
    payloads.iter().map(|payload| hiredis::encode(channel(), payload)).sum()
}

fn encode_redis_rs(payloads: &[Vec<u8>]) -> usize {
    payloads.iter().map(|payload| redis_rs::encode(channel(), payload)).sum()
}

// ---- inputs -----------------------------------------------------------------------------------------------------------

fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Typical events as Redis pushes them.
fn frames(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for payload in typical_payloads(&mut Seed::default(), count) {
        out.extend_from_slice(b"*3\r\n");
        [b"message", channel(), &payload].into_iter().for_each(|bytes| put_bulk(&mut out, bytes));
    }
    out
}

/// The replies of commands: a status, numbers, nil, short values.
fn small(count: usize) -> Vec<u8> {
    let mut seed = Seed::default();
    let mut out = Vec::new();
    for _ in 0..count {
        match seed.below(8) {
            0 | 1 => out.extend_from_slice(b"+OK\r\n"),
            2..5 => {
                let digits = 1 + seed.below(6) as u32;
                out.extend_from_slice(format!(":{}\r\n", seed.below(10_u64.pow(digits))).as_bytes());
            }
            5 => out.extend_from_slice(b"$-1\r\n"),
            _ => {
                let bytes = vec![b'v'; 1 + seed.below(24) as usize];
                put_bulk(&mut out, &bytes);
            }
        }
    }
    out
}

/// Replies to MGET: `count` values in arrays of `each`.
fn arrays(count: usize, each: usize) -> Vec<u8> {
    let mut seed = Seed::default();
    let mut out = Vec::new();
    for _ in 0..count / each {
        out.extend_from_slice(format!("*{each}\r\n").as_bytes());
        for _ in 0..each {
            let bytes = vec![b'v'; 8 + seed.below(40) as usize];
            put_bulk(&mut out, &bytes);
        }
    }
    out
}
