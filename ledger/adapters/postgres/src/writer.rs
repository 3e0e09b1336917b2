//! A writer: one task, one connection, one statement for everything that is queued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::ports::Clock;
use ruche_ledger::sequencer::{Batch, Decision, Sequencer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, LedgerHead, Receipt, StoreError};
use tokio::time::timeout;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::append::{self, Move};
use crate::cache::{self, Known, Lookups};
use crate::contention::Contention;
use crate::ends::Ends;
use crate::error::{store_error, was_refused};
use crate::queue::{Answer, Job, Queue};
use crate::reading::Reader;
use crate::session::{self, Database};

/// Ledgers whose heads are remembered. All are forgotten when there are more.
const LEDGERS_MAX: usize = 4_096;
/// A commit whose answer takes longer is given up; its fate is then unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// One of the tasks that append.
pub(crate) struct Writer {
    database: Database,
    reader: Reader,
    clock: Arc<dyn Clock>,
    ends: Arc<Ends>,
    session: Option<Session>,
    known: HashMap<LedgerId, Known>,
    contention: Contention,
}

/// A connection with its statements.
struct Session {
    client: session::Session,
    append: Statement,
    lookups: Lookups,
}

/// The requests of one ledger, in the order they came.
struct Group {
    ledger: LedgerId,
    requests: Vec<(AppendRequest, Answer)>,
}

/// A group that was decided on a head, and is not true yet.
struct Decided {
    group: Group,
    old: LedgerHead,
    decisions: Vec<Decision>,
    batch: Batch,
}

/// What came of a commit.
enum Fate {
    /// These heads moved, and what they needed is durable. Nothing was written of the others.
    Moved(Vec<LedgerId>),
    /// The server refused all of it; nothing was written.
    Refused(StoreError),
    /// No answer came.
    Unknown,
}

impl Writer {
    pub(crate) fn new(database: Database, reader: Reader, clock: Arc<dyn Clock>, ends: Arc<Ends>) -> Self {
        Self {
            database,
            reader,
            clock,
            ends,
            session: None,
            known: HashMap::new(),
            contention: Contention::default(),
        }
    }

    /// Works until the queue is closed and drained.
    pub(crate) async fn run(mut self, queue: &Queue) {
        loop {
            // Whatever came while the last commit was being flushed is the next batch: the flush is the timer.
            let jobs = queue.take_batch().await;
            if jobs.is_empty() {
                return;
            }
            let (calm, contended): (Vec<_>, Vec<_>) = by_ledger(jobs)
                .into_iter()
                .partition(|group| !self.contention.is_locked(group.ledger));
            let lost = self.optimistic(calm).await;
            // One after the other: what is wrong with one ledger does not touch the others.
            for group in contended.into_iter().chain(lost) {
                self.under_lock(group).await;
            }
        }
    }

    /// Decides on what is known and commits all ledgers with one statement. Returns the groups that have to be decided
    /// again, under the lock of their heads.
    async fn optimistic(&mut self, groups: Vec<Group>) -> Vec<Group> {
        if groups.is_empty() {
            return Vec::new();
        }
        let groups = match self.look_up(groups).await {
            Ok(groups) => groups,
            Err(Failed { groups, error }) => {
                groups.into_iter().for_each(|group| group.fail(&error));
                return Vec::new();
            }
        };
        let (mut again, mut decided) = (Vec::new(), Vec::new());
        for group in groups {
            let one = self.decide(group);
            // A conflict is true of this head. If nothing moves that shows whether the head is still the last one, it
            // has to be looked at again.
            let unconfirmed = one.batch.records.is_empty()
                && one
                    .decisions
                    .iter()
                    .any(|d| matches!(d, Decision::Conflict { .. }));
            if unconfirmed {
                self.known.remove(&one.group.ledger);
                again.push(one.group);
            } else {
                decided.push(one);
            }
        }
        let fate = self.send(&decided).await;
        match fate {
            Fate::Moved(moved) => {
                for one in decided {
                    if one.batch.records.is_empty() || moved.contains(&one.group.ledger) {
                        self.settle(one).await;
                    } else {
                        self.contention.lost(one.group.ledger);
                        self.known.remove(&one.group.ledger);
                        again.push(one.group);
                    }
                }
            }
            Fate::Refused(error) => {
                tracing::warn!(%error, "a commit of several ledgers was refused; each is tried alone");
                for one in decided {
                    self.known.remove(&one.group.ledger);
                    again.push(one.group);
                }
            }
            Fate::Unknown => self.resolve(decided).await,
        }
        again
    }

