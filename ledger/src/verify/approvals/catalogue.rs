//! What tools do to the world, as they are registered up to a position: the word of an administrator, and not of who
//! proposes a call.

use std::collections::HashMap;

use ruche_domain::events::ToolRegistered;
use ruche_domain::side_effect::SideEffectPolicy;
use uuid::Uuid;

/// The tools of a ledger.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    tools: HashMap<String, Tool>,
    /// Which tool each stream is about.
    names: HashMap<Uuid, String>,
    /// Registrations could not be read, so a tool that is not known may be registered all the same.
    is_incomplete: bool,
}

#[derive(Debug)]
struct Tool {
    side_effect: SideEffectPolicy,
    undone_by: Option<String>,
}

impl Catalogue {
    /// The last registration of a tool counts.
    pub fn registered(&mut self, stream: Uuid, said: ToolRegistered) {
        self.names.insert(stream, said.name.clone());
        let tool = Tool {
            side_effect: said.side_effect,
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
