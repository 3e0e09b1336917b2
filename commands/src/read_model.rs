//! What people decide about a read model: an event that it cannot apply is tried again or left out, and it is paused and
//! goes on. One stream per projection.
//!
//! Read models are derived and may be thrown away; that somebody had one go without an event, and why, is a fact. Deciding
//! changes no read model: whoever asked carries it out once the fact stands, and does so again where an answer was lost.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    InfraProjectionDiscarded, InfraProjectionPaused, InfraProjectionRedriven, InfraProjectionResumed,
};
use ruche_domain::numbers::Position;
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::{Ground, check_words};
use crate::error::CommandError;

/// A person decided something about a projection of the ledger. Which projections there are is for the caller to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecideReadModel {
    /// Name of the projection.
    pub projection: String,
    /// What was decided.
    pub decision: ReadModelDecision,
}

/// What was decided about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ReadModelDecision {
    /// It tries an event again.
    Redrive {
        /// The event.
        position: Position,
        /// What the person expects of it now.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The event as the projection waits for it; absent if it does not.
        #[serde(skip)]
        parked: Option<ParkedEvent>,
    },
    /// It goes on without an event.
    Discard {
        /// The event.
        position: Position,
        /// Why.
        reason: String,
        /// The event as the projection waits for it; absent if it does not.
        #[serde(skip)]
        parked: Option<ParkedEvent>,
    },
    /// It stands still.
    Pause {
        /// Why.
        reason: String,
    },
    /// It goes on.
    Resume {
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// An event that a projection waits for. Not part of what was asked: who asks again after it was done gets the first
/// answer, although nothing waits any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// Its type.
    pub event_type: String,
    /// Why it could not be applied.
    pub error: String,
}

impl ReadModelDecision {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Redrive { reason, .. } | Self::Resume { reason } => reason.as_deref(),
            Self::Discard { reason, .. } | Self::Pause { reason } => Some(reason),
        }
    }

    fn fact(&self, projection: String) -> Result<AgentEvent, CommandError> {
        let waits = |parked: &Option<ParkedEvent>| {
            parked.clone().ok_or(CommandError::NotFound {
                thing: "parked event",
            })
        };
        Ok(match self {
            Self::Redrive {
                position,
                reason,
                parked,
            } => {
                let ParkedEvent { event_type, error } = waits(parked)?;
                let mut fact = InfraProjectionRedriven::new(projection, *position, event_type, error);
                fact.reason.clone_from(reason);
                fact.into()
            }
            Self::Discard {
                position,
                reason,
                parked,
            } => {
                let ParkedEvent { event_type, error } = waits(parked)?;
                InfraProjectionDiscarded::new(projection, *position, event_type, error, reason.clone()).into()
            }
            Self::Pause { reason } => InfraProjectionPaused::new(projection, reason.clone()).into(),
            Self::Resume { reason } => {
                let mut fact = InfraProjectionResumed::new(projection);
                fact.reason.clone_from(reason);
                fact.into()
            }
        })
    }
}

impl Command for DecideReadModel {
    type State = ();
    const NAME: &'static str = "DecideReadModel";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let reason = self.decision.reason();
        reason.map_or(Ok(()), |reason| check_words("/reason", reason))?;
        Ok(vec![])
    }

    fn evolve(&self, (): &mut (), _: &PastEvent) {}

    fn decide(&self, (): &(), ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let fact = self.decision.fact(self.projection.clone())?;
        let id = ground.references.other("projection", &self.projection);
        let stream = StreamId::new(Category::Projection, id);
        Ok(Decision::Append(vec![NewEvent::fact(stream, fact)]))
    }
}
