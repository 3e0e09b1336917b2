//! Inputs of mutations about the tool calls of governed turns.

use async_graphql::{ID, InputObject};
use ruche_commands::CommandError;
use ruche_commands::governed::ProposeAction;

use super::super::scalars::JsonText;
use super::lane_input::{LaneInput, LeaseInput, turn};

type Made<C> = Result<C, CommandError>;

/// Input of `proposeAction`.
#[derive(InputObject)]
pub(in crate::graphql) struct ProposeActionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn.
    turn_id: ID,
    /// The lease on it.
    lease: LeaseInput,
    /// Name of the tool. What a call of it does to the world comes from its registration; a tool that nobody registered
    /// is irreversible.
    tool: String,
    /// The arguments, exactly as they are going to run. They have to fit the tool's schema.
    arguments: JsonText,
    /// The caller's own key of the effect, such as the number of an order: what has one key happens once. Needed unless
    /// the tool is pure. It is free again once the call failed, was denied or was undone.
    business_key: Option<String>,
    /// The model provider's id of the call. It names nothing here: providers use one id for several calls.
    provider_call_id: Option<String>,
    /// Why the agent wants it, for reviewers.
    justification: Option<String>,
}

impl ProposeActionInput {
    pub(super) fn into_command(self) -> Made<ProposeAction> {
        Ok(ProposeAction {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            lease: self.lease.read()?,
            tool: self.tool,
            arguments: self.arguments.0,
            business_key: self.business_key,
            provider_call_id: self.provider_call_id,
            justification: self.justification,
        })
    }
}
