//! The three real files through the pipeline and back. What is expected is taken from the files by walking their JSON
//! anew, without the readers under test. Read in place from `RUCHE_DATA`; skipped, and said so, where it is absent.

#![allow(
    clippy::disallowed_methods,
    reason = "the files of other projects are read where they are"
)]

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
        let (tools, unclassified) = import_tools(commands, context, &planned, &options.mapping, &mut known)
            .await
            .unwrap();
        imported.unclassified.extend(unclassified);
        let counts = import_session(commands, context, &planned).await.unwrap();
        imported.counts = imported.counts.plus(tools).plus(counts);
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

fn tau_bench_message(message: &Value) -> Message {
    Message {
        role: role(message),
        text: text(&message["content"]),
        name: text(&message["name"]),
        tool_calls: calls(message)
            .iter()
            .map(|call| MessageToolCall {
                name: text(&call["function"]["name"]).unwrap(),
                arguments: text(&call["function"]["arguments"]).unwrap(),
                arguments_form: TextForm::String,
                provider_call_id: text(&call["id"]),
                requestor: None,
            })
            .collect(),
        answer: (message["role"] == "tool").then(|| MessageAnswer {
            provider_call_id: text(&message["tool_call_id"]),
            failed: message["content"].as_str().unwrap().starts_with("Error"),
            ..MessageAnswer::default()
        }),
        ext: rest(
            message,
            &["role", "content", "name", "tool_calls", "tool_call_id"],
        ),
    }
}

#[tokio::test]
async fn tau_bench_comes_back_as_it_was() {
    let Some(file) = data(TAU_BENCH) else { return };
    let ledger = ledger().await;
    let options = options("airline", "tau-bench-airline");
    let imported = run(&ledger, import::read(Format::TauBench, &file), &options).await;
    assert_eq!((imported.bad, imported.unclassified), (vec![], vec![]));
    let source: Vec<Value> = serde_json::from_slice(&file).unwrap();
    for (run, plan) in source.iter().zip(&imported.plans) {
        let expected: Vec<Message> = run["traj"]
            .as_array()
            .unwrap()
            .iter()
            .map(tau_bench_message)
            .collect();
        assert_eq!(exported(&ledger, plan).await, expected, "{}", plan.path);
    }
    let reads = [
        "get_reservation_details",
        "get_user_details",
        "search_direct_flight",
        "search_onestop_flight",
        "list_all_airports",
        "calculate",
        "think",
    ];
    let all = || source.iter().flat_map(|run| run["traj"].as_array().unwrap());
    let expected = Tally {
        sessions: source.len(),
        messages: all().count(),
        calls: all().flat_map(calls).count(),
        errors: all()
            .filter(|m| m["role"] == "tool" && m["content"].as_str().unwrap().starts_with("Error"))
            .count(),
        effects: all()
            .flat_map(calls)
            .filter(|call| !reads.contains(&call["function"]["name"].as_str().unwrap()))
            .count(),
    };
    assert_eq!(tally(&ledger, &imported.plans).await, expected);
    let Tally {
        sessions,
        messages,
        calls,
        errors,
        effects,
    } = expected;
    assert_eq!(
        (sessions, messages, calls, errors),
        (200, 5_308, 1_164, 73),
        "the README's figures"
    );
    assert_eq!(
        effects,
        104 + 53 + 69 + 14 + 2 + 8 + 48,
        "writes, and 48 times a person takes over"
    );

    let size = ledger.size().await;
    check_ledger(&*ledger.store, ledger.context.ledger).await;
    let again = run(&ledger, import::read(Format::TauBench, &file), &options).await;
    assert_eq!((again.counts.appended, ledger.size().await), (0, size));
    assert_eq!(again.counts.duplicate, imported.counts.appended);
}

