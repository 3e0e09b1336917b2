//! `ruche projections`: events that a projection could not apply, and what becomes of them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_domain::numbers::Position;
use ruche_projections::projection;
use ruche_projections::store::{DeadLetter, DeadLetterState};
use serde::Serialize;

use super::{CliError, Common, main_ledger, print, tenant_name};
use crate::app::{self, App, AppError};
use crate::out::{Table, harmless};

/// What to do with parked events.
#[derive(Subcommand)]
pub enum ProjectionsCommand {
    /// Events that projections could not apply, in all ledgers: parked ones, which hold a read model up, and discarded ones
    List,
    /// Let every parked projection try its event again, after an upgrade that knows it for example
    Redrive,
    /// Go on without a parked event, for ever: its read model then lacks what the event says. The ledger keeps it
    Discard(DiscardArgs),
}

/// A parked event.
#[derive(Args)]
pub struct DiscardArgs {
    /// Tenant whose ledger it is in
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// Projection that waits
    #[arg(long, value_parser = projection_name)]
    projection: &'static str,
    /// Position of the event, such as `1:17`
    #[arg(long)]
    position: Position,
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
pub async fn run(common: Common, command: ProjectionsCommand) -> Result<ExitCode, CliError> {
    app::must_exist(&common).await?;
    let app = match command {
        ProjectionsCommand::List => App::open_to_read(&common, "ruche projections").await?,
        ProjectionsCommand::Redrive | ProjectionsCommand::Discard(_) => {
            App::open(&common, "ruche projections").await?
        }
    };
    let done = on_app(&app, &common, command).await;
    app.close().await?;
    done
}

async fn on_app(app: &App, common: &Common, command: ProjectionsCommand) -> Result<ExitCode, CliError> {
    let is_redrive = matches!(command, ProjectionsCommand::Redrive);
    match command {
        ProjectionsCommand::List => {}
        ProjectionsCommand::Redrive => {
            for letter in letters(app).await?.iter().filter(|letter| is_parked(letter)) {
                let name = projection_name(&letter.projection).map_err(CliError::Failed)?;
                let tried = app.runner.redrive(letter.ledger, name, letter.position);
                tried.await.map_err(AppError::from)?;
                app.catch_up(letter.ledger).await?;
            }
        }
        ProjectionsCommand::Discard(args) => {
            let ledger = main_ledger(&args.tenant);
            let found = app.runner.discard(ledger, args.projection, args.position).await;
            if !found.map_err(AppError::from)? {
                return Err(CliError::NotFound(format!(
                    "{} does not wait before {} of tenant {}; `ruche projections list` shows what waits",
                    args.projection, args.position, args.tenant
                )));
            }
            app.catch_up(ledger).await?;
        }
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
