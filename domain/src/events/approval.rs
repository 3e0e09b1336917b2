//! `approval.*`: people decide, bound to the exact bytes they saw. The stream names the request.

use super::policy::Ehi;
use crate::ids::{CallId, LaneId, TenantId, TurnId};
use crate::measures::{BlobRef, Digest};
use crate::numbers::Micros;
use crate::payload::{Ext, List, payloads};
use crate::side_effect::SideEffectPolicy;
use crate::words::words;

words! {
    /// Whether the turn waits for the decision.
    pub enum ApprovalMode {
        /// The turn waits.
        Blocking = "blocking",
        /// The turn goes on; the decision opens a new one.
        Detached = "detached",
    }

    /// What a reviewer decided.
    pub enum ApprovalDecision {
        /// It may happen, exactly so.
        Approve = "approve",
        /// It may not.
        Reject = "reject",
    }

    /// How a request came out.
    pub enum ApprovalOutcome {
        /// Enough people agreed.
        Approved = "approved",
        /// Somebody said no.
        Rejected = "rejected",
        /// The outcome was reported by another system.
        Reported = "reported",
    }

    /// Why a vote does not count. If several apply, the first in this order is named.
    pub enum VoteRefusal {
        /// It is no envelope, or no statement stands in it.
        Malformed = "malformed",
        /// No such key is registered.
        UnknownKey = "unknown_key",
        /// The signature does not verify under the key, or it was made for another kind of document.
        BadSignature = "bad_signature",
        /// The key was revoked.
        RevokedKey = "revoked_key",
        /// The key is another person's than the one who is said to decide.
        OtherReviewer = "other_reviewer",
        /// It is about something else than this request as it stands: another action, view, record or nonce.
        Mismatch = "mismatch",
        /// Whoever asked may not decide.
        Requester = "requester",
        /// The request lapsed.
        Expired = "expired",
        /// The request is decided or withdrawn.
        Decided = "decided",
        /// The ledger went on in another epoch since, as after a restore: the call has to be proposed anew.
        Epoch = "epoch",
    }

    /// What changed since people looked.
    pub enum StaleCause {
        /// The action.
        Action = "action",
        /// The policy bundle.
        Policy = "policy",
        /// The effective configuration.
        Config = "config",
        /// What happened in the session.
        Session = "session",
        /// A reviewer's key was revoked.
        ReviewerKey = "reviewer_key",
        /// The reviewer turns out to be who asked, or who starts the call.
        Requester = "requester",
        /// The ledger went on in another epoch, as after a restore: whether the approval was used in what was lost is not
        /// known.
        Epoch = "epoch",
    }
}

