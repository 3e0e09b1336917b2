//! Tenants and roles over the network: with the key of one tenant, the ids of another give exactly what ids give that
//! nobody has; without a key there is nothing; each role opens what it should and no more.
//!
//! Every field of the schema has a line here: a new one without it fails the first test.

mod fields;
pub mod subscription;

use std::collections::BTreeSet;

use reqwest::StatusCode;
use reqwest::blocking::Client;
use ruche_tests::data;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

use fields::{FIELDS, Open};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

const MINE: &str =
    "query { ledger { origin size lastPosition } sessions { nodes { id externalId turns { nodes { id } } }
    pageInfo { endCursor } } approvals { nodes { id } } lanes { nodes { id } } }";

/// A server with two tenants. The first has a session with a turn, a tool call, a configuration, a request for approval;
/// the second has nothing.
struct World {
    home: Home,
    server: Server,
    client: Client,
    owner: String,
    other: String,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let owner = home.new_key("acme", &["admin"]).expect("a key");
        let other = home.new_key("other", &["admin"]).expect("a key");
        let server = home.serve().expect("the server starts");
        let world = Self {
            home,
            server,
            client: Client::new(),
            owner,
            other,
            _folder: folder,
        };
        world.record();
        // What the other tenant has, which is its opening and its key, does not come between two answers.
        caught_up(&world.client, &world.server.url, &world.other).expect("the read models catch up");
        world
    }

    /// The same served again, with a key of the first tenant for each role. Keys are made while nobody serves.
    fn with_keys<const N: usize>(self, roles: [&'static str; N]) -> (Self, [(&'static str, String); N]) {
        assert!(self.server.stop().expect("a server that stops"), "it ends well");
        let keys = roles.map(|role| (role, self.home.new_key("acme", &[role]).expect("a key")));
        let server = self.home.serve().expect("the server starts");
        (Self { server, ..self }, keys)
    }

    /// What the first tenant has.
    fn record(&self) {
        let turn = std::fs::read_to_string(data::of_repository("docs/examples/record-turn.json"))
            .expect("the example");
        let turn: Value = serde_json::from_str(&turn).expect("JSON");
        let query = turn["query"].as_str().expect("a mutation");
        let done = graphql(
            &self.client,
            &self.server.url,
            &self.owner,
            query,
            turn["variables"].clone(),
        );
        let done = done.expect("a recorded turn");
        assert_eq!(done["recordTurn"]["duplicate"], false, "{done}");
        for field in ["registerTool", "publishConfiguration", "saveQuery"] {
            let (status, body) = self.ask(&self.owner, operation(field), &json!({ "key": field }));
            assert!(status == StatusCode::OK && body.contains("Payload"), "{body}");
        }
        self.remember();
        self.record_governed();
        caught_up(&self.client, &self.server.url, &self.owner).expect("the read models catch up");
    }

    /// Something that an agent knows, and found.
    fn remember(&self) {
        let query = "mutation ($input: AppendEventsInput!) { appendEvents(input: $input) {
            ... on AppendEventsPayload { position } } }";
        let fact = json!({ "record_id": "support", "store": "s", "about": "support", "content": "likes tea",
            "source_event_ids": [] });
        let found = json!({ "store": "s", "results": [{ "record_id": "support" }] });
        let wrong = json!({ "record_id": "support", "store": "s", "reason": "expired" });
        let kept = json!({ "record_id": "kept", "store": "s", "about": "support", "content": "likes tea still",
            "source_event_ids": [] });
        let vector = json!({ "record_id": "kept", "store": "s", "model": "m", "vector": "AACAPw==" });
        let events = [
            ("memory.written", fact),
            ("memory.searched", found),
            ("memory.invalidated", wrong),
            ("memory.written", kept),
            ("memory.embedded", vector),
        ];
        let events = events.map(|(kind, data)| json!({ "type": kind, "data": { "json": data } }));
        let target = json!({ "session": { "externalId": "my-chat-1" } });
        let input = json!({ "idempotencyKey": "remember", "target": target, "events": events });
        let done = graphql(
            &self.client,
            &self.server.url,
            &self.owner,
            query,
            json!({ "input": input }),
        );
        let done = done.expect("an answer");
        assert!(done["appendEvents"]["position"].is_string(), "{done}");
    }

    /// A turn whose worker asks for something that people decide on.
    fn record_governed(&self) {
        let lane = json!({ "agent": "support", "interlocutor": "ann", "channel": "web" });
        let done = |name: &str, mut input: Value, fields: &str| {
            input["idempotencyKey"] = json!(format!("governed/{name}"));
            let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
            let query = format!(
                "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ ... on {kind}Payload {{ {fields} }}
                    ... on Refusal {{ code message }} }} }}"
            );
            let variables = json!({ "input": input });
            let answer = graphql(&self.client, &self.server.url, &self.owner, &query, variables);
            let answer = answer.expect("an answer")[name].clone();
            assert!(answer["code"].is_null(), "{name}: {answer}");
            answer
        };
        let message = json!({ "session": { "externalId": "my-chat-1" }, "lane": lane, "text": "forget me" });
        done("submitMessage", message, "position");
        let moves = json!([{ "enter": {} }, { "enterStep": { "step": "ask" } }]);
        let scenario =
            json!({ "session": { "externalId": "my-chat-1" }, "scenario": "refund", "moves": moves });
        done("recordScenario", scenario, "position");
        // As long as a claim may wait. The turn is there once its window is over and the read models have it.
        let claim = json!({ "agent": "support", "waitMs": 30_000 });
        let claim = done("claimTurn", claim, "turnId lease { id epoch }");
        let ask = json!({ "lane": lane, "turnId": claim["turnId"], "lease": claim["lease"], "tool": "delete_account",
            "arguments": "{}", "businessKey": "ann" });
        done("proposeAction", ask, "callId");
    }

    /// Everything by which the first tenant's things are called.
    fn ids(&self) -> Value {
        let mine =
            graphql(&self.client, &self.server.url, &self.owner, MINE, Value::Null).expect("an answer");
        let session = &mine["sessions"]["nodes"][0];
        let id = session["id"].as_str().expect("an id");
        json!({
            "session": id,
            "externalId": session["externalId"],
            "turn": session["turns"]["nodes"][0]["id"],
            "tool": "find_order",
            "agent": "support",
            "lane": "support",
            "laneId": mine["lanes"]["nodes"][0]["id"],
            "call": mine["approvals"]["nodes"][0]["id"],
            "position": mine["ledger"]["lastPosition"],
            "size": mine["ledger"]["size"],
            "cursor": mine["sessions"]["pageInfo"]["endCursor"],
            "stream": format!("observed-{}", id.replace('-', "")),
            "origin": mine["ledger"]["origin"],
        })
    }

    fn ask(&self, key: &str, query: &str, variables: &Value) -> (StatusCode, String) {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = self
            .client
            .post(format!("{}/graphql", self.server.url))
            .bearer_auth(key);
        answer(request.header("content-type", "application/json").body(body))
    }

    fn get(&self, key: &str, path: &str) -> (StatusCode, String) {
        answer(
            self.client
                .get(format!("{}{path}", self.server.url))
                .bearer_auth(key),
        )
    }

    fn ingest(&self, key: &str, variables: &Value) -> (StatusCode, String) {
        let data = json!({ "role": "user", "text": "x" });
        let body = json!({
            "idempotencyKey": variables["key"],
            "target": { "session": { "id": variables["session"] } },
            "events": [{ "type": "message.received", "schemaVersion": 1, "data": data }],
        });
        let request = self
            .client
            .post(format!("{}/v1/events", self.server.url))
            .bearer_auth(key);
        answer(
            request
                .header("content-type", "application/json")
                .body(body.to_string()),
        )
    }
}

