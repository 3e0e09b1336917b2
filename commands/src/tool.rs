//! Tools: made known with what a call does to the world.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::ToolRegistered;
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::references::ReferenceKey;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::command::{Command, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;

/// The stream of a tool.
pub fn tool_stream(references: &ReferenceKey, name: &str) -> StreamId {
    StreamId::new(Category::Tool, references.other("tool", name))
}

/// What is known of a tool when a call of it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolTraits {
    /// What a call does to the world; irreversible where nobody said.
    pub side_effect: SideEffectPolicy,
    /// Kind of work.
    pub kind: Option<ToolKind>,
}

impl From<&ToolRegistered> for ToolTraits {
    fn from(registered: &ToolRegistered) -> Self {
        Self {
            side_effect: registered.side_effect,
            kind: registered.tool_kind,
        }
    }
}

/// SHA-256 of the schema of a tool's arguments: compact JSON with the names of each object in the order of their bytes.
pub(crate) fn schema_digest(tool: &ToolRegistered) -> Option<Digest> {
    // A map of `serde_json` is sorted.
    let of = |schema: &Value| Digest(Sha256::digest(schema.to_string().as_bytes()).into());
    tool.schema_digest.or_else(|| tool.schema.as_ref().map(of))
}

/// Registers a tool, or changes its registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterTool {
    /// What is recorded.
    pub tool: ToolRegistered,
}

impl RegisterTool {
    /// A tool with its side effect and nothing else said.
    pub fn new(name: impl Into<String>, side_effect: SideEffectPolicy) -> Self {
        Self {
            tool: ToolRegistered::new(name.into(), side_effect),
        }
    }
}

/// The registration that stands.
#[derive(Clone, Debug, Default)]
pub struct ToolState {
    current: Option<(ToolRegistered, RecordedEvent)>,
}

impl Command for RegisterTool {
    type State = ToolState;
    const NAME: &'static str = "RegisterTool";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_external_id("/name", &self.tool.name)?;
        if self.tool.side_effect == SideEffectPolicy::Compensatable && self.tool.compensation_tool.is_none() {
            return Err(CommandError::input(
                "/compensationTool",
                "a compensatable tool names the tool that undoes its calls",
            ));
        }
        if let Some(undo) = &self.tool.compensation_tool {
            check_external_id("/compensationTool", undo)?;
        }
        if let Some(schema) = &self.tool.schema {
            let refused = |reason| CommandError::input("/argumentSchema", reason);
            ground.schemas.check(schema).map_err(refused)?;
        }
        Ok(vec![Load::newest(tool_stream(
            ground.references,
            &self.tool.name,
        ))])
    }

    fn evolve(&self, state: &mut ToolState, event: &PastEvent) {
        if let (None, Some(AgentEvent::ToolRegistered(tool))) = (&state.current, &event.event) {
            state.current = Some((tool.clone(), event.recorded.clone()));
        }
    }

    fn is_settled(&self, state: &ToolState, _: StreamId) -> bool {
        state.current.is_some()
    }

    fn decide(&self, state: &ToolState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let wanted = ToolRegistered {
            schema_digest: schema_digest(&self.tool),
            ..self.tool.clone()
        };
        match &state.current {
            Some((tool, recorded)) if *tool == wanted => Ok(Decision::AlreadySo(vec![recorded.clone()])),
            _ => {
                let stream = tool_stream(ground.references, &self.tool.name);
                Ok(Decision::Append(vec![NewEvent::fact(stream, wanted)]))
            }
        }
    }
}
