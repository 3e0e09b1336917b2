//! What an event makes of a turn, legal or not: what stands in the ledger happened.

use ruche_domain::side_effect::SideEffectPolicy;

use super::calls::Call;
use super::table::{Kind, Said, State};
use super::{Awaits, End, Id, Lease, Step, Turn, TurnRules, TurnStep};

impl TurnRules {
    /// Takes a step. Where the payload is gone, the types of events alone say where the turn stands.
    pub(super) fn apply(&mut self, id: Id, step: &Step, said: Option<&Said>) {
        self.apply_call(id, step, said);
        match step.kind {
            Kind::Opened => return self.open(id, step),
            Kind::Received => return,
            _ => {}
        }
        if let Some(end) = step.kind.end() {
            return self.end(id, end, step);
        }
        let Some(turn) = self.turns.get_mut(&id) else {
            return;
        };
        let lane = self.lanes.entry(turn.lane).or_default();
        match step.kind {
            Kind::Queued => {
                lane.gathering = lane.gathering.filter(|gathering| *gathering != id);
                lane.queue.push(id);
            }
            Kind::Readied => {
                lane.gathering = lane.gathering.filter(|gathering| *gathering != id);
                lane.queue.retain(|queued| *queued != id);
                lane.holder = Some(id);
            }
            Kind::Started => {
                let epoch = said.and_then(|said| said.lease_epoch).unwrap_or_default();
                lane.lease_epoch = lane.lease_epoch.max(epoch);
            }
            Kind::SupersedeRequested | Kind::CancelRequested => lane.queue.retain(|queued| *queued != id),
            _ => {}
        }
        if let (Kind::CallStarted, Some(said)) = (step.kind, said) {
            turn.commit_point |= said.side_effect.unwrap_or_default() == SideEffectPolicy::Irreversible;
        }
        let default = Said::default();
        turn.apply(step, said.unwrap_or(&default));
    }

    fn open(&mut self, id: Id, step: &Step) {
        let mut turn = Turn::new(step, State::Accumulating);
        turn.calls.extend(step.call);
        self.turns.insert(id, turn);
        if let Some(call) = step.call.and_then(|call| self.calls.get_mut(&call)) {
            call.turn = id;
            call.has_opened_turn = true;
        }
        if step.call.is_none() {
            self.lanes.entry(step.stream).or_default().gathering = Some(id);
        }
    }

    fn end(&mut self, id: Id, state: State, step: &Step) {
        let Some(turn) = self.turns.remove(&id) else {
            return;
        };
        self.over.insert(id, (state, step.append()));
        if let Some(lane) = self.lanes.get_mut(&turn.lane) {
            lane.holder = lane.holder.filter(|holder| *holder != id);
            lane.gathering = lane.gathering.filter(|gathering| *gathering != id);
            lane.queue.retain(|queued| *queued != id);
        }
        for call in turn.calls {
            let stays = |known: &Call| known.turn != id || known.outlives_turn();
            if !self.calls.get(&call).is_some_and(stays) {
                self.calls.remove(&call);
            }
        }
    }

    fn apply_call(&mut self, id: Id, step: &Step, said: Option<&Said>) {
        let Some(call) = step.call.filter(|_| step.kind.needs_call()) else {
            return;
        };
        if !self.calls.contains_key(&call) {
            let side_effect = said.and_then(|said| said.side_effect).unwrap_or_default();
            let Some(turn) = self.turns.get_mut(&id) else {
                return;
            };
            turn.calls.push(call);
            let mut new = Call::new(id, side_effect, step.append());
            // One that was not proposed here is reported, or its proposal is not there.
            new.is_undecidable = step.kind != Kind::Proposed;
            self.calls.insert(call, new);
        }
        if let Some(call) = self.calls.get_mut(&call) {
            call.apply(step, said);
            let is_over = self.over.contains_key(&id);
            self.keys.apply(id, call, step, said, is_over);
        }
        // What a person said of a call of a turn that is over is the last that is said of it.
        if step.kind == Kind::CallAsserted && self.over.contains_key(&id) {
            self.calls.remove(&call);
        }
    }
}

impl Turn {
    fn apply(&mut self, step: &Step, said: &Said) {
        match step.kind {
            Kind::Sealed => self.is_sealed = true,
            Kind::Queued => self.state = State::Queued,
            Kind::Readied => {
                self.state = State::Ready;
                self.not_before = said.not_before.map_or(0, |at| at.0);
                self.lease = None;
                self.awaits = None;
                self.may_retry = false;
            }
            Kind::Started => {
                self.state = State::Processing;
                self.attempt = said.attempt.unwrap_or_else(|| self.attempt.saturating_add(1));
                self.lease = said.lease_epoch.map(|epoch| Lease {
                    epoch,
                    expires_at: said.lease_expires_at.map_or(0, |at| at.0),
                    worker: step.actor,
                });
            }
            Kind::StepStarted | Kind::StepCompleted => {
                let attempt = said.attempt.unwrap_or(self.attempt);
                let is_completed = step.kind == Kind::StepCompleted;
                if let Some(id) = said.step_id.clone() {
                    self.steps.insert(
                        id,
                        TurnStep {
                            attempt,
                            is_completed,
                        },
                    );
                }
            }
            Kind::LeaseRenewed => {
                if let (Some(lease), Some(at)) = (&mut self.lease, said.expires_at) {
                    lease.expires_at = at.0;
                }
            }
            Kind::LeaseExpired => {
                self.lease = None;
                self.may_retry = true;
            }
            Kind::AttemptFailed => {
                self.lease = None;
                self.may_retry = said.retry_at.is_some();
                if said.retry_at.is_none() {
                    self.wind_down(End::Failed);
                }
            }
            Kind::PersonNeeded if self.state == State::Processing => {
                self.state = State::AwaitingApproval;
                self.awaits = Some(Awaits::Outcome);
            }
            Kind::CommitPoint => self.commit_point = true,
            Kind::SupersedeRequested => {
                let successor = said.successor_turn_id.map_or([0; 16], |turn| turn.0.into_bytes());
                self.wind_down(End::Superseded(successor));
            }
            Kind::CancelRequested => self.wind_down(End::Cancelled),
            Kind::Compensating => self.state = State::Compensating,
            // What cannot be undone makes it fail, however it was to end.
            Kind::UndoingFailed if said.exhausted == Some(true) => self.end = Some(End::Failed),
            Kind::Requested if !said.is_detached() => {
                self.state = State::AwaitingApproval;
                self.awaits = Some(Awaits::Decision(step.stream));
            }
            Kind::Resolved
            | Kind::Expired
            | Kind::Stale
            | Kind::Withdrawn
            | Kind::Voided
            | Kind::Consumed => {
                self.decided(step.stream);
            }
            _ => {}
        }
    }

    fn wind_down(&mut self, end: End) {
        self.state = State::Cancelling;
        self.end = Some(end);
        self.awaits = None;
        self.not_before = 0;
    }

    fn decided(&mut self, approval: Id) {
        if self.awaits == Some(Awaits::Decision(approval)) {
            self.awaits = None;
            if self.state == State::AwaitingApproval {
                self.state = State::Processing;
            }
        }
    }
}
