//! In time that stands still unless everybody waits: a hint that is lost would show as the whole bound that was waited.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use ruche_commands::governed::{ClaimTurn, FailTurn, LaneName, LeaseRef, SubmitMessage};
use ruche_commands::testing::{NoObjection, TestLedger};
use ruche_commands::{SessionRef, StartSession};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{MessageReceived, Role};
use ruche_domain::numbers::{Position, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, LedgerHead, Receipt, Record, StoreError,
};
use ruche_ledger::testing::FixedClock;
use tempfile::TempDir;

use super::*;
use crate::app::App;
use crate::cli::Common;

/// Nobody waits so long who is told.
const BOUND: Duration = Duration::from_secs(30);

/// Passes everything on, and panics once when it is asked for records, if it is told to.
struct Trap {
    base: Arc<dyn EventStore>,
    is_set: AtomicBool,
}

#[async_trait]
impl EventStore for Trap {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        self.base.append(ledger, request).await
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        self.base.open_epoch(ledger, opening).await
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.base.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.base.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.base.ledgers().await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        assert!(!self.is_set.swap(false, Ordering::SeqCst), "the trap is set");
        self.base.read_ledger(ledger, from, limit).await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.base.read_stream(ledger, stream, from, limit).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.base.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.base.wait_for(ledger, position).await
    }
}

/// A ledger with its read models, and somebody who tells of ready turns in it.
struct World {
    ledger: TestLedger,
    runner: Arc<Runner>,
    trap: Arc<Trap>,
    ready: Arc<ReadyTurns>,
    /// Without it the process would be closing.
    _closing: tokio::sync::watch::Sender<bool>,
    _app: App,
    _folder: TempDir,
}

/// The embedded engine in a folder.
fn common(folder: &Path) -> Common {
    Common {
        data_dir: folder.join("data"),
        keys_dir: folder.join("keys"),
        archive_dir: None,
        deployment: None,
        database_url: None,
        database_read_url: None,
        tree_heads_url: None,
        database_wait: 10,
        database_readers: 8,
        nodes: 1,
        config: None,
        json: true,
    }
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(FixedClock::at(ruche_commands::testing::TEST_NOW.0));
        let folder = tempfile::tempdir().unwrap();
        let app = App::open(&common(folder.path()), "test").await.unwrap();
        let (store, runner) = (app.events.clone(), app.runner.clone());
        let ledger = TestLedger::on(store.clone(), clock.clone(), Arc::new(NoObjection)).await;
        let trap = Arc::new(Trap {
            base: store,
            is_set: AtomicBool::new(false),
        });
        let (closing, shutdown) = Shutdown::channel();
        let ready = Arc::new(ReadyTurns::new(trap.clone(), runner.clone(), clock, shutdown));
        let context = ledger.context.with_key("s");
        ledger
            .commands
            .execute(&context, &StartSession::new("s"))
            .await
            .unwrap();
        Self {
            ledger,
            runner,
            trap,
            ready,
            _closing: closing,
            _app: app,
            _folder: folder,
        }
    }

    fn id(&self) -> LedgerId {
        self.ledger.context.ledger
    }

    /// A message on a channel that gathers none, so that its turn is ready at once.
    async fn submit(&self, interlocutor: &str) {
        let submit = SubmitMessage {
            flush: false,
            session: SessionRef::External("s".to_owned()),
            lane: lane(interlocutor),
            message: MessageReceived {
                text: Some("hello".to_owned()),
                ..MessageReceived::new(Role::User)
            },
        };
        let context = self.ledger.context.with_key(interlocutor);
        self.ledger.commands.execute(&context, &submit).await.unwrap();
        self.runner.catch_up(self.id()).await.unwrap();
    }
}

fn lane(interlocutor: &str) -> LaneName {
    LaneName {
        agent: "shop".to_owned(),
        interlocutor: interlocutor.to_owned(),
        channel: "api".to_owned(),
        thread: None,
    }
}

fn bells() -> (Bells, impl Fn(&Arc<Notify>) -> bool) {
    let is_told = |bell: &Arc<Notify>| bell.notified().now_or_never().is_some();
    (Bells::default(), is_told)
}

#[test]
fn as_many_are_told_as_turns_get_ready_and_each_its_own_channel() {
    let (mut bells, is_told) = bells();
    let (_, on_web) = bells.add("shop", Some("web"), Kind::Claims);
    let (_, on_mail) = bells.add("shop", Some("mail"), Kind::Claims);
    let (_, on_any) = bells.add("shop", None, Kind::Claims);
    let (_, of_bank) = bells.add("bank", None, Kind::Claims);
    let (_, all) = bells.add("shop", None, Kind::Listens);
    let (_, mail) = bells.add("shop", Some("mail"), Kind::Listens);
    bells.ring("shop", "mail");
    assert_eq!(
        [&on_web, &on_mail, &on_any, &of_bank].map(&is_told),
        [false, true, false, false]
    );
    assert_eq!([&all, &mail].map(&is_told), [true, true]);
    // The one who was told has not looked yet, so the next one is told, on whatever channel.
    bells.ring("shop", "mail");
    bells.ring("shop", "web");
    assert_eq!(
        [&on_web, &on_mail, &on_any, &of_bank].map(&is_told),
        [true, false, true, false]
    );
    assert_eq!([&all, &mail].map(&is_told), [true, true]);
    // All were told. Nothing is kept for those who come: they look first.
    bells.ring("shop", "web");
    let (_, late) = bells.add("shop", None, Kind::Claims);
    assert!(![&on_web, &on_mail, &on_any, &late].into_iter().any(is_told));
}

