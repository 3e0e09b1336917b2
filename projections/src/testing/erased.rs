//! Payloads that are gone, and payloads that cannot be read.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};

use super::Story;
use super::world::{Fresh, World};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::runner::Runner;
use crate::select::PageRequest;
use crate::timeline::{PayloadState, TimelineFilter};
use crate::tool_effects::{EffectFilter, EffectState};
use crate::{ledger_health, messages, sessions, timeline, tool_effects, turns, usage};

/// A feed in which no payload of a session is left.
pub(super) struct Erased(pub(super) Arc<dyn EventStore>);

#[async_trait]
impl EventStore for Erased {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        self.0.append(ledger, request).await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.0.open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.0.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.0.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.0.ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = self.0.read_ledger(ledger, from, limit).await?;
        for record in records
            .iter_mut()
            .filter(|record| record.leaf.event.session.is_some())
        {
            record.payload = vec![StoredFragment::Missing; record.payload.len()];
        }
        Ok(records)
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.read_stream(ledger, stream, from, limit).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.0.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.0.wait_for(ledger, position).await
    }
}

pub async fn erased_payloads_leave_what_their_leaves_say(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.filled(1, 3).await;
    let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
    let runner = Runner::new(feed.clone(), world.read_store());
    runner.catch_up(ledger).await.unwrap();
    assert!(world.models.dead_letters(ledger).await.unwrap().is_empty());

    let id = Story::new(1).session_id(1);
    let session = sessions::get(world.reads(), ledger, id).await.unwrap().unwrap();
    assert_eq!((session.external_id, session.agent), (None, None));
    assert_eq!(
        (
            session.tally.turns,
            session.tally.tool_calls,
            session.tally.llm_calls
        ),
        (5, 5, 10)
    );
    assert!(session.ended_at.is_some());
    let page = PageRequest::first(100);
    let messages = messages::of_session(world.reads(), ledger, id, &page)
        .await
        .unwrap()
        .items();
    assert_eq!(
        messages.len(),
        10,
        "received and sent; what else was a message stood in the payloads"
    );
    assert!(
        messages
            .iter()
            .all(|m| m.erased && m.text.is_none() && m.role.is_none())
    );
    let entries = timeline::of_session(world.reads(), ledger, id, TimelineFilter::default(), &page)
        .await
        .unwrap();
    assert!(
        entries
            .items()
            .iter()
            .all(|e| e.payload_state == PayloadState::Erased && e.summary.is_none())
    );
    let effects = tool_effects::list(world.reads(), ledger, &EffectFilter::default(), &page)
        .await
        .unwrap()
        .items();
    assert_eq!(effects.len(), 15);
    assert!(
        effects
            .iter()
            .all(|e| e.erased && e.arguments.is_none() && e.result.is_none())
    );
    assert!(
        effects
            .iter()
            .all(|e| e.status == EffectState::Completed || e.status == EffectState::Failed)
    );
    let turn = turns::get(world.reads(), ledger, Story::new(1).turn_id(id, 0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((turn.ordinal, turn.status.name()), (None, "committed"));
    let total = usage::by(world.reads(), ledger, &[], &Default::default())
        .await
        .unwrap()
        .remove(0);
    assert_eq!(total.tally.llm_calls, 30);
    let health = ledger_health::of_ledger(world.reads(), ledger)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(health.payloads_missing as i64, total.tally.events);
    let report = world
        .models
        .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
        .await
        .unwrap();
    assert!(report.switched, "{:?}", report.differences);
}

pub async fn a_payload_that_cannot_be_read_parks_what_needs_it_and_nothing_else(fresh: Fresh) {
    let world = World::new(fresh).await;
    let (ledger, other) = (world.feed.filled(1, 1).await, world.feed.filled(2, 1).await);
    let mut story = Story::new(1);
    story.enter(story.session_id(0));
    // A newer program wrote it: a field that this one does not know.
    let mut poison = story.event(ruche_domain::events::TurnStarted::new(1));
    let payload = b"{\"attempt\":1,\"hue\":\"blue\"}".to_vec();
    let random = ruche_ledger::testing::SeededRandom::new(1);
    poison.payload =
        vec![ruche_ledger::payload::Fragment::plain(&random, "application/json", payload).unwrap()];
    let at = world.feed.append(ledger, vec![poison]).await[0].position;
    world.feed.append(ledger, story.session(1)).await;
    let runner = world.runner();
    runner.catch_up(ledger).await.unwrap();
    runner.catch_up(other).await.unwrap();

    let letters = world.models.dead_letters(ledger).await.unwrap();
    let parked: Vec<_> = letters
        .iter()
        .map(|letter| (letter.projection.as_str(), letter.position))
        .collect();
    assert_eq!(parked, [("analytics", at), ("sessions", at), ("usage", at)]);
    assert!(letters[0].error.contains("hue"), "{}", letters[0].error);
    let lags = runner.lag(ledger).await.unwrap();
    for lag in &lags {
        let behind = matches!(lag.projection, "sessions" | "usage" | "analytics");
        assert_eq!(
            (lag.records > 0, lag.parked.is_some()),
            (behind, behind),
            "{}",
            lag.projection
        );
    }
    assert!(
        runner
            .lag(other)
            .await
            .unwrap()
            .iter()
            .all(|lag| lag.records == 0 && lag.parked.is_none())
    );

    // A rebuild of what is parked stops where the current read models stand, so it compares and switches.
    let report = world
        .models
        .rebuild(
            world.feed_store(),
            OnDifference::Keep,
            &RebuildProgress::default(),
        )
        .await
        .unwrap();
    assert!(report.switched && report.differences.is_empty(), "{report:?}");
    runner.catch_up(ledger).await.unwrap();
    assert_eq!(
        world.models.dead_letters(ledger).await.unwrap().len(),
        3,
        "parked again in the new generation"
    );

    for projection in ["sessions", "usage", "analytics"] {
        assert!(runner.discard(ledger, projection, at).await.unwrap());
    }
    runner.catch_up(ledger).await.unwrap();
    assert!(
        runner
            .lag(ledger)
            .await
            .unwrap()
            .iter()
            .all(|lag| lag.records == 0 && lag.is_gapless())
    );
    let report = world
        .models
        .rebuild(
            world.feed_store(),
            OnDifference::Keep,
            &RebuildProgress::default(),
        )
        .await
        .unwrap();
    assert!(
        report.switched && report.differences.is_empty(),
        "decisions hold in a rebuild: {report:?}"
    );
}
