//! That a person had all read models made anew, and that it was done. Read models are derived; who had them made anew, why,
//! and whether the old ones had said the same, is a fact.

use ruche_domain::events::{InfraRebuildCompleted, InfraRebuildRequested};
use ruche_domain::stream::{Category, StreamId};
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::{Ground, check_words};
use crate::error::CommandError;

/// While one rebuild is under way, another one may be asked for again after this time, milliseconds.
const REBUILD_RETRY_AFTER_MS: u64 = 5_000;

/// A person asks for all read models to be made anew. Whoever asked has it done once the fact stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRebuild {
    /// Why.
    pub reason: String,
    /// Whether they are being made anew at this moment. Not part of what was asked.
    #[serde(skip)]
    pub is_under_way: bool,
}

/// It was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompleteRebuild {
    /// What came of it.
    pub done: InfraRebuildCompleted,
}

/// One stream for all rebuilds of a ledger.
fn stream(ground: &Ground<'_>) -> StreamId {
    StreamId::new(
        Category::Projection,
        ground.references.other("rebuild", "read models"),
    )
}

impl Command for RequestRebuild {
    type State = ();
    const NAME: &'static str = "RequestRebuild";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_words("/reason", &self.reason)?;
        Ok(vec![])
    }

    fn evolve(&self, (): &mut (), _: &PastEvent) {}

    fn decide(&self, (): &(), ground: &Ground<'_>) -> Result<Decision, CommandError> {
        if self.is_under_way {
            return Err(CommandError::IllegalTransition {
                field: "",
                thing: "rebuild of the read models",
                state: "under way",
                legal: vec![],
                obstacle: None,
                retry_after_ms: Some(REBUILD_RETRY_AFTER_MS),
            });
        }
        let fact = InfraRebuildRequested::new(self.reason.clone());
        Ok(Decision::Append(vec![NewEvent::fact(stream(ground), fact)]))
    }
}

impl Command for CompleteRebuild {
    type State = ();
    const NAME: &'static str = "CompleteRebuild";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![])
    }

    fn evolve(&self, (): &mut (), _: &PastEvent) {}

    fn decide(&self, (): &(), ground: &Ground<'_>) -> Result<Decision, CommandError> {
        Ok(Decision::Append(vec![NewEvent::fact(
            stream(ground),
            self.done.clone(),
        )]))
    }
}
