//! What starts: only what was proposed and, if it cannot be taken back, approved.

use ruche_domain::events::{ToolCompensationStarted, ToolStarted};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;

use super::{ApprovalRules, Seen};
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
        if let Some(proposal) = proposal
            && (proposal.tool != said.name
                || said
                    .args_digest
                    .is_some_and(|digest| digest != proposal.arguments))
        {
            let detail = format!("call {call} starts as something else than was proposed");
            seen.found(FindingKind::EffectWithoutApproval, detail);
            return;
        }
        let irreversible = SideEffectPolicy::Irreversible;
        let is_irreversible = said.side_effect.unwrap_or_default() == irreversible
            || proposal.is_some_and(|proposal| proposal.side_effect == irreversible)
            || self.catalogue.is_irreversible(&said.name);
        if !is_irreversible {
            return;
        }
        if self.unknown_uses.contains(&call) {
            return;
        }
        let Some(used) = used.filter(|used| used.append == seen.append()) else {
            let detail = format!("call {call} used up no approval of its action in this append");
            seen.found(FindingKind::EffectWithoutApproval, detail);
            return;
        };
        let asked = proposal.and_then(|proposal| proposal.action);
        if asked.is_some_and(|asked| asked != used.action) {
            let detail = format!("call {call} used up the approval of another action than was proposed");
            seen.found(FindingKind::EffectWithoutApproval, detail);
        }
        // Not by digests that somebody wrote down: by what the reviewer read.
        let starts = (Some(&said.name), said.args_digest);
        let signed = used
            .signed
            .as_ref()
            .map(|(tool, arguments)| (Some(tool), Some(*arguments)));
        if signed.is_some_and(|signed| signed != starts) {
            let detail = format!("call {call} starts as something else than was signed");
            seen.found(FindingKind::EffectWithoutApproval, detail);
        }
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

    /// What undoes an effect runs unasked, so it is a tool that may.
    pub(super) fn undoing(&self, said: &ToolCompensationStarted, seen: &mut Seen<'_>) {
        let proposal = seen.leaf.event.call.and_then(|call| self.proposals.get(&call));
        let Some(proposal) = proposal else {
            return;
        };
        let undo = &said.compensation_tool;
        if !self.catalogue.may_undo(undo, &proposal.tool) {
            let detail = format!("{undo} undoes it, and is not registered as pure or idempotent");
            seen.found(FindingKind::EffectWithoutApproval, detail);
        }
    }
}
