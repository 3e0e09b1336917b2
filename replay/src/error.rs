//! Why a replay could not be done.

use ruche_domain::numbers::Position;
use ruche_ledger::seal::TreeHeadStoreError;
use ruche_ledger::store::StoreError;

/// Why a replay could not be done. That something is wrong with the ledger is no error but its result.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store cannot be read.
    #[error("the ledger cannot be read")]
    Store(#[from] StoreError),
    /// The tree heads cannot be read.
    #[error("the tree heads cannot be read")]
    TreeHeads(#[from] TreeHeadStoreError),
    /// The ledger has no such record.
    #[error("the ledger has no record {0}")]
    NoRecord(Position),
    /// More would have to be read than the budget allows.
    #[error("the budget of the replay was used up at {at}")]
    OutOfBudget {
        /// The first record that was not read.
        at: Position,
    },
    /// A range that begins behind its end.
    #[error("the range begins at {from}, behind its end {to}")]
    EmptyRange {
        /// Its first record.
        from: Position,
        /// Its last record.
        to: Position,
    },
}
