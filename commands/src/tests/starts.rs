//! What a start looks at once more: the tool as it is registered now, the key that approved, the lease.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalOutcome, StaleCause, StartRefusal};
use ruche_domain::ids::CallId;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::testing::Author;
use serde_json::{Value, json};

use super::effects::{done, started};
use super::tool_calls::{World, types};
use crate::error::CommandError;
use crate::governed::*;
use crate::tool::RegisterTool;

mod altered;

impl World {
    async fn registered_anew(&self, key: &str, name: &str, side_effect: SideEffectPolicy) {
        let tool = RegisterTool::new(name, side_effect);
        self.send(key, &tool).await.unwrap();
    }

    /// The start is refused. What it left in the ledger, in order.
    async fn start_is_refused(&self, key: &str, call: CallId) -> (CommandError, Vec<AgentEvent>) {
        let before = self.ledger.size().await;
        let refused = self.send(key, &self.start(call)).await.unwrap_err();
        (refused, self.facts_from(before).await)
    }

    async fn facts_from(&self, index: u64) -> Vec<AgentEvent> {
        let from = ruche_domain::numbers::Position::new(1, index);
        let ledger = self.ledger.context.ledger;
        let records = self.ledger.store.read_ledger(ledger, from, 100).await.unwrap();
        let fact = |record: &ruche_ledger::store::Record| {
            let event = &record.leaf.event;
            let payload = record.payload_bytes().unwrap();
            AgentEvent::from_payload(&event.event_type, event.schema_version, payload).unwrap()
        };
        records.iter().map(fact).collect()
    }
}

fn names(facts: &[AgentEvent]) -> Vec<&'static str> {
    facts.iter().map(AgentEvent::event_type).collect()
}

fn refusal(facts: &[AgentEvent]) -> StartRefusal {
    match facts.last() {
        Some(AgentEvent::ToolStartRefused(refused)) => refused.refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_after_the_vote_starts_nothing() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    world.revoke_key().await;
    let (refused, facts) = world.start_is_refused("c", call).await;
    assert_eq!(refused.code(), "ILLEGAL_TRANSITION");
    assert!(
        refused.to_string().ends_with("the key that approved was revoked"),
        "{refused}"
    );
    assert_eq!(names(&facts), ["approval.stale", "tool.start_refused"]);
    assert_eq!(refusal(&facts), StartRefusal::RevokedKey);
    let AgentEvent::ApprovalStale(stale) = &facts[0] else {
        panic!()
    };
    assert_eq!(stale.what_changed, [StaleCause::ReviewerKey]);
    // It is over with this call; another one, under the same business key, asks people anew.
    let anew = world.proposed("d", "charge_card", "7").await;
    assert_ne!(anew, call);
}

/// What was done with the approval may stand in records that are lost, and it is not given twice.
#[tokio::test]
async fn an_approval_of_another_epoch_starts_nothing() {
    restored(true).await;
}

/// The vote may be among what was lost, and its bytes are sent once more.
#[tokio::test]
async fn an_approval_that_was_asked_for_in_another_epoch_starts_nothing() {
    restored(false).await;
}

/// The ledger goes on in another epoch after the vote, or between the request and the vote.
async fn restored(is_voted: bool) {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    if is_voted {
        world.decided("b", call, ApprovalOutcome::Approved).await;
    }
    let (store, ledger) = (&world.ledger.store, world.ledger.context.ledger);
    let end = store.head(ledger).await.unwrap().unwrap().last_position();
    let restored = Author::new(2).opening(ledger, 2, end);
    store.open_epoch(ledger, restored).await.unwrap();
    if !is_voted {
        world.decided("b", call, ApprovalOutcome::Approved).await;
    }
    let from = store.head(ledger).await.unwrap().unwrap().size.0;
    let refused = world.send("c", &world.start(call)).await.unwrap_err();
    assert_eq!(refused.code(), "ILLEGAL_TRANSITION");
    let records = store
        .read_ledger(ledger, Position::new(2, from), 100)
        .await
        .unwrap();
    let types: Vec<&str> = records
        .iter()
        .map(|record| record.leaf.event.event_type.as_str())
        .collect();
    assert_eq!(types, ["approval.stale", "tool.start_refused"]);
    let said: Value = serde_json::from_slice(records[0].payload_bytes().unwrap()).unwrap();
    assert_eq!(said["what_changed"], json!(["epoch"]));
    // People are asked anew, and what they say in this epoch holds.
    let anew = world.proposed("d", "charge_card", "7").await;
    world.decided("e", anew, ApprovalOutcome::Approved).await;
    started(&world.send("f", &world.start(anew)).await.unwrap());
}

/// Nobody can vote on what was asked for in an epoch that is over. Who waits for it and asks to start gets on, at once.
#[tokio::test]
async fn a_turn_that_waits_for_a_request_of_another_epoch_goes_on_when_it_asks() {
    for channel in ["api", "chat"] {
        let world = World::on(channel).await;
        let call = world.proposed("a", "charge_card", "7").await;
        let (store, ledger) = (&world.ledger.store, world.ledger.context.ledger);
        let end = store.head(ledger).await.unwrap().unwrap().last_position();
        store
            .open_epoch(ledger, Author::new(2).opening(ledger, 2, end))
            .await
            .unwrap();
        let refused = world.send("c", &world.start(call)).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.retry_after_ms()),
            ("ILLEGAL_TRANSITION", None)
        );
        let records = store.read_ledger(ledger, Position::new(2, 1), 100).await.unwrap();
        assert_eq!(records[0].leaf.event.event_type, "approval.stale", "{channel}");
        if channel == "api" {
            let anew = world.proposed("d", "charge_card", "7").await;
            assert_ne!(anew, call);
            world.decided("e", anew, ApprovalOutcome::Approved).await;
            started(&world.send("f", &world.start(anew)).await.unwrap());
        }
    }
}

