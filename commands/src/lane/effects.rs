//! Calls that run or may not, and how they come out. Rows 8, 9, 32 and 33.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalConsumed, ApprovalStale, CommitPointKind, StaleCause, StartRefusal, ToolStartRefused,
    TurnCommitPointReached,
};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::limits::START_REFUSALS_PER_CAUSE_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};

use super::approvals::void;
use super::attempts::again;
use super::draft::Draft;
use super::intent::{EffectOutcome, Held, ReportEffect, ResolveOutcome, StartEffect};
use super::rejection::{Obstacle, Rejection, UNDECIDED};
use super::state::{ApprovalState, Awaited, Call, Gate, Lane, TurnState};
use super::winding::{settle, undone};

/// Row 8: the intent is recorded before the effect, together with the approval that it uses up. Row 33: so is that it may
/// not.
pub(super) fn start(draft: &mut Draft<'_>, held: &Held<StartEffect>) -> Result<(), Rejection> {
    if draft.named(held.turn)?.state == TurnState::AwaitingApproval {
        return start_undecided(draft, held);
    }
    let turn = draft.held(held, &[TurnState::Processing])?;
    let id = turn.id;
    let call = draft.named_call(turn, held.what.call)?;
    if !may_run(call) {
        return match is_used_up(draft, call) {
            true => refuse(draft, held.what.call, StartRefusal::NotApproved, &[]),
            false => Err(Rejection::blocked(TurnState::Processing, Obstacle::CallNotThere)),
        };
    }
    let (call_id, side_effect, attempt) = (call.id, call.side_effect, call.attempt + 1);
    let consumes = match may_start(draft, call, &held.what.changed) {
        Ok(consumes) => consumes,
        Err(refusal) => return refuse(draft, call_id, refusal, &held.what.changed),
    };
    let mut started = held.what.started.clone();
    started.side_effect = Some(side_effect);
    started.attempt = Some(attempt);
    draft.row(8);
    if let Some((approval, digest)) = consumes {
        let ticket = approval.to_string();
        started.ticket = Some(ticket.clone());
        let mut consumed = ApprovalConsumed::new(ticket, call_id, digest);
        consumed.effect_id.clone_from(&started.effect_id);
        draft.event(id, Some(call_id), Some(approval), consumed.into());
    }
    draft.push_call(call_id, started);
    if side_effect == SideEffectPolicy::Irreversible {
        let mut reached = TurnCommitPointReached::new(CommitPointKind::IrreversibleEffect);
        reached.call_id = Some(call_id);
        draft.event(id, Some(call_id), None, reached.into());
    }
    Ok(())
}

/// Whether a call was started under its approval, which is good for one start.
fn is_used_up(draft: &Draft<'_>, call: &Call) -> bool {
    let known = call.approval.and_then(|id| draft.lane.approvals.get(&id));
    known.is_some_and(|approval| approval.state == ApprovalState::Consumed)
}

/// Row 33, of a turn that waits for people: a start of what they did not decide on is recorded. Everything else is refused
/// as in any state that knows no start.
fn start_undecided(draft: &mut Draft<'_>, held: &Held<StartEffect>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::AwaitingApproval]);
    let is_asked = turn.as_ref().is_ok_and(|turn| turn.awaits_decision());
    let call = turn.and_then(|turn| draft.named_call(turn, held.what.call));
    let undecided =
        |call: &&Call| may_run(call) && may_start(draft, call, &[]) == Err(StartRefusal::NotApproved);
    let call = call.ok().filter(|call| may_run(call));
    let waits = is_asked && call.is_some_and(|call| may_start(draft, call, &[]).is_ok());
    match call.filter(undecided).map(|call| call.id) {
        Some(call) => refuse(draft, call, StartRefusal::NotApproved, &[]),
        None if waits => Err(Rejection::not_yet(TurnState::AwaitingApproval, UNDECIDED)),
        None => Err(Rejection::illegal(TurnState::AwaitingApproval)),
    }
}

/// The approval that a start uses up, if it needs one, with the action that it is of; or why the call may not start.
fn may_start(
    draft: &Draft<'_>,
    call: &Call,
    changed: &[StaleCause],
) -> Result<Option<(ApprovalId, Digest)>, StartRefusal> {
    let asks = match call.gate {
        Gate::Closed => return Err(StartRefusal::Denied),
        Gate::Open => call.side_effect == SideEffectPolicy::Irreversible,
        Gate::Approval => true,
    };
    let known = call.approval.and_then(|id| draft.lane.approvals.get(&id));
    let given = known.filter(|approval| approval.state == ApprovalState::Approved);
    let uses = if asks {
        let approval = given.ok_or(StartRefusal::NotApproved)?;
        if approval.expires_at <= draft.now {
            return Err(StartRefusal::Expired);
        }
        // The digest of the call as it was proposed, not one that the worker says now.
        if call.action_digest != Some(approval.binding.action) {
            return Err(StartRefusal::OtherAction);
        }
        Some((approval.id, approval.binding.action))
    } else {
        None
    };
    match changed {
        [] => Ok(uses),
        changed if changed.contains(&StaleCause::ReviewerKey) => Err(StartRefusal::RevokedKey),
        _ => Err(StartRefusal::Stale),
    }
}

