//! Calls of governed turns: proposed, allowed, started, settled, undone; each attempt once and in order.

use ruche_domain::events::{PolicyVerdict, StartRefusal};
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use super::check::check_attempt;
use super::table::{Kind, Said};
use super::{Fault, Id, Step, TurnRules, require};
use crate::verify::finding::FindingKind::{EffectWithoutApproval, EffectWithoutIntent, UndoOutOfOrder};
use ruche_domain::numbers::{Micros, Position};

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub turn: Id,
    pub side_effect: SideEffectPolicy,
    pub gate: Gate,
    /// The append that it was proposed in.
    pub proposed_in: Position,
    /// Policy was asked about it.
    pub is_evaluated: bool,
    pub status: Option<EffectStatus>,
    pub attempt: u32,
    /// Where its last start stands.
    pub started: Option<Position>,
    pub undo_attempt: u32,
    /// Starts of the tool that undoes it.
    pub undo_starts: u32,
    /// One of them was not reported yet.
    pub is_being_undone: bool,
    /// Until when that one is waited for.
    pub undoing_lapses_at: Option<Micros>,
    /// The request for approval.
    pub approval: Option<Id>,
    /// The turn goes on without it: the decision opens a turn.
    pub is_detached: bool,
    pub is_decided: bool,
    pub has_opened_turn: bool,
    /// The append that used up its approval.
    pub used_in: Option<Position>,
    pub is_undecidable: bool,
}

/// Whether a call may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not asked, or denied.
    Closed,
    Open,
    /// With an approval.
    Approval,
}

impl Call {
    pub fn new(turn: Id, side_effect: SideEffectPolicy, proposed_in: Position) -> Self {
        Self {
            turn,
            side_effect,
            gate: Gate::Closed,
            proposed_in,
            is_evaluated: false,
            status: None,
            attempt: 0,
            started: None,
            undo_attempt: 0,
            undo_starts: 0,
            is_being_undone: false,
            undoing_lapses_at: None,
            approval: None,
            is_detached: false,
            is_decided: false,
            has_opened_turn: false,
            used_in: None,
            is_undecidable: false,
        }
    }

    pub fn is_in_flight(&self) -> bool {
        self.status == Some(EffectStatus::InFlight)
    }

    /// Whether nobody knows how it came out, and that matters.
    pub fn is_in_doubt(&self) -> bool {
        self.status == Some(EffectStatus::OutcomeUnknown) && self.side_effect != SideEffectPolicy::Pure
    }

    /// Whether only a person can say how it came out.
    pub fn needs_person(&self) -> bool {
        self.is_in_doubt() && self.side_effect == SideEffectPolicy::Irreversible
    }

    /// Whether it has to be undone if its turn is not to stand.
    pub fn is_to_undo(&self) -> bool {
        let happened = matches!(
            self.status,
            Some(EffectStatus::Completed | EffectStatus::OutcomeUnknown)
        );
        happened && self.side_effect == SideEffectPolicy::Compensatable
    }

    /// Whether a decision on it opens a turn that is not there yet.
    pub fn may_open_turn(&self) -> bool {
        self.is_detached && self.is_decided && !self.has_opened_turn
    }

    /// Whether something may still come of it when its turn is over.
    pub fn outlives_turn(&self) -> bool {
        let asked = self.is_undecidable && self.approval.is_some();
        let decides = (self.is_detached || asked) && !self.has_opened_turn;
        let may_be_open = self.is_undecidable && self.status.is_some();
        decides || self.is_left_open() || may_be_open
    }

    /// Whether it is left to a person once its turn is over: nobody knows how it came out, or it could not be undone.
    pub fn is_left_open(&self) -> bool {
        self.is_in_doubt() || self.status == Some(EffectStatus::CompensationFailed)
    }

    /// A call runs once, again after it failed, and again where twice is once.
    fn may_run(&self) -> bool {
        match self.status {
            None | Some(EffectStatus::Failed) => true,
            Some(EffectStatus::OutcomeUnknown) => {
                matches!(
                    self.side_effect,
                    SideEffectPolicy::Pure | SideEffectPolicy::Idempotent
                )
            }
            Some(_) => false,
        }
    }
}

