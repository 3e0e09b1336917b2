//! A few connections of which each serves one piece of work at a time, and whose warnings are heard: for what is committed
//! rarely and relied on, promises and halts.
//!
//! A commit that waits for a standby that is gone is left to wait, in a task of its own and with its connection: giving it
//! up would leave a backend behind on the server each time. Whoever asked for it is told after [`ANSWER_WAIT`] that nobody
//! knows. When all connections wait, others are told as soon that there is none. So no more than a few ever wait. What waits
//! on a server that was replaced is given up ([`served`](crate::served)).

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::error::OpenError;
use crate::served::while_served;
use crate::session::{Database, Purpose, SESSION_TIMEOUT, Session};

/// Waiting for a connection that is free, and again for what is done on it once it is there, unless it is said how long.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// The connections. They are made when they are needed.
pub(crate) struct Lines {
    database: Database,
    purpose: Purpose,
    /// How long whoever asks for something waits for it.
    answer_wait: Duration,
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Arc<Session>>>>,
}

impl Lines {
    /// At most `size` connections to a database.
    pub(crate) fn new(database: Database, purpose: Purpose, size: usize) -> Self {
        Self::patient(database, purpose, size, ANSWER_WAIT)
    }

    /// As [`Lines::new`], for work that may take as long as `answer_wait`.
    pub(crate) fn patient(database: Database, purpose: Purpose, size: usize, answer_wait: Duration) -> Self {
        Self {
            database,
            purpose,
            answer_wait,
            free: Arc::new(Semaphore::new(size)),
            idle: Arc::default(),
        }
    }

    /// Does something on a connection that nobody else has meanwhile. A connection on which it failed is not used again.
    ///
    /// # Errors
    /// Those of the work, and of a connection that cannot be made. `NoAnswer` if it may be done, now or later.
    pub(crate) async fn run<T, W>(
        &self,
        work: impl FnOnce(Arc<Session>) -> W + Send + 'static,
    ) -> Result<T, OpenError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, OpenError>> + Send + 'static,
    {
        let no_answer = || OpenError::NoAnswer {
            seconds: self.answer_wait.as_secs(),
        };
        let free = timeout(self.answer_wait, Arc::clone(&self.free).acquire_owned()).await;
        let Ok(Ok(permit)) = free else {
            return Err(no_answer());
        };
        let (database, purpose, idle) = (self.database.clone(), self.purpose, Arc::clone(&self.idle));
        let (opened, is_open) = oneshot::channel::<()>();
        // A caller that goes away leaves it to end by itself.
        let task = tokio::spawn(async move {
            let open = lock(&idle).pop().filter(|session| !session.is_closed());
            let session = match open {
                Some(session) => session,
                None => Arc::new(database.session(purpose, |_| ()).await?),
            };
            drop(opened);
            let done = while_served(&database, &session, work(Arc::clone(&session))).await?;
            lock(&idle).push(session);
            drop(permit);
            Ok(done)
        });
        // A session takes longer where a host of the URL does not answer and the next is tried.
        if timeout(SESSION_TIMEOUT, is_open).await.is_err() {
            return Err(no_answer());
        }
        match timeout(self.answer_wait, task).await {
            Ok(Ok(done)) => done,
            // Nobody knows how far a task came that panicked, either.
            Ok(Err(_)) | Err(_) => Err(no_answer()),
        }
    }
}

/// Each change is one statement, so a panic of another holder changes nothing.
fn lock(idle: &Mutex<Vec<Arc<Session>>>) -> MutexGuard<'_, Vec<Arc<Session>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
