//! Real conversation files through the real binary: nothing is lost, nothing comes twice, and a bad record does not
//! stop the others. Counts are those of a script that shares no line with Ruche; messages are compared with a walk of
//! the source's JSON that does not use the importer.

mod letta;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::blocking::Client;
use ruche_tests::data;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// Small pages, so that long conversations need several.
const SESSIONS: &str = "query ($after: String) { sessions(first: 10, after: $after, ascending: true) {
    pageInfo { hasNextPage endCursor } nodes { id externalId provenance } } }";
const MESSAGES: &str = "query ($id: ID!, $after: String) { session(id: $id) { messages(first: 30, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { ordinal role text tool name providerCallId isError error toolCalls { ordinal name arguments providerCallId } }
    } } }";
const TOTALS: &str =
    "{ totals { sessions counts { messages userMessages toolCalls writeCalls toolErrors } } }";

/// A message as both sides tell it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    role: String,
    text: Option<String>,
    /// Name that the message carries beside its role.
    name: Option<String>,
    /// Provider's id of the call that it answers.
    answers: Option<String>,
    error: Option<String>,
    calls: Vec<Call>,
}

#[derive(Debug, PartialEq, Eq)]
struct Call {
    name: String,
    arguments: String,
    id: Option<String>,
}

/// A data set: format, source file, other files, mapping.
struct Set {
    format: &'static str,
    file: &'static str,
    beside: Option<&'static str>,
    mapping: &'static str,
}

const TAU_BENCH: Set = Set {
    format: "tau-bench",
    file: "tau-bench-airline/gpt-4o-airline.json",
    beside: None,
    mapping: "docs/import/tau-bench-airline.json",
};
const AGENTDOJO: Set = Set {
    format: "agentdojo",
    file: "agentdojo-gpt-4o-mini/agentdojo-gpt-4o-mini-2024-07-18.jsonl",
    beside: None,
    mapping: "docs/import/agentdojo.json",
};
const TAU2: Set = Set {
    format: "tau2",
    file: "tau2-runtime-events-mock/results.json",
    beside: Some("tau2-runtime-events-mock/runtime_events.jsonl"),
    mapping: "docs/import/tau2-mock.json",
};

#[test]
fn tau_bench_is_imported_without_loss() {
    if let Some(counts) = imports_without_loss(&TAU_BENCH) {
        let figures = ["sessions", "messages", "toolCalls", "errors"].map(|name| counts[name].as_u64());
        assert_eq!(figures, [Some(200), Some(5308), Some(1164), Some(73)]);
    }
}

#[test]
fn agentdojo_is_imported_without_loss() {
    imports_without_loss(&AGENTDOJO);
}

#[test]
fn tau2_is_imported_without_loss() {
    imports_without_loss(&TAU2);
}

/// Imports twice, and compares counts and every message. Gives the counts of the script; nothing where the data is absent.
fn imports_without_loss(set: &Set) -> Option<Value> {
    let file = data::file(set.file)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let mapping = data::of_repository(set.mapping);
    let mut arguments = vec!["import", "--tenant", "acme", "--format", set.format, "--mapping"];
    arguments.push(mapping.to_str().expect("a path in UTF-8"));
    arguments.push(file.to_str().expect("a path in UTF-8"));
    let beside = set.beside.and_then(data::file);
    arguments.extend(
        beside
            .as_deref()
            .map(|path| path.to_str().expect("a path in UTF-8")),
    );
    let first = home.run(&arguments).expect("an import");
    assert!(first["total"]["appended"].as_u64() > Some(0), "{first}");

    let again = home.end_of(&arguments).expect("a second import");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(again.json["total"]["appended"], 0, "{again:?}");
    assert_eq!(
        again.json["total"]["sessions"], first["total"]["sessions"],
        "{again:?}"
    );

    let key = home.new_key("acme", &["reader"]).expect("a key");
    let server = home.serve().expect("the server starts");
    let there = Reader {
        client: Client::new(),
        server,
        key,
    };
    caught_up(&there.client, &there.server.url, &there.key).expect("the read models catch up");
    let counts = counted(set.format, &file, &mapping);
    let exported = there.conversations();
    assert_counts(&counts, &there.ask(TOTALS, Value::Null)["totals"], &exported);
    assert_messages(
        source(set.format, &fs::read_to_string(&file).expect("the source")),
        &file,
        exported,
    );
    Some(counts)
}

