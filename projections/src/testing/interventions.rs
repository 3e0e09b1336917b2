//! What people are called for, and in which order.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::event::AgentEvent;
use ruche_domain::events::tool::AssertedOutcome;
use ruche_domain::events::{
    InfraManualInterventionRequired, InfraManualInterventionSettled, ToolCompensated, ToolCompleted,
    ToolOutcomeAsserted, ToolOutcomeUnknown, ToolStarted, TurnCancelled, TurnFailed,
};
use ruche_domain::ids::{CallId, LaneId, LedgerId};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::{EventStore, PreparedEvent};
use std::sync::Arc;
use uuid::Uuid;

use super::Story;
use super::erased::Erased;
use super::workers::told;
use super::world::{Fresh, World};
use crate::interventions::{self, Intervention, InterventionFilter, InterventionKind};
use crate::runner::Runner;
use crate::select::PageRequest;

const LANE: Uuid = Uuid::from_u128(7);

fn call(number: u8) -> CallId {
    CallId::from_bytes([number; 16])
}

/// An event of the lane, about a call if one is named.
fn of(story: &mut Story, about: Option<u8>, fact: impl Into<AgentEvent>) -> PreparedEvent {
    let mut event = story.event(fact);
    event.event.stream = StreamId::new(Category::Lane, LANE);
    event.event.call = about.map(call);
    event
}

fn called(story: &mut Story, about: Option<u8>, reason: &str) -> PreparedEvent {
    of(
        story,
        about,
        InfraManualInterventionRequired::new(reason.to_owned()),
    )
}

/// Calls for people 0 to 6, of which the one about call 3 is settled. The first two are of session 1, the others of 2.
fn events(story: &mut Story) -> Vec<PreparedEvent> {
    let session = story.session_id(1);
    story.enter(session);
    let mut events = vec![
        called(story, None, "attempts_used_up"),
        called(story, Some(1), "compensation_failed"),
    ];
    let session = story.session_id(2);
    story.enter(session);
    events.extend([
        called(story, Some(2), "outcome_unknown"),
        called(story, Some(3), "outcome_unknown"),
        called(story, None, "a word of tomorrow"),
        called(story, Some(5), "compensation_failed"),
        called(story, Some(6), "outcome_unknown"),
    ]);
    let found = AssertedOutcome::Completed;
    let said = ToolOutcomeAsserted::new(found, "ann".to_owned(), "seen".to_owned());
    events.push(of(story, Some(3), said));
    events
}

async fn listed(world: &World, ledger: LedgerId, filter: &InterventionFilter) -> Vec<Intervention> {
    let (mut all, mut request) = (Vec::new(), PageRequest::first(2));
    loop {
        let page = interventions::list(world.reads(), ledger, filter, &request).await;
        let page = page.expect("it can be read");
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items());
        if !has_next {
            return all;
        }
    }
}

/// Record 0 opens the ledger.
fn numbers(all: &[Intervention]) -> Vec<u64> {
    all.iter().map(|one| one.position.index.0 - 1).collect()
}

pub async fn what_waits_most_urgently_comes_first_and_the_oldest_of_it(fresh: Fresh) {
    for batch in [1, 3, 100] {
        let mut story = Story::new(1);
        let (world, ledger) = told(fresh, events(&mut story), batch).await;
        let all = listed(&world, ledger, &InterventionFilter::default()).await;
        assert_eq!(numbers(&all), [2, 6, 1, 5, 4, 0, 3], "batches of {batch}");
        assert_eq!((all[0].call, all[0].lane), (Some(call(2)), LaneId(LANE)));
        let settled = &all[6];
        assert_eq!(settled.settled_position.map(|at| at.index.0), Some(8));
        assert!(settled.settled_at > Some(settled.raised_at));
        let other = &all[4];
        let word = other.reason.as_deref();
        assert_eq!(
            (other.kind, word),
            (InterventionKind::Other, Some("a word of tomorrow"))
        );
        for (filter, expected) in [
            (
                InterventionFilter {
                    settled: Some(false),
                    ..InterventionFilter::default()
                },
                &[2, 6, 1, 5, 4, 0][..],
            ),
            (
                InterventionFilter {
                    settled: Some(true),
                    ..InterventionFilter::default()
                },
                &[3],
            ),
            (
                InterventionFilter {
                    kind: Some(InterventionKind::CompensationFailed),
                    ..InterventionFilter::default()
                },
                &[1, 5],
            ),
            (
                InterventionFilter {
                    session: Some(story.session_id(1)),
                    ..InterventionFilter::default()
                },
                &[1, 0],
            ),
        ] {
            let found = listed(&world, ledger, &filter).await;
            assert_eq!(numbers(&found), expected, "{filter:?}");
        }
    }
}

