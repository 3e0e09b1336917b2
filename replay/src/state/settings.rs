//! What was registered and published: tools and configurations.

use std::collections::BTreeMap;

use ruche_commands::configuration::digest;
use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::Record;
use serde::Serialize;
use serde_json::Value;

use super::{Found, StateAt};
use crate::error::ReplayError;
use crate::recorded::fact;

/// A registered tool, as an administrator registered it last; where none did, as the last import said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolView {
    /// Name.
    pub name: String,
    /// What a call does to the world.
    pub side_effect: &'static str,
    /// Kind of work.
    pub kind: Option<&'static str>,
    /// Version of the tool.
    pub version: Option<String>,
    /// SHA-256 of the schema of its arguments.
    pub schema_digest: Option<Digest>,
    /// The tool that undoes a call.
    pub compensation_tool: Option<String>,
    /// How long a call may take, µs.
    pub timeout_us: Option<u64>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The record that says so.
    pub registered: Position,
    /// Whether it decides what a governed call does to the world. What only an import said does not: such a call is irreversible.
    pub decides: bool,
}

/// The configuration of a scope.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigurationView {
    /// Level.
    pub scope: &'static str,
    /// The client's own id of the agent or channel.
    pub scope_id: Option<String>,
    /// Version, from 1.
    pub version: u64,
    /// The values, by key.
    pub values: BTreeMap<String, Value>,
    /// SHA-256 of the values.
    pub values_digest: Digest,
    /// The record that published the version.
    pub published: Position,
    /// When that was.
    pub published_at: Micros,
    /// Who did it, as the publisher said.
    pub author: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl StateAt {
    pub(super) async fn tool(&self, stream: StreamId) -> Result<Found<ToolView>, ReplayError> {
        let records = self.stream(stream).await?;
        // The rule of the catalogue that commands are decided on.
        let decides = |record: &&Record| record.leaf.event.provenance != Provenance::Imported;
        let Some(last) = records.iter().rfind(decides).or(records.last()) else {
            return Ok((None, None));
        };
        let Some(AgentEvent::ToolRegistered(tool)) = fact(last) else {
            return Ok((None, Some(last.position)));
        };
        let view = ToolView {
            side_effect: tool.side_effect.name(),
            kind: tool.tool_kind.map(|kind| kind.name()),
            version: tool.version,
            schema_digest: tool.schema_digest,
            compensation_tool: tool.compensation_tool,
            timeout_us: tool.timeout_us,
            owner: tool.owner,
            name: tool.name,
            registered: last.position,
            decides: decides(&last),
        };
        Ok((Some(view), None))
    }

    pub(super) async fn configuration(
        &self,
        stream: StreamId,
    ) -> Result<Found<ConfigurationView>, ReplayError> {
        let mut view: Option<ConfigurationView> = None;
        for record in self.stream(stream).await? {
            let published = match fact(&record) {
                Some(AgentEvent::ConfigPublished(published)) => published,
                Some(_) => continue,
                None => return Ok((view, Some(record.position))),
            };
            let mut values = view.map(|view| view.values).unwrap_or_default();
            for key in &published.removed {
                values.remove(key);
            }
            values.extend(published.set);
            view = Some(ConfigurationView {
                scope: published.scope.name(),
                scope_id: published.scope_id,
                version: published.version,
                values_digest: digest(&values),
                values,
                published: record.position,
                published_at: record.leaf.event.occurred_at,
                author: published.author,
                reason: published.reason,
            });
        }
        Ok((view, None))
    }
}
