//! A writer: one task, one connection, one statement for everything that is queued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ruche_domain::ids::LedgerId;
use ruche_domain::ports::Clock;
use ruche_domain::stream::StreamId;
use ruche_ledger::sequencer::{Batch, Decision, Sequencer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, LedgerHead, StoreError};

use crate::append::Move;
use crate::cache::{Cache, Known, Reading};
use crate::contention::Contention;
use crate::ends::Ends;
use crate::queue::{Answer, Job, Queue};
use crate::reading::Reader;

pub(crate) use keep::{Parts, keep};
use link::{Link, Moment};
use settle::{Refusal, Repeat};

mod keep;
mod link;
mod optimistic;
mod locked;
mod settle;

/// One of the tasks that append.
pub(crate) struct Writer {
    link: Link,
    /// Reads receipts of earlier appends: the role that writes may not.
    reader: Reader,
    clock: Arc<dyn Clock>,
    ends: Arc<Ends>,
    cache: Cache,
    contention: Contention,
    /// How long any one answer of the server may take, and how long after its start a round still begins something.
    limit: Duration,
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
    reading: Reading,
    decisions: Vec<Decision>,
    batch: Batch,
    /// Whether it was decided on guesses, and which streams were guessed to be absent.
    guesses: bool,
    guessed: Vec<StreamId>,
    /// When what it was decided on was read.
    read_at: Moment,
}

/// What is done for the requests that were taken out of the queue together.
struct Round {
    started: Instant,
    /// Requests that were refused with nothing written behind it: they may have to wait for a fence, too.
    refusals: Vec<Refusal>,
    /// Requests that repeat earlier appends. They are answered last: they may have to wait for a fence, and nobody waits
    /// for it with them.
    repeats: Vec<Repeat>,
}

impl Writer {
    fn new(parts: Parts) -> Self {
        Self {
            link: Link::new(parts.database, parts.limit),
            reader: parts.reader,
            clock: parts.clock,
            ends: parts.ends,
            cache: Cache::new(),
            contention: Contention::default(),
            limit: parts.limit,
        }
    }

    /// Works until the queue is closed and drained.
    async fn run(mut self, queue: &Queue) {
        loop {
            // Whatever came while the last commit was being flushed is the next batch: the flush is the timer.
            let jobs = queue.take_batch().await;
            if jobs.is_empty() {
                return;
            }
            self.round(jobs).await;
        }
    }

    /// Answers everything that was taken. Each wait in it is bounded, and once their sum is past the bound nothing more is
    /// begun, so that a database in trouble never holds callers for longer than a few times the limit.
    async fn round(&mut self, jobs: Vec<Job>) {
        let mut round = Round {
            started: Instant::now(),
            refusals: Vec::new(),
            repeats: Vec::new(),
        };
        let (calm, contended): (Vec<_>, Vec<_>) = by_ledger(jobs)
            .into_iter()
            .partition(|group| !self.contention.is_locked(group.ledger));
        let lost = self.optimistic(calm, &mut round).await;
        // One after the other: what is wrong with one ledger does not touch the others.
        for group in contended.into_iter().chain(lost) {
            if round.started.elapsed() < self.limit {
                self.under_lock(group, &mut round).await;
            } else {
                let reason = "the database is too slow; this append was not begun".to_owned();
                group.fail(&StoreError::Unavailable { reason });
            }
        }
        self.refuse(round.refusals).await;
        self.repeat(round.repeats).await;
    }

    /// Decides the requests of a ledger on what was read of it.
    fn decide(&self, group: Group, mut known: Known, read_at: Moment) -> Decided {
        let (old, reading) = (known.head.clone(), known.reading);
        let mut sequencer = Sequencer::new(old.clone(), self.clock.now(), &mut known);
        let mut decisions = Vec::with_capacity(group.requests.len());
        for (request, _) in &group.requests {
            // The request is kept, for the case that the ledger loses.
            let Ok(decision) = sequencer.decide(request);
            decisions.push(decision);
        }
        let batch = sequencer.finish();
        Decided {
            group,
            old,
            reading,
            decisions,
            batch,
            guesses: known.guesses,
            guessed: known.guessed,
            read_at,
        }
    }
}

impl Decided {
    fn as_move(&self) -> Move<'_> {
        Move {
            ledger: self.group.ledger,
            old: &self.old,
            batch: &self.batch,
            guessed: &self.guessed,
        }
    }

    /// Whether the statement that appends will find out whatever was guessed wrongly: it looks at the keys and streams of
    /// what is appended, and not of what is refused or repeats something.
    fn is_sure(&self) -> bool {
        let mut decisions = self.decisions.iter();
        !self.guesses || decisions.all(|decision| matches!(decision, Decision::Append(_)))
    }

    /// Whether a request expected something else of a stream.
    fn has_conflicts(&self) -> bool {
        let mut decisions = self.decisions.iter();
        decisions.any(|decision| matches!(decision, Decision::Conflict { .. }))
    }

    /// Whether there is anything to write.
    fn writes(&self) -> bool {
        !self.batch.records.is_empty()
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
