//! Devices around a device: each owns an `inner: D`, changes one thing, and passes the rest through, so that they stack
//! in any order.

mod counting;
mod crash;
mod faulty;
mod read_only;
mod recording;

pub use counting::{Counting, Counts};
pub use crash::Crash;
pub use faulty::{Fault, FaultRates, Faulty};
pub use read_only::ReadOnly;
pub use recording::{Op, Recording};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock, also after a panic elsewhere: every update of the state behind it is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The SplitMix64 generator (Steele, Lea and Flood, 2014): one seed, the same run.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0. The bias of the remainder does not matter at our bounds.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n` calls on average; never when `n` is 0.
    fn one_in(&mut self, n: u32) -> bool {
        n != 0 && self.below(u64::from(n)) == 0
    }
}
