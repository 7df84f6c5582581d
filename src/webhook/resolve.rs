//! Names of hosts to addresses, with a deadline that the system's own look-up does not have.
//! A look-up runs on a thread of its own, `rt-resolve`, that is left behind when it hangs: at most [`LOOKUPS_MAX`] at
//! once and one for each host, so hanging ones never pile up. An address that was found is used again for
//! [`LOOKUP_FRESH`], and for as long as later look-ups fail.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::io::net::ADDRESSES_TRIED_MAX;

/// Name look-ups under way at once: the system may take half a minute for one, and nothing can stop it.
pub(crate) const LOOKUPS_MAX: usize = 16;
/// How long a resolved address is used again. It is used much longer if a new look-up fails.
const LOOKUP_FRESH: Duration = Duration::from_secs(30);
/// Hosts whose addresses are kept.
const LOOKUP_HOSTS_MAX: usize = 64;

/// An old address is used after this wait for a newer one.
const PATIENCE_WITH_OLD: Duration = Duration::from_secs(1);
/// How often one who waits looks whether its request was ended.
const CUT_CHECK: Duration = Duration::from_millis(100);

type LookupFn = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The addresses of all hosts asked for.
pub(crate) struct Resolver {
    lookup: Box<LookupFn>,
    hosts: Mutex<HashMap<Box<str>, Host>>,
    changed: Condvar,
}

#[derive(Default)]
struct Host {
    /// The last that were found.
    addresses: Vec<IpAddr>,
    found: Option<Instant>,
    /// Why the last look-up found none.
    failure: Option<String>,
    is_running: bool,
    asked: Option<Instant>,
}

impl Default for Resolver {
    /// By the system's own look-up.
    fn default() -> Resolver {
        Resolver::new(|host| {
            let found = (host, 0).to_socket_addrs()?.map(|address| address.ip());
            Ok(found.take(ADDRESSES_TRIED_MAX).collect())
        })
    }
}

impl Resolver {
    pub(crate) fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Resolver {
        Resolver { lookup: Box::new(lookup), hosts: Mutex::default(), changed: Condvar::new() }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Box<str>, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of this host, at the deadline or soon after `is_cut` at the latest.
    pub(crate) fn resolve(
        self: &Arc<Resolver>,
        host: &str,
        deadline: Instant,
        is_cut: impl Fn() -> bool,
    ) -> Result<Vec<IpAddr>, NoAddress> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let began = Instant::now();
        let mut hosts = self.hosts();
        make_room(&mut hosts, host);
        let mut asked = false;
        loop {
            let now = Instant::now();
            let running = hosts.values().filter(|host| host.is_running).count();
            let entry = hosts.entry(host.into()).or_default();
            entry.asked = Some(now);
            if entry.found.is_some_and(|found| now.saturating_duration_since(found) < LOOKUP_FRESH) {
                return Ok(entry.addresses.clone());
            }
            if !entry.is_running {
                if let Some(failure) = entry.failure.take().filter(|_| asked) {
                    return entry.old().ok_or(NoAddress::Failed(failure));
                }
                if running < LOOKUPS_MAX {
                    entry.is_running = true;
                    asked = true;
                    if let Err(err) = self.begin(host) {
                        entry.is_running = false;
                        return entry.old().ok_or(NoAddress::Failed(err.to_string()));
                    }
                }
            } else {
                asked = true;
            }
            let patience = if entry.addresses.is_empty() { deadline } else { deadline.min(began + PATIENCE_WITH_OLD) };
            let left = patience.saturating_duration_since(now);
            if left.is_zero() || is_cut() {
                return entry.old().ok_or(NoAddress::NotInTime);
            }
            hosts = self.changed.wait_timeout(hosts, left.min(CUT_CHECK)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts a look-up.
    fn begin(self: &Arc<Resolver>, host: &str) -> io::Result<()> {
        let (resolver, host) = (Arc::clone(self), Box::<str>::from(host));
        let run = move || {
            // Also if the look-up panics: the host must not count as running for ever.
            let mut outcome = LookupReport { resolver: &resolver, host: &host, found: None };
            outcome.found = Some((resolver.lookup)(&host));
        };
        thread::Builder::new().name("rt-resolve".to_owned()).stack_size(256 * 1024).spawn(run).map(drop)
    }
}

/// Tells what a look-up found when it ends.
struct LookupReport<'a> {
    resolver: &'a Resolver,
    host: &'a str,
    found: Option<io::Result<Vec<IpAddr>>>,
}

impl Drop for LookupReport<'_> {
    fn drop(&mut self) {
        let mut hosts = self.resolver.hosts();
        if let Some(host) = hosts.get_mut(self.host) {
            host.is_running = false;
            match self.found.take() {
                Some(Ok(addresses)) if !addresses.is_empty() => {
                    host.addresses = addresses;
                    host.found = Some(Instant::now());
                    host.failure = None;
                }
                Some(Ok(_)) => host.failure = Some("the name has no address".to_owned()),
                Some(Err(err)) => host.failure = Some(err.to_string()),
                None => host.failure = Some("internal error".to_owned()),
            }
        }
        drop(hosts);
        self.resolver.changed.notify_all();
    }
}

impl Host {
    fn old(&self) -> Option<Vec<IpAddr>> {
        (!self.addresses.is_empty()).then(|| self.addresses.clone())
    }
}

/// Forgets the host that was not asked for longest, if there are too many.
fn make_room(hosts: &mut HashMap<Box<str>, Host>, host: &str) {
    if hosts.len() < LOOKUP_HOSTS_MAX || hosts.contains_key(host) {
        return;
    }
    let idle = hosts.iter().filter(|(_, host)| !host.is_running);
    let oldest = idle.min_by_key(|(_, host)| host.asked).map(|(name, _)| name.clone());
    if let Some(oldest) = oldest {
        hosts.remove(&oldest);
    }
}

/// Why a host has no address now.
#[derive(Debug, PartialEq)]
pub(crate) enum NoAddress {
    Failed(String),
    NotInTime,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAddress::Failed(found) => f.write_str(found),
            NoAddress::NotInTime => f.write_str("its name was not looked up in time"),
        }
    }
}

#[cfg(test)]
mod tests;