payloads! {
    /// What it takes to approve.
    pub struct ApprovalRule {
        /// How many distinct people have to agree.
        pub approvals_required: u32,
        /// Groups that they have to come from; empty means any reviewer.
        pub groups: Vec<String>,
        /// Who may not be among them, such as `requester` or `config_author`.
        pub excluded: Vec<String>,
        /// How surely a reviewer has to be known.
        pub assurance: Option<String>,
    }

    /// Approval of an action was asked for.
    pub struct ApprovalRequested {
        /// SHA-256 of the canonical action.
        pub action_digest: Digest,
        /// What it takes to approve.
        pub rule: ApprovalRule,
        /// When the request lapses, which is a denial; µs since 1970 UTC.
        pub expires_at: Micros,
        /// Whether the turn waits.
        pub mode: ApprovalMode,
        /// The tool call.
        pub call_id: Option<CallId>,
        /// Name of the tool.
        pub tool_name: Option<String>,
        /// The arguments exactly as they will run.
        pub arguments: Option<String>,
        /// What the call does to the world.
        pub side_effect: Option<SideEffectPolicy>,
        /// SHA-256 of exactly what reviewers are shown, after redaction.
        pub view_digest: Option<Digest>,
        /// What reviewers are shown.
        pub view: Option<BlobRef>,
        /// The policy decision that asks for it.
        pub decision_id: Option<String>,
        /// SHA-256 of the policy bundle.
        pub policy_digest: Option<Digest>,
        /// SHA-256 of the effective configuration.
        pub config_digest: Option<Digest>,
        /// Leaf hash of the last record of the session.
        pub session_head: Option<Digest>,
        /// The agent's stated reason. Not to be trusted.
        pub justification: Option<String>,
        /// How unsure the agent was.
        pub ehi: Option<Ehi>,
        /// The client's own id of the request.
        pub external_id: Option<String>,
        /// SHA-256 of the schema of the arguments.
        pub schema_digest: Option<Digest>,
        /// The client's own id of the agent that asks.
        pub agent_id: Option<String>,
        /// The tenant that it is for.
        pub tenant_id: Option<TenantId>,
        /// The lane whose turn asks; the turn and the session stand in the envelope.
        pub lane_id: Option<LaneId>,
        /// Channel of the lane.
        pub channel: Option<String>,
        /// What makes a vote one for this request only: 32 hex digits that nobody can guess.
        pub nonce: Option<String>,
        /// The caller's business key: two calls with one key are one effect.
        pub business_key: Option<String>,
        /// Number of the call within its turn, from 0.
        pub ordinal: Option<u64>,
        /// Version of the tool, as it was registered then.
        pub tool_version: Option<String>,
        /// Who answers for the tool, as it was registered then.
        pub tool_owner: Option<String>,
        /// The client's own id of the person or system that the agent talks with.
        pub interlocutor_id: Option<String>,
        /// Who asked: the user of the credential, where it names one. That user does not decide.
        pub requested_by: Option<String>,
    }

    /// A reviewer looked at a request.
    pub struct ApprovalViewed {
        /// Opaque reference of the reviewer.
        pub reviewer: String,
        /// SHA-256 of exactly what was shown.
        pub view_digest: Digest,
    }

    /// A reviewer took a request on.
    pub struct ApprovalClaimed {
        /// Opaque reference of the reviewer.
        pub reviewer: String,
        /// Until when, µs since 1970 UTC.
        pub until: Option<Micros>,
    }

    /// A reviewer passed a request on.
    pub struct ApprovalDelegated {
        /// Opaque reference of the reviewer.
        pub from: String,
        /// Opaque reference of who decides now.
        pub to: String,
        /// Why.
        pub reason: Option<String>,
    }

    /// A request went to further people.
    pub struct ApprovalEscalated {
        /// Step of the escalation, from 1.
        pub level: u32,
        /// Groups that are asked now.
        pub groups: List<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// Somebody commented on a request.
    pub struct ApprovalComment {
        /// Opaque reference of the author.
        pub author: String,
        /// The comment.
        pub text: String,
        /// Whether a model wrote it as advice. Advice never votes.
        pub advice: Option<bool>,
        /// Model that wrote it.
        pub model: Option<String>,
        /// SHA-256 of the prompt that it answered.
        pub prompt_digest: Option<Digest>,
    }

    /// The action was edited. All votes are void; policy was asked again.
    pub struct ApprovalAmended {
        /// SHA-256 of the canonical action as it is now.
        pub new_action_digest: Digest,
        /// SHA-256 of the canonical action as it was.
        pub previous_action_digest: Digest,
        /// The arguments exactly as they are now.
        pub arguments: String,
        /// Opaque reference of the editor.
        pub by: String,
        /// SHA-256 of what reviewers are shown now.
        pub view_digest: Option<Digest>,
        /// The policy decision on the edited action.
        pub decision_id: Option<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// A reviewer decided and signed.
    pub struct ApprovalVoted {
        /// Opaque reference of the reviewer.
        pub reviewer: String,
        /// What the reviewer decided.
        pub decision: ApprovalDecision,
        /// Id of the reviewer's key.
        pub key_id: String,
        /// The DSSE envelope as signed, as JSON text: the exact bytes that verify.
        pub signature: String,
        /// SHA-256 of the canonical action.
        pub action_digest: Digest,
        /// SHA-256 of exactly what was shown.
        pub view_digest: Digest,
        /// How the reviewer signed in.
        pub auth_context: Option<String>,
        /// When the reviewer decided by the reviewer's clock, µs since 1970 UTC.
        pub decided_at: Option<Micros>,
        /// Why.
        pub reason: Option<String>,
    }

    /// Somebody tried to vote and it does not count: it decided nothing.
    pub struct ApprovalVoteRefused {
        /// Why.
        pub refusal: VoteRefusal,
        /// What exactly, for people.
        pub detail: Option<String>,
        /// SHA-256 of the envelope as it came.
        pub envelope_digest: Digest,
        /// Id of the key that is said to have signed.
        pub key_id: Option<String>,
        /// Who is said to have decided. True only where the signature was verified.
        pub reviewer: Option<String>,
    }

    /// Somebody named the approval in order to start a call that it is not of. Nothing started, and it is as good as before.
    pub struct ApprovalUseRefused {
        /// The call that was to start.
        pub call_id: CallId,
        /// Name of its tool.
        pub tool_name: String,
        /// SHA-256 of its canonical action.
        pub action_digest: Option<Digest>,
    }

    /// A request was decided.
    pub struct ApprovalResolved {
        /// How it came out.
        pub outcome: ApprovalOutcome,
        /// Votes in favour.
        pub approvals: Option<u32>,
        /// Opaque reference of who decided, where it was reported.
        pub by: Option<String>,
        /// The decision in the other system's words, where it was reported.
        pub detail: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// An approval was used up by the start of the action. It happens once.
    pub struct ApprovalConsumed {
        /// The ticket that the start names.
        pub ticket: String,
        /// The tool call.
        pub call_id: CallId,
        /// Id of the effect.
        pub effect_id: Option<String>,
        /// SHA-256 of the canonical action, recomputed from the call that starts.
        pub action_digest: Digest,
    }

    /// Nobody decided in time. That is a denial.
    pub struct ApprovalExpired {
        /// When it lapsed, µs since 1970 UTC.
        pub expired_at: Micros,
    }

    /// A request was withdrawn.
    pub struct ApprovalCancelled {
        /// Why.
        pub reason: String,
        /// The turn whose end withdrew it.
        pub turn_id: Option<TurnId>,
    }

    /// An approval was given and never used.
    pub struct ApprovalVoided {
        /// Why.
        pub reason: Option<String>,
    }

    /// What people decided on is not what would happen any more.
    pub struct ApprovalStale {
        /// What changed.
        pub what_changed: List<StaleCause>,
    }

    /// A standing permission was given.
    pub struct ApprovalGrantIssued {
        /// Id of the grant.
        pub grant_id: String,
        /// What it covers: constraints in the words of policy.
        pub constraints: serde_json::Value,
        /// When it lapses, µs since 1970 UTC.
        pub expires_at: Micros,
        /// Opaque reference of who gave it.
        pub issued_by: String,
        /// How often it may be used; absent means within its time without a count.
        pub max_uses: Option<u64>,
        /// The DSSE envelope as signed, as JSON text.
        pub signature: Option<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// A standing permission was used.
    pub struct ApprovalGrantUsed {
        /// Id of the grant.
        pub grant_id: String,
        /// The tool call.
        pub call_id: CallId,
        /// SHA-256 of the canonical action.
        pub action_digest: Digest,
        /// Uses so far, this one among them.
        pub uses: Option<u64>,
    }

    /// A standing permission was taken back.
    pub struct ApprovalGrantRevoked {
        /// Id of the grant.
        pub grant_id: String,
        /// Opaque reference of who took it back.
        pub by: String,
        /// Why.
        pub reason: Option<String>,
    }

    /// Somebody used an emergency right. It has to be reviewed afterwards.
    pub struct ApprovalBreakGlassUsed {
        /// Opaque reference of who did it.
        pub by: String,
        /// Why.
        pub reason: String,
        /// SHA-256 of the canonical action.
        pub action_digest: Digest,
        /// The tool call.
        pub call_id: Option<CallId>,
        /// Until when it has to be reviewed, µs since 1970 UTC.
        pub review_by: Option<Micros>,
    }
}
