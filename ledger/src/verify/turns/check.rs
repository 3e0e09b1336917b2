//! What has to hold of a turn for each of its events. Nothing is changed here.

use super::calls::Call;
use super::table::{Kind, Said, State};
use super::{Awaits, End, Fault, Id, Lane, Step, Turn, TurnRules, require};
use crate::verify::finding::FindingKind::{AttemptOutOfOrder, LeaseOutOfOrder};

impl TurnRules {
    /// Checks a step against its turn and its call. `said` is absent where the payload is.
    pub(super) fn check(&self, id: Id, step: &Step, said: Option<&Said>) -> Result<(), Fault> {
        let turn = self.turns.get(&id);
        if turn.is_none_or(|turn| !turn.is_undecidable) {
            check_session(turn, step)?;
        }
        if step.kind == Kind::Opened {
            return self.check_opened(id, step);
        }
        if let Some(turn) = self.turns.get(&id).filter(|turn| !turn.is_undecidable) {
            check_state(turn, step)?;
            check_worker(turn, step)?;
            if let Some(said) = said {
                self.check_turn(id, turn, step, said)?;
            }
        }
        match said {
            Some(said) if step.kind.needs_call() => self.check_call(id, step, said),
            _ => Ok(()),
        }
    }

    fn check_opened(&self, id: Id, step: &Step) -> Result<(), Fault> {
        let is_known = self.turns.contains_key(&id);
        require(!is_known, || Fault::illegal("the turn was opened before"))?;
        let Some(call) = step.call else {
            let lane = self.lanes.get(&step.stream);
            let gathers = lane.is_some_and(|lane| lane.gathering.is_some());
            return require(!gathers, || {
                Fault::illegal("another turn of the lane takes messages")
            });
        };
        match self.calls.get(&call) {
            None if self.has_holes => Ok(()),
            Some(call) if call.is_undecidable || call.may_open_turn() => Ok(()),
            _ => Err(Fault::illegal("no decision is there that opens it")),
        }
    }

    fn check_turn(&self, id: Id, turn: &Turn, step: &Step, said: &Said) -> Result<(), Fault> {
        match step.kind {
            Kind::Coalesced | Kind::Received | Kind::Sealed if turn.state == State::Accumulating => {
                require(!turn.is_sealed, || Fault::illegal("it takes no more messages"))
            }
            Kind::Queued => {
                require(turn.is_sealed, || Fault::illegal("it still takes messages"))?;
                let is_held = self.lane(turn).is_none_or(|lane| lane.holder.is_some());
                require(is_held || self.has_holes, || {
                    Fault::illegal("no turn holds the lane")
                })
            }
            Kind::Readied => self.check_readied(id, turn, said),
            Kind::Started => self.check_started(turn, step, said),
            Kind::LeaseRenewed | Kind::LeaseExpired => check_lease(turn, step, said),
            Kind::AttemptFailed => check_attempt(turn.attempt, said.attempt),
            Kind::StepStarted | Kind::StepCompleted => check_step(turn, step.kind, said),
            Kind::SupersedeRequested | Kind::CancelRequested => {
                require(!turn.commit_point, || {
                    Fault::illegal("it is behind a commit point")
                })?;
                self.check_successor(id, turn, said)
            }
            Kind::CancelRefused | Kind::SupersedeRefused => {
                require(turn.commit_point, || Fault::illegal("there is no commit point"))
            }
            Kind::Drained => self.settled(id, turn, Call::is_in_flight),
            Kind::Compensating => {
                self.settled(id, turn, Call::is_in_flight)?;
                let undoes = self.calls_of(&id, turn).any(Call::is_to_undo) || has_undecidable(self, turn);
                require(undoes, || Fault::illegal("there is nothing to undo"))
            }
            kind if kind.end().is_some() => self.check_end(id, turn, kind, said),
            _ => Ok(()),
        }
    }

    fn lane(&self, turn: &Turn) -> Option<&Lane> {
        self.lanes.get(&turn.lane)
    }

    /// A turn gets the lane: nobody else has it, it is the oldest that waits, and nothing of its last attempt is open.
    fn check_readied(&self, id: Id, turn: &Turn, said: &Said) -> Result<(), Fault> {
        let lane = self.lane(turn);
        let holder = lane.and_then(|lane| lane.holder).filter(|holder| *holder != id);
        require(holder.is_none(), || Fault::illegal("another turn holds the lane"))?;
        let may = match turn.state {
            State::Accumulating => turn.is_sealed,
            State::Queued => lane.and_then(|lane| lane.queue.first()) == Some(&id),
            State::AwaitingApproval => turn.awaits == Some(Awaits::Outcome),
            _ => turn.may_retry,
        };
        require(may, || Fault::illegal("it is not its turn"))?;
        self.settled(id, turn, |call| call.is_in_flight() || call.needs_person())?;
        check_attempt(turn.attempt + 1, said.attempt)
    }

    fn check_started(&self, turn: &Turn, step: &Step, said: &Said) -> Result<(), Fault> {
        check_attempt(turn.attempt + 1, said.attempt)?;
        let last = self.lane(turn).map_or(0, |lane| lane.lease_epoch);
        match said.lease_epoch.filter(|_| said.lease_expires_at.is_some()) {
            None => return Err(Fault::new(LeaseOutOfOrder, "it begins without a lease")),
            Some(epoch) if epoch <= last => {
                let detail = format!("lease {epoch} comes after lease {last}");
                return Err(Fault::new(LeaseOutOfOrder, detail));
            }
            Some(_) => {}
        }
        require(turn.not_before <= step.occurred_at, || {
            Fault::illegal("it is claimed before its time")
        })
    }

