//! Calls that run, through the pipeline, on the in-memory engine.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalOutcome, AssertedOutcome, MessageReceived, MessageSent, Role, ToolOutcomeAsserted, ToolStarted,
};
use ruche_domain::ids::CallId;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;

use super::tool_calls::{World, types};
use crate::command::CommandReceipt;
use crate::error::CommandError;
use crate::governed::*;
use crate::session::SessionRef;

impl World {
    pub(super) async fn proposed(&self, key: &str, tool: &str, business_key: &str) -> CallId {
        let propose = self.propose(tool, Some(business_key));
        self.send(key, &propose).await.unwrap().events[0]
            .event
            .call
            .unwrap()
    }

    pub(super) fn start(&self, call: CallId) -> StartEffect {
        StartEffect {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
            call,
        }
    }

    pub(super) fn report(&self, call: CallId, permit: Position, outcome: Reported) -> ReportEffect {
        ReportEffect {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
            call,
            permit,
            outcome,
        }
    }
}

pub(super) fn done(result: &str) -> Reported {
    Reported::Completed {
        result: Some(result.to_owned()),
        external_ref: Some("T-1".to_owned()),
    }
}

pub(super) fn failed() -> Reported {
    Reported::Failed {
        error_type: "not_there".to_owned(),
        error: None,
        retryable: Some(true),
        result: None,
    }
}

/// The start of the append, and its place.
pub(super) fn started(receipt: &CommandReceipt) -> (Position, ToolStarted) {
    for event in &receipt.events {
        if let Some(AgentEvent::ToolStarted(started)) = event.agent_event().unwrap() {
            return (event.receipt.position, started);
        }
    }
    panic!("nothing was started: {:?}", types(receipt));
}

