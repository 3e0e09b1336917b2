//! How a turn ends early: cancelled, superseded or failed; drained, undone, over. Rows 6, 17 to 22 and 25.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    InfraManualInterventionRequired, MessageRetracted, ToolCompensationFailed, ToolFailed,
    ToolOutcomeUnknown, TurnAttemptFailed, TurnCancelRequested, TurnCancelled, TurnCompensating, TurnDrained,
    TurnFailed, TurnSuperseded,
};
use ruche_domain::ids::{CallId, TurnId};
use ruche_domain::side_effect::EffectStatus;

use super::approvals::withdraw;
use super::draft::Draft;
use super::intent::{CancelTurn, ReportCompensation, StartCompensation, Undone};
use super::rejection::{Obstacle, Rejection};
use super::state::{Call, PendingOutcome, TurnState};

/// Why an attempt ended, in a stable word and in words.
pub(super) struct Cause {
    pub error_type: String,
    pub error: Option<String>,
    /// No attempt is left where another one might have helped: nobody but a person will look at the turn again.
    pub is_last: bool,
}

impl Cause {
    pub fn of(error_type: &str) -> Self {
        Self {
            error_type: error_type.to_owned(),
            error: None,
            is_last: false,
        }
    }

    /// No attempt is left.
    pub fn last(self) -> Self {
        Self {
            is_last: true,
            ..self
        }
    }
}

/// Rows 6 and 22.
pub(super) fn cancel(draft: &mut Draft<'_>, cancel: &CancelTurn) -> Result<(), Rejection> {
    let turn = draft.named(cancel.turn)?;
    let (id, state, point, attempts) = (turn.id, turn.state, turn.commit_point, turn.attempt);
    let sent = turn.sent.clone();
    match (state, point) {
        // Nobody has begun it, so nothing is left of it.
        (TurnState::Accumulating | TurnState::Queued, _) | (TurnState::Ready, None) if attempts == 0 => {
            draft.row(6);
            withdraw(draft, id, "cancelled");
            draft.push(id, cancelled(cancel.by.clone(), cancel.reason.clone()));
            draft.free_lane();
        }
        (TurnState::Ready | TurnState::Processing | TurnState::AwaitingApproval, None) => {
            draft.row(22);
            let mut requested = TurnCancelRequested::default();
            requested.by.clone_from(&cancel.by);
            requested.reason.clone_from(&cancel.reason);
            draft.push(id, requested);
            withdraw(draft, id, "cancelled");
            for message in sent {
                let retracted = MessageRetracted {
                    message_id: Some(message),
                    ..MessageRetracted::default()
                };
                draft.push(id, retracted);
            }
            abandon(draft, id);
            settle(draft, id, false);
        }
        (TurnState::Ready | TurnState::Processing | TurnState::AwaitingApproval, Some(point)) => {
            return Err(Rejection::blocked(state, Obstacle::CommitPoint(point.kind)));
        }
        _ => return Err(Rejection::illegal(state)),
    }
    Ok(())
}

/// Gives up calls whose result nobody needs and that leave no trace.
pub(super) fn abandon(draft: &mut Draft<'_>, id: TurnId) {
    for call in in_flight(draft, id) {
        if !draft.call(call).side_effect.has_effect() {
            give_up(draft, call, "abandoned");
        }
    }
}

/// The worker is gone: nobody will say how its calls came out.
pub(super) fn doubt(draft: &mut Draft<'_>, id: TurnId, cause: &str) {
    for call in in_flight(draft, id) {
        lose(draft, call, cause);
    }
}

/// Nobody will say how a call came out, or not in time.
fn lose(draft: &mut Draft<'_>, call: CallId, cause: &str) {
    if draft.call(call).side_effect.has_effect() {
        draft.push_call(call, ToolOutcomeUnknown::new(cause.to_owned()));
    } else {
        give_up(draft, call, cause);
    }
}

/// Row 35: a call ran past its time. Its worker may be there and may still find out, so the turn is left to it.
pub(super) fn time_out(draft: &mut Draft<'_>, call: CallId) {
    let turn = draft.call(call).turn;
    draft.row(TIMED_OUT);
    lose(draft, call, "timeout");
    // A record may name a turn that nobody opened.
    if draft
        .lane
        .turn(turn)
        .is_some_and(|turn| turn.state == TurnState::Cancelling)
    {
        settle(draft, turn, true);
    }
}

/// The row of calls that run past their time.
const TIMED_OUT: u8 = 35;

fn give_up(draft: &mut Draft<'_>, call: CallId, why: &str) {
    draft.push_call(
        call,
        ToolFailed {
            error_type: Some(why.to_owned()),
            retryable: Some(true),
            ..ToolFailed::default()
        },
    );
}

