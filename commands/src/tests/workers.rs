//! What workers do beside their calls: steps that are done once over all attempts, and what they write about their turn.

use ruche_domain::envelope::Actor;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalOutcome, InfraManualInterventionSettled, MessageReceived, Role};
use ruche_domain::ids::TurnId;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;

use super::tool_calls::{World, types};
use crate::command::{Command as _, CommandReceipt};
use crate::context::Ground;
use crate::error::CommandError;
use crate::governed::*;
use crate::session::SessionRef;
use crate::testing::NoObjection;
use crate::{AppendEvents, AppendTarget, ClientEvent, OwnCategory};

impl World {
    fn step(&self, step_id: &str) -> StartStep {
        StartStep {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
            step_id: step_id.to_owned(),
            name: None,
        }
    }

    fn done(&self, step_id: &str) -> CompleteStep {
        CompleteStep {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
            step_id: step_id.to_owned(),
            result: Some(format!("{step_id} is done")),
        }
    }

    /// Another attempt at the turn: the worker is gone, and its lease lapses.
    async fn taken_over(&mut self, key: &str) {
        let turn = self.turn;
        self.wait_ms(60_000);
        self.claimed(key).await;
        assert_eq!(self.turn, turn, "the same turn");
    }

    fn held(&self) -> HeldTurn {
        HeldTurn {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
        }
    }
}

fn in_session(event_type: &str, turn: TurnId) -> AppendEvents {
    let payload = match event_type {
        "llm.requested" => r#"{"model":"large"}"#,
        "memory.written" => r#"{"record_id":"r","content":"likes blue","source_event_ids":[]}"#,
        "eval.scored" => r#"{"name":"kind"}"#,
        "feedback.given" => r#"{"name":"thumbs"}"#,
        "goal.set" => r#"{"goal_id":"g","description":"a blue one","criteria":[]}"#,
        _ => r#"{"role":"user"}"#,
    };
    let mut event = ClientEvent::text(event_type, payload);
    event.turn = Some(turn);
    AppendEvents::new(
        AppendTarget::Session(SessionRef::External("s".to_owned())),
        vec![event],
    )
}

fn under(held: HeldTurn, append: AppendEvents) -> AppendEvents {
    AppendEvents {
        held: Some(held),
        ..append
    }
}

fn attempt_of(receipt: &CommandReceipt) -> Option<u32> {
    match receipt.events[0].agent_event().unwrap() {
        Some(AgentEvent::TurnStepStarted(started)) => Some(started.attempt),
        _ => None,
    }
}

#[tokio::test]
async fn an_attempt_goes_on_behind_the_steps_that_are_done() {
    let mut world = World::on("api").await;
    let begun = world.send("a", &world.step("look")).await.unwrap();
    assert_eq!(types(&begun), ["turn.step_started"]);
    let again = world.send("b", &world.step("look")).await.unwrap();
    assert_eq!((again.unchanged, again.receipts()), (true, begun.receipts()));
    let done = world.send("c", &world.done("look")).await.unwrap();
    assert_eq!(types(&done), ["turn.step_completed"]);
    let twice = world.send("d", &world.done("look")).await.unwrap_err();
    assert_eq!(twice.code(), "ILLEGAL_TRANSITION", "{twice}");
    world.send("e", &world.step("pay")).await.unwrap();
    let (dead, late) = (world.step("talk"), world.done("pay"));

    world.taken_over("again").await;
    for refused in [world.send("f", &dead).await, world.send("g", &late).await] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, CommandError::IllegalTransition { field: "/lease", .. }),
            "{refused}"
        );
    }
    let known = world.send("h", &world.step("look")).await.unwrap();
    assert_eq!((known.unchanged, known.receipts()), (true, done.receipts()));
    let half_done = world.send("i", &world.done("pay")).await.unwrap_err();
    assert_eq!(half_done.code(), "ILLEGAL_TRANSITION", "{half_done}");
    let anew = world.send("j", &world.step("pay")).await.unwrap();
    assert_eq!((anew.unchanged, attempt_of(&anew)), (false, Some(2)));
    world.send("k", &world.done("pay")).await.unwrap();
}

