//! The steps of a status message under a clock that the test sets, and its texts.

use std::sync::Arc;

use serde_json::{Value, json};

use super::text::{Values, line_of, message_of};
use super::*;
use crate::hooks::spec::{ActionKind, Spec};
use crate::hooks::status::{GameValues, Line, Status};
use crate::hooks::template::Fields;
use crate::json::tape;

const INTERVAL: Duration = Duration::from_secs(60);

/// A message and its clock. `said` says what was to be done, one word for each step.
struct Clocked {
    message: StatusMessage,
    now: Instant,
    may_edit: bool,
}

impl Clocked {
    fn new() -> Clocked {
        let now = Instant::now();
        Clocked { message: StatusMessage::new(INTERVAL, now), now, may_edit: true }
    }

    /// A message whose id is known, and that shows `text`.
    fn showing(text: &str) -> Clocked {
        let mut clocked = Clocked::new();
        assert_eq!((clocked.step(text), clocked.read(Some(Some("7")))), ("ask".to_owned(), ()));
        assert_eq!(clocked.step(text), "edit 7");
        assert_eq!(clocked.shown(None), After::Store("7".to_owned()));
        clocked
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// The next step, with `text` as the present text: `wait`, `ask`, `withdraw`, `same`, `create`, or `edit <id>`.
    fn step(&mut self, text: &str) -> String {
        match self.message.next(self.now, self.may_edit) {
            Step::Wait => "wait".to_owned(),
            Step::Ask => "ask".to_owned(),
            Step::Withdraw => "withdraw".to_owned(),
            Step::Make(_) if !self.message.offer(self.now, text) => "same".to_owned(),
            Step::Make(None) => "create".to_owned(),
            Step::Make(Some(id)) => format!("edit {id}"),
        }
    }

    fn read(&mut self, answer: Option<Option<&str>>) {
        self.message.read(self.now, answer.map(|id| id.map(str::to_owned)));
    }

    fn shown(&mut self, id: Option<&str>) -> After {
        self.message.settled(self.now, Settled::Shown { id: id.map(str::to_owned) })
    }

    fn settled(&mut self, result: Settled) {
        assert_eq!(self.message.settled(self.now, result), After::Nothing);
    }

    /// The seconds until the next step, if nothing happens before.
    fn due(&self) -> Option<u64> {
        self.message.due().map(|due| due.saturating_duration_since(self.now).as_secs())
    }
}

#[test]
fn a_message_is_created_once_and_then_edited() {
    let mut clocked = Clocked::new();
    assert_eq!([clocked.step("a"), clocked.step("a")], ["ask", "wait"]);
    assert_eq!(clocked.due(), Some(10));
    clocked.read(Some(None));
    assert_eq!([clocked.step("a"), clocked.step("b")], ["create", "wait"]);
    assert_eq!(clocked.shown(Some("5")), After::Store("5".to_owned()));
    assert_eq!((clocked.step("b"), clocked.due()), ("wait".to_owned(), Some(60)));
    clocked.pass(60);
    assert_eq!([clocked.step("b"), clocked.step("c")], ["edit 5", "wait"]);
    assert_eq!(clocked.shown(None), After::Nothing, "the id is stored already");
    // An answer of Redis that comes late changes nothing.
    clocked.read(Some(Some("4")));
    clocked.pass(60);
    assert_eq!(clocked.step("c"), "edit 5");
}

#[test]
fn redis_is_asked_until_it_answers_and_nothing_is_created_before() {
    let mut clocked = Clocked::new();
    assert_eq!(clocked.step("a"), "ask");
    clocked.message.ask_at(clocked.now + Duration::from_secs(1));
    assert_eq!((clocked.step("a"), clocked.due()), ("wait".to_owned(), Some(1)));
    clocked.pass(1);
    assert_eq!(clocked.step("a"), "ask");
    clocked.read(None);
    clocked.pass(9);
    assert_eq!(clocked.step("a"), "wait");
    clocked.pass(1);
    assert_eq!(clocked.step("a"), "ask");
    clocked.pass(10);
    assert_eq!(clocked.step("a"), "ask", "an answer that never came");
    clocked.read(Some(Some("12345678901234567890")));
    assert_eq!(clocked.step("a"), "edit 12345678901234567890");
    for (stored, id) in
        [("123", Some("123")), ("", None), ("12a", None), ("1/2", None), ("123456789012345678901", None)]
    {
        assert_eq!(stored_id(stored.as_bytes()).as_deref(), id, "{stored}");
    }
}

#[test]
fn an_unchanged_text_is_sent_again_after_ten_minutes() {
    let mut clocked = Clocked::showing("a");
    let steps: Vec<String> = (0..20)
        .map(|_| {
            clocked.pass(60);
            let step = clocked.step("a");
            if step == "edit 7" {
                assert_eq!(clocked.shown(None), After::Nothing);
            }
            step
        })
        .collect();
    let edits: Vec<usize> = (0..20).filter(|at| steps[*at] != "same").collect();
    assert_eq!(edits, [9, 19], "{steps:?}");
    // After an hour the id is written again.
    clocked.pass(3600);
    assert_eq!((clocked.step("a"), clocked.shown(None)), ("edit 7".to_owned(), After::Store("7".to_owned())));
}

#[test]
fn a_change_of_the_map_is_shown_at_once_but_not_at_every_tick() {
    let mut clocked = Clocked::showing("a");
    clocked.message.hurry(clocked.now);
    assert_eq!((clocked.step("b"), clocked.due()), ("wait".to_owned(), Some(5)), "the last text was sent just now");
    clocked.pass(5);
    assert_eq!(clocked.step("b"), "edit 7");
    clocked.shown(None);
    clocked.pass(20);
    clocked.message.added_again(Duration::from_secs(30), clocked.now);
    assert_eq!([clocked.step("c"), clocked.step("c")], ["edit 7", "wait"]);
    assert_eq!(clocked.due(), Some(30), "the interval of the new hook");
}

#[test]
fn a_deleted_message_is_created_again_once_in_an_interval() {
    let mut clocked = Clocked::showing("a");
    clocked.pass(60);
    assert_eq!(clocked.step("b"), "edit 7");
    clocked.settled(Settled::Gone);
    assert_eq!(clocked.step("b"), "wait");
    clocked.pass(5);
    assert_eq!(clocked.step("b"), "create");
    assert_eq!(clocked.shown(Some("8")), After::Store("8".to_owned()));
    // Somebody deletes it again and again.
    clocked.pass(10);
    clocked.message.hurry(clocked.now);
    assert_eq!(clocked.step("c"), "wait");
    clocked.pass(50);
    assert_eq!(clocked.step("c"), "edit 8");
    clocked.settled(Settled::Gone);
    clocked.pass(5);
    assert_eq!(clocked.step("c"), "create");
    assert_eq!(clocked.shown(Some("9")), After::Store("9".to_owned()));
}

#[test]
fn a_text_that_is_given_up_is_tried_again_later_each_time() {
    let mut clocked = Clocked::showing("a");
    clocked.pass(60);
    for delay in [120, 240, 480, 600, 600] {
        assert_eq!(clocked.step("b"), "edit 7");
        clocked.settled(Settled::GivenUp);
        assert_eq!((clocked.step("c"), clocked.due()), ("wait".to_owned(), Some(delay)));
        clocked.pass(delay);
    }
    assert_eq!(clocked.step("c"), "edit 7");
    clocked.shown(None);
    assert_eq!((clocked.step("c"), clocked.due()), ("wait".to_owned(), Some(60)));
}

#[test]
fn a_text_that_waits_is_replaced_by_a_newer_one_only() {
    let mut clocked = Clocked::showing("a");
    clocked.pass(60);
    assert_eq!(clocked.step("b"), "edit 7");
    clocked.pass(60);
    assert_eq!(clocked.step("b"), "same", "it waits for the end of a rate limit");
    clocked.pass(60);
    assert_eq!(clocked.step("a"), "edit 7", "the text that is shown now would be replaced by the one that waits");
    clocked.shown(None);
    clocked.pass(60);
    assert_eq!(clocked.step("a"), "same");
}

#[test]
fn a_closed_webhook_gets_nothing_until_its_hook_is_added_again() {
    let mut clocked = Clocked::showing("a");
    clocked.pass(60);
    assert_eq!(clocked.step("b"), "edit 7");
    clocked.settled(Settled::Closed);
    clocked.pass(6000);
    assert_eq!((clocked.step("c"), clocked.due()), ("wait".to_owned(), None));
    clocked.message.added_again(INTERVAL, clocked.now);
    assert_eq!(clocked.step("c"), "ask");
    clocked.read(Some(Some("7")));
    assert_eq!(clocked.step("c"), "edit 7");
}

#[test]
fn a_message_without_an_id_is_not_posted_again_and_again() {
    let mut clocked = Clocked::new();
    clocked.step("a");
    clocked.read(Some(None));
    assert_eq!((clocked.step("a"), clocked.shown(None)), ("create".to_owned(), After::NoId));
    clocked.pass(6000);
    assert_eq!((clocked.step("b"), clocked.due()), ("wait".to_owned(), None));
}

/// A hook that is removed and added again, or a panic of the thread: the text of before is still on its way.
#[test]
fn a_message_that_was_created_before_keeps_its_id() {
    let mut clocked = Clocked::new();
    assert_eq!(clocked.step("a"), "ask");
    assert_eq!(clocked.shown(Some("5")), After::Store("5".to_owned()));
    clocked.read(Some(None));
    assert_eq!(clocked.step("a"), "edit 5");
    let mut clocked = Clocked::new();
    assert_eq!(clocked.step("a"), "ask");
    assert_eq!(clocked.shown(None), After::Nothing, "an edit");
    clocked.read(Some(Some("5")));
    assert_eq!(clocked.step("a"), "edit 5");
}

#[test]
fn only_the_lease_holder_edits_and_it_reads_the_id_anew() {
    let mut clocked = Clocked::showing("a");
    clocked.pass(60);
    assert_eq!(clocked.step("b"), "edit 7");
    clocked.may_edit = false;
    assert_eq!([clocked.step("b"), clocked.step("b")], ["withdraw", "wait"]);
    clocked.pass(60);
    assert_eq!(clocked.step("c"), "wait");
    clocked.may_edit = true;
    assert_eq!(clocked.step("c"), "ask");
    clocked.read(Some(Some("8")));
    assert_eq!(clocked.step("c"), "edit 8", "another server has created it anew");
}

proptest::proptest! {
    /// Whatever Discord answers: creations are an interval apart and posts a gap, and once Discord accepts everything, the
    /// message soon shows the present text.
    #[test]
    fn a_message_shows_the_present_text_whatever_happened(rolls in proptest::collection::vec(0_u8..8, 200)) {
        let mut clocked = Clocked::new();
        let (mut created, mut posted): (Option<Instant>, Option<Instant>) = (None, None);
        // The stored id, the message on Discord, and its text.
        let (mut stored, mut there, mut text, mut number) = (None::<String>, None::<String>, String::new(), 0);
        let mut waiting = None;
        for (at, roll) in rolls.iter().copied().chain([0; 100]).enumerate() {
            let is_calm = at >= rolls.len();
            if roll == 1 {
                there = None;
            }
            if roll == 2 {
                clocked.message.hurry(clocked.now);
            }
            let present = if is_calm { "calm".to_owned() } else { format!("t{}", at / 3) };
            if let Some((id, body)) = waiting.take() {
                match (roll, id) {
                    (3, id) => waiting = Some((id, body)),
                    (4, _) => clocked.settled(Settled::GivenUp),
                    (_, None) => {
                        number += 1;
                        let id = number.to_string();
                        (there, text) = (Some(id.clone()), body);
                        proptest::prop_assert_eq!(clocked.shown(Some(&id)), After::Store(id.clone()));
                        stored = Some(id);
                    }
                    (_, id) if id == there => {
                        text = body;
                        clocked.shown(None);
                    }
                    _ => clocked.settled(Settled::Gone),
                }
            }
            if waiting.is_none() {
                let step = clocked.step(&present);
                let id = step.strip_prefix("edit ").map(str::to_owned);
                if step == "ask" {
                    clocked.read(if roll == 5 { None } else { Some(stored.as_deref()) });
                }
                if step == "create" {
                    proptest::prop_assert!(created.is_none_or(|before| clocked.now >= before + INTERVAL));
                    created = Some(clocked.now);
                }
                if step == "create" || id.is_some() {
                    proptest::prop_assert!(posted.is_none_or(|before| clocked.now >= before + GAP));
                    posted = Some(clocked.now);
                    waiting = Some((id, present));
                }
            }
            clocked.pass(if is_calm { 15 } else { 7 });
        }
        proptest::prop_assert_eq!((there.is_some(), text.as_str()), (true, "calm"));
    }
}

// ---- texts ----------------------------------------------------------------------------------------------------------

fn status(spec: Value) -> Arc<Status> {
    match Spec::parse(&spec).unwrap().actions.remove(0).kind {
        ActionKind::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn lines_of(status: &Status, events: &[Value]) -> Vec<Line> {
    let lines = status.lines.as_ref().unwrap();
    for event in events {
        let mut found = Vec::new();
        tape::parse(event.to_string().as_bytes(), &mut found).unwrap();
        let fields =
            Fields { tape: &found, json: b"null", channel: b"player:join", unix_ms: 1_700_000_000_000, offset_s: 0 };
        lines.kept.lock().unwrap().add(line_of(lines, &fields).unwrap());
    }
    lines.kept.lock().unwrap().all()
}

fn made(status: &Status, game: &GameValues, lines: &[Line]) -> Value {
    let (server, unix_ms, offset_s, started_ms, channel) = ("eu-1", 7_500_000, 3600, 300_000, b"player:*");
    let values = Values { server, game, unix_ms, offset_s, started_ms, lines, channel };
    serde_json::from_str(&message_of(status, &values, &mut Vec::new()).unwrap().edit_body()).unwrap()
}

#[test]
fn values_of_the_game_fill_the_texts() {
    let spec = json!({
        "type": "discord_status", "webhook": "https://h/", "format": "**{hostname}** {server} {gamemode}",
        "embed": {
            "title": "{players}/{max_players} on {map}", "description": "up {uptime}, since <t:{started}:R>",
            "footer": "{hostname}", "fields": [{ "name": "seen", "value": "<t:{time}:R>, {date} {time:%H:%M}" }],
        },
    });
    let game = GameValues {
        hostname: Some("*My* @everyone <@1>".to_owned()),
        map: Some("gm_construct".to_owned()),
        gamemode: None,
        players: Some(3),
        max_players: Some(16),
        ..GameValues::default()
    };
    let expected = json!({
        "allowed_mentions": { "parse": [] },
        "content": "**\\*My\\* @\u{200b}everyone \\<@\u{200b}1\\>** eu-1 ?",
        "embeds": [{
            "title": "3/16 on gm\\_construct", "description": "up 2 h 0 min, since <t:300:R>",
            "footer": { "text": "*My* @everyone <@1>" },
            "fields": [{ "name": "seen", "value": "<t:7500:R>, 1970-01-01 03:05", "inline": false }],
        }],
    });
    assert_eq!(made(&status(spec), &game, &[]), expected);
}

#[test]
fn an_edit_removes_the_texts_that_the_message_has_no_more() {
    let bare = status(json!({ "type": "discord_status", "webhook": "https://h/", "embed": { "title": "{map}" } }));
    let body = made(&bare, &GameValues::default(), &[]);
    assert_eq!((&body["content"], &body["embeds"]), (&json!(""), &json!([{ "title": "?" }])));
    assert!(body.get("username").is_none());
}

/// The lines keep the markdown of `event_format` where Discord reads markdown, and have none elsewhere. No value gets out of
/// its line or ends a code mark.
#[test]
fn lines_of_events_are_newest_first_and_escaped_for_their_place() {
    let spec = json!({
        "type": "discord_status", "webhook": "https://h/", "format": "`{map}` now:\n{events}",
        "embed": { "description": "```\n{events}\n```", "footer": "{events}" },
        "event_format": "<t:{time}:R> **{name}** joined", "events": 2,
    });
    let status = status(spec);
    let events = ["lost", "a_b `x`", "Al\n# Bo @everyone"].map(|name| json!({ "name": name }));
    let lines = lines_of(&status, &events);
    let body = made(&status, &GameValues::default(), &lines);
    let (first, second) = ("<t:1700000000:R> **Al", "<t:1700000000:R> **a");
    assert_eq!(
        body["content"],
        format!("`?` now:\n{first} \\# Bo @\u{200b}everyone** joined\n{second}\\_b \u{2cb}x\u{2cb}** joined")
    );
    let plain = format!("{first} # Bo @everyone** joined\n{second}_b `x`** joined");
    assert_eq!(body["embeds"][0]["footer"]["text"], plain);
    let code = plain.replace('@', "@\u{200b}").replace('`', "\u{2cb}");
    assert_eq!(body["embeds"][0]["description"], format!("```\n{code}\n```"));
}

#[test]
fn lines_and_texts_are_within_discords_limits() {
    let spec = json!({
        "type": "discord_status", "webhook": "https://h/", "format": "{events}", "event_format": "`{name}`", "events": 25,
    });
    let status = status(spec);
    let lines = lines_of(&status, &vec![json!({ "name": "é".repeat(5000) }); 30]);
    assert_eq!(lines.len(), 25);
    assert!(
        lines.iter().all(|line| line.markdown.chars().count() == 200 && line.markdown.ends_with("…`")),
        "{lines:?}"
    );
    let content = made(&status, &GameValues::default(), &lines)["content"].as_str().unwrap().to_owned();
    assert!(content.chars().count() <= 2000 && content.lines().count() >= 9, "{content}");
}

/// A line whose spoiler were open would hide the text up to the spoiler of the next line, and show that one.
#[test]
fn a_cut_line_hides_its_own_text_only() {
    let spec =
        json!({ "type": "discord_status", "webhook": "http://h/", "format": "{events}", "event_format": "||{name}||" });
    let status = status(spec);
    let lines = lines_of(&status, &["secret", &"*".repeat(110)].map(|name| json!({ "name": name })));
    let content = made(&status, &GameValues::default(), &lines)["content"].as_str().unwrap().to_owned();
    let (first, second) = content.split_once('\n').unwrap();
    assert_eq!((first.chars().count(), second), (199, "||secret||"));
    assert!(first.starts_with("||\\*") && first.ends_with("\\*…||"), "{first}");
}

#[test]
fn the_urls_create_and_edit_one_message_of_the_webhook() {
    for (webhook, create, edit) in [
        ("/api/webhooks/1/t", "/api/webhooks/1/t?wait=true", "/api/webhooks/1/t/messages/7"),
        ("/api/webhooks/1/t/", "/api/webhooks/1/t?wait=true", "/api/webhooks/1/t/messages/7"),
        (
            "/api/webhooks/1/t?wait=false&thread_id=5",
            "/api/webhooks/1/t?thread_id=5&wait=true",
            "/api/webhooks/1/t/messages/7?thread_id=5",
        ),
    ] {
        let url = Url::parse(&format!("https://discord.com{webhook}")).unwrap();
        assert_eq!((create_url(&url).target(), edit_url(&url, "7").target()), (create, edit));
        assert!(!edit_url(&url, "7").to_string().contains("/t/"), "{url}");
    }
}
