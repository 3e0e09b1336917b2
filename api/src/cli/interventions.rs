//! `ruche interventions`: what people are called for, most urgent first, with what to do; and saying that it was done.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::{CliError, Common, print};
use crate::out::Table;

/// What to list, or what was looked after.
#[derive(Args)]
pub struct InterventionsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Those that are settled, too
    #[arg(long)]
    all: bool,
    /// Say that this turn, which failed, was looked after. Needs the role admin beside reader or reviewer
    #[arg(long, value_name = "TURN", requires_all = ["by", "reason"], conflicts_with = "all")]
    settle: Option<String>,
    /// Reference of who looked after it
    #[arg(long, requires = "settle")]
    by: Option<String>,
    /// What was done about it, or why nothing is
    #[arg(long, requires = "settle")]
    reason: Option<String>,
}

const OPEN: &str = "query ($after: String) { interventions(filter: { settled: false }, first: 100, after: $after) {
    pageInfo { hasNextPage endCursor } nodes { kind raisedAt position advice settledBy settledAt turnId callId laneId
        lane { agent interlocutor channel thread } } } }";

const SETTLE: &str =
    "mutation ($input: SettleInterventionInput!) { settleIntervention(input: $input) { __typename
    ... on SettleInterventionPayload { turnId position unchanged } ... on Refusal { code message } } }";

/// Runs the command.
pub async fn run(common: Common, args: InterventionsArgs) -> Result<ExitCode, CliError> {
    if let Some(turn) = &args.settle {
        settle(&common, &args, turn).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let all = OPEN.replace("filter: { settled: false }, ", "");
    let query = if args.all { &all } else { OPEN };
    let found = Client::of(&args.server)?.all(query, "interventions").await?;
    print(&common, &found, |found| text(found))?;
    Ok(ExitCode::SUCCESS)
}

async fn settle(common: &Common, args: &InterventionsArgs, turn: &str) -> Result<(), CliError> {
    let mut client = Client::of(&args.server)?;
    let open = client.all(OPEN, "interventions").await?;
    let of_turn = |one: &&Value| one["turnId"] == *turn && one["callId"].is_null();
    let Some(one) = open.iter().find(of_turn) else {
        return Err(CliError::Failed(format!("nobody is called for turn {turn}")));
    };
    // One for each turn: sent again, it is told what was said.
    let input = json!({ "idempotencyKey": format!("settle-{turn}"), "lane": one["lane"], "turnId": turn,
        "by": args.by, "reason": args.reason });
    let answer = client.ask(SETTLE, json!({ "input": input })).await?;
    let answer = &answer["settleIntervention"];
    match answer["message"].as_str() {
        Some(message) => Err(CliError::Failed(message.to_owned())),
        None => print(common, answer, |_| format!("turn {turn} is looked after")),
    }
}

fn text(found: &[Value]) -> String {
    let mut table = Table::new(["for", "since", "lane", "call or turn", "what to do"]);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for one in found {
        let parts = ["agent", "interlocutor", "channel", "thread"].map(|part| word(&one["lane"][part]));
        let known: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        let lane = match known.is_empty() {
            true => word(&one["laneId"]),
            false => known.join("/"),
        };
        let about = match &one["callId"] {
            Value::String(call) => format!("call {call}"),
            _ => format!("turn {}", word(&one["turnId"])),
        };
        table.row([
            word(&one["kind"]).to_lowercase().replace('_', " "),
            word(&one["raisedAt"]),
            lane,
            about,
            word(&one["advice"]),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_it_is_for_where_and_what_to_do() {
        let lane = json!({ "agent": "shop", "interlocutor": "ann", "channel": "web" });
        let call = json!({ "kind": "OUTCOME_UNKNOWN", "raisedAt": "2026-11-29T12:00:00Z", "callId": "c-1",
            "turnId": "t-1", "lane": lane, "advice": "Find out.\u{1b}[2K" });
        let turn =
            json!({ "kind": "ATTEMPTS_USED_UP", "turnId": "t-2", "laneId": "l-2", "advice": "See why." });
        let text = text(&[call, turn]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let first = lines[1].join(" ");
        assert_eq!(
            first,
            "outcome unknown 2026-11-29T12:00:00Z shop/ann/web call c-1 Find out.\\u{1b}[2K"
        );
        assert_eq!(lines[2].join(" "), "attempts used up l-2 turn t-2 See why.");
    }
}
