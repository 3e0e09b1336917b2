//! Here blocks have 3 entries and 3 runs are merged, so that few keys make many runs of several tiers.

use std::collections::BTreeMap;

use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{Author, FixedClock, SeededRandom, appended, ledger};

use super::*;
use crate::{DataLock, LEDGER_FILE, SqliteOptions, SqliteStore};

fn memory() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    crate::schema::MIGRATIONS
        .iter()
        .for_each(|sql| conn.execute_batch(sql).unwrap());
    conn
}

fn key(fingerprint: u64) -> [u8; 32] {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&fingerprint.to_be_bytes());
    key
}

fn sorted(mut entries: Vec<Entry>) -> Arc<[Entry]> {
    entries.sort_unstable();
    entries.into()
}

fn count(conn: &Connection, sql: &str) -> usize {
    conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

/// Whatever is committed, undone or lost with the process, every whole run's keys are found and no others.
#[test]
fn runs_are_what_a_map_would_be() {
    for seed in 0..20 {
        let conn = memory();
        let random = SeededRandom::new(seed);
        let below = |n: u64| (random.next() % n) as usize;
        let mut runs = Runs::load(&conn).unwrap();
        // What was given to the runs, and the part of it that is not yet durable as a whole.
        let mut known: BTreeMap<u64, i64> = BTreeMap::new();
        let mut pending: Vec<Entry> = Vec::new();
        for step in 0..400 {
            if runs.is_written() {
                known.extend(pending.drain(..).map(|Entry(print, id)| (print, id)));
                pending = (0..below(12))
                    .map(|n| Entry(random.next(), step * 100 + n as i64))
                    .collect();
                runs.begin(sorted(pending.clone()));
            }
            conn.execute_batch("BEGIN").unwrap();
            runs.write_some(&conn, below(9)).unwrap();
            runs.merge_some(&conn, below(3)).unwrap();
            match below(8) {
                0 => {
                    conn.execute_batch("ROLLBACK").unwrap();
                    runs.undo();
                }
                1 => {
                    // The process dies after the commit. Its keys are read from leaves again, and given again.
                    conn.execute_batch("COMMIT").unwrap();
                    runs = Runs::load(&conn).unwrap();
                    runs.begin(sorted(pending.clone()));
                }
                _ => {
                    conn.execute_batch("COMMIT").unwrap();
                    runs.committed();
                }
            }
            for (print, id) in &known {
                assert!(
                    runs.find(&conn, &key(*print)).unwrap().contains(&RecordId(*id)),
                    "seed {seed}, step {step}"
                );
            }
            assert_eq!(runs.find(&conn, &key(random.next())).unwrap(), []);
        }
        settle(&conn, &mut runs);
        assert!(runs.runs.len() < 4 * FANOUT, "{} runs", runs.runs.len());
        assert!(
            runs.runs.iter().any(|run| run.tier() > 1),
            "no run was merged twice"
        );
        let blocks: usize = runs.runs.iter().map(|run| run.firsts.len()).sum();
        assert_eq!(
            count(&conn, "SELECT count(*) FROM key_block"),
            blocks,
            "blocks of replaced runs are deleted"
        );
    }
}

/// Commits until no work is left.
fn settle(conn: &Connection, runs: &mut Runs) {
    for _ in 0..10_000 {
        runs.write_some(conn, 10).unwrap();
        runs.merge_some(conn, 10).unwrap();
        runs.committed();
        if runs.is_written() && runs.merge.is_none() && runs.garbage.is_empty() && runs.next_merge().is_none()
        {
            return;
        }
    }
    panic!("work never ends");
}

#[test]
fn equal_fingerprints_are_found_over_blocks() {
    let conn = memory();
    // The leaves that would be compared are not there, so these are given as blocks, not merged.
    let mut runs = Runs::load(&conn).unwrap();
    let entries: Vec<_> = (0..10).map(|id| Entry(if id < 2 { 1 } else { 5 }, id)).collect();
    let mut filter = Filter::for_entries(10);
    entries.iter().for_each(|entry| filter.insert(entry.0));
    let mut firsts = Vec::new();
    for (n, block) in entries.chunks(BLOCK_ENTRIES).enumerate() {
        firsts.push(block[0].0);
        let bytes: Vec<u8> = block.iter().flat_map(|entry| entry.to_bytes()).collect();
        conn.execute(
            "INSERT INTO key_block VALUES (?1, ?2)",
            params![block_id(1, n), bytes],
        )
        .unwrap();
    }
    runs.runs.push(Run {
        no: 1,
        entries: 10,
        filter,
        firsts,
    });
    let ids = |print| {
        runs.find(&conn, &key(print))
            .unwrap()
            .iter()
            .map(|id| id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(1), [0, 1]);
    assert_eq!(ids(5), (2..10).collect::<Vec<_>>());
    assert_eq!(ids(4), Vec::<i64>::new());
}

#[tokio::test]
async fn a_key_that_two_records_of_a_ledger_claim_stops_the_merge() {
    let dir = tempfile::tempdir().unwrap();
    let lock = Arc::new(DataLock::acquire(dir.path(), "test").unwrap());
    let store = SqliteStore::open(lock, Arc::new(FixedClock::at(1)), SqliteOptions::default()).unwrap();
    let author = Author::new(1);
    store
        .open_epoch(ledger(1), author.opening(ledger(1), 1, None))
        .await
        .unwrap();
    let event = author.event(author.stream(1), "{}");
    appended(
        store
            .append(ledger(1), author.append_keyed(9, 1, vec![event]))
            .await,
    );
    store.close().await.unwrap();
    let conn = Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    // Another epoch has the same leaf: first of another ledger, which may have the key too, then of the same one.
    conn.execute_batch(
        "INSERT INTO epoch VALUES (2, 2, 7, 'another'); \
         INSERT INTO record SELECT 2 << 37, 99, 1, leaf FROM record WHERE id = (1 << 37) + 1",
    )
    .unwrap();
    let leaf = lookup::leaf(&conn, RecordId((1 << 37) + 1)).unwrap().unwrap();
    let print = fingerprint(&Leaf::decode(&leaf).unwrap().keys[0].key);
    let both: Arc<[Entry]> = sorted(vec![Entry(print, (1 << 37) + 1), Entry(print, 2 << 37)]);
    Merge::of_memory(50, Arc::clone(&both)).step(&conn, 9).unwrap();
    conn.execute_batch("UPDATE epoch SET ledger_no = 1 WHERE no = 2")
        .unwrap();
    let refused = Merge::of_memory(51, both).step(&conn, 9).err();
    assert!(matches!(refused, Some(StoreError::Corrupt { .. })), "{refused:?}");
}
