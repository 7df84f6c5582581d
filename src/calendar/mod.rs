//! Dates and times of day in the owner's zone, a fixed distance from UTC. Pure, apart from the two atomics of [`zone`].
//! No time zone database: the machine says how far its clock is from UTC now (`lua/utc_offset.lua`), or the owner does.
//!
//! | file | question |
//! |---|---|
//! | `civil` | Which date is a number of days, and which week is it in? |
//! | `offset` | Which distance from UTC does the owner mean? |
//! | `zone` | Which distance holds now? |
//! | `format` | How is a time printed after `{time:%H:%M}`? |
//! | `interval` | In which window of an aggregator is a moment, and when does the window end? |

pub(crate) mod civil;
pub(crate) mod format;
pub(crate) mod interval;
pub(crate) mod offset;
pub(crate) mod zone;
