//! `ruche rebuild`: read models are derived, so they can be made anew at any time and come out the same.

use std::process::ExitCode;

use serde_json::json;

use super::{CliError, Common, print};
use crate::app::App;

/// Exit code if the old read models differed from what the ledgers say.
const DIFFERED: u8 = 2;

/// Rebuilds, compares and switches.
pub async fn run(common: Common) -> Result<ExitCode, CliError> {
    crate::app::must_exist(&common).await?;
    let app = App::open(&common, "ruche rebuild").await?;
    let rebuilt = app.rebuild().await;
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
        let mut text = format!(
            "generation {}: {} events in {} projections",
            report.generation, report.events, report.projections
        );
        match (report.compared, differences.is_empty()) {
            (false, _) => text.push_str("; the old read models were of another version and not compared"),
            (true, true) => text.push_str("; equal to the old read models, row by row"),
            (true, false) => {
                text = format!(
                    "{text}; the old read models differed:\n{}",
                    differences.join("\n")
                )
            }
        }
        text
    })?;
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERED)
    })
}