    /// Decides one ledger with its head row locked, in a transaction of its own.
    async fn under_lock(&mut self, group: Group) {
        let ledger = group.ledger;
        self.known.remove(&ledger);
        match self.locked(group).await {
            Ok(one) => self.settle(one).await,
            Err(Locked::Failed(group, error)) => {
                self.known.remove(&ledger);
                self.end_transaction().await;
                group.fail(&error);
            }
            Err(Locked::Unknown(one)) => self.resolve(vec![*one]).await,
        }
    }

    async fn locked(&mut self, group: Group) -> Result<Decided, Locked> {
        let ledger = group.ledger;
        let failed = |group, error| Err(Locked::Failed(group, error));
        let session = match self.session().await {
            Ok(session) => session,
            Err(error) => return failed(group, error),
        };
        let ids = [ledger.0];
        let ids = &ids[..];
        // Sent together. READ COMMITTED takes a snapshot for each statement, so the row is the last one once the lock
        // is ours, and what is read after it is as new.
        let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
        let begun = futures_util::future::try_join(
            session.client.batch_execute("BEGIN"),
            session.client.query(&session.lookups.heads_locked, &parameters),
        );
        let rows = match begun.await {
            Ok(((), rows)) => rows,
            Err(error) => return failed(group, store_error("table head", &error)),
        };
        let head = match rows.first().map(cache::head) {
            Some(Ok((_, head))) => head,
            Some(Err(error)) => return failed(group, error),
            None => return failed(group, StoreError::NoSuchLedger),
        };
        let mut known = HashMap::from([(ledger, Known::new(head))]);
        if let Err(error) = session
            .lookups
            .fill(&session.client, &mut known, &group.asked())
            .await
        {
            return failed(group, error);
        }
        self.known.extend(known);
        let one = self.decide(group);
        match self.send(std::slice::from_ref(&one)).await {
            Fate::Moved(moved) if one.batch.records.is_empty() || moved.contains(&ledger) => {}
            Fate::Moved(_) => {
                let error = StoreError::Corrupt {
                    place: format!("head of ledger {ledger}"),
                    reason: "it moved while it was locked".into(),
                };
                return failed(one.group, error);
            }
            Fate::Refused(error) => return failed(one.group, error),
            Fate::Unknown => return Err(Locked::Unknown(Box::new(one))),
        }
        let Some(session) = &self.session else {
            return Err(Locked::Unknown(Box::new(one)));
        };
        // From here the append is durable or not, and only an answer tells. A crash leaves all of it or nothing.
        match timeout(COMMIT_TIMEOUT, session.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(one),
            Ok(Err(error)) if was_refused(&error) => failed(one.group, store_error("commit", &error)),
            Ok(Err(_)) | Err(_) => {
                self.session = None;
                Err(Locked::Unknown(Box::new(one)))
            }
        }
    }

