//! Messages: they open a turn or join one, and may take the place of one that runs. Rows 1 to 5, 15 and 16.

use ruche_domain::events::{
    MessageRetracted, SealReason, TurnMessageCoalesced, TurnOpened, TurnSealed, TurnStrategy,
    TurnSupersedeRefused, TurnSupersedeRequested, TurnTrigger,
};
use ruche_domain::ids::TurnId;
use ruche_domain::numbers::Micros;

use super::approvals::withdraw;
use super::draft::Draft;
use super::intent::SubmitMessage;
use super::rejection::{Obstacle, Rejection};
use super::state::{Turn, TurnState};
use super::winding::{abandon, settle};

pub(super) fn submit(draft: &mut Draft<'_>, submit: &SubmitMessage) -> Result<(), Rejection> {
    if draft.lane.messages.contains(&submit.message_id) {
        let owner = draft
            .lane
            .turns
            .iter()
            .find(|turn| turn.messages.contains(&submit.message_id));
        let state = owner.map_or(TurnState::Superseded, |turn| turn.state);
        return Err(Rejection::blocked(state, Obstacle::MessageKnown));
    }
    // A window that is over takes nothing more, though its timer did not fire yet: grouping depends on the recorded
    // times alone.
    if let Some(turn) = draft.lane.accumulating().filter(|turn| is_due(turn, draft.now)) {
        let turn = turn.id;
        seal(draft, turn, SealReason::Deadline);
    }
    if let Some(holder) = draft.lane.holder()
        && holder.strategy == TurnStrategy::RejectNew
        && draft.lane.accumulating().is_none()
    {
        return Err(Rejection::LaneHeld { state: holder.state });
    }
    let target = join(draft, submit)?;
    supersede_waiting(draft, target);
    meet_holder(draft, target);
    seal_if_full(draft, target);
    if submit.flush && draft.turn(target).state == TurnState::Accumulating {
        seal(draft, target, SealReason::Flush);
    }
    check_room(draft, target, target == submit.new_turn)
}

/// That turn and lane have room for the message. A lane that no worker looks after does not grow without end: what is told
/// of its messages at once has to fit a record, and workers that come back have to get through.
fn check_room(draft: &Draft<'_>, target: TurnId, is_new: bool) -> Result<(), Rejection> {
    let settings = draft.settings();
    if draft.turn(target).messages.len() > settings.carried_max as usize {
        return Err(Rejection::TurnFull {
            limit: settings.carried_max,
        });
    }
    let gathering = usize::from(draft.lane.accumulating().is_some());
    if is_new && draft.lane.queue.len() + gathering > settings.queue_max as usize {
        return Err(Rejection::LaneFull {
            limit: settings.queue_max,
        });
    }
    Ok(())
}

pub(super) fn flush(draft: &mut Draft<'_>, turn: TurnId) -> Result<(), Rejection> {
    let turn = draft.named(turn)?;
    if turn.state != TurnState::Accumulating {
        return Err(Rejection::illegal(turn.state));
    }
    let turn = turn.id;
    seal(draft, turn, SealReason::Flush);
    Ok(())
}

/// Rows 4 and 5: the turn takes no more messages.
pub(super) fn seal(draft: &mut Draft<'_>, id: TurnId, reason: SealReason) {
    draft.row(if draft.lane.holder().is_none() { 4 } else { 5 });
    let messages = draft.turn(id).messages.clone();
    draft.push(id, TurnSealed::new(messages, reason));
    draft.admit(id);
}

