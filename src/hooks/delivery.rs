//! How long a request is repeated, and how many events one request carries: the members `retry_for`, `attempts` and
//! `batch` of `discord` and `http` actions.
//! Parsed on the game thread, obeyed on `rt-webhooks` (`webhook/schedule.rs`); pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::limits::{WEBHOOK_AGE_MAX, WEBHOOK_ATTEMPTS_MAX, WEBHOOK_PATIENCE_MAX};
use crate::hooks::error::SpecError;
use crate::hooks::members::Members;
use crate::hooks::template::body::Syntax;

/// Largest number of a member `attempts`.
const ATTEMPTS_MAX: u64 = 100_000;
/// Largest number of events in one request that a hook may ask for: as many as wait in memory for one destination.
pub(crate) const BATCH_EVENTS_MAX: u64 = 1000;
/// Events in one request, unless the hook says otherwise.
const BATCH_EVENTS_DEFAULT: u32 = 100;
/// Longest time that the first event of a batch waits for others.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(300);
/// Time that the first event of a batch waits for others, unless the hook says otherwise.
const BATCH_WAIT_DEFAULT: Duration = Duration::from_secs(3);

/// The end of the attempts at one post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retries {
    /// From the event on; later it is too old.
    pub(crate) retry_for: Duration,
    /// Failed attempts after which it is given up. `u32::MAX` stands for no bound but the time.
    pub(crate) attempts: u32,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries { retry_for: WEBHOOK_AGE_MAX, attempts: WEBHOOK_ATTEMPTS_MAX }
    }
}

impl Retries {
    /// Reads `retry_for`, in seconds, and `attempts`. A hook that asks for a time gets as many attempts as fit into it.
    pub(crate) fn parse(members: &Members<'_>) -> Result<Retries, SpecError> {
        let range = 1.0..=WEBHOOK_PATIENCE_MAX.as_secs_f64();
        let asked = seconds(members, "retry_for", &range)?.map(|retry_for| Retries { retry_for, attempts: u32::MAX });
        let mut retries = asked.unwrap_or_default();
        if let Some(attempts) = members.whole("attempts", 1..=ATTEMPTS_MAX)? {
            retries.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        }
        Ok(retries)
    }

    /// Whether posts that find no room in memory wait on the disk: the hook asks for more time than posts have by default.
    pub(crate) fn is_long(self) -> bool {
        self.retry_for > WEBHOOK_AGE_MAX
    }
}

/// Several events in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Most events in one request.
    pub(crate) max: u32,
    /// Time that the first event waits for others.
    pub(crate) wait: Duration,
    pub(crate) form: BatchForm,
}

/// The form of a body that holds several events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchForm {
    /// `[{...},{...}]`
    Array,
    /// Each event ends with a line break. A template may write several lines for one event.
    Lines,
}

impl Batch {
    /// Reads the table `batch`. `syntax` and `is_template` are those of the hook's body: not every body can hold several
    /// events.
    pub(crate) fn parse(
        members: &Members<'_>,
        syntax: Option<Syntax>,
        is_template: bool,
    ) -> Result<Option<Batch>, SpecError> {
        let Some(table) = members.table("batch", "a table with `max` and `seconds`")? else { return Ok(None) };
        table.only(&[], &["max", "seconds"])?;
        if syntax.is_some_and(Syntax::misreads_json) {
            let found =
                format_args!("cannot join bodies of this Content-Type: known are JSON, JSON lines and text/plain");
            return Err(members.error("batch", found));
        }
        let max = table.whole("max", 1..=BATCH_EVENTS_MAX)?;
        let wait = seconds(&table, "seconds", &(0.0..=BATCH_WAIT_MAX.as_secs_f64()))?.unwrap_or(BATCH_WAIT_DEFAULT);
        let retry_for = Retries::parse(members)?.retry_for;
        if wait >= retry_for {
            let found = format_args!("is not less than `retry_for`, so every event would be too old to be posted");
            return Err(table.error("seconds", found));
        }
        let form = if is_template || syntax == Some(Syntax::JsonLines) { BatchForm::Lines } else { BatchForm::Array };
        let max = max.and_then(|max| u32::try_from(max).ok()).unwrap_or(BATCH_EVENTS_DEFAULT);
        Ok(Some(Batch { max, wait, form }))
    }

    /// The syntax of the template of one event. Without a `Content-Type` of the hook's, lines are JSON lines; and one event
    /// of a JSON body may take several lines.
    pub(crate) fn syntax(syntax: Option<Syntax>) -> Syntax {
        match syntax {
            None | Some(Syntax::Json) => Syntax::JsonLines,
            Some(other) => other,
        }
    }
}

/// A member that is a number of seconds in this range.
pub(crate) fn seconds(
    members: &Members<'_>,
    name: &str,
    range: &RangeInclusive<f64>,
) -> Result<Option<Duration>, SpecError> {
    match members.number(name)? {
        None => Ok(None),
        Some(seconds) if range.contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        Some(seconds) => {
            let (min, max) = (range.start(), range.end());
            Err(members.error(name, format_args!("expected {min} to {max} seconds, found {seconds}")))
        }
    }
}
