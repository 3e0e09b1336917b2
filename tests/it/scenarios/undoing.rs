//! A newer message takes the place of a turn that did something.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Entry, Outside, Worker, World, lane};

/// A turn that has reserved two seats, and a message that takes its place.
fn superseded(world: &World, outside: &mut Outside) -> (Worker, [Value; 2]) {
    world.register("release_seat", "IDEMPOTENT", None);
    world.register("reserve_seat", "COMPENSATABLE", Some("release_seat"));
    let lane = lane("ann", "web");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "two seats, please");
    let seats = ["1A", "1B"].map(|seat| world.run(outside, &worker, "reserve_seat", seat));
    let newer = world.message(&lane, "m-2", "never mind");
    assert_ne!(newer["turnId"], worker.turn);
    let late = world.refused("commitTurn", &worker.held());
    assert_eq!(late["state"], "compensating", "{late}");
    (worker, seats)
}

fn of_kind<'r>(records: &'r [Entry], event: &str) -> Vec<&'r Entry> {
    records.iter().filter(|record| record.event == event).collect()
}

#[test]
fn a_02_a_superseded_turn_undoes_what_it_did_in_reverse_order() {
    let (world, mut outside) = (World::new(), Outside::default());
    let (worker, [first, second]) = superseded(&world, &mut outside);
    let undone = json!({ "compensated": { "compensationTool": "release_seat", "externalRef": "R-1" } });
    // Another order is refused, and nothing of it is recorded.
    let size = world.size();
    let early = json!({ "lane": worker.lane, "callId": first["callId"] });
    let refused = world.refused("startCompensation", &early);
    assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");
    let due = second["callId"].as_str().expect("a call");
    assert!(
        refused["message"]
            .as_str()
            .is_some_and(|words| words.contains(due)),
        "{refused}"
    );
    assert_eq!(world.size(), size);
    for call in [&second, &first] {
        assert_eq!(world.read_turn(&worker.turn)["status"], "COMPENSATING");
        let told = world.undo(&worker.lane, call, &undone);
        assert_eq!(told["state"], "COMPENSATED", "{told}");
    }
    assert_eq!(world.read_turn(&worker.turn)["status"], "SUPERSEDED");
    let once_more = json!({ "lane": worker.lane, "callId": second["callId"] });
    let refused = world.refused("startCompensation", &once_more);
    assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");

    let records = world.records();
    let requested = of_kind(&records, "turn.compensating");
    let effects = requested[0].payload["effects"].as_array().expect("effects");
    let reverse = [&second["callId"], &first["callId"]];
    let to_undo: Vec<&Value> = effects.iter().map(|effect| &effect["call_id"]).collect();
    assert_eq!(to_undo, reverse, "requested in reverse order");
    for event in ["tool.compensation_started", "tool.compensated"] {
        let calls = of_kind(&records, event).into_iter();
        let calls: Vec<&Value> = calls.map(|record| &record.call).collect();
        assert_eq!(calls, reverse, "{event}");
    }

    // The newer message has its turn, and what was undone may be done anew.
    let next = world.claim(&worker.lane);
    let state = "query ($id: ID!) { stateAt(of: { turn: $id }) { state } }";
    let state = world.read(state, &json!({ "id": next.turn }));
    let received = of_kind(&records, "message.received").into_iter();
    let received: Vec<&Value> = received.map(|record| &record.payload["message_id"]).collect();
    assert_eq!(
        state["stateAt"]["state"]["turn"]["messages"],
        json!(received),
        "the words of the turn before are its own: {state}"
    );
    assert_eq!(received.len(), 2);
    for (turn, texts) in [
        (&next.turn, json!(["two seats, please", "never mind"])),
        (&worker.turn, json!([])),
    ] {
        let messages = "query ($id: ID!) { turn(id: $id) { messages(first: 9) { nodes { role text } } } }";
        let read = world.read(messages, &json!({ "id": turn }));
        let nodes = read["turn"]["messages"]["nodes"].as_array().expect("messages");
        let said = nodes.iter().filter(|message| message["role"] == "USER");
        let said: Vec<&Value> = said.map(|message| &message["text"]).collect();
        assert_eq!(json!(said), texts, "so they are in the read models: {read}");
    }
    world.run(&mut outside, &next, "reserve_seat", "1A");
    world.commit(&next, "one seat it is");
    world.audit();
}

