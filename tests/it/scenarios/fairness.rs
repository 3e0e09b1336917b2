//! Who writes much does not keep those waiting who write little.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use super::world::{Worker, World, lane};

const BUSY: usize = 500;
const OTHERS: usize = 20;
const WORKERS: usize = 4;
/// The others are served before this turn of the busy lane.
const BOUND: usize = 30;
/// Turns that are served then: the others have to be among them, whatever the busy lane gets.
const SERVED: usize = OTHERS + BOUND - 2;

#[test]
fn a_08_a_busy_lane_does_not_keep_others_waiting() {
    let world = World::new();
    let busy = lane("ann", "api");
    world.session(&busy);
    for n in 0..BUSY {
        world.message(&busy, &n.to_string(), "and another thing");
    }
    for n in 0..OTHERS {
        let other = lane(&format!("person {n}"), "api");
        world.session(&other);
        world.message(&other, "0", "hello");
    }
    // From here on the next turn of the busy lane is the last that got ready.
    let first = world.claim(&busy);
    world.commit(&first, "noted");
    // One after the other: so the busy lane has a turn ready whenever somebody asks, and could get every one.
    let served = Mutex::new(0);
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (world, served) = (&world, &served);
            scope.spawn(move || {
                loop {
                    let mut served = served.lock().expect("nobody panics with it");
                    if *served == SERVED {
                        return;
                    }
                    serve(world, &format!("claim {served} by {worker}"));
                    *served += 1;
                }
            });
        }
    });

    // The messages of a lane in the order in which they came, with their turns, and the turns as they began.
    let records = world.records();
    let of_event = |event: &str| -> Vec<Value> {
        let found = records.iter().filter(|record| record.event == event);
        found.map(|record| record.turn.clone()).collect()
    };
    let received = of_event("message.received");
    let place: HashMap<String, usize> = (0..)
        .zip(&received)
        .map(|(n, turn)| (turn.to_string(), n))
        .collect();
    let began: Vec<usize> = of_event("turn.started")
        .iter()
        .map(|turn| place[&turn.to_string()])
        .collect();
    let of_busy: Vec<usize> = began.iter().copied().filter(|place| *place < BUSY).collect();
    assert!(
        of_busy.iter().copied().eq(0..of_busy.len()),
        "in order: {of_busy:?}"
    );
    assert_eq!(
        began.len() - of_busy.len(),
        OTHERS,
        "each of the others, once: {began:?}"
    );
    assert_eq!(of_busy.len(), BOUND - 1, "before the busy lane's turn {BOUND}");
    world.audit();
}

/// Workers of one agent that ask at the same time, more of them than one claim looks at lanes.
const REPLICAS: usize = 40;

#[test]
fn workers_of_one_agent_that_claim_together_get_a_lane_each() {
    let world = World::new();
    let lanes: Vec<Value> = (0..REPLICAS)
        .map(|n| lane(&format!("person {n}"), "api"))
        .collect();
    for lane in &lanes {
        world.session(lane);
    }
    // First there is a turn for each, then all wait for turns that get ready one by one.
    for round in ["here", "coming"] {
        let write = || {
            for lane in &lanes {
                world.message(lane, round, "hello");
            }
        };
        if round == "here" {
            write();
        }
        thread::scope(|scope| {
            for worker in 0..REPLICAS {
                let world = &world;
                scope.spawn(move || serve(world, &format!("claim {round} by {worker}")));
            }
            if round == "coming" {
                write();
            }
        });
    }
    let records = world.records();
    for event in ["turn.started", "turn.committed"] {
        let found = records.iter().filter(|record| record.event == event);
        let turns: HashSet<String> = found.clone().map(|record| record.turn.to_string()).collect();
        assert_eq!(
            (found.count(), turns.len()),
            (2 * REPLICAS, 2 * REPLICAS),
            "{event}"
        );
    }
    world.audit();
}

/// A worker asks for whatever turn of the agent waits longest, and answers.
fn serve(world: &World, key: &str) {
    let input = json!({ "agent": "shop", "waitMs": 20_000 });
    let fields = "turnId lease { id epoch } lane { agent interlocutor channel }";
    let mut claim = Value::Null;
    // Forty that write one by one take longer on a slow machine than one claim waits. One that is refused leaves its key free.
    world.until("a turn is ready", || {
        claim = world.answer("claimTurn", key, &input, fields);
        let is_none_ready = claim["code"] == "ILLEGAL_TRANSITION";
        assert!(claim["code"].is_null() || is_none_ready, "{claim}");
        !is_none_ready
    });
    let worker = Worker {
        lane: claim["lane"].clone(),
        turn: claim["turnId"].clone(),
        lease: claim["lease"].clone(),
    };
    let key = format!("commit {}", worker.turn);
    let committed = world.answer("commitTurn", &key, &worker.held(), "turnId");
    assert!(committed["code"].is_null(), "{committed}");
}
