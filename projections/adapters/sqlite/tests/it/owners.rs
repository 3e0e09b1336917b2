//! A turn belongs to one session, and only events of turns make turns.

use ruche_domain::events::{
    LlmResponded, MessageReceived, Role, TurnCommitted, TurnFailed, TurnOpened, TurnStarted, TurnTrigger,
};
use ruche_domain::ids::LedgerId;
use ruche_domain::measures::Cost;
use ruche_ledger::store::PreparedEvent;
use ruche_projections::select::PageRequest;
use ruche_projections::testing::Story;
use ruche_projections::turns::{self, Turn, TurnFilter, TurnStatus};
use ruche_projections_sqlite::OnDifference;

use crate::common::World;

fn responded() -> LlmResponded {
    LlmResponded {
        cost: Some(Cost::new(
            "0.5".parse().expect("a decimal"),
            "USD".parse().expect("three letters"),
        )),
        ..LlmResponded::default()
    }
}

async fn all(world: &World, ledger: LedgerId) -> Vec<Turn> {
    let (filter, request) = (TurnFilter::default(), PageRequest::first(100));
    let page = turns::list(&world.models, ledger, &filter, &request).await;
    page.expect("it can be read").items()
}

/// The turns after these events, which are the same for every size of batch and after a rebuild.
async fn turns_of(events: &[PreparedEvent]) -> Vec<Turn> {
    let mut expected: Option<Vec<Turn>> = None;
    for batch in [1, 2, 3, 100] {
        let world = World::new();
        let ledger = world.feed.open(1).await;
        world.feed.append(ledger, events.to_vec()).await;
        let runner = world.runner().batch_events_max(batch);
        runner.catch_up(ledger).await.expect("nothing fails here");
        let turns = all(&world, ledger).await;
        let report = world
            .models
            .rebuild(world.feed_store(), OnDifference::Keep)
            .await
            .expect("it is rebuilt");
        assert_eq!(report.differences, [], "batches of {batch}");
        assert_eq!(
            *expected.get_or_insert(turns.clone()),
            turns,
            "batches of {batch}"
        );
    }
    expected.expect("there are batches")
}

#[tokio::test]
async fn events_of_another_session_leave_a_turn_alone() {
    let mut story = Story::new(1);
    let (a, b) = (story.session_id(1), story.session_id(2));
    let turn = story.turn_id(a, 0);
    let call = story.call_id(turn);
    let mut events = Vec::new();
    story.enter(a);
    story.enter_call(turn, call);
    events.push(story.event(TurnOpened::new(TurnTrigger::User)));
    events.push(story.event(MessageReceived::new(Role::User)));
    events.push(story.event(responded()));
    events.push(story.event(TurnCommitted::default()));
    let alone = turns_of(&events).await;
    assert_eq!(alone.len(), 1);
    let mut mixed = events.clone();
    story.enter(b);
    story.enter_call(turn, call);
    let of_b = [
        story.event(MessageReceived::new(Role::User)),
        story.event(responded()),
        story.event(TurnStarted::new(2)),
        story.event(TurnOpened::new(TurnTrigger::Schedule)),
        story.event(TurnFailed::new("not_mine".to_owned())),
    ];
    mixed.extend(of_b.clone());
    assert_eq!(turns_of(&mixed).await, alone);
    // In between they change nothing but where the records of the turn stand.
    let mut between: Vec<_> = events[..2].to_vec();
    between.extend(of_b);
    between.extend_from_slice(&events[2..]);
    let got = turns_of(&between).await;
    let [got] = &got[..] else { panic!("{got:?}") };
    assert_eq!((got.session, got.status), (Some(a), TurnStatus::Committed));
    assert_eq!((&got.tally, &got.costs), (&alone[0].tally, &alone[0].costs));
    assert_eq!((got.attempts, got.opened_by), (0, Some(TurnTrigger::User)));
}

#[tokio::test]
async fn only_events_of_turns_make_turns() {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    let turn = story.turn_id(session, 0);
    story.enter(session);
    story.enter_call(turn, story.call_id(turn));
    let early = [
        story.event(MessageReceived::new(Role::User)),
        story.event(responded()),
    ];
    assert_eq!(turns_of(&early).await, []);
    // What came before the turn is not counted in it, however events are cut into batches.
    let mut events = early.to_vec();
    events.push(story.event(TurnOpened::new(TurnTrigger::User)));
    events.push(story.event(responded()));
    let turns = turns_of(&events).await;
    assert_eq!(turns.len(), 1);
    assert_eq!((turns[0].tally.events, turns[0].tally.messages), (2, 0));
    assert_eq!(turns[0].costs[0].known, 1);
}
