//! The hooks, or the aggregators, of this process in order of registration, with their Lua functions of the attached
//! state. Game thread only. Owns the functions and hands each back exactly once, to be released.
//! Registrations outlive a Lua state: they act on through a map change, and those that the new state does not add again
//! are dropped when the grace period is over.
//!
//! A registration is in one of three states ([`Standing`]):
//!
//! ```text
//!             add                    its file is loaded again
//!  (new) ─────────────▶ Active ────────────────────────────────▶ Suspended ── end_runs ──▶ (gone)
//!                       │    ▲  ◀──────── added again ──────────────┘ ▲
//!      the state ends   ▼    │ added again                            │
//!                       Kept ┴───────── its file is loaded again ─────┘
//!                         └───── drop_kept ─────▶ (gone)
//!  acts:                Active, Kept                             not Suspended
//! ```
//!
//! Identity. A registration with an id is identified by id and channel, and stays until a script removes it; but when
//! its file is loaded again and adds the id on another channel, it moves there. A registration without an id gets its
//! fingerprint as id. That covers the channel, the specification, the file that adds the function, and the function's
//! place among those that one run of the file adds with the same channel and specification. So the rounds of a loop
//! stay apart, and a file that is loaded again finds its own registrations. Those that it does not add again are
//! suspended by the first registration of the new load, and dropped from the next tick on, some in each tick. What two
//! files add alike in one tick, without a function, is one registration, and stays until neither adds it.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::call::CallbackRef;
use crate::engine::registry::Registry;
use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::aggregator::Aggregator;
use crate::hooks::error::SpecError;
use crate::hooks::hook::Hook;
use crate::hooks::lease::Lease;
use crate::hooks::spec::Action;
use crate::sorted::Sorted;

/// A hook or an aggregator.
#[derive(Clone)]
pub(crate) enum Registered {
    Hook(Arc<Hook>),
    Aggregator(Arc<Aggregator>),
}

impl Registered {
    /// The members that hooks and aggregators have in common.
    pub(crate) fn header(&self) -> Header<'_> {
        match self {
            Registered::Hook(hook) => {
                let Hook { id, fingerprint, topic, spec, .. } = &**hook;
                Header { id, topic, fingerprint: *fingerprint, actions: &spec.actions }
            }
            Registered::Aggregator(aggregator) => {
                let Aggregator { id, fingerprint, topic, spec, .. } = &**aggregator;
                Header { id, topic, fingerprint: *fingerprint, actions: &spec.actions }
            }
        }
    }

    pub(crate) fn hook(&self) -> Option<&Arc<Hook>> {
        match self {
            Registered::Hook(hook) => Some(hook),
            Registered::Aggregator(_) => None,
        }
    }

    pub(crate) fn aggregator(&self) -> Option<&Arc<Aggregator>> {
        match self {
            Registered::Hook(_) => None,
            Registered::Aggregator(aggregator) => Some(aggregator),
        }
    }

    /// Whether both are the same registration in memory.
    fn is(&self, other: &Registered) -> bool {
        std::ptr::eq(self.header().id, other.header().id)
    }
}

/// The difference between hooks and aggregators: everything that this file needs to know of it.
pub(crate) struct Kind {
    /// Registrations of this kind that one server may have.
    pub(crate) max: usize,
    /// The kind's name for the error at `max`.
    pub(crate) plural: &'static str,
    /// Checks a specification completely. A function is no part of the JSON, so it is checked beside it.
    pub(crate) parse: fn(spec: &Value, has_function: bool) -> Result<Build, SpecError>,
}

/// Builds a registration from its checked specification. The last argument is the registration that it replaces, if
/// both have one fingerprint.
pub(crate) type Build = Box<dyn FnOnce(Parts, Option<&Registered>) -> Registered>;

/// The common members of a registration, borrowed.
pub(crate) struct Header<'a> {
    pub(crate) id: &'a Arc<[u8]>,
    pub(crate) topic: &'a Arc<Topic>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) actions: &'a [Action],
}

