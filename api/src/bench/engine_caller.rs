//! A caller of `ruche bench append`: makes requests as a client's library does, and reads the answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{SchemaVersion, StreamVersion};
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, PreparedEvent, StoreError,
};

use super::drive::{Answer, Caller};
use super::rows::{Dice, EVENT_TYPE};
use crate::limits::BENCH_STREAM_EVENTS;

/// A stream that one caller alone writes.
pub(super) struct OwnStream {
    id: StreamId,
    /// Version that its next event gets.
    next: u64,
}

impl OwnStream {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            id: StreamId::new(Category::Goal, dice.uuid()),
            next: 0,
        }
    }

    fn expectation(&self) -> Expectation {
        let version = self
            .next
            .checked_sub(1)
            .map_or(ExpectedVersion::NoStream, |last| {
                ExpectedVersion::Exact(StreamVersion(last))
            });
        Expectation {
            stream: self.id,
            version,
        }
    }
}

/// A client in this process.
pub(super) struct EngineCaller {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) ledger: LedgerId,
    pub(super) batch: usize,
    pub(super) payload_bytes: usize,
    pub(super) has_keys: bool,
    /// Whether a stream with many events is left for a new one.
    pub(super) renews: bool,
    pub(super) dice: Dice,
    /// At least one.
    pub(super) streams: Vec<OwnStream>,
    pub(super) work: Work,
}

/// The append that a caller works on.
#[derive(Default)]
pub(super) struct Work {
    /// Which of the streams it goes to.
    at: usize,
    /// The same however often it is sent.
    key: Option<KeyClaim>,
    /// Made anew where it has to be sent again, so that nobody pays for a copy that is not needed.
    request: Option<AppendRequest>,
    sends: u32,
}

impl EngineCaller {
    fn make(&mut self) -> Result<AppendRequest, String> {
        let expectation = self.streams[self.work.at].expectation();
        let events: Result<Vec<_>, String> =
            (0..self.batch).map(|_| self.event(expectation.stream)).collect();
        let keys = self.work.key.iter().copied().collect();
        AppendRequest::new(vec![expectation], events?, keys).map_err(|error| error.to_string())
    }

    fn event(&mut self, stream: StreamId) -> Result<PreparedEvent, String> {
        let event = ACFEvent::new(
            event_id(&*self.clock, &*self.random),
            stream,
            EVENT_TYPE,
            SchemaVersion(1),
            self.clock.now(),
            Actor::SYSTEM,
        );
        let payload = self.dice.payload(self.payload_bytes);
        let payload = Fragment::plain(&*self.random, JSON, payload).map_err(|error| error.to_string())?;
        Ok(PreparedEvent {
            event,
            payload: vec![payload],
        })
    }

    fn new_key(&self) -> KeyClaim {
        let mut key = [0; 32];
        self.random.fill(&mut key);
        KeyClaim {
            layer: KeyLayer::Api,
            key,
            request: key,
        }
    }

    fn appended(&mut self, is_duplicate: bool) -> Answer {
        self.streams[self.work.at].next += self.batch as u64;
        if is_duplicate && self.work.sends == 1 {
            return Answer::Failed("answered as a duplicate, and was sent for the first time".to_owned());
        }
        Answer::Durable
    }
}

#[async_trait]
impl Caller for EngineCaller {
    fn prepare(&mut self) -> Result<(), String> {
        self.work.at = (self.work.at + 1) % self.streams.len();
        if self.renews && self.streams[self.work.at].next >= BENCH_STREAM_EVENTS {
            self.streams[self.work.at] = OwnStream::new(&mut self.dice);
        }
        self.work.key = self.has_keys.then(|| self.new_key());
        self.work.sends = 0;
        self.work.request = Some(self.make()?);
        Ok(())
    }

    async fn send(&mut self) -> Answer {
        let made = match self.work.request.take() {
            Some(request) => Ok(request),
            None => self.make(),
        };
        let request = match made {
            Ok(request) => request,
            Err(reason) => return Answer::Failed(reason),
        };
        self.work.sends += 1;
        match self.store.append(self.ledger, request).await {
            Ok(AppendOutcome::Appended { duplicate, .. }) => self.appended(duplicate),
            Ok(AppendOutcome::Conflict { actual, .. }) => {
                self.streams[self.work.at].next = actual.map_or(0, |version| version.0 + 1);
                Answer::Conflict
            }
            Ok(AppendOutcome::Unknown) => {
                if !self.has_keys {
                    // Nobody can say at which version the stream is.
                    self.streams[self.work.at] = OwnStream::new(&mut self.dice);
                }
                Answer::Unknown {
                    may_ask_again: self.has_keys,
                }
            }
            Ok(AppendOutcome::KeyMismatch { .. }) => {
                Answer::Failed("the idempotency key stands for another request".to_owned())
            }
            Err(StoreError::Overloaded { retry_after_ms }) => {
                Answer::Overloaded(Duration::from_millis(retry_after_ms))
            }
            Err(error) => Answer::Failed(crate::error::chain(&error)),
        }
    }