fn obstacle(error: &CommandError) -> (&'static str, Option<&str>) {
    match error {
        CommandError::IllegalTransition { state, obstacle, .. } => (state, obstacle.as_deref()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_call_is_started_and_reported_under_its_permit() {
    let world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let call = world.proposed("a", "create_ticket", "7").await;
    let start = world.send("b", &world.start(call)).await.unwrap();
    assert_eq!(types(&start), ["tool.started"]);
    let (permit, fact) = started(&start);
    assert_eq!((fact.attempt, fact.ticket), (Some(1), None));
    assert_eq!(fact.idempotency_key.map(|key| key.len()), Some(32));
    assert!(fact.args_digest.is_some());
    let before = world.ledger.size().await;
    let guessed = Position::new(1, permit.index.0 - 1);
    let refused = world
        .send("c", &world.report(call, guessed, done("x")))
        .await
        .unwrap_err();
    assert_eq!(refused.path(), Some(vec!["permit".to_owned()]), "{refused}");
    let mut stolen = world.report(call, permit, done("x"));
    stolen.lease.epoch += 1;
    let refused = world.send("c", &stolen).await.unwrap_err();
    assert_eq!(refused.path(), Some(vec!["lease".to_owned()]));
    assert_eq!(world.ledger.size().await, before);
    let report = world
        .send("c", &world.report(call, permit, done("ok")))
        .await
        .unwrap();
    assert_eq!(types(&report), ["tool.completed"]);
    let refused = world
        .send("d", &world.report(call, permit, done("ok")))
        .await
        .unwrap_err();
    assert_eq!(
        obstacle(&refused),
        ("processing", Some("the call is not in a state for this"))
    );
    let again = world
        .send("c", &world.report(call, permit, done("ok")))
        .await
        .unwrap();
    assert!(again.duplicate);
}

#[tokio::test]
async fn what_was_never_started_cannot_be_reported() {
    let world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let call = world.proposed("a", "create_ticket", "7").await;
    let before = world.ledger.size().await;
    let refused = world
        .send("b", &world.report(call, Position::new(1, 0), done("x")))
        .await
        .unwrap_err();
    assert_eq!(refused.path(), Some(vec!["permit".to_owned()]));
    assert_eq!(world.ledger.size().await, before);
}

#[tokio::test]
async fn a_03_an_effect_that_stands_is_given_and_not_run_again_for_a_day() {
    let mut world = World::on("web").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let call = world.proposed("a", "create_ticket", "7").await;
    let (permit, first) = started(&world.send("b", &world.start(call)).await.unwrap());
    world
        .send("c", &world.report(call, permit, done("ticket 1")))
        .await
        .unwrap();
    // A newer message takes the place of the turn; the new turn asks for the same.
    world.next_turn("m-2").await;
    let again = world
        .send("d", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
    assert!(again.unchanged);
    assert_eq!(
        types(&again),
        [
            "tool.proposed",
            "policy.evaluated",
            "tool.started",
            "tool.completed"
        ]
    );
    world.wait_ms(24 * 3_600_000 - 60_000);
    world.next_turn("m-3").await;
    let anew = world
        .send("e", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
    assert!(!anew.unchanged, "a day after it was done");
    let (_, second) = started(
        &world
            .send("f", &world.start(anew.events[0].event.call.unwrap()))
            .await
            .unwrap(),
    );
    assert_ne!(
        first.idempotency_key, second.idempotency_key,
        "the tool would answer with what it did then"
    );
}

#[tokio::test]
async fn a_failure_frees_the_key_and_an_older_call_does_not_run_beside_the_newer() {
    let world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let first = world.proposed("a", "create_ticket", "7").await;
    let (permit, _) = started(&world.send("b", &world.start(first)).await.unwrap());
    world
        .send("c", &world.report(first, permit, failed()))
        .await
        .unwrap();
    let second = world.proposed("d", "create_ticket", "7").await;
    assert_ne!(first, second);
    let (permit, _) = started(&world.send("e", &world.start(second)).await.unwrap());
    world
        .send("f", &world.report(second, permit, done("ticket 1")))
        .await
        .unwrap();
    let late = world.send("g", &world.start(first)).await.unwrap();
    assert!(late.unchanged);
    assert_eq!(late.events.last().unwrap().event.call, Some(second));
    let again = world.send("h", &world.start(second)).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.events.last().unwrap().event.event_type, "tool.completed");
}

#[tokio::test]
async fn an_irreversible_call_uses_up_its_approval_in_the_append_that_starts_it() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    let before = world.ledger.size().await;
    let refused = world.send("b", &world.start(call)).await.unwrap_err();
    assert_eq!(obstacle(&refused).0, "awaiting_approval");
    assert_eq!(world.ledger.size().await, before + 1, "the attempt is recorded");
    let again = world.send("b", &world.start(call)).await.unwrap_err();
    assert_eq!(obstacle(&again).0, "awaiting_approval");
    assert_eq!(world.ledger.size().await, before + 1, "once");
    world.decided("c", call, ApprovalOutcome::Approved).await;
    let start = world.send("b", &world.start(call)).await.unwrap();
    assert_eq!(
        types(&start),
        ["approval.consumed", "tool.started", "turn.commit_point_reached"]
    );
    assert_eq!(start.events[0].event.stream, approval_stream(approval_of(call)));
    assert_eq!(started(&start).1.ticket, Some(approval_of(call).to_string()));
    // It failed for sure. It may run again, with another approval: this one is used up.
    let (permit, _) = started(&start);
    world
        .send("d", &world.report(call, permit, failed()))
        .await
        .unwrap();
    let refused = world.send("e", &world.start(call)).await.unwrap_err();
    assert_eq!(
        obstacle(&refused),
        ("processing", Some("an unused approval is needed"))
    );
}

#[tokio::test]
async fn a_second_start_under_one_approval_is_seen() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    world.send("c", &world.start(call)).await.unwrap();
    let running = world.ledger.size().await;
    for key in ["d", "e"] {
        let refused = world.send(key, &world.start(call)).await.unwrap_err();
        assert_eq!(obstacle(&refused).0, "processing", "{refused}");
    }
    assert_eq!(world.ledger.size().await, running + 1, "once");
}

#[tokio::test]
async fn what_people_denied_never_starts() {
    let world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Rejected).await;
    let refused = world.send("c", &world.start(call)).await.unwrap_err();
    assert_eq!(obstacle(&refused), ("processing", Some("the call was denied")));
    assert_ne!(
        world.proposed("d", "charge_card", "7").await,
        call,
        "a denial frees the key"
    );
}

#[tokio::test]
async fn a_decision_that_nobody_waited_for_opens_a_turn_that_runs_the_call() {
    let mut world = World::on("whatsapp").await;
    let call = world.proposed("a", "charge_card", "7").await;
    let commit = CommitTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        outcome: None,
        response: None,
    };
    world.send("b", &commit).await.unwrap();
    world.decided("c", call, ApprovalOutcome::Approved).await;
    world.claimed("d").await;
    let start = world.send("e", &world.start(call)).await.unwrap();
    assert_eq!(
        types(&start),
        ["approval.consumed", "tool.started", "turn.commit_point_reached"]
    );
    let session = Some(world.ledger.session("s"));
    assert!(start.events.iter().all(|event| event.event.session == session));
}

