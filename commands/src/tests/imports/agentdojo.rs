//! The conversations of AgentDojo.

use super::*;

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
