//! The same by a server, while everything goes on.

use std::process::ExitCode;

use ruche_projections::rebuild::RebuildPhase;
use serde_json::{Value, json};

use super::super::client::{Client, fresh_key};
use super::super::{CliError, Common, print};
use super::{LOOK_INTERVAL, code, compared, tell};
use crate::out::progress;

const REBUILD: &str =
    "{ rebuild { state requestedAt appliedRecords totalRecords timeLeftMs startedAt endedAt compared
    differences { table onlyOld onlyNew unequal } error } }";

/// Asks for a rebuild and looks on until it is over. Whoever stops looking does not stop it.
pub(super) async fn run(
    common: &Common,
    server: &str,
    key: Option<&str>,
    reason: &str,
) -> Result<ExitCode, CliError> {
    let key =
        key.ok_or_else(|| CliError::Usage("--key (or RUCHE_KEY) is needed with --server".to_owned()))?;
    let mut client = Client::with(server, key)?;
    let name = "rebuildReadModels";
    let input = json!({ "idempotencyKey": fresh_key(name), "reason": reason });
    let requested = client.mutate(name, &input, "position").await?["position"].take();
    let bar = progress(0, "reading records");
    let ended = loop {
        let seen = client.ask(REBUILD, Value::Null).await?["rebuild"].take();
        if seen["requestedAt"] != requested {
            let gone = "another rebuild was asked for, or the server was started again; the record of this one says whether it \
                        was completed: look for infra.rebuild_completed";
            return Err(CliError::Failed(gone.to_owned()));
        }
        let number = |field: &str| {
            seen[field]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        let phase = match seen["state"].as_str() {
            Some("FILLING") => RebuildPhase::Filling,
            Some("COMPARING") => RebuildPhase::Comparing,
            Some("SWITCHING") => RebuildPhase::Switching,
            _ => break seen,
        };
        tell(&bar, phase, number("appliedRecords"), number("totalRecords"));
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    bar.finish_and_clear();
    if let Some(error) = ended["error"].as_str() {
        return Err(CliError::Failed(error.to_owned()));
    }
    let differences: Vec<String> = ended["differences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    print(common, &ended, |ended| {
        let records = ended["appliedRecords"].as_str().unwrap_or_default();
        let compared = compared(ended["compared"] == true, &differences);
        format!("{records} records; {compared}")
    })?;
    Ok(code(&differences))
}