fn counted(format: &str, file: &Path, mapping: &Path) -> Value {
    let script = data::of_repository("tests/independent/counts.py");
    let mut python = Command::new("python3");
    let output = python
        .arg("-B")
        .arg(script)
        .arg(format)
        .arg(file)
        .arg(mapping)
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn assert_counts(counts: &Value, totals: &Value, exported: &BTreeMap<String, Vec<Said>>) {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    let told = &totals["counts"];
    assert_eq!(number(&totals["sessions"]), counts["sessions"].as_u64());
    for (field, counted) in [
        ("messages", "messages"),
        ("toolCalls", "toolCalls"),
        ("writeCalls", "writeCalls"),
        ("toolErrors", "errors"),
    ] {
        assert_eq!(
            number(&told[field]),
            counts[counted].as_u64(),
            "{field} in {told} and {counts}"
        );
    }
    assert_eq!(number(&told["userMessages"]), counts["roles"]["user"].as_u64());
    let mut roles: BTreeMap<&str, u64> = BTreeMap::new();
    for message in exported.values().flatten() {
        *roles.entry(&message.role).or_default() += 1;
    }
    assert_eq!(json!(roles), counts["roles"]);
}

fn assert_messages(
    expected: Vec<(String, Vec<Said>)>,
    file: &Path,
    mut exported: BTreeMap<String, Vec<Said>>,
) {
    let stem = file.file_stem().expect("a name").to_string_lossy();
    for (id, messages) in expected {
        let id = format!("{stem}/{id}");
        let found = exported
            .remove(&id)
            .unwrap_or_else(|| panic!("{id} is not there"));
        assert_eq!(found.len(), messages.len(), "messages of {id}");
        for (number, (found, expected)) in found.into_iter().zip(messages).enumerate() {
            assert_eq!(found, expected, "message {number} of {id}");
        }
    }
    assert!(
        exported.is_empty(),
        "sessions that the source does not have: {:?}",
        exported.keys()
    );
}

/// Reads everything back over the network.
struct Reader {
    client: Client,
    server: Server,
    key: String,
}

impl Reader {
    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    /// All items of a connection, page by page.
    fn all(&self, query: &str, mut variables: Value, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            let mut data = self.ask(query, variables.clone());
            let page = data
                .pointer_mut(path)
                .unwrap_or_else(|| panic!("no {path}"))
                .take();
            items.extend(page["nodes"].as_array().expect("nodes").iter().cloned());
            if page["pageInfo"]["hasNextPage"] != true {
                return items;
            }
            variables["after"] = page["pageInfo"]["endCursor"].clone();
        }
    }

    /// Messages of all sessions by the clients' own ids.
    fn conversations(&self) -> BTreeMap<String, Vec<Said>> {
        let sessions = self.all(SESSIONS, json!({}), "/sessions");
        let read = |session: &Value| {
            assert_eq!(session["provenance"], "imported", "{session}");
            let messages = self.all(MESSAGES, json!({ "id": session["id"] }), "/session/messages");
            let messages = messages
                .iter()
                .enumerate()
                .map(|(number, message)| told(number, message));
            (
                session["externalId"].as_str().expect("an external id").to_owned(),
                messages.collect(),
            )
        };
        sessions.iter().map(read).collect()
    }
}

/// A message of the API.
fn told(number: usize, message: &Value) -> Said {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    assert_eq!(message["ordinal"], number.to_string(), "{message}");
    let calls = message["toolCalls"].as_array().expect("calls").iter().enumerate();
    let calls = calls.map(|(ordinal, call)| {
        assert_eq!(call["ordinal"], ordinal, "{message}");
        Call {
            name: text(&call["name"]).expect("a name"),
            arguments: text(&call["arguments"]).expect("arguments"),
            id: text(&call["providerCallId"]),
        }
    });
    Said {
        role: text(&message["role"]).expect("a role").to_lowercase(),
        text: text(&message["text"]),
        name: text(&message["tool"]).or_else(|| text(&message["name"])),
        answers: text(&message["providerCallId"]),
        error: text(&message["error"]),
        calls: calls.collect(),
    }
}

/// A JSON object whose members are left as they are written.
struct Object(BTreeMap<String, Box<RawValue>>);

impl Object {
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).map(AsRef::as_ref)
    }
}

