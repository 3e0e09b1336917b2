//! Calls that a worker wants and people may have to decide on. Rows 10 to 14.

use ruche_domain::events::{
    ApprovalCancelled, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalStale, ApprovalVoided,
    InfraLeaseRenewed, PolicyVerdict, StaleCause, ToolDeferred, TurnCancelled, TurnOpened, TurnStrategy,
    TurnTrigger,
};
use ruche_domain::ids::{ApprovalId, TurnId};
use ruche_domain::limits::CALLS_PER_TURN_MAX;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;

use super::draft::Draft;
use super::intent::{Held, ProposeAction, ResolveApproval};
use super::rejection::{Obstacle, Rejection};
use super::settings::OnDeny;
use super::state::{Approval, ApprovalState, Binding, TurnState};
use super::winding::{Cause, fail};

/// Rows 10 and 11, and calls that need nobody.
pub(super) fn propose(draft: &mut Draft<'_>, held: &Held<ProposeAction>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing])?;
    let (id, settings) = (turn.id, turn.settings.clone());
    let wanted = &held.what;
    if draft.lane.calls.contains_key(&wanted.call) {
        return Err(Rejection::blocked(TurnState::Processing, Obstacle::CallKnown));
    }
    if turn.proposed >= CALLS_PER_TURN_MAX {
        return Err(Rejection::TooManyCalls);
    }
    let side_effect = wanted.proposed.side_effect.unwrap_or_default();
    if side_effect.has_effect() && wanted.proposed.business_key.is_none() {
        return Err(Rejection::BusinessKeyMissing);
    }
    let allowed = wanted.evaluated.verdict == PolicyVerdict::Allow;
    // Whatever policy says, nothing irreversible runs without a signature.
    let asks = wanted.evaluated.verdict == PolicyVerdict::RequireApproval
        || (allowed && side_effect == SideEffectPolicy::Irreversible);
    let approval = match &wanted.approval {
        Some(approval) if asks => Some(approval),
        None if asks => {
            return Err(Rejection::blocked(
                TurnState::Processing,
                Obstacle::ApprovalMissing,
            ));
        }
        _ => None,
    };
    let blocking = settings.approval_mode == ApprovalMode::Blocking;
    if let Some((approval, _)) = approval {
        if draft.lane.approvals.contains_key(approval) {
            return Err(Rejection::blocked(TurnState::Processing, Obstacle::IdKnown));
        }
        if blocking && draft.lane.calls_of(id).any(|call| call.is_in_flight()) {
            return Err(Rejection::blocked(
                TurnState::Processing,
                Obstacle::EffectUnsettled,
            ));
        }
    }
    let mut proposed = wanted.proposed.clone();
    proposed.side_effect = Some(side_effect);
    draft.event(id, Some(wanted.call), None, proposed.into());
    draft.push_call(wanted.call, wanted.evaluated.clone());
    let Some((approval, request)) = approval else {
        draft.row(PROPOSED);
        return Ok(());
    };
    let expires_at = Micros(draft.now.0.saturating_add(settings.approval_us));
    let mut request = request.clone();
    request.mode = settings.approval_mode;
    request.expires_at = expires_at;
    request.call_id = Some(wanted.call);
    request.side_effect = Some(side_effect);
    draft.event(id, Some(wanted.call), Some(*approval), request.into());
    draft.row(if blocking { 10 } else { 11 });
    if !blocking {
        let mut deferred = ToolDeferred::new(approval.to_string());
        deferred.expires_at = Some(expires_at);
        draft.push_call(wanted.call, deferred);
    }
    Ok(())
}

/// The row of calls that need nobody.
pub(super) const PROPOSED: u8 = 31;

/// Rows 12 to 14.
pub(super) fn resolve(draft: &mut Draft<'_>, resolve: &ResolveApproval) -> Result<(), Rejection> {
    let known = draft.lane.approvals.get(&resolve.approval);
    let approval = known.ok_or(Rejection::NoSuch { thing: "approval" })?.clone();
    let state = draft.turn(approval.turn).state;
    if approval.state != ApprovalState::Requested {
        return Err(Rejection::blocked(state, Obstacle::ApprovalDecided));
    }
    if approval.expires_at <= draft.now {
        return expire(draft, approval.id, resolve.new_turn);
    }
    check_new(draft, &approval, resolve.new_turn)?;
    let approves = resolve.resolved.outcome == ApprovalOutcome::Approved;
    let mut changed = changes(&approval.binding, &resolve.binding);
    changed.extend(&resolve.changed);
    if approves && !changed.is_empty() {
        draft.row(14);
        draft.push_approval(approval.id, ApprovalStale::new(changed));
        go_on(draft, &approval, resolve.new_turn);
        return Ok(());
    }
    draft.row(if approves { 12 } else { 13 });
    draft.push_approval(approval.id, resolve.resolved.clone());
    if approves {
        go_on(draft, &approval, resolve.new_turn);
    } else {
        denied(draft, &approval, resolve.new_turn);
    }
    Ok(())
}