#[test]
fn what_somebody_was_told_and_did_not_use_the_next_one_is_told() {
    let (mut bells, is_told) = bells();
    let (first, of_first) = bells.add("shop", None, Kind::Claims);
    let (second, of_second) = bells.add("shop", None, Kind::Claims);
    let (third, of_third) = bells.add("shop", None, Kind::Claims);
    // Told, and gone before it woke.
    bells.ring("shop", "web");
    bells.remove("shop", first);
    assert_eq!(
        [&of_first, &of_second, &of_third].map(&is_told),
        [true, true, false]
    );
    // Woke, was told of another one meanwhile, got the first and left.
    bells.woken("shop", second);
    bells.ring("shop", "web");
    assert!(is_told(&of_third), "those who sleep come before those who look");
    bells.ring("shop", "web");
    bells.woken("shop", third);
    bells.forget("shop", second);
    bells.remove("shop", second);
    assert!(is_told(&of_third));
    // Woke and left with nothing: nobody is there to be told, and nothing is left of it.
    bells.remove("shop", third);
    assert!(bells.is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_turns_that_get_ready_wake_two_and_a_listener_takes_none() {
    let (mut bells, _) = bells();
    let waiting: Vec<_> = (0..3)
        .map(|_| bells.add("shop", Some("web"), Kind::Claims).1)
        .collect();
    let (_, listener) = bells.add("shop", None, Kind::Listens);
    let began = tokio::time::Instant::now();
    let woken = waiting.iter().map(|bell| timeout(BOUND, bell.notified()));
    let woken = futures_util::future::join_all(woken);
    bells.ring("shop", "web");
    bells.ring("shop", "web");
    listener.notified().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    let woken = woken.await.into_iter().filter(Result::is_ok).count();
    assert_eq!(
        (woken, began.elapsed()),
        (2, BOUND),
        "the third one was told of nothing"
    );
}

#[tokio::test]
async fn a_watcher_that_breaks_is_followed_by_another_and_nobody_sleeps_on() {
    let world = World::new().await;
    let waiter = world.ready.wait_to_claim(world.id(), "shop", Some("api"));
    let listener = world.ready.listen(world.id(), "shop", None);
    let deaf = world.ready.wait_to_claim(world.id(), "shop", Some("web"));
    world.submit("ann").await;
    assert!(waiter.told(BOUND).await && listener.told(BOUND).await);
    world.trap.is_set.store(true, Ordering::SeqCst);
    world.submit("bob").await;
    // It broke on the way to telling of this one. Whoever waits is woken by the next watcher, to look.
    assert!(waiter.told(BOUND).await && listener.told(BOUND).await && deaf.told(BOUND).await);
    assert!(!world.trap.is_set.load(Ordering::SeqCst), "the trap sprang");
    assert_eq!(world.ready.broken(), 0);
    world.submit("eve").await;
    assert!(
        waiter.told(BOUND).await && listener.told(BOUND).await,
        "it watches again"
    );
    assert!(!deaf.told(Duration::ZERO).await);
}

#[tokio::test]
async fn nothing_is_kept_when_nobody_waits() {
    let world = World::new().await;
    let waiter = world.ready.wait_to_claim(world.id(), "shop", None);
    world.submit("ann").await;
    assert!(waiter.told(BOUND).await);
    waiter.served();
    let gone = async {
        while !world.ready.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), gone)
        .await
        .expect("the watcher ends");
}

#[tokio::test]
async fn of_a_turn_that_may_be_claimed_later_workers_are_told_then() {
    let world = World::new().await;
    world.submit("ann").await;
    let waiter = world.ready.wait_to_claim(world.id(), "shop", None);
    let (commands, context) = (&world.ledger.commands, &world.ledger.context);
    let claim = ClaimTurn {
        lane: lane("ann"),
        brain_build: None,
    };
    let claimed = commands
        .execute(&context.with_key("claim"), &claim)
        .await
        .unwrap();
    let started = claimed.events.iter().find_map(|event| match event.agent_event() {
        Ok(Some(AgentEvent::TurnStarted(started))) => Some(started),
        _ => None,
    });
    let started = started.unwrap();
    let fail = FailTurn {
        lane: lane("ann"),
        turn: claimed.turn().unwrap(),
        lease: LeaseRef {
            id: started.lease_id.unwrap(),
            epoch: started.lease_epoch.unwrap(),
        },
        error_type: "model_failed".to_owned(),
        error: None,
        retryable: true,
    };
    commands.execute(&context.with_key("fail"), &fail).await.unwrap();
    // What comes behind it is told before it.
    world.submit("bob").await;
    assert!(waiter.told(BOUND).await);
    assert!(
        !waiter.told(Duration::ZERO).await,
        "of the turn to be tried again nobody is told yet"
    );
    world
        .ledger
        .clock
        .0
        .fetch_add(24 * 3_600 * 1_000_000, Ordering::SeqCst);
    assert!(waiter.told(BOUND).await);
}