/// Status and body; JSON with its members in one order, because the answers of concurrent fields come in any.
fn answer(request: reqwest::blocking::RequestBuilder) -> (StatusCode, String) {
    let response = request.send().expect("an answer");
    let status = response.status();
    let body = response.text().expect("a body");
    let json: Result<Value, _> = serde_json::from_str(&body);
    (status, json.map_or(body, |json| json.to_string()))
}

fn operation(field: &str) -> &'static str {
    FIELDS
        .iter()
        .find(|(name, ..)| *name == field)
        .expect("a field of the list")
        .2
}

/// Ids of the same form that nobody has.
fn unknown(ids: &Value) -> Value {
    let id = |of: &Value| {
        let text = of.as_str().expect("an id");
        // The last digits only, so that version and variant of the uuid stay.
        let (start, end) = text.split_at(text.len() - 12);
        let other: String = end
            .chars()
            .map(|digit| if digit == 'f' { '0' } else { 'f' })
            .collect();
        json!(format!("{start}{other}"))
    };
    let size: u64 = ids["size"]
        .as_str()
        .and_then(|size| size.parse().ok())
        .expect("a size");
    json!({
        "session": id(&ids["session"]),
        "externalId": "nobody's",
        "turn": id(&ids["turn"]),
        "tool": "nobody's",
        "agent": "nobody's",
        "lane": "nobody's",
        "laneId": id(&ids["laneId"]),
        "call": id(&ids["call"]),
        "position": format!("1:{}", size + 1_000),
        "size": (size + 1_000).to_string(),
        "cursor": ids["cursor"],
        "stream": id(&ids["stream"]),
        "origin": "unnamed.ruche.example/aaaaaaaaaaaaaaaaaaaaaaaaaa/e1",
    })
}

