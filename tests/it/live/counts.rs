//! The counts of the file: told by a walk of its messages that knows nothing of conversations, by the page beside it, by the
//! read models and by the records. All have to say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::World;
use super::client::Client;
use super::recorded::{Conversation, Step};
use crate::verification::planted::work::Work;

/// What is told of a tool.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    calls: u64,
    errors: u64,
}

/// What is in the file.
#[derive(Debug, Default)]
pub struct OfFile {
    sessions: u64,
    /// Messages by who said them.
    said: BTreeMap<String, u64>,
    /// Messages of the agent that say something.
    spoken: u64,
    tools: BTreeMap<String, Told>,
}

impl OfFile {
    /// Counts, and compares with the page of the data.
    pub fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).expect("the file can be read");
        let runs: Vec<Value> = serde_json::from_slice(&bytes).expect("an array");
        let mut counts = Self::default();
        for run in &runs {
            counts.sessions += 1;
            let messages = run["traj"].as_array().expect("messages");
            messages.iter().for_each(|message| counts.message(message));
        }
        let whole = [
            ("system", 200),
            ("user", 1_490),
            ("assistant", 2_454),
            ("tool", 1_164),
        ];
        let whole = whole.map(|(role, count)| (role.to_owned(), count));
        assert_eq!(
            (counts.sessions, &counts.said),
            (200, &whole.into()),
            "as the page says"
        );
        assert_eq!(counts.tools, page_of_the_data(file));
        counts
    }

    fn message(&mut self, message: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *self.said.entry(text(&message["role"])).or_default() += 1;
        let content = text(&message["content"]);
        if message["role"] == "assistant" && !content.is_empty() {
            self.spoken += 1;
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            self.tools
                .entry(text(&call["function"]["name"]))
                .or_default()
                .calls += 1;
        }
        if message["role"] == "tool" && content.starts_with("Error") {
            self.tools.entry(text(&message["name"])).or_default().errors += 1;
        }
    }

    fn calls(&self) -> u64 {
        self.tools.values().map(|told| told.calls).sum()
    }

    fn errors(&self) -> u64 {
        self.tools.values().map(|told| told.errors).sum()
    }

    /// Calls of these tools.
    pub fn calls_of(&self, tools: &BTreeSet<String>) -> u64 {
        tools.iter().map(|tool| self.tools[tool].calls).sum()
    }

    /// Whether the read models have these counts. `decided` is how many turns a decision opened.
    pub fn hold_in_read_models(&self, world: &World, decided: u64) {
        let (calls, errors) = (self.calls(), self.errors());
        let totals =
            "{ totals { sessions counts { userMessages toolCalls toolResults toolErrors toolUnknowns turns
            turnsCommitted } } }";
        let totals = world.agent.ask(totals, json!({}))["totals"].clone();
        let text = |number: u64| number.to_string();
        let turns = text(self.said["user"] + decided);
        let counts = json!({ "userMessages": text(self.said["user"]), "toolCalls": text(calls),
            "toolResults": text(calls - errors), "toolErrors": text(errors), "toolUnknowns": "0",
            "turns": turns, "turnsCommitted": turns });
        assert_eq!(
            totals,
            json!({ "sessions": text(self.sessions), "counts": counts })
        );
        let usage = "{ usage(groupBy: [TOOL]) { tool counts { toolCalls toolErrors } } }";
        let usage = world.agent.ask(usage, json!({}))["usage"].clone();
        let number =
            |row: &Value, name: &str| row["counts"][name].as_str().and_then(|text| text.parse().ok());
        let rows = usage.as_array().expect("rows").iter().filter_map(|row| {
            let tool = row["tool"].as_str().filter(|tool| !tool.is_empty())?;
            let told = Told {
                calls: number(row, "toolCalls")?,
                errors: number(row, "toolErrors")?,
            };
            Some((tool.to_owned(), told))
        });
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), self.tools);
    }

    /// Whether the first `size` records of the ledger have these counts. `signed` is how many calls somebody had to sign for.
    pub fn hold_in_records(&self, ledger: &Work, size: usize, signed: u64, decided: u64) {
        let (calls, errors) = (self.calls(), self.errors());
        let turns = self.said["user"] + decided;
        let expected = [
            ("session.started", self.sessions),
            ("message.received", self.said["user"] + self.said["system"]),
            ("message.sent", self.spoken),
            ("turn.opened", turns),
            ("turn.started", turns),
            ("turn.committed", turns),
            ("tool.proposed", calls),
            ("policy.evaluated", calls),
            ("approval.requested", signed),
            ("approval.voted", signed),
            ("approval.resolved", signed),
            ("approval.consumed", signed),
            ("tool.started", calls),
            ("tool.completed", calls - errors),
            ("tool.failed", errors),
            ("tool.outcome_unknown", 0),
            ("turn.attempt_failed", 0),
        ];
        let counted = expected.map(|(event_type, _)| {
            let of = ledger.records[..size]
                .iter()
                .filter(|record| record.is(event_type));
            (event_type, of.count() as u64)
        });
        assert_eq!(counted, expected);
    }
}

/// The table of the tools on the page beside the file.
fn page_of_the_data(file: &Path) -> BTreeMap<String, Told> {
    let page = std::fs::read_to_string(file.with_file_name("README.md")).expect("the page of the data");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let tool = cells.next()?.to_owned();
        let (calls, errors) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
        Some((tool, Told { calls, errors }))
    });
    rows.collect()
}

/// The effects of each session are the calls of its conversation, in their order and to the byte.
pub fn each_call_is_there_once(agent: &Client, conversations: &[Conversation]) {
    let query =
        "query ($after: String) { effects(first: 100, after: $after) { pageInfo { hasNextPage endCursor }
        nodes { callId tool arguments result providerCallId session { externalId } } } }";
    let (mut after, mut found) = (Value::Null, BTreeMap::<String, Vec<[String; 4]>>::new());
    let (mut ids, mut provider_ids) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let page = agent.ask(query, json!({ "after": after }))["effects"].take();
        for node in page["nodes"].as_array().expect("a list") {
            let text = |name: &str| node[name].as_str().expect("a text").to_owned();
            assert!(ids.insert(text("callId")), "two calls under one id: {node}");
            provider_ids.insert(text("providerCallId"));
            let session = node["session"]["externalId"].as_str().expect("an id").to_owned();
            let call = ["tool", "arguments", "providerCallId", "result"].map(text);
            found.entry(session).or_default().push(call);
        }
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
    }
    assert_eq!(
        (ids.len(), provider_ids.len()),
        (1_164, 134),
        "providers use one id for several calls"
    );
    for conversation in conversations {
        let steps = conversation.turns.iter().flat_map(|turn| &turn.steps);
        let calls = steps.filter_map(|step| match step {
            Step::Called(call) => {
                Some([&call.tool, &call.arguments, &call.provider_id, &call.result].map(Clone::clone))
            }
            Step::Said(_) => None,
        });
        // The newest come first, since all of them are settled.
        let mut calls: Vec<_> = calls.collect();
        calls.reverse();
        assert_eq!(
            found.remove(&conversation.id).unwrap_or_default(),
            calls,
            "{}",
            conversation.id
        );
    }
}
