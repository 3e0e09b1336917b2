//! One after the other, where commands get in each other's way. Of many that decide on one stream at the same time, one
//! appends and all others decide again, so most of the work of a crowd is in vain, and who has bad luck never gets through.
//! So a command that lost once waits for its turn at the stream, and one that finds others waiting there waits behind them.
//!
//! Gates save work and decide nothing: nodes know nothing of each other's gates, and the append names versions as ever. A
//! command holds one gate at most, so no two wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener, Listener as _};
use ruche_domain::ids::LedgerId;
use ruche_domain::limits::{COMMANDS_WAITING_MAX, OVERLOADED_RETRY_AFTER_MS};
use ruche_domain::stream::StreamId;

use crate::error::CommandError;

type Key = (LedgerId, StreamId);

/// Streams at which commands take turns. One at which nobody is has no entry.
#[derive(Clone, Default)]
pub(super) struct Gates(Arc<Mutex<HashMap<Key, Gate>>>);

/// A stream at which somebody is.
#[derive(Default)]
struct Gate {
    waiting: usize,
    next: Event,
}

/// The turn of a command. Dropped, it is that of the one who has waited longest.
pub(super) struct Turn {
    gates: Gates,
    key: Key,
}

/// Who waits for a turn. Given up, it goes to the next one.
struct Waiting {
    gates: Gates,
    key: Key,
    listener: Option<EventListener>,
}

impl Gates {
    /// Whether commands take turns at a stream.
    pub fn is_busy(&self, key: Key) -> bool {
        self.lock().contains_key(&key)
    }

    /// Waits for its turn at a stream.
    ///
    /// # Errors
    /// `Overloaded` where too many wait already.
    pub async fn enter(&self, key: Key) -> Result<Turn, CommandError> {
        let mut waiting = {
            let mut gates = self.lock();
            let Some(gate) = gates.get_mut(&key) else {
                gates.insert(key, Gate::default());
                return Ok(self.turn(key));
            };
            if gate.waiting >= COMMANDS_WAITING_MAX {
                return Err(CommandError::Overloaded {
                    retry_after_ms: OVERLOADED_RETRY_AFTER_MS,
                });
            }
            gate.waiting += 1;
            Waiting {
                gates: self.clone(),
                key,
                listener: Some(gate.next.listen()),
            }
        };
        if let Some(listener) = &mut waiting.listener {
            listener.await;
        }
        // The turn was handed over.
        waiting.listener = None;
        Ok(self.turn(key))
    }

    fn turn(&self, key: Key) -> Turn {
        Turn {
            gates: self.clone(),
            key,
        }
    }

    /// The next one has its turn.
    fn pass_on(&self, key: Key) {
        let mut gates = self.lock();
        let Some(gate) = gates.get(&key) else { return };
        if gate.waiting == 0 {
            gates.remove(&key);
        } else {
            // In the order in which they began to wait.
            gate.next.notify_additional(1);
        }
    }

    /// Held for moments in which nothing panics.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Gate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(gate) = self.gates.lock().get_mut(&self.key) {
            gate.waiting -= 1;
        }
        // It was its turn already, and it does not take it.
        if self.listener.take().is_some_and(EventListener::discard) {
            self.gates.pass_on(self.key);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gates.pass_on(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use ruche_domain::stream::Category;
    use uuid::Uuid;

    use super::*;

    fn key(n: u128) -> Key {
        (
            LedgerId(Uuid::from_u128(1)),
            StreamId::new(Category::Lane, Uuid::from_u128(n)),
        )
    }

    #[tokio::test]
    async fn turns_come_in_order_and_streams_do_not_wait_for_each_other() {
        let gates = Gates::default();
        let first = gates.enter(key(1)).await.unwrap();
        let other = gates.enter(key(2)).await.unwrap();
        let order = Mutex::new(Vec::new());
        let wait = async |n: usize| {
            let turn = gates.enter(key(1)).await.unwrap();
            order.lock().unwrap().push(n);
            tokio::task::yield_now().await;
            drop(turn);
        };
        let leave = async {
            tokio::task::yield_now().await;
            assert!(order.lock().unwrap().is_empty());
            drop(first);
        };
        let all = async { tokio::join!(wait(0), wait(1), wait(2), leave) };
        let bound = std::time::Duration::from_secs(30);
        tokio::time::timeout(bound, all)
            .await
            .expect("nobody is forgotten");
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        drop(other);
        assert!(
            gates.lock().is_empty(),
            "a stream at which nobody is takes no memory"
        );
    }

    #[tokio::test]
    async fn who_gives_up_keeps_nobody_waiting() {
        let gates = Gates::default();
        let first = gates.enter(key(1)).await.unwrap();
        {
            let mut second = pin!(gates.enter(key(1)));
            let mut third = Box::pin(gates.enter(key(1)));
            assert!(waits(&mut second).await && waits(&mut third).await, "both wait");
            // The second is given its turn and is gone before it takes it.
            drop(first);
            drop(third);
        }
        assert!(!gates.is_busy(key(1)));
        let alone = gates.enter(key(1)).await.unwrap();
        drop(alone);
        assert!(gates.lock().is_empty());
    }

    #[tokio::test]
    async fn the_queue_has_an_end() {
        let gates = Gates::default();
        let _first = gates.enter(key(1)).await.unwrap();
        let mut waiting: Vec<_> = (0..COMMANDS_WAITING_MAX)
            .map(|_| Box::pin(gates.enter(key(1))))
            .collect();
        for one in &mut waiting {
            assert!(waits(one).await);
        }
        let refused = gates.enter(key(1)).await.err().unwrap();
        assert_eq!((refused.code(), refused.retryable()), ("OVERLOADED", true));
        waiting.pop();
        assert!(
            waits(&mut Box::pin(gates.enter(key(1)))).await,
            "there is room again"
        );
    }

    /// Whether a future does not end by now.
    async fn waits<F: Future + Unpin>(future: &mut F) -> bool {
        let mut future = std::pin::Pin::new(future);
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending()))
            .await
    }
}
