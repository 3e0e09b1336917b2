//! `ruche serve` and `ruche demo`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ruche_domain::ids::TenantId;

use super::{CliError, Common, ServeArgs, tenant};
use crate::app::App;
use crate::auth::{Credential, KeyError, KeySummary, NewKey, Role};
use crate::demo;
use crate::publish::Publisher;
use crate::serve::{self, Settings};

/// Name of the tenant of the demo.
const DEMO_TENANT: &str = "demo";

/// Label of the keys that the demo makes; the next start revokes what carries it.
const DEMO_LABEL: &str = "made by ruche demo";

/// What whoever serves a store without keys has to do first.
const NO_KEYS: &str = "there is no API key yet, so nobody can ask anything. Stop this server, make one with \
                       `ruche keys new --tenant NAME --role reader --role writer`, and serve again";

/// What the first query asks of a session.
const FIELDS: &str = "agent startedAt turnCount costs { amount currency }";

/// Serves what is there.
pub async fn serve(common: Common, args: ServeArgs) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche serve").await?;
    let json = common.json;
    let hint = (app.access.tenant_count() == 0).then_some(NO_KEYS);
    run(app, args, move |address| announce(json, address, None, hint)).await
}

/// Fills an empty store, makes a key, and serves.
pub async fn demo(common: Common, args: ServeArgs) -> Result<ExitCode, CliError> {
    let app = App::open(&common, "ruche demo").await?;
    let tenant = tenant(DEMO_TENANT);
    app.ensure_ledger(tenant).await?;
    demo::seed(&app, tenant, demo::SESSIONS).await?;
    let key = demo_key(&app, tenant)
        .await
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let json = common.json;
    run(app, args, move |address| {
        announce(json, address, Some(&key), None)
    })
    .await
}

/// A new key for the demo. The plaintext of a key is stored nowhere, so every start makes one, and revokes those of
/// earlier starts, which would be good for ever and known to nobody.
async fn demo_key(app: &App, tenant: TenantId) -> Result<String, KeyError> {
    let is_earlier = |key: &KeySummary| !key.revoked && key.label.as_deref() == Some(DEMO_LABEL);
    for earlier in app.access.keys(tenant).into_iter().filter(is_earlier) {
        let reason = Some("the demo was started again");
        app.access.revoke_key(tenant, earlier.key_id, reason).await?;
    }
    let roles = [Role::Reader, Role::Writer, Role::Auditor];
    let new = NewKey {
        roles: &roles,
        label: Some(DEMO_LABEL),
        ..NewKey::default()
    };
    let (_, key) = app.access.create_key(tenant, &new).await?;
    Ok(key)
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
        publisher: Publisher::new(args.publish_dir, args.publish_url.as_deref()).map_err(CliError::Usage)?,
        operator,
        telemetry_wait: Duration::from_secs(args.telemetry_wait.into()),
    };
    serve::run(app, settings, ready)
        .await
        .map_err(|error| CliError::Failed(crate::error::chain(&error)))?;
    Ok(ExitCode::SUCCESS)
}

fn announce(json: bool, address: SocketAddr, key: Option<&str>, hint: Option<&str>) {
    let text = if json {
        serde_json::json!({ "listening": address.to_string(), "key": key, "hint": hint }).to_string()
    } else {
        match key {
            None => {
                let hint = hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
                format!("ruche serves http://{address}/graphql{hint}")
            }
            Some(key) => format!(
                "\nruche serves http://{address}/graphql with made-up conversations of a bicycle shop\n\n\
                 API key (shown once; the next start of the demo revokes it and makes another):\n  export KEY={key}\n\n\
                 Try:\n  curl -s http://{address}/graphql -H \"Authorization: Bearer $KEY\" \\\n    \
                 -H 'Content-Type: application/json' \\\n    \
                 -d '{{\"query\":\"{{ sessions(first: 3) {{ nodes {{ {FIELDS} }} }} }}\"}}'\n\n\
                 In a browser: http://{address}/console/analytics (log in with the key),\n\
                 \x20 http://{address}/graphql (user: any, password: the key)\n\
                 Stop with Ctrl-C.\n"
            ),
        }
    };
    // Whoever closed standard output does not want to know.
    let _ = writeln!(io::stdout(), "{text}");
}
