//! Sends the events, commands and counters of scripts and hooks to Redis. Runs on `rt-publisher`; owns one connection
//! and the order of the outbox. It takes everything that waits, writes it at once, and does not wait for answers before
//! the next write (pipelining); replies are matched in order (`publisher/session.rs`). When a connection ends,
//! unanswered items are sent again on the next one if repeating them is safe; the others count as `unknown`
//! (`publisher/backlog.rs`).
//!
//! | file | question |
//! |---|---|
//! | [`outbox`], [`mod@run`], [`replies`] | How do other threads hand in items, and how do answers come back? |
//! | [`direct`] | How does the game thread read on a connection that nobody else uses? |
//! | [`backlog`] | Which items have no fate yet, and which is written next? |
//! | [`pace`], [`scripts`], [`refused`] | Which commands do the replies so far allow? |
//! | [`keeps`], [`keeping`] | Which events does Redis keep, and can it? |
//! | [`in_flight`] | Which command does the next reply answer? |
//! | [`leases`], [`expiries`], [`presence`] with [`standing`] | Which commands does this thread add of its own? |
//! | [`session`] | How does the work on one connection go? |

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::redis::backoff::Backoff;
use crate::redis::error_reply::Class;
use crate::threads::links::Side;
use crate::threads::links::Trouble;
use crate::threads::shared::Shared;

use backlog::Backlog;
use session::{End, Session};

mod backlog;
pub(crate) mod direct;
mod expiries;
mod in_flight;
mod keeping;
pub(crate) mod keeps;
mod leases;
pub(crate) mod outbox;
mod pace;
mod presence;
mod refused;
pub(crate) mod replies;
pub(crate) mod run;
mod scripts;
mod session;
pub(crate) mod standing;

/// The thread's loop: connect, work until the connection ends, wait, connect again, until stop.
pub(crate) fn run(shared: &Arc<Shared>) {
    if shared.links.publisher.is_ready() {
        // The link was ready when this thread panicked.
        let reason = "internal error, the publisher starts again".to_owned();
        shared.link_down(Side::Publisher, &Trouble::new(reason, Class::Wait));
    }
    let mut backoff = Backoff::default();
    let mut backlog = Backlog::new(shared);
    // When the connection was lost that the next one replaces.
    let mut lost: Option<Instant> = None;
    loop {
        let (seen, mut was_ready) = (shared.settings.connection_version(), false);
        // With new settings this thread may be faster than the one that changed them: a publish waits for subscriptions that
        // are made with them too.
        shared.subscriptions.disconnect_before(seen);
        let goal = shared.goal();
        let config = &goal.config;
        backlog.follow(config);
        let redis = config.redis_name();
        let (trouble, class) = match goal.open(shared, "publisher") {
            Ok(connection) => {
                let (ready, connection) = (Instant::now(), Arc::new(connection));
                let master = shared.follow_master(&connection);
                let named = connection.master().map(|master| format!(", the master is {master}")).unwrap_or_default();
                log::info!("connected to {redis}{named}");
                shared.links.up(Side::Publisher);
                let hold = lost.take().map_or(Duration::ZERO, |lost| Backoff::others_return_within(lost.elapsed()));
                backlog.hold_publishes(ready + hold);
                let end = Session::new(shared, &connection, &mut backlog, seen, master).serve();
                backlog.connection_ended();
                match end {
                    End::Stop => return,
                    End::Settings => {
                        let reason = format!("left {redis}: the settings changed");
                        shared.link_down(Side::Publisher, &Trouble::new(reason, Class::Reconnect));
                        continue;
                    }
                    End::Lost { reason, class } => {
                        was_ready = true;
                        lost = Some(Instant::now());
                        backoff.was_ready(ready.elapsed());
                        (format!("lost the connection to {redis}: {reason}"), class)
                    }
                }
            }
            Err(err) => {
                shared.stats.connect_failures.add(u64::from(config.not_understood().is_none()));
                (err.to_string(), err.class())
            }
        };
        let trouble = Trouble::new(trouble, class);
        // Faults in the settings were logged when the settings were read.
        if shared.link_down(Side::Publisher, &trouble) && config.not_understood().is_none() {
            log::warn!("{}; retrying, {} wait", trouble.reason, shared.outbox.waiting());
        }
        // Counted after the link is down: a thread that sees the count finds the link so.
        shared.stats.reconnects.add(u64::from(was_ready));
        if backlog.wait(backoff.next_delay(class, shared.random()), seen) {
            return;
        }
    }
}
