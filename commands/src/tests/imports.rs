//! The three real files through the pipeline and back. What is expected is taken from the files by walking their JSON
//! anew, without the readers under test. Read in place from `RUCHE_DATA`; skipped, and said so, where it is absent.

#![allow(
    clippy::disallowed_methods,
    reason = "the files of other projects are read where they are"
)]

mod agentdojo;
mod broken;
mod large;
mod letta;
mod tau2;
mod tau_bench;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{Requestor, Role, TextForm};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::testing::check_ledger;
use serde_json::{Map, Value};

use crate::import::plan::in_parts;
use crate::import::{
    self, BadRecord, Format, ImportOptions, ImportedCounts, ImportedSession, Message, MessageAnswer,
    MessageToolCall, SessionPlan, ToolMapping, export_messages, import_session, import_tools, plan,
};
use crate::testing::{NoObjection, TestLedger};

const TAU_BENCH: &str = "tau-bench-airline/gpt-4o-airline.json";
const AGENTDOJO: &str = "agentdojo-gpt-4o-mini/agentdojo-gpt-4o-mini-2024-07-18.jsonl";
const TAU2: &str = "tau2-runtime-events-mock/results.json";
const TAU2_LOG: &str = "tau2-runtime-events-mock/runtime_events.jsonl";

fn data(below: &str) -> Option<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = std::env::var_os("RUCHE_DATA").map_or_else(|| here.join("../../shared/data"), PathBuf::from);
    let path = root.join(below);
    if !path.exists() {
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "{} is absent", path.display());
        eprintln!("skipped: {} absent", path.display());
        return None;
    }
    Some(std::fs::read(path).expect("a readable file"))
}

fn mapping(name: &str) -> ToolMapping {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/import/{name}.json"));
    ToolMapping::read(&std::fs::read(path).expect("the mapping is in the repository"))
        .expect("a good mapping")
}

/// What importing a file came to.
struct Imported {
    plans: Vec<SessionPlan>,
    bad: Vec<BadRecord>,
    counts: ImportedCounts,
    unclassified: Vec<String>,
}

async fn run(
    ledger: &TestLedger,
    sessions: impl Iterator<Item = Result<ImportedSession, BadRecord>>,
    options: &ImportOptions,
) -> Imported {
    let mut imported = Imported {
        plans: Vec::new(),
        bad: Vec::new(),
        counts: ImportedCounts::default(),
        unclassified: Vec::new(),
    };
    let mut known = HashSet::new();
    for session in sessions {
        let session = match session {
            Ok(session) => session,
            Err(bad) => {
                imported.bad.push(bad);
                continue;
            }
        };
        let planned = plan(session, options);
        let (commands, context) = (&ledger.commands, &ledger.context);
        let tools = import_tools(commands, context, &planned, &options.mapping, &mut known)
            .await
            .unwrap();
        imported.unclassified.extend(tools.unclassified);
        let counts = import_session(commands, context, &planned).await.unwrap();
        imported.counts = imported.counts.plus(tools.counts).plus(counts);
        imported.plans.push(planned);
    }
    imported
}

fn options(source: &str, mapping_name: &str) -> ImportOptions {
    ImportOptions {
        source: source.to_owned(),
        agent: None,
        mapping: mapping(mapping_name),
    }
}

async fn ledger() -> TestLedger {
    TestLedger::in_memory(Arc::new(NoObjection)).await
}

async fn exported(ledger: &TestLedger, plan: &SessionPlan) -> Vec<Message> {
    let records = ledger.records(ledger.session(&plan.external_id)).await;
    export_messages(&records).unwrap()
}

/// Counts over everything that stands in the sessions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    sessions: usize,
    messages: usize,
    calls: usize,
    errors: usize,
    effects: usize,
}

/// The tally from records alone.
async fn tally(ledger: &TestLedger, plans: &[SessionPlan]) -> Tally {
    let mut tally = Tally::default();
    let mut calls = HashSet::new();
    for plan in plans {
        let records = ledger.records(ledger.session(&plan.external_id)).await;
        tally.sessions += records
            .iter()
            .filter(|r| r.leaf.event.event_type == "session.started")
            .count();
        for record in &records {
            let event = &record.leaf.event;
            let payload = record.payload_bytes().unwrap();
            let fact = AgentEvent::from_payload(&event.event_type, event.schema_version, payload).unwrap();
            tally.messages += usize::from(crate::observed::message_ordinal(&fact).is_some());
            match fact {
                AgentEvent::ToolProposed(call) => {
                    assert!(calls.insert(event.call.unwrap()), "call ids of ours are unique");
                    tally.calls += 1;
                    tally.effects += usize::from(call.side_effect != Some(SideEffectPolicy::Pure));
                }
                AgentEvent::ToolFailed(_) => tally.errors += 1,
                _ => {}
            }
        }
    }
    tally
}

fn role(value: &Value) -> Role {
    serde_json::from_value(value["role"].clone()).unwrap()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn rest(message: &Value, known: &[&str]) -> ruche_domain::Ext {
    let fields: &Map<String, Value> = message.as_object().unwrap();
    let fields = fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn calls(message: &Value) -> &[Value] {
    message["tool_calls"].as_array().map_or(&[], Vec::as_slice)
}

/// The exact bytes of the values of all members of one name, in the order of the text.
fn raw_values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let marker = format!("\"{name}\":");
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&marker) {
        let value = text[at + marker.len()..].trim_start();
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<serde::de::IgnoredAny>();
        values.next().unwrap().unwrap();
        found.push(&value[..values.byte_offset()]);
    }
    found
}

#[test]
fn a_file_is_told_from_one_of_another_format_whatever_is_wrong_with_its_records() {
    let files: [(&[u8], Option<Format>); 9] = [
        (b"{broken\n{\"agent_args\": 1}\n", Some(Format::Letta)),
        (b" [{\"task_id\": 1", Some(Format::TauBench)),
        (b"{\"messages\": []}\n{broken\n", Some(Format::AgentDojo)),
        (b"{broken\n{\"messages\": []}\r\n", Some(Format::AgentDojo)),
        (b"{\n\"info\": {},\n\"simulations\": [{", Some(Format::Tau2)),
        (b"# A page\n{}\n", None),
        (b"{\n\"info\": 1\n}\n", None),
        (b"[", Some(Format::TauBench)),
        (b"", None),
    ];
    for (bytes, format) in files {
        let found = Format::ALL.into_iter().find(|format| format.is_of(bytes));
        assert_eq!(found, format, "{:?}", String::from_utf8_lossy(bytes));
    }
}
