//! `ruche table`: tables for the tools of others, as files.

mod file;
mod rows;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use ruche_domain::ids::LedgerId;
use ruche_projections::bi::{self, Kind, Period, Table};
use ruche_projections::store::{ReadStoreError, Snapshot};
use serde::Serialize;

use super::query::arguments::time;
use super::{CliError, Common, known_tenant, print, tenant_name};
use crate::app::{self, App};
use crate::out::{self, progress};
use file::Target;
use rows::{Head, Rows};

pub(super) const EXAMPLES: &str = "\
Examples:
  ruche table list
  ruche table list sessions
  ruche table export sessions --tenant acme --format csv --out sessions.csv
  ruche table export model_costs_daily --tenant acme --format parquet --from 2026-01-01 --out costs.parquet

The store itself is asked: on the embedded store no server may run on it. `ruche export` writes the ledger itself, for auditors.
The columns are told in docs/sql.md.";

/// What to do with tables.
#[derive(Subcommand)]
pub enum TableCommand {
    /// List the tables, or the columns of one
    List(ListArgs),
    /// Write a table of a tenant to a file, as it stood at one moment
    Export(ExportArgs),
}

/// Of what.
#[derive(Args)]
pub struct ListArgs {
    /// The table whose columns are listed; all tables if absent
    #[arg(value_parser = table)]
    name: Option<&'static Table>,
}

/// What is written, and where to.
#[derive(Args)]
pub struct ExportArgs {
    /// The table; `ruche table list` shows them
    #[arg(value_parser = table)]
    name: &'static Table,
    /// Tenant whose rows they are
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// Form of the file
    #[arg(long, value_enum)]
    format: Format,
    /// File to write; there only once it is whole
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Put it in the place of a file that is there
    #[arg(long)]
    force: bool,
    /// Rows from this day or time on
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,
    /// Rows before this day or time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,
}

/// Form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Comma-separated values, for spreadsheets and all else
    Csv,
    /// Apache Parquet, with typed columns
    Parquet,
}

fn table(name: &str) -> Result<&'static Table, String> {
    Table::named(name).ok_or_else(|| "no such table; `ruche table list` shows them".to_owned())
}

