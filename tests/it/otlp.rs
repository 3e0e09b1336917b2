//! Telemetry into a real server: what agents' SDKs send becomes sessions, turns, calls and tokens; nothing doubles.

mod bodies;
mod derived;
mod refused;

use reqwest::blocking::Client;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

struct World {
    _folder: tempfile::TempDir,
    home: Home,
    /// Seconds from telemetry to what follows from it, as the server is told.
    wait: String,
    server: Server,
    client: Client,
    writer: String,
    reader: String,
    key: String,
}

/// How a body was answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    media_type: String,
    retry_after: Option<String>,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl World {
    /// Nothing is derived while a test goes on.
    fn new() -> Self {
        Self::waiting(3_600)
    }

    /// What follows from telemetry is derived so many seconds after the last of it.
    fn waiting(seconds: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let writer = home.new_key("acme", &["writer"]).expect("a key");
        let reader = home.new_key("acme", &["reader"]).expect("a key");
        let key = home.new_key("acme", &["admin"]).expect("a key");
        let wait = seconds.to_string();
        let server = home.serve_with(&["--telemetry-wait", &wait], &[]);
        let server = server.expect("the server starts");
        Self {
            _folder: folder,
            home,
            wait,
            server,
            client: Client::new(),
            writer,
            reader,
            key,
        }
    }

    /// The same after a restart.
    fn restarted(self) -> Self {
        assert!(self.server.stop().expect("the server ends"), "it ended well");
        let server = self.home.serve_with(&["--telemetry-wait", &self.wait], &[]);
        let server = server.expect("the server starts");
        Self { server, ..self }
    }

    fn send(&self, path: &str, media_type: &str, body: Vec<u8>) -> Answered {
        self.send_as(&self.writer, path, &[("content-type", media_type)], body)
    }

    fn send_as(&self, key: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        let mut request = self
            .client
            .post(format!("{}{path}", self.server.url))
            .bearer_auth(key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().expect("an answer");
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.map(|value| value.to_str().expect("text").to_owned())
        };
        Answered {
            status: answer.status().as_u16(),
            media_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: answer.bytes().expect("a body").to_vec(),
        }
    }

    fn ask(&self, query: &str) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, json!({}))
            .expect("an answer without errors")
    }

    /// The last position, once the read models are there.
    fn position(&self) -> String {
        caught_up(&self.client, &self.server.url, &self.key).expect("the read models follow")
    }

    /// Counts and tokens of everything.
    fn usage(&self) -> Value {
        self.position();
        let query = "{ usage(groupBy: []) { counts { turns turnsCommitted turnsFailed toolCalls toolResults toolErrors
            llmCalls llmErrors messages userMessages inputTokens { tokens known } outputTokens { tokens known } } } }";
        self.ask(query)["usage"][0].clone()
    }
}
