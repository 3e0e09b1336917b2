//! `ruche interventions settle`: a person says that a turn which failed was looked after.

use clap::Args;
use ruche_domain::ids::TurnId;
use ruche_ledger::hash::Hash;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::{CliError, Common, print};
use super::lane_of;

/// What was done about it.
#[derive(Args)]
pub struct SettleArgs {
    /// Id of the turn, as `ruche interventions` prints it
    turn: TurnId,
    /// Who looked after it, as the tenant names people; stands in the record
    #[arg(long)]
    by: String,
    /// What was done about it, or why nothing is
    #[arg(long)]
    reason: String,
}

/// Runs the command, with a key that has the role admin.
pub(super) async fn run(common: &Common, mut client: Client, args: &SettleArgs) -> Result<(), CliError> {
    let turn = args.turn.to_string();
    // Of its calls a turn is not the one that somebody is called for.
    let is_it = |one: &Value| one["turnId"] == turn && one["callId"].is_null();
    let Some(lane) = lane_of(&mut client, is_it).await? else {
        return Err(CliError::NotFound(format!(
            "nobody was called for turn {turn}; `ruche interventions` lists what is open"
        )));
    };
    let mut input = json!({ "lane": lane, "turnId": turn, "by": args.by, "reason": args.reason });
    // Said twice in the same words it is said once, also where the first answer was lost.
    let key = Hash::sha256(input.to_string().as_bytes());
    input["idempotencyKey"] = json!(format!("settle-{key}"));
    let told = client
        .mutate(
            "settleIntervention",
            &input,
            "turnId position duplicate unchanged",
        )
        .await?;
    print(common, &told, |_| format!("turn {turn} is looked after"))
}
