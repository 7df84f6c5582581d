//! The routes: for each channel and pattern, the listeners, hooks and aggregators that want its events.
//! The game thread keeps the newest routes and changes them; the other threads read immutable snapshots. A snapshot is
//! a copy that shares every unchanged part ([`Trie`]), so the cost of a change, and of following it, does not grow with
//! the number of routes.
//! Holds no Lua reference: those stay on the game thread (`engine/listeners.rs`, `engine/hooks.rs`).
//!
//! ```text
//! channels   "p:player:kill" ──▶ Route { topic, is_listened, hooks, aggregators }
//! patterns   "p:player:*"    ──▶ Route
//! acting     "player:"       ──▶ "p:player:*", "p:player:?ill"     patterns with hooks, by their literal beginning
//! ```

use std::sync::Arc;

use crate::event::fingerprint::Fingerprint;
use crate::event::identity;
use crate::event::topic::Topic;
use crate::eventlog::path::LogPath;
use crate::hooks::aggregator::Aggregator;
use crate::hooks::hook::Hook;
use crate::hooks::lease::Lease;
use crate::hooks::spec::{ActionKind, Scope};
use crate::hooks::trie::Trie;

/// The receivers of one topic's events. It exists as long as it has at least one.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) topic: Arc<Topic>,
    /// Lua listens: the events go to the inbox too.
    pub(crate) is_listened: bool,
    /// All its listeners read on in the stream after a gap, and report what they do not find there.
    pub(crate) recovers: bool,
    /// In order of registration.
    pub(crate) hooks: Vec<Arc<Hook>>,
    pub(crate) aggregators: Vec<Arc<Aggregator>>,
}

impl Route {
    fn new(topic: Arc<Topic>) -> Route {
        Route { topic, is_listened: false, recovers: false, hooks: Vec::new(), aggregators: Vec::new() }
    }

    /// True if a hook or an aggregator wants its events.
    pub(crate) fn is_acted_on(&self) -> bool {
        !(self.hooks.is_empty() && self.aggregators.is_empty())
    }
}

/// The hooks and aggregators that act on the events of one channel, through its own route and all matching patterns.
#[derive(Default)]
pub(crate) struct Matched {
    routes: Vec<Arc<Route>>,
    /// The list of fingerprints for an event's identity: of those hooks that act for the fleet when this server sends
    /// the event. Receivers do not act for them again.
    pub(crate) acted: Box<[u8]>,
}

impl Matched {
    /// True if nothing acts on the channel.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The hooks: those of the channel itself first.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = &Arc<Hook>> {
        self.routes.iter().flat_map(|route| &route.hooks)
    }

    /// The aggregators, in the same order.
    pub(crate) fn aggregators(&self) -> impl Iterator<Item = &Arc<Aggregator>> {
        self.routes.iter().flat_map(|route| &route.aggregators)
    }
}

/// A lease that hooks or aggregators of one fingerprint use, with their number. `rt-publisher` renews it while it has
/// users.
#[derive(Clone)]
struct LeaseUse {
    fingerprint: Fingerprint,
    lease: Arc<Lease>,
    users: usize,
}

/// A value in one of the tries below. One type for all of them keeps the trie's code in the library once.
#[derive(Clone)]
enum Kept {
    Route(Arc<Route>),
    /// A set of patterns.
    Patterns(Trie<Kept>),
    /// A member of such a set.
    Pattern,
    Lease(LeaseUse),
    Aggregator(Arc<Aggregator>),
    Status(Arc<Hook>),
}

impl Kept {
    fn route(&self) -> Option<&Arc<Route>> {
        if let Kept::Route(route) = self { Some(route) } else { None }
    }

    fn patterns(&self) -> Option<&Trie<Kept>> {
        if let Kept::Patterns(patterns) = self { Some(patterns) } else { None }
    }

    fn lease(&self) -> Option<&LeaseUse> {
        if let Kept::Lease(lease) = self { Some(lease) } else { None }
    }

    fn aggregator(&self) -> Option<&Arc<Aggregator>> {
        if let Kept::Aggregator(aggregator) = self { Some(aggregator) } else { None }
    }
}

