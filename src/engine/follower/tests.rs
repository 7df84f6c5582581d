//! One follower without Redis: answers are made by hand, and the clock is passed in.

use std::path::PathBuf;

use super::*;
use crate::config::Config;
use crate::json::tape;
use crate::redis::REPLY_LIMITS;
use crate::redis::answer::Expect;
use crate::redis::reply::Decoder;
use crate::stats::Stats;

struct World {
    shared: Shared,
    ledger: Ledger,
    follower: Follower,
    now: Instant,
    tickets: Ticket,
}

impl World {
    fn new() -> World {
        let config = Config::defaults("box", 1);
        let shared = Shared::new(config, PathBuf::new(), Arc::new(Stats::default()), Arc::default());
        let mut follower = Follower::new(Topic::new(b"chat"), b"shop", &shared);
        follower.version = 1;
        World { shared, ledger: Ledger::default(), follower, now: Instant::now(), tickets: 0 }
    }

    fn around(&mut self) -> (&mut Follower, Around<'_>) {
        let World { shared, ledger, follower, now, .. } = self;
        (follower, Around { shared, ledger, prefix: "", now: *now })
    }

    fn ask(&mut self, question: Question) {
        if let Question::Read(place, _) = question {
            self.follower.place.get_or_insert(place);
        }
        self.tickets += 1;
        self.follower.was_asked(question, self.tickets, self.now);
        assert!(self.follower.waits_for(self.tickets) && !self.follower.waits_for(self.tickets + 1));
    }

    /// The answer to a question, which is asked first. Returns the next one.
    fn answer(&mut self, question: Question, outcome: AnswerResult) -> Option<Question> {
        self.ask(question);
        let (follower, around) = self.around();
        follower.answered(outcome, &around)
    }

    /// All events of its own that are due: ` missed` follows those from the stream.
    fn deliver(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let (follower, mut around) = self.around();
            let Some((event, is_missed)) = follower.next(&mut around) else { return heard };
            follower.delivered(&event, true);
            heard.push(format!("{}{}", number_of(&event), if is_missed { " missed" } else { "" }));
        }
    }

    /// A live event of this number, with this entry or none. True: it is delivered now.
    fn live(&mut self, number: u64, entry: u64) -> bool {
        let event = event(number, entry);
        let (follower, mut around) = self.around();
        let takes = follower.takes(&event, &mut around);
        if takes {
            follower.delivered(&event, false);
        }
        takes
    }
}

fn text_of(number: u64) -> String {
    let crc = crc32fast::hash(b"chat");
    format!(r#"{{"n":{number},"_rt":"peer/00000000000000aa:{number}:1:{crc:08x}"}}"#)
}

fn event(number: u64, entry: u64) -> Event {
    let text = text_of(number);
    let (mut tape, mut member) = (Vec::new(), Vec::new());
    crate::event::payload::decode_with(text.as_bytes(), &mut tape, &mut member).unwrap();
    let identity = Identity::parse(&member, b"chat").map(|identity| identity.at(StreamId { ms: entry, number: 0 }));
    let arrival = Arrival { at: Instant::now(), unix_ms: 0, own_boot: 0 };
    let decoded = Decoded { tape: &tape, raw: false, identity };
    Event::new(Arrived { topic: Arc::new(Topic::new(b"chat")), channel: b"chat", decoded, arrival })
}

fn number_of(event: &Event) -> u64 {
    event.origin().unwrap().seq
}

/// The reply to XRANGE with entries of these ids; each has its id as its number.
fn entries(ids: impl IntoIterator<Item = u64>) -> AnswerResult {
    let ids: Vec<u64> = ids.into_iter().collect();
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let entry = |id: &u64| {
        let fields = ["channel", "chat", "event", &text_of(*id)].map(bulk).concat();
        format!("*2\r\n{}*4\r\n{fields}", bulk(&format!("{id}-0")))
    };
    let mut decoder = Decoder::new(REPLY_LIMITS);
    decoder.feed(format!("*{}\r\n{}", ids.len(), ids.iter().map(entry).collect::<String>()).as_bytes());
    Expect::Entries.read(decoder.next().unwrap().unwrap())
}

fn place(text: Option<&str>) -> AnswerResult {
    let mut bytes = Vec::new();
    match text {
        Some(text) => tape::push_text(&mut bytes, text.as_bytes()),
        None => tape::push_none(&mut bytes, false),
    }
    Ok(Answer { tape: bytes, values: 1 })
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, number: 0 }
}

