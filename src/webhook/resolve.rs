//! Resolves host names with a deadline, which the system's own look-up does not have.
//! Shared by all `rt-send-*` threads. Each look-up runs on a thread of its own, `rt-resolve`, because nothing can stop the
//! system's look-up: a thread that hangs is left behind. There are at most [`LOOKUPS_MAX`] of these threads and one for
//! each host, so hanging look-ups do not pile up.
//! A resolved address is used again for [`LOOKUP_FRESH`], and longer while new look-ups fail or take long.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::limits::{SENDERS_KEPT, SENDERS_MAX};
use crate::io::lock::lock;
use crate::io::net::look_up;
use crate::io::thread;

/// Most look-ups that run at once. The system may take half a minute for one.
const LOOKUPS_MAX: usize = 16;
// Senders that all wait for a look-up leave room for another host.
const _: () = assert!(SENDERS_MAX + SENDERS_KEPT < LOOKUPS_MAX);
/// How long a resolved address is used without a new look-up.
const LOOKUP_FRESH: Duration = Duration::from_secs(30);
/// Most hosts whose addresses are kept.
const LOOKUP_HOSTS_MAX: usize = 64;

/// Longest wait for a new look-up if there is an old address to use instead.
const PATIENCE_WITH_OLD: Duration = Duration::from_secs(1);
/// How often a waiting request checks whether it was interrupted.
const CUT_CHECK: Duration = Duration::from_millis(100);

/// The look-up of the system, or of a test.
type LookupFn = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The resolver and the addresses of the hosts it was asked for.
pub(crate) struct Resolver {
    lookup: Box<LookupFn>,
    /// At most [`LOOKUP_HOSTS_MAX`], so each is looked at.
    hosts: Mutex<Vec<Host>>,
    /// Wakes waiting requests when a look-up ends.
    changed: Condvar,
}

/// The state of one host.
#[derive(Default)]
struct Host {
    name: Box<str>,
    /// The result of the last successful look-up.
    addresses: Vec<IpAddr>,
    /// When that look-up ended.
    found: Option<Instant>,
    /// The error of a look-up that ended and was not reported to a request yet.
    failure: Option<String>,
    /// Whether a look-up runs.
    is_running: bool,
    /// When a request asked for this host last.
    asked: Option<Instant>,
}

impl Default for Resolver {
    /// A resolver with the system's look-up.
    fn default() -> Resolver {
        Resolver::new(|host| Ok(look_up(host, 0)?.iter().map(SocketAddr::ip).collect()))
    }
}

impl Resolver {
    pub(crate) fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Resolver {
        Resolver { lookup: Box::new(lookup), hosts: Mutex::default(), changed: Condvar::new() }
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<Host>> {
        lock(&self.hosts)
    }

    /// The addresses of this host. Returns by the deadline at the latest, or soon after `is_cut` becomes true.
    ///
    /// | state of the host | result |
    /// |---|---|
    /// | an IP address instead of a name | that address |
    /// | fresh addresses | those |
    /// | old addresses | those of a new look-up, or the old ones if it fails or exceeds [`PATIENCE_WITH_OLD`] |
    /// | none | those of a new look-up, or its error |
    ///
    /// Requests for one host wait for the same look-up.
    pub(crate) fn resolve(
        self: &Arc<Resolver>,
        host: &str,
        deadline: Instant,
        is_cut: &dyn Fn() -> bool,
    ) -> Result<Vec<IpAddr>, NoAddress> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let began = Instant::now();
        let mut hosts = self.hosts();
        // Whether this request saw a look-up run: an older failure is not its answer.
        let mut asked = false;
        loop {
            let now = Instant::now();
            let running = hosts.iter().filter(|host| host.is_running).count();
            let entry = known(&mut hosts, host);
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

    /// Starts the thread of a look-up.
    fn begin(self: &Arc<Resolver>, host: &str) -> io::Result<()> {
        let (resolver, host) = (Arc::clone(self), Box::<str>::from(host));
        let run = move || {
            // Its drop reports the result, even if the look-up panics: otherwise the host would count as running for ever.
            let mut outcome = LookupReport { resolver: &resolver, host: &host, found: None };
            outcome.found = Some((resolver.lookup)(&host));
        };
        thread::spawn("rt-resolve".to_owned(), 256 * 1024, Box::new(run)).map(drop)
    }
}

/// Reports the result of a look-up to the waiting requests when it is dropped.
struct LookupReport<'a> {
    resolver: &'a Resolver,
    host: &'a str,
    found: Option<io::Result<Vec<IpAddr>>>,
}

impl Drop for LookupReport<'_> {
    fn drop(&mut self) {
        let mut hosts = self.resolver.hosts();
        if let Some(host) = hosts.iter_mut().find(|host| *host.name == *self.host) {
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
    /// The old addresses, if there are any: an attempt with them is better than none.
    fn old(&self) -> Option<Vec<IpAddr>> {
        (!self.addresses.is_empty()).then(|| self.addresses.clone())
    }
}

/// The state of this host. For a new one, if there are too many, the host that was asked for longest ago is forgotten. A
/// host with a running look-up stays, because its thread will report to it.
fn known<'a>(hosts: &'a mut Vec<Host>, name: &str) -> &'a mut Host {
    let at = hosts.iter().position(|host| *host.name == *name).unwrap_or_else(|| {
        if hosts.len() >= LOOKUP_HOSTS_MAX {
            let idle = hosts.iter().enumerate().filter(|(_, host)| !host.is_running);
            let oldest = idle.min_by_key(|(_, host)| host.asked).map(|(at, _)| at);
            oldest.map(|at| hosts.swap_remove(at));
        }
        hosts.push(Host { name: name.into(), ..Host::default() });
        hosts.len() - 1
    });
    &mut hosts[at]
}

/// Why a host has no address.
#[derive(Debug, PartialEq)]
pub(crate) enum NoAddress {
    /// The look-up's error.
    Failed(String),
    /// The deadline came first, or the request was interrupted.
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