/// All routes at one moment.
#[derive(Clone, Default)]
pub struct Routes {
    /// By name on the wire, as a `message` frame names it.
    channels: Trie<Kept>,
    /// By name on the wire, as a `pmessage` frame names its pattern.
    patterns: Trie<Kept>,
    /// The patterns with hooks or aggregators: by [`Topic::literal`], then by name on the wire. [`Routes::matched`]
    /// looks only at patterns whose literal begins the channel, not at all of them.
    acting: Trie<Kept>,
    /// The lengths of the literals in `acting`, ascending, and the number of literals of each: a channel is cut at these
    /// lengths only.
    literals: Arc<Vec<(usize, usize)>>,
    /// The prefix of every name on the wire.
    prefix: Arc<str>,
    /// By fingerprint.
    leases: Trie<Kept>,
    /// By address: two aggregators may have one fingerprint.
    aggregators: Trie<Kept>,
    /// The hooks with a status message, by address.
    statuses: Trie<Kept>,
}

impl Routes {
    /// No routes yet.
    pub(crate) fn new(prefix: &str) -> Routes {
        Routes { prefix: prefix.into(), ..Routes::default() }
    }

    /// Lua begins to listen to this topic, or stops.
    pub(crate) fn listen(&mut self, topic: &Arc<Topic>, wanted: bool) {
        self.change(topic, &mut |route| route.is_listened = wanted);
    }

    /// Sets whether its listeners report gaps themselves. Returns whether they did before, and whether they do now: never
    /// for a topic with hooks or aggregators, which read no stream.
    pub(crate) fn recovers(&mut self, topic: &Arc<Topic>, recovers: bool) -> (bool, bool) {
        #[cfg(test)]
        crate::hooks::trie::VISITED.set(crate::hooks::trie::VISITED.get() + 1);
        let wire = topic.wire_name(&self.prefix);
        let Some(route) = self.get(topic.is_pattern(), &wire) else { return (false, false) };
        let (did, does) = (route.recovers, recovers && !route.is_acted_on());
        // Mostly nothing changes, and looking is cheap.
        if did != does {
            self.change(topic, &mut |route| route.recovers = does);
        }
        (did, does)
    }

    /// Replaces one hook by another of the same topic. `before` is `None` for an addition, `after` for a removal.
    pub(crate) fn replace_hook(&mut self, before: Option<&Arc<Hook>>, after: Option<&Arc<Hook>>) {
        let Some(hook) = after.or(before) else { return };
        self.change(&hook.topic, &mut |route| replace(&mut route.hooks, before, after));
        // The new hook goes first: a lease that both use keeps at least one user, so this server does not free it.
        for (hook, wanted) in [(after, true), (before, false)] {
            let Some(hook) = hook else { continue };
            if hook.wants_lease() {
                self.count_lease_use(hook.fingerprint, &hook.lease, wanted);
            }
            if hook.status().is_some() {
                let address = Arc::as_ptr(hook).addr().to_ne_bytes();
                self.statuses.update(&address, &mut |known| *known = wanted.then(|| Kept::Status(Arc::clone(hook))));
            }
        }
    }

    /// Replaces one aggregator by another, as [`Routes::replace_hook`] does for hooks.
    pub(crate) fn replace_aggregator(&mut self, before: Option<&Arc<Aggregator>>, after: Option<&Arc<Aggregator>>) {
        let Some(aggregator) = after.or(before) else { return };
        self.change(&aggregator.topic, &mut |route| replace(&mut route.aggregators, before, after));
        for (aggregator, wanted) in [(after, true), (before, false)] {
            let Some(aggregator) = aggregator else { continue };
            self.count_lease_use(aggregator.fingerprint, &aggregator.lease, wanted);
            let address = Arc::as_ptr(aggregator).addr().to_ne_bytes();
            self.aggregators.update(&address, &mut |known| {
                *known = wanted.then(|| Kept::Aggregator(Arc::clone(aggregator)));
            });
        }
    }

    /// Adds one user of a lease, or removes one. A lease without users is not asked for any more.
    fn count_lease_use(&mut self, fingerprint: Fingerprint, lease: &Arc<Lease>, wanted: bool) {
        self.leases.update(&fingerprint.to_bytes(), &mut |known| {
            let users = known.as_ref().and_then(Kept::lease).map_or(0, |known| known.users);
            let users = if wanted { users + 1 } else { users.saturating_sub(1) };
            let used = || Kept::Lease(LeaseUse { fingerprint, lease: Arc::clone(lease), users });
            *known = (users > 0).then(used);
        });
    }

    /// Changes one route. Creates it before the change and removes it afterwards if it has no receivers.
    fn change(&mut self, topic: &Arc<Topic>, change: &mut dyn FnMut(&mut Route)) {
        let wire = topic.wire_name(&self.prefix);
        let space = if topic.is_pattern() { &mut self.patterns } else { &mut self.channels };
        let (mut acted, mut acts) = (false, false);
        space.update(&wire, &mut |known| {
            let mut route = match known.take() {
                Some(Kept::Route(route)) => route,
                _ => Arc::new(Route::new(Arc::clone(topic))),
            };
            acted = route.is_acted_on();
            change(Arc::make_mut(&mut route));
            acts = route.is_acted_on();
            *known = (acts || route.is_listened).then_some(Kept::Route(route));
        });
        if topic.is_pattern() && acted != acts {
            self.index(topic, &wire, acts);
        }
    }

