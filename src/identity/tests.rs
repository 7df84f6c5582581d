//! Identity: its text, the numbers it gives out, and the ledger against a plain list.

use std::collections::HashSet;

use super::*;

/// The text after `"_rt":`, and what stands in it for the channel `chat` (CRC-32 1ee15e1c): `server boot seq sent`.
const TEXTS: &[(&str, Option<&str>)] = &[
    ("eu-1/00000000000000ff:42:1732460000123:CRC", Some("eu-1 255 42 1732460000123")),
    ("eu-1/ffffffffffffffff:0:0:CRC", Some("eu-1 18446744073709551615 0 0")),
    ("eu-1/00000000000000ff:42:1:CRC:0011,2233", Some("eu-1 255 42 1")),
    ("eu-1/00000000000000ff:9007199254740992:1:CRC", Some("eu-1 255 9007199254740992 1")),
    ("eu-1/00000000000000ff:9007199254740993:1:CRC", None),
    ("eu-1/00000000000000ff:42:1:00000000", None),
    ("eu-1/00000000000000ff:42:1:CR", None),
    ("eu-1/00000000000000FF:42:1:CRC", None),
    ("eu-1/ff:42:1:CRC", None),
    ("eu-1/00000000000000ff:-1:1:CRC", None),
    ("eu-1/00000000000000ff:+1:1:CRC", None),
    ("eu-1/00000000000000ff::1:CRC", None),
    ("eu-1/00000000000000ff:1", None),
    ("eu 1/00000000000000ff:42:1:CRC", None),
    ("/00000000000000ff:42:1:CRC", None),
    ("eu-1", None),
    ("", None),
];

#[test]
fn texts() {
    let crc = format!("{:08x}", crc32fast::hash(b"chat"));
    for (text, expected) in TEXTS {
        let text = text.replace("CRC", &crc);
        let found = Identity::parse(text.as_bytes(), b"chat");
        let found = found.map(|i| format!("{} {} {} {}", i.server, i.boot, i.seq, i.sent_ms));
        assert_eq!(found.as_deref(), *expected, "{text}");
    }
    assert_eq!(Identity::parse(b"eu\xff/", b"chat"), None);
}

#[test]
fn no_text_panics() {
    proptest::proptest!(|(text: Vec<u8>)| { Identity::parse(&text, b"chat"); });
    let whole = format!("eu-1/{:016x}:42:1:{:08x}", 7, crc32fast::hash(b"chat"));
    for cut in 0..whole.len() {
        assert_eq!(Identity::parse(&whole.as_bytes()[..cut], b"chat"), None, "{cut}");
    }
}

