//! Governed turns: whether each did only what a turn may do, under one lease at a time, and each call ran as it was allowed.
//!
//! The rules are those of `docs/turns.md`, judged by a [`table`] of this module's own. The machine that decided live is not
//! asked: what it wrote is what has to be judged. Turns that were observed or imported stand in other streams and are
//! governed by nobody.
//!
//! # The life of an event here
//!
//! 1. A leaf in a `lane-` or `approval-` stream becomes a [`Step`]; types that move no turn are let pass.
//! 2. [`TurnRules::record`] reads the few members of the payload that matter. What was erased makes its turn or call
//!    undecidable, and nothing else: its state is still followed by the types of its events.
//! 3. The step is checked against the turn ([`check`]) and its call ([`calls`]), then taken, whether it was legal or not.
//!    The first thing that is wrong with a turn or a call is reported; what would follow from it is not.
//!
//! Memory: some 200 bytes for each turn that is not over and 100 for each of its calls and steps; of a turn that is over 36 bytes, so
//! that nothing can come after its end, and its calls that are left to a person.

use std::collections::HashMap;

use ruche_domain::ids::TurnId;
use ruche_domain::numbers::Position;
use uuid::Uuid;

use super::finding::{Finding, FindingKind, Findings};

mod apply;
mod calls;
mod check;
mod keys;
mod table;

use calls::Call;
use keys::Keys;
pub(super) use table::Kind;
use table::{Said, State};

/// An id as leaves have it.
pub(super) type Id = [u8; 16];

/// An event that moves a turn, as its leaf tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub kind: Kind,
    /// Of the stream: the lane, or the approval.
    pub stream: Id,
    pub session: Option<Id>,
    pub turn: Option<Id>,
    pub call: Option<Id>,
    /// Who recorded it: the id of a credential, unless it happened by itself.
    pub actor: Option<Id>,
    /// When it was decided, µs since 1970 UTC.
    pub occurred_at: u64,
    pub position: Position,
    /// First index of the append that it came in.
    pub append: u64,
}

impl Step {
    fn append(&self) -> Position {
        Position::new(self.position.epoch.0, self.append)
    }
}

/// A turn that is not over.
#[derive(Debug)]
struct Turn {
    lane: Id,
    session: Option<Id>,
    opened: Position,
    state: State,
    /// It takes no more messages: sealed, or opened by a decision.
    is_sealed: bool,
    attempt: u32,
    not_before: u64,
    lease: Option<Lease>,
    /// An attempt is over and another one may follow.
    may_retry: bool,
    commit_point: bool,
    awaits: Option<Awaits>,
    end: Option<End>,
    calls: Vec<Id>,
    steps: HashMap<String, TurnStep>,
    /// Something of it cannot be read or was reported: nothing more is said about it.
    is_undecidable: bool,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: u64,
    expires_at: u64,
    /// The credential that claimed.
    worker: Option<Id>,
}

/// A step of a turn.
#[derive(Clone, Copy, Debug)]
struct TurnStep {
    attempt: u32,
    is_completed: bool,
}

/// What a turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Decision(Id),
    Outcome,
}

/// How a turn that winds down is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Superseded(Id),
    Cancelled,
    Failed,
}

/// What the turns of a lane share.
#[derive(Debug, Default)]
struct Lane {
    holder: Option<Id>,
    gathering: Option<Id>,
    /// Those that wait, the oldest first.
    queue: Vec<Id>,
    /// The highest fencing number so far.
    lease_epoch: u64,
}

/// What is wrong with a step.
#[derive(Debug)]
struct Fault {
    kind: FindingKind,
    detail: String,
    /// Whether the call alone is affected, and not its turn.
    of_call: bool,
}

impl Fault {
    fn illegal(detail: impl Into<String>) -> Self {
        Self {
            kind: FindingKind::IllegalTransition,
            detail: detail.into(),
            of_call: false,
        }
    }

    fn new(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            ..Self::illegal(detail)
        }
    }

    fn of_call(self) -> Self {
        Self {
            of_call: true,
            ..self
        }
    }
}

/// A fault where something does not hold.
fn require(holds: bool, fault: impl FnOnce() -> Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault()) }
}

/// What is known of turns, calls and lanes up to a position.
#[derive(Debug, Default)]
pub(super) struct TurnRules {
    turns: HashMap<Id, Turn>,
    /// Turns that are over: how, and the append that ended them.
    over: HashMap<Id, (State, Position)>,
    calls: HashMap<Id, Call>,
    lanes: HashMap<Id, Lane>,
    keys: Keys,
    /// Records before this point could not be read, so a turn that is not known may have been opened there.
    has_holes: bool,
}

impl TurnRules {
    /// Says that records are not there. What is known so far may have changed in them.
    pub(super) fn forget(&mut self) {
        *self = Self {
            has_holes: true,
            ..Self::default()
        };
    }