#[test]
fn it_reads_on_at_its_place_and_then_takes_live_events() {
    let mut world = World::new();
    assert!(!world.live(6, 6), "held until the stream is read");
    let next = world.answer(Question::Place, place(Some("3-0")));
    assert_eq!(next, Some(Question::Read(id(3), STEP_ENTRIES)));
    world.answer(Question::Read(id(3), 4), entries([3, 4, 5, 6]));
    // The reply is full: there may be more.
    assert_eq!(world.deliver(), ["4 missed", "5 missed", "6 missed"]);
    world.answer(Question::Read(id(6), 4), entries([6, 7]));
    assert!(!world.live(8, 8));
    assert_eq!(world.deliver(), ["7 missed", "8"]);
    assert!(world.live(9, 9) && !world.live(9, 9), "a repeat is dropped");
    assert_eq!((world.follower.unsaved(), world.follower.state), (Some(id(9)), State::Live));
    assert_eq!((world.shared.stats.places_lost.get(), world.shared.stats.missed.get()), (0, 0));
}

#[test]
fn the_first_registration_begins_with_the_present() {
    let mut world = World::new();
    assert!(!world.live(8, 8), "it came before the end of the stream is known");
    assert_eq!(world.answer(Question::Place, place(None)), Some(Question::End));
    world.answer(Question::End, entries([9]));
    assert_eq!(world.deliver(), ["8"]);
    assert_eq!(world.follower.place, Some(id(9)));
    assert!(world.live(9, 10));
    // No stream at all.
    let mut world = World::new();
    world.answer(Question::End, entries([]));
    assert_eq!((world.deliver().len(), world.follower.place), (0, Some(StreamId::NONE)));
}

#[test]
fn a_place_that_is_gone_is_told_once_and_with_the_number_if_that_is_known() {
    for (known, expected) in [(false, vec![("", 0)]), (true, vec![("peer", 6)])] {
        let mut world = World::new();
        if known {
            world.answer(Question::Read(id(2), 4), entries([2, 3]));
            world.deliver();
        }
        world.answer(Question::Read(id(3), 4), entries([10, 11]));
        assert_eq!(world.deliver(), ["10 missed", "11 missed"]);
        let told = std::iter::from_fn(|| world.shared.notices.pop()).map(|notice| match notice {
            Notice::Gap { server, missed, .. } => (server.into_string(), missed),
            other => panic!("{other:?}"),
        });
        let expected: Vec<_> = expected.into_iter().map(|(server, missed)| (server.to_owned(), missed)).collect();
        assert_eq!((told.collect::<Vec<_>>(), world.shared.stats.places_lost.get()), (expected, 1));
    }
    // The stream is empty, or ends before the place: it is read from its beginning.
    let mut world = World::new();
    world.answer(Question::Read(id(3), 4), entries([]));
    assert_eq!((world.follower.place, world.follower.state), (Some(StreamId::NONE), State::Waiting));
    world.answer(Question::Read(StreamId::NONE, 4), entries([1]));
    assert_eq!(world.deliver(), ["1 missed"]);
    assert_eq!(world.shared.stats.places_lost.get(), 1);
}

/// More live events than are held: the stream has them. Those without an entry are lost, counted and told.
#[test]
fn held_events_are_bounded() {
    let mut world = World::new();
    let all = HELD_EVENTS_MAX as u64 + 50;
    world.ask(Question::Read(StreamId::NONE, 4));
    (1..=all).for_each(|n| assert!(!world.live(n, n)));
    assert!(world.follower.is_behind && world.follower.held.len() == HELD_EVENTS_MAX);
    (0..3).for_each(|n| assert!(!world.live(all + 1 + n, 0)));
    assert_eq!(world.shared.stats.missed_dropped.get(), 3);
    assert_eq!(world.shared.notices.pop(), Some(Notice::Overflow { queue: MISSED, dropped: 3 }));
    let (follower, around) = world.around();
    follower.answered(entries([]), &around);
    assert_eq!(world.deliver().len(), HELD_EVENTS_MAX);
    assert_eq!(world.follower.state, State::Waiting, "it reads what it ignored");
    let place = world.follower.place.unwrap();
    world.answer(Question::Read(place, 100), entries(place.ms..=all));
    assert_eq!((world.deliver().len(), world.follower.state), (50, State::Live));
}

#[test]
fn failures_are_repeated_or_told() {
    let mut world = World::new();
    world.answer(Question::Read(id(1), 200), Err("too_large: the reply has 99 bytes".to_owned()));
    assert_eq!(world.follower.step_entries, STEP_ENTRIES / 4);
    for reason in ["timeout: redis did not answer in time", "disconnected: x", "redis: LOADING it loads"] {
        world.answer(Question::Read(id(1), 200), Err(reason.to_owned()));
        assert_eq!(world.follower.state, State::Waiting, "{reason}");
        assert!(world.follower.not_before.is_some_and(|at| at > world.now) && world.shared.notices.pop().is_none());
    }
    world.answer(Question::Read(id(1), 200), Err("redis: ERR unknown command 'XRANGE'".to_owned()));
    assert!(matches!(world.shared.notices.pop(), Some(Notice::Error { operation: MISSED, .. })));
    assert_eq!((world.deliver().len(), world.follower.state), (0, State::Off));
    assert!(world.live(7, 0) && world.live(8, 8));
    // The next connection may allow it.
    world.shared.settled.lost();
    assert!(!world.live(9, 9) && world.follower.state == State::Waiting);
}

