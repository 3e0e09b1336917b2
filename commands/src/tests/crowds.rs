//! Many who want the same, and lanes that are long.

use std::sync::Arc;

use ruche_domain::events::{MessageReceived, Role};
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::testing::watched::Watched;
use ruche_ledger::testing::{FixedClock, SeededRandom, check_ledger};

use crate::governed::{LaneName, SubmitMessage};
use crate::testing::{NoObjection, TEST_NOW, TestLedger};
use crate::{CommandContext, Commands, SessionRef, StartSession};

/// Callers of a crowd.
const CALLERS: usize = 300;

struct World {
    store: Arc<Watched>,
    clock: Arc<FixedClock>,
    ledger: TestLedger,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(FixedClock::at(TEST_NOW.0));
        let store = Arc::new(Watched::new(Arc::new(MemoryStore::new(clock.clone()))));
        let ledger = TestLedger::on(store.clone(), clock.clone(), Arc::new(NoObjection)).await;
        let context = ledger.context.with_key("s");
        ledger
            .commands
            .execute(&context, &StartSession::new("s"))
            .await
            .unwrap();
        Self { store, clock, ledger }
    }

    /// Another node on the same store.
    fn node(&self, seed: u64) -> Commands {
        let secrets = MasterSeed::from_slice(&[9; 32]).unwrap();
        // Apart from the sources of the ledger itself, which have small seeds.
        let random = Arc::new(SeededRandom::new(seed + 1_000));
        Commands::new(
            self.store.clone(),
            self.clock.clone(),
            random,
            Arc::new(secrets),
            Arc::new(NoObjection),
        )
    }
}

fn submit(text: &str) -> SubmitMessage {
    SubmitMessage {
        flush: false,
        session: SessionRef::External("s".to_owned()),
        lane: LaneName {
            agent: "shop".to_owned(),
            interlocutor: "ann".to_owned(),
            channel: "api".to_owned(),
            thread: None,
        },
        message: MessageReceived {
            text: Some(text.to_owned()),
            ..MessageReceived::new(Role::User)
        },
    }
}

async fn send(commands: &Commands, context: &CommandContext, key: &str) {
    let sent = commands.execute(&context.with_key(key), &submit(key)).await;
    assert!(
        sent.is_ok_and(|receipt| !receipt.duplicate && !receipt.unchanged),
        "{key}"
    );
}

/// Each sends a message to the same lane, all at the same time. Returns how often something was appended.
async fn crowd(world: &World, nodes: Vec<Commands>) -> usize {
    let nodes: Vec<Arc<Commands>> = nodes.into_iter().map(Arc::new).collect();
    world.store.appends();
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..CALLERS {
        let (commands, context) = (nodes[n % nodes.len()].clone(), world.ledger.context.clone());
        callers.spawn(async move { send(&commands, &context, &format!("m-{n}")).await });
    }
    callers.join_all().await;
    check_ledger(&*world.store, world.ledger.context.ledger).await;
    world.store.appends()
}

#[tokio::test]
async fn of_a_crowd_on_one_lane_each_loses_once_at_most() {
    let world = World::new().await;
    let appends = crowd(&world, vec![world.node(1)]).await;
    assert!(appends < 2 * CALLERS, "{appends} appends for {CALLERS} commands");
}

#[tokio::test]
async fn a_crowd_on_two_nodes_gets_through() {
    let world = World::new().await;
    let appends = crowd(&world, vec![world.node(1), world.node(2)]).await;
    // Each node has one at a time that tries, and of two that meet one wins.
    assert!(appends < 4 * CALLERS, "{appends} appends for {CALLERS} commands");
}

#[tokio::test]
async fn of_a_long_lane_what_is_new_is_read() {
    let world = World::new().await;
    let (commands, context) = (&world.ledger.commands, &world.ledger.context);
    for n in 0..40 {
        send(commands, context, &format!("m-{n}")).await;
    }
    let long = world.store.records_read();
    send(commands, context, "one more").await;
    let one = world.store.records_read();
    assert!(
        long > 300 && one < 10,
        "{long} records for 40 messages, {one} for one more"
    );
    // What another node wrote is seen at once.
    let other = world.node(2);
    send(&other, context, "elsewhere").await;
    assert!(world.store.records_read() > 100, "it knew nothing of the lane");
    world.store.appends();
    send(commands, context, "here").await;
    assert_eq!(world.store.appends(), 1, "there was no conflict");
    check_ledger(&*world.store, context.ledger).await;
}

#[tokio::test]
async fn a_lane_that_a_restore_made_another_one_is_read_anew() {
    let (world, restored) = (World::new().await, World::new().await);
    let (commands, context) = (&world.ledger.commands, &world.ledger.context);
    for n in 0..40 {
        send(commands, context, &format!("m-{n}")).await;
    }
    // Shorter than what is kept, about as long, and longer.
    let other = restored.node(7);
    for (length, more) in [(30, 30), (40, 10), (50, 10)] {
        for n in 0..more {
            send(&other, context, &format!("other-{length}-{n}")).await;
        }
        let before = world.store.change(restored.store.inner());
        // On the lane that was, this message would have come already.
        send(commands, context, &format!("m-{}", length - 30)).await;
        world.store.change(before);
        send(commands, context, &format!("back-{length}")).await;
    }
    check_ledger(&*world.store, context.ledger).await;
    check_ledger(&*restored.store, context.ledger).await;
}
