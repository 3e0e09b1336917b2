use std::sync::Arc;

use ruche_domain::events::SessionEndReason;
use ruche_domain::limits::{COMMAND_ATTEMPTS_MAX, COMMAND_SENDS_MAX};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::testing::FixedClock;
use ruche_ledger::testing::check_ledger;
use ruche_ledger::testing::faults::{Fault, FaultStore};

use super::properties::turn_of;
use crate::import;
use crate::testing::{NoObjection, TEST_NOW, TestLedger};
use crate::{CommandError, EndSession, RecordTurn, RegisterTool, SessionRef, StartSession};

async fn faulty() -> (TestLedger, Arc<FaultStore>) {
    let clock = Arc::new(FixedClock::at(TEST_NOW.0));
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new(clock.clone()))));
    let ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
    (ledger, store)
}

fn record(text: &str) -> RecordTurn {
    RecordTurn {
        session: SessionRef::External("s-1".to_owned()),
        turn: turn_of(text),
    }
}

fn end() -> EndSession {
    EndSession::new(
        SessionRef::External("s-1".to_owned()),
        SessionEndReason::Completed,
    )
}

#[tokio::test]
async fn every_fault_leaves_the_command_carried_out_once_after_a_retry() {
    for fault in Fault::ALL {
        let (ledger, store) = faulty().await;
        let context = ledger.context.with_key("start");
        ledger
            .commands
            .execute(&context, &StartSession::new("s-1"))
            .await
            .unwrap();
        let before = ledger.size().await;
        let context = ledger.context.with_key("turn");
        store.inject(fault);
        let first = ledger.commands.execute(&context, &record("hello")).await;
        match fault {
            Fault::NotPersisted => {
                let error = first.unwrap_err();
                assert_eq!((error.code(), error.retryable()), ("UNAVAILABLE", true));
                assert!(
                    !error.to_string().contains("injected"),
                    "the cause is for the operator: {error}"
                );
                assert_eq!(ledger.size().await, before);
            }
            // Asking again by the key tells what happened, so the client never hears of it.
            Fault::None | Fault::UnknownNotPersisted | Fault::UnknownButPersisted => {
                assert!(!first.unwrap().duplicate, "{fault:?}");
            }
        }
        let again = ledger.commands.execute(&context, &record("hello")).await.unwrap();
        assert_eq!(again.duplicate, fault != Fault::NotPersisted, "{fault:?}");
        assert_eq!(
            ledger.size().await,
            before + again.events.len() as u64,
            "{fault:?}"
        );
        check_ledger(&*ledger.store, ledger.context.ledger).await;
    }
}

