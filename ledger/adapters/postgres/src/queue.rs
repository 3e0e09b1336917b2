//! The queue of a writer: bounded in appends and bytes, fair between ledgers, never making whoever puts something in
//! wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, LEAF_BYTES_MAX, OVERLOADED_RETRY_AFTER_MS, WRITER_QUEUE_APPENDS_MAX,
    WRITER_QUEUE_BYTES_MAX,
};
use ruche_ledger::store::{AppendOutcome, AppendRequest, StoreError};
use tokio::sync::Notify;

use crate::cache::Generations;

/// Ledgers of which it is known which writer they belong to; the same again. An entry has 24 bytes and one of the table.
const LEDGERS_PLACED: usize = 65_536;

/// Where the answer to an append goes.
pub(crate) type Answer = oneshot::Sender<Result<AppendOutcome, StoreError>>;

/// An append that waits for its writer.
pub(crate) struct Job {
    pub ledger: LedgerId,
    pub request: AppendRequest,
    pub answer: Answer,
}

impl Job {
    fn events(&self) -> usize {
        self.request.events.len()
    }

    /// Stored bytes as the limits count them: payloads, and a leaf of the greatest length for each event.
    fn bytes(&self) -> usize {
        self.request.payload_bytes() + self.events() * LEAF_BYTES_MAX
    }
}

/// The queues of all writers. A ledger is given to the writer that has the least to do when its first append comes, and
/// stays with it: only one writer has it in its cache.
pub(crate) struct Queues {
    all: Vec<Arc<Queue>>,
    /// Which queue each ledger goes to. One that is forgotten may be given to another writer while the first has an
    /// append of it in hand: then one of them loses a race.
    places: Mutex<Places>,
}

struct Places {
    of: Generations<LedgerId, usize>,
    /// The queue that is asked first: equally busy ones take turns.
    next: usize,
}

impl Queues {
    pub(crate) fn new(writers: usize) -> Self {
        Self {
            all: (0..writers.max(1)).map(|_| Arc::default()).collect(),
            places: Mutex::new(Places {
                of: Generations::new(LEDGERS_PLACED),
                next: 0,
            }),
        }
    }

    /// Each of them.
    pub(crate) fn all(&self) -> &[Arc<Queue>] {
        &self.all
    }

    /// The queue of the writer that a ledger belongs to.
    pub(crate) fn of(&self, ledger: LedgerId) -> &Queue {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match places.of.get(&ledger) {
            Some(place) => *place,
            None => {
                let first = places.next;
                let in_turn = (first..first + self.all.len()).map(|n| n % self.all.len());
                let place = in_turn.min_by_key(|n| self.all[*n].lock().appends).unwrap_or(0);
                places.next = place + 1;
                places.of.insert(ledger, place);
                place
            }
        };
        &self.all[place]
    }
}

/// Appends of each ledger in the order they came; ledgers take turns.
///
/// A turn is one append, so an append waits for at most one of each other ledger for each of its own ledger's before it.
/// A ledger may hold no more of the queue than it leaves free: one that floods it gets half, two get a third each, and
/// there is always room for another.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Default)]
struct State {
    /// Those that have appends here, none empty.
    ledgers: HashMap<LedgerId, Waiting>,
    /// The same ledgers, whose turn it is first.
    turns: VecDeque<LedgerId>,
    appends: usize,
    bytes: usize,
    /// Why no more is taken.
    closed: Option<&'static str>,
}

/// What waits of one ledger.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
}

