//! What is told of a rebuild, and recorded of it, around a store that a test lets go on or fail.

use async_trait::async_trait;
use ruche_commands::testing::{NoObjection, TestLedger};
use ruche_domain::event::AgentEvent;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::testing::SeededRandom;
use ruche_projections::rebuild::RebuildPhase;
use tokio::sync::{Notify, watch};

use super::*;

/// A store that makes nothing anew: it waits until it is told to end, well or badly.
struct Told {
    end: Mutex<watch::Receiver<Option<bool>>>,
    begun: Notify,
}

#[async_trait]
impl Rebuild for Told {
    async fn rebuild(
        &self,
        _: Arc<dyn EventStore>,
        on_difference: OnDifference,
        progress: &RebuildProgress,
    ) -> Result<RebuildReport, RebuildError> {
        assert_eq!(on_difference, OnDifference::Switch);
        progress.enter(RebuildPhase::Comparing);
        self.begun.notify_one();
        let mut end = self.end.lock().await;
        let ends_well = *end.wait_for(Option::is_some).await.expect("the test goes on");
        end.mark_unchanged();
        match ends_well {
            Some(true) => Ok(RebuildReport {
                generation: 7,
                switched: true,
                compared: true,
                differences: Vec::new(),
                events: 12,
                projections: 1,
            }),
            _ => Err(RebuildError::CutOff),
        }
    }

    async fn may_rebuild(&self) -> Result<(), RebuildError> {
        Ok(())
    }
}

struct World {
    ledger: TestLedger,
    told: Arc<Told>,
    end: watch::Sender<Option<bool>>,
    stop: watch::Sender<bool>,
    rebuilds: Arc<Rebuilds>,
}

impl World {
    async fn new() -> Self {
        let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
        let (end, ends) = watch::channel(None);
        let told = Arc::new(Told {
            end: Mutex::new(ends),
            begun: Notify::new(),
        });
        let (stop, shutdown) = Shutdown::channel();
        let random = Arc::new(SeededRandom::new(1));
        let seed = MasterSeed::from_slice(&[9; 32]).expect("32 bytes");
        let (store, clock) = (ledger.store.clone(), ledger.clock.clone());
        let commands = Commands::new(
            store.clone(),
            clock.clone(),
            random,
            Arc::new(seed),
            Arc::new(NoObjection),
        );
        let rebuilds = Rebuilds::new(told.clone(), store, Arc::new(commands), clock, shutdown);
        Self {
            ledger,
            told,
            end,
            stop,
            rebuilds: Arc::new(rebuilds),
        }
    }

    async fn ask(&self, key: &str) -> Result<CommandReceipt, RequestError> {
        let context = self.ledger.context.with_key(key);
        self.rebuilds
            .request(&context, "a column was added".to_owned())
            .await
    }

    /// The outcome of the last one, once it has one.
    async fn outcome(&self) -> Result<RebuildReport, String> {
        loop {
            let last = self.rebuilds.last().await.expect("one was asked for");
            if let Some(ended) = last.ended() {
                return ended.outcome.clone();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn facts(&self) -> Vec<AgentEvent> {
        let records = self
            .ledger
            .store
            .read_ledger(self.ledger.context.ledger, Position::START, 100);
        let records = records.await.expect("records");
        let events = records.iter().map(|record| {
            let event = &record.leaf.event;
            let bytes = record.payload_bytes().expect("a payload");
            AgentEvent::from_payload(&event.event_type, event.schema_version, bytes).expect("an event")
        });
        events
            .filter(|event| event.event_type().contains("rebuild"))
            .collect()
    }
}

#[tokio::test]
async fn one_is_done_at_a_time_and_both_the_request_and_its_end_are_recorded() {
    let world = World::new().await;
    let first = world.ask("a").await.expect("it begins");
    world.told.begun.notified().await;
    let last = world.rebuilds.last().await.expect("it was asked for");
    assert_eq!(last.standing().0.phase, RebuildPhase::Comparing);
    let Err(RequestError::Refused(busy)) = world.ask("b").await else {
        panic!("one is under way");
    };
    assert_eq!(busy.code(), "ILLEGAL_TRANSITION");
    let again = world.ask("a").await.expect("the same answer");
    assert_eq!((again.duplicate, again.position()), (true, first.position()));

    world.end.send_replace(Some(true));
    assert_eq!(world.outcome().await.expect("it is done").generation, 7);
    let facts = world.facts().await;
    let [
        AgentEvent::InfraRebuildRequested(asked),
        AgentEvent::InfraRebuildCompleted(done),
    ] = &facts[..]
    else {
        panic!("{facts:?}");
    };
    assert_eq!(asked.reason, "a column was added");
    assert_eq!(Some(done.requested_at), first.position());
    assert_eq!((done.generation, done.records, done.equal), (7, 12, Some(true)));
    world
        .ask("b")
        .await
        .expect("the next one, under the key that is free still");
}

#[tokio::test]
async fn one_that_fails_or_is_cut_off_is_told_and_not_recorded_as_done() {
    let world = World::new().await;
    world.end.send_replace(Some(false));
    world.ask("a").await.expect("it begins");
    let error = world.outcome().await.expect_err("it fails");
    assert!(
        error.contains("cut off") && error.contains("as they were"),
        "{error}"
    );
    world.end.send_replace(None);
    world.ask("b").await.expect("it begins");
    world.told.begun.notified().await;
    world.stop.send_replace(true);
    let error = world.outcome().await.expect_err("the server stops");
    assert!(error.contains("stopped"), "{error}");
    let facts = world.facts().await;
    let requests = facts
        .iter()
        .filter(|fact| matches!(fact, AgentEvent::InfraRebuildRequested(_)));
    assert_eq!((requests.count(), facts.len()), (2, 2), "{facts:?}");
}
