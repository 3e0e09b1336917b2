//! The writer: one thread, one connection, one commit for everything that is queued.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Epoch, Position};
use ruche_domain::ports::Clock;
use ruche_ledger::LedgerError;
use ruche_ledger::sequencer::{self, Decision, Sequencer, may_open};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EpochOpening, Receipt, StoreError};
use ruche_ledger::wake::Wakeups;
use rusqlite::{Connection, OptionalExtension};

use crate::archive;
use crate::cache::Generations;
use crate::checkpoint::{self, Signal};
use crate::error::store_error;
use crate::known::{Known, StreamCache};
use crate::lookup::{self, HeadRow};
use crate::queue::{Answer, Job, Queue, Work};
use crate::readers::Readers;
use crate::recent::Recent;
use crate::rowid::EpochNo;
use crate::settle::Settled;
use crate::write::{self, HeadMove, Tables};

/// Streams whose version is kept in memory; the same number again may be kept of those used before.
const STREAMS_CACHED: usize = 32_768;
/// Ledgers whose head is kept in memory; the same again.
const HEADS_CACHED: usize = 8_192;

/// Owned by the writer's thread.
pub(crate) struct Writer {
    conn: Connection,
    clock: Arc<dyn Clock>,
    wakeups: Arc<Wakeups>,
    checkpoints: Arc<Signal>,
    readers: Arc<Readers>,
    heads: Generations<LedgerId, HeadRow>,
    streams: StreamCache,
    recent: Recent,
    tables: Tables,
    /// `PRAGMA data_version` when the caches were true. It changes when another connection writes to the file.
    data_version: i64,
}

/// What one commit has decided so far. True only once it is durable.
#[derive(Default)]
struct Round {
    /// One for each job that was looked at.
    settled: Vec<Settled>,
    /// Ledgers that got records, with the last one.
    moved: Vec<(LedgerId, Position)>,
}

impl Round {
    fn fail(&mut self, works: impl IntoIterator<Item = Work>, error: &StoreError) {
        self.settled
            .extend(works.into_iter().map(|work| Settled::failed(work, error.clone())));
    }
}

impl Writer {
    pub(crate) fn new(
        conn: Connection,
        clock: Arc<dyn Clock>,
        wakeups: Arc<Wakeups>,
        checkpoints: Arc<Signal>,
        readers: Arc<Readers>,
    ) -> Result<Self, StoreError> {
        // In this order: what somebody writes between the two is seen by the first commit.
        let data_version = data_version(&conn)?;
        let recent = Recent::load(&conn)?;
        checkpoint::watch_wal(&conn);
        Ok(Self {
            conn,
            clock,
            wakeups,
            checkpoints,
            readers,
            heads: Generations::new(HEADS_CACHED),
            streams: Generations::new(STREAMS_CACHED),
            recent,
            tables: Tables::new(),
            data_version,
        })
    }

    /// Works until the queue is closed and drained, then gives the connection back for the last checkpoint.
    pub(crate) fn run(mut self, queue: &Queue) -> Connection {
        loop {
            // Whatever came while the last commit was being flushed is the next batch: the flush is the timer.
            let jobs = queue.take_batch();
            if jobs.is_empty() {
                if let Err(error) = self.recent.move_all(&self.conn) {
                    // The next start reads the keys from their leaves.
                    tracing::warn!(%error, "idempotency keys were not moved into runs at close");
                    self.undo();
                }
                return self.conn;
            }
            self.checkpoints.finish_on(&self.conn);
            self.commit(jobs);
            self.checkpoints.after_commit(&self.conn, &self.readers);
        }
    }

    /// What it writes with.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Decides jobs, makes what they write durable with one flush, wakes readers and answers.
    fn commit(&mut self, jobs: Vec<Job>) {
        let mut round = Round::default();
        let transaction = self.transaction(jobs, &mut round);
        let Round { mut settled, moved } = round;
        match transaction {
            Err(error) => {
                // Nothing was committed. A crash here or earlier leaves the file as it was before the batch.
                self.undo();
                settled.iter_mut().for_each(|s| s.undo(&error));
            }
            Ok(()) => match self.conn.execute_batch("COMMIT") {
                // From here the batch survives any crash: the log was flushed up to its last frame
                // (synchronous=FULL) before other connections could see it. Not answered yet: callers ask again
                // with their keys and hear of a duplicate.
                Ok(()) => {
                    self.recent.committed();
                    for (ledger, last) in moved {
                        self.wakeups.publish(ledger, last);
                    }
                }
                Err(error) => {
                    // The last frame may have reached the disk before the error. While this process lives the batch
                    // does not exist and the next one takes its place in the log; after a crash it may exist whole.
                    tracing::error!(%error, appends = settled.len(), "commit failed; outcome unknown");
                    self.undo();
                    let error = store_error("commit", &error);
                    settled.iter_mut().for_each(|s| s.doubt(&error));
                }
            },
        }
        settled.into_iter().for_each(Settled::answer);
    }

