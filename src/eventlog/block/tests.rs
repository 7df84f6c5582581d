//! Tests of blocks: records come back as they were appended; damage and forged content have bounded cost.

use proptest::prelude::*;

use super::*;
use crate::eventlog::format::{BLOCK_BYTES_MAX, EVENTLOG_RECORD_BYTES_MAX};
use crate::eventlog::line;
use crate::eventlog::records::Record;

const HEADER: Header = Header { span: 1, segment: 0x1122_3344_5566_7788, first_seq: 1, base_ms: 0, unit: 0 };

/// A record to append.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) time_ms: u64,
    pub(crate) channel: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

fn sample(time_ms: u64, channel: &str, payload: &str) -> Sample {
    Sample { time_ms, channel: channel.into(), payload: payload.into() }
}

/// Realistic events in the order of their emission.
pub(crate) fn events() -> Vec<Sample> {
    let text = include_str!("../../../testdata/eventlog/events.jsonl");
    let mut records = Records::default();
    let decoded = line::decode(text.as_bytes(), &RecordFilter::ALL, &mut records);
    assert_eq!((decoded.bad_bytes, decoded.info.records), (0, 600));
    records
        .iter()
        .map(|r| Sample { time_ms: r.time_ms, channel: r.channel.into(), payload: r.payload.into() })
        .collect()
}

/// A block with one chunk for each inner slice.
fn block_of(header: Header, chunks: &[&[Sample]]) -> Vec<u8> {
    let mut encoder = BlockEncoder::new();
    encoder.begin(header, Vec::new());
    for chunk in chunks {
        for sample in *chunk {
            assert!(encoder.append(sample.time_ms, &sample.channel, &sample.payload));
        }
        let sealed = encoder.seal();
        encoder.restore(sealed);
    }
    encoder.seal()
}

fn read(bytes: &[u8], filter: &RecordFilter<'_>) -> (Records, Decoded) {
    let (header, sum) = Header::read(bytes).unwrap();
    let mut records = Records::default();
    let decoded = decode(bytes, &header, sum, filter, &mut records);
    (records, decoded)
}

fn is_sample(record: Record<'_>, sample: &Sample) -> bool {
    record.time_ms == sample.time_ms && record.channel == sample.channel && record.payload == sample.payload
}

#[track_caller]
fn check_round_trip(samples: &[Sample]) {
    let half = samples.len() / 2;
    let bytes = block_of(HEADER, &[&samples[..half], &samples[half..]]);
    let (records, decoded) = read(&bytes, &RecordFilter::ALL);
    assert_eq!((decoded.end, decoded.whole_bytes), (PartEnd::Clean, bytes.len()));
    assert_eq!(records.len(), samples.len());
    for (number, (record, sample)) in records.iter().zip(samples).enumerate() {
        assert!(is_sample(record, sample), "{record:?} is not {sample:?}");
        assert_eq!(record.seq, number as u64 + 1);
    }
}

#[test]
fn payloads_come_back_unchanged() {
    let mut samples = Vec::new();
    for line in include_str!("../../../testdata/eventlog/payloads.txt").lines() {
        // Each payload twice: with a new shape, and with a known one.
        for time_ms in [1_763_942_400_000, 1_763_942_399_999] {
            samples.push(sample(time_ms, "c", line));
        }
    }
    assert!(samples.len() > 80);
    check_round_trip(&samples);
}

#[test]
fn only_white_space_between_values_is_lost() {
    let spaced = " { \"a b\" : [ 1 , { \"c\" : \" d \" } , [ ] , { } ] ,\n\t\"e\" :\r1.50 } ";
    let bytes =
        block_of(HEADER, &[&[sample(0, "c", spaced), sample(0, "c", "{\"a b\":[],\"e\":1}"), sample(0, "c", spaced)]]);
    let (records, _) = read(&bytes, &RecordFilter::ALL);
    let payloads: Vec<_> = records.iter().map(|record| (record.payload, record.raw)).collect();
    let normal = &b"{\"a b\":[1,{\"c\":\" d \"},[],{}],\"e\":1.50}"[..];
    assert_eq!(payloads, [(normal, false), (b"{\"a b\":[],\"e\":1}", false), (normal, false)]);
}

