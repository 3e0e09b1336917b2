//! An approval is used: it was given and not used yet, it has not lapsed, it is of this epoch, call and action, the key that gave
//! it is not revoked, and whoever uses it is somebody else.

use ruche_domain::events::ApprovalConsumed;
use ruche_domain::ids::ApprovalId;
use ruche_domain::numbers::{Epoch, Micros, Position};
use ruche_domain::stream::Category;
use uuid::Uuid;

use super::{ApprovalRules, Request, Seen, State, Use};
use crate::verify::{Finding, FindingKind, Findings};
use crate::vote::{Sender, part_in_vote};

/// What was done with the approval may stand in records that were lost when the epoch ended.
const OTHER_EPOCH: &str = "it was asked for in an epoch that is over";

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
            match self.misused_unseen(approval, at.epoch) {
                Some(fault) => seen.found(FindingKind::ApprovalMisused, fault),
                None => drop(self.consumed.insert(said.call_id, used(None))),
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
        let by = seen.leaf.event.actor.reference;
        let of_epoch = (request.epoch != at.epoch).then_some(OTHER_EPOCH);
        match of_epoch.or_else(|| self.misused((approval, request), said, by, seen.now())) {
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

    /// A use of which only the leaf is there: it tells the request and the epoch.
    pub(super) fn used_unseen(&self, seen: &mut Seen<'_>) {
        let event = &seen.leaf.event;
        if event.event_type != "approval.consumed" || event.stream.category != Category::Approval {
            return;
        }
        let (approval, now_in) = (ApprovalId(event.stream.id), seen.position.epoch);
        let fault = match self.requests.get(&approval) {
            Some(request) => (request.epoch != now_in).then_some(OTHER_EPOCH),
            None => self.misused_unseen(approval, now_in),
        };
        if let Some(fault) = fault {
            seen.found(FindingKind::ApprovalMisused, fault);
        }
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

    /// What is wrong with the use of a request of which nothing is known but where it stands. One of an epoch that is over
    /// starts nothing, whatever is known of that epoch, and of this one what can be read is known.
    fn misused_unseen(&self, approval: ApprovalId, now_in: Epoch) -> Option<&'static str> {
        match self.unknown.get(&approval) {
            Some(epoch) if *epoch == now_in => None,
            Some(_) => Some(OTHER_EPOCH),
            None if self.holes_in == Some(now_in) => None,
            None => Some("there is no such request before it in this epoch"),
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
        // As the server judges a start: whose else the credential is that brought the vote does not matter.
        let voter = Sender {
            credential: request.voter,
            user: None,
        };
        let gave = part_in_vote(user, voter, self.keys.get(key)?);
        gave.map(|_| "whoever uses it gave it")
    }
}
