//! Replays that this node does for those who ask over the network: of each ledger one at a time, of all ledgers a few, each
//! on a thread of its own, and none without a bound. A replay is work for a processor and not for a database; on the
//! threads that answer, it would keep everybody waiting.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ruche_domain::ids::LedgerId;
use ruche_replay::Budget;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::limits::{
    REPLAY_BYTES_MAX, REPLAY_QUEUE_WAIT_MAX, REPLAY_RECORDS_MAX, REPLAY_WAIT_MAX, REPLAYS_MAX,
};
use crate::services::Shutdown;

/// Who replays.
pub struct Replays {
    slots: Slots,
    queue_wait_max: Duration,
    shutdown: Shutdown,
}

/// Another replay takes its time.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// Tells a replay to end when nobody waits for it any more.
struct Asked(Arc<AtomicBool>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One slot for each ledger, a few for the node.
struct Slots {
    of_node: Arc<Semaphore>,
    /// Those in which somebody replays or for which somebody waits.
    of_ledgers: Mutex<HashMap<LedgerId, Weak<Semaphore>>>,
}

/// The right to replay, given back when it is dropped.
struct Slot {
    _of_ledger: OwnedSemaphorePermit,
    _of_node: OwnedSemaphorePermit,
}

impl Slots {
    fn new() -> Self {
        Self {
            of_node: Arc::new(Semaphore::new(REPLAYS_MAX)),
            of_ledgers: Mutex::default(),
        }
    }

    /// That of the ledger first: so of each ledger at most one waits for the node, and those that wait have it in the order
    /// in which they came. Nobody keeps the others out by asking often.
    async fn take(&self, ledger: LedgerId) -> Slot {
        let of_ledger = self.of_ledger(ledger).acquire_owned().await;
        let of_node = self.of_node.clone().acquire_owned().await;
        Slot {
            _of_ledger: of_ledger.expect("it is never closed"),
            _of_node: of_node.expect("it is never closed"),
        }
    }

    fn of_ledger(&self, ledger: LedgerId) -> Arc<Semaphore> {
        // A holder that panicked left a whole map behind.
        let mut slots = self.of_ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| slot.strong_count() > 0);
        let known = slots.get(&ledger).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let slot = Arc::new(Semaphore::new(1));
            slots.insert(ledger, Arc::downgrade(&slot));
            slot
        })
    }
}

