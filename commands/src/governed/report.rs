//! How a call came out, as its worker says. The report shows the permit together with the lease, so one start is reported
//! under one lease, once.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ToolCompleted, ToolFailed, ToolOutcomeUnknown};
use ruche_domain::ids::{CallId, TurnId};
use ruche_domain::numbers::Position;
use ruche_domain::stream::Category;
use serde::{Serialize, Serializer};

use super::propose::sha256;
use super::{Asked, GovernedState, LaneName, LeaseRef, held, sendable};
use crate::command::{Command, Decision, Load, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::lane::{self, Call, EffectOutcome, Intent, Lane, LaneEvent};

/// How a call came out, in the words of its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reported {
    /// It gave a result.
    Completed {
        /// The result text exactly as the model is given it.
        result: Option<String>,
        /// Reference of the effect in the system that carried it out.
        external_ref: Option<String>,
    },
    /// This try failed, and nothing came of it. That says nothing of an earlier one that is in doubt.
    Failed {
        /// Stable word for the kind of error.
        error_type: String,
        /// The error in words.
        error: Option<String>,
        /// Whether calling again may help.
        retryable: Option<bool>,
        /// The text exactly as the model is given it.
        result: Option<String>,
    },
    /// Nobody can say whether it happened.
    Unknown {
        /// Why: a crash, a timeout, a lost connection.
        cause: String,
        /// What to look up outside to find out.
        external_ref: Option<String>,
    },
}

/// A worker says how a call came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportEffect {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseRef,
    /// Which call.
    pub call: CallId,
    /// The permit: where its last start stands.
    #[serde(serialize_with = "as_text")]
    pub permit: Position,
    /// How it came out.
    pub outcome: Reported,
}

pub(super) fn as_text<S: Serializer>(position: &Position, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(position)
}

/// What a report is decided on.
#[derive(Clone, Debug, Default)]
pub struct ReportState {
    governed: GovernedState,
    /// The last that was recorded of the call.
    last: Option<RecordedEvent>,
}

impl Command for ReportEffect {
    type State = ReportState;
    const NAME: &'static str = "ReportEffect";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        match &self.outcome {
            Reported::Completed { .. } => {}
            Reported::Failed { error_type, .. } => check_external_id("/failed/errorType", error_type)?,
            Reported::Unknown { cause, .. } => check_external_id("/unknown/cause", cause)?,
        }
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &ReportState, ground: &Ground<'_>) -> Vec<Load> {
        state.governed.more_loads(ground)
    }

    fn evolve(&self, state: &mut ReportState, event: &PastEvent) {
        if event.recorded.event.call == Some(self.call) && event.stream().category == Category::Lane {
            state.last = Some(event.recorded.clone());
        }
        state.governed.evolve(event);
    }

    fn decide(&self, state: &ReportState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let (last, state) = (&state.last, &state.governed);
        state.require_readable()?;
        let lane = state.lane()?;
        state.require_lease(&lane, &self.lane, self.turn, &self.lease, ground)?;
        let known = lane.calls.get(&self.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        let is_start = |fact: &AgentEvent| matches!(fact, AgentEvent::ToolStarted(_));
        state.require_permit(&lane, call, self.permit, is_start)?;
        if let Some(last) = last.as_ref().filter(|last| self.says_the_same(last)) {
            return Ok(Decision::AlreadySo(vec![last.clone()]));
        }
        let report = lane::ReportEffect {
            call: self.call,
            outcome: self.outcome(call),
        };
        let asked = Asked::from(Intent::ReportEffect(held(self.turn, &self.lease, report)));
        state.decide(&self.lane, ground, &asked)
    }
}

impl ReportEffect {
    /// Whether nobody knew before how this start came out, in the same words.
    fn says_the_same(&self, last: &RecordedEvent) -> bool {
        let Ok(Some(AgentEvent::ToolOutcomeUnknown(known))) = last.agent_event() else {
            return false;
        };
        matches!(&self.outcome, Reported::Unknown { cause, external_ref }
            if (&known.cause, &known.external_ref) == (cause, external_ref))
    }

    fn outcome(&self, call: &Call) -> EffectOutcome {
        let (name, attempt) = (Some(call.name.clone()), Some(call.attempt));
        match self.outcome.clone() {
            Reported::Completed { result, external_ref } => EffectOutcome::Completed(ToolCompleted {
                name,
                attempt,
                side_effect: Some(call.side_effect),
                result_digest: result.as_ref().map(|text| sha256(text.as_bytes())),
                result,
                external_ref,
                ..ToolCompleted::default()
            }),
            Reported::Failed {
                error_type,
                error,
                retryable,
                result,
            } => EffectOutcome::Failed(ToolFailed {
                name,
                attempt,
                side_effect: Some(call.side_effect),
                error_type: Some(error_type),
                error,
                retryable,
                result,
                ..ToolFailed::default()
            }),
            Reported::Unknown { cause, external_ref } => EffectOutcome::Unknown(ToolOutcomeUnknown {
                attempt,
                external_ref,
                ..ToolOutcomeUnknown::new(cause)
            }),
        }
    }
}

impl GovernedState {
    /// Whether this is the place of the last start of a call, or of undoing it.
    pub(super) fn require_permit(
        &self,
        lane: &Lane,
        call: &Call,
        permit: Position,
        is_start: impl Fn(&AgentEvent) -> bool,
    ) -> Result<(), CommandError> {
        let of_call = |event: &LaneEvent| event.call == Some(call.id) && is_start(&event.fact);
        let last = self.past.iter().rfind(|(_, event)| of_call(event));
        if last.map(|(position, _)| *position) == Some(permit) {
            return Ok(());
        }
        let turn = lane.turn(call.turn).map(|turn| turn.state);
        Err(CommandError::IllegalTransition {
            field: "/permit",
            thing: "permit",
            state: "not that of the last start",
            obstacle: None,
            legal: turn.map(sendable).unwrap_or_default().to_vec(),
            retry_after_ms: None,
        })
    }
}
