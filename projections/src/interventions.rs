//! Read model: what people are called for, from the call until a person settled it.
//!
//! A turn that waits for a person has a call in the ledger (`infra.manual_intervention_required`), and what settles one that
//! is about an effect stands there too. People are called before any turn waits: for an irreversible effect as soon as
//! nobody knows how it came out, since its worker cannot find out; for one that may run twice once its turn is over, since
//! nobody runs it again. One that can be undone is undone, or given up, which calls. Of a turn that failed a person says
//! that it was looked after (`infra.manual_intervention_settled`).

use ruche_domain::event::AgentEvent;
use ruche_domain::events::tool::ToolStarted;
use ruche_domain::ids::{CallId, LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;

use crate::change::{About, Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["intervention", "intervention_effect"];

/// What the ledger says of an effect for which people were called before is no other call.
const RAISED: &str = "INSERT INTO intervention (ledger, position, kind, reason, lane, session, turn, call, raised_at) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE NOT EXISTS (SELECT 1 FROM intervention known \
    WHERE known.ledger = $1 AND known.call = $8 AND known.kind = 'outcome_unknown' AND known.settled_position IS NULL) \
    ON CONFLICT (ledger, position) DO NOTHING";
const SETTLED: &str = "UPDATE intervention SET settled_at = $1, settled_position = $2 \
    WHERE intervention.ledger = $3 AND intervention.call = $4 AND settled_position IS NULL";
const LOOKED_AFTER: &str = "UPDATE intervention SET settled_at = $1, settled_position = $2 \
    WHERE intervention.ledger = $3 AND intervention.session = $4 AND intervention.turn = $5 \
    AND intervention.call IS NULL AND settled_position IS NULL";

const STARTED: &str = "INSERT INTO intervention_effect (ledger, call, turn, side_effect) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (ledger, call) DO UPDATE SET turn = excluded.turn, side_effect = excluded.side_effect, \
    unknown_position = NULL, unknown_cause = NULL";
const UNKNOWN: &str = "UPDATE intervention_effect SET unknown_position = $1, unknown_cause = $2 \
    WHERE intervention_effect.ledger = $3 AND intervention_effect.call = $4";
const OVER: &str = "DELETE FROM intervention_effect \
    WHERE intervention_effect.ledger = $1 AND intervention_effect.call = $2";
/// Whose start does not say any more what it does to the world, as after an erasure, calls a person from the start and may
/// still be over by itself: then nobody can settle it.
const NEEDLESS: &str = "DELETE FROM intervention WHERE intervention.ledger = $1 AND intervention.call = $2 \
    AND kind = 'outcome_unknown' AND settled_position IS NULL";
/// Only a person can say how it came out, from the start.
const FOR_A_PERSON: &str = "INSERT INTO intervention \
    (ledger, position, kind, reason, lane, session, turn, call, raised_at) \
    SELECT doubt.ledger, doubt.unknown_position, 'outcome_unknown', doubt.unknown_cause, $1, $2, doubt.turn, \
    doubt.call, $3 FROM intervention_effect doubt \
    WHERE doubt.ledger = $4 AND doubt.call = $5 AND doubt.side_effect = 'irreversible' \
    ON CONFLICT (ledger, position) DO NOTHING";
/// Nobody runs it again.
const LEFT_BEHIND: &str = "INSERT INTO intervention \
    (ledger, position, kind, reason, lane, session, turn, call, raised_at) \
    SELECT doubt.ledger, doubt.unknown_position, 'outcome_unknown', doubt.unknown_cause, $1, $2, doubt.turn, \
    doubt.call, $3 FROM intervention_effect doubt \
    WHERE doubt.ledger = $4 AND doubt.turn = $5 AND doubt.side_effect = 'idempotent' \
    AND doubt.unknown_position IS NOT NULL ON CONFLICT (ledger, position) DO NOTHING";
const TURN_OVER: &str = "DELETE FROM intervention_effect \
    WHERE intervention_effect.ledger = $1 AND intervention_effect.turn = $2";

/// The projection.
pub struct Interventions;

impl Projection for Interventions {
    fn name(&self) -> &'static str {
        "interventions"
    }

    fn version(&self) -> u32 {
        2
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let header = event.header();
        match (header.stream.category, event.event_type()) {
            (Category::Lane, name) => of_lane(event, name),
            (Category::Session, "infra.manual_intervention_settled") => looked_after(event),
            _ => Ok(vec![]),
        }
    }
}

fn of_lane(event: &ProjectedEvent, name: &str) -> Result<Vec<Change>, PoisonReason> {
    let header = event.header();
    match (name, header.call, header.turn) {
        ("infra.manual_intervention_required", _, _) => Ok(vec![raised(event)?]),
        ("tool.started", Some(call), _) => started(event, call),
        ("tool.outcome_unknown", Some(call), _) => unknown(event, call),
        ("tool.completed" | "tool.failed" | "tool.compensated", Some(call), _) => {
            Ok(vec![over(event, call, OVER), over(event, call, NEEDLESS)])
        }
        // Whatever a person found: that they said it stands in the name.
        ("tool.outcome_asserted", Some(call), _) => Ok(vec![settled(event, call)?, over(event, call, OVER)]),
        ("turn.committed" | "turn.superseded" | "turn.cancelled" | "turn.failed", _, Some(turn)) => {
            turn_over(event, turn)
        }
        _ => Ok(vec![]),
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
    let params = vec![
        event.ledger_key().into(),
        event.place()?.into(),
        InterventionKind::of(reason).name().into(),
        reason.into(),
        lane.into(),
        header.session.map(|id| *id.as_bytes()).into(),
        header.turn.map(|id| *id.as_bytes()).into(),
        header.call.map(|id| *id.as_bytes()).into(),
        event.occurred_at()?.into(),
    ];
    Ok(match header.call {
        Some(call) => of_call(event, call, RAISED, params),
        None => Change::about(&header.turn.map_or(lane, |id| *id.as_bytes()), RAISED, params),
    })
}

fn settled(event: &ProjectedEvent, call: CallId) -> Result<Change, PoisonReason> {
    let params = vec![
        event.occurred_at()?.into(),
        event.place()?.into(),
        event.ledger_key().into(),
        (*call.as_bytes()).into(),
    ];
    Ok(of_call(event, call, SETTLED, params))
}

fn started(event: &ProjectedEvent, call: CallId) -> Result<Vec<Change>, PoisonReason> {
    let said = match event.agent()? {
        Some(AgentEvent::ToolStarted(ToolStarted { side_effect, .. })) => *side_effect,
        _ => None,
    };
    // What is not said, or is erased, may be anything.
    let side_effect = said.unwrap_or_default();
    if side_effect == SideEffectPolicy::Pure {
        return Ok(vec![]);
    }
    let params = vec![
        event.ledger_key().into(),
        (*call.as_bytes()).into(),
        event.header().turn.map(|id| *id.as_bytes()).into(),
        side_effect.name().into(),
    ];
    Ok(vec![of_call(event, call, STARTED, params)])
}

fn unknown(event: &ProjectedEvent, call: CallId) -> Result<Vec<Change>, PoisonReason> {
    let cause = match event.agent()? {
        Some(AgentEvent::ToolOutcomeUnknown(said)) => Some(&said.cause),
        _ => None,
    };
    let id: SqlValue = (*call.as_bytes()).into();
    let marks = vec![
        event.place()?.into(),
        cause.into(),
        event.ledger_key().into(),
        id.clone(),
    ];
    let calls = called_for(event, id)?;
    Ok(vec![
        of_call(event, call, UNKNOWN, marks),
        of_call(event, call, FOR_A_PERSON, calls),
    ])
}

fn over(event: &ProjectedEvent, call: CallId, sql: &'static str) -> Change {
    let params = vec![event.ledger_key().into(), (*call.as_bytes()).into()];
    of_call(event, call, sql, params)
}

fn turn_over(event: &ProjectedEvent, turn: TurnId) -> Result<Vec<Change>, PoisonReason> {
    let id: SqlValue = (*turn.as_bytes()).into();
    let calls = called_for(event, id.clone())?;
    Ok(vec![
        Change::about(turn.as_bytes(), LEFT_BEHIND, calls),
        Change::about(turn.as_bytes(), TURN_OVER, vec![event.ledger_key().into(), id]),
    ])
}

/// Whom people are called for by the event, and when.
fn called_for(event: &ProjectedEvent, about: SqlValue) -> Result<Vec<SqlValue>, PoisonReason> {
    let header = event.header();
    Ok(vec![
        header.stream.id.into_bytes().into(),
        header.session.map(|id| *id.as_bytes()).into(),
        event.occurred_at()?.into(),
        event.ledger_key().into(),
        about,
    ])
}

/// What is said of a call comes before the end of its turn, or behind it.
fn of_call(event: &ProjectedEvent, call: CallId, sql: &'static str, params: Vec<SqlValue>) -> Change {
    let call = *call.as_bytes();
    let about = match event.header().turn {
        Some(turn) => About::OneGiven(call, *turn.as_bytes()),
        None => About::One(call),
    };
    Change::of(about, sql, params)
}

/// What a person is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterventionKind {
    /// Nobody knows how an effect came out, and only a person can say.
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
