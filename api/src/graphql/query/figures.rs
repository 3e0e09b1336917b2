//! Fields about figures: what happened, how often, how long it took and what it cost.

use async_graphql::{Context, Object, Result};
use ruche_projections::usage;

use super::super::analysis::{OutcomeFilter, OutcomeRow, UsageFilter, UsageRow, bounded};
use super::super::analytics::{self, Analytics, AnalyticsFilter, Period};
use super::super::read::{Reading, of_read_store};
use super::super::scalars::{DateTime, PositionScalar};
use super::super::words::{AnalyticsBucket, AnalyticsDimension, AnalyticsMetric, Dimension};

/// Reads of figures.
#[derive(Default)]
pub(in crate::graphql) struct FiguresQuery;

/// Reads of figures.
#[Object]
impl FiguresQuery {
    /// What happened and what it cost, summed up by day, agent, model and tool as asked for.
    #[graphql(complexity = "100 * child_complexity")]
    async fn usage(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "One row for each combination of these; one row in all if empty.")] group_by: Vec<
            Dimension,
        >,
        filter: Option<UsageFilter>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Vec<UsageRow>> {
        let reading = Reading::at(ctx, &["usage"], min_position).await?;
        let dimensions: Vec<_> = group_by.into_iter().map(Into::into).collect();
        let filter = filter.unwrap_or_default().into();
        let rows = usage::by(reading.store(), reading.ledger, &dimensions, &filter).await;
        bounded(rows.map_err(|error| of_read_store(&error))?)
    }

    /// How turns came out. A turn counts under each model that it used and each tool that it called, so turns of
    /// different models or tools must not be added up. How the calls of a tool came out: `usage(groupBy: [TOOL])`.
    #[graphql(complexity = "100 * child_complexity")]
    async fn outcomes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "One row for each outcome and combination of these; by day and agent if absent.")]
        group_by: Option<Vec<Dimension>>,
        filter: Option<OutcomeFilter>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Vec<OutcomeRow>> {
        let reading = Reading::at(ctx, &["usage"], min_position).await?;
        let dimensions = group_by.unwrap_or_else(|| vec![Dimension::Day, Dimension::Agent]);
        let dimensions: Vec<_> = dimensions.into_iter().map(Into::into).collect();
        let filter = filter.unwrap_or_default().into();
        let rows = usage::outcomes(reading.store(), reading.ledger, &dimensions, &filter).await;
        bounded(rows.map_err(|error| of_read_store(&error))?)
    }

    /// One figure, by dimensions and time: what it was, and how much of what it is about told it.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    #[graphql(complexity = "100 * child_complexity")]
    async fn analytics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The figure.")] metric: AnalyticsMetric,
        #[graphql(desc = "One row for each combination of these; one row in all if absent.")]
        group_by: Option<Vec<AnalyticsDimension>>,
        #[graphql(desc = "And of these times; one row for all of the time if absent.")] bucket: Option<
            AnalyticsBucket,
        >,
        #[graphql(desc = "From this time on: a full minute, and the start of a bucket.")] from: DateTime,
        #[graphql(desc = "Before this time: a full minute, and the start of a bucket.")] to: DateTime,
        filter: Option<AnalyticsFilter>,
        #[graphql(desc = "Of durations: the share that does not exceed the value, 0 to 100; 95 if absent.")]
        percentile: Option<f64>,
        #[graphql(desc = "Another time, whose figures stand beside those of this one.")] compare_to: Option<
            Period,
        >,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Analytics> {
        let asked = analytics::Asked {
            metric,
            group_by: group_by.unwrap_or_default(),
            bucket,
            period: Period { from, to },
            filter: filter.unwrap_or_default(),
            percentile,
            compare_to,
            min_position,
        };
        analytics::answer(ctx, asked).await
    }
}