/// A turn that failed is looked after; its call that is in doubt is not, and neither is another turn.
pub async fn a_turn_that_was_looked_after_is_settled_and_no_call_of_it(fresh: Fresh) {
    for batch in [1, 100] {
        let mut story = Story::new(1);
        let session = story.session_id(1);
        story.enter(session);
        let turn = |story: &Story, number| Some(story.turn_id(session, number));
        let mut events = Vec::new();
        for number in [0, 1] {
            let mut used_up = called(&mut story, None, "attempts_used_up");
            used_up.event.turn = turn(&story, number);
            let mut in_doubt = called(&mut story, Some(1 + number as u8), "compensation_failed");
            in_doubt.event.turn = turn(&story, number);
            events.extend([used_up, in_doubt]);
        }
        let said = InfraManualInterventionSettled::new("ann".to_owned(), "sent again".to_owned());
        let mut said = story.event(said);
        said.event.stream.category = Category::Session;
        said.event.turn = turn(&story, 1);
        events.push(said);
        let (world, ledger) = told(fresh, events, batch).await;
        let all = listed(&world, ledger, &InterventionFilter::default()).await;
        assert_eq!(numbers(&all), [1, 3, 0, 2], "batches of {batch}");
        let settled = all
            .iter()
            .map(|one| one.settled_position.map(|at| at.index.0 - 1));
        assert_eq!(settled.collect::<Vec<_>>(), [None, None, None, Some(4)]);
    }
}

pub async fn a_call_for_a_person_whose_payload_is_gone_is_still_one(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events(&mut Story::new(1))).await;
    let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
    let runner = Runner::new(feed, world.read_store());
    runner.catch_up(ledger).await.expect("nothing fails here");
    let all = listed(&world, ledger, &InterventionFilter::default()).await;
    assert_eq!(numbers(&all), [0, 1, 2, 4, 5, 6, 3]);
    let unnamed = |one: &Intervention| (one.kind, one.reason.as_ref()) == (InterventionKind::Other, None);
    assert!(all.iter().all(unnamed), "{all:?}");
    assert!(
        all[6].settled_position.is_some(),
        "that it is settled is in a name"
    );
}

/// A call that is started in the turn of the story.
fn runs(story: &mut Story, about: u8, side_effect: SideEffectPolicy) -> PreparedEvent {
    let started = ToolStarted {
        side_effect: Some(side_effect),
        ..ToolStarted::new("tool".to_owned())
    };
    of(story, Some(about), started)
}

fn in_doubt(story: &mut Story, about: u8) -> PreparedEvent {
    of(story, Some(about), ToolOutcomeUnknown::new("timeout".to_owned()))
}

