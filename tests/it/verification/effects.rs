//! What the machine says of an effect the read model of effects says too, after every append: an effect of which a try at
//! undoing failed stands as it did, until no further try is made.

use std::collections::BTreeSet;

use ruche_commands::lane::Call;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::CallId;
use ruche_domain::side_effect::EffectStatus;
use ruche_ledger::testing::ledger;
use ruche_projections::tool_effects::{self, EffectState};

use super::machine::Course;
use super::told::Told;

const COURSES: u64 = 40;
const STEPS: usize = 80;

/// The words for where a call stands. One that a person says never happened has not failed: it was not executed.
fn shown(call: &Call) -> &'static [EffectState] {
    match call.status {
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
            let about: Vec<CallId> = events.iter().filter_map(|event| event.call).collect();
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
                    shown(call).contains(&status),
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
    let all = EffectState::ALL.map(EffectState::name);
    assert_eq!(seen, BTreeSet::from(all), "each was shown at times");
}
