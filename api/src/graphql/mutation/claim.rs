//! Claims: of the turn of a lane, or of whatever turn of an agent waits longest, with a wait for one that gets ready.
//!
//! For an agent the read model of lanes says which are worth a try, the longest waiting first. Of those who look at the same
//! time on a node each tries another one; elsewhere another worker may be faster, and then the next one is tried. The key of
//! the claim belongs to the request and not to the lane, so a claim that is repeated gets the turn that the first one got.

use std::time::Duration;

use async_graphql::Result;
use metrics::counter;
use ruche_commands::governed::ClaimTurnOfAgent;
use ruche_commands::{CommandContext, CommandError, CommandReceipt};
use ruche_domain::envelope::Provenance;
use ruche_domain::ids::{LaneId, LedgerId, TurnId};
use ruche_domain::numbers::{LeafIndex, Position};
use ruche_projections::lanes;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::lane::LaneName;
use super::super::read::of_read_store;
use super::super::refusals::{self, Refusal};
use super::lane_input::{ClaimTurnInput, Claimed};
use super::{Writing, command_context};
use crate::handed_out::Out;
use crate::limits::{CLAIM_LOOK_INTERVAL, CLAIM_RETRY_INTERVAL, CLAIM_TURNS_TRIED_MAX};
use crate::ready_turns::Waiter;

type Done = std::result::Result<CommandReceipt, CommandError>;

/// What became of the turns that were ready.
enum Tried {
    /// One was claimed, or the request is refused whatever is ready.
    Done(Done),
    /// All that were looked at are out of the way by now: other claims of this node have them, or nobody can decide on them
    /// and they are passed over from now on. Others may be ready behind them.
    Behind,
    /// None was to be had.
    Nothing {
        /// How long it is until it is worth another try, where that is known.
        next: Option<Duration>,
    },
}

