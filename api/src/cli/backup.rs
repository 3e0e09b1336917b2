//! `ruche backup` and `ruche restore`. Keys and tree heads are in no backup: what was promised is not taken back.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{CliError, Common, print};
use crate::app::{self, App};
use crate::out::{Table, progress};
use crate::unsettled::{self, Unsettled};

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
pub async fn backup(common: Common, args: BackupArgs) -> Result<ExitCode, CliError> {
    let bar = progress(0, "copying");
    let done = app::backup(&common, &args.file, &|what, done, total| {
        tell(&bar, what, done, total)
    })
    .await;
    bar.finish_and_clear();
    let records = done?;
    let told = serde_json::json!({ "backup": args.file, "records": records });
    print(&common, &told, |_| {
        format!(
            "wrote {} and read all {records} records of it\nthe keys folder is not in it: keep a copy of master.seed apart",
            args.file.display(),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn tell(bar: &ProgressBar, what: &'static str, done: u64, total: u64) {
    if bar.message() != what {
        bar.set_message(what);
    }
    bar.set_length(total);
    bar.set_position(done);
}

#[derive(Serialize)]
struct Restored {
    restored: PathBuf,
    /// Where the store is that was there before.
    put_aside: Option<String>,
    /// Last origin of each ledger that was promised something and that the backup does not have; null if tree heads cannot
    /// be read.
    lost_ledgers: Option<Vec<String>>,
    ledgers: Vec<RestoredLine>,
    /// Effects that were started and have no result in the backup: only the tools know how they came out.
    effects_without_result: Vec<Unsettled>,
}

#[derive(Serialize)]
struct RestoredLine {
    ledger: String,
    /// Last record of the backup.
    restored_to: String,
    /// The epoch that is open now.
    epoch: u32,
    /// First and last record that a tree head promised and that are lost.
    lost: Option<[String; 2]>,
}

/// Puts a backup in the place of the store and opens the next epoch of every ledger in it.
pub async fn restore(common: Common, args: RestoreArgs) -> Result<ExitCode, CliError> {
    if !app::has_seed(&common) {
        return Err(CliError::Usage(format!(
            "there is no master.seed in {0}, and a restore opens a new epoch of every ledger, which is signed: name the \
             keys folder with --keys-dir, or put master.seed back into it. If it is lost, make a new one, with which the \
             new epochs are signed: mkdir -p {0} && (umask 077; openssl rand -hex 32 > {0}/master.seed)",
            common.keys_dir.display()
        )));
    }
    // What is in the data folder is put aside, and tree heads of the past must not come back with it either.
    if let (Ok(data), Ok(keys)) = (common.data_dir.canonicalize(), common.keys_dir.canonicalize())
        && keys.starts_with(&data)
    {
        return Err(CliError::Usage(format!(
            "the keys folder {} is in the data folder: move it out of it, and name it with --keys-dir",
            common.keys_dir.display()
        )));
    }
    let bar = progress(0, "checking the backup");
    let placed = app::put_backup_in_place(&common, &args.file, args.replace, &|what, done, total| {
        tell(&bar, what, done, total);
    })
    .await;
    bar.finish_and_clear();
    let put_aside = placed?;
    // A start like any other: it finds the marker and opens the epochs before anything else.
    let app = App::open(&common, "ruche restore").await?;
    let done = report(&app, &common, args.file, put_aside).await;
    app.close().await?;
    done
}

async fn report(
    app: &App,
    common: &Common,
    file: PathBuf,
    put_aside: Option<String>,
) -> Result<ExitCode, CliError> {
    let (mut ledgers, mut left) = (Vec::new(), Vec::new());
    for (end, opened) in &app.restored {
        match opened {
            Ok(opened) => ledgers.push(RestoredLine {
                ledger: end.ledger.to_string(),
                restored_to: end.restored_to.to_string(),
                epoch: opened.epoch.0,
                lost: opened.lost.map(|(from, to)| [from.to_string(), to.to_string()]),
            }),
            Err(reason) => left.push(format!("ledger {}: {reason}", end.ledger)),
        }
    }
    if !left.is_empty() {
        return Err(CliError::Failed(format!(
            "the store is restored, but not every ledger could be opened in a new epoch; those take no appends, and \
             the next start tries again:\n{}",
            left.join("\n")
        )));
    }
    // The store is restored whatever this says, and the doctor says why it cannot be seen.
    let lost_ledgers = app.lost_ledgers().await.ok();
    let mut effects_without_result = Vec::new();
    for (end, _) in &app.restored {
        let found = unsettled::without_result(&*app.stored, end.ledger, None).await;
        effects_without_result.extend(found.map_err(|error| {
            CliError::Failed(format!(
                "the store is restored, but which effects of ledger {} have no result cannot be seen ({error}); `ruche \
                 doctor` says it",
                end.ledger
            ))
        })?);
    }
    let restored = Restored {
        restored: file,
        put_aside,
        lost_ledgers,
        ledgers,
        effects_without_result,
    };
    print(common, &restored, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(restored: &Restored) -> String {
    let mut table = Table::new(["ledger", "restored to", "open epoch", "promised and lost"]);
    for line in &restored.ledgers {
        let lost = match &line.lost {
            Some([from, to]) => format!("{from} to {to}"),
            None => "nothing".to_owned(),
        };
        table.row([
            line.ledger.clone(),
            line.restored_to.clone(),
            line.epoch.to_string(),
            lost,
        ]);
    }
    let aside = match &restored.put_aside {
        Some(place) => format!("\nwhat was there before is in {place}"),
        None => String::new(),
    };
    let lost = match restored.lost_ledgers.as_deref() {
        None => "\nWhether other ledgers are lost cannot be seen: run `ruche doctor`.".to_owned(),
        Some([]) => String::new(),
        Some(lost) => format!(
            "\nledgers that the backup does not have, and that are lost:\n{}",
            lost.join("\n")
        ),
    };
    let effects = unsettled::text(&restored.effects_without_result);
    format!(
        "restored, and every ledger goes on in a new epoch\n{table}\nRecords that were acknowledged after the backup and \
         under no tree head yet, if there were any, are lost as well.\n\
         Keys that were revoked after the backup are valid again: `ruche keys list`.\n\
         Read models are rebuilt at the next start.\n{effects}{lost}{aside}"
    )
}