    /// Adds a pattern to `acting` and `literals`, or removes it.
    fn index(&mut self, topic: &Topic, wire: &[u8], acts: bool) {
        let mut grown = 0;
        self.acting.update(topic.literal(), &mut |known| {
            let was_known = known.is_some();
            let mut patterns = match known.take() {
                Some(Kept::Patterns(patterns)) => patterns,
                _ => Trie::default(),
            };
            patterns.update(wire, &mut |known| *known = acts.then_some(Kept::Pattern));
            *known = (!patterns.is_empty()).then_some(Kept::Patterns(patterns));
            grown = i8::from(known.is_some()) - i8::from(was_known);
        });
        if grown == 0 {
            return;
        }
        let (literals, length) = (Arc::make_mut(&mut self.literals), topic.literal().len());
        let at = literals.partition_point(|(known, _)| *known < length);
        match literals.get_mut(at).filter(|(known, _)| *known == length) {
            Some((_, count)) if grown > 0 => *count += 1,
            Some((_, count)) if *count > 1 => *count -= 1,
            Some(_) => _ = literals.remove(at),
            None if grown > 0 => literals.insert(at, (length, 1)),
            None => {}
        }
    }

    /// All aggregators, in no order.
    pub(crate) fn aggregators(&self) -> impl Iterator<Item = &Arc<Aggregator>> {
        self.aggregators.values().filter_map(Kept::aggregator)
    }

    /// The hooks with a status message, in no order.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = &Arc<Hook>> {
        self.statuses.values().filter_map(|kept| if let Kept::Status(hook) = kept { Some(hook) } else { None })
    }

    /// The route of a `message` frame on this channel, or of a `pmessage` frame for this pattern.
    pub(crate) fn get(&self, pattern: bool, wire: &[u8]) -> Option<&Route> {
        self.space(pattern).get(wire)?.route().map(|route| &**route)
    }

    fn space(&self, pattern: bool) -> &Trie<Kept> {
        if pattern { &self.patterns } else { &self.channels }
    }

    /// The hooks and aggregators that act on an event of `channel`, which has no prefix. For events of this server,
    /// which hooks act on without Redis. Looks only at patterns whose literal begins the channel.
    pub(crate) fn matched(&self, channel: &[u8]) -> Matched {
        let wire = [self.prefix.as_bytes(), channel].concat();
        let exact = self.channels.get(&wire).and_then(Kept::route).filter(|route| route.is_acted_on());
        let literals = self.literals.iter().map_while(|(length, _)| channel.get(..*length));
        let patterns = literals.filter_map(|literal| self.acting.get(literal)?.patterns()).flat_map(Trie::keys);
        let patterns = patterns.filter_map(|wire| self.patterns.get(wire)?.route());
        let patterns = patterns.filter(|route| {
            #[cfg(test)]
            crate::hooks::trie::VISITED.set(crate::hooks::trie::VISITED.get() + 1);
            route.topic.covers(channel)
        });
        let routes: Vec<_> = exact.into_iter().chain(patterns).cloned().collect();
        let hooks = routes.iter().flat_map(|route| &route.hooks);
        let fleet = hooks.filter(|hook| hook.has(Scope::Fleet)).map(|hook| hook.fingerprint);
        Matched { acted: identity::acted(fleet), routes }
    }

    /// All leases that this server asks for.
    pub fn leases(&self) -> Vec<(Fingerprint, Arc<Lease>)> {
        let wanted = self.leases.values().filter_map(Kept::lease);
        wanted.map(|wanted| (wanted.fingerprint, Arc::clone(&wanted.lease))).collect()
    }

    /// The lease of this fingerprint, if it has a user.
    pub(crate) fn lease(&self, fingerprint: Fingerprint) -> Option<&Arc<Lease>> {
        self.leases.get(&fingerprint.to_bytes())?.lease().map(|wanted| &wanted.lease)
    }

    /// Visits the fingerprint of every lease that may have users in one snapshot and not in the other. The cost grows
    /// with the changes between both, not with their size.
    pub(crate) fn differing_leases(&self, older: &Routes, mut visit: impl FnMut(Fingerprint)) {
        let visit = &mut |_: &[u8], wanted: &Kept| _ = wanted.lease().map(|wanted| visit(wanted.fingerprint));
        self.leases.differing(&older.leases, visit);
    }

    /// A channel on the wire without the prefix, as scripts name it.
    pub(crate) fn unprefixed<'a>(&self, wire: &'a [u8]) -> &'a [u8] {
        wire.strip_prefix(self.prefix.as_bytes()).unwrap_or(wire)
    }

    /// Visits every name on the wire that may have a route in one snapshot and not in the other, some of them twice.
    /// The cost grows with the changes between both, not with their size.
    pub(crate) fn differing(&self, older: &Routes, pattern: bool, mut visit: impl FnMut(&[u8])) {
        self.space(pattern).differing(older.space(pattern), &mut |wire, _| visit(wire));
    }

    /// Whether a hook or an aggregator writes this event log, or may write it. Visits every action.
    pub(crate) fn may_write(&self, log: &LogPath) -> bool {
        let mut routes = self.channels.values().chain(self.patterns.values()).filter_map(Kept::route);
        routes.any(|route| {
            #[cfg(test)]
            crate::hooks::trie::VISITED.set(crate::hooks::trie::VISITED.get() + 1);
            let of_hooks = route.hooks.iter().flat_map(|hook| &hook.spec.actions);
            let mut actions = of_hooks.chain(route.aggregators.iter().flat_map(|aggregator| &aggregator.spec.actions));
            actions.any(|action| matches!(&action.kind, ActionKind::File(file) if file.may_write(log)))
        })
    }

    /// The prefix of every name on the wire.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }
}