impl Writing<'_> {
    /// Carries out `claimTurn`.
    pub(super) async fn claim(
        &self,
        input: ClaimTurnInput,
    ) -> Result<std::result::Result<CommandReceipt, Refusal>> {
        let context = command_context(self.caller, Provenance::Attested, &input.idempotency_key);
        let (claimed, wait) = match input.read() {
            Ok(read) => read,
            Err(refused) => return refusals::of(&refused).map(Err),
        };
        let deadline = Instant::now() + wait;
        let mut waiter = None;
        let closing = || self.services.shutdown.has_begun();
        loop {
            let looked_at = self.lanes_position();
            let (done, next) = match &claimed {
                Claimed::Lane(claim) => (self.services.commands.execute(&context, claim).await, None),
                Claimed::Agent(claim) => self.claim_of_agent(&context, claim).await?,
            };
            match done {
                Ok(receipt) => {
                    waiter.into_iter().for_each(Waiter::served);
                    return Ok(Ok(receipt));
                }
                Err(error) if may_change(&error) && Instant::now() < deadline && !closing() => {}
                // Of an agent only who looked at its lanes knows when a turn may be claimed.
                Err(error) => return refusals::of(&error.worth_a_try_in(next)).map(Err),
            }
            let next = next.map_or(deadline, |wait| deadline.min(Instant::now() + wait));
            match (&claimed, &waiter) {
                (Claimed::Lane(_), _) => self.wait_for_lanes(looked_at, next).await,
                (Claimed::Agent(_), Some(waiter)) => self.wait_for_turn(waiter, next).await,
                // Looks once more, since it is told of what gets ready from now on.
                (Claimed::Agent(claim), None) => waiter = Some(self.waiter(claim)),
            }
        }
    }

    /// A turn of an agent that is ready. Where none is to be had, says what an earlier claim under the key got, or that
    /// nothing is ready, and how long it is until a turn may be claimed.
    async fn claim_of_agent(
        &self,
        context: &CommandContext,
        claim: &ClaimTurnOfAgent,
    ) -> Result<(Done, Option<Duration>)> {
        loop {
            match self.try_ready(context, claim).await? {
                Tried::Done(done) => return Ok((done, None)),
                // Each time it looks at as many more as are out of the way, and there is room for so many: it ends.
                Tried::Behind => {}
                Tried::Nothing { next } => {
                    return Ok((self.services.commands.execute(context, claim).await, next));
                }
            }
        }
    }

    /// Tries the turns of an agent that are ready, one after the other.
    async fn try_ready(&self, context: &CommandContext, claim: &ClaimTurnOfAgent) -> Result<Tried> {
        let (ledger, store) = (context.ledger, self.services.runner.store());
        let channel = claim.channel.as_deref();
        let passed = self.services.passed_over.of(ledger, std::time::Instant::now());
        let began = std::time::Instant::now();
        let handed_out = &self.services.handed_out;
        let out = handed_out.count(ledger, &claim.agent, self.lanes_position(), began);
        let most = CLAIM_TURNS_TRIED_MAX + passed.len() + out;
        let found = lanes::ready(&**store, ledger, &claim.agent, channel, most).await;
        let mut found = found.map_err(|error| of_read_store(&error))?;
        let now = self.services.clock.now();
        let may_be_more = found.len() == most && found.iter().all(|ready| ready.not_before <= now);
        found.retain(|ready| !passed.contains(&ready.lane));
        let (mut tried, mut passes, mut tries) = (false, false, 0);
        for ready in found.iter().filter(|ready| ready.not_before <= now) {
            let hand = match handed_out.take(ledger, &claim.agent, ready.lane, ready.turn) {
                Ok(hand) => hand,
                Err(out) => {
                    // Who tries it may fail, and nobody is told of it then.
                    tried |= out == Out::Tried;
                    continue;
                }
            };
            tries += 1;
            let claim = ClaimTurnOfAgent {
                lane: Some(ready.lane),
                ..claim.clone()
            };
            match self.services.commands.execute(context, &claim).await {
                Err(error) if is_not_ready(&error) => tried = true,
                // One lane that nobody can decide on is no reason to keep the workers from all others.
                Err(error) if is_undecidable(&error) => {
                    counter!("ruche_undecidable_claims_total").increment(1);
                    let error = crate::error::chain(&error);
                    tracing::error!(%ledger, lane = %ready.lane, %error, "a turn that is ready cannot be claimed");
                    let now = std::time::Instant::now();
                    passes |= self.services.passed_over.add(ledger, ready.lane, now);
                }
                done => {
                    let fresh = done.as_ref().ok().filter(|receipt| !receipt.duplicate);
                    if let Some((at, turn)) = fresh.and_then(claimed) {
                        hand.claimed(at, turn, std::time::Instant::now());
                    }
                    return Ok(Tried::Done(done));
                }
            }
            if tries == CLAIM_TURNS_TRIED_MAX {
                break;
            }
        }
        if passes || (tries == 0 && may_be_more) {
            return Ok(Tried::Behind);
        }
        let next = found.iter().map(|ready| ready.not_before).find(|at| *at > now);
        let next = next.map(|at| Duration::from_micros(at.0 - now.0));
        // What was tried, here or by another claim, is not in the read model as it is by now, or may still be had.
        let next = if tried { Some(CLAIM_RETRY_INTERVAL) } else { next };
        Ok(Tried::Nothing { next })
    }

    /// Whoever waits for the turns of an agent is told of one.
    fn waiter(&self, claim: &ClaimTurnOfAgent) -> Waiter {
        let ledger = self.caller.principal.ledger();
        let ready = &self.services.ready_turns;
        ready.wait_to_claim(ledger, &claim.agent, claim.channel.as_deref())
    }

    /// Waits until a turn of the agent gets ready, but no longer than `until`, nor when the process closes.
    async fn wait_for_turn(&self, waiter: &Waiter, until: Instant) {
        let most = until
            .saturating_duration_since(Instant::now())
            .min(CLAIM_LOOK_INTERVAL);
        tokio::select! {
            _told = waiter.told(most) => {}
            () = self.services.shutdown.begun() => {}
        }
    }

    fn lanes_position(&self) -> Option<Position> {
        let states = self
            .services
            .runner
            .progress()
            .states(self.caller.principal.ledger());
        let state = states.iter().find(|state| state.projection == "lanes")?;
        state.checkpoint.position
    }

    /// Waits until the read model of lanes has moved on, but no longer than `until`, nor when the process closes.
    async fn wait_for_lanes(&self, looked_at: Option<Position>, until: Instant) {
        let next = looked_at.map_or(Position::START, |at| Position {
            index: LeafIndex(at.index.0 + 1),
            ..at
        });
        let ledger = self.caller.principal.ledger();
        let moved = async {
            sleep(CLAIM_RETRY_INTERVAL).await;
            let progress = self.services.runner.progress();
            if progress.wait_for(ledger, &["lanes"], next).await.is_err() {
                // Parked: it does not move before a person has looked.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            moved = timeout_at(until, moved) => drop(moved),
            () = self.services.shutdown.begun() => {}
        }
    }

    /// How the lane of a claim is named. The lane was found in the read model, or the client named it.
    pub(super) async fn lane_of(&self, receipt: &CommandReceipt) -> Result<Option<LaneName>> {
        let started = receipt
            .events
            .iter()
            .find(|event| event.event.event_type == "turn.started");
        let Some(started) = started else { return Ok(None) };
        let lane = LaneId(started.event.stream.id);
        let ledger: LedgerId = self.caller.principal.ledger();
        let found = lanes::by_id(&**self.services.runner.store(), ledger, lane).await;
        let found = found.map_err(|error| of_read_store(&error))?;
        Ok(found.as_ref().map(LaneName::from))
    }
}

/// The turn that was claimed, and where that stands.
fn claimed(receipt: &CommandReceipt) -> Option<(Position, TurnId)> {
    let started = receipt
        .events
        .iter()
        .find(|event| event.event.event_type == "turn.started");
    receipt.position().zip(started?.event.turn)
}

/// Whether a claim that waits goes on waiting: another turn may get ready meanwhile.
fn may_change(error: &CommandError) -> bool {
    is_not_ready(error) || is_undecidable(error)
}

/// The turn that was tried cannot be claimed, whoever tries: what its lane says is not there any more, or cannot be read.
/// Of other errors the client is told at once, since they are about its request, or about all lanes.
fn is_undecidable(error: &CommandError) -> bool {
    matches!(error, CommandError::Internal(_))
}

/// Nothing could be claimed, and a moment later something may be.
fn is_not_ready(error: &CommandError) -> bool {
    matches!(
        error,
        CommandError::IllegalTransition { .. } | CommandError::Contention { .. }
    )
}
