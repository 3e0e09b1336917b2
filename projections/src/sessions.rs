//! Read model: sessions, with what happened in each, counted.

use std::sync::LazyLock;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::session::{SessionEndReason, SessionStarted};
use ruche_domain::ids::{LedgerId, SessionId, SubjectId};
use ruche_domain::numbers::{Micros, Position};

use crate::bounds;
use crate::change::{Add, Change, SqlValue};
use crate::counter::{Counter, KeyColumn, Upsert};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::scores;
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};
use crate::tally::{self, CostTotal, Tally};

/// Tables of this read model.
pub const TABLES: &[&str] = &["session", "session_cost", "session_score"];

const STARTED: &str = "UPDATE session SET external_id = $1, app = $2, agent = $3, agent_version = $4, \
    interlocutor = $5, channel = $6, scenario = $7, trial = $8, attributes = $9, provenance = $10, started_at = $11, \
    subject = $12 WHERE ledger = $13 AND session = $14";
/// Whose data it is, which the envelope says though the payload is gone.
const SUBJECT: &str = "UPDATE session SET subject = $1 WHERE ledger = $2 AND session = $3";
const ENDED: &str = "UPDATE session SET status = 'ended', ended_at = $1, end_reason = $2, end_detail = $3 \
    WHERE ledger = $4 AND session = $5";
const STATUS: &str = "UPDATE session SET status = $1 WHERE ledger = $2 AND session = $3";

static COUNTED: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "session",
        key: &[KeyColumn::Param("ledger"), KeyColumn::Param("session")],
        first: &["started_at", "first_position", "provenance"],
        of_turn: false,
        last: &["last_position", "last_at"],
        sums: [tally::COLUMNS, &[]],
        money: false,
        also: "status = CASE WHEN session.status = 'input_required' AND excluded.user_messages > 0 \
               THEN 'open' ELSE session.status END",
    }
    .upsert()
});

static COST: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "session_cost",
        key: &[
            KeyColumn::Param("ledger"),
            KeyColumn::Param("session"),
            KeyColumn::Param("currency"),
        ],
        first: &[],
        of_turn: false,
        last: &[],
        sums: [&["costs"], &[]],
        money: true,
        also: "",
    }
    .upsert()
});

/// The projection.
pub struct Sessions;

impl Projection for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn version(&self) -> u32 {
        7
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let Some(session) = event.header().session else {
            return Ok(vec![]);
        };
        let key = || vec![event.ledger_key().into(), SqlValue::Id(*session.as_bytes())];
        // The row is made by the addition: a session can be heard of before it is said to have started. What changes a
        // row that is there comes behind it.
        let mut changes = vec![Change::Add(Box::new(Add {
            about: vec![*session.as_bytes()],
            upsert: &COUNTED,
            key: key(),
            first: vec![
                event.occurred_at()?.into(),
                event.place()?.into(),
                event.header().provenance.name().into(),
            ],
            last: vec![event.place()?.into(), event.occurred_at()?.into()],
            sums: Tally::of(event)?.values(),
            money: None,
            owner: None,
        }))];
        if let Some((currency, amount)) = tally::cost_of(event)? {
            let mut key = key();
            key.push(currency.into());
            changes.push(Change::Add(Box::new(Add {
                about: vec![],
                upsert: &COST,
                key,
                first: vec![],
                last: vec![],
                sums: vec![1],
                money: Some(amount),
                owner: None,
            })));
        }
        changes.extend(lifecycle(event, session)?);
        changes.extend(scores::scored(event, session)?);
        Ok(changes)
    }
}

/// What begins, ends or suspends a session.
fn lifecycle(event: &ProjectedEvent, session: SessionId) -> Result<Option<Change>, PoisonReason> {
    let id = *session.as_bytes();
    let status = |word: &'static str| {
        let params = vec![word.into(), event.ledger_key().into(), id.into()];
        Change::about(&id, STATUS, params)
    };
    let ended = |at: Option<Micros>, reason: SqlValue, detail: Option<&String>| {
        let at = event.time_or_occurred(at)?;
        let params = vec![
            at.into(),
            reason,
            detail.into(),
            event.ledger_key().into(),
            id.into(),
        ];
        Ok(Some(Change::about(&id, ENDED, params)))
    };
    match event.agent()? {
        Some(AgentEvent::SessionStarted(started)) => self::started(event, &id, started).map(Some),
        Some(AgentEvent::SessionEnded(e)) => ended(e.ended_at, e.reason.name().into(), e.detail.as_ref()),
        Some(AgentEvent::SessionContinuedAs(_)) => Ok(Some(status("continued"))),
        Some(AgentEvent::SessionInputRequired(_)) => Ok(Some(status("input_required"))),
        // Where a session stands is in the names of its events.
        None => match event.event_type() {
            "session.started" => {
                let params = vec![subject(event), event.ledger_key().into(), id.into()];
                Ok(Some(Change::about(&id, SUBJECT, params)))
            }
            "session.ended" => ended(None, SqlValue::Null, None),
            "session.continued_as" => Ok(Some(status("continued"))),
            "session.input_required" => Ok(Some(status("input_required"))),
            _ => Ok(None),
        },
        Some(_) => Ok(None),
    }
}

