//! `ruche keys`: API keys of a tenant. Making the first key of a tenant makes its ledger.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ruche_domain::ids::ApiKeyId;
use serde::Serialize;

use super::reviewer::{self, ReviewerCommand};
use super::{CliError, Common, known_tenant, print, tenant, tenant_name};
use crate::app::{self, App};
use crate::auth::{self, KeyError, KeySummary, Role, check_label, check_user};
use crate::out::{Table, time};

/// What to do with keys.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it, once
    New(NewArgs),
    /// List the keys of a tenant; the keys themselves are stored nowhere
    List(TenantArgs),
    /// Revoke a key
    Revoke(RevokeArgs),
    /// Make the signing key of a reviewer, on the reviewer's own machine, or revoke one
    #[command(subcommand)]
    Reviewer(ReviewerCommand),
}

/// A tenant.
#[derive(Args)]
pub struct TenantArgs {
    /// Tenant: a uuid, or a name that always stands for the same uuid
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
}

/// A new key.
#[derive(Args)]
pub struct NewArgs {
    #[command(flatten)]
    tenant: TenantArgs,
    /// Role of the key; may be given several times
    #[arg(
        long = "role",
        value_name = "reader|writer|auditor|reviewer|admin",
        required = true
    )]
    roles: Vec<Role>,
    /// Name for people
    #[arg(long, value_parser = label)]
    label: Option<String>,
    /// Whose key it is: the person or service, in the names that reviewers are registered under. Who asks for an approval
    /// does not decide on it, under whichever key
    #[arg(long, value_parser = user)]
    user: Option<String>,
}

/// A key to revoke.
#[derive(Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    tenant: TenantArgs,
    /// Id of the key, as `list` prints it
    #[arg(value_parser = key_id)]
    key_id: ApiKeyId,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

fn label(text: &str) -> Result<String, KeyError> {
    check_label(text).map(|()| text.to_owned())
}

fn user(text: &str) -> Result<String, KeyError> {
    check_user(text).map(|()| text.to_owned())
}

fn key_id(text: &str) -> Result<ApiKeyId, &'static str> {
    text.parse()
        .map_err(|_| "expected the id of a key, a uuid as `ruche keys list` prints it")
}

#[derive(Serialize)]
struct NewKey {
    tenant: String,
    key: String,
    /// What is to be known of it before it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// Told of keys whose holder nobody knows. Such a key is a person of its own.
const NOBODY: &str = "the key names no user. Who asks for an approval does not decide on it; where one person has two keys, that \
    is seen only if both name the person: `--user NAME`, the name that the reviewer is registered under";

/// What to know of a key of these roles.
fn note(args: &NewArgs) -> Option<&'static str> {
    (args.roles.contains(&Role::Reviewer) && args.user.is_none()).then_some(NOBODY)
}

/// Runs the command.
pub async fn run(common: Common, command: KeysCommand) -> Result<ExitCode, CliError> {
    let app = match command {
        // Touches no store: it runs where there is none.
        KeysCommand::Reviewer(command) => return reviewer::run(&common, command).await,
        KeysCommand::New(_) => App::open(&common, "ruche keys").await?,
        KeysCommand::List(_) => App::open_to_read(&common, "ruche keys").await?,
        KeysCommand::Revoke(_) => {
            app::must_exist(&common).await?;
            App::open(&common, "ruche keys").await?
        }
    };
    let done = on_app(&app, &common, command).await;
    app.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn on_app(app: &App, common: &Common, command: KeysCommand) -> Result<(), CliError> {
    let failed = |error: KeyError| match error {
        KeyError::NoSuchKey => CliError::NotFound(format!("{error}; `ruche keys list` shows those it has")),
        _ => CliError::Failed(crate::error::chain(&error)),
    };
    match command {
        KeysCommand::Reviewer(_) => Ok(()),
        KeysCommand::New(args) => {
            let tenant = tenant(&args.tenant.tenant);
            app.ensure_ledger(tenant).await?;
            let new = auth::NewKey {
                roles: &args.roles,
                label: args.label.as_deref(),
                user: args.user.as_deref(),
                expires_at: None,
            };
            let (_, key) = app.access.create_key(tenant, &new).await.map_err(failed)?;
            let note = note(&args);
            if let Some(note) = note.filter(|_| !common.json) {
                // The key alone is on the other stream, to be kept in a variable. A note that cannot be told changes nothing.
                let _ = writeln!(io::stderr(), "note: {note}");
            }
            let tenant = tenant.to_string();
            print(common, &NewKey { tenant, key, note }, |new| new.key.clone())
        }
        KeysCommand::List(args) => {
            let keys = app.access.keys(known_tenant(app, &args.tenant).await?);
            let lines: Vec<KeyLine> = keys.iter().map(KeyLine::of).collect();
            print(common, &lines, |lines| table(lines))
        }
        KeysCommand::Revoke(args) => {
            let tenant = known_tenant(app, &args.tenant.tenant).await?;
            let revoking = app.access.revoke_key(tenant, args.key_id, args.reason.as_deref());
            let was_valid = revoking.await.map_err(failed)?;
            let answer = serde_json::json!({ "revoked": args.key_id, "revoked_before": !was_valid });
            print(common, &answer, |_| match was_valid {
                true => format!("revoked {}", args.key_id),
                false => format!("{} was revoked before; nothing to do", args.key_id),
            })
        }
    }
}

/// A key as it is listed.
#[derive(Serialize)]
struct KeyLine {
    key_id: String,
    roles: Vec<&'static str>,
    label: Option<String>,
    user: Option<String>,
    created_at: String,
    state: &'static str,
}

impl KeyLine {
    fn of(key: &KeySummary) -> Self {
        Self {
            key_id: key.key_id.to_string(),
            roles: key.roles.iter().map(Role::name).collect(),
            label: key.label.clone(),
            user: key.user.clone(),
            created_at: time(key.created_at),
            state: if key.revoked { "revoked" } else { "valid" },
        }
    }
}

fn table(lines: &[KeyLine]) -> String {
    let mut table = Table::new(["key", "roles", "label", "user", "made", "state"]);
    for line in lines {
        table.row([
            line.key_id.clone(),
            line.roles.join(" "),
            line.label.clone().unwrap_or_default(),
            line.user.clone().unwrap_or_default(),
            line.created_at.clone(),
            line.state.to_owned(),
        ]);
    }
    table.to_string()
}
