//! The attempts at turns.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::events::{
    InfraLeaseExpired, TurnAttemptFailed, TurnCancelled, TurnCommitted, TurnFailed, TurnOpened, TurnReadied,
    TurnStarted, TurnSuperseded, TurnTrigger,
};
use ruche_domain::ids::{LedgerId, TurnId};
use ruche_domain::numbers::Micros;
use ruche_ledger::store::PreparedEvent;

use super::erased::Erased;
use super::workers::told;
use super::world::{Fresh, World};
use super::{START_US, Story};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::runner::Runner;
use crate::turn_attempts::{self, AttemptOutcome, TurnAttempt};

const LAPSED: Micros = Micros(START_US + 1);
const RETRY: Micros = Micros(START_US + 2);
const TURNS: u64 = 5;

fn started(attempt: u32) -> TurnStarted {
    TurnStarted {
        lease_epoch: Some(10 + u64::from(attempt)),
        brain_build: Some(format!("b-{attempt}")),
        ..TurnStarted::new(attempt)
    }
}

fn failed(attempt: u32, retry_at: Option<Micros>) -> TurnAttemptFailed {
    TurnAttemptFailed {
        error: Some("no answer".to_owned()),
        retry_at,
        ..TurnAttemptFailed::new(attempt, "model_down".to_owned())
    }
}

/// Turns of a session that came to each end, and a stranger who speaks of the first.
fn turns(story: &mut Story) -> (Vec<TurnId>, Vec<PreparedEvent>) {
    let (session, strange) = (story.session_id(1), story.session_id(2));
    story.enter(session);
    let turns: Vec<TurnId> = (0..TURNS).map(|n| story.turn_id(session, n)).collect();
    let mut events = Vec::new();
    for (n, turn) in turns.iter().enumerate() {
        story.enter_call(*turn, story.call_id(*turn));
        events.push(story.event(TurnOpened::new(TurnTrigger::User)));
        events.push(story.event(started(1)));
        if n == 0 {
            events.push(story.event(failed(1, Some(RETRY))));
            events.push(story.event(TurnReadied::new(2, RETRY)));
            events.push(story.event(started(2)));
            let mut lapsed = InfraLeaseExpired::new(turn.to_string(), 12);
            lapsed.expired_at = Some(LAPSED);
            events.push(story.event(lapsed));
            events.push(story.event(TurnReadied::new(3, RETRY)));
            events.push(story.event(started(3)));
        }
        let successor = turns[0];
        events.extend(match n {
            0 => vec![story.event(TurnCommitted::default())],
            1 => vec![
                story.event(failed(1, None)),
                story.event(TurnFailed::new("gave_up".to_owned())),
            ],
            2 => vec![story.event(TurnCancelled {
                reason: Some("by mistake".to_owned()),
                ..TurnCancelled::default()
            })],
            3 => vec![story.event(TurnSuperseded::new(successor))],
            _ => vec![],
        });
    }
    story.enter(strange);
    story.enter_call(turns[4], story.call_id(turns[4]));
    events.push(story.event(started(2)));
    events.push(story.event(TurnCommitted::default()));
    (turns, events)
}

async fn of(world: &World, ledger: LedgerId, turn: TurnId) -> Vec<TurnAttempt> {
    let attempts = turn_attempts::of_turn(world.reads(), ledger, turn).await;
    attempts.expect("it can be read")
}

type Told<'a> = (
    u64,
    Option<AttemptOutcome>,
    Option<&'a str>,
    Option<&'a str>,
    Option<Micros>,
);

fn ends(attempts: &[TurnAttempt]) -> Vec<Told<'_>> {
    let end = |attempt: &TurnAttempt| attempt.ended_at.is_some() == attempt.outcome.is_some();
    assert!(attempts.iter().all(end), "{attempts:?}");
    let told = attempts.iter().map(|attempt| {
        let (error_type, error) = (attempt.error_type.as_deref(), attempt.error.as_deref());
        (
            attempt.number,
            attempt.outcome,
            error_type,
            error,
            attempt.retry_at,
        )
    });
    told.collect()
}

pub async fn each_attempt_at_a_turn_says_who_tried_and_how_it_ended(fresh: Fresh) {
    use AttemptOutcome::{Cancelled, Committed, Failed, LeaseLapsed, Superseded};
    let (turns, events) = turns(&mut Story::new(1));
    for batch in [1, 3, 100] {
        let (world, ledger) = told(fresh, events.clone(), batch).await;
        let first = of(&world, ledger, turns[0]).await;
        let (word, error) = (Some("model_down"), Some("no answer"));
        assert_eq!(
            ends(&first),
            [
                (1, Some(Failed), word, error, Some(RETRY)),
                (2, Some(LeaseLapsed), None, None, None),
                (3, Some(Committed), None, None, None)
            ]
        );
        assert_eq!(first[1].ended_at, Some(LAPSED), "and not when it was noticed");
        let who = |attempt: &TurnAttempt| (attempt.lease_epoch, attempt.brain_build.clone(), attempt.worker);
        let worker = Some(uuid::Uuid::from_u128(5));
        assert_eq!(who(&first[2]), (Some(13), Some("b-3".to_owned()), worker));
        let expected = [
            (1, (1, Some(Failed), word, error, None)),
            (2, (1, Some(Cancelled), None, Some("by mistake"), None)),
            (3, (1, Some(Superseded), None, None, None)),
            (4, (1, None, None, None, None)),
        ];
        for (n, expected) in expected {
            assert_eq!(ends(&of(&world, ledger, turns[n]).await), [expected], "turn {n}");
        }
    }
}

pub async fn an_attempt_whose_payloads_are_gone_is_still_one(fresh: Fresh) {
    let (turns, events) = turns(&mut Story::new(1));
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events).await;
    let feed: Arc<dyn ruche_ledger::store::EventStore> = Arc::new(Erased(world.feed_store()));
    let runner = Runner::new(feed.clone(), world.read_store());
    runner.catch_up(ledger).await.expect("nothing fails here");
    let rebuilt = world
        .models
        .rebuild(feed, OnDifference::Keep, &RebuildProgress::default())
        .await;
    assert_eq!(rebuilt.expect("it is rebuilt").differences, []);
    let first = of(&world, ledger, turns[0]).await;
    let outcomes = [
        AttemptOutcome::Failed,
        AttemptOutcome::LeaseLapsed,
        AttemptOutcome::Committed,
    ];
    let expected = (1..)
        .zip(outcomes)
        .map(|(n, outcome)| (n, Some(outcome), None, None, None));
    assert_eq!(ends(&first), expected.collect::<Vec<_>>());
    assert!(
        first.iter().all(|attempt| attempt.lease_epoch.is_none()),
        "{first:?}"
    );
}