/// Row 13: nobody decided in time, which is a denial.
pub(super) fn expire(draft: &mut Draft<'_>, id: ApprovalId, new_turn: TurnId) -> Result<(), Rejection> {
    let approval = draft.lane.approvals[&id].clone();
    check_new(draft, &approval, new_turn)?;
    draft.row(13);
    draft.push_approval(id, ApprovalExpired::new(approval.expires_at));
    denied(draft, &approval, new_turn);
    Ok(())
}

fn check_new(draft: &Draft<'_>, approval: &Approval, new_turn: TurnId) -> Result<(), Rejection> {
    match draft.lane.turn(new_turn) {
        Some(turn) if approval.mode == ApprovalMode::Detached => {
            Err(Rejection::blocked(turn.state, Obstacle::IdKnown))
        }
        _ => Ok(()),
    }
}

fn denied(draft: &mut Draft<'_>, approval: &Approval, new_turn: TurnId) {
    let blocking = approval.mode == ApprovalMode::Blocking;
    if blocking && draft.turn(approval.turn).settings.on_deny == OnDeny::Fail {
        fail(draft, approval.turn, Cause::of("approval_denied"));
    } else {
        go_on(draft, approval, new_turn);
    }
}

/// The turn that waited goes on under a fresh lease: people take longer than workers are trusted to be alive. A
/// decision that nobody waited for opens a turn of its own, which may use it.
fn go_on(draft: &mut Draft<'_>, approval: &Approval, new_turn: TurnId) {
    if approval.mode == ApprovalMode::Blocking {
        renew(draft, approval.turn);
        return;
    }
    let opened = TurnOpened {
        // Messages wait for it, whatever the channel does otherwise: they must not take the decision with them.
        strategy: Some(TurnStrategy::Queue),
        previous_turn_id: Some(approval.turn),
        ..TurnOpened::new(TurnTrigger::ApprovalResolution)
    };
    draft.row(11);
    draft.event(new_turn, Some(approval.call), None, opened.into());
    draft.admit(new_turn);
}

/// Makes the lease of a turn longer.
pub(super) fn renew(draft: &mut Draft<'_>, id: TurnId) {
    let turn = draft.turn(id);
    let Some(lease) = &turn.lease else { return };
    let expires_at = Micros(draft.now.0.saturating_add(turn.settings.lease_us));
    let renewed = InfraLeaseRenewed::new(id.to_string(), lease.id.clone(), lease.epoch, expires_at);
    draft.push(id, renewed);
}

fn changes(signed: &Binding, now: &Binding) -> Vec<StaleCause> {
    let all = [
        (signed.action != now.action, StaleCause::Action),
        (signed.policy != now.policy, StaleCause::Policy),
        (signed.config != now.config, StaleCause::Config),
        (signed.session_head != now.session_head, StaleCause::Session),
    ];
    all.into_iter()
        .filter(|(changed, _)| *changed)
        .map(|(_, cause)| cause)
        .collect()
}

/// A turn of which nothing is to stand takes back what it asked for. A turn that a decision on it opened has nothing
/// to do any more and is cancelled (row 6).
pub(super) fn withdraw(draft: &mut Draft<'_>, id: TurnId, reason: &str) {
    let approvals: Vec<Approval> = draft.lane.approvals.values().cloned().collect();
    for approval in approvals {
        let user = draft.call(approval.call).turn;
        if approval.turn != id && user != id {
            continue;
        }
        match approval.state {
            ApprovalState::Requested => {
                let mut cancelled = ApprovalCancelled::new(reason.to_owned());
                cancelled.turn_id = Some(id);
                draft.push_approval(approval.id, cancelled);
            }
            ApprovalState::Approved => void(draft, approval.id, reason),
            ApprovalState::Closed | ApprovalState::Consumed => {}
        }
        if user != id && draft.turn(user).state == TurnState::Queued {
            draft.row(6);
            let cancelled = TurnCancelled {
                reason: Some(format!("the turn that asked was {reason}")),
                ..TurnCancelled::default()
            };
            draft.push(user, cancelled);
        }
    }
}

/// An approval that was given and not used.
pub(super) fn void(draft: &mut Draft<'_>, id: ApprovalId, reason: &str) {
    let voided = ApprovalVoided {
        reason: Some(reason.to_owned()),
    };
    draft.push_approval(id, voided);
}
