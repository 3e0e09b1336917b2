//! `ruche rebuild`: read models are derived, so they can be made anew at any time and come out the same. On the store itself,
//! or by a server that runs (`--server`).

mod served;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use ruche_projections::rebuild::{RebuildPhase, RebuildProgress};
use serde_json::json;

use super::{CliError, Common, print};
use crate::app::{App, AppError};
use crate::out::progress;

/// Exit code if the old read models differed from what the ledgers say.
const DIFFERED: u8 = 2;
/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What to rebuild where.
#[derive(Args)]
pub struct RebuildArgs {
    /// The server, such as http://127.0.0.1:4000, which goes on serving; without it the store itself is opened
    #[arg(long, value_name = "URL", requires = "reason")]
    server: Option<String>,
    /// API key with the role admin (with --server)
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Why; stands in the record (with --server)
    #[arg(long, requires = "server")]
    reason: Option<String>,
}

/// Rebuilds, compares and switches.
pub async fn run(common: Common, args: RebuildArgs) -> Result<ExitCode, CliError> {
    if let (Some(server), Some(reason)) = (&args.server, &args.reason) {
        return served::run(&common, server, args.key.as_deref(), reason).await;
    }
    crate::app::must_exist(&common).await?;
    let app = App::open(&common, "ruche rebuild").await?;
    let rebuilt = with_a_bar(&app).await;
    app.close().await?;
    let report = rebuilt?;
    let differences: Vec<String> = report.differences.iter().map(|d| format!("{d:?}")).collect();
    let value = json!({
        "generation": report.generation,
        "events": report.events,
        "projections": report.projections,
        "compared": report.compared,
        "differences": differences,
    });
    print(&common, &value, |_| {
        let made = format!(
            "generation {}: {} events in {} projections",
            report.generation, report.events, report.projections
        );
        format!("{made}; {}", compared(report.compared, &differences))
    })?;
    Ok(code(&differences))
}

async fn with_a_bar(app: &App) -> Result<ruche_projections::rebuild::RebuildReport, AppError> {
    let (bar, seen) = (progress(0, "reading records"), RebuildProgress::default());
    let look = async {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let standing = seen.standing();
            tell(&bar, standing.phase, standing.applied, standing.total);
        }
    };
    let done = tokio::select! {
        done = app.rebuild(&seen) => done,
        () = look => unreachable!("looking never ends"),
    };
    bar.finish_and_clear();
    done
}

/// Shows how far it is.
fn tell(bar: &ProgressBar, phase: RebuildPhase, applied: u64, total: u64) {
    bar.set_message(match phase {
        RebuildPhase::Filling => "reading records",
        RebuildPhase::Comparing => "comparing rows",
        RebuildPhase::Switching => "switching",
    });
    bar.set_length(total);
    bar.set_position(applied);
}

/// What came of holding the old ones against the new ones.
fn compared(were_compared: bool, differences: &[String]) -> String {
    match (were_compared, differences.is_empty()) {
        (false, _) => "the old read models were of another version and not compared".to_owned(),
        (true, true) => "equal to the old read models, row by row".to_owned(),
        (true, false) => format!("the old read models differed:\n{}", differences.join("\n")),
    }
}

fn code(differences: &[String]) -> ExitCode {
    match differences.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DIFFERED),
    }
}
