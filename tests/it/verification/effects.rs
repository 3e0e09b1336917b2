//! What the machine says of an effect the read model of effects says too, after every append: an effect of which a try at
//! undoing failed stands as it did, until no further try is made.

use std::collections::BTreeSet;

use ruche_commands::lane::{Call, Gate, Lane};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ApprovalMode;
use ruche_domain::ids::CallId;
use ruche_domain::side_effect::EffectStatus;
use ruche_ledger::testing::ledger;
use ruche_projections::tool_effects::{self, EffectState};

use super::machine::Course;
use super::told::Told;

const COURSES: u64 = 40;
const STEPS: usize = 80;

/// Whether a call that did not start never will: it was decided so, or its turn is over. A detached request outlives it.
fn never_runs(call: &Call, lane: &Lane) -> bool {
    let is_over = lane.turn(call.turn).is_some_and(|turn| turn.state.is_terminal());
    let approval = call.approval.and_then(|id| lane.approvals.get(&id));
    let outlives = approval.is_some_and(|approval| approval.mode == ApprovalMode::Detached);
    call.gate == Gate::Closed || (is_over && !outlives)
}

/// The words for where a call stands. One that a person says never happened has not failed: it was not executed.
fn shown(call: &Call, lane: &Lane) -> &'static [EffectState] {
    match call.status {
        None if never_runs(call, lane) => &[EffectState::NotExecuted],
        None => &[EffectState::Proposed, EffectState::Deferred],
        Some(EffectStatus::InFlight) => &[EffectState::Started],
        Some(EffectStatus::Completed) => &[EffectState::Completed],
        Some(EffectStatus::Failed) => &[EffectState::Failed, EffectState::NotExecuted],
        Some(EffectStatus::OutcomeUnknown) => &[EffectState::OutcomeUnknown],
        Some(EffectStatus::Compensated) => &[EffectState::Compensated],
        Some(EffectStatus::CompensationFailed) => &[EffectState::CompensationFailed],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_and_read_model_agree_on_where_effects_stand() {
    let (mut seen, mut tries) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..COURSES {
        let mut course = Course::new(seed);
        course.settings.compensation_attempts_max = 3;
        let mut told = Told::of(course).await;
        for step in 0..STEPS {
            let Some(events) = told.step().await else { continue };
            // The end of a turn says something of calls that it does not name.
            let about: Vec<CallId> = told.course.lane.calls.keys().copied().collect();
            tries.extend(events.iter().filter_map(|event| match &event.fact {
                AgentEvent::ToolCompensationFailed(failed) => failed.exhausted,
                _ => None,
            }));
            let effects = tool_effects::by_calls(&*told.reads, ledger(1), &about).await;
            let effects = effects.expect("they can be read");
            for call in about {
                let call = &told.course.lane.calls[&call];
                let status = effects[&call.id].status;
                assert!(
                    shown(call, &told.course.lane).contains(&status),
                    "seed {seed}, step {step}: {status:?} is shown of {call:#?}"
                );
                seen.insert(status.name());
            }
        }
    }
    assert_eq!(
        tries,
        BTreeSet::from([false, true]),
        "tries failed before the last and with it"
    );
    // Nothing is erased here.
    let all = EffectState::ALL
        .iter()
        .filter(|state| **state != EffectState::Asserted);
    let all: BTreeSet<_> = all.map(|state| state.name()).collect();
    assert_eq!(seen, all, "each was shown at times");
}
