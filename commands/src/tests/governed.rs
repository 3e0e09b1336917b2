//! Governed turns through the pipeline, on the in-memory engine.

mod timers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::envelope::Actor;
use ruche_domain::events::{MessageReceived, MessageSent, OutcomeCategory, Role};
use ruche_domain::ids::TurnId;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::Record;
use ruche_ledger::testing::FixedClock;

use super::faults::scripted::{Answer, Scripted};
use crate::command::{Command, CommandReceipt};
use crate::error::CommandError;
use crate::governed::*;
use crate::session::{EndSession, SessionRef, StartSession};
use crate::testing::{NoObjection, TEST_NOW, TestLedger};

struct World {
    ledger: TestLedger,
    store: Arc<Scripted>,
    channel: &'static str,
}

impl World {
    async fn on(channel: &'static str) -> Self {
        let clock = Arc::new(FixedClock::at(TEST_NOW.0));
        let store = Arc::new(Scripted::new(Arc::new(MemoryStore::new(clock.clone()))));
        let ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
        let world = Self {
            ledger,
            store,
            channel,
        };
        world.send("start", &StartSession::new("s")).await.unwrap();
        world
    }

    async fn send<C: Command>(&self, key: &str, command: &C) -> Result<CommandReceipt, CommandError> {
        let context = self.ledger.context.with_key(key);
        self.ledger.commands.execute(&context, command).await
    }

    fn lane(&self) -> LaneName {
        LaneName {
            agent: "shop".to_owned(),
            interlocutor: "ann".to_owned(),
            channel: self.channel.to_owned(),
            thread: None,
        }
    }

    fn message(&self, id: &str, text: &str) -> SubmitMessage {
        SubmitMessage {
            flush: false,
            session: SessionRef::External("s".to_owned()),
            lane: self.lane(),
            message: MessageReceived {
                channel_message_id: Some(id.to_owned()),
                text: Some(text.to_owned()),
                ..MessageReceived::new(Role::User)
            },
        }
    }

    fn claim(&self) -> ClaimTurn {
        ClaimTurn {
            lane: self.lane(),
            brain_build: None,
        }
    }

    fn commit(&self, turn: TurnId, lease: LeaseRef) -> CommitTurn {
        CommitTurn {
            lane: self.lane(),
            turn,
            lease,
            outcome: Some(OutcomeCategory::Answered),
            response: Some(MessageSent::new(Role::Assistant)),
        }
    }

    fn wait_ms(&self, ms: u64) {
        self.ledger.clock.0.fetch_add(ms * 1_000, Ordering::SeqCst);
    }

    async fn records(&self) -> Vec<Record> {
        let references = self
            .ledger
            .commands
            .secrets_of(self.ledger.context.ledger)
            .references
            .clone();
        self.ledger.stream(lane_stream(self.lane().id(&references))).await
    }
}

fn types(receipt: &CommandReceipt) -> Vec<&str> {
    receipt
        .events
        .iter()
        .map(|event| event.event.event_type.as_str())
        .collect()
}

/// Turn and lease of a claim.
fn claimed(receipt: &CommandReceipt) -> (TurnId, LeaseRef) {
    for event in &receipt.events {
        if let Some(ruche_domain::event::AgentEvent::TurnStarted(started)) = event.agent_event().unwrap() {
            let lease = LeaseRef {
                id: started.lease_id.unwrap(),
                epoch: started.lease_epoch.unwrap(),
            };
            return (event.event.turn.unwrap(), lease);
        }
    }
    panic!("nothing was claimed");
}