impl Queue {
    /// Puts an append at the end of its ledger's.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full or holds too much of this ledger, `Unavailable` when it is closed; the append
    /// is dropped unseen.
    pub(crate) fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            let reason = reason.to_owned();
            return Err(StoreError::Unavailable { reason });
        }
        if !state.has_room(job.ledger, job.bytes()) {
            return Err(StoreError::Overloaded {
                retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
            });
        }
        state.push(job);
        drop(state);
        self.moved.notify_one();
        Ok(())
    }

    /// Waits for appends and takes what is there, up to one batch. Empty when closed and drained.
    pub(crate) async fn take_batch(&self) -> Vec<Job> {
        loop {
            // One permit is kept by `Notify` if nobody waits yet, so a job that comes in between is not missed.
            let moved = self.moved.notified();
            if let Some(jobs) = self.try_take() {
                return jobs;
            }
            moved.await;
        }
    }

    fn try_take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let (mut events, mut bytes, mut jobs) = (0, 0, Vec::new());
        while let Some((more_events, more_bytes)) = state.next() {
            events += more_events;
            bytes += more_bytes;
            if !jobs.is_empty() && (events > BATCH_EVENTS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            jobs.extend(state.pop());
        }
        (!jobs.is_empty() || state.closed.is_some()).then_some(jobs)
    }

    /// Takes no more appends; the writer finishes those that are there.
    pub(crate) fn close(&self) {
        self.lock().closed.get_or_insert("the ledger is closing");
        self.moved.notify_one();
    }

    /// Takes no more appends and says of those that are there that they were not written: nobody will take them.
    pub(crate) fn abandon(&self) {
        let jobs: Vec<Job> = {
            let mut state = self.lock();
            state.closed.get_or_insert("the writer of this ledger has ended");
            std::iter::from_fn(|| state.pop()).collect()
        };
        for job in jobs {
            let reason = "the writer of this ledger has ended".to_owned();
            drop(job.answer.send(Err(StoreError::Unavailable { reason })));
        }
    }

    /// No statement under this lock can panic half-way, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, ledger: LedgerId, bytes: usize) -> bool {
        let (own, own_bytes) = match self.ledgers.get(&ledger) {
            Some(waiting) => (waiting.jobs.len(), waiting.bytes),
            None => (0, 0),
        };
        let free = WRITER_QUEUE_APPENDS_MAX.saturating_sub(self.appends);
        let free_bytes = WRITER_QUEUE_BYTES_MAX.saturating_sub(self.bytes);
        own < free && own_bytes + bytes <= free_bytes
    }

    fn push(&mut self, job: Job) {
        let (ledger, bytes) = (job.ledger, job.bytes());
        let waiting = self.ledgers.entry(ledger).or_default();
        if waiting.jobs.is_empty() {
            self.turns.push_back(ledger);
        }
        waiting.jobs.push_back(job);
        waiting.bytes += bytes;
        self.appends += 1;
        self.bytes += bytes;
    }

    /// Events and bytes of the append whose turn it is.
    fn next(&self) -> Option<(usize, usize)> {
        let job = self.ledgers.get(self.turns.front()?)?.jobs.front()?;
        Some((job.events(), job.bytes()))
    }

    /// Takes the append whose turn it is; its ledger is the last one then.
    fn pop(&mut self) -> Option<Job> {
        let ledger = self.turns.pop_front()?;
        let waiting = self.ledgers.get_mut(&ledger)?;
        let job = waiting.jobs.pop_front()?;
        let bytes = job.bytes();
        waiting.bytes -= bytes;
        self.appends -= 1;
        self.bytes -= bytes;
        if waiting.jobs.is_empty() {
            self.ledgers.remove(&ledger);
        } else {
            self.turns.push_back(ledger);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use ruche_ledger::testing::{Author, ledger};

    use super::*;

    fn job(author: &Author, n: u128) -> Job {
        let event = author.event(author.stream(1), "{}");
        Job {
            ledger: ledger(n),
            request: author.append(vec![event]),
            answer: oneshot::channel().0,
        }
    }

    #[test]
    fn a_flood_of_one_ledger_leaves_room_and_the_next_turn_to_others() {
        let (queue, author) = (Queue::default(), Author::new(1));
        let mut flood = 0;
        while queue.push(job(&author, 1)).is_ok() {
            flood += 1;
        }
        assert_eq!(flood, WRITER_QUEUE_APPENDS_MAX / 2);
        queue.push(job(&author, 2)).unwrap();
        queue.push(job(&author, 3)).unwrap();
        queue.push(job(&author, 3)).unwrap();
        let batch = queue.try_take().unwrap();
        let ledgers: Vec<_> = batch.iter().take(6).map(|job| job.ledger).collect();
        assert_eq!(ledgers, [1, 2, 3, 1, 3, 1].map(ledger));
        assert_eq!(batch.len(), BATCH_EVENTS_MAX);
    }

    #[test]
    fn the_order_of_a_ledger_is_kept_and_nothing_is_left_behind() {
        let (queue, author) = (Queue::default(), Author::new(1));
        let mut sent: HashMap<LedgerId, Vec<_>> = HashMap::new();
        for n in 0..2_500_u128 {
            let job = job(&author, n * n % 7);
            let id = job.request.events[0].event.event_id;
            sent.entry(job.ledger).or_default().push(id);
            queue.push(job).unwrap();
        }
        let mut taken: HashMap<LedgerId, Vec<_>> = HashMap::new();
        while let Some(jobs) = queue.try_take() {
            for job in jobs {
                let id = job.request.events[0].event.event_id;
                taken.entry(job.ledger).or_default().push(id);
            }
        }
        assert_eq!(taken, sent);
        let state = queue.lock();
        assert_eq!((state.appends, state.bytes, state.turns.len()), (0, 0, 0));
        assert!(state.ledgers.is_empty());
    }

    #[test]
    fn what_nobody_will_take_is_answered() {
        let (queue, author) = (Queue::default(), Author::new(1));
        let (answer, mut answered) = oneshot::channel();
        let job_1 = Job {
            answer,
            ..job(&author, 1)
        };
        queue.push(job_1).unwrap();
        queue.abandon();
        let answer = answered.try_recv().unwrap().unwrap();
        assert!(
            matches!(answer, Err(StoreError::Unavailable { .. })),
            "{answer:?}"
        );
        let late = queue.push(job(&author, 1));
        assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
        assert_eq!(queue.try_take().map(|jobs| jobs.len()), Some(0));
    }

    /// Which of the queues it is.
    fn place(queues: &Queues, n: u128) -> usize {
        let queue = queues.of(ledger(n));
        let is_it = |one: &Arc<Queue>| std::ptr::eq(&**one, queue);
        queues.all().iter().position(is_it).unwrap()
    }

    #[test]
    fn a_ledger_stays_with_its_writer_and_a_new_one_goes_to_who_has_least_to_do() {
        let (queues, author) = (Queues::new(3), Author::new(1));
        // Those that have nothing to do take turns.
        let first: Vec<_> = (1..=6).map(|n| place(&queues, n)).collect();
        assert_eq!(first, [0, 1, 2, 0, 1, 2]);
        for n in [1, 1, 1, 2] {
            queues.of(ledger(n)).push(job(&author, n)).unwrap();
        }
        // However much its writer has to do.
        let again: Vec<_> = (1..=6).map(|n| place(&queues, n)).collect();
        assert_eq!(again, first);
        for n in 7..=9 {
            assert_eq!(place(&queues, n), 2, "the third has nothing to do");
        }
        for n in [7, 8] {
            queues.of(ledger(n)).push(job(&author, n)).unwrap();
        }
        assert_eq!(
            place(&queues, 10),
            1,
            "one append waits there, two in the third, three in the first"
        );
    }

    #[test]
    fn who_floods_a_writer_takes_nothing_from_the_others() {
        let (queues, author) = (Queues::new(2), Author::new(1));
        let flooded = queues.of(ledger(1));
        while flooded.push(job(&author, 1)).is_ok() {}
        let refused = flooded.push(job(&author, 1));
        assert!(
            matches!(refused, Err(StoreError::Overloaded { .. })),
            "{refused:?}"
        );
        // A new ledger comes to the other one, and may have as much of it.
        assert_ne!(place(&queues, 2), place(&queues, 1));
        for _ in 0..WRITER_QUEUE_APPENDS_MAX / 2 {
            queues.of(ledger(2)).push(job(&author, 2)).unwrap();
        }
        assert!(queues.of(ledger(2)).push(job(&author, 2)).is_err());
        let bounded: usize = queues.all().iter().map(|queue| queue.lock().appends).sum();
        assert_eq!(bounded, WRITER_QUEUE_APPENDS_MAX);
        // One that is closed does not close the others.
        flooded.abandon();
        let late = queues.of(ledger(1)).push(job(&author, 1));
        assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
        assert_eq!(
            queues.of(ledger(2)).try_take().map(|jobs| jobs.len()),
            Some(BATCH_EVENTS_MAX)
        );
        queues.of(ledger(2)).push(job(&author, 2)).unwrap();
    }
}
