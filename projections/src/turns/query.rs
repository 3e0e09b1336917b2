//! Queries about turns.

use std::sync::LazyLock;

use ruche_domain::events::turn::{OutcomeCategory, TurnTrigger};
use ruche_domain::ids::{LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::measures::{Cost, Usage};
use ruche_domain::numbers::{Micros, Position};

use super::TurnStatus;
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};
use crate::tally::{self, CostTotal, Tally};

/// A turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Our id.
    pub id: TurnId,
    /// Session that it belongs to.
    pub session: Option<SessionId>,
    /// Lane that decides on it.
    pub lane: Option<LaneId>,
    /// Its number in the session.
    pub ordinal: Option<u64>,
    /// The client's own id.
    pub external_id: Option<String>,
    /// The client's own id of the agent that answers.
    pub agent: Option<String>,
    /// What opened it.
    pub opened_by: Option<TurnTrigger>,
    /// Where it stands.
    pub status: TurnStatus,
    /// How it came out, if it was committed and the source says.
    pub outcome: Option<OutcomeCategory>,
    /// What went wrong: a stable word.
    pub error_type: Option<String>,
    /// What went wrong, or why it was cancelled, in words.
    pub error: Option<String>,
    /// How often it was started.
    pub attempt_count: u64,
    /// When it began to gather messages; when its first event happened, where none says that.
    pub opened_at: Micros,
    /// When its first attempt began.
    pub started_at: Option<Micros>,
    /// When it was over.
    pub ended_at: Option<Micros>,
    /// How long it took by the source's clock, µs.
    pub duration_us: Option<u64>,
    /// Tokens as the end of the turn told them.
    pub usage_total: Option<Usage>,
    /// Cost as the end of the turn told it.
    pub cost_total: Vec<Cost>,
    /// Its first record.
    pub first_position: Position,
    /// Its last record.
    pub last_position: Position,
    /// What happened in it, counted.
    pub tally: Tally,
    /// What its model calls cost, by currency.
    pub costs: Vec<CostTotal>,
}

const FIELDS: &str = "turn, session, lane, ordinal, external_id, agent, opened_by, status, outcome, error_type, error, \
    attempts, COALESCE(opened_at, first_at), started_at, ended_at, duration_us, usage_total, cost_total, first_position, last_position";

static COLUMNS: LazyLock<String> = LazyLock::new(|| format!("{FIELDS}, {}", tally::COLUMNS.join(", ")));

fn read(fields: &mut Fields) -> Result<(Cursor, Turn), ReadStoreError> {
    let id = fields.id()?;
    let turn = Turn {
        id,
        session: fields.optional_id()?,
        lane: fields.optional_id()?,
        ordinal: fields.optional_count()?,
        external_id: fields.optional_text()?,
        agent: fields.optional_text()?,
        opened_by: fields.optional_word()?,
        status: fields.word()?,
        outcome: fields.optional_word()?,
        error_type: fields.optional_text()?,
        error: fields.optional_text()?,
        attempt_count: fields.count()?,
        opened_at: fields.time()?,
        started_at: fields.optional_time()?,
        ended_at: fields.optional_time()?,
        duration_us: fields.optional_count()?,
        usage_total: fields.optional_json()?,
        cost_total: fields.optional_json()?.unwrap_or_default(),
        first_position: fields.position()?,
        last_position: fields.position()?,
        tally: Tally::read(fields)?,
        costs: Vec::new(),
    };
    let at = crate::event::pack(turn.first_position).unwrap_or(i64::MAX);
    Ok((Cursor::of_id(at, *turn.id.as_bytes()), turn))
}

/// Which turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnFilter {
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this lane.
    pub lane: Option<LaneId>,
    /// Standing here.
    pub status: Option<TurnStatus>,
    /// That came out so.
    pub outcome: Option<OutcomeCategory>,
}

/// Turns by their first record.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &TurnFilter,
    page: &PageRequest,
) -> Result<Page<Turn>, ReadStoreError> {
    let select = Select::of(&COLUMNS, "turn", ledger)
        .and_if("session = ", filter.session.map(|id| *id.as_bytes()))
        .and_if("lane = ", filter.lane.map(|id| *id.as_bytes()))
        .and_if("status = ", filter.status.map(TurnStatus::name))
        .and_if("outcome = ", filter.outcome.map(OutcomeCategory::name));
    let rows = select
        .page(["first_position", "turn"], Cursor::id_value, page)
        .rows(store)
        .await?;
    let mut page = Page::read(page, rows, read)?;
    with_costs(store, ledger, page.rows.iter_mut().map(|(_, turn)| turn)).await?;
    Ok(page)
}

/// The turns with these ids that there are, in no particular order.
///
/// # Errors
/// Those of the store.
pub async fn by_ids(
    store: &dyn ReadStore,
    ledger: LedgerId,
    ids: &[TurnId],
) -> Result<Vec<Turn>, ReadStoreError> {
    let ids = ids.iter().map(|id| *id.as_bytes());
    let rows = Select::of(&COLUMNS, "turn", ledger)
        .and_in("turn", ids)
        .rows(store)
        .await?;
    let turns: Result<Vec<_>, _> = rows.into_iter().map(|row| read(&mut Fields::new(row))).collect();
    let mut turns: Vec<Turn> = turns?.into_iter().map(|(_, turn)| turn).collect();
    with_costs(store, ledger, turns.iter_mut()).await?;
    Ok(turns)
}

/// One turn.
///
/// # Errors
/// Those of the store.
pub async fn get(
    store: &dyn ReadStore,
    ledger: LedgerId,
    id: TurnId,
) -> Result<Option<Turn>, ReadStoreError> {
    Ok(by_ids(store, ledger, &[id]).await?.pop())
}

async fn with_costs(
    store: &dyn ReadStore,
    ledger: LedgerId,
    turns: impl Iterator<Item = &mut Turn>,
) -> Result<(), ReadStoreError> {
    let turns: Vec<&mut Turn> = turns.collect();
    let told = turns.iter().filter(|t| t.tally.costs_known > 0);
    let ids = told.map(|t| *t.id.as_bytes()).collect();
    let mut costs = tally::costs_by_id(store, ledger, ("turn_cost", "turn"), ids).await?;
    for turn in turns {
        turn.costs = costs.remove(turn.id.as_bytes()).unwrap_or_default();
    }
    Ok(())
}
