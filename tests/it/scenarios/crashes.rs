//! The server and the worker die when a tool has run and nobody has said so.

use serde_json::{Value, json};

use super::world::{LEASE, Outside, Worker, World, lane};

/// A call that runs outside when the node that let it start is killed, and its worker with it. The lease is over when
/// there is a node again.
fn killed_after_the_call(world: &mut World, outside: &mut Outside, tool: &str) -> (Worker, Value) {
    let lane = lane("ann", "api");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "do it");
    let call = world.propose(&worker, tool, "order 7");
    without_a_permit(world, &worker, &call);
    if call["gate"] == "APPROVAL" {
        world.approve(&call, tool, "order 7");
    }
    let started = world.start(&worker, &call);
    assert_eq!(started["permit"]["attempt"], "1", "{started}");
    outside.execute(tool, &started);
    world.kill_a_node();
    world.pass(LEASE);
    world.start_node();
    (worker, started)
}

/// Nobody reports an effect that was not let start, under whatever permit.
fn without_a_permit(world: &World, worker: &Worker, call: &Value) {
    let size = world.size();
    for permit in [&call["position"], &json!("1:0"), &json!("1:4000000000")] {
        let refused = world.refused("reportEffect", &World::reporting(worker, call, permit));
        assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");
    }
    assert_eq!(world.size(), size, "nothing is written");
}

#[test]
fn a_15_an_idempotent_effect_in_doubt_is_tried_again_under_its_key() {
    let (mut world, mut outside) = (World::new(), Outside::default());
    world.register("create_ticket", "IDEMPOTENT", None);
    let (dead, first) = killed_after_the_call(&mut world, &mut outside, "create_ticket");

    let worker = world.claim(&dead.lane);
    assert_eq!((&worker.turn, &worker.lease["epoch"]), (&dead.turn, &json!("2")));
    let doubt = json!([{ "tool": "create_ticket", "status": "OUTCOME_UNKNOWN", "attempts": "1",
        "businessKey": "order 7" }]);
    assert_eq!(world.effects(Some("OUTCOME_UNKNOWN")), doubt, "shown to people");
    let late = world.refused(
        "reportEffect",
        &World::reporting(&dead, &first, &first["permit"]["position"]),
    );
    assert_eq!(late["path"], json!(["lease"]), "the dead worker wakes up: {late}");

    let found = world.propose(&worker, "create_ticket", "order 7");
    assert_eq!(
        (&found["deduplicated"], &found["state"], &found["callId"]),
        (&json!(true), &json!("OUTCOME_UNKNOWN"), &first["callId"]),
        "{found}"
    );
    let again = world.start(&worker, &found);
    assert_eq!(
        (&again["permit"]["attempt"], &again["permit"]["effectKey"]),
        (&json!("2"), &first["permit"]["effectKey"]),
        "{again}"
    );
    outside.execute("create_ticket", &again);
    let stale = World::reporting(&worker, &first, &first["permit"]["position"]);
    assert_eq!(world.refused("reportEffect", &stale)["path"], json!(["permit"]));
    assert_eq!(world.report(&worker, &again)["state"], "COMPLETED");
    world.commit(&worker, "there is a ticket");
    assert_eq!(
        outside.runs("create_ticket"),
        (2, 1),
        "asked for twice, made once"
    );
    let done = json!([{ "tool": "create_ticket", "status": "COMPLETED", "attempts": "2", "businessKey": "order 7" }]);
    assert_eq!(world.effects(None), done);
    world.audit();
}

