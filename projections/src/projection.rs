//! A projection: a pure function from an event to what it changes in one read model.

use ruche_domain::error::DomainError;

use crate::change::Change;
use crate::event::ProjectedEvent;

/// Folds events into one read model. Implementations MUST NOT keep state: what an event does depends on the event and
/// on what earlier statements of the same projection wrote, nothing else, so that a rebuild gives the same rows.
pub trait Projection: Send + Sync {
    /// Its name; that of its file, of its checkpoints and in metrics.
    fn name(&self) -> &'static str;

    /// Counts up whenever the rows of the same events would come out differently. A read model of another version is
    /// rebuilt, never followed.
    fn version(&self) -> u32;

    /// What the event changes; nothing for an event that does not concern it.
    ///
    /// # Errors
    /// The event can never be applied by this program; a person has to look.
    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason>;
}

/// Why an event cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoisonReason {
    /// The payload is not what its type says, or a newer program wrote it.
    #[error(transparent)]
    Payload(#[from] DomainError),
    /// A number is larger than the read model can hold.
    #[error("{0} is larger than a read model can hold")]
    TooLarge(&'static str),
    /// The store of read models refuses what the event leads to.
    #[error("the read model refuses it: {0}")]
    Refused(String),
}

/// All projections, in the order in which they are shown.
pub fn all() -> Vec<&'static dyn Projection> {
    vec![
        &crate::sessions::Sessions,
        &crate::scenarios::Scenarios,
        &crate::goals::Goals,
        &crate::turns::Turns,
        &crate::lanes::Lanes,
        &crate::timeline::Timeline,
        &crate::messages::Messages,
        &crate::search::Search,
        &crate::tool_effects::ToolEffects,
        &crate::approvals::Approvals,
        &crate::policy::Policy,
        &crate::interventions::Interventions,
        &crate::memory::Memory,
        &crate::configuration::Configuration,
        &crate::usage::UsageAndOutcome,
        &crate::analytics::Analytics,
        &crate::saved_queries::SavedQueries,
        &crate::ledger_health::LedgerHealth,
    ]
}

#[cfg(test)]
mod tests;
