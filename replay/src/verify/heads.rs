//! The signed tree heads of an epoch: signature, origin, and the root over the records as they were read.

use ruche_domain::ids::LedgerId;
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Epoch, LeafIndex};
use ruche_ledger::hash::Hash;
use ruche_ledger::note::NoteError;
use ruche_ledger::right_edge::RightEdge;
use ruche_ledger::store::EpochInfo;
use ruche_ledger::tree_head::{SignedTreeHead, TreeHeadError};
use ruche_ledger::verify::FindingKind;

use super::Verification;
use super::report::{Collected, Fault, HeadChecked};
use super::sound::caught;
use crate::budget::Budget;
use crate::error::ReplayError;

/// The tree heads of an epoch, and the tree over its records as far as they were read.
pub(super) struct Heads {
    epoch: Epoch,
    origin: String,
    heads: Vec<Waiting>,
    edge: RightEdge,
    /// A record could not be read, so no root can be worked out.
    lost: bool,
}

struct Waiting {
    kept: &'static str,
    head: SignedTreeHead,
    root: Option<Hash>,
}

impl Heads {
    /// The tree heads that are kept of an epoch.
    pub async fn load(from: &Verification, ledger: LedgerId, epoch: &EpochInfo) -> Result<Self, ReplayError> {
        let promised = from.heads.latest(&epoch.origin).await?;
        let copy = from.trees.tree_head(ledger, epoch.epoch).await?;
        let waiting = |kept| {
            move |head| Waiting {
                kept,
                head,
                root: None,
            }
        };
        let heads = promised.map(waiting("promised"));
        let heads = heads.into_iter().chain(copy.map(waiting("beside the records")));
        Ok(Self {
            epoch: epoch.epoch,
            origin: epoch.origin.clone(),
            heads: heads.collect(),
            edge: RightEdge::new(),
            lost: false,
        })
    }

    /// Takes the leaf hash of the next record.
    pub fn leaf(&mut self, hash: Hash) {
        self.edge.append(hash, |_| ());
        let size = self.edge.size();
        for waiting in &mut self.heads {
            if waiting.head.head().size == size {
                waiting.root = self.edge.root();
            }
        }
    }

    /// The next record cannot be read.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Judges the tree heads. Those that sign more than the range need the leaves behind it, too, as far as the budget goes.
    pub async fn end(
        mut self,
        (from, budget): (&Verification, &Budget),
        ledger: LedgerId,
        collected: &mut Collected,
    ) -> Result<(), ReplayError> {
        if !collected.covers_epoch(self.epoch) {
            return Ok(());
        }
        let mut is_short = false;
        if !self.lost && !self.go_on(from, ledger, budget).await? {
            is_short = true;
            collected.heads_are_not_covered(self.epoch, self.edge.size());
        }
        // The origin is what is stored. One that cannot be the name of a key has none.
        let Some(key) = caught(|| from.keys.signer(&self.origin).verifier().clone()) else {
            let detail = format!("no key can have the name {}", self.origin);
            collected.push(Fault::of_epoch(FindingKind::OriginMismatch, self.epoch, detail));
            return Ok(());
        };
        for waiting in &self.heads {
            let Waiting { kept, head, root } = waiting;
            let size = head.head().size.0;
            let mut found = |kind, detail: String| {
                collected.push(Fault::of_epoch(
                    kind,
                    self.epoch,
                    format!("the tree head {kept} of size {size}: {detail}"),
                ));
            };
            if head.head().origin != self.origin {
                found(
                    FindingKind::OriginMismatch,
                    format!("its origin is {}", head.head().origin),
                );
                continue;
            }
            if let Err(error) = head.verify(std::slice::from_ref(&key)) {
                let kind = match error {
                    TreeHeadError::NotSignedByLog { .. }
                    | TreeHeadError::Note(NoteError::NoTrustedSignature) => FindingKind::TreeHeadUntrusted,
                    _ => FindingKind::TreeHeadSignatureInvalid,
                };
                found(kind, error.to_string());
                continue;
            }
            match root {
                Some(root) if *root == head.head().root => {}
                Some(root) => {
                    found(FindingKind::RootMismatch, format!("the records give {root}"));
                    continue;
                }
                None if self.lost || is_short => continue,
                None => {
                    let records = self.edge.size().0;
                    found(FindingKind::TailMissing, format!("there are {records} records"));
                    continue;
                }
            }
            let checked = HeadChecked {
                epoch: self.epoch.0,
                kept,
                size,
            };
            collected.head(self.epoch, checked);
        }
        Ok(())
    }

    /// Whether it came to the end of what is signed, or of what is there; not where the budget was spent before.
    async fn go_on(
        &mut self,
        from: &Verification,
        ledger: LedgerId,
        budget: &Budget,
    ) -> Result<bool, ReplayError> {
        let wanted = self.heads.iter().map(|waiting| waiting.head.head().size.0).max();
        while self.edge.size().0 < wanted.unwrap_or_default() {
            if budget.is_spent() {
                return Ok(false);
            }
            let next = LeafIndex(self.edge.size().0);
            let hashes = from
                .trees
                .leaf_hashes(ledger, self.epoch, next, budget.page(READ_RECORDS_MAX))
                .await?;
            if hashes.is_empty() {
                break;
            }
            budget.spend_leaves(hashes.len());
            for hash in hashes {
                self.leaf(hash);
            }
        }
        Ok(true)
    }
}
