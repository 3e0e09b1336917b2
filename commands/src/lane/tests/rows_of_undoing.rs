//! Rows 20, 21 and 34, and row 32 of what could not be undone: effects are undone in order, each in its time.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::AssertedOutcome;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::{EffectStatus, World, start_undoing};
use crate::lane::*;

#[test]
fn row_20_once_all_is_undone_the_turn_is_over() {
    let mut world = World::cancelling();
    let old = world.processing();
    let first = world.completed(SideEffectPolicy::Compensatable);
    let second = world.completed(SideEffectPolicy::Compensatable);
    let message = world.message();
    world.when(message);
    assert_eq!(world.when(world.undone(second)), ["tool.compensated"]);
    assert_eq!(
        world.when(world.undone(first)),
        ["tool.compensated", "turn.superseded"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(old)),
        (&[20][..], TurnState::Superseded)
    );
}

#[test]
fn row_21_what_cannot_be_undone_fails_the_turn_and_calls_a_person() {
    let mut world = World::cancelling();
    let old = world.processing();
    let call = world.completed(SideEffectPolicy::Compensatable);
    let message = world.message();
    world.when(message);
    for _ in 1..5 {
        assert_eq!(world.when(world.not_undone(call)), ["tool.compensation_failed"]);
    }
    let types = world.when(world.not_undone(call));
    assert_eq!(
        types,
        [
            "tool.compensation_failed",
            "infra.manual_intervention_required",
            "turn.failed"
        ]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(old)),
        (&[21][..], TurnState::Failed)
    );
    let AgentEvent::TurnFailed(failed) = &world.log.last().unwrap().fact else {
        panic!("not failed")
    };
    assert_eq!(
        (failed.error_type.as_str(), failed.compensation_complete),
        ("compensation_failed", Some(false))
    );
}

/// Three effects; the second cannot be undone. The others are undone all the same, and a person is called for the one.
#[test]
fn row_21_what_cannot_be_undone_keeps_nothing_else_from_being_undone() {
    let mut world = World::cancelling();
    world.settings.compensation_attempts_max = 1;
    let old = world.processing();
    let calls = [0; 3].map(|_| world.completed(SideEffectPolicy::Compensatable));
    let message = world.message();
    world.when(message);
    world.when(world.undone(calls[2]));
    assert_eq!(
        world.when(world.not_undone(calls[1])),
        ["tool.compensation_failed", "infra.manual_intervention_required"]
    );
    assert_eq!(
        (world.rows.as_slice(), world.state(old)),
        (&[21][..], TurnState::Compensating)
    );
    assert_eq!(
        world.blocked(world.assert_outcome(calls[1], AssertedOutcome::Completed)),
        Obstacle::CallNotThere,
        "a person says so once the turn is over"
    );
    assert_eq!(
        world.when(world.undone(calls[0])),
        ["tool.compensated", "turn.failed"]
    );
    assert_eq!(world.state(old), TurnState::Failed, "and not superseded");
    let status = calls.map(|call| world.status(call).expect("started"));
    let [undone, stuck] = [EffectStatus::Compensated, EffectStatus::CompensationFailed];
    assert_eq!(status, [undone, stuck, undone]);
}

/// Nobody undoes anything: each effect has its time, one after the other, and a person is called for each.
#[test]
fn row_21_each_effect_has_its_time() {
    let mut world = World::queueing();
    let turn = world.processing();
    let calls = [0; 2].map(|_| world.completed(SideEffectPolicy::Compensatable));
    world.when(world.cancel(turn));
    let mut called = Vec::new();
    for _ in calls {
        world.wait(599_999_999);
        let early = world.fire();
        assert!(matches!(world.refused(early), Rejection::NothingDue { .. }));
        world.wait(1);
        let fire = world.fire();
        assert!(world.when(fire).contains(&"infra.manual_intervention_required"));
        called.extend(world.log.iter().rev().find_map(|event| match &event.fact {
            AgentEvent::InfraManualInterventionRequired(required) => required.call_id,
            _ => None,
        }));
    }
    assert_eq!(called, [calls[1], calls[0]]);
    assert_eq!(world.state(turn), TurnState::Failed);
}

