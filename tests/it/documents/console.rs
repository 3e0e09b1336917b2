//! Commands in documents do what the documents say. A block marked `console` is typed line by line: every line that
//! begins with `$ ` is a command, goes on after a backslash, and has to succeed. A block marked `json` right behind it
//! is the answer of its last command, but for white space. The lines of a `text` block are printed by its commands, but
//! for numbers, ids and lines with `…`.
//!
//! The folder that the commands run in looks like a clone in which everything was built: what cargo would do is taken
//! as done, `target/release` has the programs of this very build.

mod shown;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ruche_tests::patroni::make_available;
use ruche_tests::server::{Home, Server};
use serde_json::Value;
use tempfile::TempDir;

use crate::markdown::{self, Block};
use crate::repository;

const RUCHE: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const RUCHE_VERIFY: &str = env!("CARGO_BIN_EXE_ruche-verify-under-test");
/// Where the documents say that the demo listens. Tests take a free port.
const DEMO_URL: &str = "http://127.0.0.1:4000";
/// Documents with commands.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "deploy/README.md",
    "docs/analytics.md",
    "docs/first-hour.md",
    "docs/first-verification.md",
    "docs/import/README.md",
    "docs/ingest.md",
    "docs/memory.md",
    "docs/operations/archive.md",
    "docs/operations/backup.md",
    "docs/operations/postgres.md",
    "docs/operations/read-models.md",
    "docs/otlp.md",
    "docs/sessions.md",
    "docs/sql.md",
    "docs/subscriptions.md",
];
/// Where a deployed service keeps its folders. Tests have them in a folder of their own.
const STATE: &str = "/var/lib/";
/// Where the example of a cluster is. Tests have a folder of their own, which the user of the servers can reach.
const CLUSTER: &str = "/tmp/ruche-ha";
/// The command that serves until it is stopped.
const DEMO: &str = "cargo run --release";
/// Everything else that documents ask of cargo. This build has done it.
const CARGO: &str = "#!/bin/sh
case \"$*\" in
'build --release' | 'build --release --package ruche-ledger-bundle' | 'xtask test') ;;
*) echo \"a document says: cargo $*\" >&2; exit 1 ;;
esac
";

/// The commands of a block.
fn commands(block: &Block) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    joined
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(str::to_owned)
        .collect()
}

struct Clone {
    folder: TempDir,
    demo: Option<(Server, String)>,
}

impl Clone {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let programs = folder.path().join("target/release");
        fs::create_dir_all(&programs).expect("a new folder");
        for name in ["docs", "deploy"] {
            symlink(repository::root().join(name), folder.path().join(name)).expect("a new link");
        }
        symlink(RUCHE, programs.join("ruche")).expect("a new link");
        symlink(RUCHE_VERIFY, programs.join("ruche-verify")).expect("a new link");
        let cargo = programs.join("cargo");
        fs::write(&cargo, CARGO).expect("a new file");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("a file of our own");
        Self { folder, demo: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shell(&self, command: &str) -> Output {
        let mut shell = Command::new("sh");
        let path = format!(
            "{}:{}",
            self.path("target/release").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        shell
            .args(["-c", command])
            .current_dir(self.folder.path())
            .env("PATH", path);
        if let Some((_, key)) = &self.demo {
            shell.env("KEY", key);
        }
        shell.output().expect("there is a shell")
    }

    /// Types a command. Gives what it printed.
    fn type_in(&mut self, command: &str) -> String {
        if command == DEMO {
            let home = Home {
                program: RUCHE.into(),
                data: self.path("ruche-data"),
                keys: self.path("ruche-keys"),
                databases: None,
            };
            self.demo = Some(home.demo().expect("the demo serves"));
            return String::new();
        }
        if command.starts_with("ruche ")
            && !command.contains(DEMO_URL)
            && let Some((server, _)) = self.demo.take()
        {
            // The document says to stop it.
            assert!(
                server.stop().expect("the demo can be stopped"),
                "the demo did not end well"
            );
        }
        let url = self.demo.as_ref().map_or(DEMO_URL, |(server, _)| &server.url);
        let state = format!("{}/", self.path("state").display());
        let cluster = cluster_folder();
        let typed = command
            .replace(DEMO_URL, url)
            .replace(STATE, &state)
            .replace(CLUSTER, &cluster);
        let output = self.shell(&typed);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "$ {command}\n{}\n{said}{errors}",
            output.status
        );
        said
    }
}

fn cluster_folder() -> String {
    format!("{CLUSTER}-{}", std::process::id())
}

/// Takes the example down where its document could not be typed to the end.
struct TakenDown;

impl Drop for TakenDown {
    fn drop(&mut self) {
        let folder = cluster_folder();
        if Path::new(&folder).exists() {
            let down = Command::new(repository::root().join("deploy/ha/cluster"))
                .args(["down", &folder])
                .status();
            eprintln!(
                "the example was taken down: {down:?}, {:?}",
                fs::remove_dir_all(&folder)
            );
        }
    }
}

fn json(text: &str, whose: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{whose}: {error}\n{text}"))
}

/// Types all commands of a document, in order.
fn run(document: &str, clone: &mut Clone) {
    let text = fs::read_to_string(repository::root().join(document)).expect("the document is there");
    let (_, blocks) = markdown::split(&text);
    let mut typed = 0;
    for (number, block) in blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.language == "console")
    {
        let place = format!("{document}:{}", block.line);
        let (mut said, mut printed) = (String::new(), String::new());
        for command in commands(block) {
            said = clone.type_in(&command);
            printed.push_str(&said);
            if command.starts_with("curl ") {
                let answer = json(&said, &place);
                assert!(
                    answer["errors"].is_null() && !(answer["data"].is_null() && answer["receipts"].is_null()),
                    "{place}: {answer}"
                );
            }
            typed += 1;
        }
        if let Some(answer) = blocks.get(number + 1).filter(|next| next.language == "json") {
            assert_eq!(
                json(&said, &place),
                json(&answer.text, &place),
                "{place}: the answer is another one"
            );
        }
        if let Some(lines) = blocks.get(number + 1).filter(|next| next.language == "text") {
            assert_eq!(
                shown::missing(&lines.text, &printed),
                None,
                "{place}: it is not in\n{printed}"
            );
        }
    }
    assert!(
        typed > 0,
        "{document} has no commands: is its markup another one?"
    );
}

