//! A rebuild of the read models, as those who asked for it look at it.

use std::sync::Arc;

use async_graphql::{Enum, Object, Result, SimpleObject};
use ruche_projections::rebuild::{Difference, RebuildPhase, RebuildReport};

use super::errors::fault;
use super::scalars::{DateTime, Long, PositionScalar};
use crate::error_codes as code;
use crate::rebuilds::Rebuilding;
use crate::services::Services;

/// Refuses where there are several tenants: a rebuild is of all of them, and no administrator of one decides that.
pub(super) fn of_all_tenants(services: &Services) -> Result<()> {
    match services.access.tenant_count() {
        0 | 1 => Ok(()),
        _ => Err(fault(
            code::FORBIDDEN,
            "a rebuild is of the read models of all tenants, and there are several: the operator does it with `ruche rebuild`",
        )),
    }
}

/// What a rebuild does, or how it ended.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(super) enum RebuildState {
    /// It reads records and fills tables beside the current ones.
    Filling,
    /// It holds what it filled against the current tables, row by row.
    Comparing,
    /// It applies what came meanwhile, and puts its tables in the place of the current ones.
    Switching,
    /// Its tables are the current ones.
    Done,
    /// It was given up; the tables are as they were.
    Failed,
}

/// A table that said something else than the records do. It does not any more.
#[derive(SimpleObject)]
pub(super) struct TableDifference {
    /// Which table.
    table: String,
    /// Rows that it had and that the records do not give.
    only_old: Long,
    /// Rows that it lacked.
    only_new: Long,
    /// Rows that said something else.
    unequal: Long,
}

impl From<&Difference> for TableDifference {
    fn from(found: &Difference) -> Self {
        Self {
            table: found.table.clone(),
            only_old: Long::count(found.only_first),
            only_new: Long::count(found.only_second),
            unequal: Long::count(found.unequal),
        }
    }
}

/// A rebuild of all read models.
pub(super) struct Rebuild(pub Arc<Rebuilding>);

impl Rebuild {
    fn report(&self) -> Option<&RebuildReport> {
        self.0.ended().and_then(|ended| ended.outcome.as_ref().ok())
    }
}

/// A rebuild of all read models. Whoever reads meanwhile reads the old ones, which follow the ledger until it is done.
#[Object]
impl Rebuild {
    /// What it does, or how it ended.
    async fn state(&self) -> RebuildState {
        match (self.0.ended(), self.0.standing().0.phase) {
            (Some(ended), _) if ended.outcome.is_ok() => RebuildState::Done,
            (Some(_), _) => RebuildState::Failed,
            (None, RebuildPhase::Filling) => RebuildState::Filling,
            (None, RebuildPhase::Comparing) => RebuildState::Comparing,
            (None, RebuildPhase::Switching) => RebuildState::Switching,
        }
    }

    /// Why it was asked for.
    async fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Where the request is recorded, with who asked.
    async fn requested_at(&self) -> PositionScalar {
        PositionScalar(self.0.requested_at)
    }

    /// Records that it has gone through.
    async fn applied_records(&self) -> Long {
        Long::count(self.0.standing().0.applied)
    }

    /// Records that it has to go through, as far as that is known; more while clients write.
    async fn total_records(&self) -> Long {
        Long::count(self.0.standing().0.total)
    }

    /// How much longer it takes to fill the tables at the rate so far, milliseconds. Absent before the first record and once
    /// they are filled.
    async fn time_left_ms(&self) -> Option<Long> {
        let left = self.0.ended().is_none().then(|| self.0.standing().1).flatten();
        left.map(|left| Long::count(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
    }

    /// When it began.
    async fn started_at(&self) -> DateTime {
        DateTime(self.0.started_at)
    }

    /// When it ended.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended().map(|ended| DateTime(ended.at))
    }

    /// Whether the old tables were held against the new ones; not if another version had made them. Absent until it is done.
    async fn compared(&self) -> Option<bool> {
        self.report().map(|report| report.compared)
    }

    /// Where the old tables said something else than the records do. Absent until it is done.
    async fn differences(&self) -> Option<Vec<TableDifference>> {
        self.report()
            .map(|report| report.differences.iter().map(TableDifference::from).collect())
    }

    /// Why it failed.
    async fn error(&self) -> Option<&str> {
        self.0
            .ended()
            .and_then(|ended| ended.outcome.as_ref().err())
            .map(String::as_str)
    }
}
