//! The text of identities, the numbers of sent events, and the ledger of received numbers compared with a plain list.

use super::*;
use crate::config::limits::NUMBERED_CHANNELS_MAX;
use crate::event::ledger::{self, Ledger, Sight};

/// The text after `"_rt":`, and its parts for the channel `chat` (CRC-32 1ee15e1c): `server boot seq sent`.
const TEXTS: &[(&str, Option<&str>)] = &[
    ("eu-1/00000000000000ff:42:1732460000123:CRC", Some("eu-1 255 42 1732460000123")),
    ("eu-1/ffffffffffffffff:0:0:CRC", Some("eu-1 18446744073709551615 0 0")),
    ("eu-1/00000000000000ff:42:1:CRC:0011,2233", Some("eu-1 255 42 1")),
    ("eu-1/00000000000000ff:9007199254740992:1:CRC", Some("eu-1 255 9007199254740992 1")),
    ("eu-1/00000000000000ff:9007199254740993:1:CRC", None),
    ("eu-1/00000000000000ff:18446744073709551615:1:CRC", None),
    ("eu-1/00000000000000ff:1.5:1:CRC", None),
    ("eu-1/00000000000000ff:1e3:1:CRC", None),
    ("eu-1/00000000000000ff:1:9007199254740993:CRC", None),
    ("eu-1/00000000000000ff:1:-1:CRC", None),
    ("LONGEST/00000000000000ff:1:1:CRC", Some("12345678901234567890123456789012 255 1 1")),
    ("LONGEST3/00000000000000ff:1:1:CRC", None),
    ("eu-1/00000000000000ff:1:1:CRC:HOOKS", Some("eu-1 255 1 1")),
    ("eu-1/00000000000000ff:1:1:CRC:HOOKS:", None),
    ("eu-1/00000000000000ff:1:1:CRC:HOOKSHOOKSHOOKS", None),
    ("eu-1/00000000000000ff:1:1:CRC:@5-1", Some("eu-1 255 1 1 5-1")),
    ("eu-1/00000000000000ff:1:1:CRC:HOOKS:@5-1", Some("eu-1 255 1 1 5-1")),
    ("eu-1/00000000000000ff:1:1:CRC:*:@5-1", Some("eu-1 255 1 1 5-1")),
    ("eu-1/00000000000000ff:1:1:CRC:@5-1:HOOKS", None),
    ("eu-1/00000000000000ff:1:1:CRC@5-1", None),
    ("eu-1/00000000000000ff:1:1:CRC:@", None),
    ("eu-1/00000000000000ff:1:1:CRC:@0-0", None),
    ("eu-1/00000000000000ff:1:1:CRC:@5", None),
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
fn only_the_exact_form_is_an_identity() {
    let crc = format!("{:08x}", crc32fast::hash(b"chat"));
    for (text, expected) in TEXTS {
        let hooks = vec!["0123456789abcdef"; ACTED_MAX].join(":");
        let text = text.replace("CRC", &crc).replace("HOOKS", &hooks);
        let text = text.replace("LONGEST", "12345678901234567890123456789012");
        let found = Identity::parse(text.as_bytes(), b"chat");
        let found = found.map(|i| {
            let kept = if i.kept.is_none() { String::new() } else { format!(" {}", i.kept) };
            format!("{} {} {} {}{kept}", i.server, i.boot, i.seq, i.sent_ms)
        });
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

/// The object that Emit sends for this JSON text.
fn member_of(numbering: &mut Numbering, channel: &str, text: &str) -> String {
    let (open, has_others) = open_object(text.as_bytes()).unwrap();
    let next = numbering.next(b"p:", channel.as_bytes(), has_others, 1000, b"");
    let sent = String::from_utf8([open, &next.pieces.concat()].concat()).unwrap();
    next.taken();
    sent
}

#[test]
fn a_written_identity_is_read_back() {
    let mut numbering = Numbering::new("eu-1", 0xabc);
    let sent = member_of(&mut numbering, "chat", r#"{"a":1}"#);
    assert_eq!(sent, format!(r#"{{"a":1,"_rt":"eu-1/0000000000000abc:1:1000:{:08x}"}}"#, crc32fast::hash(b"p:chat")));
    assert!(sent.len() - 7 <= crate::config::limits::IDENTITY_BYTES_MAX);
    let text = sent.split('"').nth(5).unwrap();
    let identity = Identity::parse(text.as_bytes(), b"p:chat").unwrap();
    assert_eq!(
        identity,
        Identity { server: "eu-1", boot: 0xabc, seq: 1, sent_ms: 1000, kept: StreamId::NONE, acted: "" }
    );
    assert_eq!(Identity::parse(text.as_bytes(), b"chat"), None, "another prefix is another channel");
}

#[test]
fn an_object_is_opened_at_its_end() {
    let rows: [(&str, Option<(&str, bool)>); 8] = [
        ("{}", Some(("{", false))),
        (" { } \n", Some(("{ ", false))),
        (r#"{"a":{}}"#, Some((r#"{"a":{}"#, true))),
        ("{\"a\":1}\t", Some(("{\"a\":1", true))),
        ("[]", None),
        ("[{}]", None),
        ("1", None),
        (r#""{}""#, None),
    ];
    for (text, expected) in rows {
        let expected = expected.map(|(open, has_others)| (open.as_bytes(), has_others));
        assert_eq!(open_object(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn a_number_is_used_up_only_when_taken() {
    let mut numbering = Numbering::new("a", 1);
    let seq = |text: String| text.rsplit(':').nth(2).unwrap().to_owned();
    assert!(numbering.next(b"", b"x", false, 0, b"").is_numbered());
    numbering.next(b"", b"x", false, 0, b"");
    assert_eq!(seq(member_of(&mut numbering, "x", "{}")), "1");
    assert_eq!(seq(member_of(&mut numbering, "x", "{}")), "2");
    assert_eq!(seq(member_of(&mut numbering, "y", "{}")), "1");
}

#[test]
fn channels_beyond_the_limit_have_no_numbers() {
    let mut numbering = Numbering::new("a", 1);
    for n in 0..NUMBERED_CHANNELS_MAX {
        assert!(numbering.next(b"", n.to_string().as_bytes(), false, 0, b"").is_numbered());
    }
    let next = numbering.next(b"", b"one more", false, 0, b"");
    assert!(!next.is_numbered() && String::from_utf8_lossy(&next.pieces.concat()).contains(":0:0:"));
    next.taken();
    assert!(numbering.next(b"", b"0", false, 0, b"").is_numbered());
    assert_eq!(numbering.channels(), NUMBERED_CHANNELS_MAX);
}

/// Against a text that is formatted anew for each event: channels of all lengths in any order, refused events, clocks that
/// stand still or jump, new names and prefixes.
#[test]
fn members_are_what_a_naive_writer_writes() {
    let mut random = 7u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % n
    };
    let mut numbering = Numbering::new("eu-0", 9);
    let (mut last, mut ms, mut name, mut prefix) = (std::collections::HashMap::<String, u64>::new(), 0, 0, "p:");
    for step in 0..20_000 {
        match below(50) {
            0 => ms = below(u64::MAX >> 33) * below(1 << 22),
            1..20 => ms += below(2),
            20 => {
                (name, prefix) = (below(3), ["p:", "", "long prefix"][below(3) as usize]);
                numbering.rename(&format!("eu-{name}"), prefix.as_bytes());
            }
            _ => {}
        }
        let channel = "player:kill".repeat(below(4) as usize) + &below(40).to_string();
        let (has_others, list) = (below(2) == 0, ["", ":00000000000000aa", ":*"][below(3) as usize]);
        let next = numbering.next(prefix.as_bytes(), channel.as_bytes(), has_others, ms, list.as_bytes());
        let seq = last.entry(channel.clone()).or_default();
        let comma = if has_others { "," } else { "" };
        let crc = crc32fast::hash(format!("{prefix}{channel}").as_bytes());
        let naive = format!("{comma}\"_rt\":\"eu-{name}/{:016x}:{}:{ms}:{crc:08x}{list}\"}}", 9, *seq + 1);
        assert_eq!(String::from_utf8(next.pieces.concat()).unwrap(), naive, "step {step}");
        if below(10) > 0 {
            next.taken();
            *seq += 1;
        }
    }
}

/// Events after a change have the new name, and their numbers go on.
#[test]
fn a_renamed_server_keeps_its_numbers() {
    let mut numbering = Numbering::new("eu-1", 0xabc);
    let first = member_of(&mut numbering, "chat", "{}");
    numbering.rename("eu-2", b"p:");
    let second = member_of(&mut numbering, "chat", "{}");
    assert!(first.contains("\"eu-1/0000000000000abc:1:"), "{first}");
    assert!(second.contains("\"eu-2/0000000000000abc:2:"), "{second}");
}

fn of(boot: u64, seq: u64) -> Identity<'static> {
    Identity { server: "s", boot, seq, sent_ms: 0, kept: StreamId::NONE, acted: "" }
}

fn missed(missed: u64) -> Sight {
    Sight::New { missed }
}

/// A ledger with a clock that only [`Seeing::pass`] moves.
struct Seeing {
    ledger: Ledger,
    now: Instant,
}

impl Seeing {
    fn new() -> Seeing {
        Seeing { ledger: Ledger::default(), now: Instant::now() }
    }

    fn see_as(&mut self, (pattern, name): (bool, &str), channel: &str, boot: u64, seq: u64) -> Sight {
        self.ledger.see(pattern, name.as_bytes(), channel.as_bytes(), &of(boot, seq), self.now)
    }

    /// Sees a number of one sender through one subscription to one channel.
    fn see(&mut self, seq: u64) -> Sight {
        self.see_as((false, "c"), "c", 1, seq)
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn numbers_show_gaps_and_repeats() {
    let mut seeing = Seeing::new();
    let mut see = |boot, seq| seeing.see_as((false, "c"), "c", boot, seq);
    assert_eq!(see(1, 5), missed(0), "the first number is the baseline");
    assert_eq!((see(1, 6), see(1, 6), see(1, 4)), (missed(0), Sight::Repeat, Sight::Repeat));
    assert_eq!((see(1, 9), see(1, 8), see(1, 10)), (missed(2), Sight::Repeat, missed(0)));
    assert_eq!(
        (see(2, 1), see(2, 2), see(2, 4)),
        (missed(0), missed(0), missed(1)),
        "another sender has its own numbers"
    );
    assert_eq!((see(1, 0), see(1, 0)), (missed(0), missed(0)), "0 is not a number");
}

#[test]
fn each_subscription_sees_an_event_once_and_a_gap_is_reported_once() {
    let mut seeing = Seeing::new();
    let exact = |seeing: &mut Seeing, seq| seeing.see_as((false, "c:1"), "c:1", 1, seq);
    let pattern = |seeing: &mut Seeing, seq| seeing.see_as((true, "c:*"), "c:1", 1, seq);
    for seq in [1, 2] {
        assert_eq!((exact(&mut seeing, seq), pattern(&mut seeing, seq)), (missed(0), missed(0)));
    }
    assert_eq!((exact(&mut seeing, 7), pattern(&mut seeing, 7)), (missed(4), missed(0)));
    assert_eq!((pattern(&mut seeing, 10), exact(&mut seeing, 9)), (missed(2), missed(0)));
    assert_eq!(exact(&mut seeing, 12), missed(2), "this one missed 10 and 11, and no gap was reported for them");
}

/// The next number is no gap for a subscription, even if a gap up to it was reported through another one.
#[test]
fn numbers_without_a_gap_do_not_change_the_reported_gaps() {
    let mut seeing = Seeing::new();
    let exact = |seeing: &mut Seeing, seq| seeing.see_as((false, "c:1"), "c:1", 1, seq);
    let pattern = |seeing: &mut Seeing, seq| seeing.see_as((true, "c:*"), "c:1", 1, seq);
    // Nobody misses a baseline and its successors here, so another subscription may report them later.
    assert_eq!(
        (pattern(&mut seeing, 1), exact(&mut seeing, 5), exact(&mut seeing, 6)),
        (missed(0), missed(0), missed(0))
    );
    assert_eq!(pattern(&mut seeing, 7), missed(5), "2 to 6, which the exact one has but this one never saw");
}

#[test]
fn a_renewed_subscription_starts_with_new_baselines() {
    let mut seeing = Seeing::new();
    assert_eq!(seeing.see(1), missed(0));
    seeing.ledger.forget(true, b"c");
    assert_eq!(seeing.see(3), missed(1));
    seeing.ledger.forget(false, b"c");
    assert_eq!(seeing.see(9), missed(0));
    seeing.ledger.keep_only(|pattern, name| !pattern && name == b"c");
    assert_eq!(seeing.see(11), missed(1));
    seeing.ledger.keep_only(|_, _| false);
    assert_eq!(seeing.see(20), missed(0));
}

#[test]
fn the_ledger_keeps_the_most_recent_sources_and_at_most_twice_as_many() {
    let mut seeing = Seeing::new();
    for boot in 0..3 * NUMBERED_CHANNELS_MAX as u64 {
        assert_eq!(seeing.see_as((false, "c"), "c", boot, 1), missed(0));
        // A source that is seen all the time stays.
        assert_eq!(seeing.see_as((false, "c"), "busy", 1, boot + 1), missed(0));
        assert!(seeing.ledger.seen.young.len() + seeing.ledger.seen.old.len() <= 2 * NUMBERED_CHANNELS_MAX);
    }
    let newest = 3 * NUMBERED_CHANNELS_MAX as u64 - 1;
    for boot in 0..NUMBERED_CHANNELS_MAX as u64 - 1 {
        assert_eq!(seeing.see_as((false, "c"), "c", newest - boot, 1), Sight::Repeat, "{boot}");
    }
    assert_eq!(seeing.see_as((false, "c"), "c", 0, 5), missed(0), "the ledger forgot the oldest");
}

// ---- forged numbers -----------------------------------------------------------------------------------------------

#[test]
fn a_number_that_no_server_can_reach_is_implausible() {
    for forged in [1 << 53, ledger::NUMBER_MAX + 1, ledger::NUMBER_MAX, 10 + ledger::JUMP_MAX + 1] {
        let mut seeing = Seeing::new();
        (1..=10).for_each(|seq| assert_eq!(seeing.see(seq), missed(0)));
        assert_eq!(seeing.see(forged), Sight::Implausible, "{forged}");
        assert_eq!((seeing.see(10), seeing.see(11), seeing.see(13)), (Sight::Repeat, missed(0), missed(1)), "{forged}");
    }
    let mut seeing = Seeing::new();
    assert_eq!((seeing.see(1 << 53), seeing.see(3), seeing.see(4)), (Sight::Implausible, missed(0), missed(0)));
}

/// After a long absence of the receiver, a large jump of the numbers is plausible.
#[test]
fn the_plausible_jump_grows_with_the_time() {
    let mut seeing = Seeing::new();
    assert_eq!((seeing.see(1), seeing.see(2 + ledger::JUMP_MAX)), (missed(0), Sight::Implausible));
    assert_eq!(seeing.see(1 + ledger::JUMP_MAX), missed(ledger::JUMP_MAX - 1));
    seeing.pass(3600);
    let far = 1 + 2 * ledger::JUMP_MAX + 3600 * ledger::JUMP_PER_SECOND;
    assert_eq!(seeing.see(far + 1), Sight::Implausible);
    assert_eq!(seeing.see(far), missed(far - 2 - ledger::JUMP_MAX));
}

/// A plausible forged number costs the sender's next two events. The ledger still knows the numbers before it.
#[test]
fn three_rising_numbers_that_were_never_seen_are_a_new_baseline() {
    let mut seeing = Seeing::new();
    (1..=10).for_each(|seq| assert_eq!(seeing.see(seq), missed(0)));
    assert_eq!(seeing.see(900), missed(889));
    assert_eq!((seeing.see(11), seeing.see(12), seeing.see(13)), (Sight::Repeat, Sight::Repeat, Sight::Renewed));
    assert_eq!((seeing.see(14), seeing.see(10), seeing.see(900)), (missed(0), Sight::Repeat, Sight::Repeat));
    assert_eq!(seeing.see(17), missed(2), "its gaps are reported again");
    (18..900).for_each(|seq| assert_eq!(seeing.see(seq), missed(0), "{seq}"));
    assert_eq!((seeing.see(900), seeing.see(901), seeing.see(902)), (Sight::Repeat, missed(0), missed(0)));
    // The same if the forged number is the first of a source.
    let mut seeing = Seeing::new();
    let sights = [5000, 1, 2, 3, 4].map(|seq| seeing.see(seq));
    assert_eq!(sights, [missed(0), Sight::Repeat, Sight::Repeat, Sight::Renewed, missed(0)]);
    // The same if the forged number is too low: the sender's own are far beyond it.
    let mut seeing = Seeing::new();
    let sights = [1, 9_000_000, 9_000_001, 9_000_002, 9_000_003].map(|seq| seeing.see(seq));
    assert_eq!(sights, [missed(0), Sight::Implausible, Sight::Implausible, Sight::Renewed, missed(0)]);
}

/// After a lost connection a sender repeats many events, in order. The ledger has seen all of them.
#[test]
fn repeated_numbers_are_no_new_baseline() {
    let mut seeing = Seeing::new();
    (1..=9000).for_each(|seq| assert_eq!(seeing.see(seq), missed(0)));
    (800..=9000).for_each(|seq| assert_eq!(seeing.see(seq), Sight::Repeat, "{seq}"));
    assert_eq!((seeing.see(9001), seeing.see(9010)), (missed(0), missed(8)));
    (800..=9001).for_each(|seq| assert_eq!(seeing.see(seq), Sight::Repeat, "before the gap: {seq}"));
    assert_eq!(seeing.see(9011), missed(0));
}

/// One source as lists of numbers: the groups in which they were seen, newest first, and the run that fits into none.
#[derive(Default)]
struct Naive {
    groups: Vec<Vec<u64>>,
    run: Vec<u64>,
    reported: u64,
}

impl Naive {
    fn see(&mut self, seq: u64) -> Sight {
        let last = self.groups.first().and_then(|group| group.last().copied());
        let known = self.groups.iter().position(|group| group.contains(&seq));
        let sight = match (last, known) {
            (None, _) => missed(0),
            (Some(last), Some(at)) => {
                if seq == last + 1 {
                    let reached = self.groups.remove(at);
                    self.groups[0].extend(reached);
                    self.run.clear();
                }
                return Sight::Repeat;
            }
            (Some(last), None) if seq < last => Sight::Repeat,
            (Some(last), None) if seq - last > ledger::JUMP_MAX => Sight::Implausible,
            (Some(last), None) => {
                let new = (last + 1..seq).filter(|number| *number > self.reported).count() as u64;
                self.reported = if seq > last + 1 { self.reported.max(seq - 1) } else { self.reported };
                missed(new)
            }
        };
        let mut sight = sight;
        if sight == Sight::Repeat || sight == Sight::Implausible {
            if self.run.last().is_some_and(|before| *before >= seq) {
                self.run.clear();
            }
            self.run.push(seq);
            if self.run.len() < usize::from(ledger::RISING_RUN) {
                return sight;
            }
            sight = Sight::Renewed;
            self.reported = self.reported.min(seq);
        }
        self.run.clear();
        match self.groups.first_mut().filter(|group| group.last() == Some(&(seq - 1)) && sight != Sight::Renewed) {
            Some(group) => group.push(seq),
            None => self.groups.insert(0, vec![seq]),
        }
        self.groups.truncate(ledger::REGIONS);
        sight
    }
}

proptest::proptest! {
    /// Compares with plain lists. The numbers are few, so that they collide, and sometimes far.
    #[test]
    fn the_ledger_behaves_like_plain_lists(seqs in proptest::collection::vec((1..40u64, 0..12u8), 0..120)) {
        let (mut seeing, mut naive) = (Seeing::new(), Naive::default());
        for (seq, far) in seqs {
            let seq = if far == 0 { seq * 50_000 } else { seq };
            assert_eq!(seeing.see(seq), naive.see(seq), "{seq}");
        }
    }

    /// After any forged numbers, a sender loses at most its next two events, and those whose numbers were forged.
    #[test]
    fn no_forged_number_silences_a_sender(
        start in 1..1_000_000u64,
        forged in proptest::collection::vec((0..4u8, 1..u64::MAX), 0..20),
        pause in 0..100_000u64,
    ) {
        let mut seeing = Seeing::new();
        (start..start + 10).for_each(|seq| assert_eq!(seeing.see(seq), missed(0)));
        seeing.pass(pause);
        for (kind, number) in &forged {
            seeing.see(match kind {
                0 => number % 100_000,
                1 => start + number % 100_000,
                2 => number % (1 << 53),
                _ => start + number % (1 << 40),
            });
        }
        let own = start + 10..start + 200;
        let lost = own.filter(|seq| seeing.see(*seq) == Sight::Repeat).count();
        assert!(lost < usize::from(ledger::RISING_RUN) + forged.len(), "{lost} lost after {} forged", forged.len());
    }
}

#[test]
fn the_clock_follows_the_systems_clock() {
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
fn an_identity_lists_the_hooks_that_acted() {
    let [one, two, three] = ["a", "b", "c"].map(|name| Fingerprint::of(name.as_bytes(), &serde_json::Value::Null));
    let mut numbering = Numbering::new("eu-1", 0xabc);
    let list = acted([one, two]);
    let next = numbering.next(b"", b"x", true, 1000, &list);
    let text = String::from_utf8(next.pieces.concat()).unwrap();
    let inside = text.strip_prefix(",\"_rt\":\"").unwrap().strip_suffix("\"}").unwrap();
    let identity = Identity::parse(inside.as_bytes(), b"x").unwrap();
    assert!(identity.has_acted(one) && identity.has_acted(two) && !identity.has_acted(three));
    assert!(!Identity::parse(inside.split_at(inside.len() - 34).0.as_bytes(), b"x").unwrap().has_acted(one));
}

/// Of each number of hooks: whether the list is in short, and whether it is left out.
#[test]
fn a_list_of_many_hooks_is_short_and_a_list_of_more_is_left_out() {
    let of = |n: usize| Fingerprint::of(&n.to_le_bytes(), &serde_json::Value::Null);
    for count in [1, ACTED_MAX, ACTED_MAX + 1, ACTED_SHORT_MAX, ACTED_SHORT_MAX + 1, 4096] {
        let mut numbering = Numbering::new("eu-1", 0xabc);
        let list = acted((0..count).map(of));
        assert_eq!(list.starts_with(b":*"), count > ACTED_MAX, "older versions read `*` alone");
        let next = numbering.next(b"", b"x", true, 1000, &list);
        let text = String::from_utf8(next.pieces.concat()).unwrap();
        assert!(text.len() <= crate::config::limits::IDENTITY_BYTES_MAX);
        let inside = text.strip_prefix(",\"_rt\":\"").unwrap().strip_suffix("\"}").unwrap();
        let identity = Identity::parse(inside.as_bytes(), b"x").unwrap();
        assert!((0..count).all(|n| identity.has_acted(of(n))), "{count}");
        let is_left_out = count > ACTED_SHORT_MAX;
        assert!((5000..5100).all(|n| identity.has_acted(of(n)) == is_left_out), "{count}");
        assert_eq!(identity.lists_none(), is_left_out);
    }
}
