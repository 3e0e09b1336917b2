//! Which tries of a call are in doubt.

use ruche_domain::events::{
    AssertedOutcome, ToolCompensated, ToolCompleted, ToolFailed, ToolOutcomeAsserted, ToolOutcomeUnknown,
    ToolStarted,
};

use super::*;

fn start(generation: Option<u32>) -> AgentEvent {
    let started = ToolStarted::new("pay".to_owned());
    let started = ToolStarted {
        generation,
        ..started
    };
    started.into()
}

fn unknown() -> AgentEvent {
    ToolOutcomeUnknown::new("crash".to_owned()).into()
}

fn failed() -> AgentEvent {
    ToolFailed::default().into()
}

/// Whether the last failure leaves a try before it in doubt.
fn leaves_doubt(facts: &[AgentEvent]) -> bool {
    let mut tries = Tries::default();
    facts.iter().for_each(|fact| tries.take(fact));
    tries.earlier_in_doubt
}

#[test]
fn a_failure_speaks_of_the_last_try_alone() {
    let again = || [start(Some(1)), failed()];
    let first = || vec![start(Some(1)), unknown()];
    let behind = |more: &[AgentEvent]| leaves_doubt(&[&first(), more].concat());
    assert!(behind(&again()));
    assert!(behind(&[again(), again()].concat()), "nor does the next one");
    assert!(
        !behind(&[&[failed()][..], &again()].concat()),
        "it failed after all"
    );
    assert!(
        !behind(&[start(Some(2)), failed()]),
        "under another key of the tool"
    );
    let of_the_call: [AgentEvent; 3] = [
        ToolCompleted::default().into(),
        ToolCompensated::default().into(),
        ToolOutcomeAsserted::new(
            AssertedOutcome::NotExecuted,
            "ann".to_owned(),
            "looked".to_owned(),
        )
        .into(),
    ];
    for settled in of_the_call {
        assert!(
            !behind(&[&[settled.clone()][..], &again()].concat()),
            "{settled:?}"
        );
    }
}

/// A start that was recorded before starts said a generation is one under the first.
#[test]
fn a_start_that_says_no_generation_is_of_the_first_one() {
    let stays_in_doubt = |before, next| leaves_doubt(&[start(before), unknown(), start(next)]);
    let first = Some(FIRST_GENERATION);
    for (before, next) in [(None, first), (first, None), (None, None), (Some(2), Some(2))] {
        assert!(stays_in_doubt(before, next), "{before:?}, then {next:?}");
    }
    for (before, next) in [(None, Some(2)), (first, Some(2)), (Some(2), None)] {
        assert!(!stays_in_doubt(before, next), "{before:?}, then {next:?}");
    }
}