/// The lapse opens a turn that belongs to the session of the turn that asked, though nobody of it sent anything.
#[tokio::test]
async fn an_approval_that_lapses_is_a_denial_that_a_turn_is_told() {
    let mut world = World::on("whatsapp").await;
    let call = world.proposed("a", "charge_card", "7").await;
    let commit = CommitTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        outcome: None,
        response: None,
    };
    world.send("b", &commit).await.unwrap();
    world.wait_ms(24 * 3_600_000);
    let claim = world.claimed("c").await;
    assert_eq!(
        types(&claim),
        [
            "approval.expired",
            "turn.opened",
            "config.effective_resolved",
            "turn.readied",
            "turn.started"
        ]
    );
    let session = Some(world.ledger.session("s"));
    assert!(claim.events.iter().all(|event| event.event.session == session));
    let refused = world.send("d", &world.start(call)).await.unwrap_err();
    assert_eq!(obstacle(&refused), ("processing", Some("the call was denied")));
}

#[tokio::test]
async fn a_person_resolves_an_irreversible_effect_in_doubt_with_evidence() {
    let mut world = World::on("api").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    let (permit, _) = started(&world.send("c", &world.start(call)).await.unwrap());
    world.wait_ms(30_000);
    let claim = ClaimTurn {
        lane: world.lane(),
        brain_build: None,
    };
    assert!(
        world.send("d", &claim).await.is_err(),
        "the turn waits for a person"
    );
    let resolve = |evidence: &str| ResolveOutcome {
        lane: world.lane(),
        call,
        asserted: ToolOutcomeAsserted {
            result: Some("charged".to_owned()),
            ..ToolOutcomeAsserted::new(AssertedOutcome::Completed, "ann".to_owned(), evidence.to_owned())
        },
    };
    let before = world.ledger.size().await;
    let refused = world.send("e", &resolve(" ")).await.unwrap_err();
    assert_eq!(refused.path(), Some(vec!["evidence".to_owned()]));
    assert_eq!(world.ledger.size().await, before);
    let resolved = world.send("e", &resolve("statement of the bank")).await.unwrap();
    assert_eq!(
        types(&resolved),
        [
            "infra.lease_expired",
            "tool.outcome_unknown",
            "infra.manual_intervention_required",
            "tool.outcome_asserted",
            "turn.readied"
        ]
    );
    world.claimed("g").await;
    let again = world
        .send("h", &world.propose("charge_card", Some("7")))
        .await
        .unwrap();
    assert!(again.unchanged, "it stands, and is not run again");
    let refused = world
        .send("i", &world.report(call, permit, done("x")))
        .await
        .unwrap_err();
    assert_eq!(
        obstacle(&refused),
        ("processing", Some("the call is not in a state for this"))
    );
}

#[tokio::test]
async fn words_on_a_channel_that_keeps_them_are_a_commit_point() {
    let world = World::on("whatsapp").await;
    let send = SendMessage {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        message: MessageSent::new(Role::Assistant),
    };
    let sent = world.send("a", &send).await.unwrap();
    assert_eq!(types(&sent), ["message.sent", "turn.commit_point_reached"]);
    let cancel = CancelTurn {
        lane: world.lane(),
        turn: world.turn,
        reason: None,
    };
    let refused = world.send("b", &cancel).await.unwrap_err();
    assert_eq!(obstacle(&refused), ("processing", Some("past its commit point")));
}

/// A call in doubt whose turn is over is run by nobody any more; another one may run under the same key of the effect.
#[tokio::test]
async fn a_call_in_doubt_of_a_turn_that_is_over_does_not_hold_its_key_for_ever() {
    let mut world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let call = world.proposed("a", "create_ticket", "7").await;
    let (permit, first) = started(&world.send("b", &world.start(call)).await.unwrap());
    let unknown = Reported::Unknown {
        cause: "timeout".to_owned(),
        external_ref: None,
    };
    world
        .send("c", &world.report(call, permit, unknown))
        .await
        .unwrap();
    let again = world
        .send("d", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
    assert!(again.unchanged, "its own turn may still find out");
    let fail = FailTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        error_type: "broken".to_owned(),
        error: None,
        retryable: false,
    };
    world.send("e", &fail).await.unwrap();
    world.next_turn("m-2").await;
    let anew = world.proposed("f", "create_ticket", "7").await;
    assert_ne!(anew, call);
    let (_, second) = started(&world.send("g", &world.start(anew)).await.unwrap());
    assert_eq!(first.idempotency_key, second.idempotency_key);
}