#[tokio::test]
async fn messages_in_a_window_are_one_turn_that_is_claimed_when_it_closed() {
    let world = World::on("web").await;
    let first = world.send("a", &world.message("m-1", "hello")).await.unwrap();
    assert_eq!(types(&first), ["message.received", "turn.opened"]);
    world.wait_ms(300);
    let second = world.send("b", &world.message("m-2", "anybody?")).await.unwrap();
    assert_eq!(types(&second), ["message.received", "turn.message_coalesced"]);
    let refused = world.send("c", &world.claim()).await.unwrap_err();
    assert_eq!(refused.code(), "ILLEGAL_TRANSITION", "the window is open");
    world.wait_ms(600);
    let claim = world.send("c", &world.claim()).await.unwrap();
    assert_eq!(
        types(&claim),
        [
            "turn.sealed",
            "config.effective_resolved",
            "turn.readied",
            "turn.started"
        ]
    );
    let by: Vec<bool> = claim
        .events
        .iter()
        .map(|event| event.event.actor == Actor::SYSTEM)
        .collect();
    assert_eq!(by, [true, true, true, false], "a window closes by itself");
    let (turn, lease) = claimed(&claim);
    assert_eq!(first.turn(), Some(turn));
    let commit = world.send("d", &world.commit(turn, lease)).await.unwrap();
    assert_eq!(types(&commit), ["turn.committed", "message.sent"]);
    let records = world.records().await;
    let session = world.ledger.session("s");
    assert!(
        records
            .iter()
            .all(|record| record.leaf.event.session == Some(session))
    );
    assert!(records.iter().all(|record| record.leaf.event.turn == Some(turn)));
}

#[tokio::test]
async fn a_message_that_is_delivered_twice_is_one_under_any_key() {
    let world = World::on("web").await;
    let first = world.send("a", &world.message("m-1", "hello")).await.unwrap();
    let again = world.send("b", &world.message("m-1", "hello")).await.unwrap();
    assert!(again.duplicate && !first.duplicate);
    assert_eq!(again.receipts(), first.receipts());
    let other = world
        .send("c", &world.message("m-1", "good bye"))
        .await
        .unwrap_err();
    assert_eq!(other.code(), "IDEMPOTENCY_MISMATCH");
    let size = world.records().await.len();
    // Two equal answers are two messages.
    world.send("d", &world.message("m-2", "yes")).await.unwrap();
    world.send("e", &world.message("m-3", "yes")).await.unwrap();
    assert_eq!(world.records().await.len(), size + 4);
}

#[tokio::test]
async fn a_worker_that_is_gone_loses_its_turn_to_the_next() {
    let world = World::on("api").await;
    world.send("a", &world.message("m-1", "hello")).await.unwrap();
    let (turn, dead) = claimed(&world.send("b", &world.claim()).await.unwrap());
    world.wait_ms(30_999);
    assert!(
        world.send("c", &world.claim()).await.is_err(),
        "another attempt waits"
    );
    world.wait_ms(1);
    let claim = world.send("c", &world.claim()).await.unwrap();
    assert_eq!(
        types(&claim),
        ["infra.lease_expired", "turn.readied", "turn.started"]
    );
    let late = world.send("d", &world.commit(turn, dead)).await.unwrap_err();
    assert_eq!(
        (late.code(), late.path()),
        ("ILLEGAL_TRANSITION", Some(vec!["lease".to_owned()]))
    );
    let (same, lease) = claimed(&claim);
    assert_eq!((same, lease.epoch), (turn, 2));
    world.send("e", &world.commit(turn, lease)).await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_failed_is_repeated_after_a_wait_and_heartbeats_renew() {
    let world = World::on("api").await;
    world.send("a", &world.message("m-1", "hello")).await.unwrap();
    let (turn, lease) = claimed(&world.send("b", &world.claim()).await.unwrap());
    world.wait_ms(29_000);
    let heartbeat = HeartbeatTurn {
        lane: world.lane(),
        turn,
        lease: lease.clone(),
    };
    world.send("c", &heartbeat).await.unwrap();
    world.wait_ms(29_000);
    let failed = FailTurn {
        lane: world.lane(),
        turn,
        lease,
        error_type: "model_down".to_owned(),
        error: None,
        retryable: true,
    };
    let failed = world.send("d", &failed).await.unwrap();
    assert_eq!(types(&failed), ["turn.attempt_failed", "turn.readied"]);
    assert_eq!(
        world.send("e", &world.claim()).await.unwrap_err().code(),
        "ILLEGAL_TRANSITION"
    );
    world.wait_ms(1_000);
    assert_eq!(claimed(&world.send("e", &world.claim()).await.unwrap()).0, turn);
}

#[tokio::test]
async fn a_turn_is_cancelled_and_then_nothing_more_happens_to_it() {
    let world = World::on("web").await;
    let opened = world.send("a", &world.message("m-1", "hello")).await.unwrap();
    let cancel = CancelTurn {
        lane: world.lane(),
        turn: opened.turn().unwrap(),
        reason: Some("by mistake".to_owned()),
    };
    assert_eq!(
        types(&world.send("b", &cancel).await.unwrap()),
        ["turn.cancelled"]
    );
    let refused = world.send("c", &cancel).await.unwrap_err();
    assert!(matches!(
        refused,
        CommandError::IllegalTransition {
            state: "cancelled",
            // Of a call that it left open.
            ref legal,
            retry_after_ms: None,
            ..
        } if legal == &["ResolveOutcome"]
    ));
}

#[tokio::test]
async fn the_lane_is_that_of_the_session_and_the_session_is_open() {
    let world = World::on("web").await;
    let mut start = StartSession::new("t");
    start.started.agent_id = Some("clinic".to_owned());
    world.send("start-t", &start).await.unwrap();
    let mut message = world.message("m-1", "hello");
    message.session = SessionRef::External("t".to_owned());
    let refused = world.send("a", &message).await.unwrap_err();
    assert_eq!(refused.path(), Some(vec!["lane".to_owned(), "agent".to_owned()]));
    let end = EndSession::new(
        SessionRef::External("s".to_owned()),
        ruche_domain::events::SessionEndReason::Completed,
    );
    world.send("end", &end).await.unwrap();
    let refused = world.send("b", &world.message("m-1", "hello")).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.path()),
        ("ILLEGAL_TRANSITION", Some(vec!["session".to_owned()]))
    );
    assert!(world.records().await.is_empty());
}

