//! Updates of memory: what is written for a line, where it goes on after a stop, and what is refused before anything is.

use ruche_domain::events::InvalidationReason;

use super::*;

const LINES: &str = concat!(
    r#"{"input":"?","ground_truth":"b","agent_args":{"extra":{"facts":["a","x"],"#,
    r#""contradicting_fact":"\"b\"","contradicting_answer":"b","supporting_fact_indices":[0]}}}"#,
    "\n",
    r#"{"input":"?","ground_truth":"b","agent_args":{"extra":{"facts":["a","a2"],"#,
    r#""contradicting_fact":"\"b\" is \"c\"","contradicting_answer":"b","supporting_fact_indices":[1,0]}}}"#,
    "\n",
);

/// What stands in a session about memory, in words, and the texts of what it rests on.
async fn memory(ledger: &TestLedger, plan: &SessionPlan) -> Vec<String> {
    let records = ledger.records(ledger.session(&plan.external_id)).await;
    let said = |id| {
        let record = records.iter().find(|record| record.leaf.event.event_id == id);
        let record = record.expect("the event is in the session");
        match fact(record) {
            AgentEvent::MessageReceived(message) => message.text.expect("a text"),
            other => panic!("{other:?}"),
        }
    };
    let mut told = Vec::new();
    for record in &records {
        told.push(match fact(record) {
            AgentEvent::MemoryWritten(written) => {
                assert!(
                    record.leaf.event.turn.is_some(),
                    "it belongs to the turn that said it"
                );
                let source = said(written.source_event_ids[0]);
                format!("{} {} from {source}", written.record_id, written.content)
            }
            AgentEvent::MemoryInvalidated(end) => {
                let by = end.by_record_id.expect("a record");
                assert_eq!(end.detail.is_some(), end.reason == InvalidationReason::Other);
                assert!(end.valid_to.is_some() && end.source_event_ids.len() == 1);
                format!("{} {} by {by}", end.record_id, end.reason.name())
            }
            _ => continue,
        });
    }
    told
}

fn fact(record: &ruche_ledger::store::Record) -> AgentEvent {
    let event = &record.leaf.event;
    let payload = record.payload_bytes().expect("it is there");
    AgentEvent::from_payload(&event.event_type, event.schema_version, payload).expect("it can be read")
}

#[tokio::test]
async fn a_line_is_statements_facts_and_what_is_taken_back() {
    let ledger = ledger().await;
    let options = options("memory", "tau2-mock");
    let imported = run(&ledger, import::read(Format::Letta, LINES.as_bytes()), &options).await;
    assert_eq!((imported.bad.len(), imported.plans.len()), (0, 2));
    assert_eq!(
        memory(&ledger, &imported.plans[0]).await,
        [
            "0 \"a\" from a",
            "1 \"x\" from x",
            "2 \"b\" from \"b\"",
            "0 contradicted by 2"
        ]
    );
    let second = memory(&ledger, &imported.plans[1]).await;
    assert_eq!(
        second[2..],
        [
            "2 \"\\\"b\\\" is \\\"c\\\"\" from \"b\" is \"c\"",
            "1 other by 2",
            "0 other by 2"
        ]
    );
    let again = run(&ledger, import::read(Format::Letta, LINES.as_bytes()), &options).await;
    assert_eq!(
        (again.counts.appended, again.counts.duplicate),
        (0, imported.counts.appended)
    );
    check_ledger(&*ledger.store, ledger.context.ledger).await;
}

#[test]
fn a_line_that_is_no_update_is_told_with_its_place() {
    let good = LINES.lines().next().expect("a line");
    for (is, becomes, place) in [
        (
            "[0]}",
            "[0,2]}",
            "line 1 /agent_args/extra/supporting_fact_indices/1",
        ),
        (
            "[0]}",
            "[-1]}",
            "line 1 /agent_args/extra/supporting_fact_indices/0",
        ),
        ("[\"a\",\"x\"]", "[]", "line 1 /agent_args/extra/facts"),
        (
            "\"x\"]",
            &format!("\"{}\"]", "x".repeat(8_193)),
            "line 1 /agent_args/extra/facts/1",
        ),
        ("\"ground_truth\":\"b\",", "", "line 1"),
    ] {
        let file = good.replacen(is, becomes, 1);
        assert_ne!(file, good);
        let bad = import::read(Format::Letta, file.as_bytes())
            .next()
            .expect("a record");
        assert_eq!(bad.expect_err("it is refused").path, place);
    }
}
