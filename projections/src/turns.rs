//! Read model: logical turns, from opened to over.

mod gathering;
mod query;

use std::sync::LazyLock;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::ApprovalMode;
use ruche_domain::events::turn::{OutcomeCategory, TurnOpened};
use ruche_domain::measures::{Cost, Usage};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::Category;

use crate::bounds;
use crate::change::{About, Add, Change, SqlValue};
use crate::counter::{Counter, KeyColumn, Upsert};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::tally::{self, Tally};
use crate::{turn_attempts, turn_steps};

pub use gathering::{Gathering, TURNS_LOOKED_AT_MAX, gathering};
pub use query::{Turn, TurnFilter, by_ids, get, list};

/// Tables of this read model.
pub const TABLES: &[&str] = &["turn", "turn_cost", "turn_step", "turn_attempt"];

/// Each of these makes the row if it is not there, and changes it only if the turn belongs to the session of the event.
/// So a turn belongs to the session of its first event. Additions count only where the row is there and is that of their
/// session, and change no column of these: they do not commute with what makes the row, and commute with what finds it.
/// Parameters 1 to 6 are those of [`common`].
const SEEN: &str = "INSERT INTO turn (ledger, turn, session, first_at, first_position, last_position, lane) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ledger, turn) DO NOTHING";
const OPENED: &str = "INSERT INTO turn (ledger, turn, session, first_at, first_position, last_position, ordinal, \
    external_id, agent, opened_by, opened_at, lane) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
    ON CONFLICT (ledger, turn) DO UPDATE SET ordinal = excluded.ordinal, external_id = excluded.external_id, \
    agent = excluded.agent, opened_by = excluded.opened_by, opened_at = excluded.opened_at, \
    lane = excluded.lane \
    WHERE turn.session IS NOT DISTINCT FROM excluded.session";
const STARTED: &str = "INSERT INTO turn (ledger, turn, session, first_at, first_position, last_position, \
    started_at, status, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7, 'processing', 1) \
    ON CONFLICT (ledger, turn) DO UPDATE SET status = excluded.status, \
    started_at = COALESCE(turn.started_at, excluded.started_at), attempts = turn.attempts + 1 \
    WHERE turn.session IS NOT DISTINCT FROM excluded.session";
const STATUS: &str = "INSERT INTO turn (ledger, turn, session, first_at, first_position, last_position, status) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ledger, turn) DO UPDATE SET status = excluded.status, awaits_decision = 0 \
    WHERE turn.session IS NOT DISTINCT FROM excluded.session";
const SEALED: &str = "INSERT INTO turn (ledger, turn, session, first_at, first_position, last_position, sealed_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ledger, turn) DO UPDATE SET \
    sealed_at = COALESCE(turn.sealed_at, excluded.sealed_at) WHERE turn.session IS NOT DISTINCT FROM excluded.session";
const OVER: &str = "INSERT INTO turn (ledger, turn, session, first_at, first_position, last_position, status, \
    outcome, error_type, error, ended_at, duration_us, usage_total, cost_total) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
    ON CONFLICT (ledger, turn) DO UPDATE SET status = excluded.status, outcome = excluded.outcome, \
    error_type = excluded.error_type, error = excluded.error, ended_at = excluded.ended_at, \
    duration_us = excluded.duration_us, usage_total = excluded.usage_total, cost_total = excluded.cost_total \
    WHERE turn.session IS NOT DISTINCT FROM excluded.session";

/// People are asked about a decision that the turn waits for, or about an outcome that nobody knows.
const AWAITS_DECISION: &str = "UPDATE turn SET status = 'awaiting_approval', awaits_decision = 1 \
    WHERE turn.ledger = $1 AND turn.turn = $2 AND turn.session IS NOT DISTINCT FROM $3";
const AWAITS_OUTCOME: &str = "UPDATE turn SET status = 'awaiting_approval' \
    WHERE turn.ledger = $1 AND turn.turn = $2 AND turn.session IS NOT DISTINCT FROM $3 AND turn.status = 'processing'";
/// A turn waits for one decision at most, so the next one on it is that.
const DECIDED: &str = "UPDATE turn SET awaits_decision = 0, \
    status = CASE status WHEN 'awaiting_approval' THEN 'processing' ELSE status END \
    WHERE turn.ledger = $1 AND turn.turn = $2 AND turn.session IS NOT DISTINCT FROM $3 AND turn.awaits_decision = 1";

