//! Scenarios of sessions.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_domain::ids::SessionId;
use ruche_projections::scenarios;

use super::page::{Cursor, cost};
use super::read::{Asked, Loading, Reading};
use super::scalars::{DateTime, Long, PositionScalar};
use super::session::{Session, id, parse_id};
use super::words::{ScenarioPassageKind, ScenarioStatus};

/// Which scenarios; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct ScenarioFilter {
    /// Of this session.
    session_id: Option<ID>,
    /// The client's own id of the scenario.
    scenario: Option<String>,
    /// Where it stands.
    status: Option<ScenarioStatus>,
    /// The client's own id of the step that it stands at.
    step: Option<String>,
}

impl ScenarioFilter {
    pub(super) fn read(self) -> Result<scenarios::ScenarioFilter> {
        let session = self.session_id.map(|id| parse_id::<SessionId>("sessionId", &id));
        Ok(scenarios::ScenarioFilter {
            session: session.transpose()?,
            scenario: self.scenario,
            status: self.status.map(Into::into),
            step: self.step,
        })
    }
}

/// A step, a point or a change of version that a scenario went through.
#[derive(SimpleObject)]
pub(super) struct ScenarioPassage {
    /// What it is.
    kind: ScenarioPassageKind,
    /// The client's own id of the step or point; of a migration the version that the scenario went over to.
    name: String,
    /// The step before; of a point the step that it belongs to; of a migration the version before.
    from: Option<String>,
    /// When it was entered, passed or made.
    at: DateTime,
    /// Its record.
    position: PositionScalar,
    /// When a step was left: it ended, another one began, or the scenario was over.
    left_at: Option<DateTime>,
    /// The record that says so.
    left_position: Option<PositionScalar>,
    /// How a step ended, by the client's word.
    outcome: Option<String>,
    /// How long a step took, as the client says, µs.
    duration_us: Option<Long>,
}

impl From<scenarios::Passage> for ScenarioPassage {
    fn from(passage: scenarios::Passage) -> Self {
        Self {
            kind: passage.kind.into(),
            name: passage.name,
            from: passage.from,
            at: DateTime(passage.at),
            position: PositionScalar(passage.position),
            left_at: passage.left_at.map(DateTime),
            left_position: passage.left_position.map(PositionScalar),
            outcome: passage.outcome,
            duration_us: passage.duration_us.map(Long::count),
        }
    }
}

/// A scenario of a session, from its entry to its end. Entered again later, it is another one.
pub(super) struct Scenario(pub scenarios::Scenario);

/// A scenario of a session, from its entry to its end. Entered again later, it is another one.
#[Object]
impl Scenario {
    /// The client's own id of the scenario.
    async fn scenario(&self) -> &str {
        &self.0.scenario
    }

    /// Id of its session.
    async fn session_id(&self) -> ID {
        id(self.0.session)
    }

    /// Its session.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let found = ctx.data_unchecked::<Loading>().load_one(self.0.session).await?;
        Ok(found.map(Session))
    }

    /// The version that it runs in, or ran in last.
    async fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    /// Why it was entered.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Where it stands.
    async fn status(&self) -> ScenarioStatus {
        self.0.status.into()
    }

    /// The client's own id of the step that it stands at, or stood at when it was over; nothing between steps.
    async fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// When it was entered; when it was told of first, where no entry says that.
    async fn entered_at(&self) -> DateTime {
        DateTime(self.0.entered_at)
    }

    /// When it was over.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }

    /// How it ended, by the client's word, where it was completed.
    async fn outcome(&self) -> Option<&str> {
        self.0.outcome.as_deref()
    }

    /// Why it was left before its end.
    async fn end_reason(&self) -> Option<&str> {
        self.0.end_reason.as_deref()
    }

    /// Its first record.
    async fn first_position(&self) -> PositionScalar {
        PositionScalar(self.0.first_position)
    }

    /// Its last record.
    async fn last_position(&self) -> PositionScalar {
        PositionScalar(self.0.last_position)
    }

    /// When its last record happened.
    async fn last_at(&self) -> DateTime {
        DateTime(self.0.last_at)
    }

    /// What it went through, in the order of the ledger: steps, points that were passed, changes of version.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn history(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, ScenarioPassage>> {
        let reading = Reading::below(ctx, "scenarios")?;
        let asked = Asked::new("passage", first, after.as_deref())?;
        let of = (self.0.session, self.0.scenario.as_str(), self.0.first_position);
        let rows = scenarios::history(reading.store(), reading.ledger, of, &asked.request).await;
        asked.connection(rows, Into::<ScenarioPassage>::into)
    }
}
