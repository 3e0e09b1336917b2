//! `ruche backup` and `ruche restore`. Keys and tree heads are in no backup: what was promised is not taken back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{CliError, Common, print};
use crate::app;

/// Where to copy to.
#[derive(Args)]
pub struct BackupArgs {
    /// File to write; must not exist
    file: PathBuf,
}

/// What to restore.
#[derive(Args)]
pub struct RestoreArgs {
    /// File that `ruche backup` wrote
    file: PathBuf,
    /// Put the present store aside instead of refusing because it is there
    #[arg(long)]
    replace: bool,
}

/// Copies the store to a file and checks the copy, whether a server runs or not.
pub fn backup(common: &Common, args: &BackupArgs) -> Result<ExitCode, CliError> {
    app::backup(common, &args.file)?;
    print(common, &serde_json::json!({ "backup": args.file }), |_| {
        format!(
            "wrote and checked {}\nthe keys folder is not in it: keep a copy of master.seed apart",
            args.file.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Puts a backup in the place of the store. What was written after the backup is lost; the next step names it.
pub fn restore(common: &Common, args: &RestoreArgs) -> Result<ExitCode, CliError> {
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |source| CliError::Io { path, source }
    };
    let lock = app::lock(common, "ruche restore")?;
    let target = app::ledger_file(common);
    app::check_backup(&args.file)?;
    if target.exists() {
        if !args.replace {
            return Err(CliError::Usage(format!(
                "{} is there already; with --replace it is put aside",
                target.display()
            )));
        }
        app::put_aside(common).map_err(io(&common.data_dir))?;
    }
    // The copy gets its name only when it is whole: a crash before the rename leaves no store, not half a one.
    let partial = target.with_extension("db.partial");
    std::fs::copy(&args.file, &partial).map_err(io(&args.file))?;
    std::fs::File::open(&partial)
        .and_then(|f| f.sync_all())
        .map_err(io(&partial))?;
    std::fs::rename(&partial, &target).map_err(io(&target))?;
    drop(lock);
    print(
        common,
        &serde_json::json!({ "restored": args.file, "next": "ruche ledger new-epoch --restored" }),
        |_| {
            "restored; read models are rebuilt at the next start\n\
         next, for every tenant: ruche ledger new-epoch --restored --tenant TENANT"
                .to_owned()
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
