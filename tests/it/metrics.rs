//! The figures of a running server: each is explained, and what they say is what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_api::figures::{FIGURES, Kind};
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const BOUND: Duration = Duration::from_secs(60);
/// Some of those whose lag is told.
const PROJECTIONS: [&str; 3] = ["sessions", "timeline", "usage"];

/// A scrape: text after `# HELP` and `# TYPE` by name, and values by series.
#[derive(Debug, Default)]
struct Scrape {
    help: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    fn of(server: &Server, key: &str) -> Self {
        let request = Client::new()
            .get(format!("{}/metrics", server.url))
            .bearer_auth(key);
        let text = request.send().expect("an answer").text().expect("a body");
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
                scrape.help.insert(name.to_owned(), help.to_owned());
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
                scrape.kinds.insert(name.to_owned(), kind.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                scrape
                    .values
                    .insert(series.to_owned(), value.parse().expect("a number"));
            }
        }
        scrape
    }

    fn value(&self, series: &str) -> f64 {
        *self
            .values
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in {self:?}"))
    }
}

/// The series of a projection's lag.
fn lag(unit: &str, projection: &str) -> String {
    format!(r#"ruche_projection_lag_{unit}{{projection="{projection}"}}"#)
}

#[test]
fn every_figure_of_a_server_is_explained_and_says_what_was_done() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("acme", &["admin"]).expect("a key");
    let heads = folder.path().join("heads");
    let heads = heads.to_str().expect("a path in UTF-8");
    // Nobody listens on port 1.
    let publish = [
        "--publish-dir",
        heads,
        "--publish-url",
        "http://127.0.0.1:1",
        "--telemetry-wait",
        "0",
    ];
    let server = home.serve_with(&publish, &[]).expect("the server starts");
    let client = Client::new();
    let start = "mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename } }";
    let input = json!({ "input": { "idempotencyKey": "s", "externalId": "s" } });
    graphql(&client, &server.url, &key, start, input).expect("a session");
    let data = json!({ "role": "user", "text": "hello", "message_ordinal": 0 });
    let append = json!({ "idempotencyKey": "a", "target": { "session": { "externalId": "s" } },
        "events": [{ "type": "message.received", "data": data }] });
    for duplicate in [false, true] {
        let request = client.post(format!("{}/v1/events", server.url)).bearer_auth(&key);
        let request = request
            .header("content-type", "application/json")
            .body(append.to_string());
        let text = request.send().expect("an answer").text().expect("a body");
        let entry: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(entry["duplicate"], duplicate, "{entry}");
    }
    for path in ["/v1/traces", "/v1/logs"] {
        let span = json!({ "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "s" });
        let body = match path {
            "/v1/traces" => json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }),
            _ => json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "eventName": "e" }] }] }] }),
        };
        let request = client.post(format!("{}{path}", server.url)).bearer_auth(&key);
        let request = request.header("content-type", "application/json");
        assert!(
            request
                .body(body.to_string())
                .send()
                .expect("an answer")
                .status()
                .is_success()
        );
    }
    caught_up(&client, &server.url, &key).expect("the read models catch up");

    let since = Instant::now();
    let scrape = loop {
        let scrape = Scrape::of(&server, &key);
        let published = scrape
            .values
            .contains_key(r#"ruche_published_tree_heads_total{target="folder"}"#);
        let refused = scrape
            .values
            .contains_key(r#"ruche_publish_failures_total{target="url"}"#);
        let derived = scrape
            .values
            .contains_key(r#"ruche_otlp_derivations_total{outcome="nothing"}"#);
        // Each figure is of all ledgers: that of keys is sealed and followed on its own.
        let is_none = |series: &str| scrape.values.get(series) == Some(&0.0);
        let follow = PROJECTIONS
            .iter()
            .all(|of| is_none(&lag("events", of)) && is_none(&lag("seconds", of)));
        if published && refused && derived && follow && is_none("ruche_unsealed_records") {
            break scrape;
        }
        assert!(since.elapsed() < BOUND, "{scrape:?}");
        std::thread::yield_now();
    };
    let known: BTreeSet<_> = FIGURES.iter().map(|figure| figure.name.to_owned()).collect();
    assert_eq!(scrape.kinds.keys().cloned().collect::<BTreeSet<_>>(), known);
    for figure in FIGURES {
        assert_eq!(
            scrape.help.get(figure.name).map(String::as_str),
            Some(figure.help),
            "{}",
            figure.name
        );
        let kind = match figure.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(scrape.kinds[figure.name], kind, "{}", figure.name);
    }
    assert_eq!(
        scrape.value("ruche_ingested_events_total"),
        1.0,
        "repetitions do not count"
    );
    assert_eq!(
        scrape.value(r#"ruche_otlp_spans_total{outcome="unclassified"}"#),
        1.0
    );
    assert_eq!(scrape.value(r#"ruche_otlp_rejected_total{signal="traces"}"#), 0.0);
    assert_eq!(scrape.value("ruche_otlp_logs_passed_over_total"), 1.0);
    assert_eq!(scrape.value(r#"ruche_appends_total{outcome="duplicate"}"#), 1.0);
    assert!(scrape.value("ruche_append_duration_seconds_count") >= 2.0);
    assert!(scrape.value(r#"ruche_append_duration_seconds_bucket{le="+Inf"}"#) >= 2.0);
    assert_eq!(scrape.value("ruche_appends_waiting"), 0.0);
    assert_eq!(
        scrape.value("ruche_http_requests_in_flight"),
        1.0,
        "the scrape itself"
    );
    assert_eq!(scrape.value("ruche_parked_projections"), 0.0);
    for projection in PROJECTIONS {
        let told = ["events", "seconds"].map(|unit| scrape.value(&lag(unit, projection)));
        assert_eq!(told, [0.0, 0.0], "{projection}");
    }
}
