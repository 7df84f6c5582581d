//! The leases of this server's hooks: asked for and renewed on the publisher's connection, freed when a hook goes.
//! By this server's own clock a lease ends before Redis gives the key to another: counted from before it was asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::config::limits::{LEASE_OWN, LEASE_RENEWAL};
use crate::event::fingerprint::Fingerprint;
use crate::hooks::lease::Lease;
use crate::hooks::routes::Routes;
use crate::redis::lease::{self, Keys};
use crate::redis::reply::Reply;
use crate::threads::publisher::in_flight::{InFlight, LeaseRequest, Sent};
use crate::threads::shared::Shared;

/// Most leases asked for in one script call.
const LEASE_KEYS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Leases {
    /// Those that are wanted, as of these routes of this version.
    wanted: HashMap<Fingerprint, Arc<Lease>>,
    routes: Arc<Routes>,
    version: u64,
    /// When to ask again; `None`: now.
    due: Option<Instant>,
    /// The prefix under which they were asked for.
    prefix: String,
    /// Without scripts: whose key had the boot of this server when Redis was last asked.
    ours: HashSet<Fingerprint>,
    /// Without scripts: whose key was just taken or prolonged. GET, whose reply comes next, says for whom.
    fresh: HashSet<Fingerprint>,
    /// Since they were last asked for, something was refused.
    has_failed: bool,
}

impl Leases {
    /// A reply to the script, or to one of the two plain commands of a key (`redis/lease.rs`). `Err` is what was found
    /// in place of such a reply: who holds the key is then not known, and what is held ends by itself.
    pub(super) fn answered(&mut self, request: &LeaseRequest, reply: Reply<'_>, boot: u64) -> Result<(), String> {
        if let Reply::Array(held) = reply {
            for ((fingerprint, lease), held) in request.leases.iter().zip(held.iter()) {
                match held.integer() {
                    Some(1) => self.note_held(*fingerprint, lease, request.asked),
                    Some(0) => self.note_refused(*fingerprint, lease, request.asked),
                    _ => return Err(format!("expected 1 or 0 for each key, found {}", held.describe())),
                }
            }
            return Ok(());
        }
        let Some((fingerprint, lease)) = request.leases.first() else { return Ok(()) };
        let is_fresh = |reply| matches!(reply, Reply::Simple(_) | Reply::Integer(1));
        match reply {
            // Of SET, or of PEXPIRE.
            _ if is_fresh(reply) => _ = self.fresh.insert(*fingerprint),
            Reply::Integer(_) => _ = self.fresh.remove(fingerprint),
            // Of GET: ours, but perhaps about to end, as its life was not prolonged.
            Reply::Bulk(holder) if holder == lease::boot_text(boot) => {
                if self.fresh.remove(fingerprint) {
                    self.note_held(*fingerprint, lease, request.asked);
                } else {
                    self.ours.insert(*fingerprint);
                }
            }
            Reply::Bulk(_) => self.note_refused(*fingerprint, lease, request.asked),
            // Of SET: the key exists, and GET says whose it is. Of GET: it ended by itself, and is free to be taken.
            Reply::Nil => {
                self.fresh.remove(fingerprint);
                if self.ours.remove(fingerprint) {
                    self.due = None;
                }
            }
            _ => return Err(format!("expected the holder, found {}", reply.describe())),
        }
        Ok(())
    }

    /// A request failed, or its reply was none that is known.
    pub(super) fn note_failure(&mut self) {
        self.has_failed = true;
    }

    /// Whether a request has failed since the leases were last asked for.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The answer may come when nobody wants the lease any more, and its key was freed.
    fn note_held(&mut self, fingerprint: Fingerprint, lease: &Lease, asked: Instant) {
        if self.wanted.contains_key(&fingerprint) {
            self.ours.insert(fingerprint);
            lease.set(Some(asked + LEASE_OWN));
        }
    }

    fn note_refused(&mut self, fingerprint: Fingerprint, lease: &Lease, asked: Instant) {
        self.ours.remove(&fingerprint);
        self.fresh.remove(&fingerprint);
        lease.refused(asked);
    }

    /// Asks for what is due. `scripts`: Redis lets this user run them.
    pub(super) fn ask(
        &mut self,
        shared: &Shared,
        now: Instant,
        scripts: bool,
        batch: &mut Vec<u8>,
        in_flight: &mut InFlight,
    ) {
        if shared.published.version() != self.version {
            self.follow(shared, scripts, batch, in_flight);
        }
        if self.wanted.is_empty() || self.due.is_some_and(|due| now < due) {
            return;
        }
        self.due = Some(now + LEASE_RENEWAL);
        self.has_failed = false;
        let all: Vec<(Fingerprint, Arc<Lease>)> =
            self.wanted.iter().map(|(fingerprint, lease)| (*fingerprint, Arc::clone(lease))).collect();
        for some in all.chunks(LEASE_KEYS_MAX) {
            let keys = Keys::new(&self.prefix, some.iter().map(|(fingerprint, _)| *fingerprint));
            if scripts {
                keys.encode_take(batch, shared.boot);
                in_flight.push(Sent::Leases(LeaseRequest { leases: some.to_vec(), asked: now }));
                continue;
            }
            keys.encode_plain(batch, shared.boot, |at| {
                some.get(at).is_some_and(|(print, _)| self.ours.contains(print))
            });
            for one in some {
                let request = || LeaseRequest { leases: vec![one.clone()], asked: now };
                in_flight.push(Sent::Leases(request()));
                in_flight.push(Sent::Leases(request()));
            }
        }
    }

    /// Takes over what the newest routes want, and frees what they do not want any more.
    fn follow(&mut self, shared: &Shared, scripts: bool, batch: &mut Vec<u8>, in_flight: &mut InFlight) {
        let (version, routes) = shared.published.current();
        let moved = *routes.prefix() != self.prefix;
        let mut gone = Vec::new();
        if moved {
            gone.extend(self.wanted.drain());
            self.wanted.extend(routes.leases());
            self.due = None;
        } else {
            routes.differing_leases(&self.routes, |fingerprint| match routes.lease(fingerprint) {
                Some(lease) => {
                    let known = self.wanted.insert(fingerprint, Arc::clone(lease));
                    if !known.is_some_and(|known| Arc::ptr_eq(&known, lease)) {
                        self.due = None;
                    }
                }
                None => gone.extend(self.wanted.remove_entry(&fingerprint)),
            });
        }
        for (fingerprint, lease) in &gone {
            self.ours.remove(fingerprint);
            lease.set(None);
        }
        // Without scripts nobody can free just his own: they end by themselves.
        for some in gone.chunks(LEASE_KEYS_MAX).filter(|_| scripts) {
            Keys::new(&self.prefix, some.iter().map(|(fingerprint, _)| *fingerprint)).encode_free(batch, shared.boot);
            in_flight.push(Sent::Auxiliary("lease", b"rt:lead:*".as_slice().into()));
        }
        (self.version, self.prefix) = (version, routes.prefix().to_owned());
        self.routes = routes;
    }

    /// Wants one as the routes would, and asks for it now.
    #[cfg(test)]
    pub(super) fn want(&mut self, fingerprint: Fingerprint, lease: Arc<Lease>) {
        self.wanted.insert(fingerprint, lease);
        self.due = None;
    }

    /// A new connection, or another way to ask: asked at once whether they are still held.
    pub(super) fn reconnected(&mut self) {
        self.due = None;
        self.fresh.clear();
    }

    /// How long until something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.wanted.is_empty())
    }
}