/// The common members of a registration that is about to be built.
pub(crate) struct Parts {
    pub(crate) id: Arc<[u8]>,
    pub(crate) topic: Arc<Topic>,
    pub(crate) fingerprint: Fingerprint,
    /// Registrations of one fingerprint share one lease: it is one key in Redis.
    pub(crate) lease: Arc<Lease>,
}

/// The script that registers something. The default stands for an unknown script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The file that is being loaded, else the file of the function.
    pub(crate) file: Arc<str>,
    /// The files whose loading includes this one, innermost first, each followed by a line end.
    pub(crate) includers: Arc<str>,
    /// The number of this load of the file; 0 if no file is being loaded and a timer or another callback registers.
    pub(crate) load: u64,
    /// The number of the load that includes this one, the outermost if there are several; 0: no file includes it.
    pub(crate) outermost: u64,
    /// The number of the Lua function, and the line it begins in. 0: there is no function.
    pub(crate) function: u64,
    pub(crate) line: u32,
    /// The newest load of the file; the engine sets it (`loads.rs`).
    pub(crate) newest_load: u64,
}

impl Origin {
    /// Whether a registration without an id belongs to one load of a file.
    pub(crate) fn is_file_load(&self) -> bool {
        // Code from a console command or from a string has a name, too, but no file that could be loaded again.
        self.load != 0 && (self.file.ends_with(".lua") || self.file.contains('/'))
    }

    /// This origin in the Lua state of this number. Each state numbers its loads anew, so the state's number is part of
    /// a load's.
    pub(super) fn in_state(self, state: u64) -> Origin {
        let [load, outermost] = [self.load, self.outermost].map(|load| if load == 0 { 0 } else { state << 40 | load });
        Origin { load, outermost, ..self }
    }

    /// Whether this load of a file replaces the load `known`. A file that two others include is loaded once for each,
    /// and each load replaces its own. A load of the file alone, or from further out, replaces all of them. A file that
    /// one load of another includes several times is loaded for each time, and these loads stand side by side.
    fn replaces(&self, known: &Origin) -> bool {
        let (new, old) = (&*self.includers, &*known.includers);
        let is_same_run = self.outermost != 0 && self.outermost == known.outermost;
        self.file == known.file && !is_same_run && (new.starts_with(old) || old.starts_with(new))
    }

    /// The number of the run of a script: all loads of files that one load includes are one run.
    fn run(&self) -> u64 {
        if self.outermost == 0 { self.load } else { self.outermost }
    }
}

/// Further files of one registration that are remembered, so that memory stays bounded.
const OTHERS_MAX: usize = 8;

struct Entry {
    item: Registered,
    function: Option<CallbackRef>,
    origin: Origin,
    /// Other loads of files that added the same, the newest first: it stays when the file of `origin` adds it no more.
    others: Vec<Origin>,
    /// The tick in which a file last added it or gave it up to another one ([`Registrations::tick`]).
    tick: u64,
    /// The entry is suspended when its file is loaded again.
    follows_file: bool,
    standing: Standing,
}

impl Entry {
    /// The loads that still add this registration when the one of `origin` adds it, too.
    fn others_beside(&self, origin: &Origin) -> Vec<Origin> {
        let followed = self.follows_file.then_some(&self.origin).into_iter().chain(&self.others);
        // A file that one run loads several times counts once.
        let is_same = |known: &Origin| known.file == origin.file && known.includers == origin.includers;
        followed.filter(|known| !is_same(known) && !origin.replaces(known)).take(OTHERS_MAX).cloned().collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The attached state added it. It acts.
    Active,
    /// The previous state added it. It acts.
    Kept,
    /// Its file is being loaded again and has not added it yet. It does not act.
    Suspended,
}

/// A change for the routes: `after` takes the place of `before`.
pub(crate) struct Change {
    pub(crate) before: Option<Registered>,
    pub(crate) after: Option<Registered>,
}

impl Change {
    /// The topic, which is the same on both sides.
    pub(crate) fn topic(&self) -> Option<&Arc<Topic>> {
        self.after.as_ref().or(self.before.as_ref()).map(|item| item.header().topic)
    }
}

/// The result of a registration.
pub(crate) struct Added {
    pub(crate) item: Registered,
    /// The function that the same id on the same channel had before; to be released.
    pub(crate) function: Option<CallbackRef>,
    /// The registration that the same id had before, if it was a different one.
    pub(crate) replaced: Option<Registered>,
    /// The new function took the place of another one, and no load of a file explains it: likely a mistake.
    pub(crate) displaced: bool,
    /// Registrations of the same id on other channels that an earlier load of the file had added. They are suspended.
    pub(crate) moved: usize,
}

/// A removed registration and its function, which is to be released.
pub(crate) type Removed = (Registered, Option<CallbackRef>);

/// The arguments of a registration.
struct Given<'a> {
    channel: &'a [u8],
    id: Option<&'a [u8]>,
    /// The fingerprint of channel and specification. A function counts in it as its file's name only.
    fingerprint: Fingerprint,
    origin: &'a Origin,
    function: Option<CallbackRef>,
}