/// The messages of a turn whose place is taken belong to the turn that takes it. Which of them the interlocutor sent is not
/// said again; those that came in move, so all that it sent do.
const TAKEN_IN: &str = "UPDATE turn SET messages = turn.messages + $1, user_messages = turn.user_messages + before.user_messages \
    FROM turn before WHERE before.ledger = $2 AND before.turn = $3 AND before.session IS NOT DISTINCT FROM $4 \
    AND turn.ledger = $2 AND turn.turn = $5";
const HANDED_ON: &str = "UPDATE turn SET messages = turn.messages - $1, user_messages = 0 \
    WHERE turn.ledger = $2 AND turn.turn = $3 AND turn.session IS NOT DISTINCT FROM $4";

static COUNTED: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "turn",
        key: &[KeyColumn::Param("ledger"), KeyColumn::Param("turn")],
        first: &["session", "first_at", "first_position"],
        of_turn: true,
        last: &["last_position"],
        sums: [tally::COLUMNS, &[]],
        money: false,
        also: "",
    }
    .upsert()
});

static COST: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "turn_cost",
        key: &[
            KeyColumn::Param("ledger"),
            KeyColumn::Param("turn"),
            KeyColumn::Param("currency"),
        ],
        first: &[],
        of_turn: true,
        last: &[],
        sums: [&["costs"], &[]],
        money: true,
        also: "",
    }
    .upsert()
});

/// The projection.
pub struct Turns;

impl Projection for Turns {
    fn name(&self) -> &'static str {
        "turns"
    }

    fn version(&self) -> u32 {
        9
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let Some(turn) = event.header().turn else {
            return Ok(vec![]);
        };
        let id = *turn.as_bytes();
        let key = || vec![event.ledger_key().into(), SqlValue::Id(id)];
        let session: SqlValue = event.header().session.map(|id| *id.as_bytes()).into();
        // Before the additions, which count only where there is a row.
        let mut changes = match lifecycle(event, &id)? {
            Some(change) => vec![change],
            None if is_of_turn(event) => {
                let mut params = common(event, &id)?;
                params.push(event.lane_key().into());
                vec![Change::of(About::Made(id), SEEN, params)]
            }
            None => vec![],
        };
        changes.extend(turn_attempts::change(event, turn)?);
        changes.extend(waits(event, &id)?);
        changes.extend(carried(event, &id)?);
        changes.extend(turn_steps::change(event, turn)?);
        changes.push(Change::Add(Box::new(Add {
            about: vec![id],
            upsert: &COUNTED,
            key: key(),
            first: vec![
                session.clone(),
                event.occurred_at()?.into(),
                event.place()?.into(),
            ],
            last: vec![event.place()?.into()],
            sums: Tally::of(event)?.values(),
            money: None,
            owner: Some(session.clone()),
        })));
        if let Some((currency, amount)) = tally::cost_of(event)? {
            let mut key = key();
            key.push(currency.into());
            changes.push(Change::Add(Box::new(Add {
                about: vec![id],
                upsert: &COST,
                key,
                first: vec![],
                last: vec![],
                sums: vec![1],
                money: Some(amount),
                owner: Some(session),
            })));
        }
        Ok(changes)
    }
}

/// Whether the event makes a turn. The message that opens a governed turn stands in front of the event that says so.
fn is_of_turn(event: &ProjectedEvent) -> bool {
    let in_lane = event.header().stream.category == Category::Lane;
    event.family() == "turn" || (in_lane && event.event_type() == "message.received")
}

/// Whether the turn begins to wait for people, or goes on.
fn waits(event: &ProjectedEvent, id: &[u8; 16]) -> Result<Option<Change>, PoisonReason> {
    let sql = match (event.header().stream.category, event.event_type()) {
        (Category::Approval, "approval.requested") => match event.agent()? {
            Some(AgentEvent::ApprovalRequested(said)) if said.mode == ApprovalMode::Blocking => {
                AWAITS_DECISION
            }
            _ => return Ok(None),
        },
        (
            Category::Approval,
            "approval.resolved" | "approval.expired" | "approval.cancelled" | "approval.voided"
            | "approval.stale" | "approval.consumed",
        ) => DECIDED,
        (Category::Lane, "infra.manual_intervention_required") => AWAITS_OUTCOME,
        _ => return Ok(None),
    };
    let session = event.header().session.map(|id| *id.as_bytes());
    let params = vec![event.ledger_key().into(), (*id).into(), session.into()];
    Ok(Some(Change::about(id, sql, params)))
}

