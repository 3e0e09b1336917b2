//! `ruche serve` and `ruche demo`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use super::{CliError, Common, ServeArgs, tenant};
use crate::app::App;
use crate::auth::{Credential, Role};
use crate::demo;
use crate::publish::Publisher;
use crate::serve::{self, Settings};

/// Name of the tenant of the demo.
const DEMO_TENANT: &str = "demo";

/// What the first query asks of a session.
const FIELDS: &str = "agent startedAt turnCount costs { amount currency }";

/// Serves what is there.
pub async fn serve(common: Common, args: ServeArgs) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche serve").await?;
    let json = common.json;
    run(app, args, move |address| announce(json, address, None)).await
}

/// Fills an empty store, makes a key, and serves.
pub async fn demo(common: Common, args: ServeArgs) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche demo").await?;
    let tenant = tenant(DEMO_TENANT);
    app.ensure_ledger(tenant).await?;
    demo::seed(&app, tenant, demo::SESSIONS).await?;
    // The plaintext of a key is stored nowhere, so every start makes a new one; old ones stay listed and can be revoked.
    let roles = [Role::Reader, Role::Writer, Role::Auditor];
    let (_, key) = app
        .access
        .create_key(tenant, &roles, Some("demo"), None)
        .await
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let json = common.json;
    run(app, args, move |address| announce(json, address, Some(&key))).await
}

async fn run(app: App, args: ServeArgs, ready: impl FnOnce(SocketAddr)) -> Result<ExitCode, CliError> {
    let operator = match &args.operator_key {
        None => None,
        Some(text) => Some(Credential::parse(text).ok_or_else(|| {
            CliError::Usage("RUCHE_OPERATOR_KEY is not ruche_<32 hex digits>_<64 hex digits>".to_owned())
        })?),
    };
    let settings = Settings {
        listen: args.listen,
        publisher: Publisher::new(args.publish_dir, args.publish_url).map_err(CliError::Usage)?,
        operator,
    };
    serve::run(app, settings, ready)
        .await
        .map_err(|error| CliError::Failed(crate::error::chain(&error)))?;
    Ok(ExitCode::SUCCESS)
}

fn announce(json: bool, address: SocketAddr, key: Option<&str>) {
    let text = if json {
        serde_json::json!({ "listening": address.to_string(), "key": key }).to_string()
    } else {
        match key {
            None => format!("ruche serves http://{address}/graphql"),
            Some(key) => format!(
                "\nruche serves http://{address}/graphql with made-up conversations of a bicycle shop\n\n\
                 API key (shown once; `ruche keys list --tenant demo` lists what was made):\n  export KEY={key}\n\n\
                 Try:\n  curl -s http://{address}/graphql -H \"Authorization: Bearer $KEY\" \\\n    \
                 -H 'Content-Type: application/json' \\\n    \
                 -d '{{\"query\":\"{{ sessions(first: 3) {{ nodes {{ {FIELDS} }} }} }}\"}}'\n\n\
                 In a browser: http://{address}/graphql (user: any, password: the key)\n\
                 Stop with Ctrl-C.\n"
            ),
        }
    };
    // Whoever closed standard output does not want to know.
    let _ = writeln!(io::stdout(), "{text}");
}
