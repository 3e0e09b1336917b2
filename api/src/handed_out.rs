//! Lanes that this node has handed out to claims: one of them tries a lane, and the others take the next one.
//!
//! Workers of one agent look for its turns in one order. Without a memory each would try the lane that waits longest, and all
//! but one would learn behind each other that it is gone. A lane that was claimed is passed over until the read model knows,
//! or for a while. It is a memory of this node alone, and a hint: whether a turn can be claimed, its lane says.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ruche_domain::ids::{LaneId, LedgerId, TurnId};
use ruche_domain::numbers::Position;

use crate::limits::{CLAIM_LANES_HANDED_OUT_MAX, CLAIM_SEEN_WITHIN};

/// Those of all agents of all ledgers.
#[derive(Default)]
pub struct HandedOut(Mutex<Lanes>);

type Agent = (LedgerId, String);

#[derive(Default)]
struct Lanes {
    out: HashMap<Agent, HashMap<LaneId, Out>>,
    /// Those that were claimed, and when, the oldest first: agents that never ask again leave nothing behind.
    claimed: VecDeque<(Instant, Agent, LaneId)>,
}

/// Where a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// A claim tries it. It may come back.
    Tried,
    /// A claim got this turn, by the record at this place.
    Claimed(Position, TurnId),
}

/// A lane in the hand of a claim. It comes back when this is dropped, unless its turn was claimed.
pub struct Hand<'a> {
    all: &'a HandedOut,
    agent: Agent,
    lane: LaneId,
    /// An agent has room for so many; of more nobody is told.
    is_known: bool,
}

impl HandedOut {
    /// How many lanes of an agent are handed out, without those of which the read model knows by now that they were claimed.
    /// It is `known` up to there: ask how far it is before what is ready.
    pub fn count(&self, ledger: LedgerId, agent: &str, known: Option<Position>, now: Instant) -> usize {
        let mut lanes = self.lock();
        lanes.forget(now);
        let agent = (ledger, agent.to_owned());
        let Some(out) = lanes.out.get_mut(&agent) else {
            return 0;
        };
        out.retain(|_, out| !matches!(out, Out::Claimed(at, _) if known >= Some(*at)));
        let count = out.len();
        if count == 0 {
            lanes.out.remove(&agent);
        }
        count
    }

    /// Hands out a lane of which the read model says that this turn is ready. If another one was claimed, the read model has
    /// moved on since, whatever is `known` here of how far it is: another node may be the one that makes it.
    ///
    /// # Errors
    /// Where it is, if somebody has it.
    pub fn take(&self, ledger: LedgerId, agent: &str, lane: LaneId, ready: TurnId) -> Result<Hand<'_>, Out> {
        let agent = (ledger, agent.to_owned());
        let mut lanes = self.lock();
        let out = lanes.out.entry(agent.clone()).or_default();
        match out.get(&lane) {
            Some(Out::Claimed(_, turn)) if *turn != ready => {}
            Some(out) => return Err(*out),
            None => {}
        }
        let is_known = out.len() < CLAIM_LANES_HANDED_OUT_MAX;
        if is_known {
            out.insert(lane, Out::Tried);
        }
        Ok(Hand {
            all: self,
            agent,
            lane,
            is_known,
        })
    }

    /// A panic elsewhere leaves whole entries only.
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// Whatever the read model knows, a lane that was claimed long ago is looked at again.
    fn forget(&mut self, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= CLAIM_SEEN_WITHIN;
        while self.claimed.front().is_some_and(|(since, ..)| is_old(*since))
            && let Some((_, agent, lane)) = self.claimed.pop_front()
        {
            if let Some(out) = self.out.get(&agent).and_then(|lanes| lanes.get(&lane))
                && *out != Out::Tried
            {
                self.back(&agent, lane);
            }
        }
    }

    /// A lane is not handed out any more.
    fn back(&mut self, agent: &Agent, lane: LaneId) {
        if let Some(out) = self.out.get_mut(agent) {
            out.remove(&lane);
            if out.is_empty() {
                self.out.remove(agent);
            }
        }
    }
}

