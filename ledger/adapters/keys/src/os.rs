//! The operating system's clock and randomness, behind the ports of the domain.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use ruche_domain::numbers::Micros;
use ruche_domain::ports::{Clock, Random};

/// Bytes that a thread asks the operating system for at once: a call of it costs as much as hashing a payload.
const POOL_BYTES: usize = 1024;

/// Randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

/// Random bytes that a thread has not given away yet. What was given is overwritten.
struct Pool {
    bytes: [u8; POOL_BYTES],
    given: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { bytes: [0; POOL_BYTES], given: POOL_BYTES })
    };
}

impl Random for OsRandom {
    /// # Panics
    /// If the operating system has no randomness to give: nothing that is signed or blinded without it is worth
    /// anything, so there is nothing to go on with.
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > POOL_BYTES / 2 {
            return fill(bytes);
        }
        POOL.with_borrow_mut(|pool| pool.give(bytes));
    }
}

impl Pool {
    fn give(&mut self, bytes: &mut [u8]) {
        if self.bytes.len() - self.given < bytes.len() {
            fill(&mut self.bytes);
            self.given = 0;
        }
        let given = &mut self.bytes[self.given..][..bytes.len()];
        bytes.copy_from_slice(given);
        given.fill(0);
        self.given += bytes.len();
    }
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// The wall clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// Microseconds since 1970; 0 on a machine whose clock stands before that.
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros(u64::try_from(since.as_micros()).expect("64 bits of microseconds last 584,000 years"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_given_twice() {
        let mut seen = std::collections::HashSet::new();
        for length in [32, 16, 32, 48, 700].into_iter().cycle().take(1_000) {
            let mut bytes = vec![0; length];
            OsRandom.fill(&mut bytes);
            for piece in bytes.chunks_exact(16) {
                assert!(seen.insert(piece.to_vec()), "{piece:?} came twice");
            }
        }
    }

    #[test]
    fn random_bytes_differ_and_time_is_after_2020() {
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        OsRandom.fill(&mut a);
        OsRandom.fill(&mut b);
        assert_ne!(a, b);
        assert!(SystemClock.now() > Micros(1_577_836_800_000_000));
    }
}
