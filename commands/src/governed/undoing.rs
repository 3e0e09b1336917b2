//! Effects that are undone. As with calls, that the tool which undoes is about to run is recorded before it does, and the
//! place of that record is the permit that a report shows: nothing is said to be undone that nobody began to undo. No
//! lease is asked for, since the worker of a turn that ends early may be gone; the tool is one that may run twice.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ToolCompensated, ToolCompensationFailed, ToolCompensationStarted};
use ruche_domain::ids::CallId;
use ruche_domain::numbers::Position;
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;

use super::effects::as_text;
use super::{Asked, GovernedState, LaneName};
use crate::command::{Command, Decision, Load, PastEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::lane::{self, Intent, Undone};
use crate::tool::Catalogue;

/// Somebody is about to run the tool that undoes a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartCompensation {
    /// Which lane.
    pub lane: LaneName,
    /// The call whose effect it is.
    pub call: CallId,
}

/// What undoing is decided on.
#[derive(Clone, Debug, Default)]
pub struct UndoState {
    governed: GovernedState,
    catalogue: Catalogue,
}

impl Command for StartCompensation {
    type State = UndoState;
    const NAME: &'static str = "StartCompensation";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &UndoState, ground: &Ground<'_>) -> Vec<Load> {
        let mut loads = state.governed.more_loads();
        let call = state.governed.lane.calls.get(&self.call);
        loads.extend(call.map(|call| Catalogue::load(ground.references, &call.name)));
        loads.extend(state.catalogue.more_loads(ground.references));
        loads
    }

    fn is_settled(&self, state: &UndoState, stream: StreamId) -> bool {
        state.catalogue.is_settled(stream)
    }

    fn evolve(&self, state: &mut UndoState, event: &PastEvent) {
        if event.stream().category == Category::Tool {
            return state.catalogue.evolve(event);
        }
        state.governed.evolve(event);
    }

    fn decide(&self, state: &UndoState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let lane = state.governed.lane();
        let known = lane.calls.get(&self.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        // As it is registered now, and not when the call ran: what cannot be taken back is not run to take something back.
        let undo = state.catalogue.undo_tool(ground.references, &call.name);
        let Some(undo) = undo.filter(|_| call.is_to_undo()) else {
            return Err(CommandError::IllegalTransition {
                field: "/callId",
                thing: "call",
                state: "not to be undone, or by a tool that may not run unasked",
                obstacle: None,
                legal: &[],
            });
        };
        let key = ground.references.id("undoing", &[call.id.as_bytes()]);
        let mut started = ToolCompensationStarted::new(undo.to_owned());
        started.idempotency_key = Some(key.as_simple().to_string());
        let call = self.call;
        let asked = Asked::from(Intent::StartCompensation(lane::StartCompensation {
            call,
            started,
        }));
        state.governed.decide(&self.lane, ground, &asked)
    }
}

/// How undoing an effect went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum CompensationReport {
    /// It is undone.
    Compensated {
        /// Name of the tool that undid it.
        compensation_tool: Option<String>,
        /// Reference of the undoing in the system that carried it out.
        external_ref: Option<String>,
    },
    /// It is not.
    Failed {
        /// Stable word for the kind of error.
        error_type: String,
        /// The error in words.
        error: Option<String>,
    },
}

impl CompensationReport {
    fn undone(&self) -> Result<Undone, CommandError> {
        match self.clone() {
            Self::Compensated {
                compensation_tool,
                external_ref,
            } => Ok(Undone::Compensated(ToolCompensated {
                compensation_tool,
                external_ref,
                ..ToolCompensated::default()
            })),
            Self::Failed { error_type, error } => {
                check_external_id("/failed/errorType", &error_type)?;
                let mut failed = ToolCompensationFailed::new(error_type);
                failed.error = error;
                Ok(Undone::Failed(failed))
            }
        }
    }
}

/// An effect was undone, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportCompensation {
    /// Which lane.
    pub lane: LaneName,
    /// The call whose effect it was.
    pub call: CallId,
    /// The permit: where its last `tool.compensation_started` stands.
    #[serde(serialize_with = "as_text")]
    pub permit: Position,
    /// How undoing went.
    pub outcome: CompensationReport,
}

impl Command for ReportCompensation {
    type State = GovernedState;
    const NAME: &'static str = "ReportCompensation";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.outcome.undone()?;
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &GovernedState, _: &Ground<'_>) -> Vec<Load> {
        state.more_loads()
    }

    fn evolve(&self, state: &mut GovernedState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &GovernedState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let lane = state.lane();
        let known = lane.calls.get(&self.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        let is_start = |fact: &AgentEvent| matches!(fact, AgentEvent::ToolCompensationStarted(_));
        state.require_permit(&lane, call, self.permit, is_start)?;
        let outcome = self.outcome.undone()?;
        let call = self.call;
        let asked = Asked::from(Intent::ReportCompensation(lane::ReportCompensation {
            call,
            outcome,
        }));
        state.decide(&self.lane, ground, &asked)
    }
}
