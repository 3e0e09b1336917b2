//! State and event make the next state. Never refuses: what stands in the ledger happened.
//!
//! It needs no payload of a message, so that a conversation whose words were erased is decided as before.

use std::collections::BTreeMap;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalMode, ApprovalOutcome, ApprovalRequested, AssertedOutcome, PolicyVerdict, StartRefusal,
    ToolProposed, TurnOpened, TurnStarted, TurnStrategy,
};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::EffectStatus;

use super::event::LaneEvent;
use super::settings::ChannelSettings;
use super::state::{
    Approval, ApprovalState, Awaited, Binding, Call, CommitPoint, Gate, Lane, Lease, PendingOutcome, Turn,
    TurnState, TurnStep,
};
use super::winding::COMPENSATION_FAILED;

/// The state after an event.
#[must_use]
pub fn evolve(mut lane: Lane, event: &LaneEvent) -> Lane {
    lane.apply(event);
    lane
}

impl Lane {
    /// Takes an event.
    pub fn apply(&mut self, event: &LaneEvent) {
        match event.fact.event_type().split('.').next() {
            Some("tool" | "policy") => self.apply_call(event),
            Some("approval") => self.apply_approval(event),
            Some("turn") => self.apply_turn(event),
            _ => self.apply_other(event),
        }
    }

    fn apply_turn(&mut self, event: &LaneEvent) {
        let id = event.turn;
        match &event.fact {
            AgentEvent::TurnOpened(opened) => self.open(event, opened),
            AgentEvent::TurnMessageCoalesced(coalesced) => {
                self.messages.insert(coalesced.message_id);
                self.change(id, |turn| {
                    turn.messages.push(coalesced.message_id);
                    turn.deadline = coalesced.deadline.or(turn.deadline);
                });
            }
            AgentEvent::TurnSealed(_) => self.change(id, |turn| turn.deadline = None),
            AgentEvent::TurnQueued(_) => {
                self.queue.push(id);
                self.change(id, |turn| turn.state = TurnState::Queued);
            }
            AgentEvent::TurnReadied(readied) => {
                self.queue.retain(|queued| *queued != id);
                self.change(id, |turn| {
                    turn.go(TurnState::Ready, event.at);
                    turn.not_before = Some(readied.not_before);
                    turn.lease = None;
                    turn.awaited = None;
                });
            }
            AgentEvent::TurnStarted(started) => self.start(event, started),
            AgentEvent::TurnStepStarted(started) => self.change(id, |turn| {
                let step = turn.steps.entry(started.step_id.clone());
                step.and_modify(|step| step.attempt = started.attempt)
                    .or_insert(TurnStep {
                        attempt: started.attempt,
                        is_completed: false,
                    });
            }),
            AgentEvent::TurnStepCompleted(completed) => self.change(id, |turn| {
                let step = TurnStep {
                    attempt: completed.attempt,
                    is_completed: true,
                };
                turn.steps.insert(completed.step_id.clone(), step);
            }),
            AgentEvent::TurnAttemptFailed(failed) => self.change(id, |turn| {
                turn.lease = None;
                if failed.retry_at.is_none() {
                    turn.wind_down(
                        event.at,
                        PendingOutcome::Failed {
                            error_type: failed.error_type.clone(),
                            error: failed.error.clone(),
                        },
                    );
                }
            }),
            AgentEvent::TurnCommitPointReached(reached) => self.change(id, |turn| {
                turn.commit_point = turn.commit_point.or(Some(CommitPoint {
                    kind: reached.kind,
                    call: reached.call_id,
                }));
            }),
            _ => self.apply_end(event),
        }
    }

