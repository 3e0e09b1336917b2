//! Tenants and roles over the network: with the key of one tenant, the ids of another give exactly what ids give that
//! nobody has; without a key there is nothing; each role opens what it should and no more.
//!
//! Every field of the schema has a line here: a new one without it fails the first test.

mod subscription;

use std::collections::BTreeSet;

use reqwest::StatusCode;
use reqwest::blocking::Client;
use ruche_tests::data;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// Which roles a field is open to, besides `admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Everybody,
    Readers,
    ReadersAndAuditors,
    Writers,
}

impl Open {
    fn to(self, role: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Readers => role == "reader",
            Self::ReadersAndAuditors => role == "reader" || role == "auditor",
            Self::Writers => role == "writer",
        }
    }
}

/// A field of the schema, whom it is open to, and an operation that names everything by which a caller could reach it.
const FIELDS: &[(&str, Open, &str)] = &[
    ("me", Open::Everybody, "{ me { tenant roles } }"),
    (
        "session",
        Open::Readers,
        "query ($session: ID!) { session(id: $session) { id externalId messages { nodes { text } } turns { nodes { id } }
            timeline { nodes { position } } effects { nodes { tool } } scores { nodes { name } } } }",
    ),
    (
        "sessions",
        Open::Readers,
        "query ($externalId: String, $cursor: String) { sessions(filter: { externalId: $externalId }) { nodes { id } }
            behind: sessions(after: $cursor) { nodes { externalId } } }",
    ),
    (
        "totals",
        Open::Readers,
        "query ($externalId: String) { totals(filter: { externalId: $externalId }) { sessions counts { events } } }",
    ),
    ("turn", Open::Readers, "query ($turn: ID!) { turn(id: $turn) { id session { id } } }"),
    (
        "turns",
        Open::Readers,
        "query ($session: ID) { turns(filter: { sessionId: $session }) { nodes { id } } }",
    ),
    (
        "effects",
        Open::Readers,
        "query ($session: ID, $turn: ID, $tool: String) {
            a: effects(filter: { sessionId: $session }) { nodes { tool } }
            b: effects(filter: { turnId: $turn }) { nodes { tool } }
            c: effects(filter: { tool: $tool }) { nodes { tool } } }",
    ),
    ("tools", Open::Readers, "{ tools { name } }"),
    (
        "configurationHistory",
        Open::Readers,
        "{ configurationHistory { nodes { key value } } }",
    ),
    (
        "usage",
        Open::Readers,
        "query ($agent: String) { usage(groupBy: [AGENT], filter: { agent: $agent }) { agent counts { events } } }",
    ),
    (
        "outcomes",
        Open::Readers,
        "query ($agent: String) { outcomes(filter: { agent: $agent }) { turns } }",
    ),
    (
        "ledger",
        Open::ReadersAndAuditors,
        "query ($position: Position) { ledger { id origin epochs { origin }
            records(from: $position) { nodes { type } } } }",
    ),
    (
        "record",
        Open::ReadersAndAuditors,
        "query ($position: Position!) { record(position: $position) { type } }",
    ),
    (
        "inclusionProof",
        Open::ReadersAndAuditors,
        "query ($position: Position!) { inclusionProof(position: $position, treeSize: 1) { leafHash } }",
    ),
    (
        "consistencyProof",
        Open::ReadersAndAuditors,
        "query ($size: Long!) { consistencyProof(epoch: 1, fromSize: 1, toSize: $size) { hashes } }",
    ),
    (
        "startSession",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { startSession(input: { idempotencyKey: $key, externalId: $key,
            previousSessionId: $session }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "endSession",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { endSession(input: { idempotencyKey: $key, session: { id: $session },
            reason: COMPLETED }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "submitMessage",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { submitMessage(input: { idempotencyKey: $key,
            session: { id: $session }, text: \"x\" }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "recordTurn",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { recordTurn(input: { idempotencyKey: $key, session: { id: $session },
            steps: [{ said: { text: \"x\" } }], end: { committed: { outcome: ANSWERED } } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "registerTool",
        Open::Writers,
        "mutation ($key: String!) { registerTool(input: { idempotencyKey: $key, name: \"find_order\",
            sideEffect: IRREVERSIBLE }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "publishConfiguration",
        Open::Writers,
        "mutation ($key: String!) { publishConfiguration(input: { idempotencyKey: $key, scope: AGENT,
            scopeId: \"support\", set: { theirs: true } }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "appendEvents",
        Open::Writers,
        "mutation ($key: String!, $session: ID!, $stream: String!) {
            a: appendEvents(input: { idempotencyKey: $key, target: { session: { id: $session } },
                events: [{ type: \"message.received\", data: { json: { role: \"user\", text: \"x\" } } }] })
                { __typename ... on Refusal { code message path } }
            b: appendEvents(input: { idempotencyKey: $key, target: { stream: $stream }, expectedVersion: 0,
                events: [{ type: \"message.received\", data: { json: { role: \"user\", text: \"x\" } } }] })
                { __typename ... on Refusal { code message path } } }",
    ),
    (
        "scoreSession",
        Open::Writers,
        "mutation ($key: String!, $session: ID!, $turn: ID!) { scoreSession(input: { idempotencyKey: $key,
            session: { id: $session }, scores: [{ name: \"x\", value: 1, turnId: $turn }] })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "claimTurn",
        Open::Writers,
        "mutation ($key: String!) { claimTurn(input: { idempotencyKey: $key,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" } }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "heartbeatTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { heartbeatTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "commitTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { commitTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "failTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { failTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 },
            errorType: \"x\", retryable: true }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "cancelTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { cancelTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "sessionEvents",
        Open::Readers,
        "subscription ($session: ID!) { sessionEvents(sessionId: $session) { type } }",
    ),
];

const MINE: &str =
    "query { ledger { origin size lastPosition } sessions { nodes { id externalId turns { nodes { id } } }
    pageInfo { endCursor } } }";

/// A server with two tenants. The first has a session with a turn, a tool call, a configuration; the second has nothing.
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
        for field in ["registerTool", "publishConfiguration"] {
            let (status, body) = self.ask(&self.owner, operation(field), &json!({ "key": field }));
            assert!(status == StatusCode::OK && body.contains("Payload"), "{body}");
        }
        caught_up(&self.client, &self.server.url, &self.owner).expect("the read models catch up");
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
        "position": format!("1:{}", size + 1_000),
        "size": (size + 1_000).to_string(),
        "cursor": ids["cursor"],
        "stream": id(&ids["stream"]),
        "origin": "unnamed.ruche.example/aaaaaaaaaaaaaaaaaaaaaaaaaa/e1",
    })
}

/// An answer without the names that were asked for.
fn nameless(answer: (StatusCode, String), names: &Value) -> (StatusCode, String) {
    let mut text = answer.1;
    for (member, name) in names.as_object().expect("names") {
        let name = name.as_str().expect("a name");
        text = text.replace(name, &format!("<{member}>"));
    }
    (answer.0, text)
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
        for secret in ["Where is my order", "shipped", "my-chat-1"] {
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
    let before: Vec<_> = ["session", "tools", "configurationHistory", "usage", "ledger"]
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
        for field in ["registerTool", "publishConfiguration"] {
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
    let (world, keys) = world.with_keys(["reader", "writer", "auditor", "admin"]);
    for (role, key) in &keys {
        for (field, open, operation) in FIELDS.iter().filter(|field| field.0 != "sessionEvents") {
            let (_, body) = world.ask(key, operation, &with_key(&ids, &format!("{role}/{field}")));
            let is_open = *role == "admin" || open.to(role);
            assert_eq!(body.contains("\"FORBIDDEN\""), !is_open, "{role} {field}: {body}");
        }
        let may_write = matches!(*role, "writer" | "admin");
        let (status, body) = world.ingest(key, &with_key(&ids, &format!("{role}/ingest")));
        assert_eq!(status == StatusCode::FORBIDDEN, !may_write, "{role}: {body}");
        let (status, body) = world.get(key, &format!("/ledgers/{origin}/checkpoint"));
        assert_eq!(
            status == StatusCode::FORBIDDEN,
            *role == "writer",
            "{role}: {body}"
        );
    }
    subscription::each_role(&world, &keys, &ids);
}