impl TurnRules {
    /// Checks a step against its call.
    pub(super) fn check_call(&self, turn: Id, step: &Step, said: &Said) -> Result<(), Fault> {
        let known = step.call.and_then(|call| self.calls.get(&call));
        if step.kind == Kind::Proposed {
            return require(known.is_none(), || Fault::illegal("the call was proposed before"))
                .map_err(Fault::of_call);
        }
        let Some(call) = known else {
            let explained = self.has_holes || self.turns.get(&turn).is_none_or(|turn| turn.is_undecidable);
            return require(explained, || Fault::illegal("the call was not proposed before"))
                .map_err(Fault::of_call);
        };
        if call.is_undecidable {
            return Ok(());
        }
        let is_approval = step.kind.name().starts_with("approval.");
        require(is_approval || call.turn == turn, || {
            Fault::illegal("the call is of another turn")
        })
        .and_then(|()| self.check_known(turn, call, step, said))
        .map_err(Fault::of_call)
    }

    fn check_known(&self, turn: Id, call: &Call, step: &Step, said: &Said) -> Result<(), Fault> {
        let status = |holds: bool| require(holds, || Fault::illegal(format!("the call is {}", call.words())));
        match step.kind {
            Kind::Deferred => require(call.is_detached, || Fault::illegal("nobody was asked")),
            Kind::Evaluated => {
                // What was denied, or may not start any more, is not allowed by asking again.
                require(!call.is_evaluated, || Fault::illegal("it was decided on before"))?;
                call.check_proposed_with(step)
            }
            Kind::Requested => {
                require(call.approval.is_none(), || {
                    Fault::illegal("it was asked for before")
                })?;
                call.check_proposed_with(step)?;
                let blocks = said.mode == Some(ruche_domain::events::ApprovalMode::Blocking);
                let open = self.turns.get(&turn).filter(|_| blocks);
                let open = open.is_some_and(|open| self.calls_of(&turn, open).any(Call::is_in_flight));
                require(!open, || Fault::illegal("a call of its turn is not settled"))
            }
            Kind::CallStarted => {
                check_start(call, step, said)?;
                self.keys.check(&self.turns, call, step, said)
            }
            // One that never started in its lane is an effect without intent: that is found by the leaves alone.
            Kind::CallCompleted | Kind::CallFailed | Kind::CallUnknown if call.status.is_none() => Ok(()),
            Kind::CallCompleted | Kind::CallFailed | Kind::CallUnknown => {
                require(!said.is_other_result, || {
                    Fault::illegal("the digest of its result is that of another one")
                })?;
                check_attempt(call.attempt, said.attempt)?;
                status(call.is_in_flight() || call.is_in_doubt() && !call.needs_person())
            }
            // Of a turn that is over the call is known to be open.
            Kind::CallAsserted => status(call.is_in_doubt() || !self.turns.contains_key(&turn)),
            Kind::UndoingStarted => {
                status(call.is_to_undo())?;
                let lapsed = call
                    .undoing_lapses_at
                    .is_none_or(|lapses_at| lapses_at.0 <= step.occurred_at);
                require(!call.is_being_undone || lapsed, || {
                    Fault::illegal("another try at undoing it is under way")
                })?;
                self.check_order(turn, call)?;
                check_attempt(call.undo_starts + 1, said.attempt)
            }
            Kind::CallUndone => {
                status(call.is_to_undo())?;
                // What a try came to that nobody reported is true whatever a later one did.
                Call::check_undoing(call.undo_starts > call.undo_attempt)
            }
            Kind::UndoingFailed => {
                status(call.is_to_undo())?;
                check_attempt(call.undo_attempt + 1, said.attempt)?;
                // What takes too long is given up, whether somebody had begun with it or not.
                match said.exhausted {
                    Some(true) => Ok(()),
                    _ => Call::check_undoing(call.is_being_undone),
                }
            }
            _ => Ok(()),
        }
    }
}

impl TurnRules {
    /// That no effect of the turn that was started later is still to be undone. Calls that are left alone may be settled.
    fn check_order(&self, turn: Id, call: &Call) -> Result<(), Fault> {
        let mut others = self
            .turns
            .get(&turn)
            .into_iter()
            .flat_map(|of| self.calls_of(&turn, of));
        let is_due = !others.any(|other| other.is_to_undo() && other.started > call.started);
        require(is_due, || {
            Fault::new(
                UndoOutOfOrder,
                "an effect that was started after it is still to be undone",
            )
        })
    }
}

