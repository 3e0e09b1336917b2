//! An event as the machine sees it: what happened, when, to which turn.

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::numbers::Micros;

/// One event of a lane. Events of approvals stand in streams of their own and are of the lane all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneEvent {
    /// When it was decided.
    pub at: Micros,
    /// The turn that it belongs to.
    pub turn: TurnId,
    /// The tool call that it belongs to. Of `turn.opened`: the call whose approval opened the turn.
    pub call: Option<CallId>,
    /// The approval whose stream it stands in; absent for the lane's own stream.
    pub approval: Option<ApprovalId>,
    /// What happened.
    pub fact: AgentEvent,
}
