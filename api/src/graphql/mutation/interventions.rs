//! Mutations about what people are called for.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_commands::governed::SettleIntervention;
use ruche_commands::{CommandError, CommandReceipt};
use ruche_domain::envelope::Provenance;
use ruche_domain::events::InfraManualInterventionSettled;

use super::super::refusals::{self, results};
use super::super::scalars::PositionScalar;
use super::lane_input::{LaneInput, turn};
use super::{Receipt, Writing, carry_out, payloads, turn_of};
use crate::auth::Role;

type Made<C> = std::result::Result<C, CommandError>;

/// Input of `settleIntervention`.
#[derive(InputObject)]
pub(in crate::graphql) struct SettleInterventionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which lane.
    lane: LaneInput,
    /// Which turn; it has failed.
    turn_id: ID,
    /// Opaque reference of the person.
    by: String,
    /// What was done about it, or why nothing is.
    reason: String,
}

impl SettleInterventionInput {
    fn into_command(self) -> Made<SettleIntervention> {
        Ok(SettleIntervention {
            lane: self.lane.into(),
            turn: turn(&self.turn_id)?,
            settled: InfraManualInterventionSettled::new(self.by, self.reason),
        })
    }
}

payloads! {
    /// Nobody is called for the turn any more.
    SettleInterventionPayload {
        /// The turn.
        turn_id: Option<ID> = turn_of,
    }
}

results! {
    /// What came of `settleIntervention`.
    SettleInterventionResult = SettleInterventionPayload;
}

/// Writes about what people are called for.
#[derive(Default)]
pub(in crate::graphql) struct InterventionMutation;

/// Writes about what people are called for.
#[Object]
impl InterventionMutation {
    /// A person looked after a turn that failed: it is off the list of what people are called for. Effects that it left open
    /// are settled by `resolveOutcome`. For administrators.
    async fn settle_intervention(
        &self,
        ctx: &Context<'_>,
        input: SettleInterventionInput,
    ) -> Result<SettleInterventionResult> {
        carry_out!(
            ctx,
            &[Role::Admin],
            Attested,
            input,
            SettleInterventionResult,
            SettleInterventionPayload
        )
    }
}
