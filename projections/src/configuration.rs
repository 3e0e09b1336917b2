//! Read model: the history of configuration, value by value, and which version is in effect.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::config::{ConfigPublished, ConfigScope};
use ruche_domain::ids::LedgerId;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use uuid::Uuid;

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["config_version", "config_value", "config_active"];

const VERSION: &str = "INSERT INTO config_version (ledger, scope, scope_id, version, position, digest, author, actor, \
    reason, published_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const VALUE: &str = "INSERT INTO config_value (ledger, scope, scope_id, key, position, version, value) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const ACTIVE: &str = "INSERT INTO config_active (ledger, scope, scope_id, version, position, active_from) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (ledger, scope, scope_id) DO UPDATE SET version = excluded.version, \
    position = excluded.position, active_from = excluded.active_from";

/// The projection.
pub struct Configuration;

impl Projection for Configuration {
    fn name(&self) -> &'static str {
        "configuration"
    }

    fn version(&self) -> u32 {
        3
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if event.family() != "config" {
            return Ok(vec![]);
        }
        match event.agent()? {
            Some(AgentEvent::ConfigPublished(c)) => published(event, c),
            Some(AgentEvent::ConfigActivated(c)) => {
                let scope = scope(event, c.scope, c.scope_id.as_ref());
                Ok(vec![active(event, scope, c.version, c.effective_from)?])
            }
            Some(AgentEvent::ConfigRolledBack(c)) => {
                let scope = scope(event, c.scope, c.scope_id.as_ref());
                Ok(vec![active(event, scope, c.to_version, None)?])
            }
            _ => Ok(vec![]),
        }
    }
}

/// The columns that name a scope; the whole tenant has an empty id.
fn scope(event: &ProjectedEvent, scope: ConfigScope, id: Option<&String>) -> Vec<SqlValue> {
    let id = bounds::key(id).unwrap_or_default();
    vec![event.ledger_key().into(), scope.name().into(), id.into()]
}

fn published(event: &ProjectedEvent, config: &ConfigPublished) -> Result<Vec<Change>, PoisonReason> {
    let scope = scope(event, config.scope, config.scope_id.as_ref());
    let version = bounds::version(config.version);
    let mut params = scope.clone();
    params.extend([
        version.into(),
        event.place()?.into(),
        config.digest.map(|digest| digest.to_string()).into(),
        config.author.as_ref().into(),
        event.header().actor.reference.map(Uuid::into_bytes).into(),
        config.reason.as_ref().into(),
        event.occurred_at()?.into(),
    ]);
    let mut changes = vec![Change::write(VERSION, params)];
    let set = config
        .set
        .iter()
        .map(|(key, value)| (key, Some(crate::json(value))));
    // A key that is set and removed at once is removed.
    let set = set.filter(|(key, _)| !config.removed.contains(key));
    let mut removed: Vec<&String> = config.removed.iter().collect();
    removed.sort_unstable();
    removed.dedup();
    for (key, value) in set.chain(removed.into_iter().map(|key| (key, None))) {
        let mut params = scope.clone();
        params.extend([
            bounds::name(key).into_owned().into(),
            event.place()?.into(),
            version.into(),
            value.into(),
        ]);
        changes.push(Change::write(VALUE, params));
    }
    Ok(changes)
}

fn active(
    event: &ProjectedEvent,
    mut params: Vec<SqlValue>,
    version: u64,
    from: Option<Micros>,
) -> Result<Change, PoisonReason> {
    params.extend([
        bounds::version(version).into(),
        event.place()?.into(),
        event.time_or_occurred(from)?.into(),
    ]);
    Ok(Change::write(ACTIVE, params))
}

/// One change of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Level.
    pub scope: ConfigScope,
    /// The client's own id of the agent, channel, scenario or step; empty for the whole tenant.
    pub scope_id: String,
    /// Key.
    pub key: String,
    /// Version of the scope that brought the change.
    pub version: u64,
    /// The value as JSON; absent if the key was removed.
    pub value: Option<String>,
    /// SHA-256 of the whole configuration of the scope at this version.
    pub digest: Option<Digest>,
    /// Who did it, as the publisher said.
    pub author: Option<String>,
    /// Who did it, as the credential says.
    pub actor: Option<Uuid>,
    /// Why.
    pub reason: Option<String>,
    /// The record.
    pub position: Position,
    /// When it was published.
    pub published_at: Micros,
}

