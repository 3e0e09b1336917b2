//! No accepted event stops a projection, however large its numbers are.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::events::LlmResponded;
use ruche_domain::measures::{Cost, Usage};
use ruche_domain::numbers::Position;
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::extremes::{self, Choices};
use super::world::{Fresh, World};
use crate::projection;
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::select::PageRequest;
use crate::{messages, sessions, usage};

/// Sessions with two turns each that hold every extreme event once.
fn told(choices: &[u64], at: u64) -> Vec<PreparedEvent> {
    let mut of = Choices::new(choices);
    let mut story = Story::new(1);
    story.set_time(at);
    let mut events = Vec::new();
    for n in 0..2 {
        let session = story.session_id(n);
        for ordinal in 0..2 {
            story.enter(session);
            let turn = story.turn_id(session, ordinal);
            story.enter_call(turn, story.call_id(turn));
            for event in extremes::events(&mut of) {
                events.push(story.event(event));
            }
        }
    }
    events
}

/// What a random choice of extreme numbers has to pass, at a time and in batches of a size.
pub async fn every_number_is_taken(fresh: Fresh, choices: &[u64], at: u64, batch: usize) {
    check(fresh, told(choices, at), batch).await;
}

/// Projects the events in batches and by a rebuild: nothing is refused, and the rows are the same.
async fn check(fresh: Fresh, events: Vec<PreparedEvent>, batch: usize) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events).await;
    let runner = world.runner().batch_events_max(batch);
    runner.catch_up(ledger).await.expect("it can be projected");
    assert_eq!(
        world.models.dead_letters(ledger).await.expect("it can be read"),
        []
    );
    let end: Position = world.feed.end(ledger).await;
    for projection in projection::all() {
        let status = world
            .models
            .status(ledger, projection.name())
            .await
            .expect("it can be read");
        assert_eq!(status.checkpoint.position, Some(end), "{}", projection.name());
    }
    let report = world
        .models
        .rebuild(
            world.feed_store(),
            OnDifference::Keep,
            &RebuildProgress::default(),
        )
        .await
        .expect("it is rebuilt");
    assert_eq!(report.differences, []);
}

pub async fn every_limit_in_every_field(fresh: Fresh) {
    for choice in 0..16 {
        check(fresh, told(&[choice], u64::MAX), 7).await;
    }
}

pub async fn an_unknown_number_lowers_the_coverage_and_a_known_one_is_added(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let responded = |input, amount: &str| LlmResponded {
        usage: Some(Usage {
            input: Some(input),
            ..Usage::default()
        }),
        cost: Some(Cost::new(amount.parse().unwrap(), "USD".parse().unwrap())),
        ..LlmResponded::default()
    };
    let huge = "9".repeat(40);
    let events = vec![
        story.event(responded(i64::MAX as u64, &huge)),
        story.event(responded(i64::MAX as u64, &huge)),
        story.event(responded(5, "0.25")),
    ];
    world.feed.append(ledger, events).await;
    world.runner().catch_up(ledger).await.unwrap();
    let session = sessions::get(world.reads(), ledger, session)
        .await
        .unwrap()
        .unwrap();
    let input = session.tally.input();
    assert_eq!((input.tokens, input.known, input.calls), (Some(5), 1, 3));
    assert_eq!(session.tally.costs_known, 1);
    assert_eq!(
        (session.costs[0].amount.to_string(), session.costs[0].known),
        ("0.25".to_owned(), 1)
    );
}

/// There are currencies in which a model call costs thousands, and sums of millions of them.
pub async fn costs_of_billions_are_added_up_exactly(fresh: Fresh) {
    // One by one the engine adds and carries; in one batch the runner does.
    for batch in [1, 100] {
        let world = World::new(fresh).await;
        let ledger = world.feed.open(1).await;
        let mut story = Story::new(1);
        let session = story.session_id(1);
        story.enter(session);
        let told = [
            "10000",
            "500",
            "9000000000000",
            "8999999999999.9999999999999999999999999",
            "0.0000000000000000000000001",
            "-0.5",
        ];
        let event = |amount: &str| LlmResponded {
            cost: Some(Cost::new(amount.parse().unwrap(), "VND".parse().unwrap())),
            ..LlmResponded::default()
        };
        let events: Vec<_> = told.iter().map(|amount| story.event(event(amount))).collect();
        world.feed.append(ledger, events).await;
        let runner = world.runner().batch_events_max(batch);
        runner.catch_up(ledger).await.unwrap();
        let session = sessions::get(world.reads(), ledger, session)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(session.tally.costs_known, 6);
        let filter = usage::UsageFilter::default();
        let rows = usage::by(world.reads(), ledger, &[], &filter).await.unwrap();
        for cost in [&session.costs[0], &rows[0].costs[0]] {
            let told = (cost.currency.as_str(), cost.amount.to_string(), cost.known);
            assert_eq!(told, ("VND", "18000000010499.5".to_owned(), 6), "{batch}");
        }
    }
}

pub async fn a_message_with_too_large_a_number_has_none_and_comes_last(fresh: Fresh) {
    use ruche_domain::events::{MessageReceived, Role};
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let events = [u64::MAX, i64::MAX as u64, 4].map(|ordinal| {
        story.event(MessageReceived {
            message_ordinal: Some(ordinal),
            ..MessageReceived::new(Role::User)
        })
    });
    world.feed.append(ledger, events.to_vec()).await;
    world.runner().catch_up(ledger).await.unwrap();
    let page = messages::of_session(world.reads(), ledger, session, &PageRequest::first(10)).await;
    let ordinals: Vec<_> = page.unwrap().items().iter().map(|m| m.ordinal).collect();
    assert_eq!(ordinals, [Some(4), None, None]);
}

/// Costs of several sessions that go into one sum: every part of each is near the next greater one.
pub async fn costs_of_many_sessions_are_carried(fresh: Fresh) {
    for batch in [1, 100] {
        let world = World::new(fresh).await;
        let ledger = world.feed.open(1).await;
        let mut story = Story::new(1);
        let mut events = Vec::new();
        for n in 1..=4 {
            let session = story.session_id(n);
            story.enter(session);
            events.push(story.event(LlmResponded {
                cost: Some(Cost::new(
                    "0.9999999999999999999999999".parse().unwrap(),
                    "USD".parse().unwrap(),
                )),
                ..LlmResponded::default()
            }));
        }
        world.feed.append(ledger, events).await;
        let runner = world.runner().batch_events_max(batch);
        runner.catch_up(ledger).await.unwrap();
        let filter = usage::UsageFilter::default();
        let rows = usage::by(world.reads(), ledger, &[], &filter).await.unwrap();
        let cost = &rows[0].costs[0];
        let told = (cost.amount.to_string(), cost.known);
        assert_eq!(told, ("3.9999999999999999999999996".to_owned(), 4), "{batch}");
    }
}
