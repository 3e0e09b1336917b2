//! Payloads that leave the store for an archive: nothing of them is lost, nobody takes them for erased, and they come back as
//! they were. On the engine that the suite is run for.

mod killed;
mod stays;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::blocking::Client;
use ruche_tests::data;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const VERIFIER: &str = env!("CARGO_BIN_EXE_ruche-verify-under-test");
/// Behind every record.
const ALL: &str = "1:999999";
const START: &str = "mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename } }";
const SUBMIT: &str = "mutation ($input: SubmitMessageInput!) { submitMessage(input: $input) {
    __typename ... on SubmitMessagePayload { turnId duplicate } ... on Refusal { code } } }";
const CANCEL: &str = "mutation ($input: CancelTurnInput!) { cancelTurn(input: $input) { __typename ... on Refusal { code } } }";

/// A tenant with a conversation of a lane, and imported ones behind it.
struct World {
    folder: TempDir,
    home: Home,
    key: String,
    client: Client,
    /// The turn of the first message.
    first: Value,
}

impl World {
    fn new(conversations: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
        let mut world = Self {
            first: Value::Null,
            folder,
            home,
            key,
            client: Client::new(),
        };
        let server = world.home.serve().expect("the server starts");
        for who in ["ann", "bob"] {
            let session = json!({ "idempotencyKey": who, "externalId": who, "agent": "shop", "interlocutor": who,
                "channel": "web" });
            world.ask(&server, START, json!({ "input": session }));
        }
        let first = world.submit(&server, "first", "ann");
        world.first = first["turnId"].clone();
        let cancel = json!({ "idempotencyKey": "cancel", "lane": lane("ann"), "turnId": world.first });
        let cancelled = world.ask(&server, CANCEL, json!({ "input": cancel }));
        assert_eq!(cancelled["cancelTurn"]["code"], Value::Null);
        // This one is open, so it stays whole.
        world.submit(&server, "open", "bob");
        assert!(server.stop().expect("it ends"));
        world.import(conversations);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Value {
        self.home.run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    fn ask(&self, server: &Server, query: &str, variables: Value) -> Value {
        graphql(&self.client, &server.url, &self.key, query, variables).expect("an answer")
    }

    /// A message in the lane.
    fn submit(&self, server: &Server, key: &str, who: &str) -> Value {
        let input = message(key, who);
        let answer = self.ask(server, SUBMIT, json!({ "input": input }));
        assert_eq!(answer["submitMessage"]["code"], Value::Null, "{answer}");
        answer["submitMessage"].clone()
    }

    /// Conversations that stand in no lane.
    fn import(&self, conversations: usize) {
        let example = fs::read(data::of_repository("docs/import/example.json")).expect("the example");
        let example: Vec<Value> = serde_json::from_slice(&example).expect("conversations");
        let mut all = Vec::new();
        for (number, conversation) in example.iter().cycle().take(conversations).enumerate() {
            let mut conversation = conversation.clone();
            conversation["task_id"] = number.into();
            all.push(conversation);
        }
        let path = self.path("conversations.json");
        fs::write(&path, Value::Array(all).to_string()).expect("a file");
        self.run(&["import", "--tenant", "acme", "--format", "tau-bench", text(&path)]);
    }

    /// An export, and its verifier keys.
    fn export(&self, name: &str, more: &[&str]) -> (PathBuf, Vec<String>) {
        let path = self.path(name);
        let told = self.run(&[&["export", "--tenant", "acme", text(&path)], more].concat());
        let keys = told["verifier_keys"].as_array().expect("keys").iter();
        let keys = keys.filter_map(Value::as_str).map(str::to_owned).collect();
        (path, keys)
    }
}

fn lane(who: &str) -> Value {
    json!({ "agent": "shop", "interlocutor": who, "channel": "web" })
}

fn message(key: &str, who: &str) -> Value {
    json!({ "idempotencyKey": key, "session": { "externalId": who }, "text": "x", "lane": lane(who) })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// The whole bundles of payloads in an export: those that later records do not change.
fn payloads(export: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(export.join("e1/payload")).expect("payloads");
    let files = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file());
    let named = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("a bundle"))
    };
    files.map(named).collect()
}

