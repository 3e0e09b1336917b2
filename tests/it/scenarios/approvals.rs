//! What was signed runs, once, and an auditor sees why. How a reviewer sees it on the command line: `reviewing.rs`.

use serde_json::{Value, json};

use super::world::{Outside, World, lane};
use crate::approvals::script;

/// How sure the agent is, and what a policy makes of it, come with policies. On a channel whose turns wait for people, and
/// on one where the decision opens a turn of its own.
#[test]
fn a_09_what_was_signed_runs_once_and_an_auditor_sees_why() {
    signed_and_run_once("api", "awaiting_approval");
    signed_and_run_once("web", "processing");
}

fn signed_and_run_once(channel: &str, meanwhile: &str) {
    let (world, mut outside) = (World::new(), Outside::default());
    world.register("deploy", "IRREVERSIBLE", None);
    let lane = lane("ann", channel);
    world.session(&lane);
    let mut worker = world.turn(&lane, "m-1", "ship it");
    let call = world.propose(&worker, "deploy", "build 7");
    assert_eq!(call["gate"], "APPROVAL", "{call}");
    let early = world.refused("startEffect", &World::starting(&worker, &call));
    assert_eq!(
        (&early["code"], &early["state"]),
        (&json!("ILLEGAL_TRANSITION"), &json!(meanwhile))
    );
    if channel == "web" {
        world.commit(&worker, "somebody has to agree");
    }
    world.approve(&call, "deploy", "build 7");
    if channel == "web" {
        worker = world.claim(&lane);
    }
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
    judge_records(&world, &call, channel);

    let closed = world.closed();
    let report = closed.audit();
    assert_eq!(
        report["proposed_and_not_run"]["total"],
        Value::from(0),
        "{report}"
    );
    let (export, key) = closed.export();
    let export = export.to_str().expect("a path in UTF-8");
    let approval = call["approval"]["id"].as_str().expect("an id");
    let told = script(export, approval, &key).expect("it verifies");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["outcome"], &told["reviewer"], &told["arguments"]),
        (&json!("used"), &json!("alice"), &json!(r#"{"key":"build 7"}"#)),
        "{told}"
    );
}

/// What an auditor reads: each step has its record, in order, and what belongs together came in one append.
fn judge_records(world: &World, call: &Value, channel: &str) {
    let records = world.records();
    let families = ["tool.", "policy.", "approval."];
    let told = records.iter().filter(|record| {
        record.call == call["callId"] && families.iter().any(|family| record.event.starts_with(family))
    });
    let told: Vec<&str> = told.map(|record| &*record.event).collect();
    // A start that nobody signed is recorded, whether the turn waits for the signature or went on without the call.
    let early: &[&str] = if channel == "web" {
        &["tool.deferred", "tool.start_refused"]
    } else {
        &["tool.start_refused"]
    };
    let before = ["tool.proposed", "policy.evaluated", "approval.requested"];
    let after = [
        "approval.voted",
        "approval.resolved",
        "approval.consumed",
        "tool.started",
        "tool.completed",
    ];
    assert_eq!(told, [&before, early, &after].concat(), "{channel}");
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
    let digest = &found("approval.requested").payload["action_digest"];
    assert!(digest.is_string());
    for event in ["policy.evaluated", "approval.voted", "approval.consumed"] {
        assert_eq!(&found(event).payload["action_digest"], digest, "{event}");
    }
    assert_eq!(found("approval.resolved").payload["outcome"], "approved");
}
