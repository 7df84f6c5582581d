//! Hooks as the game thread keeps them: with the Lua functions that decide the conditional ones. Game thread only.
//! `registrations.rs` says how hooks are told apart and how long they stay; this file knows how one is built.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::call::CallbackRef;
use crate::engine::registrations::{Build, Kind, Parts, Registered, Registrations};
use crate::hooks::error::SpecError;
use crate::hooks::hook::Hook;
use crate::hooks::request::Webhook;
use crate::hooks::spec::{Action, ActionKind, Spec};

/// Each hook may have a lease in Redis, which is renewed every few seconds: hence the limit.
static HOOKS: Kind = Kind { max: 4096, plural: "hooks", parse };

/// Checks the specification of a hook.
fn parse(spec: &Value, has_function: bool) -> Result<Build, SpecError> {
    let mut spec = Spec::parse(spec)?;
    // The JSON has only a mark where the function was; a table of a script may look like that mark.
    if spec.condition.is_some() && !has_function {
        return Err(SpecError::new("condition", format_args!("expected a function")));
    }
    Ok(Box::new(|parts, same| {
        let last = same.map_or(&[][..], |same| same.header().actions);
        for (action, last) in spec.actions.iter_mut().zip(last) {
            if let (ActionKind::File(log), ActionKind::File(last)) = (&mut action.kind, &last.kind) {
                log.go_on_from(last);
            }
        }
        let Parts { id, topic, fingerprint, lease } = parts;
        Registered::Hook(Arc::new(Hook { id, fingerprint, topic, spec, lease }))
    }))
}

impl Registrations {
    /// The hooks of a server that has none yet.
    pub(crate) fn hooks() -> Registrations {
        Registrations::new(&HOOKS)
    }

    /// The function that decides this hook. `None` if the attached state has none for it. An event may hold a hook that
    /// was added again meanwhile: the same fingerprint means the same decision, so the new function serves both.
    pub(crate) fn condition(&self, hook: &Hook) -> Option<CallbackRef> {
        let (known, condition) = self.known(&hook.id, &hook.topic)?;
        condition.filter(|_| known.header().fingerprint == hook.fingerprint)
    }

    /// Whether the hook is registered, with or without a function of the attached state.
    pub(super) fn is_known(&self, hook: &Hook) -> bool {
        self.known(&hook.id, &hook.topic).is_some_and(|(known, _)| known.header().fingerprint == hook.fingerprint)
    }
}

