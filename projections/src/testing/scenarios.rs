//! Scenarios: told in order, out of order, and twice.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ScenarioAbandoned, ScenarioCheckpointPassed, ScenarioCompleted, ScenarioEntered, ScenarioMigrated,
    ScenarioStepEntered, ScenarioStepExited,
};
use ruche_domain::ids::{LedgerId, SessionId};
use ruche_ledger::store::EventStore;

use super::Story;
use super::erased::Erased;
use super::world::{Fresh, World};
use crate::runner::Runner;
use crate::scenarios::{self, Passage, PassageKind, Scenario, ScenarioFilter, ScenarioStatus};
use crate::select::PageRequest;

fn entered(version: &str) -> AgentEvent {
    ScenarioEntered {
        version: Some(version.to_owned()),
        ..ScenarioEntered::new("refund".to_owned())
    }
    .into()
}

fn step(step: &str) -> AgentEvent {
    ScenarioStepEntered::new("refund".to_owned(), step.to_owned()).into()
}

fn exited(step: &str, outcome: &str) -> AgentEvent {
    ScenarioStepExited {
        outcome: Some(outcome.to_owned()),
        duration_us: Some(7),
        ..ScenarioStepExited::new("refund".to_owned(), step.to_owned())
    }
    .into()
}

fn passed(checkpoint: &str) -> AgentEvent {
    ScenarioCheckpointPassed::new("refund".to_owned(), checkpoint.to_owned()).into()
}

fn migrated(version: &str, step: &str) -> AgentEvent {
    ScenarioMigrated {
        to_step_id: Some(step.to_owned()),
        ..ScenarioMigrated::new("refund".to_owned(), version.to_owned())
    }
    .into()
}

fn completed() -> AgentEvent {
    ScenarioCompleted {
        outcome: Some("paid".to_owned()),
        ..ScenarioCompleted::new("refund".to_owned())
    }
    .into()
}

/// A ledger in which a session tells this, all of it projected.
async fn told(world: &World, facts: Vec<AgentEvent>) -> (LedgerId, SessionId) {
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    let session = story.session_id(1);
    story.enter(session);
    let events = facts.into_iter().map(|fact| story.event(fact)).collect();
    world.feed.append(ledger, events).await;
    world.runner().catch_up(ledger).await.unwrap();
    (ledger, session)
}

async fn list(world: &World, ledger: LedgerId, filter: &ScenarioFilter) -> Vec<Scenario> {
    let page = scenarios::list(world.reads(), ledger, filter, &PageRequest::first(10)).await;
    page.unwrap().items()
}

/// What an instance went through, read two by two.
async fn history(world: &World, ledger: LedgerId, of: &Scenario) -> Vec<Passage> {
    let mut all = Vec::new();
    let mut request = PageRequest::first(2);
    loop {
        let instance = (of.session, of.scenario.as_str(), of.first_position);
        let page = scenarios::history(world.reads(), ledger, instance, &request)
            .await
            .unwrap();
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items());
        if !has_next {
            return all;
        }
    }
}

/// Kinds and names, and whether a step was left.
fn short(history: &[Passage]) -> Vec<(&'static str, &str, bool)> {
    let one = |passage: &'_ Passage| (passage.kind.name(), passage.left_at.is_some());
    history
        .iter()
        .map(|passage| (one(passage).0, passage.name.as_str(), one(passage).1))
        .collect()
}

pub async fn a_scenario_tells_where_it_stands_and_what_it_went_through(fresh: Fresh) {
    let world = World::new(fresh).await;
    let facts = vec![
        entered("1"),
        step("ask"),
        exited("ask", "told"),
        step("check"),
        passed("identified"),
        migrated("2", "look"),
        step("pay"),
    ];
    let (ledger, session) = told(&world, facts).await;
    let filter = ScenarioFilter {
        session: Some(session),
        status: Some(ScenarioStatus::Active),
        step: Some("pay".to_owned()),
        scenario: Some("refund".to_owned()),
    };
    let [refund] = &list(&world, ledger, &filter).await[..] else {
        panic!("one")
    };
    assert_eq!(
        (refund.version.as_deref(), refund.step.as_deref()),
        (Some("2"), Some("pay"))
    );
    assert_eq!(refund.ended_at, None);
    let history = history(&world, ledger, refund).await;
    let expected = [
        ("step", "ask", true),
        ("step", "check", true),
        ("checkpoint", "identified", false),
        ("migration", "2", false),
        ("step", "look", true),
        ("step", "pay", false),
    ];
    assert_eq!(short(&history), expected);
    assert_eq!(
        (history[0].outcome.as_deref(), history[0].duration_us),
        (Some("told"), Some(7))
    );
    assert_eq!(
        history[1].left_position,
        Some(history[3].position),
        "the migration leaves the step"
    );
    assert_eq!(history[3].position, history[4].position);
    assert!(history[0].position < history[1].position && refund.first_position < history[0].position);
    assert_eq!(refund.last_position, history[5].position);
    let other = ScenarioFilter {
        step: Some("ask".to_owned()),
        ..ScenarioFilter::default()
    };
    assert_eq!(list(&world, ledger, &other).await, []);
}

