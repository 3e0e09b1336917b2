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
                "what was read is not known to be durable: no standby has confirmed it for {} s",
                FENCE_WAIT.as_secs()
            )),
        }
    }

    /// Does what is asked for, one fence at a time, for as long as the store is open.
    pub(crate) async fn run(self: Arc<Self>, database: Database) {
        let mut session = None;
        loop {
            let Some(number) = self.next() else {
                self.ask.notified().await;
                continue;
            };
            let fenced = fence(&mut session, &database).await;
            if let Err(reason) = &fenced {
                tracing::warn!(reason, "a fence failed; readers are refused");
                session = None;
            }
            self.done.send_modify(|done| match fenced {
                Ok(()) => done.returned = number,
                Err(reason) => (done.failed, done.reason) = (number, reason),
            });
        }
    }

    /// Begins the next fence, if anybody waits for it.
    fn next(&self) -> Option<u64> {
        let mut asked = lock(&self.asked);
        let next = asked.begun + 1;
        (asked.wanted >= next).then(|| {
            asked.begun = next;
            next
        })
    }
}

/// One fence on the session, which is made if there is none.
async fn fence(session: &mut Option<Session>, database: &Database) -> Result<(), String> {
    let session = match session {
        Some(open) if !open.is_closed() => open,
        none => {
            let opened = database.session(Purpose::Append, |_| ()).await;
            none.insert(opened.map_err(|error| session::unavailable(error).to_string())?)
        }
    };
    let warnings = session.warnings();
    session::fence(session).await.map_err(|error| error.to_string())?;
    if session.warnings() != warnings {
        return Err("the wait for the standby was cancelled".into());
    }
    Ok(())
}

/// Each change is one assignment, so a panic of another holder changes nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
