//! The HTTP edge of a real server: who gets in, what is refused before anything runs, the auditors' files, ingest.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::tile::{decode_entries, decode_hashes};
use ruche_ledger::tree::root_of;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// What is not sealed by then will not be.
const SEAL_WAIT_MAX: Duration = Duration::from_secs(60);
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";
const START: &str = "mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename
    ... on StartSessionPayload { sessionId position } ... on Refusal { code } } }";

struct World {
    _folder: tempfile::TempDir,
    server: Server,
    client: Client,
    key: String,
    other_key: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["admin"]).expect("a key");
        let other_key = home.new_key("other", &["admin"]).expect("a key");
        let server = home.serve().expect("the server starts");
        Self {
            _folder: folder,
            server,
            client: Client::new(),
            key,
            other_key,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(&self.key)
    }

    fn post(&self, path: &str, media_type: &str, body: impl Into<String>) -> RequestBuilder {
        let request = self.client.post(self.url(path)).bearer_auth(&self.key);
        request.header("content-type", media_type).body(body.into())
    }

    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    fn start_session(&self, external: &str) -> Value {
        let input = json!({ "input": { "idempotencyKey": external, "externalId": external } });
        self.ask(START, input)["startSession"].clone()
    }
}

fn sent(request: RequestBuilder) -> Response {
    request.send().expect("an answer")
}

/// Status, media type without its parameters, and the code of the first error.
fn refused(request: RequestBuilder) -> (StatusCode, String, String) {
    let response = sent(request);
    let status = response.status();
    let media_type = response.headers()["content-type"]
        .to_str()
        .expect("text")
        .to_owned();
    let media_type = media_type.split(';').next().unwrap_or_default().to_owned();
    let body: Value = serde_json::from_str(&response.text().expect("a body")).expect("JSON");
    assert!(
        body.get("data").is_none(),
        "a refused request has no data: {body}"
    );
    let code = body["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or_default();
    (status, media_type, code.to_owned())
}

#[test]
fn nothing_but_health_and_ready_answers_without_a_good_key() {
    let world = World::new();
    for path in ["/health", "/ready"] {
        assert_eq!(
            sent(world.client.get(world.url(path))).status(),
            StatusCode::OK,
            "{path}"
        );
    }
    let wrong = world.key.replace(|c: char| c.is_ascii_digit(), "0");
    let json = "application/json";
    for key in [None, Some("nonsense".to_owned()), Some(wrong)] {
        let with = |request: RequestBuilder| match &key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        for path in [
            "/graphql?query={me{tenant}}",
            "/metrics",
            "/ledgers/a/e1/checkpoint",
        ] {
            let response = sent(with(world.client.get(world.url(path))));
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert!(response.headers().contains_key("www-authenticate"), "{path}");
        }
        for path in ["/graphql", "/v1/events"] {
            let request = with(world.client.post(world.url(path)))
                .header("content-type", json)
                .body("{}");
            assert_eq!(refused(request).2, "UNAUTHENTICATED", "{path}");
        }
    }
    let basic = world
        .client
        .get(world.url("/graphql?query={me{roles}}"))
        .basic_auth("any", Some(&world.key));
    assert_eq!(
        sent(basic).status(),
        StatusCode::OK,
        "the key is also taken as a password"
    );
    assert_eq!(refused(world.get("/nothing")).2, "NOT_FOUND");
}

#[test]
fn an_error_leads_to_its_page_at_the_same_server() {
    let world = World::new();
    let response = sent(world.client.get(world.url("/ledgers/none")));
    let body: Value = serde_json::from_str(&response.text().expect("a body")).expect("JSON");
    let docs = body["errors"][0]["extensions"]["docs"]
        .as_str()
        .expect("an address");
    let page = sent(world.client.get(world.url(docs)));
    assert_eq!(page.status(), StatusCode::OK, "{docs}");
    assert_eq!(page.headers()["content-type"], "text/markdown; charset=utf-8");
    assert!(page.text().expect("a page").starts_with("# UNAUTHENTICATED\n"));
    let none = refused(world.client.get(world.url("/docs/errors/NOTHING")));
    assert_eq!(
        (none.0, none.2.as_str()),
        (StatusCode::NOT_FOUND, "NOT_FOUND"),
        "no such code"
    );
}

#[test]
fn another_sites_page_cannot_run_a_mutation() {
    let world = World::new();
    let mutation =
        r#"mutation { startSession(input: {idempotencyKey: "x", externalId: "x"}) { __typename } }"#;
    let by_get = world.get("/graphql?query=mutation%7B__typename%7D");
    let (status, media_type, code) = refused(by_get.header("accept", GRAPHQL_RESPONSE));
    assert_eq!(
        (status, media_type.as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, GRAPHQL_RESPONSE)
    );
    assert_eq!(code, "METHOD_NOT_ALLOWED");
    let body = json!({ "query": mutation }).to_string();
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ] {
        let (status, _, code) = refused(world.post("/graphql", media_type, body.clone()));
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media_type}");
        assert_eq!(code, "UNSUPPORTED_MEDIA_TYPE");
    }
    let latin = world.post("/graphql", "application/json; charset=latin1", body.clone());
    assert_eq!(refused(latin).2, "UNSUPPORTED_MEDIA_TYPE");
    let packed = world
        .post("/graphql", "application/json", body)
        .header("content-encoding", "gzip");
    assert_eq!(refused(packed).2, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(
        world.ask("{ ledger { size } }", json!({}))["ledger"]["size"],
        "2",
        "nothing was written"
    );
}

