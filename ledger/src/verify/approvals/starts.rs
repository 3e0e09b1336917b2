//! What starts: only what was proposed and, if it cannot be taken back, approved.

use ruche_domain::events::{ToolCompensationStarted, ToolStarted};
use ruche_domain::ids::CallId;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;

use super::proposals::Proposal;
use super::{ApprovalRules, Seen, Use};
use crate::verify::FindingKind;

impl ApprovalRules {
    /// The proposal says what was asked for and signed, so a start may not be something else or anything weaker.
    pub(super) fn started(&mut self, said: &ToolStarted, seen: &mut Seen<'_>) {
        if seen.leaf.event.stream.category != Category::Lane {
            return;
        }
        let Some(call) = seen.leaf.event.call else {
            seen.found(FindingKind::EffectWithoutApproval, "it starts without a call");
            return;
        };
        // Taken out: one use is one start.
        let used = self.consumed.remove(&call);
        let proposal = self.proposals.get(&call);
        if proposal.is_none() && self.has_holes {
            return;
        }
        let used = used.filter(|used| used.append == seen.append());
        let otherwise = proposal.is_some_and(|proposal| proposal.starts_otherwise(said));
        let fault = otherwise
            .then_some("starts as something else than was proposed")
            .or_else(|| self.unsigned(call, said, used.as_ref()))
            .or_else(|| self.changed(proposal?));
        if let Some(fault) = fault {
            seen.found(FindingKind::EffectWithoutApproval, format!("call {call} {fault}"));
        }
    }

    /// What is wrong with the approval of a start that needs one.
    fn unsigned(&self, call: CallId, said: &ToolStarted, used: Option<&Use>) -> Option<&'static str> {
        let proposal = self.proposals.get(&call);
        let irreversible = SideEffectPolicy::Irreversible;
        let is_irreversible = said.side_effect.unwrap_or_default() == irreversible
            || proposal.is_some_and(|proposal| proposal.side_effect == irreversible)
            || self.catalogue.is_irreversible(&said.name);
        if self.unknown_uses.contains(&call) {
            return None;
        }
        let Some(used) = used else {
            return match (is_irreversible, &said.ticket) {
                (true, _) => Some("used up no approval of its action in this append"),
                (false, Some(_)) => Some("names an approval and used up none in this append"),
                (false, None) => None,
            };
        };
        let asked = proposal.and_then(|proposal| proposal.action);
        if asked.is_some_and(|asked| asked != used.action) {
            return Some("used up the approval of another action than was proposed");
        }
        let ticket = said.ticket.as_ref();
        if ticket.is_some_and(|ticket| *ticket != used.approval.to_string()) {
            return Some("names another approval than it used up");
        }
        // Not by digests that somebody wrote down: by what the reviewer read.
        let (tool, arguments) = used.signed.as_ref()?;
        let is_signed = *tool == said.name && Some(*arguments) == said.args_digest;
        (!is_signed).then_some("starts as something else than was signed")
    }

    /// What people and rules looked at is how the tool was registered then.
    fn changed(&self, proposal: &Proposal) -> Option<&'static str> {
        let (then, now) = (proposal.terms?, self.catalogue.terms(&proposal.tool)?);
        (then != now).then_some("starts though its tool was registered otherwise when it was proposed")
    }

    /// A start of which only the leaf is there. That the call cannot be taken back its proposal says, and that an approval
    /// was used up another leaf: an export must not hide an unsigned start by leaving out what it says.
    pub(super) fn started_unseen(&mut self, seen: &mut Seen<'_>) {
        let event = &seen.leaf.event;
        let (Some(call), Category::Lane, "tool.started") =
            (event.call, event.stream.category, event.event_type.as_str())
        else {
            return;
        };
        let proposal = self.proposals.get(&call);
        let is_irreversible = proposal.is_some_and(|proposal| {
            proposal.side_effect == SideEffectPolicy::Irreversible
                || self.catalogue.is_irreversible(&proposal.tool)
        });
        let used = self.consumed.remove(&call);
        let is_used = used.is_some_and(|used| used.append == seen.append());
        if is_irreversible && !is_used && !self.unknown_uses.contains(&call) {
            let detail = format!("call {call} used up no approval in this append");
            seen.found(FindingKind::EffectWithoutApproval, detail);
        }
    }

    /// What undoes an effect runs unasked, so it is a tool that may, and the one that an administrator registered for that.
    pub(super) fn undoing(&self, said: &ToolCompensationStarted, seen: &mut Seen<'_>) {
        let proposal = seen.leaf.event.call.and_then(|call| self.proposals.get(&call));
        let Some(proposal) = proposal else {
            return;
        };
        let undo = &said.compensation_tool;
        if !self.catalogue.may_undo(undo, &proposal.tool) {
            let detail = format!("{undo} undoes it, and is not registered as pure or idempotent");
            seen.found(FindingKind::EffectWithoutApproval, detail);
        } else if !self.catalogue.may_be_undone_by(undo, &proposal.tool) {
            let detail = format!("{undo} undoes it, and is not registered for that");
            seen.found(FindingKind::EffectWithoutApproval, detail);
        }
    }
}
