//! Effects that are undone, through the pipeline: started before the tool runs, reported under that start.

use ruche_domain::events::{MessageReceived, Role};
use ruche_domain::ids::CallId;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;

use super::tool_calls::{World, types};
use crate::governed::*;
use crate::session::SessionRef;
use crate::tool::RegisterTool;

/// A turn that undoes a seat that it reserved.
async fn undoing() -> (World, CallId) {
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
        session: SessionRef::External("s".to_owned()),
        lane: world.lane(),
        message: MessageReceived::new(Role::User),
    };
    let newer = world.send("d", &newer).await.unwrap();
    assert!(types(&newer).contains(&"turn.compensating"));
    (world, call)
}

fn report(world: &World, call: CallId, permit: Position) -> ReportCompensation {
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
    let refused = world.send("e", &report(&world, call, Position::new(1, 1))).await;
    assert_eq!(refused.unwrap_err().path(), Some(vec!["permit".to_owned()]));
    assert_eq!(world.ledger.size().await, before);
    let lane = world.lane();
    let start = StartCompensation { lane, call };
    let first = world.send("f", &start).await.unwrap();
    assert_eq!(types(&first), ["tool.compensation_started"]);
    // Who started it is gone. Another one starts it again, and the first may not report any more.
    let second = world.send("g", &start).await.unwrap();
    let old = report(&world, call, first.events[0].receipt.position);
    let refused = world.send("h", &old).await.unwrap_err();
    assert_eq!(refused.path(), Some(vec!["permit".to_owned()]));
    let done = report(&world, call, second.events[0].receipt.position);
    let done = world.send("h", &done).await.unwrap();
    assert_eq!(types(&done)[..2], ["tool.compensated", "turn.superseded"]);
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