/// What both verifiers say: exit code, and each kind of finding.
fn verdicts(export: &Path, keys: &[String], archives: Option<&Path>) -> (i32, Vec<String>) {
    let mut arguments = vec![text(export).to_owned(), "--json".to_owned()];
    arguments.extend(keys.iter().flat_map(|key| ["--key".to_owned(), key.clone()]));
    arguments.extend(
        archives
            .into_iter()
            .flat_map(|path| ["--archive".to_owned(), text(path).to_owned()]),
    );
    let said = |program: &mut Command| {
        let output = program.args(&arguments).output().expect("it runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let findings = report["findings"].as_array().expect("findings").iter();
        let mut kinds: Vec<_> = findings
            .filter_map(|found| found["kind"].as_str())
            .map(str::to_owned)
            .collect();
        kinds.dedup();
        (output.status.code().expect("an exit code"), kinds)
    };
    let ours = said(&mut Command::new(VERIFIER));
    let script = data::of_repository("docs/formats/verify.py");
    assert_eq!(
        ours,
        said(Command::new("python3").arg("-B").arg(script)),
        "verify.py and ruche-verify"
    );
    ours
}

fn kinds(kinds: &[&str]) -> Vec<String> {
    kinds.iter().map(|kind| (*kind).to_owned()).collect()
}

/// Copies a folder of archives and changes one byte of a bundle.
fn tampered(archives: &Path, to: &Path) -> PathBuf {
    let archive = fs::read_dir(archives).expect("archives");
    let archive = archive
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.is_dir());
    let archive = archive.expect("an archive");
    let copy = to.join(archive.file_name().expect("a name"));
    fs::create_dir_all(copy.join("e1/payload")).expect("a folder");
    for name in ["manifest.json", "index", "checkpoint"] {
        fs::copy(archive.join(name), copy.join(name)).expect("a copy");
    }
    for (name, mut bytes) in payloads(&archive) {
        if name == "001"
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        fs::write(copy.join("e1/payload").join(name), bytes).expect("a bundle");
    }
    copy
}

#[test]
fn what_left_comes_back_byte_by_byte_and_is_told_apart_meanwhile() {
    let world = World::new(60);
    let archives = world.path("archives");
    let (before, keys) = world.export("before", &[]);
    let before = payloads(&before);
    assert!(before.len() > 2, "whole bundles: {:?}", before.keys());

    let made = world.run(&["archive", "create", "--before", ALL, "--to", text(&archives)]);
    let name = made["archives"][0]["archive"]
        .as_str()
        .expect("an archive")
        .to_owned();
    assert_ne!(made["archives"][0]["payloads"], 0);
    let listed = world.run(&["archive", "list"]);
    assert_eq!(listed["archives"][0]["archive"], name.as_str());

    // An auditor is told what is missing and where it is, and finds it there.
    let (without, _) = world.export("without", &[]);
    assert_ne!(payloads(&without), before);
    assert_eq!(verdicts(&without, &keys, None), (5, kinds(&["PAYLOAD_ARCHIVED"])));
    assert_eq!(verdicts(&without, &keys, Some(&archives)), (0, kinds(&[])));
    let bad = tampered(&archives, &world.path("bad"));
    let (code, found) = verdicts(&without, &keys, Some(&bad));
    assert_eq!(
        (code, found.contains(&"PAYLOAD_MISMATCH".to_owned())),
        (2, true),
        "{found:?}"
    );
    let (with, _) = world.export("with", &["--archive-dir", text(&archives)]);
    assert_eq!(payloads(&with), before);

    // Read models are made from the archive, or not begun.
    let refused = world.home.end_of(&["rebuild"]).expect("it runs");
    assert_ne!(refused.code, Some(0));
    assert!(refused.said.contains(&name), "{}", refused.said);
    let rebuilt = world.run(&["rebuild", "--archive-dir", text(&archives)]);
    assert_eq!(
        rebuilt["differences"].as_array().map(Vec::len),
        Some(0),
        "{rebuilt}"
    );

    // Nothing comes back from an archive that is not what it was; from the right one all of it does, once.
    let refused = world
        .home
        .end_of(&["archive", "restore", text(&bad)])
        .expect("it runs");
    assert_ne!(refused.code, Some(0));
    let (still, _) = world.export("still", &[]);
    assert_eq!(payloads(&still), payloads(&without));
    let archive = archives.join(&name);
    let restored = world.run(&["archive", "restore", text(&archive)]);
    assert_eq!(restored["payloads"], made["archives"][0]["payloads"]);
    let again = world.run(&["archive", "restore", text(&archive)]);
    assert_eq!(again["payloads"], 0);
    let (after, _) = world.export("after", &[]);
    assert_eq!(payloads(&after), before);
    assert_eq!(verdicts(&after, &keys, None), (0, kinds(&[])));
}

