//! The store: what the rest of Ruche holds. Gives appends to the writers, reads through a pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_domain::ports::Clock;
use ruche_domain::stream::StreamId;
use ruche_ledger::archive::{ArchiveStore, ArchivedRange, Attach, Detach};
use ruche_ledger::hash::Hash;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EpochInfo, EpochOpening, EventStore, LedgerHead, Receipt, Record,
    StoreError,
};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger::writer_life::WriterLife;
use tokio::task::JoinHandle;

use crate::archive::{self, Archives};
use crate::durable::Durable;
use crate::ends::{self, Ends};
use crate::error::OpenError;
use crate::lend::Lender;
use crate::lines::Lines;
use crate::queue::{Job, Queue, Queues};
use crate::reading::{READ_TIMEOUT, Reader};
use crate::session::{self, Database, Purpose, Session};
use crate::writer::{self, Parts};
use crate::{PostgresOptions, epochs, hints, read, schema, trees};

/// Connections for the heads of all ledgers.
const HEAD_CONNECTIONS: usize = 1;
/// Connections for tiles and tree heads.
const TREE_CONNECTIONS: usize = 2;

/// All ledgers of a database. Open once per process and share behind an `Arc`.
pub struct PostgresStore {
    database: Database,
    answer_timeout: Duration,
    clock: Arc<dyn Clock>,
    reader: Reader,
    /// A direct connection with the rights of `ruche_append`, for the heads of all ledgers.
    heads: Lender,
    /// For tiles and tree heads, whose commits wait for the standby as others do.
    trees: Lines,
    archives: Archives,
    queues: Queues,
    ends: Arc<Ends>,
    life: Arc<WriterLife>,
    /// Writers. Empty once the store is closed.
    writers: Mutex<Vec<JoinHandle<()>>>,
    /// Fences, wake-ups and hints: they hold nothing that is lost with them.
    helpers: Vec<JoinHandle<()>>,
}

impl PostgresStore {
    /// Connects, brings the schema up to date if that is wanted, and starts the writers.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was written, save whole migrations.
    pub async fn open(clock: Arc<dyn Clock>, options: PostgresOptions) -> Result<Self, OpenError> {
        let database = Database::parse(&options)?;
        let mut client = database.connect().await?;
        match options.migrate {
            true => schema::migrate(&mut client).await?,
            false => schema::require(&client).await?,
        }
        drop(client);
        // Writers connect when they are needed; whether they can is told now.
        drop(database.session(Purpose::Append, |_| ()).await?);
        let durable = Arc::new(Durable::new());
        let readers = Lender::new(database.reading_pool(options.readers)?);
        let reader = Reader::new(readers, Arc::clone(&durable));
        let heads = Lender::new(database.checked_pool(Purpose::Append, HEAD_CONNECTIONS)?);
        let trees = Lines::patient(database.clone(), Purpose::Append, TREE_CONNECTIONS, READ_TIMEOUT);
        let archives = Archives::new(database.clone());
        let ends = Arc::new(Ends::new(Arc::clone(&durable)));
        let queues = Queues::new(options.writers);
        let life = Arc::new(WriterLife::default());
        let parts = Parts {
            database: database.clone(),
            reader: reader.clone(),
            limit: options.answer_timeout,
            clock: Arc::clone(&clock),
            ends: Arc::clone(&ends),
            life: Arc::clone(&life),
        };
        let start = |queue: &Arc<Queue>| tokio::spawn(writer::keep(parts.clone(), Arc::clone(queue)));
        let writers = Mutex::new(queues.all().iter().map(start).collect());
        let helpers = vec![
            tokio::spawn(durable.run(database.clone())),
            tokio::spawn(ends::look(Arc::clone(&ends), heads.clone())),
            tokio::spawn(hints::tell(Arc::clone(&ends), database.clone())),
            tokio::spawn(hints::listen(Arc::clone(&ends), database.clone())),
        ];
        Ok(Self {
            database,
            answer_timeout: options.answer_timeout,
            clock,
            reader,
            heads,
            trees,
            archives,
            queues,
            ends,
            life,
            writers,
            helpers,
        })
    }

    /// How its writers fare.
    pub fn writers(&self) -> Arc<WriterLife> {
        Arc::clone(&self.life)
    }

