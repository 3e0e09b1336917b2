//! What a turn was.

use ruche_commands::lane::{Awaited, Call, ChannelSettings, CommitPoint, Gate, Lane, PendingOutcome, Turn};
use ruche_domain::events::ApprovalMode;
use ruche_domain::ids::{ApprovalId, CallId, MessageId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::Record;
use serde::Serialize;

use super::told::TurnTold;
use super::{Found, StateAt};
use crate::error::ReplayError;
use crate::read::record_at;

/// A turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TurnView {
    /// Which.
    pub id: TurnId,
    /// The stream that it stands in: of a lane, or of what was observed in a session.
    pub stream: String,
    /// Where it stands, in the words of `docs/turns.md`.
    pub state: &'static str,
    /// What opened it.
    pub trigger: &'static str,
    /// What the lane does with messages that come while it holds the lane.
    pub strategy: &'static str,
    /// The messages that it owns.
    pub messages: Vec<MessageId>,
    /// When it was opened.
    pub opened_at: Micros,
    /// When it takes no more messages.
    pub deadline: Option<Micros>,
    /// From when it may be claimed, while it is ready.
    pub not_before: Option<Micros>,
    /// Attempts that began.
    pub attempts: u32,
    /// When the first attempt began.
    pub started_at: Option<Micros>,
    /// The worker's hold.
    pub lease: Option<LeaseView>,
    /// What cannot be taken back.
    pub commit_point: Option<&'static str>,
    /// The decision that it waits for.
    pub awaits_decision: Option<ApprovalId>,
    /// Whether it waits for a person to say how an effect came out.
    pub awaits_outcome: bool,
    /// How it is going to end, once that is fixed.
    pub ends_as: Option<&'static str>,
    /// The turn that takes its place.
    pub successor: Option<TurnId>,
    /// Messages that it sent and did not take back.
    pub sent: Vec<MessageId>,
    /// The settings that it runs under, pinned when it was sealed.
    pub settings: ChannelSettings,
    /// Its calls, in the order in which they were started, and those that were not.
    pub calls: Vec<CallView>,
    /// What was told of it.
    #[serde(flatten)]
    pub told: TurnTold,
}

/// A worker's hold on a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseView {
    /// Its opaque id.
    pub id: String,
    /// Its fencing number.
    pub epoch: u64,
    /// When it lapses.
    pub expires_at: Micros,
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallView {
    /// Which.
    pub id: CallId,
    /// The turn that may run it.
    pub turn: TurnId,
    /// The tool.
    pub tool: String,
    /// What it does to the world.
    pub side_effect: &'static str,
    /// What stands between it and its start: `open`, `approval` or `closed`.
    pub gate: &'static str,
    /// Where its effect stands; nothing before the start. `not_executed` if it never ran and never will.
    pub effect: Option<&'static str>,
    /// Times that it was started.
    pub attempts: u32,
    /// The approval that was asked for.
    pub approval: Option<ApprovalId>,
}

