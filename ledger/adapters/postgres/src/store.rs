//! The store: what the rest of Ruche holds. Gives appends to the writers, reads through a pool.

use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::ports::Clock;
use ruche_domain::stream::StreamId;
use ruche_ledger::hash::Hash;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger::wake::Wakeups;
use tokio::task::JoinHandle;
use tokio_postgres::Config;

use crate::error::{OpenError, store_error};
use crate::queue::{Job, Queue};
use crate::writer::Writer;
use crate::{PostgresOptions, epochs, read, schema, session, trees};

/// Between two looks at heads that other nodes may have moved.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// All ledgers of a database. Open once per process and share behind an `Arc`.
pub struct PostgresStore {
    config: Config,
    clock: Arc<dyn Clock>,
    pool: Pool,
    queues: Vec<Arc<Queue>>,
    wakeups: Arc<Wakeups>,
    /// Writers, then the poller. Empty once the store is closed.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    poller: JoinHandle<()>,
}

impl PostgresStore {
    /// Connects, brings the schema up to date and starts the writers.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was written, save whole migrations.
    pub async fn open(clock: Arc<dyn Clock>, options: PostgresOptions) -> Result<Self, OpenError> {
        let config = session::config(&options)?;
        let mut client = session::connect(&config)
            .await
            .map_err(OpenError::database("connect to the database"))?;
        session::check_durable(&client, &options).await?;
        schema::migrate(&mut client).await?;
        let pool = session::pool(&config, &options)?;
        let wakeups = Arc::new(Wakeups::default());
        let queues: Vec<_> = (0..options.writers.max(1))
            .map(|_| Arc::new(Queue::default()))
            .collect();
        let start = |queue: &Arc<Queue>| {
            let writer = Writer::new(config.clone(), Arc::clone(&clock), Arc::clone(&wakeups));
            let queue = Arc::clone(queue);
            tokio::spawn(async move { writer.run(&queue).await })
        };
        let tasks = Mutex::new(queues.iter().map(start).collect());
        let poller = tokio::spawn(poll(pool.clone(), Arc::clone(&wakeups)));
        Ok(Self {
            config,
            clock,
            pool,
            queues,
            wakeups,
            tasks,
            poller,
        })
    }

    /// Takes no more appends and finishes those that are queued.
    ///
    /// # Errors
    /// `Unavailable` if a writer died. Everything answered is durable all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.queues.iter().for_each(|queue| queue.close());
        self.wakeups.close();
        self.poller.abort();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.await.map_err(|e| StoreError::Unavailable {
                reason: format!("a writer died: {e}"),
            })?;
        }
        self.pool.close();
        Ok(())
    }

    /// The queue of the writer that a ledger belongs to in this process.
    fn queue(&self, ledger: LedgerId) -> &Queue {
        let mut hasher = DefaultHasher::new();
        ledger.hash(&mut hasher);
        &self.queues[(hasher.finish() % self.queues.len() as u64) as usize]
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|e| StoreError::Unavailable {
            reason: format!("no connection to the database: {e}"),
        })
    }
}

impl Drop for PostgresStore {
    /// Writers end once their queue is empty; nobody waits for them.
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close());
        self.wakeups.close();
        self.poller.abort();
    }
}

/// Publishes where heads are, for readers that wait for what other nodes append. What this process appends is published
/// at once; a round that fails costs latency only.
async fn poll(pool: Pool, wakeups: Arc<Wakeups>) {
    let mut interval = tokio::time::interval(POLL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Ok(client) = pool.get().await else { continue };
        match read::heads(&client).await {
            Ok(heads) => {
                for (ledger, head) in heads {
                    if let Some(last) = head.last_position() {
                        wakeups.publish(ledger, last);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "heads cannot be read; readers wait longer"),
        }
    }
}

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue(ledger).push(Job {
            ledger,
            request,
            answer,
        })?;
        // A writer that died had the append in hand: nobody knows how far it came.
        answered.await.unwrap_or(Ok(AppendOutcome::Unknown))
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        opening.check()?;
        // Its own connection: one that fails half-way is dropped with its transaction.
        let mut client = session::connect(&self.config)
            .await
            .map_err(|e| store_error("connect", &e))?;
        let receipt = epochs::open(&mut client, &*self.clock, ledger, opening).await?;
        self.wakeups.publish(ledger, receipt.position);
        Ok(receipt)
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        read::head(&*self.client().await?, ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        read::epochs(&*self.client().await?, ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        let heads = read::heads(&*self.client().await?).await?;
        Ok(heads.into_iter().map(|(ledger, _)| ledger).collect())
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        read::ledger(&*self.client().await?, ledger, from, limit).await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        read::stream(&*self.client().await?, ledger, stream, from, limit).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        read::stream_version(&*self.client().await?, ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        Ok(self.wakeups.wait_for(ledger, position).await?)
    }
}

#[async_trait]
impl TreeStore for PostgresStore {
    async fn leaf_hashes(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<Hash>, StoreError> {
        let client = self.client().await?;
        trees::check_epoch(&client, ledger, epoch).await?;
        trees::leaf_hashes(&client, ledger, epoch, from, limit).await
    }

    async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError> {
        let client = self.client().await?;
        trees::check_epoch(&client, ledger, epoch).await?;
        trees::hash_tile(&client, ledger, epoch, level, index).await
    }

    async fn tree_head(&self, ledger: LedgerId, epoch: Epoch) -> Result<Option<SignedTreeHead>, StoreError> {
        let client = self.client().await?;
        trees::check_epoch(&client, ledger, epoch).await?;
        trees::tree_head(&client, ledger, epoch).await
    }

    async fn put_tiles(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        tiles: Vec<HashTile>,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        trees::check_epoch(&client, ledger, epoch).await?;
        trees::put_tiles(&client, ledger, epoch, &tiles).await
    }

    async fn put_tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        head: &SignedTreeHead,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        trees::check_epoch(&client, ledger, epoch).await?;
        trees::put_tree_head(&client, ledger, epoch, head.head().size.0, head.as_bytes()).await
    }
}