    /// Turns that are not over, with the places where they opened, in order, and where they stand.
    pub(super) fn not_over(&self) -> Vec<(Position, TurnId, &'static str)> {
        let open = self.turns.iter();
        let open = open.map(|(id, turn)| (turn.opened, TurnId(Uuid::from_bytes(*id)), turn.state.name()));
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|(opened, ..)| *opened);
        open
    }

    /// Takes an event. `payload` is absent where it was erased or cannot be read.
    pub(super) fn record(&mut self, step: &Step, payload: Option<&[u8]>, findings: &mut Findings) {
        let mut report = |fault: &Fault| {
            let Position { epoch, index } = step.position;
            let detail = format!("{}: {}", step.kind.name(), fault.detail);
            findings.push(Finding::at(fault.kind, epoch, index.0, detail));
        };
        let said = if step.kind.reads_payload() {
            payload.map(|payload| Said::read(step.kind, payload))
        } else {
            Some(Ok(Said::default()))
        };
        if let Some(Err(error)) = &said
            && !step.kind.is_read_elsewhere()
        {
            report(&Fault::new(FindingKind::PayloadMalformed, error.as_str()));
        }
        let said = said.and_then(Result::ok);
        let Some(turn) = self.turn_of(step, &mut report) else {
            return;
        };
        let fault = self.check(turn, step, said.as_ref()).err();
        if let Some(fault) = &fault {
            report(fault);
        }
        self.apply(turn, step, said.as_ref());
        let of_call = fault.as_ref().map(|fault| fault.of_call);
        if fault.is_some() || said.is_none() {
            self.leave_alone(turn, step, of_call.unwrap_or(step.kind.needs_call()));
        }
    }

    /// The turn that a step is about. One that is not known is reported once.
    fn turn_of(&mut self, step: &Step, report: &mut dyn FnMut(&Fault)) -> Option<Id> {
        let Some(turn) = step.turn else {
            report(&Fault::illegal("it names no turn"));
            return None;
        };
        if step.kind.needs_call() && step.call.is_none() {
            report(&Fault::illegal("it names no call"));
            return None;
        }
        if let Some((state, append)) = self.over.get(&turn) {
            let is_answer = step.kind == Kind::CallAsserted && self.may_be_asserted(step, *state);
            // A decision on a call of a turn that is over still moves the call, and so does what a person found out.
            let moves = is_answer || step.kind.name().starts_with("approval.");
            if !is_answer && !may_follow_end(step, *state, *append) {
                report(&Fault::illegal(format!("the turn is {}", state.name())));
            } else if !moves && step.session.is_none() {
                report(&check::no_session());
            }
            return moves.then_some(turn);
        }
        let opens = matches!(step.kind, Kind::Opened | Kind::Received);
        if !opens && !self.turns.contains_key(&turn) {
            if self.has_holes {
                return None;
            }
            report(&Fault::illegal("the turn was not opened before"));
            self.turns.insert(turn, Turn::unknown(step));
        }
        Some(turn)
    }

    /// Whether a person may say of a call how it came out though its turn is over: one that the turn left open.
    fn may_be_asserted(&self, step: &Step, state: State) -> bool {
        let call = step.call.and_then(|call| self.calls.get(&call));
        let is_open = call.map_or(self.has_holes, |call| call.is_undecidable || call.is_left_open());
        state != State::Committed && is_open
    }

    /// Nothing more is said about the call or the turn of a step.
    fn leave_alone(&mut self, turn: Id, step: &Step, of_call: bool) {
        let call = step.call.and_then(|call| self.calls.get_mut(&call));
        match call {
            Some(call) if of_call => call.is_undecidable = true,
            _ => drop(self.turns.get_mut(&turn).map(|turn| turn.is_undecidable = true)),
        }
        // Whether the turn waits is what the request says.
        if step.kind == Kind::Requested
            && let Some(turn) = self.turns.get_mut(&turn)
        {
            turn.is_undecidable = true;
        }
    }

    /// The calls of a turn, those left alone aside.
    fn calls_of<'a>(&'a self, id: &'a Id, turn: &'a Turn) -> impl Iterator<Item = &'a Call> {
        let calls = turn.calls.iter().filter_map(|call| self.calls.get(call));
        calls.filter(move |call| call.turn == *id && !call.is_undecidable)
    }
}

/// What may stand behind the end of a turn: what the end itself brings about, and decisions on calls that it left.
fn may_follow_end(step: &Step, state: State, append: Position) -> bool {
    let same = step.append() == append;
    match step.kind {
        Kind::Sent => same && state == State::Committed,
        Kind::PersonNeeded => same && state == State::Failed,
        Kind::Resolved | Kind::Expired | Kind::Stale | Kind::Withdrawn | Kind::Voided => {
            state == State::Committed
        }
        _ => false,
    }
}

impl Turn {
    fn new(step: &Step, state: State) -> Self {
        Self {
            lane: step.stream,
            session: step.session,
            opened: step.position,
            state,
            is_sealed: step.call.is_some(),
            attempt: 0,
            not_before: 0,
            lease: None,
            may_retry: false,
            commit_point: false,
            awaits: None,
            end: None,
            calls: Vec::new(),
            steps: HashMap::new(),
            is_undecidable: false,
        }
    }

    /// One of which only a later event is there.
    fn unknown(step: &Step) -> Self {
        Self {
            is_undecidable: true,
            ..Self::new(step, State::Processing)
        }
    }
}

#[cfg(test)]
mod tests;
