//! A turn belongs to one session, a call to the session that proposed it, and only events of turns make turns.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::events::{
    LlmResponded, MessageReceived, Role, ToolCompensated, ToolCompleted, ToolFailed, ToolProposed,
    ToolStarted, TurnCommitted, TurnFailed, TurnOpened, TurnStarted, TurnTrigger,
};
use ruche_domain::ids::LedgerId;
use ruche_domain::measures::Cost;
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::world::{Fresh, World};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::select::PageRequest;
use crate::tool_effects::{self, EffectFilter, EffectState, ToolEffect};
use crate::turns::{self, Turn, TurnFilter, TurnStatus};
use crate::usage::{self, Dimension, UsageFilter};

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
    let page = turns::list(world.reads(), ledger, &filter, &request).await;
    page.expect("it can be read").items()
}

/// The turns after these events, which are the same for every size of batch and after a rebuild.
pub(super) async fn turns_of(fresh: Fresh, events: &[PreparedEvent]) -> Vec<Turn> {
    let mut expected: Option<Vec<Turn>> = None;
    for batch in [1, 2, 3, 100] {
        let world = World::new(fresh).await;
        let ledger = world.feed.open(1).await;
        world.feed.append(ledger, events.to_vec()).await;
        let runner = world.runner().batch_events_max(batch);
        runner.catch_up(ledger).await.expect("nothing fails here");
        let turns = all(&world, ledger).await;
        let report = world
            .models
            .rebuild(
                world.feed_store(),
                OnDifference::Keep,
                &RebuildProgress::default(),
            )
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

pub async fn events_of_another_session_leave_a_turn_alone(fresh: Fresh) {
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
    let alone = turns_of(fresh, &events).await;
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
    assert_eq!(turns_of(fresh, &mixed).await, alone);
    // In between they change nothing but where the records of the turn stand.
    let mut between: Vec<_> = events[..2].to_vec();
    between.extend(of_b);
    between.extend_from_slice(&events[2..]);
    let got = turns_of(fresh, &between).await;
    let [got] = &got[..] else { panic!("{got:?}") };
    assert_eq!((got.session, got.status), (Some(a), TurnStatus::Committed));
    assert_eq!((&got.tally, &got.costs), (&alone[0].tally, &alone[0].costs));
    assert_eq!((got.attempt_count, got.opened_by), (0, Some(TurnTrigger::User)));
}

pub async fn only_events_of_turns_make_turns(fresh: Fresh) {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    let turn = story.turn_id(session, 0);
    story.enter(session);
    story.enter_call(turn, story.call_id(turn));
    let early = [
        story.event(MessageReceived::new(Role::User)),
        story.event(responded()),
    ];
    assert_eq!(turns_of(fresh, &early).await, []);
    // What came before the turn is not counted in it, however events are cut into batches.
    let mut events = early.to_vec();
    events.push(story.event(TurnOpened::new(TurnTrigger::User)));
    events.push(story.event(responded()));
    let turns = turns_of(fresh, &events).await;
    assert_eq!(turns.len(), 1);
    assert_eq!((turns[0].tally.events, turns[0].tally.messages), (2, 0));
    assert_eq!(turns[0].costs[0].known, 1);
}

/// The effects after these events, and the tools of their usage with their results and errors.
async fn effects_of(fresh: Fresh, events: &[PreparedEvent]) -> (Vec<ToolEffect>, Vec<(String, i64, i64)>) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events.to_vec()).await;
    let caught_up = world.runner().catch_up(ledger).await;
    caught_up.expect("nothing fails here");
    let (filter, request) = (EffectFilter::default(), PageRequest::first(100));
    let page = tool_effects::list(world.reads(), ledger, &filter, &request).await;
    let usage = usage::by(world.reads(), ledger, &[Dimension::Tool], &UsageFilter::default()).await;
    let tools = usage.expect("it can be read").into_iter().map(|row| {
        let tool = row.key.tool.expect("it was asked for");
        (tool, row.tally.tool_results, row.tally.tool_errors)
    });
    (page.expect("it can be read").items(), tools.collect())
}