/// The webhooks among these actions: the only actions with a destination that can be closed.
pub(crate) fn webhooks(actions: &[Action]) -> impl Iterator<Item = &Webhook> {
    actions.iter().filter_map(|action| match &action.kind {
        ActionKind::Webhook(webhook) => Some(&**webhook),
        // `rt-webhooks` itself opens the destination of a status message.
        ActionKind::File(_) | ActionKind::Counter(_) | ActionKind::Leaderboard(_) | ActionKind::Status(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::registrations::{Change, Origin};

    fn counter(key: &str) -> Value {
        json!({ "type": "counter", "key": key })
    }

    fn hook(registered: &Registered) -> &Arc<Hook> {
        registered.hook().unwrap()
    }

    fn all(hooks: &Registrations) -> impl Iterator<Item = &Arc<Hook>> {
        hooks.all().map(hook)
    }

    fn ids(hooks: &Registrations) -> Vec<String> {
        all(hooks).map(|hook| String::from_utf8(hook.id.to_vec()).unwrap()).collect()
    }

    struct New {
        item: Arc<Hook>,
        function: Option<CallbackRef>,
    }

    fn add(hooks: &mut Registrations, channel: &str, id: Option<&str>, spec: &Value, condition: Option<i32>) -> New {
        let condition = condition.map(CallbackRef);
        let added = hooks.parse_and_add(channel.as_bytes(), id.map(str::as_bytes), spec, condition, &Origin::default());
        let added = added.unwrap();
        New { item: Arc::clone(hook(&added.item)), function: added.function }
    }

    #[test]
    fn the_same_id_replaces_a_hook_and_a_hook_without_an_id_gets_its_fingerprint() {
        let mut hooks = Registrations::hooks();
        let first = add(&mut hooks, "a", Some("x"), &counter("k"), Some(1));
        let second = add(&mut hooks, "a", Some("x"), &counter("k"), Some(2));
        assert_eq!(second.function, Some(CallbackRef(1)));
        assert!(Arc::ptr_eq(&first.item.lease, &second.item.lease), "the same fingerprint keeps its lease");
        let third = add(&mut hooks, "a", Some("x"), &counter("other"), None);
        assert!(!Arc::ptr_eq(&second.item.lease, &third.item.lease));
        let twin = add(&mut hooks, "a", Some("twin"), &counter("other"), None).item;
        assert!(Arc::ptr_eq(&third.item.lease, &twin.lease), "one key, one lease");
        assert_eq!(hooks.remove(None, b"twin").len(), 1);
        add(&mut hooks, "b", Some("x"), &counter("k"), None);
        let own = add(&mut hooks, "a", None, &counter("k"), None).item;
        add(&mut hooks, "a", None, &counter("k"), None);
        assert_eq!(ids(&hooks), ["x", "x", &own.fingerprint.to_string()]);
        assert_eq!((hooks.remove(None, b"x").len(), hooks.remove(None, b"x").len(), hooks.len()), (2, 0, 1));
    }

    #[test]
    fn the_same_id_on_another_channel_is_another_hook() {
        let mut hooks = Registrations::hooks();
        for channel in ["a", "b", "c"] {
            add(&mut hooks, channel, Some("x"), &counter("k"), None);
        }
        add(&mut hooks, "b", Some("xy"), &counter("k"), None);
        let channels =
            |hooks: &Registrations| all(hooks).map(|hook| hook.topic.name().to_vec()).collect::<Vec<_>>().concat();
        assert_eq!(channels(&hooks), b"abcb");
        assert_eq!((hooks.remove(Some(b"b"), b"x").len(), hooks.remove(Some(b"b"), b"x").len()), (1, 0));
        assert_eq!((hooks.remove(Some(b"z"), b"x").len(), channels(&hooks)), (0, b"acb".to_vec()));
        assert_eq!((hooks.remove(None, b"x").len(), channels(&hooks)), (2, b"b".to_vec()));
    }

    #[test]
    fn a_wrong_spec_changes_nothing() {
        let mut hooks = Registrations::hooks();
        add(&mut hooks, "a", Some("x"), &counter("k"), None);
        assert_eq!(hooks.take_changes().len(), 1);
        let wrong = json!({ "type": "counter" });
        let err = hooks.parse_and_add(b"a", Some(b"x"), &wrong, None, &Origin::default()).err().unwrap();
        assert_eq!(err.0.member, "key");
        // A table that looks like the mark of a function is no function.
        let condition = json!({ "\u{0}function": "x.lua" });
        let wrong = json!({ "type": "conditional", "condition": condition, "actions": [counter("k")] });
        let err = hooks.parse_and_add(b"a", Some(b"x"), &wrong, None, &Origin::default()).err().unwrap();
        assert_eq!(err.to_string(), "condition: expected a function");
        assert!(hooks.take_changes().is_empty() && hooks.len() == 1);
    }

    #[test]
    fn hooks_outlive_a_lua_state_and_their_functions_do_not() {
        let mut hooks = Registrations::hooks();
        let hook = add(&mut hooks, "a", Some("x"), &counter("k"), Some(1)).item;
        add(&mut hooks, "a", Some("y"), &counter("k"), None);
        assert_eq!(hooks.condition(&hook), Some(CallbackRef(1)));
        assert_eq!(hooks.detach(), [CallbackRef(1)]);
        assert_eq!((hooks.condition(&hook), hooks.len(), hooks.keeps_any()), (None, 2, true));
        add(&mut hooks, "a", Some("x"), &counter("k"), Some(2));
        assert_eq!(
            hooks.condition(&hook),
            Some(CallbackRef(2)),
            "an event that holds the old hook finds the new function"
        );
        hooks.take_changes();
        add(&mut hooks, "b", Some("y"), &counter("k"), None);
        hooks.detach();
        add(&mut hooks, "a", Some("x"), &counter("k"), Some(3));
        hooks.take_changes();
        for left in [true, false] {
            assert_eq!((hooks.drop_kept(1).len(), hooks.take_changes().len(), hooks.keeps_any()), (1, 1, left));
        }
        assert_eq!((ids(&hooks), hooks.drop_kept(1).len()), (vec!["x".to_owned()], 0));
    }

    /// A file that added a full set is loaded again and adds one hook. No old one acts any more, and they are dropped in
    /// slices, which copy nothing in the routes.
    #[test]
    fn the_hooks_of_a_file_that_is_loaded_again_are_dropped_in_slices() {
        use crate::hooks::routes::Routes;
        use crate::hooks::trie::COPIED;
        const COUNT: usize = 4000;
        const STEP: usize = 128;
        let mut hooks = Registrations::hooks();
        let origin = |load| Origin { file: "x.lua".into(), load, newest_load: load, ..Origin::default() };
        let add = |hooks: &mut Registrations, key: usize, load| {
            hooks.parse_and_add(b"a", None, &counter(&key.to_string()), None, &origin(load)).unwrap();
        };
        let mut routes = Routes::new("");
        let mut follow = |hooks: &mut Registrations| {
            let snapshot = routes.clone();
            COPIED.set(0);
            for Change { before, after } in hooks.take_changes() {
                routes.replace_hook(before.as_ref().map(hook), after.as_ref().map(hook));
            }
            drop(snapshot);
            (routes.get(false, b"a").map_or(0, |route| route.hooks.len()), COPIED.get())
        };
        (0..COUNT).for_each(|key| add(&mut hooks, key, 1));
        follow(&mut hooks);
        assert_eq!(hooks.suspend(&origin(2)), COUNT);
        add(&mut hooks, 0, 2);
        assert_eq!(follow(&mut hooks).0, 1);
        for left in (0..COUNT - 1).rev().step_by(STEP) {
            assert_eq!(hooks.end_runs(STEP).len(), STEP.min(left + 1));
            assert_eq!((follow(&mut hooks), hooks.len(), hooks.suspends_any()), ((1, 0), 1, left + 1 > STEP));
        }
        // Loaded again and again before they are dropped: not more than a full set stays.
        for load in 3..6 {
            (0..COUNT).for_each(|key| add(&mut hooks, key * load as usize, load));
            hooks.suspend(&origin(load + 1));
            hooks.end_runs(1);
        }
        assert!(hooks.end_runs(usize::MAX).len() <= HOOKS.max);
    }

    /// Each row is one `AddHook` without an id on one channel, and then the numbers of the functions whose hooks are
    /// registered afterwards; 0 stands for a hook without a function.
    #[test]
    fn registrations_of_loaded_files_stand_as_the_table_says() {
        let mut loads = crate::engine::loads::Loads::default();
        let mut hooks = Registrations::hooks();
        let mut tick_before = 0;
        for row in include_str!("../../testdata/reloads.txt").lines().filter(|row| !row.starts_with('#')) {
            let Some((given, expected)) = row.split_once('|') else { continue };
            let words: Vec<&str> = given.split_whitespace().collect();
            let [tick, file, load, function, line, spec] = words[..] else { panic!("{row}") };
            let tick: u32 = tick.parse().unwrap();
            if tick != tick_before {
                tick_before = tick;
                hooks.end_runs(9);
            }
            let number = |word: &str| word.parse::<u64>().unwrap();
            let (function, line) = (number(function), u32::try_from(number(line)).unwrap());
            let (file, includer) = file.split_once('<').unwrap_or((file, ""));
            let (includer, outermost) = includer.split_once('@').unwrap_or((includer, "0"));
            let outermost = number(outermost);
            let includers = if includer.is_empty() { String::new() } else { format!("{includer}\n") };
            let (file, includers, load) = (Arc::from(file), includers.into(), number(load));
            let (origin, is_again) =
                loads.of(Origin { file, includers, load, outermost, function, line, newest_load: 0 });
            if is_again {
                hooks.suspend(&origin);
            }
            let callback = (function > 0).then(|| CallbackRef(i32::try_from(function).unwrap()));
            // In the specification, the file's name stands for the function.
            let spec = if function > 0 { format!("{spec} {}", origin.file) } else { spec.to_owned() };
            hooks.parse_and_add(b"a", None, &counter(&spec), callback, &origin).unwrap();
            let standing = all(&hooks).map(|hook| hooks.condition(hook).map_or(0, |function| function.0));
            let standing: Vec<String> = standing.map(|function| function.to_string()).collect();
            assert_eq!(standing.join(" "), expected.trim(), "{row}");
        }
    }

    /// Callbacks add functions of two lines in turn, beside thousands that the file added while it was loaded.
    #[test]
    fn a_hook_added_by_a_callback_does_not_search_all_hooks() {
        let time_of = |count: u64| {
            let mut hooks = Registrations::hooks();
            let add = |hooks: &mut Registrations, load, function, line| {
                let origin = Origin { file: "x.lua".into(), load, function, line, newest_load: 1, ..Origin::default() };
                hooks.parse_and_add(b"a", None, &counter("k"), None, &origin).unwrap();
            };
            (1..count).for_each(|function| add(&mut hooks, 1, function, 5));
            let began = std::time::Instant::now();
            for tick in 1..3 {
                hooks.end_runs(0);
                (0..count).for_each(|function| add(&mut hooks, 0, count * tick + function, 7 + function as u32 % 2));
            }
            assert_eq!(hooks.len(), count as usize * 2 - 1);
            began.elapsed()
        };
        // Eight times the hooks take eight times the time, and 64 times if each searches all others. The machine may
        // interrupt one attempt, but not each.
        let ratios: Vec<f64> = (0..5)
            .map(|_| time_of(2000).as_secs_f64() / time_of(250).as_secs_f64())
            .take_while(|ratio| *ratio > 24.0)
            .collect();
        assert!(ratios.len() < 5, "{ratios:?}");
    }

    #[test]
    fn an_id_moves_when_its_reloaded_file_adds_it_on_another_channel() {
        let mut hooks = Registrations::hooks();
        let add = |hooks: &mut Registrations, channel: &[u8], file: &str, load| {
            let origin = Origin { file: file.into(), load, newest_load: load, ..Origin::default() };
            hooks.parse_and_add(channel, Some(b"x"), &counter("k"), None, &origin).unwrap().moved
        };
        let channels =
            |hooks: &Registrations| all(hooks).map(|hook| hook.topic.name().to_vec()).collect::<Vec<_>>().concat();
        assert_eq!(add(&mut hooks, b"a", "x.lua", 1) + add(&mut hooks, b"b", "x.lua", 1), 0, "of one load");
        assert_eq!(add(&mut hooks, b"c", "y.lua", 2) + add(&mut hooks, b"d", "", 0), 0, "of others");
        assert_eq!((add(&mut hooks, b"e", "x.lua", 3), channels(&hooks)), (2, b"cde".to_vec()));
        assert_eq!((add(&mut hooks, b"b", "x.lua", 3), channels(&hooks)), (0, b"cdeb".to_vec()));
        assert_eq!((hooks.end_runs(9).len(), channels(&hooks)), (1, b"cdeb".to_vec()));
    }

    /// Fingerprints name the leases of a fleet, so they must not depend on anything that differs between servers.
    #[test]
    fn a_script_gets_the_same_fingerprints_on_every_server() {
        let added = |start: u64| {
            let mut hooks = Registrations::hooks();
            let mut of = |function, id: Option<&[u8]>| {
                let origin = Origin {
                    file: "lua/x.lua".into(),
                    load: start,
                    function,
                    line: 3,
                    newest_load: start,
                    ..Origin::default()
                };
                hook(&hooks.parse_and_add(b"a", id, &counter("k"), None, &origin).unwrap().item).fingerprint
            };
            [of(start + 1, None), of(start + 2, None), of(start + 3, Some(b"x")), of(start + 4, Some(b"y"))]
        };
        assert_eq!(added(10), added(7000));
        let apart: std::collections::BTreeSet<_> = added(10).into_iter().collect();
        assert_eq!(apart.len(), 4);
    }

    #[test]
    fn a_reloaded_file_keeps_its_leases_and_loses_the_hooks_it_does_not_add_again() {
        let mut hooks = Registrations::hooks();
        let origin = |load| Origin { file: "x.lua".into(), load, newest_load: load, ..Origin::default() };
        let add = |hooks: &mut Registrations, key: &str, load| {
            Arc::clone(hook(&hooks.parse_and_add(b"a", None, &counter(key), None, &origin(load)).unwrap().item))
        };
        let (stays, goes) = (add(&mut hooks, "stays", 1), add(&mut hooks, "goes", 1));
        hooks.take_changes();
        let other = Origin { file: "y.lua".into(), ..origin(2) };
        let suspended = [&other, &origin(2), &origin(2)].map(|load| hooks.suspend(load));
        assert_eq!((suspended, hooks.len()), ([0, 2, 0], 0));
        let again = add(&mut hooks, "stays", 2);
        assert!(Arc::ptr_eq(&stays.lease, &again.lease));
        // The routes do not get it twice: the suspension took it out.
        let changes = hooks.take_changes();
        let known = |one: &Option<Registered>| one.as_ref().map(|one| Arc::as_ptr(hook(one)));
        let seen: Vec<_> = changes.iter().map(|change| (known(&change.before), known(&change.after))).collect();
        let [first, second, new] = [&stays, &goes, &again].map(|hook| Some(Arc::as_ptr(hook)));
        assert_eq!(seen, [(second, None), (first, None), (None, new)]);
        let gone = hooks.end_runs(9);
        assert!(gone.len() == 1 && Arc::ptr_eq(hook(&gone[0].0), &goes) && hooks.take_changes().is_empty());
        assert_eq!(hooks.len(), 1);
    }
}
