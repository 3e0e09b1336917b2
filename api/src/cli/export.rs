//! `ruche export`: a ledger as a folder for auditors.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{CliError, Common, main_ledger, print};
use crate::app::App;
use crate::out::progress;

/// What, and where to.
#[derive(Args)]
pub struct ExportArgs {
    /// Tenant whose ledger it is
    #[arg(long)]
    tenant: String,
    /// File for the verifier keys as well, one in a line
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Folder to write; must not exist or be empty
    dir: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    dir: PathBuf,
    ledger: String,
    records: u64,
    /// One for each epoch, oldest first. To be handed over by another way than the folder.
    verifier_keys: Vec<String>,
    /// Why the export is not all that was promised: the store is behind its tree heads, for example.
    warning: Option<String>,
}

/// Runs the command.
pub async fn run(common: Common, args: ExportArgs) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche export").await?;
    let done = on_app(&app, &common, args).await;
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn on_app(app: &App, common: &Common, args: ExportArgs) -> Result<(), CliError> {
    let ledger = main_ledger(&args.tenant);
    let epochs = app
        .events
        .epochs(ledger)
        .await
        .map_err(crate::app::AppError::from)?;
    let verifier_keys: Vec<String> = epochs
        .iter()
        .map(|epoch| app.sealer.keys.signer(&epoch.origin).verifier().to_string())
        .collect();
    let warning = app
        .sealer
        .may_go_on(ledger)
        .await
        .err()
        .map(|error| crate::error::chain(&error));
    let bar = progress(epochs.iter().map(|epoch| epoch.size.0).sum(), "exporting");
    let written = app
        .export(ledger, &args.dir, |records, total| {
            bar.set_length(total);
            bar.set_position(records);
        })
        .await;
    bar.finish_and_clear();
    let records = written?;
    if let Some(path) = &args.key_file {
        let io = |source| CliError::Io {
            path: path.display().to_string(),
            source,
        };
        std::fs::write(path, verifier_keys.join("\n") + "\n").map_err(io)?;
    }
    let exported = Exported {
        dir: args.dir,
        ledger: ledger.to_string(),
        records,
        verifier_keys,
        warning,
    };
    print(common, &exported, text)
}

fn text(exported: &Exported) -> String {
    let keys = exported
        .verifier_keys
        .iter()
        .map(|key| format!("  {key}\n"))
        .collect::<String>();
    let trust = exported
        .verifier_keys
        .iter()
        .map(|key| format!(" --key '{key}'"))
        .collect::<String>();
    let warning = match &exported.warning {
        Some(warning) => format!("warning: {warning}\n\n"),
        None => String::new(),
    };
    format!(
        "{warning}wrote {} records of ledger {} to {}\n\n\
         Verifier keys. Give them to the auditor by another way than the folder: whoever could change the folder could \
         change a key in it.\n{keys}\n\
         To verify:\n  ruche-verify {}{trust}",
        exported.records,
        exported.ledger,
        exported.dir.display(),
        quoted(&exported.dir),
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_would_split_them() {
        for (path, text) in [
            ("a/b-1", "a/b-1"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), text);
        }
    }
}
