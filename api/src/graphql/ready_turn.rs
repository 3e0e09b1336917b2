//! Turns that got ready, as they do: what a program that hands out work to the workers of an agent listens to.

use std::collections::HashSet;
use std::time::Duration;

use async_graphql::{ID, Result, SimpleObject};
use futures_util::{Stream, stream};
use ruche_domain::ids::TurnId;
use ruche_domain::numbers::Micros;
use ruche_projections::lanes::{self, Ready};

use super::lane::LaneName;
use super::read::{Reading, of_read_store};
use super::scalars::DateTime;
use super::session::id;
use crate::limits::{CLAIM_LOOK_INTERVAL, READY_TURNS_TOLD_MAX};
use crate::ready_turns::Waiter;

/// A turn that waits for a worker.
#[derive(SimpleObject)]
pub(super) struct ReadyTurn {
    /// The turn.
    turn_id: ID,
    /// Its lane, as commands name it.
    lane: LaneName,
    /// From when it may be claimed.
    not_before: DateTime,
}

/// Who listens, and what was told.
struct Listener {
    reading: Reading,
    agent: String,
    channel: Option<String>,
    waiter: Waiter,
    /// Those that are ready still. A turn gets ready again after an attempt that failed, at another time.
    told: HashSet<(TurnId, Micros)>,
    untold: Vec<Ready>,
}

/// First the turns of an agent that may be claimed now, then each that gets so.
pub(super) fn listen(
    reading: Reading,
    agent: String,
    channel: Option<String>,
) -> impl Stream<Item = Result<ReadyTurn>> {
    let ready = &reading.services.ready_turns;
    let waiter = ready.listen(reading.ledger, &agent, channel.as_deref());
    let listener = Listener {
        reading,
        agent,
        channel,
        waiter,
        told: HashSet::new(),
        untold: Vec::new(),
    };
    stream::unfold(Some(listener), |listener| async move {
        let mut listener = listener?;
        match listener.next().await {
            Ok(turn) => Some((Ok(turn), Some(listener))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Listener {
    async fn next(&mut self) -> Result<ReadyTurn> {
        loop {
            while let Some(ready) = self.untold.pop() {
                if let Some(turn) = self.told(&ready).await? {
                    return Ok(turn);
                }
            }
            let next = self.look().await?;
            if self.untold.is_empty() {
                let _told = self.waiter.told(next).await;
            }
        }
    }

    /// Looks for turns that were not told, and says how long it is until the next look.
    async fn look(&mut self) -> Result<Duration> {
        let (store, channel) = (self.reading.store(), self.channel.as_deref());
        let found = lanes::ready(
            store,
            self.reading.ledger,
            &self.agent,
            channel,
            READY_TURNS_TOLD_MAX,
        )
        .await;
        let found = found.map_err(|error| of_read_store(&error))?;
        let now = self.reading.services.clock.now();
        let key = |ready: &Ready| (ready.turn, ready.not_before);
        let still: HashSet<_> = found.iter().map(key).collect();
        self.told.retain(|told| still.contains(told));
        let is_untold = |ready: &&Ready| ready.not_before <= now && !self.told.contains(&key(ready));
        // Taken from the end: the longest waiting is told first.
        self.untold = found.iter().rev().filter(is_untold).copied().collect();
        let later = found.iter().map(|ready| ready.not_before).find(|at| *at > now);
        let later = later.map(|at| Duration::from_micros(at.0 - now.0));
        Ok(later.map_or(CLAIM_LOOK_INTERVAL, |later| later.min(CLAIM_LOOK_INTERVAL)))
    }

    async fn told(&mut self, ready: &Ready) -> Result<Option<ReadyTurn>> {
        self.told.insert((ready.turn, ready.not_before));
        let lane = lanes::by_id(self.reading.store(), self.reading.ledger, ready.lane).await;
        let lane = lane.map_err(|error| of_read_store(&error))?;
        Ok(lane.map(|lane| ReadyTurn {
            turn_id: id(ready.turn),
            lane: LaneName::from(&lane),
            not_before: DateTime(ready.not_before),
        }))
    }
}
