//! Calls that run, and how they come out. Rows 8 and 9.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalConsumed, CommitPointKind, TurnCommitPointReached};
use ruche_domain::ids::{CallId, TurnId};
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use super::attempts::again;
use super::draft::Draft;
use super::intent::{EffectOutcome, Held, ReportEffect, ResolveOutcome, StartEffect};
use super::rejection::{Obstacle, Rejection};
use super::state::{ApprovalState, Awaited, Call, Gate, TurnState};
use super::winding::{settle, undone};

/// Row 8: the intent is recorded before the effect, together with the approval that it uses up.
pub(super) fn start(draft: &mut Draft<'_>, held: &Held<StartEffect>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing])?;
    let (id, blocked) = (turn.id, |obstacle| {
        Rejection::blocked(TurnState::Processing, obstacle)
    });
    let call = draft.named_call(turn, held.what.call)?;
    if !may_run(call) {
        return Err(blocked(Obstacle::CallNotThere));
    }
    let (call_id, side_effect, attempt) = (call.id, call.side_effect, call.attempt + 1);
    let proposed = call.action_digest;
    let irreversible = side_effect == SideEffectPolicy::Irreversible;
    let consumes = match call.gate {
        Gate::Closed => return Err(blocked(Obstacle::Denied)),
        Gate::Open if !irreversible => None,
        Gate::Open | Gate::Approval => Some(call.approval.ok_or(blocked(Obstacle::ApprovalMissing))?),
    };
    let mut started = held.what.started.clone();
    started.side_effect = Some(side_effect);
    started.attempt = Some(attempt);
    draft.row(8);
    if let Some(approval) = consumes {
        let approval = &draft.lane.approvals[&approval];
        let digest = approval.binding.action;
        if approval.state != ApprovalState::Approved {
            return Err(blocked(Obstacle::ApprovalMissing));
        }
        if approval.expires_at <= draft.now {
            return Err(blocked(Obstacle::ApprovalExpired));
        }
        // The digest of the call as it was proposed, not one that the worker says now.
        if proposed != Some(digest) {
            return Err(blocked(Obstacle::ActionChanged));
        }
        let (approval, ticket) = (approval.id, approval.id.to_string());
        started.ticket = Some(ticket.clone());
        let mut consumed = ApprovalConsumed::new(ticket, call_id, digest);
        consumed.effect_id.clone_from(&started.effect_id);
        draft.event(id, Some(call_id), Some(approval), consumed.into());
    }
    draft.push_call(call_id, started);
    if irreversible {
        let mut reached = TurnCommitPointReached::new(CommitPointKind::IrreversibleEffect);
        reached.call_id = Some(call_id);
        draft.event(id, Some(call_id), None, reached.into());
    }
    Ok(())
}

/// A call runs once, again after it failed, and again under the same key where twice is once.
fn may_run(call: &Call) -> bool {
    let twice_is_once = matches!(
        call.side_effect,
        SideEffectPolicy::Pure | SideEffectPolicy::Idempotent
    );
    match call.status {
        None | Some(EffectStatus::Failed) => true,
        Some(EffectStatus::OutcomeUnknown) => twice_is_once,
        Some(_) => false,
    }
}

/// Row 9, and the draining of row 17.
pub(super) fn report(draft: &mut Draft<'_>, held: &Held<ReportEffect>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing, TurnState::Cancelling])?;
    let (id, state) = (turn.id, turn.state);
    let call = draft.named_call(turn, held.what.call)?;
    // A worker may find out by the key what became of a call in doubt; of an irreversible one only a person may.
    let reportable = call.is_in_flight() || (call.is_in_doubt() && !call.needs_person());
    if !reportable {
        return Err(Rejection::blocked(state, Obstacle::CallNotThere));
    }
    let call = call.id;
    let fact: AgentEvent = match held.what.outcome.clone() {
        EffectOutcome::Completed(completed) => completed.into(),
        EffectOutcome::Failed(failed) => failed.into(),
        EffectOutcome::Unknown(unknown) => unknown.into(),
    };
    draft.row(9);
    draft.push_call(call, fact);
    if state == TurnState::Cancelling {
        settle(draft, id, true);
    }
    Ok(())
}

/// A person says how a call in doubt came out, with evidence.
pub(super) fn resolve_outcome(draft: &mut Draft<'_>, resolve: &ResolveOutcome) -> Result<(), Rejection> {
    let call = draft
        .lane
        .calls
        .get(&resolve.call)
        .ok_or(Rejection::NoSuch { thing: "call" })?;
    let (id, turn, in_doubt) = (call.id, call.turn, call.is_in_doubt());
    let (state, awaited) = (draft.turn(turn).state, draft.turn(turn).awaited);
    if state.is_terminal() {
        return Err(Rejection::illegal(state)); // Row 27.
    }
    if !in_doubt {
        return Err(Rejection::blocked(state, Obstacle::CallNotThere));
    }
    draft.row(RESOLVED);
    draft.push_call(id, resolve.asserted.clone());
    after_resolution(draft, turn, state, awaited);
    Ok(())
}

/// The row of outcomes that a person found out.
pub(super) const RESOLVED: u8 = 32;

fn after_resolution(draft: &mut Draft<'_>, turn: TurnId, state: TurnState, awaited: Option<Awaited>) {
    let waits = draft.lane.calls_of(turn).any(Call::needs_person);
    match state {
        TurnState::AwaitingApproval if awaited == Some(Awaited::Outcome) && !waits => {
            again(draft, turn, draft.now);
        }
        TurnState::Cancelling => settle(draft, turn, true),
        TurnState::Compensating => undone(draft, turn),
        _ => {}
    }
}

/// Ids of the calls of a turn of which only a person can say how they came out.
pub(super) fn for_person(draft: &Draft<'_>, turn: TurnId) -> Vec<CallId> {
    let calls = draft.lane.calls_of(turn).filter(|call| call.needs_person());
    calls.map(|call| call.id).collect()
}
