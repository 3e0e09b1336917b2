//! `ruche archive`: payloads that leave the store for a folder, and come back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_replay::position_at;
use serde::Serialize;

use super::replay::{Moment, moment};
use super::{CliError, Common, known_tenant, print, tenant_name};
use crate::app::{self, App, AppError, ArchiveStep, Taken};
use crate::out::{Table, progress};

/// What to do about archives.
#[derive(Subcommand)]
pub enum ArchiveCommand {
    /// Write payloads of sealed records to an archive, verify it, and take them out of the store
    Create(CreateArgs),
    /// Put the payloads of an archive back into the store
    Restore(RestoreArgs),
    /// See what is archived
    List(ListArgs),
}

/// What is archived.
#[derive(Args)]
pub struct CreateArgs {
    /// Tenant whose ledger it is; all of them if absent
    #[arg(long, value_parser = tenant_name)]
    tenant: Option<String>,
    /// Only records before this one: a position, such as `1:57`, or a time, such as `2026-11-29T12:00:00Z`
    #[arg(long, value_name = "POSITION|TIME", value_parser = moment)]
    before: Moment,
    /// Folder of archives; that of --archive-dir if absent
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// What is put back.
#[derive(Args)]
pub struct RestoreArgs {
    /// Folder of the archive
    dir: PathBuf,
}

/// Of what.
#[derive(Args)]
pub struct ListArgs {
    /// Tenant whose ledger it is; all of them if absent
    #[arg(long, value_parser = tenant_name)]
    tenant: Option<String>,
}

#[derive(Serialize)]
struct ArchiveLine {
    ledger: String,
    archive: String,
    /// First and last record.
    from: String,
    to: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payloads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl ArchiveLine {
    fn new(ledger: LedgerId, range: &ruche_ledger::archive::ArchivedRange) -> Self {
        let place = |index| Position::new(range.epoch.0, index).to_string();
        Self {
            ledger: ledger.to_string(),
            archive: range.archive.clone(),
            from: place(range.from.0),
            to: place(range.to.0.saturating_sub(1)),
            digest: range.digest.to_string(),
            payloads: None,
            bytes: None,
        }
    }

    fn taken(ledger: LedgerId, taken: &Taken) -> Self {
        Self {
            payloads: Some(taken.payloads),
            bytes: Some(taken.bytes),
            ..Self::new(ledger, &taken.range)
        }
    }
}

/// Runs the command.
pub async fn run(common: Common, command: ArchiveCommand) -> Result<ExitCode, CliError> {
    app::must_exist(&common).await?;
    let app = match &command {
        ArchiveCommand::Create(_) => App::open(&common, "ruche archive").await?,
        // Read models may need what is put back.
        ArchiveCommand::Restore(_) => App::open_with_models_as_they_are(&common, "ruche archive").await?,
        ArchiveCommand::List(_) => App::open_to_read(&common, "ruche archive").await?,
    };
    let done = match command {
        ArchiveCommand::Create(args) => create(&app, &common, args).await,
        ArchiveCommand::Restore(args) => restore(&app, &common, args).await,
        ArchiveCommand::List(args) => list(&app, &common, args).await,
    };
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn ledgers(app: &App, tenant: Option<&str>) -> Result<Vec<LedgerId>, CliError> {
    match tenant {
        Some(name) => Ok(vec![LedgerId::main_of(known_tenant(app, name).await?)]),
        None => Ok(app.events.ledgers().await.map_err(AppError::from)?),
    }
}

async fn create(app: &App, common: &Common, args: CreateArgs) -> Result<(), CliError> {
    let root = args.to.as_ref().or(common.archive_dir.as_ref());
    let root = root.ok_or_else(|| {
        CliError::Usage("say where archives go: --to DIR, or --archive-dir (RUCHE_ARCHIVE_DIR)".to_owned())
    })?;
    let mut lines = Vec::new();
    let all = create_all(app, &args, root, &mut lines).await;
    // What was done before an error is done, and the only copy is there.
    if all.is_ok() || !lines.is_empty() {
        print_created(common, root, &lines)?;
    }
    all
}

async fn create_all(
    app: &App,
    args: &CreateArgs,
    root: &Path,
    lines: &mut Vec<ArchiveLine>,
) -> Result<(), CliError> {
    for ledger in ledgers(app, args.tenant.as_deref()).await? {
        let before = match args.before {
            Moment::Position(position) => position,
            Moment::Time(time) => {
                let last = position_at(&*app.stored, ledger, time).await;
                let last = last.map_err(|error| CliError::Failed(crate::error::chain(&error)))?;
                // The last record that the ledger took by then is before that time, too.
                last.map_or(Position::START, Position::next)
            }
        };
        let bar = progress(before.index.0, "archiving");
        let step = |step: ArchiveStep| {
            match step {
                ArchiveStep::Written(records) => bar.inc(records),
                ArchiveStep::Named => bar.set_message("verifying"),
                ArchiveStep::Told => bar.set_message("taking payloads out"),
                ArchiveStep::Verified(_) | ArchiveStep::Moved(_) => {}
            }
            Ok(())
        };
        let mut taken = Vec::new();
        let done = app.archive(ledger, before, root, &step, &mut taken).await;
        bar.finish_and_clear();
        lines.extend(taken.iter().map(|taken| ArchiveLine::taken(ledger, taken)));
        done?;
    }
    Ok(())
}

fn print_created(common: &Common, root: &Path, lines: &[ArchiveLine]) -> Result<(), CliError> {
    let told = serde_json::json!({ "folder": root, "archives": lines });
    print(common, &told, |_| {
        match lines.is_empty() {
        true => "nothing to archive: payloads leave in whole bundles of 256 sealed records, of streams that are at rest"
            .to_owned(),
        false => format!(
            "verified, and taken out of the store\n{}\nKeep {} safe: it has the only copy. Nodes read from it with --archive-dir",
            table(lines),
            root.display()
        ),
    }
    })?;
    Ok(())
}

async fn restore(app: &App, common: &Common, args: RestoreArgs) -> Result<(), CliError> {
    let bar = progress(0, "putting payloads back");
    let done = app.restore_archive(&args.dir, &|_| Ok(())).await;
    bar.finish_and_clear();
    let restored = done?;
    let payloads = restored.as_ref().map_or(0, |taken| taken.payloads);
    let told = serde_json::json!({ "restored": args.dir, "payloads": payloads });
    print(common, &told, |_| match restored {
        Some(_) => format!(
            "the {payloads} payloads of {} are in the store again",
            args.dir.display()
        ),
        None => format!(
            "nothing to do: the store does not lack what is in {}",
            args.dir.display()
        ),
    })?;
    Ok(())
}

async fn list(app: &App, common: &Common, args: ListArgs) -> Result<(), CliError> {
    let mut lines = Vec::new();
    for ledger in ledgers(app, args.tenant.as_deref()).await? {
        let ranges = app.archived(ledger).await?;
        lines.extend(ranges.iter().map(|range| ArchiveLine::new(ledger, range)));
    }
    let told = serde_json::json!({ "archives": lines });
    print(common, &told, |_| match lines.is_empty() {
        true => "nothing is archived".to_owned(),
        false => table(&lines),
    })?;
    Ok(())
}

fn table(lines: &[ArchiveLine]) -> String {
    let mut table = Table::new(["archive", "first", "last", "payloads", "bytes"]);
    let text = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    for line in lines {
        table.row([
            line.archive.clone(),
            line.from.clone(),
            line.to.clone(),
            text(line.payloads),
            text(line.bytes),
        ]);
    }
    table.to_string()
}
