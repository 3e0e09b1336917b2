//! `ruche interventions resolve`: a person says how an effect came out that nobody else can settle.

use clap::{Args, ValueEnum};
use ruche_domain::ids::CallId;
use ruche_ledger::hash::Hash;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::{CliError, Common, print};
use super::lane_of;
use crate::out::harmless;

/// What was found.
#[derive(Args)]
pub struct ResolveArgs {
    /// Id of the call, as `ruche interventions` prints it
    call: CallId,
    /// What became of it
    #[arg(long)]
    outcome: Outcome,
    /// What the finding rests on, such as a statement of the bank; stands in the record
    #[arg(long)]
    evidence: String,
    /// Who found it, as the tenant names people; stands in the record
    #[arg(long)]
    by: String,
    /// Reference of the effect in the system that carried it out
    #[arg(long)]
    external_ref: Option<String>,
    /// The result of the call, if it is known
    #[arg(long)]
    result: Option<String>,
}

/// What a person found.
#[derive(Clone, Copy, ValueEnum)]
enum Outcome {
    /// It happened
    Completed,
    /// It did not happen, or nothing of it is there any more
    NotExecuted,
}

/// Runs the command, with a key that has the role admin.
pub(super) async fn run(common: &Common, mut client: Client, args: &ResolveArgs) -> Result<(), CliError> {
    let call = args.call.to_string();
    let Some(lane) = lane_of(&mut client, |one| one["callId"] == call).await? else {
        return Err(CliError::NotFound(format!(
            "nobody was called for call {call}; `ruche interventions` lists what is open"
        )));
    };
    let outcome = match args.outcome {
        Outcome::Completed => "COMPLETED",
        Outcome::NotExecuted => "NOT_EXECUTED",
    };
    let mut input = json!({ "lane": lane, "callId": call, "outcome": outcome, "by": args.by,
        "evidence": args.evidence, "externalRef": args.external_ref, "result": args.result });
    // Said twice in the same words it is said once, also where the first answer was lost.
    let key = Hash::sha256(input.to_string().as_bytes());
    input["idempotencyKey"] = json!(format!("resolve-{key}"));
    let told = client
        .mutate("resolveOutcome", &input, "callId state position duplicate")
        .await?;
    print(common, &told, text)
}

fn text(told: &Value) -> String {
    let word = |name: &str| harmless(told[name].as_str().unwrap_or_default());
    let state = word("state").to_lowercase().replace('_', " ");
    format!("call {}: {state}, at {}", word("callId"), word("position"))
}

#[test]
fn what_a_server_says_moves_no_cursor() {
    let told = json!({ "callId": "c-1\u{1b}[2K", "state": "NOT_EXECUTED", "position": "1:7\u{7}" });
    assert_eq!(text(&told), "call c-1\\u{1b}[2K: not executed, at 1:7\\u{7}");
}