#[test]
fn row_21_undoing_has_an_end() {
    let mut world = World::cancelling();
    let old = world.processing();
    world.completed(SideEffectPolicy::Compensatable);
    let message = world.message();
    world.when(message);
    world.when(Intent::FlushTurn { turn: world.last() });
    world.wait(600_000_000);
    let fire = world.fire();
    world.when(fire);
    assert_eq!(
        (world.rows.as_slice(), world.state(old)),
        (&[21, 7][..], TurnState::Failed)
    );
}

#[test]
fn row_32_what_could_not_be_undone_is_settled_by_a_person_when_the_turn_is_over() {
    let mut world = World::cancelling();
    world.settings.compensation_attempts_max = 1;
    let old = world.processing();
    let stuck = world.completed(SideEffectPolicy::Compensatable);
    let message = world.message();
    world.when(message);
    world.when(world.not_undone(stuck));
    assert_eq!(
        (world.state(old), world.status(stuck)),
        (TurnState::Failed, Some(EffectStatus::CompensationFailed))
    );
    let assert = world.assert_outcome(stuck, AssertedOutcome::NotExecuted);
    assert_eq!(world.when(assert), ["tool.outcome_asserted"]);
    assert_eq!(world.status(stuck), Some(EffectStatus::Failed));
}

#[test]
fn row_34_nothing_is_undone_without_a_start_and_starts_are_bounded() {
    let mut world = World::queueing();
    let turn = world.processing();
    let call = world.completed(SideEffectPolicy::Compensatable);
    assert!(world.ask(start_undoing(call)).is_err(), "its turn goes on");
    world.when(world.cancel(turn));
    assert_eq!(world.state(turn), TurnState::Compensating);
    assert_eq!(world.blocked(world.undone(call)), Obstacle::CallNotThere);
    for _ in 0..world.settings.compensation_attempts_max {
        assert_eq!(world.when(start_undoing(call)), ["tool.compensation_started"]);
        assert_eq!(world.rows, [34]);
    }
    assert_eq!(world.blocked(start_undoing(call)), Obstacle::TriesUsedUp);
    let failed = world.ask(world.not_undone(call)).unwrap();
    assert!(failed.events.len() > 1, "the tries that nobody reported count");
    let done = world.ask(world.undone(call)).unwrap();
    assert_eq!(done.lane.turn(turn).unwrap().state, TurnState::Cancelled);
}

#[test]
fn row_34_the_last_effect_is_undone_first() {
    let mut world = World::queueing();
    world.settings.compensation_attempts_max = 2;
    let turn = world.processing();
    let first = world.completed(SideEffectPolicy::Compensatable);
    let second = world.completed(SideEffectPolicy::Compensatable);
    world.when(world.cancel(turn));
    let due = Obstacle::UndoneLater { due: second };
    assert_eq!(world.blocked(start_undoing(first)), due);
    assert!(due.words().contains(&second.to_string()), "{}", due.words());
    world.when(world.not_undone(second));
    assert_eq!(world.blocked(start_undoing(first)), due, "it is not settled");
    world.when(world.not_undone(second));
    assert_eq!(
        world.when(start_undoing(first)),
        ["tool.compensation_started"],
        "it was given up"
    );
}

#[test]
fn row_34_nobody_starts_another_try_in_the_time_of_one() {
    let mut world = World::queueing();
    let turn = world.processing();
    let call = world.completed(SideEffectPolicy::Compensatable);
    world.when(world.cancel(turn));
    let try_until = |world: &World, us: u64| {
        let Intent::StartCompensation(mut start) = start_undoing(call) else {
            unreachable!()
        };
        start.started.lapses_at = Some(Micros(world.now.0 + us));
        Intent::StartCompensation(start)
    };
    let first = try_until(&world, 60_000_000);
    world.when(first);
    let second = try_until(&world, 60_000_000);
    assert_eq!(world.blocked(second.clone()), Obstacle::BeingUndone);
    world.wait(59_999_999);
    assert_eq!(world.blocked(second.clone()), Obstacle::BeingUndone);
    world.wait(1);
    assert_eq!(world.when(second), ["tool.compensation_started"]);
    // Once it is said that the try failed, another may follow at once.
    let failed = world.not_undone(call);
    let decided = world.ask(failed).unwrap();
    world.take(decided);
    assert!(world.ask(try_until(&world, 1)).is_ok());
    // The first try is reported late: the effect is undone, whatever the second came to.
    let done = world.ask(world.undone(call)).unwrap();
    assert_eq!(done.lane.turn(turn).unwrap().state, TurnState::Cancelled);
}
