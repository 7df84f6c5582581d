//! The leases of this server's hooks: requests and renewals on the publisher's connection, and their release when a
//! hook is removed. Runs on `rt-publisher`; the lease itself is shared with the threads that act (`hooks/lease.rs`).
//! Guarantee: at most one server holds a lease. It ends by this server's own clock before Redis gives the key to
//! another server, because the lease counts from before its request was encoded ([`LEASE_OWN`] is shorter than Redis'
//! time to live).
//!
//! ```text
//!   rt-publisher                                      Redis
//!   t0 ask: SET key boot NX PX 10 s ────────────────▶ t0 + d: the key lives until t0 + d + 10 s
//!   lease held until t0 + 9 s       ◀──────────────── OK
//!   t0 + 3 s ask again (renewal) ───────────────────▶
//! ```
//!
//! Where Redis refuses scripts, each key takes two plain commands, and two replies decide together (`redis/lease.rs`):
//!
//! | first command | its reply | GET | meaning |
//! |---|---|---|---|
//! | SET NX PX | OK | own boot | held: just taken |
//! | SET NX PX | nil | own boot | own key, perhaps about to end: PEXPIRE is the next request |
//! | PEXPIRE | 1 | own boot | held: just renewed |
//! | PEXPIRE | 0 | nil | it ended: SET at once |
//! | any | any | another boot | another server is the lease holder |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::config::limits::{LEASE, LEASE_OWN, LEASE_RENEWAL};
use crate::event::fingerprint::Fingerprint;
use crate::hooks::lease::Lease;
use crate::hooks::routes::Routes;
use crate::redis::lease::{self, Keys};
use crate::redis::reply::Reply;
use crate::threads::publisher::in_flight::{LeaseRequest, OwnCommands, Sent};
use crate::threads::shared::Shared;

/// Most leases in one request: Redis runs a script to its end before it serves anybody else.
pub(super) const LEASE_KEYS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Leases {
    /// The leases that hooks want.
    wanted: HashMap<Fingerprint, Arc<Lease>>,
    /// The routes that `wanted` follows, and their version.
    routes: Arc<Routes>,
    version: u64,
    /// When the next request is due; `None`: now.
    due: Option<Instant>,
    /// The prefix of the keys that were asked for.
    prefix: String,
    /// Without scripts: leases whose key had the boot of this server in Redis' last reply.
    ours: HashSet<Fingerprint>,
    /// Without scripts: leases whose key was just taken or renewed. The reply to GET, which comes next, tells for which
    /// server.
    fresh: HashSet<Fingerprint>,
    /// A request failed since the leases were last asked for.
    has_failed: bool,
    /// When the settings led to another Redis: replies to earlier requests say nothing about that one.
    left: Option<Instant>,
}

