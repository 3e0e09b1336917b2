//! What later events need to know of earlier ones, kept in tables of its own.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::ConfigScope;
use ruche_domain::stream::Category;
use serde_json::Value;

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::PoisonReason;

const SESSION: &str = "INSERT INTO analytics_session (ledger, session, agent, channel, scenario) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (ledger, session) DO UPDATE SET agent = excluded.agent, channel = excluded.channel, \
    scenario = excluded.scenario";
const OPENED: &str = "INSERT INTO analytics_turn_mark (ledger, turn, opened_at) VALUES ($1, $2, $3) \
    ON CONFLICT (ledger, turn) DO UPDATE SET opened_at = excluded.opened_at";
const SEALED: &str = "INSERT INTO analytics_turn_mark (ledger, turn, sealed_at) VALUES ($1, $2, $3) \
    ON CONFLICT (ledger, turn) DO UPDATE SET sealed_at = excluded.sealed_at";
const PINNED: &str = "INSERT INTO analytics_turn_mark (ledger, turn, config) VALUES ($1, $2, $3) \
    ON CONFLICT (ledger, turn) DO UPDATE SET config = excluded.config";
const CALL: &str = "INSERT INTO analytics_call (ledger, session, call, tool) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (ledger, session, call) DO UPDATE SET tool = excluded.tool";
const STARTED: &str = "INSERT INTO analytics_call (ledger, session, call, tool, started_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (ledger, session, call) DO UPDATE SET started_at = excluded.started_at";
const REQUESTED: &str = "INSERT INTO analytics_request (ledger, approval, tool, requested_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (ledger, approval) DO NOTHING";
const PRICES: &str =
    "INSERT INTO analytics_price (ledger, position, effective_from, prices) VALUES ($1, $2, $3, $4)";

/// The key of the tenant's configuration that holds prices.
const PRICES_KEY: &str = "prices.llm";

/// What is kept of an event. Of an erased payload only that something happened and when.
pub(super) fn changes(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let header = event.header();
    let ledger = || SqlValue::from(event.ledger_key());
    if let (Some(session), Some(AgentEvent::SessionStarted(told))) = (header.session, event.agent()?) {
        let session = *session.as_bytes();
        let name = |told: Option<&String>| SqlValue::from(bounds::key(told).unwrap_or_default());
        let names = [&told.agent_id, &told.channel, &told.scenario_id].map(|told| name(told.as_ref()));
        let mut params = vec![ledger(), session.into()];
        params.extend(names);
        return Ok(vec![Change::about(&session, SESSION, params)]);
    }
    let mut changes = Vec::new();
    changes.extend(of_turn(event)?);
    changes.extend(of_call(event)?);
    changes.extend(requested(event)?);
    changes.extend(prices(event)?);
    Ok(changes)
}

/// Of a turn of a lane: when it was opened and when it took no more messages, and its configuration. What is recorded of
/// turns elsewhere was over when it was recorded.
fn of_turn(event: &ProjectedEvent) -> Result<Option<Change>, PoisonReason> {
    let (Some(turn), Category::Lane) = (event.header().turn, event.header().stream.category) else {
        return Ok(None);
    };
    let turn = *turn.as_bytes();
    let (sql, value): (_, SqlValue) = match (event.event_type(), event.agent()?) {
        ("turn.opened", _) => (OPENED, event.occurred_at()?.into()),
        ("turn.sealed", _) => (SEALED, event.occurred_at()?.into()),
        (_, Some(AgentEvent::ConfigEffectiveResolved(told))) => {
            (PINNED, told.result_digest.to_string().into())
        }
        _ => return Ok(None),
    };
    let params = vec![event.ledger_key().into(), turn.into(), value];
    Ok(Some(Change::about(&turn, sql, params)))
}

/// Of a call: its tool, and when it was started in a lane.
fn of_call(event: &ProjectedEvent) -> Result<Option<Change>, PoisonReason> {
    let (Some(session), Some(call)) = (event.header().session, event.header().call) else {
        return Ok(None);
    };
    let call = *call.as_bytes();
    let in_lane = event.header().stream.category == Category::Lane;
    let key = |tool: &str| -> Vec<SqlValue> {
        vec![
            event.ledger_key().into(),
            (*session.as_bytes()).into(),
            call.into(),
            bounds::name(tool).into_owned().into(),
        ]
    };
    Ok(match event.agent()? {
        Some(AgentEvent::ToolProposed(told)) => Some(Change::about(&call, CALL, key(&told.name))),
        Some(AgentEvent::ToolStarted(told)) if in_lane => {
            let mut params = key(&told.name);
            params.push(event.occurred_at()?.into());
            Some(Change::about(&call, STARTED, params))
        }
        _ => None,
    })
}

fn requested(event: &ProjectedEvent) -> Result<Option<Change>, PoisonReason> {
    let stream = &event.header().stream;
    if (stream.category, event.event_type()) != (Category::Approval, "approval.requested") {
        return Ok(None);
    }
    let tool = match event.agent()? {
        Some(AgentEvent::ApprovalRequested(told)) => bounds::key(told.tool_name.as_ref()),
        _ => None,
    };
    let id = stream.id.into_bytes();
    let params = vec![
        event.ledger_key().into(),
        id.into(),
        tool.unwrap_or_default().into(),
        event.occurred_at()?.into(),
    ];
    Ok(Some(Change::about(&id, REQUESTED, params)))
}

/// A table of prices. One without a time at which it begins holds for all calls that are recorded behind it.
fn prices(event: &ProjectedEvent) -> Result<Option<Change>, PoisonReason> {
    let (from, table): (i64, Option<&Value>) = match event.agent()? {
        Some(AgentEvent::ConfigPriceTableChanged(told)) => {
            // One that begins behind all times of a calendar never does.
            let from = told
                .effective_from
                .map(|from| bounds::time(Some(from)).unwrap_or(i64::MAX));
            (from.unwrap_or(0), told.table.as_ref())
        }
        Some(AgentEvent::ConfigPublished(told)) if told.scope == ConfigScope::Tenant => {
            let is_removed = told.removed.iter().any(|key| key == PRICES_KEY);
            match told.set.get(PRICES_KEY) {
                _ if is_removed => (0, None),
                Some(table) => (0, Some(table)),
                None => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    let params = vec![
        event.ledger_key().into(),
        event.place()?.into(),
        from.into(),
        table.map(crate::json).into(),
    ];
    Ok(Some(Change::write(PRICES, params)))
}
