//! Calls as they were proposed, and whether a request for approval shows them so.

use ruche_domain::events::{ApprovalRequested, ToolProposed, ToolStarted, TurnOpened};
use ruche_domain::ids::{SessionId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::SchemaVersion;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;
use uuid::Uuid;

use super::catalogue::Terms;
use super::{ApprovalRules, Seen, digest};
use crate::leaf::Leaf;
use crate::verify::FindingKind;

/// From this version on a request says whose lane, which call and which effect it is about.
const SHOWS_ALL: SchemaVersion = SchemaVersion(3);

/// A call as it was proposed.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) tool: String,
    pub(super) side_effect: SideEffectPolicy,
    pub(super) schema: Option<Digest>,
    /// How its tool was registered then, where that is known.
    pub(super) terms: Option<Terms>,
    pub(super) arguments: Digest,
    pub(super) action: Option<Digest>,
    pub(super) business_key: Option<String>,
    pub(super) session: Option<SessionId>,
    pub(super) turn: Option<TurnId>,
    pub(super) lane: Uuid,
}

impl Proposal {
    /// Whether a start is of another tool, other arguments or another side effect.
    pub(super) fn starts_otherwise(&self, said: &ToolStarted) -> bool {
        let other_arguments = said.args_digest.is_some_and(|digest| digest != self.arguments);
        let other_effect = said.side_effect.is_some_and(|effect| effect != self.side_effect);
        self.tool != said.name || other_arguments || other_effect
    }
}

/// Whose lane it is, as the turns that messages opened say.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) agent: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) interlocutor: Option<String>,
}

impl ApprovalRules {
    /// What a call does to the world an administrator says, and not who proposes it.
    pub(super) fn proposed(&mut self, said: ToolProposed, seen: &mut Seen<'_>) {
        let leaf = seen.leaf;
        let (Some(call), Category::Lane) = (leaf.event.call, leaf.event.stream.category) else {
            return;
        };
        let terms = self.catalogue.terms(&said.name);
        let proposed = Terms {
            side_effect: said.side_effect.unwrap_or_default(),
            schema: said.schema_digest,
        };
        if terms.is_some_and(|terms| terms != proposed) {
            let detail = format!("call {call} is proposed otherwise than its tool is registered");
            seen.found(FindingKind::IllegalTransition, detail);
        }
        let proposal = Proposal {
            schema: said.schema_digest,
            terms,
            arguments: digest(&said.arguments),
            tool: said.name,
            side_effect: said.side_effect.unwrap_or_default(),
            action: said.action_digest,
            business_key: said.business_key,
            session: leaf.event.session,
            turn: leaf.event.turn,
            lane: leaf.event.stream.id,
        };
        self.proposals.insert(call, proposal);
    }

    pub(super) fn opened(&mut self, said: TurnOpened, leaf: &Leaf) {
        // A turn that a decision or a timer opens names nobody.
        if leaf.event.stream.category == Category::Lane && said.agent_id.is_some() {
            let names = Names {
                agent: said.agent_id,
                channel: said.channel,
                interlocutor: said.interlocutor_id,
            };
            self.names.insert(leaf.event.stream.id, names);
        }
    }

    /// What reviewers are shown of a request that is not so of the call that was proposed.
    pub(super) fn shown_otherwise(&self, said: &ApprovalRequested, leaf: &Leaf) -> Option<&'static str> {
        let proposal = self.proposals.get(&leaf.event.call?)?;
        let names = self.names.get(&proposal.lane);
        // What earlier versions did not show is not held against them; what this one shows it does not leave out either.
        let shows_all = leaf.event.schema_version >= SHOWS_ALL;
        let differs = |said: &Option<String>, is: Option<&Option<String>>| {
            is.is_some_and(|is| is.is_some() && said != is && (said.is_some() || shows_all))
        };
        let arguments = said.arguments.as_deref().map(digest);
        let shown = [
            (
                "call",
                said.call_id != leaf.event.call && (said.call_id.is_some() || shows_all),
            ),
            (
                "tool",
                said.tool_name.as_ref() != Some(&proposal.tool) && (said.tool_name.is_some() || shows_all),
            ),
            (
                "arguments",
                arguments != Some(proposal.arguments) && (arguments.is_some() || shows_all),
            ),
            ("schema", shows_all && said.schema_digest != proposal.schema),
            (
                "side effect",
                said.side_effect
                    .is_some_and(|effect| effect != proposal.side_effect),
            ),
            (
                "action digest",
                proposal.action.is_some_and(|action| action != said.action_digest),
            ),
            ("session", leaf.event.session != proposal.session),
            ("turn", leaf.event.turn != proposal.turn),
            (
                "business key",
                said.business_key != proposal.business_key && (said.business_key.is_some() || shows_all),
            ),
            ("agent", differs(&said.agent_id, names.map(|names| &names.agent))),
            (
                "channel",
                differs(&said.channel, names.map(|names| &names.channel)),
            ),
            (
                "interlocutor",
                differs(&said.interlocutor_id, names.map(|names| &names.interlocutor)),
            ),
        ];
        shown
            .into_iter()
            .find_map(|(what, differs)| differs.then_some(what))
    }
}
