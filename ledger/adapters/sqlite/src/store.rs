//! The store: what the rest of Ruche holds. Gives work to the threads and waits for their answers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

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
use ruche_ledger::wake::Wakeups;
use ruche_ledger::writer_life::WriterLife;
use rusqlite::Connection;

use crate::archive::{self, ArchiveWork};
use crate::checkpoint::{self, Signal};
use crate::error::{OpenError, store_error};
use crate::keep::Parts;
use crate::lock::DataLock;
use crate::queue::{Answer, Job, Queue, Work};
use crate::readers::Readers;
use crate::{SqliteOptions, backup, lookup, read, schema};

/// Name of the ledger's file in the data folder.
pub const LEDGER_FILE: &str = "ledger.db";

/// What decides whether an answered append survives a power cut, as the writer's connection says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// `PRAGMA journal_mode`: `wal`.
    pub journal_mode: String,
    /// `PRAGMA synchronous` in words: `full`.
    pub synchronous: String,
}

impl Durability {
    fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let synchronous: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok(Self {
            journal_mode: conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?,
            synchronous: match synchronous {
                0 => "off".to_owned(),
                1 => "normal".to_owned(),
                2 => "full".to_owned(),
                3 => "extra".to_owned(),
                other => other.to_string(),
            },
        })
    }
}

/// All ledgers of a node, in one SQLite file. Open once per process and share behind an `Arc`.
pub struct SqliteStore {
    path: PathBuf,
    durability: Durability,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    checkpoints: Arc<Signal>,
    wakeups: Arc<Wakeups>,
    life: Arc<WriterLife>,
    /// `None` once the store is closed.
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<Connection>,
    checkpointer: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
    /// Held until the last byte is written.
    lock: Arc<DataLock>,
}

impl SqliteStore {
    /// Opens `ledger.db` in the locked folder, making it if it is not there, and checks it. Blocks on the disk.
    ///
    /// # Errors
    /// `Foreign`, `Newer` and `Stored(Corrupt)` leave the file as it is; see [`OpenError`].
    pub fn open(
        lock: Arc<DataLock>,
        clock: Arc<dyn Clock>,
        options: SqliteOptions,
    ) -> Result<Self, OpenError> {
        let path = lock.dir().join(LEDGER_FILE);
        let (queue, readers) = (Arc::new(Queue::default()), Arc::new(Readers::default()));
        let (checkpoints, wakeups) = (Arc::new(Signal::default()), Arc::new(Wakeups::default()));
        let life = Arc::new(WriterLife::default());
        let parts = Parts {
            path: path.clone(),
            options: options.clone(),
            clock,
            wakeups: Arc::clone(&wakeups),
            checkpoints: Arc::clone(&checkpoints),
            readers: Arc::clone(&readers),
            life: Arc::clone(&life),
        };
        let writer = parts.writer()?;
        let durability = Durability::of(writer.connection()).map_err(schema::sqlite("read", &path))?;
        let io = |doing| {
            let path = path.clone();
            move |source| OpenError::Io { doing, path, source }
        };
        // If a later step fails, the threads that run already see their queue closed by the guard.
        let guard = CloseOnFailure(Some((
            Arc::clone(&queue),
            Arc::clone(&readers),
            Arc::clone(&checkpoints),
        )));
        let checkpointer = checkpoint::spawn(
            schema::open_checkpointer(&path, &options)?,
            Arc::clone(&checkpoints),
        )
        .map_err(io("start the checkpointer of"))?;
        let reader_threads = (0..options.readers.max(1))
            .map(|n| readers.spawn(&path, n))
            .collect::<Result<Vec<_>, _>>()?;
        let writer_queue = Arc::clone(&queue);
        let writer = thread::Builder::new()
            .name("ruche-ledger-writer".into())
            .spawn(move || parts.keep(writer, &writer_queue))
            .map_err(io("start the writer of"))?;
        guard.disarm();
        let threads = Mutex::new(Some(Threads {
            writer,
            checkpointer,
            readers: reader_threads,
            lock,
        }));
        Ok(Self {
            path,
            durability,
            queue,
            readers,
            checkpoints,
            wakeups,
            life,
            threads,
        })
    }

    /// How its writer fares.
    pub fn writers(&self) -> Arc<WriterLife> {
        Arc::clone(&self.life)
    }

