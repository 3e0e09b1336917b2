//! Conversations of tau-bench, read by a walk of their JSON that shares nothing with the importer.

use std::path::Path;

use serde_json::Value;

/// One conversation of the file.
pub struct Conversation {
    /// Our own name of it: scenario and repetition.
    pub id: String,
    /// Which repetition of its scenario, from 0.
    pub trial: usize,
    /// The customer.
    pub user: String,
    /// The policy that the agent was given.
    pub system: String,
    /// What each message of the customer led to.
    pub turns: Vec<Turn>,
}

/// A message of the customer and what the agent did about it.
pub struct Turn {
    pub said: String,
    pub steps: Vec<Step>,
    /// The answer; the last message of a conversation has none.
    pub answer: Option<String>,
}

/// Something that an agent did in a turn.
pub enum Step {
    /// It said something before it went on.
    Said(String),
    /// It called a tool.
    Called(CallMade),
}

/// A call and its result.
pub struct CallMade {
    pub tool: String,
    /// The bytes that the model wrote.
    pub arguments: String,
    /// Not unique, not even in a conversation.
    pub provider_id: String,
    pub result: String,
}

/// All conversations of a file.
pub fn read(file: &Path) -> Vec<Conversation> {
    let bytes = std::fs::read(file).expect("the file can be read");
    let runs: Vec<Value> = serde_json::from_slice(&bytes).expect("an array");
    runs.iter().map(conversation).collect()
}

fn conversation(run: &Value) -> Conversation {
    let trial = run["trial"].as_u64().expect("a number");
    let mut messages = run["traj"].as_array().expect("messages").iter();
    let system = messages.next().expect("a first message");
    assert_eq!(system["role"], "system");
    let mut turns: Vec<Turn> = Vec::new();
    while let Some(message) = messages.next() {
        if message["role"] == "user" {
            turns.push(Turn {
                said: text(&message["content"]),
                steps: Vec::new(),
                answer: None,
            });
            continue;
        }
        let turn = turns.last_mut().expect("a customer speaks first");
        assert_eq!(
            (&message["role"], turn.answer.is_none()),
            (&"assistant".into(), true),
            "{message}"
        );
        let Some(calls) = message["tool_calls"].as_array() else {
            turn.answer = Some(text(&message["content"]));
            continue;
        };
        if message["content"].as_str().is_some_and(|said| !said.is_empty()) {
            turn.steps.push(Step::Said(text(&message["content"])));
        }
        let [call] = calls.as_slice() else {
            panic!("more than one call: {message}");
        };
        let answer = messages.next().expect("each call has a result");
        assert_eq!(answer["role"], "tool", "{answer}");
        turn.steps.push(Step::Called(CallMade {
            tool: text(&call["function"]["name"]),
            arguments: text(&call["function"]["arguments"]),
            provider_id: text(&call["id"]),
            result: text(&answer["content"]),
        }));
    }
    Conversation {
        id: format!("task-{}-trial-{trial}", run["task_id"]),
        trial: usize::try_from(trial).expect("a small number"),
        user: text(&run["info"]["task"]["user_id"]),
        system: text(&system["content"]),
        turns,
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