/// Runs the command.
pub async fn run(common: Common, command: TableCommand) -> Result<ExitCode, CliError> {
    match command {
        TableCommand::List(ListArgs { name: None }) => print(&common, &listed(), |tables| list(tables))?,
        TableCommand::List(ListArgs { name: Some(table) }) => {
            print(&common, &columns(table), |columns| list_columns(columns))?;
        }
        TableCommand::Export(args) => {
            if !args.name.has_time() && (args.from.is_some() || args.to.is_some()) {
                let name = args.name.name;
                return Err(CliError::Usage(format!(
                    "the rows of {name} have no time of their own: leave --from and --to out"
                )));
            }
            // Before the store is opened: a long read for nothing helps nobody.
            let target = Target::new(&args.out, args.force)?;
            app::must_exist(&common).await?;
            let app = App::open(&common, "ruche table export").await?;
            let exported = on_app(&app, &args, target).await;
            app.close().await?;
            let exported = exported?;
            if let Some(warning) = exported.warning.as_ref().filter(|_| !common.json) {
                // Nothing is left to tell if standard error is closed.
                let _ = writeln!(io::stderr(), "warning: {warning}");
            }
            print(&common, &exported, told)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Exported {
    table: &'static str,
    format: Format,
    file: PathBuf,
    ledger: String,
    rows: u64,
    /// The last record that is in the rows; null before the first.
    position: Option<String>,
    /// When that was recorded.
    recorded_at: Option<String>,
    /// Why the rows end where they do, if not at the end of the ledger.
    warning: Option<String>,
}

async fn on_app(app: &App, args: &ExportArgs, target: Target<'_>) -> Result<Exported, CliError> {
    let (table, ledger) = (
        args.name,
        LedgerId::main_of(known_tenant(app, &args.tenant).await?),
    );
    app.catch_up(ledger).await?;
    let status = app
        .runner
        .store()
        .status(ledger, table.projection)
        .await
        .map_err(failed)?;
    let warning = match (&status.parked, status.paused) {
        (Some(letter), _) => Some(format!(
            "the read model {} stands before {}, which it cannot take in: what was recorded behind it is not in the file",
            table.projection, letter.position
        )),
        (None, true) => Some(format!(
            "the read model {} is paused: what was recorded since is not in the file",
            table.projection
        )),
        (None, false) => None,
    };
    let snapshot = app.snapshot(ledger).await.map_err(failed)?;
    let standing = bi::standing(&*snapshot, table, ledger).await.map_err(failed)?;
    let head = Head {
        table,
        ledger: ledger.to_string(),
        position: standing.map(|(position, _)| position.to_string()),
        recorded_at: standing.map(|(_, at)| crate::graphql::format_time(at)),
    };
    let period = Period {
        from: args.from,
        to: args.to,
    };
    let rows = write(&*snapshot, (table, ledger, period), &head, args.format, target).await?;
    Ok(Exported {
        table: table.name,
        format: args.format,
        file: args.out.clone(),
        ledger: head.ledger,
        rows,
        position: head.position,
        recorded_at: head.recorded_at,
        warning,
    })
}

/// Writes page after page, so that memory does not grow with the table.
async fn write(
    snapshot: &dyn Snapshot,
    (table, ledger, period): (&'static Table, LedgerId, Period),
    head: &Head,
    format: Format,
    mut target: Target<'_>,
) -> Result<u64, CliError> {
    let total = bi::count(snapshot, table, ledger, period).await.map_err(failed)?;
    let bar = progress(total, "exporting");
    let (path, mut written, mut after) = (target.path().to_owned(), 0, None);
    let mut rows = Rows::begin(format, head, target.file()).map_err(at(&path))?;
    loop {
        let (page, next) = bi::page(snapshot, table, ledger, period, after.as_ref())
            .await
            .map_err(failed)?;
        written += page.len() as u64;
        rows.add(page).map_err(at(&path))?;
        bar.set_position(written);
        after = next;
        if after.is_none() {
            break;
        }
    }
    rows.end().map_err(at(&path))?;
    bar.finish_and_clear();
    if written != total {
        return Err(CliError::Failed(format!(
            "{written} rows of {} were read where there are {total}; nothing was written",
            table.name
        )));
    }
    target.put_in_place()?;
    Ok(written)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.display().to_string();
    move |source| CliError::Io { path, source }
}

fn failed(error: ReadStoreError) -> CliError {
    CliError::Failed(error.to_string())
}

fn told(exported: &Exported) -> String {
    let position = match (&exported.position, &exported.recorded_at) {
        (Some(position), Some(at)) => format!("as of position {position}, recorded at {at}"),
        _ => "as of nothing: no record is in it yet".to_owned(),
    };
    format!(
        "wrote {} rows of {} to {}\n{position}",
        exported.rows,
        exported.table,
        exported.file.display()
    )
}

#[derive(Serialize)]
struct Listed {
    table: &'static str,
    texts: bool,
    time: bool,
    columns: usize,
    description: &'static str,
}

fn listed() -> Vec<Listed> {
    let tables = bi::all().map(|table| Listed {
        table: table.name,
        texts: table.shows_texts,
        time: table.has_time(),
        columns: table.columns.len(),
        description: table.about,
    });
    tables.collect()
}

fn list(tables: &[Listed]) -> String {
    let mut shown = out::Table::new(["table", "columns", "what it is"]);
    for listed in tables {
        let texts = if listed.texts { " It holds texts." } else { "" };
        shown.row([
            listed.table.to_owned(),
            listed.columns.to_string(),
            format!("{}{texts}", listed.description),
        ]);
    }
    shown.to_string()
}

#[derive(Serialize)]
struct ListedColumn {
    column: &'static str,
    kind: &'static str,
    parquet: &'static str,
    description: &'static str,
}

fn columns(table: &Table) -> Vec<ListedColumn> {
    let parquet = |kind: Kind| kind.types()[2];
    let columns = table.columns.iter().map(|column| ListedColumn {
        column: column.name,
        kind: column.kind.name(),
        parquet: parquet(column.kind),
        description: column.about,
    });
    columns.collect()
}

fn list_columns(columns: &[ListedColumn]) -> String {
    let mut shown = out::Table::new(["column", "type", "what it is"]);
    for column in columns {
        shown.row([column.column, column.kind, column.description].map(str::to_owned));
    }
    shown.to_string()
}
