//! Lanes that claims pass over for a while, because nobody can decide on them: a payload is gone, or cannot be read.
//!
//! Such a lane has a turn that is ready for ever. Without a memory each claim would try the same ones first, and an agent
//! that has many of them would get no other turn. They are tried again after a time, since what is wrong with a lane may
//! be mended.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ruche_domain::ids::{LaneId, LedgerId};

use crate::limits::{CLAIM_LANES_PASSED_OVER_MAX, CLAIM_PASSED_OVER_FOR};

/// Those of all ledgers, with when they were tried last. In memory: another node, and this one after a start, finds out
/// by itself.
#[derive(Default)]
pub struct PassedOver(Mutex<HashMap<LedgerId, HashMap<LaneId, Instant>>>);

impl PassedOver {
    /// Passes a lane over from now on. Whether there was room; a ledger has room for so many.
    pub fn add(&self, ledger: LedgerId, lane: LaneId, now: Instant) -> bool {
        let mut all = self.lock();
        let lanes = all.entry(ledger).or_default();
        let has_room = lanes.len() < CLAIM_LANES_PASSED_OVER_MAX || lanes.contains_key(&lane);
        if has_room {
            lanes.insert(lane, now);
        }
        has_room
    }

    /// The lanes of a ledger that are passed over.
    pub fn of(&self, ledger: LedgerId, now: Instant) -> HashSet<LaneId> {
        let mut all = self.lock();
        forget(&mut all, now);
        all.get(&ledger)
            .map(|lanes| lanes.keys().copied().collect())
            .unwrap_or_default()
    }

    /// How many are passed over, in all ledgers.
    pub fn count(&self, now: Instant) -> usize {
        let mut all = self.lock();
        forget(&mut all, now);
        all.values().map(HashMap::len).sum()
    }

    /// A panic elsewhere leaves whole entries only.
    fn lock(&self) -> MutexGuard<'_, HashMap<LedgerId, HashMap<LaneId, Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Few have any, so all are looked through.
fn forget(all: &mut HashMap<LedgerId, HashMap<LaneId, Instant>>, now: Instant) {
    all.retain(|_, lanes| {
        lanes.retain(|_, tried| now.saturating_duration_since(*tried) < CLAIM_PASSED_OVER_FOR);
        !lanes.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use ruche_ledger::testing::ledger;
    use uuid::Uuid;

    use super::*;

    fn lane(number: usize) -> LaneId {
        LaneId(Uuid::from_u128(number as u128))
    }

    #[test]
    fn a_lane_is_passed_over_for_a_while_and_a_ledger_has_room_for_so_many() {
        let (passed, now) = (PassedOver::default(), Instant::now());
        for number in 0..CLAIM_LANES_PASSED_OVER_MAX {
            assert!(passed.add(ledger(1), lane(number), now));
        }
        assert!(!passed.add(ledger(1), lane(CLAIM_LANES_PASSED_OVER_MAX), now));
        assert!(passed.add(ledger(1), lane(0), now), "it has its place already");
        assert!(passed.add(ledger(2), lane(7), now), "others have their own");
        assert_eq!(passed.of(ledger(2), now), HashSet::from([lane(7)]));
        assert_eq!(passed.count(now), CLAIM_LANES_PASSED_OVER_MAX + 1);
        let later = now + CLAIM_PASSED_OVER_FOR;
        assert_eq!(passed.of(ledger(2), later), HashSet::new());
        assert_eq!(passed.count(later), 0);
        assert!(passed.add(ledger(1), lane(CLAIM_LANES_PASSED_OVER_MAX), later));
    }
}