/// The places that one run of a script has given to the functions of one channel and specification.
#[derive(Default)]
struct Run {
    /// [`Origin::run`].
    number: u64,
    /// The first free place of the functions that are added while their file is loaded, and of those added later.
    next: u32,
    next_later: u32,
    /// Lines whose functions have no free place from the load of the file any more. Without this memory a callback that
    /// adds thousands of hooks would search all places each time.
    no_more_of: Sorted<u32, ()>,
    /// By the function's number.
    places: Sorted<u64, Fingerprint>,
}

/// All registrations of one type.
pub(crate) struct Registrations {
    kind: &'static Kind,
    /// By [`key`].
    entries: Registry<Entry>,
    /// The newest serial.
    serial: u64,
    /// The lease of each fingerprint, and how many registrations use it.
    leases: Sorted<Fingerprint, (Arc<Lease>, usize)>,
    /// The runs of this tick, by the fingerprint without the place.
    runs: Sorted<Fingerprint, Run>,
    /// The number of this tick.
    tick: u64,
    /// Entries that are kept, and entries that are suspended.
    kept: usize,
    suspended: usize,
    changes: Vec<Change>,
}

impl Registrations {
    /// None of this kind yet.
    pub(super) fn new(kind: &'static Kind) -> Registrations {
        Registrations {
            kind,
            entries: Registry::default(),
            serial: 0,
            leases: Sorted::default(),
            runs: Sorted::default(),
            tick: 0,
            kept: 0,
            suspended: 0,
            changes: Vec::new(),
        }
    }

    /// Checks a specification completely.
    pub(crate) fn parse(&self, spec: &Value, has_function: bool) -> Result<Build, SpecError> {
        (self.kind.parse)(spec, has_function)
    }

    /// Registers a specification that [`Registrations::parse`] checked. The same id on the same channel is replaced in
    /// its place of the order. An error changes nothing.
    pub(crate) fn add_spec(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        build: Build,
        function: Option<CallbackRef>,
        origin: &Origin,
    ) -> Result<Added, SpecError> {
        let given = Given { channel, id, fingerprint: Fingerprint::of(channel, spec), origin, function };
        self.add(&given, build)
            .ok_or_else(|| SpecError::new("", format_args!("there are {} {} already", self.kind.max, self.kind.plural)))
    }

    /// [`Registrations::parse`] and [`Registrations::add_spec`].
    #[cfg(test)]
    pub(crate) fn parse_and_add(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
        origin: &Origin,
    ) -> Result<Added, SpecError> {
        let build = self.parse(spec, function.is_some())?;
        self.add_spec(channel, id, spec, build, function, origin)
    }