/// Rows 1 to 3: the turn that the message goes to.
fn join(draft: &mut Draft<'_>, submit: &SubmitMessage) -> Result<TurnId, Rejection> {
    let mut received = submit.message.clone();
    received.message_id = Some(submit.message_id);
    let settings = draft.settings();
    let now = draft.now;
    if let Some(turn) = draft.lane.accumulating() {
        // Full turns are sealed by their last message and late ones before this one, so both guards hold.
        let (id, deadline) = (turn.id, settings.deadline(turn.opened_at, now));
        draft.row(2);
        draft.push(id, received);
        let mut coalesced = TurnMessageCoalesced::new(submit.message_id);
        coalesced.deadline = Some(deadline);
        draft.push(id, coalesced);
        return Ok(id);
    }
    let waiting = draft.lane.queue.iter().rev().map(|id| draft.turn(*id));
    let waiting = waiting
        .filter(|turn| turn.trigger == TurnTrigger::User)
        .map(|turn| turn.id)
        .next();
    if let Some(id) = waiting.filter(|_| settings.coalesce_queued) {
        draft.row(3);
        draft.push(id, received);
        draft.push(id, TurnMessageCoalesced::new(submit.message_id));
        return Ok(id);
    }
    let id = submit.new_turn;
    if draft.lane.turn(id).is_some() {
        return Err(Rejection::blocked(draft.turn(id).state, Obstacle::IdKnown));
    }
    draft.row(1);
    draft.push(id, received);
    draft.push(
        id,
        TurnOpened {
            message_ids: vec![submit.message_id],
            strategy: Some(settings.recorded_strategy()),
            agent_id: submit.agent_id.clone(),
            deadline: Some(settings.deadline(now, now)),
            ..TurnOpened::new(TurnTrigger::User)
        },
    );
    Ok(id)
}

/// Row 15 for turns that nobody has begun: under CANCEL_IN_PROGRESS the newest message takes their place.
fn supersede_waiting(draft: &mut Draft<'_>, target: TurnId) {
    // Newest first: what is carried goes in front.
    let waiting: Vec<TurnId> = draft.lane.queue.iter().rev().copied().collect();
    for id in waiting {
        if id != target && draft.turn(id).strategy == TurnStrategy::CancelInProgress {
            draft.row(15);
            supersede(draft, id, target);
        }
    }
}

/// Rows 15 and 16: what the message does to the turn that holds the lane.
fn meet_holder(draft: &mut Draft<'_>, target: TurnId) {
    let Some(holder) = draft.lane.holder() else { return };
    let id = holder.id;
    // A turn that ends early already is none of the message's business; so is one that the message joined.
    if id == target || matches!(holder.state, TurnState::Cancelling | TurnState::Compensating) {
        return;
    }
    // A turn that a decision opened is left alone on every channel. That it is also behind a commit point is told all the
    // same where the channel would have cancelled another.
    let cancels = holder.settings.strategy == TurnStrategy::CancelInProgress;
    match (holder.strategy, holder.commit_point) {
        (TurnStrategy::CancelInProgress, None) => {
            draft.row(15);
            supersede(draft, id, target);
        }
        (_, Some(point)) if cancels => {
            draft.row(16);
            let mut refused = TurnSupersedeRefused::new(point.kind);
            refused.call_id = point.call;
            // A record may name a call that nobody proposed: it is judged, and decides nothing.
            let call = point.call.and_then(|call| draft.lane.calls.get(&call));
            refused.tool = call.map(|call| call.name.clone());
            refused.waiting_turn_id = Some(target);
            draft.push(id, refused);
        }
        _ => draft.row(16),
    }
}

/// The messages of a turn move to its successor in this very append: one that moved later could be orphaned.
fn supersede(draft: &mut Draft<'_>, id: TurnId, successor: TurnId) {
    let turn = draft.turn(id);
    let carried = turn.messages.clone();
    let sent = turn.sent.clone();
    draft.push(id, TurnSupersedeRequested::new(successor, carried));
    withdraw(draft, id, "superseded");
    for message in sent {
        let retracted = MessageRetracted {
            message_id: Some(message),
            replaced_by_turn_id: Some(successor),
            ..MessageRetracted::default()
        };
        draft.push(id, retracted);
    }
    abandon(draft, id);
    settle(draft, id, false);
}

fn seal_if_full(draft: &mut Draft<'_>, id: TurnId) {
    let turn = draft.turn(id);
    if turn.state != TurnState::Accumulating {
        return;
    }
    if turn.messages.len() >= draft.settings().messages_max as usize {
        seal(draft, id, SealReason::MessagesMax);
    } else if is_due(turn, draft.now) {
        seal(draft, id, SealReason::Deadline);
    }
}

fn is_due(turn: &Turn, now: Micros) -> bool {
    turn.deadline.is_some_and(|deadline| deadline <= now)
}
