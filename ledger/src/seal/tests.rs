//! What a crash leaves at each line of sealing: every call to the tree store and the tree head store fails in turn, before
//! and behind its work, and the next call has to seal.

use super::*;
use crate::keys::MasterSeed;
use crate::memory::{MemoryStore, MemoryTreeHeads};
use crate::note::NoteSigner;
use crate::testing::faults::{Calls, FaultHeads, FaultTrees};
use crate::testing::{Author, FixedClock, appended, check_ledger, ledger};
use crate::tree::root_of;

struct Keys(MasterSeed);

impl LogKeys for Keys {
    fn signer(&self, origin: &str) -> NoteSigner {
        self.0.log_signer(origin).expect("origins are key names")
    }

    fn label(&self, ledger: LedgerId) -> [u8; 16] {
        self.0.origin_label(ledger)
    }
}

struct World {
    store: Arc<MemoryStore>,
    heads: Arc<FaultHeads>,
    calls: Arc<Calls>,
    sealer: Sealer,
    author: Author,
}

impl World {
    /// A ledger of `records` records, none of them sealed.
    async fn new(records: usize) -> Self {
        let store = Arc::new(MemoryStore::new(Arc::new(FixedClock::at(1))));
        let calls = Arc::new(Calls::default());
        let heads = Arc::new(FaultHeads {
            inner: Arc::new(MemoryTreeHeads::default()),
            calls: calls.clone(),
            promised: Default::default(),
        });
        let trees = FaultTrees {
            inner: store.clone(),
            calls: calls.clone(),
        };
        let sealer = Sealer {
            events: store.clone(),
            trees: Arc::new(trees),
            heads: heads.clone(),
            keys: Arc::new(Keys(MasterSeed::from_slice(&[1; 32]).expect("32 bytes"))),
        };
        let author = Author::new(1);
        let opening = author.opening(ledger(1), 1, None);
        store.open_epoch(ledger(1), opening).await.unwrap();
        let world = Self {
            store,
            heads,
            calls,
            sealer,
            author,
        };
        world.append(records - 1).await;
        world
    }

    async fn append(&self, count: usize) {
        for _ in 0..count {
            let event = self.author.event(self.author.stream(1), "{}");
            appended(
                self.store
                    .append(ledger(1), self.author.append(vec![event]))
                    .await,
            );
        }
    }

    /// Every promise that was ever made is signed, of a size of its own, and over the records that are there.
    async fn judge_promises(&self, what: &str) {
        let size = check_ledger(&*self.store, ledger(1)).await;
        let leaves = self
            .store
            .leaf_hashes(ledger(1), Epoch(1), LeafIndex(0), size as usize)
            .await
            .unwrap();
        let promised = self.heads.promised.lock().expect("no holder panics").clone();
        for (n, head) in promised.iter().enumerate() {
            let signer = self.sealer.keys.signer(&head.head().origin);
            head.verify(std::slice::from_ref(signer.verifier())).unwrap();
            let size = head.head().size;
            assert_eq!(head.head().root, root_of(&leaves[..size.0 as usize]), "{what}");
            assert!(
                n == 0 || promised[n - 1].head().size < size,
                "{what}: {promised:?}"
            );
        }
    }

    /// The last promise is known everywhere, and the stored tiles give its root.
    async fn judge_sealed(&self, head: &SignedTreeHead, what: &str) {
        let size = check_ledger(&*self.store, ledger(1)).await;
        assert_eq!(head.head().size, TreeSize(size), "{what}");
        let kept = self.heads.latest(&head.head().origin).await.unwrap();
        assert_eq!(kept.as_ref(), Some(head), "{what}");
        let copy = self.store.tree_head(ledger(1), Epoch(1)).await.unwrap();
        assert_eq!(copy.as_ref(), Some(head), "{what}");
        let edge = self
            .sealer
            .stored_edge(ledger(1), Epoch(1), head.head().size)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{what}: tiles are missing"));
        assert_eq!(edge.root(), Some(head.head().root), "{what}");
    }
}

/// What there was before the call that fails.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// Nothing was ever sealed.
    Nothing,
    /// A tree head over fewer records.
    Sealed,
    /// The same, and the derived data was deleted since.
    TilesLost,
}

async fn world(before: Before) -> World {
    let world = World::new(300).await;
    if !matches!(before, Before::Nothing) {
        world.sealer.seal(ledger(1)).await.unwrap();
        world.append(230).await;
    }
    if matches!(before, Before::TilesLost) {
        world.store.forget_trees();
    }
    world
}

#[tokio::test]
async fn whatever_fails_the_next_call_seals_and_no_promise_contradicts_another() {
    for before in [Before::Nothing, Before::Sealed, Before::TilesLost] {
        let whole = world(before).await;
        whole.calls.fail(0, false);
        whole.sealer.seal(ledger(1)).await.unwrap();
        let calls = whole.calls.made();
        assert!(calls >= 6, "{before:?}: {calls} calls");
        for at in 1..=calls {
            for kept in [false, true] {
                // Records may come between the fault and the next call, so that it seals another size.
                for later in [0, 3] {
                    let what = format!("{before:?}, call {at} of {calls}, done: {kept}, {later} more");
                    let w = world(before).await;
                    w.calls.fail(at, kept);
                    let failed = w.sealer.seal(ledger(1)).await;
                    assert!(
                        matches!(&failed, Err(error) if !error.halts_appends()),
                        "{what}: {failed:?}"
                    );
                    w.judge_promises(&what).await;
                    w.append(later).await;
                    w.calls.fail(0, false);
                    let sealed = w.sealer.seal(ledger(1)).await;
                    let head = sealed.unwrap_or_else(|error| panic!("{what}: {error}"));
                    let head = head.expect("the ledger exists");
                    w.judge_promises(&what).await;
                    w.judge_sealed(&head, &what).await;
                    assert_eq!(
                        w.sealer.seal(ledger(1)).await.unwrap(),
                        Some(head),
                        "{what}: nothing new, nothing signed"
                    );
                }
            }
        }
    }
}