/// Anybody who may publish can forge an entry. It moves the place until the next event only, and a place that the stream
/// does not have leads back to the last one that it had: nothing is missed, and nothing comes again.
#[test]
fn a_forged_entry_costs_no_event_and_repeats_none() {
    for forged in [u64::MAX, 4] {
        let mut world = World::new();
        world.answer(Question::Place, place(Some("50-0")));
        world.answer(Question::Read(id(50), 4), entries([50]));
        world.deliver();
        assert!(world.live(51, 51) && world.live(52, forged));
        assert!(world.live(53, 53) && world.follower.place == Some(id(53)));
        assert!(world.live(54, forged));
        world.shared.settled.lost();
        assert!(!world.live(57, 57));
        let last = world.follower.place.unwrap();
        assert_eq!(last, if forged > 50 { id(forged) } else { id(53) });
        if forged > 50 {
            world.answer(Question::Read(last, 4), entries([]));
            assert_eq!((world.follower.place, world.follower.state), (Some(id(50)), State::Waiting));
            world.answer(Question::Read(id(50), 9), entries([50, 51, 53, 55, 56, 57]));
        } else {
            world.answer(Question::Read(last, 9), entries([53, 55, 56, 57]));
        }
        assert_eq!(world.deliver(), ["55 missed", "56 missed", "57 missed"]);
        assert_eq!((world.shared.stats.places_lost.get(), world.follower.unsaved()), (0, Some(id(57))));
    }
}

/// A place that a live event named is saved once the stream has shown it. Else the stream is read from the last one that
/// it has shown, and no loss is told.
#[test]
fn a_live_place_is_confirmed_before_it_is_saved() {
    let mut world = World::new();
    world.answer(Question::Place, place(Some("50-0")));
    world.answer(Question::Read(id(50), 4), entries([50]));
    world.deliver();
    assert!(world.live(51, 51));
    let pause = Duration::from_secs(1);
    let check = |world: &mut World, at: u64, outcome| {
        assert_eq!(world.follower.due(world.now, pause), None, "not again within the pause");
        world.now += pause;
        assert!(world.follower.due(world.now, pause) == Some(id(at)) && world.follower.is_unsure(id(at)));
        world.tickets += 1;
        world.follower.was_asked(Question::Confirm(id(at)), world.tickets, world.now);
        assert!(world.follower.state == State::Live && world.follower.checks(world.tickets));
        world.follower.checked(&outcome)
    };
    assert_eq!(check(&mut world, 51, entries([51])), Some(id(51)));
    world.follower.was_saved(id(51), world.now);
    assert!(world.live(52, 52) && world.live(53, 90));
    assert_eq!(world.follower.text_of(id(90)), "90-0 51-0", "as it is saved at the end of a state");
    assert_eq!(check(&mut world, 90, entries([])), None);
    assert!(!world.live(54, 54), "the stream is read first");
    world.answer(Question::Read(id(51), 9), entries([51, 52, 54]));
    assert_eq!(world.deliver(), ["54 missed"]);
    assert!(world.follower.unsaved() == Some(id(54)) && !world.follower.is_unsure(id(54)));
    // The stream has ended meanwhile.
    assert!(world.live(55, 55));
    assert_eq!(check(&mut world, 55, entries([])), None);
    world.answer(Question::Read(id(54), 9), entries([]));
    assert_eq!((world.deliver().len(), world.follower.state), (0, State::Live));
    assert_eq!((world.shared.stats.places_lost.get(), world.shared.notices.pop()), (0, None));
    // The next process finds both places.
    let mut world = World::new();
    let next = world.answer(Question::Place, place(Some("90-0 51-0")));
    assert_eq!(next, Some(Question::Read(id(90), STEP_ENTRIES)));
    world.answer(Question::Read(id(90), 9), entries([]));
    world.answer(Question::Read(id(51), 9), entries([51, 52]));
    assert_eq!((world.deliver(), world.shared.stats.places_lost.get()), (vec!["52 missed".to_owned()], 0));
}

/// Large entries make the steps small, but not for ever.
#[test]
fn steps_grow_again() {
    let mut world = World::new();
    for expected in [50, 12, 3, 2] {
        world.answer(Question::Read(id(1), 200), Err("too_large: the reply has 99 bytes".to_owned()));
        assert_eq!((world.follower.step_entries, world.follower.state), (expected, State::Waiting));
    }
    for n in 1..=60 {
        world.answer(Question::Read(id(n), 2), entries([n, n + 1]));
        assert_eq!(world.deliver().len(), 1);
    }
    assert_eq!(world.follower.step_entries, STEP_ENTRIES);
}

