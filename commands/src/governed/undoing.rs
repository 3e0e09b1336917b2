//! Effects that are undone. As with calls, that the tool which undoes is about to run is recorded before it does, and the
//! place of that record is the permit that a report shows: nothing is said to be undone that nobody began to undo. No
//! lease is asked for, since the worker of a turn that ends early may be gone; the tool is one that may run twice. In place
//! of a lease a try has a time, in which no other one starts, and belongs to the credential that began it.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ToolCompensated, ToolCompensationFailed, ToolCompensationStarted};
use ruche_domain::ids::CallId;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;

use super::report::as_text;
use super::{Asked, GovernedState, LaneName};
use crate::command::{Command, Decision, Load, PastEvent, RecordedEvent};
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
    /// The last that is known of the call.
    last: Option<RecordedEvent>,
}

impl Command for StartCompensation {
    type State = UndoState;
    const NAME: &'static str = "StartCompensation";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &UndoState, ground: &Ground<'_>) -> Vec<Load> {
        let mut loads = state.governed.more_loads(ground);
        let call = state.governed.lane.calls.get(&self.call);
        loads.extend(call.map(|call| Catalogue::load(ground.references, &call.name)));
        loads.extend(state.catalogue.more_loads(ground.references));
        loads
    }

    fn is_settled(&self, state: &UndoState, stream: StreamId) -> bool {
        state.catalogue.is_settled(stream)
    }

    /// As of a start: a repeat is leave to undo only while that try is the last that is known, and its time is not over.
    fn outlived(
        &self,
        state: &UndoState,
        first: &[RecordedEvent],
        ground: &Ground<'_>,
    ) -> Option<Vec<RecordedEvent>> {
        let is_start = |event: &&RecordedEvent| event.event.event_type == "tool.compensation_started";
        let start = first.iter().find(is_start)?;
        let is_over = match start.agent_event() {
            Ok(Some(AgentEvent::ToolCompensationStarted(said))) => {
                said.lapses_at.is_some_and(|at| at <= ground.now)
            }
            _ => false,
        };
        let last = state.last.as_ref().unwrap_or(start);
        let is_last = last.receipt.position <= start.receipt.position;
        (is_over || !is_last).then(|| vec![last.clone()])
    }

    fn evolve(&self, state: &mut UndoState, event: &PastEvent) {
        if event.stream().category == Category::Tool {
            return state.catalogue.evolve(event);
        }
        let is_of_call = event.recorded.event.call == Some(self.call);
        if is_of_call && event.stream().category == Category::Lane && event.event_type().starts_with("tool.")
        {
            state.last = Some(event.recorded.clone());
        }
        state.governed.evolve(event);
    }

    fn decide(&self, state: &UndoState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let lane = state.governed.lane()?;
        let known = lane.calls.get(&self.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        let settings = lane.turn(call.turn).map(|turn| &turn.settings);
        // As it is registered now, and not when the call ran: what cannot be taken back is not run to take something back.
        let undo = state.catalogue.undo_tool(ground.references, &call.name);
        let Some(undo) = undo.filter(|_| call.is_to_undo()) else {
            return Err(CommandError::IllegalTransition {
                field: "/callId",
                thing: "call",
                state: "not to be undone, or by a tool that may not run unasked",
                obstacle: None,
                legal: Vec::new(),
                retry_after_ms: None,
            });
        };
        let key = ground.references.id("undoing", &[call.id.as_bytes()]);
        let mut started = ToolCompensationStarted::new(undo.to_owned());
        started.idempotency_key = Some(key.as_simple().to_string());
        let timeout_us = state
            .catalogue
            .tool(ground.references, undo)
            .and_then(|tool| tool.timeout_us);
        let wait_us = settings.map(|settings| settings.undoing_us(timeout_us));
        started.lapses_at = wait_us.map(|wait| Micros(ground.now.0.saturating_add(wait)));
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
    /// What is recorded. The tool that undoes an effect is the one that was started for that, whoever reports.
    fn undone(&self, started: &str) -> Result<Undone, CommandError> {
        match self.clone() {
            Self::Compensated {
                compensation_tool: Some(other),
                ..
            } if other != started => Err(CommandError::input(
                "/compensated/compensationTool",
                format!("is not {started}, which was started under the permit"),
            )),
            Self::Compensated { external_ref, .. } => Ok(Undone::Compensated(ToolCompensated {
                compensation_tool: Some(started.to_owned()),
                external_ref,
                ..ToolCompensated::default()
            })),
            Self::Failed { error_type, error } => {
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
    /// The permit: where a `tool.compensation_started` of it stands; if undoing failed, the last one.
    #[serde(serialize_with = "as_text")]
    pub permit: Position,
    /// How undoing went.
    pub outcome: CompensationReport,
}

impl Command for ReportCompensation {
    type State = GovernedState;
    const NAME: &'static str = "ReportCompensation";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        if let CompensationReport::Failed { error_type, .. } = &self.outcome {
            check_external_id("/failed/errorType", error_type)?;
        }
        Ok(vec![self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &GovernedState, ground: &Ground<'_>) -> Vec<Load> {
        state.more_loads(ground)
    }

    fn evolve(&self, state: &mut GovernedState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &GovernedState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let lane = state.lane()?;
        let known = lane.calls.get(&self.call);
        let call = known.ok_or(CommandError::NotFound { thing: "call" })?;
        let started = state.undoing_at(self.call, self.permit);
        let is_undone = matches!(self.outcome, CompensationReport::Compensated { .. });
        // That it is undone is true under whatever try. That a try failed says nothing of one that began later.
        if started.is_none() || !is_undone {
            let is_start = |fact: &AgentEvent| matches!(fact, AgentEvent::ToolCompensationStarted(_));
            state.require_permit(&lane, call, self.permit, is_start)?;
        }
        state.require_undoer(self.permit, ground)?;
        let tool = started.map_or("", |started| started.compensation_tool.as_str());
        let outcome = self.outcome.undone(tool)?;
        let call = self.call;
        let asked = Asked::from(Intent::ReportCompensation(lane::ReportCompensation {
            call,
            outcome,
        }));
        state.decide(&self.lane, ground, &asked)
    }
}

impl GovernedState {
    /// A permit is of the credential that was given it: where it stands, everybody can read.
    fn require_undoer(&self, permit: Position, ground: &Ground<'_>) -> Result<(), CommandError> {
        let undoer = self.undoers.get(&permit);
        if undoer.is_none_or(|undoer| *undoer == ground.actor.reference) {
            return Ok(());
        }
        Err(CommandError::IllegalTransition {
            field: "/permit",
            thing: "permit",
            state: "that of another credential",
            obstacle: None,
            legal: vec!["StartCompensation"],
            retry_after_ms: None,
        })
    }

    /// The try at undoing a call that stands at this place.
    fn undoing_at(&self, call: CallId, permit: Position) -> Option<&ToolCompensationStarted> {
        self.past.iter().find_map(|(position, event)| match &event.fact {
            AgentEvent::ToolCompensationStarted(started)
                if *position == permit && event.call == Some(call) =>
            {
                Some(started)
            }
            _ => None,
        })
    }
}
