//! `ruche interventions`: what people are called for, most urgent first, with what to do; and saying that it was done.

mod resolve;
mod settle;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Client;
use super::{CliError, Common, print};
use crate::out::Table;

/// What to list, or to settle.
#[derive(Args)]
pub struct InterventionsArgs {
    #[command(subcommand)]
    command: Option<InterventionsCommand>,
    /// The server, such as http://127.0.0.1:4000
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
    /// API key with the role reviewer, to settle something with the role admin
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// Those that are settled, too
    #[arg(long)]
    all: bool,
}

/// What to settle. Without one of these, what is open is listed.
#[derive(Subcommand)]
enum InterventionsCommand {
    /// Say how an effect came out that nobody else can settle, with evidence; it is recorded for ever
    Resolve(resolve::ResolveArgs),
    /// Say that a turn which failed was looked after, and how; it is recorded for ever
    Settle(settle::SettleArgs),
}

impl InterventionsArgs {
    fn client(&self) -> Result<Client, CliError> {
        let missing =
            |what: &str| CliError::Usage(format!("{what} is needed; see `ruche interventions --help`"));
        let server = self.server.as_deref().ok_or_else(|| missing("--server"))?;
        let key = self
            .key
            .as_deref()
            .ok_or_else(|| missing("--key (or RUCHE_KEY)"))?;
        Client::with(server, key)
    }
}

const OPEN: &str = "query ($after: String) { interventions(filter: { settled: false }, first: 100, after: $after) {
    pageInfo { hasNextPage endCursor } nodes { kind raisedAt position advice settledBy settledAt turnId callId laneId
        lane { agent interlocutor channel thread } } } }";

const CALLED: &str =
    "query ($after: String) { interventions(filter: { settled: false }, first: 100, after: $after) {
    pageInfo { hasNextPage endCursor } nodes { turnId callId lane { agent interlocutor channel thread } } } }";

/// The lane of what somebody is called for. What is settled may be settled by the first of two equal requests, so those are
/// looked at too.
async fn lane_of(client: &mut Client, is_it: impl Fn(&Value) -> bool) -> Result<Option<Value>, CliError> {
    for settled in ["false", "true"] {
        let query = CALLED.replace("settled: false", &format!("settled: {settled}"));
        let is_it = |one: &Value| is_it(one) && !one["lane"].is_null();
        if let Some(mut one) = client.find(&query, "interventions", is_it).await? {
            return Ok(Some(one["lane"].take()));
        }
    }
    Ok(None)
}

/// Runs the command.
pub async fn run(common: Common, args: InterventionsArgs) -> Result<ExitCode, CliError> {
    match &args.command {
        Some(InterventionsCommand::Resolve(what)) => {
            resolve::run(&common, args.client()?, what).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(InterventionsCommand::Settle(what)) => {
            settle::run(&common, args.client()?, what).await?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    let all = OPEN.replace("filter: { settled: false }, ", "");
    let query = if args.all { &all } else { OPEN };
    let found = args.client()?.all(query, "interventions").await?;
    print(&common, &found, |found| text(found))?;
    Ok(ExitCode::SUCCESS)
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
