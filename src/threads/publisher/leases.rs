//! The leases of this server's hooks: asked for and renewed on the publisher's connection, freed when a hook goes.
//! By this server's own clock a lease ends before Redis gives the key to another: counted from before it was asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::action::Fingerprint;
use crate::config::{LEASE_KEYS_MAX, LEASE_OWN, LEASE_RENEWAL};
use crate::hook::Lease;
use crate::redis::lease::{self, Keys};
use crate::redis::reply::Reply;
use crate::routes::Routes;
use crate::threads::Shared;
use crate::threads::publisher::backlog::{Asked, InFlight};

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
}

/// Some leases, asked for at one moment.
pub(super) struct Taking {
    leases: Vec<Arc<Lease>>,
    asked: Instant,
}

impl Taking {
    /// Notes who holds them. `held` tells of each whether it is this server.
    fn note(&self, held: impl Iterator<Item = bool>) {
        for (lease, held) in self.leases.iter().zip(held) {
            match held {
                true => lease.set(Some(self.asked + LEASE_OWN)),
                false => lease.refused(self.asked),
            }
        }
    }

    /// The reply of the script, or of GET where scripts are forbidden. An error changes nothing: what is held ends by
    /// itself.
    pub(super) fn answered(&self, reply: Reply<'_>, boot: u64) {
        match reply {
            Reply::Array(held) => self.note(held.iter().map(|held| held.integer() == Some(1))),
            Reply::Bulk(holder) => self.note(std::iter::once(holder == lease::boot_text(boot))),
            Reply::Nil => self.note(std::iter::once(false)),
            _ => {}
        }
    }
}

impl Leases {
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
        let all: Vec<(Fingerprint, Arc<Lease>)> =
            self.wanted.iter().map(|(fingerprint, lease)| (*fingerprint, Arc::clone(lease))).collect();
        for some in all.chunks(LEASE_KEYS_MAX) {
            let keys = Keys::new(&self.prefix, some.iter().map(|(fingerprint, _)| *fingerprint));
            let leases: Vec<Arc<Lease>> = some.iter().map(|(_, lease)| Arc::clone(lease)).collect();
            if scripts {
                keys.encode_take(batch, shared.boot);
                in_flight.push(Asked::Leases(Taking { leases, asked: now }));
                continue;
            }
            keys.encode_plain(batch, shared.boot, |at| leases.get(at).is_some_and(|lease| lease.holds(now)));
            for lease in leases {
                in_flight.push(Asked::Beside);
                in_flight.push(Asked::Leases(Taking { leases: vec![lease], asked: now }));
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
        gone.iter().for_each(|(_, lease)| lease.set(None));
        // Without scripts nobody can free just his own: they end by themselves.
        for some in gone.chunks(LEASE_KEYS_MAX).filter(|_| scripts) {
            Keys::new(&self.prefix, some.iter().map(|(fingerprint, _)| *fingerprint)).encode_free(batch, shared.boot);
            in_flight.push(Asked::Beside);
        }
        (self.version, self.prefix) = (version, routes.prefix().to_owned());
        self.routes = routes;
    }

    /// A new connection: asked at once whether they are still held.
    pub(super) fn reconnected(&mut self) {
        self.due = None;
    }

    /// How long until something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.wanted.is_empty())
    }
}
