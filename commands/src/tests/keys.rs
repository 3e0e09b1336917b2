//! Business keys over lanes: what the table in `docs/tool-calls.md` says of one lane holds between two.

use std::sync::Arc;

use ruche_domain::events::{ApprovalOutcome, AssertedOutcome, ToolOutcomeAsserted};
use ruche_domain::ids::CallId;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::testing::FixedClock;

use super::effects::{done, failed, started};
use super::faults::scripted::{Answer, Scripted};
use super::tool_calls::{World, types};
use crate::command::CommandReceipt;
use crate::governed::*;
use crate::testing::{NoObjection, TEST_NOW, TestLedger};

mod generations;

const DAY_MS: u64 = 24 * 3_600_000;

/// Two lanes of one person, each with a turn that a worker holds, and a tool.
async fn two_lanes(channel: &'static str, side_effect: SideEffectPolicy) -> (World, World) {
    let ann = World::on(channel).await;
    ann.register("tool", side_effect).await;
    let bob = ann.beside("bob").await;
    (ann, bob)
}

impl World {
    async fn wants(&self, key: &str) -> CommandReceipt {
        self.send(key, &self.propose("tool", Some("7"))).await.unwrap()
    }

    /// Who holds the key of the other lane says that nothing was proposed.
    async fn is_told_of(&self, key: &str, call: CallId) -> CommandReceipt {
        let before = self.ledger.size().await;
        let told = self.wants(key).await;
        assert!(told.unchanged, "{:?}", types(&told));
        assert!(told.events.iter().all(|event| event.event.call == Some(call)));
        assert_eq!(self.ledger.size().await, before);
        told
    }

    async fn gets(&self, key: &str) -> CallId {
        let got = self.wants(key).await;
        assert!(!got.unchanged, "another call holds the key");
        assert_eq!(types(&got).last(), Some(&"infra.business_key_taken"));
        got.events[0].event.call.unwrap()
    }

    async fn run(&self, key: &str, call: CallId, outcome: Reported) {
        let start = self.send(&format!("{key}-s"), &self.start(call)).await.unwrap();
        let report = self.report(call, started(&start).0, outcome);
        self.send(&format!("{key}-r"), &report).await.unwrap();
    }

    /// A person finds out that nothing came of a call.
    pub async fn is_found_not_there(&self, key: &str, call: CallId) {
        let evidence = "statement of the bank".to_owned();
        let asserted = ToolOutcomeAsserted::new(AssertedOutcome::NotExecuted, "ann".to_owned(), evidence);
        let lane = self.lane();
        self.send(key, &ResolveOutcome { lane, call, asserted })
            .await
            .unwrap();
    }

    async fn fails(&self, key: &str) {
        let fail = FailTurn {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
            error_type: "broken".to_owned(),
            error: None,
            retryable: false,
        };
        self.send(key, &fail).await.unwrap();
    }
}

#[tokio::test]
async fn what_one_lane_wants_another_is_told_of_with_its_result() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let call = ann.gets("a").await;
    let told = bob.is_told_of("b", call).await;
    assert_eq!(types(&told), ["tool.proposed", "policy.evaluated"]);
    ann.run("c", call, done("ticket 1")).await;
    let told = bob.is_told_of("d", call).await;
    assert_eq!(types(&told)[2..], ["tool.started", "tool.completed"]);
    ann.wait_ms(DAY_MS);
    let mut bob = bob;
    bob.claimed("e").await;
    let again = bob.gets("f").await;
    assert_ne!(again, call, "a day after it was done");
}

#[tokio::test]
async fn what_is_done_for_one_person_is_no_answer_to_another() {
    let ann = World::on("api").await;
    ann.register("tool", SideEffectPolicy::Irreversible).await;
    let eve = ann.of("eve").await;
    let (hers, other) = (ann.gets("a").await, eve.gets("b").await);
    assert_ne!(hers, other);
    for (world, key, call) in [(&ann, "c", hers), (&eve, "d", other)] {
        world.decided(key, call, ApprovalOutcome::Approved).await;
    }
    let start = async |world: &World, key: &str, call| {
        let start = world.send(key, &world.start(call)).await.unwrap();
        started(&start).1.idempotency_key
    };
    assert_ne!(
        start(&ann, "e", hers).await,
        start(&eve, "f", other).await,
        "keys for the tool"
    );
}

#[tokio::test]
async fn a_turn_that_is_over_and_never_started_its_call_holds_no_key() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let call = ann.gets("a").await;
    bob.is_told_of("b", call).await;
    ann.fails("c").await;
    bob.gets("d").await;
}

#[tokio::test]
async fn a_pending_request_of_another_lane_holds_the_key_and_a_denial_frees_it() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Irreversible).await;
    let call = ann.gets("a").await;
    let told = bob.is_told_of("b", call).await;
    assert_eq!(types(&told)[2..], ["approval.requested"]);
    ann.decided("c", call, ApprovalOutcome::Rejected).await;
    let other = bob.gets("d").await;
    bob.decided("e", other, ApprovalOutcome::Approved).await;
    bob.run("f", other, done("charged")).await;
    let mut ann = ann;
    ann.wait_ms(400 * DAY_MS);
    ann.claimed("g").await;
    ann.is_told_of("h", other).await;
}

#[tokio::test]
async fn doubt_about_another_lanes_effect_holds_the_key_until_a_person_knows() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Irreversible).await;
    let call = ann.gets("a").await;
    ann.decided("b", call, ApprovalOutcome::Approved).await;
    let unknown = Reported::Unknown {
        cause: "timeout".to_owned(),
        external_ref: None,
    };
    ann.run("c", call, unknown).await;
    bob.is_told_of("d", call).await;
    ann.is_found_not_there("e", call).await;
    bob.gets("f").await;
}

