//! The root of queries. Thin: role, arguments, one call, conversion.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use ruche_domain::numbers::Epoch;

use super::errors::of_refusal;
use super::ledger::{self, ConsistencyProof, InclusionProof, Ledger, services};
use super::record::Record;
use super::scalars::{Long, PositionScalar};
use crate::auth::{Principal, Role};
use crate::http::Caller;

/// Who is asking, as the key says.
#[derive(SimpleObject)]
pub(super) struct Me {
    /// Tenant whose data is answered.
    tenant: ID,
    /// Id of the key; the key itself is stored nowhere.
    key_id: ID,
    /// Roles that the key carries.
    roles: Vec<String>,
}

/// The caller of an operation, if its roles allow the field.
pub(super) fn require(ctx: &Context<'_>, roles: &[Role]) -> Result<Principal> {
    let caller = ctx.data_unchecked::<Caller>();
    caller.require(roles).map_err(of_refusal)?;
    Ok(caller.principal)
}

const RECORDS: &[Role] = &[Role::Reader, Role::Auditor];

/// Reads.
pub struct Query;

/// Reads.
#[Object]
impl Query {
    /// Who is asking.
    async fn me(&self, ctx: &Context<'_>) -> Me {
        let principal = ctx.data_unchecked::<Caller>().principal;
        Me {
            tenant: ID(principal.tenant.to_string()),
            key_id: ID(principal.key_id.to_string()),
            roles: principal
                .roles
                .iter()
                .map(|role| role.name().to_owned())
                .collect(),
        }
    }

    /// The tenant's ledger: origin, size, tree head, records.
    async fn ledger(&self, ctx: &Context<'_>) -> Result<Ledger> {
        let principal = require(ctx, RECORDS)?;
        Ledger::load(services(ctx), principal.ledger()).await
    }

    /// One record.
    async fn record(&self, ctx: &Context<'_>, position: PositionScalar) -> Result<Option<Record>> {
        let principal = require(ctx, RECORDS)?;
        ledger::record(services(ctx), principal.ledger(), position.0).await
    }

    /// Proof that a record is in the ledger.
    #[graphql(complexity = "50 + child_complexity")]
    async fn inclusion_proof(
        &self,
        ctx: &Context<'_>,
        position: PositionScalar,
        #[graphql(desc = "Size of the tree to prove it for; that of the last tree head if absent.")]
        tree_size: Option<Long>,
    ) -> Result<InclusionProof> {
        let principal = require(ctx, RECORDS)?;
        ledger::inclusion(services(ctx), principal.ledger(), position.0, tree_size).await
    }

    /// Proof that nothing was changed or dropped between two sizes of an epoch's log.
    #[graphql(complexity = "50 + child_complexity")]
    async fn consistency_proof(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Epoch, from 1.")] epoch: u32,
        #[graphql(desc = "Size of the earlier tree.")] from_size: Long,
        #[graphql(desc = "Size of the later tree; that of the last tree head if absent.")] to_size: Option<
            Long,
        >,
    ) -> Result<ConsistencyProof> {
        let principal = require(ctx, RECORDS)?;
        ledger::consistency(
            services(ctx),
            principal.ledger(),
            Epoch(epoch),
            from_size,
            to_size,
        )
        .await
    }
}
