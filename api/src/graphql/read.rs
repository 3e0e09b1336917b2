//! What all reads of read models share: waiting for a position, pages, errors, and loaders that ask once for many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::connection::Connection;
use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::{Context, Error, ErrorExtensions as _, OutputType, Result};
use ruche_domain::ids::{CallId, EventId, LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::limits::MIN_POSITION_WAIT_MS_MAX;
use ruche_domain::numbers::{Epoch, Position};
use ruche_ledger::references::ReferenceKey;
use ruche_projections::runner::WaitError;
use ruche_projections::select::{self, PageRequest};
use ruche_projections::store::{ReadStore, ReadStoreError};
use ruche_projections::{lanes, memory, sessions, tool_effects, turns};
use tokio::time::timeout;

use super::budget::{Budget, Counted};
use super::errors::{fault, of_refusal, of_store};
use super::ledger;
use super::page::{Cursor, Page, bad_cursor};
use super::parked::ParkedModels;
use super::query::require;
use super::record::Record;
use super::scalars::PositionScalar;
use crate::auth::Role;
use crate::error_codes as code;
use crate::http::Refusal;
use crate::services::Services;

/// A read of one tenant's read models.
#[derive(Clone)]
pub(super) struct Reading {
    pub services: Arc<Services>,
    pub ledger: LedgerId,
    pub parked: ParkedModels,
    store: Arc<Counted>,
}

impl Reading {
    /// The reading of one operation in a ledger that its caller may read.
    pub(super) fn new(
        services: Arc<Services>,
        ledger: LedgerId,
        parked: ParkedModels,
        budget: Budget,
    ) -> Self {
        let store = services.runner.store().clone();
        Self {
            services,
            ledger,
            parked,
            store: Arc::new(Counted { store, budget }),
        }
    }

    /// The same of the operation of a field.
    pub(super) fn in_ledger(ctx: &Context<'_>, ledger: LedgerId) -> Self {
        Self::new(
            ctx.data_unchecked::<Arc<Services>>().clone(),
            ledger,
            ctx.data_unchecked::<ParkedModels>().clone(),
            ctx.data_unchecked::<Budget>().clone(),
        )
    }

    /// The reading of an operation whose caller may read.
    pub(super) fn of(ctx: &Context<'_>) -> Result<Self> {
        Self::for_roles(ctx, &[Role::Reader])
    }

    /// The reading of an operation whose caller has one of these roles.
    pub(super) fn for_roles(ctx: &Context<'_>, roles: &[Role]) -> Result<Self> {
        let principal = require(ctx, roles)?;
        Ok(Self::in_ledger(ctx, principal.ledger()))
    }

    /// The same, once the named projections hold the record at `min_position`. The field reads the first of them; the
    /// others are those that fields below it may read.
    ///
    /// # Errors
    /// `READ_MODEL_BEHIND`, saying how far behind, if that takes longer than a read may wait; `INVALID_ARGUMENT` if
    /// the ledger has no such epoch.
    pub(super) async fn at(
        ctx: &Context<'_>,
        projections: &[&'static str],
        min_position: Option<PositionScalar>,
    ) -> Result<Self> {
        let reading = Self::of(ctx)?;
        reading.when(projections, min_position).await
    }

    /// As [`Reading::at`], of a reading whose caller was looked at already.
    pub(super) async fn when(
        self,
        projections: &[&'static str],
        min_position: Option<PositionScalar>,
    ) -> Result<Self> {
        self.wait_if(projections, min_position).await?;
        self.note(&projections[..1]);
        Ok(self)
    }

    /// Waits until the named projections hold the record at `min_position`, if there is one.
    ///
    /// # Errors
    /// Those of [`Reading::at`].
    pub(super) async fn wait_if(
        &self,
        projections: &[&'static str],
        min_position: Option<PositionScalar>,
    ) -> Result<()> {
        match min_position {
            Some(PositionScalar(position)) => self.wait(projections, position).await,
            None => Ok(()),
        }
    }

    /// The same of a field below another one, which has waited.
    pub(super) fn below(ctx: &Context<'_>, projection: &'static str) -> Result<Self> {
        let reading = Self::of(ctx)?;
        reading.note(&[projection]);
        Ok(reading)
    }

    /// Has the answer say which of these read models are parked: what is read from them is as old as that.
    pub(super) fn note(&self, projections: &[&'static str]) {
        let states = self.services.runner.progress().states(self.ledger);
        self.parked.note(&states, projections);
    }

    /// Clients' own ids of the tenant as envelopes name them.
    pub(super) fn references(&self) -> ReferenceKey {
        self.services.commands.secrets_of(self.ledger).references
    }

    /// Where the rows are.
    pub(super) fn store(&self) -> &dyn ReadStore {
        &*self.store
    }

    /// Refuses a position that no waiting leads to. Epochs are opened by operators, so one that is not there is not
    /// behind: nobody was given a position in it.
    async fn require_epoch(&self, position: Position) -> Result<()> {
        // The read models know the epochs that they have come to; the ledger is asked only for a later one.
        let states = self.services.runner.progress().states(self.ledger);
        let reached = states.iter().filter_map(|state| state.checkpoint.position).max();
        let last = match reached {
            Some(reached) if reached.epoch >= position.epoch => reached.epoch,
            _ => {
                let head = self.services.events.head(self.ledger).await;
                let head = head.map_err(|error| of_store(&error))?;
                head.map_or(Epoch::FIRST, |head| head.epoch)
            }
        };
        if position.epoch <= last {
            return Ok(());
        }
        let message = format!(
            "`minPosition` is {position}, and the ledger has no epoch {}",
            position.epoch.0
        );
        Err(fault(code::INVALID_ARGUMENT, message)
            .extend_with(|_, extensions| extensions.set("path", vec!["minPosition"])))
    }

    async fn wait(&self, projections: &[&'static str], position: Position) -> Result<()> {
        self.require_epoch(position).await?;
        let progress = self.services.runner.progress();
        let wait = progress.wait_for(self.ledger, projections, position);
        let held = match timeout(Duration::from_millis(MIN_POSITION_WAIT_MS_MAX), wait).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(held)) => Some(held),
            Err(_) => None,
        };
        let states = progress.states(self.ledger);
        let wanted = |name: &&str| projections.contains(name);
        let reached = projections
            .iter()
            .map(|name| states.iter().find(|state| state.projection == *name))
            .map(|state| state.and_then(|state| state.checkpoint.position))
            .min()
            .flatten();
        let applied = states.iter().filter(|state| wanted(&state.projection));
        let applied = applied.map(|state| state.checkpoint.applied).min().unwrap_or(0);
        let message = match (&held, reached) {
            (Some(WaitError::Parked { projection, parked }), _) => {
                format!(
                    "the read model {projection} stands before {parked}, which it cannot read; an operator has to look"
                )
            }
            (Some(WaitError::Paused { projection }), _) => {
                format!("the read model {projection} is paused; an operator has it go on")
            }
            (None, Some(reached)) => format!("the read model has reached {reached} and not yet {position}"),
            (None, None) => format!("the read model has reached nothing and not yet {position}"),
        };
        Err(
            fault(code::READ_MODEL_BEHIND, message).extend_with(|_, extensions| {
                extensions.set("minPosition", position.to_string());
                extensions.set(
                    "position",
                    reached.map_or_else(String::new, |reached| reached.to_string()),
                );
                extensions.set("appliedRecords", applied.to_string());
                extensions.set("retryable", held.is_none());
            }),
        )
    }
}

/// The error that a failing store of read models leads to.
pub(super) fn of_read_store(error: &ReadStoreError) -> Error {
    of_refusal(Refusal::of_read_store(error))
}

/// A page of a read model, as asked for.
pub(super) struct Asked {
    kind: &'static str,
    page: Page,
    /// For the store.
    pub request: PageRequest,
}

impl Asked {
    /// Reads `first` and `after` of a field whose cursors are of `kind`.
    pub(super) fn new(kind: &'static str, first: Option<i32>, after: Option<&str>) -> Result<Self> {
        let page = Page::new(kind, first, after)?;
        let after = page
            .after
            .as_deref()
            .map(|key| key.parse::<select::Cursor>().map_err(|_| bad_cursor()));
        let request = PageRequest::first(page.first).after(after.transpose()?);
        Ok(Self { kind, page, request })
    }

    /// The same list from its end.
    pub(super) fn descending(self) -> Self {
        Self {
            request: self.request.descending(),
            ..self
        }
    }

    /// A cursor of the store as clients are given it.
    pub(super) fn cursor(&self, cursor: &select::Cursor) -> Cursor {
        Cursor::new(self.kind, &cursor.to_string())
    }

    /// The connection of the rows that the store gave.
    pub(super) fn connection<T, Node: OutputType>(
        &self,
        rows: std::result::Result<select::Page<T>, ReadStoreError>,
        node: impl Fn(T) -> Node,
    ) -> Result<Connection<Cursor, Node>> {
        let rows = rows.map_err(|error| of_read_store(&error))?;
        let items = rows.rows.into_iter();
        let items = items.map(|(cursor, row)| (self.cursor(&cursor), node(row)));
        let mut connection = self.page.connection(items.collect());
        connection.has_next_page = rows.has_next;
        Ok(connection)
    }
}

/// Asks the read models once for all sessions, turns, lanes or calls that an operation names at the same time. Made anew for
/// each operation, so nothing is shared between callers.
pub(super) struct ReadLoader(pub Reading);

/// The loader of an operation.
pub(super) type Loading = DataLoader<ReadLoader>;

type Loaded<K, V> = std::result::Result<HashMap<K, V>, Error>;

impl Loader<SessionId> for ReadLoader {
    type Value = sessions::Session;
    type Error = Error;

    async fn load(&self, keys: &[SessionId]) -> Loaded<SessionId, sessions::Session> {
        self.0.note(&["sessions"]);
        let found = sessions::by_ids(self.0.store(), self.0.ledger, keys).await;
        let found = found.map_err(|error| of_read_store(&error))?;
        Ok(found.into_iter().map(|session| (session.id, session)).collect())
    }
}

impl Loader<TurnId> for ReadLoader {
    type Value = turns::Turn;
    type Error = Error;

    async fn load(&self, keys: &[TurnId]) -> Loaded<TurnId, turns::Turn> {
        self.0.note(&["turns"]);
        let found = turns::by_ids(self.0.store(), self.0.ledger, keys).await;
        let found = found.map_err(|error| of_read_store(&error))?;
        Ok(found.into_iter().map(|turn| (turn.id, turn)).collect())
    }
}

impl Loader<LaneId> for ReadLoader {
    type Value = lanes::LaneName;
    type Error = Error;

    async fn load(&self, keys: &[LaneId]) -> Loaded<LaneId, lanes::LaneName> {
        self.0.note(&["lanes"]);
        let found = lanes::names(self.0.store(), self.0.ledger, keys).await;
        found.map_err(|error| of_read_store(&error))
    }
}

/// Where events stand, as far as the read models know.
impl Loader<EventId> for ReadLoader {
    type Value = Position;
    type Error = Error;

    async fn load(&self, keys: &[EventId]) -> Loaded<EventId, Position> {
        self.0.note(&["memory", "timeline"]);
        let found = memory::positions_of(self.0.store(), self.0.ledger, keys).await;
        found.map_err(|error| of_read_store(&error))
    }
}

impl Loader<Position> for ReadLoader {
    type Value = Record;
    type Error = Error;

    async fn load(&self, keys: &[Position]) -> Loaded<Position, Record> {
        ledger::records_at(&self.0.services, self.0.ledger, keys, &self.0.store.budget).await
    }
}

impl Loader<CallId> for ReadLoader {
    type Value = tool_effects::ToolEffect;
    type Error = Error;

    async fn load(&self, keys: &[CallId]) -> Loaded<CallId, tool_effects::ToolEffect> {
        self.0.note(&["tool_effects"]);
        let found = tool_effects::by_calls(self.0.store(), self.0.ledger, keys).await;
        found.map_err(|error| of_read_store(&error))
    }
}
