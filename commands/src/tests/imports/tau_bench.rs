//! The airline conversations of tau-bench.

use super::*;

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
