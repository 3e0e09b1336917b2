//! Payloads that somebody changed in the database, between the vote and the start. What was signed does not change with them.

use std::sync::Arc;

use ruche_ledger::memory::MemoryStore;
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::Record;
use ruche_ledger::testing::FixedClock;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::testing::{NoObjection, TEST_NOW, TestLedger};
use crate::tests::faults::scripted::Scripted;

const EVIL: &str = r#"{ "order": 8 }"#;

/// A call that a reviewer approved, with the store that it stands in.
async fn approved() -> (World, CallId, Arc<Scripted>) {
    let clock = Arc::new(FixedClock::at(TEST_NOW.0));
    let store = Arc::new(Scripted::new(Arc::new(MemoryStore::new(clock.clone()))));
    let mut ledger = TestLedger::on(store.clone(), clock, Arc::new(NoObjection)).await;
    ledger.context.user = Some(Arc::from("bob"));
    let world = World::in_ledger(Arc::new(ledger), "api", "ann").await;
    let call = world.proposed("a", "charge_card", "7").await;
    world.decided("b", call, ApprovalOutcome::Approved).await;
    (world, call, store)
}

/// Changes what the records of a type say.
fn say(record: &mut Record, event_type: &str, change: impl FnOnce(&mut Value)) {
    if record.leaf.event.event_type != event_type {
        return;
    }
    let StoredFragment::Present { bytes, .. } = &mut record.payload[0] else {
        panic!("nothing was erased");
    };
    let mut said = serde_json::from_slice(bytes).unwrap();
    change(&mut said);
    *bytes = serde_json::to_vec(&said).unwrap();
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn arguments(record: &mut Record) {
    say(record, "tool.proposed", |said| said["arguments"] = json!(EVIL));
}

/// With the digest of the arguments beside them.
fn arguments_and_digest(record: &mut Record) {
    say(record, "tool.proposed", |said| {
        (said["arguments"], said["args_digest"]) = (json!(EVIL), json!(sha256(EVIL)));
    });
}

fn request(record: &mut Record) {
    say(record, "approval.requested", |said| {
        said["arguments"] = json!(EVIL)
    });
}

/// Everything that the records say of the action is that of another one. The reviewer's signature is not.
fn all_digests(record: &mut Record) {
    let other = json!("ab".repeat(32));
    for event_type in ["tool.proposed", "approval.requested", "approval.voted"] {
        say(record, event_type, |said| said["action_digest"] = other.clone());
    }
    arguments_and_digest(record);
    request(record);
}

fn reviewer(record: &mut Record) {
    say(record, "approval.voted", |said| {
        said["key_id"] = json!("ab".repeat(32))
    });
}

fn lapses_later(record: &mut Record) {
    say(record, "approval.requested", |said| {
        said["expires_at"] = json!(u64::MAX >> 1)
    });
}

/// A change of records, how the start is refused, and why the approval is over.
type Case = (&'static str, fn(&mut Record), StartRefusal, StaleCause);

#[tokio::test]
async fn what_is_not_what_was_signed_does_not_start() {
    let cases: [Case; 6] = [
        ("arguments", arguments, StartRefusal::Stale, StaleCause::Action),
        (
            "digest",
            arguments_and_digest,
            StartRefusal::Stale,
            StaleCause::Action,
        ),
        ("request", request, StartRefusal::Stale, StaleCause::Action),
        ("all", all_digests, StartRefusal::Stale, StaleCause::Action),
        ("expiry", lapses_later, StartRefusal::Stale, StaleCause::Action),
        (
            "reviewer",
            reviewer,
            StartRefusal::RevokedKey,
            StaleCause::ReviewerKey,
        ),
    ];
    for (name, alter, expected, cause) in cases {
        let (world, call, store) = approved().await;
        *store.altered.lock().unwrap() = Some(Box::new(alter));
        let (refused, facts) = world.start_is_refused("c", call).await;
        assert_eq!(refused.code(), "ILLEGAL_TRANSITION", "{name}");
        assert_eq!(names(&facts), ["approval.stale", "tool.start_refused"], "{name}");
        assert_eq!(refusal(&facts), expected, "{name}");
        let AgentEvent::ApprovalStale(stale) = &facts[0] else {
            panic!("{name}");
        };
        assert_eq!(stale.what_changed, [cause], "{name}");
    }
    let (world, call, _) = approved().await;
    world.send("c", &world.start(call)).await.unwrap();
}

/// Whose the credential of the agent is may be known since the vote only.
#[tokio::test]
async fn who_starts_a_call_is_not_who_approved_it() {
    for (user, is_refused) in [(None, false), (Some("carol"), false), (Some("alice"), true)] {
        let (world, call, _) = approved().await;
        let before = world.ledger.size().await;
        let mut context = world.ledger.context.with_key("c");
        context.user = user.map(Arc::from);
        let started = world.ledger.commands.execute(&context, &world.start(call)).await;
        assert_eq!(started.is_err(), is_refused, "{user:?}");
        let Err(refused) = started else { continue };
        assert!(
            refused
                .to_string()
                .ends_with("the reviewer is who asked, or who starts it"),
            "{refused}"
        );
        let facts = world.facts_from(before).await;
        assert_eq!(names(&facts), ["approval.stale", "tool.start_refused"]);
        assert_eq!(refusal(&facts), StartRefusal::Stale);
        let AgentEvent::ApprovalStale(stale) = &facts[0] else {
            panic!("{facts:?}");
        };
        assert_eq!(stale.what_changed, [StaleCause::Requester]);
    }
}

/// Who is who is known differently by the time of the start: whoever asked registered the key.
#[tokio::test]
async fn a_reviewer_who_turns_out_to_be_who_asked_approved_nothing() {
    for user in ["alice", "bob"] {
        let (world, call, store) = approved().await;
        let registered: fn(&mut Record) = match user {
            "bob" => |record| {
                say(record, "infra.key.registered", |said| {
                    said["registered_by"] = json!("bob")
                })
            },
            _ => |record| {
                say(record, "infra.key.registered", |said| {
                    said["registered_by"] = json!("carol")
                })
            },
        };
        *store.altered.lock().unwrap() = Some(Box::new(registered));
        if user == "bob" {
            let (_, facts) = world.start_is_refused("c", call).await;
            assert_eq!(refusal(&facts), StartRefusal::Stale);
        } else {
            world.send("c", &world.start(call)).await.unwrap();
        }
    }
}
