//! An approval is used: it was given and not used yet, it has not lapsed, it is of this call and action, the key that gave it is
//! not revoked, and whoever uses it is somebody else.

use ruche_domain::events::ApprovalConsumed;
use ruche_domain::ids::ApprovalId;
use ruche_domain::numbers::{Micros, Position};
use uuid::Uuid;

use super::{ApprovalRules, Request, Seen, State, Use};
use crate::verify::{Finding, FindingKind, Findings};
use crate::vote::{Sender, part_in_vote};

impl ApprovalRules {
    pub(super) fn used(&mut self, said: &ApprovalConsumed, seen: &mut Seen<'_>) {
        let approval = ApprovalId(seen.leaf.event.stream.id);
        let (at, append) = (seen.position, seen.append());
        let used = |signed| Use {
            approval,
            at,
            append,
            action: said.action_digest,
            signed,
        };
        let Some(request) = self.requests.get(&approval) else {
            if self.unknown.contains(&approval) || self.has_holes {
                self.consumed.insert(said.call_id, used(None));
            } else {
                seen.found(FindingKind::ApprovalMisused, "there is no such request before it");
            }
            return;
        };
        if request.state == State::Consumed {
            seen.found(
                FindingKind::ApprovalUsedTwice,
                format!("by call {}", said.call_id),
            );
            return;
        }
        match self.misused(
            (approval, request),
            said,
            seen.leaf.event.actor.reference,
            seen.now(),
        ) {
            Some(fault) => seen.found(FindingKind::ApprovalMisused, fault),
            None => {
                if let Some(distrust) = request.key.and_then(|key| self.keys.distrust(key)) {
                    seen.found(FindingKind::ReviewerUntrusted, distrust);
                }
                let used = used(request.runs.clone());
                self.consumed.insert(said.call_id, used);
            }
        }
        self.set_state(approval, State::Consumed);
    }

    /// A record stands in this append, or nothing comes any more: what was used up in another one and not started with there
    /// was used up for nothing, and whoever gave it is told that it was used.
    pub(in crate::verify) fn append_is(&mut self, append: Option<Position>, findings: &mut Findings) {
        if self.consumed.is_empty() {
            return;
        }
        let is_over = |used: &Use| Some(used.append) != append;
        let mut left: Vec<_> = self.consumed.extract_if(|_, used| is_over(used)).collect();
        left.sort_unstable_by_key(|(_, used)| used.at);
        for (call, used) in left {
            let Position { epoch, index } = used.at;
            let detail = format!("no start of call {call} stands in its append");
            findings.push(Finding::at(FindingKind::ApprovalMisused, epoch, index.0, detail));
        }
    }

    /// What is wrong with the use of a request by a credential.
    fn misused(
        &self,
        (approval, request): (ApprovalId, &Request),
        said: &ApprovalConsumed,
        by: Option<Uuid>,
        now: Micros,
    ) -> Option<&'static str> {
        if request.state != State::Approved {
            return Some("it is not approved");
        }
        if said.ticket != approval.to_string() {
            return Some("its ticket is of another approval");
        }
        if said.action_digest != request.action {
            return Some("it is used for another action");
        }
        if request.call != Some(said.call_id) {
            return Some("it is used for another call");
        }
        if request.expires_at <= now {
            return Some("it lapsed before");
        }
        let key = request.key?;
        if self.keys.is_revoked(key) {
            return Some("the key of its vote was revoked before");
        }
        let user = Sender {
            credential: by,
            user: self.credentials.user(by).flatten(),
        };
        // Whose the credential is that brought the vote no record of the request says, so a start was not held against it.
        let voter = Sender {
            credential: request.voter,
            user: None,
        };
        let gave = part_in_vote(user, voter, self.keys.get(key)?);
        gave.map(|_| "whoever uses it gave it")
    }
}
