//! Look-ups that succeed, fail, hang and panic, in the place of the system's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Waits until this many look-ups hang. Their threads may start late on a busy machine.
fn wait_hung(hung: &AtomicUsize, count: usize) {
    let deadline = later();
    while hung.load(Ordering::SeqCst) != count {
        assert!(Instant::now() < deadline, "{} of {count} hang", hung.load(Ordering::SeqCst));
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn ip_addresses_need_no_look_up() {
    let resolver = Arc::new(Resolver::new(|host| panic!("looked up {host}")));
    assert_eq!(resolver.resolve("127.0.0.1", soon(), || false), Ok(vec![ADDRESS]));
    assert_eq!(resolver.resolve("::1", soon(), || false).unwrap()[0].to_string(), "::1");
}

#[test]
fn a_fresh_address_is_used_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let resolver = Arc::new(Resolver::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(vec![ADDRESS])
    }));
    for _ in 0..3 {
        assert_eq!(resolver.resolve("a", later(), || false), Ok(vec![ADDRESS]));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn failures_are_reported_and_not_kept() {
    let resolver = Arc::new(Resolver::new(|host| match host {
        "nothing" => Ok(Vec::new()),
        "panics" => panic!("a look-up that panics"),
        _ => Err(io::Error::other("no such host")),
    }));
    for (host, found) in [
        ("x", "no such host"),
        ("nothing", "the name has no address"),
        ("panics", "internal error"),
        ("x", "no such host"),
    ] {
        assert_eq!(resolver.resolve(host, later(), || false).unwrap_err().to_string(), found);
    }
}

#[test]
fn a_hanging_look_up_ends_at_the_deadline_and_delays_no_other_host() {
    let (release_tx, release_rx) = mpsc::channel::<()>();
    let release_rx = Mutex::new(release_rx);
    let hung = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hung);
    let resolver = Arc::new(Resolver::new(move |host| {
        if host.starts_with("hangs") {
            counted.fetch_add(1, Ordering::SeqCst);
            // Ends with the test.
            let _ = release_rx.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Ok(vec![ADDRESS])
    }));
    // Repeated requests start one thread for each host, and never more than the bound.
    for round in 0..3 {
        for host in ["hangs1", "hangs2", "hangs3"] {
            assert_eq!(resolver.resolve(host, soon(), || false), Err(NoAddress::NotInTime), "{round}");
        }
    }
    wait_hung(&hung, 3);
    assert_eq!(resolver.resolve("good", later(), || false), Ok(vec![ADDRESS]));
    for n in 4..=LOOKUPS_MAX {
        assert_eq!(resolver.resolve(&format!("hangs{n}"), soon(), || false), Err(NoAddress::NotInTime));
    }
    // An interrupted request does not wait.
    let began = Instant::now();
    assert_eq!(resolver.resolve("hangs1", later(), || true), Err(NoAddress::NotInTime));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(resolver.resolve("no-place-left", soon(), || false), Err(NoAddress::NotInTime));
    wait_hung(&hung, LOOKUPS_MAX);
    // Hosts with a fresh address still work.
    assert_eq!(resolver.resolve("good", later(), || false), Ok(vec![ADDRESS]));
    drop(release_tx);
    assert_eq!(resolver.resolve("hangs1", later(), || false), Ok(vec![ADDRESS]));
}

#[test]
fn an_old_address_is_used_while_look_ups_fail() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let resolver = Arc::new(Resolver::new(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(vec![ADDRESS]),
        _ => Err(io::Error::other("server failure")),
    }));
    assert_eq!(resolver.resolve("a", later(), || false), Ok(vec![ADDRESS]));
    resolver.hosts().get_mut("a").unwrap().found = Instant::now().checked_sub(LOOKUP_FRESH);
    assert_eq!(resolver.resolve("a", later(), || false), Ok(vec![ADDRESS]));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn hosts_are_bounded() {
    let resolver = Arc::new(Resolver::new(|_| Ok(vec![ADDRESS])));
    for n in 0..LOOKUP_HOSTS_MAX * 2 {
        resolver.resolve(&format!("h{n}"), later(), || false).unwrap();
    }
    assert_eq!(resolver.hosts().len(), LOOKUP_HOSTS_MAX);
    assert!(resolver.hosts().contains_key(&*format!("h{}", LOOKUP_HOSTS_MAX * 2 - 1)));
}