    /// Undoes the open transaction and forgets everything that it may have changed.
    fn undo(&mut self) {
        // SQLite undoes by itself after some errors (disk full, I/O error).
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rollback failed");
        }
        self.recent.undo();
        self.forget();
    }

    fn forget(&mut self) {
        self.heads.clear();
        self.streams.clear();
        self.tables.forget();
    }

    /// Everything of a batch but its commit. One answer for each job is in `settled` afterwards, even after an error.
    fn transaction(&mut self, jobs: Vec<Job>, round: &mut Round) -> Result<(), StoreError> {
        let mut batches = by_ledger(jobs);
        let lone = batches.len() == 1;
        let mut done = self.begin();
        while done.is_ok()
            && let Some((ledger, works)) = batches.pop()
        {
            done = if lone {
                self.ledger(ledger, works, round)
            } else {
                self.ledger_apart(ledger, works, round)
            };
        }
        if let Err(error) = &done {
            round.fail(batches.into_iter().flat_map(|(_, works)| works), error);
        }
        done.and_then(|()| self.recent.move_some(&self.conn))
    }

    /// Takes the write lock at once (a transaction that begins by reading could not upgrade), then makes sure that the
    /// caches are true. While the lock is held nobody can move a head, so a batch never loses a race inside.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.conn
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|e| store_error("begin", &e))?;
        let version = data_version(&self.conn)?;
        if self.data_version != version {
            tracing::warn!("another process wrote to the ledger file; everything is read again");
            self.forget();
            self.recent = Recent::load(&self.conn)?;
            self.data_version = version;
        }
        Ok(())
    }

    /// One ledger of several: what goes wrong with it does not undo the others.
    fn ledger_apart(
        &mut self,
        ledger: LedgerId,
        works: Vec<Work>,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        let failed = |e: rusqlite::Error| store_error("savepoint", &e);
        let (answers, moves, mark) = (round.settled.len(), round.moved.len(), self.recent.mark());
        if let Err(error) = self
            .conn
            .prepare_cached("SAVEPOINT one")
            .and_then(|mut s| s.execute([]))
        {
            let error = failed(error);
            round.fail(works, &error);
            return Err(error);
        }
        if let Err(error) = self.ledger(ledger, works, round) {
            if self.conn.is_autocommit() {
                return Err(error);
            }
            self.conn.execute_batch("ROLLBACK TO one").map_err(failed)?;
            self.recent.undo_to(&mark);
            self.forget();
            round.moved.truncate(moves);
            round.settled[answers..].iter_mut().for_each(|s| s.undo(&error));
        }
        self.conn
            .prepare_cached("RELEASE one")
            .and_then(|mut s| s.execute([]))
            .map_err(failed)?;
        Ok(())
    }

    /// The jobs of one ledger, in order. After an error what it wrote must be undone and its answers replaced.
    fn ledger(&mut self, ledger: LedgerId, works: Vec<Work>, round: &mut Round) -> Result<(), StoreError> {
        let mut works = works.into_iter().peekable();
        let mut done = Ok(());
        while done.is_ok()
            && let Some(work) = works.next()
        {
            done = match work {
                Work::Append(request, answer) => {
                    let mut requests = vec![(request, answer)];
                    while let Some(Work::Append(..)) = works.peek() {
                        if let Some(Work::Append(request, answer)) = works.next() {
                            requests.push((request, answer));
                        }
                    }
                    self.appends(ledger, requests, round)
                }
                Work::OpenEpoch(opening, answer) => self.open_epoch(ledger, *opening, answer, round),
                Work::PutTiles(epoch, tiles, answer) => {
                    let stored = self
                        .epoch(ledger, epoch)
                        .and_then(|no| write::put_tiles(&self.conn, no, &tiles));
                    put(answer, stored, round)
                }
                Work::PutTreeHead(epoch, size, note, answer) => {
                    let no = self.epoch(ledger, epoch);
                    let stored = no.and_then(|no| write::put_tree_head(&self.conn, no, size, &note));
                    put(answer, stored, round)
                }
                Work::Archive(work, answer) => {
                    let no = self.epoch(ledger, work.epoch());
                    let done = no.and_then(|no| archive::write(&self.conn, no, &work));
                    put(answer, done, round)
                }
            };
            // SQLite ends the transaction by itself after some errors, even of a read whose error became one caller's
            // answer. What came before is undone then, and nothing more may be written outside of a transaction.
            if done.is_ok() && self.conn.is_autocommit() {
                let reason = "the transaction was undone by an error of the disk".to_owned();
                done = Err(StoreError::Unavailable { reason });
            }
        }
        if let Err(error) = &done {
            round.fail(works, error);
        }
        done
    }

    /// The head of a ledger, from memory or, checked against the records, from the file.
    fn head(&mut self, ledger: LedgerId) -> Result<Option<HeadRow>, StoreError> {
        if let Some(row) = self.heads.get(&ledger) {
            return Ok(Some(row.clone()));
        }
        let row = lookup::checked_head(&self.conn, ledger)?;
        if let Some(row) = &row {
            self.heads.insert(ledger, row.clone());
        }
        Ok(row)
    }

    fn epoch(&mut self, ledger: LedgerId, epoch: Epoch) -> Result<EpochNo, StoreError> {
        let row = self.head(ledger)?.ok_or(StoreError::NoSuchLedger)?;
        lookup::epoch_no(&self.conn, row.ledger_no, epoch)?.ok_or(StoreError::NoSuchLedger)
    }

    /// Decides a run of appends and writes what was decided.
    fn appends(
        &mut self,
        ledger: LedgerId,
        requests: Vec<(AppendRequest, Answer<AppendOutcome>)>,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        let row = match self.head(ledger) {
            Ok(Some(row)) => row,
            Ok(None) => {
                let failed = |(_, answer)| Settled::Append(answer, Err(StoreError::NoSuchLedger));
                round.settled.extend(requests.into_iter().map(failed));
                return Ok(());
            }
            Err(error) => {
                let failed = |(_, answer)| Settled::Append(answer, Err(error.clone()));
                round.settled.extend(requests.into_iter().map(failed));
                return Err(error);
            }
        };
        let mut known = Known {
            conn: &self.conn,
            streams: &mut self.streams,
            recent: &mut self.recent,
            ledger_no: row.ledger_no,
        };
        let mut sequencer = Sequencer::new(row.head.clone(), self.clock.now(), &mut known);
        let mut decided = Vec::with_capacity(requests.len());
        let mut failed = None;
        for (request, answer) in requests {
            let decision = match &failed {
                None => sequencer.decide(&request),
                Some(error) => Err(StoreError::clone(error)),
            };
            failed = failed.or_else(|| decision.as_ref().err().cloned());
            decided.push((answer, decision));
        }
        let batch = sequencer.finish();
        if failed.is_none() && !batch.records.is_empty() {
            let from = HeadMove::From(row.epoch_no, batch.base.0);
            failed = self.tables.write(&mut known, row.epoch_no, from, &batch).err();
            round
                .moved
                .extend(batch.head.last_position().map(|last| (ledger, last)));
        }
        let row = HeadRow {
            head: batch.head,
            ..row
        };
        for (answer, decision) in decided {
            let outcome = decision.and_then(|decision| outcome(&self.conn, &row, decision));
            round.settled.push(Settled::Append(answer, outcome));
        }
        self.heads.insert(ledger, row);
        failed.map_or(Ok(()), Err)
    }

    /// Opens an epoch, or answers why not.
    fn open_epoch(
        &mut self,
        ledger: LedgerId,
        opening: EpochOpening,
        answer: Answer<Receipt>,
        round: &mut Round,
    ) -> Result<(), StoreError> {
        let opened = self.opened(ledger, opening);
        round.settled.push(Settled::Opened(answer, opened.clone()));
        match opened {
            Ok(receipt) => {
                round.moved.push((ledger, receipt.position));
                Ok(())
            }
            // Refused before anything was written.
            Err(StoreError::EpochMoved | StoreError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn opened(&mut self, ledger: LedgerId, opening: EpochOpening) -> Result<Receipt, StoreError> {
        opening.check()?;
        let row = self.head(ledger)?;
        if !may_open(row.as_ref().map(|row| &row.head), &opening) {
            return Err(StoreError::EpochMoved);
        }
        let failed = |e: rusqlite::Error| store_error("table epoch", &e);
        let number = |sql| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut s| s.query_row([], |row| row.get::<_, i64>(0)))
        };
        let epoch_no = EpochNo(number("SELECT coalesce(max(no), 0) + 1 FROM epoch").map_err(failed)?);
        let (ledger_no, from) = match &row {
            Some(row) => (row.ledger_no, HeadMove::From(row.epoch_no, row.head.size.0)),
            None => {
                let no = number("SELECT coalesce(max(ledger_no), 0) + 1 FROM head").map_err(failed)?;
                (no, HeadMove::Create(ledger))
            }
        };
        if epoch_no > EpochNo::MAX {
            return Err(LedgerError::Invalid("the file has no number for another epoch".into()).into());
        }
        let taken = self
            .conn
            .prepare_cached("SELECT 1 FROM epoch WHERE origin = ?1")
            .and_then(|mut s| s.query_row([&opening.origin], |_| Ok(())).optional())
            .map_err(failed)?;
        if taken.is_some() {
            return Err(LedgerError::Invalid(format!("origin {} is in use", opening.origin)).into());
        }
        let (epoch, origin) = (opening.epoch, opening.origin.clone());
        let last_recorded_at = row.map(|row| row.head.last_recorded_at).unwrap_or_default();
        let mut known = Known {
            conn: &self.conn,
            streams: &mut self.streams,
            recent: &mut self.recent,
            ledger_no,
        };
        let batch = sequencer::open_epoch(opening, last_recorded_at, self.clock.now(), &mut known)?;
        let record = &batch.records[0];
        let receipt = Receipt {
            position: record.position,
            leaf_hash: record.leaf_hash,
            recorded_at: batch.head.last_recorded_at,
        };
        write::insert_epoch(&self.conn, epoch_no, ledger_no, epoch, &origin)?;
        self.tables.write(&mut known, epoch_no, from, &batch)?;
        self.heads.insert(
            ledger,
            HeadRow {
                ledger_no,
                epoch_no,
                head: batch.head,
            },
        );
        Ok(receipt)
    }
}