#[test]
fn every_document_with_commands_is_typed() {
    let has_commands = |path: &String| {
        let text = fs::read_to_string(repository::root().join(path)).expect("the document is there");
        let (_, blocks) = markdown::split(&text);
        blocks.iter().any(|block| block.language == "console")
    };
    let mut found = repository::paths();
    found.retain(|path| path.ends_with(".md") && has_commands(path));
    found.sort();
    assert_eq!(found, DOCUMENTS);
}

#[test]
fn the_readme_can_be_typed() {
    run("README.md", &mut Clone::new());
}

#[test]
fn the_first_verification_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in("ruche seed --tenant demo --sessions 20");
    run("docs/first-verification.md", &mut clone);
    let audited = clone.shell("ruche-verify changed-copy --json --key \"$(cat auditor.vkey)\"");
    let report = json(&String::from_utf8_lossy(&audited.stdout), "the changed copy");
    assert_eq!(report["verdict"], "TAMPERED", "{report}");
}

#[test]
fn the_example_of_an_import_can_be_typed() {
    run("docs/import/README.md", &mut Clone::new());
}

#[test]
fn the_imports_of_all_documents_can_be_typed_in_a_row() {
    let mut clone = Clone::new();
    let mut typed = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(repository::root().join(document)).expect("the document is there");
        let (_, blocks) = markdown::split(&text);
        let console = blocks.iter().filter(|block| block.language == "console");
        for command in console
            .flat_map(commands)
            .filter(|line| line.starts_with("ruche import "))
        {
            clone.type_in(&command);
            typed += 1;
        }
    }
    assert!(typed > 1, "the documents have {typed} imports");
}

#[test]
fn the_example_of_an_append_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in(DEMO);
    run("docs/ingest.md", &mut clone);
}

#[test]
fn the_questions_of_analysts_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in(DEMO);
    run("docs/analytics.md", &mut clone);
}

#[test]
fn the_example_of_memory_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in(DEMO);
    run("docs/memory.md", &mut clone);
}

#[test]
fn the_example_of_telemetry_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in(DEMO);
    run("docs/otlp.md", &mut clone);
}

#[test]
fn the_examples_about_sessions_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in(DEMO);
    run("docs/sessions.md", &mut clone);
}

#[test]
fn tables_can_be_written_as_it_is_said() {
    let mut clone = Clone::new();
    run("docs/sql.md", &mut clone);
    assert!(clone.path("costs.parquet").exists());
}

#[test]
fn the_deployment_can_be_typed() {
    let mut clone = Clone::new();
    run("deploy/README.md", &mut clone);
    assert!(
        !clone.path("ruche-data").exists(),
        "every command is about the service's own store"
    );
}

#[test]
fn the_drill_of_a_restore_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in("ruche seed --tenant acme --sessions 5");
    run("docs/operations/backup.md", &mut clone);
}

#[test]
fn what_is_said_of_read_models_can_be_typed() {
    let mut clone = Clone::new();
    let made = clone.type_in("ruche keys new --tenant demo --role admin --json");
    let made = json(&made, "a new key");
    clone.type_in(DEMO);
    let (_, key) = clone.demo.as_mut().expect("it serves");
    *key = made["key"].as_str().expect("a key").to_owned();
    run("docs/operations/read-models.md", &mut clone);
}

#[test]
fn what_is_said_of_archives_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in("ruche seed --tenant acme --sessions 40");
    run("docs/operations/archive.md", &mut clone);
}

#[test]
fn the_example_of_a_cluster_can_be_typed() {
    if let Err(problem) = make_available() {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!is_ci, "{problem}");
        eprintln!("skipped: {problem}");
        return;
    }
    let _in_the_end = TakenDown;
    run("docs/operations/postgres.md", &mut Clone::new());
}

#[test]
fn the_example_of_a_subscription_can_be_typed() {
    let mut clone = Clone::new();
    clone.type_in(DEMO);
    run("docs/subscriptions.md", &mut clone);
    let seen = fs::read_to_string(clone.path("seen.jsonl")).expect("the document keeps it");
    assert_eq!(seen.lines().count(), 2, "{seen}");
    let (url, key) = clone
        .demo
        .as_ref()
        .map(|(server, key)| (&server.url, key))
        .expect("it runs");
    let wrong = format!("KEY={key}0 python3 docs/examples/subscribe.py {url} x");
    let refused = clone.shell(&wrong);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && said.contains("4401"),
        "{refused:?}"
    );
}

#[test]
fn commands_are_told_from_what_they_print() {
    let text = "$ a b \\\n    c\nprinted\n$ d\n".to_owned();
    let block = Block {
        language: "console".into(),
        line: 1,
        text,
    };
    assert_eq!(commands(&block), ["a b      c", "d"]);
    assert!(Path::new(RUCHE).is_file() && Path::new(RUCHE_VERIFY).is_file());
}
