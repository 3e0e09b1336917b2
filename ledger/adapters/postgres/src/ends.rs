//! Where ledgers end, as far as that is durable: who waits for more is woken, and other nodes get a hint.
//!
//! 1. A writer [publishes](Ends::publish) what its commit made durable. Waiters of this process are woken at once.
//! 2. The same goes into a list of hints, which one `NOTIFY` tells to the other nodes ([`crate::hints`]): not more often
//!    than every few milliseconds, in a transaction of its own, never in that of an append.
//! 3. A node that hears a hint notes it, and if somebody waits for that ledger looks at the head, holds what it found
//!    until it is durable, and wakes the waiters ([`look`]). The hint itself is believed in nothing.
//! 4. Whoever waits is looked after at least every [`LOOK_INTERVAL`], hints or none: a lost one costs that much.
//!
//! While nobody waits nothing is asked of the database.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;
use ruche_ledger::wake::Wakeups;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::durable::Durable;
use crate::lend::Lender;
use crate::read;
use crate::served::ServerId;

/// Between two looks at the heads that somebody waits for.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while no hints are heard.
const DEAF_INTERVAL: Duration = Duration::from_millis(200);
/// Hints that are remembered or still to be told. All are forgotten when there are more: waiters wait for the next look.
const HINTS_MAX: usize = 16_384;

/// The ends of all ledgers, as this process knows them.
pub(crate) struct Ends {
    wakeups: Wakeups,
    durable: Arc<Durable>,
    state: Mutex<State>,
    /// Somebody began to wait, or a hint came for somebody who does.
    look: Notify,
    /// There is something to tell to other nodes.
    pub tell: Notify,
}

#[derive(Default)]
struct State {
    /// How many wait for each ledger.
    waited: HashMap<LedgerId, usize>,
    /// What other nodes say, as far as it is news.
    heard: HashMap<LedgerId, Position>,
    /// To be looked at without delay.
    due: HashSet<LedgerId>,
    /// To be told to other nodes.
    untold: HashMap<LedgerId, Position>,
    /// Hints are heard.
    listening: bool,
}

/// Counts a waiter for as long as it waits.
struct Waiting<'a> {
    ends: &'a Ends,
    ledger: LedgerId,
}

impl Ends {
    pub(crate) fn new(durable: Arc<Durable>) -> Self {
        Self {
            wakeups: Wakeups::default(),
            durable,
            state: Mutex::default(),
            look: Notify::new(),
            tell: Notify::new(),
        }
    }

    /// Tells that a commit of this process, acknowledged without a warning, made all up to `last` durable on a server.
    pub(crate) fn publish(&self, server: ServerId, ledger: LedgerId, last: Position) {
        self.durable.learn(server, ledger, last);
        self.wakeups.publish(ledger, last);
        let mut state = self.lock();
        bound(&mut state.untold);
        raise(&mut state.untold, ledger, last);
        drop(state);
        self.tell.notify_one();
    }

    /// Takes what is to be told to other nodes.
    pub(crate) fn take_untold(&self) -> HashMap<LedgerId, Position> {
        std::mem::take(&mut self.lock().untold)
    }

    /// Another node says that a ledger ends at `last`. Anybody who may connect can say so: it is a reason to look.
    pub(crate) fn hear(&self, ledger: LedgerId, last: Position) {
        if self.durable.known(ledger) >= Some(last) {
            return;
        }
        let mut state = self.lock();
        bound(&mut state.heard);
        raise(&mut state.heard, ledger, last);
        let is_waited = state.waited.contains_key(&ledger);
        if is_waited && state.due.insert(ledger) {
            drop(state);
            self.look.notify_one();
        }
    }

    /// Hints are heard from now on, or not any more. Those in between were lost: all are looked at that somebody waits for.
    pub(crate) fn set_listening(&self, listening: bool) {
        let mut state = self.lock();
        state.listening = listening;
        let waited: Vec<_> = state.waited.keys().copied().collect();
        state.due.extend(waited);
        drop(state);
        self.look.notify_one();
    }

    /// Resolves once a record that is durable stands at or behind `position`.
    pub(crate) async fn wait_for(&self, ledger: LedgerId, position: Position) -> Result<(), StoreError> {
        if let Some(known) = self.durable.known(ledger).filter(|known| *known >= position) {
            self.wakeups.publish(ledger, known);
            return Ok(());
        }
        let _waiting = self.count(ledger, position);
        Ok(self.wakeups.wait_for(ledger, position).await?)
    }

    pub(crate) fn close(&self) {
        self.wakeups.close();
    }

    /// Counts a waiter. If a hint came before it, the ledger is looked at now.
    fn count(&self, ledger: LedgerId, position: Position) -> Waiting<'_> {
        let mut state = self.lock();
        let is_first = state.waited.is_empty();
        *state.waited.entry(ledger).or_default() += 1;
        let is_due = state.heard.get(&ledger) >= Some(&position) && state.due.insert(ledger);
        drop(state);
        if is_first || is_due {
            self.look.notify_one();
        }
        Waiting { ends: self, ledger }
    }

    /// Ledgers to look at now: those that are due, or all that somebody waits for if it is time. Empty if there are none.
    fn take_due(&self, all: bool) -> Vec<LedgerId> {
        let mut state = self.lock();
        let State { waited, due, .. } = &mut *state;
        let due = std::mem::take(due);
        if all {
            waited.keys().copied().collect()
        } else {
            due.into_iter()
                .filter(|ledger| waited.contains_key(ledger))
                .collect()
        }
    }

    /// When those who wait are looked after next; `None` if nobody waits.
    fn next_look(&self, last: Instant) -> Option<Instant> {
        let state = self.lock();
        let interval = if state.listening {
            LOOK_INTERVAL
        } else {
            DEAF_INTERVAL
        };
        (!state.waited.is_empty()).then(|| last + interval)
    }

    /// The state is consistent after each statement, so a panic of another holder changes nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.ends.lock();
        if let Some(count) = state.waited.get_mut(&self.ledger) {
            *count -= 1;
            if *count == 0 {
                state.waited.remove(&self.ledger);
            }
        }
    }
}

