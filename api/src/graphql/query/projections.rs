//! Fields about what keeps read models up to date.

use async_graphql::{Context, Object, Result};

use super::super::ledger::services;
use super::super::projection::{self, Projection};
use super::super::rebuild::{Rebuild, of_all_tenants};
use super::require;
use crate::auth::Role;

/// Reads of projections.
#[derive(Default)]
pub(in crate::graphql) struct ProjectionsQuery;

/// Reads of projections.
#[Object]
impl ProjectionsQuery {
    /// What keeps the tenant's read models up to date: how far each is, and what holds it up.
    #[graphql(complexity = "50 + 15 * child_complexity")]
    async fn projections(&self, ctx: &Context<'_>) -> Result<Vec<Projection>> {
        let principal = require(ctx, &[Role::Reader])?;
        projection::of_ledger(services(ctx), principal.ledger()).await
    }

    /// The rebuild of the read models that was asked for last at this server, since it started. For administrators, where
    /// there is one tenant: it is about the read models of all.
    async fn rebuild(&self, ctx: &Context<'_>) -> Result<Option<Rebuild>> {
        require(ctx, &[Role::Admin])?;
        of_all_tenants(services(ctx))?;
        Ok(services(ctx).rebuilds.last().await.map(Rebuild))
    }
}
