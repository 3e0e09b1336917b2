//! Scenarios: guided courses of a conversation, as the client's engine runs them. They stand in the stream of the session.
//!
//! Ruche does not know the steps of a scenario and their order; it keeps the course whole. A move is of an instance that is
//! under way, a step that ends is the one that the scenario stands at, and a migration to another version takes every point
//! along that was passed: a scenario does not get in front of one again, nor to a version without it.

use std::collections::{BTreeMap, BTreeSet};

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ScenarioAbandoned, ScenarioCheckpointPassed, ScenarioCompleted, ScenarioEntered, ScenarioMigrated,
    ScenarioStepEntered, ScenarioStepExited,
};
use ruche_domain::ids::SessionId;
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::numbers::Micros;
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::session::{SessionRef, SessionState, session_stream};

/// One move of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScenarioMove {
    /// The session enters the scenario.
    Enter {
        /// Version of the scenario.
        version: Option<String>,
        /// Why this one.
        reason: Option<String>,
    },
    /// A step begins.
    EnterStep {
        /// The client's own id of the step.
        step: String,
    },
    /// The step that the scenario stands at ends.
    ExitStep {
        /// The client's own id of the step.
        step: String,
        /// How it ended, by the client's word.
        outcome: Option<String>,
        /// How long it took, µs.
        duration_us: Option<u64>,
    },
    /// A point is passed behind which the scenario does not go back.
    PassCheckpoint {
        /// The client's own id of the point.
        checkpoint: String,
    },
    /// The scenario goes over to another version of itself.
    Migrate {
        /// That version.
        version: String,
        /// The step of that version that it goes on at.
        step: Option<String>,
        /// Points of that version that lie behind the step.
        behind: Vec<String>,
        /// Why.
        reason: Option<String>,
    },
    /// The scenario comes to its end.
    Complete {
        /// How it ended, by the client's word.
        outcome: Option<String>,
    },
    /// The scenario is left before its end.
    Abandon {
        /// Why.
        reason: Option<String>,
    },
}

impl ScenarioMove {
    /// Its name in paths of refusals.
    const fn name(&self) -> &'static str {
        match self {
            Self::Enter { .. } => "enter",
            Self::EnterStep { .. } => "enterStep",
            Self::ExitStep { .. } => "exitStep",
            Self::PassCheckpoint { .. } => "passCheckpoint",
            Self::Migrate { .. } => "migrate",
            Self::Complete { .. } => "complete",
            Self::Abandon { .. } => "abandon",
        }
    }
}

/// Records moves of one scenario of a session, all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordScenario {
    /// Which session.
    pub session: SessionRef,
    /// The client's own id of the scenario.
    pub scenario: String,
    /// The moves, in order.
    pub moves: Vec<ScenarioMove>,
    /// When they happened by the source's clock.
    pub occurred_at: Option<Micros>,
}

/// A scenario that is under way in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScenarioInstance {
    /// Version that it runs in.
    pub version: Option<String>,
    /// The step that it stands at; none between steps.
    pub step: Option<String>,
    /// Points that it passed.
    pub passed: BTreeSet<String>,
}

/// The scenarios that are under way in a session, by the client's own id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenarios(BTreeMap<String, ScenarioInstance>);

impl Scenarios {
    /// The instance of a scenario that is under way.
    pub fn get(&self, scenario: &str) -> Option<&ScenarioInstance> {
        self.0.get(scenario)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ScenarioInstance)> {
        self.0.iter().map(|(name, instance)| (name.as_str(), instance))
    }

    /// Takes an event. One that tells more than was told before (a step of a scenario that nobody entered) is believed.
    pub fn evolve(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::ScenarioEntered(e) => {
                let of_version = self.of(&e.scenario_id);
                of_version.version = of_version.version.take().or_else(|| e.version.clone());
            }
            AgentEvent::ScenarioStepEntered(e) => self.of(&e.scenario_id).step = Some(e.step_id.clone()),
            AgentEvent::ScenarioStepExited(e) => {
                let instance = self.of(&e.scenario_id);
                instance.step = instance.step.take().filter(|step| *step != e.step_id);
            }
            AgentEvent::ScenarioCheckpointPassed(e) => {
                self.of(&e.scenario_id).passed.insert(e.checkpoint_id.clone());
            }
            AgentEvent::ScenarioMigrated(e) => {
                let instance = self.of(&e.scenario_id);
                instance.version = Some(e.to_version.clone());
                instance.step.clone_from(&e.to_step_id);
                // What lies behind the step that it goes on at is behind it for good, as if it was passed there.
                instance.passed.extend(e.checkpoint_ids.iter().cloned());
            }
            AgentEvent::ScenarioCompleted(e) => drop(self.0.remove(&e.scenario_id)),
            AgentEvent::ScenarioAbandoned(e) => drop(self.0.remove(&e.scenario_id)),
            _ => {}
        }
    }

    fn of(&mut self, scenario: &str) -> &mut ScenarioInstance {
        self.0.entry(scenario.to_owned()).or_default()
    }
}

/// What moves are decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScenarioState {
    /// The session.
    pub session: SessionState,
    /// Its scenarios.
    pub scenarios: Scenarios,
}

