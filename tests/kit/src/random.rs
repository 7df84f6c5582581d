//! Random numbers that can be repeated: splitmix64 (Steele, Lea, Flood 2014) with a seed that is always printed.

use std::time::{SystemTime, UNIX_EPOCH};

pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub fn from_seed(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// Takes the seed from `REALTIME_TEST_SEED` or else from the clock, and prints it.
    #[allow(clippy::print_stderr, reason = "the seed is needed to repeat a failure")]
    pub fn announced(what: &str) -> Random {
        let given = std::env::var("REALTIME_TEST_SEED").ok().map(|text| text.parse().expect("REALTIME_TEST_SEED"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64;
        let seed = given.unwrap_or(now % 1_000_000_000);
        eprintln!("{what}: seed {seed} (repeat with REALTIME_TEST_SEED={seed})");
        Random::from_seed(seed)
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn step(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 to `n - 1`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.step() % n
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
