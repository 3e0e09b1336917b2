//! What a request for approval was.

use ruche_commands::governed::approval_stream;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ApprovalOutcome;
use ruche_domain::ids::{ApprovalId, CallId, LaneId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::store::Record;
use serde::Serialize;

use super::{Found, StateAt};
use crate::error::ReplayError;
use crate::recorded::fact;

/// A request for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApprovalView {
    /// Which.
    pub id: ApprovalId,
    /// The lane that it belongs to.
    pub lane: Option<LaneId>,
    /// The turn that asked.
    pub turn: Option<TurnId>,
    /// The call.
    pub call: Option<CallId>,
    /// The tool.
    pub tool: Option<String>,
    /// `requested`, `approved`, `rejected`, `expired`, `cancelled`, `stale`, `voided` or `consumed`. What lapsed and was
    /// not recorded as such yet is `requested` still. `stale` without a record of it is what was of use when the ledger
    /// went on in another epoch.
    pub state: &'static str,
    /// SHA-256 of the canonical action.
    pub action_digest: Digest,
    /// From when on it is void.
    pub expires_at: Micros,
    /// Votes, those that did not count among them.
    pub votes: Vec<VoteView>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VoteView {
    /// Its record.
    pub position: Position,
    /// Who, as the client names people; of a refused vote nobody may be known.
    pub reviewer: Option<String>,
    /// `approve` or `reject`; nothing where the vote did not count.
    pub decision: Option<&'static str>,
    /// Why it did not count.
    pub refused: Option<&'static str>,
}

impl StateAt {
    pub(super) async fn approval(&self, id: ApprovalId) -> Result<Found<ApprovalView>, ReplayError> {
        let records = self.stream(approval_stream(id)).await?;
        let mut view: Option<ApprovalView> = None;
        for record in &records {
            let Some(fact) = fact(record) else {
                return Ok((view, Some(record.position)));
            };
            match &mut view {
                Some(view) => view.take(record, &fact),
                None => view = requested(id, record, &fact),
            }
        }
        // The read model of approvals says so, too.
        if let (Some(view), Some(request)) = (&mut view, records.first())
            && request.position.epoch < self.position.epoch
            && matches!(view.state, "requested" | "approved")
        {
            view.state = "stale";
        }
        Ok((view, None))
    }
}

fn requested(id: ApprovalId, record: &Record, fact: &AgentEvent) -> Option<ApprovalView> {
    let AgentEvent::ApprovalRequested(requested) = fact else {
        return None;
    };
    let event = &record.leaf.event;
    Some(ApprovalView {
        id,
        lane: requested.lane_id,
        turn: event.turn,
        call: event.call,
        tool: requested.tool_name.clone(),
        state: "requested",
        action_digest: requested.action_digest,
        expires_at: requested.expires_at,
        votes: Vec::new(),
    })
}

impl ApprovalView {
    fn take(&mut self, record: &Record, fact: &AgentEvent) {
        self.state = match fact {
            AgentEvent::ApprovalResolved(resolved) => match resolved.outcome {
                ApprovalOutcome::Approved => "approved",
                ApprovalOutcome::Rejected | ApprovalOutcome::Reported => "rejected",
            },
            AgentEvent::ApprovalExpired(_) => "expired",
            AgentEvent::ApprovalCancelled(_) => "cancelled",
            AgentEvent::ApprovalStale(_) => "stale",
            AgentEvent::ApprovalVoided(_) => "voided",
            AgentEvent::ApprovalConsumed(_) => "consumed",
            _ => self.state,
        };
        let vote = match fact {
            AgentEvent::ApprovalVoted(voted) => VoteView {
                position: record.position,
                reviewer: Some(voted.reviewer.clone()),
                decision: Some(voted.decision.name()),
                refused: None,
            },
            AgentEvent::ApprovalVoteRefused(refused) => VoteView {
                position: record.position,
                reviewer: refused.reviewer.clone(),
                decision: None,
                refused: Some(refused.refusal.name()),
            },
            _ => return,
        };
        self.votes.push(vote);
    }
}
