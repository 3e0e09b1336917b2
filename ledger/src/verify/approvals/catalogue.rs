//! What tools do to the world, as they are registered up to a position: the word of an administrator, and not of who
//! proposes a call.

use std::collections::HashMap;

use ruche_domain::events::ToolRegistered;
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;
use uuid::Uuid;

use super::digest;

/// The tools of a ledger.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    tools: HashMap<String, Tool>,
    /// Which tool each stream is about.
    names: HashMap<Uuid, String>,
    /// Registrations could not be read, so a tool that is not known may be registered all the same.
    is_incomplete: bool,
}

/// How a call of a tool is to be treated, as things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub side_effect: SideEffectPolicy,
    /// Of the arguments.
    pub schema: Option<Digest>,
}

#[derive(Debug)]
struct Tool {
    side_effect: SideEffectPolicy,
    schema: Option<Digest>,
    undone_by: Option<String>,
}

impl Catalogue {
    /// The last registration of a tool counts.
    pub fn registered(&mut self, stream: Uuid, said: ToolRegistered) {
        self.names.insert(stream, said.name.clone());
        let tool = Tool {
            side_effect: said.side_effect,
            schema: said
                .schema_digest
                .or_else(|| said.schema.as_ref().map(|schema| digest(&schema.to_string()))),
            undone_by: said.compensation_tool,
        };
        self.tools.insert(said.name, tool);
    }

    /// A registration that cannot be read any more.
    pub fn erased(&mut self, stream: Uuid) {
        self.is_incomplete = true;
        if let Some(name) = self.names.remove(&stream) {
            self.tools.remove(&name);
        }
    }

    /// Records are not there, and any tool may be registered otherwise in them.
    pub fn forget(&mut self) {
        *self = Self {
            is_incomplete: true,
            ..Self::default()
        };
    }

    /// How a call of this tool is to be proposed, and to be started: as it is registered, and as irreversible where nobody
    /// registered it or what would undo it may not run. Nothing where a registration that matters cannot be read.
    pub fn terms(&self, name: &str) -> Option<Terms> {
        let tool = self.tools.get(name);
        let undo = tool.and_then(|tool| tool.undone_by.as_ref());
        let undo = undo.filter(|undo| *undo != name && !self.tools.contains_key(*undo));
        if self.is_incomplete && (tool.is_none() || undo.is_some()) {
            return None;
        }
        let registered = tool.map_or(SideEffectPolicy::Irreversible, |tool| tool.side_effect);
        Some(Terms {
            side_effect: if self.is_irreversible(name) {
                SideEffectPolicy::Irreversible
            } else {
                registered
            },
            schema: tool.and_then(|tool| tool.schema),
        })
    }

    /// Whether a call of this tool cannot be undone, so that people have to be asked: so it is for a tool that nobody
    /// registered, and for one whose undoing would need to be asked for itself. Not known counts as no.
    pub fn is_irreversible(&self, name: &str) -> bool {
        let Some(tool) = self.tools.get(name) else {
            return !self.is_incomplete;
        };
        match &tool.undone_by {
            _ if tool.side_effect == SideEffectPolicy::Irreversible => true,
            Some(undo) if tool.side_effect == SideEffectPolicy::Compensatable => !self.may_undo(undo, name),
            _ => false,
        }
    }

    /// Whether a tool is the one that is registered to undo calls of another one. Not known counts as yes.
    pub fn may_be_undone_by(&self, undo: &str, name: &str) -> bool {
        let registered = self.tools.get(name);
        registered.is_none_or(|tool| tool.undone_by.as_deref() == Some(undo))
    }

    /// Whether a tool may be run to undo a call of another one: nobody is asked before it is, and it runs again where
    /// it failed. Not known counts as yes.
    pub fn may_undo(&self, undo: &str, name: &str) -> bool {
        undo == name
            || match self.tools.get(undo) {
                Some(tool) => matches!(
                    tool.side_effect,
                    SideEffectPolicy::Pure | SideEffectPolicy::Idempotent
                ),
                None => self.is_incomplete,
            }
    }
}