/// Which changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFilter {
    /// Of this level.
    pub scope: Option<ConfigScope>,
    /// Of this agent, channel, scenario or step.
    pub scope_id: Option<String>,
    /// Of this key.
    pub key: Option<String>,
}

const CHANGES: &str = "config_value JOIN config_version ON config_version.ledger = config_value.ledger \
    AND config_version.scope = config_value.scope AND config_version.scope_id = config_value.scope_id \
    AND config_version.position = config_value.position";
const COLUMNS: &str = "config_value.scope, config_value.scope_id, config_value.key, config_value.version, \
    config_value.value, config_version.digest, config_version.author, config_version.actor, config_version.reason, \
    config_value.position, config_version.published_at";

fn read(fields: &mut Fields) -> Result<ConfigChange, ReadStoreError> {
    Ok(ConfigChange {
        scope: fields.word()?,
        scope_id: fields.text()?,
        key: fields.text()?,
        version: fields.count()?,
        value: fields.optional_text()?,
        digest: fields.optional_word()?,
        author: fields.optional_text()?,
        actor: fields.optional_id()?,
        reason: fields.optional_text()?,
        position: fields.position()?,
        published_at: fields.time()?,
    })
}

/// Changes in the order of the ledger; those of one record by key. A page ends with a whole record wherever it can:
/// it goes on behind the last record of the page before.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn history(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &ConfigFilter,
    page: &PageRequest,
) -> Result<Page<ConfigChange>, ReadStoreError> {
    let select = Select::of(COLUMNS, CHANGES, ledger)
        .and_if("config_value.scope = ", filter.scope.map(ConfigScope::name))
        .and_if("config_value.scope_id = ", bounds::key(filter.scope_id.as_ref()))
        .and_if("config_value.key = ", bounds::key(filter.key.as_ref()));
    let rows = select
        .page(["config_value.position", "config_value.key"], key_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, |fields| {
        let change = read(fields)?;
        let at = crate::event::pack(change.position).unwrap_or(i64::MAX);
        Ok((
            Cursor {
                at,
                id: change.key.clone().into_bytes(),
            },
            change,
        ))
    })
}

/// Keys are text, so the second part of this list's cursors is, too.
fn key_value(cursor: &Cursor) -> SqlValue {
    SqlValue::Text(String::from_utf8_lossy(&cursor.id).into_owned())
}

/// The values of a scope at a version, or at the newest: for each key the last change up to it. Removed keys are left
/// out.
///
/// # Errors
/// Those of the store.
pub async fn values(
    store: &dyn ReadStore,
    ledger: LedgerId,
    scope: ConfigScope,
    scope_id: &str,
    version: Option<u64>,
) -> Result<Vec<ConfigChange>, ReadStoreError> {
    let version = i64::try_from(version.unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
    let newer = " AND NOT EXISTS (SELECT 1 FROM config_value newer WHERE newer.ledger = config_value.ledger \
        AND newer.scope = config_value.scope AND newer.scope_id = config_value.scope_id \
        AND newer.key = config_value.key AND newer.position > config_value.position AND newer.version <= ";
    let select = Select::of(COLUMNS, CHANGES, ledger)
        .and("config_value.scope = ", scope.name())
        .and("config_value.scope_id = ", bounds::name(scope_id).into_owned())
        .and("config_value.version <= ", version)
        .text(newer)
        .bind(version)
        .text(") AND config_value.value IS NOT NULL ORDER BY config_value.key");
    let rows = select.rows(store).await?;
    rows.into_iter().map(|row| read(&mut Fields::new(row))).collect()
}

/// The version that is in effect, as far as it was activated: version, record and since when.
///
/// # Errors
/// Those of the store.
pub async fn active_version(
    store: &dyn ReadStore,
    ledger: LedgerId,
    scope: ConfigScope,
    scope_id: &str,
) -> Result<Option<(u64, Position, Micros)>, ReadStoreError> {
    let select = Select::of("version, position, active_from", "config_active", ledger)
        .and("scope = ", scope.name())
        .and("scope_id = ", bounds::name(scope_id).into_owned());
    let Some(row) = select.rows(store).await?.pop() else {
        return Ok(None);
    };
    let fields = &mut Fields::new(row);
    Ok(Some((fields.count()?, fields.position()?, fields.time()?)))
}
