//! Port: which node tends which ledger.
//!
//! Sealing and following are safe on any number of nodes at once: compare-and-swap decides both. A lease keeps nodes
//! from doing the same work twice, and shares it: a ledger goes to the live node that [`preferred`] names, and goes on
//! elsewhere when that node is gone. Nothing may depend on a lease for being right; a node that was frozen and still
//! believes in its lease loses every swap.

use std::collections::HashSet;

use async_trait::async_trait;
use ruche_domain::ids::LedgerId;
use uuid::Uuid;

use crate::hash::Hash;
use crate::store::StoreError;

/// Leases on ledgers, of one node.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Says that this node is alive, and of these ledgers which it tends for the next [`LEASE_MS`]. Called again well
    /// before these are over. What is not in the answer is tended elsewhere, or will be.
    ///
    /// # Errors
    /// The store's. Leases that were answered before still run out by themselves.
    ///
    /// [`LEASE_MS`]: ruche_domain::limits::LEASE_MS
    async fn tend(&self, ledgers: &[LedgerId]) -> Result<HashSet<LedgerId>, StoreError>;

    /// Gives everything back at once: this node is closing. Without it the leases run out.
    ///
    /// # Errors
    /// The store's.
    async fn leave(&self) -> Result<(), StoreError>;
}

/// The only node of its store tends everything.
pub struct OnlyNode;

#[async_trait]
impl Leases for OnlyNode {
    async fn tend(&self, ledgers: &[LedgerId]) -> Result<HashSet<LedgerId>, StoreError> {
        Ok(ledgers.iter().copied().collect())
    }

    async fn leave(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The live node that should tend a ledger: the one whose hash with it is the greatest. When a node comes or goes,
/// only the ledgers that it gets or had move. Nothing if no node is alive.
pub fn preferred(ledger: LedgerId, nodes: &[Uuid]) -> Option<Uuid> {
    let weight = |node: &Uuid| {
        let mut both = [0; 32];
        both[..16].copy_from_slice(node.as_bytes());
        both[16..].copy_from_slice(ledger.as_bytes());
        (Hash::sha256(&both).0, *node)
    };
    nodes.iter().copied().max_by_key(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn ledgers() -> impl Iterator<Item = LedgerId> {
        (0..600_u128).map(|n| LedgerId(Uuid::from_u128(n)))
    }

    #[test]
    fn nodes_share_the_ledgers_and_one_that_goes_leaves_the_others_theirs() {
        let three = [node(1), node(2), node(3)];
        let shares = three.map(|n| ledgers().filter(|l| preferred(*l, &three) == Some(n)).count());
        assert_eq!(shares.iter().sum::<usize>(), 600);
        assert!(
            shares.iter().all(|share| (140..260).contains(share)),
            "{shares:?}"
        );
        let left = [node(3), node(1)];
        for ledger in ledgers() {
            let (before, after) = (preferred(ledger, &three), preferred(ledger, &left));
            if before == Some(node(2)) {
                assert!(after.is_some_and(|n| n != node(2)));
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(preferred(LedgerId(Uuid::nil()), &[]), None);
    }
}