/// The turn is over, so nobody but a person can say: what that person says frees the key, or holds it for its day.
#[tokio::test]
async fn doubt_that_a_turn_left_behind_is_settled_by_a_person() {
    for (outcome, is_free) in [
        (AssertedOutcome::NotExecuted, true),
        (AssertedOutcome::Completed, false),
    ] {
        let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
        let call = ann.gets("a").await;
        let unknown = Reported::Unknown {
            cause: "timeout".to_owned(),
            external_ref: None,
        };
        ann.run("b", call, unknown).await;
        ann.fails("c").await;
        let asserted = ToolOutcomeAsserted::new(outcome, "ann".to_owned(), "the ticket".to_owned());
        let resolve = ResolveOutcome {
            lane: ann.lane(),
            call,
            asserted,
        };
        let resolved = ann.send("d", &resolve).await.unwrap();
        assert_eq!(types(&resolved), ["tool.outcome_asserted"]);
        let again = ann.send("e", &resolve).await.unwrap_err();
        assert_eq!(again.code(), "ILLEGAL_TRANSITION", "{again}");
        if is_free {
            bob.gets("f").await;
        } else {
            bob.is_told_of("f", call).await;
        }
    }
}

#[tokio::test]
async fn a_call_that_failed_does_not_start_again_where_another_lane_took_its_key() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let first = ann.gets("a").await;
    ann.run("b", first, failed()).await;
    let second = bob.gets("c").await;
    let late = ann.send("d", &ann.start(first)).await.unwrap();
    assert!(late.unchanged);
    assert!(late.events.iter().all(|event| event.event.call == Some(second)));
    bob.run("e", second, failed()).await;
    // Nobody holds it now: the start takes it, and from then on the other lane is told.
    let start = ann.send("f", &ann.start(first)).await.unwrap();
    assert_eq!(types(&start), ["tool.started", "infra.business_key_taken"]);
    let late = bob.send("g", &bob.start(second)).await.unwrap();
    assert!(late.unchanged);
    assert!(late.events.iter().all(|event| event.event.call == Some(first)));
}

#[tokio::test]
async fn what_changes_nothing_is_looked_up_by_each_lane_for_itself() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Pure).await;
    for (world, key) in [(&ann, "a"), (&bob, "b")] {
        let got = world.wants(key).await;
        assert!(!got.unchanged);
        assert_eq!(types(&got), ["tool.proposed", "policy.evaluated"]);
    }
}

/// Another tool, or another key, is another effect.
#[tokio::test]
async fn a_key_is_of_its_tool() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    ann.register("other", SideEffectPolicy::Idempotent).await;
    ann.gets("a").await;
    for (number, (tool, key)) in [("other", "7"), ("tool", "8")].into_iter().enumerate() {
        let propose = bob.propose(tool, Some(key));
        let got = bob.send(&format!("b-{number}"), &propose).await.unwrap();
        assert!(!got.unchanged);
    }
}

/// Two lanes whose appends wait for each other, so that both were decided on the same state.
async fn that_meet(side_effect: SideEffectPolicy) -> (World, World, Arc<Scripted>) {
    let clock = Arc::new(FixedClock::at(TEST_NOW.0));
    let store = Arc::new(Scripted::new(Arc::new(MemoryStore::new(clock.clone()))));
    let ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
    let ann = World::in_ledger(Arc::new(ledger), "api", "ann").await;
    ann.register("tool", side_effect).await;
    let bob = ann.beside("bob").await;
    (ann, bob, store)
}

impl Scripted {
    fn meet(&self) {
        let both = [Answer::Together, Answer::Together];
        self.script.lock().unwrap().extend(both);
    }
}

#[tokio::test]
async fn of_two_lanes_that_want_one_key_at_once_one_gets_it() {
    let (ann, bob, store) = that_meet(SideEffectPolicy::Idempotent).await;
    store.meet();
    let (of_ann, of_bob) = tokio::join!(ann.wants("a"), bob.wants("b"));
    assert!(of_ann.unchanged ^ of_bob.unchanged, "one of them, and not both");
    assert_eq!(of_ann.events[0].event.call, of_bob.events[0].event.call);
    assert_eq!(taken(&ann).await, 1);
}

/// A call that failed is started again while the other lane takes its key. Whoever is decided again sees the other.
#[tokio::test]
async fn a_start_and_a_proposal_of_another_lane_that_meet_do_not_both_pass() {
    let (ann, bob, store) = that_meet(SideEffectPolicy::Idempotent).await;
    let first = ann.gets("a").await;
    ann.run("b", first, failed()).await;
    store.meet();
    let start = ann.start(first);
    let (started, wanted) = tokio::join!(ann.send("c", &start), bob.wants("d"));
    let (started, wanted) = (started.unwrap(), wanted);
    assert!(started.unchanged ^ wanted.unchanged, "one of them, and not both");
    assert_eq!(
        started.events[0].event.call, wanted.events[0].event.call,
        "both are told of one call"
    );
}

/// How often the key was taken.
async fn taken(world: &World) -> usize {
    let key = world
        .ledger
        .commands
        .secrets_of(world.ledger.context.ledger)
        .references
        .id("effect", &[&b"ann"[..], b"tool", b"7"]);
    let stream = ruche_domain::stream::StreamId::new(Category::Effect, key);
    world.ledger.stream(stream).await.len()
}
