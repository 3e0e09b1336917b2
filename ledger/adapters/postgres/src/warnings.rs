//! What a server says beside its answers. A commit whose wait for the standby was ended by somebody else is answered as any
//! other: only a warning says that no standby may have it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use crate::error::OpenError;

/// Counts the warnings of one session. Clones count the same ones.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<AtomicU64>);

impl Warnings {
    /// How many came so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Takes note of something that came unasked. A warning is counted before the answer behind it is given out.
    pub(crate) fn hear(&self, notice: &DbError) {
        // Of the fields of a notice only the severity, which is never translated, and the text.
        if notice.parsed_severity() == Some(Severity::Warning) {
            self.0.fetch_add(1, Ordering::Release);
            tracing::warn!(text = notice.message(), "the database warns");
        }
    }

    /// Waits for something that commits, on the session that is listened to and on which nothing else happens meanwhile.
    ///
    /// # Errors
    /// `Database`; `Unconfirmed` where a warning came with the answer: it is done here, and may be lost in a failover.
    pub(crate) async fn commit<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, OpenError> {
        let before = self.count();
        let done = work.await.map_err(OpenError::database(doing))?;
        if self.count() != before {
            return Err(OpenError::Unconfirmed { doing });
        }
        Ok(done)
    }
}