impl TurnView {
    pub(crate) fn new(stream: StreamId, turn: &Turn, lane: &Lane, told: TurnTold) -> Self {
        let mut calls: Vec<&Call> = lane.calls_of(turn.id).collect();
        calls.sort_by_key(|call| (call.status.is_none(), call.started, call.id));
        let (ends_as, successor) = match turn.pending_outcome.as_ref() {
            Some(PendingOutcome::Superseded { successor }) => (Some("superseded"), Some(*successor)),
            Some(PendingOutcome::Cancelled { .. }) => (Some("cancelled"), None),
            Some(PendingOutcome::Failed { .. }) => (Some("failed"), None),
            None => (None, None),
        };
        let decision = |awaited| match awaited {
            Awaited::Decision(approval) => Some(approval),
            Awaited::Outcome => None,
        };
        Self {
            id: turn.id,
            stream: stream.to_string(),
            state: turn.state.name(),
            trigger: turn.trigger.name(),
            strategy: turn.strategy.name(),
            messages: turn.messages.clone(),
            opened_at: turn.opened_at,
            deadline: turn.deadline,
            not_before: turn.not_before,
            attempts: turn.attempt,
            started_at: turn.started_at,
            lease: turn.lease.as_ref().map(|lease| LeaseView {
                id: lease.id.clone(),
                epoch: lease.epoch,
                expires_at: lease.expires_at,
            }),
            commit_point: turn.commit_point.map(|CommitPoint { kind, .. }| kind.name()),
            awaits_decision: turn.awaited.and_then(decision),
            awaits_outcome: turn.awaited == Some(Awaited::Outcome),
            ends_as,
            successor,
            sent: turn.sent.clone(),
            settings: turn.settings.clone(),
            calls: calls
                .into_iter()
                .map(|call| CallView::new(call, turn, lane, told.denied.contains(&call.id)))
                .collect(),
            told,
        }
    }
}

impl CallView {
    fn new(call: &Call, turn: &Turn, lane: &Lane, is_denied: bool) -> Self {
        let never_runs = never_runs(call, turn, lane, is_denied).then_some(NOT_EXECUTED);
        Self {
            id: call.id,
            turn: call.turn,
            tool: call.name.clone(),
            side_effect: call.side_effect.name(),
            gate: match call.gate {
                Gate::Open => "open",
                Gate::Approval => "approval",
                Gate::Closed => "closed",
            },
            effect: call.status.map(|status| status.name()).or(never_runs),
            attempts: call.attempt,
            approval: call.approval,
        }
    }
}

/// The word for calls that never run, as read models and events have it.
const NOT_EXECUTED: &str = "not_executed";

/// Whether a call that did not start never will: it was decided so, or its turn is over. A detached request outlives its
/// turn. Between `tool.proposed` and `policy.evaluated`, which stand in one append, nothing is decided.
fn never_runs(call: &Call, turn: &Turn, lane: &Lane, is_denied: bool) -> bool {
    let approval = call.approval.and_then(|id| lane.approvals.get(&id));
    let said_no = is_denied || approval.is_some() || !call.refusals.is_empty();
    let is_decided = call.gate == Gate::Closed && said_no;
    let outlives = approval.is_some_and(|approval| approval.mode == ApprovalMode::Detached);
    call.status.is_none() && (is_decided || (turn.state.is_terminal() && !outlives))
}

impl StateAt {
    pub(super) async fn turn(
        &self,
        turn: TurnId,
        first: Option<Position>,
    ) -> Result<Found<TurnView>, ReplayError> {
        let Some(stream) = self.stream_of(turn, first).await? else {
            return Ok((None, None));
        };
        let folded = self.fold(stream).await?;
        let view = folded.lane.turn(turn);
        let view = view.map(|turn| TurnView::new(stream, turn, &folded.lane, folded.told.of(turn.id)));
        Ok((view, folded.undecidable_from))
    }

    /// The stream that a turn stands in, which its first record says.
    async fn stream_of(
        &self,
        turn: TurnId,
        first: Option<Position>,
    ) -> Result<Option<StreamId>, ReplayError> {
        let opens = |record: &Record| {
            let event = &record.leaf.event;
            let is_its = event.turn == Some(turn);
            let holds_turns = matches!(event.stream.category, Category::Lane | Category::Observed);
            (is_its && holds_turns).then_some(event.stream)
        };
        if let Some(first) = first.filter(|first| *first <= self.position) {
            match record_at(&self.store, self.ledger, first).await {
                Ok(record) => {
                    if let Some(stream) = opens(&record) {
                        return Ok(Some(stream));
                    }
                }
                Err(ReplayError::NoRecord(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut found = None;
        let look = self.look_through(Position::START, |record| {
            found = opens(record);
            found.is_some()
        });
        look.await?;
        Ok(found)
    }
}