    fn events(&self) -> u64 {
        self.batch as u64
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::memory::MemoryStore;
    use ruche_ledger::testing::faults::{Fault, FaultStore};
    use ruche_ledger::testing::{Author, FixedClock, SeededRandom, ledger};

    use super::*;

    struct Bench {
        faults: Arc<FaultStore>,
        caller: EngineCaller,
    }

    impl Bench {
        async fn new(has_keys: bool) -> Self {
            let clock = Arc::new(FixedClock::at(1_700_000_000_000_000));
            let faults = Arc::new(FaultStore::new(Arc::new(MemoryStore::new(clock.clone()))));
            let opening = Author::new(1).opening(ledger(1), 1, None);
            faults.open_epoch(ledger(1), opening).await.unwrap();
            let random = Arc::new(SeededRandom::new(1));
            let mut dice = Dice::new(&*random);
            let caller = EngineCaller {
                store: faults.clone(),
                clock,
                random,
                ledger: ledger(1),
                batch: 3,
                payload_bytes: 100,
                has_keys,
                renews: true,
                streams: vec![OwnStream::new(&mut dice)],
                dice,
                work: Work::default(),
            };
            Self { faults, caller }
        }

        /// Prepares an append and sends it.
        async fn append(&mut self, fault: Fault) -> Answer {
            self.caller.prepare().unwrap();
            self.faults.inject(fault);
            self.caller.send().await
        }

        /// Records without the one that opened the ledger.
        async fn records(&self) -> u64 {
            self.faults.head(ledger(1)).await.unwrap().unwrap().size.0 - 1
        }
    }

    #[tokio::test]
    async fn an_unknown_append_is_resolved_by_its_key_and_stands_once() {
        for (fault, stored) in [(Fault::UnknownNotPersisted, 0), (Fault::UnknownButPersisted, 3)] {
            let mut bench = Bench::new(true).await;
            assert_eq!(bench.append(Fault::None).await, Answer::Durable);
            let unknown = Answer::Unknown { may_ask_again: true };
            assert_eq!(bench.append(fault).await, unknown);
            assert_eq!(bench.records().await, 3 + stored);
            assert_eq!(bench.caller.send().await, Answer::Durable);
            assert_eq!(bench.records().await, 6, "{fault:?}");
            // The caller knows where its stream stands.
            assert_eq!(bench.append(Fault::None).await, Answer::Durable);
            assert_eq!(bench.records().await, 9);
        }
    }

    #[tokio::test]
    async fn without_a_key_an_unknown_append_stays_unknown_and_its_stream_is_left() {
        let mut bench = Bench::new(false).await;
        let unknown = Answer::Unknown { may_ask_again: false };
        assert_eq!(bench.append(Fault::UnknownButPersisted).await, unknown);
        assert_eq!(bench.append(Fault::None).await, Answer::Durable);
        assert_eq!(bench.records().await, 6);
    }

    #[tokio::test]
    async fn an_append_that_failed_is_no_throughput_and_the_next_one_goes_on() {
        let mut bench = Bench::new(true).await;
        assert!(matches!(
            bench.append(Fault::NotPersisted).await,
            Answer::Failed(_)
        ));
        assert_eq!(bench.append(Fault::None).await, Answer::Durable);
        assert_eq!(bench.records().await, 3);
    }

    #[tokio::test]
    async fn somebody_else_in_the_stream_is_a_conflict_after_which_the_caller_knows_better() {
        let mut bench = Bench::new(true).await;
        assert_eq!(bench.append(Fault::None).await, Answer::Durable);
        bench.caller.streams[0].next = 0;
        assert_eq!(bench.append(Fault::None).await, Answer::Conflict);
        assert_eq!(bench.append(Fault::None).await, Answer::Durable);
        assert_eq!(bench.records().await, 6);
    }

    #[tokio::test]
    async fn a_stream_with_many_events_is_left_for_a_new_one() {
        let mut bench = Bench::new(false).await;
        let first = bench.caller.streams[0].id;
        for _ in 0..BENCH_STREAM_EVENTS.div_ceil(3) {
            assert_eq!(bench.append(Fault::None).await, Answer::Durable);
            assert_eq!(bench.caller.streams[0].id, first);
        }
        assert_eq!(bench.append(Fault::None).await, Answer::Durable);
        assert_ne!(bench.caller.streams[0].id, first);
    }
}
