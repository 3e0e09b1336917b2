//! Read model: goals, and how each stands. What the ledger says last holds: a goal that is set again is open again.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::GoalSet;
use ruche_domain::ids::{LedgerId, SessionId};
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["goal"];

/// Parameters 1 to 7 are those of [`Of::common`].
const SET: &str = "INSERT INTO goal (ledger, stream, goal, first_position, session, last_position, last_at, description, \
    criteria, due, parent, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    ON CONFLICT (ledger, stream, goal) DO UPDATE SET description = excluded.description, criteria = excluded.criteria, \
    due = excluded.due, parent = excluded.parent, set_by = excluded.set_by, set_at = excluded.set_at, status = 'open', \
    ended_at = NULL, session = COALESCE(goal.session, excluded.session), last_position = excluded.last_position, \
    last_at = excluded.last_at";
const PROGRESSED: &str = "INSERT INTO goal (ledger, stream, goal, first_position, session, last_position, last_at, progress, \
    note) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (ledger, stream, goal) DO UPDATE SET \
    progress = COALESCE(excluded.progress, goal.progress), note = COALESCE(excluded.note, goal.note), \
    last_position = excluded.last_position, last_at = excluded.last_at";
const ENDED: &str = "INSERT INTO goal (ledger, stream, goal, first_position, session, last_position, last_at, status, note, \
    ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (ledger, stream, goal) DO UPDATE SET \
    status = excluded.status, note = COALESCE(excluded.note, goal.note), ended_at = excluded.ended_at, \
    last_position = excluded.last_position, last_at = excluded.last_at";

/// The projection.
pub struct Goals;

impl Projection for Goals {
    fn name(&self) -> &'static str {
        "goals"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if event.family() != "goal" {
            return Ok(vec![]);
        }
        // Which goal it is about stood in the payload.
        let Some(fact) = event.agent()? else {
            return Ok(vec![]);
        };
        let of = |goal: &str| Of {
            event,
            goal: bounds::name(goal).into_owned(),
        };
        Ok(vec![match fact {
            AgentEvent::GoalSet(e) => of(&e.goal_id).set(e)?,
            AgentEvent::GoalProgressed(e) => {
                let progress = e.progress.map(|progress| progress.get().to_string());
                of(&e.goal_id).change(PROGRESSED, [progress.into(), e.note.as_ref().into()])?
            }
            AgentEvent::GoalAchieved(e) => of(&e.goal_id).ended(GoalStatus::Achieved, e.note.as_ref())?,
            AgentEvent::GoalMissed(e) => of(&e.goal_id).ended(GoalStatus::Missed, e.reason.as_ref())?,
            _ => return Ok(vec![]),
        }])
    }
}

/// What an event says of a goal.
struct Of<'a> {
    event: &'a ProjectedEvent,
    goal: String,
}

impl Of<'_> {
    /// The parameters with which every statement about a goal starts.
    fn common(&self) -> Result<Vec<SqlValue>, PoisonReason> {
        let header = self.event.header();
        let place = self.event.place()?;
        Ok(vec![
            self.event.ledger_key().into(),
            header.stream.id.into_bytes().into(),
            self.goal.clone().into(),
            place.into(),
            header.session.map(|id| *id.as_bytes()).into(),
            place.into(),
            self.event.occurred_at()?.into(),
        ])
    }

    fn change<const N: usize>(&self, sql: &'static str, more: [SqlValue; N]) -> Result<Change, PoisonReason> {
        let mut params = self.common()?;
        params.extend(more);
        Ok(Change::about(
            self.event.header().stream.id.as_bytes(),
            sql,
            params,
        ))
    }

    fn set(&self, set: &GoalSet) -> Result<Change, PoisonReason> {
        let criteria = (!set.criteria.is_empty()).then(|| crate::json(&set.criteria));
        let more = [
            (&set.description).into(),
            criteria.into(),
            bounds::time(set.due).into(),
            set.parent_goal_id.as_ref().into(),
            set.set_by.as_ref().into(),
            self.event.occurred_at()?.into(),
        ];
        self.change(SET, more)
    }

    fn ended(&self, status: GoalStatus, note: Option<&String>) -> Result<Change, PoisonReason> {
        let at = self.event.occurred_at()?;
        self.change(ENDED, [status.name().into(), note.into(), at.into()])
    }
}

/// How a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoalStatus {
    /// It is to be reached.
    Open,
    /// It was reached.
    Achieved,
    /// It was not reached.
    Missed,
}

impl GoalStatus {
    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Achieved => "achieved",
            Self::Missed => "missed",
        }
    }
}

impl std::str::FromStr for GoalStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Open, Self::Achieved, Self::Missed];
        all.into_iter().find(|status| status.name() == text).ok_or(())
    }
}

/// A goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The client's own id.
    pub goal: String,
    /// The session that it was told of in first.
    pub session: Option<SessionId>,
    /// In words; unknown where nobody set it.
    pub description: Option<String>,
    /// What has to hold for it to be reached.
    pub criteria: Vec<String>,
    /// Until when.
    pub due: Option<Micros>,
    /// The client's own id of the goal that it serves.
    pub parent: Option<String>,
    /// Opaque reference of who set it.
    pub set_by: Option<String>,
    /// How it stands.
    pub status: GoalStatus,
    /// How much of it was reached, from 0 to 1, as decimal text.
    pub progress: Option<String>,
    /// What was said of it last.
    pub note: Option<String>,
    /// When it was set last.
    pub set_at: Option<Micros>,
    /// When it was reached or missed.
    pub ended_at: Option<Micros>,
    /// Its first record.
    pub first_position: Position,
    /// Its last record.
    pub last_position: Position,
}

const COLUMNS: &str = "goal, session, description, criteria, due, parent, set_by, status, progress, note, set_at, ended_at, \
    first_position, last_position";

/// Goals of a session in the order in which they were first told of.
///
/// # Errors
/// Those of the store.
pub async fn of_session(
    store: &dyn ReadStore,
    ledger: LedgerId,
    session: SessionId,
    status: Option<GoalStatus>,
    page: &PageRequest,
) -> Result<Page<Goal>, ReadStoreError> {
    let rows = Select::of(COLUMNS, "goal", ledger)
        .and("session = ", *session.as_bytes())
        .and_if("status = ", status.map(GoalStatus::name))
        .page(["first_position", "first_position"], Cursor::number_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, |fields| {
        let goal = Goal {
            goal: fields.text()?,
            session: fields.optional_id()?,
            description: fields.optional_text()?,
            criteria: fields.optional_json()?.unwrap_or_default(),
            due: fields.optional_time()?,
            parent: fields.optional_text()?,
            set_by: fields.optional_text()?,
            status: fields.word()?,
            progress: fields.optional_text()?,
            note: fields.optional_text()?,
            set_at: fields.optional_time()?,
            ended_at: fields.optional_time()?,
            first_position: fields.position()?,
            last_position: fields.position()?,
        };
        let at = crate::event::pack(goal.first_position).unwrap_or(i64::MAX);
        Ok((Cursor::of_number(at, at), goal))
    })
}