/// Looks at heads for those who wait, for as long as the store is open. A round that fails costs latency only.
pub(crate) async fn look(ends: Arc<Ends>, lender: Lender) {
    let mut last = Instant::now();
    loop {
        let all = match ends.next_look(last) {
            None => {
                ends.look.notified().await;
                continue;
            }
            Some(next) => tokio::select! {
                () = ends.look.notified() => false,
                () = sleep_until(next) => true,
            },
        };
        if all {
            last = Instant::now();
        }
        let asked = ends.take_due(all);
        if asked.is_empty() {
            continue;
        }
        if let Err(error) = ends.look_at(&lender, &asked).await {
            tracing::warn!(%error, "heads cannot be read; readers wait longer");
        }
    }
}

impl Ends {
    async fn look_at(&self, lender: &Lender, ledgers: &[LedgerId]) -> Result<(), StoreError> {
        let heads = lender.ask(async |client| read::heads_of_server(client, Some(ledgers)).await);
        let (server, heads) = heads.await?;
        let last = |(ledger, head): (LedgerId, ruche_ledger::store::LedgerHead)| {
            head.last_position().map(|last| (ledger, last))
        };
        let grown: Vec<_> = heads
            .into_iter()
            .filter_map(last)
            .filter(|(ledger, last)| self.durable.known(*ledger) < Some(*last))
            .collect();
        lender.hold(&self.durable, server, &grown).await?;
        for (ledger, last) in grown {
            let mut state = self.lock();
            if state.heard.get(&ledger) <= Some(&last) {
                state.heard.remove(&ledger);
            }
            drop(state);
            self.wakeups.publish(ledger, last);
        }
        // Known from a read meanwhile, and nobody was woken for it.
        for ledger in ledgers {
            if let Some(known) = self.durable.known(*ledger) {
                self.wakeups.publish(*ledger, known);
            }
        }
        Ok(())
    }
}

fn raise(ends: &mut HashMap<LedgerId, Position>, ledger: LedgerId, last: Position) {
    let end = ends.entry(ledger).or_insert(last);
    *end = last.max(*end);
}

fn bound(ends: &mut HashMap<LedgerId, Position>) {
    if ends.len() >= HINTS_MAX {
        ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ledger(n: u128) -> LedgerId {
        LedgerId(Uuid::from_u128(n))
    }

    fn at(index: u64) -> Position {
        Position::new(1, index)
    }

    fn ends() -> Ends {
        Ends::new(Arc::new(Durable::new()))
    }

    #[test]
    fn nothing_is_looked_at_while_nobody_waits_and_only_what_is_waited_for() {
        let ends = ends();
        let now = Instant::now();
        ends.hear(ledger(1), at(5));
        ends.publish(ServerId(1), ledger(2), at(5));
        assert_eq!(ends.next_look(now), None);
        assert!(ends.take_due(true).is_empty() && ends.take_due(false).is_empty());
        let waiting = [ends.count(ledger(3), at(1)), ends.count(ledger(3), at(2))];
        assert_eq!(ends.next_look(now), Some(now + DEAF_INTERVAL));
        assert_eq!(ends.take_due(true), [ledger(3)]);
        ends.set_listening(true);
        assert_eq!(ends.next_look(now), Some(now + LOOK_INTERVAL));
        let [first, second] = waiting;
        drop(first);
        assert_eq!(ends.take_due(true), [ledger(3)]);
        drop(second);
        assert_eq!(ends.next_look(now), None);
        assert!(ends.take_due(true).is_empty());
    }

    #[test]
    fn a_hint_is_a_reason_to_look_if_it_is_news_for_somebody() {
        let ends = ends();
        ends.publish(ServerId(1), ledger(1), at(5));
        let _waiting = ends.count(ledger(1), at(6));
        for old in [at(4), at(5)] {
            ends.hear(ledger(1), old);
            assert!(ends.take_due(false).is_empty());
        }
        ends.hear(ledger(1), at(6));
        assert_eq!(ends.take_due(false), [ledger(1)]);
        // One that came before somebody waits is not forgotten; one that does not reach far enough is no reason.
        ends.hear(ledger(2), at(7));
        let _too_far = ends.count(ledger(2), at(8));
        assert!(ends.take_due(false).is_empty());
        let _in_reach = ends.count(ledger(2), at(7));
        assert_eq!(ends.take_due(false), [ledger(2)]);
    }

    #[test]
    fn what_is_told_to_others_is_the_last_of_each_ledger_and_told_once() {
        let ends = ends();
        for index in [3, 9, 4] {
            ends.publish(ServerId(1), ledger(1), at(index));
        }
        assert_eq!(ends.take_untold(), HashMap::from([(ledger(1), at(9))]));
        assert!(ends.take_untold().is_empty());
    }
}
