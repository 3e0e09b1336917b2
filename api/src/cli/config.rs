//! `ruche config`: the settings file's reference, and whether the settings fit together.

use std::process::ExitCode;

use clap::Subcommand;

use super::{CliError, Common, print};
use crate::app::{self, SettingsFound};
use crate::out::Table;
use crate::settings;

/// What to do about settings.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print a settings file with every key explained, to start from
    Default,
    /// Read all settings, whether they fit together and whether the databases agree with them; changes nothing
    Check,
}

/// Runs the command. Exit code 1 if a setting is wrong.
pub async fn run(common: Common, command: ConfigCommand) -> Result<ExitCode, CliError> {
    match command {
        ConfigCommand::Default => {
            let told = serde_json::json!({ "settings": settings::REFERENCE });
            print(&common, &told, |_| settings::REFERENCE.trim_end().to_owned())?;
        }
        ConfigCommand::Check => {
            let found = app::check_settings(&common).await?;
            print(&common, &found, table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(found: &SettingsFound) -> String {
    let mut table = Table::new(["setting", "value"]);
    for (name, value) in &found.0 {
        table.row([name.clone(), value.clone()]);
    }
    format!("the settings fit together\n{table}")
}
