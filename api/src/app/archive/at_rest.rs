//! Which streams are at rest: payloads of the others stay in the store.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ruche_domain::ids::{LaneId, LedgerId};
use ruche_domain::numbers::Position;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::{EventStore, StoreError};
use ruche_replay::{Budget, ReplayError, State, StateAt, View, What};

use crate::app::{App, AppError};
use crate::archived::{ArchivedBundles, ArchivedStore};

use super::ArchiveDir;

/// The streams of a ledger that were asked for, as they were when they were.
pub(super) struct AtRest<'a> {
    app: &'a App,
    ledger: LedgerId,
    before: Position,
    /// The records, with what is archived below the folder that payloads go to.
    events: Arc<dyn EventStore>,
    known: HashMap<StreamId, bool>,
}

impl<'a> AtRest<'a> {
    pub(super) fn new(app: &'a App, ledger: LedgerId, before: Position, root: &Path) -> Self {
        let at_hand = ArchiveDir::at_hand(root);
        Self {
            app,
            ledger,
            before,
            events: Arc::new(ArchivedStore::refusing(
                app.stored.clone(),
                Some(ArchivedBundles::of(at_hand)),
            )),
            known: HashMap::new(),
        }
    }

    /// Whether a stream has no record at or behind the position before which payloads are archived, and nothing is open in it.
    pub(super) async fn has(&mut self, stream: StreamId) -> Result<bool, AppError> {
        if let Some(known) = self.known.get(&stream) {
            return Ok(*known);
        }
        let version = self.app.events.stream_version(self.ledger, stream).await?;
        let last = match version {
            Some(version) => {
                let unfilled = &self.app.unfilled;
                unfilled.read_stream(self.ledger, stream, version, 1).await?
            }
            None => Vec::new(),
        };
        let mut is_at_rest = last.last().is_some_and(|last| last.position < self.before);
        if is_at_rest && stream.category == Category::Lane {
            is_at_rest = self.is_over(LaneId(stream.id)).await?;
        }
        self.known.insert(stream, is_at_rest);
        Ok(is_at_rest)
    }

    /// Whether nothing is open in a lane. One of which a part is archived already and not at hand stays as it is.
    async fn is_over(&self, lane: LaneId) -> Result<bool, AppError> {
        let end = self.app.events.head(self.ledger).await?;
        let end = end.and_then(|head| head.last_position());
        let Some(end) = end else { return Ok(false) };
        let at = StateAt::new(self.events.clone(), self.ledger, end, Budget::unbounded()).await;
        let state = match at {
            Ok(at) => at.of(What::Lane(lane), None).await,
            Err(error) => Err(error),
        };
        match state {
            Ok(State {
                state: Some(View::Lane(lane)),
                undecidable_from: None,
                ..
            }) => Ok(lane.is_at_rest()),
            Ok(_) | Err(ReplayError::Store(StoreError::Archived { .. })) => Ok(false),
            Err(ReplayError::Store(error)) => Err(error.into()),
            Err(error) => Err(AppError::ArchiveRefused(crate::error::chain(&error))),
        }
    }
}