fn object(text: &str) -> Object {
    Object(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn list(raw: Option<&RawValue>) -> Vec<Box<RawValue>> {
    let list = raw.map(|raw| serde_json::from_str::<Option<_>>(raw.get()).expect("a list or null"));
    list.flatten().unwrap_or_default()
}

/// A text that may be null or absent; a number as it is written.
fn text(raw: Option<&RawValue>) -> Option<String> {
    let raw = raw?.get();
    if raw.starts_with('"') {
        Some(serde_json::from_str(raw).expect("a text"))
    } else {
        (raw != "null").then(|| raw.to_owned())
    }
}

/// Sessions of a source: the part of their ids behind the source's name, and their messages.
fn source(format: &str, file: &str) -> Vec<(String, Vec<Said>)> {
    let runs: Vec<Box<RawValue>> = match format {
        "agentdojo" => file
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect(),
        "tau2" => list(object(file).get("simulations")),
        _ => serde_json::from_str(file).expect("an array"),
    };
    let mut sessions = Vec::new();
    for run in runs.iter().map(|run| object(run.get())) {
        let member = |name| text(run.get(name)).unwrap_or_else(|| panic!("no {name}"));
        let (id, messages) = match format {
            "tau-bench" => (
                format!("{}/{}", member("task_id"), member("trial")),
                run.get("traj"),
            ),
            "agentdojo" if run.get("messages").is_none() => continue,
            "agentdojo" => (member("index"), run.get("messages")),
            _ => (member("id"), run.get("messages")),
        };
        sessions.push((
            id,
            list(messages)
                .iter()
                .map(|raw| message(format, &object(raw.get())))
                .collect(),
        ));
    }
    sessions
}

/// A message of a source. What the provider calls a call is the `id` of an answer in tau2, and its `tool_call_id` elsewhere.
fn message(format: &str, message: &Object) -> Said {
    let role = text(message.get("role")).expect("a role");
    let answers = if format == "tau2" { "id" } else { "tool_call_id" };
    let answers = message.get(answers).filter(|_| role == "tool");
    // In tau2 `error` is a flag; elsewhere it is what went wrong.
    let error = message.get("error").filter(|_| format == "agentdojo");
    Said {
        text: text(message.get("content")),
        name: text(message.get("name")),
        answers: text(answers),
        error: text(error),
        calls: list(message.get("tool_calls"))
            .iter()
            .map(|raw| call(&object(raw.get())))
            .collect(),
        role,
    }
}

/// A call of a source: arguments that are a text are that text, others are the bytes that stand there.
fn call(call: &Object) -> Call {
    let inner = call
        .get("function")
        .filter(|raw| raw.get().starts_with('{'))
        .map(|raw| object(raw.get()));
    let member = |name| inner.as_ref().unwrap_or(call).get(name);
    Call {
        name: text(member("name"))
            .or_else(|| text(call.get("function")))
            .expect("a name"),
        arguments: text(member("arguments")).expect("arguments"),
        id: text(call.get("id")),
    }
}

#[test]
fn a_bad_record_is_told_with_file_and_path_and_the_others_are_imported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let example = fs::read_to_string(data::of_repository("docs/import/example.json")).expect("the example");
    let mut runs: Vec<Value> = serde_json::from_str(&example).expect("an array");
    let mut broken = runs[0].clone();
    broken["task_id"] = json!(77);
    broken["traj"][2]["role"] = json!("narrator");
    runs.insert(1, broken);
    let file = folder.path().join("mixed.json");
    fs::write(&file, serde_json::to_vec(&runs).expect("JSON")).expect("writable");
    let path = file.to_str().expect("a path in UTF-8");
    let arguments = ["import", "--tenant", "acme", "--format", "tau-bench", path];
    let done = home.end_of(&arguments).expect("an import");
    assert_eq!(done.code, Some(2), "{done:?}");
    assert_eq!(
        (&done.json["total"]["sessions"], &done.json["total"]["bad"]),
        (&json!(2), &json!(1))
    );
    let bad = &done.json["bad_records"][0];
    assert_eq!(bad["file"], path);
    assert!(
        bad["path"]
            .as_str()
            .is_some_and(|place| place.starts_with("/1/traj/2")),
        "{bad}"
    );
    let line = done
        .said
        .lines()
        .find(|line| line.starts_with(path))
        .expect("a line on standard error");
    assert!(line.contains("/1/traj/2"), "{line}");

    let again = home.end_of(&arguments).expect("a second import");
    assert_eq!(
        (again.code, &again.json["total"]["appended"]),
        (Some(2), &json!(0)),
        "{again:?}"
    );
}

#[test]
fn a_file_that_is_not_there_or_a_wrong_call_is_exit_code_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    for arguments in [
        &[
            "import",
            "--tenant",
            "acme",
            "--format",
            "tau-bench",
            "no-such-file.json",
        ][..],
        &[
            "import",
            "--tenant",
            "acme",
            "--format",
            "no-such-format",
            "x.json",
        ],
        &["import", "--tenant", "acme", "--format", "tau-bench"],
    ] {
        let done = home.end_of(arguments).expect("an end");
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(!done.said.is_empty());
    }
}
