//! The receive buffer of one connection. The decoder reads bytes into its spare room, and they stay there until they
//! are consumed. Runs on the thread that reads the connection; knows nothing of the protocol.
//!
//! ```text
//!  0        start            end          len
//!  |  dead  |  pending bytes |  spare room |       compaction: pending moves to 0, at most once per read
//! ```
//! The buffer doubles when real bytes have filled it, never because of an announced length. It shrinks when a window of
//! reads did not need its size; reads that find nothing count as well, so an idle connection shrinks too.

use std::io::{self, ErrorKind, Read};

use super::count_work;

/// Size of a new buffer, in bytes, and of an idle one: one read of a busy connection.
pub(super) const BUFFER_BYTES_START: usize = 16 * 1024;
/// Less spare room than this, in bytes, is not worth a system call.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// Most bytes of one read. Without it, one large value would make every later read fill the grown buffer, which would
/// touch cold memory and keep the buffer large for good.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Reads in a window, after which an oversized buffer shrinks: enough that a series of large values keeps its buffer.
const SHRINK_WINDOW_READS: u32 = 64;
const _: () = assert!(ROOM_BYTES_MIN < BUFFER_BYTES_START && BUFFER_BYTES_START <= READ_BYTES_MAX);

/// See the drawing above.
#[derive(Default)]
pub(super) struct Buffer {
    /// Zeroed when it grows, so all of its length can be read into.
    bytes: Vec<u8>,
    /// The pending bytes are `start..end`.
    start: usize,
    end: usize,
    /// The highest `end` in this window.
    window_peak: usize,
    /// Reads in this window.
    window_reads: u32,
}

impl Buffer {
    /// The bytes that have arrived and are not consumed.
    #[inline(always)]
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Consumes the first `count` pending bytes and returns them. They stay readable until the next read.
    #[inline(always)]
    pub(super) fn consume(&mut self, count: usize) -> &[u8] {
        let consumed = self.bytes.get(self.start..self.start + count).unwrap_or_default();
        self.start += consumed.len();
        consumed
    }

    /// One read of `source` into spare room. Returns the number of bytes; 0 is the end of the source.
    pub(super) fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let until = self.bytes.len().min(self.end + READ_BYTES_MAX);
        let room = self.bytes.get_mut(self.end..until).unwrap_or_default();
        let room_bytes = room.len();
        let count = loop {
            match source.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                // A broken source may claim more than the room it was given; that must not break the buffer.
                Ok(count) => break count.min(room_bytes),
            }
        };
        self.end += count;
        self.window_peak = self.window_peak.max(self.end);
        Ok(count)
    }

    /// Memory held, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes at least [`ROOM_BYTES_MIN`] of spare room: by compaction if that is cheap or suffices, else by growth.
    fn make_room(&mut self) {
        self.window_reads += 1;
        if self.window_reads >= SHRINK_WINDOW_READS {
            self.end_window();
        }
        let live = self.end - self.start;
        // A move of no more bytes than were consumed since the last move keeps the total work linear.
        if self.start >= live {
            self.compact();
        }
        if self.bytes.len() - self.end < ROOM_BYTES_MIN {
            self.compact();
            self.resize(self.bytes.len().saturating_mul(2));
        }
    }

    /// Ends a window: a buffer of four times the size that the window needed shrinks to twice that size. The gap
    /// between the two keeps the size from swinging.
    fn end_window(&mut self) {
        if self.bytes.len() > BUFFER_BYTES_START && self.window_peak <= self.bytes.len() / 4 {
            self.compact();
            self.resize(self.window_peak.saturating_mul(2).max(self.end));
        }
        (self.window_peak, self.window_reads) = (0, 0);
    }

    /// Moves the pending bytes to the front.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        count_work(self.end);
    }

    /// Resizes to `len` or [`BUFFER_BYTES_START`], whichever is larger, rounded up to a power of two.
    fn resize(&mut self, len: usize) {
        let len = len.max(BUFFER_BYTES_START).checked_next_power_of_two().unwrap_or(len);
        if len > self.bytes.len() {
            count_work(self.end);
            self.bytes.reserve_exact(len - self.bytes.len());
            // In pieces: in a library built for size `Vec::resize` writes the zeros one by one.
            while self.bytes.len() < len {
                let zeros = [0; 256];
                self.bytes.extend_from_slice(zeros.get(..len - self.bytes.len()).unwrap_or(&zeros));
            }
        } else {
            self.bytes.truncate(len);
            self.bytes.shrink_to(len);
        }
    }
}
