//! Faults of what reviewers are shown, of who takes part, and of what it takes to approve. The reviewer signs what the
//! operator shows, so digests, signatures and bindings all hold, and only other records say otherwise.

use ruche_domain::action::Action;
use ruche_domain::approval::{RequestEnvelope, STATEMENT_TYPE, Statement, view};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ApprovalRequested;
use ruche_domain::ids::{SessionId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;
use ruche_ledger::dsse::{Envelope, PrivateKey};
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::verify::FindingKind::{self, *};
use serde_json::{Value, json};
use uuid::Uuid;

use super::work::Work;

/// A fault: its name, what is found first, how it is planted (giving where it is found), and what follows from it.
pub type Shown = (
    &'static str,
    FindingKind,
    fn(&mut Work) -> usize,
    &'static [FindingKind],
);

pub const SHOWN: &[Shown] = &[
    (
        "another business key than was proposed",
        RequestMismatch,
        |work| request(work, |said| said["business_key"] = json!("other")),
        &[],
    ),
    (
        "another call than was proposed",
        RequestMismatch,
        |work| request(work, |said| said["call_id"] = json!(Uuid::from_u128(99))),
        &[],
    ),
    (
        "another agent than the lane has",
        RequestMismatch,
        |work| lane(work, "agent_id"),
        &[],
    ),
    (
        "another channel than the lane has",
        RequestMismatch,
        |work| lane(work, "channel"),
        &[],
    ),
    (
        "another interlocutor than the lane has",
        RequestMismatch,
        |work| lane(work, "interlocutor_id"),
        &[],
    ),
    (
        "another session than the call has",
        RequestMismatch,
        |work| {
            let at = work.at("approval.requested", 0);
            work.records[at].leaf.event.session = Some(SessionId(Uuid::from_u128(99)));
            at
        },
        &[],
    ),
    (
        "another turn than the call has",
        IllegalTransition,
        |work| {
            let at = work.at("approval.requested", 0);
            work.records[at].leaf.event.turn = Some(TurnId(Uuid::from_u128(99)));
            at
        },
        &[RequestMismatch],
    ),
    (
        "a user that the credential does not name",
        RequestMismatch,
        |work| request(work, |said| said["requested_by"] = json!("mallory")),
        &[],
    ),
    (
        "a user of the credential that is kept quiet",
        RequestMismatch,
        |work| {
            work.say(work.at("infra.api_key.created", 0), |said| {
                said["user"] = json!("carol")
            });
            work.at("approval.requested", 0)
        },
        // Of all that was asked under it.
        &[RequestMismatch],
    ),
    (
        "a reviewer who asked",
        VoteInvalid,
        |work| {
            request(work, |said| said["requested_by"] = json!("alice"));
            work.say(work.at("infra.api_key.created", 0), |said| {
                said["user"] = json!("alice")
            });
            work.at("approval.voted", 0)
        },
        &[DecisionWithoutVote, RequestMismatch],
    ),
    (
        "a vote that was brought by who asked, under another credential",
        VoteInvalid,
        |work| {
            request(work, |said| said["requested_by"] = json!("carol"));
            for number in [0, 2] {
                let at = work.at("infra.api_key.created", number);
                work.say(at, |said| said["user"] = json!("carol"));
            }
            work.at("approval.voted", 0)
        },
        &[DecisionWithoutVote, RequestMismatch],
    ),
    (
        "a rule that one vote does not meet",
        VoteInvalid,
        |work| {
            request(work, |said| said["rule"]["approvals_required"] = json!(2));
            work.at("approval.voted", 0)
        },
        &[DecisionWithoutVote],
    ),
    (
        "a rule that asks for a group",
        VoteInvalid,
        |work| {
            request(work, |said| said["rule"]["groups"] = json!(["finance"]));
            work.at("approval.voted", 0)
        },
        &[DecisionWithoutVote],
    ),
];

fn request(work: &mut Work, change: impl FnOnce(&mut Value)) -> usize {
    work.say(work.at("approval.requested", 0), change)
}

/// The lane is another's; gives where the request shows otherwise.
fn lane(work: &mut Work, name: &str) -> usize {
    work.say(work.at("turn.opened", 0), |said| said[name] = json!("another"));
    work.at("approval.requested", 0)
}

/// Has the first request, and everything that rests on it, fit together: the action that it names, the view of it, and a vote
/// that `key` signs on it.
pub fn sign_anew(work: &mut Work, key: &PrivateKey) {
    let (at, vote) = (work.at("approval.requested", 0), work.at("approval.voted", 0));
    let said = requested(work, at);
    let event = work.records[at].leaf.event.clone();
    let action = Action {
        agent: said.agent_id.clone().expect("an agent"),
        arguments: sha256(said.arguments.as_ref().expect("arguments")),
        schema: said.schema_digest,
        session: event.session.expect("a session"),
        side_effect: said.side_effect.expect("an effect"),
        tenant: said.tenant_id.expect("a tenant"),
        tool: said.tool_name.clone().expect("a tool"),
        turn: event.turn.expect("a turn"),
    };
    let action = sha256(&action.canonical());
    for (event_type, number) in [
        ("approval.requested", 0),
        ("approval.voted", 0),
        ("approval.consumed", 0),
        ("tool.proposed", 0),
    ] {
        let at = work.at(event_type, number);
        work.say(at, |said| said["action_digest"] = json!(action));
    }
    let shown = sha256(&view(&RequestEnvelope::of(&event), &requested(work, at)));
    for at in [at, vote] {
        work.say(at, |said| said["view_digest"] = json!(shown));
    }
    work.link();
    let place = leaf_hash(&work.records[at].leaf.encode());
    work.say(vote, |said| {
        let envelope = said["signature"].as_str().expect("an envelope");
        let envelope = Envelope::parse(envelope).expect("an envelope");
        let signed = envelope.verify(&key.public(), STATEMENT_TYPE).expect("alice's");
        let mut statement = Statement::parse(signed).expect("a statement");
        statement.request.position = Position::new(1, at as u64);
        statement.request.leaf_hash = Digest(place.0);
        (statement.request.action_digest, statement.request.view_digest) = (action, shown);
        let envelope = key.sign(STATEMENT_TYPE, &statement.to_bytes());
        said["signature"] = json!(envelope.expect("a document").to_json());
    });
}

/// What a request says.
pub fn requested(work: &Work, at: usize) -> ApprovalRequested {
    let record = &work.records[at];
    let event = &record.leaf.event;
    let bytes = record.payload[0].bytes().expect("nothing was erased");
    match AgentEvent::from_payload(&event.event_type, event.schema_version, bytes) {
        Ok(AgentEvent::ApprovalRequested(said)) => said,
        other => panic!("{other:?}"),
    }
}

fn sha256(text: &str) -> Digest {
    Digest(Hash::sha256(text.as_bytes()).0)
}
