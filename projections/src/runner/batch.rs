//! One run: a batch of events is read once, and each projection makes the step that it is at.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::{join, join_all};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::store::StoreError;

use super::lane::{Advance, Lane};
use super::{Kept, Run, RunError, Runner};
use crate::event::ProjectedEvent;
use crate::store::ReadStoreError;

/// Events that are read from their bytes at once, before steps that are under way are seen to.
const EVENTS_AT_ONCE: usize = 64;

/// Events that were read before they were needed.
pub(super) struct Ahead {
    from: Position,
    events: Vec<ProjectedEvent>,
}

impl Run {
    /// Counts what became of the steps of some lanes. Gives the first error.
    fn count(&mut self, advances: Vec<Result<Advance, ReadStoreError>>) -> Option<ReadStoreError> {
        let mut first_error = None;
        for advance in advances {
            match advance {
                Ok(Advance { applied, failing }) => {
                    self.events_applied += applied;
                    self.failing += usize::from(failing);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error
    }
}

impl Runner {
    pub(super) async fn batch(
        &self,
        ledger: LedgerId,
        kept: &mut Kept,
        until: &HashMap<&'static str, Position>,
    ) -> Result<Run, RunError> {
        let Kept { lanes, ahead } = kept;
        let parked = lanes.iter().filter(|lane| lane.is_parked()).count();
        let mut run = Run {
            parked,
            ..Run::default()
        };
        let Some(from) = lanes.iter().filter_map(|lane| goes_on(lane, until)).min() else {
            return Ok(run);
        };
        let read = match ahead.take().filter(|ahead| ahead.from == from) {
            Some(ahead) => Ok(ahead.events),
            None => self.read(ledger, from).await,
        };
        let (events, unread) = match read {
            Ok(events) => (events, None),
            // Those that are in front may need none of what cannot be read: its archive is not at hand, for example.
            Err(error) => (Vec::new(), Some(error)),
        };
        run.records_read = events.len();
        // One that is far behind, because it was paused or is new, does not hold up those that are ahead of all this.
        let reached = events.last().map_or(from, |last| last.record.position.next());
        let in_front = lanes.iter().filter_map(|lane| goes_on(lane, until));
        let front = in_front.filter(|next| *next > reached).min();

        let (advances, next) = self.advance_all(ledger, lanes, &events, until).await;
        *ahead = next;
        let mut first_error = run.count(advances);
        if let Some(front) = front {
            let events = self.read(ledger, front).await.map_err(RunError::Ledger)?;
            let those = lanes.iter_mut();
            let those = those.filter(|lane| lane.next().is_some_and(|next| next >= front));
            let steps = those.map(|lane| {
                let events = of_lane(lane, &events, until);
                lane.advance(self.store.as_ref(), ledger, events)
            });
            first_error = first_error.or(run.count(join_all(steps).await));
        }
        run.parked = lanes.iter().filter(|lane| lane.is_parked()).count();
        match (unread, first_error) {
            (Some(error), _) => Err(RunError::Ledger(error)),
            (None, Some(error)) => Err(RunError::ReadModels(error)),
            (None, None) => Ok(run),
        }
    }

    /// One lane after the other makes its step, and the next batch is read behind them. After each of these the steps that
    /// were handed over before are seen to: the store waits for nothing while we are at work.
    async fn advance_all(
        &self,
        ledger: LedgerId,
        lanes: &mut [Lane],
        events: &[ProjectedEvent],
        until: &HashMap<&'static str, Position>,
    ) -> (Vec<Result<Advance, ReadStoreError>>, Option<Ahead>) {
        let behind_all = lanes.len();
        let steps = lanes.iter_mut().enumerate().map(|(turn, lane)| {
            let events = of_lane(lane, events, until);
            async move {
                give_way(turn).await;
                lane.advance(self.store.as_ref(), ledger, events).await
            }
        });
        let ahead_of = async {
            give_way(behind_all).await;
            self.read_ahead(ledger, events).await
        };
        join(join_all(steps), ahead_of).await
    }

    async fn read(&self, ledger: LedgerId, from: Position) -> Result<Vec<ProjectedEvent>, StoreError> {
        let records = self.feed.read_ledger(ledger, from, self.batch_events_max).await?;
        let mut events = Vec::with_capacity(records.len());
        for (n, record) in records.into_iter().enumerate() {
            if n % EVENTS_AT_ONCE == 0 {
                give_way(1).await;
            }
            events.push(ProjectedEvent::new(ledger, record));
        }
        Ok(events)
    }

    /// Reads what is behind a full batch. An error is left to the run that needs the events and reads them again.
    async fn read_ahead(&self, ledger: LedgerId, events: &[ProjectedEvent]) -> Option<Ahead> {
        let full = events.len() == self.batch_events_max;
        let from = events.last().filter(|_| full)?.record.position.next();
        let events = self.read(ledger, from).await.ok()?;
        Some(Ahead { from, events })
    }
}

/// The event that a lane waits for, unless it is not to go there.
fn goes_on(lane: &Lane, until: &HashMap<&'static str, Position>) -> Option<Position> {
    let end = until.get(lane.name());
    let limited = !until.is_empty();
    lane.next().filter(|next| end.map_or(!limited, |end| next <= end))
}

/// Those of some events that a lane is to be given.
fn of_lane<'e>(
    lane: &Lane,
    events: &'e [ProjectedEvent],
    until: &HashMap<&'static str, Position>,
) -> &'e [ProjectedEvent] {
    let end = until.get(lane.name()).copied();
    match !until.is_empty() && end.is_none() {
        true => &[],
        false => up_to(events, end),
    }
}

fn up_to(events: &[ProjectedEvent], end: Option<Position>) -> &[ProjectedEvent] {
    let Some(end) = end else { return events };
    &events[..events.partition_point(|event| event.record.position <= end)]
}

/// Lets the other futures of the same task run, so often.
async fn give_way(mut times: usize) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