/// A key that nobody registered, or a decision without a vote, is no approval either.
#[tokio::test]
async fn an_approval_that_nobody_signed_starts_nothing() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided_by_nobody("b", call).await;
    let (_, facts) = world.start_is_refused("c", call).await;
    assert_eq!(refusal(&facts), StartRefusal::RevokedKey);
}

#[tokio::test]
async fn a_tool_that_changed_since_the_proposal_is_not_run_as_it_was() {
    for (then, now) in [
        (SideEffectPolicy::Idempotent, SideEffectPolicy::Irreversible),
        (SideEffectPolicy::Idempotent, SideEffectPolicy::Pure),
    ] {
        let world = World::on("api").await;
        world.register("create_ticket", then).await;
        let call = world.proposed("a", "create_ticket", "7").await;
        world.registered_anew("b", "create_ticket", now).await;
        let (refused, facts) = world.start_is_refused("c", call).await;
        assert_eq!(refused.code(), "ILLEGAL_TRANSITION");
        assert_eq!(names(&facts), ["tool.start_refused"]);
        assert_eq!(refusal(&facts), StartRefusal::Stale);
        let anew = world.proposed("d", "create_ticket", "7").await;
        assert_ne!(anew, call, "what may never start holds no key");
    }
}

#[tokio::test]
async fn what_people_approved_is_the_tool_as_it_was_registered_then() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    let mut tool = RegisterTool::new("charge_card", SideEffectPolicy::Irreversible);
    tool.tool.schema = Some(serde_json::json!({ "type": "object" }));
    world.send("c", &tool).await.unwrap();
    let (_, facts) = world.start_is_refused("d", call).await;
    assert_eq!(names(&facts), ["approval.stale", "tool.start_refused"]);
    assert_eq!(refusal(&facts), StartRefusal::Stale);
}

/// The tool that undoes was registered anew: what it undoes cannot be undone any more without asking.
#[tokio::test]
async fn a_call_that_nothing_may_undo_is_irreversible() {
    let world = World::on("api").await;
    world.register("book", SideEffectPolicy::Compensatable).await;
    let call = world.proposed("a", "book", "7").await;
    world
        .registered_anew("b", "undo_book", SideEffectPolicy::Irreversible)
        .await;
    let (_, facts) = world.start_is_refused("c", call).await;
    assert_eq!(refusal(&facts), StartRefusal::Stale);
    let anew = world.send("d", &world.propose("book", Some("7"))).await.unwrap();
    assert_eq!(types(&anew)[2], "approval.requested");
}

#[tokio::test]
async fn refused_starts_are_recorded_once_for_each_cause() {
    let world = World::on("whatsapp").await;
    let call = world.proposed("a", "charge_card", "7").await;
    let (_, facts) = world.start_is_refused("b", call).await;
    assert_eq!(refusal(&facts), StartRefusal::NotApproved);
    for key in ["c", "d", "b"] {
        let (refused, facts) = world.start_is_refused(key, call).await;
        assert_eq!((refused.code(), facts), ("ILLEGAL_TRANSITION", vec![]));
    }
}

