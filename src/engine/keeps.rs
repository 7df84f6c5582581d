//! `Keep`: a script asks that Redis keeps the events of a channel or pattern that this server emits. Game thread only.
//! Like hooks, the wish outlives a map change and ends with the grace period if the new state does not repeat it.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::engine::{Engine, Refusal, fits};
use crate::event::topic::Topic;
use crate::hooks::error::SpecError;
use crate::hooks::members::Members;
use crate::threads::publisher::keeps::{KEEPS_MAX, Rule};

/// Events in one stream. The upper bound is some hundred megabytes of usual events.
const MAX_EVENTS: RangeInclusive<u64> = 1..=1_000_000;
const MAX_EVENTS_USUAL: u64 = 10_000;
/// Seconds from the last event to the end of its stream.
const MAX_AGE_S: RangeInclusive<u64> = 1..=30 * 86_400;
const MAX_AGE_S_USUAL: u64 = 86_400;

impl Engine {
    /// Has Redis keep the events of this channel or pattern from now on. `options` is a JSON object, or the empty array
    /// as which an empty Lua table is written; `None` ends it.
    pub fn keep(&mut self, channel: &[u8], options: Option<&Value>) -> Result<(), Refusal> {
        self.admit()?;
        fits("channel", channel, NAME_BYTES_MAX)?;
        let (keeps, topic) = (&self.shared.keeps, Topic::new(channel));
        let Some(options) = options else {
            keeps.remove(&topic);
            return Ok(());
        };
        let (max_events, max_age_s) = bounds(options).map_err(|err| Refusal::Config(err.to_string()))?;
        let (max_age_ms, generation) = (max_age_s * 1000, self.generation);
        if !keeps.add(Rule { topic, max_events, max_age_ms, generation }) {
            let found = format!("this server keeps {KEEPS_MAX} channels and patterns already; use a pattern for many");
            return Err(Refusal::Config(found));
        }
        Ok(())
    }
}

/// The options `max_events` and `max_age`; unknown ones are errors.
fn bounds(options: &Value) -> Result<(u64, u64), SpecError> {
    let members = Members::of(options, "", "a table of options")?;
    members.only(&[], &["max_events", "max_age"])?;
    let max_events = members.whole("max_events", MAX_EVENTS)?.unwrap_or(MAX_EVENTS_USUAL);
    Ok((max_events, members.whole("max_age", MAX_AGE_S)?.unwrap_or(MAX_AGE_S_USUAL)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_usual_values_and_limits() {
        for (options, expected) in [
            ("[]", "10000 86400"),
            ("{}", "10000 86400"),
            (r#"{"max_events":1,"max_age":1}"#, "1 1"),
            (r#"{"max_events":1000000,"max_age":2592000}"#, "1000000 2592000"),
            (r#"{"max_events":0}"#, "max_events: expected a whole number"),
            (r#"{"max_events":1000001}"#, "max_events: expected a whole number"),
            (r#"{"max_events":1.5}"#, "max_events: expected a whole number"),
            (r#"{"max_events":"5"}"#, "max_events: "),
            (r#"{"max_events":-1}"#, "max_events: expected a whole number"),
            (r#"{"max_events":true}"#, "max_events: "),
            (r#"{"max_age":1e308}"#, "max_age: expected a whole number"),
            (r#"{"max_age":0}"#, "max_age: expected a whole number"),
            (r#"{"max_age":2592001}"#, "max_age: expected a whole number"),
            (r#"{"max_ages":5}"#, "did you mean `max_age`?"),
            ("[5]", "a table of options"),
        ] {
            let found = match bounds(&serde_json::from_str(options).unwrap()) {
                Ok((events, age)) => format!("{events} {age}"),
                Err(err) => err.to_string(),
            };
            assert!(found.contains(expected), "{options}: {found}");
        }
    }
}