/// An answer without the names that were asked for.
fn nameless(answer: (StatusCode, String), names: &Value) -> (StatusCode, String) {
    let mut text = unplaced(answer.1);
    for (member, name) in names.as_object().expect("names") {
        let name = name.as_str().expect("a name");
        text = without(&text, name, &format!("<{member}>"));
    }
    (answer.0, text)
}

/// An answer without the places of its errors: they are the document's, and a column may be a number like any other.
fn unplaced(text: String) -> String {
    let Ok(mut answer) = serde_json::from_str::<Value>(&text) else {
        return text;
    };
    let errors = answer.get_mut("errors").and_then(Value::as_array_mut);
    for error in errors.into_iter().flatten().filter_map(Value::as_object_mut) {
        error.remove("locations");
    }
    answer.to_string()
}

/// A text with another name, where it stands by itself: a size of two digits may stand in the middle of an origin.
fn without(text: &str, name: &str, other: &str) -> String {
    let (mut left, mut done) = (text, String::new());
    while let Some(at) = left.find(name) {
        let (before, behind) = (&left[..at], &left[at + name.len()..]);
        let is_part = before.ends_with(char::is_alphanumeric) || behind.starts_with(char::is_alphanumeric);
        done.push_str(before);
        done.push_str(if is_part { name } else { other });
        left = behind;
    }
    done + left
}

fn with_key(names: &Value, key: &str) -> Value {
    let mut names = names.clone();
    names["key"] = json!(key);
    names
}

