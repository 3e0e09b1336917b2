//! Workers: they claim a turn, keep it, and end it. Rows 23, 24 and 26, and the claim that leads out of READY.

use ruche_domain::events::{
    CommitPointKind, InfraLeaseExpired, MessageSent, TurnAttemptFailed, TurnCommitPointReached, TurnReadied,
    TurnStarted,
};
use ruche_domain::ids::{ApprovalId, TurnId};
use ruche_domain::limits::MESSAGES_TO_RETRACT_MAX;
use ruche_domain::numbers::Micros;

use super::approvals::{renew, void};
use super::draft::Draft;
use super::effects::for_person;
use super::intent::{ClaimTurn, CommitTurn, FailTurn, Held, SentMessage};
use super::rejection::{Obstacle, Rejection};
use super::state::{ApprovalState, TurnState};
use super::winding::{Cause, ask_person, doubt, fail};

/// The row of claims (design §5: READY leads to PROCESSING).
pub(super) const CLAIMED: u8 = 28;
/// The row of heartbeats.
pub(super) const RENEWED: u8 = 29;
/// The row of words that go out before the turn is over.
pub(super) const SENT: u8 = 30;

pub(super) fn claim(draft: &mut Draft<'_>, claim: &ClaimTurn) -> Result<(), Rejection> {
    let holder = draft.lane.holder().filter(|turn| turn.state == TurnState::Ready);
    let not_before = holder.and_then(|turn| turn.not_before);
    let Some(turn) = holder.filter(|_| not_before.is_some_and(|at| at <= draft.now)) else {
        return Err(Rejection::NothingReady { not_before });
    };
    let (id, attempt) = (turn.id, turn.attempt + 1);
    let expires_at = Micros(draft.now.0.saturating_add(turn.settings.lease_us));
    let epoch = draft.lane.lease_epoch + 1;
    draft.row(CLAIMED);
    draft.push(
        id,
        TurnStarted {
            lease_id: Some(claim.lease_id.clone()),
            lease_epoch: Some(epoch),
            lease_expires_at: Some(expires_at),
            brain_build: claim.brain_build.clone(),
            ..TurnStarted::new(attempt)
        },
    );
    Ok(())
}

pub(super) fn heartbeat(draft: &mut Draft<'_>, held: &Held<()>) -> Result<(), Rejection> {
    // While people decide the lease does not lapse, and a worker that waits may say so all the same.
    let states = [
        TurnState::Processing,
        TurnState::AwaitingApproval,
        TurnState::Cancelling,
    ];
    let id = draft.held(held, &states)?.id;
    draft.row(RENEWED);
    renew(draft, id);
    Ok(())
}

/// Words that a channel cannot take back are a commit point.
pub(super) fn send(draft: &mut Draft<'_>, held: &Held<SentMessage>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing])?;
    let (id, retractable) = (turn.id, turn.settings.retractable);
    // What can be taken back is taken back in one append.
    if retractable && turn.sent.len() >= MESSAGES_TO_RETRACT_MAX {
        return Err(Rejection::TooManySent);
    }
    draft.row(SENT);
    draft.push(id, sent(&held.what));
    if !retractable {
        let mut reached = TurnCommitPointReached::new(CommitPointKind::UnretractableDelivery);
        reached.message_id = Some(held.what.message_id);
        draft.push(id, reached);
    }
    Ok(())
}

fn sent(message: &SentMessage) -> MessageSent {
    MessageSent {
        message_id: Some(message.message_id),
        ..message.message.clone()
    }
}

/// Row 23.
pub(super) fn commit(draft: &mut Draft<'_>, held: &Held<CommitTurn>) -> Result<(), Rejection> {
    let id = draft.held(held, &[TurnState::Processing])?.id;
    let unsettled = |call: &super::state::Call| call.is_in_flight() || call.is_in_doubt();
    if draft.lane.calls_of(id).any(unsettled) {
        return Err(Rejection::blocked(
            TurnState::Processing,
            Obstacle::EffectUnsettled,
        ));
    }
    let unused: Vec<ApprovalId> = draft
        .lane
        .approvals
        .values()
        .filter(|approval| approval.state == ApprovalState::Approved && draft.call(approval.call).turn == id)
        .map(|approval| approval.id)
        .collect();
    let mut committed = held.what.committed.clone();
    committed.effects = draft.lane.effects_of(id);
    committed.response_message_ids = held.what.response.iter().map(|sent| sent.message_id).collect();
    draft.row(23);
    draft.push(id, committed);
    if let Some(response) = &held.what.response {
        draft.push(id, sent(response));
    }
    for approval in unused {
        void(draft, approval, "committed");
    }
    draft.free_lane();
    Ok(())
}

/// Rows 24 and 25.
pub(super) fn fail_attempt(draft: &mut Draft<'_>, held: &Held<FailTurn>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing])?;
    let (id, attempt, settings) = (turn.id, turn.attempt, turn.settings.clone());
    let FailTurn {
        error_type,
        error,
        retryable,
    } = held.what.clone();
    if retryable && attempt < settings.attempts_max {
        draft.row(24);
        doubt(draft, id, "attempt_failed");
        let retry_at = settings.retry_at(attempt, draft.now);
        let mut failed = TurnAttemptFailed::new(attempt, error_type);
        failed.error = error;
        failed.retry_at = Some(retry_at);
        draft.push(id, failed);
        again(draft, id, retry_at);
        return Ok(());
    }
    if draft.lane.calls_of(id).any(|call| call.is_in_flight()) {
        return Err(Rejection::blocked(
            TurnState::Processing,
            Obstacle::EffectUnsettled,
        ));
    }
    let is_last = retryable;
    fail(
        draft,
        id,
        Cause {
            error_type,
            error,
            is_last,
        },
    );
    Ok(())
}

/// Row 26: the worker is taken for dead. Another attempt waits as it does after one that failed. Where attempts are used up, row 25.
pub(super) fn lapse(draft: &mut Draft<'_>, id: TurnId) {
    let turn = draft.turn(id);
    let Some(lease) = turn.lease.clone() else { return };
    let left = turn.attempt < turn.settings.attempts_max;
    // From the end of the lease on, which is recorded, and not from when somebody noticed.
    let retry_at = turn.settings.retry_at(turn.attempt, lease.expires_at);
    let mut expired = InfraLeaseExpired::new(id.to_string(), lease.epoch);
    expired.holder = Some(lease.id);
    expired.expired_at = Some(lease.expires_at);
    draft.row(26);
    draft.push(id, expired);
    doubt(draft, id, "lease_expired");
    if left {
        again(draft, id, retry_at);
    } else {
        fail(draft, id, Cause::of("lease_expired").last());
    }
}

/// The turn may be claimed again, unless a person has to say first what the last attempt did.
pub(super) fn again(draft: &mut Draft<'_>, id: TurnId, not_before: Micros) {
    let waits_for = for_person(draft, id);
    if waits_for.is_empty() {
        let attempt = draft.turn(id).attempt + 1;
        draft.push(id, TurnReadied::new(attempt, not_before));
    }
    for call in waits_for {
        ask_person(draft, id, call);
    }
}
