//! What records tell of a turn beside what the machine of lanes goes by: whose it is, what it did in steps, how it came out.

use std::collections::{BTreeSet, HashMap};

use ruche_commands::lane::LaneEvent;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::PolicyVerdict;
use ruche_domain::ids::{CallId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::store::Record;
use serde::Serialize;

/// What was told of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TurnTold {
    /// The session that it belongs to.
    pub session: Option<SessionId>,
    /// Its number in the session, where the source says so.
    pub ordinal: Option<u64>,
    /// The client's own id.
    pub external_id: Option<String>,
    /// The client's own id of the agent that answers.
    pub agent: Option<String>,
    /// How it came out, if it was committed and the agent said so.
    pub outcome: Option<&'static str>,
    /// What went wrong: a stable word.
    pub error_type: Option<String>,
    /// What went wrong, or why it was cancelled, in words.
    pub error: Option<String>,
    /// When it was over.
    pub ended_at: Option<Micros>,
    /// What a worker that takes over need not do again, in the order in which it was first begun.
    pub steps: Vec<StepView>,
    /// Calls that policy did not allow. What they are stands with the calls.
    #[serde(skip)]
    pub(super) denied: BTreeSet<CallId>,
}

/// A step of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// The client's own id of it.
    pub id: String,
    /// What it is, in words.
    pub name: Option<String>,
    /// The attempt that began it last, or completed it.
    pub attempt: u32,
    /// When that attempt began it.
    pub started_at: Option<Micros>,
    /// When it was completed.
    pub completed_at: Option<Micros>,
    /// The record that says so.
    pub completed: Option<Position>,
    /// What it came to.
    pub result: Option<String>,
}

/// What was told of the turns of a stream.
#[derive(Default)]
pub(super) struct Told(HashMap<TurnId, TurnTold>);

impl Told {
    pub fn take(&mut self, record: &Record, event: &LaneEvent) {
        let told = self.0.entry(event.turn).or_default();
        told.session = told.session.or(record.leaf.event.session);
        match &event.fact {
            AgentEvent::TurnOpened(opened) => {
                told.ordinal = opened.turn_ordinal;
                told.external_id.clone_from(&opened.external_id);
                told.agent.clone_from(&opened.agent_id);
            }
            AgentEvent::TurnStepStarted(started) => {
                let step = told.step(&started.step_id);
                step.attempt = started.attempt;
                step.started_at = Some(event.at);
                step.name = started.name.clone().or(step.name.take());
            }
            AgentEvent::TurnStepCompleted(completed) => {
                let step = told.step(&completed.step_id);
                step.attempt = completed.attempt;
                step.completed_at = Some(event.at);
                step.completed = Some(record.position);
                step.result.clone_from(&completed.result);
            }
            AgentEvent::PolicyEvaluated(evaluated) => match evaluated.verdict {
                PolicyVerdict::Deny | PolicyVerdict::Transform => told.denied.extend(event.call),
                PolicyVerdict::Allow | PolicyVerdict::RequireApproval => {}
            },
            _ => told.end(event),
        }
    }

    /// What was told of a turn.
    pub fn of(&self, turn: TurnId) -> TurnTold {
        self.0.get(&turn).cloned().unwrap_or_default()
    }
}

impl TurnTold {
    fn step(&mut self, id: &str) -> &mut StepView {
        let at = self.steps.iter().position(|step| step.id == id);
        let at = at.unwrap_or_else(|| {
            self.steps.push(StepView {
                id: id.to_owned(),
                name: None,
                attempt: 0,
                started_at: None,
                completed_at: None,
                completed: None,
                result: None,
            });
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }

    fn end(&mut self, event: &LaneEvent) {
        let (outcome, error_type, error, at) = match &event.fact {
            AgentEvent::TurnCommitted(committed) => (
                committed.outcome_category.map(|outcome| outcome.name()),
                None,
                None,
                committed.ended_at,
            ),
            AgentEvent::TurnFailed(failed) => (
                None,
                Some(&failed.error_type),
                failed.error.as_ref(),
                failed.ended_at,
            ),
            AgentEvent::TurnSuperseded(_) => (None, None, None, None),
            AgentEvent::TurnCancelled(cancelled) => (None, None, cancelled.reason.as_ref(), None),
            _ => return,
        };
        self.outcome = outcome;
        self.error_type = error_type.cloned();
        self.error = error.cloned();
        self.ended_at = at.or(Some(event.at));
    }
}
