//! `ruche migrate`: databases brought up to date by whoever owns them.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{CliError, Common, print};
use crate::app;

/// What to bring along.
#[derive(Args)]
pub struct MigrateArgs {
    /// Copy the last tree heads from the keys folder into the database of tree heads: once, when one node becomes many
    #[arg(long)]
    tree_heads: bool,
}

#[derive(Serialize)]
struct Migrated {
    databases: Vec<String>,
    /// Logs whose last tree head was copied; null if it was not asked for.
    tree_heads: Option<usize>,
}

/// Runs the command.
pub async fn run(common: Common, args: MigrateArgs) -> Result<ExitCode, CliError> {
    let databases = app::migrate(&common).await?;
    let tree_heads = match args.tree_heads {
        true => Some(app::copy_tree_heads(&common).await?),
        false => None,
    };
    let migrated = Migrated {
        databases,
        tree_heads,
    };
    print(&common, &migrated, |migrated| {
        let copied = match migrated.tree_heads {
            Some(copied) => format!("\ntree heads of {copied} logs are in the database of tree heads"),
            None => String::new(),
        };
        format!("up to date:\n{}{copied}", migrated.databases.join("\n"))
    })?;
    Ok(ExitCode::SUCCESS)
}
