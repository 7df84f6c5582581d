//! Aggregators as the game thread keeps them: with the Lua functions that sum their windows up. Game thread only. They
//! outlive a Lua state with the events they collected: the same aggregator, added again by the next state, goes on.
//! `registrations.rs` says how aggregators are told apart and how long they stay; this file knows how one is built.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::engine::call::CallbackRef;
use crate::engine::registrations::{Build, Kind, Parts, Registered, Registrations};
use crate::hooks::aggregator::{Aggregator, Windows};
use crate::hooks::error::SpecError;
use crate::hooks::spec::AggregatorSpec;

/// `rt-actions` looks at every aggregator whenever a window may be over, and each has a lease in Redis: hence the limit.
static AGGREGATORS: Kind = Kind { max: 1024, plural: "aggregators", parse };

/// Checks the specification of an aggregator.
fn parse(spec: &Value, has_function: bool) -> Result<Build, SpecError> {
    let spec = AggregatorSpec::parse(spec)?;
    if !has_function {
        return Err(SpecError::new("aggregate", format_args!("expected a function")));
    }
    // An aggregator with the same fingerprint goes on with its windows.
    Ok(Box::new(|parts, same| {
        same.cloned().unwrap_or_else(|| {
            let Parts { id, topic, fingerprint, lease } = parts;
            let windows = Mutex::new(Windows::new(&spec));
            Registered::Aggregator(Arc::new(Aggregator { id, fingerprint, topic, spec, lease, windows }))
        })
    }))
}

impl Registrations {
    /// The aggregators of a server that has none yet.
    pub(crate) fn aggregators() -> Registrations {
        Registrations::new(&AGGREGATORS)
    }

    /// The function that sums up the windows of this aggregator. `None` if the attached state has none for it, or if
    /// its id belongs to another aggregator now: that one has windows of its own.
    pub(crate) fn function(&self, aggregator: &Aggregator) -> Option<CallbackRef> {
        let (known, function) = self.known(&aggregator.id, &aggregator.topic)?;
        function.filter(|_| known.aggregator().is_some_and(|known| std::ptr::eq(&**known, aggregator)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::registrations::Origin;

    fn of(registered: &Registered) -> Arc<Aggregator> {
        Arc::clone(registered.aggregator().unwrap())
    }

    fn spec(interval: u64) -> Value {
        let function = json!({ "\u{0}function": "x.lua:1" });
        json!({ "interval": interval, "aggregate": function, "actions": [{ "type": "file", "path": "x.log" }] })
    }

    #[test]
    fn the_same_aggregator_goes_on_and_a_different_one_replaces_it() {
        let mut aggregators = Registrations::aggregators();
        let mut add = |id: &[u8], interval, function| {
            let (function, origin) = (Some(CallbackRef(function)), Origin::default());
            let added = aggregators.parse_and_add(b"a", Some(id), &spec(interval), function, &origin).unwrap();
            (of(&added.item), added.function, added.replaced.as_ref().map(of))
        };
        let (first, ..) = add(b"x", 60, 1);
        let (again, function, replaced) = add(b"x", 60, 2);
        assert!(Arc::ptr_eq(&first, &again) && replaced.is_none());
        assert_eq!(function, Some(CallbackRef(1)));
        let (twin, ..) = add(b"y", 60, 3);
        assert!(Arc::ptr_eq(&twin.lease, &first.lease) && !Arc::ptr_eq(&twin, &first));
        let (other, function, replaced) = add(b"x", 30, 4);
        assert!(replaced.is_some_and(|replaced| Arc::ptr_eq(&replaced, &first)));
        assert_eq!(function, Some(CallbackRef(2)));
        assert_eq!((aggregators.function(&other), aggregators.function(&first)), (Some(CallbackRef(4)), None));
        assert_eq!(
            (aggregators.remove(None, b"x").len(), aggregators.remove(None, b"x").len(), aggregators.len()),
            (1, 0, 1)
        );
    }

    #[test]
    fn aggregators_outlive_a_lua_state_and_their_functions_do_not() {
        let mut aggregators = Registrations::aggregators();
        let add = |aggregators: &mut Registrations, channel: &[u8], function| {
            let (function, origin) = (Some(CallbackRef(function)), Origin::default());
            of(&aggregators.parse_and_add(channel, None, &spec(60), function, &origin).unwrap().item)
        };
        let added = add(&mut aggregators, b"a", 1);
        add(&mut aggregators, b"b", 2);
        assert_eq!(aggregators.detach().len(), 2);
        assert!(aggregators.keeps_any() && aggregators.function(&added).is_none());
        add(&mut aggregators, b"a", 3);
        assert_eq!(aggregators.function(&added), Some(CallbackRef(3)));
        aggregators.take_changes();
        let gone = aggregators.drop_kept(9);
        assert_eq!((gone.len(), aggregators.len(), aggregators.take_changes().len()), (1, 1, 1));
        assert_eq!(gone[0].header().topic.name(), b"b");
    }

    #[test]
    fn a_wrong_spec_changes_nothing() {
        let mut aggregators = Registrations::aggregators();
        let mut add = |spec: &Value, function| {
            let added =
                aggregators.parse_and_add(b"a", Some(b"x"), spec, Some(CallbackRef(function)), &Origin::default());
            let changes = aggregators.take_changes().len();
            (added.err().map(|err| err.0.member), changes, aggregators.len())
        };
        assert_eq!(add(&spec(60), 1), (None, 1, 1));
        assert_eq!(add(&json!({ "interval": 60 }), 2), (Some("aggregate".to_owned()), 0, 1));
    }
}