    /// The settings that the writer's connection was found to have when it was opened.
    pub fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Takes no more work, finishes what is queued, empties the write-ahead log and releases the data lock.
    ///
    /// # Errors
    /// `Unavailable` if the writer was given up or the last checkpoint failed. Everything answered is durable all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        let Some(threads) = self.begin_close() else {
            return Ok(());
        };
        let unavailable = |reason: String| StoreError::Unavailable { reason };
        let (answer, answered) = oneshot::channel();
        thread::Builder::new()
            .name("ruche-ledger-close".into())
            .spawn(move || drop(answer.send(threads.join())))
            .map_err(|e| unavailable(format!("closing: {e}")))?;
        answered
            .await
            .map_err(|_| unavailable("closing stopped half-way".into()))?
    }

    /// Copies the file, as of one moment, to a file that must not exist yet, while appends go on; then opens the copy
    /// and checks every record of it. The copy holds records and payloads, not keys.
    ///
    /// # Errors
    /// `Unavailable` naming the step that failed, `Corrupt` if the copy contradicts itself. Then there is no copy.
    pub async fn backup_to(&self, target: &Path) -> Result<(), StoreError> {
        let (source, target) = (self.path.clone(), target.to_owned());
        let (answer, answered) = oneshot::channel();
        let unavailable = |reason: String| StoreError::Unavailable { reason };
        thread::Builder::new()
            .name("ruche-ledger-backup".into())
            .spawn(move || drop(answer.send(backup::backup(&source, &target, &|_, _| {}).map(drop))))
            .map_err(|e| unavailable(format!("backup: {e}")))?;
        answered
            .await
            .map_err(|_| unavailable("the backup stopped half-way".into()))?
    }

    fn begin_close(&self) -> Option<Threads> {
        self.queue.close();
        self.readers.close();
        self.checkpoints.stop();
        self.wakeups.close();
        self.threads().take()
    }

    fn threads(&self) -> MutexGuard<'_, Option<Threads>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives work to the writer and waits for the answer. `None` if the writer broke with the work in hand.
    async fn write<T>(
        &self,
        ledger: LedgerId,
        work: impl FnOnce(Answer<T>) -> Work,
    ) -> Result<Option<T>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job {
            ledger,
            work: work(answer),
        })?;
        answered.await.ok().transpose()
    }

    /// What is done about archives can be done again.
    async fn archive(&self, ledger: LedgerId, work: ArchiveWork) -> Result<(), StoreError> {
        self.write(ledger, |answer| Work::Archive(work, answer))
            .await?
            .ok_or_else(writer_broke)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(read).await
    }
}

impl Drop for SqliteStore {
    /// The same as [`SqliteStore::close`] for a store that was not closed; blocks until the queue is drained.
    fn drop(&mut self) {
        if let Some(threads) = self.begin_close()
            && let Err(error) = threads.join()
        {
            tracing::error!(%error, "the ledger was not closed cleanly");
        }
    }
}

impl Threads {
    /// Waits for all threads, the writer's connection last: it must be the only one for the log to be emptied.
    fn join(self) -> Result<(), StoreError> {
        let died = |what: &str| StoreError::Unavailable {
            reason: format!("the ledger's {what} died"),
        };
        let readers = self
            .readers
            .into_iter()
            .map(JoinHandle::join)
            .collect::<Result<Vec<()>, _>>();
        let checkpointer = self.checkpointer.join();
        let conn = self.writer.join().map_err(|_| died("writer"))?;
        checkpoint::truncate(&conn).map_err(|e| store_error("the last checkpoint", &e))?;
        conn.close().map_err(|(_, e)| store_error("close", &e))?;
        drop(self.lock);
        readers.map_err(|_| died("reader"))?;
        checkpointer.map_err(|_| died("checkpointer"))
    }
}

/// Ends threads that were started before opening failed.
struct CloseOnFailure(Option<(Arc<Queue>, Arc<Readers>, Arc<Signal>)>);

impl CloseOnFailure {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnFailure {
    fn drop(&mut self) {
        if let Some((queue, readers, checkpoints)) = self.0.take() {
            queue.close();
            readers.close();
            checkpoints.stop();
        }
    }
}

/// Compares the head of every ledger with its records: what a crash, a restore or a disk may have made of them.
/// Returns the last position of each ledger.
pub(crate) fn check(conn: &Connection) -> Result<Vec<(LedgerId, Position)>, StoreError> {
    let mut last = Vec::new();
    for ledger in lookup::ledgers(conn)? {
        let row = lookup::checked_head(conn, ledger)?;
        last.extend(
            row.and_then(|row| row.head.last_position())
                .map(|position| (ledger, position)),
        );
    }
    Ok(last)
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, ledger: LedgerId, request: AppendRequest) -> Result<AppendOutcome, StoreError> {
        let outcome = self.write(ledger, |answer| Work::Append(request, answer)).await?;
        Ok(outcome.unwrap_or(AppendOutcome::Unknown))
    }