#[tokio::test]
async fn an_approval_that_lapsed_before_the_start_is_void() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    // Nobody noticed yet that the lease is over too.
    world.wait_ms(24 * 3_600_000);
    let (_, facts) = world.start_is_refused("c", call).await;
    assert_eq!(names(&facts), ["approval.voided", "tool.start_refused"]);
    assert_eq!(refusal(&facts), StartRefusal::Expired);
    let (_, facts) = world.start_is_refused("d", call).await;
    assert_eq!(refusal(&facts), StartRefusal::Denied);
    let (_, facts) = world.start_is_refused("e", call).await;
    assert_eq!(facts, []);
}

/// The answer of a start is leave to run the call. Who lost the lease does not get it again.
#[tokio::test]
async fn a_start_is_answered_again_under_its_lease_and_under_no_other() {
    let mut world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let call = world.proposed("a", "create_ticket", "7").await;
    let first = world.send("b", &world.start(call)).await.unwrap();
    let again = world.send("b", &world.start(call)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.receipts(), first.receipts());
    let late = world.start(call);
    world.wait_ms(31_000);
    world.claimed("c").await;
    let refused = world.send("b", &late).await.unwrap_err();
    assert_eq!(refused.path(), Some(vec!["lease".to_owned()]), "{refused}");
    let report = CommitTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        outcome: None,
        response: None,
    };
    assert!(world.send("d", &report).await.is_err(), "the call is in doubt");
}

/// The worker is there and the tool hangs. It is told by the timer, and what it finds out later still counts.
#[tokio::test]
async fn a_call_past_the_timeout_of_its_tool_is_in_doubt() {
    let world = World::on("api").await;
    let mut tool = crate::tool::RegisterTool::new("create_ticket", SideEffectPolicy::Idempotent);
    tool.tool.timeout_us = Some(5_000_000);
    world.send("r", &tool).await.unwrap();
    let call = world.proposed("a", "create_ticket", "7").await;
    let start = world.send("b", &world.start(call)).await.unwrap();
    let (permit, fact) = started(&start);
    assert_eq!(
        fact.lapses_at.map(|at| at.0),
        Some(start.events[0].event.occurred_at.0 + 5_000_000)
    );
    let fire = FireTimers {
        lane: world.lane_id(),
    };
    world.wait_ms(4_999);
    assert!(world.send("c", &fire).await.is_err());
    world.wait_ms(1);
    let fired = world.send("c", &fire).await.unwrap();
    assert_eq!(types(&fired), ["tool.outcome_unknown"]);
    let late = world
        .send("d", &world.report(call, permit, done("ticket 1")))
        .await
        .unwrap();
    assert_eq!(types(&late), ["tool.completed"]);
}

/// The first answer was lost. Sent again it is leave to run the call, as long as that start is the last that is known of it.
#[tokio::test]
async fn a_start_that_was_not_heard_of_runs_nothing_once_the_call_is_in_doubt() {
    let world = World::on("api").await;
    let mut tool = RegisterTool::new("charge", SideEffectPolicy::Irreversible);
    tool.tool.timeout_us = Some(5_000_000);
    world.send("r", &tool).await.unwrap();
    let call = world.proposed("a", "charge", "7").await;
    world.decided("yes", call, ApprovalOutcome::Approved).await;
    let start = world.send("b", &world.start(call)).await.unwrap();
    let again = world.send("b", &world.start(call)).await.unwrap();
    assert_eq!((again.duplicate, again.unchanged), (true, false));
    assert_eq!(started(&again).0, started(&start).0);
    world.wait_ms(5_000);
    // The time is over, and the timer that says so is late.
    let late = world.send("b", &world.start(call)).await.unwrap();
    assert_eq!((late.duplicate, late.unchanged), (false, true));
    let fire = FireTimers {
        lane: world.lane_id(),
    };
    world.send("c", &fire).await.unwrap();
    for asserted in [false, true] {
        if asserted {
            world.is_found_not_there("found", call).await;
        }
        let late = world.send("b", &world.start(call)).await.unwrap();
        assert_eq!((late.duplicate, late.unchanged), (false, true), "{asserted}");
        let last = match asserted {
            true => "tool.outcome_asserted",
            false => "tool.outcome_unknown",
        };
        assert_eq!(types(&late).last(), Some(&last));
    }
}
