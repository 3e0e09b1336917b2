//! Nobody knows how an effect came out, and its worker lives: a person is called all the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Worker, World, lane};

fn asked(world: &World, tool: &str, side_effect: &str, timeout_ms: Option<&str>) -> (Worker, Value) {
    let mut tool_input = json!({ "name": tool, "sideEffect": side_effect, "timeoutMs": timeout_ms });
    tool_input["argumentSchema"] = json!({ "type": "object" });
    world.done("registerTool", &tool_input, "position");
    let lane = lane("ann", "api");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "do it");
    let call = world.propose(&worker, tool, "order 7");
    if call["gate"] == "APPROVAL" {
        world.approve(&call, tool, "order 7");
    }
    (worker.clone(), world.start(&worker, &call))
}

fn unknown(worker: &Worker, started: &Value) -> Value {
    let mut input = World::reporting(worker, started, &started["permit"]["position"]);
    input["outcome"] = json!({ "unknown": { "cause": "connection lost" } });
    input
}

fn doubt(worker: &Worker, started: &Value) -> Value {
    json!([{ "kind": "OUTCOME_UNKNOWN", "callId": started["callId"], "turnId": worker.turn,
        "settledBy": "resolveOutcome", "lane": { "interlocutor": "ann" },
        "effect": { "status": "OUTCOME_UNKNOWN" } }])
}

fn resolve(world: &World, worker: &Worker, started: &Value) {
    let found = json!({ "lane": worker.lane, "callId": started["callId"], "outcome": "COMPLETED", "by": "alice",
        "evidence": "statement of the bank" });
    world.done("resolveOutcome", &found, "state position");
    assert_eq!(world.interventions(), json!([]), "a person settled it");
}

/// What the tool answers a worker that is told to see a person.
#[track_caller]
fn too_late(world: &World, worker: &Worker, started: &Value) {
    let size = world.size();
    let late = World::reporting(worker, started, &started["permit"]["position"]);
    let refused = world.refused("reportEffect", &late);
    let words = refused["message"].as_str().expect("words");
    assert!(
        words.contains("resolveOutcome") && words.contains("processing"),
        "{words}"
    );
    assert_eq!(world.size(), size);
}

#[test]
fn a_person_is_called_for_an_outcome_that_a_worker_which_lives_does_not_know() {
    let world = World::new();
    let (worker, started) = asked(&world, "charge_card", "IRREVERSIBLE", None);
    assert_eq!(world.interventions(), json!([]));
    world.done("reportEffect", &unknown(&worker, &started), "state");
    world.done("heartbeatTurn", &worker.held(), "position");
    assert_eq!(world.read_turn(&worker.turn)["status"], "PROCESSING");
    assert_eq!(world.interventions(), doubt(&worker, &started));
    too_late(&world, &worker, &started);
    let mut commit = worker.held();
    (commit["outcome"], commit["response"]) = (json!("ANSWERED"), json!({ "text": "paid" }));
    assert_eq!(world.refused("commitTurn", &commit)["code"], "ILLEGAL_TRANSITION");

    // The turn comes to wait for the person in the end, who is not called twice.
    let mut failed = worker.held();
    (failed["errorType"], failed["retryable"]) = (json!("model_failed"), json!(true));
    world.done("failTurn", &failed, "position");
    assert_eq!(world.interventions(), doubt(&worker, &started));
    resolve(&world, &worker, &started);
    let next = world.claim(&worker.lane);
    world.commit(&next, "paid");
    world.audit();
}

#[test]
fn a_person_is_called_for_a_call_that_runs_past_its_time() {
    let world = World::new();
    let (worker, started) = asked(&world, "charge_card", "IRREVERSIBLE", Some("5000"));
    world.pass(Duration::from_secs(6));
    // Something happens: whoever tends the ledger looks what is due.
    let elsewhere = lane("eve", "api");
    world.session(&elsewhere);
    world.message(&elsewhere, "m-1", "hello");
    let called = doubt(&worker, &started);
    world.until("a person is called", || world.interventions() == called);
    assert_eq!(world.read_turn(&worker.turn)["status"], "PROCESSING");
    too_late(&world, &worker, &started);
    resolve(&world, &worker, &started);
    world.commit(&worker, "paid");
    world.audit();
}

#[test]
fn a_person_is_called_for_an_idempotent_effect_that_a_turn_left_in_doubt() {
    let world = World::new();
    let (worker, started) = asked(&world, "create_ticket", "IDEMPOTENT", None);
    world.done("reportEffect", &unknown(&worker, &started), "state");
    assert_eq!(world.interventions(), json!([]), "it may run again");
    let mut failed = worker.held();
    (failed["errorType"], failed["retryable"]) = (json!("model_failed"), json!(false));
    world.done("failTurn", &failed, "position");
    assert_eq!(world.read_turn(&worker.turn)["status"], "FAILED");
    assert_eq!(world.interventions(), doubt(&worker, &started));
    resolve(&world, &worker, &started);
    world.audit();
}

#[test]
fn a_person_settles_an_outcome_and_revokes_a_key_from_the_command_line() {
    let world = World::new();
    let (worker, started) = asked(&world, "charge_card", "IRREVERSIBLE", None);
    world.done("reportEffect", &unknown(&worker, &started), "state");
    assert_eq!(world.interventions(), doubt(&worker, &started));
    let (admin, desk) = (world.admin(), world.desk());
    let call = started["callId"].as_str().expect("an id");
    let resolve = |call: &str, key: &str| {
        let found = [
            "--outcome",
            "completed",
            "--evidence",
            "statement of the bank",
            "--by",
            "alice",
        ];
        let server = ["--server", &admin.url, "--key", key];
        let line = [&["interventions", "resolve", call][..], &found, &server].concat();
        world.home.end_of(&line).expect("it ends")
    };
    let forbidden = resolve(call, &desk.key);
    assert_ne!(forbidden.code, Some(0));
    assert!(forbidden.said.contains("admin"), "{}", forbidden.said);
    let unknown = resolve("01890000-0000-7000-8000-000000000000", &admin.key);
    assert!(unknown.said.contains("ruche interventions"), "{}", unknown.said);
    for duplicate in [false, true] {
        let told = resolve(call, &admin.key);
        assert_eq!(
            (&told.json["callId"], &told.json["state"], &told.json["duplicate"]),
            (&json!(call), &json!("COMPLETED"), &json!(duplicate)),
            "{}",
            told.said
        );
        assert_eq!(world.interventions(), json!([]), "the read models have caught up");
    }
    world.commit(&worker, "paid");

    let keys = "{ reviewerKeys { nodes { keyId revokedPosition } } }";
    let registered = admin.ask(keys, Value::Null);
    let key_id = registered["reviewerKeys"]["nodes"][0]["keyId"]
        .as_str()
        .expect("an id");
    let revoke = |id: &str| {
        let what = ["keys", "reviewer", "revoke", id, "--reason", "left"];
        let server = ["--server", &admin.url, "--key", &admin.key];
        world
            .home
            .end_of(&[&what[..], &server].concat())
            .expect("it ends")
    };
    let told = revoke(key_id);
    let revoked = (&told.json["keyId"], &told.json["unchanged"]);
    assert_eq!(revoked, (&json!(key_id), &json!(false)), "{}", told.said);
    let strange = revoke(&"0".repeat(64));
    assert!(strange.said.contains("reviewerKeys"), "{}", strange.said);
    world.until("the read models have it", || {
        admin.ask(keys, Value::Null)["reviewerKeys"]["nodes"][0]["revokedPosition"] == told.json["position"]
    });
    world.audit();
}
