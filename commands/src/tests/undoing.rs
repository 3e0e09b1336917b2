//! Effects that are undone, through the pipeline: started before the tool runs, reported under that start.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{MessageReceived, Role};
use ruche_domain::ids::CallId;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;

use super::tool_calls::{World, types};
use crate::governed::*;
use crate::session::SessionRef;
use crate::tool::RegisterTool;

/// A turn that undoes a seat that it reserved.
pub(super) async fn undoing() -> (World, CallId) {
    let world = World::on("web").await;
    world
        .register("reserve_seat", SideEffectPolicy::Compensatable)
        .await;
    let call = world.proposed("a", "reserve_seat", "7").await;
    let start = world.send("b", &world.start(call)).await.unwrap();
    let report = ReportEffect {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        call,
        permit: start.events[0].receipt.position,
        outcome: Reported::Completed {
            result: None,
            external_ref: None,
        },
    };
    world.send("c", &report).await.unwrap();
    let newer = SubmitMessage {
        flush: false,
        session: SessionRef::External("s".to_owned()),
        lane: world.lane(),
        message: MessageReceived::new(Role::User),
    };
    let newer = world.send("d", &newer).await.unwrap();
    assert!(types(&newer).contains(&"turn.compensating"));
    (world, call)
}

pub(super) fn report_undone(world: &World, call: CallId, permit: Position) -> ReportCompensation {
    ReportCompensation {
        lane: world.lane(),
        call,
        permit,
        outcome: CompensationReport::Compensated {
            compensation_tool: None,
            external_ref: None,
        },
    }
}

#[tokio::test]
async fn nothing_is_said_to_be_undone_that_nobody_began_to_undo() {
    let (world, call) = undoing().await;
    let before = world.ledger.size().await;
    let refused = world
        .send("e", &report_undone(&world, call, Position::new(1, 1)))
        .await;
    assert_eq!(refused.unwrap_err().path(), Some(vec!["permit".to_owned()]));
    assert_eq!(world.ledger.size().await, before);
    let lane = world.lane();
    let start = StartCompensation { lane, call };
    let first = world.send("f", &start).await.unwrap();
    assert_eq!(types(&first), ["tool.compensation_started"]);
    // Who started it is gone. Once its time is over another one starts it again, and nobody does before.
    let size = world.ledger.size().await;
    let refused = world.send("g", &start).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("another try at undoing it is under way"),
        "{refused}"
    );
    assert_eq!(world.ledger.size().await, size);
    world.wait_ms(120_000);
    let second = world.send("g", &start).await.unwrap();
    // That the first try failed says nothing of the second; that the effect is undone is so under whatever try.
    let old = report_undone(&world, call, first.events[0].receipt.position);
    let mut failed = old.clone();
    failed.outcome = CompensationReport::Failed {
        error_type: "busy".to_owned(),
        error: None,
    };
    let refused = world.send("h", &failed).await.unwrap_err();
    assert_eq!(refused.path(), Some(vec!["permit".to_owned()]));
    let done = world.send("i", &old).await.unwrap();
    assert_eq!(types(&done)[..2], ["tool.compensated", "turn.superseded"]);
    let late = report_undone(&world, call, second.events[0].receipt.position);
    let refused = world.send("j", &late).await.unwrap_err();
    assert_eq!(refused.code(), "ILLEGAL_TRANSITION", "it is over");
}

#[tokio::test]
async fn a_try_at_undoing_takes_as_long_as_its_tool_may() {
    let (world, call) = undoing().await;
    let mut quick = RegisterTool::new("undo_reserve_seat", SideEffectPolicy::Idempotent);
    quick.tool.timeout_us = Some(7_000_000);
    world.send("e", &quick).await.unwrap();
    let lane = world.lane();
    let start = StartCompensation { lane, call };
    let first = world.send("f", &start).await.unwrap();
    world.wait_ms(6_999);
    assert!(world.send("g", &start).await.is_err());
    // Who was not answered may undo it as long as that try lasts, and not on it any more.
    let again = world.send("f", &start).await.unwrap();
    assert_eq!((again.duplicate, again.receipts()), (true, first.receipts()));
    world.wait_ms(1);
    let late = world.send("f", &start).await.unwrap();
    assert_eq!((late.duplicate, late.unchanged), (false, true));
    let second = world.send("g", &start).await.unwrap();
    let late = world.send("f", &start).await.unwrap();
    assert_eq!((late.unchanged, late.receipts()), (true, second.receipts()));
}

#[tokio::test]
async fn what_undid_an_effect_is_the_tool_that_was_started_for_it() {
    let (world, call) = undoing().await;
    let lane = world.lane();
    let start = world.send("e", &StartCompensation { lane, call }).await.unwrap();
    let mut done = report_undone(&world, call, start.events[0].receipt.position);
    let named = |tool: &str| CompensationReport::Compensated {
        compensation_tool: Some(tool.to_owned()),
        external_ref: None,
    };
    done.outcome = named("something_else");
    let refused = world.send("f", &done).await.unwrap_err();
    assert_eq!(refused.code(), "INVALID_INPUT");
    assert_eq!(
        refused.path(),
        Some(vec!["compensated".to_owned(), "compensationTool".to_owned()])
    );
    done.outcome = named("undo_reserve_seat");
    let done = world.send("f", &done).await.unwrap();
    let Some(AgentEvent::ToolCompensated(fact)) = done.events[0].agent_event().unwrap() else {
        panic!("{:?}", types(&done));
    };
    assert_eq!(fact.compensation_tool.as_deref(), Some("undo_reserve_seat"));
}

#[tokio::test]
async fn a_tool_that_may_not_run_unasked_by_now_undoes_nothing() {
    let (world, call) = undoing().await;
    let stronger = RegisterTool::new("undo_reserve_seat", SideEffectPolicy::Irreversible);
    world.send("e", &stronger).await.unwrap();
    let before = world.ledger.size().await;
    let lane = world.lane();
    let start = StartCompensation { lane, call };
    let refused = world.send("f", &start).await.unwrap_err();
    assert_eq!(refused.code(), "ILLEGAL_TRANSITION", "{refused}");
    assert_eq!(world.ledger.size().await, before);
}
