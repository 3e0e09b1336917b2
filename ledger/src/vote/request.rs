//! A request for approval, as its record says it.

use ruche_domain::action::Action;
use ruche_domain::approval::{RequestEnvelope, RequestFacts, view};
use ruche_domain::events::{ApprovalRequested, ApprovalRule};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;

use crate::hash::Hash;

/// Where a request stands, and what its leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPlace {
    /// Origin of the epoch.
    pub origin: String,
    /// Position of the record.
    pub position: Position,
    /// Hash of its leaf.
    pub leaf_hash: Hash,
    /// What its leaf says of the request.
    pub envelope: RequestEnvelope,
}

/// Why nobody can vote on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Something is not there that a vote is bound to. Requests that other systems reported are so.
    #[error("the request has no {0}")]
    Incomplete(&'static str),
    /// The digest of the action is not that of what would run.
    #[error("the action digest is not that of tool, arguments, session and turn in the record")]
    ActionDigest,
    /// The digest of the view is not that of what reviewers are shown.
    #[error("the view digest is not that of what the record shows")]
    ViewDigest,
    /// The request asks for more than one vote gives. Who judges here knows no such rule.
    #[error("one vote does not meet the rule of the request")]
    Rule,
}

/// What a vote on the request has to name, computed anew from what the record holds and compared with what it says.
///
/// # Errors
/// As [`RequestFault`] says.
pub fn request_facts(
    place: &RequestPlace,
    requested: &ApprovalRequested,
) -> Result<RequestFacts, RequestFault> {
    let action = action_digest(place, requested)?;
    if action != requested.action_digest {
        return Err(RequestFault::ActionDigest);
    }
    let shown = sha256(view(&place.envelope, requested).as_bytes());
    let view_digest = requested
        .view_digest
        .ok_or(RequestFault::Incomplete("view digest"))?;
    if shown != view_digest {
        return Err(RequestFault::ViewDigest);
    }
    if !is_met_by_one_vote(&requested.rule) {
        return Err(RequestFault::Rule);
    }
    let nonce = requested.nonce.as_deref().and_then(|nonce| nonce.parse().ok());
    Ok(RequestFacts {
        ledger: place.origin.clone(),
        approval_id: place.envelope.approval,
        position: place.position,
        leaf_hash: Digest(place.leaf_hash.0),
        action_digest: action,
        view_digest,
        policy_digest: requested.policy_digest,
        config_digest: requested.config_digest,
        nonce: nonce.ok_or(RequestFault::Incomplete("nonce"))?,
        expires_at: requested.expires_at,
    })
}

/// Whether one person, who is anybody but who asked, can approve. No other rule is written so far.
fn is_met_by_one_vote(rule: &ApprovalRule) -> bool {
    rule.approvals_required == 1
        && rule.groups.is_empty()
        && rule.assurance.is_none()
        && rule.excluded.iter().all(|who| who == "requester")
}

/// The digest of what would run (`docs/formats/action.md`).
fn action_digest(place: &RequestPlace, requested: &ApprovalRequested) -> Result<Digest, RequestFault> {
    let missing = RequestFault::Incomplete;
    let arguments = requested.arguments.as_ref().ok_or(missing("arguments"))?;
    let action = Action {
        agent: requested.agent_id.clone().ok_or(missing("agent"))?,
        arguments: sha256(arguments.as_bytes()),
        schema: requested.schema_digest,
        session: place.envelope.session.ok_or(missing("session"))?,
        side_effect: requested.side_effect.ok_or(missing("side effect"))?,
        tenant: requested.tenant_id.ok_or(missing("tenant"))?,
        tool: requested.tool_name.clone().ok_or(missing("tool"))?,
        turn: place.envelope.turn.ok_or(missing("turn"))?,
    };
    Ok(sha256(action.canonical().as_bytes()))
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Hash::sha256(bytes).0)
}