/// The channel cancels what runs when a message comes, and still the turn that charged is left alone: it goes on, the
/// message waits for it, and the charge exists once.
#[tokio::test]
async fn a_01_a_message_after_an_irreversible_effect_waits() {
    for channel in ["web", "whatsapp"] {
        let mut world = World::on(channel).await;
        let call = world.proposed("a", "charge_card", "7").await;
        let commit = |world: &World| CommitTurn {
            lane: world.lane(),
            turn: world.turn,
            lease: world.lease.clone(),
            outcome: None,
            response: None,
        };
        world.send("b", &commit(&world)).await.unwrap();
        world.decided("c", call, ApprovalOutcome::Approved).await;
        world.claimed("d").await;
        let (permit, _) = started(&world.send("e", &world.start(call)).await.unwrap());
        let newer = SubmitMessage {
            flush: false,
            session: SessionRef::External("s".to_owned()),
            lane: world.lane(),
            message: MessageReceived {
                channel_message_id: Some("m-2".to_owned()),
                ..MessageReceived::new(Role::User)
            },
        };
        let newer = world.send("f", &newer).await.unwrap();
        // A channel that cancels what runs says why it does not; one that queues has nothing to say.
        let refused: &[&str] = if channel == "web" {
            &["turn.supersede_refused"]
        } else {
            &[]
        };
        assert_eq!(types(&newer)[2..], *refused, "{channel}");
        if let Some(event) = newer.events.get(2) {
            let Some(AgentEvent::TurnSupersedeRefused(refused)) = event.agent_event().unwrap() else {
                panic!()
            };
            assert_eq!(
                (
                    refused.call_id,
                    refused.tool.as_deref(),
                    refused.commit_point.name()
                ),
                (Some(call), Some("charge_card"), "irreversible_effect")
            );
            assert_eq!(refused.waiting_turn_id, newer.turn());
        }
        let cancel = CancelTurn {
            lane: world.lane(),
            turn: world.turn,
            reason: None,
        };
        let refused = world.send("g", &cancel).await.unwrap_err();
        assert_eq!(obstacle(&refused), ("processing", Some("past its commit point")));
        world
            .send("h", &world.report(call, permit, done("charged")))
            .await
            .unwrap();
        world.send("i", &commit(&world)).await.unwrap();
        world.wait_ms(20_000);
        world.claimed("j").await;
        assert_eq!(
            Some(world.turn),
            newer.turn(),
            "the message becomes the next turn"
        );
        let again = world
            .send("k", &world.propose("charge_card", Some("7")))
            .await
            .unwrap();
        assert!(again.unchanged, "the charge stands");
        let records = world.records().await;
        let starts = records
            .iter()
            .filter(|record| record.leaf.event.event_type == "tool.started");
        assert_eq!(starts.count(), 1);
    }
}

/// Nobody knows, once more: that makes the lane no longer. What was not said before is recorded.
#[tokio::test]
async fn that_nobody_knows_is_recorded_once() {
    let world = World::on("api").await;
    world.register("book", SideEffectPolicy::Idempotent).await;
    let call = world.proposed("a", "book", "7").await;
    let permit = started(&world.send("b", &world.start(call)).await.unwrap()).0;
    let unknown = |external_ref: Option<&str>| Reported::Unknown {
        cause: "timeout".to_owned(),
        external_ref: external_ref.map(str::to_owned),
    };
    let send = async |key: &str, outcome| {
        world
            .send(key, &world.report(call, permit, outcome))
            .await
            .unwrap()
    };
    let first = send("c", unknown(None)).await;
    assert_eq!(types(&first), ["tool.outcome_unknown"]);
    let again = send("d", unknown(None)).await;
    assert_eq!((again.unchanged, again.receipts()), (true, first.receipts()));
    let more = send("e", unknown(Some("T-1"))).await;
    assert_eq!(
        (more.unchanged, types(&more)),
        (false, vec!["tool.outcome_unknown"])
    );
    // Another try is another word.
    let permit = started(&world.send("f", &world.start(call)).await.unwrap()).0;
    let last = world
        .send("g", &world.report(call, permit, unknown(Some("T-1"))))
        .await
        .unwrap();
    assert!(!last.unchanged);
}