pub async fn a_person_is_called_for_what_nobody_else_can_find_out(fresh: Fresh) {
    use SideEffectPolicy::{Compensatable, Idempotent, Irreversible, Pure};
    for batch in [1, 3, 100] {
        let mut story = Story::new(1);
        let session = story.session_id(1);
        story.enter(session);
        let turns = [0, 1].map(|n| story.turn_id(session, n));
        let mut events = Vec::new();
        let enter = |story: &mut Story, turn: usize| {
            story.enter_call(turns[turn], story.call_id(turns[turn]));
        };
        enter(&mut story, 0);
        for (about, side_effect) in [
            (1, Irreversible),
            (2, Idempotent),
            (3, Compensatable),
            (4, Pure),
            (5, Idempotent),
            (6, Irreversible),
        ] {
            events.push(runs(&mut story, about, side_effect));
            events.push(in_doubt(&mut story, about));
        }
        // Records 0 to 11. Of one the turn waits in the end: that is no other call.
        events.push(called(&mut story, Some(1), "outcome_unknown"));
        // One was run again, and one undone: nothing is unknown of them.
        events.push(runs(&mut story, 5, Idempotent));
        events.push(of(&mut story, Some(5), ToolCompleted::default()));
        events.push(of(&mut story, Some(3), ToolCompensated::default()));
        // What is going on in another turn is left to its worker, which runs it again.
        enter(&mut story, 1);
        events.push(runs(&mut story, 7, Idempotent));
        events.push(in_doubt(&mut story, 7));
        enter(&mut story, 0);
        events.push(of(&mut story, None, TurnFailed::new("model_failed".to_owned())));
        let found = AssertedOutcome::NotExecuted;
        let said = ToolOutcomeAsserted::new(found, "ann".to_owned(), "seen".to_owned());
        events.push(of(&mut story, Some(6), said));
        let (world, ledger) = told(fresh, events.clone(), batch).await;
        let all = listed(&world, ledger, &InterventionFilter::default()).await;
        assert_eq!(numbers(&all), [1, 3, 11], "batches of {batch}");
        let about = |at: usize| (all[at].call, all[at].turn, all[at].settled_position.is_some());
        assert_eq!(about(0), (Some(call(1)), Some(turns[0]), false));
        assert_eq!(about(1), (Some(call(2)), Some(turns[0]), false));
        assert_eq!(about(2), (Some(call(6)), Some(turns[0]), true));
        let kinds = all.iter().map(|one| (one.kind, one.reason.as_deref(), one.lane));
        let expected = (InterventionKind::OutcomeUnknown, Some("timeout"), LaneId(LANE));
        assert!(kinds.clone().all(|kind| kind == expected), "{all:?}");
        assert!(
            all[1].raised_at > all[2].raised_at,
            "it was nobody's business before its turn was over"
        );

        enter(&mut story, 1);
        events.push(of(&mut story, None, TurnCancelled::default()));
        let (world, ledger) = told(fresh, events, batch).await;
        let all = listed(&world, ledger, &InterventionFilter::default()).await;
        assert_eq!(numbers(&all), [1, 3, 17, 11], "batches of {batch}");
    }
}

/// Without its payload a start may be of anything, so people are called at once, here for four calls; the story goes on.
pub async fn what_ends_by_itself_calls_nobody_though_its_start_is_gone(fresh: Fresh) {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let turn = story.turn_id(session, 0);
    story.enter_call(turn, story.call_id(turn));
    let mut events = Vec::new();
    for about in 1..=4 {
        events.push(runs(&mut story, about, SideEffectPolicy::Idempotent));
        events.push(in_doubt(&mut story, about));
    }
    events.push(of(&mut story, Some(1), ToolCompleted::default()));
    events.push(of(&mut story, Some(2), ToolCompensated::default()));
    let said = ToolOutcomeAsserted::new(AssertedOutcome::Completed, "ann".to_owned(), "seen".to_owned());
    events.push(of(&mut story, Some(3), said));
    for batch in [1, 3, 100] {
        let world = World::new(fresh).await;
        let ledger = world.feed.open(1).await;
        world.feed.append(ledger, events.clone()).await;
        let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
        let runner = Runner::new(feed, world.read_store()).batch_events_max(batch);
        runner.catch_up(ledger).await.expect("nothing fails here");
        let all = listed(&world, ledger, &InterventionFilter::default()).await;
        let open = |one: &Intervention| (one.call, one.settled_position.is_none());
        let found: Vec<_> = all.iter().map(open).collect();
        let expected = [(Some(call(4)), true), (Some(call(3)), false)];
        assert_eq!(found, expected, "batches of {batch}");
    }
}
