//! Read model: what people are called for, from the call until a person settled it.
//!
//! A call stands in the ledger (`infra.manual_intervention_required`), and so does what settles one that is about an
//! effect. Of a turn that failed a person says that it was looked after (`infra.manual_intervention_settled`).

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{CallId, LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::Category;

use crate::change::Change;
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["intervention"];

const RAISED: &str = "INSERT INTO intervention (ledger, position, kind, reason, lane, session, turn, call, raised_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (ledger, position) DO NOTHING";
const SETTLED: &str = "UPDATE intervention SET settled_at = $1, settled_position = $2 \
    WHERE intervention.ledger = $3 AND intervention.call = $4 AND settled_position IS NULL";
const LOOKED_AFTER: &str = "UPDATE intervention SET settled_at = $1, settled_position = $2 \
    WHERE intervention.ledger = $3 AND intervention.session = $4 AND intervention.turn = $5 \
    AND intervention.call IS NULL AND settled_position IS NULL";

/// The projection.
pub struct Interventions;

impl Projection for Interventions {
    fn name(&self) -> &'static str {
        "interventions"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let header = event.header();
        match (header.stream.category, event.event_type(), header.call) {
            (Category::Lane, "infra.manual_intervention_required", _) => Ok(vec![raised(event)?]),
            // Whatever a person found: that they said it stands in the name.
            (Category::Lane, "tool.outcome_asserted", Some(call)) => {
                let params = vec![
                    event.occurred_at()?.into(),
                    event.place()?.into(),
                    event.ledger_key().into(),
                    (*call.as_bytes()).into(),
                ];
                Ok(vec![Change::about(call.as_bytes(), SETTLED, params)])
            }
            (Category::Session, "infra.manual_intervention_settled", _) => Ok(looked_after(event)?),
            _ => Ok(vec![]),
        }
    }
}

fn looked_after(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let header = event.header();
    let Some(turn) = header.turn else {
        return Ok(vec![]);
    };
    let params = vec![
        event.occurred_at()?.into(),
        event.place()?.into(),
        event.ledger_key().into(),
        header.stream.id.into_bytes().into(),
        (*turn.as_bytes()).into(),
    ];
    Ok(vec![Change::about(turn.as_bytes(), LOOKED_AFTER, params)])
}

fn raised(event: &ProjectedEvent) -> Result<Change, PoisonReason> {
    let header = event.header();
    let reason = match event.agent()? {
        Some(AgentEvent::InfraManualInterventionRequired(said)) => Some(&said.reason),
        _ => None,
    };
    let lane = header.stream.id.into_bytes();
    let call = header.call.map(|call| *call.as_bytes());
    let params = vec![
        event.ledger_key().into(),
        event.place()?.into(),
        InterventionKind::of(reason).name().into(),
        reason.into(),
        lane.into(),
        header.session.map(|id| *id.as_bytes()).into(),
        header.turn.map(|id| *id.as_bytes()).into(),
        call.into(),
        event.occurred_at()?.into(),
    ];
    let turn = header.turn.map(|id| *id.as_bytes());
    Ok(Change::about(&call.or(turn).unwrap_or(lane), RAISED, params))
}

/// What a person is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterventionKind {
    /// Nobody knows how an irreversible effect came out, and its turn waits.
    OutcomeUnknown,
    /// An effect could not be undone.
    CompensationFailed,
    /// A turn failed because no attempt is left where another one might have helped.
    AttemptsUsedUp,
    /// Something else, or what it was is erased.
    Other,
}

impl InterventionKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::OutcomeUnknown,
        Self::CompensationFailed,
        Self::AttemptsUsedUp,
        Self::Other,
    ];

    fn of(reason: Option<&String>) -> Self {
        let word = reason.map(String::as_str);
        let known = Self::ALL.into_iter().find(|kind| Some(kind.name()) == word);
        known.unwrap_or(Self::Other)
    }

    /// The word in the column, and the reason in the event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutcomeUnknown => "outcome_unknown",
            Self::CompensationFailed => "compensation_failed",
            Self::AttemptsUsedUp => "attempts_used_up",
            Self::Other => "other",
        }
    }
}

impl std::str::FromStr for InterventionKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// A call for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervention {
    /// The record that calls.
    pub position: Position,
    /// What for.
    pub kind: InterventionKind,
    /// The same in the words of the record; nothing where they are erased.
    pub reason: Option<String>,
    /// The lane that it happened in.
    pub lane: LaneId,
    /// Session of the turn.
    pub session: Option<SessionId>,
    /// The turn.
    pub turn: Option<TurnId>,
    /// The tool call, if it is about one.
    pub call: Option<CallId>,
    /// When the person was called.
    pub raised_at: Micros,
    /// When a person said how it came out.
    pub settled_at: Option<Micros>,
    /// The record of that.
    pub settled_position: Option<Position>,
}

const COLUMNS: &str =
    "list_rank, position, kind, reason, lane, session, turn, call, raised_at, settled_at, settled_position";

fn read(fields: &mut Fields) -> Result<(Cursor, Intervention), ReadStoreError> {
    let rank = fields.int()?;
    let intervention = Intervention {
        position: fields.position()?,
        kind: fields.word()?,
        reason: fields.optional_text()?,
        lane: fields.id()?,
        session: fields.optional_id()?,
        turn: fields.optional_id()?,
        call: fields.optional_id()?,
        raised_at: fields.time()?,
        settled_at: fields.optional_time()?,
        settled_position: fields.optional_position()?,
    };
    let at = crate::event::pack(intervention.position).unwrap_or(i64::MAX);
    Ok((Cursor::of_number(rank, at), intervention))
}

/// Which calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterventionFilter {
    /// For this.
    pub kind: Option<InterventionKind>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Settled, or not.
    pub settled: Option<bool>,
}

/// Calls for people, most urgent first: outcomes that turns wait for, effects that could not be undone, what has no name,
/// turns that failed, and those that are settled last. Of each the oldest first. One that is settled while somebody pages
/// comes again, among the last.
///
/// # Errors
/// Those of the store.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &InterventionFilter,
    page: &PageRequest,
) -> Result<Page<Intervention>, ReadStoreError> {
    let mut select = Select::of(COLUMNS, "intervention", ledger)
        .and_if("kind = ", filter.kind.map(InterventionKind::name))
        .and_if("session = ", filter.session.map(|id| *id.as_bytes()));
    if let Some(is_settled) = filter.settled {
        let ranks = if is_settled {
            "list_rank >= "
        } else {
            "list_rank < "
        };
        select = select.and(ranks, SETTLED_RANK);
    }
    let rows = select.page(["list_rank", "position"], Cursor::number_value, page);
    Page::read(page, rows.rows(store).await?, read)
}

/// The rank of those that are settled, as the table makes it.
const SETTLED_RANK: i64 = 4;
