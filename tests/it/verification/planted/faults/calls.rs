//! Faults of calls of tools: allowed, started, settled, each attempt once and in order.

use ruche_ledger::verify::FindingKind::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fault, SIGNED_FOR, Takes};

/// A call that nobody had to sign for.
const FREE_CALL: Takes = Takes::Call(
    &[
        "tool.proposed",
        "policy.evaluated",
        "tool.started",
        "tool.completed",
    ],
    &["approval.requested"],
);

pub const CALLS: &[Fault] = &[
    Fault {
        name: "a call that nobody asked policy about",
        takes: FREE_CALL,
        plant: |work, of| work.remove(of.at(work, "policy.evaluated")),
        found: &[(IllegalTransition, "tool.started")],
    },
    Fault {
        name: "a call of a worker who does not hold the lease",
        takes: FREE_CALL,
        plant: |work, of| {
            let at = of.at(work, "tool.started");
            work.records[at].leaf.event.actor.reference = Some(Uuid::from_u128(78));
        },
        found: &[(LeaseOutOfOrder, "tool.started")],
    },
    Fault {
        name: "an outcome without a start",
        takes: FREE_CALL,
        plant: |work, of| work.remove(of.at(work, "tool.started")),
        found: &[(EffectWithoutIntent, "tool.completed")],
    },
    Fault {
        name: "an outcome before its start",
        takes: FREE_CALL,
        plant: |work, of| work.swap(of.at(work, "tool.started"), of.at(work, "tool.completed")),
        found: &[
            (EffectWithoutIntent, "tool.completed"),
            (IllegalTransition, "tool.started"),
        ],
    },
    Fault {
        name: "another word of policy on a call",
        takes: FREE_CALL,
        plant: |work, of| {
            let like = of.at(work, "policy.evaluated");
            work.insert(work.behind(like), like, None);
        },
        found: &[(IllegalTransition, "policy.evaluated")],
    },
    Fault {
        name: "a call that is proposed as less than its tool is",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "tool.proposed"), |said| {
                said["side_effect"] = json!("pure");
            });
        },
        found: &[
            (IllegalTransition, "tool.proposed"),
            (RequestMismatch, "approval.requested"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
    Fault {
        name: "a start that leaves its business key out",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "tool.started"), |said| {
                for member in ["idempotency_key", "business_key_id", "generation"] {
                    said[member] = Value::Null;
                }
            });
        },
        found: &[(IllegalTransition, "tool.started")],
    },
    Fault {
        name: "an outcome that comes twice",
        takes: FREE_CALL,
        plant: |work, of| {
            let like = of.at(work, "tool.completed");
            work.insert(work.behind(like), like, None);
        },
        found: &[(IllegalTransition, "tool.completed")],
    },
    Fault {
        name: "a second start of one attempt",
        takes: FREE_CALL,
        plant: |work, of| {
            let behind = work.behind(of.at(work, "tool.completed"));
            work.insert(behind, of.at(work, "tool.started"), None);
        },
        found: &[(AttemptOutOfOrder, "tool.started")],
    },
    Fault {
        name: "an outcome of another attempt",
        takes: FREE_CALL,
        plant: |work, of| {
            work.say(of.at(work, "tool.completed"), |said| said["attempt"] = json!(2));
        },
        found: &[(AttemptOutOfOrder, "tool.completed")],
    },
    Fault {
        name: "a commit with a call under way",
        takes: Takes::Turn(
            &["tool.proposed", "tool.completed", "turn.committed"],
            &["approval.requested", "tool.failed"],
        ),
        plant: |work, of| work.remove(of.at(work, "tool.completed")),
        found: &[(IllegalTransition, "turn.committed")],
    },
    Fault {
        name: "a cancellation behind a commit point",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let like = of.at(work, "tool.completed");
            let other = ("turn.cancel_requested", json!({}));
            work.insert(work.behind(like), like, Some(other));
        },
        found: &[(IllegalTransition, "turn.cancel_requested")],
    },
    Fault {
        name: "a start that never said anything",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let at = of.at(work, "tool.started");
            work.records[at].leaf.payload.clear();
            work.records[at].payload.clear();
        },
        found: &[(PayloadMalformed, "tool.started")],
    },
];
