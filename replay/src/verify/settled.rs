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
        let over: Vec<TurnId> = lane
            .turns
            .iter()
            .filter(|turn| turn.state.is_terminal() && !is_needed(lane, turn.id))
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

/// Whether something of a turn that is over may still move, or something that may still move names it: an approval whose
/// decision opened another turn, or a turn whose place it takes.
fn is_needed(lane: &Lane, turn: TurnId) -> bool {
    let of_turn = |call: CallId| lane.calls.get(&call).is_some_and(|call| call.turn == turn);
    let takes_place = |other: &Turn| {
        let place = PendingOutcome::Superseded { successor: turn };
        !other.state.is_terminal() && other.pending_outcome == Some(place)
    };
    let mut asked = lane.approvals.values().filter(|approval| approval.turn == turn);
    lane.calls_of(turn).any(|call| !is_over(lane, call))
        || asked.any(|approval| !of_turn(approval.call))
        || lane.turns.iter().any(takes_place)
}

/// Whether nothing happens to a call by itself, and nobody is asked about it.
fn is_over(lane: &Lane, call: &Call) -> bool {
    let moves = matches!(
        call.status,
        Some(EffectStatus::InFlight | EffectStatus::OutcomeUnknown)
    );
    let approval = call.approval.and_then(|id| lane.approvals.get(&id));
    let is_asked = approval
        .is_some_and(|approval| matches!(approval.state, ApprovalState::Requested | ApprovalState::Approved));
    !moves && !call.is_being_undone && !is_asked
}

/// The messages that a decision may look for: those that came in.
fn messages_of(event: &LaneEvent) -> &[MessageId] {
    match &event.fact {
        AgentEvent::TurnOpened(opened) => &opened.message_ids,
        AgentEvent::TurnMessageCoalesced(coalesced) => std::slice::from_ref(&coalesced.message_id),
        _ => &[],
    }
}
