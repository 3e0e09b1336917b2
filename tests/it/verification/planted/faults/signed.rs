//! Faults of what people were asked, decided and signed, and of what was done with it.

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE, RequestEnvelope, Statement};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalDecision, InfraKeyRegistered};
use ruche_domain::ids::{ApprovalId, TenantId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::Category;
use ruche_ledger::dsse::PrivateKey;
use ruche_ledger::verify::FindingKind::*;
use ruche_ledger::vote::{RequestPlace, key_id, key_stream, request_facts};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::shown::requested;
use super::super::work::{Planted, Work};
use super::{Fault, SIGNED_FOR, Taken, Takes};

/// Those of one call that was signed for. The script of the documents finds them, too.
pub const SIGNED: &[Fault] = &[
    Fault {
        name: "an effect that used up no approval",
        takes: SIGNED_FOR,
        plant: |work, of| work.remove(of.at(work, "approval.consumed")),
        found: &[(EffectWithoutApproval, "tool.started")],
    },
    Fault {
        name: "an approval used in another append than the start",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let at = of.at(work, "approval.consumed");
            work.records[at].append = work.records[at].mark + (1 << 60);
        },
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
    Fault {
        name: "an effect under a weaker word",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.remove(of.at(work, "approval.consumed"));
            work.say(of.at(work, "tool.started"), |said| {
                said["side_effect"] = json!("pure");
            });
        },
        found: &[(EffectWithoutApproval, "tool.started")],
    },
    Fault {
        name: "another tool than was signed for",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "tool.started"), |said| {
                said["name"] = json!("delete_all");
            });
        },
        found: &[(EffectWithoutApproval, "tool.started")],
    },
    Fault {
        name: "other arguments than were signed for",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "tool.started"), |said| {
                said["args_digest"] = json!("00".repeat(32));
            });
        },
        found: &[(EffectWithoutApproval, "tool.started")],
    },
    Fault {
        name: "an approval used twice",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let like = of.at(work, "approval.consumed");
            work.insert(work.behind(like), like, None);
        },
        found: &[(ApprovalUsedTwice, "approval.consumed")],
    },
    Fault {
        name: "an approval that is used up for nothing",
        takes: SIGNED_FOR,
        plant: |work, of| work.remove(of.at(work, "tool.started")),
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutIntent, "tool.completed"),
        ],
    },
    Fault {
        name: "an effect whose start is taken out with the approval's use",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.remove(of.at(work, "approval.consumed"));
            work.remove(of.at(work, "tool.started"));
        },
        found: &[(EffectWithoutIntent, "tool.completed")],
    },
    Fault {
        name: "a start that stands outside of its lane",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let at = of.at(work, "tool.started");
            work.records[at].leaf.event.stream.category = Category::Observed;
        },
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutApproval, "tool.started"),
            (EffectWithoutIntent, "tool.completed"),
        ],
    },
    Fault {
        name: "an approval used by who brought the vote",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let desk = work.records[of.at(work, "approval.voted")].leaf.event.actor;
            let at = of.at(work, "approval.consumed");
            work.records[at].leaf.event.actor = desk;
        },
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
    Fault {
        name: "an approval of another action",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "approval.consumed"), |said| {
                said["action_digest"] = json!("00".repeat(32));
            });
        },
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
    Fault {
        name: "an approval that had lapsed",
        takes: SIGNED_FOR,
        plant: |work, of| late(work, of, "approval.consumed"),
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
    Fault {
        name: "an approval whose key was revoked before the start",
        takes: Takes::CallOfKey,
        plant: |work, of| revoke(work, of, "approval.consumed"),
        found: &[
            (ApprovalMisused, "approval.consumed"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
    Fault {
        name: "a vote under a key that was revoked before",
        takes: Takes::CallOfKey,
        plant: |work, of| revoke(work, of, "approval.voted"),
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a vote that comes too late",
        takes: SIGNED_FOR,
        plant: |work, of| late(work, of, "approval.voted"),
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a vote that says otherwise than is signed",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "approval.voted"), |said| {
                said["decision"] = json!("reject");
            });
        },
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a vote under a key that nobody registered",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let (at, forger) = (of.at(work, "approval.voted"), PrivateKey::from_seed(&[7; 32]));
            let (_, mut statement) = work.statement(at).expect("a vote of a reviewer");
            statement.key_id = forger.public().id();
            work.sign(at, &statement, &forger);
        },
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a vote under a key that was made for another tenant",
        takes: Takes::CallOfKey,
        plant: |work, of| {
            let vote = work.statement(of.at(work, "approval.voted"));
            let (number, vote) = vote.expect("a vote of a reviewer");
            let (at, reviewers) = (of.at(work, "infra.key.registered"), work.reviewers.clone());
            let proof = proof(&reviewers[number], &vote.reviewer);
            work.say(at, |said| said["proof_of_possession"] = json!(proof));
        },
        found: &[
            (ReviewerKeyInvalid, "infra.key.registered"),
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a vote under a key that stands where no key is registered",
        takes: Takes::CallOfKey,
        plant: |work, of| {
            let at = of.at(work, "infra.key.registered");
            work.records[at].leaf.event.stream.category = Category::Access;
        },
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a vote on another request",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.vote(of.at(work, "approval.voted"), |statement| {
                statement.request.approval_id = ApprovalId(Uuid::from_u128(79));
            });
        },
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a decision without a vote",
        takes: SIGNED_FOR,
        plant: |work, of| work.remove(of.at(work, "approval.voted")),
        found: &[(DecisionWithoutVote, "approval.resolved")],
    },
    Fault {
        name: "a decision that is not what was signed",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let at = of.at(work, "approval.voted");
            work.vote(at, |statement| statement.decision = ApprovalDecision::Reject);
            work.say(at, |said| said["decision"] = json!("reject"));
        },
        found: &[(DecisionWithoutVote, "approval.resolved")],
    },
    Fault {
        name: "a digest that all agree on and that is not the action's",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let other = Digest([0; 32]);
            for event_type in [
                "tool.proposed",
                "policy.evaluated",
                "approval.requested",
                "approval.voted",
                "approval.consumed",
            ] {
                let at = of.at(work, event_type);
                work.say(at, |said| said["action_digest"] = json!(other));
            }
            work.vote(of.at(work, "approval.voted"), |statement| {
                statement.request.action_digest = other;
            });
        },
        found: &[
            (RequestMismatch, "approval.requested"),
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a request that is settled twice",
        takes: SIGNED_FOR,
        plant: |work, of| {
            let like = of.at(work, "approval.consumed");
            let lapsed = ("approval.expired", json!({ "expired_at": 0 }));
            work.insert(work.end(), like, Some(lapsed));
        },
        found: &[(IllegalTransition, "approval.expired")],
    },
    Fault {
        name: "a request that shows something else",
        takes: SIGNED_FOR,
        plant: |work, of| {
            work.say(of.at(work, "approval.requested"), |said| {
                said["arguments"] = json!("{ }");
            });
        },
        found: &[
            (RequestMismatch, "approval.requested"),
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
            (EffectWithoutApproval, "tool.started"),
        ],
    },
];