    fn apply_end(&mut self, event: &LaneEvent) {
        let id = event.turn;
        match &event.fact {
            AgentEvent::TurnSupersedeRequested(requested) => {
                let successor = requested.successor_turn_id;
                self.carry(id, successor);
                self.wind_down(event, PendingOutcome::Superseded { successor });
            }
            AgentEvent::TurnCancelRequested(requested) => {
                let (by, reason) = (requested.by.clone(), requested.reason.clone());
                self.wind_down(event, PendingOutcome::Cancelled { by, reason });
            }
            AgentEvent::TurnCompensating(_) => self.change(id, |turn| {
                turn.state = TurnState::Compensating;
                turn.winding_since = Some(event.at);
            }),
            AgentEvent::TurnCommitted(_) => self.end(id, TurnState::Committed),
            AgentEvent::TurnSuperseded(_) => self.end(id, TurnState::Superseded),
            AgentEvent::TurnCancelled(_) => self.end(id, TurnState::Cancelled),
            AgentEvent::TurnFailed(_) => self.end(id, TurnState::Failed),
            // `turn.drained` and `turn.supersede_refused` say what other events made so.
            _ => {}
        }
    }

    fn open(&mut self, event: &LaneEvent, opened: &TurnOpened) {
        self.messages.extend(&opened.message_ids);
        if let Some(call) = event.call {
            self.change_call(call, |call| call.turn = event.turn);
        }
        self.turns.push(Turn {
            id: event.turn,
            state: TurnState::Accumulating,
            trigger: opened.trigger,
            strategy: opened.strategy.unwrap_or(TurnStrategy::Queue),
            messages: opened.message_ids.clone(),
            opened_at: event.at,
            deadline: opened.deadline,
            settings: ChannelSettings::default(),
            not_before: None,
            attempt: 0,
            started_at: None,
            ran_us: 0,
            runs_since: None,
            lease: None,
            commit_point: None,
            awaited: None,
            pending_outcome: None,
            winding_since: None,
            sent: Vec::new(),
            proposed: 0,
            steps: BTreeMap::new(),
        });
    }

    fn start(&mut self, event: &LaneEvent, started: &TurnStarted) {
        let epoch = started.lease_epoch.unwrap_or_default();
        self.lease_epoch = self.lease_epoch.max(epoch);
        self.change(event.turn, |turn| {
            turn.go(TurnState::Processing, event.at);
            turn.attempt = started.attempt;
            turn.not_before = None;
            turn.started_at = turn.started_at.or(Some(event.at));
            turn.lease = started.lease_id.clone().map(|id| Lease {
                id,
                epoch,
                expires_at: started.lease_expires_at.unwrap_or(event.at),
            });
        });
    }

    /// The messages of a turn move to its successor, in front of those that came later.
    fn carry(&mut self, from: TurnId, to: TurnId) {
        let Some(turn) = self.turn_mut(from) else { return };
        let mut carried = std::mem::take(&mut turn.messages);
        self.change(to, |successor| {
            carried.append(&mut successor.messages);
            successor.messages = carried;
        });
    }

    fn wind_down(&mut self, event: &LaneEvent, outcome: PendingOutcome) {
        self.queue.retain(|queued| *queued != event.turn);
        self.change(event.turn, |turn| turn.wind_down(event.at, outcome));
    }

    fn end(&mut self, id: TurnId, state: TurnState) {
        self.queue.retain(|queued| *queued != id);
        self.change(id, |turn| {
            turn.state = state;
            turn.deadline = None;
            turn.not_before = None;
            turn.lease = None;
            turn.awaited = None;
        });
    }

