//! What may be handed out: nothing that a failover can still take back.
//!
//! On a cluster with synchronous standbys a row becomes visible once a standby has it, but for two cases: the wait for the
//! standby was cancelled (`pg_cancel_backend`, a shutdown), or the primary crashed in the middle of the wait and was
//! started again. Then the row can be read here, no standby has it, and a failover loses it. A signature over it would
//! be a fork, and a subscriber would know a record that never was.
//!
//! So whatever was read is held back until it is known to be durable. That is known of a position
//! * if an append of this process at or behind it was acknowledged without a warning: the log is replicated in order;
//! * if a fence, a commit of its own on a direct connection, that **began after the read** has returned.
//!
//! The highest such position of each ledger is kept, so only the first read behind it pays. One fence serves all who
//! wait: who comes while one is under way waits for the next, since only that one begins after their read.
//!
//! A fence that hangs, because the standby is gone, is left to hang: giving it up would leave a backend behind on the
//! server each time. Readers wait for it no longer than [`FENCE_WAIT`] and are told `Unavailable`. A process that dies
//! here forgets what it knew and asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
use tokio::sync::{Notify, watch};

use crate::session::{self, Database, Purpose, Session};

/// How long a read waits for a fence.
pub(crate) const FENCE_WAIT: Duration = Duration::from_secs(5);
/// Ledgers whose durable position is remembered. All are forgotten when there are more: each pays for a fence again.
const LEDGERS_MAX: usize = 65_536;

/// The durable positions that are known, and the way to learn more.
pub(crate) struct Durable {
    known: Mutex<HashMap<LedgerId, Position>>,
    asked: Mutex<Asked>,
    ask: Notify,
    done: watch::Sender<Done>,
}

/// Fences are numbered from 1.
#[derive(Default)]
struct Asked {
    /// The last one that began.
    begun: u64,
    /// The last one that somebody waits for.
    wanted: u64,
}

/// What came of fences.
#[derive(Clone, Default)]
struct Done {
    /// The last one that returned.
    returned: u64,
    /// The last one that failed, and why.
    failed: u64,
    reason: String,
}

impl Durable {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::default(),
            asked: Mutex::default(),
            ask: Notify::new(),
            done: watch::Sender::default(),
        }
    }

    /// The last position of a ledger that is known to be durable.
    pub(crate) fn known(&self, ledger: LedgerId) -> Option<Position> {
        lock(&self.known).get(&ledger).copied()
    }

    /// Notes that all up to `position` is durable.
    pub(crate) fn learn(&self, ledger: LedgerId, position: Position) {
        let mut known = lock(&self.known);
        if known.len() >= LEDGERS_MAX && !known.contains_key(&ledger) {
            known.clear();
        }
        let last = known.entry(ledger).or_insert(position);
        *last = position.max(*last);
    }

    /// Returns once all up to `position`, which the caller has read, is durable.
    pub(crate) async fn ensure(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        self.ensure_all(&[(ledger, position)]).await
    }

    /// As [`Durable::ensure`], for several ledgers that were read: at most one fence.
    pub(crate) async fn ensure_all(&self, read: &[(LedgerId, Position)]) -> Result<(), StoreError> {
        if read
            .iter()
            .all(|(ledger, position)| self.known(*ledger) >= Some(*position))
        {
            return Ok(());
        }
        self.fence().await?;
        read.iter()
            .for_each(|(ledger, position)| self.learn(*ledger, *position));
        Ok(())
    }

    /// Waits for a fence that begins after this call.
    async fn fence(&self) -> Result<(), StoreError> {
        let mut done = self.done.subscribe();
        let mine = {
            let mut asked = lock(&self.asked);
            let mine = asked.begun + 1;
            asked.wanted = mine.max(asked.wanted);
            mine
        };
        self.ask.notify_one();
        let unavailable = |reason| Err(StoreError::Unavailable { reason });
        let ended = done.wait_for(|done| done.returned >= mine || done.failed >= mine);
        match tokio::time::timeout(FENCE_WAIT, ended).await {
            Ok(Ok(done)) if done.returned >= mine => Ok(()),
            Ok(Ok(done)) => unavailable(format!(
                "what was read is not known to be durable: {}",
                done.reason
            )),
            Ok(Err(_)) => unavailable("the store is closed".into()),
            Err(_) => unavailable(format!(
                "what was read is not known to be durable: a fence has not returned for {} s",
                FENCE_WAIT.as_secs()
            )),
        }
    }

    /// Does what is asked for, one fence at a time, for as long as the store is open.
    pub(crate) async fn run(self: Arc<Self>, database: Database) {
        let mut session = None;
        loop {
            let number = self.begin().await;
            let fenced = fence(&mut session, &database).await;
            if let Err(reason) = &fenced {
                tracing::warn!(reason, "a fence failed; readers are refused");
            }
            self.end(number, fenced);
        }
    }

    /// Begins the next fence as soon as anybody waits for it.
    async fn begin(&self) -> u64 {
        loop {
            {
                let mut asked = lock(&self.asked);
                let next = asked.begun + 1;
                if asked.wanted >= next {
                    asked.begun = next;
                    return next;
                }
            }
            self.ask.notified().await;
        }
    }

    /// Tells those who wait what came of a fence.
    fn end(&self, number: u64, fenced: Result<(), String>) {
        self.done.send_modify(|done| match fenced {
            Ok(()) => done.returned = number,
            Err(reason) => (done.failed, done.reason) = (number, reason),
        });
    }
}

