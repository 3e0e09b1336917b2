//! `ruche export`: a ledger as a folder for auditors.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ruche_domain::ids::LedgerId;
use serde::Serialize;

use super::{CliError, Common, known_tenant, print, tenant_name};
use crate::app::{self, App};
use crate::out::progress;

/// What, and where to.
#[derive(Args)]
pub struct ExportArgs {
    /// Tenant whose ledger it is
    #[arg(long, value_parser = tenant_name)]
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
    app::must_exist(&common).await?;
    let app = App::open(&common, "ruche export").await?;
    let done = on_app(&app, &common, args).await;
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn on_app(app: &App, common: &Common, args: ExportArgs) -> Result<(), CliError> {
    let ledger = LedgerId::main_of(known_tenant(app, &args.tenant).await?);
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
    let key_file = args
        .key_file
        .as_deref()
        .map(|path| KeyFile::claim(path, &args.dir))
        .transpose()?;
    let bar = progress(epochs.iter().map(|epoch| epoch.size.0).sum(), "exporting");
    let written = app
        .export(ledger, &args.dir, |records, total| {
            bar.set_length(total);
            bar.set_position(records);
        })
        .await;
    bar.finish_and_clear();
    if let Some(file) = key_file {
        file.settle(written.is_ok().then_some(&verifier_keys))?;
    }
    let records = written?;
    let exported = Exported {
        dir: args.dir,
        ledger: ledger.to_string(),
        records,
        verifier_keys,
        warning,
    };
    print(common, &exported, text)
}

/// The file for the verifier keys. Looked at before the export is written, so that no export is there without it; an
/// older file keeps what it holds until the export is there.
struct KeyFile<'a> {
    path: &'a Path,
    is_new: bool,
}

impl<'a> KeyFile<'a> {
    /// Makes sure that the file can be written, and is not in the export, where keys would prove nothing.
    fn claim(path: &'a Path, export: &Path) -> Result<Self, CliError> {
        if path.starts_with(export) {
            return Err(CliError::Usage(format!(
                "{} is inside of the export: whoever could change the export could change it; name a file elsewhere",
                path.display()
            )));
        }
        let mut open = OpenOptions::new();
        let is_new = match open.write(true).create_new(true).open(path) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open.create_new(false).open(path).map_err(at(path))?;
                false
            }
            Err(error) => return Err(at(path)(error)),
        };
        Ok(Self { path, is_new })
    }

    /// Writes the keys, one in a line; without any, leaves things as they were.
    fn settle(self, keys: Option<&Vec<String>>) -> Result<(), CliError> {
        match keys {
            Some(keys) => fs::write(self.path, keys.join("\n") + "\n").map_err(at(self.path)),
            None if self.is_new => fs::remove_file(self.path).map_err(at(self.path)),
            None => Ok(()),
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.display().to_string();
    move |source| CliError::Io { path, source }
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
