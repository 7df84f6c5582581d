//! Numbers and states for the outside: the tally and the report of each destination for `Stats()`, and posts that were
//! given up. Pure values.

use std::time::Duration;

use crate::webhook::post::Post;

/// Counts of one destination since the process started. `offered` = `delivered` + `dead` + `replaced` + jobs that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs; several may be merged into one request.
    pub offered: u64,
    pub delivered: u64,
    /// Jobs that were given up.
    pub dead: u64,
    /// Texts of a status message that a newer one took the place of.
    pub replaced: u64,
    /// Requests by the status of the response.
    pub(crate) status_2xx: u64,
    /// All statuses that no other counter counts, redirections included.
    pub(crate) status_4xx: u64,
    pub status_429: u64,
    pub status_5xx: u64,
    pub no_answer: u64,
}

impl Tally {
    /// Adds the counts of another destination.
    pub(super) fn add(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.replaced += other.replaced;
        self.status_2xx += other.status_2xx;
        self.status_4xx += other.status_4xx;
        self.status_429 += other.status_429;
        self.status_5xx += other.status_5xx;
        self.no_answer += other.no_answer;
    }

    /// Counts a request by the status of its response; 0 stands for no response.
    pub(super) fn count_status(&mut self, status: u16) {
        match status {
            200..300 => self.status_2xx += 1,
            429 => self.status_429 += 1,
            500.. => self.status_5xx += 1,
            0 => self.no_answer += 1,
            // A redirection is refused like an error of the client: it is never followed.
            _ => self.status_4xx += 1,
        }
    }
}

/// A post that was given up.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) post: Post,
    pub(crate) cause: Cause,
    /// The reason in words. Holds no secret if the reason handed to the schedule had none.
    pub(crate) reason: String,
}

/// The counter under which a dead letter is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Too many posts waited in memory or on the disk: the oldest made room. Also a single post that is too large, and one
    /// that the disk did not take.
    Overflow,
    /// Older than `WEBHOOK_AGE_MAX`, or than its hook's `retry_for`.
    Expired,
    /// Too many attempts failed.
    Attempts,
    /// The destination refused this post.
    Refused,
    /// The destination accepts no posts any more.
    Closed,
    /// Too many other destinations have posts.
    Crowded,
    /// A newer text of the same status message took its place.
    Replaced,
}

impl Cause {
    /// The name in the dead-letter file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cause::Overflow => "overflow",
            Cause::Expired => "expired",
            Cause::Attempts => "attempts",
            Cause::Refused => "refused",
            Cause::Closed => "closed",
            Cause::Crowded => "crowded",
            Cause::Replaced => "replaced",
        }
    }
}

/// One destination for `Stats()`.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationReport {
    /// The URL without its secrets.
    pub name: String,
    /// The hook of the newest post. Destinations on one host may have equal names, because their secrets are masked.
    pub hook: String,
    pub(crate) kind: &'static str,
    pub tally: Tally,
    /// Jobs that wait or are in flight.
    pub waiting: u64,
    /// Those of them that wait on the disk.
    pub on_disk: u64,
    pub state: DestinationState,
}

/// The state of a destination, the most serious one that applies.
#[derive(Debug, Clone, PartialEq)]
pub enum DestinationState {
    Ok,
    /// A rate limit or a failure pauses it for this time.
    Paused(Duration),
    /// Several failures in a row. The text is the last of them.
    Broken(String),
    /// No posts are sent: for good (Discord), or for the time in the reason (`http`).
    Closed(String),
}
