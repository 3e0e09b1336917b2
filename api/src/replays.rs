//! Replays that this node does for those who ask over the network: one at a time, on a thread of its own, and none without
//! a bound. A replay is work for a processor and not for a database; on the threads that answer, it would keep everybody
//! waiting.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ruche_replay::Budget;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::limits::{REPLAY_BYTES_MAX, REPLAY_QUEUE_WAIT_MAX, REPLAY_RECORDS_MAX, REPLAY_WAIT_MAX};
use crate::services::Shutdown;

/// Who replays.
pub struct Replays {
    one: Arc<Semaphore>,
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

impl Replays {
    /// Nobody replays yet.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            one: Arc::new(Semaphore::new(1)),
            queue_wait_max: REPLAY_QUEUE_WAIT_MAX,
            shutdown,
        }
    }

    /// Replays. What was asked for is given the budget of one replay.
    ///
    /// # Errors
    /// `Busy` where another one did not end in time.
    pub async fn run<T, F, R>(&self, replay: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce(Budget) -> R + Send + 'static,
        R: Future<Output = T>,
    {
        let turn = timeout(self.queue_wait_max, self.one.clone().acquire_owned());
        let turn = turn.await.map_err(|_| Busy)?.expect("it is never closed");
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
            drop(turn);
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
    use std::thread;

    use tokio::sync::oneshot;

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

    #[tokio::test]
    async fn a_second_one_is_refused_and_the_first_is_on_a_thread_of_its_own() {
        let (_closing, replays) = impatient();
        let (begun, has_begun) = oneshot::channel();
        let (end, may_end) = oneshot::channel::<()>();
        let here = thread::current().id();
        let first = replays.run(move |_| async move {
            begun.send(thread::current().id()).expect("somebody waits");
            drop(may_end.await);
            7
        });
        let others = async {
            assert_ne!(has_begun.await.expect("it begins"), here);
            assert_eq!(replays.run(|_| async {}).await, Err(Busy));
            end.send(()).expect("it still runs");
        };
        let (first, ()) = tokio::join!(first, others);
        assert_eq!(first, Ok(7));
        assert_eq!(replays.run(|_| async { 8 }).await, Ok(8));
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_ends_and_lets_the_next_one_in() {
        let (_closing, replays) = replays();
        let (begun, has_begun) = oneshot::channel();
        let first = replays.run(move |budget| async move {
            begun.send(()).expect("somebody waits");
            while !budget.is_spent() {
                tokio::task::yield_now().await;
            }
        });
        tokio::select! {
            _ = first => panic!("nobody told it to end"),
            begun = has_begun => begun.expect("it begins"),
        }
        assert_eq!(
            replays.run(|budget| async move { budget.is_spent() }).await,
            Ok(false)
        );
    }
}