fn in_flight(draft: &Draft<'_>, id: TurnId) -> Vec<CallId> {
    let calls = draft.lane.calls_of(id).filter(|call| call.is_in_flight());
    calls.map(|call| call.id).collect()
}

/// Rows 17 to 19: a turn that is to end early goes as far as it can. `waited` says that it was draining before.
pub(super) fn settle(draft: &mut Draft<'_>, id: TurnId, waited: bool) {
    let unsettled = |call: &Call| call.is_in_flight() || call.needs_person();
    if draft.lane.calls_of(id).any(unsettled) {
        draft.row(17);
        return;
    }
    let undo = draft.lane.to_undo(id);
    draft.row(if undo.is_empty() { 19 } else { 18 });
    if waited || !undo.is_empty() {
        let drained = TurnDrained {
            effects: draft.lane.effects_of(id),
        };
        draft.push(id, drained);
    }
    if undo.is_empty() {
        finish(draft, id);
    } else {
        draft.push(id, TurnCompensating::new(undo));
    }
}

/// Row 25: the turn fails. What it did is undone first; what is in doubt waits for a person.
pub(super) fn fail(draft: &mut Draft<'_>, id: TurnId, cause: Cause) {
    draft.row(25);
    withdraw(draft, id, "failed");
    let waits_for: Vec<CallId> = draft
        .lane
        .calls_of(id)
        .filter(|call| call.needs_person())
        .map(|call| call.id)
        .collect();
    if waits_for.is_empty() && draft.lane.to_undo(id).is_empty() {
        let is_last = cause.is_last;
        let failed = failed(draft, id, cause);
        draft.push(id, failed);
        if is_last {
            call_person(draft, id);
        }
        draft.free_lane();
        return;
    }
    let attempt = draft.turn(id).attempt;
    let mut last = TurnAttemptFailed::new(attempt, cause.error_type);
    last.error = cause.error;
    draft.push(id, last);
    if cause.is_last {
        call_person(draft, id);
    }
    for call in waits_for {
        ask_person(draft, id, call);
    }
    settle(draft, id, false);
}

/// The dead letter: attempts are used up, and a person may look at what nobody could do.
fn call_person(draft: &mut Draft<'_>, id: TurnId) {
    let required = InfraManualInterventionRequired::new("attempts_used_up".to_owned());
    draft.push(id, required);
}

/// Asks a person how an irreversible effect came out.
pub(super) fn ask_person(draft: &mut Draft<'_>, id: TurnId, call: CallId) {
    let mut required = InfraManualInterventionRequired::new("outcome_unknown".to_owned());
    required.call_id = Some(call);
    required.commit_point = draft.turn(id).commit_point.map(|point| point.kind);
    draft.event(id, Some(call), None, required.into());
}

/// Row 34: undoing is recorded before the tool that undoes runs. Where nobody reported the last try in its time, another
/// one starts; the tool is one that may run twice. Before that none does: nobody uses up the tries of others. The last
/// effect is undone first, and the one before it when that is settled: undone, or given up.
pub(super) fn start_compensation(draft: &mut Draft<'_>, start: &StartCompensation) -> Result<(), Rejection> {
    let known = draft.lane.calls.get(&start.call);
    let call = known.ok_or(Rejection::NoSuch { thing: "call" })?;
    let (id, is_to_undo, attempt) = (call.id, call.is_to_undo(), call.undo_starts + 1);
    let tried = call.undoing_lapses_at.filter(|_| call.is_being_undone);
    let is_tried = tried.is_some_and(|lapses_at| draft.now < lapses_at);
    let turn = draft.turn(call.turn);
    let (state, tries_max) = (turn.state, turn.settings.compensation_attempts_max);
    if state == TurnState::Cancelling && is_to_undo {
        return Err(Rejection::not_yet(
            state,
            "other effects of the turn are still to settle",
        ));
    }
    if state != TurnState::Compensating {
        return Err(Rejection::illegal(state));
    }
    if !is_to_undo {
        return Err(Rejection::blocked(state, Obstacle::CallNotThere));
    }
    let due = draft.lane.to_undo(call.turn).first().map(|effect| effect.call_id);
    if let Some(due) = due.filter(|due| *due != id) {
        return Err(Rejection::blocked(state, Obstacle::UndoneLater { due }));
    }
    if is_tried {
        return Err(Rejection::blocked(state, Obstacle::BeingUndone));
    }
    if attempt > tries_max {
        return Err(Rejection::blocked(state, Obstacle::TriesUsedUp));
    }
    draft.row(UNDOING);
    let mut started = start.started.clone();
    started.attempt = Some(attempt);
    draft.push_call(id, started);
    Ok(())
}

/// The row of effects that are about to be undone.
const UNDOING: u8 = 34;

