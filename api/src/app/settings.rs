//! Settings that do not fit together are told before anything is opened, with the keys that say so.

use ruche_ledger_postgres::{Database, OpenError, PostgresOptions, Server, TREE_HEAD_CONNECTIONS};
use serde::Serialize;

use super::{AppError, postgres};
use crate::cli::Common;

/// What the settings are, for people: names and values, no secrets.
#[derive(Serialize)]
#[serde(transparent)]
pub struct SettingsFound(pub Vec<(String, String)>);

/// Refuses settings that contradict each other. Opens nothing.
///
/// # Errors
/// `Settings`, with the keys.
pub(super) fn fit_together(common: &Common) -> Result<(), AppError> {
    let wrong = |reason: String| Err(AppError::Settings(reason));
    match (&common.database_url, &common.tree_heads_url) {
        (None, Some(_)) => {
            return wrong(
                "database.tree_heads_url (--tree-heads-url) is set and database.url (--database-url) is not: the \
                 embedded store keeps its tree heads in the keys folder"
                    .to_owned(),
            );
        }
        (Some(ledgers), Some(heads)) if ledgers == heads => {
            return wrong(
                "database.url (--database-url) and database.tree_heads_url (--tree-heads-url) name the same database: \
                 tree heads must not be restored together with the ledgers"
                    .to_owned(),
            );
        }
        (Some(_), None) if common.nodes > 1 => {
            return wrong(format!(
                "database.nodes (--nodes) is {}, and database.tree_heads_url (--tree-heads-url) is not set: several \
                 nodes must share what was promised",
                common.nodes
            ));
        }
        (None, None) if common.nodes > 1 => {
            return wrong(format!(
                "database.nodes (--nodes) is {}, and database.url (--database-url) is not set: the embedded store has \
                 one node",
                common.nodes
            ));
        }
        _ => {}
    }
    match (&common.database_url, &common.database_read_url) {
        (None, Some(_)) => wrong(
            "database.read_url (--database-read-url) is set and database.url (--database-url) is not: the pooler that it \
             leads to is for reads alone"
                .to_owned(),
        ),
        (Some(ledgers), Some(reading)) if ledgers == reading => wrong(
            "database.url (--database-url) and database.read_url (--database-read-url) are the same: leave the second \
             one out where there is no pooler"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// Whether the server has room for the connections of all nodes, those to the tree heads too where they are on the same one.
pub(super) fn enough_connections(
    common: &Common,
    server: &Server,
    heads: Option<&Server>,
) -> Result<(), AppError> {
    let each = connections_of_a_node(common, server, heads);
    let wanted = each * u64::from(common.nodes);
    if wanted <= server.connections {
        return Ok(());
    }
    Err(AppError::Settings(format!(
        "database.nodes (--nodes) × connections of a node is {} × {each} = {wanted}, and the server takes {} \
         (max_connections less the reserved ones): lower database.readers (--database-readers), raise \
         max_connections, or read through a pooler (--database-read-url)",
        common.nodes, server.connections
    )))
}

/// Connections of a node to the server of the ledgers.
fn connections_of_a_node(common: &Common, server: &Server, heads: Option<&Server>) -> u64 {
    let of_heads = match heads {
        Some(heads) if heads.started == server.started => TREE_HEAD_CONNECTIONS as u64,
        _ => 0,
    };
    postgres::connections_of_a_node(common) + of_heads
}

/// Looks at all settings, and at the databases that they name.
///
/// # Errors
/// `Settings` for what does not fit, others where a database cannot be reached.
pub async fn check_settings(common: &Common) -> Result<SettingsFound, AppError> {
    fit_together(common)?;
    let mut found = Vec::new();
    let mut add = |name: &str, value: String| found.push((name.to_owned(), value));
    let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    add("store.data_dir", common.data_dir.display().to_string());
    add("store.keys_dir", common.keys_dir.display().to_string());
    add("store.deployment", said(&common.deployment));
    let ledgers = match &common.database_url {
        Some(url) => Some(Database::parse(&PostgresOptions::new(url))?.server().await?),
        None => None,
    };
    let heads = match &common.tree_heads_url {
        Some(url) => Some(server_of_tree_heads(url).await?),
        None => None,
    };
    if let Some(server) = &ledgers {
        enough_connections(common, server, heads.as_ref())?;
    }
    let shown = |server: &Option<Server>| server.as_ref().map_or("not set".to_owned(), Server::to_string);
    add("database.url", shown(&ledgers));
    add("database.tree_heads_url", shown(&heads));
    if let Some(url) = &common.database_url {
        postgres::check_read_url(common, url).await?;
        add(
            "database.read_url",
            match common.database_read_url {
                Some(_) => "leads to the same database".to_owned(),
                None => "not set".to_owned(),
            },
        );
        add("database.readers", common.database_readers.to_string());
        add("database.nodes", common.nodes.to_string());
        let direct = match &ledgers {
            Some(server) => connections_of_a_node(common, server, heads.as_ref()),
            None => postgres::connections_of_a_node(common),
        };
        add(
            "connections of a node",
            match postgres::pooled_connections_of_a_node(common) {
                0 => direct.to_string(),
                pooled => format!("{direct}, and {pooled} to the pooler, whose own come on top"),
            },
        );
    }
    Ok(SettingsFound(found))
}

/// The server of the tree heads, in a database that is not that of the ledgers.
async fn server_of_tree_heads(url: &str) -> Result<Server, AppError> {
    let database = Database::parse(&PostgresOptions::new(url))?;
    // The same database under another name of its server, for example.
    match database.must_have_schema().await {
        Ok(()) => return Err(OpenError::SameDatabase.into()),
        Err(OpenError::NoSchema { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(database.server().await?)
}
