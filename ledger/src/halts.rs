//! Port: ledgers that take no appends, as all nodes of one store know them.
//!
//! One node finds that a ledger is behind its promises. The others would go on appending to it, records that can never be
//! sealed, until they find out for themselves; only the node that tends a ledger ever does. So the halt is written where
//! every append looks. A store with one node has no need of that: its [`crate::guard::GuardedStore`] is enough.

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Epoch;

use crate::store::StoreError;

/// A ledger that takes no appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Which one.
    pub ledger: LedgerId,
    /// The epoch that takes none; the next one does.
    pub epoch: Epoch,
    /// For the operator's log.
    pub reason: String,
}

/// Halts of a store that several nodes append to.
#[async_trait]
pub trait Halts: Send + Sync {
    /// No node appends to this epoch of the ledger that begins to after the answer. What stands already is replaced.
    ///
    /// # Errors
    /// The store's; then nobody knows whether it stands, and it may be said again.
    async fn halt(&self, halt: &Halt) -> Result<(), StoreError>;

    /// Appends go on. Only for who has seen that the reason is gone.
    ///
    /// # Errors
    /// The store's, as with [`Halts::halt`].
    async fn release(&self, ledger: LedgerId) -> Result<(), StoreError>;

    /// The halts of epochs that are open.
    ///
    /// # Errors
    /// The store's.
    async fn halted(&self) -> Result<Vec<Halt>, StoreError>;
}