    fn apply_call(&mut self, event: &LaneEvent) {
        let Some(id) = event.call else { return };
        if let AgentEvent::ToolProposed(proposed) = &event.fact {
            self.calls.insert(id, new_call(id, event.turn, proposed));
            self.change(event.turn, |turn| turn.proposed += 1);
            return;
        }
        if let AgentEvent::ToolStarted(_) = &event.fact {
            self.starts += 1;
        }
        let starts = self.starts;
        self.settle_undoing(event);
        self.change_call(id, |call| match &event.fact {
            AgentEvent::PolicyEvaluated(evaluated) => {
                call.gate = match evaluated.verdict {
                    PolicyVerdict::Allow => Gate::Open,
                    PolicyVerdict::RequireApproval => Gate::Approval,
                    PolicyVerdict::Deny | PolicyVerdict::Transform => Gate::Closed,
                }
            }
            AgentEvent::ToolStarted(started) => {
                call.lapses_at = started.lapses_at;
                call.status = Some(EffectStatus::InFlight);
                call.started = starts;
                call.attempt += 1;
            }
            AgentEvent::ToolStartRefused(refused) => {
                *call.refusals.entry(refused.refusal).or_default() += 1;
                // An approval that is not there yet may still come. Everything else needs another proposal.
                if refused.refusal != StartRefusal::NotApproved {
                    call.gate = Gate::Closed;
                }
            }
            AgentEvent::ToolCompleted(_) => call.status = Some(EffectStatus::Completed),
            AgentEvent::ToolFailed(_) => call.status = Some(EffectStatus::Failed),
            AgentEvent::ToolOutcomeUnknown(_) => call.status = Some(EffectStatus::OutcomeUnknown),
            AgentEvent::ToolOutcomeAsserted(asserted) => {
                call.status = Some(match asserted.outcome {
                    AssertedOutcome::Completed => EffectStatus::Completed,
                    AssertedOutcome::NotExecuted => EffectStatus::Failed,
                });
            }
            AgentEvent::ToolCompensationStarted(started) => {
                call.undoing_lapses_at = started.lapses_at;
                call.undo_starts += 1;
                call.is_being_undone = true;
            }
            AgentEvent::ToolCompensated(_) => {
                call.status = Some(EffectStatus::Compensated);
                call.is_being_undone = false;
            }
            AgentEvent::ToolCompensationFailed(failed) => {
                call.is_being_undone = false;
                call.undo_attempts += 1;
                if failed.exhausted == Some(true) {
                    call.status = Some(EffectStatus::CompensationFailed);
                }
            }
            _ => {}
        });
    }

    /// An effect is undone, given up, or never was: the next one has its time from now on. With one that was given up the
    /// turn cannot end as it was to.
    fn settle_undoing(&mut self, event: &LaneEvent) {
        let gives_up = match &event.fact {
            AgentEvent::ToolCompensated(_) => false,
            AgentEvent::ToolCompensationFailed(failed) if failed.exhausted == Some(true) => true,
            AgentEvent::ToolOutcomeAsserted(asserted) if asserted.outcome == AssertedOutcome::NotExecuted => {
                false
            }
            _ => return,
        };
        self.change(event.turn, |turn| {
            if turn.state != TurnState::Compensating {
                return;
            }
            turn.winding_since = Some(event.at);
            if gives_up {
                turn.pending_outcome = Some(PendingOutcome::Failed {
                    error_type: COMPENSATION_FAILED.to_owned(),
                    error: None,
                });
            }
        });
    }

    fn apply_approval(&mut self, event: &LaneEvent) {
        let Some(id) = event.approval else { return };
        match &event.fact {
            AgentEvent::ApprovalRequested(requested) => self.request(event, id, requested),
            AgentEvent::ApprovalResolved(resolved) if resolved.outcome == ApprovalOutcome::Approved => {
                self.decide_approval(id, ApprovalState::Approved, event.at);
            }
            AgentEvent::ApprovalConsumed(_) => self.decide_approval(id, ApprovalState::Consumed, event.at),
            AgentEvent::ApprovalResolved(_)
            | AgentEvent::ApprovalExpired(_)
            | AgentEvent::ApprovalCancelled(_)
            | AgentEvent::ApprovalVoided(_)
            | AgentEvent::ApprovalStale(_) => self.decide_approval(id, ApprovalState::Closed, event.at),
            // Views, claims, comments and votes do not move the turn.
            _ => {}
        }
    }

