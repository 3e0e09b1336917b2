//! An effect that is recorded is not done again, for as long as that is promised.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Outside, World, lane};

const HOUR: Duration = Duration::from_secs(3_600);
const TOOL: &str = "create_ticket";

#[test]
fn a_03_a_turn_that_takes_the_place_of_another_reuses_its_effect_for_a_day() {
    let (world, mut outside) = (World::new(), Outside::default());
    world.register(TOOL, "IDEMPOTENT", None);
    let lane = lane("ann", "web");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "it is broken");
    let first = world.run(&mut outside, &worker, TOOL, "order 7");
    let newer = world.turn(&lane, "m-2", "really broken");
    assert_eq!(world.read_turn(&worker.turn)["status"], "SUPERSEDED");

    let same = |worker, when: &str| {
        let size = world.size();
        let again = world.propose(worker, TOOL, "order 7");
        assert_eq!(
            (
                &again["deduplicated"],
                &again["state"],
                &again["result"],
                &again["callId"]
            ),
            (
                &json!(true),
                &json!("COMPLETED"),
                &json!("done"),
                &first["callId"]
            ),
            "{when}: {again}"
        );
        let started = world.start(worker, &again);
        assert_eq!(started["deduplicated"], true, "no leave to run it: {started}");
        assert_eq!(world.size(), size, "{when}: nothing is written");
    };
    same(&newer, "at once");
    // The worker that asks so late has taken the turn over: nothing that it knows is older than its lease.
    world.pass(24 * HOUR - Duration::from_secs(60));
    let late = world.claim(&lane);
    assert_eq!(late.turn, newer.turn);
    same(&late, "a minute before the day is over");
    assert_eq!(outside.runs(TOOL), (1, 1), "the tool was not called again");

    world.pass(Duration::from_secs(61));
    let late = world.claim(&lane);
    let anew = world.run(&mut outside, &late, TOOL, "order 7");
    assert_ne!(anew["callId"], first["callId"]);
    assert_eq!(
        outside.runs(TOOL),
        (2, 2),
        "called anew, under a key that the tool does not answer with what is gone"
    );
    world.commit(&late, "there is a ticket");
    world.audit();
}

/// People have a day to decide (`approval_us`), and a call that they decide on holds its key all that time; once it is
/// done, its own time begins.
#[test]
fn a_03_a_key_does_not_lapse_while_people_decide() {
    let (world, mut outside) = (World::new(), Outside::default());
    world.register("charge_card", "IRREVERSIBLE", None);
    let lane = lane("ann", "email");
    world.session(&lane);
    let asking = world.turn(&lane, "m-1", "buy it");
    let call = world.propose(&asking, "charge_card", "order 7");
    world.commit(&asking, "somebody has to agree");
    let same = |id: &str, state: Value| {
        let worker = world.turn(&lane, id, "and?");
        let again = world.propose(&worker, "charge_card", "order 7");
        assert_eq!(
            (&again["deduplicated"], &again["state"], &again["callId"]),
            (&json!(true), &state, &call["callId"]),
            "{id}: {again}"
        );
        world.commit(&worker, "so it stands");
    };
    world.pass(24 * HOUR - Duration::from_secs(60));
    assert_eq!(world.effects(None)[0]["status"], "DEFERRED", "nobody decided yet");
    same("m-2", call["state"].clone());

    world.approve(&call, "charge_card", "order 7");
    let worker = world.claim(&lane);
    let started = world.start(&worker, &call);
    outside.execute("charge_card", &started);
    world.report(&worker, &started);
    world.commit(&worker, "it is yours");
    for (id, hours) in [("m-3", 23), ("m-4", 24 * 30)] {
        world.pass(HOUR * hours);
        same(id, json!("COMPLETED"));
    }
    assert_eq!(outside.runs("charge_card"), (1, 1));
    world.audit();
}