#[test]
fn a_server_says_what_is_archived_and_reads_it_from_a_folder_that_it_is_given() {
    let world = World::new(60);
    let archives = world.path("archives");
    let query =
        "{ ledger { records(first: 60) { nodes { position payloadState payloadText archive stream } } } }";
    let records = |arguments: &[&str]| {
        let server = world.home.serve_with(arguments, &[]).expect("the server starts");
        let answer = world.ask(&server, query, Value::Null);
        assert!(server.stop().expect("it ends"));
        answer["ledger"]["records"]["nodes"]
            .as_array()
            .expect("records")
            .clone()
    };
    let before = records(&[]);
    let made = world.run(&["archive", "create", "--before", ALL, "--to", text(&archives)]);
    let name = &made["archives"][0]["archive"];
    let after = records(&[]);
    let left: Vec<_> = after
        .iter()
        .filter(|record| record["payloadState"] == "ARCHIVED")
        .collect();
    assert!(!left.is_empty());
    let lanes = || {
        let streams = before.iter().filter_map(|record| record["stream"].as_str());
        streams.filter(|stream| stream.starts_with("lane-"))
    };
    let closed = lanes().next().expect("the first lane");
    assert!(lanes().any(|stream| stream != closed), "an open one");
    for record in &after {
        let stream = record["stream"].as_str().expect("a stream");
        let has_left = stream == closed || stream.starts_with("observed-");
        let (state, archive) = match has_left {
            true => ("ARCHIVED", name),
            false => ("PRESENT", &Value::Null),
        };
        assert_eq!(
            (&record["payloadState"], &record["archive"]),
            (&json!(state), archive),
            "{record}"
        );
        assert_eq!(record["payloadText"].is_null(), has_left);
    }
    assert_eq!(records(&["--archive-dir", text(&archives)]), before);

    // What a command has to be decided on is not guessed. What was answered before is answered as before.
    let server = world.home.serve().expect("the server starts");
    let refused = graphql(
        &world.client,
        &server.url,
        &world.key,
        SUBMIT,
        json!({ "input": message("second", "ann") }),
    );
    let refused = refused.expect_err("a refusal").to_string();
    assert!(
        refused.contains("\"ARCHIVED\"") && refused.contains("docs/errors/ARCHIVED"),
        "{refused}"
    );
    let again = world.submit(&server, "first", "ann");
    assert_eq!(
        (&again["duplicate"], &again["turnId"]),
        (&json!(true), &world.first),
        "{again}"
    );
    assert!(server.stop().expect("it ends"));
    let server = world
        .home
        .serve_with(&["--archive-dir", text(&archives)], &[])
        .expect("the server starts");
    world.submit(&server, "second", "ann");
    assert!(server.stop().expect("it ends"));
}