#[tokio::test]
async fn the_first_answer_is_given_again_although_the_state_went_on() {
    let (ledger, _) = faulty().await;
    let run = async |key: &str, ordinal: &str| {
        ledger
            .commands
            .execute(&ledger.context.with_key(key), &record(ordinal))
            .await
            .unwrap()
    };
    let start = StartSession::new("s-1");
    let started = ledger
        .commands
        .execute(&ledger.context.with_key("start"), &start)
        .await
        .unwrap();
    let first = run("t-0", "a").await;
    run("t-1", "b").await;
    let repeated = run("t-0", "a").await;
    assert!(repeated.duplicate);
    assert_eq!(repeated.events, first.events);
    // Refused on the state as it is now, answered by the key all the same.
    let again = ledger
        .commands
        .execute(&ledger.context.with_key("start"), &start)
        .await
        .unwrap();
    assert!(again.duplicate);
    assert_eq!(again.events, started.events);
    ledger
        .commands
        .execute(&ledger.context.with_key("end"), &end())
        .await
        .unwrap();
    assert!(run("t-1", "b").await.duplicate);
    let error = ledger
        .commands
        .execute(&ledger.context.with_key("t-2"), &record("c"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "ILLEGAL_TRANSITION");
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let (ledger, _) = faulty().await;
    let context = ledger.context.with_key("k");
    ledger
        .commands
        .execute(&context, &StartSession::new("s-1"))
        .await
        .unwrap();
    for error in [
        ledger
            .commands
            .execute(&context, &StartSession::new("s-2"))
            .await
            .unwrap_err(),
        ledger.commands.execute(&context, &end()).await.unwrap_err(),
        // Refused on its state and under a used key: the key speaks first.
        ledger.commands.execute(&context, &record("x")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "IDEMPOTENCY_MISMATCH");
    }
    let mut other = context.clone();
    other.correlation = Some("job".to_owned());
    let error = ledger
        .commands
        .execute(&other, &StartSession::new("s-1"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "IDEMPOTENCY_MISMATCH");
}

#[tokio::test]
async fn keys_are_required() {
    let (ledger, _) = faulty().await;
    for bad in [String::new(), "x".repeat(256), "a\nb".to_owned()] {
        let error = ledger
            .commands
            .execute(&ledger.context.with_key(bad), &StartSession::new("s"))
            .await;
        assert_eq!(error.unwrap_err().code(), "INVALID_INPUT");
    }
}

#[tokio::test]
async fn what_is_so_already_writes_nothing() {
    let (ledger, _) = faulty().await;
    let tool = RegisterTool::new("send", SideEffectPolicy::Irreversible);
    let first = ledger
        .commands
        .execute(&ledger.context.with_key("a"), &tool)
        .await
        .unwrap();
    let size = ledger.size().await;
    let again = ledger
        .commands
        .execute(&ledger.context.with_key("b"), &tool)
        .await
        .unwrap();
    assert!(
        again.unchanged && !again.duplicate,
        "the key stands for nothing yet"
    );
    assert_eq!(again.events, first.events);
    assert_eq!(ledger.size().await, size);
}

#[tokio::test]
async fn a_ledger_that_does_not_exist_is_not_found() {
    let (ledger, _) = faulty().await;
    let mut context = ledger.context.with_key("k");
    context.ledger = ruche_ledger::testing::ledger(99);
    let error = ledger
        .commands
        .execute(&context, &StartSession::new("s"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "NOT_FOUND");
}

/// A store whose next appends get the answers of a script.
pub(super) mod scripted {
    use async_trait::async_trait;
    use ruche_domain::ids::LedgerId;
    use ruche_domain::numbers::{Position, StreamVersion};
    use ruche_domain::stream::StreamId;
    use ruche_ledger::store::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Copy, Debug)]
    pub enum Answer {
        /// Somebody else wrote first.
        Conflict,
        /// Nobody knows, and nothing was written.
        Lost,
        /// Nobody knows, and it was written.
        Silent,
        /// The store cannot be reached.
        Down,
        /// It is held until another one is held, too: both were decided on the same state.
        Together,
    }

    /// Changes what is read.
    pub type Alter = Box<dyn Fn(&mut Record) + Send>;

    pub struct Scripted {
        pub inner: Arc<dyn EventStore>,
        pub script: Mutex<VecDeque<Answer>>,
        /// What somebody did to the records of streams who can write to the database.
        pub altered: Mutex<Option<Alter>>,
        pub meeting: tokio::sync::Barrier,
    }

    impl Scripted {
        pub fn new(inner: Arc<dyn EventStore>) -> Self {
            Self {
                inner,
                script: Mutex::default(),
                altered: Mutex::default(),
                meeting: tokio::sync::Barrier::new(2),
            }
        }
    }

    #[async_trait]
    impl EventStore for Scripted {
        async fn append(
            &self,
            ledger: LedgerId,
            request: AppendRequest,
        ) -> Result<AppendOutcome, StoreError> {
            let answer = self.script.lock().unwrap().pop_front();
            match answer {
                None => self.inner.append(ledger, request).await,
                Some(Answer::Conflict) => Ok(AppendOutcome::Conflict {
                    stream: request.expectations[0].stream,
                    expected: request.expectations[0].version,
                    actual: Some(StreamVersion(1_000)),
                }),
                Some(Answer::Lost) => Ok(AppendOutcome::Unknown),
                Some(Answer::Silent) => {
                    self.inner.append(ledger, request).await?;
                    Ok(AppendOutcome::Unknown)
                }
                Some(Answer::Together) => {
                    self.meeting.wait().await;
                    self.inner.append(ledger, request).await
                }
                Some(Answer::Down) => Err(StoreError::Unavailable {
                    reason: "scripted".into(),
                }),
            }
        }

        async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
            self.inner.open_epoch(ledger, opening).await
        }

        async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
            self.inner.head(ledger).await
        }

        async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
            self.inner.epochs(ledger).await
        }

        async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
            self.inner.ledgers().await
        }

        async fn read_ledger(
            &self,
            l: LedgerId,
            from: Position,
            n: usize,
        ) -> Result<Vec<Record>, StoreError> {
            self.inner.read_ledger(l, from, n).await
        }

        async fn read_stream(
            &self,
            ledger: LedgerId,
            stream: StreamId,
            from: StreamVersion,
            limit: usize,
        ) -> Result<Vec<Record>, StoreError> {
            let mut records = self.inner.read_stream(ledger, stream, from, limit).await?;
            if let Some(alter) = &*self.altered.lock().unwrap() {
                records.iter_mut().for_each(alter);
            }
            Ok(records)
        }

        async fn stream_version(
            &self,
            l: LedgerId,
            s: StreamId,
        ) -> Result<Option<StreamVersion>, StoreError> {
            self.inner.stream_version(l, s).await
        }

        async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
            self.inner.wait_for(ledger, position).await
        }
    }
}