/// The object that Emit sends for this text.
fn member_of(numbering: &mut Numbering, channel: &str, text: &str) -> String {
    let next = numbering.next(b"p:", channel.as_bytes(), 1000, b"");
    let (open, comma) = open_object(text.as_bytes()).unwrap();
    let sent = String::from_utf8([open, comma, next.member].concat()).unwrap();
    next.taken();
    sent
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut numbering = Numbering::new("eu-1", 0xabc);
    let sent = member_of(&mut numbering, "chat", r#"{"a":1}"#);
    assert_eq!(sent, format!(r#"{{"a":1,"_rt":"eu-1/0000000000000abc:1:1000:{:08x}"}}"#, crc32fast::hash(b"p:chat")));
    assert!(sent.len() - 7 <= crate::config::IDENTITY_BYTES_MAX);
    let text = sent.split('"').nth(5).unwrap();
    let identity = Identity::parse(text.as_bytes(), b"p:chat").unwrap();
    assert_eq!(identity, Identity { server: "eu-1", boot: 0xabc, seq: 1, sent_ms: 1000, acted: "" });
    assert_eq!(Identity::parse(text.as_bytes(), b"chat"), None, "another prefix is another channel");
}

#[test]
fn objects_are_opened_at_their_end() {
    let rows: [(&str, Option<(&str, &str)>); 8] = [
        ("{}", Some(("{", ""))),
        (" { } \n", Some(("{ ", ""))),
        (r#"{"a":{}}"#, Some((r#"{"a":{}"#, ","))),
        ("{\"a\":1}\t", Some(("{\"a\":1", ","))),
        ("[]", None),
        ("[{}]", None),
        ("1", None),
        (r#""{}""#, None),
    ];
    for (text, expected) in rows {
        let expected = expected.map(|(open, comma)| (open.as_bytes(), comma.as_bytes()));
        assert_eq!(open_object(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn a_number_is_used_up_only_when_taken() {
    let mut numbering = Numbering::new("a", 1);
    let seq = |text: String| text.rsplit(':').nth(2).unwrap().to_owned();
    assert!(numbering.next(b"", b"x", 0, b"").is_numbered());
    numbering.next(b"", b"x", 0, b"");
    assert_eq!(seq(member_of(&mut numbering, "x", "{}")), "1");
    assert_eq!(seq(member_of(&mut numbering, "x", "{}")), "2");
    assert_eq!(seq(member_of(&mut numbering, "y", "{}")), "1");
}

#[test]
fn channels_beyond_the_limit_have_no_numbers() {
    let mut numbering = Numbering::new("a", 1);
    for n in 0..NUMBERED_CHANNELS_MAX {
        assert!(numbering.next(b"", n.to_string().as_bytes(), 0, b"").is_numbered());
    }
    let next = numbering.next(b"", b"one more", 0, b"");
    assert!(!next.is_numbered() && String::from_utf8_lossy(next.member).contains(":0:0:"));
    next.taken();
    assert!(numbering.next(b"", b"0", 0, b"").is_numbered());
    assert_eq!((numbering.channels.len(), numbering.numbers.len()), (NUMBERED_CHANNELS_MAX, NUMBERED_CHANNELS_MAX));
}

fn of(boot: u64, seq: u64) -> Identity<'static> {
    Identity { server: "s", boot, seq, sent_ms: 0, acted: "" }
}

fn missed(missed: u64) -> Sight {
    Sight::New { missed }
}

#[test]
fn gaps_and_repeats() {
    let mut ledger = Ledger::default();
    let mut see = |boot, seq| ledger.see(false, b"c", b"c", &of(boot, seq));
    assert_eq!(see(1, 5), missed(0), "a first sight is a baseline");
    assert_eq!((see(1, 6), see(1, 6), see(1, 4)), (missed(0), Sight::Repeat, Sight::Repeat));
    assert_eq!((see(1, 9), see(1, 8), see(1, 10)), (missed(2), Sight::Repeat, missed(0)));
    assert_eq!((see(2, 1), see(2, 3)), (missed(0), missed(1)), "another sender has numbers of its own");
    assert_eq!((see(1, 0), see(1, 0)), (missed(0), missed(0)), "0 is no number");
}

#[test]
fn each_subscription_sees_an_event_once_and_a_gap_is_told_once() {
    let mut ledger = Ledger::default();
    let exact = |ledger: &mut Ledger, seq| ledger.see(false, b"c:1", b"c:1", &of(1, seq));
    let pattern = |ledger: &mut Ledger, seq| ledger.see(true, b"c:*", b"c:1", &of(1, seq));
    for seq in [1, 2] {
        assert_eq!((exact(&mut ledger, seq), pattern(&mut ledger, seq)), (missed(0), missed(0)));
    }
    assert_eq!((exact(&mut ledger, 7), pattern(&mut ledger, 7)), (missed(4), missed(0)));
    assert_eq!((pattern(&mut ledger, 10), exact(&mut ledger, 9)), (missed(2), missed(0)));
    assert_eq!(exact(&mut ledger, 12), missed(2), "10 and 11 were missed by this one, and not told yet");
}

#[test]
fn a_subscription_asked_for_again_starts_anew() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.see(false, b"c", b"c", &of(1, 1)), missed(0));
    ledger.forget(true, b"c");
    assert_eq!(ledger.see(false, b"c", b"c", &of(1, 3)), missed(1));
    ledger.forget(false, b"c");
    assert_eq!(ledger.see(false, b"c", b"c", &of(1, 9)), missed(0));
    ledger.keep_only(|pattern, name| !pattern && name == b"c");
    assert_eq!(ledger.see(false, b"c", b"c", &of(1, 11)), missed(1));
    ledger.keep_only(|_, _| false);
    assert_eq!(ledger.see(false, b"c", b"c", &of(1, 20)), missed(0));
}

#[test]
fn the_most_recent_sources_are_kept_and_no_more_than_twice_as_many() {
    let mut ledger = Ledger::default();
    for boot in 0..3 * NUMBERED_CHANNELS_MAX as u64 {
        assert_eq!(ledger.see(false, b"c", b"c", &of(boot, 1)), missed(0));
        // One source that is seen all the time stays.
        assert_eq!(ledger.see(false, b"c", b"busy", &of(1, boot + 1)), missed(0));
        assert!(ledger.seen.young.len() + ledger.seen.old.len() <= 2 * NUMBERED_CHANNELS_MAX);
    }
    let newest = 3 * NUMBERED_CHANNELS_MAX as u64 - 1;
    for boot in 0..NUMBERED_CHANNELS_MAX as u64 - 1 {
        assert_eq!(ledger.see(false, b"c", b"c", &of(newest - boot, 1)), Sight::Repeat, "{boot}");
    }
    assert_eq!(ledger.see(false, b"c", b"c", &of(0, 5)), missed(0), "the oldest is forgotten");
}

/// Against a set of everything seen, for one subscription: each number once, and the gaps add up.
#[test]
fn as_a_plain_set_would() {
    proptest::proptest!(|(seqs in proptest::collection::vec(1..60u64, 0..80))| {
        let mut ledger = Ledger::default();
        let (mut seen, mut newest, mut told) = (HashSet::new(), None::<u64>, 0);
        for seq in &seqs {
            let sight = ledger.see(false, b"c", b"c", &of(1, *seq));
            let is_repeat = newest.is_some_and(|newest| *seq <= newest);
            match sight {
                Sight::Repeat => assert!(is_repeat),
                Sight::New { missed } => {
                    assert!(!is_repeat);
                    seen.insert(*seq);
                    told += missed;
                    newest = Some(*seq);
                }
            }
        }
        if let (Some(first), Some(newest)) = (seqs.first(), newest) {
            assert_eq!(told, (*first..=newest).filter(|seq| !seen.contains(seq)).count() as u64);
        }
    });
}

#[test]
fn the_clock_follows_the_system() {
    let (mut clock, start) = (UnixClock::default(), Instant::now());
    let mut at = |ms, system_ms| {
        let system = SystemTime::UNIX_EPOCH + Duration::from_millis(system_ms);
        clock.ms(start + Duration::from_millis(ms), || system)
    };
    assert_eq!((at(0, 5000), at(7, 0), at(999, 0)), (5000, 5007, 5999));
    assert_eq!((at(1000, 9000), at(1001, 0)), (9000, 9001), "the system's clock was set");
    assert_eq!(unix_ms(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
}

#[test]
fn hooks_that_acted_are_listed_and_found() {
    let [one, two, three] = ["a", "b", "c"].map(|name| Fingerprint::of(name.as_bytes(), &serde_json::Value::Null));
    let mut numbering = Numbering::new("eu-1", 0xabc);
    let list = acted([one, two]);
    let next = numbering.next(b"", b"x", 1000, &list);
    let text = String::from_utf8(next.member.to_vec()).unwrap();
    let inside = text.strip_prefix("\"_rt\":\"").unwrap().strip_suffix("\"}").unwrap();
    let identity = Identity::parse(inside.as_bytes(), b"x").unwrap();
    assert!(identity.has_acted(one) && identity.has_acted(two) && !identity.has_acted(three));
    assert!(!Identity::parse(inside.split_at(inside.len() - 34).0.as_bytes(), b"x").unwrap().has_acted(one));
    let many = acted((0..100).map(|n| Fingerprint::of(&[n], &serde_json::Value::Null)));
    assert_eq!(*many, *b":*");
    let next = numbering.next(b"", b"x", 1000, &many);
    let text = String::from_utf8(next.member.to_vec()).unwrap();
    let inside = text.strip_prefix("\"_rt\":\"").unwrap().strip_suffix("\"}").unwrap();
    assert!(Identity::parse(inside.as_bytes(), b"x").unwrap().has_acted(three));
}
