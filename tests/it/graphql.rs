//! GraphQL against a real server: what is written is read back, refusals are data, proofs verify, tenants are apart.

mod memory;
mod analytics;
mod nearest;
mod proofs;
mod reading;
mod saved_queries;
mod sessions;
mod waiting;
mod writing;

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// What is not sealed by then will not be: a second is promised.
const SEAL_WAIT_MAX: Duration = Duration::from_secs(60);

const APPEND: &str = "mutation ($input: AppendEventsInput!) { appendEvents(input: $input) { __typename
    ... on AppendEventsPayload { duplicate position receipts { position leafHash state duplicate } }
    ... on Refusal { code message path retryable docs }
    ... on WrongExpectedVersion { stream expected actual }
    ... on SchemaViolation { event eventType violations { pointer reason } }
    ... on LimitExceeded { limit value unit } } }";

struct World {
    _folder: tempfile::TempDir,
    server: Server,
    client: Client,
    key: String,
    other_key: String,
    reader_key: String,
    admin_key: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
        let reader_key = home.new_key("acme", &["reader"]).expect("a key");
        let other_key = home.new_key("other", &["admin"]).expect("a key");
        let admin_key = home.new_key("acme", &["admin"]).expect("a key");
        let server = home.serve().expect("the server starts");
        Self {
            _folder: folder,
            server,
            client: Client::new(),
            key,
            other_key,
            reader_key,
            admin_key,
        }
    }

    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    fn ask_as(&self, key: &str, query: &str, variables: Value) -> std::io::Result<Value> {
        graphql(&self.client, &self.server.url, key, query, variables)
    }

    fn mutate(&self, name: &str, input_type: &str, fields: &str, input: Value) -> Value {
        self.mutate_as(&self.key, name, input_type, fields, input)
    }

    fn register_tool(&self, fields: &str, input: Value) -> Value {
        self.mutate_as(
            &self.admin_key,
            "registerTool",
            "RegisterToolInput",
            fields,
            input,
        )
    }

    fn mutate_as(&self, key: &str, name: &str, input_type: &str, fields: &str, input: Value) -> Value {
        let query = format!(
            "mutation ($input: {input_type}!) {{ {name}(input: $input) {{ __typename {fields} ... on Refusal {{ code \
             message path }} }} }}"
        );
        let answer = self.ask_as(key, &query, json!({ "input": input }));
        answer.expect("an answer without errors")[name].clone()
    }

    fn start_session(&self, external: &str) -> Value {
        let input = json!({ "idempotencyKey": format!("start-{external}"), "externalId": external, "agent": "shop",
            "channel": "web", "attributes": { "plan": "gold" } });
        self.mutate(
            "startSession",
            "StartSessionInput",
            "... on StartSessionPayload { sessionId position }",
            input,
        )
    }

    /// Waits until the record at a position is under a signed tree head.
    fn sealed(&self, position: &Value) {
        let query = "query ($p: Position!) { record(position: $p) { state } }";
        let deadline = Instant::now() + SEAL_WAIT_MAX;
        while self.ask(query, json!({ "p": position }))["record"]["state"] != "SEALED" {
            assert!(Instant::now() < deadline, "{position} is not sealed");
            std::thread::yield_now();
        }
    }

    fn append(&self, key: &str, event_type: &str, data: Value, expected: Option<i64>) -> Value {
        let input = json!({
            "idempotencyKey": key,
            "target": { "named": { "category": "GOAL", "externalId": "g" } },
            "expectedVersion": expected,
            "events": [{ "type": event_type, "data": data }],
        });
        self.ask(APPEND, json!({ "input": input }))["appendEvents"].clone()
    }
}

fn number(value: &Value) -> u64 {
    value.as_str().expect("a Long").parse().expect("digits")
}
