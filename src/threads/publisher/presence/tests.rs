//! Replies that no test with a real Redis makes in time: values over every bound, and answers that come after the settings
//! have changed. The clock is passed in; no thread runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::Config;
use crate::eventlog::writer::tests::double::Folder;
use crate::hooks::status::GameValues;
use crate::redis::REPLY_LIMITS;
use crate::redis::reply::{Decoder, Limits};
use crate::stats::Stats;

fn config(prefix: &str) -> Config {
    let mut config = Config::defaults("box", 27015);
    let settings = serde_json::json!({ "server": "own", "prefix": prefix });
    assert_eq!(config.apply_json("test", &settings.to_string()), []);
    config
}

/// A server whose game has told its values, at the moment `now`.
fn shared(folder: &Folder, now: Instant) -> Shared {
    let stats = Arc::new(Stats::default());
    let shared = Shared::new(config("a:"), folder.0.clone(), stats, Arc::new(AtomicBool::new(false)));
    shared.webhooks.desk.tell_game(GameValues::default(), now);
    shared
}

/// The questions among the commands that are due, and the commands as text.
fn ask(presence: &mut Presence, shared: &Shared, now: Instant) -> (Vec<PresenceRequest>, String) {
    let out = presence.ask(shared, now);
    let questions = out.sent.into_iter().filter_map(|sent| match sent {
        Sent::Presence(PresenceRequest::Write) => None,
        Sent::Presence(question) => Some(question),
        _ => None,
    });
    (questions.collect(), String::from_utf8(out.bytes).unwrap())
}

/// Answers a question with these texts.
fn answer(presence: &mut Presence, shared: &Shared, question: PresenceRequest, texts: &[&str], limits: Limits) {
    let texts: String = texts.iter().map(|text| format!("${}\r\n{text}\r\n", text.len())).collect();
    let count = texts.matches('$').count();
    let mut decoder = Decoder::new(limits);
    decoder.feed(format!("*{count}\r\n{texts}").as_bytes());
    let reply = decoder.next().unwrap().unwrap();
    assert!(presence.answered(question, reply, shared, Instant::now()).is_ok(), "{}", reply.describe());
}

/// The member of this server, and its text with this number.
fn server(name: &str, beat: u64) -> (String, String) {
    (presence::member(name, 1), presence::server_text(name, &GameValues::default(), 0, 0, beat))
}

fn news(shared: &Shared) -> usize {
    std::iter::from_fn(|| shared.notices.pop())
        .filter(|notice| matches!(notice, Notice::ServerUp { .. } | Notice::ServerDown { .. }))
        .count()
}

/// The only question of one round.
fn only(mut questions: Vec<PresenceRequest>) -> PresenceRequest {
    assert_eq!(questions.len(), 1);
    questions.remove(0)
}

#[test]
fn values_over_every_bound_leave_the_index_and_are_no_news() {
    let (folder, now) = (Folder::new(), Instant::now());
    let (shared, mut presence) = (shared(&folder, now), Presence::default());
    let own = presence::member("own", shared.boot);
    let ((other, text), (evil, evil_text)) = (server("other", 1), server("evil", 1));
    let small = Limits { bulk_bytes_max: text.len(), ..REPLY_LIMITS };
    for (round, evil_text) in [evil_text.as_str(), &"x".repeat(1000), &"x".repeat(1000)].into_iter().enumerate() {
        let now = now + BEAT * round as u32;
        let (questions, _) = ask(&mut presence, &shared, now);
        let members = if round < 2 { vec![&*own, &other, &evil] } else { vec![&*own, &other] };
        answer(&mut presence, &shared, only(questions), &members, REPLY_LIMITS);
        let (questions, _) = ask(&mut presence, &shared, now);
        let texts = if round < 2 { vec![&*text, evil_text] } else { vec![&*text] };
        answer(&mut presence, &shared, only(questions), &texts, small);
        let (questions, commands) = ask(&mut presence, &shared, now);
        assert!(questions.is_empty());
        let removed = [&other, &evil].map(|member| commands.contains("ZREM") && commands.contains(member.as_str()));
        assert_eq!(removed, [round == 1; 2], "{round}: {commands}");
        assert_eq!(shared.stats.presence_skipped.get(), if round == 0 { 0 } else { 2 });
    }
    assert_eq!(news(&shared), 0);
}

