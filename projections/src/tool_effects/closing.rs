//! Calls that will never run: policy or people said no, what was signed does not hold any more, or their turn is over.
//!
//! No event of the call itself says so. What says it are decisions on its approval, starts that were refused, and the end
//! of its turn. What counts is in the names of these events where that can be, so that it holds when payloads are gone.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::tool::{StartRefusal, ToolStartRefused};
use ruche_domain::events::{ApprovalOutcome, PolicyVerdict};
use ruche_domain::ids::CallId;
use ruche_domain::stream::Category;

use super::NotExecutedCause;
use crate::change::{About, Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::PoisonReason;

/// A call that did not start and was not closed before.
const CLOSED: &str = "UPDATE tool_effect SET status = 'not_executed', not_executed_cause = $1, last_position = $2, \
    not_executed_reason = $3 WHERE tool_effect.ledger = $4 AND tool_effect.call = $5 \
    AND tool_effect.session IS NOT DISTINCT FROM $6 AND status IN ('proposed', 'deferred')";
/// The same; a start that is refused says why its approval was given up in the same append.
const START_REFUSED: &str = "UPDATE tool_effect SET status = 'not_executed', not_executed_cause = $1, last_position = $2 \
    WHERE tool_effect.ledger = $3 AND tool_effect.call = $4 AND tool_effect.session IS NOT DISTINCT FROM $5 \
    AND status IN ('proposed', 'deferred', 'not_executed') AND attempts = 0";
/// Calls that wait for a decision outlive their turn: the decision on them opens another one.
const TURN_OVER: &str = "UPDATE tool_effect SET status = 'not_executed', not_executed_cause = 'turn_gone', \
    last_position = $1 FROM tool_effect e WHERE e.ledger = $2 AND e.turn = $3 \
    AND tool_effect.ledger = e.ledger AND tool_effect.call = e.call \
    AND tool_effect.session IS NOT DISTINCT FROM $4 AND tool_effect.status = 'proposed'";
/// Undoing was given up, which nothing else says where the payload of the last try is gone. Of a call in doubt a person
/// may be asked how it came out instead; that is so of irreversible ones, which nobody undoes.
const GIVEN_UP: &str = "UPDATE tool_effect SET status = 'compensation_failed', last_position = $1 \
    WHERE tool_effect.ledger = $2 AND tool_effect.call = $3 AND tool_effect.session IS NOT DISTINCT FROM $4 \
    AND (status = 'completed' OR (status = 'outcome_unknown' AND side_effect = 'compensatable'))";

/// What an event that is none of a tool says of calls.
pub(super) fn changes(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let header = event.header();
    let change = match (header.stream.category, event.event_type(), header.call) {
        (Category::Approval, _, Some(call)) => decided(event, call)?,
        (Category::Lane, "policy.evaluated", Some(call)) => match event.agent()? {
            Some(AgentEvent::PolicyEvaluated(said)) => match said.verdict {
                PolicyVerdict::Allow | PolicyVerdict::RequireApproval => None,
                PolicyVerdict::Deny | PolicyVerdict::Transform => {
                    Some(closed(event, call, NotExecutedCause::Denied, CLOSED)?)
                }
            },
            _ => None,
        },
        (Category::Lane, "infra.manual_intervention_required", Some(call)) => given_up(event, call)?,
        (Category::Lane, "turn.committed" | "turn.superseded" | "turn.cancelled" | "turn.failed", _) => {
            turn_over(event)?
        }
        _ => None,
    };
    Ok(change.into_iter().collect())
}

/// What a decision on its approval means for a call.
fn decided(event: &ProjectedEvent, call: CallId) -> Result<Option<Change>, PoisonReason> {
    let cause = match event.event_type() {
        "approval.expired" => NotExecutedCause::Expired,
        "approval.stale" => NotExecutedCause::Stale,
        "approval.cancelled" | "approval.voided" => NotExecutedCause::TurnGone,
        "approval.resolved" => match event.agent()? {
            Some(AgentEvent::ApprovalResolved(said)) if said.outcome != ApprovalOutcome::Approved => {
                NotExecutedCause::Rejected
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    closed(event, call, cause, CLOSED).map(Some)
}

/// What whoever said no gave for it.
fn reason_of(event: &ProjectedEvent) -> Result<SqlValue, PoisonReason> {
    Ok(match event.agent()? {
        Some(AgentEvent::ApprovalResolved(said)) => said.detail.as_ref().into(),
        _ => SqlValue::Null,
    })
}

/// What a start that was refused means for a call. An approval that is not there yet may still come.
pub(super) fn start_refused(
    event: &ProjectedEvent,
    call: CallId,
    said: &ToolStartRefused,
) -> Result<Option<Change>, PoisonReason> {
    let (cause, sql) = match said.refusal {
        StartRefusal::NotApproved => return Ok(None),
        // Whoever said no before said why.
        StartRefusal::Denied => (NotExecutedCause::Denied, CLOSED),
        StartRefusal::Expired => (NotExecutedCause::Expired, START_REFUSED),
        StartRefusal::OtherAction | StartRefusal::RevokedKey | StartRefusal::Stale => {
            (NotExecutedCause::Stale, START_REFUSED)
        }
    };
    closed(event, call, cause, sql).map(Some)
}

fn closed(
    event: &ProjectedEvent,
    call: CallId,
    cause: NotExecutedCause,
    sql: &'static str,
) -> Result<Change, PoisonReason> {
    let mut params = vec![cause.name().into(), event.place()?.into()];
    if sql == CLOSED {
        params.push(reason_of(event)?);
    }
    params.extend([
        event.ledger_key().into(),
        (*call.as_bytes()).into(),
        session(event),
    ]);
    Ok(Change::of(about(event, call), sql, params))
}

fn turn_over(event: &ProjectedEvent) -> Result<Option<Change>, PoisonReason> {
    let Some(turn) = event.header().turn else {
        return Ok(None);
    };
    let params = vec![
        event.place()?.into(),
        event.ledger_key().into(),
        (*turn.as_bytes()).into(),
        session(event),
    ];
    let about = About::One(*turn.as_bytes());
    Ok(Some(Change::of(about, TURN_OVER, params)))
}

fn given_up(event: &ProjectedEvent, call: CallId) -> Result<Option<Change>, PoisonReason> {
    if let Some(AgentEvent::InfraManualInterventionRequired(said)) = event.agent()?
        && said.reason != "compensation_failed"
    {
        return Ok(None);
    }
    let params = vec![
        event.place()?.into(),
        event.ledger_key().into(),
        (*call.as_bytes()).into(),
        session(event),
    ];
    Ok(Some(Change::of(about(event, call), GIVEN_UP, params)))
}

fn session(event: &ProjectedEvent) -> SqlValue {
    event.header().session.map(|id| *id.as_bytes()).into()
}

/// What is said of a call comes before the end of its turn, or behind it.
pub(super) fn about(event: &ProjectedEvent, call: CallId) -> About {
    let call = *call.as_bytes();
    match event.header().turn {
        Some(turn) => About::OneGiven(call, *turn.as_bytes()),
        None => About::One(call),
    }
}
