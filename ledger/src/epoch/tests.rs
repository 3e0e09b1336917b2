use ruche_domain::events::infra::EpochReason;
use ruche_domain::numbers::TreeSize;

use super::*;
use crate::keys::MasterSeed;
use crate::memory::{MemoryStore, MemoryTreeHeads};
use crate::note::NoteSigner;
use crate::seal::{LogKeys, TreeHeadStore, TreeStore};
use crate::store::EventStore;
use crate::testing::{Author, FixedClock, SeededRandom, appended, ledger};

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
    heads: Arc<MemoryTreeHeads>,
}

impl World {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new(Arc::new(FixedClock::at(1)))),
            heads: Arc::default(),
        }
    }

    /// The promises of this world on the database as a backup had it: after `records` of `author`.
    async fn restored(&self, author: &Author, records: usize) -> Self {
        let backup = Self::new();
        backup.opener(1).create(ledger(1)).await.unwrap();
        backup.append(author, records).await;
        backup.opener(1).sealer.seal(ledger(1)).await.unwrap();
        Self {
            heads: self.heads.clone(),
            ..backup
        }
    }

    fn opener(&self, seed: u8) -> Opener {
        Opener {
            sealer: Arc::new(Sealer {
                events: self.store.clone(),
                trees: self.store.clone(),
                heads: self.heads.clone(),
                keys: Arc::new(Keys(MasterSeed::from_slice(&[seed; 32]).expect("32 bytes"))),
            }),
            clock: Arc::new(FixedClock::at(7)),
            random: Arc::new(SeededRandom::new(1)),
            deployment: "test.example".into(),
        }
    }

    async fn append(&self, a: &Author, count: usize) {
        let events = (0..count).map(|_| a.event(a.stream(1), "{}")).collect();
        appended(self.store.append(ledger(1), a.append(events)).await);
    }

    async fn opened(&self, epoch: u32) -> InfraLedgerOpened {
        let record = self
            .store
            .read_ledger(ledger(1), Position::new(epoch, 0), 1)
            .await
            .unwrap()
            .remove(0);
        serde_json::from_slice(record.payload_bytes().unwrap()).unwrap()
    }
}

#[test]
fn base32_of_rfc_4648() {
    for (text, expected) in [("", ""), ("f", "my"), ("fo", "mzxq"), ("foobar", "mzxw6ytboi")] {
        assert_eq!(base32(text.as_bytes()), expected);
    }
}

#[tokio::test]
async fn a_ledger_is_created_sealed_and_goes_on_in_a_linked_epoch() {
    let (w, a) = (World::new(), Author::new(1));
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    w.append(&a, 300).await;
    let head = o.sealer.seal(ledger(1)).await.unwrap().unwrap();
    assert_eq!(head.head().size, TreeSize(301));
    assert_eq!(
        o.sealer.seal(ledger(1)).await.unwrap().unwrap(),
        head,
        "nothing new, nothing signed"
    );
    w.append(&a, 3).await;
    o.next_epoch(ledger(1), EpochReason::Operator, Some("drill".into()))
        .await
        .unwrap();

    let (first, second) = (w.opened(1).await, w.opened(2).await);
    assert_eq!(
        first.origin.rsplit_once('/').unwrap().0,
        second.origin.rsplit_once('/').unwrap().0
    );
    assert!(second.origin.ends_with("/e2"));
    assert_ne!(first.verifier_key, second.verifier_key);
    let previous = second.previous.unwrap();
    assert_eq!(
        (previous.origin, previous.tree_size),
        (first.origin, TreeSize(304))
    );
    assert_eq!(previous.lost_from, None);
    assert!(
        o.sealer
            .seal(ledger(1))
            .await
            .unwrap()
            .unwrap()
            .head()
            .origin
            .ends_with("/e2")
    );
}

