//! The hooks or the aggregators of this process, in order of registration, with their Lua functions of the attached
//! state. Game thread only. They outlive a Lua state: they go on through a map change, and those that the new state
//! does not add again are dropped. Functions are handed back once, to be released.
//!
//! What has no id of its own gets its fingerprint as one. A function is part of it by the file that adds it and by its
//! place among those of the same channel and spec that one run of the file adds, so that the rounds of a loop stay apart
//! and a file that is loaded again finds its own. What a file adds no more when it is loaded again is dropped: it acts
//! no more from the first registration of the new load on, and is gone at the next tick. What has an id of its own
//! stays, but for one that the file adds on another channel now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::engine::registry::CallbackRef;
use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::lease::Lease;

/// What can be registered.
pub(crate) trait Registered {
    fn id(&self) -> &Arc<[u8]>;
    fn topic(&self) -> &Arc<Topic>;
    fn fingerprint(&self) -> Fingerprint;
}

/// Which script registers something. The default: it is not known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The file that is being loaded, else the one of the function.
    pub(crate) file: Arc<str>,
    /// The files that are being loaded around it, innermost first, each with a line end.
    pub(crate) includers: Arc<str>,
    /// The number of this load of it; 0: it is not being loaded, a timer or another callback registers.
    pub(crate) load: u64,
    /// The number of the Lua function, and the line it begins in. 0: there is none.
    pub(crate) function: u64,
    pub(crate) line: u32,
    /// The newest load of the file; set by the engine.
    pub(crate) newest_load: u64,
}

impl Origin {
    /// Whether what it registers without an id belongs to one load of a file.
    pub(crate) fn is_file_load(&self) -> bool {
        // What a console command or a text runs has a name, too, and no file.
        self.load != 0 && (self.file.ends_with(".lua") || self.file.contains('/'))
    }

    /// Whether this load of the file takes the place of that one. A file that two others include is loaded for each of
    /// them; loaded by itself, or from further out, it is loaded for all the same.
    fn replaces(&self, known: &Origin) -> bool {
        let (new, old) = (&*self.includers, &*known.includers);
        self.file == known.file && (new.starts_with(old) || old.starts_with(new))
    }
}

struct Entry<T> {
    item: Arc<T>,
    function: Option<CallbackRef>,
    origin: Origin,
    /// It goes if its file is loaded again and does not add it again.
    follows_file: bool,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    /// Of the state before. It acts.
    Kept,
    /// Its file is being loaded again and has not added it yet. It does not act.
    Suspended,
}

/// What the routes have to follow: one takes the place of the other.
pub(crate) struct Change<T> {
    pub(crate) before: Option<Arc<T>>,
    pub(crate) after: Option<Arc<T>>,
}

/// Something that was registered.
pub(crate) struct Added<T> {
    pub(crate) item: Arc<T>,
    /// The function that the same id on the same channel had before.
    pub(crate) function: Option<CallbackRef>,
    /// What the same id was before, if it is another now.
    pub(crate) replaced: Option<Arc<T>>,
    /// Another function of the same place in the same load of its file lost its place.
    pub(crate) displaced: bool,
    /// How many of the same id a load before of its file had added on other channels, which act no more.
    pub(crate) moved: usize,
}

/// What is registered no more, and the function it had.
pub(crate) type Removed<T> = (Arc<T>, Option<CallbackRef>);

/// The id and the channel of a registration.
type Key = (Arc<[u8]>, Box<[u8]>);

/// What is asked for.
pub(crate) struct Given<'a> {
    pub(crate) channel: &'a [u8],
    pub(crate) id: Option<&'a [u8]>,
    /// Of the channel and the spec, in which a function is its file.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) origin: &'a Origin,
    pub(crate) function: Option<CallbackRef>,
}

/// The places that one run of a script has given to the functions of one channel and spec.
#[derive(Default)]
struct Run {
    load: u64,
    /// The first place of either kind that it has not given away.
    next: u32,
    next_later: u32,
    /// The lines of which no function was added while the file was loaded, but for those that have their places.
    no_more_of: HashSet<u32>,
    /// By the function's number.
    places: HashMap<u64, Fingerprint>,
}

