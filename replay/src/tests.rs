//! What nodes keep in memory of the streams that they decide on changes no decision.

use std::sync::Arc;

use ruche_commands::Commands;
use ruche_commands::testing::{NoObjection, TestLedger};
use ruche_domain::numbers::Position;
use ruche_ledger::hash::Hash;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{FixedClock, SeededRandom};

use crate::testing::Crowd;

/// Which node does the next step.
#[derive(Clone, Copy)]
enum Nodes {
    /// One that remembers nothing.
    New,
    /// The same one.
    One,
    /// One of two, by a pattern.
    Two,
}

/// The ledger that a crowd leaves, leaf by leaf.
async fn leaves(seed: u64, nodes: Nodes) -> Vec<Hash> {
    let clock = Arc::new(FixedClock::at(1_767_571_200_000_000));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let ledger = TestLedger::on(store.clone(), clock.clone(), Arc::new(NoObjection)).await;
    // All nodes draw from one source, so that equal decisions make equal records.
    let random = Arc::new(SeededRandom::new(seed));
    let node = || {
        let secrets = Arc::new(MasterSeed::from_slice(&[9; 32]).expect("32 bytes"));
        let (store, clock) = (store.clone(), clock.clone());
        Arc::new(Commands::new(
            store,
            clock,
            random.clone(),
            secrets,
            Arc::new(NoObjection),
        ))
    };
    let two = [node(), node()];
    let context = ledger.context;
    let mut crowd = Crowd::new(
        two[0].clone(),
        store.clone(),
        clock.clone(),
        context.clone(),
        seed,
    )
    .await;
    for step in 0..300_usize {
        match nodes {
            Nodes::New => crowd.commands = node(),
            Nodes::One => {}
            Nodes::Two => crowd.commands = two[step * step / 7 % 2].clone(),
        }
        crowd.step().await;
    }
    let records = store.read_ledger(context.ledger, Position::START, 100_000).await;
    records
        .expect("records")
        .iter()
        .map(|record| record.leaf_hash())
        .collect()
}

#[tokio::test]
async fn nodes_that_remember_decide_as_those_that_do_not() {
    for seed in 1..=6 {
        let without = leaves(seed, Nodes::New).await;
        assert!(without.len() > 200, "seed {seed} has {} records", without.len());
        assert!(leaves(seed, Nodes::One).await == without, "one node, seed {seed}");
        assert!(
            leaves(seed, Nodes::Two).await == without,
            "two nodes, seed {seed}"
        );
    }
}