#[tokio::test]
async fn what_a_worker_says_of_its_turn_is_taken_under_its_lease_alone() {
    let mut world = World::on("api").await;
    let said = in_session("llm.requested", world.turn);
    let refused = world.send("a", &said).await.unwrap_err();
    assert_eq!(refused.code(), "INVALID_INPUT", "{refused}");
    let held = world.held();
    world.send("b", &under(held.clone(), said.clone())).await.unwrap();
    // Its memory stands in a stream of another kind, and is no less its doing.
    let memory = AppendTarget::Named {
        category: OwnCategory::Memory,
        external_id: "ann".to_owned(),
    };
    let mut remembered = in_session("memory.written", world.turn);
    remembered.target = memory;
    let refused = world.send("c", &remembered).await.unwrap_err();
    assert_eq!(refused.code(), "INVALID_INPUT", "{refused}");
    world
        .send("d", &under(held.clone(), remembered.clone()))
        .await
        .unwrap();

    let size = world.ledger.size().await;
    for event_type in ["message.received", "message.sent", "message.drafted"] {
        let spoken = under(held.clone(), in_session(event_type, world.turn));
        let refused = world.send("e", &spoken).await.unwrap_err();
        assert_eq!(
            refused.code(),
            "INVALID_INPUT",
            "{event_type} comes past the lane: {refused}"
        );
    }
    assert_eq!(world.ledger.size().await, size);

    world.taken_over("again").await;
    for append in [said, remembered] {
        let late = world.send("f", &under(held.clone(), append)).await.unwrap_err();
        assert!(
            matches!(late, CommandError::IllegalTransition { field: "/lease", .. }),
            "{late}"
        );
    }
    // What others think of a turn, they say when they like.
    world
        .send("g", &in_session("eval.scored", world.turn))
        .await
        .unwrap();
    world
        .send("h", &in_session("feedback.given", world.turn))
        .await
        .unwrap();
}

/// A call is of its turn, so what is said of a call is said by who holds the turn.
#[tokio::test]
async fn what_names_a_call_and_no_turn_is_about_the_turn_of_the_call() {
    let mut world = World::on("api").await;
    world.register("look_up", SideEffectPolicy::Pure).await;
    let call = world.proposed("call", "look_up", "7").await;
    let turn = world.turn;
    let of_call = |event_type: &str| {
        let mut append = in_session(event_type, turn);
        (append.events[0].turn, append.events[0].call) = (None, Some(call));
        append
    };
    let kinds = ["llm.requested", "memory.written", "goal.set"].map(of_call);
    let others = ["eval.scored", "feedback.given"].map(of_call);
    let messages = ["message.received", "message.sent"].map(of_call);
    let mut of_observed = in_session("llm.requested", turn);
    let secrets = world.ledger.commands.secrets_of(world.ledger.context.ledger);
    let observed = secrets.references.turn(world.ledger.session("s"), 0);
    of_observed.events[0].turn = Some(observed);
    let mut strange = of_observed.clone();
    of_observed.events[0].call = Some(secrets.references.call(observed, 0));
    strange.events[0].call = Some(call);

    let size = world.ledger.size().await;
    for append in kinds.iter().chain(&messages).chain([&strange]) {
        let refused = world.send("a", append).await.unwrap_err();
        assert_eq!(refused.code(), "INVALID_INPUT", "{refused}");
        let path = ["events", "0", "callId"].map(str::to_owned).to_vec();
        assert_eq!(refused.path(), Some(path), "{refused}");
    }
    assert_eq!(world.ledger.size().await, size);
    // Another lane's worker holds a turn as well, and not that of the call.
    let beside = world.beside("bob").await;
    for append in &kinds {
        let append = under(beside.held(), append.clone());
        let refused = world.send("b", &append).await.unwrap_err();
        assert_eq!(refused.code(), "INVALID_INPUT", "{refused}");
    }
    world.claimed("c").await;
    let held = world.held();
    for (number, append) in kinds.iter().enumerate() {
        let append = under(held.clone(), append.clone());
        world.send(&format!("d-{number}"), &append).await.unwrap();
    }
    for (number, append) in others.iter().chain([&of_observed]).enumerate() {
        world.send(&format!("e-{number}"), append).await.unwrap();
    }
    world.taken_over("again").await;
    for append in kinds {
        let late = world.send("f", &under(held.clone(), append)).await.unwrap_err();
        assert!(
            matches!(late, CommandError::IllegalTransition { field: "/lease", .. }),
            "{late}"
        );
    }
}

/// Who names the turn that it holds says nothing of another turn's call under it.
#[tokio::test]
async fn the_turn_that_is_held_is_no_cover_for_the_call_of_another() {
    let world = World::on("api").await;
    world.register("look_up", SideEffectPolicy::Pure).await;
    let call = world.proposed("call", "look_up", "7").await;
    let beside = world.beside("bob").await;
    let own = beside.proposed("own", "look_up", "8").await;
    let of_both = |call| {
        let mut append = in_session("llm.requested", beside.turn);
        append.events[0].call = Some(call);
        under(beside.held(), append)
    };
    let size = world.ledger.size().await;
    let refused = world.send("a", &of_both(call)).await.unwrap_err();
    let path = ["events", "0", "callId"].map(str::to_owned).to_vec();
    assert_eq!(
        (refused.code(), refused.path()),
        ("INVALID_INPUT", Some(path)),
        "{refused}"
    );
    assert_eq!(world.ledger.size().await, size);
    world.send("b", &of_both(own)).await.unwrap();
}

