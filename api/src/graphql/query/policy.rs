//! Fields about what policy decided.

use async_graphql::{Context, Object, Result};
use ruche_projections::policy;

use super::super::analysis::bounded;
use super::super::policy::{PolicyVerdicts, UncertaintyOutcomes};
use super::super::read::{Reading, of_read_store};
use super::super::scalars::{DateTime, PositionScalar};

/// Reads of what policy decided.
#[derive(Default)]
pub(in crate::graphql) struct PolicyQuery;

/// Reads of what policy decided.
#[Object]
impl PolicyQuery {
    /// What policy said, by day and rule, and what people made of what it had them asked for.
    #[graphql(complexity = "100 * child_complexity")]
    async fn policy_verdicts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Decided from this time on.")] from: Option<DateTime>,
        #[graphql(desc = "Decided before this time.")] before: Option<DateTime>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Vec<PolicyVerdicts>> {
        let reading = Reading::at(ctx, &["policy", "approvals"], min_position).await?;
        reading.note(&["approvals"]);
        let (from, before) = (from.map(|time| time.0), before.map(|time| time.0));
        let counts = policy::verdicts(reading.store(), reading.ledger, from, before).await;
        bounded(counts.map_err(|error| of_read_store(&error))?)
    }

    /// How unsure agents were of calls, by tenths of the scale, beside how many of these calls were rejected or undone. A score
    /// that means something has more of these where it is higher.
    #[graphql(complexity = "100 * child_complexity")]
    async fn uncertainty_outcomes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Decided from this time on.")] from: Option<DateTime>,
        #[graphql(desc = "Decided before this time.")] before: Option<DateTime>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Vec<UncertaintyOutcomes>> {
        let models = ["policy", "approvals", "tool_effects"];
        let reading = Reading::at(ctx, &models, min_position).await?;
        reading.note(&models[1..]);
        let (from, before) = (from.map(|time| time.0), before.map(|time| time.0));
        let counts = policy::by_uncertainty(reading.store(), reading.ledger, from, before).await;
        bounded(counts.map_err(|error| of_read_store(&error))?)
    }
}