/// An attempt starts once, after the one before is settled, and only if it was allowed.
fn check_start(call: &Call, step: &Step, said: &Said) -> Result<(), Fault> {
    check_attempt(call.attempt + 1, said.attempt)?;
    require(call.may_run(), || {
        Fault::illegal(format!("the call is {}", call.words()))
    })?;
    require(call.gate != Gate::Closed, || {
        Fault::illegal("the call was not allowed")
    })?;
    // Of what cannot be undone the rules of approvals say so.
    let needs = call.gate == Gate::Approval && call.side_effect != SideEffectPolicy::Irreversible;
    require(!needs || call.used_in == Some(step.append()), || {
        Fault::new(EffectWithoutApproval, "it used up no approval in this append")
    })
}

impl Call {
    /// What undoes an effect is recorded before it runs, as the effect was.
    fn check_undoing(is_tried: bool) -> Result<(), Fault> {
        require(is_tried, || {
            Fault::new(EffectWithoutIntent, "no try at undoing it was recorded before")
        })
    }

    /// What lets a call start stands in the append that proposes it.
    fn check_proposed_with(&self, step: &Step) -> Result<(), Fault> {
        require(self.proposed_in == step.append(), || {
            Fault::illegal("the call was proposed in another append")
        })
    }

    fn words(&self) -> &'static str {
        match self.status {
            None => "not started",
            Some(EffectStatus::InFlight) => "under way",
            Some(EffectStatus::OutcomeUnknown) => "in doubt",
            Some(_) => "settled",
        }
    }

    /// Takes a step of this call.
    pub(super) fn apply(&mut self, step: &Step, said: Option<&Said>) {
        match step.kind {
            Kind::Evaluated => {
                self.is_evaluated = true;
                self.gate = match said.and_then(|said| said.verdict) {
                    Some(PolicyVerdict::Allow) => Gate::Open,
                    Some(PolicyVerdict::RequireApproval) => Gate::Approval,
                    _ => Gate::Closed,
                };
            }
            Kind::Requested => {
                self.approval = Some(step.stream);
                self.gate = Gate::Approval;
                self.is_detached = said.is_some_and(Said::is_detached);
            }
            Kind::Resolved if said.is_none_or(|said| said.outcome.as_deref() == Some("approved")) => {
                self.is_decided = true;
            }
            Kind::Resolved | Kind::Expired | Kind::Stale => {
                self.is_decided = true;
                self.gate = Gate::Closed;
            }
            Kind::Withdrawn | Kind::Voided => self.gate = Gate::Closed,
            Kind::Consumed => self.used_in = Some(step.append()),
            Kind::CallStarted => {
                self.status = Some(EffectStatus::InFlight);
                self.attempt = said
                    .and_then(|said| said.attempt)
                    .unwrap_or_else(|| self.attempt.saturating_add(1));
                self.started = Some(step.position);
            }
            Kind::CallCompleted => self.status = Some(EffectStatus::Completed),
            Kind::CallFailed => self.status = Some(EffectStatus::Failed),
            Kind::CallUnknown => self.status = Some(EffectStatus::OutcomeUnknown),
            Kind::CallAsserted => {
                let happened = said.and_then(|said| said.outcome.as_deref()) == Some("completed");
                self.status = Some(if happened {
                    EffectStatus::Completed
                } else {
                    EffectStatus::Failed
                });
            }
            // An approval that is not there yet may still come. Everything else needs another proposal.
            Kind::StartRefused if said.and_then(|said| said.refusal) != Some(StartRefusal::NotApproved) => {
                self.gate = Gate::Closed;
            }
            Kind::UndoingStarted => {
                self.undoing_lapses_at = said.and_then(|said| said.lapses_at);
                self.undo_starts += 1;
                self.is_being_undone = true;
            }
            Kind::CallUndone => {
                self.status = Some(EffectStatus::Compensated);
                self.is_being_undone = false;
            }
            Kind::UndoingFailed => {
                self.is_being_undone = false;
                self.undo_attempt += 1;
                if said.is_some_and(|said| said.exhausted == Some(true)) {
                    self.status = Some(EffectStatus::CompensationFailed);
                }
            }
            _ => {}
        }
    }
}
