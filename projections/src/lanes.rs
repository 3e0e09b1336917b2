//! Read model: conversation lanes, the turns in them that are not over, and when something happens in them by itself.
//!
//! It follows the machine of turns event by event and is never asked in order to decide: it finds lanes that are worth
//! asking, and the machine, on the lane's own stream, says whether something is due or a turn may be claimed. When a turn
//! is due is worked out by the tables themselves, from the columns that the events set.

mod query;

use ruche_domain::Ext;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalMode, AssertedOutcome, ConfigEffectiveResolved, TurnOpened, TurnStarted};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::Category;

use crate::bounds;
use crate::change::{About, Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};

pub use query::{
    Due, Holder, Lane, LaneFilter, LaneName, LaneTurnState, Queue, Ready, Running, Timers, by_id, list,
    name_of_agent, names, queue, ready, running, timers,
};

/// Tables of this read model.
pub const TABLES: &[&str] = &["lane", "lane_turn", "lane_call", "lane_approval"];

/// A turn that a decision opened says nothing of the lane, so what is known stays.
const LANE: &str = "INSERT INTO lane (ledger, lane, agent, interlocutor, channel, thread, first_position) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (ledger, lane) DO UPDATE SET \
    agent = COALESCE(excluded.agent, lane.agent), interlocutor = COALESCE(excluded.interlocutor, lane.interlocutor), \
    channel = COALESCE(excluded.channel, lane.channel), thread = COALESCE(excluded.thread, lane.thread)";
/// Whose lane it is the turn itself may not say, so it is looked up.
const OPENED: &str = "INSERT INTO lane_turn (ledger, turn, lane, session, opened_at, position, deadline, agent) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT l.agent FROM lane l WHERE l.ledger = $1 AND l.lane = $3)) \
    ON CONFLICT (ledger, turn) DO NOTHING";
const COALESCED: &str = "UPDATE lane_turn SET deadline = COALESCE($1, deadline) WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3";
const SEALED: &str =
    "UPDATE lane_turn SET deadline = NULL WHERE lane_turn.ledger = $1 AND lane_turn.turn = $2";
const PINNED: &str = "UPDATE lane_turn SET turn_us_max = $1, drain_us = $2, compensation_us = $3 \
    WHERE lane_turn.ledger = $4 AND lane_turn.turn = $5";
const QUEUED: &str =
    "UPDATE lane_turn SET state = 'queued' WHERE lane_turn.ledger = $1 AND lane_turn.turn = $2";
/// Only what a turn runs counts towards its end. So `started_at` is, while it runs, the time at which it had begun if it had
/// never waited; while it waits, what it ran so far, as a negative number.
const READIED: &str = "UPDATE lane_turn SET state = 'ready', not_before = $1, lease_expires_at = NULL, \
    awaits_decision = 0, started_at = CASE state WHEN 'processing' THEN started_at - $2 ELSE started_at END \
    WHERE lane_turn.ledger = $3 AND lane_turn.turn = $4";
const STARTED: &str = "UPDATE lane_turn SET state = 'processing', not_before = NULL, attempts = $1, \
    started_at = COALESCE(started_at, 0) + $2, lease_expires_at = $3 WHERE lane_turn.ledger = $4 AND lane_turn.turn = $5";
const RENEWED: &str = "UPDATE lane_turn SET lease_expires_at = $1 \
    WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3 AND lease_expires_at IS NOT NULL";
const LAPSED: &str =
    "UPDATE lane_turn SET lease_expires_at = NULL WHERE lane_turn.ledger = $1 AND lane_turn.turn = $2";
const WINDING: &str = "UPDATE lane_turn SET state = 'draining', winding_since = $1, deadline = NULL, \
    not_before = NULL, awaits_decision = 0 WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3";
const COMPENSATING: &str = "UPDATE lane_turn SET state = 'compensating', winding_since = $1 \
    WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3";
/// An effect is settled, and the next one that is to be undone has its time from now on.
const UNDOES_NEXT: &str = "UPDATE lane_turn SET winding_since = $1 \
    WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3 AND state = 'compensating'";
const OVER: &str = "DELETE FROM lane_turn WHERE lane_turn.ledger = $1 AND lane_turn.turn = $2";