#[test]
fn a_look_at_an_earlier_prefix_is_no_news() {
    let (folder, now) = (Folder::new(), Instant::now());
    for steps_before in [0, 1] {
        let (shared, mut presence) = (shared(&folder, now), Presence::default());
        let own = presence::member("own", shared.boot);
        let ((old, old_text), (new, new_text)) = (server("old", 1), server("new", 1));
        let (questions, _) = ask(&mut presence, &shared, now);
        let mut late = only(questions);
        if steps_before == 1 {
            answer(&mut presence, &shared, late, &[&own, &old], REPLY_LIMITS);
            late = only(ask(&mut presence, &shared, now).0);
        }
        shared.reconfigure(config("b:"));
        let (questions, commands) = ask(&mut presence, &shared, now);
        assert!(questions.is_empty() && commands.contains("DEL") && commands.contains("a:rt:{servers}:server:own/"));
        let (questions, commands) = ask(&mut presence, &shared, now);
        assert!(commands.contains("b:rt:{servers}:server:own/"), "{commands}");
        let texts: [&[&str]; 2] = [&[&own, "no member"], &[&old_text]];
        answer(&mut presence, &shared, late, texts[steps_before], REPLY_LIMITS);
        answer(&mut presence, &shared, only(questions), &[&own, &new], REPLY_LIMITS);
        let (questions, commands) = ask(&mut presence, &shared, now);
        assert!(!commands.contains("ZREM"), "{commands}");
        answer(&mut presence, &shared, only(questions), &[&new_text], REPLY_LIMITS);
        assert_eq!(news(&shared), 0);
    }
}

/// Rows: a change of the settings at run time, and whether a server that went meanwhile is told.
#[test]
fn a_change_of_the_settings_hides_no_server_that_went() {
    for (change, is_told) in [
        (serde_json::json!({ "thrifty": true }), 1),
        (serde_json::json!({ "server": "renamed" }), 1),
        (serde_json::json!({ "presence_players": true }), 1),
        (serde_json::json!({ "prefix": "b:" }), 0),
    ] {
        let (folder, now) = (Folder::new(), Instant::now());
        let (shared, mut presence) = (shared(&folder, now), Presence::default());
        let own = presence::member("own", shared.boot);
        let (other, text) = server("other", 1);
        let question = only(ask(&mut presence, &shared, now).0);
        answer(&mut presence, &shared, question, &[&own, &other], REPLY_LIMITS);
        let question = only(ask(&mut presence, &shared, now).0);
        answer(&mut presence, &shared, question, &[&text], REPLY_LIMITS);
        let mut changed = config("a:");
        assert_eq!(changed.apply_json("test", &change.to_string()), []);
        shared.reconfigure(changed);
        let (_, commands) = ask(&mut presence, &shared, now);
        assert!(commands.contains("DEL") && commands.contains("ZREM"), "{commands}");
        let (questions, commands) = ask(&mut presence, &shared, now);
        assert!(commands.contains("SET"), "{commands}");
        // Its own member was taken away, as if Redis had lost all keys: so the others get the time to come back.
        answer(&mut presence, &shared, only(questions), &[], REPLY_LIMITS);
        assert_eq!(ask(&mut presence, &shared, now).1.matches("ZADD").count(), 1);
        presence.ready = None;
        let next = now + presence.interval();
        let question = only(ask(&mut presence, &shared, next).0);
        let own = presence.own.clone().unwrap();
        answer(&mut presence, &shared, question, &[&own], REPLY_LIMITS);
        let down = std::iter::from_fn(|| shared.notices.pop())
            .filter(|notice| matches!(notice, Notice::ServerDown { name } if &**name == "other"));
        assert_eq!(down.count(), is_told, "{change}");
    }
}
