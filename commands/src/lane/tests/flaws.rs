//! Lanes as somebody left them who wrote past the machine: records forged, or gone. Each has the flaw that is named.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{PolicyVerdict, TurnCompensating, TurnStarted};
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::World;
use crate::lane::*;

/// The flaw of a lane that these events make, and how many of the events may have made it.
fn flaw(log: &[LaneEvent]) -> (Option<Flaw>, usize) {
    let mut lane = Lane::default();
    log.iter().for_each(|event| lane.apply(event));
    let flaw = lane.flaw();
    let about = log
        .iter()
        .filter(|event| flaw.is_some_and(|flaw| flaw.is_about(event)));
    (flaw, about.count())
}

fn without(log: &[LaneEvent], is_gone: impl Fn(&LaneEvent) -> bool) -> Vec<LaneEvent> {
    log.iter().filter(|event| !is_gone(event)).cloned().collect()
}

fn with(world: &World, fact: impl Into<AgentEvent>) -> Vec<LaneEvent> {
    let event = LaneEvent {
        at: world.now,
        turn: world.last(),
        call: None,
        approval: None,
        fact: fact.into(),
    };
    world.log.iter().cloned().chain([event]).collect()
}

#[test]
fn a_turn_that_was_opened_twice_or_never_is_a_flaw() {
    let mut world = World::queueing();
    let first = world.processing();
    let message = world.message();
    world.when(message);
    let second = world.last();
    world.when(Intent::FlushTurn { turn: second });
    assert_eq!(world.state(second), TurnState::Queued);
    assert_eq!(flaw(&world.log).0, None);

    let opens = |event: &LaneEvent| matches!(event.fact, AgentEvent::TurnOpened(_));
    let again = world.log.iter().find(|event| opens(event)).cloned();
    let twice: Vec<LaneEvent> = world.log.iter().cloned().chain(again).collect();
    assert_eq!(flaw(&twice).0, Some(Flaw::OpenedTwice(first)));
    let never = without(&world.log, |event| opens(event) && event.turn == second);
    let (found, about) = flaw(&never);
    assert_eq!(found, Some(Flaw::NobodyWaits(second)));
    assert!(about < never.len(), "events of the other turn are not about it");
}

#[test]
fn an_end_that_nobody_named_is_a_flaw() {
    let mut world = World::queueing();
    let turn = world.processing();
    world.completed(SideEffectPolicy::Compensatable);
    let log = with(&world, TurnCompensating::new(vec![]));
    assert_eq!(flaw(&log), (Some(Flaw::NoEnd(turn)), log.len()));
    // One that really winds down has none.
    let cancel = world.cancel(turn);
    world.when(cancel);
    assert_eq!(world.state(turn), TurnState::Compensating);
    assert_eq!(flaw(&world.log).0, None);
}

#[test]
fn numbers_that_nothing_can_follow_are_flaws() {
    let mut world = World::queueing();
    let turn = world.processing();
    let log = with(&world, TurnStarted::new(u32::MAX));
    assert_eq!(flaw(&log).0, Some(Flaw::NoAttempt(turn)));
    let mut started = TurnStarted::new(2);
    started.lease_epoch = Some(u64::MAX);
    assert_eq!(flaw(&with(&world, started)), (Some(Flaw::NoLease), 2));
}

#[test]
fn calls_and_requests_of_nothing_are_flaws() {
    let mut world = World::queueing();
    world.processing();
    let call = world.completed(SideEffectPolicy::Idempotent);
    let opens = |event: &LaneEvent| matches!(event.fact, AgentEvent::TurnOpened(_));
    assert_eq!(
        flaw(&without(&world.log, opens)).0,
        Some(Flaw::CallOfNoTurn(call))
    );

    let mut world = World::queueing();
    world.processing();
    let (call, propose) = world.proposal(SideEffectPolicy::Irreversible, PolicyVerdict::Allow);
    world.when(propose);
    let approval = world.lane.calls[&call].approval.expect("it is asked for");
    let proposes = |event: &LaneEvent| matches!(event.fact, AgentEvent::ToolProposed(_));
    let (found, about) = flaw(&without(&world.log, proposes));
    assert_eq!((found, about), (Some(Flaw::RequestOfNothing(approval)), 1));
}