fn agentdojo_message<'a>(message: &Value, arguments: &mut impl Iterator<Item = &'a str>) -> Message {
    Message {
        role: role(message),
        text: text(&message["content"]),
        name: None,
        tool_calls: calls(message)
            .iter()
            .map(|call| MessageToolCall {
                name: text(&call["function"]["name"]).unwrap(),
                arguments: arguments.next().unwrap().to_owned(),
                arguments_form: TextForm::Json,
                provider_call_id: text(&call["id"]),
                requestor: None,
            })
            .collect(),
        answer: (message["role"] == "tool").then(|| MessageAnswer {
            provider_call_id: text(&message["tool_call_id"]),
            requestor: None,
            failed: !message["error"].is_null(),
            error: text(&message["error"]),
        }),
        ext: rest(
            message,
            &["role", "content", "tool_calls", "tool_call_id", "error"],
        ),
    }
}

#[tokio::test]
async fn agentdojo_comes_back_as_it_was() {
    let Some(file) = data(AGENTDOJO) else { return };
    let ledger = ledger().await;
    let options = options("dojo", "agentdojo");
    let imported = run(&ledger, import::read(Format::AgentDojo, &file), &options).await;
    assert_eq!((imported.bad, imported.unclassified), (vec![], vec![]));
    let lines: Vec<&str> = std::str::from_utf8(&file).unwrap().lines().skip(1).collect();
    let source: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(imported.plans.len(), source.len());
    for ((run, line), plan) in source.iter().zip(&lines).zip(&imported.plans) {
        let mut arguments = raw_values(line, "arguments").into_iter();
        let messages = run["messages"].as_array().unwrap();
        let expected: Vec<Message> = messages
            .iter()
            .map(|m| agentdojo_message(m, &mut arguments))
            .collect();
        assert_eq!(arguments.next(), None);
        assert_eq!(exported(&ledger, plan).await, expected, "{}", plan.path);
    }
    let all = || source.iter().flat_map(|run| run["messages"].as_array().unwrap());
    let pure = |name: &str| {
        let reads = ["get_", "search_", "read_", "list_", "check_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        reads && !["read_inbox", "get_unread_emails"].contains(&name)
    };
    let expected = Tally {
        sessions: source.len(),
        messages: all().count(),
        calls: all().flat_map(calls).count(),
        errors: all().filter(|m| m["error"].is_string()).count(),
        effects: all()
            .flat_map(calls)
            .filter(|c| !pure(c["function"]["name"].as_str().unwrap()))
            .count(),
    };
    assert_eq!(tally(&ledger, &imported.plans).await, expected);
    let Tally {
        sessions,
        messages,
        calls,
        errors,
        ..
    } = expected;
    assert_eq!(
        (sessions, messages, calls, errors),
        (194, 2_074, 897, 61),
        "the README's figures"
    );

    let labels = |name: &str| {
        let scores = imported.plans.iter().flat_map(|plan| &plan.session.scores);
        scores
            .filter(|score| score.name == name && score.label.as_deref() == Some("true"))
            .count()
    };
    assert_eq!(
        (labels("success"), labels("security")),
        (66 + 44, 97 + 21),
        "the README's figures"
    );
    let again = run(&ledger, import::read(Format::AgentDojo, &file), &options).await;
    assert_eq!(again.counts.appended, 0);
}

fn requestor(value: &Value) -> Option<Requestor> {
    value.as_str().map(|word| word.parse().unwrap())
}

fn tau2_message<'a>(message: &Value, arguments: &mut impl Iterator<Item = &'a str>) -> Message {
    let is_tool = message["role"] == "tool";
    let known: &[&str] = if is_tool {
        &["role", "content", "tool_calls", "id", "requestor", "error"]
    } else {
        &["role", "content", "tool_calls"]
    };
    Message {
        role: role(message),
        text: text(&message["content"]),
        name: None,
        tool_calls: calls(message)
            .iter()
            .map(|call| MessageToolCall {
                name: text(&call["name"]).unwrap(),
                arguments: arguments.next().unwrap().to_owned(),
                arguments_form: TextForm::Json,
                provider_call_id: text(&call["id"]),
                requestor: requestor(&call["requestor"]),
            })
            .collect(),
        answer: is_tool.then(|| MessageAnswer {
            provider_call_id: text(&message["id"]),
            requestor: requestor(&message["requestor"]),
            failed: message["error"] == true,
            error: None,
        }),
        ext: rest(message, known),
    }
}