/// One fence on the session, which is made if there is none and given up if it fails.
async fn fence(session: &mut Option<Session>, database: &Database) -> Result<(), String> {
    let open = match session.take().filter(|open| !open.is_closed()) {
        Some(open) => open,
        None => {
            let opened = database.session(Purpose::Append, |_| ()).await;
            opened.map_err(|error| session::unavailable(error).to_string())?
        }
    };
    let warnings = open.warnings();
    session::fence_reads(&open)
        .await
        .map_err(|error| error.to_string())?;
    if open.warnings() != warnings {
        return Err("the wait for the standby was cancelled".into());
    }
    *session = Some(open);
    Ok(())
}

/// Each change is one assignment, so a panic of another holder changes nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::future::{join, join_all};
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;

    const LEDGER: LedgerId = LedgerId(Uuid::from_u128(1));

    /// Runs fences that return once they are let, and counts how many began.
    struct Fences {
        durable: Arc<Durable>,
        begun: Arc<AtomicU64>,
        let_go: Arc<Semaphore>,
    }

    fn fences(result: Result<(), String>) -> Fences {
        let durable = Arc::new(Durable::new());
        let (begun, let_go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let (this, count, gate) = (Arc::clone(&durable), Arc::clone(&begun), Arc::clone(&let_go));
        tokio::spawn(async move {
            loop {
                let number = this.begin().await;
                count.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                this.end(number, result.clone());
            }
        });
        Fences {
            durable,
            begun,
            let_go,
        }
    }

    impl Fences {
        fn begun(&self) -> u64 {
            self.begun.load(Ordering::SeqCst)
        }
    }

    /// Lets all other tasks of the test come to their next wait.
    async fn others_go_on() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_comes_during_a_fence_waits_for_the_next_one_and_all_share_it() {
        let fences = fences(Ok(()));
        let at = |index| fences.durable.ensure(LEDGER, Position::new(1, index));
        let first = at(5);
        let others = async {
            others_go_on().await;
            assert_eq!(fences.begun(), 1);
            let late = join_all((0..50).map(|n| at(6 + n)));
            let steps = async {
                others_go_on().await;
                fences.let_go.add_permits(1);
                others_go_on().await;
                // The first fence returned, and told nobody but the first reader.
                assert_eq!(fences.durable.known(LEDGER), Some(Position::new(1, 5)));
                assert_eq!(fences.begun(), 2);
                fences.let_go.add_permits(1);
            };
            join(late, steps).await.0
        };
        let (first, late) = join(first, others).await;
        assert_eq!(first, Ok(()));
        assert!(late.iter().all(Result::is_ok));
        assert_eq!(fences.begun(), 2);
        // Whatever is not behind that costs nothing.
        assert_eq!(at(55).await, Ok(()));
        assert_eq!(at(3).await, Ok(()));
        assert_eq!(fences.begun(), 2);
    }

    #[tokio::test]
    async fn a_fence_that_fails_or_hangs_lets_nobody_through() {
        let failing = fences(Err("no".into()));
        failing.let_go.add_permits(1);
        let read = failing.durable.ensure(LEDGER, Position::new(1, 0)).await;
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
        assert_eq!(failing.durable.known(LEDGER), None);
        let hanging = fences(Ok(()));
        let read = hanging.durable.ensure(LEDGER, Position::new(1, 0)).await;
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
        assert_eq!(hanging.durable.known(LEDGER), None);
    }

    #[tokio::test]
    async fn what_this_process_appended_needs_no_fence() {
        let fences = fences(Ok(()));
        fences.durable.learn(LEDGER, Position::new(1, 9));
        fences.durable.learn(LEDGER, Position::new(1, 4));
        assert_eq!(fences.durable.ensure(LEDGER, Position::new(1, 9)).await, Ok(()));
        assert_eq!(fences.begun(), 0);
    }
}
