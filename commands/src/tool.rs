//! Tools: made known with what a call does to the world.

use std::collections::HashMap;

use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ToolRegistered;
use ruche_domain::limits::{TOOL_TIMEOUT_US_MAX, TOOL_TIMEOUT_US_MIN};
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

/// The registrations that stand of the tools that a command is about, each read newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    tools: HashMap<StreamId, ToolRegistered>,
}

impl Catalogue {
    /// What to look at for a tool. What is decided on it holds only while it stays so.
    pub fn load(references: &ReferenceKey, name: &str) -> Load {
        Load::newest(tool_stream(references, name))
    }

    /// What to look at beside that: the tools that undo calls of those that are known by now.
    pub fn more_loads(&self, references: &ReferenceKey) -> Vec<Load> {
        let undo = self.tools.values().filter_map(undo_tool);
        undo.map(|name| Self::load(references, name)).collect()
    }

    /// What an import said of a tool is about calls that were made elsewhere. It decides nothing here: the catalogue is the
    /// word of an administrator.
    pub fn evolve(&mut self, past: &PastEvent) {
        if let Some(AgentEvent::ToolRegistered(tool)) = &past.event
            && past.recorded.event.provenance != Provenance::Imported
        {
            self.tools.entry(past.stream()).or_insert_with(|| tool.clone());
        }
    }

    pub fn is_settled(&self, stream: StreamId) -> bool {
        self.tools.contains_key(&stream)
    }

    /// The registration of a tool, if it has one.
    pub fn tool(&self, references: &ReferenceKey, name: &str) -> Option<&ToolRegistered> {
        self.tools.get(&tool_stream(references, name))
    }

    /// What a call of a tool does to the world as things stand. What nobody registered cannot be undone, and neither can
    /// what only another call could undo that cannot be undone itself.
    pub fn side_effect(&self, references: &ReferenceKey, name: &str) -> SideEffectPolicy {
        let Some(tool) = self.tool(references, name) else {
            return SideEffectPolicy::Irreversible;
        };
        match undo_tool(tool) {
            Some(undo) if !self.may_undo(references, undo) => SideEffectPolicy::Irreversible,
            _ => tool.side_effect,
        }
    }

    /// The tool that undoes calls of this one, where it may be run for that as things stand.
    pub fn undo_tool(&self, references: &ReferenceKey, name: &str) -> Option<&str> {
        let tool = self.tool(references, name)?;
        let undo = tool.compensation_tool.as_deref()?;
        let allowed = undo == tool.name || self.may_undo(references, undo);
        (self.side_effect(references, name) == SideEffectPolicy::Compensatable && allowed).then_some(undo)
    }

    /// Whether a tool may be run to undo calls of another one: without asking anybody, and again where it failed.
    fn may_undo(&self, references: &ReferenceKey, name: &str) -> bool {
        let effect = self.tool(references, name).map(|tool| tool.side_effect);
        matches!(
            effect,
            Some(SideEffectPolicy::Pure | SideEffectPolicy::Idempotent)
        )
    }
}

/// The other tool that undoes calls of a compensatable one. A tool that puts things back by a call of its own needs none.
fn undo_tool(tool: &ToolRegistered) -> Option<&str> {
    let undo = tool.compensation_tool.as_deref();
    undo.filter(|undo| tool.side_effect == SideEffectPolicy::Compensatable && *undo != tool.name)
}

/// Registers a tool, or changes its registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterTool {
    /// What is recorded.
    pub tool: ToolRegistered,
    /// Whether it comes with records of another system: then it is recorded as it is told, though its calls could not be
    /// undone here. A governed call of it is judged when it is proposed.
    #[serde(skip)]
    pub is_imported: bool,
}

impl RegisterTool {
    /// A tool with its side effect and nothing else said.
    pub fn new(name: impl Into<String>, side_effect: SideEffectPolicy) -> Self {
        Self {
            tool: ToolRegistered::new(name.into(), side_effect),
            is_imported: false,
        }
    }
}

impl RegisterTool {
    /// Whether a registration stays. An import takes nothing back that an administrator said, and what it said itself an
    /// administrator has to say again.
    fn keeps(&self, is_same: bool, standing: &RecordedEvent) -> bool {
        match standing.event.provenance {
            Provenance::Imported => is_same && self.is_imported,
            _ => is_same || self.is_imported,
        }
    }
}

/// The registration that stands.
#[derive(Clone, Debug, Default)]
pub struct ToolState {
    current: Option<(ToolRegistered, RecordedEvent)>,
    catalogue: Catalogue,
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
        let timeout = self.tool.timeout_us.filter(|_| !self.is_imported);
        if timeout.is_some_and(|timeout| !(TOOL_TIMEOUT_US_MIN..=TOOL_TIMEOUT_US_MAX).contains(&timeout)) {
            return Err(CommandError::input(
                "/timeoutMs",
                format!(
                    "is a number from {} to {}",
                    TOOL_TIMEOUT_US_MIN / 1_000,
                    TOOL_TIMEOUT_US_MAX / 1_000
                ),
            ));
        }
        let undo = undo_tool(&self.tool).filter(|_| !self.is_imported);
        let names = std::iter::once(self.tool.name.as_str()).chain(undo);
        Ok(names
            .map(|name| Catalogue::load(ground.references, name))
            .collect())
    }

    fn evolve(&self, state: &mut ToolState, event: &PastEvent) {
        state.catalogue.evolve(event);
        if let (None, Some(AgentEvent::ToolRegistered(tool))) = (&state.current, &event.event)
            && tool.name == self.tool.name
        {
            state.current = Some((tool.clone(), event.recorded.clone()));
        }
    }

    fn is_settled(&self, state: &ToolState, stream: StreamId) -> bool {
        state.catalogue.is_settled(stream)
    }

    fn decide(&self, state: &ToolState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        if let Some(undo) = undo_tool(&self.tool)
            && !self.is_imported
            && !state.catalogue.may_undo(ground.references, undo)
        {
            return Err(CommandError::input(
                "/compensationTool",
                "is not registered as a tool that is pure or idempotent; nobody is asked before it runs",
            ));
        }
        let wanted = ToolRegistered {
            schema_digest: schema_digest(&self.tool),
            ..self.tool.clone()
        };
        match &state.current {
            Some((tool, recorded)) if self.keeps(tool == &wanted, recorded) => {
                Ok(Decision::AlreadySo(vec![recorded.clone()]))
            }
            _ => {
                let stream = tool_stream(ground.references, &self.tool.name);
                Ok(Decision::Append(vec![NewEvent::fact(stream, wanted)]))
            }
        }
    }
}
