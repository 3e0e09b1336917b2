//! Fields about saved questions.

use async_graphql::connection::Connection;
use async_graphql::{Context, Object, Result};

use super::super::page::{Cursor, cost};
use super::super::saved_query::{self, SavedQuery};
use super::super::scalars::PositionScalar;

/// Reads of saved questions.
#[derive(Default)]
pub(in crate::graphql) struct SavedQueriesQuery;

/// Reads of saved questions.
#[Object]
impl SavedQueriesQuery {
    /// Questions of analytics that stand saved, in the order in which they were saved last.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn saved_queries(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, SavedQuery>> {
        saved_query::list(ctx, first, after.as_deref(), min_position).await
    }

    /// The question of analytics that stands saved under a name.
    async fn saved_query(
        &self,
        ctx: &Context<'_>,
        name: String,
        #[graphql(desc = "Wait until the read models hold this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Option<SavedQuery>> {
        saved_query::one(ctx, &name, min_position).await
    }
}
