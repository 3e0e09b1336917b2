//! The validator behind the pipeline: what clients are told, and that our own facts fit the schemas we publish.

#![allow(
    clippy::disallowed_methods,
    reason = "the files of other projects are read where they are"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ruche_commands::import::{self, Format, ImportOptions, ToolMapping};
use ruche_commands::testing::TestLedger;
use ruche_commands::{
    AppendEvents, AppendTarget, ClientEvent, CommandError, PayloadValidator, SessionRef, StartSession,
};
use ruche_domain::numbers::Position;

use crate::CatalogueValidator;

async fn ledger() -> TestLedger {
    let ledger = TestLedger::in_memory(Arc::new(CatalogueValidator::new().unwrap())).await;
    let context = ledger.context.with_key("start");
    ledger
        .commands
        .execute(&context, &StartSession::new("s-1"))
        .await
        .unwrap();
    ledger
}

async fn append(ledger: &TestLedger, key: &str, event: ClientEvent) -> Result<(), CommandError> {
    let target = AppendTarget::Session(SessionRef::External("s-1".to_owned()));
    let events = vec![ClientEvent::text("eval.scored", r#"{"name":"fine"}"#), event];
    let context = ledger.context.with_key(key);
    ledger
        .commands
        .execute(&context, &AppendEvents::new(target, events))
        .await
        .map(|_| ())
}

#[tokio::test]
async fn a_client_is_told_the_event_and_the_place() {
    let ledger = ledger().await;
    let size = ledger.size().await;
    let wrong = ClientEvent::text(
        "message.received",
        r#"{"role":"user","tool_calls":[{"ordinal":"one"}]}"#,
    );
    match append(&ledger, "k", wrong).await.unwrap_err() {
        CommandError::SchemaViolation {
            event: 1, violations, ..
        } => {
            let places: Vec<&str> = violations.iter().map(|v| v.pointer.as_str()).collect();
            assert!(places.contains(&"/tool_calls/0/ordinal"), "{violations:?}");
        }
        other => panic!("{other:?}"),
    }
    let unknown_field = ClientEvent::text("message.received", r#"{"role":"user","rolle":1}"#);
    assert_eq!(
        append(&ledger, "u", unknown_field).await.unwrap_err().code(),
        "SCHEMA_VIOLATION"
    );
    assert_eq!(ledger.size().await, size, "nothing of either was written");
    let right = ClientEvent::text("message.received", r#"{"role":"user","text":"hi"}"#);
    append(&ledger, "r", right).await.unwrap();
    assert_eq!(ledger.size().await, size + 2);
}

fn data(below: &str) -> Option<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root =
        std::env::var_os("RUCHE_DATA").map_or_else(|| here.join("../../../../shared/data"), PathBuf::from);
    let path = root.join(below);
    if !path.exists() {
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "{} is absent", path.display());
        eprintln!("skipped: {} absent", path.display());
        return None;
    }
    Some(std::fs::read(path).expect("a readable file"))
}

/// Facts of ours are not validated when they are written. Here every one that the real files become is.
#[tokio::test]
async fn what_imports_write_fits_the_published_schemas() {
    let validator = CatalogueValidator::new().unwrap();
    let ledger = ledger().await;
    let files = [
        (
            Format::TauBench,
            "tau-bench-airline/gpt-4o-airline.json",
            "tau-bench-airline",
        ),
        (
            Format::AgentDojo,
            "agentdojo-gpt-4o-mini/agentdojo-gpt-4o-mini-2024-07-18.jsonl",
            "agentdojo",
        ),
        (Format::Tau2, "tau2-runtime-events-mock/results.json", "tau2-mock"),
    ];
    for (format, file, mapping) in files {
        let Some(bytes) = data(file) else { return };
        let mapping =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../../docs/import/{mapping}.json"));
        let options = ImportOptions {
            source: format.name().to_owned(),
            agent: None,
            mapping: ToolMapping::read(&std::fs::read(mapping).unwrap()).unwrap(),
        };
        let mut known = std::collections::HashSet::new();
        for session in import::read(format, &bytes) {
            let plan = import::plan(session.unwrap(), &options);
            let (commands, context) = (&ledger.commands, &ledger.context);
            import::import_tools(commands, context, &plan, &options.mapping, &mut known)
                .await
                .unwrap();
            import::import_session(commands, context, &plan).await.unwrap();
        }
    }
    let mut checked = std::collections::BTreeMap::new();
    let mut from = Position::new(1, 1);
    loop {
        let page = ledger
            .store
            .read_ledger(ledger.context.ledger, from, 1_000)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        from = last.position.next();
        for record in page {
            let event = &record.leaf.event;
            let payload = serde_json::from_slice(record.payload_bytes().unwrap()).unwrap();
            let fit = validator.validate(&event.event_type, event.schema_version, &payload);
            assert_eq!(fit, Ok(()), "{} {}", record.position, event.event_type);
            *checked.entry(event.event_type.clone()).or_insert(0u32) += 1;
        }
    }
    assert!(checked.len() >= 12, "{checked:?}");
}
