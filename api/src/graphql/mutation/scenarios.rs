//! Mutations about scenarios.

use async_graphql::{Context, ID, InputObject, Object, OneofObject, Result, SimpleObject};
use ruche_commands::{CommandError, CommandReceipt, RecordScenario, ScenarioMove};
use ruche_domain::envelope::Provenance;

use super::super::refusals::{self, results};
use super::super::scalars::{DateTime, Long, PositionScalar};
use super::fields::optional_count;
use super::inputs::SessionInput;
use super::{Receipt, Writing, carry_out, payloads, session_of};

type Made<C> = std::result::Result<C, CommandError>;

/// The session enters the scenario.
#[derive(InputObject)]
pub(in crate::graphql) struct EnterScenarioInput {
    /// Version of the scenario.
    version: Option<String>,
    /// Why this one.
    reason: Option<String>,
}

/// A step begins. The step before it is left.
#[derive(InputObject)]
pub(in crate::graphql) struct EnterScenarioStepInput {
    /// Your own id of the step.
    step: String,
}

/// The step that the scenario stands at ends.
#[derive(InputObject)]
pub(in crate::graphql) struct ExitScenarioStepInput {
    /// Your own id of the step.
    step: String,
    /// How it ended, by your word.
    outcome: Option<String>,
    /// How long it took, µs.
    duration_us: Option<Long>,
}

/// A point is passed behind which the scenario does not go back.
#[derive(InputObject)]
pub(in crate::graphql) struct PassScenarioCheckpointInput {
    /// Your own id of the point.
    checkpoint: String,
}

/// The scenario goes over to another version of itself.
#[derive(InputObject)]
pub(in crate::graphql) struct MigrateScenarioInput {
    /// That version.
    version: String,
    /// The step of that version that the scenario goes on at; absent where it goes on between steps.
    step: Option<String>,
    /// The points of that version that lie behind the step. Every point that was passed is among them, or the migration is
    /// refused: a scenario does not get in front of a point again that it passed.
    behind: Vec<String>,
    /// Why.
    reason: Option<String>,
}

/// The scenario comes to its end.
#[derive(InputObject)]
pub(in crate::graphql) struct CompleteScenarioInput {
    /// How it ended, by your word.
    outcome: Option<String>,
}

/// The scenario is left before its end.
#[derive(InputObject)]
pub(in crate::graphql) struct AbandonScenarioInput {
    /// Why.
    reason: Option<String>,
}

/// One move of a scenario.
#[derive(OneofObject)]
pub(in crate::graphql) enum ScenarioMoveInput {
    /// The session enters the scenario.
    Enter(EnterScenarioInput),
    /// A step begins.
    EnterStep(EnterScenarioStepInput),
    /// A step ends.
    ExitStep(ExitScenarioStepInput),
    /// A point is passed.
    PassCheckpoint(PassScenarioCheckpointInput),
    /// The scenario goes over to another version.
    Migrate(MigrateScenarioInput),
    /// The scenario comes to its end.
    Complete(CompleteScenarioInput),
    /// The scenario is left before its end.
    Abandon(AbandonScenarioInput),
}

impl ScenarioMoveInput {
    fn read(self, number: usize) -> Made<ScenarioMove> {
        Ok(match self {
            Self::Enter(EnterScenarioInput { version, reason }) => ScenarioMove::Enter { version, reason },
            Self::EnterStep(EnterScenarioStepInput { step }) => ScenarioMove::EnterStep { step },
            Self::ExitStep(exit) => ScenarioMove::ExitStep {
                step: exit.step,
                outcome: exit.outcome,
                duration_us: optional_count(
                    &format!("/moves/{number}/exitStep/durationUs"),
                    exit.duration_us,
                )?,
            },
            Self::PassCheckpoint(passed) => ScenarioMove::PassCheckpoint {
                checkpoint: passed.checkpoint,
            },
            Self::Migrate(to) => ScenarioMove::Migrate {
                version: to.version,
                step: to.step,
                behind: to.behind,
                reason: to.reason,
            },
            Self::Complete(CompleteScenarioInput { outcome }) => ScenarioMove::Complete { outcome },
            Self::Abandon(AbandonScenarioInput { reason }) => ScenarioMove::Abandon { reason },
        })
    }
}

/// Input of `recordScenario`.
#[derive(InputObject)]
pub(in crate::graphql) struct RecordScenarioInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Which session.
    session: SessionInput,
    /// Your own id of the scenario.
    scenario: String,
    /// The moves, in order; all are recorded, or none.
    moves: Vec<ScenarioMoveInput>,
    /// When they happened by your clock.
    occurred_at: Option<DateTime>,
}

impl RecordScenarioInput {
    fn into_command(self) -> Made<RecordScenario> {
        let moves = self.moves.into_iter().enumerate();
        Ok(RecordScenario {
            session: self.session.read()?,
            scenario: self.scenario,
            moves: moves
                .map(|(number, made)| made.read(number))
                .collect::<Made<_>>()?,
            occurred_at: self.occurred_at.map(|time| time.0),
        })
    }
}

payloads! {
    /// Moves of a scenario were recorded.
    RecordScenarioPayload {
        /// Its session.
        session_id: Option<ID> = session_of,
    }
}

results! {
    /// What came of `recordScenario`.
    RecordScenarioResult = RecordScenarioPayload;
}

/// Writes about scenarios.
#[derive(Default)]
pub(in crate::graphql) struct ScenarioMutation;

/// Writes about scenarios.
#[Object]
impl ScenarioMutation {
    /// Records how a scenario of an open session goes: entered, its steps, the points that it passed, another version of it, its
    /// end. Steps and their order are yours. What is refused: a move of a scenario that is not under way, the end of a step that
    /// it does not stand at, and a migration that leaves out a point that was passed.
    async fn record_scenario(
        &self,
        ctx: &Context<'_>,
        input: RecordScenarioInput,
    ) -> Result<RecordScenarioResult> {
        carry_out!(ctx, Reported, input, RecordScenarioResult, RecordScenarioPayload)
    }
}