    /// `None`: the server has [`Kind::max`] already.
    fn add(&mut self, given: &Given<'_>, build: Build) -> Option<Added> {
        let Given { channel, id, origin, function, .. } = *given;
        let fingerprint = match id {
            None => self.place(given),
            // Ids are the same on every server of a fleet, so they tell two functions of one file apart.
            Some(id) if origin.function != 0 => given.fingerprint.with(id),
            Some(_) => given.fingerprint,
        };
        let id_or_own: Arc<[u8]> = id.map_or_else(|| fingerprint.to_string().into_bytes().into(), Arc::from);
        let key = key(&id_or_own, channel);
        let is_acting = self.entries.get(&key).is_some_and(|entry| entry.standing != Standing::Suspended);
        if !is_acting && self.len() >= self.kind.max {
            return None;
        }
        // A suspended registration that is added again goes to the end of the order: the routes have lost it.
        let old_serial = self.entries.serial(&key).filter(|_| is_acting);
        let before = self.entries.remove(&key);
        before.iter().for_each(|before| self.uncount(before.standing));
        let (lease, users) = self.leases.remove(&fingerprint).unwrap_or_default();
        self.leases.set(fingerprint, (Arc::clone(&lease), users + 1));
        let parts = Parts { id: id_or_own, topic: Arc::new(Topic::new(channel)), fingerprint, lease };
        let same = before.as_ref().map(|before| &before.item).filter(|item| item.header().fingerprint == fingerprint);
        let item = build(parts, same);
        // After the new one has taken it: a lease that both use must not be forgotten in between.
        before.iter().for_each(|before| self.give_lease_back(before.item.header().fingerprint));
        let serial = old_serial.unwrap_or_else(|| {
            self.serial += 1;
            self.serial
        });
        let tick = self.tick;
        // A file that adds in a later tick what another has added was given the hook: the other may not even exist any more.
        let is_shared = |before: &&Entry| {
            let is_beside = before.tick == tick || !before.others.is_empty();
            id.is_none() && origin.function == 0 && before.standing == Standing::Active && is_beside
        };
        let others = before.as_ref().filter(is_shared).map_or_else(Vec::new, |before| before.others_beside(origin));
        let entry = Entry {
            item: item.clone(),
            function,
            origin: origin.clone(),
            others,
            tick,
            follows_file: id.is_none() && origin.is_file_load(),
            standing: Standing::Active,
        };
        self.entries.put(&key, serial, entry);
        let displaced = before.as_ref().is_some_and(|before| {
            id.is_none() && before.standing == Standing::Active && is_other_function(&before.origin, origin)
        });
        let (before, function) = before.map_or((None, None), |entry| (Some(entry.item), entry.function));
        let routed = before.clone().filter(|_| is_acting);
        if !routed.as_ref().is_some_and(|routed| routed.is(&item)) {
            self.changes.push(Change { before: routed, after: Some(item.clone()) });
        }
        let replaced = before.filter(|before| !before.is(&item));
        let can_move = id.is_some() && origin.is_file_load();
        let moved = if can_move { self.suspend_moved(channel, item.header().id, origin) } else { 0 };
        Some(Added { item, function, replaced, displaced, moved })
    }

    /// The fingerprint of a registration without an id. There are two series of places, each counted from 0: for
    /// functions that a file adds while it is loaded, and for functions that its callbacks add later. A function gets
    /// the first place that this run of the script has not given away and that no other function of the same load has.
    fn place(&mut self, given: &Given<'_>) -> Fingerprint {
        let Given { channel, fingerprint, origin, .. } = *given;
        if origin.function == 0 {
            return fingerprint;
        }
        let Registrations { runs, entries, .. } = self;
        if runs.get(&fingerprint).is_none_or(|run| run.number != origin.run()) {
            runs.set(fingerprint, Run { number: origin.run(), ..Run::default() });
        }
        let Some(run) = runs.get_mut(&fingerprint) else { return fingerprint };
        if let Some(known) = run.places.get(&origin.function) {
            return *known;
        }
        let standing = |fingerprint: Fingerprint| {
            let entry = entries.get(&key(fingerprint.to_string().as_bytes(), channel));
            entry.filter(|entry| entry.standing == Standing::Active).map(|entry| &entry.origin)
        };
        let free = |series: Fingerprint, next: u32| {
            (next..u32::MAX).find(|place| standing(series.at(*place)).is_none_or(|known| !is_beside(known, origin)))
        };
        // A callback may make a function again that was added while its file was loaded.
        let again = |next: u32| {
            let mut known = (next..).map_while(|place| standing(fingerprint.at(place)).map(|known| (place, known)));
            let is_same = |known: &Origin| known.newest_load == origin.newest_load && known.line == origin.line;
            known.find(|(_, known)| is_same(known)).map(|(place, _)| place)
        };
        let early = if origin.load != 0 {
            free(fingerprint, run.next)
        } else if run.no_more_of.get(&origin.line).is_some() {
            None
        } else {
            again(run.next)
        };
        let taken = if let Some(place) = early {
            run.next = place.saturating_add(1);
            fingerprint.at(place)
        } else {
            run.no_more_of.set(origin.line, ());
            let later = fingerprint.with(b"later");
            let place = free(later, run.next_later).unwrap_or(u32::MAX);
            run.next_later = place.saturating_add(1);
            later.at(place)
        };
        run.places.set(origin.function, taken);
        taken
    }

