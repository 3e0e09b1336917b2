//! `ruche bench read` holds every answer against what it counted itself. Figures are read and never judged.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::blocking::Client;
use ruche_tests::databases::Databases;
use ruche_tests::server::{Ended, Home, Server, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// A data set of a few hundred events, asked for a second.
const SMALL: [&str; 10] = [
    "bench",
    "read",
    "--events",
    "600",
    "--seconds",
    "1",
    "--warm-up",
    "0",
    "--callers",
    "2",
];

/// The tenant that has it.
const TENANT: &str = "bench-read-600-1";

/// Runs a bench where the call alone says.
fn bench(place: &[&str], more: &[&str]) -> Ended {
    let output = Command::new(PROGRAM)
        .args(SMALL)
        .args(["--json"])
        .args(place)
        .args(more)
        // Of somebody's server, and not there at all: whoever uses it fails.
        .env("RUCHE_DATA_DIR", "/nowhere/data")
        .env("RUCHE_DATABASE_URL", "postgres://127.0.0.1:1/server")
        .env("RUCHE_TREE_HEADS_URL", "postgres://127.0.0.1:1/heads")
        .env_remove("RUCHE_KEY")
        .stdin(Stdio::null())
        .output()
        .expect("ruche can be started");
    Ended {
        code: output.status.code(),
        json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn number(report: &Value, field: &str) -> u64 {
    let found = report[field].as_u64();
    found.unwrap_or_else(|| panic!("{field} is no count in {report}"))
}

/// Whether all kinds were asked, and all answers right.
#[track_caller]
fn is_right(ended: &Ended) {
    let report = &ended.json;
    assert_eq!(ended.code, Some(0), "{}: {report}", ended.said);
    assert_eq!(
        (&report["bench"], &report["errors"], &report["first_error"]),
        (&"read".into(), &0.into(), &Value::Null),
        "{report}"
    );
    let questions = report["questions"].as_array().expect("a list");
    let kinds: Vec<&str> = questions
        .iter()
        .filter_map(|of| of["question"].as_str())
        .collect();
    assert_eq!(kinds, ["sessions", "timeline", "analytics", "memory"]);
    for of in questions {
        assert!(number(of, "answers") > 0, "{of}");
        for field in [
            "answers_per_s",
            "latency_p50_ms",
            "latency_p99_ms",
            "latency_max_ms",
            "wanted_p99_ms",
        ] {
            assert!(of[field].is_number(), "{field} is no number in {of}");
        }
    }
    assert!(number(report, "events") >= 600, "{report}");
}

/// A bench at `place`, again, on a server, and after somebody else has appended to the data set.
fn on(engine: &str, place: &[&str], home: &Home) {
    let first = bench(place, &["--by-projection"]);
    is_right(&first);
    assert_eq!(first.json["engine"], engine);
    assert!(number(&first.json, "stored_bytes") > 0);
    // Tools and prices are made with it, and are no events of the story.
    let made = number(&first.json["made"], "events");
    assert!(made > number(&first.json, "events"), "{}", first.json);
    let followed = first.json["followed"].as_array().expect("a list");
    assert!(followed.len() > 10, "{followed:?}");
    let records = followed.iter().map(|of| number(of, "records"));
    assert!(records.clone().all(|records| records == made + 1), "{followed:?}");

    let again = bench(place, &["--rate", "50"]);
    is_right(&again);
    assert_eq!(again.json["made"], Value::Null, "{}", again.json);
    assert_eq!(again.json["followed"], json!([]), "{}", again.json);
    assert_eq!(again.json["loop"], "open");
    for field in ["events", "sessions", "people", "facts"] {
        assert_eq!(first.json[field], again.json[field], "{field}");
    }

    let key = home.new_key(TENANT, &["reader", "writer"]).expect("a key");
    let server = home.serve().expect("a server");
    let asked = ["--url", &server.url, "--key", &key];
    is_right(&bench(&[], &asked));
    tell_more(&server, &key);
    let wrong = bench(&[], &asked);
    assert_eq!(wrong.code, Some(2), "{}: {}", wrong.said, wrong.json);
    let told = wrong.json["first_error"].as_str().expect("an error");
    assert!(told.contains("WRONG ANSWER to memory"), "{told}");
    // Another data set is not there.
    let other = bench(&[], &[&asked[..], &["--seed", "2", "--events", "700"]].concat());
    assert_ne!(other.code, Some(0), "{}", other.json);
}

/// A fact about one of the two people, which no story tells: answers about the other one stay right.
fn tell_more(server: &Server, key: &str) {
    let mutation = "mutation ($input: AppendEventsInput!) { appendEvents(input: $input) { __typename \
        ... on AppendEventsPayload { position } ... on Refusal { code message } } }";
    let client = Client::new();
    let fact =
        json!({ "record_id": "more", "about": "person-0", "content": "and more", "source_event_ids": [] });
    let input = json!({ "input": {
        "idempotencyKey": "more",
        "target": { "named": { "category": "MEMORY", "externalId": "person-0" } },
        "events": [{ "type": "memory.written", "data": { "json": fact } }],
    } });
    let told = graphql(&client, &server.url, key, mutation, input).expect("an answer");
    let position = told["appendEvents"]["position"]
        .as_str()
        .unwrap_or_else(|| panic!("{told}"));
    // The read model has it before anybody asks again.
    let seen = "query ($p: Position) { memory(about: \"person-0\", minPosition: $p) { nodes { recordId } } }";
    graphql(&client, &server.url, key, seen, json!({ "p": position })).expect("an answer");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this test is text")
}

#[test]
fn files_are_asked_and_wrong_answers_are_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::embedded(PROGRAM, folder.path());
    let place = ["--data-dir", text(&home.data), "--keys-dir", text(&home.keys)];
    on("sqlite", &place, &home);
    // What is there is not that of another data set, and gets none.
    let refused = bench(&place, &["--seed", "2"]);
    assert_eq!(refused.code, Some(1), "{}", refused.json);
    assert!(refused.said.contains("bench-read-600-2"), "{}", refused.said);
}

#[test]
fn a_database_is_asked_and_wrong_answers_are_errors() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases.clone());
    let place = [
        "--database-url",
        &databases.ledgers,
        "--tree-heads-url",
        &databases.tree_heads,
        "--keys-dir",
        text(&home.keys),
    ];
    on("postgres", &place, &home);
}