/// What the scenario calls dead letter and reviewer task is one record, and the list of effects that stand: nobody has
/// to look for the turn.
#[test]
fn a_02_what_five_tries_do_not_undo_is_a_persons_business() {
    let (world, mut outside) = (World::new(), Outside::default());
    let (worker, [first, second]) = superseded(&world, &mut outside);
    let mut states = Vec::new();
    for number in 1..=5 {
        let failed = json!({ "failed": { "errorType": "busy", "error": format!("try {number}") } });
        states.push(world.undo(&worker.lane, &second, &failed)["state"].take());
    }
    assert_eq!(states.pop(), Some(json!("COMPENSATION_FAILED")));
    assert!(
        states.iter().all(|state| state != "COMPENSATION_FAILED"),
        "{states:?}"
    );

    // The other effect does not stand because of it.
    assert_eq!(world.read_turn(&worker.turn)["status"], "COMPENSATING");
    let undone = json!({ "compensated": { "externalRef": "R-1" } });
    let told = world.undo(&worker.lane, &first, &undone);
    assert_eq!(told["state"], "COMPENSATED", "{told}");
    let turn = world.read_turn(&worker.turn);
    assert_eq!(
        (&turn["status"], &turn["errorType"]),
        (&json!("FAILED"), &json!("compensation_failed")),
        "{turn}"
    );
    let stands = json!([{ "tool": "reserve_seat", "status": "COMPENSATION_FAILED", "attempts": "1", "businessKey": "1B" }]);
    assert_eq!(world.effects(Some("COMPENSATION_FAILED")), stands);
    let records = world.records();
    assert_eq!(of_kind(&records, "tool.compensation_failed").len(), 5);
    let called = of_kind(&records, "infra.manual_intervention_required");
    let told = called
        .iter()
        .map(|record| (&record.payload["reason"], &record.call));
    let expected = (&json!("compensation_failed"), &second["callId"]);
    assert_eq!(told.collect::<Vec<_>>(), [expected]);

    let call = json!([{ "kind": "COMPENSATION_FAILED", "callId": second["callId"], "turnId": worker.turn,
        "settledBy": "resolveOutcome", "lane": { "interlocutor": "ann" },
        "effect": { "status": "COMPENSATION_FAILED" } }]);
    assert_eq!(world.interventions(), call);

    // The person who looked after it says so, and the effect is off the list.
    let looked = json!({ "lane": worker.lane, "callId": second["callId"], "outcome": "NOT_EXECUTED", "by": "alice",
        "evidence": "released by telephone" });
    world.done("resolveOutcome", &looked, "state position");
    assert_eq!(world.effects(Some("COMPENSATION_FAILED")), json!([]));
    assert_eq!(world.interventions(), json!([]));
    assert_eq!(world.read_turn(&worker.turn)["status"], "FAILED");

    // A sixth try is refused, and the message is not lost with the turn.
    let sixth = json!({ "lane": worker.lane, "callId": second["callId"] });
    assert_eq!(
        world.refused("startCompensation", &sixth)["code"],
        "ILLEGAL_TRANSITION"
    );
    let next = world.claim(&worker.lane);
    world.commit(&next, "a person looks after the seats");
    assert_eq!(world.read_turn(&next.turn)["status"], "COMMITTED");
    assert_ne!(first["callId"], second["callId"]);
    world.audit();
}