/// What session B says of a call of session A: `of_a` asks for it and tells its result.
struct TwoSessions {
    of_a: Vec<PreparedEvent>,
    of_b: Vec<PreparedEvent>,
}

fn two_sessions(of_b: impl FnOnce(&mut Story) -> Vec<PreparedEvent>) -> TwoSessions {
    let mut story = Story::new(1);
    let (a, b) = (story.session_id(1), story.session_id(2));
    let turn = story.turn_id(a, 0);
    let call = story.call_id(turn);
    story.enter(a);
    story.enter_call(turn, call);
    let of_a = vec![
        story.event(ToolProposed::new("refund".to_owned(), "{}".to_owned())),
        story.event(ToolStarted::new("refund".to_owned())),
        story.event(ToolCompleted {
            result: Some("done".to_owned()),
            ..ToolCompleted::default()
        }),
    ];
    story.enter(b);
    story.enter_call(turn, call);
    let of_b = of_b(&mut story);
    TwoSessions { of_a, of_b }
}

pub async fn what_another_session_says_of_a_call_leaves_it_alone(fresh: Fresh) {
    let TwoSessions { of_a, of_b } = two_sessions(|story| {
        vec![
            story.event(ToolProposed::new("harmless".to_owned(), "[]".to_owned())),
            story.event(ToolStarted::new("harmless".to_owned())),
            story.event(ToolFailed::default()),
            story.event(ToolCompensated::default()),
        ]
    });
    let (alone, _) = effects_of(fresh, &of_a).await;
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0].status, EffectState::Completed);
    let (after, tools) = effects_of(fresh, &[of_a.clone(), of_b.clone()].concat()).await;
    assert_eq!(after, alone);
    // The other session's events count for what it says itself, and take nothing from the tool of the call.
    assert!(tools.contains(&("refund".to_owned(), 1, 0)), "{tools:?}");
    assert!(tools.contains(&("harmless".to_owned(), 0, 1)), "{tools:?}");
    let (between, tools) = effects_of(fresh, &[&of_a[..1], &of_b[..], &of_a[1..]].concat()).await;
    assert!(tools.contains(&("refund".to_owned(), 1, 0)), "{tools:?}");
    let [got] = &between[..] else {
        panic!("{between:?}")
    };
    assert_eq!(
        (got.session, got.status, got.tool.as_deref(), got.attempts),
        (alone[0].session, EffectState::Completed, Some("refund"), 1)
    );
    assert_eq!((&got.result, &got.error), (&alone[0].result, &None));
}

pub async fn a_proposal_takes_a_call_from_who_named_it_without_proposing_it(fresh: Fresh) {
    let TwoSessions { of_a, of_b } = two_sessions(|story| {
        vec![
            story.event(ToolStarted::new("harmless".to_owned())),
            story.event(ToolFailed::default()),
        ]
    });
    let (alone, _) = effects_of(fresh, &of_a).await;
    let (before, _) = effects_of(fresh, &[of_b, of_a].concat()).await;
    let [got] = &before[..] else { panic!("{before:?}") };
    assert_eq!(
        (got.session, got.status),
        (alone[0].session, EffectState::Completed)
    );
    assert_eq!(
        (&got.tool, got.attempts, &got.error_type, &got.result),
        (&alone[0].tool, 1, &None, &alone[0].result)
    );
}

pub async fn a_proposal_keeps_what_its_own_session_said_before_it(fresh: Fresh) {
    let TwoSessions { of_a, .. } = two_sessions(|_| Vec::new());
    let (effects, _) = effects_of(fresh, &[of_a[1].clone(), of_a[0].clone()]).await;
    let [got] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((got.attempts, got.started_position.is_some()), (1, true));
}
