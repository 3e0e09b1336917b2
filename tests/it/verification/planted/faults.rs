//! The faults: one for each rule about turns, calls and approvals, and for ways around it.

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::InfraKeyRegistered;
use ruche_domain::ids::{TenantId, TurnId};
use ruche_domain::measures::Digest;
use ruche_ledger::dsse::PrivateKey;
use ruche_ledger::verify::FindingKind::{self, *};
use ruche_ledger::vote::{key_id, key_stream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::work::Work;

/// A fault: its name, what is found first, how it is planted (giving where it is found), and what follows from it.
pub type Fault = (
    &'static str,
    FindingKind,
    fn(&mut Work) -> usize,
    &'static [FindingKind],
);

pub const FAULTS: &[Fault] = &[
    (
        "a turn that was not opened",
        IllegalTransition,
        |work| {
            let at = work.at("turn.opened", 1);
            work.remove(at);
            at
        },
        &[],
    ),
    (
        "a claim of a turn that is not ready",
        IllegalTransition,
        |work| {
            let at = work.at("turn.readied", 1);
            work.remove(at);
            work.at("turn.started", 1)
        },
        &[],
    ),
    (
        "an attempt that nobody began",
        IllegalTransition,
        |work| {
            let at = work.at("turn.started", 1);
            work.remove(at);
            work.at("tool.proposed", 1)
        },
        &[],
    ),
    (
        "something behind the end of a turn",
        IllegalTransition,
        |work| {
            let like = work.at("turn.committed", 0);
            work.insert(work.end(), like, Some(("turn.cancelled", json!({}))))
        },
        &[],
    ),
    (
        "a second turn that holds the lane",
        IllegalTransition,
        |work| {
            let like = work.at("turn.started", 2);
            let opened = work.insert(
                work.end(),
                like,
                Some(("turn.opened", json!({ "trigger": "user" }))),
            );
            work.0[opened].leaf.event.turn = Some(TurnId(Uuid::from_u128(77)));
            let sealed = json!({ "message_ids": [], "reason": "flush" });
            work.insert(opened + 1, opened, Some(("turn.sealed", sealed)));
            let readied = json!({ "attempt": 1, "not_before": 0 });
            work.insert(opened + 2, opened, Some(("turn.readied", readied)))
        },
        &[],
    ),
    (
        "a commit with a call under way",
        IllegalTransition,
        |work| {
            let at = work.at("tool.completed", 1);
            work.remove(at);
            work.at("turn.committed", 0)
        },
        &[],
    ),
    (
        "a call that nobody asked policy about",
        IllegalTransition,
        |work| {
            let at = work.at("policy.evaluated", 1);
            work.remove(at);
            work.at("tool.started", 1)
        },
        &[],
    ),
    (
        "a start that leaves its business key out",
        IllegalTransition,
        |work| {
            work.say(work.at("tool.started", 1), |said| {
                for member in ["idempotency_key", "business_key_id", "generation"] {
                    said[member] = Value::Null;
                }
            })
        },
        &[],
    ),
    (
        "an outcome that comes twice",
        IllegalTransition,
        |work| {
            let like = work.at("tool.completed", 1);
            work.insert(like + 1, like, None)
        },
        &[],
    ),
    (
        "a cancellation behind a commit point",
        IllegalTransition,
        |work| {
            let at = work.at("tool.completed", 0);
            work.insert(at + 1, at, Some(("turn.cancel_requested", json!({}))))
        },
        &[],
    ),
    (
        "an outcome without a start",
        EffectWithoutIntent,
        |work| {
            let at = work.at("tool.started", 1);
            work.remove(at);
            work.at("tool.completed", 1)
        },
        &[],
    ),
    (
        "an outcome before its start",
        EffectWithoutIntent,
        |work| {
            let (start, end) = (work.at("tool.started", 1), work.at("tool.completed", 1));
            work.0.swap(start, end);
            start
        },
        &[IllegalTransition],
    ),
    (
        "a second start of one attempt",
        AttemptOutOfOrder,
        |work| {
            let like = work.at("tool.started", 1);
            work.insert(work.at("tool.completed", 1) + 1, like, None)
        },
        &[],
    ),
    (
        "an attempt that is skipped",
        AttemptOutOfOrder,
        |work| work.say(work.at("turn.started", 1), |said| said["attempt"] = json!(3)),
        &[],
    ),
    (
        "an outcome of another attempt",
        AttemptOutOfOrder,
        |work| work.say(work.at("tool.completed", 1), |said| said["attempt"] = json!(2)),
        &[],
    ),
    (
        "a lease whose number does not rise",
        LeaseOutOfOrder,
        |work| work.say(work.at("turn.started", 1), |said| said["lease_epoch"] = json!(1)),
        &[],
    ),
    (
        "a heartbeat under an old lease",
        LeaseOutOfOrder,
        |work| {
            let at = work.at("turn.committed", 0) - 1;
            work.say(at, |said| said["lease_epoch"] = json!(1))
        },
        &[],
    ),
    (
        "a lease that was taken before it lapsed",
        LeaseOutOfOrder,
        |work| {
            let at = work.at("turn.started", 1);
            let expired = json!({ "resource": "turn", "lease_epoch": 2 });
            work.insert(at + 1, at, Some(("infra.lease_expired", expired)))
        },
        &[],
    ),
    (
        "a gap in a stream",
        StreamBroken,
        |work| {
            let at = work.at("turn.committed", 0);
            work.0[at].skips = true;
            at
        },
        &[],
    ),
    (
        "an effect that used up no approval",
        EffectWithoutApproval,
        |work| {
            let at = work.at("approval.consumed", 0);
            work.remove(at);
            at
        },
        &[],
    ),
    (
        "an approval used in another append than the start",
        EffectWithoutApproval,
        |work| {
            let at = work.at("approval.consumed", 0);
            work.0[at].append = u64::MAX;
            at + 1
        },
        &[],
    ),
    (
        "an effect under a weaker word",
        EffectWithoutApproval,
        |work| {
            let at = work.at("approval.consumed", 0);
            work.remove(at);
            work.say(at, |said| said["side_effect"] = json!("pure"))
        },
        &[],
    ),
    (
        "another tool than was signed for",
        EffectWithoutApproval,
        |work| {
            work.say(work.at("tool.started", 0), |said| {
                said["name"] = json!("delete_all")
            })
        },
        &[],
    ),
    (
        "other arguments than were signed for",
        EffectWithoutApproval,
        |work| {
            work.say(work.at("tool.started", 0), |said| {
                said["args_digest"] = json!("00".repeat(32))
            })
        },
        &[],
    ),
    (
        "an approval used twice",
        ApprovalUsedTwice,
        |work| {
            let like = work.at("approval.consumed", 0);
            work.insert(work.at("turn.attempt_failed", 0), like, None)
        },
        &[],
    ),
    (
        "an approval of another action",
        ApprovalMisused,
        |work| {
            let other = json!("00".repeat(32));
            work.say(work.at("approval.consumed", 0), |said| {
                said["action_digest"] = other
            })
        },
        &[EffectWithoutApproval],
    ),
    (
        "an approval whose key was revoked before the start",
        ApprovalMisused,
        |work| revoke(work, "approval.consumed") + 1,
        &[EffectWithoutApproval],
    ),
    (
        "a vote under a key that was revoked before",
        VoteInvalid,
        |work| revoke(work, "approval.voted") + 1,
        &[DecisionWithoutVote],
    ),
    (
        "a vote that says otherwise than is signed",
        VoteInvalid,
        |work| {
            work.say(work.at("approval.voted", 0), |said| {
                said["decision"] = json!("reject")
            })
        },
        &[DecisionWithoutVote],
    ),
    (
        "a decision without a vote",
        DecisionWithoutVote,
        |work| {
            let at = work.at("approval.voted", 0);
            work.remove(at);
            at
        },
        &[],
    ),
    (
        "a request that is settled twice",
        IllegalTransition,
        |work| {
            let like = work.at("approval.consumed", 0);
            let lapsed = json!({ "expired_at": 0 });
            work.insert(work.end(), like, Some(("approval.expired", lapsed)))
        },
        &[],
    ),
    (
        "a request that shows something else",
        RequestMismatch,
        |work| {
            work.say(work.at("approval.requested", 1), |said| {
                said["arguments"] = json!("{ }")
            })
        },
        &[],
    ),
    (
        "a reviewer's key of another tenant",
        ReviewerKeyInvalid,
        |work| {
            let key = PrivateKey::from_seed(&[7; 32]);
            let public = key.public();
            let possession = KeyPossession::new(TenantId(Uuid::from_u128(1)), "bob", *public.as_bytes());
            let possession = possession.expect("a name").to_bytes();
            let proof = key
                .sign(POSSESSION_TYPE, &possession)
                .expect("a document")
                .to_json();
            let said =
                InfraKeyRegistered::new(key_id(&public), "bob".into(), Digest(*public.as_bytes()), proof);
            let said: AgentEvent = said.into();
            let said = serde_json::from_slice(&said.to_payload()).expect("JSON");
            let like = work.at("infra.key.registered", 0);
            let at = work.insert(work.end(), like, Some(("infra.key.registered", said)));
            work.0[at].leaf.event.stream = key_stream(key_id(&public));
            at
        },
        &[],
    ),
    (
        "an event that cannot be read",
        PayloadMalformed,
        |work| {
            let at = work.at("turn.started", 1);
            work.set(at, b"[]".to_vec());
            at
        },
        &[],
    ),
    (
        "a start that never said anything",
        PayloadMalformed,
        |work| {
            let at = work.at("tool.started", 0);
            work.0[at].leaf.payload.clear();
            work.0[at].payload.clear();
            at
        },
        &[],
    ),
];

/// Revokes the reviewer's key in front of the first event of a type, and gives where.
fn revoke(work: &mut Work, before: &str) -> usize {
    let like = work.at("infra.key.registered", 0);
    let bytes = work.0[like].payload[0].bytes().expect("nothing was erased");
    let said: Value = serde_json::from_slice(bytes).expect("JSON");
    let revoked = json!({ "key_id": said["key_id"] });
    work.insert(work.at(before, 0), like, Some(("infra.key.revoked", revoked)))
}