#[test]
fn a_payload_that_is_no_json_is_marked_and_kept_byte_for_byte() {
    for (payload, raw) in [
        (&b"hello"[..], true),
        (b"", true),
        (b"{\"a\":1", true),
        (b"{\"a\":01}", true),
        (b"[1,]", true),
        (b"\"\x01\"", true),
        (b"\"\xff\"", false),
        (b" nul", true),
        (b"\x00\xff\n", true),
        (b"{\"a\":1}{}", true),
        (b"{\"a\":\"\\q\"}", true),
        (b"null", false),
        (b"-0.0e-0", false),
    ] {
        // It follows a record whose shape it nearly has.
        let samples =
            [sample(0, "c", "{\"a\":1}"), Sample { time_ms: 0, channel: b"c".into(), payload: payload.into() }];
        let bytes = block_of(HEADER, &[&samples]);
        let (records, _) = read(&bytes, &RecordFilter::ALL);
        let last = records.iter().next_back().unwrap();
        assert_eq!((last.payload, last.raw), (payload, raw), "{}", payload.escape_ascii());
    }
}

#[test]
fn deep_and_long_payloads_come_back() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(20_000));
    let keys: String = (0..2000).map(|key| format!(",\"{key}\":{key}")).collect();
    let samples: Vec<Sample> = [deep(15), deep(16), deep(17), deep(128), long, format!("{{{}}}", &keys[1..])]
        .iter()
        .map(|payload| sample(0, "c", payload))
        .collect();
    for sample in &samples {
        check_round_trip(std::slice::from_ref(sample));
    }
    let (records, _) = read(&block_of(HEADER, &[&[sample(0, "c", &deep(129))]]), &RecordFilter::ALL);
    assert!(records.iter().all(|record| record.raw), "deeper than anything decodes it");
}

