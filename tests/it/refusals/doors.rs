//! The other doors: plain ingest, questions to the past, imports, and timers that somebody asks for in vain.

use std::collections::BTreeSet;

use ruche_commands::governed::{FireTimers, LaneName};
use ruche_commands::import::{Format, ImportOptions, import_session, plan, read};
use ruche_commands::{CommandContext, CommandError};
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::ids::TenantId;
use serde_json::{Value, json};

use super::known::NOBODYS;
use super::spoilt::spoilt;
use super::stage::{Mark, Stage, keys_taken, types};
use super::story::answer_to;
use crate::live::client::Client;

/// Codes that `/v1/events` gives for what is wrong in a body. Others are of the credential, and of the day.
const OF_INGEST: [&str; 11] = [
    "BAD_REQUEST",
    "BODY_TOO_LARGE",
    "IDEMPOTENCY_MISMATCH",
    "ILLEGAL_TRANSITION",
    "INVALID_INPUT",
    "INVALID_PAYLOAD",
    "LIMIT_EXCEEDED",
    "RESERVED_NAMESPACE",
    "SCHEMA_VIOLATION",
    "UNKNOWN_EVENT_TYPE",
    "WRONG_EXPECTED_VERSION",
];

fn started() -> (Stage, Value) {
    let stage = Stage::new(0);
    let start = json!({ "externalId": "s", "agent": "shop" });
    let session = stage.who.agent.sent("startSession", "start", start, "sessionId")["sessionId"].clone();
    let over = json!({ "externalId": "over" });
    stage
        .who
        .agent
        .sent("startSession", "start-2", over.clone(), "sessionId");
    let end = json!({ "session": over, "reason": "COMPLETED" });
    stage.who.agent.sent("endSession", "end", end, "sessionId");
    stage.follow();
    (stage, session)
}

#[track_caller]
fn unchanged(stage: &Stage, before: &Mark, what: &str) {
    stage.follow();
    assert_eq!(&stage.mark(), before, "{what}");
}

/// The code of a refused append, or of the whole body; nothing where it was recorded.
fn code_of(answer: &Value) -> Option<String> {
    let found = ["/error/code", "/errors/0/extensions/code"];
    let code = found.iter().find_map(|place| answer.pointer(place)?.as_str());
    code.map(str::to_owned)
}

#[test]
fn what_ingest_refuses_has_changed_nothing_and_leaves_the_key_free() {
    let (stage, session) = started();
    let (agent, mut codes, mut number) = (&stage.who.agent, BTreeSet::new(), 0);
    let said = |target: Value| {
        json!({ "idempotencyKey": "k", "target": target, "expectedVersion": null,
            "events": [{ "type": "message.received", "schemaVersion": 1,
                "data": { "role": "user", "text": "hello", "message_ordinal": 1 } }] })
    };
    let goods = [
        said(json!({ "session": { "id": session } })),
        said(json!({ "session": { "externalId": "over" } })),
        said(json!({ "session": { "externalId": "s" } })),
    ];
    for good in goods {
        for mut body in spoilt(&good).into_iter().map(|spoilt| spoilt.input) {
            if body["idempotencyKey"] == "k" {
                body["idempotencyKey"] = json!(format!("k-{number}"));
            }
            let before = stage.mark();
            let answer = answer_to(agent, "/v1/events", body.to_string());
            let told = format!(
                "{answer} to {}",
                body.to_string().chars().take(1_000).collect::<String>()
            );
            match code_of(&answer) {
                Some(code) => {
                    unchanged(&stage, &before, &told);
                    codes.insert(code);
                }
                None => {
                    // Under the key of all that was refused before it.
                    assert_ne!(stage.mark().ledger, before.ledger, "{told}");
                    stage.follow();
                    number += 1;
                }
            }
        }
    }
    assert!(number > 3, "some were good after all");
    let good = said(json!({ "session": { "externalId": "s" } }));
    for (who, expected) in [
        (&stage.who.reader, "FORBIDDEN"),
        (&stage.who.auditor, "FORBIDDEN"),
        (&stage.who.desk, "FORBIDDEN"),
        (&stage.who.nobody, "UNAUTHENTICATED"),
        (&stage.who.nameless, "UNAUTHENTICATED"),
        // There is no such session of that tenant.
        (&stage.who.stranger, "ILLEGAL_TRANSITION"),
    ] {
        refused_as(&stage, who, &good.to_string(), expected);
    }
    let used = json!({ "idempotencyKey": "start", "target": good["target"], "events": good["events"] });
    codes.extend(refused(&stage, agent, &used.to_string()));
    for text in ["", "{", "[1]", "{\"a\":1,\"a\":2}"] {
        codes.extend(refused(&stage, agent, text));
    }
    let many = format!("[{}]", vec![good.to_string(); 1_001].join(","));
    codes.extend(refused(&stage, agent, &many));
    assert_eq!(codes, OF_INGEST.map(str::to_owned).into());
}

fn refused(stage: &Stage, who: &Client, body: &str) -> Option<String> {
    let before = stage.mark();
    let answer = answer_to(who, "/v1/events", body.to_owned());
    unchanged(stage, &before, &answer.to_string());
    let code = code_of(&answer);
    assert!(code.is_some(), "{answer}");
    code
}

fn refused_as(stage: &Stage, who: &Client, body: &str, code: &str) {
    assert_eq!(refused(stage, who, body).as_deref(), Some(code));
}