pub(crate) struct Registrations<T> {
    /// By serial: the order of registration.
    entries: BTreeMap<u64, Entry<T>>,
    /// By id and channel.
    serials: BTreeMap<Key, u64>,
    serial: u64,
    /// One key in Redis has one lease, and so many users.
    leases: HashMap<Fingerprint, (Arc<Lease>, usize)>,
    /// Of this tick, by the fingerprint without the place.
    runs: HashMap<Fingerprint, Run>,
    kept: usize,
    suspended: usize,
    changes: Vec<Change<T>>,
}

impl<T> Default for Registrations<T> {
    fn default() -> Registrations<T> {
        Registrations {
            entries: BTreeMap::new(),
            serials: BTreeMap::new(),
            serial: 0,
            leases: HashMap::new(),
            runs: HashMap::new(),
            kept: 0,
            suspended: 0,
            changes: Vec::new(),
        }
    }
}

impl<T: Registered> Registrations<T> {
    /// Adds what `make` makes of id, fingerprint, lease, and the one before if it has the same fingerprint. The same id
    /// on the same channel replaces, in its place of the order. `None`: there are `max` already.
    pub(crate) fn add(
        &mut self,
        given: Given<'_>,
        max: usize,
        make: impl FnOnce(Arc<[u8]>, Fingerprint, Arc<Lease>, Option<&Arc<T>>) -> Arc<T>,
    ) -> Option<Added<T>> {
        let Given { channel, id, origin, function, .. } = given;
        let fingerprint = match id {
            None => self.place(&given),
            // By their ids two functions of one file are apart on every server.
            Some(id) if origin.function != 0 => given.fingerprint.with(id),
            Some(_) => given.fingerprint,
        };
        let key: Arc<[u8]> = id.map_or_else(|| own_id(fingerprint), Arc::from);
        let key = (key, Box::from(channel));
        let known = self.serials.get(&key).copied();
        let acts =
            known.and_then(|serial| self.entries.get(&serial)).map(|entry| entry.standing != Standing::Suspended);
        if acts != Some(true) && self.len() >= max {
            return None;
        }
        let before = known.and_then(|serial| self.entries.remove(&serial));
        before.iter().for_each(|before| self.uncount(before.standing));
        let lease = self.leases.entry(fingerprint).or_default();
        lease.1 += 1;
        let same = before.as_ref().map(|before| &before.item).filter(|item| item.fingerprint() == fingerprint);
        let item = make(Arc::clone(&key.0), fingerprint, Arc::clone(&lease.0), same);
        before.iter().for_each(|before| self.give_lease_back(before.item.fingerprint()));
        let serial = known.filter(|_| acts == Some(true)).unwrap_or_else(|| {
            self.serial += 1;
            self.serial
        });
        self.serials.insert(key, serial);
        let follows_file = id.is_none() && origin.is_file_load();
        let entry = Entry {
            item: Arc::clone(&item),
            function,
            origin: origin.clone(),
            follows_file,
            standing: Standing::Active,
        };
        self.entries.insert(serial, entry);
        let displaced = before.as_ref().is_some_and(|before| {
            id.is_none() && before.standing == Standing::Active && is_other_function(&before.origin, origin)
        });
        let (before, function) = before.map_or((None, None), |entry| (Some(entry.item), entry.function));
        let routed = before.clone().filter(|_| acts == Some(true));
        if !routed.as_ref().is_some_and(|routed| Arc::ptr_eq(routed, &item)) {
            self.changes.push(Change { before: routed, after: Some(Arc::clone(&item)) });
        }
        let replaced = before.filter(|before| !Arc::ptr_eq(before, &item));
        let moves = id.is_some() && origin.is_file_load();
        let moved = if moves { self.suspend_moved(channel, item.id(), origin) } else { 0 };
        Some(Added { item, function, replaced, displaced, moved })
    }

