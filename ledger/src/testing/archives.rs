//! What every engine does about archives, case by case.

use std::future::Future;
use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use uuid::Uuid;

use super::{Author, FixedClock, appended, check_ledger, ledger};
use crate::archive::{ArchiveStore, ArchivedRange, Attach, Detach, may_leave};
use crate::hash::Hash;
use crate::payload::StoredFragment;
use crate::store::{AppendOutcome, EventStore, Record, StoreError};

/// An engine that keeps records and knows of archives.
pub trait Engine: EventStore + ArchiveStore {}

impl<E: EventStore + ArchiveStore> Engine for E {}

/// Records in the ledgers of these cases, the first one included.
const RECORDS: u64 = 600;

/// Runs every case, each on a fresh store.
pub async fn run<F, Fut>(fresh: F)
where
    F: Fn(Arc<FixedClock>) -> Fut,
    Fut: Future<Output = Arc<dyn Engine>>,
{
    let make = || fresh(Arc::new(FixedClock::at(1_000_000)));
    what_left_is_told_apart_and_nothing_else_changes(&*make().await).await;
    pieces_are_noted_as_they_go_and_may_be_done_again(&*make().await).await;
    what_comes_back_is_what_it_was(&*make().await).await;
    a_note_that_changed_meanwhile_stays(&*make().await).await;
    a_place_has_one_archive(&*make().await).await;
}

/// Stream `n` of six. Payloads of the last one never leave: one that is gone is missing.
fn stream(n: u64) -> StreamId {
    let category = if n == 5 {
        Category::Session
    } else {
        Category::Observed
    };
    StreamId::new(category, Uuid::from_u128(n.into()))
}

/// Two ledgers with records in six streams; the second one has to stay as it is.
async fn filled(store: &dyn Engine) -> (Author, Vec<Record>, Vec<Record>) {
    let author = Author::new(7);
    for of in [ledger(1), ledger(2)] {
        let opening = author.opening(of, 1, None);
        store.open_epoch(of, opening).await.expect("a new ledger opens");
        let mut next = 1;
        while next < RECORDS {
            let events: Vec<_> = (next..RECORDS.min(next + 100))
                .map(|n| author.event(stream(n % 6), &format!("{{\"n\":{n}}}")))
                .collect();
            next += events.len() as u64;
            appended(store.append(of, author.append(events)).await);
        }
    }
    let (first, second) = (all(store, ledger(1)).await, all(store, ledger(2)).await);
    (author, first, second)
}

async fn all(store: &dyn Engine, of: LedgerId) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records
            .last()
            .map_or(Position::START, |last| last.position.next());
        let page = store
            .read_ledger(of, from, 1_000)
            .await
            .expect("the ledger can be read");
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

fn range(to: u64) -> ArchivedRange {
    ArchivedRange {
        epoch: Epoch(1),
        from: LeafIndex(0),
        to: LeafIndex(to),
        archive: "one-e1-0-512".to_owned(),
        digest: Hash([5; 32]),
    }
}

/// Every third record stays in the store.
fn leaves(index: u64) -> bool {
    !index.is_multiple_of(3)
}

fn piece(from: u64, to: u64) -> Detach {
    Detach {
        range: range(to),
        records: (from..to).filter(|n| leaves(*n)).map(LeafIndex).collect(),
    }
}

/// Records as they are read once what leaves below `to` has left.
fn without(before: &[Record], to: u64) -> Vec<Record> {
    let archived = Arc::new(range(to));
    let mut records = before.to_vec();
    for record in &mut records[..to as usize] {
        if leaves(record.position.index.0) {
            record
                .payload
                .fill(match may_leave(record.leaf.event.stream.category) {
                    true => StoredFragment::Archived(archived.clone()),
                    false => StoredFragment::Missing,
                });
        }
    }
    records
}

fn payloads(records: &[Record]) -> Vec<Attach> {
    let of_record = |record: &Record| match record.payload.first() {
        Some(StoredFragment::Present { opening, bytes }) => Attach {
            index: record.position.index,
            fragment: 0,
            opening: *opening,
            bytes: bytes.clone(),
        },
        other => panic!("{}: {other:?}", record.position),
    };
    records.iter().map(of_record).collect()
}

async fn what_left_is_told_apart_and_nothing_else_changes(store: &dyn Engine) {
    let (author, before, others) = filled(store).await;
    let keyed = author.append_keyed(1, 1, vec![author.event(stream(1), "{}")]);
    let receipts = appended(store.append(ledger(1), keyed.clone()).await);
    let before: Vec<_> = before
        .into_iter()
        .chain(all(store, ledger(1)).await.pop())
        .collect();
    let head = store.head(ledger(1)).await;
    assert_eq!(store.archived(ledger(1)).await, Ok(Vec::new()));

    store
        .detach(ledger(1), piece(0, 512))
        .await
        .expect("payloads leave");
    let after = without(&before, 512);
    assert_eq!(all(store, ledger(1)).await, after);
    assert_eq!(all(store, ledger(2)).await, others, "of another ledger");
    assert_eq!(store.archived(ledger(1)).await, Ok(vec![range(512)]));
    assert_eq!(store.archived(ledger(2)).await, Ok(Vec::new()));
    let stream = stream(1);
    let of_stream: Vec<_> = after
        .iter()
        .filter(|record| record.leaf.event.stream == stream)
        .cloned()
        .collect();
    let read = store
        .read_stream(ledger(1), stream, StreamVersion(0), 1_000)
        .await;
    assert_eq!(read, Ok(of_stream), "by stream as by position");
    assert_eq!(store.head(ledger(1)).await, head);
    assert_eq!(check_ledger(store, ledger(1)).await, RECORDS + 1);
    let again = store.append(ledger(1), keyed).await;
    let duplicate = AppendOutcome::Appended {
        receipts,
        duplicate: true,
    };
    assert_eq!(again, Ok(duplicate), "keys are found without payloads");
}

