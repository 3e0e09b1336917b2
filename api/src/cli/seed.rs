//! `ruche seed`: the conversations of the demo in a tenant of one's choice.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{CliError, Common, print, tenant, tenant_name};
use crate::app::App;
use crate::demo::{self, Seeded};

/// Where, and how many.
#[derive(Args)]
pub struct SeedArgs {
    /// Tenant to fill; it must be empty
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// How many sessions, spread over the six weeks up to today
    #[arg(long, default_value_t = demo::SESSIONS, value_parser = clap::value_parser!(u64).range(1..))]
    sessions: u64,
}

#[derive(Serialize)]
struct Answer {
    tenant: String,
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
        seeded,
    };
    print(common, &answer, |answer| match answer.seeded.told_before {
        true => format!(
            "nothing to do: the {} sessions of the demo are there already",
            answer.seeded.sessions
        ),
        false => format!(
            "{} sessions: {} events appended, {} commands had been carried out before",
            answer.seeded.sessions, answer.seeded.appended, answer.seeded.duplicates
        ),
    })
}
