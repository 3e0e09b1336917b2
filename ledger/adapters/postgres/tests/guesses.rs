//! What is not looked up before it is appended: keys, and streams that are expected to be absent.

use std::sync::Arc;

use ruche_ledger::store::{AppendOutcome, EventStore, ExpectedVersion};
use ruche_ledger::testing::{appended, check_ledger, ledger};

use super::faults::happens;
use super::proxy::{Fault, On, Proxy};
use super::support::open_with;
use super::{Noon, database, open, open_ledger, server};

const KEYS: On = On::Run("SELECT u.ledger, u.layer");
const STREAMS: On = On::Run("SELECT u.ledger, u.stream");

/// A new key costs no look-up. One that was used is found by the statement that appends, and from then on keys of this
/// ledger are looked up.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_guessed_and_a_used_one_is_found() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let proxy = Proxy::start(&url).await;
    let node = open_with(Arc::new(Noon), &proxy.url(&url), |options| options.writers = 1).await;
    let author = open_ledger(&*node, 1).await;
    let request = |key| author.append_keyed(key, 1, vec![author.event(author.stream(1), "{}")]);
    proxy.arm(KEYS, Fault::SwallowRequest);
    let first = appended(node.append(ledger(1), request(1)).await);
    appended(node.append(ledger(1), request(2)).await);
    assert_eq!(proxy.happened(), 0, "new keys were looked up");
    // The first look-up is the one under the lock, which is lost here.
    assert!(node.append(ledger(1), request(1)).await.is_err());
    assert_eq!(proxy.happened(), 1);
    let expected = AppendOutcome::Appended {
        receipts: first,
        duplicate: true,
    };
    assert_eq!(node.append(ledger(1), request(1)).await, Ok(expected));
    proxy.arm(KEYS, Fault::SwallowRequest);
    assert!(node.append(ledger(1), request(3)).await.is_err());
    assert_eq!(
        proxy.happened(),
        2,
        "clients that repeat are not expected to go on"
    );
    assert_eq!(check_ledger(&*node, ledger(1)).await, 3);
}

/// A stream that is expected to be absent costs no look-up, and is not begun a second time if it is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_absent_stream_is_guessed_and_one_that_is_there_is_a_conflict() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let other = open(&url).await;
    let author = open_ledger(&*other, 1).await;
    let request = |stream| {
        let event = author.event(author.stream(stream), "{}");
        author.append_expecting(ExpectedVersion::NoStream, vec![event])
    };
    appended(other.append(ledger(1), request(1)).await);
    let proxy = Proxy::start(&url).await;
    let node = open_with(Arc::new(Noon), &proxy.url(&url), |options| options.writers = 1).await;
    proxy.arm(STREAMS, Fault::Hold);
    appended(node.append(ledger(1), request(2)).await);
    assert_eq!(proxy.happened(), 0, "a new stream was looked up");
    // The first look-up is the one under the lock.
    let (outcome, ()) = tokio::join!(node.append(ledger(1), request(1)), async {
        happens(&proxy, 1).await;
        proxy.release();
    });
    assert!(
        matches!(outcome, Ok(AppendOutcome::Conflict { .. })),
        "{outcome:?}"
    );
    proxy.arm(STREAMS, Fault::SwallowRequest);
    let next = node.append(ledger(1), request(3)).await;
    assert_eq!(proxy.happened(), 2, "nothing is guessed for a while: {next:?}");
    assert_eq!(check_ledger(&*node, ledger(1)).await, 3);
}
