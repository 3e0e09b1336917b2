//! What a lane was.

use ruche_commands::governed::{approval_of, approval_stream, lane_stream};
use ruche_commands::lane::{Approval, ApprovalState, Gate, Lane, LaneEvent, TurnState};
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{ApprovalId, CallId, LaneId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::side_effect::{EffectStatus, SideEffectPolicy};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::Record;
use serde::Serialize;

use super::told::Told;
use super::turn::{CallView, TurnView};
use super::{Found, StateAt};
use crate::error::ReplayError;
use crate::recorded::{OfLane, of_lane};

/// A lane.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaneView {
    /// Which.
    pub id: LaneId,
    /// The client's own id of the agent.
    pub agent: Option<String>,
    /// The client's own id of the person or system that the agent talks with.
    pub interlocutor: Option<String>,
    /// Channel.
    pub channel: Option<String>,
    /// The client's own id of the thread.
    pub thread: Option<String>,
    /// All turns, in the order of opening, with their calls.
    pub turns: Vec<TurnView>,
    /// Queued turns, oldest first.
    pub queue: Vec<TurnId>,
    /// All requests for approval.
    pub approvals: Vec<LaneApproval>,
    /// The last fencing number that was given.
    pub lease_epoch: u64,
    /// When something happens in it by itself.
    pub due_at: Option<Micros>,
}

impl LaneView {
    /// Whether nothing is open in it, so that whatever happens next begins with a message: no turn that is not over, no call
    /// whose effect is under way or in doubt, nothing that is due.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let is_over = |turn: &TurnView| {
            let state = TurnState::ALL.iter().find(|state| state.name() == turn.state);
            state.is_some_and(|state| state.is_terminal())
        };
        let is_settled = |call: &CallView| {
            let open = [EffectStatus::InFlight, EffectStatus::OutcomeUnknown];
            let is_open = |effect| open.iter().any(|status| status.name() == effect);
            call.effect.is_some_and(|effect| !is_open(effect))
        };
        self.due_at.is_none()
            && self.turns.iter().all(is_over)
            && self.turns.iter().flat_map(|turn| &turn.calls).all(is_settled)
    }
}

/// A request for approval, as far as its lane goes by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneApproval {
    /// Which.
    pub id: ApprovalId,
    /// The call.
    pub call: CallId,
    /// The turn that asked.
    pub turn: TurnId,
    /// Whether that turn waits: `blocking` or `detached`.
    pub mode: &'static str,
    /// `requested`, `approved`, `closed` or `consumed`.
    pub state: &'static str,
    /// From when on it is void.
    pub expires_at: Micros,
}

impl LaneApproval {
    fn new(approval: &Approval) -> Self {
        Self {
            id: approval.id,
            call: approval.call,
            turn: approval.turn,
            mode: approval.mode.name(),
            state: match approval.state {
                ApprovalState::Requested => "requested",
                ApprovalState::Approved => "approved",
                ApprovalState::Closed => "closed",
                ApprovalState::Consumed => "consumed",
            },
            expires_at: approval.expires_at,
        }
    }
}

/// A stream of turns and the approvals of its calls, folded.
#[derive(Default)]
pub(super) struct Folded {
    pub lane: Lane,
    pub name: LaneName,
    pub told: Told,
    pub undecidable_from: Option<Position>,
}

/// How the turns of a lane name it.
#[derive(Default)]
pub(super) struct LaneName {
    agent: Option<String>,
    interlocutor: Option<String>,
    channel: Option<String>,
    thread: Option<String>,
}

impl LaneName {
    /// A turn that a decision opened says nothing of the lane.
    fn take(&mut self, event: &LaneEvent) {
        if let AgentEvent::TurnOpened(opened) = &event.fact
            && opened.channel.is_some()
        {
            self.agent.clone_from(&opened.agent_id);
            self.interlocutor.clone_from(&opened.interlocutor_id);
            self.channel.clone_from(&opened.channel);
            self.thread.clone_from(&opened.thread_id);
        }
    }
}

impl StateAt {
    pub(super) async fn lane(&self, lane: LaneId) -> Result<Found<LaneView>, ReplayError> {
        let folded = self.fold(lane_stream(lane)).await?;
        let undecidable_from = folded.undecidable_from;
        let view = (!folded.lane.turns.is_empty()).then(|| folded.view(lane));
        Ok((view, undecidable_from))
    }

    /// Folds a stream of turns, as a command that is decided on it does, with all approvals and not only the open ones.
    pub(super) async fn fold(&self, stream: StreamId) -> Result<Folded, ReplayError> {
        let mut records = self.stream(stream).await?;
        if stream.category == Category::Lane {
            let asked = fold_records(&records);
            for call in asked.lane.calls.values().filter(|call| {
                call.gate == Gate::Approval || call.side_effect == SideEffectPolicy::Irreversible
            }) {
                let approval = approval_stream(approval_of(call.id));
                records.extend(self.stream(approval).await?);
            }
            records.sort_by_key(|record| record.position);
        }
        Ok(fold_records(&records))
    }
}

fn fold_records(records: &[Record]) -> Folded {
    let mut folded = Folded::default();
    for record in records {
        match of_lane(record) {
            OfLane::Event(event) => {
                folded.name.take(&event);
                folded.told.take(record, &event);
                folded.lane.apply(&event);
            }
            OfLane::Gone => folded.undecidable_from = folded.undecidable_from.or(Some(record.position)),
            OfLane::No | OfLane::ErasedWords => {}
        }
    }
    folded
}

impl Folded {
    fn view(self, id: LaneId) -> LaneView {
        let stream = lane_stream(id);
        let turns = self.lane.turns.iter();
        LaneView {
            id,
            turns: turns
                .map(|turn| TurnView::new(stream, turn, &self.lane, self.told.of(turn.id)))
                .collect(),
            queue: self.lane.queue.clone(),
            approvals: self.lane.approvals.values().map(LaneApproval::new).collect(),
            lease_epoch: self.lane.lease_epoch,
            due_at: self.lane.next_timer().map(|(at, _)| at),
            agent: self.name.agent,
            interlocutor: self.name.interlocutor,
            channel: self.name.channel,
            thread: self.name.thread,
        }
    }
}

impl LaneView {
    /// All calls of its turns, in the order of the turns.
    pub fn calls(&self) -> impl Iterator<Item = &CallView> {
        self.turns.iter().flat_map(|turn| &turn.calls)
    }
}
