//! Which ledgers are fought over, so that deciding on a cache is in vain, and of which guesses are wrong.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ruche_domain::ids::LedgerId;

/// Lost races within [`WINDOW`] after which a ledger is decided under its lock for [`LOCKED_FOR`].
const LOST_MAX: u32 = 3;
const WINDOW: Duration = Duration::from_secs(1);
const LOCKED_FOR: Duration = Duration::from_secs(3);
/// How long nothing is guessed of a ledger of which something was guessed wrongly: clients that repeat one append
/// repeat others.
const LOOKED_UP_FOR: Duration = Duration::from_secs(10);
/// Ledgers that are remembered. All are forgotten when there are more: they lose a few races again.
const LEDGERS_MAX: usize = 4_096;

/// Races that ledgers have lost lately.
#[derive(Default)]
pub(crate) struct Contention(HashMap<LedgerId, Lost>);

struct Lost {
    since: Instant,
    times: u32,
    locked_until: Option<Instant>,
    looked_up_until: Option<Instant>,
}

impl Contention {
    /// Notes that a head had moved.
    pub(crate) fn lost(&mut self, ledger: LedgerId) {
        let now = Instant::now();
        let lost = self.entry(ledger, now);
        if now.duration_since(lost.since) > WINDOW {
            (lost.since, lost.times) = (now, 0);
        }
        lost.times += 1;
        if lost.times >= LOST_MAX {
            lost.locked_until = Some(now + LOCKED_FOR);
        }
    }

    /// Notes that the ledger could not be written alone. It is kept out of the common statement for a while.
    pub(crate) fn stuck(&mut self, ledger: LedgerId) {
        let now = Instant::now();
        self.entry(ledger, now).locked_until = Some(now + LOCKED_FOR);
    }

    /// Notes that something was guessed that does not hold.
    pub(crate) fn guessed_wrong(&mut self, ledger: LedgerId) {
        let now = Instant::now();
        self.entry(ledger, now).looked_up_until = Some(now + LOOKED_UP_FOR);
    }

    /// Whether keys and absent streams may be guessed.
    pub(crate) fn may_guess(&self, ledger: LedgerId) -> bool {
        let until = self.0.get(&ledger).and_then(|lost| lost.looked_up_until);
        until.is_none_or(|until| Instant::now() >= until)
    }

    fn entry(&mut self, ledger: LedgerId, now: Instant) -> &mut Lost {
        if self.0.len() >= LEDGERS_MAX {
            self.0.clear();
        }
        self.0.entry(ledger).or_insert(Lost {
            since: now,
            times: 0,
            locked_until: None,
            looked_up_until: None,
        })
    }

    /// Whether the ledger is to be decided under its lock.
    pub(crate) fn is_locked(&self, ledger: LedgerId) -> bool {
        let until = self.0.get(&ledger).and_then(|lost| lost.locked_until);
        until.is_some_and(|until| Instant::now() < until)
    }
}