#[test]
fn what_costs_too_much_is_refused_before_it_runs() {
    let world = World::new();
    let code = |query: String| {
        let body = json!({ "query": query }).to_string();
        refused(
            world
                .post("/graphql", "application/json", body)
                .header("accept", GRAPHQL_RESPONSE),
        )
        .2
    };
    assert_eq!(
        code(format!("{{ {} }}", "a: me { tenant } ".repeat(31))),
        "QUERY_LIMIT_EXCEEDED"
    );
    assert_eq!(code("{ a ".repeat(100_000)), "QUERY_LIMIT_EXCEEDED");
    assert_eq!(code("me ".repeat(20_000)), "QUERY_LIMIT_EXCEEDED");
    let nested = "{ sessions(first: 100) { nodes { turns(first: 100) { nodes { messages(first: 100) { nodes { text } } } } } } }";
    assert_eq!(code(nested.to_owned()), "QUERY_LIMIT_EXCEEDED");
    // A list without pages counts with all that it may have.
    for list in [
        "steps { stepId state result }",
        "attempts { number outcome errorType }",
    ] {
        let all = format!("{{ turns(first: 100) {{ nodes {{ {list} }} }} }}");
        assert_eq!(code(all), "QUERY_LIMIT_EXCEEDED", "{list}");
    }
    let (open, close) = (
        "turns(first: 1) { nodes { session { ".repeat(5),
        " } } }".repeat(5),
    );
    let deep = format!("{{ sessions(first: 1) {{ nodes {{ {open} id {close} }} }} }}");
    assert_eq!(code(deep.clone()), "QUERY_LIMIT_EXCEEDED");
    for (query, bound) in [(nested, "more than 20000"), (deep.as_str(), "more than 16 deep")] {
        let body = json!({ "query": query }).to_string();
        let request = world.post("/graphql", "application/json", body);
        let answer = request.send().expect("an answer").text().expect("a body");
        assert!(answer.contains(bound), "{answer}");
    }
    assert_eq!(code("{ me".to_owned()), "GRAPHQL_PARSE_FAILED");
    assert_eq!(code("{ nothing }".to_owned()), "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(
        code("subscription { sessionEvents(sessionId: \"x\") { type } }".to_owned()),
        "GRAPHQL_VALIDATION_FAILED"
    );

    let batch = format!("[{}]", vec![r#"{"query":"{me{tenant}}"}"#; 1_000].join(","));
    assert_eq!(
        refused(world.post("/graphql", "application/json", batch)).2,
        "BATCH_NOT_SUPPORTED"
    );
    let huge = format!(r#"{{"query":"{}"}}"#, "x".repeat(18 * 1_048_576));
    assert_eq!(
        refused(world.post("/graphql", "application/json", huge)).0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let twice = r#"{"query":"{me{tenant}}","variables":{"a":1,"a":2}}"#;
    assert_eq!(
        refused(world.post("/graphql", "application/json", twice)).2,
        "BAD_REQUEST"
    );
    let unwanted = world
        .post("/graphql", "application/json", "{}")
        .header("accept", "image/png");
    assert_eq!(refused(unwanted).2, "NOT_ACCEPTABLE");
}

/// A kilobyte whose fragments are 2^30 fields when they are written out.
fn doubling_fragments() -> String {
    let levels = (0..29).map(|n| format!("fragment F{n} on Query{{...F{0} ...F{0}}}", n + 1));
    format!(
        "{{...F0}}{}fragment F29 on Query{{me{{tenant}}}}",
        levels.collect::<String>()
    )
}

#[test]
fn fragments_that_multiply_are_refused_while_others_are_served() {
    let world = World::new();
    let query = doubling_fragments();
    let body = json!({ "query": query }).to_string();
    let in_address = query.replace('{', "%7B").replace('}', "%7D").replace(' ', "%20");
    // Far more than a refusal takes on a busy machine, and far less than 2^30 fields do.
    let soon = Duration::from_secs(20);
    std::thread::scope(|scope| {
        for by_post in [true, true, false, false] {
            let (world, in_address, body) = (&world, &in_address, body.clone());
            scope.spawn(move || {
                let request = if by_post {
                    world.post("/graphql", "application/json", body)
                } else {
                    world.get(&format!("/graphql?query={in_address}"))
                };
                assert_eq!(refused(request.timeout(soon)).2, "QUERY_LIMIT_EXCEEDED");
            });
        }
        assert_eq!(sent(world.get("/health").timeout(soon)).status(), StatusCode::OK);
    });
    let itself = json!({ "query": "{...A}fragment A on Query{...B}fragment B on Query{...A}" });
    let request = world.post("/graphql", "application/json", itself.to_string());
    assert_eq!(refused(request).2, "QUERY_LIMIT_EXCEEDED");
}

#[test]
fn a_variable_without_a_value_is_missed_before_anything_runs() {
    let world = World::new();
    let query = "query ($p: Position!) { me { tenant } record(position: $p) { type } }";
    for variables in [json!({}), json!({ "p": null })] {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = world
            .post("/graphql", "application/json", body)
            .header("accept", GRAPHQL_RESPONSE);
        let (status, _, code) = refused(request);
        assert_eq!(
            (status, code.as_str()),
            (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED")
        );
    }
}

#[test]
fn an_auditor_reads_checkpoint_and_tiles_and_another_tenant_sees_none() {
    let world = World::new();
    for n in 0..300 {
        world.start_session(&format!("s-{n}"));
    }
    let origin = world.ask("{ ledger { origin } }", json!({}))["ledger"]["origin"].clone();
    let origin = origin.as_str().expect("an origin");
    let file = |path: &str| sent(world.get(&format!("/ledgers/{origin}/{path}")));
    let deadline = Instant::now() + SEAL_WAIT_MAX;
    let head = loop {
        let response = file("checkpoint");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        let head = SignedTreeHead::parse(&response.bytes().expect("a body")).expect("a signed note");
        // Sealed within a second of the append.
        if head.head().size.0 >= 302 {
            break head;
        }
        assert!(Instant::now() < deadline, "{} are sealed", head.head().size.0);
        std::thread::yield_now();
    };
    let rest = head.head().size.0 - 256;
    let full = file("tile/0/000");
    assert_eq!(
        full.headers()["cache-control"],
        "private, max-age=31536000, immutable"
    );
    let mut hashes = decode_hashes(&full.bytes().expect("a body"), 256).expect("a full tile");
    let width = u16::try_from(rest).expect("fewer than 256");
    let part = file(&format!("tile/0/001.p/{rest}")).bytes().expect("a body");
    hashes.extend(decode_hashes(&part, width).expect("a partial tile"));
    assert_eq!(root_of(&hashes), head.head().root);

    let mut of_entries: Vec<Hash> = Vec::new();
    for (path, width) in [
        ("tile/entries/000".to_owned(), 256),
        (format!("tile/entries/001.p/{rest}"), width),
    ] {
        let bytes = file(&path).bytes().expect("a body");
        of_entries.extend(
            decode_entries(&bytes, width)
                .expect("entries")
                .into_iter()
                .map(leaf_hash),
        );
    }
    assert_eq!(of_entries, hashes);

    assert_eq!(
        file(&format!("tile/0/001.p/{}", rest + 1)).status(),
        StatusCode::NOT_FOUND,
        "not sealed"
    );
    let stranger = |path: String| refused(world.client.get(world.url(&path)).bearer_auth(&world.other_key));
    let (theirs, nobodys) = (
        stranger(format!("/ledgers/{origin}/checkpoint")),
        stranger("/ledgers/x/checkpoint".into()),
    );
    assert_eq!(theirs, nobodys, "forbidden and unknown look the same");
}

#[test]
fn ingest_keeps_bytes_and_says_for_each_append_what_became_of_it() {
    let world = World::new();
    world.start_session("s");
    let payload = r#"{ "role":"user",  "text":"caf\u00e9", "message_ordinal": 0 }"#;
    let append = |key: &str, kind: &str| {
        format!(
            r#"{{"idempotencyKey":"{key}","target":{{"session":{{"externalId":"s"}}}},"events":[{{"type":"{kind}","data":{payload}}}]}}"#
        )
    };
    let good = append("a", "message.received");
    let response = sent(world.post("/v1/events", "application/json", good.clone()));
    assert_eq!(response.status(), StatusCode::OK);
    let entry: Value = serde_json::from_str(&response.text().expect("a body")).expect("JSON");
    assert_eq!(entry["duplicate"], false);
    let position = entry["receipts"][0]["position"].clone();
    let record = world.ask(
        "query ($p: Position!) { record(position: $p) { payloadText } }",
        json!({ "p": position }),
    );
    assert_eq!(record["record"]["payloadText"], payload, "byte for byte");

    let lines = format!(
        "{good}\n\n{}\n{}\n",
        append("b", "message.received"),
        append("c", "turn.opened")
    );
    let response = sent(world.post("/v1/events", "application/x-ndjson", lines));
    assert_eq!(response.status(), StatusCode::MULTI_STATUS);
    let text = response.text().expect("a body");
    let entries: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(entries[0]["duplicate"], true);
    assert_eq!(
        entries[0]["receipts"], entry["receipts"],
        "the first answer again"
    );
    assert_eq!(entries[1]["duplicate"], false);
    assert_eq!(entries[2]["error"]["code"], "RESERVED_NAMESPACE");

    assert_eq!(entries[2]["error"]["path"], json!(["events", "0", "type"]));

    let alone = sent(world.post("/v1/events", "application/json", append("d", "turn.opened")));
    assert_eq!(alone.status(), StatusCode::FORBIDDEN);
    let unfit = append("u", "message.received").replacen(r#""role":"user""#, r#""role":1,"hue":2"#, 1);
    let response = sent(world.post("/v1/events", "application/json", unfit));
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let unfit: Value = serde_json::from_str(&response.text().expect("a body")).expect("JSON");
    let error = &unfit["error"];
    let violations = error["violations"].as_array().expect("violations");
    let mut pointers: Vec<&str> = violations.iter().filter_map(|v| v["pointer"].as_str()).collect();
    pointers.sort_unstable();
    // A member too many is a fault of the object that holds it.
    assert_eq!(pointers, ["", "/role"], "{error}");
    assert!(violations.iter().all(|v| v["reason"].is_string()), "{error}");
    assert_eq!(error["path"], json!(["events", "0", "data", "role"]));
    for broken in ["", "[", "{\"x\":1}", "[1]"] {
        assert_eq!(
            refused(world.post("/v1/events", "application/json", broken)).2,
            "BAD_REQUEST",
            "{broken}"
        );
    }
    let doubled = good
        .replacen(r#""role":"user""#, r#""role":"user","role":"user""#, 1)
        .replacen("\"a\"", "\"e\"", 1);
    let response = sent(world.post("/v1/events", "application/json", doubled));
    assert_eq!(
        response.status(),
        StatusCode::BAD_REQUEST,
        "a name twice in a payload"
    );
}

#[test]
fn the_callers_trace_stands_in_the_leaf() {
    let world = World::new();
    let body =
        json!({ "query": START, "variables": { "input": { "idempotencyKey": "t", "externalId": "t" } } });
    let request = world.post("/graphql", "application/json", body.to_string());
    let request = request.header(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let request = request.header("x-request-id", "mine-1");
    let response = sent(request);
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let answer: Value = serde_json::from_str(&response.text().expect("a body")).expect("JSON");
    let position = &answer["data"]["startSession"]["position"];
    let query = "query ($p: Position!) { record(position: $p) { traceId spanId } }";
    let record = world.ask(query, json!({ "p": position }));
    assert_eq!(record["record"]["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(record["record"]["spanId"], "00f067aa0ba902b7");
}

#[test]
fn metrics_are_kept_from_tenants_where_there_are_several() {
    let world = World::new();
    assert_eq!(refused(world.get("/metrics")).2, "FORBIDDEN");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("alone", &["admin"]).expect("a key");
    let reader = home.new_key("alone", &["reader"]).expect("a key");
    let server = home.serve().expect("the server starts");
    let client = Client::new();
    let metrics = |key: &str| sent(client.get(format!("{}/metrics", server.url)).bearer_auth(key));
    graphql(&client, &server.url, &key, "{ me { tenant } }", json!({})).expect("an answer");
    assert_eq!(metrics(&reader).status(), StatusCode::FORBIDDEN);
    let text = metrics(&key).text().expect("a body");
    for name in [
        "ruche_http_requests_total",
        "ruche_http_request_duration_seconds",
        "ruche_graphql_operations_total",
    ] {
        assert!(text.contains(name), "{name}:\n{text}");
    }
    let me = graphql(&client, &server.url, &key, "{ me { tenant keyId } }", json!({})).expect("an answer");
    for id in ["tenant", "keyId"] {
        assert!(
            !text.contains(me["me"][id].as_str().expect("an id")),
            "{id} in a label"
        );
    }
}

#[test]
fn the_console_page_asks_for_a_key_and_offers_an_editor_without_a_network() {
    let world = World::new();
    let html = |request: RequestBuilder| sent(request.header("accept", "text/html"));
    assert_eq!(
        html(world.client.get(world.url("/graphql"))).status(),
        StatusCode::UNAUTHORIZED
    );
    let response = html(world.get("/graphql"));
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert!(response.headers().contains_key("content-security-policy"));
    assert!(response.text().expect("a page").contains("no network"));
}
