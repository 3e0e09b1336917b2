//! `ruche projections`: how far read models are, what holds them up, and what becomes of it. On the store itself, or through
//! a server that runs (`--server`).

mod served;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_commands::CommandContext;
use ruche_domain::envelope::{Actor, ActorKind, Provenance};
use ruche_domain::numbers::Position;
use ruche_projections::projection;
use ruche_projections::store::{DeadLetter, DeadLetterState};
use serde::Serialize;

use super::client::fresh_key;
use super::{CliError, Common, main_ledger, print, tenant, tenant_name};
use crate::app::{self, App, AppError};
use crate::out::{Table, harmless};
use crate::read_models::{DecideError, ReadModels, Wish};

/// What to see or to do.
#[derive(Args)]
pub struct ProjectionsArgs {
    #[command(subcommand)]
    command: ProjectionsCommand,
    /// The server, such as http://127.0.0.1:4000; without it the store itself is opened
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
    /// API key for the server: with the role reader to see, with the role admin to change
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
}

/// What to see or to do.
#[derive(Subcommand)]
enum ProjectionsCommand {
    /// How far each projection is, of the tenant of the key (with --server)
    Status,
    /// Events that projections could not apply, in all ledgers: parked ones, which hold a read model up, and discarded ones
    List,
    /// Let a parked projection try its event again, after an upgrade that knows it for example; without --server all of
    /// them
    Redrive(RedriveArgs),
    /// Go on without a parked event, for ever: its read model then lacks what the event says. The ledger keeps it
    Discard(DiscardArgs),
    /// Let a projection stand still, with its read model as it is (with --server)
    Pause(PauseArgs),
    /// Let a paused projection go on (with --server)
    Resume(ResumeArgs),
}

/// Which parked events to try again.
#[derive(Args)]
struct RedriveArgs {
    /// Projection that waits (with --server)
    #[arg(long, value_parser = projection_name, requires = "position")]
    projection: Option<&'static str>,
    /// Position of the event, such as `1:17` (with --server)
    #[arg(long, requires = "projection")]
    position: Option<Position>,
    /// What is expected of it now; stands in the record (with --server)
    #[arg(long)]
    reason: Option<String>,
}

/// A parked event.
#[derive(Args)]
struct DiscardArgs {
    /// Tenant whose ledger it is in; with --server that of the key
    #[arg(long, value_parser = tenant_name)]
    tenant: Option<String>,
    /// Projection that waits
    #[arg(long, value_parser = projection_name)]
    projection: &'static str,
    /// Position of the event, such as `1:17`
    #[arg(long)]
    position: Position,
    /// Why the read model goes without it; stands in the record
    #[arg(long)]
    reason: String,
}

/// A projection to pause.
#[derive(Args)]
struct PauseArgs {
    /// Which projection
    #[arg(value_parser = projection_name)]
    projection: &'static str,
    /// Why; stands in the record
    #[arg(long)]
    reason: String,
}

/// A projection to go on.
#[derive(Args)]
struct ResumeArgs {
    /// Which projection
    #[arg(value_parser = projection_name)]
    projection: &'static str,
    /// Why; stands in the record
    #[arg(long)]
    reason: Option<String>,
}

fn projection_name(text: &str) -> Result<&'static str, String> {
    let all = projection::all();
    all.iter()
        .map(|projection| projection.name())
        .find(|name| *name == text)
        .ok_or_else(|| "no such projection; `ruche projections list` shows those that wait".to_owned())
}

#[derive(Serialize)]
struct Line {
    ledger: String,
    projection: String,
    position: String,
    event_type: String,
    state: &'static str,
    attempts: u32,
    error: String,
}

