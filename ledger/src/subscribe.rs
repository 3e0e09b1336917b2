//! Catch up, then live: one combinator over `read_ledger` and `wait_for`, the same for every engine.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream;
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::SUBSCRIPTION_PAGE_RECORDS_MAX;
use ruche_domain::numbers::Position;

use crate::store::{EventStore, Record, StoreError};

struct State {
    store: Arc<dyn EventStore>,
    ledger: LedgerId,
    next: Position,
    buffered: VecDeque<Record>,
}

/// Every record from `from` on, in order, each once, for ever. Yields nothing before it is durable. Ends after an
/// error; the reader resumes behind the last record it got.
pub fn subscribe(
    store: Arc<dyn EventStore>,
    ledger: LedgerId,
    from: Position,
) -> impl Stream<Item = Result<Record, StoreError>> + Send {
    let state = State {
        store,
        ledger,
        next: from,
        buffered: VecDeque::new(),
    };
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next_record().await {
            Ok(record) => Some((Ok(record), Some(state))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl State {
    async fn next_record(&mut self) -> Result<Record, StoreError> {
        loop {
            if let Some(record) = self.buffered.pop_front() {
                self.next = record.position.next();
                return Ok(record);
            }
            let read = self
                .store
                .read_ledger(self.ledger, self.next, SUBSCRIPTION_PAGE_RECORDS_MAX)
                .await?;
            if read.is_empty() {
                // A new epoch starts behind every index of the old one, so waiting for `next` covers it.
                self.store.wait_for(self.ledger, self.next).await?;
            }
            self.buffered = read.into();
        }
    }
}
