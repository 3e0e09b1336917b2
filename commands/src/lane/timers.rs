//! What happens in a lane by itself, and when.
//!
//! Timers follow from the state, so they are as durable as the ledger; one that fires is a command like any other, and
//! the expected version of the lane sees to it that it fires once.

use ruche_domain::events::SealReason;
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::numbers::Micros;

use super::approvals::expire;
use super::attempts::lapse;
use super::draft::Draft;
use super::messages::seal;
use super::rejection::Rejection;
use super::state::{ApprovalState, Lane, Turn, TurnState};
use super::winding::{Cause, doubt, fail, settle, time_out, undoing_lapsed};

/// Something that happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A turn takes no more messages.
    Window(TurnId),
    /// A worker is taken for dead.
    Lease(TurnId),
    /// Workers had a turn for too long.
    Overdue(TurnId),
    /// Nobody decided in time.
    Approval(ApprovalId),
    /// Effects under way are waited for no longer.
    Drain(TurnId),
    /// Undoing is given up.
    Compensation(TurnId),
    /// A call runs past its time: nobody knows how it comes out.
    Call(CallId),
}

impl Lane {
    /// The timer that comes first, and when it is due.
    pub fn next_timer(&self) -> Option<(Micros, Timer)> {
        let turns = self.turns.iter().flat_map(|turn| self.timers_of(turn));
        let requested = |state| state == ApprovalState::Requested;
        let approvals = self
            .approvals
            .values()
            .filter(|approval| requested(approval.state));
        let approvals = approvals.map(|approval| (approval.expires_at, Timer::Approval(approval.id)));
        turns.chain(approvals).chain(self.call_timers()).min()
    }

    /// Calls run only while a worker has their turn, or while it drains.
    fn call_timers(&self) -> impl Iterator<Item = (Micros, Timer)> {
        let running = self.calls.values().filter(|call| call.is_in_flight());
        running.filter_map(|call| call.lapses_at.map(|at| (at, Timer::Call(call.id))))
    }

    fn timers_of(&self, turn: &Turn) -> Vec<(Micros, Timer)> {
        let id = turn.id;
        let after = |since: Option<Micros>, wait: u64| since.map(|at| Micros(at.0.saturating_add(wait)));
        let settings = &turn.settings;
        let timers = match turn.state {
            TurnState::Accumulating => vec![(turn.deadline, Timer::Window(id))],
            TurnState::Processing => vec![
                (
                    turn.lease.as_ref().map(|lease| lease.expires_at),
                    Timer::Lease(id),
                ),
                (
                    after(turn.runs_since, settings.turn_us_max.saturating_sub(turn.ran_us)),
                    Timer::Overdue(id),
                ),
            ],
            // What is in doubt waits for a person, as long as it takes; what runs is waited for.
            TurnState::Cancelling if self.calls_of(id).any(|call| call.is_in_flight()) => {
                vec![(after(turn.winding_since, settings.drain_us), Timer::Drain(id))]
            }
            TurnState::Compensating => {
                vec![(
                    after(turn.winding_since, settings.compensation_us),
                    Timer::Compensation(id),
                )]
            }
            _ => vec![],
        };
        timers
            .into_iter()
            .filter_map(|(at, timer)| at.map(|at| (at, timer)))
            .collect()
    }
}

/// The earliest timer fires, if it is due.
pub(super) fn fire(draft: &mut Draft<'_>, new_turn: TurnId) -> Result<(), Rejection> {
    let next = draft.lane.next_timer();
    let Some((_, timer)) = next.filter(|(at, _)| *at <= draft.now) else {
        return Err(Rejection::NothingDue {
            next: next.map(|(at, _)| at),
        });
    };
    match timer {
        Timer::Window(turn) => seal(draft, turn, SealReason::Deadline),
        Timer::Lease(turn) => lapse(draft, turn),
        Timer::Overdue(turn) => {
            doubt(draft, turn, "turn_overdue");
            fail(draft, turn, Cause::of("turn_overdue"));
        }
        Timer::Approval(approval) => expire(draft, approval, new_turn)?,
        Timer::Drain(turn) => {
            doubt(draft, turn, "not_drained");
            settle(draft, turn, true);
        }
        Timer::Compensation(turn) => undoing_lapsed(draft, turn),
        Timer::Call(call) => time_out(draft, call),
    }
    Ok(())
}
