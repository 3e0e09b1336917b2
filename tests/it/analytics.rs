//! Figures of `ruche query` and `analytics` against a script that reads the sources, and knows no line of Ruche.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::blocking::Client;
use ruche_tests::data;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// How far a percentile may be from the exact one.
const ERROR_PER_MILLE_MAX: i64 = 16;
/// The shares that the script tells, of a hundred.
const SHARES: [f64; 3] = [50.0, 95.0, 99.0];

const QUERY: &str =
    "query ($m: AnalyticsMetric!, $by: [AnalyticsDimension!], $q: Float) { analytics(metric: $m,
    groupBy: $by, bucket: DAY, from: \"2020-01-01T00:00:00Z\", to: \"2040-01-01T00:00:00Z\", percentile: $q) {
    rows { bucket key { value } currency value known } } }";
const RECORDS: &str =
    "query ($after: String) { ledger { records(first: 100, after: $after) { nodes { type occurredAt
    sessionId callId payloadText } pageInfo { endCursor hasNextPage } } } }";

/// A row's day and the values of its dimensions.
type Key = Vec<String>;

struct Analyst {
    client: Client,
    server: Server,
    key: String,
}

impl Analyst {
    fn of(home: &Home, tenant: &str) -> Self {
        let key = home.new_key(tenant, &["reader", "auditor"]).expect("a key");
        let server = home.serve().expect("the server starts");
        let client = Client::new();
        caught_up(&client, &server.url, &key).expect("the read models catch up");
        Self { client, server, key }
    }

    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    /// What was told, by day and dimensions, with the currency where there is one, and how many told it.
    fn figures(&self, metric: &str, by: &[&str], share: f64) -> BTreeMap<Key, (String, u64)> {
        let answer = self.ask(QUERY, json!({ "m": metric, "by": by, "q": share }));
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let rows = answer["analytics"]["rows"].as_array().expect("rows").iter();
        let told = rows.filter(|row| !row["value"].is_null()).map(|row| {
            let mut key = vec![text(&row["bucket"])[..10].to_owned()];
            key.extend(
                row["key"]
                    .as_array()
                    .expect("a key")
                    .iter()
                    .map(|key| text(&key["value"])),
            );
            key.extend(row["currency"].as_str().map(str::to_owned));
            let known = text(&row["known"]).parse().expect("a number");
            (key, (text(&row["value"]), known))
        });
        told.collect()
    }