    /// Removes the registrations of this id, on one channel or on all. Suspended ones do not count as registered.
    pub(crate) fn remove(&mut self, channel: Option<&[u8]>, id: &[u8]) -> Vec<Removed> {
        let gone = self.of_id(id, |known, entry| {
            channel.is_none_or(|channel| known == channel) && entry.standing != Standing::Suspended
        });
        self.take(gone)
    }

    /// The serials of those registrations of this id whose channel and entry are meant.
    fn of_id(&self, id: &[u8], are_meant: impl Fn(&[u8], &Entry) -> bool) -> Vec<u64> {
        let start = key(id, b"");
        let of_id = self.entries.beginning_with(&start);
        let meant = of_id.filter(|(_, entry)| are_meant(entry.item.header().topic.name(), entry));
        meant.map(|(serial, _)| serial).collect()
    }

    /// Removes the registrations with these serials.
    fn take(&mut self, serials: Vec<u64>) -> Vec<Removed> {
        let gone = self.entries.take(serials);
        for entry in &gone {
            self.uncount(entry.standing);
            self.give_lease_back(entry.item.header().fingerprint);
            if entry.standing != Standing::Suspended {
                self.changes.push(Change { before: Some(entry.item.clone()), after: None });
            }
        }
        gone.into_iter().map(|entry| (entry.item, entry.function)).collect()
    }

    /// One registration fewer uses the lease of this fingerprint.
    fn give_lease_back(&mut self, fingerprint: Fingerprint) {
        let Some((_, users)) = self.leases.get_mut(&fingerprint) else { return };
        *users -= 1;
        if *users == 0 {
            self.leases.remove(&fingerprint);
        }
    }

    fn uncount(&mut self, standing: Standing) {
        match standing {
            Standing::Active => {}
            Standing::Kept => self.kept -= 1,
            Standing::Suspended => self.suspended -= 1,
        }
    }

    /// The current registration with this id and topic, and its function in the attached state.
    pub(crate) fn known(&self, id: &[u8], topic: &Topic) -> Option<(&Registered, Option<CallbackRef>)> {
        self.entries.get(&key(id, topic.name())).map(|entry| (&entry.item, entry.function))
    }

    /// The Lua state ends: hands back its functions and keeps the registrations.
    pub(crate) fn detach(&mut self) -> Vec<CallbackRef> {
        let mut functions = Vec::new();
        for entry in self.entries.values_mut() {
            entry.standing = Standing::Kept;
            entry.others = Vec::new();
            functions.extend(entry.function.take());
        }
        (self.kept, self.suspended) = (self.entries.len(), 0);
        self.runs = Sorted::default();
        functions
    }

    pub(crate) fn keeps_any(&self) -> bool {
        self.kept > 0
    }

    /// The grace period is over: drops registrations that the new state did not add again, `count` at most; the others
    /// stay until the next call. They have no function.
    pub(crate) fn drop_kept(&mut self, count: usize) -> Vec<Registered> {
        if self.kept == 0 {
            return Vec::new();
        }
        let mut kept = self.serials(|entry| entry.standing == Standing::Kept);
        kept.truncate(count);
        self.take(kept).into_iter().map(|(item, _)| item).collect()
    }

    /// The serials of some entries.
    fn serials(&self, are_meant: impl Fn(&Entry) -> bool) -> Vec<u64> {
        self.entries.iter().filter(|(_, entry)| are_meant(entry)).map(|(serial, _)| serial).collect()
    }

