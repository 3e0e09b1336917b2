//! Read model: scenarios of sessions, where each stands, and the steps, points and versions that it went through.
//!
//! An instance begins with `scenario.entered`, or with whatever is told of the scenario first: then the entry, if it comes
//! later, is added to it. It ends once; what is told behind its end is kept in its history and changes nothing else of it.
//! The next entry makes the next instance. An entry of one that is under way says nothing new. A step that begins ends the
//! step before; the end of a step that nobody began makes no step.

mod query;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ScenarioEntered, ScenarioMigrated, ScenarioStepExited};

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};

pub use query::{Passage, PassageKind, Scenario, ScenarioFilter, ScenarioStatus, history, list};

/// Tables of this read model.
pub const TABLES: &[&str] = &["scenario", "scenario_passage"];

/// An instance that was told of before it was entered is entered now.
const ENTERED: &str = "UPDATE scenario SET version = COALESCE(version, $1), reason = $2, entered_at = $3, entered = 1 \
    WHERE scenario.ledger = $4 AND scenario.session = $5 AND scenario.scenario = $6 AND scenario.status = 'active' \
    AND scenario.entered = 0";
const BEGUN: &str = "INSERT INTO scenario (ledger, session, scenario, first_position, version, reason, entered_at, \
    last_position, last_at, entered) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 1 WHERE NOT EXISTS \
    (SELECT 1 FROM scenario s WHERE s.ledger = $1 AND s.session = $2 AND s.scenario = $3 AND s.status = 'active')";
const TOLD_OF: &str = "INSERT INTO scenario (ledger, session, scenario, first_position, entered_at, last_position, last_at) \
    SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS \
    (SELECT 1 FROM scenario s WHERE s.ledger = $1 AND s.session = $2 AND s.scenario = $3)";

/// The statements below are about the last instance of a scenario. An update that counts only while it is under way says so.
const SEEN: &str = "UPDATE scenario SET last_position = $1, last_at = $2 \
    WHERE scenario.ledger = $3 AND scenario.session = $4 AND scenario.scenario = $5 AND scenario.first_position = \
    (SELECT MAX(s.first_position) FROM scenario s WHERE s.ledger = $3 AND s.session = $4 AND s.scenario = $5)";
const AT_STEP: &str = "UPDATE scenario SET step = $1 WHERE scenario.ledger = $2 AND scenario.session = $3 \
    AND scenario.scenario = $4 AND scenario.status = 'active'";
const BETWEEN_STEPS: &str = "UPDATE scenario SET step = NULL WHERE scenario.ledger = $1 AND scenario.session = $2 \
    AND scenario.scenario = $3 AND scenario.status = 'active' AND scenario.step = $4";
const MIGRATED: &str = "UPDATE scenario SET version = $1, step = $2 WHERE scenario.ledger = $3 \
    AND scenario.session = $4 AND scenario.scenario = $5 AND scenario.status = 'active'";
const OVER: &str = "UPDATE scenario SET status = $1, ended_at = $2, outcome = $3, end_reason = $4 \
    WHERE scenario.ledger = $5 AND scenario.session = $6 AND scenario.scenario = $7 AND scenario.status = 'active'";

const PASSED: &str = "INSERT INTO scenario_passage (ledger, session, scenario, position, kind, name, from_name, at, instance) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
    (SELECT MAX(s.first_position) FROM scenario s WHERE s.ledger = $1 AND s.session = $2 AND s.scenario = $3))";
/// The step that is left because another one begins, or the scenario is over.
const LEFT: &str = "UPDATE scenario_passage SET left_at = $1, left_position = $2 \
    WHERE scenario_passage.ledger = $3 AND scenario_passage.session = $4 AND scenario_passage.scenario = $5 \
    AND scenario_passage.kind = 'step' AND scenario_passage.left_at IS NULL";
/// What its end says of a step, whether another one began before or not.
const EXITED: &str = "UPDATE scenario_passage SET left_at = $1, left_position = $2, outcome = $3, duration_us = $4 \
    WHERE scenario_passage.ledger = $5 AND scenario_passage.session = $6 AND scenario_passage.scenario = $7 \
    AND scenario_passage.kind = 'step' AND scenario_passage.position = (SELECT MAX(p.position) FROM scenario_passage p \
    WHERE p.ledger = $5 AND p.session = $6 AND p.scenario = $7 AND p.kind = 'step' AND p.name = $8)";

/// The projection.
pub struct Scenarios;

impl Projection for Scenarios {
    fn name(&self) -> &'static str {
        "scenarios"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let Some(session) = event.header().session else {
            return Ok(vec![]);
        };
        if event.family() != "scenario" {
            return Ok(vec![]);
        }
        // Which scenario it is about stood in the payload.
        let Some(fact) = event.agent()? else {
            return Ok(vec![]);
        };
        let of = |scenario: &str| Of {
            event,
            session: *session.as_bytes(),
            scenario: bounds::name(scenario).into_owned(),
        };
        match fact {
            AgentEvent::ScenarioEntered(e) => of(&e.scenario_id).entered(e),
            AgentEvent::ScenarioStepEntered(e) => {
                of(&e.scenario_id).step(&e.step_id, e.from_step_id.as_ref())
            }
            AgentEvent::ScenarioStepExited(e) => of(&e.scenario_id).exited(e),
            AgentEvent::ScenarioCheckpointPassed(e) => {
                let of = of(&e.scenario_id);
                let mut changes = of.told_of()?;
                changes.push(of.passed(PassageKind::Checkpoint, &e.checkpoint_id, e.step_id.as_ref())?);
                Ok(changes)
            }
            AgentEvent::ScenarioMigrated(e) => of(&e.scenario_id).migrated(e),
            AgentEvent::ScenarioCompleted(e) => {
                of(&e.scenario_id).over(ScenarioStatus::Completed, e.outcome.as_ref(), None)
            }
            AgentEvent::ScenarioAbandoned(e) => {
                of(&e.scenario_id).over(ScenarioStatus::Abandoned, None, e.reason.as_ref())
            }
            _ => Ok(vec![]),
        }
    }
}