impl Replays {
    /// Nobody replays yet.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            slots: Slots::new(),
            queue_wait_max: REPLAY_QUEUE_WAIT_MAX,
            shutdown,
        }
    }

    /// Replays a ledger. What was asked for is given the budget of one replay.
    ///
    /// # Errors
    /// `Busy` where another one of the ledger, or those of other ledgers that fill the node, did not end in time.
    pub async fn run<T, F, R>(&self, ledger: LedgerId, replay: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce(Budget) -> R + Send + 'static,
        R: Future<Output = T>,
    {
        let slot = timeout(self.queue_wait_max, self.slots.take(ledger));
        let slot = slot.await.map_err(|_| Busy)?;
        let gone = Arc::new(AtomicBool::new(false));
        let _asked = Asked(gone.clone());
        let (runtime, shutdown) = (Handle::current(), self.shutdown.clone());
        let done = spawn_blocking(move || {
            let began = Instant::now();
            let is_over = move || {
                began.elapsed() > REPLAY_WAIT_MAX || gone.load(Ordering::Relaxed) || shutdown.has_begun()
            };
            let budget = Budget::new(REPLAY_RECORDS_MAX, REPLAY_BYTES_MAX, is_over);
            let done = runtime.block_on(replay(budget));
            // Held until the work is over, whoever waits for it.
            drop(slot);
            done
        });
        match done.await {
            Ok(done) => Ok(done),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::thread;

    use tokio::sync::oneshot;
    use uuid::Uuid;

    use super::*;

    fn replays() -> (tokio::sync::watch::Sender<bool>, Replays) {
        let (sender, shutdown) = Shutdown::channel();
        (sender, Replays::new(shutdown))
    }

    /// The same, that refuses at once.
    fn impatient() -> (tokio::sync::watch::Sender<bool>, Replays) {
        let (sender, replays) = replays();
        let queue_wait_max = Duration::ZERO;
        (
            sender,
            Replays {
                queue_wait_max,
                ..replays
            },
        )
    }

    fn ledger(number: usize) -> LedgerId {
        LedgerId(Uuid::from_u128(number as u128))
    }

    /// One that has begun and goes on until it is told to end.
    struct Running<'r> {
        done: Pin<Box<dyn Future<Output = Result<(), Busy>> + 'r>>,
        end: oneshot::Sender<()>,
    }

    impl<'r> Running<'r> {
        async fn of(replays: &'r Replays, ledger: LedgerId) -> Self {
            let (begun, has_begun) = oneshot::channel();
            let (end, may_end) = oneshot::channel::<()>();
            let replay = move |_| async move {
                begun.send(()).expect("somebody waits");
                drop(may_end.await);
            };
            let mut done: Pin<Box<dyn Future<Output = _> + 'r>> = Box::pin(replays.run(ledger, replay));
            tokio::select! {
                done = &mut done => panic!("it did not begin: {done:?}"),
                begun = has_begun => begun.expect("it begins"),
            }
            Self { done, end }
        }

        async fn end(self) {
            self.end.send(()).expect("it still runs");
            assert_eq!(self.done.await, Ok(()));
        }
    }

    #[tokio::test]
    async fn it_is_on_a_thread_of_its_own() {
        let (_closing, replays) = replays();
        let here = thread::current().id();
        let there = replays.run(ledger(1), |_| async { thread::current().id() }).await;
        assert_ne!(there, Ok(here));
    }

    #[tokio::test]
    async fn a_second_one_of_a_ledger_is_refused_and_that_of_another_is_not() {
        let (_closing, replays) = impatient();
        let first = Running::of(&replays, ledger(1)).await;
        assert_eq!(replays.run(ledger(1), |_| async {}).await, Err(Busy));
        assert_eq!(replays.run(ledger(2), |_| async { 7 }).await, Ok(7));
        first.end().await;
        assert_eq!(replays.run(ledger(1), |_| async { 8 }).await, Ok(8));
        assert_eq!(
            replays.slots.of_ledgers.lock().expect("a map").len(),
            1,
            "none is kept"
        );
    }

    #[tokio::test]
    async fn a_node_does_so_many() {
        let (_closing, replays) = impatient();
        let mut running = Vec::new();
        for number in 0..REPLAYS_MAX {
            running.push(Running::of(&replays, ledger(number)).await);
        }
        let more = ledger(REPLAYS_MAX);
        assert_eq!(replays.run(more, |_| async {}).await, Err(Busy));
        running.remove(0).end().await;
        assert_eq!(replays.run(more, |_| async { 9 }).await, Ok(9));
        for one in running {
            one.end().await;
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_ledger_takes_no_place_of_the_node() {
        let (_closing, replays) = replays();
        let first = Running::of(&replays, ledger(0)).await;
        let mut second = Box::pin(replays.run(ledger(0), |_| async { 8 }));
        tokio::select! {
            biased;
            done = &mut second => panic!("two of one ledger: {done:?}"),
            () = std::future::ready(()) => {}
        }
        let mut others = Vec::new();
        for number in 1..REPLAYS_MAX {
            others.push(Running::of(&replays, ledger(number)).await);
        }
        first.end().await;
        assert_eq!(second.await, Ok(8));
        for one in others {
            one.end().await;
        }
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_ends_and_lets_the_next_one_in() {
        let (_closing, replays) = replays();
        let (begun, has_begun) = oneshot::channel();
        let first = replays.run(ledger(1), move |budget| async move {
            begun.send(()).expect("somebody waits");
            while !budget.is_spent() {
                tokio::task::yield_now().await;
            }
        });
        tokio::select! {
            _ = first => panic!("nobody told it to end"),
            begun = has_begun => begun.expect("it begins"),
        }
        let next = replays.run(ledger(1), |budget| async move { budget.is_spent() });
        assert_eq!(next.await, Ok(false));
    }
}