/// What becomes of the counts of messages where a turn takes the place of another.
fn carried(event: &ProjectedEvent, id: &[u8; 16]) -> Result<Vec<Change>, PoisonReason> {
    let Some(AgentEvent::TurnSupersedeRequested(requested)) = event.agent()? else {
        return Ok(vec![]);
    };
    let (session, successor) = (event.header().session, requested.successor_turn_id.as_bytes());
    if successor == id {
        return Ok(vec![]);
    }
    let from: Vec<SqlValue> = vec![
        (requested.carried_message_ids.len() as i64).into(),
        event.ledger_key().into(),
        (*id).into(),
        session.map(|id| *id.as_bytes()).into(),
    ];
    let mut to = from.clone();
    to.push((*successor).into());
    Ok(vec![
        Change::of(About::OneGiven(*successor, *id), TAKEN_IN, to),
        Change::about(id, HANDED_ON, from),
    ])
}

/// The parameters with which every statement about a turn starts.
fn common(event: &ProjectedEvent, id: &[u8; 16]) -> Result<Vec<SqlValue>, PoisonReason> {
    Ok(vec![
        event.ledger_key().into(),
        (*id).into(),
        event.header().session.map(|id| *id.as_bytes()).into(),
        event.occurred_at()?.into(),
        event.place()?.into(),
        event.place()?.into(),
    ])
}

fn lifecycle(event: &ProjectedEvent, id: &[u8; 16]) -> Result<Option<Change>, PoisonReason> {
    let status = |status: TurnStatus| {
        let mut params = common(event, id)?;
        params.push(status.name().into());
        Ok(Some(Change::of(About::Made(*id), STATUS, params)))
    };
    let started = |at: Option<Micros>| {
        let mut params = common(event, id)?;
        params.push(event.time_or_occurred(at)?.into());
        Ok(Some(Change::of(About::Made(*id), STARTED, params)))
    };
    if let Some(over) = Over::of(event)? {
        return over.change(event, id).map(Some);
    }
    if event.event_type() == "turn.sealed" {
        let mut params = common(event, id)?;
        params.push(event.occurred_at()?.into());
        return Ok(Some(Change::of(About::Made(*id), SEALED, params)));
    }
    if event.event_type() == "turn.supersede_requested" {
        // What was counted before is looked at behind this one.
        let mut params = common(event, id)?;
        params.push(TurnStatus::Cancelling.name().into());
        return Ok(Some(Change::about(id, STATUS, params)));
    }
    match event.agent()? {
        Some(AgentEvent::TurnOpened(t)) => opened(event, id, t).map(Some),
        Some(AgentEvent::TurnStarted(t)) => started(t.started_at),
        None if event.event_type() == "turn.started" => started(None),
        // Where no other attempt follows, the turn ends early. Otherwise the event that readies it says so.
        Some(AgentEvent::TurnAttemptFailed(t)) if t.retry_at.is_none() => status(TurnStatus::Cancelling),
        // Whether another one follows is gone. The event that readies it says so in the same append.
        None if event.event_type() == "turn.attempt_failed" => status(TurnStatus::Cancelling),
        _ => next_status(event.event_type()).map_or(Ok(None), status),
    }
}

/// Where a turn stands after an event that says nothing else of it.
fn next_status(event_type: &str) -> Option<TurnStatus> {
    Some(match event_type {
        "turn.readied" => TurnStatus::Ready,
        "turn.queued" => TurnStatus::Queued,
        "turn.cancel_requested" => TurnStatus::Cancelling,
        "turn.compensating" => TurnStatus::Compensating,
        _ => return None,
    })
}

fn opened(event: &ProjectedEvent, id: &[u8; 16], turn: &TurnOpened) -> Result<Change, PoisonReason> {
    let mut params = common(event, id)?;
    params.extend([
        bounds::ordinal(turn.turn_ordinal).into(),
        turn.external_id.as_ref().into(),
        turn.agent_id.as_ref().into(),
        turn.trigger.name().into(),
        event.occurred_at()?.into(),
        event.lane_key().into(),
    ]);
    Ok(Change::of(About::Made(*id), OPENED, params))
}