/// The raw arguments of the calls of all messages. `raw_data` tells the agent's calls a second time, as strings, and
/// the tasks tell the expected ones; both are cut out of the text first.
fn tau2_arguments(file: &str) -> Vec<&str> {
    let simulations = raw_values(file, "simulations")[0];
    let messages = raw_values(simulations, "messages");
    let calls = messages
        .into_iter()
        .flat_map(|messages| raw_values(messages, "tool_calls"));
    // Those of `raw_data` have the arguments as a string.
    calls
        .flat_map(|calls| raw_values(calls, "arguments"))
        .filter(|arguments| arguments.starts_with('{'))
        .collect()
}

#[tokio::test]
async fn tau2_comes_back_as_it_was_with_what_the_event_log_adds() {
    let (Some(file), Some(log)) = (data(TAU2), data(TAU2_LOG)) else {
        return;
    };
    assert!(import::is_event_log(&log) && !import::is_event_log(&file));
    let ledger = ledger().await;
    let options = options("mock", "tau2-mock");
    let imported = run(&ledger, import::read_with_log(&file, &log), &options).await;
    assert_eq!((imported.bad, imported.unclassified), (vec![], vec![]));
    let text_of_file = std::str::from_utf8(&file).unwrap();
    let source: Value = serde_json::from_str(text_of_file).unwrap();
    let runs = source["simulations"].as_array().unwrap();
    let mut arguments = tau2_arguments(text_of_file).into_iter();
    for (run, plan) in runs.iter().zip(&imported.plans) {
        let messages = run["messages"].as_array().unwrap();
        let expected: Vec<Message> = messages.iter().map(|m| tau2_message(m, &mut arguments)).collect();
        assert_eq!(exported(&ledger, plan).await, expected, "{}", plan.path);
    }
    assert_eq!(arguments.next(), None);
    let all = || runs.iter().flat_map(|run| run["messages"].as_array().unwrap());
    let expected = Tally {
        sessions: runs.len(),
        messages: all().count(),
        calls: all().flat_map(calls).count(),
        errors: all().filter(|m| m["error"] == true).count(),
        effects: all()
            .flat_map(calls)
            .filter(|c| !["get_users", "check_notifications"].contains(&c["name"].as_str().unwrap()))
            .count(),
    };
    assert_eq!(tally(&ledger, &imported.plans).await, expected);
    assert_eq!(
        (expected.sessions, expected.messages, expected.calls),
        (10, 77, 15),
        "the README's figures"
    );
    let rewards: f64 = imported
        .plans
        .iter()
        .flat_map(|plan| &plan.session.scores)
        .map(|s| s.value.unwrap().get())
        .sum();
    assert!((rewards - 8.0).abs() < f64::EPSILON, "the README's figure");
    state_hashes_agree_with_the_mapping(&ledger, &imported.plans).await;
    let again = run(&ledger, import::read_with_log(&file, &log), &options).await;
    assert_eq!(again.counts.appended, 0);
}

/// Where the world was measured around a call, it changed exactly where the mapping says that the tool writes. The
/// hand-off to a person is an effect that leaves the database alone.
async fn state_hashes_agree_with_the_mapping(ledger: &TestLedger, plans: &[SessionPlan]) {
    let (mut measured, mut timed) = (0, 0);
    for plan in plans {
        let records = ledger.records(ledger.session(&plan.external_id)).await;
        let mut name = None;
        for record in &records {
            let event = &record.leaf.event;
            let payload = record.payload_bytes().unwrap();
            let fact = AgentEvent::from_payload(&event.event_type, event.schema_version, payload).unwrap();
            match fact {
                AgentEvent::ToolStarted(started) => name = Some(started.name),
                AgentEvent::ToolCompleted(done) => {
                    let (Some(before), Some(after)) = (&done.state_hash_before, &done.state_hash_after)
                    else {
                        continue;
                    };
                    measured += 1;
                    timed += usize::from(done.duration_us.is_some());
                    let name = name.clone().unwrap();
                    let writes = ["create_task", "update_task_status"].contains(&name.as_str());
                    assert_eq!(before != after, writes, "{name} in {}", plan.path);
                }
                AgentEvent::SessionStarted(started) => {
                    // 11:41 on the wall is 18:41 UTC, says the log.
                    let day_us = 86_400_000_000;
                    let of_day = started.started_at.unwrap().0 % day_us;
                    assert_eq!(of_day / 3_600_000_000, 18, "{}", plan.path);
                }
                _ => {}
            }
        }
    }
    assert_eq!((measured, timed), (13, 13), "the README: 13 requested calls");
}