/// Row 33: a start that what was proposed and approved does not bear out. It is recorded once for each cause, and the
/// approval is gone with it: what people would have to look at now is another request.
fn refuse(
    draft: &mut Draft<'_>,
    id: CallId,
    refusal: StartRefusal,
    changed: &[StaleCause],
) -> Result<(), Rejection> {
    let call = draft.call(id);
    let recorded = call.refusals.get(&refusal).copied().unwrap_or_default();
    if recorded >= START_REFUSALS_PER_CAUSE_MAX {
        return Err(refused_start(&draft.lane, id, refusal));
    }
    let mut refused = ToolStartRefused::new(call.name.clone(), refusal);
    refused.action_digest = call.action_digest;
    refused.attempt = Some(call.attempt + 1);
    let known = call.approval.and_then(|id| draft.lane.approvals.get(&id));
    let given = known.filter(|approval| approval.state == ApprovalState::Approved);
    let given = given.map(|approval| approval.id);
    draft.row(REFUSED);
    if let Some(approval) = given {
        match refusal {
            StartRefusal::Expired => void(draft, approval, "expired"),
            StartRefusal::OtherAction => {
                draft.push_approval(approval, ApprovalStale::new(vec![StaleCause::Action]));
            }
            _ => draft.push_approval(approval, ApprovalStale::new(changed.to_vec())),
        }
    }
    draft.push_call(id, refused);
    Ok(())
}

/// The row of starts that were refused.
pub(super) const REFUSED: u8 = 33;

/// What a worker is told whose start was refused, whether that was recorded or had been before.
pub fn refused_start(lane: &Lane, call: CallId, refusal: StartRefusal) -> Rejection {
    let known = lane.calls.get(&call);
    let turn = known.and_then(|call| lane.turn(call.turn));
    let asked = known.and_then(|call| call.approval).map(Awaited::Decision);
    match turn.map_or(TurnState::Processing, |turn| turn.state) {
        TurnState::AwaitingApproval if asked.is_some() && turn.and_then(|turn| turn.awaited) == asked => {
            Rejection::not_yet(TurnState::AwaitingApproval, UNDECIDED)
        }
        TurnState::AwaitingApproval => Rejection::illegal(TurnState::AwaitingApproval),
        state if known.is_some_and(|call| !may_run(call)) => {
            Rejection::blocked(state, Obstacle::CallNotThere)
        }
        state => Rejection::blocked(state, obstacle(refusal)),
    }
}

/// What stands in the way of a start that is refused.
pub fn obstacle(refusal: StartRefusal) -> Obstacle {
    match refusal {
        StartRefusal::Denied => Obstacle::Denied,
        StartRefusal::NotApproved => Obstacle::ApprovalMissing,
        StartRefusal::Expired => Obstacle::ApprovalExpired,
        StartRefusal::OtherAction => Obstacle::ActionChanged,
        StartRefusal::RevokedKey => Obstacle::KeyRevoked,
        StartRefusal::Stale => Obstacle::Changed,
    }
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
        let late = call.needs_person();
        let obstacle = if late {
            Obstacle::OutcomeForPerson
        } else {
            Obstacle::CallNotThere
        };
        return Err(Rejection::blocked(state, obstacle));
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

/// A person says how a call in doubt came out, with evidence. That outlives the turn: what a turn left open when it ended
/// is said of the call, and the turn stays as it is.
pub(super) fn resolve_outcome(draft: &mut Draft<'_>, resolve: &ResolveOutcome) -> Result<(), Rejection> {
    let call = draft
        .lane
        .calls
        .get(&resolve.call)
        .ok_or(Rejection::NoSuch { thing: "call" })?;
    let (id, turn) = (call.id, call.turn);
    let (state, awaited) = (draft.turn(turn).state, draft.turn(turn).awaited);
    if state == TurnState::Committed {
        return Err(Rejection::illegal(state)); // Row 27: it was committed with every effect settled.
    }
    // While its turn goes on, an effect that could not be undone waits for the others, and for the end.
    let is_open = if state.is_terminal() {
        call.is_left_open()
    } else {
        call.is_in_doubt()
    };
    if !is_open {
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
