//! `ruche seed`: the conversations of the demo in a tenant of one's choice.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{CliError, Common, print, tenant};
use crate::app::App;
use crate::demo::{self, Seeded};

/// Where, and how many.
#[derive(Args)]
pub struct SeedArgs {
    /// Tenant to fill; it must be empty
    #[arg(long)]
    tenant: String,
    /// How many sessions, spread over the six weeks up to today
    #[arg(long, default_value_t = demo::SESSIONS)]
    sessions: u64,
}

#[derive(Serialize)]
struct Answer {
    tenant: String,
    /// Whether a story was told here before, so that nothing was left to do.
    told_before: bool,
    #[serde(flatten)]
    seeded: Seeded,
}

/// Runs the command.
pub async fn run(common: Common, args: SeedArgs) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche seed").await?;
    let done = on_app(&app, &common, &args).await;
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn on_app(app: &App, common: &Common, args: &SeedArgs) -> Result<(), CliError> {
    let tenant = tenant(&args.tenant);
    app.ensure_ledger(tenant).await?;
    let seeded = demo::seed(app, tenant, args.sessions).await?;
    let answer = Answer {
        tenant: tenant.to_string(),
        told_before: seeded.is_none(),
        seeded: seeded.unwrap_or_default(),
    };
    print(common, &answer, |answer| match answer.told_before {
        true => "nothing to do: the conversations are there already".to_owned(),
        false => format!(
            "{} sessions: {} events appended, {} commands had been carried out before",
            answer.seeded.sessions, answer.seeded.appended, answer.seeded.duplicates
        ),
    })
}
