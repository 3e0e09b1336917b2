//! Mutations about the tool calls of governed turns: propose, start, say how it came out.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use ruche_commands::{CommandReceipt, RecordedEvent};
use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;

use super::super::refusals::{self, results};
use super::super::scalars::{DateTime, Hash, PositionScalar};
use super::super::session::id;
use super::super::words::SideEffectPolicy;
use super::tool_input::ProposeActionInput;
use super::{Receipt, Writing, carry_out, payloads};

/// What stands between a proposed call and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(in crate::graphql) enum CallGate {
    /// Nothing.
    Open,
    /// An approval, which the start uses up.
    Approval,
    /// It will never start.
    Closed,
}

/// A request that people decide on.
#[derive(SimpleObject)]
pub(in crate::graphql) struct RequestedApproval {
    /// Its id.
    id: ID,
    /// Where the request stands; what is signed names this place.
    position: PositionScalar,
    /// Leaf hash of the request.
    leaf_hash: Hash,
    /// SHA-256 of the canonical action.
    action_digest: Hash,
    /// SHA-256 of what reviewers are shown.
    view_digest: Option<Hash>,
    /// When it lapses, which is a denial.
    expires_at: DateTime,
}

fn facts(receipt: &CommandReceipt) -> impl Iterator<Item = (&RecordedEvent, AgentEvent)> {
    // What this program wrote it can read; an erased payload has nothing to tell.
    let read = |event| Some((event, RecordedEvent::agent_event(event).ok()??));
    receipt.events.iter().filter_map(read)
}

fn call_of(receipt: &CommandReceipt) -> Option<ID> {
    receipt.events.iter().find_map(|event| event.event.call).map(id)
}

fn side_effect_of(receipt: &CommandReceipt) -> Option<SideEffectPolicy> {
    facts(receipt).find_map(|(_, fact)| match fact {
        AgentEvent::ToolProposed(proposed) => proposed.side_effect.map(Into::into),
        _ => None,
    })
}

fn action_of(receipt: &CommandReceipt) -> Option<Hash> {
    facts(receipt).find_map(|(_, fact)| match fact {
        AgentEvent::ToolProposed(proposed) => proposed.action_digest.map(|digest| Hash(digest.0)),
        _ => None,
    })
}

fn approval_of(receipt: &CommandReceipt) -> Option<RequestedApproval> {
    facts(receipt).find_map(|(event, fact)| match fact {
        AgentEvent::ApprovalRequested(requested) => Some(RequestedApproval {
            id: event.event.stream.id.to_string().into(),
            position: PositionScalar(event.receipt.position),
            leaf_hash: Hash(event.receipt.leaf_hash.0),
            action_digest: Hash(requested.action_digest.0),
            view_digest: requested.view_digest.map(|digest| Hash(digest.0)),
            expires_at: DateTime(requested.expires_at),
        }),
        _ => None,
    })
}

fn gate_of(receipt: &CommandReceipt) -> CallGate {
    match approval_of(receipt) {
        Some(_) => CallGate::Approval,
        None => CallGate::Open,
    }
}

fn deduplicated(receipt: &CommandReceipt) -> bool {
    receipt.unchanged
}

payloads! {
    /// A call was proposed, or one under the same business key stands already.
    ProposeActionPayload {
        /// The call. Its id is ours; it says which call of which turn it is.
        call_id: Option<ID> = call_of,
        /// What stands between it and its start.
        gate: CallGate = gate_of,
        /// What a call of the tool does to the world, as it is registered.
        side_effect: Option<SideEffectPolicy> = side_effect_of,
        /// SHA-256 of the canonical action.
        action_digest: Option<Hash> = action_of,
        /// The request that people have to decide on first.
        approval: Option<RequestedApproval> = approval_of,
        /// Whether another call holds the business key: nothing was proposed, and this is that call.
        deduplicated: bool = deduplicated,
    }
}

results! {
    /// What came of `proposeAction`.
    ProposeActionResult = ProposeActionPayload;
}

/// Writes about tool calls.
#[derive(Default)]
pub(in crate::graphql) struct ToolCallMutation;

/// Writes about tool calls.
#[Object]
impl ToolCallMutation {
    /// Asks for a call of a tool. Nothing runs yet. What the call does to the world comes from the tool's registration,
    /// and what is irreversible opens a request for approval. While another call holds the business key nothing is
    /// proposed; the answer is that call, `deduplicated`.
    async fn propose_action(
        &self,
        ctx: &Context<'_>,
        input: ProposeActionInput,
    ) -> Result<ProposeActionResult> {
        carry_out!(ctx, Attested, input, ProposeActionResult, ProposeActionPayload)
    }
}