pub async fn a_scenario_that_is_over_is_another_one_when_it_is_entered_again(fresh: Fresh) {
    let world = World::new(fresh).await;
    let abandoned = ScenarioAbandoned {
        reason: Some("hung up".to_owned()),
        ..ScenarioAbandoned::new("refund".to_owned())
    };
    let facts = vec![
        entered("1"),
        step("ask"),
        completed(),
        // What comes behind the end is kept and changes nothing of it.
        step("late"),
        completed(),
        entered("2"),
        // It is under way already.
        entered("3"),
        step("pay"),
        abandoned.into(),
    ];
    let (ledger, _) = told(&world, facts).await;
    let all = list(&world, ledger, &ScenarioFilter::default()).await;
    let [first, second] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(
        (first.status, first.outcome.as_deref()),
        (ScenarioStatus::Completed, Some("paid"))
    );
    assert_eq!(first.step.as_deref(), Some("ask"));
    let steps = history(&world, ledger, first).await;
    assert_eq!(
        steps.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["ask", "late"]
    );
    assert_eq!(first.ended_at, steps[0].left_at, "the first end counts");
    assert_eq!(
        (second.status, second.version.as_deref()),
        (ScenarioStatus::Abandoned, Some("2"))
    );
    assert_eq!(second.end_reason.as_deref(), Some("hung up"));
    let steps = history(&world, ledger, second).await;
    assert_eq!(short(&steps), [("step", "pay", true)]);
}

pub async fn a_scenario_told_out_of_order_and_twice_is_one(fresh: Fresh) {
    let world = World::new(fresh).await;
    let facts = vec![
        step("ask"),
        entered("1"),
        entered("1"),
        step("check"),
        // The end of a step that another one followed, of one that nobody began, and the same end again.
        exited("ask", "told"),
        exited("ask", "told"),
        exited("nothing", "odd"),
        passed("identified"),
    ];
    let (ledger, _) = told(&world, facts).await;
    let [refund] = &list(&world, ledger, &ScenarioFilter::default()).await[..] else {
        panic!("one")
    };
    assert_eq!(
        (refund.version.as_deref(), refund.step.as_deref()),
        (Some("1"), Some("check"))
    );
    let history = history(&world, ledger, refund).await;
    let expected = [
        ("step", "ask", true),
        ("step", "check", false),
        ("checkpoint", "identified", false),
    ];
    assert_eq!(short(&history), expected);
    assert_eq!(history[0].outcome.as_deref(), Some("told"));
    assert_eq!(history[2].kind, PassageKind::Checkpoint);
    assert_eq!(
        refund.first_position, history[0].position,
        "it began with what was told first"
    );
    assert!(
        refund.entered_at > history[0].at,
        "and was entered when that was told"
    );
    assert!(world.rebuilt().await.differences.is_empty());
}

pub async fn a_scenario_whose_payloads_are_gone_is_not_told_of(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    let mut story = Story::new(1);
    story.enter(story.session_id(1));
    let events = vec![story.event(entered("1")), story.event(step("ask"))];
    world.feed.append(ledger, events).await;
    let feed: Arc<dyn EventStore> = Arc::new(Erased(world.feed_store()));
    Runner::new(feed, world.read_store())
        .catch_up(ledger)
        .await
        .unwrap();
    assert!(world.models.dead_letters(ledger).await.unwrap().is_empty());
    assert_eq!(list(&world, ledger, &ScenarioFilter::default()).await, []);
}
