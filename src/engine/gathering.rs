//! A window on its way into Lua. Its events go into one Lua array, over as many Calls as the budget wants; then one
//! Call hands the array to the aggregator's function. Game thread only. One window at a time. Owns the array between
//! two Calls and hands it back exactly once, to be released.
//!
//! ```text
//!  collector ──▶ Gather ──▶ Gather ──▶ ... ──▶ Aggregate ──▶ (done)
//!                  │ │ ▲ parked: same events again
//!                  │ └─┘
//!                  └── the state ends: the window goes back, the array is released
//!                  └── the aggregator is removed: the window is dropped, the array is released
//! ```

use crate::engine::call::{Aggregate, Call, CallbackRef, Gather};
use crate::engine::registrations::Registrations;
use crate::hooks::aggregator::Aggregator;
use crate::threads::shared::Shared;

/// The window under way, if there is one.
#[derive(Default)]
pub(crate) struct Gathering {
    under_way: Option<Gather>,
    /// Arrays of aggregators that were removed while a Call filled them, to be released.
    orphans: Vec<CallbackRef>,
}

impl Gathering {
    /// The next Call for the window under way, or else for the oldest window that waits.
    pub(crate) fn next(&mut self, shared: &Shared, aggregators: &Registrations) -> Option<Call> {
        let (mut gather, function) = loop {
            let gather = match self.under_way.take() {
                Some(gather) => gather,
                None => Gather::new(shared.collector.pop(|aggregator| aggregators.function(aggregator).is_some())?),
            };
            if let Some(function) = aggregators.function(gather.aggregator()) {
                break (gather, function);
            }
            // Building values can run a script's `__gc`, and that can remove the aggregator in the middle of a Call.
            shared.collector.drop_taken(gather.due);
            self.orphans.extend(gather.array);
        };
        if let (Some(array), true) = (gather.array, gather.filled >= gather.len()) {
            return Some(Call::Aggregate(Aggregate { due: gather.due, array, function }));
        }
        if !std::mem::take(&mut gather.is_parked) {
            gather.choose();
        }
        Some(Call::Gather(gather))
    }

    /// All events of the Call are in this array.
    pub(crate) fn gathered(&mut self, mut gather: Gather, array: CallbackRef) {
        gather.filled += gather.count;
        gather.made = 0;
        gather.array = Some(array);
        self.under_way = Some(gather);
    }

    /// The tick's time ended before all events of the Call were in its array.
    pub(crate) fn parked(&mut self, gather: Gather) {
        self.under_way = Some(Gather { is_parked: true, ..gather });
    }

    /// An aggregator was removed: drops its window. Returns the window's array, to be released.
    pub(crate) fn drop_of(&mut self, shared: &Shared, aggregator: &Aggregator) -> Option<CallbackRef> {
        let gather = self.under_way.take_if(|gather| std::ptr::eq(gather.aggregator(), aggregator))?;
        let array = gather.array;
        shared.collector.drop_taken(gather.due);
        array
    }

    /// The arrays of windows whose aggregators were removed during a Call, to be released.
    pub(crate) fn take_orphans(&mut self) -> Vec<CallbackRef> {
        std::mem::take(&mut self.orphans)
    }

    /// The Lua state ends: the window waits for the next state, which builds its array anew. Returns the arrays, to be
    /// released.
    pub(crate) fn detach(&mut self, shared: &Shared) -> Vec<CallbackRef> {
        let mut released = self.take_orphans();
        if let Some(gather) = self.under_way.take() {
            shared.collector.put_back(gather.due);
            released.extend(gather.array);
        }
        released
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}
