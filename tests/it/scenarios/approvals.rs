//! A signature before what cannot be undone. How a reviewer sees it on the command line: `tests/it/approvals.rs`.

use serde_json::{Value, json};

use super::world::{Outside, World, lane};

/// How sure the agent is, and what a policy makes of it, come with policies.
#[test]
fn a_09_what_was_signed_runs_once_and_an_auditor_sees_why() {
    let (world, mut outside) = (World::new(), Outside::default());
    world.register("deploy", "IRREVERSIBLE", None);
    let lane = lane("ann", "api");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "ship it");
    let call = world.propose(&worker, "deploy", "build 7");
    assert_eq!(call["gate"], "APPROVAL", "{call}");
    let early = world.refused("startEffect", &World::starting(&worker, &call));
    assert_eq!(
        (&early["code"], &early["state"]),
        (&json!("ILLEGAL_TRANSITION"), &json!("awaiting_approval"))
    );
    world.approve(&call, "deploy", "build 7");
    let started = world.start(&worker, &call);
    assert_eq!(
        started["permit"]["approvalId"], call["approval"]["id"],
        "{started}"
    );
    outside.execute("deploy", &started);
    let reported = world.report(&worker, &started);
    assert_eq!(reported["state"], "COMPLETED", "{reported}");
    let size = world.size();
    let twice = world.start(&worker, &call);
    assert_eq!(
        (&twice["deduplicated"], &twice["state"]),
        (&json!(true), &json!("COMPLETED")),
        "an approval is used once: {twice}"
    );
    assert_eq!(world.size(), size, "nothing was started");
    world.commit(&worker, "shipped");
    assert_eq!(outside.runs("deploy"), (1, 1));

    let records = world.records();
    let families = ["tool.", "policy.", "approval."];
    let told = records.iter().filter(|record| {
        record.call == call["callId"] && families.iter().any(|family| record.event.starts_with(family))
    });
    let told: Vec<&str> = told.map(|record| &*record.event).collect();
    let expected = [
        "tool.proposed",
        "policy.evaluated",
        "approval.requested",
        "approval.voted",
        "approval.resolved",
        "approval.consumed",
        "tool.started",
        "tool.completed",
    ];
    assert_eq!(told, expected);
    let found = |event: &str| {
        records
            .iter()
            .find(|record| record.event == event)
            .expect("a record")
    };
    assert_eq!(
        found("approval.consumed").append,
        found("tool.started").append,
        "in one append"
    );
    assert_eq!(found("approval.voted").append, found("approval.resolved").append);
    assert!(!found("approval.voted").payload["signature"].is_null());
    let report = world.audit();
    assert_eq!(
        report["proposed_and_not_run"]["total"],
        Value::from(0),
        "{report}"
    );
}