impl RecordScenario {
    fn check(&self) -> Result<(), CommandError> {
        check_external_id("/scenario", &self.scenario)?;
        if self.moves.is_empty() {
            return Err(CommandError::input("/moves", "must not be empty"));
        }
        if self.moves.len() > EVENTS_PER_APPEND_MAX {
            return Err(CommandError::LimitExceeded {
                what: "append",
                value: self.moves.len() as u64,
                limit: EVENTS_PER_APPEND_MAX as u64,
                unit: "events",
            });
        }
        for (number, made) in self.moves.iter().enumerate() {
            let place = |field: &str| format!("/moves/{number}/{}/{field}", made.name());
            match made {
                ScenarioMove::EnterStep { step } | ScenarioMove::ExitStep { step, .. } => {
                    check_external_id(&place("step"), step)?;
                }
                ScenarioMove::PassCheckpoint { checkpoint } => {
                    check_external_id(&place("checkpoint"), checkpoint)?;
                }
                ScenarioMove::Enter {
                    version: Some(version),
                    ..
                } => check_external_id(&place("version"), version)?,
                ScenarioMove::Migrate {
                    version,
                    step,
                    behind,
                    ..
                } => {
                    check_external_id(&place("version"), version)?;
                    for (n, point) in behind.iter().enumerate() {
                        check_external_id(&place(&format!("behind/{n}")), point)?;
                    }
                    if let Some(step) = step {
                        check_external_id(&place("step"), step)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The fact that a move is, as things stand before it.
    fn fact(
        &self,
        number: usize,
        made: &ScenarioMove,
        scenarios: &Scenarios,
    ) -> Result<AgentEvent, CommandError> {
        let id = || self.scenario.clone();
        let place = |field: &str| format!("/moves/{number}/{}/{field}", made.name());
        let Some(instance) = scenarios.get(&self.scenario) else {
            return match made {
                ScenarioMove::Enter { version, reason } => Ok(ScenarioEntered {
                    version: version.clone(),
                    reason: reason.clone(),
                    ..ScenarioEntered::new(id())
                }
                .into()),
                _ => Err(refuse("not under way")),
            };
        };
        Ok(match made {
            ScenarioMove::Enter { .. } => {
                return Err(refuse("under way"));
            }
            ScenarioMove::EnterStep { step } => ScenarioStepEntered {
                from_step_id: instance.step.clone(),
                ..ScenarioStepEntered::new(id(), step.clone())
            }
            .into(),
            ScenarioMove::ExitStep { step, .. } if instance.step.as_ref() != Some(step) => {
                let at = match &instance.step {
                    Some(at) => format!("is not the step that it stands at, which is {at:?}"),
                    None => "is not the step that it stands at: it stands between steps".to_owned(),
                };
                return Err(CommandError::input(place("step"), at));
            }
            ScenarioMove::ExitStep {
                step,
                outcome,
                duration_us,
            } => ScenarioStepExited {
                outcome: outcome.clone(),
                duration_us: *duration_us,
                ..ScenarioStepExited::new(id(), step.clone())
            }
            .into(),
            ScenarioMove::PassCheckpoint { checkpoint } if instance.passed.contains(checkpoint) => {
                return Err(CommandError::input(place("checkpoint"), "was passed already"));
            }
            ScenarioMove::PassCheckpoint { checkpoint } => ScenarioCheckpointPassed {
                step_id: instance.step.clone(),
                ..ScenarioCheckpointPassed::new(id(), checkpoint.clone())
            }
            .into(),
            ScenarioMove::Migrate {
                version,
                step,
                behind,
                reason,
            } => {
                if let Some(left_out) = instance.passed.iter().find(|passed| !behind.contains(passed)) {
                    let why = format!(
                        "leaves out {left_out:?}, which was passed: a migration does not go in front of a point that was \
                         passed, nor to a version without it"
                    );
                    return Err(CommandError::input(place("behind"), why));
                }
                ScenarioMigrated {
                    from_version: instance.version.clone(),
                    from_step_id: instance.step.clone(),
                    to_step_id: step.clone(),
                    checkpoint_ids: behind.clone(),
                    reason: reason.clone(),
                    ..ScenarioMigrated::new(id(), version.clone())
                }
                .into()
            }
            ScenarioMove::Complete { outcome } => ScenarioCompleted {
                outcome: outcome.clone(),
                ..ScenarioCompleted::new(id())
            }
            .into(),
            ScenarioMove::Abandon { reason } => ScenarioAbandoned {
                step_id: instance.step.clone(),
                reason: reason.clone(),
                ..ScenarioAbandoned::new(id())
            }
            .into(),
        })
    }

    fn event(&self, fact: AgentEvent, session: SessionId, state: &ScenarioState) -> NewEvent {
        NewEvent::fact(session_stream(session), fact)
            .of_session(session, state.session.subject)
            .at(self.occurred_at)
    }
}

fn refuse(state: &'static str) -> CommandError {
    CommandError::IllegalTransition {
        field: "/scenario",
        thing: "scenario",
        state,
        obstacle: None,
        legal: vec![],
        retry_after_ms: None,
    }
}

impl Command for RecordScenario {
    type State = ScenarioState;
    const NAME: &'static str = "RecordScenario";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.check()?;
        let session = self.session.resolve(ground.references)?;
        Ok(vec![Load::whole(session_stream(session))])
    }

    fn evolve(&self, state: &mut ScenarioState, event: &PastEvent) {
        state.session.evolve(event);
        if let Some(fact) = &event.event {
            state.scenarios.evolve(fact);
        }
    }

    fn decide(&self, state: &ScenarioState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.session.require_open("/session")?;
        let session = self.session.resolve(ground.references)?;
        let mut scenarios = state.scenarios.clone();
        let mut events = Vec::with_capacity(self.moves.len());
        for (number, made) in self.moves.iter().enumerate() {
            let fact = self.fact(number, made, &scenarios)?;
            scenarios.evolve(&fact);
            events.push(self.event(fact, session, state));
        }
        Ok(Decision::Append(events))
    }
}
