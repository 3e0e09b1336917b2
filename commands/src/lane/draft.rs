//! A decision in the making. Each event is taken into a copy of the state at once, so that what follows in the same
//! append is decided on it: a turn that ends frees its lane for the next one.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigEffectiveResolved, TurnQueued, TurnReadied};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::numbers::Micros;

use super::event::LaneEvent;
use super::intent::{Held, LaneCommand};
use super::rejection::{Obstacle, Rejection, UNDECIDED};
use super::settings::ChannelSettings;
use super::state::{Call, Lane, Turn, TurnState};

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub lane: Lane,
    pub now: Micros,
    command: &'a LaneCommand,
    pub events: Vec<LaneEvent>,
    /// Rows of the table that were applied, in order.
    pub rows: Vec<u8>,
}

impl<'a> Draft<'a> {
    pub fn new(lane: Lane, command: &'a LaneCommand) -> Self {
        Self {
            lane,
            now: command.now,
            command,
            events: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The settings for turns that are sealed now.
    pub fn settings(&self) -> &'a ChannelSettings {
        &self.command.settings
    }

    /// Says which row of the table is applied.
    pub fn row(&mut self, row: u8) {
        self.rows.push(row);
    }

    pub fn push(&mut self, turn: TurnId, fact: impl Into<AgentEvent>) {
        self.event(turn, None, None, fact.into());
    }

    pub fn push_call(&mut self, call: CallId, fact: impl Into<AgentEvent>) {
        let turn = self.call(call).turn;
        self.event(turn, Some(call), None, fact.into());
    }

    /// An event of an approval that was asked for.
    pub fn push_approval(&mut self, id: ApprovalId, fact: impl Into<AgentEvent>) {
        let approval = &self.lane.approvals[&id];
        let (turn, call) = (approval.turn, approval.call);
        self.event(turn, Some(call), Some(id), fact.into());
    }

    pub fn event(
        &mut self,
        turn: TurnId,
        call: Option<CallId>,
        approval: Option<ApprovalId>,
        fact: AgentEvent,
    ) {
        let event = LaneEvent {
            at: self.now,
            turn,
            call,
            approval,
            fact,
        };
        self.lane.apply(&event);
        self.events.push(event);
    }

    /// A turn that this decision has looked up or opened, or that something of the lane names: it is there, or the lane has
    /// a [`Flaw`](super::Flaw). So with calls and approvals.
    pub fn turn(&self, id: TurnId) -> &Turn {
        self.lane.turn(id).expect("the lane has no flaw")
    }

    pub fn call(&self, id: CallId) -> &Call {
        &self.lane.calls[&id]
    }

    /// A turn that the client names.
    pub fn named(&self, id: TurnId) -> Result<&Turn, Rejection> {
        self.lane.turn(id).ok_or(Rejection::NoSuch { thing: "turn" })
    }

    /// A call that the client names, of this turn.
    pub fn named_call(&self, turn: &Turn, id: CallId) -> Result<&Call, Rejection> {
        let call = self
            .lane
            .calls
            .get(&id)
            .ok_or(Rejection::NoSuch { thing: "call" })?;
        if call.turn != turn.id {
            return Err(Rejection::blocked(turn.state, Obstacle::CallOfAnotherTurn));
        }
        Ok(call)
    }

    /// The turn of a worker, in one of these states and under the lease that the worker shows.
    pub fn held<T>(&self, held: &Held<T>, states: &[TurnState]) -> Result<&Turn, Rejection> {
        let turn = self.named(held.turn)?;
        let lease = turn.lease.as_ref();
        let holds = lease.is_some_and(|lease| lease.id == held.lease.id && lease.epoch == held.lease.epoch);
        if !states.contains(&turn.state) {
            // Row 27, and every other state that does not know the command. Once people have decided, the worker goes on.
            let waits = holds && turn.awaits_decision() && states.contains(&TurnState::Processing);
            return Err(match waits {
                true => Rejection::not_yet(turn.state, UNDECIDED),
                false => Rejection::illegal(turn.state),
            });
        }
        if !holds {
            let epoch = lease.map(|lease| lease.epoch);
            return Err(Rejection::LeaseLost {
                state: turn.state,
                epoch,
            });
        }
        Ok(turn)
    }

    /// A turn that takes no more messages gets its settings, and the lane or a place in the queue.
    pub fn admit(&mut self, id: TurnId) {
        let settings = self.settings();
        let mut resolved = ConfigEffectiveResolved::new(self.command.layers.clone(), settings.digest());
        resolved.values = settings.pinned();
        self.push(id, resolved);
        match self.lane.holder().map(|holder| holder.id) {
            Some(behind) => self.push(id, TurnQueued::new(behind)),
            None => self.push(id, TurnReadied::new(1, self.now)),
        }
    }

    /// Row 7: a lane that nobody holds goes to the turn that waits longest.
    pub fn free_lane(&mut self) {
        if self.lane.holder().is_some() {
            return;
        }
        if let Some(oldest) = self.lane.queue.first().copied() {
            self.row(7);
            self.push(oldest, TurnReadied::new(1, self.now));
        }
    }
}