    /// The fingerprint of what has no id. What a file adds while it is loaded and what its callbacks add later have
    /// places of two kinds, each counted from 0: the first is taken that this run of the script has not given away and
    /// that no other function of this load of the file has.
    fn place(&mut self, given: &Given<'_>) -> Fingerprint {
        let Given { channel, fingerprint, origin, .. } = *given;
        if origin.function == 0 {
            return fingerprint;
        }
        let Registrations { runs, serials, entries, .. } = self;
        let run = runs.entry(fingerprint).or_default();
        if run.load != origin.load {
            *run = Run { load: origin.load, ..Run::default() };
        }
        if let Some(known) = run.places.get(&origin.function) {
            return *known;
        }
        let standing = |fingerprint: Fingerprint| {
            let serial = serials.get(&(own_id(fingerprint), Box::from(channel)));
            let entry = serial.and_then(|serial| entries.get(serial));
            entry.filter(|entry| entry.standing == Standing::Active).map(|entry| &entry.origin)
        };
        let free = |kind: Fingerprint, next: u32| {
            (next..u32::MAX).find(|place| standing(kind.at(*place)).is_none_or(|known| !is_beside(known, origin)))
        };
        // A callback may make a function again that was added while its file was loaded.
        let again = |next: u32| {
            let mut known = (next..).map_while(|place| standing(fingerprint.at(place)).map(|known| (place, known)));
            let is_same = |known: &Origin| known.newest_load == origin.newest_load && known.line == origin.line;
            known.find(|(_, known)| is_same(known)).map(|(place, _)| place)
        };
        let early = if origin.load != 0 {
            free(fingerprint, run.next)
        } else if run.no_more_of.contains(&origin.line) {
            None
        } else {
            again(run.next)
        };
        let taken = if let Some(place) = early {
            run.next = place.saturating_add(1);
            fingerprint.at(place)
        } else {
            run.no_more_of.insert(origin.line);
            let later = fingerprint.with(b"later");
            let place = free(later, run.next_later).unwrap_or(u32::MAX);
            run.next_later = place.saturating_add(1);
            later.at(place)
        };
        run.places.insert(origin.function, taken);
        taken
    }

    /// Removes those of this id, on one channel or on all: each with the function it had.
    pub(crate) fn remove(&mut self, channel: Option<&[u8]>, id: &[u8]) -> Vec<Removed<T>> {
        let of_id = self.serials.range((Arc::from(id), Box::default())..).take_while(|((known, _), _)| **known == *id);
        let gone = of_id.filter(|((_, known), _)| channel.is_none_or(|channel| **known == *channel));
        let acts = |serial: &u64| self.entries.get(serial).is_some_and(|entry| entry.standing != Standing::Suspended);
        let gone: Vec<u64> = gone.map(|(_, serial)| *serial).filter(acts).collect();
        self.take(&gone)
    }

    fn take(&mut self, serials: &[u64]) -> Vec<Removed<T>> {
        let gone: Vec<Entry<T>> = serials.iter().filter_map(|serial| self.entries.remove(serial)).collect();
        for entry in &gone {
            self.serials.remove(&key_of(&*entry.item));
            self.uncount(entry.standing);
            self.give_lease_back(entry.item.fingerprint());
            if entry.standing != Standing::Suspended {
                self.changes.push(Change { before: Some(Arc::clone(&entry.item)), after: None });
            }
        }
        gone.into_iter().map(|entry| (entry.item, entry.function)).collect()
    }

