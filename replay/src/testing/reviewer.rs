//! The one who decides: her key, and what she signs.

use ruche_commands::governed::{VoteOnApproval, approval_stream};
use ruche_commands::{CommandError, RegisterReviewerKey};
use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE, RequestEnvelope, STATEMENT_TYPE, Statement};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ApprovalDecision;
use ruche_domain::ids::{ApprovalId, LedgerId, TenantId};
use ruche_domain::numbers::StreamVersion;
use ruche_ledger::dsse::PrivateKey;
use ruche_ledger::store::EventStore;
use ruche_ledger::vote::{RequestPlace, request_facts};

use super::{Crowd, DESK};
use crate::recorded::fact;

const NAME: &str = "alice";

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

/// Registers her key.
pub(super) fn registration(tenant: TenantId) -> RegisterReviewerKey {
    let key = key();
    let proven = KeyPossession::new(tenant, NAME, *key.public().as_bytes());
    let proven = proven.expect("a name").to_bytes();
    RegisterReviewerKey {
        reviewer: NAME.to_owned(),
        public_key: key.public().to_hex(),
        proof_of_possession: key.sign(POSSESSION_TYPE, &proven).expect("a signature").to_json(),
        label: None,
    }
}

impl Crowd {
    /// She decides on a request, or somebody sends what is no vote.
    pub(super) async fn vote(&mut self) -> Result<(), CommandError> {
        let Some(approval) = self.one_of(&self.approvals) else {
            return Ok(());
        };
        let decision = match self.pick(6) {
            0 => None,
            1 | 2 => Some(ApprovalDecision::Reject),
            _ => Some(ApprovalDecision::Approve),
        };
        let envelope = match decision {
            None => "{}".to_owned(),
            Some(decision) => {
                let vote = vote(&*self.store, self.context.ledger, approval, decision).await;
                vote.expect("an approval begins with its request")
            }
        };
        self.send(DESK, &VoteOnApproval { approval, envelope })
            .await
            .map(drop)
    }
}

/// Her vote on a request as it stands in a store; nothing where no request stands there that anybody could vote on.
///
/// # Panics
/// If the store cannot be read.
pub async fn vote(
    store: &dyn EventStore,
    ledger: LedgerId,
    approval: ApprovalId,
    decision: ApprovalDecision,
) -> Option<String> {
    let stream = approval_stream(approval);
    let read = store.read_stream(ledger, stream, StreamVersion::FIRST, 1).await;
    let record = read.expect("the store reads").into_iter().next()?;
    let Some(AgentEvent::ApprovalRequested(requested)) = fact(&record) else {
        return None;
    };
    let place = RequestPlace {
        origin: record.leaf.origin.clone(),
        position: record.position,
        leaf_hash: record.leaf_hash(),
        envelope: RequestEnvelope::of(&record.leaf.event),
    };
    let facts = request_facts(&place, &requested).ok()?;
    let key = key();
    let statement = Statement::new(facts, NAME, &key.public().id(), decision, Some("seen"));
    let statement = statement.expect("it can be said").to_bytes();
    Some(
        key.sign(STATEMENT_TYPE, &statement)
            .expect("a signature")
            .to_json(),
    )
}
