//! A start under an approval that the worker names. An approval is of one call, so the name adds nothing that the ledger
//! does not know: it says what the worker believes. Where that is wrong nothing starts, and the reviewer who approved
//! something else gets to see that it was tried.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalUseRefused, StartRefusal};
use ruche_domain::ids::{ApprovalId, CallId};
use ruche_domain::limits::USE_REFUSALS_PER_REQUEST_MAX;
use ruche_domain::stream::StreamId;
use serde::Serialize;

use super::effects::{StartEffect, StartState};
use super::{approval_of, approval_stream};
use crate::command::{Command, Content, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::Ground;
use crate::error::CommandError;

/// A worker is about to run a call, and may say on which approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartCall {
    /// The start.
    #[serde(flatten)]
    pub start: StartEffect,
    /// The approval that the worker means to use. Absent: that of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
}

/// What such a start is decided on.
#[derive(Clone, Debug, Default)]
pub struct StartCallState {
    start: StartState,
    named: Named,
}

/// The approval that the worker names, where it is another call's.
#[derive(Clone, Debug, Default)]
struct Named {
    request: Option<RecordedEvent>,
    /// Calls that were refused it before.
    refused: Vec<CallId>,
    /// Whether the lane looks at its stream as well.
    is_of_lane: Option<bool>,
}

impl StartCall {
    /// The approval that is named and is not the call's.
    fn foreign(&self) -> Option<ApprovalId> {
        self.approval
            .filter(|approval| *approval != approval_of(self.start.call))
    }

    fn mismatch(
        &self,
        approval: ApprovalId,
        state: &StartCallState,
        ground: &Ground<'_>,
    ) -> Result<Decision, CommandError> {
        let governed = &state.start.governed;
        let (lane, start) = (governed.lane()?, &self.start);
        governed.require_lease(&lane, &start.lane, start.turn, &start.lease, ground)?;
        let known = lane.calls.get(&start.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        let request = state.named.request.as_ref();
        let request = request.ok_or(CommandError::NotFound { thing: "approval" })?;
        let before = &state.named.refused;
        // Told every time, recorded once for each call.
        if before.contains(&call.id) || before.len() >= USE_REFUSALS_PER_REQUEST_MAX {
            return Err(CommandError::ApprovalMismatch { approval });
        }
        let mut refused = ApprovalUseRefused::new(call.id, call.name.clone());
        refused.action_digest = call.action_digest;
        let envelope = &request.event;
        let event = NewEvent {
            session: envelope.session,
            subject: envelope.subject,
            turn: envelope.turn,
            call: envelope.call,
            ..NewEvent::fact(approval_stream(approval), refused)
        };
        Ok(Decision::Refused {
            events: vec![event],
            refusal: CommandError::ApprovalMismatch { approval },
        })
    }
}

impl Command for StartCall {
    type State = StartCallState;
    const NAME: &'static str = StartEffect::NAME;

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.start.loads(ground)
    }

    fn more_loads(&self, state: &StartCallState, ground: &Ground<'_>) -> Vec<Load> {
        let mut loads = self.start.more_loads(&state.start, ground);
        // Behind those of the lane, which is read by then.
        loads.extend(
            self.foreign()
                .map(|named| Load::whole(approval_stream(named)).unguarded()),
        );
        loads
    }

    fn is_settled(&self, state: &StartCallState, stream: StreamId) -> bool {
        self.start.is_settled(&state.start, stream)
    }

    fn beside(&self, state: &StartCallState) -> Vec<RecordedEvent> {
        self.start.beside(&state.start)
    }

    fn may_hear_again(&self, state: &StartCallState, ground: &Ground<'_>) -> bool {
        self.start.may_hear_again(&state.start, ground)
    }

    fn outlived(
        &self,
        state: &StartCallState,
        first: &[RecordedEvent],
        ground: &Ground<'_>,
    ) -> Option<Vec<RecordedEvent>> {
        self.start.outlived(&state.start, first, ground)
    }

    fn evolve(&self, state: &mut StartCallState, event: &PastEvent) {
        let stream = event.stream();
        if self.foreign().map(approval_stream) != Some(stream) {
            return self.start.evolve(&mut state.start, event);
        }
        match &event.event {
            Some(AgentEvent::ApprovalRequested(_)) => state.named.request = Some(event.recorded.clone()),
            Some(AgentEvent::ApprovalUseRefused(refused)) => state.named.refused.push(refused.call_id),
            _ => {}
        }
        // Of another lane it is none of this lane's business.
        let of_lane = state.start.governed.approval_loads();
        let is_of_lane = || of_lane.iter().any(|load| load.stream == stream);
        if *state.named.is_of_lane.get_or_insert_with(is_of_lane) {
            self.start.evolve(&mut state.start, event);
        }
    }

    fn decide(&self, state: &StartCallState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        if let Some(approval) = self.foreign() {
            return self.mismatch(approval, state, ground);
        }
        let decided = self.start.decide(&state.start, ground)?;
        Ok(match (decided, self.approval) {
            (Decision::Refused { events, .. }, Some(approval)) if is_of_another_action(&events) => {
                let refusal = CommandError::ApprovalMismatch { approval };
                Decision::Refused { events, refusal }
            }
            (decided, _) => decided,
        })
    }
}

/// Whether a start was refused because what was approved is not what would run.
fn is_of_another_action(events: &[NewEvent]) -> bool {
    events.iter().any(|event| match &event.content {
        Content::Fact(AgentEvent::ToolStartRefused(refused)) => {
            matches!(refused.refusal, StartRefusal::OtherAction | StartRefusal::Stale)
        }
        _ => false,
    })
}
