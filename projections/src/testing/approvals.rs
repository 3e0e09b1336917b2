//! Requests that people decide on, and their keys.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::{InfraKeyRegistered, InfraKeyRevoked};
use ruche_domain::events::{
    ApprovalConsumed, ApprovalDecision, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested,
    ApprovalResolved, ApprovalRule, ApprovalStale, ApprovalVoted, StaleCause,
};
use ruche_domain::ids::{ApprovalId, CallId, LedgerId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::erased::Erased;
use super::world::{Fresh, World};
use crate::approvals::{self, ApprovalFilter, RequestStatus};
use crate::change::SqlValue;
use crate::runner::Runner;
use crate::select::PageRequest;

fn id(number: u8) -> ApprovalId {
    ApprovalId::from_bytes([number; 16])
}

fn key(number: u8) -> StreamId {
    StreamId::new(Category::Key, id(number).0)
}

fn on(story: &mut Story, stream: StreamId, fact: impl Into<AgentEvent>) -> PreparedEvent {
    let mut event = story.event(fact.into());
    event.event.stream = stream;
    event
}

fn of(story: &mut Story, number: u8, fact: impl Into<AgentEvent>) -> PreparedEvent {
    on(story, StreamId::new(Category::Approval, id(number).0), fact)
}

fn requested(story: &mut Story, number: u8) -> PreparedEvent {
    let rule = ApprovalRule::new(1);
    let expires_at = Micros(u64::from(number));
    let mut said = ApprovalRequested::new(Digest([number; 32]), rule, expires_at, ApprovalMode::Blocking);
    said.tool_name = Some("refund".to_owned());
    said.agent_id = Some("shop".to_owned());
    of(story, number, said)
}

fn voted(story: &mut Story, number: u8, decision: ApprovalDecision) -> PreparedEvent {
    let digest = Digest([number; 32]);
    let said = ApprovalVoted::new(
        "alice".to_owned(),
        decision,
        "k".to_owned(),
        "{}".to_owned(),
        digest,
        digest,
    );
    of(story, number, said)
}

/// Requests 1 to 6: open, used, expired, open, rejected, stale. The first three are of session 0, the others of session 1.
async fn world(fresh: Fresh) -> (World, LedgerId, Story) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let mut events = Vec::new();
    for number in 1..=6 {
        let session = story.session_id(u64::from(number > 3));
        story.enter(session);
        events.push(requested(&mut story, number));
    }
    let session = story.session_id(0);
    story.enter(session);
    events.push(voted(&mut story, 2, ApprovalDecision::Approve));
    events.push(of(
        &mut story,
        2,
        ApprovalResolved::new(ApprovalOutcome::Approved),
    ));
    let call = CallId::from_bytes([2; 16]);
    events.push(of(
        &mut story,
        2,
        ApprovalConsumed::new("t".to_owned(), call, Digest([2; 32])),
    ));
    events.push(of(&mut story, 3, ApprovalExpired::new(Micros(3))));
    events.push(voted(&mut story, 5, ApprovalDecision::Reject));
    events.push(of(
        &mut story,
        5,
        ApprovalResolved::new(ApprovalOutcome::Rejected),
    ));
    events.push(of(&mut story, 6, ApprovalStale::new(vec![StaleCause::Policy])));
    world.feed.append(ledger, events).await;
    let caught_up = world.runner().catch_up(ledger).await;
    caught_up.expect("nothing fails here");
    (world, ledger, story)
}

async fn listed(world: &World, ledger: LedgerId, filter: &ApprovalFilter, first: usize) -> Vec<u8> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest::first(first).after(after);
        let page = approvals::list(world.reads(), ledger, filter, &page).await;
        let page = page.expect("it can be read");
        (after, found) = (page.end(), [found, page.rows.clone()].concat());
        if !page.has_next {
            return found.iter().map(|(_, approval)| approval.as_bytes()[0]).collect();
        }
    }
}

pub async fn those_that_are_open_come_first_and_the_oldest_of_them(fresh: Fresh) {
    let (world, ledger, story) = world(fresh).await;
    let all = ApprovalFilter::default();
    for first in [1, 2, 4, 10] {
        assert_eq!(listed(&world, ledger, &all, first).await, [1, 4, 2, 3, 5, 6]);
    }
    let status = |status: &[RequestStatus]| ApprovalFilter {
        status: status.to_vec(),
        ..ApprovalFilter::default()
    };
    let open = status(&[RequestStatus::Requested]);
    assert_eq!(listed(&world, ledger, &open, 10).await, [1, 4]);
    let over = status(&[RequestStatus::Consumed, RequestStatus::Stale]);
    assert_eq!(listed(&world, ledger, &over, 10).await, [2, 6]);
    let of_session = ApprovalFilter {
        status: vec![],
        session: Some(story.session_id(1)),
        ..ApprovalFilter::default()
    };
    assert_eq!(listed(&world, ledger, &of_session, 10).await, [4, 5, 6]);
    let decided = |by: &str, decision| ApprovalFilter {
        decided_by: Some(by.to_owned()),
        decision,
        ..ApprovalFilter::default()
    };
    let no = Some(ApprovalDecision::Reject);
    assert_eq!(listed(&world, ledger, &decided("alice", None), 10).await, [2, 5]);
    assert_eq!(listed(&world, ledger, &decided("alice", no), 10).await, [5]);
    assert!(listed(&world, ledger, &decided("bob", None), 10).await.is_empty());

    let sql = "SELECT tool, status, decision, decided_by, consumed_position FROM approval \
        WHERE ledger = $1 ORDER BY position";
    let rows = world
        .reads()
        .query(sql, vec![SqlValue::Id(*ledger.as_bytes())])
        .await;
    let rows = rows.expect("it can be read");
    let text = |text: &str| SqlValue::Text(text.to_owned());
    let consumed_at = crate::event::pack(Position::new(1, 9)).expect("a small position");
    assert_eq!(
        rows[1],
        [
            text("refund"),
            text("consumed"),
            text("approve"),
            text("alice"),
            SqlValue::Int(consumed_at)
        ]
    );
    assert_eq!(
        rows[4],
        [
            text("refund"),
            text("rejected"),
            text("reject"),
            text("alice"),
            SqlValue::Null
        ]
    );
}