#[test]
fn without_the_log_the_clock_is_set_by_the_providers_times() {
    let Some(file) = data(TAU2) else { return };
    let sessions: Vec<ImportedSession> = import::read(Format::Tau2, &file).map(Result::unwrap).collect();
    assert_eq!(sessions.len(), 10);
    for session in sessions {
        assert_eq!(session.started_at.unwrap().0 / 3_600_000_000 % 24, 18);
        assert!(
            session
                .messages
                .iter()
                .all(|message| message.at.is_some() && message.seen.is_none())
        );
    }
    let log = data(TAU2_LOG).unwrap();
    let alone: Vec<_> = import::read(Format::Tau2, &log).collect();
    assert!(
        matches!(&alone[..], [Err(bad)] if bad.reason.contains("event log")),
        "{alone:?}"
    );
}

/// One broken record in the middle: the others come in and the place is told.
#[tokio::test]
async fn a_poisoned_copy_gives_everything_but_the_poison() {
    /// File, format, what is done to it, the good bytes, the bad ones, and the place that is told.
    type Case = (
        &'static str,
        Format,
        &'static str,
        &'static [u8],
        &'static [u8],
        &'static str,
    );
    let cases: [Case; 6] = [
        (
            TAU_BENCH,
            Format::TauBench,
            "type",
            b"\"task_id\": 7,",
            b"\"task_id\": \"seven\",",
            "/7/task_id",
        ),
        (
            TAU_BENCH,
            Format::TauBench,
            "syntax",
            b"\"task_id\": 7,",
            b"\"task_id\": ,",
            "/7/task_id",
        ),
        (
            TAU_BENCH,
            Format::TauBench,
            "twice",
            b"\"task_id\": 7,",
            b"\"task_id\": 7, \"task_id\": 7,",
            "/7/task_id",
        ),
        (
            AGENTDOJO,
            Format::AgentDojo,
            "syntax",
            b"{\"index\": 57,",
            b"{\"index\": 57",
            "line 58",
        ),
        (
            AGENTDOJO,
            Format::AgentDojo,
            "quote",
            b"{\"index\": 57,",
            b"{\"index: 57,",
            "line 58",
        ),
        (
            TAU2,
            Format::Tau2,
            "type",
            b"\"task_id\": \"update_task_1\",",
            b"\"task_id\": [],",
            "/simulations/3/task_id",
        ),
    ];
    for (name, format, what, good, bad, place) in cases {
        let Some(file) = data(name) else { return };
        let all = import::read(format, &file).count();
        let at = file.windows(good.len()).rposition(|window| window == good);
        let at = if format == Format::Tau2 {
            at
        } else {
            file.windows(good.len()).position(|w| w == good)
        };
        let at = at.unwrap_or_else(|| panic!("{name} has no {}", String::from_utf8_lossy(good)));
        let poisoned = [&file[..at], bad, &file[at + good.len()..]].concat();
        let (fine, faults): (Vec<_>, Vec<_>) = import::read(format, &poisoned).partition(Result::is_ok);
        let expected_loss = all - fine.len();
        assert_eq!((expected_loss, faults.len()), (1, 1), "{name} {what}: {faults:?}");
        let fault = faults.into_iter().next().unwrap().unwrap_err();
        assert!(fault.path.starts_with(place), "{name} {what}: {fault}");
    }
}

