//! Sends what scripts emit, set, read and count. Runs on `rt-publisher`; owns one connection and the order of the
//! outbox. Takes all that waits, writes it at once, and does not wait for an answer before the next write; answers are
//! matched in order (`publisher/session.rs`). What was written and not answered when a connection ends is written
//! again on the next one, where that does no harm, else counted as `unknown` (`publisher/backlog.rs`).

use std::sync::Arc;
use std::time::Instant;

use crate::redis::backoff::Backoff;
use crate::redis::connection::Connection;
use crate::redis::refusal::Class;
use crate::threads::links::{Side, Trouble};
use crate::threads::shared::Shared;

use backlog::Backlog;
use session::{End, Session};

mod backlog;
mod in_flight;
mod leases;
pub(crate) mod outbox;
mod refused;
pub(crate) mod replies;
pub(crate) mod run;
mod session;

/// The thread's whole life: connect, serve, wait, again, until stop.
pub(crate) fn run(shared: &Arc<Shared>) {
    if shared.links.publisher.is_ready() {
        let reason = "internal error, the publisher starts again".to_owned();
        shared.link_down(Side::Publisher, &Trouble::new(reason, Class::Wait));
    }
    let mut backoff = Backoff::default();
    let mut backlog = Backlog::new(shared);
    loop {
        let (seen, mut was_ready) = (shared.settings.generation(), false);
        let config = shared.settings.current();
        backlog.follow(&config);
        let address = &config.redis;
        let (trouble, class) = match Connection::open(&config, "publisher") {
            Ok(connection) => {
                let ready = Instant::now();
                log::info!("connected to redis at {address}");
                shared.links.up(Side::Publisher);
                let end = Session::new(shared, &connection, &mut backlog, seen).serve();
                backlog.connection_ended();
                match end {
                    End::Stop => return,
                    End::Settings => {
                        let reason = format!("left redis at {address}: the settings changed");
                        shared.link_down(Side::Publisher, &Trouble::new(reason, Class::Reconnect));
                        continue;
                    }
                    End::Lost { reason, class } => {
                        was_ready = true;
                        backoff.was_ready(ready.elapsed());
                        (format!("lost the connection to redis at {address}: {reason}"), class)
                    }
                }
            }
            Err(err) => {
                shared.stats.connect_failures.add(u64::from(config.not_understood().is_none()));
                (err.to_string(), err.class())
            }
        };
        let trouble = Trouble::new(trouble, class);
        // What is wrong with the settings was said when they were read.
        if shared.link_down(Side::Publisher, &trouble) && config.not_understood().is_none() {
            log::warn!("{}; retrying, {} commands wait", trouble.reason, shared.outbox.waiting());
        }
        // After it counts as lost: who sees the number finds it so.
        shared.stats.reconnects.add(u64::from(was_ready));
        if backlog.wait(backoff.next_delay(class, shared.random()), seen) {
            return;
        }
    }
}
