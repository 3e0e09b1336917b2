//! Stored bytes that somebody changed are named, never given out.

use ruche_domain::numbers::{Position, StreamVersion};
use ruche_ledger::payload::StoredFragment;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::ledger;

use super::{append, at, folder, id, open, open_ledger, tamper};

/// What is done to record 2 of a ledger of records 0 to 5, and a word of what reading it says.
const CHANGES: [(&str, &str); 7] = [
    (
        "UPDATE record SET leaf = CAST(substr(leaf, 1, 8) || x'41' || substr(leaf, 10) AS BLOB) WHERE id = {2}",
        "origin",
    ),
    (
        "UPDATE record SET leaf = (SELECT leaf FROM record WHERE id = {3}) WHERE id = {2}",
        "the leaf says index 3",
    ),
    ("UPDATE record SET leaf = x'80' WHERE id = {2}", "CBOR"),
    (
        "UPDATE payload SET bytes = CAST(bytes || x'20' AS BLOB) WHERE id = {2} << 2",
        "does not open its commitment",
    ),
    (
        "UPDATE payload SET opening = zeroblob(32) WHERE id = {2} << 2",
        "does not open its commitment",
    ),
    (
        "INSERT INTO payload VALUES ({2} << 2 | 1, zeroblob(32), x'00')",
        "commits to 1",
    ),
    ("DELETE FROM record WHERE id = {2}", "missing"),
];

#[tokio::test]
async fn a_changed_record_is_named_and_not_read() {
    for (sql, expected) in CHANGES {
        let dir = folder();
        let store = open(dir.path());
        let a = open_ledger(&store, 1).await;
        append(&store, 1, &a, 5).await;
        tamper(dir.path(), &sql.replace("{2}", &id(2)).replace("{3}", &id(3)));
        let read = store.read_ledger(ledger(1), Position::START, 10).await;
        let Err(StoreError::Corrupt { place, reason }) = &read else {
            panic!("{sql}: {read:?}")
        };
        assert!(
            place.contains("record") || place.contains("payload"),
            "{sql}: {place}"
        );
        assert!(
            reason.contains(expected) || sql.contains("x'80'"),
            "{sql}: {reason}"
        );
        // What stands before the place can still be read, and what stands behind it.
        assert_eq!(
            store
                .read_ledger(ledger(1), Position::START, 2)
                .await
                .unwrap()
                .len(),
            2
        );
        assert_eq!(store.read_ledger(ledger(1), at(3), 10).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_record_under_the_name_of_another_stream_is_not_read() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    append(&store, 1, &a, 2).await;
    let other = a.append(vec![a.event(a.stream(2), "{}")]);
    ruche_ledger::testing::appended(store.append(ledger(1), other).await);
    let swap = "UPDATE record SET stream_version = 9 WHERE id = {2};
                UPDATE record SET (stream_no, stream_version) = (SELECT stream_no, 1 FROM record WHERE id = {1}) \
                WHERE id = {3}";
    tamper(
        dir.path(),
        &swap
            .replace("{1}", &id(1))
            .replace("{2}", &id(2))
            .replace("{3}", &id(3)),
    );
    let read = store
        .read_stream(ledger(1), a.stream(1), StreamVersion(0), 10)
        .await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
}

#[tokio::test]
async fn an_erased_payload_is_missing_and_its_leaf_stands() {
    let dir = folder();
    let store = open(dir.path());
    let a = open_ledger(&store, 1).await;
    let receipts = append(&store, 1, &a, 3).await;
    tamper(
        dir.path(),
        &format!("DELETE FROM payload WHERE id = {} << 2", id(2)),
    );
    let records = store.read_ledger(ledger(1), at(1), 10).await.unwrap();
    assert_eq!(records[1].payload, [StoredFragment::Missing]);
    assert_eq!(records.iter().map(|r| r.receipt()).collect::<Vec<_>>(), receipts);
    assert!(records[0].payload_bytes().is_some() && records[2].payload_bytes().is_some());
}