impl Leases {
    /// Reads a reply to the script, or to one of the two plain commands of a key. `Err` describes a reply of another
    /// kind: the lease holder is then unknown, and a lease that is held ends by itself.
    pub(super) fn answered(&mut self, request: &LeaseRequest, reply: Reply<'_>, boot: u64) -> Result<(), String> {
        if self.left.is_some_and(|left| request.asked <= left) {
            return Ok(());
        }
        if let Reply::Array(held) = reply {
            for ((fingerprint, lease), held) in request.leases.iter().zip(held.iter()) {
                match held.integer() {
                    Some(1) => self.note_held(*fingerprint, lease, request),
                    Some(0) => self.note_refused(*fingerprint, lease, request),
                    _ => return Err(format!("expected 1 or 0 for each key, found {}", held.describe())),
                }
            }
            return Ok(());
        }
        let Some((fingerprint, lease)) = request.leases.first() else { return Ok(()) };
        let is_fresh = |reply| matches!(reply, Reply::Simple(_) | Reply::Integer(1));
        match reply {
            // Reply to SET or PEXPIRE.
            _ if is_fresh(reply) => _ = self.fresh.insert(*fingerprint),
            Reply::Integer(_) => _ = self.fresh.remove(fingerprint),
            // Reply to GET: this server's own key. If it was not renewed just now, it may be about to end.
            Reply::Bulk(holder) if holder == lease::boot_text(boot) => {
                if self.fresh.remove(fingerprint) {
                    self.note_held(*fingerprint, lease, request);
                } else {
                    self.ours.insert(*fingerprint);
                }
            }
            Reply::Bulk(_) => self.note_refused(*fingerprint, lease, request),
            // Reply to SET: the key exists, and GET tells whose it is. Reply to GET: the key ended and is free to be
            // taken.
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

    /// Notes that Redis refused a request or gave an unknown reply.
    pub(super) fn note_failure(&mut self) {
        self.has_failed = true;
    }

    /// Whether a request has failed since the leases were last asked for.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Redis granted a lease. Ignored if no hook wants it any more: its key was freed meanwhile.
    fn note_held(&mut self, fingerprint: Fingerprint, lease: &Lease, request: &LeaseRequest) {
        if self.wanted.contains_key(&fingerprint) {
            self.ours.insert(fingerprint);
            lease.set(Some(request.asked + LEASE_OWN * request.thrift));
        }
    }

    /// Another server is the lease holder.
    fn note_refused(&mut self, fingerprint: Fingerprint, lease: &Lease, request: &LeaseRequest) {
        self.ours.remove(&fingerprint);
        self.fresh.remove(&fingerprint);
        lease.refused(request.asked, LEASE_RENEWAL * 2 * request.thrift);
    }

    /// The requests that are due. `scripts`: this user may run scripts. `keys_max`: leases in one request.
    pub(super) fn ask(&mut self, shared: &Shared, now: Instant, scripts: bool, keys_max: usize) -> Vec<OwnCommands> {
        let mut commands = Vec::new();
        if shared.published.version() != self.version {
            self.follow(shared, scripts, keys_max, &mut commands);
        }
        if self.wanted.is_empty() || self.due.is_some_and(|due| now < due) {
            return commands;
        }
        let thrift = shared.settings.current().thrift();
        self.due = Some(now + LEASE_RENEWAL * thrift);
        self.has_failed = false;
        let all: Vec<(Fingerprint, Arc<Lease>)> =
            self.wanted.iter().map(|(fingerprint, lease)| (*fingerprint, Arc::clone(lease))).collect();
        for some in all.chunks(keys_max.max(1)) {
            let keys = Keys::new(&self.prefix, some.iter().map(|(fingerprint, _)| *fingerprint));
            let note = |leases: &[(Fingerprint, Arc<Lease>)]| {
                Sent::Leases(LeaseRequest { leases: leases.to_vec(), asked: now, thrift, by_script: scripts })
            };
            let mut command = OwnCommands { key: keys.first().to_vec(), bytes: Vec::new(), sent: Vec::new() };
            if scripts {
                keys.encode_take(&mut command.bytes, shared.boot, LEASE * thrift);
                command.sent.push(note(some));
            } else {
                keys.encode_plain(&mut command.bytes, shared.boot, LEASE * thrift, |at| {
                    some.get(at).is_some_and(|(print, _)| self.ours.contains(print))
                });
                // Two commands, so two replies.
                command.sent.extend(some.chunks(1).flat_map(|one| [note(one), note(one)]));
            }
            commands.push(command);
        }
        commands
    }

    /// Takes over the leases of the newest routes, and frees the keys of leases that no hook wants any more.
    fn follow(&mut self, shared: &Shared, scripts: bool, keys_max: usize, commands: &mut Vec<OwnCommands>) {
        let (version, routes) = shared.published.current();
        let moved = *routes.prefix() != self.prefix;
        let mut gone = Vec::new();
        if moved {
            gone.extend(std::mem::take(&mut self.wanted));
            for (fingerprint, lease) in routes.leases() {
                self.wanted.insert(fingerprint, lease);
            }
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
        // A plain DEL could free the key of another server, so without scripts keys are left to end by themselves.
        for some in gone.chunks(keys_max.max(1)).filter(|_| scripts) {
            let keys = Keys::new(&self.prefix, some.iter().map(|(fingerprint, _)| *fingerprint));
            let mut bytes = Vec::new();
            keys.encode_free(&mut bytes, shared.boot);
            let sent = vec![Sent::Auxiliary("lease", b"rt:lead:*".as_slice().into())];
            commands.push(OwnCommands { key: keys.first().to_vec(), bytes, sent });
        }
        (self.version, self.prefix) = (version, routes.prefix().to_owned());
        self.routes = routes;
    }

    /// Wants a lease as the routes would; the next request is due now.
    #[cfg(test)]
    pub(super) fn want(&mut self, fingerprint: Fingerprint, lease: Arc<Lease>) {
        self.wanted.insert(fingerprint, lease);
        self.due = None;
    }

    /// A new connection, or requests in another form: ask at once whether the leases are still held.
    pub(super) fn reconnected(&mut self) {
        self.due = None;
        self.fresh.clear();
    }

    /// The settings lead to another Redis, where another server may hold the leases.
    pub(super) fn forget(&mut self, now: Instant) {
        self.wanted.values().for_each(|lease| lease.set(None));
        self.ours.clear();
        self.left = Some(now);
        self.reconnected();
    }

    /// The last request was not for this server: the next one is due at this moment.
    pub(super) fn put_off(&mut self, until: Instant) {
        self.due = Some(until);
    }

    /// When the next request is due, if any lease is wanted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.wanted.is_empty())
    }
}