fn subject(event: &ProjectedEvent) -> SqlValue {
    event.header().subject.map(|id| id.0.into_bytes()).into()
}

fn started(event: &ProjectedEvent, id: &[u8; 16], started: &SessionStarted) -> Result<Change, PoisonReason> {
    let attributes = (!started.attributes.is_empty()).then(|| crate::json(&started.attributes));
    let params = vec![
        started.external_id.as_ref().into(),
        started.app.as_ref().into(),
        bounds::key(started.agent_id.as_ref()).into(),
        started.agent_version.as_ref().into(),
        started.interlocutor_id.as_ref().into(),
        started.channel.as_ref().into(),
        started.scenario_id.as_ref().into(),
        bounds::ordinal(started.trial).into(),
        attributes.into(),
        event.header().provenance.name().into(),
        event.time_or_occurred(started.started_at)?.into(),
        subject(event),
        event.ledger_key().into(),
        (*id).into(),
    ];
    Ok(Change::about(id, STARTED, params))
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// It goes on.
    Open,
    /// It waits for input of the interlocutor.
    InputRequired,
    /// It goes on in another session.
    Continued,
    /// It ended.
    Ended,
}

impl SessionStatus {
    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InputRequired => "input_required",
            Self::Continued => "continued",
            Self::Ended => "ended",
        }
    }
}

impl std::str::FromStr for SessionStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Open, Self::InputRequired, Self::Continued, Self::Ended];
        all.into_iter().find(|status| status.name() == text).ok_or(())
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Our id.
    pub id: SessionId,
    /// The client's own id.
    pub external_id: Option<String>,
    /// Application that it runs in.
    pub app: Option<String>,
    /// The client's own id of the agent.
    pub agent: Option<String>,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// The client's own id of the interlocutor.
    pub interlocutor: Option<String>,
    /// Channel.
    pub channel: Option<String>,
    /// The client's own id of the scenario or task.
    pub scenario: Option<String>,
    /// Which repetition of the scenario.
    pub trial: Option<u64>,
    /// Labels of the client: a JSON object.
    pub attributes: Option<String>,
    /// Worth as evidence of the event that opened it.
    pub provenance: String,
    /// Where it stands.
    pub status: SessionStatus,
    /// When it began.
    pub started_at: Micros,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// Why it ended.
    pub end_reason: Option<SessionEndReason>,
    /// Why it ended, in the source's own words.
    pub end_detail: Option<String>,
    /// Its first record.
    pub first_position: Position,
    /// Its last record.
    pub last_position: Position,
    /// When that happened.
    pub last_at: Micros,
    /// What happened, counted.
    pub tally: Tally,
    /// What its model calls cost, by currency.
    pub costs: Vec<CostTotal>,
}

const FIELDS: &str = "session, external_id, app, agent, agent_version, interlocutor, channel, scenario, trial, \
    attributes, provenance, status, started_at, ended_at, end_reason, end_detail, first_position, last_position, last_at";

static COLUMNS: LazyLock<String> = LazyLock::new(|| format!("{FIELDS}, {}", tally::COLUMNS.join(", ")));

fn read(fields: &mut Fields) -> Result<(Cursor, Session), ReadStoreError> {
    let session = Session {
        id: fields.id()?,
        external_id: fields.optional_text()?,
        app: fields.optional_text()?,
        agent: fields.optional_text()?,
        agent_version: fields.optional_text()?,
        interlocutor: fields.optional_text()?,
        channel: fields.optional_text()?,
        scenario: fields.optional_text()?,
        trial: fields.optional_count()?,
        attributes: fields.optional_text()?,
        provenance: fields.text()?,
        status: fields.word()?,
        started_at: fields.time()?,
        ended_at: fields.optional_time()?,
        end_reason: fields.optional_word()?,
        end_detail: fields.optional_text()?,
        first_position: fields.position()?,
        last_position: fields.position()?,
        last_at: fields.time()?,
        tally: Tally::read(fields)?,
        costs: Vec::new(),
    };
    let at = i64::try_from(session.started_at.0).unwrap_or(i64::MAX);
    Ok((Cursor::of_id(at, *session.id.as_bytes()), session))
}

/// Which sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this agent.
    pub agent: Option<String>,
    /// Of the interlocutor whose data it is, on whatever channel: found though what the session says of it is gone.
    pub subject: Option<SubjectId>,
    /// With this id of the client.
    pub external_id: Option<String>,
    /// Of this channel.
    pub channel: Option<String>,
    /// Standing here.
    pub status: Option<SessionStatus>,
    /// Started at this time or later.
    pub started_from: Option<Micros>,
    /// Started before this time.
    pub started_before: Option<Micros>,
    /// With goals that are to be reached, or without.
    pub open_goals: Option<bool>,
    /// Whose lane holds a turn, and where something happened lately or nothing did.
    pub activity: Option<Activity>,
}