/// A decision gives the call to a turn of its own. Who proposed it goes on meanwhile, and says what it does for it.
#[tokio::test]
async fn who_proposed_a_call_writes_about_it_after_people_decided() {
    let world = World::on("web").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    let mut append = in_session("llm.requested", world.turn);
    append.events[0].call = Some(call);
    world.send("c", &under(world.held(), append)).await.unwrap();
}

/// The answer was lost, and so is the turn by now: that the step began once is no leave to do it.
#[tokio::test]
async fn a_step_that_began_is_not_told_again_to_who_lost_the_turn() {
    let mut world = World::on("api").await;
    let step = world.step("pay");
    let begun = world.send("a", &step).await.unwrap();
    let again = world.send("a", &step).await.unwrap();
    assert_eq!((again.duplicate, again.receipts()), (true, begun.receipts()));
    world.taken_over("again").await;
    let refused = world.send("a", &step).await.unwrap_err();
    assert!(
        matches!(refused, CommandError::IllegalTransition { field: "/lease", .. }),
        "{refused}"
    );
    let mine = world.send("b", &world.step("pay")).await.unwrap();
    assert_eq!(attempt_of(&mine), Some(2));
}

/// Heartbeats of a worker that hurries leave no record, and the lease lapses when the ledger says.
#[tokio::test]
async fn a_lease_that_is_fresh_stands_as_it_is() {
    let mut world = World::on("api").await;
    let beat = |world: &World| HeartbeatTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
    };
    let first = beat(&world);
    let size = world.ledger.size().await;
    world.wait_ms(7_499);
    let fresh = world.send("a", &first).await.unwrap();
    assert_eq!((fresh.unchanged, types(&fresh)), (true, vec!["turn.started"]));
    assert_eq!(world.ledger.size().await, size);
    world.wait_ms(1);
    let renewed = world.send("a", &first).await.unwrap();
    assert_eq!(
        (renewed.unchanged, types(&renewed)),
        (false, vec!["infra.lease_renewed"])
    );
    let stands = world.send("b", &first).await.unwrap();
    assert_eq!((stands.unchanged, stands.receipts()), (true, renewed.receipts()));
    // Of another worker it is refused, fresh or not.
    let mut stolen = beat(&world);
    stolen.lease.epoch += 1;
    assert!(world.send("c", &stolen).await.is_err());
    world.wait_ms(29_999);
    assert!(
        !world.send("d", &first).await.unwrap().unchanged,
        "there is little left"
    );
    world.taken_over("again").await;
    let lost = world.send("d", &first).await.unwrap_err();
    assert!(
        matches!(lost, CommandError::IllegalTransition { field: "/lease", .. }),
        "it held once, and does not now: {lost}"
    );
}

/// Nothing more is read for events of no turn, or of one that was observed.
#[tokio::test]
async fn an_append_that_is_about_no_turn_of_a_lane_reads_no_lane() {
    let world = World::on("api").await;
    let secrets = world.ledger.commands.secrets_of(world.ledger.context.ledger);
    let ground = Ground {
        references: &secrets.references,
        now: crate::testing::TEST_NOW,
        idempotency_key: "key",
        ledger: world.ledger.context.ledger,
        tenant: world.ledger.context.tenant,
        actor: Actor::SYSTEM,
        schemas: &NoObjection,
        user: None,
    };
    let categories = |append: &AppendEvents| -> Vec<Category> {
        let loads = append.loads(&ground).unwrap();
        loads.iter().map(|load| load.stream.category).collect()
    };
    let observed = secrets.references.turn(world.ledger.session("s"), 0);
    assert!(!observed.is_governed() && world.turn.is_governed());
    assert_eq!(
        categories(&in_session("llm.requested", observed)),
        [Category::Session]
    );
    let mut plain = in_session("llm.requested", observed);
    plain.events[0].turn = None;
    assert_eq!(categories(&plain), [Category::Session]);
    let held = under(world.held(), in_session("llm.requested", world.turn));
    assert_eq!(categories(&held), [Category::Session, Category::Lane]);
}