#[test]
fn of_several_appends_only_the_good_ones_are_there() {
    let (stage, _) = started();
    let append = |key: &str, event_type: &str| {
        json!({ "idempotencyKey": key, "target": { "session": { "externalId": "s" } },
            "events": [{ "type": event_type, "data": { "role": "user" } }] })
    };
    let body = json!([
        append("a", "message.received"),
        append("b", "turn.started"),
        append("c", "message.received")
    ]);
    let end = stage.end();
    let answer = answer_to(&stage.who.agent, "/v1/events", body.to_string());
    let written = stage.records_from(end);
    assert_eq!(
        types(&written),
        ["message.received", "message.received"],
        "{answer}"
    );
    assert_eq!(keys_taken(&written), 2);
    let freed = answer_to(
        &stage.who.agent,
        "/v1/events",
        append("b", "message.received").to_string(),
    );
    assert_eq!(code_of(&freed), None, "{freed}");
}

/// Questions change nothing, good or not.
#[test]
fn questions_to_the_past_change_nothing() {
    let (stage, session) = started();
    let asked = [
        ("{ stateAt(of: { sessionNamed: \"s\" }) { state } }", json!({})),
        (
            "query ($id: ID!) { stateAt(of: { session: $id }, position: \"1:1\") { state } }",
            json!({ "id": session }),
        ),
        (
            "query ($id: ID!) { stateAt(of: { turn: $id }) { state } }",
            json!({ "id": NOBODYS }),
        ),
        (
            "{ stateAt(of: { tool: \"nobody's\" }, position: \"9:9\") { state } }",
            json!({}),
        ),
        ("{ stateAt(of: { lane: \"x\" }) { state } }", json!({})),
        ("{ stateAt(of: {}) { state } }", json!({})),
        ("{ verifyRange { holds records findings { name } } }", json!({})),
        ("{ verifyRange(from: \"9:9\") { holds } }", json!({})),
        (
            "{ record(position: \"1:1\") { type } inclusionProof(position: \"1:0\", treeSize: 7) { leafHash } }",
            json!({}),
        ),
        ("{ sessions(first: -1) { nodes { id } } }", json!({})),
        ("{ sessions(after: \"nonsense\") { nodes { id } } }", json!({})),
        ("{ nothing }", json!({})),
        ("{", json!({})),
    ];
    let (mut good, mut bad) = (0, 0);
    for (query, variables) in asked {
        for who in [
            &stage.who.agent,
            &stage.who.reader,
            &stage.who.admin,
            &stage.who.stranger,
            &stage.who.nameless,
        ] {
            let before = stage.mark();
            let body = json!({ "query": query, "variables": variables });
            let answer = answer_to(who, "/graphql", body.to_string());
            unchanged(&stage, &before, &format!("{query}: {answer}"));
            match answer.get("errors") {
                None => good += 1,
                Some(_) => bad += 1,
            }
        }
    }
    assert!(good > 5 && bad > 20, "{good} answered, {bad} refused");
}

#[test]
fn timers_that_are_not_due_leave_nothing() {
    let (stage, _) = started();
    let lane = |channel: &str| LaneName {
        agent: "shop".to_owned(),
        interlocutor: "ann".to_owned(),
        channel: channel.to_owned(),
        thread: None,
    };
    let message = json!({ "session": { "externalId": "s" }, "text": "hello",
        "lane": { "agent": "shop", "interlocutor": "ann", "channel": "web" } });
    stage.who.agent.sent("submitMessage", "m", message, "turnId");
    stage.follow();
    let references = stage.commands.secrets_of(stage.ledger).references;
    for (channel, thread) in [("web", "its window is open"), ("api", "there is no such lane")] {
        let before = stage.mark();
        let fire = FireTimers {
            lane: lane(channel).id(&references),
        };
        let fired = stage
            .runtime
            .block_on(stage.commands.execute(&context(&stage, "timers"), &fire));
        let refused = fired.expect_err(thread);
        assert_eq!(refused.code(), "ILLEGAL_TRANSITION");
        unchanged(&stage, &before, thread);
    }
}

fn context(stage: &Stage, key: &str) -> CommandContext {
    CommandContext {
        ledger: stage.ledger,
        ..CommandContext::new(TenantId(stage.ledger.0), Actor::SYSTEM, Provenance::Attested, key)
    }
}

/// A file that changed since it was imported, one with a conversation that cannot be read, and one that goes against
/// what is there.
#[test]
fn an_import_that_is_refused_leaves_nothing() {
    let (stage, _) = started();
    let file = |answer: &str| {
        json!([{ "task_id": 1, "trial": 0, "reward": 1.0,
            "traj": [{ "role": "user", "content": "hello" }, { "role": "assistant", "content": answer }] }])
        .to_string()
    };
    let import = |text: &str| -> Vec<Result<(), CommandError>> {
        let mut done = Vec::new();
        for session in read(Format::TauBench, text.as_bytes()) {
            let plan = plan(session.expect("it can be read"), &ImportOptions::default());
            let context = context(&stage, "each session has its own");
            done.push(
                stage
                    .runtime
                    .block_on(import_session(&stage.commands, &context, &plan))
                    .map(drop),
            );
        }
        done
    };
    assert!(matches!(import(&file("good day")).as_slice(), [Ok(())]));
    stage.follow();
    let before = stage.mark();
    for (text, code) in [
        (file("good day"), None),
        (file("go away"), Some("IDEMPOTENCY_MISMATCH")),
    ] {
        let done = import(&text);
        let codes: Vec<Option<&str>> = done
            .iter()
            .map(|done| done.as_ref().err().map(CommandError::code))
            .collect();
        assert_eq!(codes, [code], "{text}");
        unchanged(&stage, &before, &text);
    }
    // Conversations that cannot be read are told and never become commands.
    for text in ["[{}]", "[", "[{\"task_id\":\"one\"}]"] {
        let (good, bad): (Vec<_>, Vec<_>) = read(Format::TauBench, text.as_bytes()).partition(Result::is_ok);
        assert!(good.is_empty() && !bad.is_empty(), "{text}");
    }
}
