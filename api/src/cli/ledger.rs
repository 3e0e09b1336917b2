//! `ruche ledger`: look at a ledger, or open its next epoch.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_domain::events::infra::EpochReason;
use ruche_ledger::epoch::OpenError;
use serde::Serialize;

use super::{CliError, Common, main_ledger, no_ledger, print, tenant_name};
use crate::app::{self, App};
use crate::out::Table;
use crate::unsettled::{self, Unsettled};

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
    #[arg(long, value_parser = tenant_name)]
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
    /// Do not ask: an epoch that is closed is never opened again
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct EpochLine {
    epoch: u32,
    origin: String,
    size: u64,
    sealed: u64,
    /// Null where another master seed signed: its key is told by nobody who cannot derive it.
    verifier_key: Option<String>,
}

/// What is there after a restore by hand.
#[derive(Serialize)]
struct RestoredEpochs {
    epochs: Vec<EpochLine>,
    /// Effects that were started and have no result: only the tools know how they came out.
    effects_without_result: Vec<Unsettled>,
}

/// Runs the command.
pub async fn run(common: Common, command: LedgerCommand) -> Result<ExitCode, CliError> {
    let app = match &command {
        LedgerCommand::Show(_) => App::open_to_read(&common, "ruche ledger").await?,
        LedgerCommand::NewEpoch(args) => {
            // A lost database is made anew where its promises are known; elsewhere it is the wrong folder.
            if !common.keys_dir.is_dir() {
                app::must_exist(&common).await?;
            }
            confirm(args)?;
            App::open(&common, "ruche ledger").await?
        }
    };
    let done = match command {
        LedgerCommand::Show(args) => show(&app, &common, &args).await,
        LedgerCommand::NewEpoch(args) => new_epoch(&app, &common, args).await,
    };
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

/// Asks on a terminal; elsewhere `--yes` has to say it.
fn confirm(args: &NewEpochArgs) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    let what = format!(
        "this closes the open epoch of tenant {} for ever; auditors need the key of the next one",
        args.ledger.tenant
    );
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!("{what}. Say --yes to go on")));
    }
    write!(io::stderr(), "{what}.\nGo on? Type yes: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(CliError::Usage("nothing was done".to_owned()))
    }
}

async fn new_epoch(app: &App, common: &Common, args: NewEpochArgs) -> Result<(), CliError> {
    let ledger = main_ledger(&args.ledger.tenant);
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let reason = if args.restored {
        EpochReason::Restored
    } else {
        // A loss is never passed over under another reason: who says that records are lost has to know it.
        if let Err(error) = app.sealer.check_open_epoch(ledger).await {
            return Err(CliError::Usage(format!(
                "the ledger of tenant {} is not what was promised, and a new epoch would take that as it is; to say so, \
                 add --restored: {}",
                args.ledger.tenant,
                crate::error::chain(&error)
            )));
        }
        EpochReason::Operator
    };
    app.opener
        .next_epoch(ledger, reason, args.note)
        .await
        .map_err(|error| match error {
            OpenError::NoSuchLedger => no_ledger(&args.ledger.tenant),
            error => failed(&error),
        })?;
    app.sealer.seal(ledger).await.map_err(|e| failed(&e))?;
    if !args.restored {
        return show(app, common, &args.ledger).await;
    }
    let found = unsettled::without_result(&*app.stored, ledger, None).await;
    let restored = RestoredEpochs {
        epochs: lines(app, &args.ledger).await?,
        effects_without_result: found.map_err(|e| failed(&e))?,
    };
    print(common, &restored, |restored| {
        let effects = unsettled::text(&restored.effects_without_result);
        format!("{}\n{effects}", table(&restored.epochs))
    })
}

async fn show(app: &App, common: &Common, args: &LedgerArgs) -> Result<(), CliError> {
    print(common, &lines(app, args).await?, |lines| table(lines))
}

async fn lines(app: &App, args: &LedgerArgs) -> Result<Vec<EpochLine>, CliError> {
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
        // Of an epoch without any tree head the key says nothing that could be false yet.
        let copy = app
            .trees
            .tree_head(ledger, epoch.epoch)
            .await
            .map_err(|e| failed(&e))?;
        let verifier_key = match copy.as_ref().or(head.as_ref()) {
            Some(head) => app.verifier_key(&epoch, head).ok(),
            None => Some(app.sealer.keys.signer(&epoch.origin).verifier().clone()),
        };
        lines.push(EpochLine {
            epoch: epoch.epoch.0,
            size: epoch.size.0,
            sealed: head.map_or(0, |head| head.head().size.0),
            verifier_key: verifier_key.map(|key| key.to_string()),
            origin: epoch.origin,
        });
    }
    if lines.is_empty() {
        return Err(no_ledger(&args.tenant));
    }
    Ok(lines)
}

fn table(lines: &[EpochLine]) -> String {
    let mut table = Table::new(["epoch", "size", "sealed", "verifier key"]);
    for line in lines {
        table.row([
            line.epoch.to_string(),
            line.size.to_string(),
            line.sealed.to_string(),
            line.verifier_key
                .clone()
                .unwrap_or_else(|| "signed with another master seed".to_owned()),
        ]);
    }
    table.to_string()
}
