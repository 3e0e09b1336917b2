//! Somebody who can write to the database changes what is to run, between the vote and the start. Whoever changes the bytes
//! alone is found by their commitment, whoever changes the leaf as well by what the reviewer signed.

use reqwest::blocking::Client;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::commit;
use ruche_tests::server::graphql;
use rusqlite::Connection;
use serde_json::json;

use super::{text, verifier};
use crate::approvals::{Asked, World};

/// Changes the arguments of the proposal. The request, which has them too, stays as it was. Gives the number of the record.
fn alter_payload(store: &Connection) -> i64 {
    let sql = r#"UPDATE payload SET bytes = CAST(replace(CAST(bytes AS TEXT), '\"/a\"', '\"/b\"') AS BLOB)
        WHERE instr(CAST(bytes AS TEXT), '\"/a\"') > 0 AND instr(CAST(bytes AS TEXT), 'nonce') = 0 RETURNING id >> 2"#;
    let changed = store.query_row(sql, [], |row| row.get(0));
    changed.expect("the proposal alone says so")
}

/// Lets the leaf of a record commit to the payload that is there.
fn alter_leaf(store: &Connection, record: i64) {
    let sql = "SELECT leaf, opening, bytes FROM record JOIN payload ON payload.id = record.id << 2 WHERE record.id = ?1";
    let (leaf, opening, bytes): (Vec<u8>, [u8; 32], Vec<u8>) = store
        .query_row(sql, [record], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("the record");
    let mut leaf = Leaf::decode(&leaf).expect("a leaf");
    leaf.payload[0].commitment = commit(&opening, &bytes);
    let sql = "UPDATE record SET leaf = ?1 WHERE id = ?2";
    let changed = store.execute(sql, (leaf.encode(), record));
    assert_eq!(changed.expect("it can be written"), 1);
}

/// What a start is told that cannot be decided on.
fn start_fails(world: &World, asked: &Asked) -> String {
    let mut input = asked.worker.clone();
    (input["callId"], input["idempotencyKey"]) = (asked.call.clone(), json!("run"));
    let query = "mutation ($input: StartEffectInput!) { startEffect(input: $input) { __typename } }";
    let (url, input) = (&world.server.url, json!({ "input": input }));
    let told = graphql(&Client::new(), url, &world.agent, query, input);
    told.expect_err("nothing starts").to_string()
}

#[test]
fn arguments_that_were_changed_in_the_database_do_not_start() {
    let world = World::new();
    if world.home.databases.is_some() {
        return; // Records are read by the same code; it is the file of the embedded engine that is at hand.
    }
    world.register();
    let asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let store = Connection::open(world.home.data.join("ledger.db")).expect("the store");
    let record = alter_payload(&store);
    let told = start_fails(&world, &asked);
    assert!(told.contains("INTERNAL"), "{told}");

    alter_leaf(&store, record);
    let counts = |world: &World| {
        let types = [
            "tool.started",
            "approval.consumed",
            "tool.start_refused",
            "approval.stale",
        ];
        types.map(|event_type| world.places(event_type).len())
    };
    assert_eq!(counts(&world), [0; 4], "nothing came of it");
    let refused = world.start("run", &asked);
    assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");
    let (_, shown) = world.approvals(&["show", &asked.id]);
    assert_eq!(shown["state"], "stale", "{shown}");
    assert_eq!(counts(&world), [0, 0, 1, 1]);
    let again = world.start("run-again", &asked);
    assert_eq!(again["code"], "ILLEGAL_TRANSITION", "{again}");

    let (folder, _, key) = world.export();
    let report = verifier(&[text(&folder.path().join("export")), "--key", &key]);
    assert_eq!(report.code, 2, "{report:?}");
}
