//! Mutations about reviewers: their keys and their votes.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use ruche_commands::governed::VoteOnApproval;
use ruche_commands::{CommandError, CommandReceipt, RegisterReviewerKey, RevokeReviewerKey};
use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalOutcome, ApprovalVoteRefused};
use ruche_domain::measures::Digest;

use super::super::refusals::{self, results};
use super::super::scalars::{Hash, PositionScalar};
use super::super::words::VoteRefusal;
use super::fields::parsed;
use super::{Receipt, Writing, carry_out, payloads};
use crate::auth::Role;

type Made<C> = std::result::Result<C, CommandError>;

/// Input of `registerReviewerKey`. `ruche keys reviewer new` makes the key and prints these fields.
#[derive(InputObject)]
pub(in crate::graphql) struct RegisterReviewerKeyInput {
    /// The client's own key of this request.
    idempotency_key: String,
    /// Whose key it is, as you name people.
    reviewer: String,
    /// The 32 bytes of the Ed25519 public key, in hex.
    public_key: String,
    /// The DSSE envelope that the key signed over tenant, reviewer and itself, as JSON text.
    proof_of_possession: String,
    /// Name of the key for people.
    label: Option<String>,
}

/// Input of `revokeReviewerKey`.
#[derive(InputObject)]
pub(in crate::graphql) struct RevokeReviewerKeyInput {
    /// The client's own key of this request.
    idempotency_key: String,
    /// Id of the key.
    key_id: Hash,
    /// Why.
    reason: Option<String>,
}

/// Input of `voteOnApproval`.
#[derive(InputObject)]
pub(in crate::graphql) struct VoteOnApprovalInput {
    /// The client's own key of this request.
    idempotency_key: String,
    /// Which request.
    approval_id: ID,
    /// The DSSE envelope over the statement, as JSON text. It is stored exactly so.
    envelope: String,
}

impl RegisterReviewerKeyInput {
    fn into_command(self) -> Made<RegisterReviewerKey> {
        Ok(RegisterReviewerKey {
            reviewer: self.reviewer,
            public_key: self.public_key,
            proof_of_possession: self.proof_of_possession,
            label: self.label,
        })
    }
}

impl RevokeReviewerKeyInput {
    fn into_command(self) -> Made<RevokeReviewerKey> {
        Ok(RevokeReviewerKey {
            key_id: Digest(self.key_id.0),
            reason: self.reason,
        })
    }
}

impl VoteOnApprovalInput {
    fn into_command(self) -> Made<VoteOnApproval> {
        Ok(VoteOnApproval {
            approval: parsed("/approvalId", self.approval_id.as_str())?,
            envelope: self.envelope,
        })
    }
}

/// What a vote did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(in crate::graphql) enum VoteOutcome {
    /// The action may run, once.
    Approved,
    /// It may not.
    Rejected,
    /// What was decided on is not what would happen any more. A new request is needed.
    Stale,
    /// The vote does not count. That it was tried is recorded.
    Refused,
}

fn facts(receipt: &CommandReceipt) -> impl Iterator<Item = AgentEvent> {
    // What this program wrote it can read; an erased payload has nothing to tell.
    let read = |event| ruche_commands::RecordedEvent::agent_event(event).ok()?;
    receipt.events.iter().filter_map(read)
}

fn outcome_of(receipt: &CommandReceipt) -> Option<VoteOutcome> {
    facts(receipt).find_map(|fact| match fact {
        AgentEvent::ApprovalVoteRefused(_) => Some(VoteOutcome::Refused),
        AgentEvent::ApprovalStale(_) => Some(VoteOutcome::Stale),
        AgentEvent::ApprovalResolved(resolved) => Some(match resolved.outcome {
            ApprovalOutcome::Approved => VoteOutcome::Approved,
            ApprovalOutcome::Rejected | ApprovalOutcome::Reported => VoteOutcome::Rejected,
        }),
        _ => None,
    })
}

fn refused(receipt: &CommandReceipt) -> Option<ApprovalVoteRefused> {
    facts(receipt).find_map(|fact| match fact {
        AgentEvent::ApprovalVoteRefused(refused) => Some(refused),
        _ => None,
    })
}

fn refusal_of(receipt: &CommandReceipt) -> Option<VoteRefusal> {
    refused(receipt).map(|refused| refused.refusal.into())
}

fn detail_of(receipt: &CommandReceipt) -> Option<String> {
    refused(receipt)?.detail
}

fn key_of(receipt: &CommandReceipt) -> Option<Hash> {
    facts(receipt).find_map(|fact| match fact {
        AgentEvent::InfraKeyRegistered(registered) => Some(Hash(registered.key_id.0)),
        AgentEvent::InfraKeyRevoked(revoked) => Some(Hash(revoked.key_id.0)),
        _ => None,
    })
}

payloads! {
    /// The key is registered.
    RegisterReviewerKeyPayload {
        /// Its id: SHA-256 of its SubjectPublicKeyInfo.
        key_id: Option<Hash> = key_of,
    }
    /// The key is revoked.
    RevokeReviewerKeyPayload {
        /// Its id.
        key_id: Option<Hash> = key_of,
    }
    /// The vote is recorded, whether it counts or not.
    VoteOnApprovalPayload {
        /// What it did.
        outcome: Option<VoteOutcome> = outcome_of,
        /// Why it does not count.
        refusal: Option<VoteRefusal> = refusal_of,
        /// Why exactly, for people.
        detail: Option<String> = detail_of,
    }
}

results! {
    /// What came of `registerReviewerKey`.
    RegisterReviewerKeyResult = RegisterReviewerKeyPayload;
    /// What came of `revokeReviewerKey`.
    RevokeReviewerKeyResult = RevokeReviewerKeyPayload;
    /// What came of `voteOnApproval`.
    VoteOnApprovalResult = VoteOnApprovalPayload;
}

/// Writes about reviewers.
#[derive(Default)]
pub(in crate::graphql) struct ApprovalMutation;

/// Writes about reviewers.
#[Object]
impl ApprovalMutation {
    /// Registers a person's signing key, so that votes under it count. Needs the role `admin`. The private half stays
    /// with the person. A key that was revoked is never registered again.
    async fn register_reviewer_key(
        &self,
        ctx: &Context<'_>,
        input: RegisterReviewerKeyInput,
    ) -> Result<RegisterReviewerKeyResult> {
        carry_out!(
            ctx,
            &[Role::Admin],
            Attested,
            input,
            RegisterReviewerKeyResult,
            RegisterReviewerKeyPayload
        )
    }

    /// Revokes a person's signing key, for ever. Needs the role `admin`. Votes that are recorded before stay valid.
    async fn revoke_reviewer_key(
        &self,
        ctx: &Context<'_>,
        input: RevokeReviewerKeyInput,
    ) -> Result<RevokeReviewerKeyResult> {
        carry_out!(
            ctx,
            &[Role::Admin],
            Attested,
            input,
            RevokeReviewerKeyResult,
            RevokeReviewerKeyPayload
        )
    }

    /// Decides on a request with a signed statement. Needs the role `reviewer`. One vote decides; one that does not count
    /// is recorded with the reason and changes nothing.
    async fn vote_on_approval(
        &self,
        ctx: &Context<'_>,
        input: VoteOnApprovalInput,
    ) -> Result<VoteOnApprovalResult> {
        carry_out!(
            ctx,
            &[Role::Reviewer],
            Attested,
            input,
            VoteOnApprovalResult,
            VoteOnApprovalPayload
        )
    }
}