#[test]
fn a_15_an_irreversible_effect_in_doubt_waits_for_a_person() {
    let (mut world, mut outside) = (World::new(), Outside::default());
    world.register("charge_card", "IRREVERSIBLE", None);
    let (dead, first) = killed_after_the_call(&mut world, &mut outside, "charge_card");
    // Something happens elsewhere: whoever tends the ledger looks what is due. It would find it by itself, later.
    let elsewhere = lane("eve", "api");
    world.session(&elsewhere);
    world.message(&elsewhere, "m-1", "hello");

    let holder = || {
        let query = "{ lanes(filter: { busy: true }, first: 10) { nodes { name { interlocutor } holder { turnId state } } } }";
        let mut lanes = world.read(query, &Value::Null)["lanes"]["nodes"].take();
        let lanes = lanes.as_array_mut().expect("lanes");
        let of_ann = lanes
            .iter_mut()
            .find(|lane| lane["name"]["interlocutor"] == "ann");
        of_ann.map(|lane| lane["holder"].take()).unwrap_or_default()
    };
    let waits = json!({ "turnId": dead.turn, "state": "AWAITING_APPROVAL" });
    world.until("the turn waits", || holder() == waits);
    let doubt = json!([{ "tool": "charge_card", "status": "OUTCOME_UNKNOWN", "attempts": "1",
        "businessKey": "order 7" }]);
    assert_eq!(world.effects(Some("OUTCOME_UNKNOWN")), doubt, "shown to people");
    let records = world.records();
    let called: Vec<_> = records
        .iter()
        .filter(|record| record.event == "infra.manual_intervention_required")
        .map(|record| (&record.payload["reason"], &record.turn))
        .collect();
    assert_eq!(called, [(&json!("outcome_unknown"), &dead.turn)]);

    // Whoever decides on calls sees it, too, and what to do.
    let desk = world.desk();
    let list = ["interventions", "--server", &desk.url, "--key", &desk.key];
    let listed = world.home.run(&list).expect("a list");
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["callId"], &listed[0]["settledBy"]),
        (
            &json!("OUTCOME_UNKNOWN"),
            &first["callId"],
            &json!("resolveOutcome")
        ),
        "{listed}"
    );
    let advice = listed[0]["advice"].as_str().expect("words");
    assert!(advice.contains("resolveOutcome"), "{advice}");

    // Nobody gets the turn, and nobody gets the call started again.
    let size = world.size();
    let claim = world.refused("claimTurn", &json!({ "lane": dead.lane }));
    assert_eq!(claim["code"], "ILLEGAL_TRANSITION", "{claim}");
    let again = world.refused("startEffect", &World::starting(&dead, &first));
    assert_eq!(again["code"], "ILLEGAL_TRANSITION", "{again}");
    assert_eq!(world.size(), size);

    // What the list of effects says is all that it takes.
    let query =
        "{ effects(filter: { status: OUTCOME_UNKNOWN }, first: 10) { nodes { callId laneId turn { laneId }
        lane { agent interlocutor channel thread } } } }";
    let seen = world.read(query, &Value::Null)["effects"]["nodes"][0].take();
    assert_eq!(
        (&seen["callId"], &seen["laneId"]),
        (&first["callId"], &seen["turn"]["laneId"]),
        "{seen}"
    );
    let of_lane = "query ($id: ID) { effects(filter: { laneId: $id }, first: 10) { nodes { callId } }
        turns(filter: { laneId: $id }, first: 10) { nodes { id } } }";
    let of_lane = world.read(of_lane, &json!({ "id": seen["laneId"] }));
    assert_eq!(
        of_lane,
        json!({ "effects": { "nodes": [{ "callId": first["callId"] }] }, "turns": { "nodes": [{ "id": dead.turn }] } })
    );
    let found = json!({ "lane": seen["lane"], "callId": seen["callId"], "outcome": "COMPLETED", "by": "alice",
        "evidence": "statement of the bank" });
    let mut unproven = found.clone();
    unproven["evidence"] = json!("");
    assert_eq!(
        world.refused("resolveOutcome", &unproven)["code"],
        "INVALID_INPUT"
    );
    let said = world.done("resolveOutcome", &found, "state receipts { position }");
    let said = said["receipts"][0]["position"].clone();
    assert_eq!(world.interventions(), json!([]), "a person settled it");
    let query = "{ effects(first: 10) { nodes { status assertedBy claimedBy evidence } } }";
    let mut effect = world.read(query, &Value::Null)["effects"]["nodes"][0].take();
    let asserted_by = effect["assertedBy"].take();
    let query = "query ($p: Position!) { record(position: $p) { type actor { reference } } }";
    let record = world.agent().ask(query, json!({ "p": said }))["record"].take();
    assert_eq!(
        (&record["type"], &record["actor"]["reference"]),
        (&json!("tool.outcome_asserted"), &asserted_by),
        "the credential, and not who it is said to be"
    );
    assert_eq!(
        effect,
        json!({ "status": "COMPLETED", "assertedBy": null, "claimedBy": "alice", "evidence": "statement of the bank" })
    );
    let worker = world.claim(&dead.lane);
    assert_eq!((&worker.turn, &worker.lease["epoch"]), (&dead.turn, &json!("2")));
    let known = world.propose(&worker, "charge_card", "order 7");
    assert_eq!(
        (&known["deduplicated"], &known["state"], &known["callId"]),
        (&json!(true), &json!("COMPLETED"), &first["callId"]),
        "{known}"
    );
    let again = world.start(&worker, &known);
    assert_eq!(
        (
            &again["deduplicated"],
            &again["state"],
            &again["permit"]["attempt"]
        ),
        (&json!(true), &json!("COMPLETED"), &json!("1")),
        "the permit of the first start, and no leave to run it: {again}"
    );
    world.commit(&worker, "it is yours");
    assert_eq!(outside.runs("charge_card"), (1, 1));
    let done =
        json!([{ "tool": "charge_card", "status": "COMPLETED", "attempts": "1", "businessKey": "order 7" }]);
    assert_eq!(world.effects(None), done);
    let report = world.audit();
    let of_person = &report["outcomes_asserted"];
    assert_eq!(
        (&of_person["total"], &of_person["outcomes"]),
        (&json!(1), &json!([{ "position": said, "call": first["callId"] }])),
        "{report}"
    );
}