/// People are asked about a decision of a turn that waits for it, or about an outcome that nobody knows.
const AWAITS_DECISION: &str = "UPDATE lane_turn SET state = 'awaiting_approval', awaits_decision = 1, \
    started_at = CASE state WHEN 'processing' THEN started_at - $1 ELSE started_at END \
    WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3";
const AWAITS_OUTCOME: &str = "UPDATE lane_turn SET state = 'awaiting_approval', started_at = started_at - $1 \
    WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3 AND state = 'processing'";
/// A turn waits for one decision at most, so the next one on it is that.
const DECIDED: &str = "UPDATE lane_turn SET awaits_decision = 0, \
    started_at = CASE state WHEN 'awaiting_approval' THEN started_at + $1 ELSE started_at END, \
    state = CASE state WHEN 'awaiting_approval' THEN 'processing' ELSE state END \
    WHERE lane_turn.ledger = $2 AND lane_turn.turn = $3 AND awaits_decision = 1";
/// What is due of a call by itself has a row in `lane_approval`: that a request lapses, or that a start takes too long. A
/// call waits for one of them at most, since its request is settled before it starts. An approval has a stream of its own;
/// the turn that asks says which lane it belongs to.
const REQUESTED: &str = "INSERT INTO lane_approval (ledger, call, lane, due_at) \
    SELECT lane_turn.ledger, $1, lane_turn.lane, $2 FROM lane_turn \
    WHERE lane_turn.ledger = $3 AND lane_turn.turn = $4 \
    ON CONFLICT (ledger, call) DO UPDATE SET due_at = excluded.due_at";
const TIMED: &str = "INSERT INTO lane_approval (ledger, call, lane, due_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (ledger, call) DO UPDATE SET due_at = excluded.due_at";
const CLOSED: &str = "DELETE FROM lane_approval WHERE lane_approval.ledger = $1 AND lane_approval.call = $2";

const RUNS: &str =
    "INSERT INTO lane_call (ledger, call) VALUES ($1, $2) ON CONFLICT (ledger, call) DO NOTHING";
const ONE_MORE: &str = "UPDATE lane_turn SET in_flight = in_flight + 1 \
    WHERE lane_turn.ledger = $1 AND lane_turn.turn = $2";
/// A worker may say how a call came out that is not under way any more, and then none less is.
const ONE_LESS: &str = "UPDATE lane_turn SET in_flight = in_flight - 1 \
    WHERE lane_turn.ledger = $1 AND lane_turn.turn = $2 AND EXISTS (SELECT 1 FROM lane_call \
    WHERE lane_call.ledger = lane_turn.ledger AND lane_call.call = $3)";
const SETTLED: &str = "DELETE FROM lane_call WHERE lane_call.ledger = $1 AND lane_call.call = $2";

/// The projection.
pub struct Lanes;

impl Projection for Lanes {
    fn name(&self) -> &'static str {
        "lanes"
    }

    fn version(&self) -> u32 {
        4
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let header = event.header();
        let Some(turn) = header.turn else {
            return Ok(vec![]);
        };
        let of = Of {
            event,
            turn: *turn.as_bytes(),
        };
        match (header.stream.category, event.family()) {
            (Category::Approval, "approval") => of.approval_event(),
            (Category::Lane, "turn") => of.turn_event(),
            (Category::Lane, "tool") => of.call_event(),
            (Category::Lane, _) => of.other_event(),
            _ => Ok(vec![]),
        }
    }
}

/// What an event of a turn changes.
struct Of<'a> {
    event: &'a ProjectedEvent,
    turn: [u8; 16],
}

