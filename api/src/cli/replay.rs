//! `ruche replay`: what something was at any position, and whether a range of the ledger is what it should be.

mod arguments;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_replay::verify::{Range, Verification};
use ruche_replay::{Budget, ReplayError, StateAt, position_at};

use super::{CliError, Common, known_tenant, print, tenant_name};
use crate::app::{App, AppError};
use crate::out::progress;
use arguments::Subject;
pub(super) use arguments::{Moment, moment};

/// What is replayed.
#[derive(Subcommand)]
pub enum ReplayCommand {
    /// Show what a lane, turn, approval, session, tool or configuration was at a position
    #[command(after_help = STATE_EXAMPLES)]
    State(StateArgs),
    /// Hold a range of the ledger against all rules, and decide again what was decided in it
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

const STATE_EXAMPLES: &str = "\
The state is folded from the records by the code that decided live, and no read model is asked. Equal states have
equal digests, on every engine. A time means the last record that the ledger took by then; the answer names it.

Examples:
  ruche replay state --tenant acme --lane shop/ann/web
  ruche replay state --tenant acme --at 1:57 --turn 0198c0de-0000-7000-8000-000000000001
  ruche replay state --tenant acme --at 2026-11-29T12:00:00Z --session order-17 --json

The words for where a turn stands are those of docs/turns.md; more is in docs/replay.md.";

const VERIFY_EXAMPLES: &str = "\
What is checked: stored bytes, chain and streams; signature and root of the tree heads that cover the range; reviewers'
votes; that an idempotency key stands for one append; and every decision of a lane: the machine of turns, asked again on
nothing but the records before, has to say what was recorded. Records before the range are read, too, since what is
right in it depends on them; what is wrong with them is not reported.

Exit codes, as those of ruche-verify:
  0  nothing is wrong
  1  there is no answer: the store cannot be read, or there is no such range
  2  something is wrong
  3  payloads are missing and no erasure explains them; nothing else is wrong

Examples:
  ruche replay verify --tenant acme
  ruche replay verify --tenant acme --from 1:1000 --to 1:1999 --json

Names of findings are explained in docs/replay.md.";

/// Which range.
#[derive(Args)]
pub struct VerifyArgs {
    /// Tenant whose ledger it is
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// The first record of the range, such as `1:1000`; that of the ledger if absent
    #[arg(long, value_name = "POSITION")]
    from: Option<Position>,
    /// The last record of the range; that of the ledger if absent. The range goes on to the end of its append
    #[arg(long, value_name = "POSITION")]
    to: Option<Position>,
}

/// Of what, and when.
#[derive(Args)]
pub struct StateArgs {
    /// Tenant whose ledger it is
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// Position, such as `1:57`, or time, such as `2026-11-29T12:00:00Z`; the end of the ledger if absent
    #[arg(long, value_name = "POSITION|TIME", value_parser = arguments::moment)]
    at: Option<Moment>,
    #[command(flatten)]
    subject: Subject,
}

/// Runs the command.
pub async fn run(common: Common, command: ReplayCommand) -> Result<ExitCode, CliError> {
    let app = App::open_to_read(&common, "ruche replay").await?;
    let done = match command {
        ReplayCommand::State(args) => state(&app, &common, args).await,
        ReplayCommand::Verify(args) => verify(&app, &common, args).await,
    };
    app.close().await?;
    done
}

async fn state(app: &App, common: &Common, args: StateArgs) -> Result<ExitCode, CliError> {
    let ledger = LedgerId::main_of(known_tenant(app, &args.tenant).await?);
    let position = position(app, ledger, args.at).await?;
    let references = app.commands.secrets_of(ledger).references;
    let what = args.subject.what(&references)?;
    // Whoever asks on the command line may wait for as long as it takes.
    let at = StateAt::new(app.events.clone(), ledger, position, Budget::unbounded()).await;
    let state = at.map_err(failed)?.of(what, None).await.map_err(failed)?;
    print(common, &state, show::state)?;
    Ok(ExitCode::SUCCESS)
}

async fn verify(app: &App, common: &Common, args: VerifyArgs) -> Result<ExitCode, CliError> {
    let ledger = LedgerId::main_of(known_tenant(app, &args.tenant).await?);
    let verification = Verification {
        events: app.events.clone(),
        trees: app.trees.clone(),
        heads: app.sealer.heads.clone(),
        keys: app.sealer.keys.clone(),
    };
    let range = Range {
        from: args.from,
        to: args.to,
    };
    let bar = progress(0, "verifying");
    let told = |records, total| {
        bar.set_length(total);
        bar.set_position(records);
    };
    let report = verification
        .verify(ledger, range, &Budget::unbounded(), &told)
        .await;
    bar.finish_and_clear();
    let report = report.map_err(failed)?;
    print(common, &report, show::report)?;
    Ok(ExitCode::from(report.exit_code()))
}

/// The position that is meant; the last one if none is named.
async fn position(app: &App, ledger: LedgerId, moment: Option<Moment>) -> Result<Position, CliError> {
    let found = match moment {
        Some(Moment::Position(position)) => return Ok(position),
        Some(Moment::Time(time)) => position_at(&*app.events, ledger, time).await.map_err(failed)?,
        None => {
            let head = app.events.head(ledger).await.map_err(AppError::from)?;
            head.and_then(|head| head.last_position())
        }
    };
    found.ok_or_else(|| CliError::NotFound("the ledger had no record at that time".to_owned()))
}

fn failed(error: ReplayError) -> CliError {
    match error {
        ReplayError::Store(error) => CliError::App(error.into()),
        ReplayError::NoRecord(position) => CliError::NotFound(format!(
            "the ledger has no record {position}; `ruche ledger show` says how many there are"
        )),
        ReplayError::EmptyRange { .. } => CliError::Usage(error.to_string()),
        error => CliError::Failed(crate::error::chain(&error)),
    }
}