/// The dead letter: its message is sent again, and a person says so. The list of what people are called for is empty then.
#[test]
fn a_turn_whose_attempts_are_used_up_is_looked_after() {
    let (world, lane) = (World::new(), lane("ann", "api"));
    world.session(&lane);
    let mut worker = world.turn(&lane, "m-1", "do it");
    for attempt in 1..=3 {
        let mut fail = worker.held();
        (fail["errorType"], fail["retryable"]) = (json!("model_down"), json!(true));
        world.done("failTurn", &fail, "position");
        if attempt < 3 {
            world.pass(LEASE);
            worker = world.claim(&lane);
        }
    }
    let called = json!([{ "kind": "ATTEMPTS_USED_UP", "callId": null, "turnId": worker.turn,
        "settledBy": "settleIntervention", "lane": { "interlocutor": "ann" }, "effect": null }]);
    assert_eq!(world.interventions(), called);
    let again = world.turn(&lane, "m-1-again", "do it");
    let early = json!({ "lane": lane, "turnId": again.turn, "by": "alice", "reason": "sent again" });
    assert_eq!(
        world.refused("settleIntervention", &early)["code"],
        "ILLEGAL_TRANSITION"
    );
    let admin = world.admin();
    let settle = |turn: &str, reason: &str| {
        let what = [
            "interventions",
            "settle",
            turn,
            "--by",
            "alice",
            "--reason",
            reason,
        ];
        let server = ["--server", &admin.url, "--key", &admin.key];
        world
            .home
            .end_of(&[&what[..], &server].concat())
            .expect("it ends")
    };
    let strange = settle("01890000-0000-7000-8000-000000000000", "sent again");
    assert!(strange.said.contains("ruche interventions"), "{}", strange.said);
    let turn = worker.turn.as_str().expect("an id");
    // The second is of a person who did not get the first answer, the third of one who says it in other words.
    let told = ["sent again", "sent again", "in other words"].map(|reason| {
        let told = settle(turn, reason);
        assert_eq!(told.json["turnId"], turn, "{}", told.said);
        assert_eq!(world.interventions(), json!([]), "the read models have caught up");
        told.json
    });
    let so = |told: &Value| (told["duplicate"].clone(), told["unchanged"].clone());
    let [first, second, third] = &told;
    assert_eq!(so(first), (json!(false), json!(false)));
    assert_eq!(so(second), (json!(true), json!(false)));
    assert_eq!(so(third), (json!(false), json!(true)));
    assert!(
        told.iter().all(|one| one["position"] == first["position"]),
        "{told:?}"
    );
    world.commit(&again, "done");
    world.audit();
}
