//! Lists of requests of which some cannot be shown any more: payloads are gone.

use ruche_tests::databases::rows;
use ruche_tests::server::Home;
use serde_json::{Value, json};

use super::World;
use crate::crew::until;

impl World {
    /// The same after a stop and a start, and what happens between. Before it, all that was recorded is in the read models:
    /// where they stop is otherwise a matter of the moment.
    fn again(self, between: impl FnOnce(&Home)) -> Self {
        until("the read models hold everything", || {
            let found = self.ask(&self.admin, "{ projections { lagRecords } }", Value::Null);
            let lags = found["projections"].as_array().expect("projections");
            lags.iter().all(|lag| lag["lagRecords"] == json!("0"))
        });
        assert!(self.server.stop().expect("it stops"), "it ended well");
        between(&self.home);
        let server = self.home.serve().expect("the server starts");
        Self { server, ..self }
    }

    /// Where the records of a type stand, in order.
    pub fn places(&self, event_type: &str) -> Vec<String> {
        let query = "{ ledger { records(first: 100) { nodes { position type } pageInfo { hasNextPage } } } }";
        let found = self.ask(&self.agent, query, json!({}));
        let records = &found["ledger"]["records"];
        assert_eq!(records["pageInfo"]["hasNextPage"], false, "{records}");
        let nodes = records["nodes"].as_array().expect("records").iter();
        let fits = nodes.filter(|node| node["type"] == event_type);
        let place = |node: &Value| node["position"].as_str().expect("a position").to_owned();
        fits.map(place).collect()
    }
}

fn state(world: &World, id: &str) -> Value {
    let query = "query ($id: ID!) { approval(id: $id) { state } }";
    world.ask(&world.desk, query, json!({ "id": id }))["approval"]["state"].clone()
}

/// Takes the payload of a record away, as whoever erases does.
fn erase(home: &Home, position: &str) {
    let index = position.strip_prefix("1:").expect("the first epoch");
    let deleted = match &home.databases {
        Some(databases) => {
            let sql = format!("DELETE FROM ruche.payload WHERE index = {index} RETURNING index");
            rows(&databases.ledgers, &sql).expect("the server answers").len()
        }
        None => {
            let store = rusqlite::Connection::open(home.data.join("ledger.db")).expect("the store");
            let sql = "DELETE FROM payload WHERE (id >> 2) & ((1 << 37) - 1) = CAST(?1 AS INTEGER)";
            store.execute(sql, [index]).expect("the table of payloads")
        }
    };
    assert_eq!(deleted, 1, "{position}");
}

/// Of requests that cannot be shown a page has none, and it says all the same where to go on.
#[test]
fn a_page_without_requests_leads_to_the_next() {
    let world = World::new();
    let first = world.request_on("web");
    let others: Vec<Value> = ["/b", "/c", "/d"]
        .iter()
        .map(|path| json!(world.propose(path, &first.worker, path).id))
        .collect();
    let places = world.places("approval.requested");
    let world = world.again(|home| [0, 2].iter().for_each(|number| erase(home, &places[*number])));
    let query = "query ($after: String, $p: Position) {
        approvals(status: [REQUESTED], first: 1, after: $after, minPosition: $p) {
            nodes { id } edges { cursor } pageInfo { hasNextPage endCursor startCursor } } }";
    let mut pages = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = world.ask(&world.desk, query, json!({ "after": after, "p": places[3] }));
        let page = page["approvals"].clone();
        after = page["pageInfo"]["endCursor"].clone();
        assert!(after.is_string(), "{page}");
        let ids = page["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .map(|node| node["id"].clone());
        pages.push(ids.collect::<Vec<_>>());
        let edge = page["edges"][0]["cursor"].clone();
        assert!(edge.is_null() || edge == after, "{page}");
        assert_eq!(page["pageInfo"]["startCursor"], edge, "{page}");
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        assert!(pages.len() < 5, "it comes to an end: {pages:?}");
    }
    assert_eq!(
        pages,
        [vec![], vec![others[0].clone()], vec![], vec![others[2].clone()]]
    );
}

/// That somebody decided stands in the leaf; how does not. That the approval was used stands there, too.
#[test]
fn a_decision_that_was_erased_is_no_open_request() {
    let world = World::new();
    world.register();
    let denied = world.request_on("api");
    let (_, voted) = world.approvals(&["deny", &denied.id]);
    assert_eq!(voted["outcome"], "REJECTED", "{voted}");
    let used = world.propose("propose-b", &denied.worker, "/b");
    let (_, voted) = world.approvals(&["approve", &used.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let started = world.start("run", &used);
    assert!(started["permit"].is_object(), "{started}");
    let places = world.places("approval.resolved");
    let consumed = world.places("approval.consumed");
    let world = world.again(|home| {
        places
            .iter()
            .chain(&consumed)
            .for_each(|place| erase(home, place));
    });
    assert_eq!(state(&world, &used.id), "CONSUMED");
    assert_eq!(state(&world, &denied.id), "DECIDED");

    // A read model that is made anew says the same.
    let world = world.again(|home| {
        let rebuilt = home.end_of(&["rebuild"]).expect("it starts");
        assert_eq!(rebuilt.code, Some(2), "they differ from before: {}", rebuilt.said);
    });
    let query = "query ($status: [ApprovalState!]) { approvals(status: $status) { nodes { id } } }";
    let list = |status: &str| {
        let found = world.ask(&world.desk, query, json!({ "status": [status] }));
        found["approvals"]["nodes"].clone()
    };
    assert_eq!(list("DECIDED"), json!([{ "id": denied.id }]));
    assert_eq!(list("CONSUMED"), json!([{ "id": used.id }]));
    assert_eq!(list("REQUESTED"), json!([]));
}