/// Any JSON value, as text that any encoder might write.
fn any_json() -> impl Strategy<Value = String> {
    let text = "[a-c\\\\\"é\u{1}\n ]{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap());
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (-40..40_i32).prop_map(|n| n.to_string()),
        any::<f32>().prop_filter("json", |n| n.is_finite()).prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ];
    let word = prop::sample::select(vec!["null", "true", "false", "{}", "[]"]).prop_map(str::to_owned);
    prop_oneof![2 => text, 3 => number, 1 => word].prop_recursive(4, 24, 5, |inner| {
        let key = prop::sample::select(vec!["a", "b", "long key", "\\u00e9", ""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((key, inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_records_come_back(
        payloads in prop::collection::vec(any_json(), 1..8),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0..3_u8), 1..24),
    ) {
        let samples: Vec<_> = order
            .iter()
            .map(|(which, time_ms, channel)| Sample {
                time_ms: *time_ms,
                channel: vec![b'c', *channel],
                payload: which.get(&payloads).clone().into_bytes(),
            })
            .collect();
        check_round_trip(&samples);
    }

    #[test]
    fn any_bytes_come_back(payloads in prop::collection::vec(prop::collection::vec(
        prop::sample::select(b"{}[]\",:\\019.-e tn\x00\xff".to_vec()), 0..16), 1..8)) {
        let samples: Vec<_> =
            payloads.into_iter().map(|payload| Sample { time_ms: 1, channel: b"c".into(), payload }).collect();
        let (records, decoded) = read(&block_of(HEADER, &[&samples]), &RecordFilter::ALL);
        prop_assert_eq!(decoded.end, PartEnd::Clean);
        for (record, sample) in records.iter().zip(&samples) {
            let value = serde_json::from_slice::<serde_json::Value>(&sample.payload);
            prop_assert!(!record.raw || value.is_err() , "{:?}", sample);
            if record.raw {
                prop_assert_eq!(record.payload, &sample.payload[..]);
            } else {
                let unspaced: Vec<u8> = sample.payload.iter().copied().filter(|byte| *byte != b' ').collect();
                let back: Vec<u8> = record.payload.iter().copied().filter(|byte| *byte != b' ').collect();
                prop_assert_eq!(back, unspaced);
            }
        }
    }

    #[test]
    fn any_bytes_in_a_chunk_with_a_right_checksum_are_harmless(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        check_hostile(&noise)?;
    }

    #[test]
    fn any_change_to_a_chunk_with_a_right_checksum_is_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let samples = &events()[..12];
        let mut chunk = block_of(HEADER, &[samples])[HEADER_BYTES + CHUNK_HEADER_BYTES..].to_vec();
        for (place, byte) in changes {
            let at = place.index(chunk.len());
            chunk[at] = byte;
        }
        check_hostile(&chunk)?;
    }
}

/// Decodes a chunk with these bytes and a right checksum: no panic, and no memory out of proportion.
fn check_hostile(records: &[u8]) -> Result<(), TestCaseError> {
    let mut bytes = Vec::new();
    let mut sum = HEADER.write(&mut bytes);
    let mut chunk = ((records.len() as u32) | FRESH).to_le_bytes().to_vec();
    chunk.extend_from_slice(records);
    sum = chunk_sum(sum, &chunk);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(&chunk);
    let (found, decoded) = read(&bytes, &RecordFilter::ALL);
    prop_assert_eq!(found.len() as u64, decoded.info.records);
    prop_assert!(found.text.len() < records.len() * records.len() + 1024);
    Ok(())
}

#[test]
fn a_record_that_does_not_fit_leaves_no_trace() {
    let events = events();
    let mut encoder = BlockEncoder::new();
    encoder.begin(HEADER, Vec::new());
    let mut taken = 0;
    for event in &events {
        let (len, info) = (encoder.len(), *encoder.info());
        if !encoder.append(event.time_ms, &event.channel, &event.payload) {
            assert_eq!((encoder.len(), *encoder.info()), (len, info));
            break;
        }
        taken += 1;
        if taken % 50 == 0 {
            let sealed = encoder.seal();
            encoder.restore(sealed);
        }
    }
    let big = vec![b'x'; UNIT_BYTES];
    assert!(!encoder.append(5, b"big", &big));
    // A smaller record still fits, and refers to nothing that was removed.
    assert!(encoder.append(5, b"big", b"{\"a\":1}"));
    let bytes = encoder.finish();
    assert_eq!(bytes.len(), UNIT_BYTES);
    let (records, decoded) = read(&bytes, &RecordFilter::ALL);
    assert_eq!((decoded.end, records.len()), (PartEnd::Clean, taken + 1));
    assert!(records.iter().zip(&events[..taken]).all(|(record, event)| is_sample(record, event)));
    assert_eq!(records.iter().next_back().unwrap().payload, b"{\"a\":1}");
}

#[test]
fn a_record_of_any_size_fits_the_span_computed_for_it() {
    for len in [0, 1, UNIT_BYTES - 300, UNIT_BYTES, 3 * UNIT_BYTES - 120, 3 * UNIT_BYTES - 119, 512 * 1024] {
        let payload = vec![b'z'; len];
        let span = span_for(b"channel", &payload).unwrap();
        let mut encoder = BlockEncoder::new();
        encoder.begin(Header { span, ..HEADER }, Vec::new());
        assert!(encoder.append_verbatim(9, b"channel", &payload, false), "{len}");
        let bytes = encoder.finish();
        assert_eq!(bytes.len(), usize::from(span) * UNIT_BYTES);
        let (records, _) = read(&bytes, &RecordFilter::ALL);
        assert_eq!(records.iter().next().unwrap().payload, payload);
    }
    assert_eq!(span_for(b"c", &vec![0; 17 * 1024 * 1024]), None);
}

#[test]
fn a_filter_takes_matching_records_only() {
    let samples: Vec<_> =
        (0..20).map(|n| sample(100 + n, if n % 3 == 0 { "a" } else { "b" }, &format!("{{\"n\":{n}}}"))).collect();
    let bytes = block_of(HEADER, &[&samples]);
    let numbers =
        |filter: RecordFilter<'_>| -> Vec<u64> { read(&bytes, &filter).0.iter().map(|record| record.seq).collect() };
    let all = RecordFilter::ALL;
    assert_eq!(numbers(RecordFilter { start_ms: 105, end_ms: 108, ..all }), [6, 7, 8, 9]);
    assert_eq!(numbers(RecordFilter { channel: Some(b"a"), start_ms: 110, ..all }), [13, 16, 19]);
    assert!(numbers(RecordFilter { channel: Some(b"c"), ..all }).is_empty());
    assert_eq!(numbers(RecordFilter { seq_from: 3, seq_below: 6, ..all }), [3, 4, 5]);
    assert!(numbers(RecordFilter::NONE).is_empty());
    assert_eq!(read(&bytes, &RecordFilter::NONE).1.info.records, 20, "refused records are counted too");
}

#[test]
fn a_limited_read_has_the_first_rows_of_a_full_one_and_counts_all_records() {
    let samples = events();
    let bytes = block_of(HEADER, &[&samples[..100], &samples[100..200]]);
    let (all, _) = read(&bytes, &RecordFilter::ALL);
    for rows_max in [0, 1, 99, 100, 101, 199, 200, 201] {
        let (found, decoded) = read(&bytes, &RecordFilter { rows_max, ..RecordFilter::ALL });
        assert!(found.iter().eq(all.iter().take(rows_max)), "{rows_max}");
        assert_eq!((decoded.end, decoded.info.records), (PartEnd::Clean, 200));
    }
}

#[test]
fn a_block_cut_at_any_length_is_torn_and_keeps_its_whole_chunks() {
    let events = events();
    let bytes = block_of(HEADER, &[&events[..5], &events[5..9], &events[9..10]]);
    let chunk_ends: Vec<usize> = (1..=3)
        .map(|chunks| block_of(HEADER, &[&events[..5], &events[5..9], &events[9..10]][..chunks]).len())
        .collect();
    for len in 0..=bytes.len() {
        let cut = &bytes[..len];
        if len < HEADER_BYTES {
            assert_eq!(Header::read(cut).unwrap_err(), BadHeader::Short);
            continue;
        }
        let (records, decoded) = read(cut, &RecordFilter::ALL);
        let whole = chunk_ends.iter().filter(|end| **end <= len).count();
        assert_eq!(records.len(), [0, 5, 9, 10][whole], "{len}");
        let on_border = len == HEADER_BYTES || chunk_ends.contains(&len);
        assert_eq!(decoded.end, if on_border { PartEnd::Clean } else { PartEnd::Torn }, "{len}");
    }
}

#[test]
fn every_flipped_bit_is_detected_and_costs_no_chunk_before_it() {
    let events = events();
    let bytes = block_of(HEADER, &[&events[..5], &events[5..9]]);
    let first_end = block_of(HEADER, &[&events[..5]]).len();
    let (whole, _) = read(&bytes, &RecordFilter::ALL);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            if at < HEADER_BYTES {
                let expected = if at < 4 { BadHeader::Foreign } else { BadHeader::Damaged };
                assert_eq!(Header::read(&bad).unwrap_err(), expected);
                continue;
            }
            let (records, decoded) = read(&bad, &RecordFilter::ALL);
            assert_ne!(decoded.end, PartEnd::Clean, "bit {bit} of byte {at}");
            assert_eq!(records.len(), if at < first_end { 0 } else { 5 });
            assert!(records.iter().zip(whole.iter()).all(|(bad, good)| bad == good));
        }
    }
}

