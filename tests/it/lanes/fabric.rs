//! What happens in lanes with nobody asking, and workers that ask for an agent and not for a lane.

use super::*;

impl World {
    fn lanes(&self) -> Vec<Value> {
        let query =
            "query { lanes(filter: { busy: true }, first: 100) { nodes { name { interlocutor channel } depth
            oldestAt dueAt holder { turnId state } } } }";
        let nodes = self.ask(query, json!({}))["lanes"]["nodes"].take();
        nodes.as_array().cloned().expect("a list")
    }

    /// Asks for the lanes until they are as they should be.
    #[track_caller]
    fn until(&self, what: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + STATE_WAIT_MAX;
        loop {
            let lanes = self.lanes();
            if fits(&lanes) {
                return lanes;
            }
            assert!(Instant::now() < deadline, "{what}: {lanes:?}");
            std::thread::yield_now();
        }
    }

    /// How many records of a type the ledger has, up to a position.
    fn count(&self, event_type: &str, position: &Value) -> String {
        let query = "query ($p: Position) { ledger { health(minPosition: $p) { byType { eventType holdings { records } } } } }";
        let types = self.ask(query, json!({ "p": position }))["ledger"]["health"]["byType"].take();
        let types = types.as_array().cloned().expect("a list");
        let found = types.iter().find(|of| of["eventType"] == event_type);
        found.map_or_else(
            || "0".to_owned(),
            |of| of["holdings"]["records"].as_str().expect("a number").to_owned(),
        )
    }
}

#[test]
fn a_window_closes_by_itself_and_a_worker_of_the_agent_gets_the_turn() {
    let (world, lane) = (World::on("web"), lane("web"));
    let first = world.message("m-1", "c-1", "hello", &lane);
    for n in 2..=4 {
        let next = world.message(&format!("m-{n}"), &format!("c-{n}"), "and", &lane);
        assert_eq!(next["turnId"], first["turnId"], "{next}");
    }
    let ready = world.until("the window closes, though nobody claims", |lanes| {
        lanes.len() == 1 && lanes[0]["holder"]["state"] == "READY"
    });
    assert_eq!(ready[0]["depth"], "1");
    assert_eq!(ready[0]["holder"]["turnId"], first["turnId"]);
    let claim = world.work("claim");
    assert_eq!((&claim["turnId"], &claim["lane"]), (&first["turnId"], &lane));
    let again = world.work("claim");
    assert_eq!(
        (&again["duplicate"], &again["lease"], &again["lane"]),
        (&json!(true), &claim["lease"], &lane)
    );
    let held = world.until("a worker has it", |lanes| {
        lanes[0]["holder"]["state"] == "PROCESSING"
    });
    assert_eq!(
        (&held[0]["depth"], &held[0]["oldestAt"]),
        (&json!("0"), &Value::Null)
    );
    assert!(!held[0]["dueAt"].is_null(), "a lease lapses");
    let done = world.sent("commitTurn", "commit", super::held(&claim, &lane), "position");
    world.until("nothing is left", <[Value]>::is_empty);
    assert_eq!(world.count("turn.sealed", &done["position"]), "1");
    let mut both = json!({ "lane": lane, "agent": "shop" });
    let refused = world.mutate("claimTurn", "both", both.take(), "turnId");
    assert_eq!(refused["code"], "INVALID_INPUT", "{refused}");
    world.audit();
}