use scripted::{Answer, Scripted};

/// Starts a session on a store with this script. Gives the answer, what is left of the script, and the answer to the
/// same command sent again.
async fn start_on(script: &[Answer]) -> (Result<bool, CommandError>, usize, bool) {
    let clock = Arc::new(FixedClock::at(TEST_NOW.0));
    let store = Arc::new(Scripted::new(Arc::new(MemoryStore::new(clock.clone()))));
    let ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
    store.script.lock().unwrap().extend(script);
    let context = ledger.context.with_key("k");
    let first = ledger.commands.execute(&context, &StartSession::new("s-1")).await;
    let left = std::mem::take(&mut *store.script.lock().unwrap()).len();
    let again = ledger
        .commands
        .execute(&context, &StartSession::new("s-1"))
        .await
        .unwrap();
    check_ledger(&*ledger.store, ledger.context.ledger).await;
    assert_eq!(ledger.size().await, 2, "the opening and one session");
    (first.map(|receipt| receipt.duplicate), left, again.duplicate)
}

#[tokio::test]
async fn conflicts_are_decided_again_a_bounded_number_of_times() {
    let attempts = COMMAND_ATTEMPTS_MAX as usize;
    let (first, left, again) = start_on(&vec![Answer::Conflict; attempts - 1]).await;
    assert!(matches!((first, left, again), (Ok(false), 0, true)));
    let (first, left, again) = start_on(&vec![Answer::Conflict; attempts + 5]).await;
    let error = first.unwrap_err();
    assert_eq!(
        (error.code(), error.retryable(), left, again),
        ("CONTENTION", true, 5, false)
    );
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_a_bounded_number_of_times() {
    let attempts = COMMAND_SENDS_MAX as usize;
    let (first, left, again) = start_on(&vec![Answer::Lost; attempts + 5]).await;
    let error = first.unwrap_err();
    assert_eq!(
        (error.code(), error.retryable(), left, again),
        ("UNKNOWN_OUTCOME", true, 5, false)
    );
    // Our own events, found by their key, are no duplicate.
    let (first, _, again) = start_on(&[Answer::Silent, Answer::Lost]).await;
    assert!(matches!((first, again), (Ok(false), true)));
}

#[tokio::test]
async fn what_is_not_known_stays_so_when_the_store_goes_away() {
    for (script, code, written) in [
        (&[Answer::Down][..], "UNAVAILABLE", false),
        (&[Answer::Lost, Answer::Down], "UNKNOWN_OUTCOME", false),
        (&[Answer::Silent, Answer::Down], "UNKNOWN_OUTCOME", true),
    ] {
        let (first, _, again) = start_on(script).await;
        assert_eq!((first.unwrap_err().code(), again), (code, written), "{script:?}");
    }
}

/// Servers run commands as tasks that move between threads.
#[test]
fn commands_run_in_tasks() {
    fn is_task<T: Send>(_: impl FnOnce(TestLedger) -> T) {}
    is_task(|ledger: TestLedger| async move {
        let start = StartSession::new("s-1");
        ledger.commands.execute(&ledger.context, &start).await.is_ok()
    });
    is_task(|ledger: TestLedger| async move {
        ledger
            .commands
            .execute(&ledger.context, &record("x"))
            .await
            .is_ok()
    });
    is_task(|ledger: TestLedger| async move {
        let tool = RegisterTool::new("t", SideEffectPolicy::Pure);
        ledger.commands.execute(&ledger.context, &tool).await.is_ok()
    });
    is_task(|ledger: TestLedger| async move {
        let file = br#"[{"task_id":1,"trial":0,"reward":1,"traj":[]}]"#;
        let options = import::ImportOptions::default();
        for session in import::read(import::Format::TauBench, file).flatten() {
            let plan = import::plan(session, &options);
            let mut known = std::collections::HashSet::new();
            let (commands, context) = (&ledger.commands, &ledger.context);
            import::import_tools(commands, context, &plan, &options.mapping, &mut known)
                .await
                .unwrap();
            import::import_session(commands, context, &plan).await.unwrap();
        }
    });
}

#[test]
fn every_code_has_a_page_and_a_place_in_the_list() {
    let mut sorted = crate::ERROR_CODES.to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, crate::ERROR_CODES);
    for code in crate::ERROR_CODES {
        let page = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&page).exists(), "{page} is missing");
    }
}