/// An irreversible call that was approved and run in the turn that the decision opened, and a message meanwhile.
fn charged_while_a_message_comes(channel: &str) -> (World, Vec<Entry>, Value) {
    let (world, mut outside) = (World::new(), Outside::default());
    world.register("charge_card", "IRREVERSIBLE", None);
    let lane = lane("ann", channel);
    world.session(&lane);
    world.message(&lane, "m-1", "buy it");
    world.pass(Duration::from_secs(11));
    let asking = world.claim(&lane);
    let call = world.propose(&asking, "charge_card", "order 7");
    assert_eq!(
        (&call["gate"], &call["sideEffect"]),
        (&json!("APPROVAL"), &json!("IRREVERSIBLE")),
        "{call}"
    );
    let early = world.refused("startEffect", &World::starting(&asking, &call));
    assert_eq!(early["code"], "ILLEGAL_TRANSITION", "unsigned: {early}");
    world.commit(&asking, "somebody has to agree");
    world.approve(&call, "charge_card", "order 7");
    let worker = world.claim(&lane);
    let started = world.start(&worker, &call);
    assert_eq!(
        started["permit"]["approvalId"], call["approval"]["id"],
        "{started}"
    );
    outside.execute("charge_card", &started);
    world.report(&worker, &started);

    let newer = world.message(&lane, "m-2", "wait, is it blue?");
    assert_ne!(newer["turnId"], worker.turn);
    assert_eq!(
        world.read_turn(&worker.turn)["status"],
        "PROCESSING",
        "not cancelled"
    );
    let committed = world.commit(&worker, "it is yours");
    assert_eq!(committed["turnId"], worker.turn);

    // The message is the next turn, and finds the charge.
    world.pass(Duration::from_secs(11));
    let next = world.claim(&lane);
    assert_eq!(next.turn, newer["turnId"]);
    let again = world.propose(&next, "charge_card", "order 7");
    assert_eq!(
        (&again["deduplicated"], &again["state"], &again["callId"]),
        (&json!(true), &json!("COMPLETED"), &call["callId"]),
        "{again}"
    );
    let answered = world.commit(&next, "it is blue");
    assert_eq!(answered["turnId"], next.turn);
    let charges =
        json!([{ "tool": "charge_card", "status": "COMPLETED", "attempts": "1", "businessKey": "order 7" }]);
    assert_eq!(world.effects(None), charges, "charged once");
    assert_eq!(outside.runs("charge_card"), (1, 1));
    assert_eq!(world.read_turn(&worker.turn)["status"], "COMMITTED");

    let records = world.records();
    let point = records
        .iter()
        .position(|record| record.event == "turn.commit_point_reached");
    assert_eq!(records[point.expect("a commit point")].call, call["callId"]);
    let at = newer["position"].as_str().expect("a position");
    let append = records
        .iter()
        .find(|record| record.position == at)
        .expect("a record");
    let append = append.append.clone();
    let (of_message, others): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.append == append);
    assert!(
        others.iter().all(|record| record.event != REFUSAL),
        "nothing else is refused"
    );
    (world, of_message, call["callId"].clone())
}

/// The record that a message could not take the place of a turn, and why.
const REFUSAL: &str = "turn.supersede_refused";

#[test]
fn a_01_a_turn_that_did_what_cannot_be_undone_is_not_superseded() {
    let (world, append, call) = charged_while_a_message_comes("web");
    let refused = of_kind(&append, REFUSAL);
    let told: Vec<_> = refused
        .iter()
        .map(|record| (&record.payload["commit_point"], &record.payload["call_id"]))
        .collect();
    assert_eq!(told, [(&json!("irreversible_effect"), &call)], "{append:?}");
    world.audit();
}

#[test]
fn a_01_a_channel_that_queues_refuses_nothing() {
    let (world, append, _) = charged_while_a_message_comes("whatsapp");
    let events: Vec<&str> = append.iter().map(|record| &*record.event).collect();
    assert_eq!(events, ["message.received", "turn.opened"]);
    world.audit();
}
