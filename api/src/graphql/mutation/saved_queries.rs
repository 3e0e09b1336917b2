//! Mutations about saved questions of analytics.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use ruche_commands::{CommandError, CommandReceipt, DropQuery, SaveQuery};
use ruche_domain::envelope::Provenance;

use super::super::refusals::{self, results};
use super::super::saved_query::{AnalyticsQueryInput, accepted};
use super::super::scalars::PositionScalar;
use super::{Receipt, Writing, carry_out, payloads};

/// Input of `saveQuery`.
#[derive(InputObject)]
pub(in crate::graphql) struct SaveQueryInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Its name: 1 to 128 characters.
    name: String,
    /// The question.
    query: AnalyticsQueryInput,
}

impl SaveQueryInput {
    fn into_command(self) -> std::result::Result<SaveQuery, CommandError> {
        Ok(SaveQuery {
            name: self.name,
            query: accepted(self.query)?,
        })
    }
}

/// Input of `dropQuery`.
#[derive(InputObject)]
pub(in crate::graphql) struct DropQueryInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Its name.
    name: String,
}

impl DropQueryInput {
    fn into_command(self) -> std::result::Result<DropQuery, CommandError> {
        Ok(DropQuery { name: self.name })
    }
}

payloads! {
    /// The question stands saved so.
    SaveQueryPayload {}
    /// The question is dropped.
    DropQueryPayload {}
}

results! {
    /// What came of `saveQuery`.
    SaveQueryResult = SaveQueryPayload;
    /// What came of `dropQuery`.
    DropQueryResult = DropQueryPayload;
}

/// Writes about saved questions.
#[derive(Default)]
pub(in crate::graphql) struct SavedQueryMutation;

/// Writes about saved questions.
#[Object]
impl SavedQueryMutation {
    /// Saves a question of analytics under a name, in the place of the one that stands there. What `analytics` would refuse is
    /// refused.
    async fn save_query(&self, ctx: &Context<'_>, input: SaveQueryInput) -> Result<SaveQueryResult> {
        carry_out!(ctx, Attested, input, SaveQueryResult, SaveQueryPayload)
    }

    /// Drops a saved question of analytics. The ledger keeps that it stood.
    async fn drop_query(&self, ctx: &Context<'_>, input: DropQueryInput) -> Result<DropQueryResult> {
        carry_out!(ctx, Attested, input, DropQueryResult, DropQueryPayload)
    }
}
