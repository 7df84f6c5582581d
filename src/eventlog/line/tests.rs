//! Tests of JSON lines: other tools can read written lines, and read lines give back the written records.

use super::*;

fn line_of(time_ms: u64, seq: u64, channel: &[u8], payload: &[u8], raw: bool) -> String {
    let mut out = Vec::new();
    push(&mut out, &Record { time_ms, seq, channel, payload, raw }, &mut Vec::new());
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_as_they_stand_in_the_file() {
    for (time_ms, channel, payload, raw, expected) in [
        (
            1_763_942_400_123,
            "a",
            "{\"b\": 1}",
            false,
            r#"{"time":1763942400.123,"seq":7,"channel":"a","data":{"b":1}}"#,
        ),
        (7, "é\"\n", "[1.50, null]", false, r#"{"time":0.007,"seq":7,"channel":"é\"\n","data":[1.50,null]}"#),
        (1000, "a", "no JSON\n", false, r#"{"time":1.000,"seq":7,"channel":"a","raw":true,"data":"no JSON\n"}"#),
        (1000, "a", "1", true, r#"{"time":1.000,"seq":7,"channel":"a","raw":true,"data":"1"}"#),
    ] {
        let line = line_of(time_ms, 7, channel.as_bytes(), payload.as_bytes(), raw);
        assert_eq!(line, format!("{expected}\n"));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["channel"], channel);
    }
    let bad = line_of(0, 1, b"\xff", b"\"\xc3\"", false);
    assert_eq!(bad, "{\"time\":0.000,\"seq\":1,\"channel\":\"\u{fffd}\",\"data\":\"\u{fffd}\"}\n");
}

#[test]
fn any_record_comes_back() {
    proptest::proptest!(|(time_ms in 0..u64::MAX / 2, seq in 1..u64::MAX, channel: String, payload: String, raw: bool)| {
        let line = line_of(time_ms, seq, channel.as_bytes(), payload.as_bytes(), raw);
        assert_eq!(line.matches('\n').count(), 1, "one line");
        let mut records = Records::default();
        let decoded = decode(line.as_bytes(), &RecordFilter::ALL, &mut records);
        assert_eq!((decoded.bad_bytes, decoded.whole_bytes, decoded.next_seq), (0, line.len(), seq.saturating_add(1)));
        let record = records.iter().next().unwrap();
        assert_eq!((record.time_ms, record.seq, record.channel), (time_ms, seq, channel.as_bytes()));
        // Its line feed may be missing, and nothing before it.
        let whole = line.trim_end_matches('\n').as_bytes();
        assert_eq!(segment_id(whole), segment_id(line.as_bytes()));
        for end in 0..=whole.len() {
            let (mut records, is_whole) = (Records::default(), end == whole.len());
            let decoded = decode(&whole[..end], &RecordFilter::ALL, &mut records);
            assert_eq!((decoded.whole_bytes, records.len()), if is_whole { (end, 1) } else { (0, 0) });
            assert_eq!(segment_id(&whole[..end]).is_some(), is_whole);
        }
        let is_json = !raw && serde_json::from_str::<serde_json::Value>(&payload).is_ok();
        assert_eq!(record.raw, !is_json);
        if record.raw {
            assert_eq!(record.payload, payload.as_bytes());
        }
    });
}

#[test]
fn a_line_of_any_other_form_is_reported_and_skipped() {
    let good = line_of(1000, 1, b"a", b"1", false);
    for bad in [
        "",
        "{}",
        "{\"time\":1.000,\"seq\":1,\"channel\":\"a\",\"data\":1",
        "{\"time\":1.00,\"seq\":1,\"channel\":\"a\",\"data\":1}",
        "{\"time\":1.0000,\"seq\":1,\"channel\":\"a\",\"data\":1}",
        "{\"time\":-1.000,\"seq\":1,\"channel\":\"a\",\"data\":1}",
        "{\"time\":1.000,\"seq\":1e3,\"channel\":\"a\",\"data\":1}",
        "{\"time\":1.000,\"seq\":99999999999999999999,\"channel\":\"a\",\"data\":1}",
        "{\"time\":99999999999999999999.000,\"seq\":1,\"channel\":\"a\",\"data\":1}",
        "{\"time\":1.000,\"seq\":1,\"channel\":5,\"data\":1}",
        "{\"time\":1.000,\"seq\":1,\"channel\":\"a\\q\",\"data\":1}",
        "{\"time\":1.000,\"seq\":1,\"channel\":\"a\",\"data\":}",
        "{\"time\":1.000,\"seq\":1,\"channel\":\"a\",\"data\":1}}",
        "{\"time\":1.000,\"seq\":1,\"channel\":\"a\",\"raw\":true,\"data\":1}",
        " {\"time\":1.000,\"seq\":1,\"channel\":\"a\",\"data\":1}",
    ] {
        let text = format!("{bad}\n{good}");
        let mut records = Records::default();
        let decoded = decode(text.as_bytes(), &RecordFilter::ALL, &mut records);
        assert_eq!((decoded.bad_bytes, records.len()), (bad.len() as u64 + 1, 1), "{bad}");
    }
}
