//! What an append costs does not grow with the tables.

use ruche_domain::ports::Random;
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, ExpectedVersion};
use ruche_ledger::testing::{Author, SeededRandom, appended, ledger};
use tokio_postgres::Client;

use super::support::wait_for;
use super::{database, open, open_ledger, server, session};

/// Appends of each kind.
const APPENDS: u8 = 100;

/// A part of conformance test 10: plans are made when the tables are small and are kept, and
/// no append reads a whole table with them when it is large.
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

/// Records of the few and of the many. Trees of these tables are one level higher with the many.
const FEW: usize = 2_000;
const MANY: usize = 100_000;
/// Appends whose pages are counted.
const COUNTED: u16 = 200;
/// Appends for which a node makes its plans and reads its catalogues.
const WARM: u16 = 20;
/// Pages of tables and indexes that statements asked for, of what an append reads and writes.
const PAGES: &str = "SELECT coalesce(sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0) \
    + coalesce(toast_blks_hit, 0) + coalesce(toast_blks_read, 0)), 0)::int8 FROM pg_statio_user_tables WHERE schemaname = 'ruche'";
const RECORDS: &str =
    "SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = 'ruche' AND relname = 'record'";

/// Conformance test 10: an append touches as many pages when the tables are large as when they are small. What that
/// is in time is in `docs/benchmarks.md`.
#[tokio::test(flavor = "multi_thread")]
async fn conformance_10_an_append_touches_as_many_pages_among_many_records_as_among_few() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let client = session(&url).await;
    let mut writing = Writing::begin(&client, &url).await;
    writing.fill(&client, FEW).await;
    let few = writing.pages_of_an_append(&client).await;
    writing.fill(&client, MANY - FEW).await;
    let many = writing.pages_of_an_append(&client).await;
    assert!(few > 10.0, "{few} pages: they are counted");
    assert!(
        many <= 1.2 * few,
        "pages of an append: {few} among {FEW} records, {many} among {MANY}"
    );
}

/// One ledger that grows; each append has a stream and a key that nothing had before.
struct Writing {
    url: String,
    author: Author,
    random: SeededRandom,
}

impl Writing {
    async fn begin(client: &Client, url: &str) -> Self {
        let node = open(url).await;
        let author = open_ledger(&*node, 1).await;
        node.close().await.unwrap();
        wait_for(client, RECORDS, 1).await;
        Self {
            url: url.to_owned(),
            author,
            random: SeededRandom::new(10),
        }
    }

    /// An append of so many events, each on a stream of its own.
    fn request(&mut self, events: usize) -> AppendRequest {
        let mut key = KeyClaim {
            layer: KeyLayer::Api,
            key: [0; 32],
            request: [1; 32],
        };
        self.random.fill(&mut key.key);
        let events = (0..events)
            .map(|_| {
                // Streams are told apart by their first bytes, as random ones are: an index gets them in no order.
                let mut id = [0; 16];
                self.random.fill(&mut id);
                self.author
                    .event(self.author.stream(u128::from_be_bytes(id)), "{}")
            })
            .collect();
        AppendRequest::new(vec![], events, vec![key]).unwrap()
    }

    async fn fill(&mut self, client: &Client, records: usize) {
        let before: i64 = client.query_one(RECORDS, &[]).await.unwrap().get(0);
        let node = open(&self.url).await;
        for _ in 0..records / 1_000 {
            let request = self.request(1_000);
            appended(node.append(ledger(1), request).await);
        }
        node.close().await.unwrap();
        wait_for(client, RECORDS, before + records as i64).await;
    }

    /// Pages that one append asks for: what a node with many appends asks for beyond one with few, both of which start and
    /// end alike.
    async fn pages_of_an_append(&mut self, client: &Client) -> f64 {
        // It reads tables itself, and tells so in a while unless it is asked to.
        let vacuum = session(&self.url).await;
        vacuum.batch_execute("VACUUM ANALYZE").await.unwrap();
        vacuum
            .batch_execute("SELECT pg_stat_force_next_flush()")
            .await
            .unwrap();
        let short = self.pages_of_a_node(client, WARM).await;
        let long = self.pages_of_a_node(client, WARM + COUNTED).await;
        (long - short) as f64 / f64::from(COUNTED)
    }

    /// Pages that a node asks for from its start to its end, with so many appends.
    async fn pages_of_a_node(&mut self, client: &Client, appends: u16) -> i64 {
        let before: i64 = client.query_one(PAGES, &[]).await.unwrap().get(0);
        let records: i64 = client.query_one(RECORDS, &[]).await.unwrap().get(0);
        let node = open(&self.url).await;
        for _ in 0..appends {
            let request = self.request(1);
            appended(node.append(ledger(1), request).await);
        }
        // A session tells what it read when it ends, at the latest.
        node.close().await.unwrap();
        wait_for(client, RECORDS, records + i64::from(appends)).await;
        let after: i64 = client.query_one(PAGES, &[]).await.unwrap().get(0);
        after - before
    }
}
