//! What R0 says of ledgers in which something stands that a crowd does not do by itself.

use ruche_commands::RegisterTool;
use ruche_commands::tool::tool_stream;
use ruche_domain::envelope::Provenance;
use ruche_domain::events::{InterventionPoint, PolicyEvaluated, PolicyVerdict, ToolProposed};
use ruche_domain::ids::CallId;
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;

use super::*;
use crate::ToolView;

impl World {
    async fn tool(&self, name: &str) -> ToolView {
        let references = self.crowd.commands.secrets_of(self.ledger).references;
        let last = self.last().await;
        let at = StateAt::new(self.store.clone(), self.ledger, last, Budget::unbounded()).await;
        let what = What::Tool(tool_stream(&references, name));
        match at.expect("the ledger is there").of(what, None).await {
            Ok(crate::State {
                state: Some(View::Tool(tool)),
                ..
            }) => tool,
            other => panic!("{other:?}"),
        }
    }

    async fn registered(&self, key: &str, provenance: Provenance, side_effect: SideEffectPolicy) {
        let mut context = self.crowd.context.with_key(key);
        context.provenance = provenance;
        let mut tool = RegisterTool::new("by_both", side_effect);
        tool.is_imported = provenance == Provenance::Imported;
        let done = self.crowd.commands.execute(&context, &tool).await;
        done.expect("it is registered");
    }
}

/// As the read model and the catalogue of commands have it.
#[tokio::test]
async fn what_an_import_said_of_a_tool_decides_nothing() {
    let world = World::of(1, 0).await;
    world
        .registered("import", Provenance::Imported, SideEffectPolicy::Pure)
        .await;
    let only_imported = world.tool("by_both").await;
    assert_eq!(
        (only_imported.side_effect, only_imported.decides),
        ("pure", false)
    );
    world
        .registered("admin", Provenance::Attested, SideEffectPolicy::Irreversible)
        .await;
    let decided = world.tool("by_both").await;
    assert_eq!((decided.side_effect, decided.decides), ("irreversible", true));
    // No import writes that behind an administrator; somebody who writes past the pipeline does.
    let records = world
        .store
        .read_ledger(world.ledger, only_imported.registered, 1)
        .await;
    let imported = records.expect("the ledger is read").remove(0);
    let bytes = imported.payload_bytes().expect("a payload").to_vec();
    let mut event = imported.leaf.event;
    event.event_id = EventId::v7(1, [9; 10]);
    let payload = Fragment::plain(&world.random, JSON, bytes).expect("it is small");
    let event = PreparedEvent {
        event,
        payload: vec![payload],
    };
    let request = AppendRequest::new(vec![], vec![event], vec![]).expect("one event");
    let appended = world.store.append(world.ledger, request).await;
    assert!(matches!(appended, Ok(AppendOutcome::Appended { .. })));
    assert_eq!(world.tool("by_both").await, decided);
}

/// The read model of effects says so from the same record on, and not when the turn ends.
#[tokio::test]
async fn a_call_that_policy_did_not_allow_never_runs_from_then_on() {
    let (world, lane, turn) = a_turn_that_is_worked_on().await;
    for (number, verdict, expected) in [
        (1, PolicyVerdict::Deny, Some("not_executed")),
        (2, PolicyVerdict::Transform, Some("not_executed")),
        (3, PolicyVerdict::Allow, None),
        (4, PolicyVerdict::RequireApproval, None),
    ] {
        let call = CallView {
            id: CallId::from_bytes([number; 16]),
            turn,
            tool: "refund".to_owned(),
            side_effect: "pure",
            gate: "closed",
            effect: None,
            attempts: 0,
            approval: None,
        };
        let effect = async || {
            let lanes = world.lanes().await;
            let mut calls = lanes.iter().flat_map(LaneView::calls);
            calls.find(|known| known.id == call.id).expect("the call").effect
        };
        let proposed = ToolProposed::new(call.tool.clone(), "{}".to_owned());
        world.forge(lane_stream(lane), turn, Some(&call), proposed).await;
        assert_eq!(effect().await, None, "{verdict:?} stands behind it");
        let digest = Digest([1; 32]);
        let point = InterventionPoint::PreToolCall;
        let evaluated = PolicyEvaluated::new("decision".to_owned(), point, verdict, digest, digest);
        world.forge(lane_stream(lane), turn, Some(&call), evaluated).await;
        assert_eq!(effect().await, expected, "{verdict:?}");
    }
}

async fn a_turn_that_is_worked_on() -> (World, LaneId, TurnId) {
    for seed in 1..40 {
        let world = World::of(seed, 120).await;
        let found = world.lanes().await.into_iter().find_map(|lane| {
            let turn = lane.turns.iter().find(|turn| turn.state == "processing")?.id;
            Some((lane.id, turn))
        });
        if let Some((lane, turn)) = found {
            return (world, lane, turn);
        }
    }
    panic!("no turn is worked on")
}