/// The end of a turn.
struct Over<'a> {
    status: TurnStatus,
    outcome: Option<OutcomeCategory>,
    error_type: Option<&'a String>,
    error: Option<&'a String>,
    ended_at: Option<Micros>,
    duration_us: Option<u64>,
    usage: Option<&'a Usage>,
    costs: &'a [Cost],
}

impl<'a> Over<'a> {
    fn erased(status: TurnStatus) -> Self {
        Self {
            status,
            outcome: None,
            error_type: None,
            error: None,
            ended_at: None,
            duration_us: None,
            usage: None,
            costs: &[],
        }
    }

    fn of(event: &'a ProjectedEvent) -> Result<Option<Self>, PoisonReason> {
        Ok(match event.agent()? {
            Some(AgentEvent::TurnCommitted(t)) => Some(Self {
                outcome: t.outcome_category,
                ended_at: t.ended_at,
                duration_us: t.duration_us,
                usage: t.usage_total.as_ref(),
                costs: &t.cost_total,
                ..Self::erased(TurnStatus::Committed)
            }),
            Some(AgentEvent::TurnFailed(t)) => Some(Self {
                error_type: Some(&t.error_type),
                error: t.error.as_ref(),
                ended_at: t.ended_at,
                duration_us: t.duration_us,
                usage: t.usage_total.as_ref(),
                costs: &t.cost_total,
                ..Self::erased(TurnStatus::Failed)
            }),
            Some(AgentEvent::TurnSuperseded(t)) => Some(Self {
                usage: t.usage_total.as_ref(),
                costs: &t.cost_total,
                ..Self::erased(TurnStatus::Superseded)
            }),
            Some(AgentEvent::TurnCancelled(t)) => Some(Self {
                error: t.reason.as_ref(),
                usage: t.usage_total.as_ref(),
                costs: &t.cost_total,
                ..Self::erased(TurnStatus::Cancelled)
            }),
            Some(_) => None,
            None => match event.event_type() {
                "turn.committed" => Some(Self::erased(TurnStatus::Committed)),
                "turn.failed" => Some(Self::erased(TurnStatus::Failed)),
                "turn.superseded" => Some(Self::erased(TurnStatus::Superseded)),
                "turn.cancelled" => Some(Self::erased(TurnStatus::Cancelled)),
                _ => None,
            },
        })
    }

    fn change(&self, event: &ProjectedEvent, id: &[u8; 16]) -> Result<Change, PoisonReason> {
        let mut params = common(event, id)?;
        params.extend([
            self.status.name().into(),
            self.outcome.map(OutcomeCategory::name).into(),
            self.error_type.into(),
            self.error.into(),
            event.time_or_occurred(self.ended_at)?.into(),
            bounds::duration(self.duration_us).into(),
            self.usage.map(crate::json).into(),
            (!self.costs.is_empty()).then(|| crate::json(&self.costs)).into(),
        ]);
        Ok(Change::of(About::Made(*id), OVER, params))
    }
}

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TurnStatus {
    /// It takes messages.
    Accumulating,
    /// It waits for another turn of its lane.
    Queued,
    /// It waits for a worker.
    Ready,
    /// A worker has it.
    Processing,
    /// It waits for people: for a decision on a call, or for how one came out.
    AwaitingApproval,
    /// It is to end early and waits for its effects to settle.
    Cancelling,
    /// It undoes what it did.
    Compensating,
    /// It is over and its answer stands.
    Committed,
    /// A newer turn took its place.
    Superseded,
    /// It was cancelled.
    Cancelled,
    /// It failed for good.
    Failed,
}

impl TurnStatus {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Accumulating,
        Self::Queued,
        Self::Ready,
        Self::Processing,
        Self::AwaitingApproval,
        Self::Cancelling,
        Self::Compensating,
        Self::Committed,
        Self::Superseded,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word in the column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accumulating => "gathering",
            Self::Queued => "queued",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Cancelling => "draining",
            Self::Compensating => "compensating",
            Self::Committed => "committed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for TurnStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|status| status.name() == text)
            .ok_or(())
    }
}