    /// Takes no more appends and finishes those that are queued.
    ///
    /// # Errors
    /// `Unavailable` if a writer was given up. Everything answered is durable all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.queues.all().iter().for_each(|queue| queue.close());
        self.ends.close();
        let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut closed = Ok(());
        // All of them, so that whoever has closed the store knows that nothing is written any more.
        for writer in writers {
            if let Err(error) = writer.await {
                let reason = format!("a writer died: {error}");
                closed = Err(StoreError::Unavailable { reason });
            }
        }
        self.helpers.iter().for_each(JoinHandle::abort);
        self.reader.close();
        self.heads.close();
        closed
    }
}

impl PostgresStore {
    /// Writes beside the records.
    async fn put<W>(&self, work: impl FnOnce(Arc<Session>) -> W + Send + 'static) -> Result<(), StoreError>
    where
        W: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        // What the store says of it is no reason to give the connection up.
        let done = self.trees.run(|session| async move { Ok(work(session).await) });
        done.await.map_err(session::unavailable)?
    }
}

impl Drop for PostgresStore {
    /// Writers end once their queue is empty; nobody waits for them.
    fn drop(&mut self) {
        self.queues.all().iter().for_each(|queue| queue.close());
        self.ends.close();
        self.helpers.iter().for_each(JoinHandle::abort);
    }
}

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queues.of(ledger).push(Job {
            ledger,
            request,
            answer,
        })?;
        // A writer that broke had the append in hand: nobody knows how far it came.
        answered.await.unwrap_or(Ok(AppendOutcome::Unknown))
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        opening.check()?;
        let (database, limit) = (&self.database, self.answer_timeout);
        let (server, receipt) = epochs::open(database, limit, &*self.clock, ledger, opening).await?;
        self.ends.publish(server, ledger, receipt.position);
        Ok(receipt)
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.reader.head(ledger).await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.reader.epochs(ledger).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        let heads = self
            .heads
            .ask(async |client| read::heads_of_server(client, None).await);
        let (server, heads) = heads.await?;
        let end = |(ledger, head): &(LedgerId, LedgerHead)| head.last_position().map(|last| (*ledger, last));
        let ends: Vec<_> = heads.iter().filter_map(end).collect();
        self.heads.hold(&self.reader.durable, server, &ends).await?;
        Ok(heads.into_iter().map(|(ledger, _)| ledger).collect())
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.reader.ledger(ledger, from, limit).await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.reader.stream(ledger, stream, from, limit).await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.reader.stream_version(ledger, stream).await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.ends.wait_for(ledger, position).await
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
        self.reader.leaf_hashes(ledger, epoch, from, limit).await
    }

    async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError> {
        self.reader.hash_tile(ledger, epoch, level, index).await
    }

    async fn tree_head(&self, ledger: LedgerId, epoch: Epoch) -> Result<Option<SignedTreeHead>, StoreError> {
        self.reader.tree_head(ledger, epoch).await
    }

    async fn put_tiles(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        tiles: Vec<HashTile>,
    ) -> Result<(), StoreError> {
        self.put(move |session: Arc<Session>| async move {
            trees::check_epoch(&session, ledger, epoch).await?;
            trees::put_tiles(&session, ledger, epoch, &tiles).await
        })
        .await
    }

    async fn put_tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        head: &SignedTreeHead,
    ) -> Result<(), StoreError> {
        let (size, note) = (head.head().size.0, head.as_bytes().to_vec());
        self.put(move |session: Arc<Session>| async move {
            trees::check_epoch(&session, ledger, epoch).await?;
            trees::put_tree_head(&session, ledger, epoch, size, &note).await
        })
        .await
    }
}

#[async_trait]
impl ArchiveStore for PostgresStore {
    async fn archived(&self, ledger: LedgerId) -> Result<Vec<ArchivedRange>, StoreError> {
        self.reader.archived(ledger).await
    }

    async fn detach(&self, ledger: LedgerId, piece: Detach) -> Result<(), StoreError> {
        self.archives.detach(ledger, piece).await
    }

    async fn attach(&self, ledger: LedgerId, epoch: Epoch, payloads: Vec<Attach>) -> Result<(), StoreError> {
        let put = move |session: Arc<Session>| async move {
            archive::attach(&session, ledger, epoch, &payloads).await
        };
        self.trees.run(put).await.map_err(session::unavailable)
    }

    async fn forget(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        fragments: u64,
    ) -> Result<(), StoreError> {
        self.archives.forget(ledger, range.clone(), fragments).await
    }
}
