//! What people decide about read models, recorded and carried out: an event that a projection cannot apply is tried again
//! or left out, a projection is paused and goes on.
//!
//! The decision is recorded first. If we die before it is carried out, the event stands in the ledger and the read model is
//! as it was: who asks again under the same key is given the first answer, and it is carried out then.

use ruche_commands::{
    CommandContext, CommandError, CommandReceipt, Commands, DecideReadModel, ParkedEvent, ReadModelDecision,
};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_projections::projection;
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStoreError;

use crate::limits::NEW_PROJECTION_RECORDS_MAX;

/// What it takes to decide about the read models of a tenant.
pub struct ReadModels<'a> {
    /// Records decisions.
    pub commands: &'a Commands,
    /// Carries them out.
    pub runner: &'a Runner,
}

/// What a person decides.
#[derive(Clone, Debug)]
pub enum Wish {
    /// The projection tries the event again that it waits for.
    Redrive {
        /// The event.
        position: Position,
        /// What is expected of it now.
        reason: Option<String>,
    },
    /// The projection goes on without the event that it waits for.
    Discard {
        /// The event.
        position: Position,
        /// Why.
        reason: String,
    },
    /// The projection stands still.
    Pause {
        /// Why.
        reason: String,
    },
    /// The projection goes on.
    Resume {
        /// Why.
        reason: Option<String>,
    },
}

/// Why a decision was not recorded, or not carried out.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// Nothing was recorded, or nobody knows.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// It is recorded, and perhaps not carried out. Ask again under the same key.
    #[error("the read models cannot be changed")]
    ReadModels(#[from] ReadStoreError),
}

/// A projection whose rows of a ledger are to be made anew beside the others: another version made them, or it is new and
/// would hold up the others for long until it has caught up, since they follow the ledger together.
///
/// # Errors
/// Those of the store.
pub async fn to_renew(
    runner: &Runner,
    ledger: LedgerId,
    is_shared: bool,
) -> Result<Option<&'static str>, ReadStoreError> {
    let (mut new, mut applied) = (None, 0);
    for projection in projection::all() {
        let status = runner.store().status(ledger, projection.name()).await?;
        // Where other nodes run, newer ones may have made them: theirs are not made old again.
        let outdated = |stored: u32| match is_shared {
            true => stored < projection.version(),
            false => stored != projection.version(),
        };
        if status.version.is_some_and(outdated) {
            return Ok(Some(projection.name()));
        }
        applied = status.checkpoint.applied.max(applied);
        if status.version.is_none() && status.parked.is_none() && !status.paused {
            new = new.or(Some(projection.name()));
        }
    }
    Ok(new.filter(|_| applied > NEW_PROJECTION_RECORDS_MAX))
}

/// The projection of a name.
///
/// # Errors
/// `InvalidInput` with the names that there are.
pub fn named(name: &str) -> Result<&'static str, CommandError> {
    let names: Vec<&'static str> = projection::all().iter().map(|known| known.name()).collect();
    let found = names.iter().copied().find(|known| *known == name);
    found.ok_or_else(|| CommandError::input("/projection", format!("one of {}", names.join(", "))))
}

impl ReadModels<'_> {
    /// Records a decision about a projection of the tenant's ledger, and carries it out.
    ///
    /// # Errors
    /// See [`DecideError`].
    pub async fn decide(
        &self,
        context: &CommandContext,
        name: &str,
        wish: Wish,
    ) -> Result<CommandReceipt, DecideError> {
        let (projection, ledger) = (named(name)?, LedgerId::main_of(context.tenant));
        let decision = match wish.clone() {
            Wish::Redrive { position, reason } => ReadModelDecision::Redrive {
                parked: self.parked(ledger, projection, position).await?,
                position,
                reason,
            },
            Wish::Discard { position, reason } => ReadModelDecision::Discard {
                parked: self.parked(ledger, projection, position).await?,
                position,
                reason,
            },
            Wish::Pause { reason } => ReadModelDecision::Pause { reason },
            Wish::Resume { reason } => ReadModelDecision::Resume { reason },
        };
        let command = DecideReadModel {
            projection: projection.to_owned(),
            decision,
        };
        let receipt = self.commands.execute(context, &command).await?;
        // Carried out for a repeat, too: the first one may have died before this. What is not parked any more stays as it is,
        // and of pauses the one that was recorded last holds, in whatever order they come here.
        let runner = self.runner;
        let recorded = receipt.position();
        let _changed = match (wish, recorded) {
            (Wish::Redrive { position, .. }, _) => runner.redrive(ledger, projection, position).await?,
            (Wish::Discard { position, .. }, _) => runner.discard(ledger, projection, position).await?,
            (Wish::Pause { .. }, Some(at)) => runner.set_paused(ledger, projection, true, at).await?,
            (Wish::Resume { .. }, Some(at)) => runner.set_paused(ledger, projection, false, at).await?,
            (_, None) => false,
        };
        Ok(receipt)
    }

    /// The event that a projection waits for, if it is this one.
    async fn parked(
        &self,
        ledger: LedgerId,
        projection: &'static str,
        position: Position,
    ) -> Result<Option<ParkedEvent>, ReadStoreError> {
        let status = self.runner.store().status(ledger, projection).await?;
        let letter = status.parked.filter(|letter| letter.position == position);
        Ok(letter.map(|letter| ParkedEvent {
            event_type: letter.event_type,
            error: letter.error,
        }))
    }
}
