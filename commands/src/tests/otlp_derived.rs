//! Telemetry on a ledger: what is recorded of spans, and what is derived from all of them.

use std::sync::Arc;

use ruche_domain::events::infra::InfraSpanUnclassified;
use ruche_domain::limits::{EVENTS_PER_APPEND_MAX, PAYLOAD_BYTES_MAX};
use ruche_domain::measures::Digest;
use serde_json::{Value, json};

use super::otlp::{ANSWER, ASKED, QUESTION, TOLD, chat, run, span, tool};
use crate::error::CommandError;
use crate::otlp::{
    AskUnit, DeriveFromCalls, Draft, EVENTS_MAX, RecordUnit, Span, StartObserved, Unit, spans,
};
use crate::session::observed_stream;
use crate::testing::{NoObjection, TestLedger};

async fn ledger() -> TestLedger {
    TestLedger::in_memory(Arc::new(NoObjection)).await
}

/// Records the spans of a request, as one that takes them does; stops at the first that is refused.
async fn record(ledger: &TestLedger, request: Vec<Span>) -> Result<(), CommandError> {
    for session in spans(request) {
        let start = ledger
            .context
            .with_key(format!("start {:?}", (&session.external_id, session.started_at)));
        let start = ledger
            .commands
            .execute(&start, &StartObserved::new(&session))
            .await;
        start.expect("the session starts");
        for span in session.spans {
            let context = |unit: &Unit| {
                let mut context = ledger.context.with_key(&unit.key);
                context.trace = span.trace;
                context
            };
            if let Some(own) = span.own_behind_shared() {
                ledger.commands.execute(&context(own), &AskUnit(own)).await?;
            }
            for unit in &span.units {
                let command = RecordUnit {
                    session: ledger.session(&session.external_id),
                    subject: None,
                    turn: span.turn.clone(),
                    unit: unit.clone(),
                };
                ledger.commands.execute(&context(unit), &command).await?;
            }
        }
    }
    Ok(())
}

/// Types of what is derived in a session.
async fn derive(ledger: &TestLedger, session: &str) -> Result<Vec<String>, CommandError> {
    let session = ledger.session(session);
    let key = format!("derive {}", ledger.size().await);
    let command = DeriveFromCalls {
        session,
        subject: None,
    };
    let receipt = ledger
        .commands
        .execute(&ledger.context.with_key(key), &command)
        .await?;
    let events = receipt.events.into_iter();
    Ok(events.map(|event| event.event.event_type.to_string()).collect())
}

/// The same span of an instrumentation that names no session.
fn unnamed(mut span: Span) -> Span {
    let names = ["gen_ai.conversation.id"];
    let attributes = serde_json::to_value(&span.attributes).expect("JSON");
    let attributes = attributes.as_object().expect("an object").clone().into_iter();
    span.attributes = attributes
        .filter(|(name, _)| !names.contains(&name.as_str()))
        .collect();
    span
}

fn agent() -> Span {
    run().pop().expect("the agent is the last one")
}

#[tokio::test]
async fn a_span_that_is_refused_leaves_nothing_of_what_it_shares_with_others() {
    let ledger = ledger().await;
    record(&ledger, run()).await.expect("all are recorded");
    let before = ledger.size().await;
    record(&ledger, run())
        .await
        .expect("they are found to be recorded");
    assert_eq!(ledger.size().await, before);
    let other = r#"[{"role":"user","parts":[{"type":"text","content":"Where is W200?"}]}]"#;
    let refused = record(&ledger, vec![chat(2, [1, 2], other, ASKED)]).await;
    assert_eq!(
        refused.expect_err("another span has its ids").code(),
        "IDEMPOTENCY_MISMATCH"
    );
    assert_eq!(ledger.size().await, before, "its question is not recorded either");
}

#[tokio::test]
async fn of_a_long_session_nothing_is_derived() {
    let ledger = ledger().await;
    let asked = vec![
        chat(2, [1, 2], QUESTION, ASKED),
        chat(4, [5, 6], TOLD, ANSWER),
        agent(),
    ];
    record(&ledger, asked).await.expect("all are recorded");
    let session = ledger.session("chat-1");
    for number in 0..EVENTS_MAX / EVENTS_PER_APPEND_MAX as u64 {
        let draft = Draft {
            event: InfraSpanUnclassified::new("x".to_owned()).into(),
            at: None,
            call: None,
            caused_by: None,
        };
        let command = RecordUnit {
            session,
            subject: None,
            turn: None,
            unit: Unit {
                key: format!("many {number}"),
                digest: Digest([0; 32]),
                drafts: vec![draft; EVENTS_PER_APPEND_MAX],
            },
        };
        let context = ledger.context.with_key(&command.unit.key);
        let recorded = ledger.commands.execute(&context, &command).await;
        recorded.expect("they are recorded");
    }
    let refused = derive(&ledger, "chat-1").await.expect_err("it is too long");
    assert_eq!(refused.code(), "LIMIT_EXCEEDED");
}

#[tokio::test]
async fn what_is_missing_is_only_derived_where_the_trace_stands_in_no_made_up_session() {
    // The model asks for a call, the agent goes on, and its run is over.
    let asked = || {
        vec![
            chat(2, [1, 2], QUESTION, ASKED),
            chat(4, [5, 6], TOLD, ANSWER),
            agent(),
        ]
    };
    let whole = ledger().await;
    record(&whole, asked()).await.expect("all are recorded");
    assert_eq!(derive(&whole, "chat-1").await.unwrap(), ["tool.not_executed"]);
    assert!(derive(&whole, "chat-1").await.unwrap().is_empty(), "once");
    // The call ran, and its span came alone, without the name of the conversation.
    let cut = ledger().await;
    let ran = unnamed(tool(3, Some(r#""here""#)));
    let made_up = ran.trace_text.clone();
    record(&cut, vec![ran]).await.expect("it is recorded");
    record(&cut, asked()).await.expect("all are recorded");
    assert!(
        derive(&cut, "chat-1").await.unwrap().is_empty(),
        "it ran elsewhere"
    );
    assert!(
        derive(&cut, &made_up).await.unwrap().is_empty(),
        "the span above it stands elsewhere"
    );
    let records = cut.stream(observed_stream(cut.session("chat-1"))).await;
    let mut types = records.iter().map(|record| record.leaf.event.event_type.as_str());
    assert!(types.any(|event_type| event_type == "tool.proposed"));
    // A span that is missing is told where all of the trace is in a named session.
    let gap = ledger().await;
    let of: Value = json!({ "gen_ai.operation.name": "chat", "gen_ai.conversation.id": "chat-1" });
    record(&gap, vec![span(9, 8, [1, 2], of)])
        .await
        .expect("it is recorded");
    assert_eq!(derive(&gap, "chat-1").await.unwrap(), ["infra.ingest_gap"]);
}

#[tokio::test]
async fn a_call_whose_result_the_ledger_cannot_hold_has_run_all_the_same() {
    let long = "x".repeat(2 * PAYLOAD_BYTES_MAX);
    for result in ["a\0b", r#""a\u0000b""#, &long] {
        let ledger = ledger().await;
        let mut all = run();
        all[1] = tool(3, Some(result));
        record(&ledger, all).await.expect("all are recorded");
        let records = ledger.stream(observed_stream(ledger.session("chat-1"))).await;
        let mut types = records.iter().map(|record| record.leaf.event.event_type.as_str());
        assert!(types.any(|event_type| event_type == "tool.completed"));
        assert!(derive(&ledger, "chat-1").await.unwrap().is_empty());
    }
}
