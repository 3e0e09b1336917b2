//! What an append costs does not grow with the tables.

use ruche_ledger::store::{AppendOutcome, EventStore, ExpectedVersion};
use ruche_ledger::testing::{appended, ledger};

use super::support::wait_for;
use super::{database, open, open_ledger, server, session};

/// Appends of each kind.
const APPENDS: u8 = 100;

/// Conformance test 10, as far as it is not a matter of time: plans are made when the tables are small and are kept, and
/// no append reads a whole table with them when it is large. `docs/benchmarks.md` has the figures.
#[tokio::test(flavor = "multi_thread")]
async fn no_append_reads_a_whole_table() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let author = open_ledger(&*node, 1).await;
    let client = session(&url).await;
    for key in 0..APPENDS {
        if key == 5 {
            // From now on the server knows for certain that the tables are small, as its autovacuum may find at any time.
            client.batch_execute("ANALYZE").await.unwrap();
        }
        let event = |stream: u128| vec![author.event(author.stream(stream), "{}")];
        // A stream that is looked up, one that is guessed to be absent, and keys that are guessed to be new.
        let keyed = || author.append_keyed(key, 1, event(u128::from(key)));
        appended(node.append(ledger(1), keyed()).await);
        let begun = || author.append_expecting(ExpectedVersion::NoStream, event(1_000 + u128::from(key)));
        appended(node.append(ledger(1), begun()).await);
        if key % 10 == 0 {
            // The guesses are wrong: everything is looked up, with the head locked and, for a while, without.
            let repeat = node.append(ledger(1), keyed()).await;
            assert!(
                matches!(repeat, Ok(AppendOutcome::Appended { duplicate: true, .. })),
                "{repeat:?}"
            );
            let conflict = node.append(ledger(1), begun()).await;
            assert!(
                matches!(conflict, Ok(AppendOutcome::Conflict { .. })),
                "{conflict:?}"
            );
        }
    }
    // A session tells what it read when it ends, at the latest.
    node.close().await.unwrap();
    let inserted =
        "SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = 'ruche' AND relname = 'record'";
    wait_for(&client, inserted, 1 + 2 * i64::from(APPENDS)).await;
    // Receipts of repeats are read from `record` by a statement that is planned each time.
    let read = client
        .query(
            "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = 'ruche' \
             AND relname IN ('stream_head', 'idempotency') AND seq_tup_read > 0",
            &[],
        )
        .await
        .unwrap();
    let read: Vec<(String, i64)> = read.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(read, [], "rows that were read without an index");
}
