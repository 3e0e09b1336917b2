//! Every write fails both ways, and repeating it finds out.

use ruche_domain::numbers::Position;

use super::Subject;
use crate::store::{AppendOutcome, EventStore, StoreError};
use crate::testing::faults::{Fault, FaultStore};
use crate::testing::{Author, check_ledger, ledger};

/// Openings and appends under each fault, each followed by what a client does that was told nothing: the same again.
/// After each the whole ledger is judged.
pub(super) async fn every_write(s: Subject) {
    let store = FaultStore::new(s.store.clone());
    let author = Author::new(1);
    let mut records = 0;
    // Twice: the first round meets a ledger that does not exist yet.
    for (epoch, fault) in (1..).zip(Fault::ALL.into_iter().cycle().skip(1).take(2 * Fault::ALL.len())) {
        open_epoch(&store, &author, epoch, fault).await;
        records += 1;
        assert_eq!(check_ledger(&*s.store, ledger(1)).await, records, "{fault:?}");
        for (index, fault) in (1..).zip(Fault::ALL) {
            let at = Position::new(epoch, index);
            append(&store, &author, at, fault).await;
            records += 1;
            assert_eq!(
                check_ledger(&*s.store, ledger(1)).await,
                records,
                "{at} {fault:?}"
            );
        }
    }
}

async fn open_epoch(store: &FaultStore, author: &Author, epoch: u32, fault: Fault) {
    let end = store
        .head(ledger(1))
        .await
        .unwrap()
        .and_then(|head| head.last_position());
    let opening = || author.opening(ledger(1), epoch, end);
    store.inject(fault);
    let first = store.open_epoch(ledger(1), opening()).await;
    let again = store.open_epoch(ledger(1), opening()).await;
    let position = |opened: &Result<_, StoreError>| {
        let opened: &Result<crate::store::Receipt, StoreError> = opened;
        opened
            .as_ref()
            .map(|receipt| receipt.position)
            .map_err(Clone::clone)
    };
    let there = Ok(Position::new(epoch, 0));
    // An opening has no key: it says what end it expects, and a repeated one hears that the ledger has moved.
    match fault {
        Fault::None => {
            assert_eq!(position(&first), there);
            assert_eq!(again, Err(StoreError::EpochMoved));
        }
        Fault::NotPersisted | Fault::UnknownNotPersisted => {
            assert!(matches!(first, Err(StoreError::Unavailable { .. })), "{first:?}");
            assert_eq!(position(&again), there, "{fault:?}");
        }
        Fault::UnknownButPersisted => {
            assert!(matches!(first, Err(StoreError::Unavailable { .. })), "{first:?}");
            assert_eq!(again, Err(StoreError::EpochMoved), "{fault:?}");
        }
    }
}

async fn append(store: &FaultStore, author: &Author, at: Position, fault: Fault) {
    // Unique within the case: few epochs of few appends.
    let key = (at.epoch.0 * 16) as u8 + at.index.0 as u8;
    let request = || {
        let event = author.event(author.stream(u128::from(key % 3)), "{}");
        author.append_keyed(key, 1, vec![event])
    };
    store.inject(fault);
    let first = store.append(ledger(1), request()).await;
    match (&first, fault) {
        (Ok(AppendOutcome::Appended { duplicate: false, .. }), Fault::None)
        | (Err(StoreError::Unavailable { .. }), Fault::NotPersisted)
        | (Ok(AppendOutcome::Unknown), Fault::UnknownNotPersisted | Fault::UnknownButPersisted) => {}
        other => panic!("{at}: {other:?}"),
    }
    let persisted = matches!(fault, Fault::None | Fault::UnknownButPersisted);
    for duplicate_expected in [persisted, true] {
        let again = store.append(ledger(1), request()).await;
        let Ok(AppendOutcome::Appended { receipts, duplicate }) = again else {
            panic!("{at} {fault:?}: {again:?}")
        };
        assert_eq!(
            (receipts[0].position, duplicate),
            (at, duplicate_expected),
            "{fault:?}"
        );
    }
}