#[tokio::test]
async fn what_is_refused_writes_nothing_and_leaves_its_key_free() {
    let world = World::on("api").await;
    assert!(
        world.send("a", &world.claim()).await.is_err(),
        "nobody said anything"
    );
    world.send("b", &world.message("m-1", "hello")).await.unwrap();
    let (turn, lease) = claimed(&world.send("a", &world.claim()).await.unwrap());
    let before = world.ledger.size().await;
    let stolen = LeaseRef {
        epoch: 7,
        ..lease.clone()
    };
    let commit = world.commit(turn, stolen.clone());
    assert_eq!(
        world.send("c", &commit).await.unwrap_err().path(),
        Some(vec!["lease".to_owned()])
    );
    let heartbeat = HeartbeatTurn {
        lane: world.lane(),
        turn,
        lease: stolen,
    };
    assert!(world.send("c", &heartbeat).await.is_err());
    let nobodys = world.commit(TurnId(uuid::Uuid::nil()), lease.clone());
    assert_eq!(world.send("c", &nobodys).await.unwrap_err().code(), "NOT_FOUND");
    assert!(
        world.send("c", &world.claim()).await.is_err(),
        "it is claimed already"
    );
    let mut nameless = world.message("m-2", "hello");
    nameless.lane.agent = String::new();
    assert_eq!(
        world.send("c", &nameless).await.unwrap_err().code(),
        "INVALID_INPUT"
    );
    assert_eq!(world.ledger.size().await, before);
    world.send("c", &world.commit(turn, lease)).await.unwrap();
}

/// Two workers that decided on the same state: the second append meets the version that the first one left.
#[tokio::test]
async fn one_of_two_claims_gets_the_turn() {
    let world = World::on("api").await;
    world.send("a", &world.message("m-1", "hello")).await.unwrap();
    world
        .store
        .script
        .lock()
        .unwrap()
        .extend([Answer::Together, Answer::Together]);
    let (one, two) = (world.claim(), world.claim());
    let (one, two) = tokio::join!(world.send("b", &one), world.send("c", &two));
    let refused = [one, two].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].code(), "ILLEGAL_TRANSITION");
}

/// Two messages that were decided on the same state: both are in the one turn.
#[tokio::test]
async fn messages_that_come_at_the_same_time_are_both_taken_in() {
    let world = World::on("web").await;
    world
        .store
        .script
        .lock()
        .unwrap()
        .extend([Answer::Together, Answer::Together]);
    let (one, two) = (world.message("m-1", "hello"), world.message("m-2", "there"));
    let (one, two) = tokio::join!(world.send("b", &one), world.send("c", &two));
    assert_eq!(one.unwrap().turn(), two.unwrap().turn());
    assert_eq!(world.records().await.len(), 4);
}
