//! The receiving end of one connection: bytes are read straight into spare room and stay put until they are consumed.
//!
//! ```text
//!  0        start            end          len
//!  |  dead  |  pending bytes |  spare room |       compaction: pending moves to 0, at most once per read
//! ```
//! The buffer grows by doubling when real bytes have filled it, and gives memory back when a window of reads did not
//! need it. It owns no meaning: what the bytes say is the decoder's business.

use std::io::{self, ErrorKind, Read};

use super::count_work;

/// One read of a busy connection; also what an idle connection keeps.
pub(super) const BUFFER_BYTES_START: usize = 16 * 1024;
/// Less room than this is not worth a system call.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// A grown buffer takes no bigger bites than this, or one large value would make every later read sweep through cold
/// memory and keep the buffer large for good.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Reads after which an oversized buffer shrinks: long enough that a run of large values keeps what it needs.
const SHRINK_WINDOW_READS: u32 = 64;
const _: () = assert!(ROOM_BYTES_MIN < BUFFER_BYTES_START && BUFFER_BYTES_START <= READ_BYTES_MAX);

#[derive(Default)]
pub(super) struct Buffer {
    /// Zeroed when it grows, so all of its length can be read into.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The furthest any read of this window came.
    window_peak: usize,
    window_reads: u32,
}

impl Buffer {
    /// What has arrived and is not consumed.
    #[inline(always)]
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Declares the first `count` pending bytes dead and returns them; they stay readable until the next read.
    #[inline(always)]
    pub(super) fn consume(&mut self, count: usize) -> &[u8] {
        let consumed = self.bytes.get(self.start..self.start + count).unwrap_or_default();
        self.start += consumed.len();
        consumed
    }

    /// One read of `source` into spare room. 0 is its end.
    pub(super) fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let until = self.bytes.len().min(self.end + READ_BYTES_MAX);
        let room = self.bytes.get_mut(self.end..until).unwrap_or_default();
        let room_bytes = room.len();
        let count = loop {
            match source.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                // A reader that claims more than it was given is broken, but must not break the buffer.
                Ok(count) => break count.min(room_bytes),
            }
        };
        self.end += count;
        self.window_peak = self.window_peak.max(self.end);
        Ok(count)
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn make_room(&mut self) {
        self.window_reads += 1;
        if self.window_reads >= SHRINK_WINDOW_READS {
            self.end_window();
        }
        let live = self.end - self.start;
        // Moving no more than has been consumed since the last move keeps the total linear.
        if self.start >= live {
            self.compact();
        }
        if self.bytes.len() - self.end < ROOM_BYTES_MIN {
            self.compact();
            self.resize(self.bytes.len().saturating_mul(2));
        }
    }

    /// The end of a window of reads: a buffer four times what the window needed shrinks to twice that.
    fn end_window(&mut self) {
        if self.bytes.len() > BUFFER_BYTES_START && self.window_peak <= self.bytes.len() / 4 {
            self.compact();
            self.resize(self.window_peak.saturating_mul(2).max(self.end));
        }
        (self.window_peak, self.window_reads) = (0, 0);
    }

    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        count_work(self.end);
    }

    /// At least `len` long, at least the start size, a power of two.
    fn resize(&mut self, len: usize) {
        let len = len.max(BUFFER_BYTES_START).checked_next_power_of_two().unwrap_or(len);
        if len > self.bytes.len() {
            count_work(self.end);
            self.bytes.reserve_exact(len - self.bytes.len());
            self.bytes.resize(len, 0);
        } else {
            self.bytes.truncate(len);
            self.bytes.shrink_to(len);
        }
    }
}