    fn give_lease_back(&mut self, fingerprint: Fingerprint) {
        let Some(lease) = self.leases.get_mut(&fingerprint) else { return };
        lease.1 -= 1;
        if lease.1 == 0 {
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

    /// What is registered now under the id and channel of this one, and its function in the attached state.
    pub(crate) fn known(&self, item: &T) -> Option<(&Arc<T>, Option<CallbackRef>)> {
        let serial = self.serials.get(&key_of(item))?;
        self.entries.get(serial).map(|entry| (&entry.item, entry.function))
    }

    /// The Lua state goes away: its functions are handed back, what it registered stays.
    pub(crate) fn detach(&mut self) -> Vec<CallbackRef> {
        let mut functions = Vec::new();
        for entry in self.entries.values_mut() {
            entry.standing = Standing::Kept;
            functions.extend(entry.function.take());
        }
        (self.kept, self.suspended) = (self.entries.len(), 0);
        self.runs.clear();
        functions
    }

    pub(crate) fn keeps_any(&self) -> bool {
        self.kept > 0
    }

    /// Drops what the new state did not add again.
    pub(crate) fn drop_kept(&mut self) -> Vec<Arc<T>> {
        if self.kept == 0 {
            return Vec::new();
        }
        self.take_all(Standing::Kept).into_iter().map(|(item, _)| item).collect()
    }

    fn take_all(&mut self, standing: Standing) -> Vec<Removed<T>> {
        let gone = self.entries.iter().filter(|(_, entry)| entry.standing == standing);
        let gone: Vec<u64> = gone.map(|(serial, _)| *serial).collect();
        self.take(&gone)
    }

    /// A file is being loaded again: what its loads before added without an id acts no more, unless it is added again.
    /// How many.
    pub(crate) fn suspend(&mut self, load: &Origin) -> usize {
        let of_file = |entry: &Entry<T>| entry.follows_file && load.replaces(&entry.origin);
        let gone = self.entries.iter().filter(|(_, entry)| of_file(entry)).map(|(serial, _)| *serial);
        let gone: Vec<u64> = gone.collect();
        self.suspend_all(&gone)
    }

    /// A file that is loaded again adds this id on this channel: on the others it acts no more if a load before added it
    /// there, unless it is added there again. How many.
    fn suspend_moved(&mut self, channel: &[u8], id: &Arc<[u8]>, origin: &Origin) -> usize {
        let of_id = self.serials.range((Arc::clone(id), Box::default())..).take_while(|((known, _), _)| known == id);
        let elsewhere = of_id.filter(|((_, known), _)| **known != *channel).map(|(_, serial)| *serial);
        let is_older = |known: &Origin| known.load != 0 && known.load != origin.load && origin.replaces(known);
        let gone = elsewhere.filter(|serial| self.entries.get(serial).is_some_and(|entry| is_older(&entry.origin)));
        let gone: Vec<u64> = gone.collect();
        self.suspend_all(&gone)
    }

    fn suspend_all(&mut self, serials: &[u64]) -> usize {
        let before = self.suspended;
        for serial in serials {
            let Some(entry) = self.entries.get_mut(serial) else { continue };
            if entry.standing != Standing::Suspended {
                self.kept -= usize::from(entry.standing == Standing::Kept);
                self.suspended += 1;
                entry.standing = Standing::Suspended;
                self.changes.push(Change { before: Some(Arc::clone(&entry.item)), after: None });
            }
        }
        self.suspended - before
    }

    /// Every load that was under way is over: drops what was not added again.
    pub(crate) fn end_runs(&mut self) -> Vec<Removed<T>> {
        self.runs.clear();
        if self.suspended == 0 { Vec::new() } else { self.take_all(Standing::Suspended) }
    }

    /// What changed since this was asked last, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<Change<T>> {
        std::mem::take(&mut self.changes)
    }

    /// What acts, in order of registration.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        let acting = self.entries.values().filter(|entry| entry.standing != Standing::Suspended);
        acting.map(|entry| &entry.item)
    }

    /// How many act.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.suspended
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn own_id(fingerprint: Fingerprint) -> Arc<[u8]> {
    fingerprint.to_string().into_bytes().into()
}

fn key_of<T: Registered>(item: &T) -> Key {
    (Arc::clone(item.id()), Box::from(item.topic().name()))
}

/// Whether a function that has its place already is another one than the new one, so that both are to stand: it begins
/// in another line of the same text. Of the same line it is the same function, made again by a later run; of an older
/// load of its file it is what the new load replaces.
fn is_beside(known: &Origin, new: &Origin) -> bool {
    known.newest_load == new.newest_load
        && known.function != new.function
        && new.newest_load != 0
        && known.line != new.line
}

/// Whether one function takes the place of another while nothing was loaded again.
fn is_other_function(known: &Origin, new: &Origin) -> bool {
    new.function != 0 && known.function != new.function && known.newest_load == new.newest_load
}