    async fn open_epoch(&self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        opening.check()?;
        let receipt = self
            .write(ledger, |answer| Work::OpenEpoch(Box::new(opening), answer))
            .await?;
        // Trying again is safe: the opening says what end of the ledger it expects.
        receipt.ok_or_else(writer_broke)
    }

    async fn head(&self, ledger: LedgerId) -> Result<Option<LedgerHead>, StoreError> {
        self.read(move |conn| Ok(lookup::head(conn, ledger)?.map(|row| row.head)))
            .await
    }

    async fn epochs(&self, ledger: LedgerId) -> Result<Vec<EpochInfo>, StoreError> {
        self.read(move |conn| read::epochs(conn, ledger)).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerId>, StoreError> {
        self.read(lookup::ledgers).await
    }

    async fn read_ledger(
        &self,
        ledger: LedgerId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.read(move |conn| read::ledger(conn, ledger, from, limit))
            .await
    }

    async fn read_stream(
        &self,
        ledger: LedgerId,
        stream: StreamId,
        from: StreamVersion,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.read(move |conn| read::stream(conn, ledger, stream, from, limit))
            .await
    }

    async fn stream_version(
        &self,
        ledger: LedgerId,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, StoreError> {
        self.read(move |conn| {
            let row = read::existing(conn, ledger)?;
            Ok(lookup::stream(conn, row.ledger_no, &stream)?.map(|row| row.version))
        })
        .await
    }

    async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        Ok(self.wakeups.wait_for(ledger, position).await?)
    }
}

#[async_trait]
impl TreeStore for SqliteStore {
    async fn leaf_hashes(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<Hash>, StoreError> {
        self.read(move |conn| {
            let no = read::epoch_no(conn, ledger, epoch)?;
            lookup::leaf_hashes(conn, no, from, limit)
        })
        .await
    }

    async fn hash_tile(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        level: u8,
        index: u64,
    ) -> Result<Option<HashTile>, StoreError> {
        self.read(move |conn| {
            let no = read::epoch_no(conn, ledger, epoch)?;
            read::hash_tile(conn, no, level, index)
        })
        .await
    }

    async fn tree_head(&self, ledger: LedgerId, epoch: Epoch) -> Result<Option<SignedTreeHead>, StoreError> {
        self.read(move |conn| {
            let no = read::epoch_no(conn, ledger, epoch)?;
            read::tree_head(conn, no)
        })
        .await
    }

    async fn put_tiles(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        tiles: Vec<HashTile>,
    ) -> Result<(), StoreError> {
        self.write(ledger, |answer| Work::PutTiles(epoch, tiles, answer))
            .await?
            .ok_or_else(writer_broke)
    }

    async fn put_tree_head(
        &self,
        ledger: LedgerId,
        epoch: Epoch,
        head: &SignedTreeHead,
    ) -> Result<(), StoreError> {
        let (size, note) = (head.head().size.0, head.as_bytes().to_vec());
        self.write(ledger, |answer| Work::PutTreeHead(epoch, size, note, answer))
            .await?
            .ok_or_else(writer_broke)
    }
}

#[async_trait]
impl ArchiveStore for SqliteStore {
    async fn archived(&self, ledger: LedgerId) -> Result<Vec<ArchivedRange>, StoreError> {
        self.read(move |conn| archive::of_ledger(conn, ledger)).await
    }

    async fn detach(&self, ledger: LedgerId, piece: Detach) -> Result<(), StoreError> {
        self.archive(ledger, ArchiveWork::Detach(piece)).await
    }

    async fn attach(&self, ledger: LedgerId, epoch: Epoch, payloads: Vec<Attach>) -> Result<(), StoreError> {
        self.archive(ledger, ArchiveWork::Attach(epoch, payloads)).await
    }

    async fn forget(
        &self,
        ledger: LedgerId,
        range: &ArchivedRange,
        fragments: u64,
    ) -> Result<(), StoreError> {
        self.archive(ledger, ArchiveWork::Forget(range.clone(), fragments))
            .await
    }
}

fn writer_broke() -> StoreError {
    StoreError::Unavailable {
        reason: "the writer of the ledger broke with this in hand; try again".into(),
    }
}
