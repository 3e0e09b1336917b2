//! A client of the GraphQL API that sends mutations by name.

use std::time::{Duration, Instant};

use ruche_tests::server::graphql;
use serde_json::{Value, json};

/// A request that is told to try again is sent again for so long.
const TRY_AGAIN_WAIT_MAX: Duration = Duration::from_secs(60);

/// One caller: a server and a credential.
pub struct Client {
    pub http: reqwest::blocking::Client,
    pub url: String,
    pub key: String,
}

impl Client {
    pub fn new(url: &str, key: &str) -> Self {
        Self {
            http: reqwest::blocking::Client::new(),
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The data of an answer without errors.
    #[track_caller]
    pub fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.http, &self.url, &self.key, query, variables).expect("an answer without errors")
    }

    /// A mutation, whatever comes of it.
    #[track_caller]
    pub fn mutate(&self, name: &str, key: &str, input: Value, fields: &str) -> Value {
        let (query, variables) = mutation(name, key, input, fields);
        self.ask(&query, variables)[name].clone()
    }

    /// A mutation that is carried out.
    #[track_caller]
    pub fn sent(&self, name: &str, key: &str, input: Value, fields: &str) -> Value {
        let deadline = Instant::now() + TRY_AGAIN_WAIT_MAX;
        loop {
            let answer = self.mutate(name, key, input.clone(), fields);
            if answer["__typename"] != "TryAgain" || Instant::now() > deadline {
                assert!(answer["code"].is_null(), "{name} {key}: {answer}");
                return answer;
            }
        }
    }
}

/// The request of a mutation with its idempotency key.
pub fn mutation(name: &str, key: &str, mut input: Value, fields: &str) -> (String, Value) {
    let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    input["idempotencyKey"] = json!(key);
    let query = format!(
        "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename
            ... on {kind}Payload {{ duplicate {fields} }} ... on Refusal {{ code path message }}
            ... on IllegalTransition {{ state legal }} }} }}"
    );
    (query, json!({ "input": input }))
}