#[test]
fn every_field_of_the_schema_is_tested_here() {
    let world = World::new();
    let query = "{ __schema { queryType { fields { name } } mutationType { fields { name } }
        subscriptionType { fields { name } } } }";
    let schema =
        graphql(&world.client, &world.server.url, &world.owner, query, Value::Null).expect("the schema");
    let fields =
        ["queryType", "mutationType", "subscriptionType"].map(|root| &schema["__schema"][root]["fields"]);
    let fields = fields
        .into_iter()
        .flat_map(|fields| fields.as_array().expect("fields"));
    let fields: BTreeSet<&str> = fields
        .map(|field| field["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(fields, FIELDS.iter().map(|(name, ..)| *name).collect());
}

#[test]
fn ids_of_another_tenant_are_answered_as_ids_that_nobody_has() {
    let world = World::new();
    let theirs = world.ids();
    let nobodys = unknown(&theirs);
    let requests = FIELDS.iter().filter(|(name, ..)| *name != "sessionEvents");
    for (field, _, operation) in requests {
        // The same keys as the owner's would be told apart if they were shared.
        let (a, b) = (
            with_key(&theirs, &format!("{field}/a")),
            with_key(&nobodys, &format!("{field}/b")),
        );
        let found = nameless(world.ask(&world.other, operation, &a), &a);
        let expected = nameless(world.ask(&world.other, operation, &b), &b);
        assert_eq!(found, expected, "{field}");
        for secret in ["Where is my order", "shipped", "my-chat-1", "likes tea"] {
            assert!(!found.1.contains(secret), "{field}: {}", found.1);
        }
    }
    let (a, b) = (with_key(&theirs, "ingest/a"), with_key(&nobodys, "ingest/b"));
    let found = nameless(world.ingest(&world.other, &a), &a);
    assert_eq!(found, nameless(world.ingest(&world.other, &b), &b));
    assert!(found.0.is_client_error(), "{found:?}");
    for path in [
        "checkpoint",
        "tile/0/000.p/2",
        "tile/entries/000.p/2",
        "tile/entries/000",
    ] {
        let path = |of: &Value| format!("/ledgers/{}/{path}", of["origin"].as_str().expect("an origin"));
        let found = world.get(&world.other, &path(&theirs));
        assert_eq!(found, world.get(&world.other, &path(&nobodys)));
        assert_eq!(found.0, StatusCode::NOT_FOUND);
    }
}

#[test]
fn the_ids_are_real_and_lead_their_owner_somewhere() {
    let world = World::new();
    let ids = world.ids();
    let nobodys = unknown(&ids);
    let sized = |field: &&(&str, Open, &str)| {
        matches!(field.1, Open::Readers) && !field.2.starts_with("subscription")
    };
    for (field, _, operation) in FIELDS.iter().filter(sized) {
        let found = world.ask(&world.owner, operation, &ids);
        assert!(
            found.0.is_success() && !found.1.contains("errors"),
            "{field}: {found:?}"
        );
        if operation.contains('$') {
            assert_ne!(
                nameless(found, &ids),
                nameless(world.ask(&world.owner, operation, &nobodys), &nobodys),
                "{field}"
            );
        } else {
            assert_ne!(found, world.ask(&world.other, operation, &ids), "{field}");
        }
    }
}

#[test]
fn what_another_tenant_wrote_under_the_same_names_changes_nothing_for_the_owner() {
    let world = World::new();
    let ids = world.ids();
    let before: Vec<_> = [
        "session",
        "tools",
        "configurationHistory",
        "usage",
        "savedQueries",
        "ledger",
    ]
    .map(|field| (field, world.ask(&world.owner, operation(field), &ids)))
    .into();
    world.record_as_other();
    for (field, answer) in before {
        assert_eq!(world.ask(&world.owner, operation(field), &ids), answer, "{field}");
    }
}

impl World {
    /// The other tenant does the same under the same idempotency keys and names; none of it is a duplicate.
    fn record_as_other(&self) {
        let turn = std::fs::read_to_string(data::of_repository("docs/examples/record-turn.json"))
            .expect("the example");
        let turn: Value = serde_json::from_str(&turn).expect("JSON");
        let query = turn["query"].as_str().expect("a mutation");
        let done = graphql(
            &self.client,
            &self.server.url,
            &self.other,
            query,
            turn["variables"].clone(),
        );
        let done = done.expect("a recorded turn");
        assert_eq!(done["startSession"]["duplicate"], false, "{done}");
        assert_eq!(done["recordTurn"]["duplicate"], false, "{done}");
        for field in ["registerTool", "publishConfiguration", "saveQuery"] {
            let (_, body) = self.ask(&self.other, operation(field), &json!({ "key": field }));
            assert!(body.contains("Payload"), "{body}");
        }
        caught_up(&self.client, &self.server.url, &self.other).expect("the read models catch up");
    }
}

#[test]
fn without_a_key_there_is_nothing() {
    let world = World::new();
    let ids = with_key(&world.ids(), "anonymous");
    let origin = ids["origin"].as_str().expect("an origin");
    for key in ["", "nonsense", &world.owner[..world.owner.len() - 1]] {
        for (field, _, operation) in FIELDS {
            let (status, body) = world.ask(key, operation, &ids);
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{field}: {body}");
            assert!(
                body.contains("UNAUTHENTICATED") && !body.contains("data\":{"),
                "{field}: {body}"
            );
        }
        assert_eq!(world.ingest(key, &ids).0, StatusCode::UNAUTHORIZED);
        for path in [format!("/ledgers/{origin}/checkpoint"), "/metrics".to_owned()] {
            assert_eq!(world.get(key, &path).0, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}

#[test]
fn each_role_opens_its_fields_and_no_others() {
    let world = World::new();
    let ids = world.ids();
    let origin = ids["origin"].as_str().expect("an origin").to_owned();
    let (world, keys) = world.with_keys(["reader", "writer", "auditor", "reviewer", "admin"]);
    for (role, key) in &keys {
        for (field, open, operation) in FIELDS.iter().filter(|field| !field.2.starts_with("subscription")) {
            let (_, body) = world.ask(key, operation, &with_key(&ids, &format!("{role}/{field}")));
            let is_open = open.to(role);
            assert_eq!(body.contains("\"FORBIDDEN\""), !is_open, "{role} {field}: {body}");
        }
        let may_write = matches!(*role, "writer" | "admin");
        let (status, body) = world.ingest(key, &with_key(&ids, &format!("{role}/ingest")));
        assert_eq!(status == StatusCode::FORBIDDEN, !may_write, "{role}: {body}");
        let (status, body) = world.get(key, &format!("/ledgers/{origin}/checkpoint"));
        assert_eq!(
            status == StatusCode::FORBIDDEN,
            matches!(*role, "writer" | "reviewer"),
            "{role}: {body}"
        );
    }
    subscription::each_role(&world, &keys, &ids);
}