/// Those of keys and requests that nothing was signed for.
pub const UNSIGNED: &[Fault] = &[
    Fault {
        name: "a decision on a request that had expired",
        takes: Takes::Call(&["approval.requested", "approval.expired"], &["approval.voted"]),
        plant: |work, of| {
            let (said, statement, reviewer) = vote_on(work, of.at(work, "approval.requested"));
            let like = of.at(work, "approval.expired");
            let behind = work.behind(like);
            let voted = work.insert(behind, like, Some(("approval.voted", said)));
            let reviewers = work.reviewers.clone();
            work.sign(voted, &statement, &reviewers[reviewer]);
            let decided = json!({ "outcome": "approved" });
            let resolved = work.insert(behind + 1, like, Some(("approval.resolved", decided)));
            work.records[resolved].append = work.records[voted].append;
        },
        found: &[
            (VoteInvalid, "approval.voted"),
            (DecisionWithoutVote, "approval.resolved"),
        ],
    },
    Fault {
        name: "a reviewer's key of another tenant",
        takes: Takes::Nothing,
        plant: |work, _| {
            let key = PrivateKey::from_seed(&[7; 32]);
            let public = key.public();
            let proof = proof(&key, "bob");
            let said =
                InfraKeyRegistered::new(key_id(&public), "bob".into(), Digest(*public.as_bytes()), proof);
            let said: AgentEvent = said.into();
            let said = serde_json::from_slice(&said.to_payload()).expect("JSON");
            let like = work.at("infra.key.registered", 0);
            let at = work.insert(work.end(), like, Some(("infra.key.registered", said)));
            work.records[at].leaf.event.stream = key_stream(key_id(&public));
        },
        found: &[(ReviewerKeyInvalid, "infra.key.registered")],
    },
];

/// Something happens when the request has expired.
fn late(work: &mut Work, of: &Taken, event_type: &str) {
    let expires_at = work.records[of.at(work, "approval.requested")].said()["expires_at"].as_u64();
    let at = of.at(work, event_type);
    work.records[at].leaf.event.occurred_at = Micros(expires_at.expect("a time"));
}

/// The reviewer's key is revoked in front of the append of an event.
fn revoke(work: &mut Work, of: &Taken, event_type: &str) {
    let like = of.at(work, "infra.key.registered");
    let key = work.records[like].said()["key_id"].clone();
    let front = work.front(of.at(work, event_type));
    let revoked = ("infra.key.revoked", json!({ "key_id": key }));
    work.insert(front, like, Some(revoked));
}

/// Shows that somebody has a key, for another tenant.
fn proof(key: &PrivateKey, reviewer: &str) -> String {
    let other = TenantId(Uuid::from_u128(1));
    let possession = KeyPossession::new(other, reviewer, *key.public().as_bytes());
    let possession = possession.expect("a name").to_bytes();
    let signed = key.sign(POSSESSION_TYPE, &possession);
    signed.expect("a document").to_json()
}

/// What a vote on a request says that was never given: as a real one, on this. Who gives it is told by number.
fn vote_on(work: &Work, request: usize) -> (Value, Statement, usize) {
    let is_untouched = |record: &Planted| {
        let session = record.leaf.event.session;
        record.is("approval.voted") && session.is_some_and(|session| !work.taken.contains(&session))
    };
    let like = work.records.iter().position(is_untouched).expect("a vote");
    let (reviewer, mut statement) = work.statement(like).expect("a vote of a reviewer");
    let (record, asked) = (&work.records[request], requested(work, request));
    let place = RequestPlace {
        origin: record.leaf.origin.clone(),
        position: Position::new(1, record.mark),
        leaf_hash: record.was,
        envelope: RequestEnvelope::of(&record.leaf.event),
    };
    statement.request = request_facts(&place, &asked).expect("a request that can be voted on");
    let mut said = work.records[like].said();
    said["action_digest"] = json!(asked.action_digest);
    said["view_digest"] = json!(asked.view_digest);
    (said, statement, reviewer)
}
