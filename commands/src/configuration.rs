//! Configuration: values by key, published in numbered versions, one `config-…` stream for each scope.

use std::collections::BTreeMap;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigPublished, ConfigScope};
use ruche_domain::limits::CONFIG_KEYS_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::StreamVersion;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::references::ReferenceKey;
use ruche_ledger::store::ExpectedVersion;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::channel;
use crate::command::{Command, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;

/// The stream of a configuration.
pub fn config_stream(references: &ReferenceKey, scope: ConfigScope, scope_id: Option<&str>) -> StreamId {
    let parts = [scope.name().as_bytes(), scope_id.unwrap_or_default().as_bytes()];
    StreamId::new(Category::Config, references.id("config", &parts))
}

/// Publishes a new version of a configuration: the old values, some of them set anew or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishConfiguration {
    /// Level.
    pub scope: ConfigScope,
    /// The client's own id of the agent or channel; absent for the tenant.
    pub scope_id: Option<String>,
    /// Values to set, by key.
    pub set: BTreeMap<String, Value>,
    /// Keys to remove.
    pub removed: Vec<String>,
    /// Version that the author saw, 0 for none. Another one is refused; absent takes any.
    pub base_version: Option<u64>,
    /// Why.
    pub reason: Option<String>,
}

impl PublishConfiguration {
    /// Sets one value of a scope.
    pub fn new(scope: ConfigScope, scope_id: Option<String>, key: impl Into<String>, value: Value) -> Self {
        Self {
            scope,
            scope_id,
            set: BTreeMap::from([(key.into(), value)]),
            removed: Vec::new(),
            base_version: None,
            reason: None,
        }
    }

    fn stream(&self, ground: &Ground<'_>) -> StreamId {
        config_stream(ground.references, self.scope, self.scope_id.as_deref())
    }

    fn check(&self) -> Result<(), CommandError> {
        match (self.scope, &self.scope_id) {
            (ConfigScope::Tenant, Some(_)) => {
                return Err(CommandError::input(
                    "/scopeId",
                    "the tenant's own scope has no id",
                ));
            }
            (ConfigScope::Tenant, None) => {}
            (_, None) => return Err(CommandError::input("/scopeId", "says which one; it is missing")),
            (_, Some(id)) => check_external_id("/scopeId", id)?,
        }
        if self.set.is_empty() && self.removed.is_empty() {
            return Err(CommandError::input("/set", "nothing is set and nothing removed"));
        }
        for key in self.set.keys().chain(&self.removed) {
            check_external_id("/set", key)?;
        }
        match self.removed.iter().find(|key| self.set.contains_key(*key)) {
            Some(key) => Err(CommandError::input(
                "/removed",
                format!("{key} is set and removed at once"),
            )),
            None => Ok(()),
        }
    }
}

/// The configuration as it was published last.
#[derive(Clone, Debug, Default)]
pub struct ConfigState {
    version: u64,
    values: BTreeMap<String, Value>,
    last: Option<RecordedEvent>,
}

impl ConfigState {
    /// The values after the command.
    fn after(&self, command: &PublishConfiguration) -> BTreeMap<String, Value> {
        let mut values = self.values.clone();
        for key in &command.removed {
            values.remove(key);
        }
        values.extend(command.set.clone());
        values
    }
}

impl Command for PublishConfiguration {
    type State = ConfigState;
    const NAME: &'static str = "PublishConfiguration";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.check()?;
        Ok(vec![Load::whole(self.stream(ground))])
    }

    fn evolve(&self, state: &mut ConfigState, event: &PastEvent) {
        if let Some(AgentEvent::ConfigPublished(published)) = &event.event {
            state.version = published.version;
            for key in &published.removed {
                state.values.remove(key);
            }
            state.values.extend(published.set.clone());
            state.last = Some(event.recorded.clone());
        }
    }

    fn decide(&self, state: &ConfigState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let stream = self.stream(ground);
        if self.base_version.is_some_and(|base| base != state.version) {
            return Err(CommandError::WrongExpectedVersion {
                stream,
                expected: stream_version(self.base_version.unwrap_or_default())
                    .map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact),
                actual: stream_version(state.version),
            });
        }
        let after = state.after(self);
        if after.len() > CONFIG_KEYS_MAX {
            return Err(CommandError::LimitExceeded {
                what: "configuration",
                value: after.len() as u64,
                limit: CONFIG_KEYS_MAX as u64,
                unit: "keys",
            });
        }
        if let (true, Some(last)) = (after == state.values, &state.last) {
            return Ok(Decision::AlreadySo(vec![last.clone()]));
        }
        if let (ConfigScope::Channel, Some(channel)) = (self.scope, &self.scope_id) {
            channel::check(channel, &after)?;
        }
        let touched = self.set.keys().chain(&self.removed);
        let before = |key: &String| state.values.get(key).map(|value| (key.clone(), value.clone()));
        let mut published = ConfigPublished::new(self.scope, state.version + 1);
        published.scope_id.clone_from(&self.scope_id);
        published.digest = Some(digest(&after));
        published.previous = touched.filter_map(before).collect();
        published.set.clone_from(&self.set);
        published.removed.clone_from(&self.removed);
        published.reason.clone_from(&self.reason);
        Ok(Decision::Append(vec![NewEvent::fact(stream, published)]))
    }
}

/// A configuration's stream holds its versions and nothing else, so version n stands at stream version n - 1.
fn stream_version(version: u64) -> Option<StreamVersion> {
    version.checked_sub(1).map(StreamVersion)
}

/// SHA-256 of the whole configuration: compact JSON, keys sorted at every level.
pub fn digest(values: &BTreeMap<String, Value>) -> Digest {
    let sorted: BTreeMap<&String, Value> = values.iter().map(|(key, value)| (key, sorted(value))).collect();
    let text = serde_json::to_vec(&sorted).expect("JSON values serialise");
    Digest(Sha256::digest(&text).into())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(fields) => {
            let fields: BTreeMap<&String, Value> =
                fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(
                fields
                    .into_iter()
                    .map(|(key, value)| (key.clone(), value))
                    .collect(),
            )
        }
        plain => plain.clone(),
    }
}
