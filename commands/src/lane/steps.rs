//! Steps of a turn: parts that a worker does once over all attempts. What is completed is where the next attempt goes on.
//! Rows 36 and 37.

use ruche_domain::events::{TurnStepCompleted, TurnStepStarted};
use ruche_domain::limits::STEPS_PER_TURN_MAX;

use super::draft::Draft;
use super::intent::{CompleteStep, Held, StartStep};
use super::rejection::{Obstacle, Rejection};
use super::state::TurnState;

/// The row of steps that begin.
pub(super) const BEGUN: u8 = 36;
/// The row of steps that are done.
pub(super) const DONE: u8 = 37;

/// A step that an earlier attempt began and did not complete is begun again.
pub(super) fn start(draft: &mut Draft<'_>, held: &Held<StartStep>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing])?;
    let (id, attempt) = (turn.id, turn.attempt);
    let StartStep { step_id, name } = &held.what;
    match turn.steps.get(step_id) {
        Some(step) if step.is_completed => {
            return Err(Rejection::blocked(turn.state, Obstacle::StepCompleted));
        }
        Some(step) if step.attempt == attempt => {
            return Err(Rejection::blocked(turn.state, Obstacle::StepBegun));
        }
        None if turn.steps.len() >= STEPS_PER_TURN_MAX => return Err(Rejection::TooManySteps),
        _ => {}
    }
    draft.row(BEGUN);
    let mut started = TurnStepStarted::new(step_id.clone(), attempt);
    started.name.clone_from(name);
    draft.push(id, started);
    Ok(())
}

/// Only the attempt that began a step completes it, and once: what an earlier one did of it nobody knows.
pub(super) fn complete(draft: &mut Draft<'_>, held: &Held<CompleteStep>) -> Result<(), Rejection> {
    let turn = draft.held(held, &[TurnState::Processing])?;
    let (id, attempt) = (turn.id, turn.attempt);
    let completed = &held.what.completed;
    match turn.steps.get(&completed.step_id) {
        None => return Err(Rejection::NoSuch { thing: "step" }),
        Some(step) if step.is_completed => {
            return Err(Rejection::blocked(turn.state, Obstacle::StepCompleted));
        }
        Some(step) if step.attempt != attempt => {
            return Err(Rejection::blocked(turn.state, Obstacle::StepNotBegun));
        }
        Some(_) => {}
    }
    draft.row(DONE);
    draft.push(
        id,
        TurnStepCompleted {
            attempt,
            ..completed.clone()
        },
    );
    Ok(())
}
