//! [`Stream`], a list of entries, each with an id that is larger than all ids before it, also if the clock was set back
//! or the entries are gone. Pure. It is bounded in bytes, and so in entries: the oldest ones go first.
//!
//! ```text
//!   id       1732460000123-5      milliseconds of Unix time, and a number within the millisecond
//!   in here  ms << 64 | number    so that ids are compared, and the next one found, as whole numbers
//!   fields   | channel | chat | event | {...} |      as in `words.rs`
//! ```

use super::words;

/// Memory that the entries of one stream may take, in bytes: an eighth of the store.
pub(super) const STREAM_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Memory that one entry takes beside its fields: its place in the list, which may be half empty, and an allocation.
const ITEM_OVERHEAD_BYTES: usize = 96;
/// Memory that a stream takes beside its entries: itself, and the first places of its list.
const STREAM_OVERHEAD_BYTES: usize = 192;
/// Entries beyond a bound go in groups of about this part of it, as each group moves the whole list.
const SPARE: usize = 16;

pub(super) type Id = u128;

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: Id,
    /// Names and values in turn, in the form of `words.rs`.
    pub(super) fields: Box<[u8]>,
}

impl Item {
    fn bytes(&self) -> usize {
        self.fields.len() + ITEM_OVERHEAD_BYTES
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    /// By id.
    items: Vec<Item>,
    /// The largest id that it ever had.
    last: Id,
    /// Memory of the entries.
    bytes: usize,
}

impl Stream {
    /// Memory that it is charged for, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + STREAM_OVERHEAD_BYTES
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The largest id that it ever had; 0: none.
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// Sets the largest id that it ever had. False: an entry has a larger one.
    pub(super) fn set_last(&mut self, last: Id) -> bool {
        let is_largest = last >= self.last;
        if is_largest {
            self.last = last;
        }
        is_largest
    }

    /// Adds an entry, whose id is larger than the last one. Beyond [`STREAM_BYTES_MAX`] the oldest entries go.
    pub(super) fn add(&mut self, id: Id, fields: &[&[u8]]) {
        let mut row = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
        fields.iter().for_each(|field| words::put_bytes(&mut row, field));
        let item = Item { id, fields: row.into() };
        self.bytes += item.bytes();
        self.items.push(item);
        self.last = id;
        if self.bytes > STREAM_BYTES_MAX {
            self.fit(STREAM_BYTES_MAX - STREAM_BYTES_MAX / SPARE);
        }
    }

    /// Drops the oldest entries beyond so many; `is_about`: some more may stay for now.
    pub(super) fn keep(&mut self, most: usize, is_about: bool) {
        let spare = if is_about { most / SPARE } else { 0 };
        if self.items.len() > most.saturating_add(spare) {
            self.drop_first(self.items.len() - most);
        }
    }

    /// Drops the oldest entries that take more than so many bytes with those behind them. The newest one stays.
    pub(super) fn fit(&mut self, bytes_max: usize) {
        let (mut left, mut count) = (self.bytes, 0);
        for item in self.items.iter().take(self.items.len().saturating_sub(1)) {
            if left <= bytes_max {
                break;
            }
            left -= item.bytes();
            count += 1;
        }
        self.drop_first(count);
    }

    fn drop_first(&mut self, count: usize) {
        self.items.drain(..count).for_each(|item| self.bytes -= item.bytes());
        self.shrink();
    }

    /// Removes the entries of these ids, which are in order. Returns their number.
    pub(super) fn take(&mut self, ids: &[Id]) -> usize {
        let before = self.items.len();
        self.items.retain(|item| {
            let stays = ids.binary_search(&item.id).is_err();
            if !stays {
                self.bytes -= item.bytes();
            }
            stays
        });
        self.shrink();
        before - self.items.len()
    }

    /// Frees memory of a list that is less than half full, as only its entries are charged for.
    fn shrink(&mut self) {
        if self.items.capacity() / 2 > self.items.len() {
            self.items.shrink_to(self.items.len() * 2);
        }
    }

    /// The number of entries with smaller ids.
    fn place(&self, id: Id) -> usize {
        self.items.partition_point(|item| item.id < id)
    }

    /// The entries from one id to another, both included.
    pub(super) fn range(&self, first: Id, last: Id) -> &[Item] {
        let end = last.checked_add(1).map_or(self.items.len(), |behind| self.place(behind));
        self.items.get(self.place(first)..end).unwrap_or_default()
    }
}

/// Reads an id; one without a number in the millisecond gets `number`. Not `*`, `-` and `+`.
pub(super) fn read_id(text: &[u8], number: u64) -> Option<Id> {
    let text = std::str::from_utf8(text).ok()?;
    let (millis, number) = match text.split_once('-') {
        Some((millis, number)) => (millis, number.parse().ok()?),
        None => (text, number),
    };
    let millis: u64 = millis.parse().ok()?;
    Some(Id::from(millis) << 64 | Id::from(number))
}

pub(super) fn print_id(id: Id) -> String {
    format!("{}-{}", (id >> 64) as u64, id as u64)
}

#[cfg(test)]
mod tests;