    /// That the turn which takes the place of another one is there: another one of its lane.
    fn check_successor(&self, id: Id, turn: &Turn, said: &Said) -> Result<(), Fault> {
        let Some(successor) = said.successor_turn_id.map(|turn| turn.0.into_bytes()) else {
            return Ok(());
        };
        let is_there = match self.turns.get(&successor) {
            Some(other) => successor != id && other.lane == turn.lane,
            None => self.has_holes,
        };
        require(is_there, || {
            Fault::illegal("no turn is there that takes its place")
        })
    }

    /// That no call of the turn is as `open` says.
    fn settled(&self, id: Id, turn: &Turn, open: impl Fn(&Call) -> bool) -> Result<(), Fault> {
        let is_open = self.calls_of(&id, turn).any(open);
        require(!is_open, || Fault::illegal("a call of it is not settled"))
    }

    fn check_end(&self, id: Id, turn: &Turn, kind: Kind, said: &Said) -> Result<(), Fault> {
        if kind == Kind::Committed {
            return self.settled(id, turn, |call| call.is_in_flight() || call.is_in_doubt());
        }
        self.settled(id, turn, |call| call.is_in_flight() || call.needs_person())?;
        self.settled(id, turn, Call::is_to_undo)?;
        let successor = said.successor_turn_id.map(|turn| turn.0.into_bytes());
        let as_announced = match (kind, turn.state) {
            (Kind::Cancelled, State::Ready) => turn.attempt == 0,
            (Kind::Cancelled, State::Accumulating | State::Queued) | (Kind::Failed, State::Processing) => {
                true
            }
            // What is not known of a call may be that it was given up.
            (Kind::Failed, State::Compensating) if has_undecidable(self, turn) => true,
            (Kind::Superseded, _) => successor.map(End::Superseded) == turn.end,
            (Kind::Cancelled, _) => turn.end == Some(End::Cancelled),
            _ => turn.end == Some(End::Failed),
        };
        require(as_announced, || Fault::illegal("it was to end in another way"))
    }
}

pub(super) fn no_session() -> Fault {
    Fault::illegal("it names no session")
}

/// Everything that is governed is of a session: that of its turn. What a request says of itself is judged with what it shows.
fn check_session(turn: Option<&Turn>, step: &Step) -> Result<(), Fault> {
    if step.kind == Kind::Requested {
        return Ok(());
    }
    require(step.session.is_some(), no_session)?;
    let is_its = turn.is_none_or(|turn| turn.session == step.session);
    require(is_its, || {
        Fault::illegal("it is of another session than its turn")
    })
}

fn check_state(turn: &Turn, step: &Step) -> Result<(), Fault> {
    let states = step.kind.states();
    let is_approval = step.kind.name().starts_with("approval.");
    require(is_approval || step.stream == turn.lane, || {
        Fault::illegal("the turn is of another lane")
    })?;
    require(states.is_empty() || states.contains(&turn.state), || {
        Fault::illegal(format!("the turn is {}", turn.state.name()))
    })
}

/// What a worker alone does is done under a lease, by the credential that claimed the turn: whoever else reads the id of a
/// lease in the ledger holds nothing, and once it is over nobody does.
fn check_worker(turn: &Turn, step: &Step) -> Result<(), Fault> {
    if !step.kind.is_of_worker() {
        return Ok(());
    }
    let nobody = || Fault::new(LeaseOutOfOrder, "nobody holds the turn");
    let lease = turn.lease.ok_or_else(nobody)?;
    require(lease.worker == step.actor, || {
        Fault::new(LeaseOutOfOrder, "another credential claimed the turn")
    })
}

/// A step is begun once in an attempt, and completed once by the attempt that began it.
fn check_step(turn: &Turn, kind: Kind, said: &Said) -> Result<(), Fault> {
    check_attempt(turn.attempt, said.attempt)?;
    let known = said.step_id.as_deref().and_then(|step| turn.steps.get(step));
    require(known.is_none_or(|step| !step.is_completed), || {
        Fault::illegal("the step is completed already")
    })?;
    let is_begun = known.is_some_and(|step| step.attempt == turn.attempt);
    require(is_begun == (kind == Kind::StepCompleted), || {
        let what = if is_begun { "was" } else { "was not" };
        Fault::illegal(format!("the step {what} begun by this attempt"))
    })
}

/// Attempts are counted without a gap.
pub(super) fn check_attempt(expected: u32, said: Option<u32>) -> Result<(), Fault> {
    let fits = said.is_none_or(|said| said == expected);
    require(fits, || {
        let said = said.unwrap_or_default();
        Fault::new(
            AttemptOutOfOrder,
            format!("attempt {said} where {expected} is due"),
        )
    })
}

/// A lease is renewed and taken away under its own number, and not taken away before it lapsed.
fn check_lease(turn: &Turn, step: &Step, said: &Said) -> Result<(), Fault> {
    let said = said.lease_epoch.unwrap_or_default();
    let Some(lease) = turn.lease else {
        return Err(Fault::new(LeaseOutOfOrder, format!("lease {said} is over")));
    };
    require(lease.epoch == said, || {
        let detail = format!("lease {said}, and the turn is held under {}", lease.epoch);
        Fault::new(LeaseOutOfOrder, detail)
    })?;
    let is_early = step.kind == Kind::LeaseExpired && step.occurred_at < lease.expires_at;
    require(!is_early, || Fault::new(LeaseOutOfOrder, "it had not lapsed"))
}

fn has_undecidable(rules: &TurnRules, turn: &Turn) -> bool {
    let mut calls = turn.calls.iter().filter_map(|call| rules.calls.get(call));
    calls.any(|call| call.is_undecidable)
}