    /// Reads what the cache does not have of these groups. Those whose ledger does not exist are answered.
    async fn look_up(&mut self, groups: Vec<Group>) -> Result<Vec<Group>, Failed> {
        if self.known.len() + groups.len() > LEDGERS_MAX {
            self.known.clear();
        }
        let mut known = std::mem::take(&mut self.known);
        let looked = self.read(&mut known, &groups).await;
        self.known = known;
        if let Err(error) = looked {
            groups
                .iter()
                .for_each(|group| drop(self.known.remove(&group.ledger)));
            return Err(Failed { groups, error });
        }
        let (there, absent): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|group| self.known.contains_key(&group.ledger));
        absent
            .into_iter()
            .for_each(|group| group.fail(&StoreError::NoSuchLedger));
        Ok(there)
    }

    async fn read(
        &mut self,
        known: &mut HashMap<LedgerId, Known>,
        groups: &[Group],
    ) -> Result<(), StoreError> {
        let session = self.session().await?;
        let cold = groups.iter().filter(|group| !known.contains_key(&group.ledger));
        let cold: Vec<Uuid> = cold.map(|group| group.ledger.0).collect();
        if !cold.is_empty() {
            let heads = session.client.query(&session.lookups.heads, &[&cold]).await;
            for row in heads.map_err(|e| store_error("table head", &e))? {
                let (ledger, head) = cache::head(&row)?;
                known.insert(ledger, Known::new(head));
            }
        }
        let asked: Vec<_> = groups.iter().flat_map(Group::asked).collect();
        session.lookups.fill(&session.client, known, &asked).await
    }

    /// Decides the requests of a ledger that is known.
    fn decide(&mut self, group: Group) -> Decided {
        let known = self
            .known
            .get_mut(&group.ledger)
            .expect("a group is decided after its ledger was looked up");
        let old = known.head.clone();
        let mut sequencer = Sequencer::new(old.clone(), self.clock.now(), known);
        let mut decisions = Vec::with_capacity(group.requests.len());
        for (request, _) in &group.requests {
            // The request is kept, for the case that the ledger loses.
            let Ok(decision) = sequencer.decide(request.clone());
            decisions.push(decision);
        }
        let batch = sequencer.finish();
        Decided {
            group,
            old,
            decisions,
            batch,
        }
    }

    /// Sends the batches that have records.
    async fn send(&mut self, decided: &[Decided]) -> Fate {
        let moves = decided.iter().filter(|one| !one.batch.records.is_empty());
        let moves: Vec<_> = moves.map(Decided::as_move).collect();
        if moves.is_empty() {
            return Fate::Moved(Vec::new());
        }
        let Some(session) = &self.session else {
            let reason = "the connection to the database ended".to_owned();
            return Fate::Refused(StoreError::Unavailable { reason });
        };
        let sent = append::send(&session.client, &session.append, &moves);
        match timeout(COMMIT_TIMEOUT, sent).await {
            Ok(Ok(moved)) => Fate::Moved(moved),
            Ok(Err(error)) if was_refused(&error) => Fate::Refused(store_error("append", &error)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "no answer to a commit");
                self.session = None;
                Fate::Unknown
            }
            Err(_) => {
                tracing::warn!("no answer to a commit in time");
                self.session = None;
                Fate::Unknown
            }
        }
    }

    /// Answers a group whose batch is durable.
    async fn settle(&mut self, one: Decided) {
        let Decided {
            group,
            decisions,
            batch,
            ..
        } = one;
        let ledger = group.ledger;
        let receipts: Vec<_> = batch
            .records
            .iter()
            .map(receipt(batch.head.last_recorded_at))
            .collect();
        if let (Some(last), false) = (batch.head.last_position(), batch.records.is_empty()) {
            self.ends.publish(ledger, last);
        }
        if let Some(known) = self.known.get_mut(&ledger) {
            known.moved(batch.head, batch.streams);
        }
        for ((_, answer), decision) in group.requests.into_iter().zip(decisions) {
            let outcome = match decision {
                Decision::Append(receipts) => Ok(AppendOutcome::Appended {
                    receipts,
                    duplicate: false,
                }),
                Decision::KeyMismatch { layer } => Ok(AppendOutcome::KeyMismatch { layer }),
                Decision::Conflict {
                    stream,
                    expected,
                    actual,
                } => Ok(AppendOutcome::Conflict {
                    stream,
                    expected,
                    actual,
                }),
                Decision::Duplicate { first, count } => {
                    let here = receipts.iter().position(|receipt| receipt.position == first);
                    match here.and_then(|at| receipts.get(at..at + count as usize)) {
                        Some(receipts) => Ok(receipts.to_vec()),
                        // Held until it is durable, as whatever is read.
                        None => self.reader.receipts(ledger, first, count).await,
                    }
                    .map(|receipts| AppendOutcome::Appended {
                        receipts,
                        duplicate: true,
                    })
                }
            };
            // A caller that went away does not hear it; what was decided stands all the same.
            drop(answer.send(outcome));
        }
    }

    /// Finds out what became of commits without an answer. A head that is ours says that the batch is there. Any other
    /// says nothing for certain: the server may still be working on it, or others have moved on. Then the callers ask
    /// again with their keys: if the batch is there they hear of a duplicate, and if it is not, what they append moves
    /// the head, so that it can never come later.
    async fn resolve(&mut self, decided: Vec<Decided>) {
        let ledgers: Vec<Uuid> = decided.iter().map(|one| one.group.ledger.0).collect();
        let heads = self.heads(&ledgers).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the fate of a commit cannot be found out");
            HashMap::new()
        });
        for one in decided {
            self.known.remove(&one.group.ledger);
            if heads.get(&one.group.ledger) == Some(&one.batch.head) {
                self.settle(one).await;
            } else {
                one.group.doubt();
            }
        }
    }

    async fn heads(&mut self, ledgers: &[Uuid]) -> Result<HashMap<LedgerId, LedgerHead>, StoreError> {
        let session = self.session().await?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&ledgers];
        let rows = session.client.query(&session.lookups.heads, &parameters);
        let rows = timeout(COMMIT_TIMEOUT, rows)
            .await
            .map_err(|_| StoreError::Unavailable {
                reason: "no answer in time".into(),
            })?;
        let rows = rows.map_err(|e| store_error("table head", &e))?;
        rows.iter().map(cache::head).collect()
    }

    /// The connection, made if there is none.
    async fn session(&mut self) -> Result<&Session, StoreError> {
        if self
            .session
            .as_ref()
            .is_none_or(|session| session.client.is_closed())
        {
            // Another node may have written while there was no connection; heads tell, so the caches stay.
            self.session = None;
            self.session = Some(Session::open(&self.database).await?);
        }
        Ok(self.session.as_ref().expect("was opened above"))
    }

    /// Undoes an open transaction. A connection where that fails is given up, and the server undoes it.
    async fn end_transaction(&mut self) {
        if let Some(session) = &self.session
            && session.client.batch_execute("ROLLBACK").await.is_err()
        {
            self.session = None;
        }
    }
}