#[test]
fn a_file_that_ends_early_gives_what_is_whole() {
    for (name, format) in [
        (TAU_BENCH, Format::TauBench),
        (AGENTDOJO, Format::AgentDojo),
        (TAU2, Format::Tau2),
    ] {
        let Some(file) = data(name) else { return };
        let all = import::read(format, &file).count();
        let cut = &file[..file.len() / 2];
        let (fine, faults): (Vec<_>, Vec<_>) = import::read(format, cut).partition(Result::is_ok);
        if format == Format::Tau2 {
            // Tasks stand in front of simulations.
            assert!(faults.len() <= 1 && fine.len() < all, "{name}");
        } else {
            assert!(!fine.is_empty() && fine.len() < all, "{name}");
            assert_eq!(faults.len(), 1, "{name}");
        }
    }
    for format in Format::ALL {
        for nonsense in [&b"nonsense"[..], b"\xff\xfe", b"{}", b"42"] {
            let read: Vec<_> = import::read(format, nonsense).collect();
            assert!(
                read.iter().all(Result::is_err) || format == Format::AgentDojo,
                "{format:?}"
            );
        }
    }
}

#[tokio::test]
async fn other_content_under_the_same_name_is_a_mismatch_and_changes_nothing() {
    let run = |text: &str| {
        format!(
            r#"[{{"task_id":1,"trial":0,"reward":1.0,"info":{{}},"traj":[{{"role":"user","content":"{text}"}}]}}]"#
        )
    };
    let ledger = ledger().await;
    let options = ImportOptions {
        source: "s".to_owned(),
        ..ImportOptions::default()
    };
    let (first, second) = (run("a"), run("b"));
    let planned = |file: &str| {
        plan(
            import::read(Format::TauBench, file.as_bytes())
                .next()
                .unwrap()
                .unwrap(),
            &options,
        )
    };
    import_session(&ledger.commands, &ledger.context, &planned(&first))
        .await
        .unwrap();
    let size = ledger.size().await;
    let error = import_session(&ledger.commands, &ledger.context, &planned(&second))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), ledger.size().await),
        ("IDEMPOTENCY_MISMATCH", size)
    );
}

#[tokio::test]
async fn a_session_that_is_too_large_for_one_append_comes_in_turn_by_turn_and_resumes() {
    let turns = 450;
    let traj: Vec<String> = (0..turns)
        .map(|n| format!(r#"{{"role":"user","content":"u{n}"}},{{"role":"assistant","content":"a{n}"}}"#))
        .collect();
    let file = format!(
        r#"[{{"task_id":1,"trial":0,"reward":0.5,"info":{{}},"traj":[{}]}}]"#,
        traj.join(",")
    );
    let options = ImportOptions {
        source: "large".to_owned(),
        ..ImportOptions::default()
    };
    let session = import::read(Format::TauBench, file.as_bytes())
        .next()
        .unwrap()
        .unwrap();
    let whole = plan(session, &options);
    assert_eq!(whole.session.turns.len(), turns);

    // Interrupted: the turns behind the hundredth were never sent.
    let ledger = ledger().await;
    let mut interrupted = whole.clone();
    interrupted.session.turns.truncate(100);
    interrupted.session.end = None;
    interrupted.session.scores.clear();
    let mut counts = ImportedCounts::default();
    in_parts(&ledger.commands, &ledger.context, &interrupted, &mut counts)
        .await
        .unwrap();
    assert_eq!(counts.appended, 1 + 100 * 4);
    let before = ledger.size().await;
    let counts = import_session(&ledger.commands, &ledger.context, &whole)
        .await
        .unwrap();
    assert_eq!(counts.appended, ledger.size().await - before);
    assert_eq!(
        counts.duplicate,
        1 + 100 * 4,
        "the start and a hundred turns were there"
    );
    let messages = exported(&ledger, &whole).await;
    assert_eq!(messages.len(), turns * 2);
    assert!(messages.iter().enumerate().all(|(n, m)| {
        let letter = if n % 2 == 0 { 'u' } else { 'a' };
        m.text.as_deref() == Some(&format!("{letter}{}", n / 2))
    }));
    let again = import_session(&ledger.commands, &ledger.context, &whole)
        .await
        .unwrap();
    assert_eq!(again.appended, 0);
}

#[test]
fn a_file_is_told_from_one_of_another_format_whatever_is_wrong_with_its_records() {
    let files: [(&[u8], Option<Format>); 8] = [
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
