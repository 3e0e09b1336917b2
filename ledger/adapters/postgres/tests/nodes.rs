//! A node whose connections are cut under it.

use ruche_ledger::store::{AppendOutcome, EventStore};
use ruche_ledger::testing::{check_ledger, ledger};

use super::{database, open, open_ledger, server, session};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing_and_are_made_again() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let node = open(&url).await;
    let author = open_ledger(&*node, 1).await;
    let killer = session(&url).await;
    let mut there = 0;
    for key in 0..60 {
        let request = || author.append_keyed(key, 1, vec![author.event(author.stream(1), "{}")]);
        let append = node.append(ledger(1), request());
        let kill = killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ruche' AND datname = current_database()",
            &[],
        );
        let first = if key % 3 == 0 {
            let (outcome, killed) = tokio::join!(append, kill);
            killed.unwrap();
            outcome
        } else {
            append.await
        };
        // Whatever was answered, the key finds out; and it stands once.
        let mut outcome = first;
        let mut tries = 0;
        while !matches!(outcome, Ok(AppendOutcome::Appended { .. })) {
            tries += 1;
            assert!(tries < 20, "{outcome:?}");
            outcome = node.append(ledger(1), request()).await;
        }
        there += 1;
    }
    assert_eq!(check_ledger(&*node, ledger(1)).await, there + 1);
}