/// Where a lane holds a turn of a session: whether something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something happened in the session at this time or later.
    ActiveSince(Micros),
    /// Nothing did: whoever has the turn says nothing.
    FrozenSince(Micros),
}

/// Turns that are not over are few, so the sessions are found by them. $1 is the ledger.
const HELD: &str = " AND session.session IN (SELECT t.session FROM lane_turn t WHERE t.ledger = $1 \
    AND t.state NOT IN ('gathering', 'queued'))";
const HAS_GOALS: &str = "EXISTS (SELECT 1 FROM goal g WHERE g.ledger = session.ledger AND g.session = session.session \
    AND g.status = 'open')";

impl SessionFilter {
    fn narrow(&self, select: Select) -> Select {
        let time = |time: Micros| i64::try_from(time.0).unwrap_or(i64::MAX);
        let select = match self.activity {
            None => select,
            Some(Activity::ActiveSince(at)) => select.text(HELD).and("last_at >= ", time(at)),
            Some(Activity::FrozenSince(at)) => select.text(HELD).and("last_at < ", time(at)),
        };
        let select = match self.open_goals {
            None => select,
            Some(true) => select.text(&format!(" AND {HAS_GOALS}")),
            Some(false) => select.text(&format!(" AND NOT {HAS_GOALS}")),
        };
        select
            .and_if("agent = ", bounds::key(self.agent.as_ref()))
            .and_if("subject = ", self.subject.map(|id| id.0.into_bytes()))
            .and_if("external_id = ", self.external_id.clone())
            .and_if("channel = ", self.channel.clone())
            .and_if("status = ", self.status.map(SessionStatus::name))
            .and_if("started_at >= ", self.started_from.map(time))
            .and_if("started_at < ", self.started_before.map(time))
    }
}

/// Sessions by when they began; `descending` gives the newest first.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &SessionFilter,
    page: &PageRequest,
) -> Result<Page<Session>, ReadStoreError> {
    let select = filter.narrow(Select::of(&COLUMNS, "session", ledger));
    // In the order of an index SQLite would go through all sessions, of whatever state; those that are held are sorted.
    let started_at = match filter.activity {
        None => "started_at",
        Some(_) => "started_at + 0",
    };
    let rows = select
        .page([started_at, "session"], Cursor::id_value, page)
        .rows(store)
        .await?;
    let mut page = Page::read(page, rows, read)?;
    with_costs(store, ledger, page.rows.iter_mut().map(|(_, session)| session)).await?;
    Ok(page)
}

/// The sessions with these ids that there are, in no particular order.
///
/// # Errors
/// Those of the store.
pub async fn by_ids(
    store: &dyn ReadStore,
    ledger: LedgerId,
    ids: &[SessionId],
) -> Result<Vec<Session>, ReadStoreError> {
    let ids = ids.iter().map(|id| *id.as_bytes());
    let rows = Select::of(&COLUMNS, "session", ledger)
        .and_in("session", ids)
        .rows(store)
        .await?;
    let sessions: Result<Vec<_>, _> = rows.into_iter().map(|row| read(&mut Fields::new(row))).collect();
    let mut sessions: Vec<Session> = sessions?.into_iter().map(|(_, session)| session).collect();
    with_costs(store, ledger, sessions.iter_mut()).await?;
    Ok(sessions)
}

/// One session.
///
/// # Errors
/// Those of the store.
pub async fn get(
    store: &dyn ReadStore,
    ledger: LedgerId,
    id: SessionId,
) -> Result<Option<Session>, ReadStoreError> {
    Ok(by_ids(store, ledger, &[id]).await?.pop())
}

/// How many sessions fit a filter, and the sum of their counters.
///
/// # Errors
/// Those of the store.
pub async fn totals(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &SessionFilter,
) -> Result<(u64, Tally), ReadStoreError> {
    let sums = tally::COLUMNS
        .iter()
        .map(|c| format!(", COALESCE(CAST(SUM({c}) AS BIGINT), 0)"));
    let columns = format!("COUNT(*){}", sums.collect::<String>());
    let rows = filter
        .narrow(Select::of(&columns, "session", ledger))
        .rows(store)
        .await?;
    let row = rows
        .into_iter()
        .next()
        .ok_or_else(|| ReadStoreError::Corrupt("a sum has no row".into()))?;
    let fields = &mut Fields::new(row);
    Ok((fields.count()?, Tally::read(fields)?))
}

async fn with_costs(
    store: &dyn ReadStore,
    ledger: LedgerId,
    sessions: impl Iterator<Item = &mut Session>,
) -> Result<(), ReadStoreError> {
    let sessions: Vec<&mut Session> = sessions.collect();
    let told = sessions.iter().filter(|s| s.tally.costs_known > 0);
    let ids = told.map(|s| *s.id.as_bytes()).collect();
    let mut costs = tally::costs_by_id(store, ledger, ("session_cost", "session"), ids).await?;
    for session in sessions {
        session.costs = costs.remove(session.id.as_bytes()).unwrap_or_default();
    }
    Ok(())
}
