//! A window on its way into Lua: its events go into one array over as many Calls as the budget wants, then one Call
//! sums them up. Game thread only. One window at a time; the array is a Lua value that is kept in between, and handed
//! back once, to be released.

use crate::engine::aggregators::Aggregators;
use crate::engine::call::{Aggregate, Call, Gather};
use crate::engine::registry::CallbackRef;
use crate::hooks::aggregator::Aggregator;
use crate::threads::shared::Shared;

#[derive(Default)]
pub(crate) struct Gathering {
    under_way: Option<Gather>,
    /// Arrays of aggregators that were removed while a Call filled them, to be released.
    orphans: Vec<CallbackRef>,
}

impl Gathering {
    /// The next Call for the window under way, or for the next one.
    pub(crate) fn next(&mut self, shared: &Shared, aggregators: &Aggregators) -> Option<Call> {
        let (mut gather, function) = loop {
            let gather = match self.under_way.take() {
                Some(gather) => gather,
                None => Gather::new(shared.collector.pop(|aggregator| aggregators.function(aggregator).is_some())?),
            };
            if let Some(function) = aggregators.function(gather.aggregator()) {
                break (gather, function);
            }
            // Making values can run scripts (a `__gc`), and one of them removed the aggregator.
            shared.collector.drop_taken(&gather.due);
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

    /// The events of the Call stand in this array.
    pub(crate) fn gathered(&mut self, mut gather: Gather, array: CallbackRef) {
        gather.filled += gather.count;
        gather.made = 0;
        gather.array = Some(array);
        self.under_way = Some(gather);
    }

    /// Some of the events of the Call do not stand in its array yet.
    pub(crate) fn parked(&mut self, gather: Gather) {
        self.under_way = Some(Gather { is_parked: true, ..gather });
    }

    /// This aggregator was removed: its window goes too. Its array.
    pub(crate) fn drop_of(&mut self, shared: &Shared, aggregator: &Aggregator) -> Option<CallbackRef> {
        let gather = self.under_way.take_if(|gather| std::ptr::eq(gather.aggregator(), aggregator))?;
        shared.collector.drop_taken(&gather.due);
        gather.array
    }

    /// What is to be released of windows that went with their aggregators.
    pub(crate) fn take_orphans(&mut self) -> Vec<CallbackRef> {
        std::mem::take(&mut self.orphans)
    }

    /// The Lua state goes away: the window waits for the next one. What is to be released.
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