    /// All records that have a payload, as the script takes them.
    fn records(&self) -> String {
        let (mut after, mut lines) = (Value::Null, String::new());
        loop {
            let page = self.ask(RECORDS, json!({ "after": after }))["ledger"]["records"].take();
            for record in page["nodes"].as_array().expect("nodes") {
                let data: Value = record["payloadText"].as_str().map_or(Value::Null, |text| {
                    serde_json::from_str(text).expect("a payload is JSON")
                });
                let line = json!({ "type": record["type"], "occurredAt": record["occurredAt"],
                    "session": record["sessionId"], "call": record["callId"], "data": data });
                lines.push_str(&line.to_string());
                lines.push('\n');
            }
            if page["pageInfo"]["hasNextPage"] != true {
                return lines;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }
}

/// What the script says.
fn script(arguments: &[&str], input: &str) -> Value {
    let mut python = Command::new("python3")
        .arg("-B")
        .arg(data::of_repository("tests/independent/figures.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = python.stdin.take().expect("it was piped");
    stdin.write_all(input.as_bytes()).expect("the script reads");
    drop(stdin);
    let output = python.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Every figure of the script is that of the server, and the server has no other.
fn same_figures(analyst: &Analyst, expected: &Value) {
    let models = (
        expected["models"].as_array().expect("rows"),
        ["AGENT", "MODEL"],
        ["agent", "model"],
    );
    let tools = (
        expected["tools"].as_array().expect("rows"),
        ["AGENT", "TOOL"],
        ["agent", "tool"],
    );
    assert!(!models.0.is_empty() && !tools.0.is_empty(), "{expected}");
    for (metric, (rows, by, names), value, known) in [
        ("MODEL_CALLS", models, "calls", "calls"),
        ("MODEL_ERRORS", models, "errors", "errors"),
        ("INPUT_TOKENS", models, "input", "inputKnown"),
        ("OUTPUT_TOKENS", models, "output", "outputKnown"),
        ("CACHED_TOKENS", models, "cached", "cachedKnown"),
        ("REASONING_TOKENS", models, "reasoning", "reasoningKnown"),
        ("TOOL_CALLS", tools, "calls", "calls"),
        ("TOOL_ERRORS", tools, "errors", "errors"),
    ] {
        let expected: BTreeMap<Key, (String, u64)> = rows
            .iter()
            .filter(|row| row[known] != 0)
            .map(|row| {
                (
                    key(row, names),
                    (row[value].to_string(), row[known].as_u64().expect("a number")),
                )
            })
            .collect();
        let mut told = analyst.figures(metric, &by, 95.0);
        // A count of nothing is told where something else was counted.
        told.retain(|_, (value, known)| known != &0 || value != "0");
        assert_eq!(told, expected, "{metric}");
    }
    for (metric, name) in [("COST", "costs"), ("COST_BY_PRICES", "byPrices")] {
        let of_row = |row: &Value| {
            let costs = row[name].as_object().expect("costs").clone().into_iter();
            let of = key(row, models.2);
            costs.map(move |(currency, amount)| {
                (
                    [of.as_slice(), &[currency]].concat(),
                    amount.as_str().expect("a decimal").to_owned(),
                )
            })
        };
        let expected: BTreeMap<Key, String> = models.0.iter().flat_map(of_row).collect();
        let told = analyst.figures(metric, &models.1, 95.0).into_iter();
        let told: BTreeMap<Key, String> = told.map(|(key, (value, _))| (key, value)).collect();
        assert_eq!(told, expected, "{metric}");
    }
    for (metric, (rows, by, names)) in [("MODEL_LATENCY", models), ("TOOL_LATENCY", tools)] {
        for (n, share) in SHARES.into_iter().enumerate() {
            let told = analyst.figures(metric, &by, share);
            let expected = rows.iter().filter(|row| row["percentiles"]["known"] != 0);
            let mut found = 0;
            for row in expected {
                let (value, known) = &told[&key(row, names)];
                assert_eq!(
                    Some(*known),
                    row["percentiles"]["known"].as_u64(),
                    "{metric} {row}"
                );
                let exact = row["percentiles"]["values"][n].as_i64().expect("a duration");
                let wrong = (value.parse::<i64>().expect("a number") - exact).abs() * 1_000;
                assert!(
                    wrong <= exact * ERROR_PER_MILLE_MAX,
                    "{metric} {share}: {value} {row}"
                );
                found += 1;
            }
            assert_eq!(found, told.len(), "{metric}: {told:?}");
        }
    }
}

fn key(row: &Value, names: [&str; 2]) -> Key {
    let text = |name: &str| row[name].as_str().expect("a text").to_owned();
    vec![text("day"), text(names[0]), text(names[1])]
}

#[test]
fn figures_of_an_import_are_those_of_its_source() {
    let name = "tau2-runtime-events-mock/results.json";
    let log = "tau2-runtime-events-mock/runtime_events.jsonl";
    let (Some(results), Some(log)) = (data::file(name), data::file(log)) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let mapping = data::of_repository("docs/import/tau2-mock.json");
    let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let (mapping, results, log) = (path(&mapping), path(&results), path(&log));
    let import = [
        "import",
        "--tenant",
        "acme",
        "--format",
        "tau2",
        "--mapping",
        &mapping,
        &results,
        &log,
    ];
    home.run(&import).expect("an import");
    let analyst = Analyst::of(&home, "acme");
    same_figures(&analyst, &script(&["tau2", &results], ""));
    same_figures(&analyst, &script(&["records"], &analyst.records()));
}

#[test]
fn figures_of_the_demo_are_those_of_its_records_and_of_its_prices() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::embedded(PROGRAM, folder.path());
    home.run(&["seed", "--tenant", "demo", "--sessions", "30"])
        .expect("a story");
    let analyst = Analyst::of(&home, "demo");
    same_figures(&analyst, &script(&["records"], &analyst.records()));
    assert!(
        !analyst.figures("COST_BY_PRICES", &["MODEL"], 95.0).is_empty(),
        "the demo has prices"
    );
    the_command_line_says_the_same(&home, analyst);
}

/// What a command prints for people.
fn text_of(home: &Home, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .args([
            Path::new("--data-dir"),
            &home.data,
            Path::new("--keys-dir"),
            &home.keys,
        ])
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// From the server, and from the store once the server is stopped.
fn the_command_line_says_the_same(home: &Home, analyst: Analyst) {
    let ask = |arguments: &[&str]| home.run(&[&["query"], arguments].concat()).expect("an answer");
    let question = [
        "COST",
        "--by",
        "agent,model",
        "--bucket",
        "day",
        "--from",
        "2020-01-01",
        "--to",
        "2040-01-01",
    ];
    let server = ["--server", &analyst.server.url, "--key", &analyst.key];
    let from_server = ask(&[question.as_slice(), &server].concat());
    assert_eq!(
        (&from_server["unit"], &from_server["by"]),
        (&json!("money"), &json!(["AGENT", "MODEL"]))
    );
    let expected = analyst.figures("COST", &["AGENT", "MODEL"], 95.0);
    assert!(analyst.server.stop().expect("it can be stopped"));
    let from_store = ask(&[question.as_slice(), &["--tenant", "demo"]].concat());
    assert_eq!(from_store, from_server);
    let told = from_store["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| !row["value"].is_null());
    assert_eq!(told.count(), expected.len());
    let text = text_of(
        home,
        &[
            "query",
            "TURNS",
            "--by",
            "outcome",
            "--tenant",
            "demo",
            "--from",
            "2020-01-01",
            "--csv",
        ],
    );
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("outcome,turns,known,count"));
    assert!(lines.count() >= 2, "{text}");
    // The last thirty days up to today, as the story is told up to today.
    let sparks = [
        "query", "TURNS", "--tenant", "demo", "--bucket", "day", "--spark", "--by", "agent",
    ];
    let text = text_of(home, &sparks);
    assert!(text.contains("over time") && text.contains('█'), "{text}");
    let weeks = ["query", "COST", "--tenant", "demo", "--bucket", "week"];
    assert!(text_of(home, &weeks).starts_with(" bucket"));
    let wrong = home
        .end_of(&["query", "COST", "--tenant", "demo", "--by", "tool"])
        .expect("it ends");
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.said.contains("--by has TOOL, which COST does not have"),
        "{}",
        wrong.said
    );
}