impl Of<'_> {
    /// A statement about the turn, which ends with ledger and turn.
    fn turn(&self, sql: &'static str, mut params: Vec<SqlValue>) -> Change {
        params.extend([self.event.ledger_key().into(), self.turn.into()]);
        Change::of(About::One(self.turn), sql, params)
    }

    fn lane(&self) -> [u8; 16] {
        self.event.header().stream.id.into_bytes()
    }

    fn turn_event(&self) -> Result<Vec<Change>, PoisonReason> {
        let at = self.event.occurred_at()?;
        let fact = match self.event.agent()? {
            Some(fact) => fact,
            // Nothing can be decided in a lane whose facts are gone, so nothing is due in it; but what is over is over.
            None => {
                let over = [
                    "turn.committed",
                    "turn.superseded",
                    "turn.cancelled",
                    "turn.failed",
                ];
                let over = over.contains(&self.event.event_type());
                return Ok(if over {
                    vec![self.turn(OVER, vec![])]
                } else {
                    vec![]
                });
            }
        };
        let change = match fact {
            AgentEvent::TurnOpened(opened) => return self.opened(opened),
            AgentEvent::TurnMessageCoalesced(more) => {
                self.turn(COALESCED, vec![bounds::time(more.deadline).into()])
            }
            AgentEvent::TurnSealed(_) => self.turn(SEALED, vec![]),
            AgentEvent::TurnQueued(_) => self.turn(QUEUED, vec![]),
            AgentEvent::TurnReadied(readied) => {
                let not_before = self.event.time_or_occurred(Some(readied.not_before))?;
                self.turn(READIED, vec![not_before.into(), at.into()])
            }
            AgentEvent::TurnStarted(started) => self.started(started)?,
            AgentEvent::TurnAttemptFailed(failed) if failed.retry_at.is_some() => self.turn(LAPSED, vec![]),
            AgentEvent::TurnAttemptFailed(_) => {
                return Ok(vec![
                    self.turn(LAPSED, vec![]),
                    self.turn(WINDING, vec![at.into()]),
                ]);
            }
            AgentEvent::TurnSupersedeRequested(_) | AgentEvent::TurnCancelRequested(_) => {
                self.turn(WINDING, vec![at.into()])
            }
            AgentEvent::TurnCompensating(_) => self.turn(COMPENSATING, vec![at.into()]),
            AgentEvent::TurnCommitted(_)
            | AgentEvent::TurnSuperseded(_)
            | AgentEvent::TurnCancelled(_)
            | AgentEvent::TurnFailed(_) => self.turn(OVER, vec![]),
            _ => return Ok(vec![]),
        };
        Ok(vec![change])
    }

    fn opened(&self, opened: &TurnOpened) -> Result<Vec<Change>, PoisonReason> {
        let (ledger, lane) = (self.event.ledger_key(), self.lane());
        let place = self.event.place()?;
        let named = vec![
            ledger.into(),
            lane.into(),
            bounds::key(opened.agent_id.as_ref()).into(),
            opened.interlocutor_id.as_ref().into(),
            opened.channel.as_ref().into(),
            opened.thread_id.as_ref().into(),
            place.into(),
        ];
        let turn = vec![
            ledger.into(),
            self.turn.into(),
            lane.into(),
            self.event.header().session.map(|id| *id.as_bytes()).into(),
            self.event.occurred_at()?.into(),
            place.into(),
            bounds::time(opened.deadline).into(),
        ];
        Ok(vec![
            Change::of(About::One(lane), LANE, named),
            Change::of(About::OneGiven(self.turn, lane), OPENED, turn),
        ])
    }

    fn started(&self, started: &TurnStarted) -> Result<Change, PoisonReason> {
        let at = self.event.occurred_at()?;
        let lease = started.lease_id.as_ref().map(|_| started.lease_expires_at);
        let lease = lease.map(|expires_at| self.event.time_or_occurred(expires_at));
        let lease = lease.transpose()?;
        let params = vec![i64::from(started.attempt).into(), at.into(), lease.into()];
        Ok(self.turn(STARTED, params))
    }

    fn call_event(&self) -> Result<Vec<Change>, PoisonReason> {
        let Some(call) = self.event.header().call.map(|call| *call.as_bytes()) else {
            return Ok(vec![]);
        };
        let ledger = self.event.ledger_key();
        let about = |sql, params| Change::of(About::One(self.turn), sql, params);
        Ok(match self.event.event_type() {
            "tool.started" => {
                let mut changes = vec![
                    about(RUNS, vec![ledger.into(), call.into()]),
                    self.turn(ONE_MORE, vec![]),
                ];
                changes.extend(self.timed(call)?);
                changes
            }
            "tool.completed" | "tool.failed" | "tool.outcome_unknown" => vec![
                about(ONE_LESS, vec![ledger.into(), self.turn.into(), call.into()]),
                about(SETTLED, vec![ledger.into(), call.into()]),
                self.closed(call),
            ],
            "tool.compensated" | "tool.compensation_failed" | "tool.outcome_asserted"
                if self.settles_undoing()? =>
            {
                vec![self.turn(UNDOES_NEXT, vec![self.event.occurred_at()?.into()])]
            }
            _ => vec![],
        })
    }

    /// Whether an effect of a turn that undoes is undone, given up, or was never there.
    fn settles_undoing(&self) -> Result<bool, PoisonReason> {
        Ok(match self.event.agent()? {
            Some(AgentEvent::ToolCompensated(_)) => true,
            Some(AgentEvent::ToolCompensationFailed(failed)) => failed.exhausted == Some(true),
            Some(AgentEvent::ToolOutcomeAsserted(asserted)) => {
                asserted.outcome == AssertedOutcome::NotExecuted
            }
            // Nothing can be decided in a lane whose facts are gone, so nothing is due in it.
            _ => false,
        })
    }

    /// That a start takes too long is due from a time on, where its tool has a limit.
    fn timed(&self, call: [u8; 16]) -> Result<Option<Change>, PoisonReason> {
        let lapses_at = match self.event.agent()? {
            Some(AgentEvent::ToolStarted(started)) => started.lapses_at,
            _ => None,
        };
        let Some(lapses_at) = lapses_at else {
            return Ok(None);
        };
        // One that no calendar has is never over.
        let Some(due) = bounds::time(Some(lapses_at)) else {
            return Ok(None);
        };
        let params = vec![
            self.event.ledger_key().into(),
            call.into(),
            self.lane().into(),
            due.into(),
        ];
        Ok(Some(Change::of(About::One(call), TIMED, params)))
    }

    /// Nothing of the call is due by itself any more.
    fn closed(&self, call: [u8; 16]) -> Change {
        let params = vec![self.event.ledger_key().into(), call.into()];
        Change::of(About::One(call), CLOSED, params)
    }

    fn approval_event(&self) -> Result<Vec<Change>, PoisonReason> {
        let Some(call) = self.event.header().call.map(|call| *call.as_bytes()) else {
            return Ok(vec![]);
        };
        if let Some(AgentEvent::ApprovalRequested(requested)) = self.event.agent()? {
            let due = self.event.time_or_occurred(Some(requested.expires_at))?;
            let params = vec![
                call.into(),
                due.into(),
                self.event.ledger_key().into(),
                self.turn.into(),
            ];
            let about = About::OneGiven(call, self.turn);
            let mut changes = vec![Change::of(about, REQUESTED, params)];
            if requested.mode == ApprovalMode::Blocking {
                changes.push(self.turn(AWAITS_DECISION, vec![self.event.occurred_at()?.into()]));
            }
            return Ok(changes);
        }
        Ok(match self.event.event_type() {
            "approval.resolved" | "approval.expired" | "approval.cancelled" | "approval.voided"
            | "approval.stale" | "approval.consumed" => {
                let at = self.event.occurred_at()?;
                vec![self.closed(call), self.turn(DECIDED, vec![at.into()])]
            }
            _ => vec![],
        })
    }

    fn other_event(&self) -> Result<Vec<Change>, PoisonReason> {
        let change = match self.event.event_type() {
            "config.effective_resolved" => match self.event.agent()? {
                Some(AgentEvent::ConfigEffectiveResolved(resolved)) => self.pinned(resolved),
                _ => return Ok(vec![]),
            },
            "infra.lease_renewed" => match self.event.agent()? {
                Some(AgentEvent::InfraLeaseRenewed(renewed)) => {
                    let expires_at = self.event.time_or_occurred(Some(renewed.expires_at))?;
                    self.turn(RENEWED, vec![expires_at.into()])
                }
                _ => return Ok(vec![]),
            },
            "infra.lease_expired" => self.turn(LAPSED, vec![]),
            "infra.manual_intervention_required" => {
                self.turn(AWAITS_OUTCOME, vec![self.event.occurred_at()?.into()])
            }
            _ => return Ok(vec![]),
        };
        Ok(vec![change])
    }

    /// The waits that the turn runs under. Whoever pins a configuration writes all of them.
    fn pinned(&self, resolved: &ConfigEffectiveResolved) -> Change {
        let wait = |key| SqlValue::from(wait(&resolved.values, key));
        self.turn(
            PINNED,
            vec![wait("turn_us_max"), wait("drain_us"), wait("compensation_us")],
        )
    }
}

/// A wait in µs. One that ends behind all times of a calendar never ends.
fn wait(values: &Ext, key: &str) -> Option<i64> {
    let value = values.get(key).and_then(serde_json::Value::as_u64);
    bounds::time(value.map(Micros))
}