async fn pieces_are_noted_as_they_go_and_may_be_done_again(store: &dyn Engine) {
    let (_, before, _) = filled(store).await;
    for (from, to) in [(0, 256), (0, 256), (256, 512), (0, 256)] {
        store
            .detach(ledger(1), piece(from, to))
            .await
            .expect("a piece leaves");
        let noted = store
            .archived(ledger(1))
            .await
            .expect("ranges")
            .pop()
            .expect("a range");
        assert!(noted.to.0 >= to, "what is noted gets no shorter: {noted:?}");
        assert_eq!(all(store, ledger(1)).await, without(&before, noted.to.0));
    }
    assert_eq!(store.archived(ledger(1)).await, Ok(vec![range(512)]));
}

async fn what_comes_back_is_what_it_was(store: &dyn Engine) {
    let (_, before, _) = filled(store).await;
    store
        .detach(ledger(1), piece(0, 512))
        .await
        .expect("payloads leave");
    let back = payloads(&before[..512]);
    for _ in 0..2 {
        let first = back[..100].to_vec();
        store
            .attach(ledger(1), Epoch(1), first)
            .await
            .expect("some come back");
        let read = all(store, ledger(1)).await;
        assert_eq!(read[..100], before[..100]);
        assert_eq!(read[100..], without(&before, 512)[100..]);
    }
    let early = store.forget(ledger(1), &range(512), 512).await;
    assert!(matches!(early, Err(StoreError::Refused(_))), "{early:?}");
    assert_eq!(store.archived(ledger(1)).await, Ok(vec![range(512)]));
    store
        .attach(ledger(1), Epoch(1), back)
        .await
        .expect("all come back");
    store
        .forget(ledger(1), &range(512), 512)
        .await
        .expect("all are back");
    assert_eq!(all(store, ledger(1)).await, before);
    assert_eq!(store.archived(ledger(1)).await, Ok(Vec::new()));
}

async fn a_note_that_changed_meanwhile_stays(store: &dyn Engine) {
    let (_, before, _) = filled(store).await;
    store
        .detach(ledger(1), piece(0, 256))
        .await
        .expect("a piece leaves");
    // A restore has read the note. Before it is through, the next piece leaves.
    store
        .attach(ledger(1), Epoch(1), payloads(&before[..256]))
        .await
        .expect("all of the first piece come back");
    store
        .detach(ledger(1), piece(256, 512))
        .await
        .expect("a piece leaves");
    let early = store.forget(ledger(1), &range(256), 256).await;
    assert!(matches!(early, Err(StoreError::Refused(_))), "{early:?}");
    assert_eq!(store.archived(ledger(1)).await, Ok(vec![range(512)]));
    let mut after = without(&before, 512);
    after[..256].clone_from_slice(&before[..256]);
    assert_eq!(all(store, ledger(1)).await, after, "nothing reads as erased");

    store
        .attach(ledger(1), Epoch(1), payloads(&before[..512]))
        .await
        .expect("all come back");
    let other_digest = ArchivedRange {
        digest: Hash([6; 32]),
        ..range(512)
    };
    let other = store.forget(ledger(1), &other_digest, 512).await;
    assert!(matches!(other, Err(StoreError::Refused(_))), "{other:?}");
    assert_eq!(store.archived(ledger(1)).await, Ok(vec![range(512)]));
    store
        .forget(ledger(1), &range(512), 512)
        .await
        .expect("all are back");
    let again = store.forget(ledger(1), &range(512), 512).await;
    assert!(matches!(again, Err(StoreError::Refused(_))), "{again:?}");
}

async fn a_place_has_one_archive(store: &dyn Engine) {
    let (_, before, _) = filled(store).await;
    store
        .detach(ledger(1), piece(0, 256))
        .await
        .expect("payloads leave");
    let named = |archive: &str| ArchivedRange {
        archive: archive.to_owned(),
        ..range(512)
    };
    let other_digest = ArchivedRange {
        digest: Hash([6; 32]),
        ..range(512)
    };
    for range in [named("another"), other_digest] {
        let refused = store
            .detach(
                ledger(1),
                Detach {
                    range,
                    ..piece(256, 512)
                },
            )
            .await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        assert_eq!(
            all(store, ledger(1)).await,
            without(&before, 256),
            "nothing was written"
        );
    }
    let second = ArchivedRange {
        from: LeafIndex(256),
        ..named("one-e1-256-512")
    };
    let records = vec![LeafIndex(300)];
    let detach = Detach {
        range: second.clone(),
        records,
    };
    store
        .detach(ledger(1), detach)
        .await
        .expect("the next place is free");
    assert_eq!(
        store.archived(ledger(1)).await,
        Ok(vec![range(256), second.clone()])
    );
    let read = store
        .read_ledger(ledger(1), Position::new(1, 300), 2)
        .await
        .expect("records");
    assert_eq!(read[0].archived_in(), Some(&second));
    assert_eq!(read[1], before[301]);
}