#[tokio::test]
async fn a_restored_database_is_not_signed_and_opens_an_epoch_that_names_the_loss() {
    let w = World::new();
    w.opener(1).create(ledger(1)).await.unwrap();
    w.append(&Author::new(1), 9).await;
    w.opener(1).sealer.seal(ledger(1)).await.unwrap();

    let w = w.restored(&Author::new(1), 3).await;
    let o = w.opener(1);
    let error = o.sealer.seal(ledger(1)).await.unwrap_err();
    assert!(
        matches!(
            error,
            SealError::Behind {
                stored: 4,
                promised: 10,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.halts_appends());
    o.next_epoch(ledger(1), EpochReason::Restored, None)
        .await
        .unwrap();
    let previous = w.opened(2).await.previous.unwrap();
    assert_eq!(previous.tree_size, TreeSize(10));
    assert_eq!(
        (previous.lost_from, previous.lost_to),
        (Some(Position::new(1, 4)), Some(Position::new(1, 9)))
    );
    assert_eq!(
        o.sealer.may_go_on(ledger(1)).await.map_err(|e| e.to_string()),
        Ok(())
    );
}

/// A backup, then a rotation, then the backup comes back: the old epoch must not go on beside the lost one.
#[tokio::test]
async fn an_epoch_whose_successor_was_promised_is_never_signed_again() {
    let w = World::new();
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    w.append(&Author::new(1), 5).await;
    o.next_epoch(ledger(1), EpochReason::Operator, None)
        .await
        .unwrap();
    w.append(&Author::new(2), 100).await;
    o.sealer.seal(ledger(1)).await.unwrap();

    let w = w.restored(&Author::new(1), 5).await;
    let o = w.opener(1);
    assert!(matches!(
        o.sealer.may_go_on(ledger(1)).await,
        Err(SealError::Superseded { .. })
    ));
    w.append(&Author::new(3), 1).await;
    let error = o.sealer.seal(ledger(1)).await.unwrap_err();
    assert!(matches!(error, SealError::Superseded { .. }), "{error}");

    let receipt = o
        .next_epoch(ledger(1), EpochReason::Restored, None)
        .await
        .unwrap();
    assert_eq!(receipt.position, Position::new(3, 0));
    let previous = w.opened(3).await.previous.unwrap();
    assert!(previous.origin.ends_with("/e2"), "{}", previous.origin);
    assert_eq!(
        (previous.lost_from, previous.lost_to),
        (Some(Position::new(1, 7)), Some(Position::new(2, 100)))
    );
}

/// A backup made between two tree heads ends with records that its last tree head does not cover.
#[tokio::test]
async fn what_a_backup_had_behind_its_last_tree_head_is_signed_when_the_next_epoch_opens() {
    let a = Author::new(1);
    let w = World::new();
    w.opener(1).create(ledger(1)).await.unwrap();
    w.append(&a, 9).await;
    w.opener(1).sealer.seal(ledger(1)).await.unwrap();
    let promised = w.heads.clone();

    let w = w.restored(&a, 3).await;
    w.append(&a, 2).await;
    let o = w.opener(1);
    for _ in 0..2 {
        // Again, as after a crash: the same tree head.
        let end = o.sealer.seal_end(ledger(1), Epoch(1)).await.unwrap().unwrap();
        assert_eq!(end.head().size, TreeSize(6));
    }
    o.next_epoch(ledger(1), EpochReason::Restored, None)
        .await
        .unwrap();
    let copy = w.store.tree_head(ledger(1), Epoch(1)).await.unwrap().unwrap();
    assert_eq!(
        copy.head().size,
        TreeSize(6),
        "nothing is left without a tree head"
    );
    let previous = w.opened(2).await.previous.unwrap();
    assert_eq!(previous.tree_size, TreeSize(10), "the promise stands");
    assert_eq!(
        (previous.lost_from, previous.lost_to),
        (Some(Position::new(1, 6)), Some(Position::new(1, 9)))
    );
    let kept = promised.latest(&copy.head().origin).await.unwrap().unwrap();
    assert_eq!(kept.head().size, TreeSize(10), "and nobody signs behind it again");
}

/// With the keys of another deployment nothing is signed, whatever is asked.
#[tokio::test]
async fn the_end_of_an_epoch_is_signed_only_over_what_was_copied() {
    let w = World::new();
    w.opener(1).create(ledger(1)).await.unwrap();
    w.append(&Author::new(1), 2).await;
    let other = w.opener(2).sealer.seal_end(ledger(1), Epoch(1)).await;
    let other = other.unwrap().unwrap();
    assert_eq!(other.head().size, TreeSize(1), "the promise of the opening");

    let copy = w.store.tree_head(ledger(1), Epoch(1)).await.unwrap().unwrap();
    let (o, mut head) = (w.opener(1), copy.head().clone());
    head.root = crate::hash::Hash([7; 32]);
    let signer = o.sealer.keys.signer(&head.origin);
    let other_history = SignedTreeHead::sign(head, &signer).unwrap();
    w.store
        .put_tree_head(ledger(1), Epoch(1), &other_history)
        .await
        .unwrap();
    let error = o.sealer.seal_end(ledger(1), Epoch(1)).await;
    assert!(matches!(error, Err(SealError::Contradiction { .. })), "{error:?}");
}

#[tokio::test]
async fn a_ledger_whose_database_is_gone_is_not_made_anew_in_silence() {
    let w = World::new();
    w.opener(1).create(ledger(1)).await.unwrap();
    w.append(&Author::new(1), 9).await;
    w.opener(1).sealer.seal(ledger(1)).await.unwrap();

    let w = World {
        heads: w.heads.clone(),
        ..World::new()
    };
    let o = w.opener(1);
    assert!(matches!(
        o.create(ledger(1)).await,
        Err(OpenError::Promised { .. })
    ));
    let receipt = o
        .next_epoch(ledger(1), EpochReason::Restored, None)
        .await
        .unwrap();
    assert_eq!(receipt.position, Position::new(2, 0));
    let previous = w.opened(2).await.previous.unwrap();
    assert_eq!(
        (previous.lost_from, previous.lost_to),
        (Some(Position::START), Some(Position::new(1, 9)))
    );
}

#[tokio::test]
async fn a_keys_folder_from_an_old_backup_is_told() {
    let w = World::new();
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    w.append(&Author::new(1), 2).await;
    o.sealer.seal(ledger(1)).await.unwrap();
    let w = World {
        heads: Arc::default(),
        store: w.store,
    };
    let error = w.opener(1).sealer.seal(ledger(1)).await.unwrap_err();
    assert!(
        matches!(
            error,
            SealError::PromisesLost {
                copied: 3,
                kept: 0,
                ..
            }
        ),
        "{error}"
    );
    w.append(&Author::new(2), 1).await;
    let receipt = w
        .opener(1)
        .next_epoch(ledger(1), EpochReason::Operator, None)
        .await
        .unwrap();
    assert_eq!(receipt.position, Position::new(2, 0));
    let previous = w.opened(2).await.previous.unwrap();
    assert_eq!(
        previous.tree_size,
        TreeSize(4),
        "all that is there is under a tree head"
    );
    // The promises have no hole: after this, a restore of an older backup sees the last one.
    let kept = w.heads.latest(&previous.origin).await.unwrap().unwrap();
    assert_eq!(kept.head().size, TreeSize(4));
}

/// Two sealers over one store: whoever is late sees the other's tree head and no loss.
#[tokio::test]
async fn healthy_sealers_raise_no_alarm() {
    let w = World::new();
    let (a, b) = (w.opener(1), w.opener(1));
    a.create(ledger(1)).await.unwrap();
    for n in 0..20 {
        w.append(&Author::new(n), 1).await;
        let (one, two) = futures_util::future::join(a.sealer.seal(ledger(1)), b.sealer.seal(ledger(1))).await;
        for sealed in [one, two] {
            match sealed {
                Ok(Some(head)) => assert_eq!(head.head().size, TreeSize(n + 2)),
                Err(SealError::TreeHeads(crate::seal::TreeHeadStoreError::Swapped)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn records_that_are_not_the_promised_ones_are_never_signed() {
    let w = World::new();
    w.opener(1).create(ledger(1)).await.unwrap();
    w.append(&Author::new(1), 2).await;
    w.opener(1).sealer.seal(ledger(1)).await.unwrap();
    let w = w.restored(&Author::new(2), 5).await;
    w.store.forget_trees();
    let o = w.opener(1);
    let error = o.sealer.seal(ledger(1)).await.unwrap_err();
    assert!(
        matches!(error, SealError::Contradiction { size: 3, .. }),
        "{error}"
    );
    assert!(matches!(
        o.next_epoch(ledger(1), EpochReason::Restored, None).await,
        Err(OpenError::Seal(_))
    ));
}

#[tokio::test]
async fn another_master_seed_is_told_before_anything_is_signed() {
    let w = World::new();
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    o.sealer.seal(ledger(1)).await.unwrap();
    let error = w.opener(2).sealer.seal(ledger(1)).await.unwrap_err();
    assert!(matches!(error, SealError::ForeignKey { .. }), "{error}");
}

#[tokio::test]
async fn lost_tiles_are_rebuilt_from_the_leaves() {
    let (w, a) = (World::new(), Author::new(1));
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    w.append(&a, 700).await;
    let before = o.sealer.seal(ledger(1)).await.unwrap().unwrap();
    w.store.forget_trees();
    assert_eq!(o.sealer.seal(ledger(1)).await.unwrap().unwrap(), before);
    w.append(&a, 1).await;
    assert_eq!(
        o.sealer.seal(ledger(1)).await.unwrap().unwrap().head().size,
        TreeSize(702)
    );
}

#[tokio::test]
async fn a_deployment_name_is_checked() {
    let w = World::new();
    let mut o = w.opener(1);
    o.deployment = "Has Spaces".into();
    assert!(matches!(o.create(ledger(1)).await, Err(OpenError::Deployment(_))));
}

#[tokio::test]
async fn a_restored_ledger_goes_on_in_a_new_epoch_that_says_so_once_however_often_it_is_interrupted() {
    let (w, a) = (World::new(), Author::new(1));
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    w.append(&a, 2).await;
    let end = Position::new(1, 2);
    // A crash between record 0 and record 1 of the new epoch.
    o.next_epoch(ledger(1), EpochReason::Restored, None)
        .await
        .unwrap();
    for _ in 0..2 {
        let restored = o.open_restored(ledger(1), end).await.unwrap();
        assert_eq!((restored.epoch, restored.lost), (Epoch(2), None));
        let records = w
            .store
            .read_ledger(ledger(1), Position::new(2, 0), 10)
            .await
            .unwrap();
        let types: Vec<_> = records.iter().map(|r| r.leaf.event.event_type.as_str()).collect();
        assert_eq!(types, ["infra.ledger.opened", "infra.restore_completed"]);
    }
    let sealed = o.sealer.seal(ledger(1)).await.unwrap().unwrap();
    assert_eq!(sealed.head().size, TreeSize(2));
    // Restored again from the same backup's end in the next life: the epoch behind it is the one that is open.
    let again = o.open_restored(ledger(1), Position::new(2, 1)).await.unwrap();
    assert_eq!(again.epoch, Epoch(3));
}

#[tokio::test]
async fn looking_signs_nothing_and_finds_what_sealing_finds() {
    let (w, a) = (World::new(), Author::new(1));
    let o = w.opener(1);
    o.create(ledger(1)).await.unwrap();
    w.append(&a, 3).await;
    let seen = o.sealer.check_epoch(ledger(1), Epoch(1)).await.unwrap().unwrap();
    assert_eq!(seen.head().size, TreeSize(1), "the promise of the opening");
    o.sealer.seal(ledger(1)).await.unwrap();
    let restored = w.restored(&a, 1).await;
    let found = restored.opener(1).sealer.check_open_epoch(ledger(1)).await;
    assert!(matches!(found, Err(SealError::Behind { .. })), "{found:?}");
}