/// That a request was decided, used or lapsed stands in the name of the event; how it was decided does not.
pub async fn a_decision_that_was_erased_is_still_one(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let session = story.session_id(0);
    story.enter(session);
    let mut events = vec![
        requested(&mut story, 1),
        requested(&mut story, 2),
        requested(&mut story, 3),
    ];
    for number in [1, 2] {
        events.push(of(
            &mut story,
            number,
            ApprovalResolved::new(ApprovalOutcome::Approved),
        ));
    }
    let (call, digest) = (CallId::from_bytes([2; 16]), Digest([2; 32]));
    events.push(of(
        &mut story,
        2,
        ApprovalConsumed::new("t".to_owned(), call, digest),
    ));
    events.push(of(&mut story, 3, ApprovalExpired::new(Micros(3))));
    world.feed.append(ledger, events).await;
    let runner = Runner::new(Arc::new(Erased(world.feed_store())), world.read_store());
    runner.catch_up(ledger).await.expect("nothing fails here");
    for (status, expected) in [
        (RequestStatus::Requested, &[][..]),
        (RequestStatus::Decided, &[1]),
        (RequestStatus::Consumed, &[2]),
        (RequestStatus::Expired, &[3]),
    ] {
        let filter = ApprovalFilter {
            status: vec![status],
            ..ApprovalFilter::default()
        };
        assert_eq!(listed(&world, ledger, &filter, 10).await, expected, "{status:?}");
    }
}

/// What is open, and what is approved and not used, starts nothing in another epoch. What is settled stays as it is, and what is
/// asked for there is open; what the end of such a request is recorded as later counts.
pub async fn what_an_epoch_leaves_open_is_stale_in_the_next(fresh: Fresh) {
    let (world, ledger, mut story) = world(fresh).await;
    let approved = ApprovalResolved::new(ApprovalOutcome::Approved);
    let events = vec![requested(&mut story, 7), of(&mut story, 7, approved)];
    world.feed.append(ledger, events).await;
    world.feed.goes_on(ledger).await;
    let events = vec![
        requested(&mut story, 8),
        of(&mut story, 4, ApprovalExpired::new(Micros(4))),
    ];
    world.feed.append(ledger, events).await;
    world.runner().catch_up(ledger).await.expect("nothing fails here");
    for (status, expected) in [
        (RequestStatus::Requested, &[8][..]),
        (RequestStatus::Approved, &[]),
        (RequestStatus::Stale, &[1, 6, 7]),
        (RequestStatus::Expired, &[3, 4]),
        (RequestStatus::Consumed, &[2]),
        (RequestStatus::Rejected, &[5]),
    ] {
        let filter = ApprovalFilter {
            status: vec![status],
            ..ApprovalFilter::default()
        };
        assert_eq!(listed(&world, ledger, &filter, 10).await, expected, "{status:?}");
    }
}

pub async fn a_key_is_listed_with_where_it_came_and_went(fresh: Fresh) {
    let (world, ledger, mut story) = world(fresh).await;
    let digest = |number| Digest([number; 32]);
    let registered = |number| {
        InfraKeyRegistered::new(
            digest(number),
            format!("r-{number}"),
            digest(number),
            "{}".to_owned(),
        )
    };
    let mut events = Vec::new();
    for number in [8, 7] {
        events.push(on(&mut story, key(number), registered(number)));
    }
    for _ in 0..2 {
        events.push(on(&mut story, key(8), InfraKeyRevoked::new(digest(8))));
    }
    world.feed.append(ledger, events).await;
    world.runner().catch_up(ledger).await.expect("nothing fails here");
    let page = approvals::keys(world.reads(), ledger, &PageRequest::first(10)).await;
    let keys = page.expect("it can be read").items();
    let told: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key.reviewer.as_str(),
                key.registered_position,
                key.revoked_position,
            )
        })
        .collect();
    let at = |index| Position::new(1, index);
    assert_eq!(told, [("r-8", at(14), Some(at(16))), ("r-7", at(15), None)]);
    assert_eq!(keys[0].key_id, digest(8));
    assert_eq!(keys[0].public_key, digest(8));
}
