//! What an agent writes to its memory is read at once, and who listens goes on where it was, on whichever node.

use std::time::Duration;

use ruche_tests::server::graphql_once;
use serde_json::{Value, json};

use super::world::{Worker, World, lane};
use crate::tenants::subscription::Socket;

const MEMORY: &str = "query ($p: Position) { memory(about: \"ann\", minPosition: $p) { nodes { content knownFrom { position } } } }";
const TIMELINE: &str = "query ($id: ID!, $p: Position) { session(id: $id, minPosition: $p) {
    timeline(first: 100) { nodes { position } } } }";
const EVENTS: &str =
    "subscription ($id: ID!, $from: Position) { sessionEvents(sessionId: $id, from: $from) { position } }";

/// A worker writes a fact about Ann. Gives its position.
fn remember(world: &World, worker: &Worker, session: &Value, fact: &str) -> Value {
    let data = json!({ "record_id": fact, "about": "ann", "content": fact, "source_event_ids": [] });
    let event = json!({ "type": "memory.written", "turnId": worker.turn, "data": { "json": data } });
    let input =
        json!({ "target": { "session": { "id": session } }, "held": worker.held(), "events": [event] });
    world.done("appendEvents", &input, "position")["position"].clone()
}

fn known(world: &World, position: &Value) -> Vec<Value> {
    let found = world.agent().ask(MEMORY, json!({ "p": position }))["memory"]["nodes"].clone();
    found.as_array().expect("facts").clone()
}

/// The position behind one.
fn behind(position: &str) -> String {
    let (epoch, index) = position.split_once(':').expect("epoch and index");
    format!("{epoch}:{}", index.parse::<u64>().expect("digits") + 1)
}

/// The positions that a subscription on a node tells, from one on to another. Then its connection drops.
fn listen(url: &str, key: &str, session: &Value, from: Option<&str>, until: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut socket = Socket::open(url, key).await;
        let payload = json!({ "query": EVENTS, "variables": { "id": session, "from": from } });
        socket
            .send(json!({ "id": "1", "type": "subscribe", "payload": payload }))
            .await;
        let mut heard: Vec<String> = Vec::new();
        while heard.last().is_none_or(|last| last != until) {
            let next = socket.next().await;
            let position = next["payload"]["data"]["sessionEvents"]["position"].as_str();
            heard.push(position.unwrap_or_else(|| panic!("{next}")).to_owned());
        }
        heard
    })
}

#[test]
fn a_27_a_write_is_read_at_once_and_a_subscription_goes_on_on_another_node() {
    let world = World::new();
    let lane = lane("ann", "web");
    let started = world.session(&lane);
    let query = "query ($p: Position) { sessions(minPosition: $p) { nodes { id } } }";
    let session = world.agent().ask(query, json!({ "p": started }));
    let session = session["sessions"]["nodes"][0]["id"].clone();
    let worker = world.turn(&lane, "m-1", "I like tea");

    // Each read goes to another node than the write before it.
    let tea = remember(&world, &worker, &session, "likes tea");
    assert_eq!(
        known(&world, &tea),
        [] as [Value; 0],
        "the turn is not committed: it is no knowledge yet"
    );
    let query = "query ($p: Position) { facts(filter: { status: CANDIDATE }, minPosition: $p) { nodes { content } } }";
    let written = world.agent().ask(query, json!({ "p": tea }))["facts"]["nodes"].clone();
    assert_eq!(
        written,
        json!([{ "content": "likes tea" }]),
        "the read holds the write"
    );
    let commit = world.commit(&worker, "noted")["position"].clone();
    let found = known(&world, &commit);
    assert_eq!((found.len(), &found[0]["content"]), (1, &json!("likes tea")));

    let commit = commit.as_str().expect("a position").to_owned();
    let node = world.agent();
    let ahead = (0..1_000).fold(commit.clone(), |position, _| behind(&position));
    let refused = graphql_once(&node.http, &node.url, &node.key, MEMORY, json!({ "p": ahead }));
    let refused = refused.expect_err("nothing is there yet").to_string();
    assert!(
        refused.contains("READ_MODEL_BEHIND") && refused.contains("has reached"),
        "it says how far behind it is: {refused}"
    );

    let urls = world.urls();
    let (first, other) = (&urls[0], &urls[urls.len() - 1]);
    let mut heard = listen(first, &world.keys.agent, &session, None, &commit);
    world.pass(Duration::from_secs(30));
    let worker = world.turn(&lane, "m-2", "and cake");
    remember(&world, &worker, &session, "likes cake");
    let last = world.commit(&worker, "noted too")["position"].clone();
    let last = last.as_str().expect("a position");
    let from = behind(heard.last().expect("something was heard"));
    heard.extend(listen(other, &world.keys.agent, &session, Some(&from), last));
    let timeline =
        world.agent().ask(TIMELINE, json!({ "id": session, "p": last }))["session"]["timeline"].clone();
    let nodes = timeline["nodes"].as_array().expect("entries").iter();
    let expected: Vec<&str> = nodes
        .map(|entry| entry["position"].as_str().expect("a position"))
        .collect();
    assert_eq!(heard, expected, "nothing is missing and nothing comes twice");
    assert_eq!(known(&world, &json!(last)).len(), 2);
    world.audit();
}
