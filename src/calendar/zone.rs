//! [`Zone`], the distance from UTC that holds now, for every thread. The game thread writes it: the machine's distance at
//! each attach and once a minute, so that daylight saving time is followed, and the owner's when settings change.

use std::sync::atomic::{AtomicI32, Ordering};

use super::civil::DAY_S;

/// No distance: the owner set none.
const NONE: i32 = i32::MIN;

/// The distance of the machine's clock from UTC, and the owner's. Both in seconds to the east.
pub(crate) struct Zone {
    machine_s: AtomicI32,
    owner_s: AtomicI32,
}

impl Zone {
    /// The zone of an owner who set this distance. The machine's is UTC until it is known.
    pub(crate) fn new(owner_s: Option<i32>) -> Zone {
        Zone { machine_s: AtomicI32::new(0), owner_s: AtomicI32::new(owner_s.unwrap_or(NONE)) }
    }

    /// The distance in force.
    pub(crate) fn offset_s(&self) -> i32 {
        match self.owner_s.load(Ordering::Relaxed) {
            NONE => self.machine_s.load(Ordering::Relaxed),
            owner_s => owner_s,
        }
    }

    /// Sets the owner's distance. `None`: that of the machine counts.
    pub(crate) fn set_owner(&self, owner_s: Option<i32>) {
        self.owner_s.store(owner_s.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Sets the machine's distance, as Lua's clock tells it. No zone is a day away, so such a number is ignored. Returns the
    /// distance in force if this changes it.
    pub(crate) fn set_machine(&self, offset_s: f64) -> Option<i32> {
        let last = self.offset_s();
        if offset_s.abs() < DAY_S as f64 {
            self.machine_s.store(offset_s as i32, Ordering::Relaxed);
        }
        Some(self.offset_s()).filter(|offset_s| *offset_s != last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_distance_counts_before_that_of_the_machine() {
        let zone = Zone::new(None);
        assert_eq!(zone.offset_s(), 0);
        assert_eq!(zone.set_machine(7200.0), Some(7200));
        for wrong in [f64::NAN, f64::INFINITY, 86_400.0, -1e300] {
            assert_eq!(zone.set_machine(wrong), None);
        }
        assert_eq!(zone.offset_s(), 7200);
        zone.set_owner(Some(-3600));
        assert_eq!(zone.set_machine(3600.0), None);
        assert_eq!(zone.offset_s(), -3600);
        zone.set_owner(None);
        assert_eq!(zone.offset_s(), 3600);
        assert_eq!(Zone::new(Some(60)).offset_s(), 60);
    }
}
