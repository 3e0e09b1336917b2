//! Reads through a pooler that gives each transaction another session.

use std::sync::Arc;

use futures_util::future::join_all;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{AppendOutcome, EventStore};
use ruche_ledger::testing::{appended, check_ledger, ledger};
use ruche_ledger_postgres::{OpenError, PostgresOptions, PostgresStore};
use tokio_postgres::SimpleQueryMessage;

use super::server::Bouncer;
use super::{Noon, database, open_ledger, server, session};

const LEDGERS: u128 = 8;

async fn through(bouncer: &Bouncer, url: &str) -> Arc<PostgresStore> {
    let options = PostgresOptions {
        read_url: Some(bouncer.through(url)),
        readers: 16,
        ..PostgresOptions::new(url)
    };
    Arc::new(PostgresStore::open(Arc::new(Noon), options).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_9_reads_go_through_pgbouncer_in_transaction_mode() {
    let Some(server) = server() else { return };
    // Sixteen connections of ours share two sessions of the server.
    let Some(bouncer) = Bouncer::start(&server, 2).await else {
        return;
    };
    let url = database(&server).await;
    let node = through(&bouncer, &url).await;
    for n in 1..=LEDGERS {
        let author = open_ledger(&*node, n).await;
        for key in 0..3 {
            let event = || author.event(author.stream(n), "{}");
            let request = author.append_keyed(key, 1, vec![event(), event()]);
            let first = appended(node.append(ledger(n), request.clone()).await);
            // The receipts of an earlier append are read.
            let again = node.append(ledger(n), request).await.unwrap();
            assert!(
                matches!(&again, AppendOutcome::Appended { receipts, .. } if *receipts == first),
                "{again:?}"
            );
        }
    }
    let reads = (0..160_u128).map(|n| {
        let (node, of) = (Arc::clone(&node), n % LEDGERS + 1);
        tokio::spawn(async move {
            let author = ruche_ledger::testing::Author::new(of as u64);
            let stream = author.stream(of);
            let records = node.read_ledger(ledger(of), Position::START, 100).await.unwrap();
            assert_eq!(records.len(), 7);
            assert!(
                records[1..]
                    .iter()
                    .all(|record| record.leaf.event.stream == stream)
            );
            assert!(records.iter().all(|record| record.payload_bytes().is_some()));
            let of_stream = node.read_stream(ledger(of), stream, StreamVersion(0), 100);
            assert_eq!(of_stream.await.unwrap(), records[1..]);
            let version = node.stream_version(ledger(of), stream).await;
            assert_eq!(version, Ok(Some(StreamVersion(5))));
            // A stream that only others have.
            let foreign = author.stream(of % LEDGERS + 1);
            assert_eq!(node.stream_version(ledger(of), foreign).await, Ok(None));
            let hashes = node.leaf_hashes(ledger(of), Epoch(1), LeafIndex(0), 9).await;
            assert_eq!(hashes.unwrap().len(), 7);
            assert_eq!(node.epochs(ledger(of)).await.unwrap()[0].size.0, 7);
            assert_eq!(node.head(ledger(of)).await.unwrap().unwrap().size.0, 7);
        })
    });
    for read in join_all(reads).await {
        read.unwrap();
    }
    assert_eq!(check_ledger(&*node, ledger(3)).await, 7);
    let used = sessions(&bouncer, &url).await;
    assert!((1..=2).contains(&used), "{used} sessions of the server");
}

/// Sessions that the pooler has at the server for the database of a URL.
async fn sessions(bouncer: &Bouncer, url: &str) -> usize {
    let admin = session(&bouncer.through(url).replace(name(url), "pgbouncer")).await;
    let rows = admin.simple_query("SHOW SERVERS").await.unwrap();
    let of_database = |row: &&SimpleQueryMessage| match row {
        SimpleQueryMessage::Row(row) => row.get("database") == Some(name(url)),
        _ => false,
    };
    rows.iter().filter(of_database).count()
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_leaves_nothing_in_the_session() {
    let Some(server) = server() else { return };
    let Some(bouncer) = Bouncer::start(&server, 1).await else {
        return;
    };
    let url = database(&server).await;
    let node = through(&bouncer, &url).await;
    for n in 1..=2 {
        open_ledger(&*node, n).await;
    }
    for n in 0..60_u128 {
        let of = ledger(n % 2 + 1);
        // Given up after a few polls, so that it is somewhere in the middle.
        tokio::select! {
            biased;
            read = node.read_ledger(of, Position::START, 10) => drop(read),
            () = yields(n % 30) => {}
        }
        let other = ledger((n + 1) % 2 + 1);
        assert_eq!(
            node.read_ledger(other, Position::START, 10).await.unwrap().len(),
            1
        );
    }
}

async fn yields(times: u128) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_do_not_go_through_a_pooler() {
    let Some(server) = server() else { return };
    // One that refuses what it does not know, and one that passes over it.
    for settings in ["", "ignore_startup_parameters = options"] {
        let Some(bouncer) = Bouncer::start_with(&server, 1, settings).await else {
            return;
        };
        let url = bouncer.through(&database(&server).await);
        let refused = PostgresStore::open(Arc::new(Noon), PostgresOptions::new(url)).await;
        let refused = refused.err().expect("it opened");
        let mut text = refused.to_string();
        if let OpenError::Database { source, .. } = &refused {
            text = source
                .as_db_error()
                .map_or(text, |error| error.message().to_owned());
        }
        let told = if settings.is_empty() {
            "options"
        } else {
            "not to a pooler"
        };
        assert!(text.contains(told), "{text}");
    }
}