/// Changes when another connection has written to the file.
fn data_version(conn: &Connection) -> Result<i64, StoreError> {
    conn.prepare_cached("PRAGMA data_version")
        .and_then(|mut s| s.query_row([], |row| row.get(0)))
        .map_err(|e| store_error("data version", &e))
}

/// Settles the storing of derived data. An unknown epoch is that caller's mistake and undoes nothing.
fn put(answer: Answer<()>, stored: Result<(), StoreError>, round: &mut Round) -> Result<(), StoreError> {
    round.settled.push(Settled::Done(answer, stored.clone()));
    match stored {
        // Nothing was written of what was refused.
        Err(StoreError::NoSuchLedger | StoreError::Refused(_)) => Ok(()),
        other => other,
    }
}

/// What a decision is to the caller. Records of a duplicate are read back: in this transaction even those of this batch.
fn outcome(conn: &Connection, row: &HeadRow, decision: Decision) -> Result<AppendOutcome, StoreError> {
    Ok(match decision {
        Decision::Append(receipts) => AppendOutcome::Appended {
            receipts,
            duplicate: false,
        },
        Decision::Duplicate { first, count } => AppendOutcome::Appended {
            receipts: write::receipts(conn, row, first, count)?,
            duplicate: true,
        },
        Decision::KeyMismatch { layer } => AppendOutcome::KeyMismatch { layer },
        Decision::Conflict {
            stream,
            expected,
            actual,
        } => AppendOutcome::Conflict {
            stream,
            expected,
            actual,
        },
    })
}

/// The jobs of each ledger, in the order they came.
fn by_ledger(mut jobs: Vec<Job>) -> Vec<(LedgerId, Vec<Work>)> {
    // Stable, so that the order within a ledger stays.
    jobs.sort_by_key(|job| job.ledger);
    let mut batches: Vec<(LedgerId, Vec<Work>)> = Vec::new();
    for job in jobs {
        match batches.last_mut() {
            Some((ledger, works)) if *ledger == job.ledger => works.push(job.work),
            _ => batches.push((job.ledger, vec![job.work])),
        }
    }
    batches
}
