//! The operating system's clock and randomness, behind the ports of the domain.

use std::time::{SystemTime, UNIX_EPOCH};

use ruche_domain::numbers::Micros;
use ruche_domain::ports::{Clock, Random};

/// Randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    /// If the operating system has no randomness to give: nothing that is signed or blinded without it is worth
    /// anything, so there is nothing to go on with.
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
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
    fn random_bytes_differ_and_time_is_after_2020() {
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        OsRandom.fill(&mut a);
        OsRandom.fill(&mut b);
        assert_ne!(a, b);
        assert!(SystemClock.now() > Micros(1_577_836_800_000_000));
    }
}
