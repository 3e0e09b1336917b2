//! R0: what something was at a position, folded from its records by the code that decided live.
//!
//! # How it is found
//!
//! - A lane, an approval, a tool, a configuration: their streams are read, as a command reads them.
//! - A turn: the stream that it stands in is told by its first record, which is looked for from the beginning of the
//!   ledger, or where the caller says that it is. A wrong hint finds nothing and is looked behind.
//! - A session: all that belongs to it, from its first record on.

mod approval;
mod lane;
mod session;
mod settings;
mod told;
mod turn;

use std::sync::Arc;

use ruche_domain::ids::{ApprovalId, LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{EventStore, Record};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::budget::Budget;
use crate::error::ReplayError;
use crate::read::{self, record_at};
use crate::read_only::ReadOnlyLedger;

pub use approval::{ApprovalView, VoteView};
pub use lane::{LaneApproval, LaneView};
pub use session::{ScenarioOfSession, SessionBegun, SessionView, TurnOfSession};
pub use settings::{ConfigurationView, ToolView};
pub use told::{StepView, TurnTold};
pub use turn::{CallView, LeaseView, TurnView};

/// Of what the state is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A conversation lane with its turns, calls and approvals.
    Lane(LaneId),
    /// One turn with its calls.
    Turn(TurnId),
    /// A request for approval.
    Approval(ApprovalId),
    /// A session and where its turns stand.
    Session(SessionId),
    /// A registered tool, by its stream.
    Tool(StreamId),
    /// The configuration of a scope, by its stream.
    Configuration(StreamId),
}

/// What it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "made and consumed one at a time")]
pub enum View {
    /// A lane.
    Lane(LaneView),
    /// A turn.
    Turn(TurnView),
    /// A request for approval.
    Approval(ApprovalView),
    /// A session.
    Session(SessionView),
    /// A tool.
    Tool(ToolView),
    /// A configuration.
    Configuration(ConfigurationView),
}

/// What something was at a position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// The last record that counts.
    pub position: Position,
    /// When the ledger took it.
    pub recorded_at: Micros,
    /// What it was; nothing where it was not there yet.
    pub state: Option<View>,
    /// SHA-256 of `state` as compact JSON: equal states have equal digests, on every engine.
    pub digest: Digest,
    /// The first record that is missing something which the fold needs, such as a payload that was erased: what
    /// followed from it is not in `state`.
    pub undecidable_from: Option<Position>,
}

/// A ledger as it was at a position.
pub struct StateAt {
    store: ReadOnlyLedger,
    ledger: LedgerId,
    position: Position,
    recorded_at: Micros,
    budget: Budget,
}

/// A state, and where it stopped being known.
type Found<T> = (Option<T>, Option<Position>);

impl StateAt {
    /// The ledger when `position` was its last record. No more is read than `budget` allows.
    ///
    /// # Errors
    /// `NoRecord` where there is none; `Store` if it cannot be read.
    pub async fn new(
        base: Arc<dyn EventStore>,
        ledger: LedgerId,
        position: Position,
        budget: Budget,
    ) -> Result<Self, ReplayError> {
        let recorded_at = record_at(&*base, ledger, position).await?.leaf.recorded_at;
        Ok(Self {
            store: ReadOnlyLedger::as_of(base, position),
            ledger,
            position,
            recorded_at,
            budget,
        })
    }

    /// What something was. `first` is where a turn is said to begin; absent, it is looked for.
    ///
    /// # Errors
    /// `Store` if the ledger cannot be read, `OutOfBudget` where that took more than the budget.
    pub async fn of(&self, what: What, first: Option<Position>) -> Result<State, ReplayError> {
        let (view, undecidable_from) = match what {
            What::Lane(lane) => wrap(self.lane(lane).await?, View::Lane),
            What::Turn(turn) => wrap(self.turn(turn, first).await?, View::Turn),
            What::Approval(approval) => wrap(self.approval(approval).await?, View::Approval),
            What::Session(session) => wrap(self.session(session).await?, View::Session),
            What::Tool(stream) => wrap(self.tool(stream).await?, View::Tool),
            What::Configuration(stream) => wrap(self.configuration(stream).await?, View::Configuration),
        };
        let text = serde_json::to_vec(&view).expect("views have text keys and no failing serialisers");
        Ok(State {
            position: self.position,
            recorded_at: self.recorded_at,
            state: view,
            digest: Digest(Sha256::digest(&text).into()),
            undecidable_from,
        })
    }

    /// Looks through the ledger from a place on until `take` has seen enough.
    async fn look_through(
        &self,
        from: Position,
        mut take: impl FnMut(&Record) -> bool + Send,
    ) -> Result<(), ReplayError> {
        let mut from = from;
        loop {
            let page = self
                .store
                .read_ledger(self.ledger, from, READ_RECORDS_MAX)
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            from = last.position.next();
            for record in &page {
                if take(record) {
                    return Ok(());
                }
            }
            self.budget.go_on(&page)?;
        }
    }

    async fn stream(&self, stream: StreamId) -> Result<Vec<Record>, ReplayError> {
        read::stream(&self.store, self.ledger, stream, &self.budget).await
    }
}

fn wrap<T>(
    (found, undecidable_from): Found<T>,
    view: impl FnOnce(T) -> View,
) -> (Option<View>, Option<Position>) {
    (found.map(view), undecidable_from)
}
