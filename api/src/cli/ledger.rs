//! `ruche ledger`: look at a ledger, or open its next epoch.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_domain::events::infra::EpochReason;
use serde::Serialize;

use super::{CliError, Common, main_ledger, print};
use crate::app::App;
use crate::out::Table;

/// What to do with a ledger.
#[derive(Subcommand)]
pub enum LedgerCommand {
    /// Epochs of a ledger with their origins, sizes and verifier keys
    Show(LedgerArgs),
    /// Close the open epoch and open the next one, linked to the last tree head
    NewEpoch(NewEpochArgs),
}

/// A ledger.
#[derive(Args)]
pub struct LedgerArgs {
    /// Tenant whose ledger it is
    #[arg(long)]
    tenant: String,
}

/// The next epoch.
#[derive(Args)]
pub struct NewEpochArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// After a restore: records may be missing, and the new epoch names them
    #[arg(long)]
    restored: bool,
    /// Why, for whoever reads the ledger later
    #[arg(long)]
    note: Option<String>,
}

#[derive(Serialize)]
struct EpochLine {
    epoch: u32,
    origin: String,
    size: u64,
    sealed: u64,
    verifier_key: String,
}

/// Runs the command.
pub async fn run(common: Common, command: LedgerCommand) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche ledger").await?;
    let done = on_app(&app, &common, command).await;
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn on_app(app: &App, common: &Common, command: LedgerCommand) -> Result<(), CliError> {
    match command {
        LedgerCommand::Show(args) => show(app, common, &args).await,
        LedgerCommand::NewEpoch(args) => {
            let reason = if args.restored {
                EpochReason::Restored
            } else {
                EpochReason::Operator
            };
            let ledger = main_ledger(&args.ledger.tenant);
            app.opener
                .next_epoch(ledger, reason, args.note)
                .await
                .map_err(|e| CliError::Failed(e.to_string()))?;
            app.sealer
                .seal(ledger)
                .await
                .map_err(|e| CliError::Failed(e.to_string()))?;
            show(app, common, &args.ledger).await
        }
    }
}

async fn show(app: &App, common: &Common, args: &LedgerArgs) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let ledger = main_ledger(&args.tenant);
    let mut lines = Vec::new();
    for epoch in app.events.epochs(ledger).await.map_err(|e| failed(&e))? {
        let head = app
            .sealer
            .heads
            .latest(&epoch.origin)
            .await
            .map_err(|e| failed(&e))?;
        lines.push(EpochLine {
            epoch: epoch.epoch.0,
            size: epoch.size.0,
            sealed: head.map_or(0, |head| head.head().size.0),
            verifier_key: app.sealer.keys.signer(&epoch.origin).verifier().to_string(),
            origin: epoch.origin,
        });
    }
    if lines.is_empty() {
        return Err(CliError::Failed(format!(
            "tenant {} has no ledger yet; `ruche keys new` makes one",
            args.tenant
        )));
    }
    print(common, &lines, |lines| {
        let mut table = Table::new(["epoch", "size", "sealed", "verifier key"]);
        for line in lines {
            table.row([
                line.epoch.to_string(),
                line.size.to_string(),
                line.sealed.to_string(),
                line.verifier_key.clone(),
            ]);
        }
        table.to_string()
    })
}