    /// A file is being loaded again: suspends everything that its earlier loads added without an id, and that no other
    /// file adds. Returns how many were suspended.
    pub(crate) fn suspend(&mut self, load: &Origin) -> usize {
        for entry in self.entries.values_mut().filter(|entry| !entry.others.is_empty()) {
            let count = entry.others.len();
            entry.others.retain(|known| !load.replaces(known));
            if entry.follows_file
                && load.replaces(&entry.origin)
                && let Some(other) = entry.others.pop()
            {
                entry.origin = other;
            }
            if entry.others.len() < count {
                // The new load may add it again.
                entry.tick = self.tick;
            }
        }
        let of_file = self.serials(|entry| entry.follows_file && load.replaces(&entry.origin));
        self.suspend_all(&of_file)
    }

    /// A file that is loaded again adds this id on this channel: suspends the id on all other channels where an earlier
    /// load of the file added it. Returns how many were suspended.
    fn suspend_moved(&mut self, channel: &[u8], id: &[u8], origin: &Origin) -> usize {
        let is_older = |known: &Origin| known.load != 0 && known.load != origin.load && origin.replaces(known);
        let gone = self.of_id(id, |known, entry| known != channel && is_older(&entry.origin));
        self.suspend_all(&gone)
    }

    fn suspend_all(&mut self, serials: &[u64]) -> usize {
        let before = self.suspended;
        // The newest first: each is then near the end of its route's list, and few others move up.
        for serial in serials.iter().rev() {
            let Some(entry) = self.entries.at_mut(*serial) else { continue };
            if entry.standing != Standing::Suspended {
                self.kept -= usize::from(entry.standing == Standing::Kept);
                self.suspended += 1;
                entry.standing = Standing::Suspended;
                self.changes.push(Change { before: Some(entry.item.clone()), after: None });
            }
        }
        self.suspended - before
    }

    /// No file is being loaded any more: drops registrations that are still suspended, `count` at most; the others stay
    /// until the next call. More than one full set of them never stays.
    pub(crate) fn end_runs(&mut self, count: usize) -> Vec<Removed> {
        self.runs = Sorted::default();
        self.tick += 1;
        if self.suspended == 0 {
            return Vec::new();
        }
        let mut suspended = self.serials(|entry| entry.standing == Standing::Suspended);
        suspended.truncate(count.max(suspended.len().saturating_sub(self.kind.max)));
        self.take(suspended)
    }

    pub(crate) fn suspends_any(&self) -> bool {
        self.suspended > 0
    }

    /// The changes since the last call, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The registrations that act, in order of registration.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Registered> {
        let acting = self.entries.iter().filter(|(_, entry)| entry.standing != Standing::Suspended);
        acting.map(|(_, entry)| &entry.item)
    }

    /// The number of registrations that act.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.suspended
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The key of an id and a channel in the registry. With an empty channel it is the beginning of all keys of the id.
fn key(id: &[u8], channel: &[u8]) -> Vec<u8> {
    // The length of the id goes first: a byte cannot move between id and channel.
    [&id.len().to_be_bytes(), id, channel].concat()
}

/// Whether the function that holds a place and the new one are two functions, so that both must stand. In one load they
/// are if they begin in different lines: in the same line it is the same function, made again by a later run. Those of
/// two loads are if the new load does not replace the known one, as with a helper file that two files include. The copies
/// of a file in two folders are one script.
fn is_beside(known: &Origin, new: &Origin) -> bool {
    if known.newest_load == new.newest_load {
        return known.function != new.function && new.newest_load != 0 && known.line != new.line;
    }
    is_of_loads(known, new) && !new.replaces(known)
}

/// Whether one function replaces another although no file was loaded again: a file would have suspended it.
fn is_other_function(known: &Origin, new: &Origin) -> bool {
    let is_unexplained = known.newest_load == new.newest_load || is_of_loads(known, new);
    new.function != 0 && known.function != new.function && is_unexplained
}

/// Whether both were added while one file, or the code of one name, was being loaded.
fn is_of_loads(known: &Origin, new: &Origin) -> bool {
    known.load != 0 && new.load != 0 && known.file == new.file
}