impl Session {
    async fn open(database: &Database) -> Result<Self, StoreError> {
        let client = database.appending().await?;
        let failed = |e| store_error("connect", &e);
        let append = append::prepare(&client).await.map_err(failed)?;
        let lookups = Lookups::prepare(&client).await.map_err(failed)?;
        Ok(Self {
            client,
            append,
            lookups,
        })
    }
}

impl Decided {
    fn as_move(&self) -> Move<'_> {
        Move {
            ledger: self.group.ledger,
            old: &self.old,
            batch: &self.batch,
        }
    }
}

impl Group {
    /// What is asked of the ledger.
    fn asked(&self) -> Vec<(LedgerId, &AppendRequest)> {
        let requests = self.requests.iter();
        requests.map(|(request, _)| (self.ledger, request)).collect()
    }

    /// Nothing was written.
    fn fail(self, error: &StoreError) {
        for (_, answer) in self.requests {
            drop(answer.send(Err(error.clone())));
        }
    }

    /// It cannot be said whether anything was written.
    fn doubt(self) {
        for (_, answer) in self.requests {
            drop(answer.send(Ok(AppendOutcome::Unknown)));
        }
    }
}

/// Groups for which something could not be read.
struct Failed {
    groups: Vec<Group>,
    error: StoreError,
}

/// Why a group was not committed under its lock.
enum Locked {
    Failed(Group, StoreError),
    Unknown(Box<Decided>),
}

fn receipt(
    recorded_at: ruche_domain::numbers::Micros,
) -> impl Fn(&ruche_ledger::sequencer::SequencedRecord) -> Receipt {
    move |record| Receipt {
        position: record.position,
        leaf_hash: record.leaf_hash,
        recorded_at,
    }
}

/// The requests of each ledger together, in their order; ledgers in the order of their first request.
fn by_ledger(jobs: Vec<Job>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places = HashMap::new();
    for Job {
        ledger,
        request,
        answer,
    } in jobs
    {
        let place = *places.entry(ledger).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group {
                ledger,
                requests: Vec::new(),
            });
        }
        groups[place].requests.push((request, answer));
    }
    groups
}
