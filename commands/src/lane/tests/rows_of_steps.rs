//! Rows 36 and 37: steps.

use ruche_domain::event::AgentEvent;
use ruche_domain::limits::STEPS_PER_TURN_MAX;

use super::world::{World, step, step_done};
use crate::lane::*;

fn start(world: &World, number: u8) -> Intent {
    Intent::StartStep(world.held(step(number)))
}

fn complete(world: &World, number: u8) -> Intent {
    Intent::CompleteStep(world.held(step_done(number)))
}

#[test]
fn row_37_a_step_is_completed_once_and_by_the_attempt_that_began_it() {
    let mut world = World::queueing();
    let turn = world.processing();
    assert_eq!(
        world.refused(complete(&world, 1)),
        Rejection::NoSuch { thing: "step" }
    );
    assert_eq!(world.when(start(&world, 1)), ["turn.step_started"]);
    assert_eq!(world.rows, [36]);
    assert_eq!(world.blocked(start(&world, 1)), Obstacle::StepBegun);
    assert_eq!(world.when(complete(&world, 1)), ["turn.step_completed"]);
    assert_eq!(world.rows, [37]);
    assert_eq!(world.blocked(complete(&world, 1)), Obstacle::StepCompleted);
    assert_eq!(world.blocked(start(&world, 1)), Obstacle::StepCompleted);
    world.when(start(&world, 2));

    // Another attempt finds the first step done, and has to begin the second one anew.
    world.when(world.fail(true));
    world.wait(1_000_000_000);
    let claim = world.claim();
    world.when(claim);
    assert_eq!(world.blocked(start(&world, 1)), Obstacle::StepCompleted);
    assert_eq!(world.blocked(complete(&world, 2)), Obstacle::StepNotBegun);
    world.when(start(&world, 2));
    let steps = &world.lane.turn(turn).expect("the turn").steps;
    let attempts: Vec<_> = steps
        .values()
        .map(|step| (step.attempt, step.is_completed))
        .collect();
    assert_eq!(attempts, [(1, true), (2, false)]);
    let last = world.log.last().expect("an event");
    assert!(
        matches!(&last.fact, AgentEvent::TurnStepStarted(started) if started.attempt == 2),
        "{last:?}"
    );
}

#[test]
fn row_36_a_stranger_and_a_turn_that_is_over_begin_no_step() {
    let mut world = World::queueing();
    world.processing();
    let mut held = world.held(step(1));
    held.lease.epoch += 1;
    assert!(matches!(
        world.refused(Intent::StartStep(held.clone())),
        Rejection::LeaseLost { .. }
    ));
    let commit = world.commit();
    world.when(commit);
    assert!(matches!(
        world.refused(Intent::StartStep(held)),
        Rejection::IllegalTransition { .. }
    ));
}

#[test]
fn row_36_a_turn_has_so_many_steps_and_no_more() {
    let mut world = World::queueing();
    world.processing();
    for number in 0..STEPS_PER_TURN_MAX {
        let step_id = number.to_string();
        let begun = Intent::StartStep(world.held(StartStep { step_id, name: None }));
        world.when(begun);
    }
    assert_eq!(world.refused(start(&world, 1)), Rejection::TooManySteps);
}
