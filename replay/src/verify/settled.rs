//! What is over in a lane, put away: a decision is made on the rest, which does not grow with the lane. So a lane is gone
//! through in a time that is proportional to its length.
//!
//! A turn that is over is put away with its calls and their approvals once nothing of them can move by itself. When an
//! event names one of them, all come back first, so the machine sees everything that it would look at.

use std::collections::{HashMap, HashSet};

use ruche_commands::lane::{Approval, ApprovalState, Call, Lane, LaneEvent, PendingOutcome, Turn};
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{ApprovalId, CallId, MessageId, TurnId};
use ruche_domain::side_effect::EffectStatus;

/// Turns of a lane that are over.
#[derive(Default)]
pub(super) struct Settled {
    turns: HashMap<TurnId, (Turn, Vec<Call>)>,
    turn_of: HashMap<CallId, TurnId>,
    approvals: HashMap<ApprovalId, Approval>,
    messages: HashSet<MessageId>,
    /// The order in which turns were opened.
    opened: HashMap<TurnId, usize>,
}

impl Settled {
    /// Takes out of a lane what nothing happens to by itself any more.
    pub fn put_away(&mut self, lane: &mut Lane) {
        self.messages.extend(std::mem::take(&mut lane.messages));
        for turn in &lane.turns {
            let next = self.opened.len();
            self.opened.entry(turn.id).or_insert(next);
        }
        let needed = needed(lane);
        let over: Vec<TurnId> = lane
            .turns
            .iter()
            .filter(|turn| turn.state.is_terminal() && !needed.contains(&turn.id))
            .map(|turn| turn.id)
            .collect();
        for id in over {
            let at = lane.turns.iter().position(|turn| turn.id == id);
            let turn = lane.turns.remove(at.expect("it was just found"));
            let calls: Vec<Call> = lane.calls_of(id).cloned().collect();
            for call in &calls {
                lane.calls.remove(&call.id);
                self.turn_of.insert(call.id, id);
                let approval = call.approval.and_then(|id| lane.approvals.remove(&id));
                self.approvals
                    .extend(approval.map(|approval| (approval.id, approval)));
            }
            self.turns.insert(id, (turn, calls));
        }
    }

    /// Puts back what events are about.
    pub fn bring_back<'e>(&mut self, lane: &mut Lane, events: impl IntoIterator<Item = &'e LaneEvent>) {
        for event in events {
            let of_call = event.call.and_then(|call| self.turn_of.get(&call).copied());
            let of_approval = event.approval.and_then(|id| self.approvals.get(&id));
            let of_approval = of_approval.and_then(|approval| self.turn_of.get(&approval.call).copied());
            let before = match &event.fact {
                AgentEvent::TurnOpened(opened) => opened.previous_turn_id,
                _ => None,
            };
            for turn in [Some(event.turn), of_call, of_approval, before]
                .into_iter()
                .flatten()
            {
                self.bring_back_turn(lane, turn);
            }
            for message in messages_of(event) {
                if self.messages.contains(message) {
                    lane.messages.insert(*message);
                }
            }
        }
        lane.turns
            .sort_by_key(|turn| self.opened.get(&turn.id).copied().unwrap_or(usize::MAX));
    }

    /// Everything, as if nothing had been put away.
    #[cfg(test)]
    pub fn bring_back_all(&mut self, lane: &mut Lane) {
        let turns: Vec<TurnId> = self.turns.keys().copied().collect();
        turns
            .into_iter()
            .for_each(|turn| self.bring_back_turn(lane, turn));
        lane.messages.extend(&self.messages);
        self.bring_back(lane, []);
    }

    /// Each names the next, in a chain that may be as long as the lane.
    fn bring_back_turn(&mut self, lane: &mut Lane, id: TurnId) {
        let mut named = vec![id];
        while let Some(id) = named.pop() {
            let Some((turn, calls)) = self.turns.remove(&id) else {
                continue;
            };
            lane.turns.push(turn);
            for call in calls {
                self.turn_of.remove(&call.id);
                if let Some(approval) = call.approval.and_then(|id| self.approvals.remove(&id)) {
                    named.push(approval.turn);
                    lane.approvals.insert(approval.id, approval);
                }
                lane.calls.insert(call.id, call);
            }
        }
    }
}

/// The turns that may not be put away though they are over: something of them may still move, or something that may still
/// move names them. Looked for once for all turns at hand, so that their number counts and not its square.
fn needed(lane: &Lane) -> HashSet<TurnId> {
    let moving = lane.calls.values().filter(|call| !is_over(lane, call));
    let moving = moving.map(|call| call.turn);
    // An approval whose decision opened another turn, as long as that one is there.
    let asked = lane.approvals.values().filter(|approval| {
        let call = lane.calls.get(&approval.call);
        call.is_none_or(|call| call.turn != approval.turn)
    });
    let asked = asked.map(|approval| approval.turn);
    // A turn whose place it takes.
    let successors = lane.turns.iter().filter(|turn| !turn.state.is_terminal());
    let successors = successors.filter_map(|turn| match turn.pending_outcome {
        Some(PendingOutcome::Superseded { successor }) => Some(successor),
        _ => None,
    });
    moving.chain(asked).chain(successors).collect()
}

/// Whether nothing happens by itself to a call of a turn that is over, and nobody is asked about it. One in doubt, or whose
/// undoing was given up, may stay so for ever; what names it brings it back.
fn is_over(lane: &Lane, call: &Call) -> bool {
    let approval = call.approval.and_then(|id| lane.approvals.get(&id));
    let is_asked = approval
        .is_some_and(|approval| matches!(approval.state, ApprovalState::Requested | ApprovalState::Approved));
    call.status != Some(EffectStatus::InFlight) && !is_asked
}

/// The messages that a decision may look for: those that came in.
fn messages_of(event: &LaneEvent) -> &[MessageId] {
    match &event.fact {
        AgentEvent::TurnOpened(opened) => &opened.message_ids,
        AgentEvent::TurnMessageCoalesced(coalesced) => std::slice::from_ref(&coalesced.message_id),
        _ => &[],
    }
}
