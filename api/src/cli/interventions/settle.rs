//! `ruche interventions settle`: a person says that a turn which failed was looked after.

use clap::Args;
use ruche_domain::ids::TurnId;
use serde_json::json;

use super::super::client::Client;
use super::super::{CliError, Common, print};
use super::OPEN;

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

/// Runs the command, with a key that has the roles admin and reader or reviewer.
pub(super) async fn run(common: &Common, mut client: Client, args: &SettleArgs) -> Result<(), CliError> {
    let turn = args.turn.to_string();
    let open = client.all(OPEN, "interventions").await?;
    let of_turn = open
        .iter()
        .find(|one| one["turnId"] == turn && one["callId"].is_null());
    let Some(one) = of_turn else {
        return Err(CliError::NotFound(format!(
            "nobody is called for turn {turn}; `ruche interventions` lists what is open"
        )));
    };
    // One for each turn: sent again, it is told what was said.
    let input = json!({ "idempotencyKey": format!("settle-{turn}"), "lane": one["lane"], "turnId": turn,
        "by": args.by, "reason": args.reason });
    let told = client
        .mutate("settleIntervention", &input, "turnId position unchanged")
        .await?;
    print(common, &told, |_| format!("turn {turn} is looked after"))
}