/// Runs the command. Exit code 1 if an event is still parked after `redrive`.
pub async fn run(common: Common, args: ProjectionsArgs) -> Result<ExitCode, CliError> {
    if let Some(server) = &args.server {
        return served::run(&common, server, args.key.as_deref(), &args.command).await;
    }
    if let ProjectionsCommand::Redrive(one) = &args.command
        && (one.projection.is_some() || one.reason.is_some())
    {
        let needed = "--projection, --position and --reason go with --server; without it all that is parked is tried again";
        return Err(CliError::Usage(needed.to_owned()));
    }
    app::must_exist(&common).await?;
    let app = match &args.command {
        ProjectionsCommand::Status | ProjectionsCommand::Pause(_) | ProjectionsCommand::Resume(_) => {
            return Err(CliError::Usage(
                "--server is needed; see `ruche projections --help`".to_owned(),
            ));
        }
        ProjectionsCommand::List => App::open_to_read(&common, "ruche projections").await?,
        ProjectionsCommand::Redrive(_) | ProjectionsCommand::Discard(_) => {
            App::open(&common, "ruche projections").await?
        }
    };
    let done = on_app(&app, &common, args.command).await;
    app.close().await?;
    done
}

async fn on_app(app: &App, common: &Common, command: ProjectionsCommand) -> Result<ExitCode, CliError> {
    let is_redrive = matches!(command, ProjectionsCommand::Redrive(_));
    match command {
        ProjectionsCommand::Redrive(_) => {
            for letter in letters(app).await?.iter().filter(|letter| is_parked(letter)) {
                let name = projection_name(&letter.projection).map_err(CliError::Failed)?;
                let tried = app.runner.redrive(letter.ledger, name, letter.position);
                tried.await.map_err(AppError::from)?;
                app.catch_up(letter.ledger).await?;
            }
        }
        ProjectionsCommand::Discard(args) => discard(app, args).await?,
        _ => {}
    }
    let letters = letters(app).await?;
    let lines: Vec<Line> = letters.iter().map(line).collect();
    print(common, &lines, |lines| text(lines))?;
    Ok(if is_redrive && letters.iter().any(is_parked) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Records it as whoever has the store in hand decides it: no credential says who that is.
async fn discard(app: &App, args: DiscardArgs) -> Result<(), CliError> {
    let Some(name) = args.tenant else {
        return Err(CliError::Usage("--tenant is needed without --server".to_owned()));
    };
    let operator = Actor {
        kind: ActorKind::Client,
        reference: None,
    };
    // Each call is a decision of its own: an event that is parked again can be discarded again.
    let key = fresh_key("discardEvent");
    let context = CommandContext::new(tenant(&name), operator, Provenance::Attested, &key);
    let models = ReadModels {
        commands: &app.commands,
        runner: &app.runner,
    };
    let wish = Wish::Discard {
        position: args.position,
        reason: args.reason,
    };
    match models.decide(&context, args.projection, wish).await {
        Ok(_) => Ok(app.catch_up(main_ledger(&name)).await?),
        Err(DecideError::Refused(error)) => Err(match error.code() {
            "NOT_FOUND" => CliError::NotFound(format!(
                "{} does not wait before {} of tenant {name}; `ruche projections list` shows what waits",
                args.projection, args.position
            )),
            code => CliError::Failed(format!("{code}: {error}")),
        }),
        Err(DecideError::ReadModels(error)) => Err(AppError::from(error).into()),
    }
}

fn is_parked(letter: &DeadLetter) -> bool {
    letter.state == DeadLetterState::Parked
}

async fn letters(app: &App) -> Result<Vec<DeadLetter>, CliError> {
    let mut letters = Vec::new();
    for ledger in app.events.ledgers().await.map_err(AppError::from)? {
        letters.extend(
            app.runner
                .store()
                .dead_letters(ledger)
                .await
                .map_err(AppError::from)?,
        );
    }
    Ok(letters)
}

fn line(letter: &DeadLetter) -> Line {
    Line {
        ledger: letter.ledger.to_string(),
        projection: letter.projection.clone(),
        position: letter.position.to_string(),
        event_type: letter.event_type.clone(),
        state: match letter.state {
            DeadLetterState::Parked => "parked",
            DeadLetterState::Discarded => "discarded",
        },
        attempts: letter.attempts,
        error: letter.error.clone(),
    }
}

fn text(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no projection waits, and no event was discarded".to_owned();
    }
    let mut table = Table::new([
        "ledger",
        "projection",
        "position",
        "event",
        "state",
        "tries",
        "why",
    ]);
    for line in lines {
        table.row([
            line.ledger.clone(),
            line.projection.clone(),
            line.position.clone(),
            line.event_type.clone(),
            line.state.to_owned(),
            line.attempts.to_string(),
            harmless(&line.error),
        ]);
    }
    table.to_string()
}