impl Hand<'_> {
    /// This turn of it was claimed, by the record at this place.
    pub fn claimed(mut self, at: Position, turn: TurnId, now: Instant) {
        if std::mem::take(&mut self.is_known) {
            let mut lanes = self.all.lock();
            let out = lanes.out.entry(self.agent.clone()).or_default();
            out.insert(self.lane, Out::Claimed(at, turn));
            lanes.claimed.push_back((now, self.agent.clone(), self.lane));
        }
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if self.is_known {
            self.all.lock().back(&self.agent, self.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::testing::ledger;
    use uuid::Uuid;

    use super::*;

    const SHOP: &str = "shop";

    fn lane(number: usize) -> LaneId {
        LaneId(Uuid::from_u128(number as u128))
    }

    fn turn(number: u128) -> TurnId {
        TurnId(Uuid::from_u128(number))
    }

    fn known(handed: &HandedOut, index: u64, now: Instant) -> usize {
        handed.count(ledger(1), SHOP, Some(Position::new(1, index)), now)
    }

    #[test]
    fn a_lane_is_in_one_hand_and_comes_back_unless_it_was_claimed() {
        let (handed, now) = (HandedOut::default(), Instant::now());
        let hand = handed.take(ledger(1), SHOP, lane(1), turn(1)).unwrap();
        assert_eq!(
            handed.take(ledger(1), SHOP, lane(1), turn(1)).err(),
            Some(Out::Tried)
        );
        assert!(
            handed.take(ledger(2), SHOP, lane(1), turn(1)).is_ok(),
            "of another ledger"
        );
        assert!(
            handed.take(ledger(1), "bank", lane(1), turn(1)).is_ok(),
            "of another agent"
        );
        assert_eq!(known(&handed, 99, now), 1, "nothing is known of what is tried");
        drop(hand);
        assert_eq!(known(&handed, 0, now), 0);

        let at = Position::new(1, 7);
        handed
            .take(ledger(1), SHOP, lane(1), turn(1))
            .unwrap()
            .claimed(at, turn(1), now);
        assert_eq!(
            handed.take(ledger(1), SHOP, lane(1), turn(1)).err(),
            Some(Out::Claimed(at, turn(1)))
        );
        assert_eq!((known(&handed, 6, now), known(&handed, 7, now)), (1, 0));
        assert!(
            handed.take(ledger(1), SHOP, lane(1), turn(1)).is_ok(),
            "its next turn may be ready"
        );
        assert!(handed.lock().out.is_empty(), "nothing is kept");
    }

    /// Where another node makes the read model, this one does not know how far it is.
    #[test]
    fn a_lane_with_another_turn_than_the_one_that_was_claimed_is_handed_out() {
        let (handed, now, at) = (HandedOut::default(), Instant::now(), Position::new(1, 7));
        let take = |ready| handed.take(ledger(1), SHOP, lane(1), turn(ready));
        take(1).unwrap().claimed(at, turn(1), now);
        assert_eq!(handed.count(ledger(1), SHOP, None, now), 1);
        assert_eq!(
            take(1).err(),
            Some(Out::Claimed(at, turn(1))),
            "as before the claim"
        );
        let hand = take(2).expect("the read model has moved on");
        assert_eq!(take(2).err(), Some(Out::Tried), "one claim tries it");
        hand.claimed(Position::new(1, 9), turn(2), now);
        assert_eq!(take(2).err(), Some(Out::Claimed(Position::new(1, 9), turn(2))));
    }

    #[test]
    fn a_read_model_that_stands_still_hides_no_lane_for_ever() {
        let (handed, now) = (HandedOut::default(), Instant::now());
        let hand = handed.take(ledger(1), SHOP, lane(1), turn(1)).unwrap();
        hand.claimed(Position::new(1, 7), turn(1), now);
        let soon = CLAIM_SEEN_WITHIN - std::time::Duration::from_millis(1);
        assert_eq!(handed.count(ledger(1), SHOP, None, now + soon), 1);
        // Whoever asks: an agent that never claims again leaves nothing behind.
        assert_eq!(handed.count(ledger(2), "bank", None, now + CLAIM_SEEN_WITHIN), 0);
        let lanes = handed.lock();
        assert!(lanes.out.is_empty() && lanes.claimed.is_empty());
    }

    #[test]
    fn an_agent_has_room_for_so_many_and_more_are_tried_all_the_same() {
        let (handed, now) = (HandedOut::default(), Instant::now());
        let take = |number| handed.take(ledger(1), SHOP, lane(number), turn(1)).unwrap();
        let hands: Vec<_> = (0..CLAIM_LANES_HANDED_OUT_MAX).map(take).collect();
        let more = CLAIM_LANES_HANDED_OUT_MAX;
        take(more).claimed(Position::new(1, 7), turn(1), now);
        drop(take(more));
        assert_eq!(known(&handed, 0, now), CLAIM_LANES_HANDED_OUT_MAX);
        drop(hands);
        assert!(handed.lock().out.is_empty());
    }
}