#[test]
fn a_chunk_is_valid_in_its_own_block_only() {
    let events = events();
    let other = Header { segment: 1, ..HEADER };
    let mut moved = block_of(HEADER, &[&events[..5]]);
    moved[..HEADER_BYTES].copy_from_slice(&block_of(other, &[&events[..5]])[..HEADER_BYTES]);
    assert_eq!(read(&moved, &RecordFilter::ALL).1.end, PartEnd::Damaged);
}

#[test]
fn a_block_is_resumed_behind_its_last_whole_chunk() {
    let events = events();
    let mut bytes = block_of(HEADER, &[&events[..40]]);
    let whole = bytes.len();
    bytes.extend_from_slice(b"torn");
    let (_, decoded) = read(&bytes, &RecordFilter::ALL);
    assert_eq!((decoded.end, decoded.whole_bytes), (PartEnd::Torn, whole));
    let mut encoder = BlockEncoder::new();
    encoder.resume(bytes, HEADER, &decoded);
    for event in &events[40..80] {
        assert!(encoder.append(event.time_ms, &event.channel, &event.payload));
    }
    let (records, decoded) = read(&encoder.seal(), &RecordFilter::ALL);
    assert_eq!((decoded.end, records.len()), (PartEnd::Clean, 80));
    assert!(records.iter().zip(&events).all(|(record, event)| is_sample(record, event)));
}

#[test]
fn typical_events_take_at_most_half_the_bytes_of_their_lines() {
    let events = events();
    let lines = include_str!("../../../testdata/eventlog/events.jsonl").len();
    let (mut bytes, mut encoder) = (0, BlockEncoder::new());
    encoder.begin(HEADER, Vec::new());
    for event in &events {
        if !encoder.append(event.time_ms, &event.channel, &event.payload) {
            bytes += encoder.finish().len();
            encoder.begin(HEADER, Vec::new());
            assert!(encoder.append(event.time_ms, &event.channel, &event.payload));
        }
    }
    bytes += encoder.seal().len();
    assert!(bytes * 2 < lines, "{bytes} of {lines} bytes");
}

// ---- forged blocks ------------------------------------------------------------------------------------------------

/// A block as long as one may be, with one chunk of these bytes and all checksums right.
fn forged(records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sum = Header { span: u8::MAX, ..HEADER }.write(&mut bytes);
    let word = (records.len() as u32 | FRESH).to_le_bytes();
    let chunk = [&word[..], records].concat();
    bytes.extend_from_slice(&chunk_sum(sum, &chunk).to_le_bytes());
    bytes.extend_from_slice(&chunk);
    bytes.resize(BLOCK_BYTES_MAX, 0);
    bytes
}