/// Rows 20 and 21.
pub(super) fn compensation(draft: &mut Draft<'_>, report: &ReportCompensation) -> Result<(), Rejection> {
    let call = draft
        .lane
        .calls
        .get(&report.call)
        .ok_or(Rejection::NoSuch { thing: "call" })?;
    let (id, turn, tries) = (call.id, call.turn, call.undo_attempts + 1);
    let begun = call.undo_starts;
    // What a try came to that nobody reported is true whatever a later one did; that one failed says nothing of another.
    let is_tried = match report.outcome {
        Undone::Compensated(_) => begun >= tries,
        Undone::Failed(_) => call.is_being_undone,
    };
    let is_to_undo = call.is_to_undo() && is_tried;
    let (state, tries_max) = {
        let turn = draft.turn(turn);
        (turn.state, turn.settings.compensation_attempts_max)
    };
    if state != TurnState::Compensating {
        return Err(Rejection::illegal(state));
    }
    if !is_to_undo {
        return Err(Rejection::blocked(state, Obstacle::CallNotThere));
    }
    match &report.outcome {
        Undone::Compensated(compensated) => {
            draft.push_call(id, compensated.clone());
            if draft.lane.to_undo(turn).is_empty() {
                undone(draft, turn);
            } else {
                draft.row(20);
            }
        }
        Undone::Failed(failed) => {
            // A try that nobody reported is one too.
            let exhausted = tries.max(begun) >= tries_max;
            draft.push_call(
                id,
                ToolCompensationFailed {
                    attempt: Some(tries),
                    exhausted: Some(exhausted),
                    ..failed.clone()
                },
            );
            if exhausted {
                give_up_undoing(draft, turn, id);
            } else {
                draft.row(21);
            }
        }
    }
    Ok(())
}

/// Row 20: the turn is over once every effect is undone or given up.
pub(super) fn undone(draft: &mut Draft<'_>, id: TurnId) {
    if draft.lane.to_undo(id).is_empty() {
        draft.row(20);
        finish(draft, id);
    }
}

/// Undoing the effect that is due took too long. The next one has its own time.
pub(super) fn undoing_lapsed(draft: &mut Draft<'_>, id: TurnId) {
    let Some(effect) = draft.lane.to_undo(id).into_iter().next() else {
        return;
    };
    let attempt = draft.call(effect.call_id).undo_attempts + 1;
    draft.push_call(
        effect.call_id,
        ToolCompensationFailed {
            attempt: Some(attempt),
            exhausted: Some(true),
            ..ToolCompensationFailed::new("timed_out".to_owned())
        },
    );
    give_up_undoing(draft, id, effect.call_id);
}

/// Row 21: what cannot be undone is a person's business, and the turn fails, however it was to end. What was done before
/// it is undone all the same.
fn give_up_undoing(draft: &mut Draft<'_>, id: TurnId, call: CallId) {
    draft.row(21);
    let mut required = InfraManualInterventionRequired::new(COMPENSATION_FAILED.to_owned());
    required.call_id = Some(call);
    draft.event(id, Some(call), None, required.into());
    if draft.lane.to_undo(id).is_empty() {
        finish(draft, id);
    }
}

/// How a turn fails of which an effect could not be undone, and what a person is called for.
pub(super) const COMPENSATION_FAILED: &str = "compensation_failed";

/// The end that was pending.
fn finish(draft: &mut Draft<'_>, id: TurnId) {
    let fact: AgentEvent = match draft.turn(id).pending_outcome.clone() {
        Some(PendingOutcome::Superseded { successor }) => TurnSuperseded::new(successor).into(),
        Some(PendingOutcome::Cancelled { by, reason }) => cancelled(by, reason).into(),
        Some(PendingOutcome::Failed { error_type, error }) => {
            let cause = Cause {
                error,
                ..Cause::of(&error_type)
            };
            failed(draft, id, cause).into()
        }
        None => unreachable!("the lane has no flaw: a turn winds down towards an outcome"),
    };
    draft.push(id, fact);
    draft.free_lane();
}

fn cancelled(by: Option<String>, reason: Option<String>) -> TurnCancelled {
    TurnCancelled {
        by,
        reason,
        ..TurnCancelled::default()
    }
}

fn failed(draft: &Draft<'_>, id: TurnId, cause: Cause) -> TurnFailed {
    let effects = draft.lane.effects_of(id);
    let undone = |effect: &ruche_domain::events::TurnEffect| effect.status == EffectStatus::Compensated;
    let given_up =
        |effect: &ruche_domain::events::TurnEffect| effect.status == EffectStatus::CompensationFailed;
    let complete = if effects.iter().any(given_up) {
        Some(false)
    } else {
        effects.iter().any(undone).then_some(true)
    };
    TurnFailed {
        error: cause.error,
        compensation_complete: complete,
        effects,
        ..TurnFailed::new(cause.error_type)
    }
}
