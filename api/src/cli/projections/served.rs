//! The same through a server: of the tenant of the key, while everything goes on.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::super::client::{Client, fresh_key};
use super::super::{CliError, Common, print};
use super::ProjectionsCommand;
use crate::out::{Table, harmless};

const STATUS: &str = "{ projections { name version status position appliedRecords gapless lagRecords lagMs
    parked { position eventType error attempts recordedAt }
    discarded { position eventType error attempts recordedAt } } }";

/// Runs the command.
pub(super) async fn run(
    common: &Common,
    server: &str,
    key: Option<&str>,
    command: &ProjectionsCommand,
) -> Result<ExitCode, CliError> {
    let key =
        key.ok_or_else(|| CliError::Usage("--key (or RUCHE_KEY) is needed with --server".to_owned()))?;
    let mut client = Client::with(server, key)?;
    match command {
        ProjectionsCommand::Status => {
            let found = client.ask(STATUS, Value::Null).await?["projections"].take();
            print(common, &found, table)?;
        }
        ProjectionsCommand::List => {
            let found = client.ask(STATUS, Value::Null).await?["projections"].take();
            let lines = unapplied(&found);
            print(common, &lines, |lines| listed(lines))?;
        }
        ProjectionsCommand::Redrive(args) => {
            let (Some(projection), Some(position)) = (args.projection, args.position) else {
                let missing = "--projection and --position are needed with --server";
                return Err(CliError::Usage(missing.to_owned()));
            };
            let input =
                json!({ "projection": projection, "position": position.to_string(), "reason": args.reason });
            tell(common, &mut client, "redriveEvent", input, "tries it again").await?;
        }
        ProjectionsCommand::Discard(args) => {
            let input = json!({ "projection": args.projection, "position": args.position.to_string(),
                "reason": args.reason });
            tell(common, &mut client, "discardEvent", input, "goes on without it").await?;
        }
        ProjectionsCommand::Pause(args) => {
            let input = json!({ "projection": args.projection, "reason": args.reason });
            tell(common, &mut client, "pauseProjection", input, "is paused").await?;
        }
        ProjectionsCommand::Resume(args) => {
            let input = json!({ "projection": args.projection, "reason": args.reason });
            tell(common, &mut client, "resumeProjection", input, "goes on").await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a decision. A person who says the same again later means it again, so each call has a key of its own; where the
/// answer was lost, saying it again does no harm.
async fn tell(
    common: &Common,
    client: &mut Client,
    mutation: &str,
    mut input: Value,
    done: &str,
) -> Result<(), CliError> {
    input["idempotencyKey"] = json!(fresh_key(mutation));
    let told = client.mutate(mutation, &input, "position duplicate").await?;
    let projection = input["projection"].as_str().unwrap_or_default();
    print(common, &told, |_| format!("{projection} {done}"))
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn table(found: &Value) -> String {
    let mut table = Table::new(["projection", "status", "position", "behind", "ms behind", "whole"]);
    for one in found.as_array().into_iter().flatten() {
        table.row([
            word(&one["name"]),
            word(&one["status"]).to_lowercase(),
            word(&one["position"]),
            word(&one["lagRecords"]),
            word(&one["lagMs"]),
            match one["gapless"] == true {
                true => "yes".to_owned(),
                false => "NO: rebuild it".to_owned(),
            },
        ]);
    }
    table.to_string()
}

/// Events that were not applied, each with its projection and what became of it.
fn unapplied(found: &Value) -> Vec<Value> {
    let mut lines = Vec::new();
    for one in found.as_array().into_iter().flatten() {
        let parked = Some(&one["parked"]).filter(|parked| parked.is_object());
        let parked = parked.into_iter().map(|event| (event, "parked"));
        let discarded = one["discarded"].as_array().into_iter().flatten();
        for (event, state) in parked.chain(discarded.map(|event| (event, "discarded"))) {
            let mut line = event.clone();
            line["projection"] = one["name"].clone();
            line["state"] = json!(state);
            lines.push(line);
        }
    }
    lines
}

fn listed(lines: &[Value]) -> String {
    if lines.is_empty() {
        return "no projection waits, and no event was discarded".to_owned();
    }
    let mut table = Table::new(["projection", "position", "event", "state", "tries", "why"]);
    for line in lines {
        table.row(
            [
                "projection",
                "position",
                "eventType",
                "state",
                "attempts",
                "error",
            ]
            .map(|name| word(&line[name])),
        );
    }
    table.to_string()
}
