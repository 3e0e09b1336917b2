//! What an engine gives: the ports of everything that is stored, and what only it can do.

use std::sync::Arc;

use ruche_ledger::lease::Leases;
use ruche_ledger::seal::{TreeHeadStore, TreeStore};
use ruche_ledger::store::EventStore;
use ruche_projections::store::ReadStore;

use super::embedded::Embedded;
use super::postgres::Postgres;
use super::{AppError, RebuildReport};
use crate::append_health::WriteTest;

/// An engine that is open.
pub(super) struct Engine {
    /// The records.
    pub events: Arc<dyn EventStore>,
    /// Tiles and copies of tree heads.
    pub trees: Arc<dyn TreeStore>,
    /// What was promised.
    pub heads: Arc<dyn TreeHeadStore>,
    /// The read models.
    pub reads: Arc<dyn ReadStore>,
    /// Who tends which ledger.
    pub leases: Arc<dyn Leases>,
    /// Whether the store can be written.
    pub write_test: Arc<dyn WriteTest>,
    /// Which engine.
    pub own: Own,
}

/// What the engines do each in its own way.
pub(super) enum Own {
    /// Files of this process alone.
    Embedded(Embedded),
    /// A database that any number of nodes share.
    Postgres(Postgres),
}

impl Engine {
    /// Makes all read models anew from the ledgers and switches to them.
    pub(super) async fn rebuild(&self, events: Arc<dyn EventStore>) -> Result<RebuildReport, AppError> {
        match &self.own {
            Own::Embedded(own) => own.rebuild(events).await,
            Own::Postgres(own) => own.rebuild(events).await,
        }
    }

    /// Finishes what is queued. Everything that was answered is durable before.
    pub(super) async fn close(self) -> Result<(), AppError> {
        match self.own {
            Own::Embedded(own) => own.close().await,
            Own::Postgres(own) => own.close().await,
        }
    }
}
