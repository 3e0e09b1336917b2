//! The simulations of tau2, with their event log and without.

use super::*;

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