/// Puts `after` at the position of `before`, else at the end: a hook that is added again keeps its turn. Without
/// `after`, removes `before`.
fn replace<T>(list: &mut Vec<Arc<T>>, before: Option<&Arc<T>>, after: Option<&Arc<T>>) {
    let at = before.and_then(|before| list.iter().rposition(|known| Arc::ptr_eq(known, before)));
    match (at.and_then(|at| list.get_mut(at)), after) {
        (Some(place), Some(after)) => *place = Arc::clone(after),
        (Some(_), None) => _ = at.map(|at| list.remove(at)),
        (None, _) => list.extend(after.cloned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// name | is it a pattern | prefix | name on the wire
    const ROWS: &[(&str, bool, &str, &str)] = &[
        ("player:death", false, "", "player:death"),
        ("player:death", false, "test:", "test:player:death"),
        ("player:*", true, "test:", "test:player:*"),
        ("a?c", true, "", "a?c"),
        ("a[bc]", true, "", "a[bc]"),
        ("a]b\\c", false, "", "a]b\\c"),
        ("*", true, "[x]*?\\", "\\[x\\]\\*\\?\\\\*"),
        ("exact", false, "[x]*", "[x]*exact"),
    ];

    #[test]
    fn a_name_on_the_wire_has_the_prefix_literally() {
        for (name, pattern, prefix, wire) in ROWS {
            let topic = Topic::new(name.as_bytes());
            assert_eq!(topic.is_pattern(), *pattern, "{name}");
            assert_eq!(topic.wire_name(prefix), wire.as_bytes(), "{name}");
        }
    }

    fn topic(name: &str) -> Arc<Topic> {
        Arc::new(Topic::new(name.as_bytes()))
    }

    fn hook_of(channel: &str, spec: &serde_json::Value) -> Arc<Hook> {
        Arc::new(Hook {
            id: channel.as_bytes().into(),
            fingerprint: Fingerprint::of(channel.as_bytes(), spec),
            topic: topic(channel),
            spec: crate::hooks::spec::Spec::parse(spec).unwrap(),
            lease: Arc::default(),
        })
    }

    fn hook(channel: &str) -> Arc<Hook> {
        hook_of(channel, &serde_json::json!({ "type": "file", "path": "x.log" }))
    }

    fn ids(routes: &Routes, channel: &str) -> Vec<String> {
        let matched = routes.matched(channel.as_bytes());
        let mut found: Vec<_> = matched.hooks().map(|hook| String::from_utf8_lossy(&hook.id).into_owned()).collect();
        found.sort();
        found
    }

    #[test]
    fn channels_and_patterns_have_separate_routes() {
        let mut routes = Routes::new("p:");
        let (exact, pattern) = (topic("a"), topic("a*"));
        routes.listen(&exact, true);
        routes.listen(&pattern, true);
        assert!(routes.get(false, b"p:a").is_some() && routes.get(true, b"p:a").is_none());
        assert!(routes.get(true, b"p:a*").is_some() && routes.get(false, b"p:a*").is_none());
        assert_eq!(routes.len(), 2);
        assert_eq!((routes.unprefixed(b"p:a"), routes.unprefixed(b"q:a")), (b"a".as_slice(), b"q:a".as_slice()));
        let snapshot = routes.clone();
        routes.listen(&exact, false);
        assert!(routes.get(false, b"p:a").is_none() && snapshot.get(false, b"p:a").is_some());
    }

    #[test]
    fn an_event_matches_the_hooks_of_its_channel_and_patterns() {
        let mut routes = Routes::new("p:");
        routes.listen(&topic("a:b"), true);
        let names = ["a:b", "a:*", "*", "b:*", "a:b", "a?[b]", "\\a*", "a:b*", "a:bc*"];
        let hooks = names.map(hook);
        hooks.iter().for_each(|hook| routes.replace_hook(None, Some(hook)));
        assert_eq!(ids(&routes, "a:b"), ["*", "\\a*", "a:*", "a:b", "a:b", "a:b*", "a?[b]"]);
        assert_eq!(ids(&routes, "c"), ["*"]);
        let route = routes.get(false, b"p:a:b").unwrap();
        assert!(route.is_listened && route.hooks.len() == 2);
        assert!(!routes.get(true, b"p:*").unwrap().is_listened);
        // Actions of scope `each` need no lease.
        assert!(routes.leases().is_empty());
        // A replacement takes the position of the old hook. The route goes with its last hook.
        let other = hook("a:b");
        routes.replace_hook(Some(&hooks[0]), Some(&other));
        assert!(Arc::ptr_eq(&routes.get(false, b"p:a:b").unwrap().hooks[0], &other));
        for hook in hooks.iter().skip(1).chain([&other]) {
            routes.replace_hook(Some(hook), None);
        }
        assert_eq!((routes.len(), routes.matched(b"a:b").is_empty()), (1, true));
        assert!(routes.acting.is_empty() && routes.literals.is_empty());
    }

    #[test]
    fn a_lease_is_asked_for_until_its_last_hook_is_removed() {
        let mut routes = Routes::new("");
        let counter = serde_json::json!({ "type": "counter", "key": "k" });
        let (one, twin) = (hook_of("a", &counter), hook_of("a", &counter));
        routes.replace_hook(None, Some(&one));
        routes.replace_hook(None, Some(&twin));
        let before = routes.clone();
        routes.replace_hook(Some(&one), Some(&hook_of("a", &counter)));
        routes.replace_hook(Some(&twin), None);
        assert!(routes.lease(one.fingerprint).is_some() && routes.leases().len() == 1);
        let last = Arc::clone(&routes.get(false, b"a").unwrap().hooks[0]);
        routes.replace_hook(Some(&last), None);
        assert!(routes.leases().is_empty() && before.leases().len() == 1);
        let mut named = Vec::new();
        routes.differing_leases(&before, |fingerprint| named.push(fingerprint));
        assert_eq!(named, [one.fingerprint]);
    }

    /// Counts the nodes that one change copies and the entries that its readers visit, among few routes and many.
    #[test]
    fn the_cost_of_a_change_does_not_grow_with_the_routes() {
        use crate::hooks::trie::{COPIED, VISITED};
        let cost = |channels: usize, hooks: usize| {
            let mut routes = Routes::new("p:");
            (0..channels).for_each(|number| routes.listen(&topic(&format!("channel:{number}")), true));
            for number in 0..hooks {
                let name = format!("hooked:{number}{}", if number % 2 == 0 { "" } else { ":*" });
                routes.replace_hook(None, Some(&hook(&name)));
            }
            let snapshot = routes.clone();
            COPIED.set(0);
            VISITED.set(0);
            routes.listen(&topic("new"), true);
            let added = hook("new:*");
            routes.replace_hook(None, Some(&added));
            let mut named = 0;
            routes.differing(&snapshot, false, |_| named += 1);
            routes.differing(&snapshot, true, |_| named += 1);
            routes.differing_leases(&snapshot, |_| named += 1);
            assert_eq!(ids(&routes, "new:one"), ["new:*"]);
            routes.replace_hook(Some(&added), None);
            (COPIED.get(), VISITED.get())
        };
        let (few, many) = (cost(100, 40), cost(10_000, 4000));
        assert!(many.0 <= few.0 + 8 && many.0 <= 24, "nodes copied: {} with few, {} with many", few.0, many.0);
        // A leaf has up to eight entries, and the random key of the hash decides how many a reader meets.
        assert!(many.1 <= few.1 + 64, "entries visited: {} with few, {} with many", few.1, many.1);
    }
}
