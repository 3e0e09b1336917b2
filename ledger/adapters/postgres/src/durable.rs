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
//! Both only if it was **the same server**, from its start to its end, that was read and that committed. Any session will do,
//! since a server has one log; but in a failover a read may still be answered by the old primary, and a fence by the new one
//! already, which never had what was read. The new one may even have another record in the same place. So every read says
//! which server it was ([`ServerId`]), and of the positions that are known, those of another server are forgotten. Where a
//! read and its fence disagree, the read is refused and both connections are made anew.
//!
//! The highest such position of each ledger is kept, so only the first read behind it pays. One fence serves all who
//! wait: who comes while one is under way waits for the next, since only that one begins after their read.
//!
//! A fence that hangs, because the standby is gone, is left to hang: giving it up would leave a backend behind on the
//! server each time. Readers wait for it no longer than [`FENCE_WAIT`] and are told `Unavailable`. It is given up once
//! another server has taken the place of the one that it waits for ([`served`](crate::served)). A process that dies here
//! forgets what it knew and asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
use tokio::sync::{Notify, watch};

use crate::error::OpenError;
use crate::served::{ServerId, while_served};
use crate::session::{self, Database, Purpose, Session};

/// How long a read waits for a fence.
pub(crate) const FENCE_WAIT: Duration = Duration::from_secs(5);
/// Ledgers whose durable position is remembered. All are forgotten when there are more: each pays for a fence again.
const LEDGERS_MAX: usize = 65_536;

/// The durable positions that are known, and the way to learn more.
pub(crate) struct Durable {
    known: Mutex<Known>,
    asked: Mutex<Asked>,
    ask: Notify,
    done: watch::Sender<Done>,
}

/// Durable positions on one server.
#[derive(Default)]
struct Known {
    server: Option<ServerId>,
    positions: HashMap<LedgerId, Position>,
}

/// Fences are numbered from 1.
#[derive(Default)]
struct Asked {
    /// The next one is made on a new session: the last one was on another server than a read.
    anew: bool,
    /// The last one that began.
    begun: u64,
    /// The last one that somebody waits for.
    wanted: u64,
}

/// What came of fences.
#[derive(Clone, Default)]
struct Done {
    /// The last one that returned, and from which server.
    returned: u64,
    server: Option<ServerId>,
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
        lock(&self.known).positions.get(&ledger).copied()
    }

    /// Whether all up to these positions, which were read there, is known to be durable.
    fn knows(&self, server: ServerId, read: &[(LedgerId, Position)]) -> bool {
        let known = lock(&self.known);
        let is_known =
            |(ledger, position): &(LedgerId, Position)| known.positions.get(ledger) >= Some(position);
        read.is_empty() || (known.server == Some(server) && read.iter().all(is_known))
    }

    /// Notes that all up to `position` is durable on a server.
    pub(crate) fn learn(&self, server: ServerId, ledger: LedgerId, position: Position) {
        let mut known = lock(&self.known);
        if known.server != Some(server) {
            known.positions.clear();
            known.server = Some(server);
        }
        let known = &mut known.positions;
        if known.len() >= LEDGERS_MAX && !known.contains_key(&ledger) {
            known.clear();
        }
        let last = known.entry(ledger).or_insert(position);
        *last = position.max(*last);
    }

    /// Whether fences go to another server than this one, by what is known.
    pub(crate) fn is_elsewhere(&self, server: ServerId) -> bool {
        self.done.borrow().server.is_some_and(|fenced| fenced != server)
    }

    /// Returns once all up to these positions, which the caller has read on a server, is durable. At most one fence.
    pub(crate) async fn ensure(
        &self,
        server: ServerId,
        read: &[(LedgerId, Position)],
    ) -> Result<(), StoreError> {
        if self.knows(server, read) {
            return Ok(());
        }
        if self.fence().await? != Some(server) {
            lock(&self.asked).anew = true;
            let reason =
                "what was read may be lost: another server has taken the place of the one that was read";
            return Err(StoreError::Unavailable {
                reason: reason.to_owned(),
            });
        }
        read.iter()
            .for_each(|(ledger, position)| self.learn(server, *ledger, *position));
        Ok(())
    }

    /// Waits for a fence that begins after this call. Gives which server it was on.
    async fn fence(&self) -> Result<Option<ServerId>, StoreError> {
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
            Ok(Ok(done)) if done.returned >= mine => Ok(done.server),
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
            if std::mem::take(&mut lock(&self.asked).anew) {
                session = None;
            }
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
    fn end(&self, number: u64, fenced: Result<ServerId, String>) {
        self.done.send_modify(|done| match fenced {
            Ok(server) => (done.returned, done.server) = (number, Some(server)),
            Err(reason) => (done.failed, done.reason) = (number, reason),
        });
    }
}