#[tokio::test]
async fn what_is_pure_is_asked_again_by_the_next_turn() {
    let mut world = World::on("api").await;
    world.register("look_up", SideEffectPolicy::Pure).await;
    let (first, call) = (world.turn, world.propose("look_up", Some("order-7")));
    let proposed = world.send("a", &call).await.unwrap();
    let again = world.send("b", &call).await.unwrap();
    assert_eq!(
        (again.unchanged, again.receipts()),
        (true, proposed.receipts()),
        "in its turn it is one"
    );
    let start = StartEffect {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        call: proposed.events[0].event.call.unwrap(),
    };
    let started = world.send("c", &start).await.unwrap();
    let report = ReportEffect {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        call: start.call,
        permit: started.receipts()[0].position,
        outcome: Reported::Completed {
            result: Some("blue".to_owned()),
            external_ref: None,
        },
    };
    world.send("d", &report).await.unwrap();
    let known = world
        .send("e", &world.propose("look_up", Some("order-7")))
        .await
        .unwrap();
    assert!(known.unchanged, "in its turn it is known");
    let commit = CommitTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        outcome: None,
        response: None,
    };
    world.send("f", &commit).await.unwrap();
    world.next_turn("m-2").await;
    assert_ne!(world.turn, first);
    let asked = world
        .send("g", &world.propose("look_up", Some("order-7")))
        .await
        .unwrap();
    assert!(!asked.unchanged, "it may be red by now: {:?}", types(&asked));
}

#[tokio::test]
async fn two_calls_with_the_same_arguments_are_two_and_the_second_is_told_of_the_first() {
    let world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let first = world
        .send("a", &world.propose("create_ticket", Some("1")))
        .await
        .unwrap();
    assert_eq!(first.beside, []);
    let second = world
        .send("b", &world.propose("create_ticket", Some("2")))
        .await
        .unwrap();
    let calls =
        |events: &[crate::RecordedEvent]| -> Vec<_> { events.iter().map(|event| event.event.call).collect() };
    assert!(!second.unchanged);
    assert_eq!(calls(&second.beside), [first.events[0].event.call]);
    let mut other = world.propose("create_ticket", Some("3"));
    other.arguments = r#"{ "order": 8 }"#.to_owned();
    assert_eq!(world.send("c", &other).await.unwrap().beside, []);
}

#[tokio::test]
async fn a_message_that_is_the_last_one_closes_the_window() {
    let world = World::on("whatsapp").await;
    let lane = LaneName {
        thread: Some("other".to_owned()),
        ..world.lane()
    };
    let submit = |id: &str, flush| SubmitMessage {
        session: SessionRef::External("s".to_owned()),
        lane: lane.clone(),
        flush,
        message: MessageReceived {
            channel_message_id: Some(id.to_owned()),
            ..MessageReceived::new(Role::User)
        },
    };
    let first = world.send("a", &submit("m-1", false)).await.unwrap();
    assert_eq!(types(&first), ["message.received", "turn.opened"]);
    let last = world.send("b", &submit("m-2", true)).await.unwrap();
    assert_eq!(last.turn(), first.turn());
    assert_eq!(
        types(&last),
        [
            "message.received",
            "turn.message_coalesced",
            "turn.sealed",
            "config.effective_resolved",
            "turn.readied"
        ]
    );
}

/// A turn that failed is looked after once, and nothing follows from it in its lane.
#[tokio::test]
async fn a_turn_that_failed_is_looked_after() {
    let world = World::on("api").await;
    let settle = |turn: TurnId, reason: &str| SettleIntervention {
        lane: world.lane(),
        turn,
        settled: InfraManualInterventionSettled::new("alice".to_owned(), reason.to_owned()),
    };
    let goes_on = world
        .send("a", &settle(world.turn, "sent again"))
        .await
        .unwrap_err();
    assert_eq!(goes_on.code(), "ILLEGAL_TRANSITION", "{goes_on}");
    let fail = FailTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        error_type: "model_down".to_owned(),
        error: None,
        retryable: false,
    };
    world.send("b", &fail).await.unwrap();
    for (turn, reason, code) in [
        (world.turn, " ", "INVALID_INPUT"),
        (TurnId(uuid::Uuid::nil()), "sent again", "NOT_FOUND"),
    ] {
        let refused = world.send("c", &settle(turn, reason)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    let said = world.send("c", &settle(world.turn, "sent again")).await.unwrap();
    assert_eq!(types(&said), ["infra.manual_intervention_settled"]);
    let event = &said.events[0].event;
    assert_eq!(
        (event.stream.category, event.turn),
        (Category::Session, Some(world.turn))
    );
    let again = world.send("d", &settle(world.turn, "left alone")).await.unwrap();
    assert_eq!((again.unchanged, again.receipts()), (true, said.receipts()));
}
