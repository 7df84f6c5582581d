//! The protocol and the connections to Redis, beside hiredis, redis-rs and redis-benchmark in the same run. `scripts/bench`
//! runs it; samples go to stdout, other text to stderr.
//!
//! | words | prints |
//! |---|---|
//! | `protocol` | targets 1 to 5: times and allocations of decoding and encoding |
//! | `repeat CASE WHO PASSES` | nothing: callgrind counts its instructions |
//! | `rates` | targets 6 to 8: rates and CPU per message; to be pinned on one core |
//! | `latency` | target 9 |

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

mod connection;
mod cpu;
mod protocol;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["protocol"] => protocol::measure(),
        ["repeat", case, who, passes] => protocol::repeat(case, who, passes.parse().expect("a number")),
        ["messages-counted"] => println!("{}", protocol::MESSAGES_COUNTED),
        ["rates"] => connection::rates(),
        ["latency"] => connection::latency(),
        _ => panic!("unknown words {words:?}"),
    }
}

/// Prints one sample.
fn sample(case: &str, who: &str, round: usize, value: f64, unit: &str) {
    println!("{case}\t{who}\t{round}\t{value:.3}\t{unit}");
}

fn channel() -> &'static [u8] {
    b"player:killing"
}

/// A generator of the same numbers in each run.
struct Seed(u64);

impl Default for Seed {
    fn default() -> Seed {
        Seed(7)
    }
}

impl Seed {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The typical event, with names of other lengths.
fn typical_payloads(seed: &mut Seed, count: usize) -> Vec<Vec<u8>> {
    let typical = include_str!("../../../testdata/json/typical.json").trim_end();
    let name = |seed: &mut Seed| "Player of some name"[..1 + seed.below(19) as usize].to_owned();
    let payload = |_| typical.replace("John Doe", &name(seed)).replace("Alice", &name(seed)).into_bytes();
    (0..count).map(payload).collect()
}

/// Counts the allocations of each thread.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

/// The allocations of this thread so far, growths included.
fn allocations() -> u64 {
    ALLOCATIONS.get()
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that ends may still free memory and has no counter any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, layout, size) }
    }
}