/// No stream decides about the events that were held back for it: they come as live ones.
#[test]
fn events_that_were_held_back_come_if_redis_refuses_the_stream() {
    let mut world = World::new();
    world.ask(Question::Place);
    assert!(!world.live(1, 1) && !world.live(2, 0));
    let (follower, around) = world.around();
    follower.answered(Err("redis: NOPERM this user has no permissions".to_owned()), &around);
    assert_eq!((world.deliver(), world.follower.state), (vec!["1".to_owned(), "2".to_owned()], State::Off));
    assert!(world.live(3, 3));
    assert_eq!((world.shared.stats.missed_dropped.get(), world.follower.takes_plain), (0, false));
}

/// The ledger has the number of an event whose value is half built when the Lua state ends.
#[test]
fn an_event_that_did_not_reach_its_listener_is_no_repeat() {
    for is_live in [false, true] {
        let mut world = World::new();
        world.answer(Question::Read(id(3), 2), entries([3, 4]));
        assert_eq!(world.deliver(), ["4 missed"]);
        if is_live {
            world.answer(Question::Read(id(4), 2), entries([4]));
            assert!(world.deliver().is_empty() && world.follower.state == State::Live);
            let (follower, mut around) = world.around();
            assert!(follower.takes(&event(5, 5), &mut around));
        } else {
            world.answer(Question::Read(id(4), 9), entries([4, 5, 6]));
            let (follower, mut around) = world.around();
            assert!(follower.next(&mut around).is_some());
        }
        world.follower.detach();
        world.answer(Question::Read(id(4), 9), entries([4, 5, 6]));
        assert_eq!(world.deliver(), ["5 missed", "6 missed"], "{is_live}");
        world.follower.detach();
        world.answer(Question::Read(id(4), 9), entries([4, 5, 6]));
        assert_eq!(world.deliver().len(), 0);
    }
}

#[test]
fn a_callback_that_leads_to_another_redis_leaves_no_place_there() {
    for is_own in [false, true] {
        let mut world = World::new();
        world.answer(Question::Read(id(3), 9), entries([3, 4]));
        let (follower, mut around) = world.around();
        let (event, _) = follower.next(&mut around).unwrap();
        follower.forget();
        follower.delivered(&event, is_own);
        assert_eq!((follower.place, follower.unsaved()), (None, None));
    }
}

/// A peer may fill a reply with entries of one number: they are passed over in several ticks.
#[test]
fn repeats_are_passed_over_in_steps() {
    let mut world = World::new();
    let repeats = 2 * PASSED_OVER_MAX as usize;
    world.answer(Question::Read(id(3), 200), entries(vec![3; repeats + 2].into_iter().chain([4])));
    let looks = (1..).find(|_| world.deliver().iter().any(|heard| heard == "4 missed"));
    assert_eq!(looks, Some(3));
    assert_eq!(world.shared.stats.caught_up_repeats.get(), repeats as u64);
}

/// An event without an entry is looked for in the stream: what came before the question is there by then, or never.
#[test]
fn an_event_without_an_entry_is_looked_for() {
    let mut world = World::new();
    world.answer(Question::Read(StreamId::NONE, 4), entries([]));
    assert!(world.deliver().is_empty() && world.follower.state == State::Live);
    assert!(!world.live(1, 0));
    world.ask(Question::Read(StreamId::NONE, 4));
    assert!(!world.live(2, 0), "it came behind the question");
    let (follower, around) = world.around();
    follower.answered(entries([1]), &around);
    assert_eq!(world.deliver(), ["1 missed"]);
    assert_eq!((world.follower.state, world.follower.takes_plain), (State::Waiting, false));
    world.answer(Question::Read(id(1), 4), entries([1]));
    // Nobody keeps it.
    assert_eq!((world.deliver(), world.follower.takes_plain), (vec!["2".to_owned()], true));
    assert!(world.live(3, 0));
}

/// A link between two nodes of a cluster lost events: their numbers are missing, and the stream has them.
#[test]
fn missing_numbers_are_looked_for() {
    let mut world = World::new();
    world.answer(Question::Read(StreamId::NONE, 4), entries([1]));
    world.deliver();
    assert!(world.live(2, 2) && !world.live(5, 5));
    world.answer(Question::Read(id(2), 9), entries([2, 3, 4, 5]));
    assert_eq!(world.deliver(), ["3 missed", "4 missed", "5 missed"]);
    assert_eq!((world.follower.state, world.shared.stats.missed.get()), (State::Live, 0));
}