/// What an event says of a scenario.
struct Of<'a> {
    event: &'a ProjectedEvent,
    session: [u8; 16],
    scenario: String,
}

impl Of<'_> {
    fn key(&self) -> [SqlValue; 3] {
        [
            self.event.ledger_key().into(),
            self.session.into(),
            self.scenario.clone().into(),
        ]
    }

    /// A statement whose parameters end with the scenario.
    fn ends_with_key(&self, sql: &'static str, mut params: Vec<SqlValue>) -> Change {
        params.extend(self.key());
        Change::about(&self.session, sql, params)
    }

    /// Makes an instance if nothing is known of the scenario, and says when it was heard of last.
    fn told_of(&self) -> Result<Vec<Change>, PoisonReason> {
        let (place, at) = (self.event.place()?, self.event.occurred_at()?);
        let mut made = self.key().to_vec();
        made.extend([place.into(), at.into(), place.into(), at.into()]);
        Ok(vec![
            Change::about(&self.session, TOLD_OF, made),
            self.ends_with_key(SEEN, vec![place.into(), at.into()]),
        ])
    }

    fn entered(&self, entered: &ScenarioEntered) -> Result<Vec<Change>, PoisonReason> {
        let (place, at) = (self.event.place()?, self.event.occurred_at()?);
        let told = || {
            vec![
                entered.version.as_ref().into(),
                entered.reason.as_ref().into(),
                at.into(),
            ]
        };
        let mut begun = self.key().to_vec();
        begun.push(place.into());
        begun.extend(told());
        begun.extend([place.into(), at.into()]);
        Ok(vec![
            self.ends_with_key(ENTERED, told()),
            Change::about(&self.session, BEGUN, begun),
            self.ends_with_key(SEEN, vec![place.into(), at.into()]),
        ])
    }

    fn passed(&self, kind: PassageKind, name: &str, from: Option<&String>) -> Result<Change, PoisonReason> {
        let mut params = self.key().to_vec();
        params.extend([
            self.event.place()?.into(),
            kind.name().into(),
            bounds::name(name).into_owned().into(),
            bounds::key(from).into(),
            self.event.occurred_at()?.into(),
        ]);
        Ok(Change::about(&self.session, PASSED, params))
    }

    fn left(&self) -> Result<Change, PoisonReason> {
        let params = vec![self.event.occurred_at()?.into(), self.event.place()?.into()];
        Ok(self.ends_with_key(LEFT, params))
    }

    fn step(&self, step: &str, from: Option<&String>) -> Result<Vec<Change>, PoisonReason> {
        let mut changes = self.told_of()?;
        let name: SqlValue = bounds::name(step).into_owned().into();
        changes.push(self.left()?);
        changes.push(self.passed(PassageKind::Step, step, from)?);
        changes.push(self.ends_with_key(AT_STEP, vec![name]));
        Ok(changes)
    }

    fn exited(&self, exited: &ScenarioStepExited) -> Result<Vec<Change>, PoisonReason> {
        let mut changes = self.told_of()?;
        let name: SqlValue = bounds::name(&exited.step_id).into_owned().into();
        let mut between = self.key().to_vec();
        between.push(name.clone());
        let mut params = vec![
            self.event.occurred_at()?.into(),
            self.event.place()?.into(),
            exited.outcome.as_ref().into(),
            bounds::duration(exited.duration_us).into(),
        ];
        params.extend(self.key());
        params.push(name);
        changes.push(Change::about(&self.session, EXITED, params));
        changes.push(Change::about(&self.session, BETWEEN_STEPS, between));
        Ok(changes)
    }

    fn migrated(&self, migrated: &ScenarioMigrated) -> Result<Vec<Change>, PoisonReason> {
        let mut changes = self.told_of()?;
        changes.push(self.left()?);
        changes.push(self.passed(
            PassageKind::Migration,
            &migrated.to_version,
            migrated.from_version.as_ref(),
        )?);
        if let Some(step) = &migrated.to_step_id {
            changes.push(self.passed(PassageKind::Step, step, migrated.from_step_id.as_ref())?);
        }
        let to = vec![
            (&migrated.to_version).into(),
            bounds::key(migrated.to_step_id.as_ref()).into(),
        ];
        changes.push(self.ends_with_key(MIGRATED, to));
        Ok(changes)
    }

    fn over(
        &self,
        status: ScenarioStatus,
        outcome: Option<&String>,
        reason: Option<&String>,
    ) -> Result<Vec<Change>, PoisonReason> {
        let mut changes = self.told_of()?;
        changes.push(self.left()?);
        let params = vec![
            status.name().into(),
            self.event.occurred_at()?.into(),
            outcome.into(),
            reason.into(),
        ];
        changes.push(self.ends_with_key(OVER, params));
        Ok(changes)
    }
}