/// One fence on the session, which is made if there is none and given up if it fails. Gives which server it was on.
async fn fence(session: &mut Option<Session>, database: &Database) -> Result<ServerId, String> {
    let open = match session.take().filter(|open| !open.is_closed()) {
        Some(open) => open,
        None => {
            let opened = database.session(Purpose::Append, |_| ()).await;
            opened.map_err(|error| session::unavailable(error).to_string())?
        }
    };
    let warnings = open.warnings();
    let fenced = async {
        session::fence_reads(&open)
            .await
            .map_err(OpenError::database("confirm what was read"))
    };
    let fenced = while_served(database, &open, fenced).await;
    fenced.map_err(|error| session::chain(&error))?;
    if open.warnings() != warnings {
        return Err("the wait for the standby was cancelled".into());
    }
    let server = open.server();
    *session = Some(open);
    Ok(server)
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

    const SERVER: ServerId = ServerId(1);

    fn fences(result: Result<(), String>) -> Fences {
        let durable = Arc::new(Durable::new());
        let (begun, let_go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let (this, count, gate) = (Arc::clone(&durable), Arc::clone(&begun), Arc::clone(&let_go));
        tokio::spawn(async move {
            loop {
                let number = this.begin().await;
                count.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                this.end(number, result.clone().map(|()| SERVER));
            }
        });
        Fences {
            durable,
            begun,
            let_go,
        }
    }

    impl Durable {
        async fn ensure_one(&self, server: ServerId, position: Position) -> Result<(), StoreError> {
            self.ensure(server, &[(LEDGER, position)]).await
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
        let at = |index| fences.durable.ensure_one(SERVER, Position::new(1, index));
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
        let read = failing.durable.ensure_one(SERVER, Position::new(1, 0)).await;
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
        assert_eq!(failing.durable.known(LEDGER), None);
        let hanging = fences(Ok(()));
        let read = hanging.durable.ensure_one(SERVER, Position::new(1, 0)).await;
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
        assert_eq!(hanging.durable.known(LEDGER), None);
    }

    #[tokio::test]
    async fn what_this_process_appended_needs_no_fence() {
        let fences = fences(Ok(()));
        fences.durable.learn(SERVER, LEDGER, Position::new(1, 9));
        fences.durable.learn(SERVER, LEDGER, Position::new(1, 4));
        let read = fences.durable.ensure_one(SERVER, Position::new(1, 9));
        assert_eq!(read.await, Ok(()));
        assert_eq!(fences.begun(), 0);
    }

    /// The fences are of one server, and the old primary still answers reads.
    #[tokio::test]
    async fn what_was_read_on_another_server_is_neither_known_nor_proved() {
        let fences = fences(Ok(()));
        fences.let_go.add_permits(2);
        let (at, old) = (Position::new(1, 9), ServerId(0));
        fences.durable.learn(SERVER, LEDGER, at);
        let read = fences.durable.ensure_one(old, at).await;
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
        assert_eq!(fences.begun(), 1);
        assert_eq!(fences.durable.ensure_one(SERVER, at).await, Ok(()));
        assert_eq!(fences.begun(), 1);
        // What an old server confirmed yet says nothing of the new one.
        fences.durable.learn(old, LEDGER, at);
        assert_eq!(fences.durable.ensure_one(SERVER, at).await, Ok(()));
        assert_eq!(fences.begun(), 2);
    }
}
