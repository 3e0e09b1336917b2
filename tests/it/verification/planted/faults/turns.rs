//! Faults of turns: their transitions, attempts and leases.

use ruche_domain::ids::TurnId;
use ruche_domain::numbers::Micros;
use ruche_ledger::verify::FindingKind::*;
use serde_json::json;
use uuid::Uuid;

use super::{Fault, Takes};

/// A turn that a message opened, and that did nothing but answer.
const ANSWERED: Takes = Takes::Turn(
    &[
        "turn.opened",
        "turn.sealed",
        "turn.readied",
        "turn.started",
        "turn.committed",
        "message.sent",
    ],
    &["tool.proposed"],
);

pub const TURNS: &[Fault] = &[
    Fault {
        name: "a turn that was not opened",
        takes: ANSWERED,
        plant: |work, of| work.remove(of.at(work, "turn.opened")),
        found: &[(IllegalTransition, "turn.sealed")],
    },
    Fault {
        name: "a claim of a turn that is not ready",
        takes: ANSWERED,
        plant: |work, of| work.remove(of.at(work, "turn.readied")),
        found: &[(IllegalTransition, "turn.started")],
    },
    Fault {
        name: "a claim before its time",
        takes: ANSWERED,
        plant: |work, of| {
            let at = of.at(work, "turn.started");
            work.records[at].leaf.event.occurred_at = Micros(0);
        },
        found: &[(IllegalTransition, "turn.started")],
    },
    Fault {
        name: "an attempt that nobody began",
        takes: ANSWERED,
        plant: |work, of| work.remove(of.at(work, "turn.started")),
        found: &[(IllegalTransition, "turn.committed")],
    },
    Fault {
        name: "something behind the end of a turn",
        takes: ANSWERED,
        plant: |work, of| {
            let like = of.at(work, "turn.committed");
            work.insert(work.end(), like, Some(("turn.cancelled", json!({}))));
        },
        found: &[(IllegalTransition, "turn.cancelled")],
    },
    Fault {
        name: "a second turn that holds the lane",
        takes: ANSWERED,
        plant: |work, of| {
            let like = of.at(work, "turn.started");
            let sealed = json!({ "message_ids": [], "reason": "flush" });
            let second = [
                ("turn.opened", json!({ "trigger": "user" })),
                ("turn.sealed", sealed),
                ("turn.readied", json!({ "attempt": 1, "not_before": 0 })),
                ("turn.cancelled", json!({})),
            ];
            for (behind, said) in second.into_iter().enumerate() {
                let at = work.insert(work.behind(like) + behind, like, Some(said));
                work.records[at].leaf.event.turn = Some(TurnId(Uuid::from_u128(77)));
            }
        },
        found: &[(IllegalTransition, "turn.readied")],
    },
    Fault {
        name: "an attempt that is skipped",
        takes: ANSWERED,
        plant: |work, of| {
            work.say(of.at(work, "turn.started"), |said| said["attempt"] = json!(3));
        },
        found: &[(AttemptOutOfOrder, "turn.started")],
    },
    Fault {
        name: "an attempt behind one that did not fail",
        takes: Takes::Turn(&["turn.attempt_failed", "turn.committed"], &[]),
        plant: |work, of| work.remove(of.at(work, "turn.attempt_failed")),
        found: &[(IllegalTransition, "turn.readied")],
    },
    Fault {
        name: "a lease whose number does not rise",
        takes: ANSWERED,
        plant: |work, of| {
            work.say(of.at(work, "turn.started"), |said| {
                said["lease_epoch"] = json!(said["lease_epoch"].as_u64().expect("a number") - 1);
            });
        },
        found: &[(LeaseOutOfOrder, "turn.started")],
    },
    Fault {
        name: "a lease that is renewed under an old number",
        takes: Takes::Turn(&["turn.started", "infra.lease_renewed"], &[]),
        plant: |work, of| {
            work.say(of.at(work, "infra.lease_renewed"), |said| {
                said["lease_epoch"] = json!(said["lease_epoch"].as_u64().expect("a number") - 1);
            });
        },
        found: &[(LeaseOutOfOrder, "infra.lease_renewed")],
    },
    Fault {
        name: "a lease that was taken away before it lapsed",
        takes: Takes::Turn(&["infra.lease_expired", "turn.opened"], &[]),
        plant: |work, of| {
            let (at, opened) = (of.at(work, "infra.lease_expired"), of.at(work, "turn.opened"));
            work.records[at].leaf.event.occurred_at = work.records[opened].leaf.event.occurred_at;
        },
        found: &[(LeaseOutOfOrder, "infra.lease_expired")],
    },
    Fault {
        name: "a commit by who does not hold the lease",
        takes: ANSWERED,
        plant: |work, of| {
            let at = of.at(work, "turn.committed");
            work.records[at].leaf.event.actor.reference = Some(Uuid::from_u128(78));
        },
        found: &[(LeaseOutOfOrder, "turn.committed")],
    },
    Fault {
        name: "an event that cannot be read",
        takes: ANSWERED,
        plant: |work, of| work.set(of.at(work, "turn.started"), b"[]".to_vec()),
        found: &[(PayloadMalformed, "turn.started")],
    },
];
