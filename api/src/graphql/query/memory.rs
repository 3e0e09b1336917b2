//! Fields about what agents know.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result};

use super::super::memory::{
    self, AsOf, Fact, FactFilter, InvalidatedFacts, MemoryFilter, MemoryQuestion, MemoryUse, MemoryUseFilter,
    NearestFacts, NearestQuestion,
};
use super::super::page::{Cursor, cost};
use super::super::scalars::{DateTime, PositionScalar};

/// What a search costs beside the facts that it gives: it reads as much as a hundred pages.
const NEAREST_COST: usize = 2_000;

/// Reads of memory.
#[derive(Default)]
pub(in crate::graphql) struct MemoryQuery;

/// Reads of memory.
#[Object]
impl MemoryQuery {
    /// What an agent knows about somebody or something: the facts that were known at a moment to hold at another. Without
    /// arguments: what is known now of what holds now. `knownAt` alone: what was known then of what held then. `validAt`
    /// alone: what is known now of what held then. In the order in which they were written.
    #[graphql(complexity = "cost(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn memory(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The client's own id of whom or what the facts are about.")] about: ID,
        #[graphql(desc = "When they hold; that of `knownAt` if absent.")] valid_at: Option<DateTime>,
        #[graphql(desc = "What may be known; all that is known by now if absent.")] known_at: Option<AsOf>,
        #[graphql(desc = "Only this attribute.")] attribute: Option<String>,
        #[graphql(desc = "Only of this store.")] store: Option<String>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Fact>> {
        let question = MemoryQuestion {
            about,
            valid_at,
            known_at,
            attribute,
            store,
        };
        memory::known(ctx, question, (first, after.as_deref()), min_position).await
    }

    /// The facts that were known at a moment to hold at another and whose vectors (`memory.embedded`) are nearest to one that the
    /// caller made, the best first. Every vector is compared. More than 100,000 of them or 96 MiB are refused with
    /// `QUERY_LIMIT_EXCEEDED`: `about` narrows them best. `knownAt` and `validAt` as in `memory`.
    #[graphql(complexity = "NEAREST_COST + cost(first, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn nearest_facts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The model that made the vectors, as `memory.embedded` names it.")] model: String,
        #[graphql(
            desc = "Base64 of 32-bit floats, the lowest byte first: at most 4,096, finite and not all zero."
        )]
        vector: String,
        filter: Option<MemoryFilter>,
        #[graphql(desc = "When they hold; that of `knownAt` if absent.")] valid_at: Option<DateTime>,
        #[graphql(desc = "What may be known; all that is known by now if absent.")] known_at: Option<AsOf>,
        first: Option<i32>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<NearestFacts> {
        let question = NearestQuestion {
            model,
            vector,
            filter,
            valid_at,
            known_at,
        };
        memory::nearest(ctx, question, first, min_position).await
    }

    /// Versions of facts in the order in which they were written, whatever became of them.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn facts(
        &self,
        ctx: &Context<'_>,
        filter: Option<FactFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Fact>> {
        memory::facts(ctx, filter, (first, after.as_deref()), min_position).await
    }

    /// What searches of memory and retrievals of documents gave, in the order of the ledger.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn memory_uses(
        &self,
        ctx: &Context<'_>,
        filter: Option<MemoryUseFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, MemoryUse>> {
        memory::uses(ctx, filter, (first, after.as_deref()), min_position).await
    }

    /// How many facts were taken back, by day, by the program that had drawn them, and by reason.
    #[graphql(complexity = "100 * child_complexity")]
    async fn invalidated_facts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Known from this time on.")] from: Option<DateTime>,
        #[graphql(desc = "Known before this time.")] before: Option<DateTime>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Vec<InvalidatedFacts>> {
        memory::invalidated(ctx, (from, before), min_position).await
    }
}