fn varint(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::eventlog::varint::put(&mut bytes, value as u64);
    bytes
}

/// A new form for the channel `c`, whose payload is a shape with this skeleton, and its time.
fn new_form(skeleton: &[u8]) -> Vec<u8> {
    [b"\x00\x04\x01c\x02", &varint(skeleton.len())[..], skeleton, b"\x00"].concat()
}

#[test]
fn a_forged_block_costs_no_more_memory_than_a_real_one() {
    let long = 7_000_000;
    // A value for each hole, so that only the number of holes is wrong.
    let holes = [new_form(&vec![0; long / 2]), vec![0; long / 2]].concat();
    // Strings of no byte, forms of the same shape, records of two bytes.
    let strings = [new_form(b"\0"), b"\x09".to_vec(), b"\x03\x00".repeat(long / 2), b"\x0b".to_vec()].concat();
    let forms = [new_form(b"{}"), b"\x00\x04\x01c\x02\x00".repeat(long / 6)].concat();
    let records = [new_form(b"{}"), b"\x01\x00".repeat(long / 2)].concat();
    let shapes = [new_form(b"\0"), b"\x09".to_vec(), b"\x0a\x00\x02{}".repeat(long / 5), b"\x0b".to_vec()].concat();
    for (name, bytes) in
        [("holes", holes), ("strings", strings), ("forms", forms), ("records", records), ("shapes", shapes)]
    {
        for filter in [RecordFilter::ALL, RecordFilter::NONE] {
            let (found, decoded) = read(&forged(&bytes), &filter);
            assert_eq!(decoded.end, PartEnd::Damaged, "{name}");
            assert!(decoded.info.records <= BLOCK_RECORDS_MAX + 1, "{name}: {}", decoded.info.records);
            assert!(found.text.len() < 2 * EVENTLOG_RECORD_BYTES_MAX, "{name}: {}", found.text.len());
        }
    }
}

#[test]
fn a_string_named_many_times_does_not_grow_beyond_a_record() {
    // A string of two million bytes, and eight thousand holes that each name it with one byte.
    let long = [b"\x03".to_vec(), varint(2_000_000), vec![b'x'; 2_000_000]].concat();
    let bytes = [new_form(&vec![0; 8000]), long, vec![0x80; 8000]].concat();
    let (found, decoded) = read(&forged(&bytes), &RecordFilter::ALL);
    assert_eq!((decoded.end, found.len()), (PartEnd::Damaged, 0));
    assert!(found.text.capacity() < 8_000_000, "{}", found.text.capacity());
}

#[test]
fn a_block_of_short_records_with_long_texts_stops_at_the_bound() {
    let skeleton = [b"\"".to_vec(), vec![b'x'; 500_000], b"\"".to_vec()].concat();
    let bytes = [new_form(&skeleton), b"\x01\x00".repeat(20_000)].concat();
    let (found, decoded) = read(&forged(&bytes), &RecordFilter::ALL);
    assert_eq!(decoded.end, PartEnd::Damaged);
    assert!(found.text.len() < EVENTLOG_BLOCK_TEXT_BYTES_MAX + EVENTLOG_RECORD_BYTES_MAX, "{}", found.text.len());
    // The bounds of a filter end the decoding earlier.
    let (found, _) = read(&forged(&bytes), &RecordFilter { rows_max: 3, ..RecordFilter::ALL });
    assert_eq!((found.len(), found.text.len()), (3, 3 * skeleton.len() + 1));
    let (found, _) = read(&forged(&bytes), &RecordFilter { text_max: 1_000_000, ..RecordFilter::ALL });
    assert_eq!(found.len(), 2);
}

#[test]
fn reserved_tags_are_damage() {
    for tag in (0x0c..0x10).chain(0x30..0x40).chain([0x0a, 0x0b]) {
        let bytes = [new_form(b"\0"), vec![tag, 0x01, 0x01, 0x01]].concat();
        let (found, decoded) = read(&forged(&bytes), &RecordFilter::ALL);
        assert_eq!((decoded.end, found.len()), (PartEnd::Damaged, 0), "{tag:#x}");
    }
    for tag in (0x10..0x30).chain([0x06, 0x07, 0x08]) {
        let bytes = [new_form(b"\0"), vec![tag, 0x01]].concat();
        let (found, decoded) = read(&forged(&bytes), &RecordFilter::ALL);
        assert_eq!((decoded.end, found.len()), (PartEnd::Clean, 1), "{tag:#x}");
    }
}
