//! `ruche bi`: users of PostgreSQL who read the views of one tenant.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{CliError, Common, main_ledger, no_ledger, print, tenant_name};
use crate::app::{self, App};
use crate::out::Table;

pub(super) const EXAMPLES: &str = "\
Examples:
  ruche bi grant metabase --tenant acme
  ruche bi list
  ruche bi revoke metabase

An administrator of the database server makes the user first; what to type is in docs/sql.md.";

/// What to do about such users.
#[derive(Subcommand)]
pub enum BiCommand {
    /// Let a user read the views of one tenant, and of no other
    Grant(GrantArgs),
    /// Take the views from a user
    Revoke(RevokeArgs),
    /// See who reads what
    List,
}

/// Who reads what.
#[derive(Args)]
pub struct GrantArgs {
    /// User of PostgreSQL, who has no other rights on this database
    login: String,
    /// Tenant whose views the user reads
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// Also what people and tools wrote and said, and what agents remember
    #[arg(long)]
    texts: bool,
}

/// Who does not any more.
#[derive(Args)]
pub struct RevokeArgs {
    /// User of PostgreSQL
    login: String,
}

#[derive(Serialize)]
struct Line {
    login: String,
    tenant: String,
    ledger: String,
    texts: bool,
    granted_at: String,
}

/// Runs the command.
pub async fn run(common: Common, command: BiCommand) -> Result<ExitCode, CliError> {
    match command {
        BiCommand::Grant(args) => grant(&common, &args).await?,
        BiCommand::Revoke(args) => {
            if !app::bi_revoke(&common, &args.login).await? {
                return Err(CliError::NotFound(format!(
                    "{} reads no views; `ruche bi list` shows who does",
                    args.login
                )));
            }
        }
        BiCommand::List => {}
    }
    let lines: Vec<Line> = app::bi_logins(&common)
        .await?
        .into_iter()
        .map(|login| Line {
            login: login.login,
            tenant: login.tenant,
            ledger: login.ledger.to_string(),
            texts: login.texts,
            granted_at: login.granted_at,
        })
        .collect();
    print(&common, &lines, |lines| shown(lines))?;
    Ok(ExitCode::SUCCESS)
}

async fn grant(common: &Common, args: &GrantArgs) -> Result<(), CliError> {
    let ledger = main_ledger(&args.tenant);
    // A name that is misspelt would show nothing, and nobody would know why.
    let app = App::open_to_read(common, "ruche bi grant").await?;
    let head = app.events.head(ledger).await;
    app.close().await?;
    if head.map_err(crate::app::AppError::from)?.is_none() {
        return Err(no_ledger(&args.tenant));
    }
    Ok(app::bi_grant(common, &args.login, (args.tenant.as_str(), ledger), args.texts).await?)
}

fn shown(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "nobody reads the views".to_owned();
    }
    let mut table = Table::new(["user", "tenant", "texts", "since"]);
    for line in lines {
        let texts = if line.texts { "yes" } else { "no" };
        table.row([
            line.login.clone(),
            line.tenant.clone(),
            texts.to_owned(),
            line.granted_at.clone(),
        ]);
    }
    table.to_string()
}