    fn request(&mut self, event: &LaneEvent, id: ApprovalId, requested: &ApprovalRequested) {
        let Some(call) = event.call else { return };
        self.change_call(call, |call| {
            call.approval = Some(id);
            call.gate = Gate::Approval;
        });
        self.approvals.insert(
            id,
            Approval {
                id,
                call,
                turn: event.turn,
                mode: requested.mode,
                state: ApprovalState::Requested,
                binding: Binding {
                    action: requested.action_digest,
                    policy: requested.policy_digest,
                    config: requested.config_digest,
                    session_head: requested.session_head,
                },
                expires_at: requested.expires_at,
            },
        );
        if requested.mode == ApprovalMode::Blocking {
            self.change(event.turn, |turn| {
                turn.go(TurnState::AwaitingApproval, event.at);
                turn.awaited = Some(Awaited::Decision(id));
            });
        }
    }

    fn decide_approval(&mut self, id: ApprovalId, state: ApprovalState, at: Micros) {
        let Some(approval) = self.approvals.get_mut(&id) else {
            return;
        };
        approval.state = state;
        let (turn, call) = (approval.turn, approval.call);
        if state == ApprovalState::Closed {
            self.change_call(call, |call| call.gate = Gate::Closed);
        }
        self.change(turn, |turn| {
            if turn.awaited == Some(Awaited::Decision(id)) {
                turn.awaited = None;
                // A turn that winds down has left the wait already.
                if turn.state == TurnState::AwaitingApproval {
                    turn.go(TurnState::Processing, at);
                }
            }
        });
    }

    fn apply_other(&mut self, event: &LaneEvent) {
        match &event.fact {
            AgentEvent::ConfigEffectiveResolved(resolved) => {
                let settings = ChannelSettings::from_values(&resolved.values);
                self.change(event.turn, |turn| turn.settings = settings);
            }
            AgentEvent::InfraLeaseRenewed(renewed) => self.change(event.turn, |turn| {
                if let Some(lease) = &mut turn.lease {
                    lease.expires_at = renewed.expires_at;
                }
            }),
            AgentEvent::InfraLeaseExpired(_) => self.change(event.turn, |turn| turn.lease = None),
            AgentEvent::InfraManualInterventionRequired(_) => self.change(event.turn, |turn| {
                if turn.state == TurnState::Processing {
                    turn.go(TurnState::AwaitingApproval, event.at);
                    turn.awaited = Some(Awaited::Outcome);
                }
            }),
            AgentEvent::MessageSent(sent) => {
                self.change(event.turn, |turn| turn.sent.extend(sent.message_id));
            }
            AgentEvent::MessageRetracted(retracted) => self.change(event.turn, |turn| {
                turn.sent.retain(|sent| Some(*sent) != retracted.message_id);
            }),
            // `message.received`: the turn's events name its messages.
            _ => {}
        }
    }

    fn change(&mut self, id: TurnId, change: impl FnOnce(&mut Turn)) {
        if let Some(turn) = self.turn_mut(id) {
            change(turn);
        }
    }

    fn change_call(&mut self, id: CallId, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.get_mut(&id) {
            change(call);
        }
    }
}

impl Turn {
    /// Goes to another state, and counts how long it ran.
    fn go(&mut self, state: TurnState, at: Micros) {
        if let Some(since) = self.runs_since.take() {
            self.ran_us = self.ran_us.saturating_add(at.0.saturating_sub(since.0));
        }
        self.runs_since = (state == TurnState::Processing).then_some(at);
        self.state = state;
    }

    fn wind_down(&mut self, at: Micros, outcome: PendingOutcome) {
        self.go(TurnState::Cancelling, at);
        self.pending_outcome = Some(outcome);
        self.winding_since = Some(at);
        self.deadline = None;
        self.not_before = None;
        self.awaited = None;
    }
}

fn new_call(id: CallId, turn: TurnId, proposed: &ToolProposed) -> Call {
    Call {
        id,
        turn,
        name: proposed.name.clone(),
        side_effect: proposed.side_effect.unwrap_or_default(),
        action_digest: proposed.action_digest,
        gate: Gate::Closed,
        approval: None,
        status: None,
        started: 0,
        attempt: 0,
        lapses_at: None,
        undo_attempts: 0,
        undo_starts: 0,
        is_being_undone: false,
        undoing_lapses_at: None,
        refusals: BTreeMap::new(),
    }
}
