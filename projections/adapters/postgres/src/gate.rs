//! How many may use connections of a kind at once, and how many may wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use ruche_projections::store::ReadStoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Waiting for one's turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Lets a bounded number through, and a bounded number wait for a bounded time.
pub(crate) struct Gate {
    permits: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// One that waits; no longer when it is dropped.
struct Waiting<'g>(&'g AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(permits: usize, waiting_max: usize) -> Self {
        Self {
            permits: Semaphore::new(permits),
            waiting: AtomicUsize::new(0),
            waiting_max,
        }
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    ///
    /// # Errors
    /// `Overloaded` when too many wait or it takes too long; nothing was done.
    pub(crate) async fn enter(&self) -> Result<SemaphorePermit<'_>, ReadStoreError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            return Err(overloaded());
        }
        match tokio::time::timeout(TURN_WAIT, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ReadStoreError::Unavailable("they are closing".into())),
            Err(_) => Err(overloaded()),
        }
    }
}

/// Nothing was done; try again.
pub(crate) fn overloaded() -> ReadStoreError {
    ReadStoreError::Overloaded {
        retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused() {
        let gate = Gate::new(1, 1);
        let held = gate.enter().await.unwrap();
        let mut second = std::pin::pin!(gate.enter());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(gate.enter().await.err(), Some(overloaded()));
        drop(held);
        assert!(second.await.is_ok());
        assert!(gate.enter().await.is_ok());
    }
}
